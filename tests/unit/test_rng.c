/* test_rng.c - randomness as a parameter: replayable from a seed, fair below a bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/sys.h"

static void test_equal_seeds_replay(void **state) {
    (void)state;
    struct rng a, b;
    rng_init_seeded(&a, 42);
    rng_init_seeded(&b, 42);
    for (unsigned i = 0; i < 100; i++) {
        uint8_t from_a[77], from_b[77];
        rng_bytes(&a, from_a, i % sizeof(from_a));
        rng_bytes(&b, from_b, i % sizeof(from_b));
        assert_memory_equal(from_a, from_b, i % sizeof(from_a));
        assert_int_equal(rng_u64(&a), rng_u64(&b));
        assert_int_equal(rng_below(&a, 1 + i), rng_below(&b, 1 + i));
    }
}

static void test_draws_and_seeds_differ(void **state) {
    (void)state;
    struct rng a, b;
    rng_init_seeded(&a, 1);
    rng_init_seeded(&b, 2);
    uint64_t first = rng_u64(&a);
    assert_int_not_equal(first, rng_u64(&a));
    assert_int_not_equal(first, rng_u64(&b));
}

/* A recorded run must replay on the next version and on another machine. */
static void test_seeded_stream_is_pinned(void **state) {
    (void)state;
    struct rng rng;
    rng_init_seeded(&rng, 0);
    /* ChaCha20 with a zero key and a zero nonce, the first test vector of the cipher: 76 b8 e0 ad a0 f1 3d 90. */
    assert_int_equal(rng_u64(&rng), 0x903df1a0ade0b876);
}

static void test_system_generator_differs(void **state) {
    (void)state;
    struct rng rng;
    rng_init_system(&rng);
    uint64_t first = rng_u64(&rng);
    assert_int_not_equal(first, rng_u64(&rng));
    uint8_t none = 7;
    rng_bytes(&rng, &none, 0);
    assert_int_equal(none, 7);
}

static void test_below_stays_below(void **state) {
    (void)state;
    const uint64_t bounds[] = {1, 2, 3, 1000, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1, UINT64_MAX};
    struct rng rng;
    rng_init_seeded(&rng, 3);
    for (size_t i = 0; i < array_count(bounds); i++) {
        for (unsigned k = 0; k < 200; k++) assert_true(rng_below(&rng, bounds[i]) < bounds[i]);
    }
}

/* With 3 * 2^62 a plain modulo gives the first third twice as often as each of the others. */
static void test_below_is_fair(void **state) {
    (void)state;
    struct rng rng;
    rng_init_seeded(&rng, 4);
    unsigned thirds[3] = {0};
    for (unsigned i = 0; i < 30000; i++) thirds[rng_below(&rng, UINT64_C(3) << 62) >> 62]++;
    for (unsigned i = 0; i < 3; i++) assert_in_range(thirds[i], 9500, 10500);
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_seeds_replay),      cmocka_unit_test(test_draws_and_seeds_differ),
        cmocka_unit_test(test_seeded_stream_is_pinned), cmocka_unit_test(test_system_generator_differs),
        cmocka_unit_test(test_below_stays_below),       cmocka_unit_test(test_below_is_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
