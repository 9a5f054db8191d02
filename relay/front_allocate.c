/* front_allocate.c - endpoints of the UDP relay by HTTPS, for those who have a token (relay/allocate_http.h).
 *
 * On a plain door, too, which is there with -dev or behind a TLS proxy only; never on port 80. This is the one page
 * that reads a body: it waits, in the session's buffer and within the head's time, until ALLOCATE_BODY_MAX bytes at
 * most are there.
 */
#include <sodium.h>

#include "relay/allocate_http.h"
#include "relay/page.h"

static struct allocate_door door_of(const struct front *f) {
    return (struct allocate_door){.allocator = f->links.allocator,
                                  .metrics = f->metrics,
                                  .tokens = f->options.tokens,
                                  .limits = f->options.relay_limits};
}

/* The buffer is the session's, and then the next one's. */
static void wipe_token(struct session *s, const struct http_request *request) {
    const struct http_view *value = http_header_find(&request->headers, "Authorization");
    if (value) sodium_memzero(s->in + (value->at - (const char *)s->in), value->size);
}

static void tell(struct session *s, const struct http_request *request, const struct allocate_reply *reply) {
    page_small(s, request, allocate_http_response(reply));
    wipe_token(s, request);
}

void page_allocate(struct front *f, struct session *s, const struct http_request *request) {
    const struct token_id *who;
    struct allocate_reply reply;
    struct allocate_door door = door_of(f);
    if (!allocate_http_judge(&door, request, &who, &reply)) {
        tell(s, request, &reply);
        return;
    }
    s->request_size = (uint32_t)(request->head_size + request->content_length);
    if (s->in_size < s->request_size) return;
    struct http_request whole = *request;
    whole.has_body = false;  // nothing is left of it: the connection may live on
    allocate_http_serve(&door, who, (char *)s->in + request->head_size, (size_t)request->content_length, f->now_ns,
                        &reply);
    tell(s, &whole, &reply);
}
