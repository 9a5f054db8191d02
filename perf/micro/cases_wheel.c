/* Timers (core/wheel), beside 10,000 that are armed: keep-alives.
 *
 *   wheel/arm-disarm   a send's timer: armed, and the send is done
 *   wheel/move         armed again for later
 *   wheel/fire         armed, and due one tick later */
#include <stdlib.h>

#include "core/check.h"
#include "perf/micro/bench.h"
#include "core/wheel.h"

enum { OTHERS = 10000, TIMERS = 64 };

struct turning {
    struct wheel wheel;
    uint64_t now_ns;
    struct wheel_timer timers[TIMERS];
    struct wheel_timer others[OTHERS];
};

static void *make(const struct bench_case *self, char *why) {
    (void)self;
    (void)why;
    struct turning *t = bench_alloc(sizeof(*t));
    t->now_ns = NS_PER_S;
    wheel_init(&t->wheel, t->now_ns);
    for (uint64_t i = 0; i < OTHERS; i++) wheel_arm(&t->wheel, &t->others[i], t->now_ns + i * 6 * NS_PER_MS);
    while (wheel_pop(&t->wheel, t->now_ns)) continue;
    return t;
}

static void run_arm_disarm(void *state, uint64_t count) {
    struct turning *t = state;
    for (; count > 0; count--) {
        struct wheel_timer *timer = &t->timers[count % TIMERS];
        wheel_arm(&t->wheel, timer, t->now_ns + 2 * NS_PER_S);
        wheel_disarm(&t->wheel, timer);
    }
}

static void run_move(void *state, uint64_t count) {
    struct turning *t = state;
    for (; count > 0; count--) {
        wheel_arm(&t->wheel, &t->timers[count % TIMERS], t->now_ns + 2 * NS_PER_S + count % 1024 * NS_PER_MS);
    }
}

/* Others that come due are armed again, a minute later, as keep-alives are. */
static void run_fire(void *state, uint64_t count) {
    struct turning *t = state;
    while (count > 0) {
        uint64_t part = min_of(count, (uint64_t)TIMERS), fired = 0;
        for (uint64_t i = 0; i < part; i++) wheel_arm(&t->wheel, &t->timers[i], t->now_ns + NS_PER_MS);
        t->now_ns += 3ull << WHEEL_TICK_SHIFT;
        for (struct wheel_timer *timer; (timer = wheel_pop(&t->wheel, t->now_ns)) != NULL;) {
            bool is_ours = timer >= t->timers && timer < t->timers + TIMERS;
            fired += is_ours;
            if (!is_ours) wheel_arm(&t->wheel, timer, t->now_ns + 60 * NS_PER_S);
        }
        CHECK(fired == part);
        count -= part;
    }
}

void cases_wheel(struct bench_list *list) {
    struct bench_case c = {.make = make, .end = free};
    c.run = run_arm_disarm;
    bench_add(list, &c, "wheel/arm-disarm");
    c.run = run_move;
    bench_add(list, &c, "wheel/move");
    c.run = run_fire;
    bench_add(list, &c, "wheel/fire");
}
