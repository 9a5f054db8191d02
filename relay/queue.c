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

struct packet *queue_pop(struct queue *queue) {
    struct packet *packet = queue->head;
    if (packet == NULL) return NULL;
    queue->head = packet->next;
    if (queue->head == NULL) queue->tail = NULL;
    DCHECK(queue->bytes >= packet_cost(packet) && queue->count > 0);
    queue->bytes -= packet_cost(packet);
    queue->frame_bytes -= packet->size;
    queue->count--;
    packet->next = NULL;
    return packet;
}

struct packet *queue_pop_excess(struct queue *queue, size_t bytes_max) {
    if (queue->bytes <= bytes_max || queue->count <= 1) return NULL;
    return queue_pop(queue);
}
