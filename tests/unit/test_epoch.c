/* test_epoch.c - reclamation: what must hold back reuse, what must not, and a writer that poisons under readers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "core/epoch.h"

static void test_nobody_there_is_past(void **state) {
    (void)state;
    static struct epoch epoch;
    epoch_init(&epoch, 3);
    assert_true(epoch_is_past(&epoch, epoch_stamp(&epoch)));
    epoch_init(&epoch, 0);
    assert_true(epoch_is_past(&epoch, epoch_stamp(&epoch)));
}

static void test_waits_for_every_reader(void **state) {
    (void)state;
    static struct epoch epoch;
    epoch_init(&epoch, EPOCH_READERS_MAX);
    epoch_enter(&epoch, 0);
    epoch_enter(&epoch, EPOCH_READERS_MAX - 1);
    uint64_t stamp = epoch_stamp(&epoch);
    assert_false(epoch_is_past(&epoch, stamp));
    epoch_pass(&epoch, 0);
    assert_false(epoch_is_past(&epoch, stamp));
    epoch_pass(&epoch, EPOCH_READERS_MAX - 1);
    assert_true(epoch_is_past(&epoch, stamp));
}

static void test_leaving_and_coming_back(void **state) {
    (void)state;
    static struct epoch epoch;
    epoch_init(&epoch, 2);
    epoch_enter(&epoch, 0);
    epoch_enter(&epoch, 1);
    uint64_t stamp = epoch_stamp(&epoch);
    epoch_leave(&epoch, 0);
    assert_false(epoch_is_past(&epoch, stamp));
    epoch_leave(&epoch, 1);
    assert_true(epoch_is_past(&epoch, stamp));
    epoch_enter(&epoch, 0);
    assert_true(epoch_is_past(&epoch, stamp));  // it came after the unlinking
    assert_false(epoch_is_past(&epoch, epoch_stamp(&epoch)));
}

static void test_stamps_grow_and_are_past_in_order(void **state) {
    (void)state;
    static struct epoch epoch;
    epoch_init(&epoch, 1);
    epoch_enter(&epoch, 0);
    uint64_t first = epoch_stamp(&epoch);
    epoch_pass(&epoch, 0);
    uint64_t second = epoch_stamp(&epoch);
    assert_true(second > first);
    assert_true(epoch_is_past(&epoch, first));
    assert_false(epoch_is_past(&epoch, second));
    epoch_pass(&epoch, 0);
    assert_true(epoch_is_past(&epoch, second));
}

/* ---- stress: values in nodes are plain memory, so ThreadSanitizer sees a reuse that comes too early ---- */

#define NODES 16
#define PLACES 4
#define ROUNDS 20000u
#define READERS 2
#define POISON UINT64_C(0xdeaddeaddeaddead)

struct node {
    uint64_t value;
    uint64_t inverse;  // ~value
};

struct region {
    struct epoch epoch;
    struct node nodes[NODES];
    _Atomic(struct node *) places[PLACES];
    atomic_bool is_over;
    atomic_uint reads[READERS];
    atomic_uint bad_reads;
};

static struct region region;

static void read_all(unsigned idx) {
    for (unsigned i = 0; i < PLACES; i++) {
        const struct node *node = atomic_load_explicit(&region.places[i], memory_order_acquire);
        if (node->value == POISON || node->inverse != ~node->value) atomic_fetch_add(&region.bad_reads, 1);
        atomic_fetch_add_explicit(&region.reads[idx], 1, memory_order_relaxed);
    }
}

static void *reader_body(void *argument) {
    unsigned idx = (unsigned)(uintptr_t)argument;
    epoch_enter(&region.epoch, idx);
    for (unsigned pass = 1; !atomic_load_explicit(&region.is_over, memory_order_relaxed); pass++) {
        read_all(idx);
        if (pass % 5 == 0) {
            epoch_leave(&region.epoch, idx);
            if (pass % 50 == 0) (void)sched_yield();
            epoch_enter(&region.epoch, idx);
        } else {
            epoch_pass(&region.epoch, idx);
        }
    }
    epoch_leave(&region.epoch, idx);
    return NULL;
}

static void poison(struct node *node) { node->value = node->inverse = POISON; }

static void publish(unsigned place, struct node *node, uint64_t value) {
    node->value = value;
    node->inverse = ~value;
    atomic_store_explicit(&region.places[place], node, memory_order_release);
}

/* Replaces one node; the old one is poisoned as soon as the epoch allows. */
static void replace(unsigned place, struct node *fresh, uint64_t value, struct node **ret_old) {
    struct node *old = atomic_load_explicit(&region.places[place], memory_order_relaxed);
    publish(place, fresh, value);
    uint64_t stamp = epoch_stamp(&region.epoch);
    while (!epoch_is_past(&region.epoch, stamp)) (void)sched_yield();
    poison(old);
    *ret_old = old;
}

static bool all_have_read(void) {
    for (unsigned idx = 0; idx < READERS; idx++) {
        if (atomic_load(&region.reads[idx]) < 1000) return false;
    }
    return true;
}

static void test_readers_never_see_poison(void **state) {
    (void)state;
    epoch_init(&region.epoch, READERS);
    for (unsigned i = 0; i < PLACES; i++) publish(i, &region.nodes[i], i);
    pthread_t readers[READERS];
    for (unsigned idx = 0; idx < READERS; idx++) {
        assert_int_equal(pthread_create(&readers[idx], NULL, reader_body, (void *)(uintptr_t)idx), 0);
    }
    struct node *fresh = &region.nodes[PLACES];
    for (unsigned round = 0; round < ROUNDS || !all_have_read(); round++) {
        replace(round % PLACES, fresh, round, &fresh);
    }
    atomic_store(&region.is_over, true);
    for (unsigned idx = 0; idx < READERS; idx++) assert_int_equal(pthread_join(readers[idx], NULL), 0);
    assert_int_equal(atomic_load(&region.bad_reads), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_there_is_past),     cmocka_unit_test(test_waits_for_every_reader),
        cmocka_unit_test(test_leaving_and_coming_back),  cmocka_unit_test(test_stamps_grow_and_are_past_in_order),
        cmocka_unit_test(test_readers_never_see_poison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
