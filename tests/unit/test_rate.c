/* test_rate.c - the token bucket: exact over hours and any steps, debts, bursts, and the ends of the numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "relay/rate.h"

#define START_NS (1000 * NS_PER_S + 7)

enum { READ_MAX = 32 * 1024 };

static struct rate_bucket bucket_of(uint64_t bytes_per_s, uint64_t burst_bytes, uint64_t now_ns) {
    struct rate_limit limit = rate_limit_of(bytes_per_s, burst_bytes);
    struct rate_bucket bucket;
    memset(&bucket, 0xa5, sizeof(bucket));
    rate_init(&bucket, &limit, now_ns);
    return bucket;
}

/* ---- limits and costs ---- */

static void test_limits(void **state) {
    (void)state;
    const struct {
        uint64_t rate, burst;
        struct rate_limit limit;
    } rows[] = {
        {0, 0, {0, 0}},
        {0, 5000000, {0, 0}},  // no limit has no burst
        {1, 0, {1, 65568}},
        {1, 65567, {1, 65568}},
        {1, 65568, {1, 65568}},
        {1, 65569, {1, 65569}},
        {1000000, 10, {1000000, 65568}},
        {RATE_MAX, RATE_MAX, {RATE_MAX, RATE_MAX}},
        {RATE_MAX + 1, RATE_MAX + 1, {RATE_MAX, RATE_MAX}},
        {UINT64_MAX, UINT64_MAX, {RATE_MAX, RATE_MAX}},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct rate_limit limit = rate_limit_of(rows[i].rate, rows[i].burst);
        assert_true(limit.bytes_per_s == rows[i].limit.bytes_per_s);
        assert_true(limit.burst_bytes == rows[i].limit.burst_bytes);
    }
}

static void test_costs(void **state) {
    (void)state;
    assert_int_equal(RATE_BURST_MIN, 65568);
    assert_int_equal(rate_cost(0), 0);
    assert_int_equal(rate_cost(1), 1);
    assert_int_equal(rate_cost(65567), 65567);
    assert_int_equal(rate_cost(65568), 65568);
    assert_int_equal(rate_cost(65569), 65568);
    assert_int_equal(rate_cost(UINT32_MAX), 65568);
}

/* Does rate_init with this limit end the process? */
static bool dies(struct rate_limit limit) {
    pid_t child = fork();
    if (child == 0) {
        struct rate_bucket bucket;
        (void)close(STDERR_FILENO);
        rate_init(&bucket, &limit, 0);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_a_limit_that_nobody_made_is_a_bug(void **state) {
    (void)state;
    assert_true(dies((struct rate_limit){1, 0}));
    assert_true(dies((struct rate_limit){1, 65567}));
    assert_true(dies((struct rate_limit){RATE_MAX + 1, 65568}));
    assert_true(dies((struct rate_limit){1, RATE_MAX + 1}));
    assert_false(dies((struct rate_limit){1, 65568}));
    assert_false(dies((struct rate_limit){RATE_MAX, RATE_MAX}));
    assert_false(dies((struct rate_limit){0, 0}));
}

static void assert_never_waits(struct rate_bucket bucket) {
    for (int i = 0; i < 100; i++) rate_charge(&bucket, UINT64_MAX, START_NS);
    assert_int_equal(rate_wait_ns(&bucket, START_NS), 0);
    assert_int_equal(rate_wait_ns(&bucket, 0), 0);
}

static void test_no_limit(void **state) {
    (void)state;
    assert_never_waits(bucket_of(0, 0, START_NS));
    assert_never_waits((struct rate_bucket){0});
    struct rate_bucket bucket = bucket_of(0, 5000000, START_NS);
    assert_memory_equal(&bucket, &(struct rate_bucket){0}, sizeof(bucket));
}

/* ---- burst and debt ---- */

static void test_it_starts_full(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1000, 100000, START_NS);
    assert_int_equal(rate_wait_ns(&bucket, START_NS), 0);
    rate_charge(&bucket, 100000, START_NS);
    assert_int_equal(rate_wait_ns(&bucket, START_NS), 0);  // empty is not in debt
    rate_charge(&bucket, 1, START_NS);
    assert_int_equal(rate_wait_ns(&bucket, START_NS), NS_PER_MS);
}

static void test_a_debt_is_paid_at_the_rate(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1000, 65568, START_NS);
    rate_charge(&bucket, 65568, START_NS);
    rate_charge(&bucket, 65568, START_NS);
    assert_int_equal(rate_wait_ns(&bucket, START_NS), 65568 * NS_PER_MS);
    assert_int_equal(rate_wait_ns(&bucket, START_NS + NS_PER_S), 64568 * NS_PER_MS);
    rate_charge(&bucket, 500, START_NS + NS_PER_S);  // more debt while in debt
    assert_int_equal(rate_wait_ns(&bucket, START_NS + NS_PER_S), 65068 * NS_PER_MS);
    uint64_t paid_ns = START_NS + NS_PER_S + 65068 * NS_PER_MS;
    assert_int_equal(rate_wait_ns(&bucket, paid_ns - 1), 1);
    assert_int_equal(rate_wait_ns(&bucket, paid_ns), 0);
    assert_int_equal(rate_wait_ns(&bucket, paid_ns + NS_PER_S), 0);
}

/* A rate that divides no second: the wait is rounded up, and not by more than a nanosecond. */
static void test_a_wait_is_exact(void **state) {
    (void)state;
    const uint64_t rates[] = {3, 7, 999999937, 1000000007, 3000000019, 123456789012345};
    for (size_t i = 0; i < array_count(rates); i++) {
        struct rate_bucket bucket = bucket_of(rates[i], 65568, START_NS);
        rate_charge(&bucket, 65568 + 65567, START_NS);
        uint64_t wait_ns = rate_wait_ns(&bucket, START_NS);
        unsigned __int128 debt = (unsigned __int128)65567 * NS_PER_S;
        assert_true((unsigned __int128)wait_ns * rates[i] >= debt);
        assert_true((unsigned __int128)(wait_ns - 1) * rates[i] < debt);
        for (uint64_t before = 0; before <= 1; before++) {  // what rate_wait_ns says is what rate_charge does
            struct rate_bucket then = bucket;
            rate_charge(&then, 0, START_NS + wait_ns - before);
            assert_int_equal(then.missing_bytes > then.burst_bytes, before);
        }
    }
}

/* What came in of a byte shortens the wait for it. */
static void test_a_fraction_counts(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(3, 65568, START_NS);
    rate_charge(&bucket, 65568 + 3, START_NS);
    rate_charge(&bucket, 0, START_NS + NS_PER_S / 2);  // one byte and a half
    assert_int_equal(bucket.fraction, NS_PER_S / 2);
    assert_int_equal(rate_wait_ns(&bucket, START_NS + NS_PER_S / 2), NS_PER_S / 2);
    rate_charge(&bucket, 0, START_NS + NS_PER_S / 6 * 7);  // out of debt, and half a byte beyond
    assert_int_equal(bucket.missing_bytes, 65568);
    assert_true(bucket.fraction > 0);
    assert_int_equal(rate_wait_ns(&bucket, START_NS + NS_PER_S / 6 * 7), 0);
}

static void test_waiting_changes_nothing(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1000, 65568, START_NS);
    rate_charge(&bucket, 70000, START_NS);
    struct rate_bucket before = bucket;
    for (uint64_t i = 0; i < 100; i++) (void)!rate_wait_ns(&bucket, START_NS + i * NS_PER_S);
    assert_memory_equal(&bucket, &before, sizeof(bucket));
}

/* However long nothing comes, one burst is granted, not two. */
static void test_idle_refills_to_the_burst_only(void **state) {
    (void)state;
    const uint64_t idle_ns[] = {0, 1, NS_PER_S, 3600 * NS_PER_S, UINT64_MAX - START_NS};
    for (size_t i = 0; i < array_count(idle_ns); i++) {
        struct rate_bucket bucket = bucket_of(1000000, 100000, START_NS);
        uint64_t now_ns = START_NS + idle_ns[i];
        rate_charge(&bucket, 100000, now_ns);
        assert_int_equal(bucket.missing_bytes, 100000);
        assert_int_equal(bucket.fraction, 0);
        assert_int_equal(rate_wait_ns(&bucket, now_ns), 0);
        rate_charge(&bucket, 1, now_ns);
        assert_int_equal(rate_wait_ns(&bucket, now_ns), min_of(NS_PER_US, TIME_NEVER - now_ns));
    }
}

static void test_a_partly_empty_bucket_fills_up(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(3, 65568, START_NS);
    rate_charge(&bucket, 2, START_NS);
    rate_charge(&bucket, 0, START_NS + NS_PER_S / 3);  // a hair less than one byte
    assert_int_equal(bucket.missing_bytes, 2);
    assert_int_equal(bucket.fraction, 999999999);
    rate_charge(&bucket, 0, START_NS + NS_PER_S / 3 + 1);
    assert_int_equal(bucket.missing_bytes, 1);
    assert_int_equal(bucket.fraction, 2);
    rate_charge(&bucket, 0, START_NS + NS_PER_S);
    assert_int_equal(bucket.missing_bytes, 0);
    assert_int_equal(bucket.fraction, 0);
}

/* ---- over time ---- */

/* While the bucket is never full, what it lacks is what was charged less rate x time, cut once: no drift. */
static void assert_no_drift(uint64_t rate, uint64_t step_max_ns, uint64_t seed) {
    struct rng rng;
    rng_init_seeded(&rng, seed);
    struct rate_bucket bucket = bucket_of(rate, 65568, START_NS);
    uint64_t now_ns = START_NS, reserve = 1ull << 61;
    unsigned __int128 charged = reserve;
    rate_charge(&bucket, reserve, now_ns);  // deep in debt, so that it never fills up
    for (int i = 0; i < 200000; i++) {
        now_ns += rng_below(&rng, step_max_ns + 1);
        uint64_t cost = rate_cost((uint32_t)rng_u64(&rng) & 0x1ffff);
        rate_charge(&bucket, cost, now_ns);
        charged += cost;
    }
    unsigned __int128 gained = (unsigned __int128)(now_ns - START_NS) * rate;
    assert_true(gained / NS_PER_S < charged);
    assert_true(bucket.missing_bytes == charged - gained / NS_PER_S);
    assert_true(bucket.fraction == gained % NS_PER_S);
}

static void test_no_drift(void **state) {
    (void)state;
    const uint64_t rates[] = {1, 3, 999, 65568, 1000003, 999999937, NS_PER_S, NS_PER_S + 7, 12500000000ull};
    for (size_t i = 0; i < array_count(rates); i++) {
        assert_no_drift(rates[i], 3, i);
        assert_no_drift(rates[i], NS_PER_US + 1, i);
        assert_no_drift(rates[i], 10 * NS_PER_MS + 3, i);
    }
}

/* A client that always has more to send, in reads and frames of any size: it gets the rate, no less, and no more than
 * one burst and one read above it. */
static void assert_greedy_client_gets(uint64_t rate, uint64_t burst, uint64_t seconds, uint64_t seed) {
    struct rng rng;
    rng_init_seeded(&rng, seed);
    struct rate_bucket bucket = bucket_of(rate, burst, START_NS);
    uint64_t now_ns = START_NS, end_ns = START_NS + seconds * NS_PER_S, sum = 0;
    for (;;) {
        uint64_t wait_ns = rate_wait_ns(&bucket, now_ns);
        assert_int_equal(rate_wait_ns(&bucket, now_ns + wait_ns), 0);
        now_ns += wait_ns;
        if (now_ns > end_ns) break;
        for (uint64_t left = 1 + rng_below(&rng, READ_MAX); left > 0;) {
            uint64_t frame = 1 + rng_below(&rng, left);
            rate_charge(&bucket, frame, now_ns);
            sum += frame;
            left -= frame;
        }
    }
    assert_true(sum >= bucket.burst_bytes + rate * seconds);
    assert_true(sum <= bucket.burst_bytes + rate * seconds + READ_MAX);
}

static void test_the_long_run(void **state) {
    (void)state;
    assert_greedy_client_gets(1000000, 0, 600, 1);
    assert_greedy_client_gets(1000003, 5000000, 600, 2);
    assert_greedy_client_gets(7, 0, 30 * 86400, 3);
    assert_greedy_client_gets(1, 100000, 365 * 86400, 4);
    assert_greedy_client_gets(12500000001ull, 1 << 20, 1, 5);
}

/* Below the rate nobody ever waits. */
static void test_a_modest_client_never_waits(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1000000, 65568, START_NS);
    uint64_t now_ns = START_NS;
    for (int i = 0; i < 100000; i++) {
        now_ns += 65568 * NS_PER_US;
        rate_charge(&bucket, 65568, now_ns);
        assert_int_equal(rate_wait_ns(&bucket, now_ns), 0);
    }
    assert_int_equal(bucket.missing_bytes, 65568);
}

/* ---- odd clocks and great numbers ---- */

static void test_time_that_stands_still(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1000000000, 65568, START_NS);
    for (int i = 0; i < 1000; i++) rate_charge(&bucket, 100, START_NS);
    assert_int_equal(bucket.missing_bytes, 100000);
    assert_int_equal(rate_wait_ns(&bucket, START_NS), 100000 - 65568);
}

/* Backwards nothing is taken away, and when the clock has caught up nothing is given twice. */
static void test_time_that_goes_backwards(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1000, 65568, START_NS);
    rate_charge(&bucket, 65568 + 2000, START_NS);
    rate_charge(&bucket, 0, START_NS + NS_PER_S);
    assert_int_equal(bucket.missing_bytes, 65568 + 1000);
    assert_int_equal(rate_wait_ns(&bucket, START_NS + NS_PER_S / 2), 3 * NS_PER_S / 2);
    rate_charge(&bucket, 10, START_NS + NS_PER_S / 2);
    assert_int_equal(bucket.missing_bytes, 65568 + 1010);
    assert_int_equal(bucket.refilled_ns, START_NS + NS_PER_S);
    rate_charge(&bucket, 0, 0);
    rate_charge(&bucket, 0, START_NS + NS_PER_S);
    assert_int_equal(bucket.missing_bytes, 65568 + 1010);
    rate_charge(&bucket, 0, START_NS + 2 * NS_PER_S);
    assert_int_equal(bucket.missing_bytes, 65568 + 10);
}

static void test_a_tiny_rate(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1, 0, 0);
    rate_charge(&bucket, 2 * 65568, 0);
    assert_int_equal(rate_wait_ns(&bucket, 0), 65568 * NS_PER_S);
    for (uint64_t i = 1; i <= 1000; i++) rate_charge(&bucket, 0, i * NS_PER_MS);  // each far less than a byte
    assert_int_equal(bucket.missing_bytes, 2 * 65568 - 1);
    assert_int_equal(rate_wait_ns(&bucket, NS_PER_S), 65567 * NS_PER_S);
}

static void test_the_greatest_numbers(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(RATE_MAX, RATE_MAX, 0);
    rate_charge(&bucket, UINT64_MAX, 0);
    assert_true(bucket.missing_bytes == UINT64_MAX);
    rate_charge(&bucket, UINT64_MAX, 0);
    assert_true(bucket.missing_bytes == UINT64_MAX);
    assert_int_equal(rate_wait_ns(&bucket, 0), 3 * NS_PER_S);  // 2^64 - 1 - 2^62 bytes, rounded up
    rate_charge(&bucket, 0, NS_PER_S);
    assert_true(bucket.missing_bytes == UINT64_MAX - RATE_MAX);
    rate_charge(&bucket, 0, UINT64_MAX);
    assert_int_equal(bucket.missing_bytes, 0);
}

/* A debt nobody lives to pay ends at "never", and the sum of now and the wait is no small number. */
static void test_a_wait_beyond_the_clock(void **state) {
    (void)state;
    struct rate_bucket bucket = bucket_of(1, 0, START_NS);
    rate_charge(&bucket, UINT64_MAX, START_NS);
    assert_true(rate_wait_ns(&bucket, START_NS) == TIME_NEVER - START_NS);
    assert_true(rate_wait_ns(&bucket, START_NS + 5) == TIME_NEVER - START_NS - 5);
    assert_int_equal(rate_wait_ns(&bucket, TIME_NEVER), 0);
    bucket = bucket_of(1, 0, UINT64_MAX - 1);
    rate_charge(&bucket, 65569, UINT64_MAX - 1);
    assert_int_equal(rate_wait_ns(&bucket, UINT64_MAX - 1), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_a_limit_that_nobody_made_is_a_bug),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_it_starts_full),
        cmocka_unit_test(test_a_debt_is_paid_at_the_rate),
        cmocka_unit_test(test_a_wait_is_exact),
        cmocka_unit_test(test_a_fraction_counts),
        cmocka_unit_test(test_waiting_changes_nothing),
        cmocka_unit_test(test_idle_refills_to_the_burst_only),
        cmocka_unit_test(test_a_partly_empty_bucket_fills_up),
        cmocka_unit_test(test_no_drift),
        cmocka_unit_test(test_the_long_run),
        cmocka_unit_test(test_a_modest_client_never_waits),
        cmocka_unit_test(test_time_that_stands_still),
        cmocka_unit_test(test_time_that_goes_backwards),
        cmocka_unit_test(test_a_tiny_rate),
        cmocka_unit_test(test_the_greatest_numbers),
        cmocka_unit_test(test_a_wait_beyond_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
