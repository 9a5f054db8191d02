/* test_parcel.c - envelopes between front and worker: each number is out once, all come back, the largest login fits.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/sys.h"
#include "proto/login.h"
#include "relay/conn_value.h"
#include "relay/parcel.h"

struct fixture {
    struct arena arena;
    struct parcel_box box;
};

static struct fixture fixture;

static int set_up(void **state) {
    (void)state;
    if (arena_init(&fixture.arena, parcel_box_footprint()) != 0) return -1;
    parcel_box_init(&fixture.box, &fixture.arena);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_fini(&fixture.arena);
    return 0;
}

static void test_footprint_is_what_init_takes(void **state) {
    (void)state;
    assert_int_equal(fixture.arena.used, parcel_box_footprint());
}

static void test_each_is_out_once(void **state) {
    (void)state;
    bool is_out[LIMIT_PARCELS] = {false};
    uint16_t idx = 0;
    for (size_t i = 0; i < LIMIT_PARCELS; i++) {
        assert_true(parcel_take(&fixture.box, &idx));
        assert_true(idx < LIMIT_PARCELS);
        assert_false(is_out[idx]);
        is_out[idx] = true;
        memset(fixture.box.parcels[idx].bytes, idx & 0xff, PARCEL_BYTES_MAX);
    }
    assert_false(parcel_take(&fixture.box, &idx));
    for (uint16_t i = 0; i < LIMIT_PARCELS; i++) {
        assert_int_equal(fixture.box.parcels[i].bytes[0], i & 0xff);
        assert_int_equal(fixture.box.parcels[i].bytes[PARCEL_BYTES_MAX - 1], i & 0xff);
        parcel_give(&fixture.box, i);
    }
    assert_int_equal(fixture.box.free_count, LIMIT_PARCELS);
}

static void test_random_takes_and_gives(void **state) {
    (void)state;
    static bool is_out[LIMIT_PARCELS];
    size_t out = 0;
    struct rng rng;
    rng_init_seeded(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        uint16_t idx = 0;
        if (rng_below(&rng, 100) < (i / 2000 % 2 ? 30u : 70u)) {
            assert_int_equal(parcel_take(&fixture.box, &idx), out < LIMIT_PARCELS);
            if (out == LIMIT_PARCELS) continue;
            assert_false(is_out[idx]);
            is_out[idx] = true;
            out++;
        } else if (is_out[idx = (uint16_t)rng_below(&rng, LIMIT_PARCELS)]) {
            parcel_give(&fixture.box, idx);
            is_out[idx] = false;
            out--;
        }
        assert_int_equal(fixture.box.free_count, LIMIT_PARCELS - out);
    }
}

/* What a login packs at most: all that came behind ClientInfo, opened and not yet opened, and ServerInfo. */
static void test_the_largest_login_fits(void **state) {
    (void)state;
    static const uint8_t bytes[max_of(LIMIT_RECORD_SIZE_MAX, LIMIT_LOGIN_REST_MAX)];
    struct conn_value value = {.unopened = {bytes, LIMIT_RECORD_SIZE_MAX},
                               .opened = {bytes, LIMIT_LOGIN_REST_MAX},
                               .urgent = {bytes, LOGIN_SERVER_INFO_FRAME_SIZE}};
    assert_true(conn_value_packed_size(&value) <= PARCEL_BYTES_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_footprint_is_what_init_takes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each_is_out_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_takes_and_gives, set_up, tear_down),
        cmocka_unit_test(test_the_largest_login_fits),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
