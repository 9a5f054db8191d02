#include "core/wheel.h"

#include "core/check.h"

/* Level 0 has one slot per tick, each level above one slot per 64 of the level below. A timer stands on the level that
 * the number of ticks left calls for, in the slot of its expiry; when time reaches the first tick of a slot above
 * level 0, its timers are placed anew (they always go down). With `here` the slot of `tick` on some level, the slots in
 * use are here + 1 to here + 64: the last of them is `here` itself, one turn later, because the slot of the present has
 * been emptied when time entered it.
 *
 * The bits in `occupied` make time jump from one used slot to the next, so that an advance over hours costs no more
 * than the timers in between. */

#define SLOT_BITS 6
#define SLOT_MASK (WHEEL_SLOTS - 1)
#define HORIZON_TICKS (UINT64_C(1) << (SLOT_BITS * WHEEL_LEVELS))

_Static_assert(WHEEL_SLOTS == 1 << SLOT_BITS && WHEEL_SLOTS == 64, "one bit of a uint64_t per slot");

/* The first tick that begins at or after the deadline: hence never early, and late by less than a tick. */
static uint64_t expiry_tick(uint64_t deadline_ns) {
    uint64_t tick_mask = (UINT64_C(1) << WHEEL_TICK_SHIFT) - 1;
    return (deadline_ns >> WHEEL_TICK_SHIFT) + ((deadline_ns & tick_mask) != 0);
}

static void list_push(struct wheel_timer **head, struct wheel_timer *timer) {
    timer->next = *head;
    if (timer->next != NULL) timer->next->link = &timer->next;
    timer->link = head;
    *head = timer;
}

static void place(struct wheel *wheel, struct wheel_timer *timer) {
    uint64_t expiry = expiry_tick(timer->deadline_ns);
    if (expiry <= wheel->tick) {
        list_push(&wheel->due, timer);
        return;
    }
    uint64_t ticks_left = min_of(expiry - wheel->tick, HORIZON_TICKS - 1);
    unsigned level = (63u - (unsigned)__builtin_clzll(ticks_left)) / SLOT_BITS;
    unsigned slot = (unsigned)((wheel->tick + ticks_left) >> (level * SLOT_BITS)) & SLOT_MASK;
    list_push(&wheel->slots[level][slot], timer);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

/* `link` pointed at a timer that was the last of its list: when it is the head of a slot, the slot is empty now. */
static void clear_emptied(struct wheel *wheel, struct wheel_timer **link) {
    uintptr_t offset = (uintptr_t)link - (uintptr_t)wheel->slots;
    if (*link != NULL || offset >= sizeof(wheel->slots)) return;
    size_t idx = offset / sizeof(wheel->slots[0][0]);
    wheel->occupied[idx / WHEEL_SLOTS] &= ~(UINT64_C(1) << (idx % WHEEL_SLOTS));
}

/* The first tick on which a slot of `level` has to be emptied, always > wheel->tick. The level must be in use. */
static uint64_t level_next_tick(const struct wheel *wheel, unsigned level) {
    uint64_t here = wheel->tick >> (level * SLOT_BITS);
    unsigned shift = (unsigned)(here + 1) & SLOT_MASK;
    uint64_t bits = wheel->occupied[level];
    uint64_t from_here = bits >> shift | bits << ((WHEEL_SLOTS - shift) & SLOT_MASK);
    return (here + 1 + (unsigned)__builtin_ctzll(from_here)) << (level * SLOT_BITS);
}

static uint64_t next_tick(const struct wheel *wheel) {
    uint64_t next = UINT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (wheel->occupied[level] == 0) continue;
        uint64_t tick = level_next_tick(wheel, level);
        next = min_of(next, tick);
    }
    return next;
}

/* Places the timers of the slot that begins with the present tick anew: on a lower level, or due. */
static void empty_slot(struct wheel *wheel, unsigned level) {
    unsigned slot = (unsigned)(wheel->tick >> (level * SLOT_BITS)) & SLOT_MASK;
    struct wheel_timer *timer = wheel->slots[level][slot];
    wheel->slots[level][slot] = NULL;
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    while (timer != NULL) {
        struct wheel_timer *next = timer->next;
        place(wheel, timer);
        timer = next;
    }
}

/* Moves time to the next used slot, or to `now_tick` when that is nearer. */
static void advance(struct wheel *wheel, uint64_t now_tick) {
    uint64_t next = next_tick(wheel);
    wheel->tick = min_of(next, now_tick);
    if (next > now_tick) return;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t below_mask = (UINT64_C(1) << (level * SLOT_BITS)) - 1;
        if ((wheel->tick & below_mask) != 0) break; // not the first tick of a slot here, nor on any level above
        empty_slot(wheel, level);
    }
}

void wheel_init(struct wheel *wheel, uint64_t now_ns) { *wheel = (struct wheel){.tick = now_ns >> WHEEL_TICK_SHIFT}; }

void wheel_arm(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ns) {
    wheel_disarm(wheel, timer);
    timer->deadline_ns = deadline_ns;
    place(wheel, timer);
    wheel->armed_count++;
}

void wheel_disarm(struct wheel *wheel, struct wheel_timer *timer) {
    if (!wheel_timer_is_armed(timer)) return;
    DCHECK(*timer->link == timer && wheel->armed_count > 0);
    *timer->link = timer->next;
    if (timer->next != NULL) timer->next->link = timer->link;
    clear_emptied(wheel, timer->link);
    timer->next = NULL;
    timer->link = NULL;
    wheel->armed_count--;
}

bool wheel_timer_is_armed(const struct wheel_timer *timer) { return timer->link != NULL; }

struct wheel_timer *wheel_pop(struct wheel *wheel, uint64_t now_ns) {
    uint64_t now_tick = now_ns >> WHEEL_TICK_SHIFT;
    while (wheel->due == NULL && wheel->tick < now_tick) advance(wheel, now_tick);
    struct wheel_timer *timer = wheel->due;
    if (timer != NULL) wheel_disarm(wheel, timer);
    return timer;
}

uint64_t wheel_next_ns(const struct wheel *wheel) {
    if (wheel->due != NULL) return 0;
    if (wheel->armed_count == 0) return TIME_NEVER;
    return next_tick(wheel) << WHEEL_TICK_SHIFT;
}
