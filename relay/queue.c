#include "relay/queue.h"

#include "core/check.h"

void queue_push(struct queue *queue, struct packet *packet) {
    packet->next = NULL;
    if (queue->tail) {
        queue->tail->next = packet;
    } else {
        queue->head = packet;
    }
    queue->tail = packet;
    queue->bytes += packet_cost(packet);
    queue->frame_bytes += packet->size;
    queue->count++;
}

struct packet *queue_take_behind(struct queue *queue, struct packet *before) {
    struct packet **at = before ? &before->next : &queue->head;
    struct packet *packet = *at;
    CHECK(packet != NULL);
    *at = packet->next;
    if (queue->tail == packet) queue->tail = before;
    DCHECK(queue->bytes >= packet_cost(packet) && queue->count > 0);
    queue->bytes -= packet_cost(packet);
    queue->frame_bytes -= packet->size;
    queue->count--;
    packet->next = NULL;
    return packet;
}

struct packet *queue_pop(struct queue *queue) { return queue->head ? queue_take_behind(queue, NULL) : NULL; }

struct packet *queue_pop_excess(struct queue *queue, size_t bytes_max) {
    if (queue->bytes <= bytes_max || queue->count <= 1) return NULL;
    return queue_pop(queue);
}
