/* HTTP heads: what is accepted, what is refused with which status, one byte at a time, upgrades, responses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/http.h"

#define GO_REQUEST                       \
    "GET /derp HTTP/1.1\r\n"             \
    "Host: derp.example:8443\r\n"        \
    "User-Agent: Go-http-client/1.1\r\n" \
    "Connection: Upgrade\r\n"            \
    "Derp-Fast-Start: 1\r\n"             \
    "Ideal-Node: 1a\r\n"                 \
    "Upgrade: DERP\r\n"                  \
    "\r\n"

static enum http_progress parse(const char *text, size_t size, struct http_request *out) {
    struct http_scan scan = {0};
    return http_request_parse(&scan, text, size, out);
}

static enum http_progress parse_text(const char *text, struct http_request *out) {
    return parse(text, strlen(text), out);
}

static void expect_view(struct http_view v, const char *text) {
    if (!http_view_is(v, text)) fail_msg("\"%.*s\" is not \"%s\"", (int)v.size, v.at, text);
}

static void expect_header(const struct http_headers *headers, const char *name, const char *value) {
    const struct http_view *v = http_header_find(headers, name);
    assert_non_null(v);
    expect_view(*v, value);
}

static void expect_go_request(const struct http_request *r) {
    assert_int_equal(r->head_size, strlen(GO_REQUEST));
    assert_int_equal(r->method, HTTP_GET);
    expect_view(r->method_text, "GET");
    expect_view(r->target, "/derp");
    expect_view(r->path, "/derp");
    expect_view(r->query, "");
    expect_view(r->host, "derp.example:8443");
    assert_int_equal(r->minor, 1);
    assert_int_equal(r->headers.count, 6);
    assert_false(r->wants_close || r->has_body);
    expect_header(&r->headers, "ideal-node", "1a");
    assert_null(http_header_find(&r->headers, "X-Forwarded-For"));
    assert_int_equal(http_derp_upgrade(r), HTTP_UPGRADE_DERP);
    assert_true(http_wants_fast_start(r));
}

static void test_go_request(void **state) {
    (void)state;
    struct http_request r;
    static const char text[] = GO_REQUEST "\x02\0\0\0\x68";
    assert_int_equal(parse(text, sizeof(text) - 1, &r), HTTP_DONE);
    expect_go_request(&r);
}

static void test_one_byte_at_a_time(void **state) {
    (void)state;
    static const char text[] = GO_REQUEST "more";
    size_t head_size = strlen(GO_REQUEST);
    struct http_scan scan = {0};
    struct http_request r;
    for (size_t size = 0; size < head_size; size++)
        assert_int_equal(http_request_parse(&scan, text, size, &r), HTTP_MORE);
    assert_int_equal(http_request_parse(&scan, text, head_size, &r), HTTP_DONE);
    expect_go_request(&r);
}

/* The search goes on where it stopped: a hostile head of many lines costs no more than its bytes. */
static void test_search_is_not_repeated(void **state) {
    (void)state;
    char text[HTTP_HEAD_SIZE_MAX];
    memset(text, 'x', sizeof(text));
    for (size_t i = 1; i < sizeof(text); i += 3) text[i] = i % 2 ? '\n' : '\r';
    struct http_scan scan = {0};
    struct http_request r;
    for (size_t size = 0; size < sizeof(text); size++) {
        assert_int_equal(http_request_parse(&scan, text, size, &r), HTTP_MORE);
        assert_true(scan.offset + 2 >= size);
    }
    assert_int_equal(http_request_parse(&scan, text, sizeof(text), &r), HTTP_BAD);
    assert_int_equal(r.status, 431);
}

struct refused_row {
    const char *text;
    uint16_t status;
};

#define H "Host: h\r\n"

static void test_refused(void **state) {
    (void)state;
    static const struct refused_row rows[] = {
        {"\r\n\r\n", 400},
        {" GET / HTTP/1.1\r\n" H "\r\n", 400},
        {"\x16\x03\x01", 400},  // a TLS hello, refused at its first byte
        {"\x80", 400},
        {"GET\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" H "\r\n", 400},
        {"GET / http/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/1.10\r\n" H "\r\n", 400},
        {"GET / HTTP/1\r\n" H "\r\n", 400},
        {"GET / HTTP/x.1\r\n" H "\r\n", 400},
        {"GET / HTTP/0.9\r\n" H "\r\n", 505},
        {"GET / HTTP/2.0\r\n" H "\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\n", 505},
        {"G(T / HTTP/1.1\r\n" H "\r\n", 400},
        {"GET derp HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /\x7f HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /\t HTTP/1.1\r\n" H "\r\n", 400},
        {"GET http:///x HTTP/1.1\r\n" H "\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},  // no Host
        {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x : y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x y: z\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x\xff: z\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x: a\r\n b\r\n\r\n", 400},  // continuation lines
        {"GET / HTTP/1.1\r\n\t" H "\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x: a\x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x: a\rb\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" H "x: a\x7f\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 9999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct http_request r;
        enum http_progress progress = parse_text(rows[i].text, &r);
        if (progress != HTTP_BAD || r.status != rows[i].status)
            fail_msg("row %zu: progress %d, status %u: %s", i, progress, r.status, rows[i].text);
    }
    struct http_request r;
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 30, &r), HTTP_BAD);
    assert_int_equal(r.status, 400);
}

static void test_bare_line_feeds(void **state) {
    (void)state;
    struct http_request r;
    assert_int_equal(parse_text("GET /a?b=c HTTP/1.1\nHost: h\nX:\t y \t\n\nrest", &r), HTTP_DONE);
    expect_view(r.path, "/a");
    expect_view(r.query, "b=c");
    expect_header(&r.headers, "x", "y");
    assert_int_equal(parse_text("GET / HTTP/1.1\r\nHost: h\n\r\nrest", &r), HTTP_DONE);
    assert_int_equal(parse_text("GET / HTTP/1.1\nHost: h\r\n\nrest", &r), HTTP_DONE);
}

static void test_targets(void **state) {
    (void)state;
    static const struct {
        const char *line, *path, *query, *host;
    } rows[] = {
        {"GET / HTTP/1.1", "/", "", "h"},
        {"GET /?a HTTP/1.1", "/", "a", "h"},
        {"GET //derp HTTP/1.1", "//derp", "", "h"},
        {"GET /d%65rp?x?y HTTP/1.1", "/d%65rp", "x?y", "h"},
        {"GET /\xc3\xa9 HTTP/1.1", "/\xc3\xa9", "", "h"},
        {"OPTIONS * HTTP/1.1", "*", "", "h"},
        {"GET http://other:80/x?y HTTP/1.1", "/x", "y", "other:80"},
        {"GET http://other HTTP/1.1", "/", "", "other"},
        {"GET http://other?y HTTP/1.1", "/", "y", "other"},
        {"CONNECT other:443 HTTP/1.1", "", "", "other:443"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        char text[200];
        struct http_request r;
        (void)snprintf(text, sizeof(text), "%s\r\n" H "\r\n", rows[i].line);
        assert_int_equal(parse_text(text, &r), HTTP_DONE);
        expect_view(r.path, rows[i].path);
        expect_view(r.query, rows[i].query);
        expect_view(r.host, rows[i].host);
    }
}

static void test_connection_and_body(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool wants_close, has_body;
        uint64_t content_length;
    } rows[] = {
        {"GET / HTTP/1.1\r\n" H "\r\n", false, false, 0},
        {"GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", true, false, 0},
        {"GET / HTTP/1.1\r\n" H "connection: foo ,\tCLOSE\r\n\r\n", true, false, 0},
        {"GET / HTTP/1.1\r\n" H "Connection: foo\r\nConnection: close\r\n\r\n", true, false, 0},
        {"GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", false, false, 0},
        {"GET / HTTP/1.0\r\n\r\n", true, false, 0},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", false, false, 0},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", false, false, 0},
        {"POST / HTTP/1.1\r\n" H "Content-Length: 17\r\nContent-Length: 17\r\n\r\n", false, true, 17},
        {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", false, true, 0},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct http_request r;
        assert_int_equal(parse_text(rows[i].text, &r), HTTP_DONE);
        assert_int_equal(r.wants_close, rows[i].wants_close);
        assert_int_equal(r.has_body, rows[i].has_body);
        assert_int_equal(r.content_length, rows[i].content_length);
    }
}

static void test_limits(void **state) {
    (void)state;
    char text[HTTP_HEAD_SIZE_MAX + 100];
    struct http_request r;
    for (size_t excess = 0; excess < 3; excess++) {
        size_t size = HTTP_HEAD_SIZE_MAX + excess;
        memset(text, 'x', sizeof(text));
        memcpy(text, "GET / HTTP/1.1\r\n" H "X: ", 28);
        memcpy(text + size - 4, "\r\n\r\n", 4);
        assert_int_equal(parse(text, size, &r), excess ? HTTP_BAD : HTTP_DONE);
        assert_int_equal(r.status, excess ? 431 : 0);
    }
    for (size_t count = HTTP_HEADER_COUNT_MAX - 1; count <= HTTP_HEADER_COUNT_MAX; count++) {
        struct writer w = writer_of(text, sizeof(text));
        writer_text(&w, "GET / HTTP/1.1\r\n" H);
        for (size_t i = 0; i < count; i++) writer_text(&w, "a: b\r\n");
        writer_text(&w, "\r\n");
        size_t size = sizeof(text) - writer_left(&w);
        bool is_too_many = count == HTTP_HEADER_COUNT_MAX;
        assert_int_equal(parse(text, size, &r), is_too_many ? HTTP_BAD : HTTP_DONE);
        assert_int_equal(r.status, is_too_many ? 431 : 0);
    }
}

static void test_upgrades(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        enum http_upgrade upgrade;
        bool is_fast_start;
    } rows[] = {
        {"", HTTP_UPGRADE_NONE, false},
        {"Upgrade: derp\r\n", HTTP_UPGRADE_DERP, false},
        {"UPGRADE: Derp\r\nDerp-Fast-Start: 1\r\n", HTTP_UPGRADE_DERP, true},
        {"Upgrade: derp\r\nDerp-Fast-Start: 2\r\n", HTTP_UPGRADE_DERP, false},
        {"Upgrade: derp\r\nDerp-Fast-Start: 11\r\n", HTTP_UPGRADE_DERP, false},
        {"Upgrade: derp\r\nDerp-Fast-Start: true\r\nDerp-Fast-Start: 1\r\n", HTTP_UPGRADE_DERP, false},
        {"Upgrade: derp, websocket\r\n", HTTP_UPGRADE_NONE, false},
        {"Upgrade: h2c\r\nUpgrade: derp\r\n", HTTP_UPGRADE_NONE, false},
        {"Upgrade: WebSocket\r\nSec-WebSocket-Protocol: derp\r\n", HTTP_UPGRADE_WEBSOCKET, false},
        {"Upgrade: websocket\r\nSec-WebSocket-Protocol: a, xderp\r\n", HTTP_UPGRADE_WEBSOCKET, false},
        {"Upgrade: websocket\r\nSec-WebSocket-Protocol: der\r\n", HTTP_UPGRADE_DERP, false},
        {"Upgrade: websocket\r\nSec-WebSocket-Protocol: DERP\r\n", HTTP_UPGRADE_DERP, false},
        {"Upgrade: websocket\r\n", HTTP_UPGRADE_DERP, false},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        char text[300];
        struct http_request r;
        (void)snprintf(text, sizeof(text), "GET /derp HTTP/1.1\r\n" H "%s\r\n", rows[i].fields);
        assert_int_equal(parse_text(text, &r), HTTP_DONE);
        assert_int_equal(http_derp_upgrade(&r), rows[i].upgrade);
        assert_int_equal(http_wants_fast_start(&r), rows[i].is_fast_start);
    }
}

/* ---- writing ---- */

static char written[1024];

static struct writer begin(void) { return writer_of(written, sizeof(written) - 1); }

static void expect_written(const struct writer *w, const char *text) {
    assert_true(writer_ok(w));
    *w->at = '\0';
    assert_string_equal(written, text);
}

static void test_derp_switch(void **state) {
    (void)state;
    struct node_key server;
    const char *hex = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";
    assert_int_equal(key_parse_hex(hex, 64, &server), KEY_OK);
    struct writer w = begin();
    http_write_derp_switch(&w, &server);
    expect_written(&w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n"
                       "Derp-Public-Key: 8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f\r\n\r\n");
}

static void test_responses(void **state) {
    (void)state;
    struct http_field fields[] = {{"A", "b"}, {"C", "d"}};
    struct http_response response = {
        .status = 200,
        .content_type = "text/html",
        .fields = fields,
        .field_count = 2,
        .body = "hello",
        .body_size = 5,
        .unix_s = 784111777,
    };
    struct writer w = begin();
    http_write_response(&w, &response);
    expect_written(&w, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nA: b\r\nC: d\r\n"
                       "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\r\nhello");
    response = (struct http_response){.status = 200, .body = "hello", .body_size = 5, .is_head_request = true};
    w = begin();
    http_write_response(&w, &response);
    expect_written(&w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    response = (struct http_response){.status = 204, .is_close = true};
    w = begin();
    http_write_response(&w, &response);
    expect_written(&w, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    w = begin();
    http_write_error(&w, 426, "DERP requires connection upgrade", 0);
    expect_written(&w, "HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain; charset=utf-8\r\n"
                       "X-Content-Type-Options: nosniff\r\nContent-Length: 33\r\nConnection: close\r\n\r\n"
                       "DERP requires connection upgrade\n");
}

static void test_no_room_moves_nothing(void **state) {
    (void)state;
    struct node_key server = {{1}};
    struct http_derp_request request = {.host = "h", .path = "/derp"};
    for (size_t size = 0; size < 60; size++) {
        struct writer w = writer_of(written, size);
        http_write_error(&w, 400, NULL, 0);
        assert_true(!writer_ok(&w) && (char *)w.at == written);
        w = writer_of(written, size);
        http_write_derp_switch(&w, &server);
        assert_true(!writer_ok(&w) && (char *)w.at == written);
        w = writer_of(written, size);
        http_write_derp_request(&w, &request);
        assert_true(!writer_ok(&w) && (char *)w.at == written);
    }
}

static void test_dates(void **state) {
    (void)state;
    static const struct {
        uint64_t unix_s;
        const char *text;
    } rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},          {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782399, "Mon, 28 Feb 2000 23:59:59 GMT"},  {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT"}, {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
        {1798761599, "Thu, 31 Dec 2026 23:59:59 GMT"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        char text[HTTP_DATE_SIZE];
        http_format_date(rows[i].unix_s, text);
        assert_string_equal(text, rows[i].text);
    }
}

/* ---- client ---- */

static void test_derp_request(void **state) {
    (void)state;
    struct http_derp_request request = {
        .host = "derp.example:8443", .path = "/derp", .ideal_node = "1a", .is_fast_start = true};
    struct writer w = begin();
    http_write_derp_request(&w, &request);
    struct http_request r;
    assert_int_equal(parse(written, (size_t)((char *)w.at - written), &r), HTTP_DONE);
    assert_int_equal(http_derp_upgrade(&r), HTTP_UPGRADE_DERP);
    assert_true(http_wants_fast_start(&r));
    expect_view(r.host, "derp.example:8443");
    expect_header(&r.headers, "Ideal-Node", "1a");
    expect_header(&r.headers, "Connection", "Upgrade");
    request.is_fast_start = false;
    request.ideal_node = NULL;
    w = begin();
    http_write_derp_request(&w, &request);
    assert_int_equal(parse(written, (size_t)((char *)w.at - written), &r), HTTP_DONE);
    assert_false(http_wants_fast_start(&r));
    assert_null(http_header_find(&r.headers, "Ideal-Node"));
}

static enum http_progress parse_answer(const char *text, struct http_answer *out) {
    struct http_scan scan = {0};
    return http_answer_parse(&scan, text, strlen(text), out);
}

static void test_answers(void **state) {
    (void)state;
    struct http_answer a;
    const char *answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nDerp-Version: 2\r\n\r\n\x01";
    assert_int_equal(parse_answer(answer, &a), HTTP_DONE);
    assert_int_equal(a.status, 101);
    assert_int_equal(a.head_size, 68);
    expect_header(&a.headers, "derp-version", "2");
    assert_int_equal(parse_answer("HTTP/1.0 204\r\n\r\n", &a), HTTP_DONE);
    assert_int_equal(a.status, 204);
    assert_int_equal(a.minor, 0);
    assert_int_equal(parse_answer("HTTP/1.1 200 OK\r\n", &a), HTTP_MORE);
    static const char *const bad[] = {
        "\x01",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 0x1 x\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx\r\n\r\n",
        "HTTP/1.1 200 \x01\r\n\r\n",
    };
    for (size_t i = 0; i < array_count(bad); i++) assert_int_equal(parse_answer(bad[i], &a), HTTP_BAD);
}

static void test_our_own_responses_parse(void **state) {
    (void)state;
    struct http_answer a;
    struct writer w = begin();
    http_write_error(&w, 503, NULL, 1);
    *w.at = '\0';
    assert_int_equal(parse_answer(written, &a), HTTP_DONE);
    assert_int_equal(a.status, 503);
    expect_header(&a.headers, "content-length", "20");
    assert_string_equal(written + a.head_size, "Service Unavailable\n");
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_go_request),
        cmocka_unit_test(test_one_byte_at_a_time),
        cmocka_unit_test(test_search_is_not_repeated),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bare_line_feeds),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_connection_and_body),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_upgrades),
        cmocka_unit_test(test_derp_switch),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_no_room_moves_nothing),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_derp_request),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_our_own_responses_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
