/* test_wheel.c - timers against a naive model: never early, at most two ticks late, sleeping makes progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/sys.h"
#include "core/wheel.h"

#define TICK_NS (UINT64_C(1) << WHEEL_TICK_SHIFT)
#define HOUR_NS (3600 * NS_PER_S)
#define TIMERS 200

/* ---- by hand ---- */

static void test_fires_not_before_and_soon_after(void **state) {
    (void)state;
    struct wheel wheel;
    struct wheel_timer timer = {.kind = 3};
    uint64_t start_ns = 5 * HOUR_NS + 12345;
    wheel_init(&wheel, start_ns);
    assert_int_equal(wheel_next_ns(&wheel), TIME_NEVER);
    assert_false(wheel_timer_is_armed(&timer));
    wheel_arm(&wheel, &timer, start_ns + NS_PER_S);
    assert_true(wheel_timer_is_armed(&timer));
    assert_null(wheel_pop(&wheel, start_ns));
    assert_null(wheel_pop(&wheel, start_ns + NS_PER_S - 1));
    assert_ptr_equal(wheel_pop(&wheel, start_ns + NS_PER_S + 2 * TICK_NS), &timer);
    assert_false(wheel_timer_is_armed(&timer));
    assert_int_equal(timer.kind, 3);
    assert_null(wheel_pop(&wheel, start_ns + HOUR_NS));
    assert_int_equal(wheel_next_ns(&wheel), TIME_NEVER);
}

static void test_past_is_due_at_once(void **state) {
    (void)state;
    struct wheel wheel;
    struct wheel_timer timer = {0};
    wheel_init(&wheel, HOUR_NS);
    wheel_arm(&wheel, &timer, 0);
    assert_int_equal(wheel_next_ns(&wheel), 0);
    assert_ptr_equal(wheel_pop(&wheel, HOUR_NS), &timer);
    wheel_arm(&wheel, &timer, 0);  // from the loop, with the same now
    assert_ptr_equal(wheel_pop(&wheel, HOUR_NS), &timer);
    assert_null(wheel_pop(&wheel, HOUR_NS));
}

static void test_arming_again_moves(void **state) {
    (void)state;
    struct wheel wheel;
    struct wheel_timer timer = {0};
    wheel_init(&wheel, 0);
    wheel_arm(&wheel, &timer, NS_PER_S);
    wheel_arm(&wheel, &timer, HOUR_NS);
    assert_null(wheel_pop(&wheel, 2 * NS_PER_S));
    wheel_arm(&wheel, &timer, 3 * NS_PER_S);
    assert_ptr_equal(wheel_pop(&wheel, 4 * NS_PER_S), &timer);
    assert_null(wheel_pop(&wheel, 2 * HOUR_NS));
}

static void test_disarmed_is_silent(void **state) {
    (void)state;
    struct wheel wheel;
    struct wheel_timer timers[3] = {0};
    wheel_init(&wheel, 0);
    for (size_t i = 0; i < 3; i++) wheel_arm(&wheel, &timers[i], NS_PER_S);
    wheel_disarm(&wheel, &timers[1]);
    wheel_disarm(&wheel, &timers[1]);
    struct wheel_timer *first = wheel_pop(&wheel, 2 * NS_PER_S);
    assert_non_null(first);
    struct wheel_timer *other = first == &timers[0] ? &timers[2] : &timers[0];
    wheel_disarm(&wheel, other);  // due already, not yet reported
    assert_null(wheel_pop(&wheel, 2 * NS_PER_S));
    assert_int_equal(wheel_next_ns(&wheel), TIME_NEVER);
}

/* The slot of a disarmed timer does not wake anybody for the sake of those that are armed. */
static void test_disarmed_does_not_wake(void **state) {
    (void)state;
    struct wheel wheel;
    struct wheel_timer far = {0}, near[2] = {0};
    wheel_init(&wheel, 0);
    wheel_arm(&wheel, &far, 10 * HOUR_NS);
    uint64_t next_ns = wheel_next_ns(&wheel);
    for (uint64_t ns = TICK_NS; ns < HOUR_NS; ns *= 3) {
        for (size_t i = 0; i < 2; i++) wheel_arm(&wheel, &near[i], ns);
        assert_true(wheel_next_ns(&wheel) < next_ns);
        for (size_t i = 0; i < 2; i++) wheel_disarm(&wheel, &near[i]);
        assert_int_equal(wheel_next_ns(&wheel), next_ns);
    }
}

static void test_time_going_back_is_harmless(void **state) {
    (void)state;
    struct wheel wheel;
    struct wheel_timer timer = {0};
    wheel_init(&wheel, HOUR_NS);
    wheel_arm(&wheel, &timer, HOUR_NS + NS_PER_S);
    assert_null(wheel_pop(&wheel, 0));
    assert_ptr_equal(wheel_pop(&wheel, HOUR_NS + 2 * NS_PER_S), &timer);
}

/* Every distance around every power of two, so that each border between levels and slots is crossed. */
static void test_all_borders(void **state) {
    (void)state;
    for (uint64_t start = 0; start < 5 * 4096; start += 61) {
        for (unsigned bit = 0; bit < 28; bit++) {
            struct wheel wheel;
            struct wheel_timer timers[3] = {0};
            wheel_init(&wheel, start * TICK_NS);
            uint64_t middle_ns = (start + (UINT64_C(1) << bit)) * TICK_NS;
            for (size_t i = 0; i < 3; i++) wheel_arm(&wheel, &timers[i], middle_ns + i * TICK_NS - TICK_NS);
            for (size_t i = 0; i < 3; i++) {
                uint64_t deadline_ns = middle_ns + i * TICK_NS - TICK_NS;
                if (deadline_ns > start * TICK_NS) assert_null(wheel_pop(&wheel, deadline_ns - 1));
                assert_ptr_equal(wheel_pop(&wheel, deadline_ns + TICK_NS - 1), &timers[i]);
            }
        }
    }
}

/* ---- against a model ---- */

struct model {
    struct wheel wheel;
    struct wheel_timer timers[TIMERS];
    bool is_armed[TIMERS];
    uint64_t deadlines_ns[TIMERS];
    uint64_t now_ns;
    struct rng rng;
};

/* Any magnitude is as likely as any other, from a nanosecond to 2^bits. */
static uint64_t random_span_ns(struct rng *rng, unsigned bits) {
    return rng_below(rng, UINT64_C(1) << (1 + rng_below(rng, bits)));
}

static uint64_t random_deadline_ns(struct model *model) {
    switch (rng_below(&model->rng, 16)) {
        case 0: return model->now_ns - min_of(model->now_ns, random_span_ns(&model->rng, 46));  // past
        case 1: return model->now_ns + random_span_ns(&model->rng, 51);                         // beyond the horizon
        case 2: return rng_below(&model->rng, 4) ? model->now_ns : TIME_NEVER - rng_below(&model->rng, 2);
        default: return model->now_ns + random_span_ns(&model->rng, 44);
    }
}

static void model_arm(struct model *model, size_t idx, uint64_t deadline_ns) {
    wheel_arm(&model->wheel, &model->timers[idx], deadline_ns);
    model->is_armed[idx] = true;
    model->deadlines_ns[idx] = deadline_ns;
}

static void model_disarm(struct model *model, size_t idx) {
    wheel_disarm(&model->wheel, &model->timers[idx]);
    model->is_armed[idx] = false;
}

static uint64_t model_earliest_ns(const struct model *model) {
    uint64_t earliest_ns = TIME_NEVER;
    for (size_t i = 0; i < TIMERS; i++) {
        if (model->is_armed[i]) earliest_ns = min_of(earliest_ns, model->deadlines_ns[i]);
    }
    return earliest_ns;
}

static size_t model_armed_count(const struct model *model) {
    size_t count = 0;
    for (size_t i = 0; i < TIMERS; i++) count += model->is_armed[i];
    return count;
}

static void model_check(const struct model *model) {
    size_t wrong = 0;
    for (size_t i = 0; i < TIMERS; i++) wrong += wheel_timer_is_armed(&model->timers[i]) != model->is_armed[i];
    assert_int_equal(wrong, 0);
    assert_int_equal(model->wheel.armed_count, model_armed_count(model));
    uint64_t earliest_ns = model_earliest_ns(model), next_ns = wheel_next_ns(&model->wheel);
    if (model_armed_count(model) == 0) assert_int_equal(next_ns, TIME_NEVER);
    else if (earliest_ns < TIME_NEVER - 2 * TICK_NS) assert_true(next_ns <= earliest_ns + 2 * TICK_NS);
}

static void model_handle(struct model *model, struct wheel_timer *timer) {
    size_t idx = (size_t)(timer - model->timers);
    assert_true(idx < TIMERS && model->is_armed[idx]);
    assert_true(model->deadlines_ns[idx] <= model->now_ns);  // never early
    model->is_armed[idx] = false;
    uint64_t what = rng_below(&model->rng, 8);
    if (what == 0) model_arm(model, idx, random_deadline_ns(model));
    if (what == 1) model_disarm(model, rng_below(&model->rng, TIMERS));
    if (what == 2) model_arm(model, rng_below(&model->rng, TIMERS), random_deadline_ns(model));
}

static void model_pop_all(struct model *model, bool with_handling) {
    struct wheel_timer *timer;
    while ((timer = wheel_pop(&model->wheel, model->now_ns)) != NULL) {
        if (with_handling) {
            model_handle(model, timer);
            continue;
        }
        assert_true(model->deadlines_ns[timer - model->timers] <= model->now_ns);
        model->is_armed[timer - model->timers] = false;
    }
    uint64_t earliest_ns = model_earliest_ns(model);
    assert_true(earliest_ns + 2 * TICK_NS > model->now_ns || earliest_ns >= TIME_NEVER - 2 * TICK_NS);  // not too late
    assert_true(wheel_next_ns(&model->wheel) > model->now_ns);  // a loop that sleeps until then is not busy
}

static void model_step(struct model *model) {
    size_t idx = rng_below(&model->rng, TIMERS);
    switch (rng_below(&model->rng, 8)) {
        case 0: model_disarm(model, idx); return;
        case 1: model->now_ns += random_span_ns(&model->rng, 47); break;  // up to 39 h at a stroke
        case 2: model->now_ns += random_span_ns(&model->rng, 34); break;
        case 3:
            if (wheel_next_ns(&model->wheel) != TIME_NEVER) {
                model->now_ns = max_of(model->now_ns, wheel_next_ns(&model->wheel));
            }
            break;
        default: model_arm(model, idx, random_deadline_ns(model)); return;
    }
    model_pop_all(model, true);
}

static void model_init(struct model *model, uint64_t seed) {
    memset(model, 0, sizeof(*model));
    rng_init_seeded(&model->rng, seed);
    model->now_ns = random_span_ns(&model->rng, 55);
    wheel_init(&model->wheel, model->now_ns);
}

static void test_random_against_model(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        static struct model model;
        model_init(&model, seed);
        for (unsigned step = 0; step < 3000; step++) {
            model_step(&model);
            model_check(&model);
        }
    }
}

/* A thread that only sleeps until wheel_next_ns and pops gets every timer, in few wake-ups. */
static void test_sleeping_ends(void **state) {
    (void)state;
    for (uint64_t seed = 100; seed < 120; seed++) {
        static struct model model;
        model_init(&model, seed);
        for (size_t i = 0; i < TIMERS; i++) model_arm(&model, i, model.now_ns + random_span_ns(&model.rng, 50));
        unsigned wakes = 0;
        model_pop_all(&model, false);
        for (; model_armed_count(&model) > 0; wakes++) {
            assert_true(wakes < TIMERS * (WHEEL_LEVELS + 20));  // 20: 2^50 ns are 16 horizons
            model.now_ns = wheel_next_ns(&model.wheel);
            model_pop_all(&model, false);
            model_check(&model);
        }
    }
}

/* Two wheels with the same history report the same order: the simulator replays. */
static void test_order_is_reproducible(void **state) {
    (void)state;
    static struct model a, b;
    model_init(&a, 7);
    model_init(&b, 7);
    for (size_t i = 0; i < TIMERS; i++) {
        uint64_t deadline_ns = a.now_ns + random_span_ns(&a.rng, 36);
        model_arm(&a, i, deadline_ns);
        model_arm(&b, i, deadline_ns);
    }
    for (size_t i = 0; i < TIMERS; i++) {
        a.now_ns += HOUR_NS;
        struct wheel_timer *from_a = wheel_pop(&a.wheel, a.now_ns), *from_b = wheel_pop(&b.wheel, a.now_ns);
        assert_true(from_a != NULL && from_b != NULL);
        assert_int_equal(from_a - a.timers, from_b - b.timers);
    }
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fires_not_before_and_soon_after),
        cmocka_unit_test(test_past_is_due_at_once),
        cmocka_unit_test(test_arming_again_moves),
        cmocka_unit_test(test_disarmed_is_silent),
        cmocka_unit_test(test_disarmed_does_not_wake),
        cmocka_unit_test(test_time_going_back_is_harmless),
        cmocka_unit_test(test_all_borders),
        cmocka_unit_test(test_random_against_model),
        cmocka_unit_test(test_sleeping_ends),
        cmocka_unit_test(test_order_is_reproducible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
