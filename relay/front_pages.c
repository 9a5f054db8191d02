/* front_pages.c - the front's answers to requests that are not for DERP (docs/derp.md, "HTTP"): routing, small pages,
 * and the listener for plain HTTP beside TLS.
 *
 * Every path that is not listed shows the home page, as in the reference; a path that is not clean is redirected to the
 * clean one.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/sys.h"
#include "proto/http_path.h"
#include "relay/allocate_http.h"
#include "relay/front.h"
#include "relay/page.h"
#include "relay/session.h"

#define CONTENT_POLICY                                                                  \
    "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; " \
    "block-all-mixed-content; object-src 'none'"
#define BROWSER_FIELDS(policy)                                             \
    {{"Strict-Transport-Security", "max-age=63072000; includeSubDomains"}, \
     {"Content-Security-Policy", policy},                                  \
     {"X-Frame-Options", "DENY"},                                          \
     {"X-Content-Type-Options", "nosniff"}}

const struct http_field page_browser_fields[PAGE_FIELDS_COUNT] = BROWSER_FIELDS(CONTENT_POLICY);
const struct http_field page_debug_fields[PAGE_FIELDS_COUNT] =
    BROWSER_FIELDS(CONTENT_POLICY "; style-src 'self' 'unsafe-inline'");

#define HTML "text/html; charset=utf-8"
#define PLAIN "text/plain; charset=utf-8"

static const char home_start[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>DERP</title></head>\n<body>\n"
    "<h1>DERP</h1>\n"
    "<p>This is a relay for packets of a mesh VPN. Machines that cannot reach each other directly send their packets, "
    "which stay encrypted from end to end, through servers like this one.</p>\n"
    "<p>It runs ringrelay and speaks the DERP protocol of Tailscale and headscale: see\n"
    "<a href=\"https://tailscale.com/kb/1232/derp-servers\">About DERP</a>.</p>\n";

/* ---- answers ---- */

/* Writes a whole response into `to`. */
static void respond(struct session *s, const struct http_request *request, struct http_response response, uint8_t *to,
                    size_t room) {
    struct writer w = writer_of(to, room);
    s->is_close_after_send = request->wants_close || request->has_body || response.is_close;
    s->is_drain_after_send = request->has_body;
    response.unix_s = sys_wall_clock_s();
    response.is_head_request = request->method == HTTP_HEAD;
    response.is_close = s->is_close_after_send;
    http_write_response(&w, &response);
    CHECK(writer_ok(&w));
    s->out = to;
    s->out_size = (uint32_t)(w.at - to);
}

void page_small(struct session *s, const struct http_request *request, struct http_response response) {
    respond(s, request, response, s->own_out, SESSION_OUT_SIZE);
}

/* The body is written into the far half of the large buffer, head and body then into the near half. */
void page_large(struct front *f, struct session *s, const struct http_request *request, struct http_response response,
                void (*write)(struct front *f, struct writer *w)) {
    if (s->in == s->large || !session_take_large(f, s)) {
        page_text(s, request, 503, "too many large pages at once: try again");
        return;
    }
    size_t half = SESSION_LARGE_SIZE / 2;
    struct writer body = writer_of(s->large + half, half - SESSION_OUT_SIZE);
    write(f, &body);
    CHECK(writer_ok(&body));
    response.body = s->large + half;
    response.body_size = (size_t)(body.at - (s->large + half));
    respond(s, request, response, s->large, half);
}

void page_text(struct session *s, const struct http_request *request, uint16_t status, const char *text) {
    static const struct http_field fields[] = {{"X-Content-Type-Options", "nosniff"}};
    char body[512];
    int size = snprintf(body, sizeof(body), "%s\n", text);
    CHECK(size > 0 && (size_t)size < sizeof(body));
    page_small(s, request,
               (struct http_response){.status = status,
                                      .content_type = PLAIN,
                                      .fields = fields,
                                      .field_count = array_count(fields),
                                      .body = body,
                                      .body_size = (size_t)size});
}

void session_answer_error(struct session *s, uint16_t status, const char *text) {
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    http_write_error(&w, status, text, sys_wall_clock_s());
    CHECK(writer_ok(&w));
    s->out = s->own_out;
    s->out_size = (uint32_t)(w.at - s->own_out);
    s->is_close_after_send = s->is_drain_after_send = true;
}

/* "<a href=...>Found</a>.": for those who cannot follow a redirect; left out where it would not fit. */
static size_t redirect_body(struct writer *w, uint16_t status, struct http_view location) {
    const uint8_t *start = w->at;
    writer_text(w, "<a href=\"");
    http_write_html(w, location);
    writer_text(w, "\">");
    writer_text(w, http_status_text(status));
    writer_text(w, "</a>.\n\n");
    return writer_ok(w) ? (size_t)(w->at - start) : 0;
}

void page_redirect(struct session *s, const struct http_request *request, uint16_t status,
                   const struct writer *location, const uint8_t *start, const struct http_field *fields) {
    char where[PAGE_LOCATION_MAX + 1], body[SESSION_OUT_SIZE - PAGE_LOCATION_MAX - 768];
    struct http_field all[PAGE_FIELDS_COUNT + 1] = {{"Location", where}};
    struct http_view view = {.at = (const char *)start, .size = (size_t)(location->at - start)};
    struct writer w = writer_of(body, sizeof(body));
    bool is_get = request->method == HTTP_GET, may_have_type = is_get || request->method == HTTP_HEAD;
    if (!writer_ok(location) || view.size > PAGE_LOCATION_MAX) {
        page_text(s, request, 414, "the address is too long to redirect");
        return;
    }
    snprintf(where, sizeof(where), "%.*s", (int)view.size, view.at);
    if (fields) memcpy(all + 1, fields, PAGE_FIELDS_COUNT * sizeof(*fields));
    page_small(s, request,
               (struct http_response){.status = status,
                                      .content_type = may_have_type ? HTML : NULL,
                                      .fields = all,
                                      .field_count = fields ? PAGE_FIELDS_COUNT + 1 : 1,
                                      .body = body,
                                      .body_size = may_have_type ? redirect_body(&w, status, view) : 0});
}

bool page_may_debug(const struct front *f, const struct session *s, const struct http_request *request) {
    return debug_access_allows(&f->options.debug_access, &s->remote, request);
}

/* ---- the home page ---- */

static void home_redirect(struct front *f, struct session *s, const struct http_request *request) {
    uint8_t text[PAGE_LOCATION_MAX];
    struct writer w = writer_of(text, sizeof(text));
    writer_text(&w, f->options.home);
    page_redirect(s, request, 302, &w, text, page_browser_fields);
}

static void home(struct front *f, struct session *s, const struct http_request *request) {
    uint8_t body[sizeof(home_start) + 256];
    struct writer w = writer_of(body, sizeof(body));
    bool is_blank = f->options.home && strcmp(f->options.home, "blank") == 0;
    if (f->options.home && *f->options.home && !is_blank) {
        home_redirect(f, s, request);
        return;
    }
    if (!is_blank) {
        writer_text(&w, home_start);
        if (f->options.is_derp_off) writer_text(&w, "<p>Status: <b>disabled</b></p>\n");
        if (page_may_debug(f, s, request)) writer_text(&w, "<p>Debug info at <a href='/debug/'>/debug/</a>.</p>\n");
        writer_text(&w, "</body>\n</html>\n");
    }
    CHECK(writer_ok(&w));
    page_small(s, request,
               (struct http_response){.status = 200,
                                      .content_type = HTML,
                                      .fields = page_browser_fields,
                                      .field_count = PAGE_FIELDS_COUNT,
                                      .body = body,
                                      .body_size = (size_t)(w.at - body)});
}

/* ---- small pages ---- */

static void robots(struct front *f, struct session *s, const struct http_request *request) {
    static const char body[] = "User-agent: *\nDisallow: /\n";
    (void)f;
    page_small(s, request,
               (struct http_response){.status = 200,
                                      .content_type = PLAIN,
                                      .fields = page_browser_fields,
                                      .field_count = PAGE_FIELDS_COUNT,
                                      .body = body,
                                      .body_size = sizeof(body) - 1});
}

static void probe(struct front *f, struct session *s, const struct http_request *request) {
    static const struct http_field fields[] = {{"Access-Control-Allow-Origin", "*"}};
    (void)f;
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        page_text(s, request, 405, "bogus probe method");
        return;
    }
    page_small(s, request, (struct http_response){.status = 200, .fields = fields, .field_count = 1});
}

static bool is_challenge(const struct http_view *challenge) {
    bool is_fine = challenge && challenge->size > 0 && challenge->size <= 64;
    for (size_t i = 0; is_fine && i < challenge->size; i++) {
        char c = challenge->at[i];
        is_fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  (c != '\0' && strchr("._:-", c));
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
    page_small(s, request, (struct http_response){.status = 204, .fields = fields, .field_count = 1u + is_asked});
}

static void derp_disabled(struct front *f, struct session *s, const struct http_request *request) {
    (void)f;
    page_text(s, request, 404, "derp server disabled");
}

/* ---- routing ---- */

/* A target that has no place on any page: true when it is answered. */
static bool answer_odd_target(struct session *s, const struct http_request *request) {
    if (http_view_is(request->method_text, "CONNECT")) {
        bool is_tls = s->transport == TRANSPORT_TLS;
        page_text(s, request, is_tls ? 403 : 404, is_tls ? "CONNECT not enabled" : "404 page not found");
    } else if (http_view_is(request->path, "*")) {
        bool is_options = request->method == HTTP_OPTIONS;
        page_small(s, request, (struct http_response){.status = is_options ? 200 : 400, .is_close = !is_options});
    } else if (!http_path_is_valid(request->path)) {
        page_text(s, request, 400, "the path has a broken % escape");
    } else {
        return false;
    }
    return true;
}

/* The query goes along as it is. True when it is answered. */
static bool answer_unclean(struct session *s, const struct http_request *request, bool has_debug) {
    bool is_bare = has_debug && http_path_is(request->path, "/debug");
    if (http_path_is_clean(request->path) && !is_bare) return false;
    uint8_t clean[PAGE_LOCATION_MAX], location[PAGE_LOCATION_MAX];
    struct writer w = writer_of(clean, sizeof(clean)), to = writer_of(location, sizeof(location));
    bool is_fine = http_path_clean(request->path, &w);
    struct http_view path = {.at = (const char *)clean, .size = (size_t)(w.at - clean)};
    if (is_fine && has_debug && http_view_is(path, "/debug")) {
        writer_text(&w, "/");
        path.size++;
    }
    http_write_location(&to, path);
    if (request->query.size > 0) {
        writer_text(&to, "?");
        http_write_location(&to, request->query);
    }
    to.bad |= w.bad;
    page_redirect(s, request, 307, &to, location, NULL);
    return true;
}

static void answer_main(struct front *f, struct session *s, const struct http_request *request) {
    static const struct {
        const char *path;
        page_fn *page;
    } pages[] = {
        {"/derp", derp_disabled},  // otherwise not a page
        {"/derp/probe", probe},   {"/derp/latency-check", probe},         {"/generate_204", generate_204},
        {"/robots.txt", robots},  {"/bootstrap-dns", page_bootstrap_dns}, {ALLOCATE_PATH, page_allocate},
    };
    if (answer_odd_target(s, request) || answer_unclean(s, request, true)) return;
    for (size_t i = 0; i < array_count(pages); i++) {
        if (!http_path_is(request->path, pages[i].path)) continue;
        pages[i].page(f, s, request);
        return;
    }
    if (http_path_starts_with(request->path, "/debug/")) {
        page_debug(f, s, request);
    } else {
        home(f, s, request);
    }
}

bool session_wants_derp(const struct front *f, const struct session *s, const struct http_request *request) {
    return !s->is_port80 && !f->options.is_derp_off && http_path_is(request->path, "/derp") &&
           http_path_is_clean(request->path);
}

/* ---- port 80 ---- */

static bool starts_with(struct http_view view, const char *prefix) {
    return view.size >= strlen(prefix) && memcmp(view.at, prefix, strlen(prefix)) == 0;
}

/* To the same place with https. Who may see it is sent from the home page to /debug/. */
static void to_https(struct front *f, struct session *s, const struct http_request *request) {
    uint8_t location[PAGE_LOCATION_MAX];
    struct writer w = writer_of(location, sizeof(location));
    bool is_debug = http_view_is(request->target, "/") && page_may_debug(f, s, request);
    if (request->method != HTTP_GET && request->method != HTTP_HEAD) {
        page_text(s, request, 400, "Use HTTPS");
        return;
    }
    writer_text(&w, "https://");
    http_write_location(&w, request->host);
    http_write_location(&w, is_debug ? (struct http_view){.at = "/debug/", .size = 7} : request->path);
    if (request->query.size > 0) {
        writer_text(&w, "?");
        http_write_location(&w, request->query);
    }
    page_redirect(s, request, 302, &w, location, NULL);
}

static void answer_port80(struct front *f, struct session *s, const struct http_request *request) {
    bool is_connect = http_view_is(request->method_text, "CONNECT");
    if (starts_with(request->target, "/debug") && !is_connect) {
        answer_main(f, s, request);
    } else if (is_connect || request->host.size == 0) {
        page_text(s, request, 400, "Use HTTPS");
    } else if (answer_odd_target(s, request) || answer_unclean(s, request, false)) {
        return;
    } else if (http_path_is(request->path, "/generate_204")) {
        generate_204(f, s, request);
    } else {
        to_https(f, s, request);
    }
}

void session_answer(struct front *f, struct session *s, const struct http_request *request) {
    if (s->is_port80) {
        answer_port80(f, s, request);
    } else {
        answer_main(f, s, request);
    }
}
