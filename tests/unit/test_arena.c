/* test_arena.c - boot memory: zeroed, aligned, never more than was asked for, nothing after the seal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/arena.h"

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

static void test_zeroed_aligned_and_apart(void **state) {
    (void)state;
    struct arena arena;
    assert_int_equal(arena_init(&arena, 4096), 0);
    uint8_t *last_end = arena.base;
    for (size_t size = 1; size <= 200; size += 37) {
        uint8_t *object = arena_take(&arena, size);
        assert_int_equal((uintptr_t)object % CACHE_LINE_SIZE, 0);
        assert_true(object >= last_end);
        for (size_t i = 0; i < size; i++) assert_int_equal(object[i], 0);
        memset(object, 0xff, size);
        last_end = object + size;
    }
    arena_fini(&arena);
}

static void test_size_is_exact_in_costs(void **state) {
    (void)state;
    struct arena arena;
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(arena_init(&arena, page_size - 1), 0);
    assert_int_equal(arena.size, page_size);
    for (size_t used = 0; used < page_size; used += arena_cost(65)) assert_non_null(arena_take(&arena, 65));
    assert_int_equal(arena.used, page_size);
    assert_non_null(arena_take(&arena, 0));
    arena_fini(&arena);
}

static void take_byte(void *arena) { (void)arena_take(arena, 1); }
static void take_all(void *arena) { (void)arena_take(arena, SIZE_MAX); }

static void test_too_much_is_a_bug(void **state) {
    (void)state;
    struct arena arena;
    assert_int_equal(arena_init(&arena, 4096), 0);
    assert_false(dies(take_byte, &arena));
    assert_true(dies(take_all, &arena));
    (void)arena_take(&arena, arena.size);
    assert_true(dies(take_byte, &arena));
    arena_fini(&arena);
}

static void test_sealed_gives_nothing(void **state) {
    (void)state;
    struct arena arena;
    assert_int_equal(arena_init(&arena, 4096), 0);
    arena_seal(&arena);
    assert_true(dies(take_byte, &arena));
    arena_fini(&arena);
}

static void test_impossible_size_is_refused(void **state) {
    (void)state;
    struct arena arena = {0};
    assert_int_equal(arena_init(&arena, SIZE_MAX), -ENOMEM);
    assert_int_equal(arena_init(&arena, SIZE_MAX / 2), -ENOMEM);
    arena_fini(&arena);  // fine on one that never was
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed_aligned_and_apart),   cmocka_unit_test(test_size_is_exact_in_costs),
        cmocka_unit_test(test_too_much_is_a_bug),          cmocka_unit_test(test_sealed_gives_nothing),
        cmocka_unit_test(test_impossible_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
