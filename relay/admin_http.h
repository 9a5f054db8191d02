/* admin_http.h - the admin socket for programs that speak HTTP, such as curl --unix-socket (docs/admin.md, "HTTP").
 *
 *     POST /v0/relay/endpoint                           an endpoint of the UDP relay (relay/allocate_http.h), trusted
 *     GET /localapi/v0/debug-peer-relay-sessions        its endpoints, as Tailscale's own status says them
 *
 * A connection whose line is an HTTP request line is answered so; head and body have to fit into ADMIN_REQUEST_MAX
 * bytes. Requests may follow each other on a connection; one that is wrong ends it.
 *
 * Threads: the office. Memory: the scratch is the caller's. Errors: an HTTP status, and a sentence.
 * Not here: sockets and times (relay/admin.h).
 */
#pragma once

#include "relay/admin_status.h"
#include "relay/allocate_http.h"

#define ADMIN_SESSIONS_PATH "/localapi/v0/debug-peer-relay-sessions"

/* What one step needs and nobody keeps: 8 KiB. */
struct admin_http {
    struct http_request request;
    struct allocate_reply reply;
};

enum admin_http_result {
    ADMIN_HTTP_MORE,      // not all of the request is there
    ADMIN_HTTP_ANSWERED,  // the answer is written
    ADMIN_HTTP_SESSIONS,  // its head and "Sessions":[ are written, the list follows, and then the connection is closed
};

struct admin_http_step {
    enum admin_http_result result;
    size_t taken;  // bytes of the request
    bool is_close;  // behind the answer
};

/* Is this line, without its end, the first of an HTTP request? */
must_use bool admin_http_is(const char *line, size_t size);

/* Judges `size` bytes of a request, which are all there is room for when `is_full`. The body is overwritten. */
must_use struct admin_http_step admin_http_serve(struct admin_http *http, const struct admin_facts *facts, char *bytes,
                                                 size_t size, bool is_full, struct writer *w, uint64_t now_ns);
