/* test_lane.c - single-producer single-consumer mail: order, exact capacity, index wrap, and two real threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "core/lane.h"

#define CAPACITY 8

struct item {
    uint32_t number;
    uint8_t filler[13];  // an odd size, so that places are not aligned by accident
};

static struct item item_of(uint32_t number) {
    struct item item;
    memset(&item, 0, sizeof(item));
    item.number = number;
    memset(item.filler, (int)(number * 31 & 0xff), sizeof(item.filler));
    return item;
}

/* The whole item, its bytes beyond the number included. */
static bool item_is(const struct item *item, uint32_t number) {
    struct item wanted = item_of(number);
    return memcmp(item, &wanted, sizeof(wanted)) == 0;
}

static void start_at(struct lane *lane, uint32_t index) {
    lane->tail = lane->head = index;
    lane->tail_private = lane->head_seen = lane->head_private = lane->tail_seen = index;
}

static void test_not_visible_before_flush(void **state) {
    (void)state;
    uint8_t storage[CAPACITY * sizeof(struct item)];
    struct lane lane;
    struct item item = item_of(1), got;
    assert_int_equal(lane_storage_size(CAPACITY, sizeof(item)), sizeof(storage));
    lane_init(&lane, storage, CAPACITY, sizeof(item));
    assert_false(lane_flush(&lane));
    assert_true(lane_push(&lane, &item));
    assert_false(lane_has_mail(&lane));
    assert_false(lane_pop(&lane, &got));
    assert_true(lane_flush(&lane));
    assert_false(lane_flush(&lane));
    assert_true(lane_has_mail(&lane));
    assert_true(lane_pop(&lane, &got));
    assert_true(item_is(&got, 1));
    assert_false(lane_has_mail(&lane));
}

static void fill_and_empty(uint32_t capacity, uint32_t start) {
    uint8_t storage[CAPACITY * sizeof(struct item)];
    struct lane lane;
    struct item item, got;
    lane_init(&lane, storage, capacity, sizeof(item));
    start_at(&lane, start);
    for (uint32_t i = 0; i < capacity; i++) {
        assert_int_equal(lane_room(&lane), capacity - i);
        item = item_of(i);
        assert_true(lane_push(&lane, &item));
    }
    assert_int_equal(lane_room(&lane), 0);
    assert_false(lane_push(&lane, &item));
    assert_true(lane_flush(&lane));
    for (uint32_t i = 0; i < capacity; i++) {
        assert_true(lane_pop(&lane, &got));
        assert_true(item_is(&got, i));
        assert_int_equal(lane_room(&lane), i + 1);  // free at once
    }
    assert_false(lane_pop(&lane, &got));
}

static void test_capacity_is_exact_and_indices_wrap(void **state) {
    (void)state;
    for (uint32_t capacity = 1; capacity <= CAPACITY; capacity *= 2) {
        for (uint32_t start = 0; start <= 2 * CAPACITY; start++) fill_and_empty(capacity, start);
        for (uint32_t back = 0; back <= 2 * CAPACITY; back++) fill_and_empty(capacity, UINT32_MAX - back);
    }
}

static void test_steady_flow_over_the_wrap(void **state) {
    (void)state;
    uint8_t storage[CAPACITY * sizeof(struct item)];
    struct lane lane;
    struct item item, got;
    lane_init(&lane, storage, CAPACITY, sizeof(item));
    start_at(&lane, UINT32_MAX - 100);
    uint32_t pushed = 0, popped = 0;
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 1 + round % CAPACITY; i++) {
            item = item_of(pushed);
            if (lane_push(&lane, &item)) pushed++;
        }
        (void)lane_flush(&lane);
        for (unsigned i = 0; i < 1 + round % 3 && lane_pop(&lane, &got); i++) assert_true(item_is(&got, popped++));
        assert_int_equal(lane_room(&lane), CAPACITY - (pushed - popped));
    }
    while (lane_pop(&lane, &got)) assert_true(item_is(&got, popped++));
    assert_int_equal(pushed, popped);
    assert_true(pushed > 200);
}

#define STRESS_ITEMS 1000000u
#define STRESS_CAPACITY 64

static void *produce(void *argument) {
    struct lane *lane = argument;
    for (uint32_t number = 0; number < STRESS_ITEMS;) {
        struct item item = item_of(number);
        if (lane_push(lane, &item)) {
            number++;
            if (number % 7 == 0) (void)lane_flush(lane);
        } else {
            (void)lane_flush(lane);
            (void)sched_yield();
        }
    }
    (void)lane_flush(lane);
    return NULL;
}

static void test_two_threads(void **state) {
    (void)state;
    static uint8_t storage[STRESS_CAPACITY * sizeof(struct item)];
    static struct lane lane;
    lane_init(&lane, storage, STRESS_CAPACITY, sizeof(struct item));
    start_at(&lane, UINT32_MAX - STRESS_ITEMS / 2);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, &lane), 0);
    uint32_t wrong = 0;
    for (uint32_t number = 0; number < STRESS_ITEMS;) {
        struct item got;
        if (!lane_pop(&lane, &got)) {
            (void)sched_yield();
            continue;
        }
        wrong += !item_is(&got, number++);
    }
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_int_equal(wrong, 0);
    assert_false(lane_has_mail(&lane));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_visible_before_flush),
        cmocka_unit_test(test_capacity_is_exact_and_indices_wrap),
        cmocka_unit_test(test_steady_flow_over_the_wrap),
        cmocka_unit_test(test_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
