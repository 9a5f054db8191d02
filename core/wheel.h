/* wheel.h - many timers, cheaply: a hierarchical timing wheel.
 *
 * A timer is a small struct embedded in the object it belongs to. Arming, re-arming and disarming are O(1); expiry is
 * reported by wheel_pop, one timer a call, so that no callback runs inside the wheel and the caller's loop stays flat:
 *
 *     struct wheel_timer *timer;
 *     while ((timer = wheel_pop(&wheel, now_ns)) != NULL) …
 *
 * Resolution is 2^WHEEL_TICK_SHIFT ns (about 4 ms): a timer fires at its deadline or up to two ticks later, never
 * before. The horizon is about 19 h; later deadlines are kept and looked at again. Order within one tick is unspecified
 * but reproducible.
 * A timer armed for the past is due at once, in the same wheel_pop loop: a handler that always re-arms its timer for
 * `now_ns` or earlier makes that loop endless.
 * Threads: thread-local. Memory: the wheel is one struct and must not move while timers are armed; timers are the
 * caller's, start zeroed, and must be disarmed before they are freed or moved. Errors: none.
 */
#pragma once

#include "core/base.h"

#define WHEEL_TICK_SHIFT 22
#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 64

struct wheel_timer {
    struct wheel_timer *next;
    struct wheel_timer **link; // what points at this timer; NULL: not armed
    uint64_t deadline_ns;
    uint8_t kind; // the owner's: which of its timers this is
};

struct wheel {
    uint64_t tick; // timers that expire at this tick or before are in `due`
    uint32_t armed_count;
    struct wheel_timer *slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS]; // bit per slot that has timers
    struct wheel_timer *due;
};

void wheel_init(struct wheel *wheel, uint64_t now_ns);

/* Arms `timer` for `deadline_ns` (absolute; in the past: due at once). An armed timer is moved. */
void wheel_arm(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ns);

/* Fine when not armed. */
void wheel_disarm(struct wheel *wheel, struct wheel_timer *timer);

bool wheel_timer_is_armed(const struct wheel_timer *timer);

/* The next expired timer, disarmed, or NULL. */
struct wheel_timer *wheel_pop(struct wheel *wheel, uint64_t now_ns);

/* When wheel_pop may have something: the latest time to sleep until; 0 when something is due already, TIME_NEVER when
 * nothing is armed. May be early (a cascade), never late. Once wheel_pop has returned NULL it lies after that now. */
uint64_t wheel_next_ns(const struct wheel *wheel);
