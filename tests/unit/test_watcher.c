/* test_watcher.c - what a watcher is told, in small pieces, while the directory and the log change in between: in the
 * end it knows who is here, and on the way it is told nothing wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sys.h"
#include "relay/conn.h"
#include "relay/peer.h"
#include "relay/watcher.h"
#include "relay/worker.h"

enum { KEYS = 512, WORKER = 0 };

static struct worker worker;  // only what a watcher looks at
static struct presence presence;
static struct directory directory;
static struct epoch epoch;
static struct arena arena;
static struct rng rng;
static struct metrics metrics;
static struct lane to_control;
static _Alignas(CACHE_LINE_SIZE) uint8_t lane_storage[64 * 1024];
static struct peer peer;
static struct conn *conn;

/* The truth, and what the watcher believes. */
static uint64_t here[KEYS];  // conn_id; 0: not here
static uint64_t told[KEYS];
static uint64_t conn_id_last;

static int set_up(void **state) {
    (void)state;
    memset(&worker, 0, sizeof(worker));
    memset(&presence, 0, sizeof(presence));
    memset(&metrics, 0, sizeof(metrics));
    memset(&peer, 0, sizeof(peer));
    memset(here, 0, sizeof(here));
    memset(told, 0, sizeof(told));
    conn_id_last = 0;
    rng_init_seeded(&rng, 7);
    epoch_init(&epoch, 1);
    if (arena_init(&arena, directory_footprint(KEYS) + pool_footprint(LIMIT_WATCHERS + 2, sizeof(struct conn))) != 0) {
        return -1;
    }
    directory_init(&directory, &arena, KEYS, &epoch, &rng);
    pool_init(&worker.conns, &arena, LIMIT_WATCHERS + 2, sizeof(struct conn));
    lane_init(&to_control, lane_storage, 256, sizeof(struct mail));
    worker.metrics = &metrics;
    worker.directory = &directory;
    worker.links.presence = &presence;
    worker.links.to_control = &to_control;
    peer.where = route_make(WORKER, 1, 1);
    peer.key.bytes[0] = 0xff;
    conn = pool_take(&worker.conns);
    conn->r.peer = &peer;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* ---- control ---- */

static struct node_key key_of(uint32_t n) {
    struct node_key key = {{0}};
    store_be32(key.bytes, n);
    return key;
}

static struct present present_of(uint64_t conn_id) {
    struct present present = {.conn_id = conn_id, .port = (uint16_t)(conn_id * 7), .flags = (uint8_t)conn_id};
    store_be32(present.ip + 12, (uint32_t)conn_id);  // by which the connection is known again
    present.app_name_size = (uint8_t)(conn_id % (sizeof(present.app_name) + 1));
    memset(present.app_name, 'a' + (int)(conn_id % 26), present.app_name_size);
    return present;
}

static void arrive(uint32_t n) {
    struct node_key key = key_of(n);
    struct present present = present_of(++conn_id_last);
    epoch_leave(&epoch, 0);
    assert_true(directory_has_room(&directory));
    epoch_enter(&epoch, 0);
    if (here[n]) {
        directory_describe(&directory, &key, &present);
    } else {
        directory_publish(&directory, &key, route_make(WORKER, n, 1), &present);
    }
    here[n] = conn_id_last;
    presence_write(&presence, &(struct presence_event){.kind = PRESENCE_PRESENT, .key = key, .present = present});
}

static void leave(uint32_t n) {
    struct node_key key = key_of(n);
    directory_unpublish(&directory, &key);
    here[n] = 0;
    presence_write(&presence, &(struct presence_event){.kind = PRESENCE_GONE, .key = key});
}

/* ---- what the watcher is told ---- */

static void on_frame(uint8_t type, const uint8_t *payload, size_t length) {
    if (type == DERP_PEER_GONE) {
        struct derp_peer_gone gone;
        assert_true(derp_read_peer_gone(payload, length, &gone));
        assert_int_equal(gone.reason, DERP_GONE_DISCONNECTED);
        told[load_be32(gone.key->bytes)] = 0;
        return;
    }
    struct derp_peer_present seen;
    assert_int_equal(type, DERP_PEER_PRESENT);
    assert_true(derp_read_peer_present(payload, length, &seen));
    uint32_t conn_id = load_be32(seen.ip + 12);
    struct present wanted = present_of(conn_id);
    assert_true(conn_id > 0 && conn_id <= conn_id_last);
    assert_memory_equal(seen.ip, wanted.ip, sizeof(wanted.ip));
    assert_int_equal(seen.port, wanted.port);
    assert_int_equal(seen.flags, wanted.flags);
    assert_int_equal(seen.app_name_size, wanted.app_name_size);
    if (seen.app_name_size) assert_memory_equal(seen.app_name, wanted.app_name, seen.app_name_size);
    told[load_be32(seen.key->bytes)] = conn_id;
}

/* One turn; returns the number of frames. */
static uint32_t turn(void) {
    static uint8_t bytes[WATCHER_BATCH_SIZE];
    struct writer out = writer_of(bytes, sizeof(bytes));
    uint32_t count = 0;
    assert_true(watcher_write(&worker, conn, &out));
    assert_true(writer_ok(&out));
    for (const uint8_t *at = bytes; at < out.at; count++) {
        size_t length = load_be32(at + 1);
        assert_true(at + DERP_HEADER_SIZE + length <= out.at);
        on_frame(at[0], at + DERP_HEADER_SIZE, length);
        at += DERP_HEADER_SIZE + length;
    }
    return count;
}

static uint32_t turns_until_quiet(void) {
    uint32_t frames = 0;
    for (int turns = 0; watcher_has_news(&worker, conn); turns++) {
        assert_true(turns < 1000);
        frames += turn();
    }
    return frames;
}

static void assert_knows(void) {
    for (uint32_t n = 0; n < KEYS; n++) assert_int_equal(told[n], here[n]);
}

/* ---- cases ---- */

static void test_flood_then_live(void **state) {
    (void)state;
    for (uint32_t n = 0; n < KEYS; n++) arrive(n);
    watcher_start(&worker, conn);
    assert_true(conn->r.is_dirty && conn->v.is_watching);
    assert_int_equal(turns_until_quiet(), KEYS);  // each once
    assert_knows();
    leave(3);
    arrive(4);  // a second connection
    assert_int_equal(turns_until_quiet(), 2);
    assert_knows();
    assert_int_equal(stat_get(&metrics.watchers), 1);
    assert_int_equal(stat_get(&metrics.peer_gone_disconnected_frames), 1);
    watcher_start(&worker, conn);  // asks again
    assert_int_equal(turns_until_quiet(), KEYS - 1);
    assert_int_equal(stat_get(&metrics.watchers), 1);
    watcher_stop(&worker, conn);
    assert_int_equal(stat_get(&metrics.watchers), 0);
    assert_false(watcher_has_news(&worker, conn));
}

/* A frame with a long app name takes more room: in the last turn before the batch is full there is always enough. */
static void test_turns_are_bounded(void **state) {
    (void)state;
    for (uint32_t n = 0; n < KEYS; n++) arrive(n);
    watcher_start(&worker, conn);
    for (uint32_t n = 0; n < KEYS; n++) arrive(n);
    assert_int_equal(watcher_size(&worker, conn, 64 * 1024) % WATCHER_BATCH_SIZE, 0);
    assert_true(watcher_size(&worker, conn, 64 * 1024) >= 64 * 1024);
    assert_int_equal(turns_until_quiet(), 2 * KEYS);
    assert_knows();
    assert_int_equal(watcher_size(&worker, conn, 64 * 1024), 0);
    arrive(0);
    assert_int_equal(watcher_size(&worker, conn, 64 * 1024), WATCHER_BATCH_SIZE);
}

static void change_something(void) {
    uint32_t n = (uint32_t)rng_below(&rng, KEYS);
    if (here[n] && rng_below(&rng, 3) > 0) {
        leave(n);
    } else {
        arrive(n);
    }
}

/* Whatever happens between the pieces of the walk: nobody is missing, and nobody too many. And who is neither here at
 * the start nor comes is never spoken of as here: `told` would be wrong in the end, since no event would put it right.
 */
static void test_anything_in_between(void **state) {
    (void)state;
    for (int round = 0; round < 300; round++) {
        memset(told, 0, sizeof(told));
        watcher_start(&worker, conn);
        uint64_t changes = 1 + rng_below(&rng, 60);
        while (watcher_has_news(&worker, conn)) {
            if (round % 3) {
                for (uint64_t i = rng_below(&rng, changes); i > 0 && conn->r.watcher.bucket < KEYS; i--) {
                    change_something();
                }
            }
            (void)turn();
        }
        assert_knows();
        watcher_stop(&worker, conn);
        for (int i = 0; i < 50; i++) change_something();  // while nobody watches
    }
}

static void test_empty_buckets_take_turns(void **state) {
    (void)state;
    struct arena large;
    assert_int_equal(arena_init(&large, directory_footprint(1 << 18)), 0);
    directory_init(&directory, &large, 1 << 18, &epoch, &rng);
    arrive(1);
    watcher_start(&worker, conn);
    uint32_t turns = 0, frames = 0;
    for (; watcher_has_news(&worker, conn); turns++) frames += turn();
    assert_int_equal(frames, 1);
    assert_int_equal(turns, (1 << 18) / WATCHER_BUCKETS_MAX);
    arena_fini(&large);
}

static void test_behind(void **state) {
    (void)state;
    static uint8_t bytes[WATCHER_BATCH_SIZE];
    struct writer out = writer_of(bytes, sizeof(bytes));
    watcher_start(&worker, conn);
    (void)turns_until_quiet();
    for (int i = 0; i < PRESENCE_EVENTS; i++) arrive(1);
    assert_false(presence_is_lost(&presence, conn->r.watcher.cursor));
    arrive(1);
    assert_true(presence_is_lost(&presence, conn->r.watcher.cursor));
    assert_false(watcher_write(&worker, conn, &out));
}

/* Control hears of it once per connection, whoever often it asks. */
static void test_control_is_told_once(void **state) {
    (void)state;
    struct mail mail;
    watcher_start(&worker, conn);
    watcher_start(&worker, conn);
    watcher_stop(&worker, conn);
    watcher_start(&worker, conn);
    (void)lane_flush(&to_control);
    assert_true(lane_pop(&to_control, &mail));
    assert_int_equal(mail.kind, MAIL_WATCH);
    assert_true(mail.where == peer.where);
    assert_false(lane_pop(&to_control, &mail));
}

static void test_ourselves(void **state) {
    (void)state;
    worker.server_key = peer.key;
    arrive(1);
    watcher_start(&worker, conn);
    assert_false(conn->r.watcher.is_on);
    assert_false(watcher_has_news(&worker, conn));
    assert_null(worker.watchers);
}

/* All who watch are made to look, and the list holds together whoever leaves it. */
static void test_many(void **state) {
    (void)state;
    struct conn *conns[LIMIT_WATCHERS];
    for (uint32_t i = 0; i < LIMIT_WATCHERS; i++) {
        conns[i] = pool_take(&worker.conns);
        conns[i]->r.peer = &peer;
        watcher_start(&worker, conns[i]);
        conns[i]->r.watcher.bucket = directory_buckets(&directory);
    }
    assert_int_equal(worker.watchers_count, LIMIT_WATCHERS);
    for (uint32_t round = 0; round < LIMIT_WATCHERS; round++) {
        for (uint32_t i = 0; i < LIMIT_WATCHERS; i++) conn_make_clean(&worker, conns[i]);
        arrive(round);
        assert_true(watchers_have_news(&worker));
        watchers_look(&worker);
        assert_false(watchers_have_news(&worker));
        uint32_t dirty = 0;
        for (uint32_t i = 0; i < LIMIT_WATCHERS; i++) dirty += conns[i]->r.is_dirty;
        assert_int_equal(dirty, LIMIT_WATCHERS - round);
        watcher_stop(&worker, conns[(round * 29) % LIMIT_WATCHERS]);
    }
    assert_null(worker.watchers);
    assert_int_equal(worker.watchers_count, 0);
    arrive(0);
    assert_false(watchers_have_news(&worker));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flood_then_live, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_turns_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_anything_in_between, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty_buckets_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_control_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ourselves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
    };
    return sys_init() == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
