/* test_pool.c - fixed slots: handles go stale, free objects are out of bounds, misuse is a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/asan.h"
#include "core/pool.h"

/* Runs `body` in a child process: true when a CHECK ended it. */
static bool dies(void (*body)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        (void)close(STDERR_FILENO);
        body(argument);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#define COUNT 5
#define OBJECT_SIZE 100

struct fixture {
    struct arena arena;
    struct pool pool;
};

static struct fixture fixture;

static int set_up(void **state) {
    if (arena_init(&fixture.arena, pool_footprint(COUNT, OBJECT_SIZE)) != 0) return -1;
    pool_init(&fixture.pool, &fixture.arena, COUNT, OBJECT_SIZE);
    *state = &fixture.pool;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_fini(&fixture.arena);
    return 0;
}

static void test_footprint_is_what_init_takes(void **state) {
    (void)state;
    assert_int_equal(fixture.arena.used, pool_footprint(COUNT, OBJECT_SIZE));
}

static void test_full_is_null(void **state) {
    struct pool *pool = *state;
    uint8_t *taken[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        taken[i] = pool_take(pool);
        assert_non_null(taken[i]);
        assert_int_equal((uintptr_t)taken[i] % CACHE_LINE_SIZE, 0);
        for (size_t k = 0; k < i; k++) assert_ptr_not_equal(taken[i], taken[k]);
        memset(taken[i], 0xff, OBJECT_SIZE);
    }
    assert_null(pool_take(pool));
    assert_int_equal(pool_used(pool), COUNT);
    for (size_t i = 0; i < COUNT; i++) pool_give(pool, taken[i]);
    assert_int_equal(pool_used(pool), 0);
}

static void test_reuse_is_last_in_first_out_and_zeroed(void **state) {
    struct pool *pool = *state;
    uint8_t *first = pool_take(pool);
    uint8_t *second = pool_take(pool);
    memset(first, 0xff, OBJECT_SIZE);
    pool_give(pool, second);
    pool_give(pool, first);
    uint8_t *again = pool_take(pool);
    assert_ptr_equal(again, first);
    for (size_t i = 0; i < OBJECT_SIZE; i++) assert_int_equal(again[i], 0);
}

static void test_handles_go_stale(void **state) {
    struct pool *pool = *state;
    void *object = pool_take(pool);
    pool_handle old = pool_handle_of(pool, object);
    assert_ptr_equal(pool_find(pool, old), object);
    pool_give(pool, object);
    assert_null(pool_find(pool, old));
    assert_ptr_equal(pool_take(pool), object);
    pool_handle new = pool_handle_of(pool, object);
    assert_int_not_equal(new, old);
    assert_int_equal(pool_handle_slot(new), pool_handle_slot(old));
    assert_null(pool_find(pool, old));
    assert_ptr_equal(pool_find(pool, new), object);
}

static void test_handles_that_never_were(void **state) {
    struct pool *pool = *state;
    void *object = pool_take(pool);
    pool_handle handle = pool_handle_of(pool, object);
    assert_null(pool_find(pool, 0));
    assert_null(pool_find(pool, UINT64_MAX));
    assert_null(pool_find(pool, handle & UINT32_MAX));                // generation 0
    assert_null(pool_find(pool, handle & ~(pool_handle)UINT32_MAX));  // no slot
    assert_null(pool_find(pool, handle + 1));                         // the neighbour, free
    assert_null(pool_find(pool, handle + COUNT));                     // beyond the last
}

static void test_generation_wraps_past_zero(void **state) {
    struct pool *pool = *state;
    void *object = pool_take(pool);
    uint32_t slot = pool_handle_slot(pool_handle_of(pool, object));
    pool->generations[slot] = UINT32_MAX;
    pool_handle last = pool_handle_of(pool, object);
    assert_ptr_equal(pool_find(pool, last), object);
    pool_give(pool, object);
    assert_ptr_equal(pool_take(pool), object);
    pool_handle next = pool_handle_of(pool, object);
    assert_int_equal(pool_handle_generation(next), 1);
    assert_null(pool_find(pool, last));
}

static void test_walk(void **state) {
    struct pool *pool = *state;
    void *taken[3];
    for (size_t i = 0; i < 3; i++) taken[i] = pool_take(pool);
    pool_give(pool, taken[1]);
    size_t seen = 0;
    for (uint32_t slot = 0; slot < pool->count; slot++) {
        void *object = pool_at(pool, slot);
        if (object == NULL) continue;
        assert_true(object == taken[0] || object == taken[2]);
        seen++;
    }
    assert_int_equal(seen, 2);
}

static void give_twice(void *object) {
    pool_give(&fixture.pool, object);
    pool_give(&fixture.pool, object);
}

static void give(void *object) { pool_give(&fixture.pool, object); }
static void name(void *object) { (void)pool_handle_of(&fixture.pool, object); }

static void test_misuse_is_a_bug(void **state) {
    struct pool *pool = *state;
    uint8_t *object = pool_take(pool);
    assert_false(dies(give, object));
    assert_true(dies(give_twice, object));
    assert_true(dies(give, object + 1));
    assert_true(dies(give, pool->objects + (size_t)COUNT * pool->object_size));
    assert_true(dies(give, pool->objects - pool->object_size));
    assert_true(dies(name, pool->objects + pool->object_size));  // free
}

static void test_free_objects_are_poisoned(void **state) {
    struct pool *pool = *state;
#ifdef HAS_ASAN
    uint8_t *object = pool_take(pool);
    assert_null(__asan_region_is_poisoned(object, pool->object_size));
    assert_true(__asan_address_is_poisoned(object + pool->object_size));  // the neighbour
    pool_give(pool, object);
    assert_true(__asan_address_is_poisoned(object));
    assert_true(__asan_address_is_poisoned(object + pool->object_size - 1));
#else
    (void)pool;
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_footprint_is_what_init_takes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_is_null, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reuse_is_last_in_first_out_and_zeroed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_handles_go_stale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_handles_that_never_were, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_generation_wraps_past_zero, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_walk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse_is_a_bug, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_objects_are_poisoned, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
