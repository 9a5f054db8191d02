/* test_dump.c - a worker's connections as rows, a bounded number at a time; and the rows as an operator's list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#include "relay/admin_list.h"
#include "relay/conn.h"
#include "relay/peer.h"
#include "relay/worker.h"

enum { CONNS = 300, ROWS = 400 };

static struct worker worker;  // only what a dump looks at
static struct arena arena;
static struct peer peers[CONNS];
static struct dump dump;

static int set_up(void **state) {
    (void)state;
    size_t size = pool_footprint(DUMP_SLOTS_PER_PASS + CONNS, sizeof(struct conn)) + dump_footprint(ROWS);
    memset(&worker, 0, sizeof(worker));
    memset(peers, 0, sizeof(peers));
    if (arena_init(&arena, size) != 0) return -1;
    pool_init(&worker.conns, &arena, DUMP_SLOTS_PER_PASS + CONNS, sizeof(struct conn));
    dump_init(&dump, &arena, ROWS);
    worker.now_ns = 1000 * NS_PER_S;
    worker.idx = 3;
    dump_begin(&dump);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_fini(&arena);
    return 0;
}

/* A connection with key `i`. */
static struct conn *add(uint32_t i) {
    struct conn *conn = pool_take(&worker.conns);
    assert_non_null(conn);
    peers[i].key.bytes[0] = (uint8_t)(i >> 8);
    peers[i].key.bytes[1] = (uint8_t)i;
    conn->v.conn_id = i + 1;
    conn->r.peer = &peers[i];
    duplicates_join(&peers[i].conns, &conn->r.duplicate);
    return conn;
}

static uint32_t passes_of_all(void) {
    uint32_t passes = 1;
    while (!dump_step(&dump, &worker)) passes++;
    return passes;
}

static void test_none(void **state) {
    (void)state;
    assert_int_equal(passes_of_all(), 2);  // by the empty places
    assert_int_equal(dump.rows_count, 0);
}

static void test_bounded(void **state) {
    (void)state;
    for (uint32_t i = 0; i < CONNS; i++) (void)add(i);
    assert_false(dump_step(&dump, &worker));
    assert_int_equal(dump.rows_count, DUMP_ROWS_PER_PASS);
    assert_false(dump_step(&dump, &worker));
    assert_int_equal(dump.rows_count, 2 * DUMP_ROWS_PER_PASS);
    (void)passes_of_all();
    assert_int_equal(dump.rows_count, CONNS);
    for (uint32_t i = 0; i < CONNS; i++) assert_int_equal(dump.rows[i].conn_id, i + 1);
    assert_false(dump.is_cut);
}

/* Who is there all the time is in it once, whoever comes and goes. */
static void test_coming_and_going(void **state) {
    (void)state;
    struct conn *conns[CONNS];
    for (uint32_t i = 0; i < CONNS - 1; i++) conns[i] = add(i);
    assert_false(dump_step(&dump, &worker));
    pool_give(&worker.conns, conns[5]);    // in it already
    pool_give(&worker.conns, conns[200]);  // not yet
    conns[250]->r.is_closing = true;
    (void)add(CONNS - 1);
    (void)passes_of_all();
    uint32_t counts[CONNS + 1] = {0};
    for (uint32_t i = 0; i < dump.rows_count; i++) counts[dump.rows[i].conn_id]++;
    for (uint32_t i = 0; i < CONNS - 1; i++) assert_int_equal(counts[i + 1], i != 200 && i != 250);
}

static void test_full(void **state) {
    (void)state;
    for (uint32_t i = 0; i < CONNS; i++) (void)add(i);
    (void)passes_of_all();
    dump.worker++;
    dump.next_slot = 0;
    (void)passes_of_all();
    assert_int_equal(dump.rows_count, ROWS);
    assert_true(dump.is_cut);
    dump_begin(&dump);
    assert_int_equal(dump.rows_count, 0);
    assert_false(dump.is_cut);
}

/* ---- one row ---- */

static void test_row(void **state) {
    (void)state;
    struct packet waiting[2] = {{.slot_size = 512, .enqueued_ns = 990 * NS_PER_S, .flow = 1},
                                {.slot_size = 2048, .enqueued_ns = 995 * NS_PER_S, .flow = 0}};
    struct packet sending = {.size = 100, .sent = 30};
    struct conn *conn = add(7);
    conn->v.connected_ns = 900 * NS_PER_S;
    conn->r.heard_ns = 999 * NS_PER_S;
    conn->v.packets_received = 11;
    conn->v.bytes_received = 1100;
    conn->v.packets_sent = 22;
    conn->v.bytes_sent = 2200;
    conn->v.transport = TRANSPORT_TLS;
    conn->v.is_preferred = conn->v.is_prober = true;
    conn->v.remote_port = 4711;
    memcpy(conn->v.remote_ip, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 1}, 16);
    conn->r.sending = &sending;
    for (size_t i = 0; i < 2; i++) backlog_push(&peers[7].backlog, &waiting[i]);
    (void)passes_of_all();
    const struct dump_row *row = &dump.rows[0];
    assert_int_equal(dump.rows_count, 1);
    assert_memory_equal(&row->key, &peers[7].key, sizeof(row->key));
    assert_int_equal(row->age_ns, 100 * NS_PER_S);
    assert_int_equal(row->idle_ns, NS_PER_S);
    assert_int_equal(row->packets_received, 11);
    assert_int_equal(row->bytes_received, 1100);
    assert_int_equal(row->packets_sent, 22);
    assert_int_equal(row->bytes_sent, 2200);
    assert_int_equal(row->queue_packets, 2);
    assert_int_equal(row->queue_bytes, 2560);
    assert_int_equal(row->queue_age_ns, 10 * NS_PER_S);
    assert_int_equal(row->unsent_bytes, 70);
    assert_int_equal(row->worker, 3);
    assert_int_equal(row->flags, DUMP_HOME | DUMP_PROBER | DUMP_ACTIVE);
}

/* What waits for a key waits for its active connection. */
static void test_duplicates(void **state) {
    (void)state;
    struct packet waiting = {.slot_size = 512};
    (void)add(1);
    struct conn *newer = add(1);
    backlog_push(&peers[1].backlog, &waiting);
    newer->v.connected_ns = worker.now_ns + 1;  // the front's clock was read later
    (void)passes_of_all();
    assert_int_equal(dump.rows[0].flags, DUMP_DUPLICATE);
    assert_int_equal(dump.rows[0].queue_packets, 0);
    assert_int_equal(dump.rows[1].flags, DUMP_DUPLICATE | DUMP_ACTIVE);
    assert_int_equal(dump.rows[1].queue_packets, 1);
    assert_int_equal(dump.rows[1].age_ns, 0);
}

/* ---- lists ---- */

static void make_rows(void) {
    static const uint8_t last_bytes[] = {9, 1, 200};
    dump.rows_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        dump.rows[i] = (struct dump_row){.conn_id = i + 1,
                                         .key.bytes = {[0] = (uint8_t)(0x30 - 0x10 * i)},
                                         .remote_ip = {[10] = 0xff, 0xff, 192, 0, 2, last_bytes[i]},
                                         .remote_port = (uint16_t)(1000 + i),
                                         .bytes_received = 10 * (i + 1),
                                         .bytes_sent = i == 0 ? 100 : 0,
                                         .age_ns = (3 - i) * NS_PER_S};
    }
}

static void check_order(const struct admin_query *query, const char *wanted) {
    uint32_t order[ROWS], count = admin_list_sort(&dump, query, order);
    assert_int_equal(count, strlen(wanted));
    for (uint32_t i = 0; i < count; i++) assert_int_equal(dump.rows[order[i]].conn_id, wanted[i] - '0');
}

static void test_sorting(void **state) {
    (void)state;
    static const struct {
        enum admin_sort sort;
        const char *wanted;
    } cases[] = {{ADMIN_SORT_BYTES, "132"}, {ADMIN_SORT_RECEIVED, "321"}, {ADMIN_SORT_SENT, "123"},
                 {ADMIN_SORT_QUEUE, "123"}, {ADMIN_SORT_SINCE, "123"},    {ADMIN_SORT_IDLE, "123"},
                 {ADMIN_SORT_KEY, "321"},   {ADMIN_SORT_ADDRESS, "213"}};
    make_rows();
    for (size_t i = 0; i < array_count(cases); i++) {
        check_order(&(struct admin_query){.sort = cases[i].sort}, cases[i].wanted);
    }
}

static void test_filters(void **state) {
    (void)state;
    static const struct {
        const char *address;
        const char *wanted;
    } cases[] = {{"192.0.2.0/24", "123"}, {"192.0.2.0/25", "12"}, {"192.0.2.128/25", "3"}, {"192.0.2.1", "2"},
                 {"192.0.2.1:1001", "2"}, {"192.0.2.1:1000", ""}, {"0.0.0.0/0", "123"},    {"::/0", "123"},
                 {"2000::/3", ""},        {"10.0.0.0/8", ""}};
    make_rows();
    for (size_t i = 0; i < array_count(cases); i++) {
        struct admin_query query = {.sort = ADMIN_SORT_SINCE};
        assert_true(admin_query_address(cases[i].address, &query));
        check_order(&query, cases[i].wanted);
    }
    check_order(&(struct admin_query){.key_prefix = "2"}, "2");
    check_order(&(struct admin_query){.key_prefix = "200"}, "2");
    check_order(&(struct admin_query){.key_prefix = "201"}, "");
    struct admin_query by_short = {.sort = ADMIN_SORT_KEY};
    key_format_short(&dump.rows[2].key, by_short.key_short);
    check_order(&by_short, "3");
}

static void test_json(void **state) {
    (void)state;
    char text[ADMIN_ROW_MAX];
    struct dump_row row;
    memset(&row, 0x7f, sizeof(row));  // large numbers, all flags
    row.age_ns = 60 * NS_PER_S;
    struct writer w = writer_of(text, sizeof(text));
    admin_list_write(&w, &row, 1000000);
    assert_true(writer_ok(&w) && writer_left(&w) > 1);
    json_t *json = json_loadb(text, (size_t)((char *)w.at - text), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "since")), 1000000 - 60);
    assert_int_equal(json_object_size(json), 22);
    assert_true(json_is_true(json_object_get(json, "disabled")));
    assert_string_equal(json_string_value(json_object_get(json, "address")),
                        "[7f7f:7f7f:7f7f:7f7f:7f7f:7f7f:7f7f:7f7f]:32639");
    json_decref(json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_none),       TEST(test_bounded), TEST(test_coming_and_going), TEST(test_full), TEST(test_row),
        TEST(test_duplicates), TEST(test_sorting), TEST(test_filters),          TEST(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
