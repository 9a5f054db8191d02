/* test_queue.c - what waits for one destination: order, bytes, and which packet has to leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/sys.h"
#include "relay/queue.h"

enum { COUNT = 64 };

static struct packet packets[COUNT];

static int set_up(void **state) {
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) packets[i] = (struct packet){.slot_size = 512 + i};
    return 0;
}

static void test_an_empty_queue_has_nothing(void **state) {
    (void)state;
    struct queue queue = {0};
    assert_true(queue_is_empty(&queue));
    assert_null(queue_pop(&queue));
    assert_null(queue_pop_excess(&queue, 0));
}

static void test_first_in_first_out(void **state) {
    (void)state;
    struct queue queue = {0};
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT; i++) {
        packets[i].next = &packets[0];  // what an earlier queue left must not matter
        queue_push(&queue, &packets[i]);
        bytes += packet_cost(&packets[i]);
        assert_int_equal(queue.bytes, bytes);
        assert_int_equal(queue.count, i + 1);
        assert_false(queue_is_empty(&queue));
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(queue_pop(&queue), &packets[i]);
        assert_null(packets[i].next);
        bytes -= packet_cost(&packets[i]);
        assert_int_equal(queue.bytes, bytes);
        assert_int_equal(queue.count, COUNT - i - 1);
    }
    assert_true(queue_is_empty(&queue));
    assert_null(queue_pop(&queue));
}

/* An emptied queue is as good as a new one: the tail must not point to what has left. */
static void test_an_emptied_queue_is_new(void **state) {
    (void)state;
    struct queue queue = {0};
    queue_push(&queue, &packets[0]);
    assert_ptr_equal(queue_pop(&queue), &packets[0]);
    queue_push(&queue, &packets[1]);
    queue_push(&queue, &packets[2]);
    assert_null(packets[0].next);
    assert_ptr_equal(queue_pop(&queue), &packets[1]);
    assert_ptr_equal(queue_pop(&queue), &packets[2]);
    assert_null(queue_pop(&queue));
}

static void test_excess_is_the_oldest(void **state) {
    (void)state;
    struct queue queue = {0};
    size_t bytes_max = 512 * 4 + 1 + 2 + 3;  // packets 0 to 3 exactly
    for (size_t i = 0; i < 4; i++) queue_push(&queue, &packets[i]);
    assert_int_equal(queue.bytes, bytes_max);
    assert_null(queue_pop_excess(&queue, bytes_max));  // full is not too full
    queue_push(&queue, &packets[4]);
    // packet 0 is 4 bytes smaller than packet 4, so one more has to leave
    assert_ptr_equal(queue_pop_excess(&queue, bytes_max), &packets[0]);
    assert_ptr_equal(queue_pop_excess(&queue, bytes_max), &packets[1]);
    assert_null(queue_pop_excess(&queue, bytes_max));
    assert_int_equal(queue.count, 3);
    assert_ptr_equal(queue_pop(&queue), &packets[2]);
}

static void test_the_newest_always_stays(void **state) {
    (void)state;
    struct queue queue = {0};
    queue_push(&queue, &packets[0]);
    assert_null(queue_pop_excess(&queue, 0));
    queue_push(&queue, &packets[1]);
    assert_ptr_equal(queue_pop_excess(&queue, 0), &packets[0]);
    assert_null(queue_pop_excess(&queue, 0));
    assert_ptr_equal(queue.head, &packets[1]);
    assert_int_equal(queue.bytes, packet_cost(&packets[1]));
}

/* The model is a window [first, end) on an endless row of numbers; packet n is packets[n % COUNT]. */
static void test_random_pushes_and_pops(void **state) {
    (void)state;
    struct queue queue = {0};
    struct rng rng;
    uint64_t first = 0, end = 0;
    size_t bytes = 0;
    rng_init_seeded(&rng, 8);
    for (int i = 0; i < 20000; i++) {
        uint64_t action = rng_below(&rng, 3);
        size_t bytes_max = (size_t)rng_below(&rng, 30000);
        struct packet *left = NULL;
        bool has_left = false;
        if (action == 0 && end - first < COUNT) {
            packets[end % COUNT].slot_size = (uint32_t)(1 + rng_below(&rng, 3000));
            bytes += packets[end % COUNT].slot_size;
            queue_push(&queue, &packets[end++ % COUNT]);
        } else if (action == 1) {
            left = queue_pop(&queue);
            has_left = end > first;
        } else {
            left = queue_pop_excess(&queue, bytes_max);
            has_left = bytes > bytes_max && end - first > 1;
        }
        assert_ptr_equal(left, has_left ? &packets[first % COUNT] : NULL);
        if (has_left) bytes -= packets[first++ % COUNT].slot_size;
        assert_int_equal(queue.bytes, bytes);
        assert_int_equal(queue.count, end - first);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_empty_queue_has_nothing, set_up),
        cmocka_unit_test_setup(test_first_in_first_out, set_up),
        cmocka_unit_test_setup(test_an_emptied_queue_is_new, set_up),
        cmocka_unit_test_setup(test_excess_is_the_oldest, set_up),
        cmocka_unit_test_setup(test_the_newest_always_stays, set_up),
        cmocka_unit_test_setup(test_random_pushes_and_pops, set_up),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
