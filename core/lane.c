#include "core/lane.h"

#include "core/check.h"

/* Indices run freely over 32 bits and are never reduced: `tail - head` is the number of items even across the wrap,
 * and a full lane differs from an empty one without giving up a place. */

static uint8_t *place_of(const struct lane *lane, uint32_t index) {
    return lane->items + (size_t)(index & lane->mask) * lane->item_size;
}

static uint32_t room_seen(const struct lane *lane) { return lane->mask + 1 - (lane->tail_private - lane->head_seen); }

size_t lane_storage_size(uint32_t capacity, uint32_t item_size) { return (size_t)capacity * item_size; }

void lane_init(struct lane *lane, void *storage, uint32_t capacity, uint32_t item_size) {
    CHECK(is_power_of_two(capacity) && capacity <= UINT32_C(1) << 31);
    CHECK(storage != NULL && item_size > 0);
    memset(lane, 0, sizeof(*lane));
    lane->items = storage;
    lane->item_size = item_size;
    lane->mask = capacity - 1;
    atomic_init(&lane->tail, 0);
    atomic_init(&lane->head, 0);
}

bool lane_push(struct lane *lane, const void *item) {
    if (room_seen(lane) == 0 && lane_room(lane) == 0) return false;
    memcpy(place_of(lane, lane->tail_private), item, lane->item_size);
    lane->tail_private++;
    return true;
}

bool lane_flush(struct lane *lane) {
    if (lane->tail_private == atomic_load_explicit(&lane->tail, memory_order_relaxed)) return false;
    atomic_store_explicit(&lane->tail, lane->tail_private, memory_order_release);
    return true;
}

uint32_t lane_room(struct lane *lane) {
    lane->head_seen = atomic_load_explicit(&lane->head, memory_order_acquire);
    return room_seen(lane);
}

bool lane_pop(struct lane *lane, void *item) {
    if (!lane_has_mail(lane)) return false;
    memcpy(item, place_of(lane, lane->head_private), lane->item_size);
    lane->head_private++;
    atomic_store_explicit(&lane->head, lane->head_private, memory_order_release);
    return true;
}

bool lane_has_mail(struct lane *lane) {
    if (lane->head_private != lane->tail_seen) return true;
    lane->tail_seen = atomic_load_explicit(&lane->tail, memory_order_acquire);
    return lane->head_private != lane->tail_seen;
}
