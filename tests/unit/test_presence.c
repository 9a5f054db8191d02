/* test_presence.c - the stream of present and gone: cursors read all of it in order, or learn that they cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/sys.h"
#include "relay/presence.h"

static struct presence presence;

static int set_up(void **state) {
    (void)state;
    memset(&presence, 0, sizeof(presence));
    return 0;
}

/* Event number n says so in each of its fields. */
static void write_event(void) {
    uint64_t n = presence.written;
    struct presence_event event = {.kind = n % 2 ? PRESENCE_GONE : PRESENCE_PRESENT, .where = n + 1, .conn_id = n * 3};
    memset(&event.key, (int)(n % 251), sizeof(event.key));
    presence_write(&presence, &event);
    assert_int_equal(presence.written, n + 1);
}

/* The event at the cursor has to be the cursor's number. */
static void assert_reads(uint64_t *cursor) {
    uint64_t n = *cursor;
    struct presence_event event;
    assert_int_equal(presence_read(&presence, cursor, &event), PRESENCE_EVENT);
    assert_int_equal(*cursor, n + 1);
    assert_int_equal(event.kind, n % 2 ? PRESENCE_GONE : PRESENCE_PRESENT);
    assert_int_equal(event.where, n + 1);
    assert_int_equal(event.conn_id, n * 3);
    assert_int_equal(event.key.bytes[0], n % 251);
    assert_int_equal(event.key.bytes[31], n % 251);
}

static void assert_no_event(uint64_t *cursor, enum presence_result wanted) {
    uint64_t before = *cursor;
    struct presence_event event, untouched;
    memset(&event, 0x5a, sizeof(event));
    memset(&untouched, 0x5a, sizeof(untouched));
    assert_int_equal(presence_read(&presence, cursor, &event), wanted);
    assert_int_equal(*cursor, before);
    assert_memory_equal(&event, &untouched, sizeof(event));
}

static void test_a_cursor_begins_at_now(void **state) {
    (void)state;
    for (int i = 0; i < 10; i++) write_event();
    uint64_t cursor = presence.written;
    assert_no_event(&cursor, PRESENCE_NONE);
    write_event();
    assert_reads(&cursor);
    assert_no_event(&cursor, PRESENCE_NONE);
}

static void test_the_whole_ring_can_be_read(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) write_event();
    uint64_t cursor = presence.written;
    for (int i = 0; i < PRESENCE_EVENTS; i++) write_event();
    while (cursor < presence.written) assert_reads(&cursor);
    assert_no_event(&cursor, PRESENCE_NONE);
}

static void test_one_more_is_a_loss(void **state) {
    (void)state;
    uint64_t cursor = 0, beside = 1;
    for (int i = 0; i < PRESENCE_EVENTS; i++) write_event();
    write_event();
    assert_no_event(&cursor, PRESENCE_LOST);
    assert_no_event(&cursor, PRESENCE_LOST);  // and it stays one
    assert_reads(&beside);                    // the oldest that is still there
    for (int i = 0; i < 3 * PRESENCE_EVENTS; i++) write_event();
    assert_no_event(&beside, PRESENCE_LOST);
    // starting over is a new cursor
    cursor = presence.written;
    write_event();
    assert_reads(&cursor);
}

/* Readers at their own pace: each reads every event in order until it has fallen behind. */
static void test_many_cursors(void **state) {
    (void)state;
    enum { CURSORS = 8 };
    uint64_t cursors[CURSORS] = {0};
    uint64_t losses = 0;
    struct rng rng;
    rng_init_seeded(&rng, 1);
    for (int i = 0; i < 3000; i++) {
        for (uint64_t n = rng_below(&rng, 20); n > 0; n--) write_event();
        for (size_t c = 0; c < CURSORS; c++) {
            if (rng_below(&rng, 1 + c * c * 20) != 0) continue;  // later ones sleep longer
            if (presence.written - cursors[c] > PRESENCE_EVENTS) {
                assert_no_event(&cursors[c], PRESENCE_LOST);
                cursors[c] = presence.written;
                losses++;
            }
            while (cursors[c] < presence.written) assert_reads(&cursors[c]);
            assert_no_event(&cursors[c], PRESENCE_NONE);
        }
    }
    assert_true(losses > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_cursor_begins_at_now, set_up),
        cmocka_unit_test_setup(test_the_whole_ring_can_be_read, set_up),
        cmocka_unit_test_setup(test_one_more_is_a_loss, set_up),
        cmocka_unit_test_setup(test_many_cursors, set_up),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
