/* lane.h - mail from one thread to one other thread: a bounded single-producer single-consumer ring.
 *
 * Model: fixed-size items, copied in and out. The producer writes items with lane_push and makes the whole batch
 * visible with lane_flush; the consumer takes them with lane_pop in the same order. Full is false, and the producer
 * decides what that means (drop and count, or hold back). Waking the consumer is not done here: ring_wake.
 *
 *      head (consumer)                 published tail (producer)        private tail
 *        v                               v                                v
 *   -----[ item ][ item ][ item ][ item ](  pushed, not yet flushed     )[ free ...
 *
 * Sharing class: lane. Producer and consumer fields stand on separate cache lines; each side keeps a copy of the other
 * side's index and re-reads it only when the copy says full (or empty).
 * Why it is correct: `tail` is stored with release after the items are written and loaded with acquire before they are
 * read; `head` likewise in the other direction before a place is written again. Each index has one writer.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

struct lane {
    /* frozen */
    uint8_t *items;
    uint32_t item_size;
    uint32_t mask;
    /* producer */
    cache_aligned _Atomic uint32_t tail;
    uint32_t tail_private;
    uint32_t head_seen;
    /* consumer */
    cache_aligned _Atomic uint32_t head;
    uint32_t head_private;
    uint32_t tail_seen;
};

/* Bytes of storage for `capacity` (a power of two) items of `item_size` bytes. */
size_t lane_storage_size(uint32_t capacity, uint32_t item_size);

/* `storage` of lane_storage_size bytes stays the lane's as long as it is used. */
void lane_init(struct lane *lane, void *storage, uint32_t capacity, uint32_t item_size);

/* ---- producer ---- */

/* Copies one item in; false when the lane is full. Not visible before lane_flush. */
must_use bool lane_push(struct lane *lane, const void *item);

/* Publishes what was pushed. True when there was something: then ring_wake the consumer. */
bool lane_flush(struct lane *lane);

/* Places left for lane_push. */
uint32_t lane_room(struct lane *lane);

/* ---- consumer ---- */

/* Copies the oldest item out; false when there is none. The place is free for the producer at once. */
must_use bool lane_pop(struct lane *lane, void *item);

/* There is something to pop. Usable as the re-check between ring_doze and ring_wait. */
bool lane_has_mail(struct lane *lane);
