/* test_pacer.c - the pacer against thread models: what a rest does to the rate and to the cost per packet is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/pacer.h"

struct model {
    double rate, cost;  // per ns, ns
    double resting_rate, resting_cost;
};

struct run {
    struct pacer pacer;
    uint64_t now_ns;
    double cpu_ns, units;
    uint64_t rested_ns;
};

static void run_for(struct run *r, const struct model *m, uint64_t duration_ns) {
    for (uint64_t end_ns = r->now_ns + duration_ns; r->now_ns < end_ns;) {
        bool rests = pacer_rests(&r->pacer);
        double units = (rests ? m->resting_rate : m->rate) * PACER_SPAN_NS;
        r->now_ns += PACER_SPAN_NS;
        r->units += units;
        r->cpu_ns += units * (rests ? m->resting_cost : m->cost);
        r->rested_ns += rests ? PACER_SPAN_NS : 0;
        assert_true(pacer_is_due(&r->pacer, r->now_ns));
        pacer_look(&r->pacer, r->now_ns, (uint64_t)r->cpu_ns, (uint64_t)r->units);
    }
}

static struct run begun(void) {
    struct run r = {.pacer.busy_permille = PACER_BUSY_PERMILLE, .now_ns = 1000 * NS_PER_S};
    pacer_look(&r.pacer, r.now_ns, 0, 0);
    return r;
}

/* One packet per write: 180,000 a second at 5.5 us fill the thread; resting, more are done for less. */
static const struct model few_at_a_time = {180e-6, 5500, 210e-6, 3100};
/* A window of one pair: whoever rests keeps the other side waiting. */
static const struct model waits_for_answers = {640e-6, 1300, 320e-6, 1600};
/* Nothing comes together by waiting. */
static const struct model many_clients = {110e-6, 7500, 110e-6, 7500};
static const struct model half_idle = {60e-6, 5500, 60e-6, 3100};

static void test_it_rests_where_that_helps(void **state) {
    (void)state;
    struct run r = begun();
    run_for(&r, &few_at_a_time, 10 * NS_PER_S);
    assert_true(pacer_rests(&r.pacer));
    assert_true(r.rested_ns > 9 * NS_PER_S);  // but for the checks
}

static void test_it_stops_where_that_harms(void **state) {
    const struct model *models[] = {&waits_for_answers, &many_clients};
    (void)state;
    for (size_t i = 0; i < array_count(models); i++) {
        struct run r = begun();
        run_for(&r, models[i], 60 * NS_PER_S);
        assert_false(pacer_rests(&r.pacer));
        assert_true(r.rested_ns > 0);  // tried it was
        assert_true(r.rested_ns < 60 * NS_PER_S / 100);
    }
}

static void test_who_is_not_busy_never_rests(void **state) {
    (void)state;
    struct run r = begun();
    run_for(&r, &half_idle, 60 * NS_PER_S);
    assert_int_equal(r.rested_ns, 0);
}

static void test_the_load_changes(void **state) {
    (void)state;
    struct run r = begun();
    run_for(&r, &few_at_a_time, 2 * NS_PER_S);
    assert_true(pacer_rests(&r.pacer));
    r.rested_ns = 0;
    run_for(&r, &waits_for_answers, 10 * NS_PER_S);  // a check finds it
    assert_false(pacer_rests(&r.pacer));
    assert_true(r.rested_ns < NS_PER_S);
    run_for(&r, &few_at_a_time, 10 * NS_PER_S);  // the next trial, after a pause of 4 s at most
    assert_true(pacer_rests(&r.pacer));
    struct model calm = {20e-6, 5500, 20e-6, 3100};
    run_for(&r, &calm, NS_PER_S);
    assert_false(pacer_rests(&r.pacer));
}

/* A thread that slept for long has no figure: the time asleep is no slow span. */
static void test_a_gap_ends_it(void **state) {
    (void)state;
    struct run r = begun();
    run_for(&r, &few_at_a_time, 2 * NS_PER_S);
    assert_true(pacer_rests(&r.pacer));
    r.now_ns += NS_PER_S;
    pacer_look(&r.pacer, r.now_ns, (uint64_t)r.cpu_ns, (uint64_t)r.units);
    assert_false(pacer_rests(&r.pacer));
    assert_false(pacer_is_due(&r.pacer, r.now_ns + PACER_SPAN_NS - 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_rests_where_that_helps),
        cmocka_unit_test(test_it_stops_where_that_harms),
        cmocka_unit_test(test_who_is_not_busy_never_rests),
        cmocka_unit_test(test_the_load_changes),
        cmocka_unit_test(test_a_gap_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
