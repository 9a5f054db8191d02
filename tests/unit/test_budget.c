/* test_budget.c - where all memory goes: the rows that `ringrelayd -budget` prints are what a start really takes.
 *
 * The house is made in process, without threads, and the arenas, the rings' mappings and the size of the process are
 * compared with the rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/asan.h"
#include "core/ring.h"
#include "core/sys.h"
#include "relay/relay.h"

#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif

static struct relay relay;  // too large for a stack

static const struct limits all_limits[] = {
    {.connections_max = 1, .workers_count = 1, .packet_memory_bytes = 4 << 20},
    {.connections_max = 100, .workers_count = 1, .packet_memory_bytes = 4 << 20},
    {.connections_max = 257, .workers_count = 3, .packet_memory_bytes = (4 << 20) + 12345},
    {.connections_max = 1000, .workers_count = 2, .packet_memory_bytes = 8 << 20},
    {.connections_max = 10,
     .workers_count = 1,
     .packet_memory_bytes = 4 << 20,
     .udp_workers_count = 2,
     .endpoints_max = 1000},
};

static void open_house(const struct limits *limits) {
    static struct udp_sockets none;
    struct relay_options options = {.limits = *limits, .ring_features = RING_FEATURES_ALL, .rng_seed = 1, .udp = &none};
    memset(none.fds, 0xff, sizeof(none.fds));
    char why[RELAY_WHY_MAX] = "";
    memset(&relay, 0, sizeof(relay));
    if (!relay_init(&relay, &options, 1000 * NS_PER_S, why)) fail_msg("%s", why);
}

/* ---- sums over rows ---- */

static bool is_ring(const struct budget_row *row) { return strncmp(row->what, "ring", 4) == 0; }

static uint64_t sum_of(const struct limits *limits, const char *part, bool of_rings) {
    struct budget_row rows[BUDGET_ROWS_MAX];
    size_t count = relay_budget(limits, rows);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_wanted = is_ring(&rows[i]) == of_rings && (part == NULL || strcmp(rows[i].part, part) == 0);
        sum += is_wanted ? rows[i].bytes : 0;
    }
    return sum;
}

static uint64_t round_up_to_pages(uint64_t bytes) { return round_up(bytes, (size_t)sysconf(_SC_PAGESIZE)); }

/* ---- tests ---- */

static void test_rows_are_complete(void **state) {
    (void)state;
    for (size_t k = 0; k < array_count(all_limits); k++) {
        struct budget_row rows[BUDGET_ROWS_MAX];
        size_t count = relay_budget(&all_limits[k], rows);
        assert_in_range(count, 5, BUDGET_ROWS_MAX);
        for (size_t i = 0; i < count; i++) {
            assert_true(strlen(rows[i].part) > 0 && strlen(rows[i].what) > 0 && strlen(rows[i].derivation) > 0);
            assert_true(rows[i].each_bytes > 0);
            assert_int_equal(rows[i].bytes, rows[i].count * rows[i].each_bytes);
            for (size_t j = 0; j < i; j++) {
                assert_true(strcmp(rows[i].part, rows[j].part) != 0 || strcmp(rows[i].what, rows[j].what) != 0);
            }
        }
    }
}

/* Exactly what the rows say is taken from each arena: not one object without a row, and nothing reserved in vain. */
static void test_arenas_are_what_the_rows_say(void **state) {
    (void)state;
    for (size_t k = 0; k < array_count(all_limits); k++) {
        const struct limits *limits = &all_limits[k];
        open_house(limits);
        uint64_t workers_used = 0;
        for (uint32_t i = 0; i < limits->workers_count; i++) {
            const struct arena *arena = &relay.arenas[THREAD_WORKERS + i];
            workers_used += arena->used;
            assert_int_equal(arena->used, sum_of(limits, "worker", false) / limits->workers_count);
            assert_int_equal(arena->size, round_up_to_pages(arena->used));
            assert_true(arena->is_sealed);
        }
        assert_int_equal(workers_used, sum_of(limits, "worker", false));
        assert_int_equal(relay.arenas[THREAD_FRONT].used, sum_of(limits, "front", false));
        assert_int_equal(relay.arenas[THREAD_CONTROL].used, sum_of(limits, "control", false));
        assert_int_equal(relay.arenas[THREAD_OFFICE].used, sum_of(limits, "office", false));
        for (uint32_t i = 0; i < limits->udp_workers_count; i++) {
            const struct arena *arena = &relay.arenas[THREAD_WORKERS + limits->workers_count + i];
            assert_int_equal(arena->used, sum_of(limits, "udp", false) / limits->udp_workers_count);
            assert_true(arena->is_sealed);
        }
        assert_int_equal(relay.shared.used + relay.endpoints.used, sum_of(limits, "shared", false));
        assert_int_equal(relay.shared.size, round_up_to_pages(relay.shared.used));
        assert_true(relay.shared.is_sealed && relay.arenas[THREAD_FRONT].is_sealed);
        relay_fini(&relay);
    }
}

/* Bytes of address space. */
static uint64_t process_bytes(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%llu", &pages), 1);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* All rows, rings too, against what the kernel says; differences of a few pages per thread are rounding. Sanitizers
 * allocate beside every object, so figures of their builds mean nothing. */
static void test_the_process_grows_by_the_sum(void **state) {
    (void)state;
#if defined(HAS_ASAN) || defined(HAS_TSAN)
    skip();
#endif
    open_house(&all_limits[0]);  // so that what a first use costs (libraries, malloc's arena) is paid
    relay_fini(&relay);
    for (size_t k = 0; k < array_count(all_limits); k++) {
        uint64_t sum = sum_of(&all_limits[k], NULL, false) + sum_of(&all_limits[k], NULL, true);
        uint64_t slack =
            (uint64_t)(THREAD_WORKERS + all_limits[k].workers_count + all_limits[k].udp_workers_count) * (128 << 10);
        uint64_t before = process_bytes();
        open_house(&all_limits[k]);
        uint64_t grown = process_bytes() - before;
        relay_fini(&relay);
        if (grown > sum + slack || grown + slack < sum) {
            fail_msg("%llu bytes are taken, the rows say %llu", (unsigned long long)grown, (unsigned long long)sum);
        }
        assert_true(process_bytes() <= before + slack);  // and all of it is given back
    }
}

/* Sum as printed: relay_budget_print into a file that stands in for standard output. */
static void test_the_printed_table_ends_with_the_sum(void **state) {
    (void)state;
    const struct limits *limits = &all_limits[2];
    static char text[16 * 1024];
    char line[128];
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(saved >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    relay_budget_print(limits);
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = 0;
    fclose(file);

    struct budget_row rows[BUDGET_ROWS_MAX];
    size_t count = relay_budget(limits, rows);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(line, sizeof(line), " %llu  %s\n", (unsigned long long)rows[i].bytes, rows[i].derivation);
        if (strstr(text, line) == NULL) fail_msg("\"%s\" is missing in\n%s", line, text);
        sum += rows[i].bytes;
    }
    snprintf(line, sizeof(line), " %llu  reserved", (unsigned long long)sum);
    const char *last = strstr(text, "\nsum ");
    assert_non_null(last);
    if (strstr(last, line) == NULL) fail_msg("\"%s\" is missing in\n%s", line, last);
    assert_non_null(strstr(text, "for 257 connections on 3 worker(s)"));
}

/* ---- a start that fails on the way ---- */

/* In a child with `fds` more descriptors than it has: the start is refused with a sentence, and can be taken back. */
static bool fails_cleanly(unsigned fds) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int next_fd = dup(STDOUT_FILENO);
        struct rlimit limit = {.rlim_cur = (rlim_t)next_fd + fds, .rlim_max = (rlim_t)next_fd + fds};
        struct relay_options options = {.limits = all_limits[0], .ring_features = RING_FEATURES_ALL};
        char why[RELAY_WHY_MAX] = "";
        close(next_fd);
        bool is_made = setrlimit(RLIMIT_NOFILE, &limit) != 0 || relay_init(&relay, &options, NS_PER_S, why);
        relay_fini(&relay);
        _exit(is_made || strlen(why) < 20 ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_a_start_that_fails_can_be_taken_back(void **state) {
    (void)state;
    memset(&relay, 0, sizeof(relay));
    for (unsigned fds = 0; fds < 5; fds++) assert_true(fails_cleanly(fds));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_complete),
        cmocka_unit_test(test_arenas_are_what_the_rows_say),
        cmocka_unit_test(test_the_process_grows_by_the_sum),
        cmocka_unit_test(test_the_printed_table_ends_with_the_sum),
        cmocka_unit_test(test_a_start_that_fails_can_be_taken_back),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
