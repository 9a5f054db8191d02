/* test_rateconf.c - derper's rate file as Go reads it, and a sentence with the path for every mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/rateconf.h"

#define RATE_NAME "PerClientRateLimitBytesPerSec"
#define BURST_NAME "PerClientRateBurstBytes"

static char folder[] = "/tmp/test_rateconf.XXXXXX";
static char path[sizeof(folder) + 16];

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/rate.json", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void write_bytes(const void *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void assert_limit(const char *text, uint64_t rate, uint64_t burst) {
    char why[RATECONF_WHY_MAX] = "";
    struct rate_limit limit = {12345, 12345};
    write_bytes(text, strlen(text));
    if (!rateconf_load(path, &limit, why)) fail_msg("%s is refused: %s", text, why);
    if (limit.bytes_per_s != rate || limit.burst_bytes != burst) {
        fail_msg("%s is read as %llu, %llu", text, (unsigned long long)limit.bytes_per_s,
                 (unsigned long long)limit.burst_bytes);
    }
}

/* The file as it is now does not load, for a reason that names it, and changes nothing. */
static void assert_load_fails(const char *from, const char *word) {
    char why[RATECONF_WHY_MAX] = "";
    struct rate_limit limit = {12345, 54321};
    if (rateconf_load(from, &limit, why)) fail_msg("%s is accepted", from);
    if (strstr(why, from) == NULL || strstr(why, word) == NULL) {
        fail_msg("\"%s\" or \"%s\" is missing in \"%s\"", from, word, why);
    }
    assert_int_equal(limit.bytes_per_s, 12345);
    assert_int_equal(limit.burst_bytes, 54321);
}

static void assert_refused(const char *text, const char *word) {
    write_bytes(text, strlen(text));
    assert_load_fails(path, word);
}

/* ---- what is accepted ---- */

static void test_both_members(void **state) {
    (void)state;
    assert_limit("{\"" RATE_NAME "\": 1250000, \"" BURST_NAME "\": 5000000}", 1250000, 5000000);
    assert_limit("{\"" BURST_NAME "\":5000000,\"" RATE_NAME "\":1250000}", 1250000, 5000000);
    assert_limit(" \r\n\t{ \"" RATE_NAME "\" : 1 , \"" BURST_NAME "\" : 65569 } \n\n", 1, 65569);
}

static void test_members_are_optional(void **state) {
    (void)state;
    assert_limit("{}", 0, 0);
    assert_limit("null", 0, 0);
    assert_limit("{\"" RATE_NAME "\":1250000}", 1250000, 65568);
    assert_limit("{\"" BURST_NAME "\":1250000}", 0, 0);
    assert_limit("{\"" RATE_NAME "\":null,\"" BURST_NAME "\":null}", 0, 0);
}

static void test_the_burst_is_raised(void **state) {
    (void)state;
    assert_limit("{\"" RATE_NAME "\":1,\"" BURST_NAME "\":0}", 1, 65568);
    assert_limit("{\"" RATE_NAME "\":1,\"" BURST_NAME "\":65567}", 1, 65568);
    assert_limit("{\"" RATE_NAME "\":1,\"" BURST_NAME "\":65568}", 1, 65568);
}

static void test_a_rate_of_zero_is_off(void **state) {
    (void)state;
    assert_limit("{\"" RATE_NAME "\":0}", 0, 0);
    assert_limit("{\"" RATE_NAME "\":0,\"" BURST_NAME "\":5000000}", 0, 0);
    assert_limit("{\"" RATE_NAME "\":-0}", 0, 0);  // Go refuses this one
}

static void test_names_and_other_members(void **state) {
    (void)state;
    assert_limit("{\"perclientratelimitbytespersec\":5,\"PERCLIENTRATEBURSTBYTES\":70000}", 5, 70000);
    assert_limit("{\"PerClientRateLimitByte\xc5\xbfPerSec\":5}", 5, 65568);  // as Go folds
    assert_limit("{\"Other\":[1,{\"" RATE_NAME "\":7}],\"x\":-1.5e300,\"" RATE_NAME "\":5}", 5, 65568);
    assert_limit("{\"" RATE_NAME "s\":5,\"PerClientRateLimitBytesPerSe\":6,\"\":7}", 0, 0);
    assert_limit("{\"PerClientRate\\u004cimitBytesPerSec\":5}", 5, 65568);
}

static void test_the_last_of_several_counts(void **state) {
    (void)state;
    assert_limit("{\"" RATE_NAME "\":5,\"" RATE_NAME "\":6}", 6, 65568);
    assert_limit("{\"" RATE_NAME "\":5,\"perClientRateLimitBytesPerSec\":0}", 0, 0);
    assert_limit("{\"" RATE_NAME "\":5,\"" RATE_NAME "\":null}", 5, 65568);
}

static void test_great_numbers(void **state) {
    (void)state;
    assert_limit("{\"" RATE_NAME "\":4611686018427387904,\"" BURST_NAME "\":4611686018427387904}", 1ull << 62,
                 1ull << 62);
    assert_limit("{\"" RATE_NAME "\":9223372036854775807,\"" BURST_NAME "\":9223372036854775807}", 1ull << 62,
                 1ull << 62);
}

static void test_the_greatest_file(void **state) {
    (void)state;
    static char text[RATECONF_SIZE_MAX + 2];
    memset(text, ' ', sizeof(text) - 1);
    memcpy(text, "{\"" RATE_NAME "\":5}", sizeof("{\"" RATE_NAME "\":5}") - 1);
    text[RATECONF_SIZE_MAX] = 0;
    assert_limit(text, 5, 65568);
    text[RATECONF_SIZE_MAX] = ' ';
    assert_refused(text, "more than 65536 bytes");
}

/* ---- what is refused ---- */

static void test_numbers_that_are_none(void **state) {
    (void)state;
    static const char *const values[] = {"-1",
                                         "1.0",
                                         "1.5",
                                         "1e3",
                                         "1E0",
                                         "-0.5",
                                         "true",
                                         "false",
                                         "\"5\"",
                                         "\"\"",
                                         "[]",
                                         "[5]",
                                         "{}",
                                         "-9223372036854775808",
                                         "9223372036854775808",
                                         "18446744073709551615",
                                         "18446744073709551616",
                                         "99999999999999999999999999"};
    char text[256];
    for (size_t i = 0; i < array_count(values); i++) {
        snprintf(text, sizeof(text), "{\"" RATE_NAME "\":%s}", values[i]);
        assert_refused(text, RATE_NAME " has to be a whole number of bytes from 0 to 9223372036854775807");
        snprintf(text, sizeof(text), "{\"" RATE_NAME "\":5,\"" BURST_NAME "\":%s}", values[i]);
        assert_refused(text, BURST_NAME " has to be a whole number");
        snprintf(text, sizeof(text), "{\"" RATE_NAME "\":0,\"perclientrateburstbytes\":%s}", values[i]);
        assert_refused(text, BURST_NAME);  // although nobody would use it
        snprintf(text, sizeof(text), "{\"" RATE_NAME "\":%s,\"" RATE_NAME "\":5}", values[i]);
        assert_refused(text, RATE_NAME);  // every occurrence has to be good
    }
}

static void test_what_is_no_object(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        " \n",
                                        "[]",
                                        "5",
                                        "\"x\"",
                                        "true",
                                        "{",
                                        "{} x",
                                        "{}{}",
                                        "\xef\xbb\xbf{}",
                                        "{\"" RATE_NAME "\":5,}",
                                        "{\"" RATE_NAME "\":}",
                                        "{\"" RATE_NAME "\"}",
                                        "{\"" RATE_NAME "\":05}",
                                        "{\"" RATE_NAME "\":+5}",
                                        "{\"" RATE_NAME "\":0x5}",
                                        "{\"" RATE_NAME "\":5 // comment\n}",
                                        "{" RATE_NAME ":5}",
                                        "{\"other\":nothing}"};
    for (size_t i = 0; i < array_count(texts); i++)
        assert_refused(texts[i], "is not a JSON object: write {\"" RATE_NAME);
    write_bytes("{}\0", 3);
    assert_load_fails(path, "is not a JSON object");
}

static void test_files_that_cannot_be_read(void **state) {
    (void)state;
    (void)unlink(path);
    assert_load_fails(path, "No such file");
    assert_load_fails(path, "-rate-config");
    assert_load_fails(folder, "Is a directory");
}

static void test_a_long_path_does_not_overflow_the_sentence(void **state) {
    (void)state;
    char why[RATECONF_WHY_MAX + 8], name[2000];
    struct rate_limit limit;
    memset(why, '#', sizeof(why));
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = 0;
    assert_false(rateconf_load(name, &limit, why));
    assert_true(strnlen(why, sizeof(why)) < RATECONF_WHY_MAX);
    assert_memory_equal(why + RATECONF_WHY_MAX, "########", 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_members),
        cmocka_unit_test(test_members_are_optional),
        cmocka_unit_test(test_the_burst_is_raised),
        cmocka_unit_test(test_a_rate_of_zero_is_off),
        cmocka_unit_test(test_names_and_other_members),
        cmocka_unit_test(test_the_last_of_several_counts),
        cmocka_unit_test(test_great_numbers),
        cmocka_unit_test(test_the_greatest_file),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_what_is_no_object),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_a_long_path_does_not_overflow_the_sentence),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
