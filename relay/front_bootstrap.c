/* front_bootstrap.c - the page /bootstrap-dns (docs/derp.md, "Bootstrap DNS"). */
#include "core/check.h"
#include "proto/http_path.h"
#include "relay/page.h"

/* What a request is answered with: one unpublished name, or all published ones. */
static const struct bootstrap_name *choose(struct front *f, const struct session *s, const char *asked) {
    const struct bootstrap_name *hidden = bootstrap_find(f->bootstrap_hidden, asked);
    struct metrics *m = f->metrics;
    if (hidden) {
        stat_add(&m->bootstrap_unpublished_hits, 1);
        if (bootstrap_is_chosen(&s->remote, hidden->percent, f->rng)) return hidden;
        stat_add(&m->bootstrap_percent_misses, 1);
    }
    bool is_published = bootstrap_find(f->bootstrap_published, asked) != NULL;
    stat_add(is_published ? &m->bootstrap_published_hits : &m->bootstrap_unpublished_misses, 1);
    return NULL;
}

static void write_all(struct front *f, struct writer *w) { bootstrap_write_json(w, f->bootstrap_published, NULL); }

/* A list that fits takes no large buffer: strangers may ask for it as often as they like. */
static void answer(struct front *f, struct session *s, const struct http_request *request,
                   const struct bootstrap_name *only) {
    uint8_t body[SESSION_OUT_SIZE - 1024];
    struct writer w = writer_of(body, sizeof(body));
    struct http_response response = {.status = 200,
                                     .content_type = "application/json",
                                     .fields = page_browser_fields,
                                     .field_count = PAGE_FIELDS_COUNT,
                                     .body = body,
                                     .is_close = true};
    if (only || f->bootstrap_published) bootstrap_write_json(&w, f->bootstrap_published, only);
    if (!writer_ok(&w)) {
        page_large(f, s, request, response, write_all);
        return;
    }
    response.body_size = (size_t)(w.at - body);
    page_small(s, request, response);
}

void page_bootstrap_dns(struct front *f, struct session *s, const struct http_request *request) {
    char asked[BOOTSTRAP_NAME_SIZE_MAX + 1];
    const struct bootstrap_name *only = NULL;
    stat_add(&f->metrics->bootstrap_requests, 1);
    if (http_query_value(request->query, "q", asked, sizeof(asked))) {
        bootstrap_queries_note(&f->bootstrap_queries, asked);
        only = choose(f, s, asked);
    }
    answer(f, s, request, only);
}
