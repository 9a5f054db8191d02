/* front_pages.c - the front's answers to requests that are not for DERP (docs/derp.md, "HTTP").
 *
 * Every path that is not listed shows the home page, as in the reference. Pages are written into the session's own
 * output buffer; the metrics, which are larger, take one of the front's large buffers for as long as the session lasts.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/sys.h"
#include "relay/front.h"
#include "relay/session.h"

static const struct http_field browser_fields[] = {
    {"Strict-Transport-Security", "max-age=63072000; includeSubDomains"},
    {"Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; "
                                "block-all-mixed-content; object-src 'none'"},
    {"X-Frame-Options", "DENY"},
    {"X-Content-Type-Options", "nosniff"},
};

static const char home_page[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>DERP</title></head>\n<body>\n"
    "<h1>DERP</h1>\n"
    "<p>This is a relay for packets of a mesh VPN. Machines that cannot reach each other directly send their packets, "
    "which stay encrypted from end to end, through servers like this one.</p>\n"
    "<p>It runs ringrelay and speaks the DERP protocol of Tailscale and headscale.</p>\n"
    "</body>\n</html>\n";

/* Writes a whole response into the session's output. */
static void respond(struct session *s, uint8_t *to, size_t room, struct http_response response,
                    const struct http_request *request) {
    struct writer w = writer_of(to, room);
    s->is_close_after_send = request->wants_close || request->has_body;
    s->is_drain_after_send = request->has_body;
    response.unix_s = sys_wall_clock_s();
    response.is_head_request = request->method == HTTP_HEAD;
    response.is_close = s->is_close_after_send;
    http_write_response(&w, &response);
    CHECK(writer_ok(&w));
    s->out = to;
    s->out_size = (uint32_t)(w.at - to);
}

static void respond_small(struct session *s, const struct http_request *request, struct http_response response) {
    respond(s, s->own_out, SESSION_OUT_SIZE, response, request);
}

void session_answer_error(struct session *s, uint16_t status, const char *text) {
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    http_write_error(&w, status, text, sys_wall_clock_s());
    CHECK(writer_ok(&w));
    s->out = s->own_out;
    s->out_size = (uint32_t)(w.at - s->own_out);
    s->is_close_after_send = s->is_drain_after_send = true;
}

static void home(struct front *f, struct session *s, const struct http_request *request) {
    (void)f;
    respond_small(s, request,
                  (struct http_response){.status = 200,
                                         .content_type = "text/html; charset=utf-8",
                                         .fields = browser_fields,
                                         .field_count = array_count(browser_fields),
                                         .body = home_page,
                                         .body_size = sizeof(home_page) - 1});
}

static void probe(struct front *f, struct session *s, const struct http_request *request) {
    static const struct http_field fields[] = {{"Access-Control-Allow-Origin", "*"}};
    (void)f;
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        session_answer_error(s, 405, "bogus probe method");
        return;
    }
    respond_small(s, request, (struct http_response){.status = 200, .fields = fields, .field_count = 1});
}

static bool is_challenge(const struct http_view *challenge) {
    bool is_fine = challenge && challenge->size > 0 && challenge->size <= 64;
    for (size_t i = 0; is_fine && i < challenge->size; i++) {
        char c = challenge->at[i];
        is_fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._:-", c);
    }
    return is_fine;
}

/* Captive-portal check: who sees this status and, if it asked, its own challenge again, has reached us unhindered. */
static void generate_204(struct front *f, struct session *s, const struct http_request *request) {
    const struct http_view *challenge = http_header_find(&request->headers, "X-Tailscale-Challenge");
    char answer[16 + 64];
    struct http_field fields[] = {
        {"Cache-Control", "no-cache, no-store, must-revalidate, no-transform, max-age=0"},
        {"X-Tailscale-Response", answer},
    };
    (void)f;
    bool is_asked = is_challenge(challenge);
    if (is_asked) snprintf(answer, sizeof(answer), "response %.*s", (int)challenge->size, challenge->at);
    respond_small(s, request, (struct http_response){.status = 204, .fields = fields, .field_count = 1u + is_asked});
}

static void write_metrics(struct front *f, struct writer *w) {
    struct metrics_process process = {
        .start_wall_s = f->options.start_wall_s,
        .uptime_s = (f->now_ns - f->start_ns) / NS_PER_S,
        .open_fds = sys_fd_count(),
        .max_fds = sys_fd_limit(),
        .memory_bytes = f->options.memory_bytes,
        .version = RINGRELAY_VERSION,
        .workers_count = f->links.workers_count,
        .rate = f->options.has_rate_config ? &f->options.rate : NULL,
    };
    metrics_write(w, f->links.metrics_blocks, f->links.metrics_count, &process);
}

/* Figures of an operator's relay are for the machine it runs on. A proxy in front makes everyone look local, and says
 * so by X-Forwarded-For. */
static bool may_debug(const struct session *s, const struct http_request *request) {
    return net_address_is_loopback(&s->remote) && http_header_find(&request->headers, "X-Forwarded-For") == NULL;
}

/* The body is written into the far half of the large buffer, head and body then into the near half. */
static void varz(struct front *f, struct session *s, const struct http_request *request) {
    if (!may_debug(s, request)) {
        session_answer_error(s, 403, "debug access denied");
        return;
    }
    if (s->in == s->large || !session_take_large(f, s)) {
        session_answer_error(s, 503, "too many large pages at once: try again");
        return;
    }
    size_t half = SESSION_LARGE_SIZE / 2;
    struct writer body = writer_of(s->large + half, half);
    write_metrics(f, &body);
    CHECK(writer_ok(&body));
    respond(s, s->large, half,
            (struct http_response){.status = 200,
                                   .content_type = "text/plain; charset=utf-8",
                                   .fields = browser_fields,
                                   .field_count = array_count(browser_fields),
                                   .body = s->large + half,
                                   .body_size = (size_t)(body.at - (s->large + half))},
            request);
}

static void debug_unknown(struct front *f, struct session *s, const struct http_request *request) {
    (void)f;
    bool may = may_debug(s, request);
    session_answer_error(s, may ? 404 : 403, may ? "no such page; there is /debug/varz" : "debug access denied");
}

static bool starts_with(struct http_view view, const char *prefix) {
    return view.size >= strlen(prefix) && memcmp(view.at, prefix, strlen(prefix)) == 0;
}

void session_answer(struct front *f, struct session *s, const struct http_request *request) {
    static const struct {
        const char *path;
        void (*page)(struct front *, struct session *, const struct http_request *);
    } pages[] = {
        {"/derp/probe", probe},
        {"/derp/latency-check", probe},
        {"/generate_204", generate_204},
        {"/debug/varz", varz},
    };
    for (size_t i = 0; i < array_count(pages); i++) {
        if (!http_view_is(request->path, pages[i].path)) continue;
        pages[i].page(f, s, request);
        return;
    }
    if (starts_with(request->path, "/debug/")) {
        debug_unknown(f, s, request);
    } else {
        home(f, s, request);
    }
}
