/* test_crossing.c - packets between workers: order, accounts, memory that comes home, and two threads that trade. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "relay/crossing.h"

enum { WORKERS = 3, POOL_BYTES = 4 * 1024 * 1024, HANG_S = 120, DATA_SIZE = 64 };

struct side {
    struct arena arena;
    struct packet_pool pool;
    struct crossing crossing;
};

static struct crossing_station *stations;
static struct ring *rings[WORKERS];
static struct side sides[WORKERS];

static int set_up(void **state) {
    (void)state;
    char why[RING_WHY_MAX];
    struct ring_options options = {.features_allowed = RING_FEATURES_ALL, .submissions_max = 8, .completions_max = 64};
    stations = aligned_alloc(CACHE_LINE_SIZE, WORKERS * sizeof(*stations));
    assert_non_null(stations);
    memset(stations, 0, WORKERS * sizeof(*stations));
    for (uint32_t i = 0; i < WORKERS; i++) assert_int_equal(ring_open(&rings[i], &options, why), 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct side *side = &sides[i];
        memset(side, 0, sizeof(*side));
        assert_int_equal(arena_init(&side->arena, packet_pool_footprint(POOL_BYTES)), 0);
        packet_pool_init(&side->pool, &side->arena, POOL_BYTES, (uint8_t)i);
        crossing_init(&side->crossing, i, WORKERS, POOL_BYTES, stations, rings[i], rings);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (uint32_t i = 0; i < WORKERS; i++) {
        arena_fini(&sides[i].arena);
        ring_close(rings[i]);
    }
    free(stations);
    return 0;
}

static void enable_rings(void) {
    for (uint32_t i = 0; i < WORKERS; i++) assert_int_equal(ring_enable(rings[i]), 0);
}

static struct node_key key_of(uint32_t number) {
    struct node_key key = {{0}};
    memcpy(key.bytes, &number, sizeof(number));
    return key;
}

/* Sends a packet that carries its number to `to`. False when there is no memory. */
static bool send_number(struct side *from, uint32_t to, uint32_t number) {
    struct packet *packet = packet_take(&from->pool, DATA_SIZE);
    if (packet == NULL) return false;
    struct node_key key = key_of(number);
    packet->size = DATA_SIZE;
    for (size_t at = 0; at < DATA_SIZE; at += sizeof(number)) memcpy(packet->frame + at, &number, sizeof(number));
    crossing_send(&from->crossing, packet, route_make(to, number & 0xffffff, 7), &key);
    return true;
}

/* The number of a packet of whose every part is right; UINT32_MAX otherwise. */
static uint32_t number_of(struct packet *packet, uint32_t self) {
    const struct crossing_head *head = crossing_head_of(packet);
    uint32_t number, part;
    memcpy(&number, packet->frame, sizeof(number));
    struct node_key key = key_of(number);
    bool is_right = packet->size == DATA_SIZE && route_worker(head->where) == self &&
                    route_generation(head->where) == 7 && route_slot(head->where) == (number & 0xffffff) &&
                    key_equal(&head->dst, &key);
    for (size_t at = 0; at < DATA_SIZE; at += sizeof(number)) {
        memcpy(&part, packet->frame + at, sizeof(part));
        is_right = is_right && part == number;
    }
    return is_right ? number : UINT32_MAX;
}

/* ---- one thread ---- */

static void a_packet_goes_there_and_its_memory_comes_home(void **state) {
    (void)state;
    enable_rings();
    assert_true(send_number(&sides[0], 2, 5));
    assert_false(crossing_has_mail(&sides[2].crossing));  // not before it is flushed
    crossing_flush_out(&sides[0].crossing);
    assert_true(crossing_has_mail(&sides[2].crossing));
    assert_false(crossing_has_mail(&sides[1].crossing));
    struct packet *packet = crossing_take(&sides[2].crossing);
    assert_non_null(packet);
    assert_null(crossing_next(packet));
    assert_int_equal(number_of(packet, 2), 5);
    assert_false(crossing_has_mail(&sides[2].crossing));
    crossing_send_home(&sides[2].crossing, packet);
    crossing_collect(&sides[0].crossing, &sides[0].pool);
    assert_int_equal(sides[0].crossing.away, 1);  // it has not left yet
    crossing_flush_home(&sides[2].crossing);
    crossing_publish_free(&sides[2].crossing, 12345);
    crossing_collect(&sides[0].crossing, &sides[0].pool);
    assert_int_equal(sides[0].crossing.away, 0);
    assert_int_equal(sides[0].pool.bytes_taken, 0);
    assert_int_equal(crossing_free_bytes(&sides[0].crossing, 2), 12345);
}

static void order_is_kept_and_batches_leave_early(void **state) {
    (void)state;
    enable_rings();
    for (uint32_t n = 0; n < 2 * CROSSING_BATCH_MAX + 5; n++) assert_true(send_number(&sides[0], 1, n));
    struct packet *packet = crossing_take(&sides[1].crossing);
    uint32_t seen = 0;
    while (packet) {
        struct packet *next = crossing_next(packet);
        assert_int_equal(number_of(packet, 1), seen++);
        crossing_send_home(&sides[1].crossing, packet);
        packet = next;
    }
    assert_int_equal(seen, 2 * CROSSING_BATCH_MAX);
    crossing_flush_out(&sides[0].crossing);
    packet = crossing_take(&sides[1].crossing);
    for (; packet; seen++) {
        struct packet *next = crossing_next(packet);
        assert_int_equal(number_of(packet, 1), seen);
        crossing_send_home(&sides[1].crossing, packet);
        packet = next;
    }
    assert_int_equal(seen, 2 * CROSSING_BATCH_MAX + 5);
    crossing_flush_home(&sides[1].crossing);
    crossing_collect(&sides[0].crossing, &sides[0].pool);
    assert_int_equal(sides[0].pool.bytes_taken, 0);
}

/* A worker that does not get to run must not draw in all memory of another. */
static void what_is_under_way_is_bounded(void **state) {
    (void)state;
    enable_rings();
    uint32_t sent = 0;
    static const uint32_t shares[] = {16, 8, 4};
    for (enum crossing_load load = CROSSING_LIGHT; load < CROSSING_SHUT; load++) {
        while (crossing_load(&sides[0].crossing, 1) == load) assert_true(send_number(&sides[0], 1, sent++));
        assert_in_range(sides[0].pool.bytes_taken, POOL_BYTES / shares[load], POOL_BYTES / shares[load] + 600);
    }
    assert_int_equal(crossing_load(&sides[0].crossing, 1), CROSSING_SHUT);
    assert_int_equal(crossing_load(&sides[0].crossing, 2), CROSSING_LIGHT);  // the others are not meant
    crossing_flush_out(&sides[0].crossing);
    struct packet *packet = crossing_take(&sides[1].crossing);
    assert_int_equal(crossing_load(&sides[0].crossing, 1), CROSSING_LIGHT);  // taken, though not back
    while (packet) {
        struct packet *next = crossing_next(packet);
        crossing_send_home(&sides[1].crossing, packet);
        packet = next;
    }
    crossing_flush_home(&sides[1].crossing);
    crossing_collect(&sides[0].crossing, &sides[0].pool);
    assert_int_equal(sides[0].pool.bytes_taken, 0);
}

/* ---- threads: everybody sends to everybody and gives back what it gets ---- */

enum { NUMBERS = 60000 };

struct trader {
    pthread_t thread;
    struct side *side;
    uint32_t sent[WORKERS];
    uint32_t got[WORKERS];
    int failure;  // line
};

static void trade_in(struct trader *t) {
    struct packet *packet = crossing_take(&t->side->crossing);
    while (packet) {
        struct packet *next = crossing_next(packet);
        uint32_t from = packet->owner;
        if (number_of(packet, t->side->crossing.self) != t->got[from]++ && !t->failure) t->failure = __LINE__;
        crossing_send_home(&t->side->crossing, packet);
        packet = next;
    }
}

static void trade_out(struct trader *t, uint32_t to) {
    for (int burst = 0; burst < 50 && t->sent[to] < NUMBERS; burst++) {
        if (crossing_load(&t->side->crossing, to) >= CROSSING_FULL || !send_number(t->side, to, t->sent[to])) return;
        t->sent[to]++;
    }
}

static bool is_done(const struct trader *t) {
    for (uint32_t i = 0; i < WORKERS; i++) {
        if (i != t->side->crossing.self && (t->sent[i] < NUMBERS || t->got[i] < NUMBERS)) return false;
    }
    return t->side->crossing.away == 0;
}

static void *trade(void *arg) {
    struct trader *t = arg;
    struct crossing *crossing = &t->side->crossing;
    CHECK(ring_enable(rings[crossing->self]) == 0);
    for (bool was_done = false; !was_done;) {
        was_done = is_done(t);  // once more afterwards: what it has to send home goes
        crossing_collect(crossing, &t->side->pool);
        trade_in(t);
        for (uint32_t to = 0; to < WORKERS; to++) {
            if (to != crossing->self) trade_out(t, to);
        }
        crossing_flush_out(crossing);
        crossing_flush_home(crossing);
        crossing_publish_free(crossing, packet_pool_free_bytes(&t->side->pool));
        ring_doze(rings[crossing->self]);
        ring_wait(rings[crossing->self], crossing_has_mail(crossing) || was_done ? 0 : NS_PER_MS);
    }
    return NULL;
}

static void threads_trade(void **state) {
    (void)state;
    struct trader traders[WORKERS] = {0};
    alarm(HANG_S);
    for (uint32_t i = 0; i < WORKERS; i++) {
        traders[i].side = &sides[i];
        assert_int_equal(pthread_create(&traders[i].thread, NULL, trade, &traders[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++) assert_int_equal(pthread_join(traders[i].thread, NULL), 0);
    alarm(0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(traders[i].failure, 0);
        assert_int_equal(sides[i].pool.bytes_taken, 0);
        assert_int_equal(sides[i].pool.pages_free, sides[i].pool.pages_count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_packet_goes_there_and_its_memory_comes_home, set_up, tear_down),
        cmocka_unit_test_setup_teardown(order_is_kept_and_batches_leave_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_under_way_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_trade, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
