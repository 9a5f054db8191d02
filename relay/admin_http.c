#include "relay/admin_http.h"

#include <stdio.h>

#include "core/check.h"
#include "core/sys.h"
#include "proto/http_path.h"

bool admin_http_is(const char *line, size_t size) {
    static const char version[] = " HTTP/1.";
    size_t tail = sizeof(version);  // with the digit
    if (size > 0 && line[size - 1] == '\r') size--;
    return size > tail && *line >= 'A' && *line <= 'Z' && memcmp(line + size - tail, version, tail - 1) == 0;
}

static struct admin_http_step answered(const struct admin_http *http, size_t taken, bool is_close) {
    return (struct admin_http_step){
        .result = ADMIN_HTTP_ANSWERED, .taken = taken, .is_close = is_close || http->request.wants_close};
}

static struct admin_http_step refuse(const struct admin_http *http, uint16_t status, const char *text,
                                     struct writer *w) {
    http_write_error(w, status, text, sys_wall_clock_s());
    return answered(http, 0, true);
}

/* ---- an endpoint ---- */

static struct admin_http_step tell(struct admin_http *http, size_t taken, bool has_rest, struct writer *w) {
    struct http_response response = allocate_http_response(&http->reply);
    struct admin_http_step step = answered(http, taken, has_rest || response.is_close);
    response.is_close = step.is_close;
    response.is_head_request = http->request.method == HTTP_HEAD;
    response.unix_s = sys_wall_clock_s();
    http_write_response(w, &response);
    return step;
}

static struct admin_http_step allocate(struct admin_http *http, const struct admin_facts *facts, char *bytes,
                                       size_t size, bool is_full, struct writer *w, uint64_t now_ns) {
    const struct http_request *request = &http->request;
    const struct token_id *who;
    struct allocate_door door = {.allocator = facts->allocator, .metrics = facts->metrics, .is_trusted = true};
    if (!allocate_http_judge(&door, request, &who, &http->reply)) {
        return tell(http, request->head_size, request->has_body, w);
    }
    size_t whole = request->head_size + (size_t)request->content_length;
    if (size < whole && is_full) return refuse(http, 431, "the head of the request is too long", w);
    if (size < whole) return (struct admin_http_step){.result = ADMIN_HTTP_MORE};
    allocate_http_serve(&door, who, bytes + request->head_size, (size_t)request->content_length, now_ns, &http->reply);
    return tell(http, whole, false, w);
}

/* ---- all of them ---- */

static struct admin_http_step sessions(struct admin_http *http, const struct admin_facts *facts, struct writer *w) {
    char text[64];
    static const char none[] = "{\"UDPPort\":null,\"Sessions\":null}";
    if (http->request.method != HTTP_GET) return refuse(http, 405, "GET required", w);
    if (facts->allocator == NULL) {
        struct http_response response = {.status = 200,
                                         .content_type = "application/json",
                                         .body = none,
                                         .body_size = sizeof(none) - 1,
                                         .unix_s = sys_wall_clock_s(),
                                         .is_close = http->request.wants_close || http->request.has_body};
        http_write_response(w, &response);
        return answered(http, http->request.head_size, response.is_close);
    }
    /* How long it will be nobody knows: its end is that of the connection. */
    writer_text(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n");
    snprintf(text, sizeof(text), "{\"UDPPort\":%d,\"Sessions\":[", (int)facts->addresses.relay_port);
    writer_text(w, text);
    return (struct admin_http_step){.result = ADMIN_HTTP_SESSIONS, .taken = http->request.head_size, .is_close = true};
}

struct admin_http_step admin_http_serve(struct admin_http *http, const struct admin_facts *facts, char *bytes,
                                        size_t size, bool is_full, struct writer *w, uint64_t now_ns) {
    struct http_scan scan = {0};
    enum http_progress progress = http_request_parse(&scan, bytes, size, &http->request);
    if (progress == HTTP_MORE && is_full) return refuse(http, 431, "the head of the request is too long", w);
    if (progress == HTTP_MORE) return (struct admin_http_step){.result = ADMIN_HTTP_MORE};
    if (progress == HTTP_BAD) return refuse(http, http->request.status, NULL, w);
    struct http_view path = http->request.path;
    if (http_path_is_valid(path) && http_path_is(path, ALLOCATE_PATH)) {
        return allocate(http, facts, bytes, size, is_full, w, now_ns);
    }
    if (http_path_is_valid(path) && http_path_is(path, ADMIN_SESSIONS_PATH)) return sessions(http, facts, w);
    return refuse(http, 404, "there are POST " ALLOCATE_PATH " and GET " ADMIN_SESSIONS_PATH, w);
}
