/* front_debug.c - the pages under /debug/ (docs/derp.md, "Debug pages"): for the operator, by relay/debug_access.h.
 *
 * What reads /proc here reads the kernel's memory, not a disk, and is asked for by the operator only.
 */
#include <stdio.h>

#include "core/check.h"
#include "core/sys.h"
#include "proto/http_path.h"
#include "relay/page.h"

/* How long two figures may differ: logins and departures are under way between control and workers. */
enum { RECHECK_S = 1 };

static struct http_response debug_response(const char *content_type) {
    return (struct http_response){
        .status = 200, .content_type = content_type, .fields = page_debug_fields, .field_count = PAGE_FIELDS_COUNT};
}

static void debug_text(struct session *s, const struct http_request *request, uint16_t status, const char *text) {
    struct http_response response = debug_response("text/plain; charset=utf-8");
    response.status = status;
    response.body = text;
    response.body_size = strlen(text);
    page_small(s, request, response);
}

/* ---- metrics ---- */

static const struct metrics_endpoints *endpoints_of(const struct front *f, struct metrics_endpoints *ret) {
    struct allocator_figures figures;
    if (f->links.allocator == NULL) return NULL;
    allocator_figures_read(f->links.allocator, &figures);
    *ret = (struct metrics_endpoints){.connecting = figures.endpoints - figures.open, .open = figures.open};
    return ret;
}

/* `endpoints` is where those go, if there are any. */
static struct metrics_process process_of(const struct front *f, struct metrics_endpoints *endpoints) {
    struct sys_process_usage usage;
    sys_process_usage(&usage);
    return (struct metrics_process){
        .start_wall_s = f->options.start_wall_s,
        .uptime_s = (f->now_ns - f->start_ns) / NS_PER_S,
        .open_fds = sys_fd_count(),
        .max_fds = sys_fd_limit(),
        .memory_bytes = f->options.memory_bytes,
        .version = RINGRELAY_VERSION,
        .workers_count = f->links.workers_count,
        .behind_count = f->links.udp_workers_count,
        .rate = f->options.has_rate_config ? &f->options.rate : NULL,
        .usage = usage,
        .queried_domains = bootstrap_queries_count(&f->bootstrap_queries),
        .endpoints = endpoints_of(f, endpoints),
    };
}

static void write_varz(struct front *f, struct writer *w) {
    struct metrics_endpoints endpoints;
    struct metrics_process process = process_of(f, &endpoints);
    metrics_write(w, f->links.metrics_blocks, f->links.metrics_count, &process);
}

static void write_vars(struct front *f, struct writer *w) {
    struct metrics_endpoints endpoints;
    struct metrics_process process = process_of(f, &endpoints);
    metrics_write_json(w, f->links.metrics_blocks, f->links.metrics_count, &process);
}

static void varz(struct front *f, struct session *s, const struct http_request *request) {
    page_large(f, s, request, debug_response("text/plain; charset=utf-8"), write_varz);
}

static void vars(struct front *f, struct session *s, const struct http_request *request) {
    page_large(f, s, request, debug_response("application/json; charset=utf-8"), write_vars);
}

/* ---- the books ---- */

struct books {
    uint64_t connections, booked;  // of the workers; in control's books
    uint64_t published, keys;      // in the directory; in control's books
};

static struct books read_books(const struct front *f) {
    struct books books = {0};
    for (size_t i = 0; i < f->links.metrics_count; i++) {
        const struct metrics *m = f->links.metrics_blocks[i];
        books.connections += stat_get(&m->connections);
        books.booked += stat_get(&m->booked_connections);
        books.published += stat_get(&m->published_keys);
        books.keys += stat_get(&m->clients_local);
    }
    return books;
}

static bool books_agree(const struct books *books) {
    return books->connections == books->booked && books->published == books->keys;
}

static void answer_check(struct session *s, const struct http_request *request, const struct books *books) {
    char text[256];
    if (books_agree(books)) {
        debug_text(s, request, 200, "derp.Server ConsistencyCheck okay");
        return;
    }
    snprintf(text, sizeof(text),
             "connections: workers have %llu, the books say %llu, keys: the directory has %llu, the books say %llu\n",
             (unsigned long long)books->connections, (unsigned long long)books->booked,
             (unsigned long long)books->published, (unsigned long long)books->keys);
    debug_text(s, request, 500, text);
}

/* Figures that differ now are looked at once more a little later: only what has not moved until then is wrong. While
 * clients come and go they may differ by one at both looks. */
static void check(struct front *f, struct session *s, const struct http_request *request) {
    struct books books = read_books(f);
    if (books_agree(&books)) {
        answer_check(s, request, &books);
        return;
    }
    s->is_close_after_send = true;
    s->recheck.connections = books.connections;
    s->recheck.booked = books.booked;
    s->recheck.logins = stat_get(&f->metrics->logins);
    session_enter(f, s, SESSION_RECHECK, RECHECK_S * NS_PER_S);
}

void session_recheck(struct front *f, struct session *s) {
    static const struct http_request request = {.method = HTTP_GET, .wants_close = true};
    struct books books = read_books(f);
    bool has_moved = books.connections != s->recheck.connections || books.booked != s->recheck.booked ||
                     stat_get(&f->metrics->logins) != s->recheck.logins;
    if (has_moved) books.connections = books.booked;
    answer_check(s, &request, &books);
}

/* ---- what only a Go program has ---- */

static void not_go(struct front *f, struct session *s, const struct http_request *request) {
    (void)f;
    page_text(s, request, 404, "ringrelay is not a Go program and has no such page; see /debug/varz");
}

/* ---- the index, and routing ---- */

static void index_page(struct front *f, struct session *s, const struct http_request *request);

/* In derper's order; an entry without a description is not linked. */
static const struct {
    const char *path;
    const char *description;
    page_fn *page;
} pages[] = {
    {"/debug/", NULL, index_page},
    {"/debug/vars", "Metrics (JSON)", vars},
    {"/debug/varz", "Metrics (Prometheus)", varz},
    {"/debug/check", "Consistency check", check},
    {"/debug/traffic", "Traffic check", traffic_answer},
    {"/debug/gc", NULL, not_go},
    {"/debug/runtime-metrics", NULL, not_go},
    {"/debug/set-mutex-profile-fraction", NULL, not_go},
};

static void write_item(struct writer *w, const char *name, const char *value) {
    writer_text(w, "<li><b>");
    writer_text(w, name);
    writer_text(w, ":</b> ");
    http_write_html(w, (struct http_view){.at = value, .size = strlen(value)});
    writer_text(w, "</li>");
}

/* As Go prints a duration of whole seconds: 59s, 1m0s, 25h0m1s. */
static void write_uptime(struct writer *w, uint64_t seconds) {
    char text[48];
    unsigned long long s = seconds % 60, m = seconds / 60 % 60, h = seconds / 3600;
    if (h > 0) {
        snprintf(text, sizeof(text), "%lluh%llum%llus", h, m, s);
    } else if (m > 0) {
        snprintf(text, sizeof(text), "%llum%llus", m, s);
    } else {
        snprintf(text, sizeof(text), "%llus", s);
    }
    write_item(w, "Uptime", text);
}

static void write_link(struct writer *w, const char *path, const char *description) {
    writer_text(w, "<li><a href=\"");
    writer_text(w, path);
    writer_text(w, "\">");
    writer_text(w, path);
    writer_text(w, "</a> (");
    writer_text(w, description);
    writer_text(w, ")</li>");
}

static void index_page(struct front *f, struct session *s, const struct http_request *request) {
    uint8_t body[SESSION_OUT_SIZE - 1024];
    struct writer w = writer_of(body, sizeof(body));
    writer_text(&w, "<html><body><h1>ringrelayd debug</h1><ul>");
    write_uptime(&w, (f->now_ns - f->start_ns) / NS_PER_S);
    write_item(&w, "Version", RINGRELAY_VERSION);
    write_item(&w, "Machine", f->options.machine);
    write_item(&w, "TLS hostname", f->options.hostname ? f->options.hostname : "");
    write_item(&w, "Mesh key", key_mesh_is_zero(&f->options.mesh_key) ? "false" : "true");
    for (size_t i = 0; i < array_count(pages); i++) {
        if (pages[i].description) write_link(&w, pages[i].path, pages[i].description);
    }
    writer_text(&w, "</ul></body></html>\n");
    CHECK(writer_ok(&w));  // -hostname is bounded by relay/config.c
    page_small(s, request,
               (struct http_response){.status = 200,
                                      .content_type = "text/html; charset=utf-8",
                                      .fields = page_browser_fields,
                                      .field_count = PAGE_FIELDS_COUNT,
                                      .body = body,
                                      .body_size = (size_t)(w.at - body)});
}

static page_fn *page_of(const struct http_request *request) {
    for (size_t i = 0; i < array_count(pages); i++) {
        if (http_path_is(request->path, pages[i].path)) return pages[i].page;
    }
    return http_path_starts_with(request->path, "/debug/pprof/") ? not_go : NULL;
}

/* With -dev whoever is kept out of a page learns how to get in. */
static void deny(struct front *f, struct session *s, const struct http_request *request, bool is_known) {
    char text[160], ip[NET_ADDRESS_TEXT_MAX];
    bool has_hint = f->options.is_dev && is_known;
    snprintf(text, sizeof(text), "debug access denied%s%s",
             has_hint ? "; to permit access, set TS_ALLOW_DEBUG_IP=" : "", has_hint ? net_ip_text(&s->remote, ip) : "");
    page_text(s, request, 403, text);
}

void page_debug(struct front *f, struct session *s, const struct http_request *request) {
    page_fn *page = page_of(request);
    if (!page_may_debug(f, s, request)) {
        deny(f, s, request, page != NULL && page != index_page);
    } else if (page == NULL) {
        page_text(s, request, 404, "no such page; /debug/ lists them");
    } else {
        page(f, s, request);
    }
}
