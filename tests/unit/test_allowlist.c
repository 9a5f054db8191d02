/* test_allowlist.c - the file of those who may ask over DERP: lines, their errors, finding a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/allowlist.h"

#define ZEROS "000000000000000000000000000000000000000000000000000000000000"
#define KEY(four) "nodekey:" four ZEROS

static char why[ALLOWLIST_WHY_MAX];

static struct node_key key_of(uint8_t first, uint8_t second) { return (struct node_key){{first, second}}; }

static struct allowlist *parsed(const char *text) {
    struct allowlist *list = NULL;
    if (!allowlist_parse(text, strlen(text), &list, why)) fail_msg("refused: %s", why);
    return list;
}

static void refused(const char *text, const char *line) {
    struct allowlist *list = NULL;
    assert_false(allowlist_parse(text, strlen(text), &list, why));
    assert_null(list);
    if (strncmp(why, line, strlen(line)) != 0) fail_msg("\"%s\" does not begin with \"%s\"", why, line);
}

static void test_lines(void **state) {
    (void)state;
    struct allowlist *list = parsed("# people\r\n\n  \t\n" KEY("0201") "\n\t" KEY("0102") "  a name: " KEY(
        "0909") "\r\n" KEY("FF00") "\t# who\n" KEY("0201") "\n  # the end\n" KEY("0300"));
    assert_int_equal(list->count, 4);
    const struct node_key there[] = {key_of(2, 1), key_of(1, 2), key_of(0xff, 0), key_of(3, 0)};
    const struct node_key missing[] = {key_of(9, 9), key_of(0, 0), key_of(1, 1), key_of(0xff, 1), key_of(2, 2)};
    for (size_t i = 0; i < array_count(there); i++) {
        struct allowed *found = allowlist_find(list, &there[i]);
        assert_non_null(found);
        assert_true(key_equal(&found->key, &there[i]));
        assert_int_equal(found->spent_until_ns, 0);
    }
    for (size_t i = 0; i < array_count(missing); i++) assert_null(allowlist_find(list, &missing[i]));
    allowlist_free(list);
}

static void test_nobody(void **state) {
    (void)state;
    struct node_key key = key_of(1, 1);
    const char *const texts[] = {"", "\n", "# " KEY("0101"), "   "};
    assert_null(allowlist_find(NULL, &key));
    allowlist_free(NULL);
    for (size_t i = 0; i < array_count(texts); i++) {
        struct allowlist *list = parsed(texts[i]);
        assert_int_equal(list->count, 0);
        assert_null(allowlist_find(list, &key));
        allowlist_free(list);
    }
}

/* One wrong line is enough, and what was written there by mistake is not repeated. */
static void test_wrong_lines(void **state) {
    (void)state;
    refused("laptop", "line 1:");
    refused(KEY("0101") "\n\n# x\n" KEY("01"), "line 4:");
    refused(KEY("0101") "0", "line 1:");
    refused(KEY("0101") "," KEY("0102"), "line 1:");
    refused(KEY("010g"), "line 1:");
    refused("\n" KEY("0000"), "line 2: this is the zero key");
    refused("discokey:0101" ZEROS, "line 1:");
    refused("privkey:0101" ZEROS, "line 1:");
    assert_null(strstr(why, "0101"));
    const char with_nul[] = "nodekey:\0";
    struct allowlist *list = NULL;
    assert_false(allowlist_parse(with_nul, sizeof(with_nul), &list, why));
}

enum { LINE_SIZE = 8 + 64 + 1 };

/* Lines of LINE_SIZE, from 1 on. */
static char *many(size_t count) {
    char *text = malloc(count * LINE_SIZE + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) {
        snprintf(text + i * LINE_SIZE, LINE_SIZE + 1, "nodekey:%064zx\n", i * 0x9e3779b9 + 1);
    }
    return text;
}

static void test_as_many_as_may_be(void **state) {
    (void)state;
    size_t size = (ALLOWLIST_KEYS_MAX + 1) * (size_t)LINE_SIZE;
    char *text = many(ALLOWLIST_KEYS_MAX + 1);
    struct allowlist *list = NULL;
    assert_false(allowlist_parse(text, size, &list, why));
    assert_non_null(strstr(why, "65537"));
    if (!allowlist_parse(text, size - LINE_SIZE, &list, why)) fail_msg("%s", why);
    assert_int_equal(list->count, ALLOWLIST_KEYS_MAX);
    for (uint32_t i = 0; i < list->count; i++) {
        assert_ptr_equal(allowlist_find(list, &list->all[i].key), &list->all[i]);
    }
    allowlist_free(list);
    free(text);
}

static void test_the_file(void **state) {
    (void)state;
    char path[] = "/tmp/test_allowlist.XXXXXX", text[] = KEY("0101") "\nx\n";
    struct allowlist *list = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    assert_false(allowlist_load(path, &list, why));
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, "line 2:"));
    assert_int_equal(ftruncate(fd, sizeof(text) - 3), 0);
    if (!allowlist_load(path, &list, why)) fail_msg("%s", why);
    assert_int_equal(list->count, 1);
    allowlist_free(list);
    assert_int_equal(ftruncate(fd, ALLOWLIST_FILE_MAX + 1), 0);
    assert_false(allowlist_load(path, &list, why));
    assert_non_null(strstr(why, "MiB"));
    close(fd);
    assert_int_equal(unlink(path), 0);
    assert_false(allowlist_load(path, &list, why));
    assert_non_null(strstr(why, "-relay-allow-file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),       cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_wrong_lines), cmocka_unit_test(test_as_many_as_may_be),
        cmocka_unit_test(test_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
