/* test_http_path.c - clean paths, escapes and queries, as Go's mux and net/url have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/http_path.h"

static struct http_view view(const char *text) { return (struct http_view){.at = text, .size = strlen(text)}; }

static void test_valid_escapes(void **state) {
    (void)state;
    static const char *const fine[] = {"", "/", "/a%20b", "/%2f%2F%00%fF", "/%25zz"};
    static const char *const broken[] = {"/%", "/%1", "/%zz", "/%1g", "/a%%20", "%"};
    for (size_t i = 0; i < array_count(fine); i++) assert_true(http_path_is_valid(view(fine[i])));
    for (size_t i = 0; i < array_count(broken); i++) assert_false(http_path_is_valid(view(broken[i])));
}

/* The right sides are what Go's redirects say. */
static const struct {
    const char *path;
    const char *clean;
} paths[] = {
    {"/", "/"},
    {"//", "/"},
    {"/derp", "/derp"},
    {"//derp", "/derp"},
    {"/derp/", "/derp/"},
    {"/derp//", "/derp/"},
    {"/derp/./probe", "/derp/probe"},
    {"/./", "/"},
    {"/.", "/"},
    {"/foo/.", "/foo"},
    {"/foo/./", "/foo/"},
    {"/foo/..", "/"},
    {"/foo/../", "/"},
    {"/foo/bar/..", "/foo"},
    {"/foo/bar/../", "/foo/"},
    {"/../../..", "/"},
    {"/a/../../b", "/b"},
    {"/a//b///c", "/a/b/c"},
    {"/...", "/..."},
    {"/.a/..b", "/.a/..b"},
    {"/a/%2e%2e/b", "/a/%2e%2e/b"},
    {"/a/%2f/b", "/a/%2f/b"},
};

static void test_clean(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(paths); i++) {
        uint8_t text[64];
        struct writer w = writer_of(text, sizeof(text) - 1);
        assert_true(http_path_clean(view(paths[i].path), &w));
        *w.at = 0;
        assert_string_equal((char *)text, paths[i].clean);
        bool is_same = strcmp(paths[i].path, paths[i].clean) == 0;
        if (http_path_is_clean(view(paths[i].path)) != is_same) fail_msg("%s", paths[i].path);
        assert_true(w.at - text <= (ssize_t)strlen(paths[i].path) + 1);
    }
}

static void test_clean_without_room(void **state) {
    (void)state;
    for (size_t room = 0; room < 6; room++) {
        uint8_t text[6];
        struct writer w = writer_of(text, room);
        assert_int_equal(http_path_clean(view("//abcde"), &w), false);
    }
}

static void test_match(void **state) {
    (void)state;
    assert_true(http_path_is(view("/derp"), "/derp"));
    assert_true(http_path_is(view("/d%65r%70"), "/derp"));
    assert_false(http_path_is(view("/derp/"), "/derp"));
    assert_false(http_path_is(view("/der"), "/derp"));
    assert_false(http_path_is(view("/Derp"), "/derp"));
    assert_false(http_path_is(view("/derp%2fprobe"), "/derp/probe"));
    assert_false(http_path_is(view("%2fderp"), "/derp"));
    assert_false(http_path_is(view("/derp%00"), "/derp"));
    assert_false(http_path_is(view(""), "/derp"));
    assert_true(http_path_starts_with(view("/debug/x"), "/debug/"));
    assert_true(http_path_starts_with(view("/deb%75g/"), "/debug/"));
    assert_false(http_path_starts_with(view("/debug"), "/debug/"));
    assert_false(http_path_starts_with(view("/debug%2f"), "/debug/"));
}

static const char *value(const char *query, size_t room) {
    static char to[64];
    return http_query_value(view(query), "q", to, room) ? to : NULL;
}

static void assert_value(const char *query, const char *wanted) {
    const char *got = value(query, 64);
    if (got == NULL || strcmp(got, wanted) != 0) fail_msg("%s: %s", query, got ? got : "nothing");
}

static void test_queries(void **state) {
    (void)state;
    assert_value("q=a", "a");
    assert_value("x=1&q=a&y", "a");
    assert_value("q=a&q=b", "a");
    assert_value("q=a%26b+c", "a&b c");
    assert_value("%71=a", "a");
    assert_value("q=a=b", "a=b");
    assert_value("&&q=a", "a");
    assert_value("q=%zz&q=b", "b");   // broken pairs do not exist
    assert_value("q=a;b&q=c", "c");
    static const char *const nothing[] = {"", "q", "q=", "Q=a", "qq=a", "q=&q=a", "q=a%00b", "x=q", "=", "&", "q;=a"};
    for (size_t i = 0; i < array_count(nothing); i++) {
        if (value(nothing[i], 64)) fail_msg("%s", nothing[i]);
    }
    assert_non_null(value("q=abc", 4));
    assert_null(value("q=abc", 3));
}

static void assert_written(void (*write)(struct writer *, struct http_view), const char *text, const char *wanted) {
    uint8_t to[64];
    struct writer w = writer_of(to, sizeof(to) - 1);
    write(&w, view(text));
    assert_true(writer_ok(&w));
    *w.at = 0;
    assert_string_equal((char *)to, wanted);
}

static void test_writing(void **state) {
    (void)state;
    assert_written(http_write_location, "/a?b=c&<d>", "/a?b=c&<d>");
    assert_written(http_write_location, "/a\"b\r\n\xc3", "/a%22b%0d%0a%c3");
    assert_written(http_write_html, "<a href=\"x\">'&'</a>", "&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_escapes), cmocka_unit_test(test_clean),   cmocka_unit_test(test_clean_without_room),
        cmocka_unit_test(test_match),         cmocka_unit_test(test_queries), cmocka_unit_test(test_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
