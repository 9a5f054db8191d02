/* test_tokens.c - the file of tokens: what is one, whose it is, and which files are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/tokens.h"

#define A "0123456789abcdef"
#define B "fedcba9876543210-._~+/="

static const uint8_t secret[TOKENS_SECRET_SIZE] = {1, 2, 3};
static char why[TOKENS_WHY_MAX];

static struct tokens *parse(const char *text) { return tokens_parse(text, strlen(text), "FILE", secret, why); }

static bool has(const struct tokens *tokens, const char *token) {
    return tokens_find(tokens, token, strlen(token)) != NULL;
}

static void test_lines(void **state) {
    (void)state;
    struct tokens *tokens = parse("# " A "\n\n  \t\r\n" A "\tthe lab, \xc3\xa4nd more\r\n \t" B "   # note");
    assert_non_null(tokens);
    assert_int_equal(tokens_count(tokens), 2);
    assert_true(has(tokens, A));
    assert_true(has(tokens, B));
    static const char *const others[] = {"", "#", "0123456789abcde", A "0", "0123456789abcdeF", A "\tthe", "FILE"};
    for (size_t i = 0; i < array_count(others); i++) assert_false(has(tokens, others[i]));
    tokens_free(tokens);
    assert_false(has(NULL, A));
    assert_int_equal(tokens_count(NULL), 0);
    tokens_free(NULL);
}

static void test_sizes(void **state) {
    (void)state;
    char text[TOKEN_SIZE_MAX + 2];
    memset(text, 'x', sizeof(text));
    text[TOKEN_SIZE_MAX + 1] = 0;
    assert_null(parse(text));
    text[TOKEN_SIZE_MAX] = 0;
    struct tokens *tokens = parse(text);
    assert_true(has(tokens, text));
    tokens_free(tokens);
    text[TOKEN_SIZE_MIN - 1] = 0;
    assert_null(parse(text));
}

/* The sentence says where, and never the token. */
static void test_wrong_lines(void **state) {
    (void)state;
    static const char *const wrong[] = {"short", "0123456789abcde\"", "0123456789\xff\142cdef0", "0123456789abcdef:"};
    for (size_t i = 0; i < array_count(wrong); i++) {
        char text[128];
        snprintf(text, sizeof(text), "%s\n%s note\n", A, wrong[i]);
        assert_null(parse(text));
        if (strstr(why, "FILE, line 2:") == NULL || strstr(why, wrong[i]) || strstr(why, A)) fail_msg("%s", why);
    }
    static const char nul[] = A "\n" A "\0\n";
    assert_null(tokens_parse(nul, sizeof(nul) - 1, "FILE", secret, why));
}

static void test_many(void **state) {
    (void)state;
    static char text[(TOKENS_MAX + 1) * 20];
    char *at = text;
    for (int i = 0; i < TOKENS_MAX; i++) at += snprintf(at, 20, "%018d\n", i);
    struct tokens *tokens = parse(text);
    assert_int_equal(tokens_count(tokens), TOKENS_MAX);
    assert_true(has(tokens, "000000000000000000"));
    assert_true(has(tokens, "000000000000000255"));
    assert_false(has(tokens, "000000000000000256"));
    tokens_free(tokens);
    snprintf(at, 20, "%018d\n", TOKENS_MAX);
    assert_null(parse(text));
    assert_non_null(strstr(why, "line 257"));
}

/* The name of a requester outlives a new reading, and is another one under another secret. */
static void test_ids(void **state) {
    (void)state;
    static const uint8_t other_secret[TOKENS_SECRET_SIZE] = {4};
    struct tokens *one = parse(B "\n" A "\n"), *two = parse(A), *three = tokens_parse(A, 16, "FILE", other_secret, why);
    const struct token_id *a = tokens_find(one, A, 16), *b = tokens_find(two, A, 16), *c = tokens_find(three, A, 16);
    assert_memory_equal(a, b, sizeof(*a));
    assert_memory_not_equal(a, c, sizeof(*a));
    assert_memory_not_equal(a, tokens_find(one, B, strlen(B)), sizeof(*a));
    tokens_free(one);
    tokens_free(two);
    tokens_free(three);
}

/* ---- files ---- */

static char path[] = "/tmp/ringrelay-tokens-XXXXXX";

static struct tokens *load(unsigned mode) {
    assert_int_equal(chmod(path, mode), 0);
    return tokens_load(path, secret, why);
}

static void test_files(void **state) {
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, A "\n", 17), 17);
    static const unsigned open_modes[] = {0604, 0602, 0644, 0666};
    for (size_t i = 0; i < array_count(open_modes); i++) {
        assert_null(load(open_modes[i]));
        assert_non_null(strstr(why, "chmod o-rw"));
    }
    struct tokens *tokens = load(0640);
    assert_true(has(tokens, A));
    tokens_free(tokens);
    assert_int_equal(ftruncate(fd, 0), 0);
    tokens = load(0600);
    assert_non_null(tokens);
    assert_int_equal(tokens_count(tokens), 0);
    tokens_free(tokens);
    assert_int_equal(ftruncate(fd, TOKENS_FILE_SIZE_MAX + 1), 0);
    assert_null(load(0600));
    assert_non_null(strstr(why, "128 KiB"));
    close(fd);
    assert_int_equal(unlink(path), 0);
    assert_null(tokens_load(path, secret, why));
    assert_non_null(strstr(why, "No such file"));
    assert_null(tokens_load("/tmp", secret, why));
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_sizes), cmocka_unit_test(test_wrong_lines),
        cmocka_unit_test(test_many),  cmocka_unit_test(test_ids),   cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
