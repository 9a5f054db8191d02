/* queue.h - packets waiting for one destination: first in, first out, bounded in bytes, the oldest goes first.
 *
 * The bound counts slot sizes, because those are what the pool loses. A push always succeeds; what has to leave for it
 * is handed back to the caller, who drops it with a reason: the queue itself counts nothing and frees nothing.
 * Only plaintext waits here (law: only plaintext is queued, dropped or reordered).
 * Threads: thread-local to a worker. Memory: none of its own; packets are linked through packet->next.
 */
#pragma once

#include "core/base.h"
#include "relay/packet.h"

struct queue {
    struct packet *head;
    struct packet *tail;
    size_t bytes;        // sum of packet_cost
    size_t frame_bytes;  // sum of packet->size
    uint32_t count;
};

static inline bool queue_is_empty(const struct queue *queue) { return queue->head == NULL; }

/* Appends; the packet is the queue's. */
void queue_push(struct queue *queue, struct packet *packet);

/* The oldest, now the caller's; NULL when empty. */
must_use struct packet *queue_pop(struct queue *queue);

/* Takes out the packet behind `before`, or the oldest when that is NULL; now the caller's. There has to be one. */
must_use struct packet *queue_take_behind(struct queue *queue, struct packet *before);

/* The oldest packet if the queue holds more than `bytes_max` and more than one packet (the newest always stays), else
 * NULL: call until NULL after a push. */
must_use struct packet *queue_pop_excess(struct queue *queue, size_t bytes_max);
