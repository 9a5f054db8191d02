/* lane_sim.c - the lanes' simulated twin (core/lane.h): takes the place of core/lane.c when the simulator is linked.
 *
 * It exists because lanes are where threads meet: each verb is a point at which another fiber may go on, before and
 * after what it does becomes visible. What was pushed is visible to the consumer at lane_flush and not before; a place
 * is free for the producer at lane_pop. One OS thread, so the atomics of the struct order nothing here.
 */
#include <stdlib.h>

#include "core/check.h"
#include "core/lane.h"
#include "tests/sim/sched_sim.h"

static uint8_t *place_of(const struct lane *lane, uint32_t index) {
    return lane->items + (size_t)(index & lane->mask) * lane->item_size;
}

size_t lane_storage_size(uint32_t capacity, uint32_t item_size) { return (size_t)capacity * item_size; }

void lane_init(struct lane *lane, void *storage, uint32_t capacity, uint32_t item_size) {
    CHECK(is_power_of_two(capacity) && storage != NULL && item_size > 0);
    memset(lane, 0, sizeof(*lane));
    lane->items = storage;
    lane->item_size = item_size;
    lane->mask = capacity - 1;
}

bool lane_push(struct lane *lane, const void *item) {
    sim_point(POINT_PUSH);
    if (lane_room(lane) == 0) return false;
    memcpy(place_of(lane, lane->tail_private), item, lane->item_size);
    lane->tail_private++;
    return true;
}

bool lane_flush(struct lane *lane) {
    if (lane->tail == lane->tail_private) return false;
    sim_point(POINT_PUSH);
    lane->tail = lane->tail_private;
    sim_point(POINT_PUSHED);
    return true;
}

uint32_t lane_room(struct lane *lane) { return lane->mask + 1 - (lane->tail_private - lane->head_private); }

bool lane_pop(struct lane *lane, void *item) {
    sim_point(POINT_TAKE);
    if (!lane_has_mail(lane)) return false;
    memcpy(item, place_of(lane, lane->head_private), lane->item_size);
    memset(place_of(lane, lane->head_private), 0xdd, lane->item_size);
    lane->head_private++;
    return true;
}

bool lane_has_mail(struct lane *lane) { return lane->head_private != lane->tail; }
