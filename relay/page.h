/* page.h - what the pages of the front have in common. Private to front_pages.c, front_debug.c,
 * front_traffic.c, front_bootstrap.c, front_allocate.c.
 *
 * A page is a function that answers one request: it fills s->out. Small ones are written into the session's own buffer;
 * a large one takes one of the front's few large buffers for as long as the session lasts, or is told to come again.
 */
#pragma once

#include "relay/front.h"
#include "relay/session.h"

typedef void page_fn(struct front *f, struct session *s, const struct http_request *request);

/* Headers of pages that a browser shows; `page_debug_fields` lets them have styles of their own. */
enum { PAGE_FIELDS_COUNT = 4 };
extern const struct http_field page_browser_fields[PAGE_FIELDS_COUNT];
extern const struct http_field page_debug_fields[PAGE_FIELDS_COUNT];

/* A response of at most SESSION_OUT_SIZE bytes with its head (CHECK). Date, HEAD and Connection are seen to. */
void page_small(struct session *s, const struct http_request *request, struct http_response response);

/* A response whose body may be large: `write` writes it, of at most half a large buffer (CHECK). */
void page_large(struct front *f, struct session *s, const struct http_request *request, struct http_response response,
                void (*write)(struct front *f, struct writer *w));

/* A status and a sentence, in Go's manner; the connection lives on. */
void page_text(struct session *s, const struct http_request *request, uint16_t status, const char *text);

/* A redirect as Go writes it. What does not fit into PAGE_LOCATION_MAX bytes is refused with 414. */
enum { PAGE_LOCATION_MAX = 1536 };
void page_redirect(struct session *s, const struct http_request *request, uint16_t status,
                   const struct writer *location, const uint8_t *start, const struct http_field *fields);

must_use bool page_may_debug(const struct front *f, const struct session *s, const struct http_request *request);

/* ---- front_debug.c ---- */

/* Everything under /debug/, access rules included. */
void page_debug(struct front *f, struct session *s, const struct http_request *request);

/* ---- front_bootstrap.c ---- */

void page_bootstrap_dns(struct front *f, struct session *s, const struct http_request *request);

/* ---- front_allocate.c ---- */

void page_allocate(struct front *f, struct session *s, const struct http_request *request);
