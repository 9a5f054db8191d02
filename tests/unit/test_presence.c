/* test_presence.c - the stream of present and gone: cursors read all of it in order, or learn that they cannot; also on
 * other threads, also where the writer is writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

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
static struct presence_event event_of(uint64_t n) {
    struct presence_event event;
    memset(&event, (int)(n % 251), sizeof(event));
    event.kind = n % 2 ? PRESENCE_GONE : PRESENCE_PRESENT;
    event.where = n + 1;
    event.present.conn_id = n * 3;
    memcpy(event.key.bytes, &n, sizeof(n));
    memcpy(event.key.bytes + KEY_SIZE - sizeof(n), &n, sizeof(n));
    memcpy(event.present.ip + 1, &n, sizeof(n));
    event.present.port = (uint16_t)(n * 7);
    event.present.flags = (uint8_t)(n * 11);
    memcpy(event.present.app_name + sizeof(event.present.app_name) - sizeof(n), &n, sizeof(n));
    return event;
}

static bool event_is(const struct presence_event *event, uint64_t n) {
    struct presence_event wanted = event_of(n);
    return memcmp(event, &wanted, sizeof(wanted)) == 0;
}

static void write_event(void) {
    uint64_t n = presence_end(&presence);
    struct presence_event event = event_of(n);
    presence_write(&presence, &event);
    assert_int_equal(presence_end(&presence), n + 1);
}

/* The event at the cursor has to be the cursor's number. */
static void assert_reads(uint64_t *cursor) {
    uint64_t n = *cursor;
    struct presence_event event;
    assert_int_equal(presence_read(&presence, cursor, &event), PRESENCE_EVENT);
    assert_int_equal(*cursor, n + 1);
    assert_true(event_is(&event, n));
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
    uint64_t cursor = presence_end(&presence);
    assert_no_event(&cursor, PRESENCE_NONE);
    write_event();
    assert_reads(&cursor);
    assert_no_event(&cursor, PRESENCE_NONE);
}

static void test_the_whole_ring_can_be_read(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) write_event();
    uint64_t cursor = presence_end(&presence);
    for (int i = 0; i < PRESENCE_EVENTS; i++) write_event();
    while (cursor < presence_end(&presence)) assert_reads(&cursor);
    assert_no_event(&cursor, PRESENCE_NONE);
}

static void test_one_more_is_a_loss(void **state) {
    (void)state;
    uint64_t cursor = 0, beside = 1;
    for (int i = 0; i < PRESENCE_EVENTS; i++) write_event();
    write_event();
    assert_no_event(&cursor, PRESENCE_LOST);
    assert_no_event(&cursor, PRESENCE_LOST);  // and it stays one
    assert_reads(&beside);  // the oldest that is still there
    for (int i = 0; i < 3 * PRESENCE_EVENTS; i++) write_event();
    assert_no_event(&beside, PRESENCE_LOST);
    // starting over is a new cursor
    cursor = presence_end(&presence);
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
            if (presence_end(&presence) - cursors[c] > PRESENCE_EVENTS) {
                assert_no_event(&cursors[c], PRESENCE_LOST);
                cursors[c] = presence_end(&presence);
                losses++;
            }
            while (cursors[c] < presence_end(&presence)) assert_reads(&cursors[c]);
            assert_no_event(&cursors[c], PRESENCE_NONE);
        }
    }
    assert_true(losses > 0);
}

/* While event n is being written the one whose place it takes is lost, and itself is not there yet. */
static void test_a_write_under_way(void **state) {
    (void)state;
    uint64_t oldest = 100, end = 100 + PRESENCE_EVENTS;
    while (presence_end(&presence) < end) write_event();
    assert_reads(&oldest);
    oldest = 100;
    atomic_store(&presence.begun, end + 1);
    assert_no_event(&oldest, PRESENCE_LOST);
    oldest = 101;
    assert_reads(&oldest);
    assert_int_equal(presence_end(&presence), end);
    assert_no_event(&end, PRESENCE_NONE);
    write_event();
    assert_reads(&end);
}

/* ---- one writer, several watchers: what ThreadSanitizer is for ---- */

enum { WATCHERS = 3, STRESS_EVENTS = 60 * PRESENCE_EVENTS, STRESS_EVENTS_MAX = 50 * STRESS_EVENTS };

struct watcher {
    pthread_t id;
    _Atomic uint64_t cursor;  // where it stands, for a writer that waits
    _Atomic uint64_t losses;
    uint64_t events, missed, wrong;
};

static _Atomic bool is_over;

/* LOST is the truth when the event's place has been given to another, or was about to be. */
static void note_loss(struct watcher *w, uint64_t cursor) {
    atomic_fetch_add(&w->losses, 1);
    if (presence_end(&presence) + 1 - cursor <= PRESENCE_EVENTS) w->wrong++;
}

static void note_none(struct watcher *w, uint64_t cursor, uint64_t end_before) {
    if (cursor < end_before) w->wrong++;
    sched_yield();
}

/* Reads what is at *cursor. False when there is nothing. */
static bool read_one(struct watcher *w, uint64_t *cursor) {
    struct presence_event event;
    uint64_t n = *cursor, end_before = presence_end(&presence);
    switch (presence_read(&presence, cursor, &event)) {
        case PRESENCE_EVENT:
            w->events++;
            if (!event_is(&event, n) || *cursor != n + 1) w->wrong++;
            return true;
        case PRESENCE_NONE: note_none(w, n, end_before); return false;
        case PRESENCE_LOST:
            note_loss(w, n);
            *cursor = presence_end(&presence);
            w->missed += *cursor - n;
            return true;
    }
    return false;
}

/* From the first event to the last. */
static void *follow(void *argument) {
    struct watcher *w = argument;
    uint64_t cursor = 0;
    bool was_over;
    do {
        was_over = atomic_load(&is_over);
        while (read_one(w, &cursor)) atomic_store(&w->cursor, cursor);
    } while (!was_over);
    return NULL;
}

/* Always at the place the writer takes next. */
static void *read_at_the_edge(void *argument) {
    struct watcher *w = argument;
    while (!atomic_load(&is_over)) {
        uint64_t end = presence_end(&presence);
        uint64_t cursor = end > PRESENCE_EVENTS ? end - PRESENCE_EVENTS : 0;
        for (int i = 0; i < 4; i++) (void)read_one(w, &cursor);
    }
    return NULL;
}

static void start(struct watcher *watchers, void *(*body)(void *)) {
    atomic_store(&is_over, false);
    memset(watchers, 0, WATCHERS * sizeof(*watchers));
    for (int i = 0; i < WATCHERS; i++) assert_int_equal(pthread_create(&watchers[i].id, NULL, body, &watchers[i]), 0);
}

static void stop(struct watcher *watchers) {
    atomic_store(&is_over, true);
    for (int i = 0; i < WATCHERS; i++) {
        assert_int_equal(pthread_join(watchers[i].id, NULL), 0);
        assert_int_equal(watchers[i].wrong, 0);
    }
}

static uint64_t slowest(struct watcher *watchers) {
    uint64_t cursor = UINT64_MAX;
    for (int i = 0; i < WATCHERS; i++) cursor = min_of(cursor, atomic_load(&watchers[i].cursor));
    return cursor;
}

/* The writer is never more than the ring ahead of anybody: then each reads everything. */
static void test_readers_that_keep_up_read_everything(void **state) {
    (void)state;
    struct watcher watchers[WATCHERS];
    start(watchers, follow);
    for (uint64_t n = 0; n < STRESS_EVENTS; n++) {
        while (n - slowest(watchers) >= PRESENCE_EVENTS)
            sched_yield();  // why: the place is given away with the next event
        write_event();
    }
    stop(watchers);
    for (int i = 0; i < WATCHERS; i++) {
        assert_int_equal(watchers[i].events, STRESS_EVENTS);
        assert_int_equal(watchers[i].losses, 0);
    }
}

/* The writer waits for nobody: what is read is right, what is missing was overwritten. */
static void test_readers_that_are_overrun(void **state) {
    (void)state;
    struct watcher watchers[WATCHERS];
    start(watchers, follow);
    for (int i = 0; i < STRESS_EVENTS; i++) write_event();
    stop(watchers);
    for (int i = 0; i < WATCHERS; i++) {
        assert_int_equal(watchers[i].events + watchers[i].missed, STRESS_EVENTS);
        assert_true((watchers[i].losses == 0) == (watchers[i].missed == 0));
    }
}

static bool all_have_losses(struct watcher *watchers) {
    for (int i = 0; i < WATCHERS; i++) {
        if (atomic_load(&watchers[i].losses) < 1000) return false;
    }
    return true;
}

/* Each read races with the writing of that very place. */
static void test_no_event_is_torn(void **state) {
    (void)state;
    struct watcher watchers[WATCHERS];
    for (int i = 0; i < PRESENCE_EVENTS; i++) write_event();
    start(watchers, read_at_the_edge);
    for (int i = 0; i < STRESS_EVENTS || (i < STRESS_EVENTS_MAX && !all_have_losses(watchers)); i++) write_event();
    stop(watchers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_cursor_begins_at_now, set_up),
        cmocka_unit_test_setup(test_the_whole_ring_can_be_read, set_up),
        cmocka_unit_test_setup(test_one_more_is_a_loss, set_up),
        cmocka_unit_test_setup(test_many_cursors, set_up),
        cmocka_unit_test_setup(test_a_write_under_way, set_up),
        cmocka_unit_test_setup(test_readers_that_keep_up_read_everything, set_up),
        cmocka_unit_test_setup(test_readers_that_are_overrun, set_up),
        cmocka_unit_test_setup(test_no_event_is_torn, set_up),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
