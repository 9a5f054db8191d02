/* test_log.c - lines: one write each, unforgeable, never blocking a lane's producer, losses told, storms limited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"

#define STAMP_SIZE 20  // "2026/11/20 22:42:07 "

/* Standard error is a pipe in packet mode during a test: one read gives what one write wrote. */
static int read_fd, stderr_fd;

static int capture(void **state) {
    (void)state;
    int ends[2];
    stderr_fd = dup(STDERR_FILENO);
    if (stderr_fd < 0 || pipe2(ends, O_DIRECT | O_NONBLOCK) != 0) return -1;
    read_fd = ends[0];
    if (dup2(ends[1], STDERR_FILENO) < 0) return -1;
    return close(ends[1]);
}

static int release(void **state) {
    (void)state;
    log_use_lane(NULL);
    log_set_level(LOG_INFO);
    if (dup2(stderr_fd, STDERR_FILENO) < 0) return -1;
    return close(stderr_fd) | close(read_fd);
}

/* One write as a string, "" when there is none. */
static const char *take_write(void) {
    static char text[8192];
    ssize_t size = read(read_fd, text, sizeof(text) - 1);
    text[size > 0 ? size : 0] = 0;
    return text;
}

/* One write without the time. */
static const char *take_text(void) {
    const char *text = take_write();
    return strlen(text) > STAMP_SIZE ? text + STAMP_SIZE : "";
}

static void test_direct_line_is_one_write(void **state) {
    (void)state;
    log_line(LOG_INFO, "first %d", 1);
    log_line(LOG_WARNING, "second");
    log_line(LOG_ERROR, "third");
    log_line(LOG_INFO, "%s", "");
    assert_string_equal(take_text(), "first 1\n");
    assert_string_equal(take_text(), "warning: second\n");
    assert_string_equal(take_text(), "error: third\n");
    assert_string_equal(take_text(), "\n");
    assert_string_equal(take_write(), "");
}

static void test_time_is_local(void **state) {
    (void)state;
    assert_int_equal(setenv("TZ", "TST-05:30", 1), 0);
    tzset();
    char before[32], after[32];
    time_t now = time(NULL) + 5 * 3600 + 30 * 60;
    struct tm shifted;
    (void)strftime(before, sizeof(before), "%Y/%m/%d %H:%M:%S ", gmtime_r(&now, &shifted));
    log_line(LOG_INFO, "x");
    now = time(NULL) + 5 * 3600 + 30 * 60;
    (void)strftime(after, sizeof(after), "%Y/%m/%d %H:%M:%S ", gmtime_r(&now, &shifted));
    const char *line = take_write();
    assert_true(strncmp(line, before, STAMP_SIZE) >= 0 && strncmp(line, after, STAMP_SIZE) <= 0);
    assert_string_equal(line + STAMP_SIZE, "x\n");
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

static void test_level(void **state) {
    (void)state;
    log_line(LOG_DEBUG, "not made");
    log_set_level(LOG_DEBUG);
    log_line(LOG_DEBUG, "made");
    log_set_level(LOG_ERROR);
    log_line(LOG_WARNING, "not made");
    assert_false(log_is_on(LOG_WARNING));
    assert_true(log_is_on(LOG_ERROR));
    assert_string_equal(take_text(), "made\n");
    assert_string_equal(take_write(), "");
}

static void test_errno_is_kept(void **state) {
    (void)state;
    errno = ENOTTY;
    log_line(LOG_INFO, "x");
    assert_int_equal(errno, ENOTTY);
}

struct escape_case {
    const char *from;
    const char *shown;
};

static void test_hostile_text_cannot_forge(void **state) {
    (void)state;
    const struct escape_case cases[] = {
        {"a\n2026/11/20 22:42:07 forged", "a\\x0a2026/11/20 22:42:07 forged"},
        {"\r\t\x1b[2J\x7f", "\\x0d\\x09\\x1b[2J\\x7f"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"\x80"
         "a",
         "\\x80"
         "a"},
        {"\xc3", "\\xc3"},                              // ends too early
        {"\xc3(", "\\xc3("},                            // the next byte is no continuation
        {"\xe2\x82", "\\xe2\\x82"},
        {"\xf0\x9f\x98", "\\xf0\\x9f\\x98"},
        {"\xc0\x8a", "\\xc0\\x8a"},                     // a line feed, overlong
        {"\xe0\x80\x8a", "\\xe0\\x80\\x8a"},
        {"\xf0\x80\x80\x8a", "\\xf0\\x80\\x80\\x8a"},
        {"\xe0\x81\x81", "\\xe0\\x81\\x81"}, // a letter, overlong
        {"\xf0\x80\x81\x81", "\\xf0\\x80\\x81\\x81"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},            // half a surrogate pair
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},   // above U+10FFFF
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
        {"\xc2\x85", "\\xc2\\x85"},                     // next line, C1
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},            // line separator
        {"\xe2\x80\xae"
         "abc",
         "\\xe2\\x80\\xae"
         "abc"},  // right-to-left override
        {"\xe2\x80\xa6", "\xe2\x80\xa6"},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        char wanted[256];
        (void)snprintf(wanted, sizeof(wanted), "%s\n", cases[i].shown);
        log_line(LOG_INFO, "%s", cases[i].from);
        assert_string_equal(take_text(), wanted);
    }
    log_line(LOG_INFO, "a%cb", 0);
    assert_string_equal(take_text(), "a\\x00b\n");
}

/* Logs `size` times `unit` after `lead` letters; checks the shape of the line. */
static void check_cut(size_t lead, const char *unit, size_t repeats) {
    static char long_text[8192];
    memset(long_text, 'a', lead);
    char *at = long_text + lead;
    for (size_t i = 0; i < repeats; i++, at += strlen(unit)) memcpy(at, unit, strlen(unit));
    *at = 0;
    log_line(LOG_INFO, "%s", long_text);
    const char *text = take_text();
    size_t size = strlen(text) - 1;
    assert_int_equal(text[size], '\n');
    assert_true(size <= LOG_LINE_MAX);
    if (lead + repeats * strlen(unit) <= LOG_LINE_MAX) {
        assert_memory_equal(text, long_text, size);
        return;
    }
    assert_true(size > LOG_LINE_MAX - 8);
    assert_memory_equal(text + size - 3, "\xe2\x80\xa6", 3);
    assert_memory_equal(text, long_text, size - 3);
    assert_int_equal((size - 3 - lead) % strlen(unit), 0);  // cut between characters
}

static void test_long_lines_are_cut_between_characters(void **state) {
    (void)state;
    for (size_t lead = 0; lead < 8; lead++) {
        check_cut(lead, "\xf0\x9f\x98\x80", 300);
        check_cut(lead, "\xe2\x82\xac", 300);
        check_cut(lead, "\xc3\xbc", 300);
        check_cut(lead, "x", 2000);
        check_cut(lead, "x", LOG_LINE_MAX - 4);
        check_cut(LOG_LINE_MAX - 4, "x", lead);
    }
    char hostile[LOG_LINE_MAX];
    memset(hostile, '\n', sizeof(hostile));
    log_line(LOG_INFO, "%.*s", (int)sizeof(hostile), hostile);
    const char *text = take_text();
    assert_true(strlen(text) <= LOG_LINE_MAX + 1);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

/* ---- lanes ---- */

static struct log_lane lane;
static uint8_t lane_storage[LOG_LANE_LINES * sizeof(struct log_item)];

static void use_lane(void) {
    assert_int_equal(log_lane_storage_size(), sizeof(lane_storage));
    log_lane_init(&lane, lane_storage, 3);
    log_use_lane(&lane);
}

static void test_lane_batches_writes(void **state) {
    (void)state;
    use_lane();
    assert_false(log_flush());
    for (int i = 0; i < 6; i++) log_line(LOG_INFO, "line %d", i);
    assert_int_equal(log_drain(&lane, 100), 0);
    assert_true(log_flush());
    assert_string_equal(take_write(), "");
    assert_int_equal(log_drain(&lane, 2), 2);
    assert_int_equal(log_drain(&lane, 100), 4);
    assert_int_equal(log_drain(&lane, 100), 0);
    const char *batch = take_write();
    assert_non_null(strstr(batch, " line 0\n"));
    assert_non_null(strstr(batch, " line 1\n"));
    assert_null(strstr(batch, " line 2\n"));
    batch = take_write();
    assert_non_null(strstr(batch, " line 2\n"));
    assert_non_null(strstr(batch, " line 5\n"));
    assert_string_equal(take_write(), "");
}

static void test_without_a_lane_there_is_nothing_to_flush(void **state) {
    (void)state;
    log_use_lane(NULL);
    assert_false(log_flush());
}

static size_t drain_all(void) {
    size_t lines = 0, taken;
    while ((taken = log_drain(&lane, 4)) > 0) {
        for (lines += taken; *take_write() != 0;) {}
    }
    return lines;
}

static void test_losses_are_counted_and_told(void **state) {
    (void)state;
    use_lane();
    for (int i = 0; i < LOG_LANE_LINES + 7; i++) log_line(LOG_INFO, "line %d", i);
    assert_int_equal(stat_get(&lane.lost), 7);
    assert_true(log_flush());
    assert_int_equal(drain_all(), LOG_LANE_LINES);
    log_line(LOG_INFO, "after");
    log_line(LOG_INFO, "later");
    assert_true(log_flush());
    assert_int_equal(log_drain(&lane, 1), 1);
    assert_non_null(strstr(take_write(), " warning: 7 log lines lost here"));
    assert_int_equal(log_drain(&lane, 10), 2);
    const char *batch = take_write();
    assert_non_null(strstr(batch, " after\n"));
    assert_non_null(strstr(batch, " later\n"));
    assert_int_equal(stat_get(&lane.lost), 7);
}

/* Room for the notice alone: it is written, and the line behind it is the next loss. */
static void test_loss_with_one_place_left(void **state) {
    (void)state;
    use_lane();
    for (int i = 0; i < LOG_LANE_LINES + 2; i++) log_line(LOG_INFO, "line");
    assert_true(log_flush());
    assert_int_equal(log_drain(&lane, 1), 1);
    log_line(LOG_INFO, "no room");
    log_line(LOG_INFO, "no room");
    assert_int_equal(stat_get(&lane.lost), 4);
    assert_true(log_flush());
    (void)drain_all();
    log_line(LOG_INFO, "room");
    assert_true(log_flush());
    assert_int_equal(log_drain(&lane, 1), 1);
    while (strstr(take_write(), "2 log lines lost") == NULL) assert_int_equal(log_drain(&lane, 1), 1);
}

/* A reader that is slow for a while costs no line once it reads: the drain waits, the producer does not. */
static void *read_slowly(void *argument) {
    size_t *lines = argument;
    while (*lines < LOG_LANE_LINES) {
        const char *text = take_write();
        if (*text == 0) (void)sched_yield();
        for (; (text = strchr(text, '\n')) != NULL; text++) ++*lines;
    }
    return NULL;
}

static void test_full_pipe_is_waited_for(void **state) {
    (void)state;
    use_lane();
    assert_true(fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096) > 0);
    for (int i = 0; i < LOG_LANE_LINES; i++) log_line(LOG_INFO, "%0300d", i);
    assert_true(log_flush());
    size_t lines = 0;
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_slowly, &lines), 0);
    assert_int_equal(log_drain(&lane, LOG_LANE_LINES), LOG_LANE_LINES);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(lines, LOG_LANE_LINES);
}

/* ---- limits ---- */

static void test_limit_lets_a_burst_pass_then_a_rate(void **state) {
    (void)state;
    struct log_limit limit = LOG_LIMIT(3, 60);
    uint64_t now_ns = 1000 * NS_PER_S;
    uint32_t suppressed = 99;
    for (int i = 0; i < 3; i++) {
        assert_true(log_limit_allows(&limit, now_ns, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    for (uint32_t i = 1; i <= 5; i++) {
        assert_false(log_limit_allows(&limit, now_ns + NS_PER_S - 1, &suppressed));
        assert_int_equal(suppressed, i);
    }
    assert_true(log_limit_allows(&limit, now_ns + NS_PER_S, &suppressed));
    assert_int_equal(suppressed, 5);
    assert_false(log_limit_allows(&limit, now_ns + NS_PER_S, &suppressed));
    assert_true(log_limit_allows(&limit, now_ns + 3600 * NS_PER_S, &suppressed));
    assert_int_equal(suppressed, 1);
    for (int i = 0; i < 2; i++) assert_true(log_limit_allows(&limit, now_ns + 3600 * NS_PER_S, &suppressed));
    assert_false(
        log_limit_allows(&limit, now_ns + 3600 * NS_PER_S, &suppressed));  // an hour gives no more than a burst
}

static void test_limit_keeps_fractions_of_a_line(void **state) {
    (void)state;
    struct log_limit limit = LOG_LIMIT(1, 6);
    uint32_t suppressed, passed = 0;
    for (uint64_t second = 0; second < 600; second++)
        passed += log_limit_allows(&limit, second * NS_PER_S, &suppressed);
    assert_int_equal(passed, 60);
}

static void test_limit_without_rate_or_with_time_going_back(void **state) {
    (void)state;
    struct log_limit once = LOG_LIMIT(1, 0), back = LOG_LIMIT(1, 60);
    uint32_t suppressed;
    assert_true(log_limit_allows(&once, 0, &suppressed));
    assert_false(log_limit_allows(&once, UINT64_MAX, &suppressed));
    assert_true(log_limit_allows(&back, 1000 * NS_PER_S, &suppressed));
    assert_false(log_limit_allows(&back, 0, &suppressed));
}

#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, capture, release)

int main(void) {
    const struct CMUnitTest tests[] = {
        CAPTURED(test_direct_line_is_one_write),
        CAPTURED(test_time_is_local),
        CAPTURED(test_level),
        CAPTURED(test_errno_is_kept),
        CAPTURED(test_hostile_text_cannot_forge),
        CAPTURED(test_long_lines_are_cut_between_characters),
        CAPTURED(test_lane_batches_writes),
        CAPTURED(test_without_a_lane_there_is_nothing_to_flush),
        CAPTURED(test_losses_are_counted_and_told),
        CAPTURED(test_loss_with_one_place_left),
        CAPTURED(test_full_pipe_is_waited_for),
        cmocka_unit_test(test_limit_lets_a_burst_pass_then_a_rate),
        cmocka_unit_test(test_limit_keeps_fractions_of_a_line),
        cmocka_unit_test(test_limit_without_rate_or_with_time_going_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
