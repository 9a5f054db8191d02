/* Fuzzes proto/http and proto/http_path: request heads, their targets, and response heads.
 *
 * Attack surface: the first plaintext bytes of any connection, from anybody; response heads for mesh links and probes.
 * Input: byte 0 chooses request or response, the rest is the head and what follows.
 * Beyond crashes: one byte at a time gives the same answer at the same place as all at once; what follows the head
 * does not matter; the head alone parses to itself; every view lies inside the head; names are not empty; a good
 * request has a status of 0 and a bad one of 400 or more; the clean form of a path is clean and its own clean form;
 * what goes into a Location header or into HTML cannot end it.
 */
#include <stdlib.h>

#include "core/check.h"
#include "proto/http_path.h"

struct bounds {
    const char *at;
    size_t size;
};

static void check_view(struct bounds head, struct http_view v) {
    CHECK(v.at != NULL);
    if (v.size == 0 || http_view_is(v, "/")) return;  // may be a constant
    CHECK(v.at >= head.at && v.at + v.size <= head.at + head.size);
}

static void check_headers(struct bounds head, const struct http_headers *headers) {
    CHECK(headers->count <= HTTP_HEADER_COUNT_MAX);
    for (size_t i = 0; i < headers->count; i++) {
        check_view(head, headers->items[i].name);
        check_view(head, headers->items[i].value);
        CHECK(headers->items[i].name.size > 0);
    }
}

/* The clean form in a block of exactly its greatest size. */
static void check_path(struct http_view path) {
    uint8_t *text = malloc(path.size + 1), *again = malloc(path.size + 1);
    struct writer w = writer_of(text, path.size + 1), w2 = writer_of(again, path.size + 1);
    CHECK(text && again && http_path_clean(path, &w));
    struct http_view clean = {.at = (const char *)text, .size = (size_t)(w.at - text)};
    CHECK(http_path_is_clean(clean) && http_path_clean(clean, &w2));
    CHECK((size_t)(w2.at - again) == clean.size && memcmp(text, again, clean.size) == 0);
    CHECK(http_path_is_clean(path) == (path.size == clean.size && memcmp(path.at, text, clean.size) == 0));
    (void)http_path_is_valid(path);
    (void)http_path_is(path, "/debug/varz");
    CHECK(!http_path_is(path, "/debug/") || http_path_starts_with(path, "/debug/"));
    free(again);
    free(text);
}

static void check_written(struct http_view v) {
    size_t room = 6 * v.size;
    uint8_t *text = malloc(room + 1);
    struct writer location = writer_of(text, room);
    CHECK(text != NULL);
    http_write_location(&location, v);
    CHECK(writer_ok(&location));
    for (const uint8_t *at = text; at < location.at; at++) CHECK(*at > 0x20 && *at < 0x7f && *at != '"');
    struct writer html = writer_of(text, room);
    http_write_html(&html, v);
    CHECK(writer_ok(&html));
    for (const uint8_t *at = text; at < html.at; at++) CHECK(*at != '<' && *at != '>' && *at != '"' && *at != '\'');
    free(text);
}

static void check_target(const struct http_request *r) {
    char value[16];
    check_path(r->path);
    check_written(r->target);
    if (http_query_value(r->query, "q", value, sizeof(value))) {
        CHECK(*value != '\0' && memchr(value, '\0', sizeof(value)) != NULL);
    }
}

static void check_request(const char *bytes, size_t size, const struct http_request *r) {
    struct bounds head = {.at = bytes, .size = r->head_size};
    CHECK(r->status == 0 && r->head_size > 0 && r->head_size <= size && r->head_size <= HTTP_HEAD_SIZE_MAX);
    CHECK(bytes[r->head_size - 1] == '\n');
    check_view(head, r->method_text);
    check_view(head, r->target);
    check_view(head, r->path);
    check_view(head, r->query);
    check_view(head, r->host);
    check_headers(head, &r->headers);
    check_target(r);
    (void)http_derp_upgrade(r);
    (void)http_wants_fast_start(r);
}

/* Only the first `size` bytes, in a block of their own, so that ASan sees every byte too far. */
static char *copy_of(const uint8_t *bytes, size_t size) {
    char *copy = malloc(size + 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    return realloc(copy, size ? size : 1);
}

static void fuzz_request(const uint8_t *data, size_t size) {
    static struct http_request whole, again;
    struct http_scan scan = {0};
    char *bytes = copy_of(data, size);
    enum http_progress progress = http_request_parse(&scan, bytes, size, &whole);
    CHECK(scan.offset <= size);
    if (progress == HTTP_BAD) CHECK(whole.status >= 400);
    if (progress == HTTP_DONE) check_request(bytes, size, &whole);

    scan = (struct http_scan){0};
    enum http_progress step = HTTP_MORE;
    size_t n = 0;
    while (step == HTTP_MORE && n < size) step = http_request_parse(&scan, bytes, ++n, &again);
    CHECK(step == progress && again.status == whole.status);
    if (progress == HTTP_DONE) {
        CHECK(n == whole.head_size && again.head_size == n && again.headers.count == whole.headers.count);
        char *head = copy_of(data, n);
        scan = (struct http_scan){0};
        CHECK(http_request_parse(&scan, head, n, &again) == HTTP_DONE && again.head_size == n);
        check_request(head, n, &again);
        free(head);
    }
    free(bytes);
}

static void fuzz_answer(const uint8_t *data, size_t size) {
    static struct http_answer whole, again;
    struct http_scan scan = {0};
    char *bytes = copy_of(data, size);
    enum http_progress progress = http_answer_parse(&scan, bytes, size, &whole);
    if (progress == HTTP_DONE) {
        CHECK(whole.status >= 100 && whole.status <= 999 && whole.head_size <= size);
        check_headers((struct bounds){.at = bytes, .size = whole.head_size}, &whole.headers);
    }
    scan = (struct http_scan){0};
    enum http_progress step = HTTP_MORE;
    size_t n = 0;
    while (step == HTTP_MORE && n < size) step = http_answer_parse(&scan, bytes, ++n, &again);
    CHECK(step == progress);
    if (progress == HTTP_DONE) CHECK(n == whole.head_size && again.status == whole.status);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    if (data[0] % 2) fuzz_answer(data + 1, size - 1);
    else fuzz_request(data + 1, size - 1);
    return 0;
}
