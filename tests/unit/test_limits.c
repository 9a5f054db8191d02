/* test_limits.c - numbers the operator chooses, numbers that follow, and what is refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/limits.h"

enum { RESERVED = 128 + LIMIT_SESSIONS_ALL };  // descriptors that are no client's: see limits.c

static void assert_fine(struct limits *limits, size_t fd_limit) {
    char why[LIMITS_WHY_MAX] = "";
    if (!limits_init(limits, fd_limit, why)) fail_msg("refused: %s", why);
}

static void assert_refused(struct limits limits, size_t fd_limit, const char *word) {
    char why[LIMITS_WHY_MAX] = "";
    assert_false(limits_init(&limits, fd_limit, why));
    if (strstr(why, word) == NULL) fail_msg("\"%s\" is missing in \"%s\"", word, why);
}

static void test_what_is_zero_is_derived(void **state) {
    (void)state;
    struct limits limits = {0};
    assert_fine(&limits, 1 << 20);
    assert_int_equal(limits.connections_max, 16384);
    assert_int_equal(limits.workers_count, 1);
    assert_int_equal(limits.packet_memory_bytes, 64 * 1024 * 1024);
}

static void test_connections_follow_open_files(void **state) {
    (void)state;
    const struct {
        size_t fd_limit;
        uint32_t connections;
    } rows[] = {{RESERVED + 1, 1},         {4096, 4096 - RESERVED},   {RESERVED + 16384, 16384},
                {RESERVED + 16383, 16383}, {RESERVED + 16385, 16384}, {SIZE_MAX, 16384}};
    for (size_t i = 0; i < array_count(rows); i++) {
        struct limits limits = {0};
        assert_fine(&limits, rows[i].fd_limit);
        assert_int_equal(limits.connections_max, rows[i].connections);
    }
}

static void test_what_is_given_stays(void **state) {
    (void)state;
    struct limits limits = {
        .connections_max = 70000, .workers_count = LIMIT_WORKERS_MAX, .packet_memory_bytes = 4 << 20};
    assert_fine(&limits, RESERVED + 70000);
    assert_int_equal(limits.connections_max, 70000);
    assert_int_equal(limits.workers_count, LIMIT_WORKERS_MAX);
    assert_int_equal(limits.packet_memory_bytes, 4 << 20);
}

static void test_refusals_name_the_flag(void **state) {
    (void)state;
    assert_refused((struct limits){.connections_max = 70000}, RESERVED + 69999, "-max-connections 70000");
    assert_refused((struct limits){.connections_max = 70000}, RESERVED + 69999, "ulimit");
    assert_refused((struct limits){0}, RESERVED, "-max-connections");
    assert_refused((struct limits){0}, 0, "open files");
    assert_refused((struct limits){.workers_count = LIMIT_WORKERS_MAX + 1}, 1 << 20, "-workers");
    assert_refused((struct limits){.udp_workers_count = LIMIT_WORKERS_MAX + 1}, 1 << 20, "-relay-workers");
    assert_refused((struct limits){.packet_memory_bytes = (4 << 20) - 1}, 1 << 20, "-packet-memory");
    assert_refused((struct limits){.packet_memory_bytes = 1}, 1 << 20, "4m");
}

static void test_workers_follow_cpus(void **state) {
    (void)state;
    const struct {
        uint32_t cpus, workers;
    } rows[] = {{0, 1}, {1, 1}, {2, 1}, {3, 2}, {4, 3}, {8, 7}, {9, 8}, {10, 8}, {64, 8}, {1024, 8}, {UINT32_MAX, 8}};
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_int_equal(limits_workers_for(rows[i].cpus), rows[i].workers);
        assert_in_range(rows[i].workers, 1, LIMIT_WORKERS_MAX);
    }
}

static void test_sizes(void **state) {
    (void)state;
    const struct {
        const char *text;
        uint64_t size;
    } rows[] = {{"0", 0},
                {"1", 1},
                {"65536", 65536},
                {"64k", 65536},
                {"64K", 65536},
                {"64m", 64ull << 20},
                {"64M", 64ull << 20},
                {"2g", 2ull << 30},
                {"2G", 2ull << 30},
                {"007", 7},
                {"18446744073709551615", UINT64_MAX},
                {"18014398509481983k", 18014398509481983ull << 10}};
    for (size_t i = 0; i < array_count(rows); i++) {
        uint64_t size = 12345;
        if (!limits_parse_size(rows[i].text, &size)) fail_msg("%s is refused", rows[i].text);
        assert_true(size == rows[i].size);
    }
}

static void test_what_is_no_size(void **state) {
    (void)state;
    const char *const texts[] = {"",
                                 "k",
                                 "-1",
                                 "+1",
                                 " 1",
                                 "1 ",
                                 "1kb",
                                 "1t",
                                 "1.5m",
                                 "0x10",
                                 "64mm",
                                 "m64",
                                 "1 k",
                                 "1k ",
                                 "1,0",
                                 "sixty",
                                 "18014398509481984k",
                                 "17179869184g"};
    for (size_t i = 0; i < array_count(texts); i++) {
        uint64_t size = 12345;
        if (limits_parse_size(texts[i], &size)) fail_msg("\"%s\" is accepted", texts[i]);
        assert_int_equal(size, 12345);
    }
}

/* strtoull turns what is above 2^64 into its greatest value, which is a number nobody wrote. */
static void test_a_size_beyond_64_bits_is_refused(void **state) {
    (void)state;
    const char *const texts[] = {"18446744073709551616", "99999999999999999999999999"};
    for (size_t i = 0; i < array_count(texts); i++) {
        uint64_t size = 12345;
        if (limits_parse_size(texts[i], &size)) fail_msg("\"%s\" is accepted", texts[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_zero_is_derived), cmocka_unit_test(test_connections_follow_open_files),
        cmocka_unit_test(test_what_is_given_stays),     cmocka_unit_test(test_refusals_name_the_flag),
        cmocka_unit_test(test_workers_follow_cpus),     cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_what_is_no_size),         cmocka_unit_test(test_a_size_beyond_64_bits_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
