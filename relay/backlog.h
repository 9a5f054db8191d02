/* backlog.h - what waits for one destination: which packet goes next, and which one when there is too much.
 *
 * While little waits (LIMIT_FAIR_BYTES or less) it is one queue, first in, first out: nobody waits behind more than a
 * fraction of a millisecond of others' packets, and order between sources is kept. When more waits the destination is
 * slower than its sources, and then they share it: packets are kept per flow, and the flow that has had the fewest
 * bytes goes next (start-time fair queueing: each flow has a virtual time that advances by the bytes it sent; a flow
 * that begins to wait starts at the present, or where it was if it is ahead). So a flooding source costs itself:
 * others' packets pass it by. Times advance in both modes, so that the fair one begins with the flows nearly even.
 *
 *     push --> flow by packet->flow --> FIFO of that flow --> pop: FIFO over all flows, or the flow with least time
 *                                                        `--> drop: the oldest of the flow with most bytes
 *
 * Flows. BACKLOG_DATA_FLOWS for data and BACKLOG_DISCO_FLOWS for disco, each source hashed (with a secret: clients
 * choose their keys) into one of either: backlog_flow_of. Disco, which opens the direct path that relieves the relay,
 * so never waits behind its own source's data; it has weight and no strict priority, because anybody can forge its
 * magic: a source that floods disco gets its flow's share, and all disco together that of its flows. Sources that share
 * a flow by their hashes share its bytes and its drops: one source in 12 suffers with a flood of data.
 *
 * Within a flow order is never changed. Between flows it may be, once more than LIMIT_FAIR_BYTES wait.
 *
 * The bound is in slot sizes (packet_cost), because those are what the pool loses; it is the caller's, who also drops
 * with a reason what is handed back: the backlog itself counts nothing and frees nothing. Only plaintext waits here.
 * Threads: thread-local to a worker. Memory: none of its own; packets are linked through packet->next.
 */
#pragma once

#include "core/base.h"
#include "relay/packet.h"

enum {
    BACKLOG_DATA_FLOWS = 12,
    BACKLOG_DISCO_FLOWS = 4,
    BACKLOG_FLOWS = BACKLOG_DATA_FLOWS + BACKLOG_DISCO_FLOWS,
};

struct backlog_flow {
    struct packet *head;
    struct packet *tail;
    uint64_t virtual_time;  // in frame bytes; where its next packet starts
    uint32_t bytes;         // sum of packet_cost
};

/* All zero is empty. */
struct backlog {
    size_t bytes;        // sum of packet_cost
    size_t frame_bytes;  // sum of packet->size
    size_t foreign_bytes;  // of `bytes`, what lies in the memory of other workers
    uint32_t count;
    uint32_t arrivals;     // numbers packets; wraps
    uint32_t waiting;      // one bit per flow that holds packets
    uint64_t virtual_now;  // where the packet that was served last started; never goes back
    uint64_t virtual_end;  // the greatest virtual_time of any flow
    struct backlog_flow flows[BACKLOG_FLOWS];
};

/* The flow of a source with this hash (keyed, uniform), for packet->flow. */
static inline uint8_t backlog_flow_of(uint64_t source_hash, bool is_disco) {
    return (uint8_t)(is_disco ? BACKLOG_DATA_FLOWS + (source_hash >> 32) % BACKLOG_DISCO_FLOWS
                              : (source_hash & 0xffffffff) % BACKLOG_DATA_FLOWS);
}

static inline bool backlog_is_empty(const struct backlog *backlog) { return backlog->count == 0; }

/* Appends to the flow packet->flow < BACKLOG_FLOWS (CHECK); the packet is the backlog's. Sets packet->arrival. */
void backlog_push(struct backlog *backlog, struct packet *packet);

/* The packet that backlog_pop would give, still the backlog's; NULL when empty. Stays the same until the next push, pop
 * or drop. */
struct packet *backlog_next(const struct backlog *backlog);

/* One of these flows (bits) holds a packet that came before the arrival number `arrival`. */
bool backlog_holds_before(const struct backlog *backlog, uint32_t flows, uint32_t arrival);

/* When the packet was queued that has waited longest; not when empty (CHECK). */
uint64_t backlog_oldest_ns(const struct backlog *backlog);

/* The next packet, now the caller's; NULL when empty. */
must_use struct packet *backlog_pop(struct backlog *backlog);

/* The oldest packet of the flow that holds most bytes, now the caller's; NULL when empty. */
must_use struct packet *backlog_drop(struct backlog *backlog);

/* A packet with packet->enqueued_ns before `before_ns`, now the caller's; NULL when none is. Cheap then: only what came
 * first is looked at. */
must_use struct packet *backlog_pop_older(struct backlog *backlog, uint64_t before_ns);

/* As backlog_drop, if more than `bytes_max` and more than one packet wait, else NULL: call until NULL after a push. The
 * packet just pushed leaves, too, when it alone is more than any other flow has. */
must_use struct packet *backlog_pop_excess(struct backlog *backlog, size_t bytes_max);
