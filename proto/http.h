/* http.h - the HTTP/1.x at the door: request heads in, small responses out.
 *
 * What it is: enough HTTP to upgrade a connection to DERP or WebSocket, to serve a handful of tiny pages, and, as
 * client (mesh link, probe), to ask another relay for the same. Own code because the answer must come from the thread
 * that shook hands, without another event loop, and because the parser of hostile bytes should be a page long.
 *
 * Model: the owner collects bytes in one buffer and calls http_request_parse() after each arrival, always from the
 * first byte; a struct http_scan remembers how far the search for the blank line has come, so that one byte at a time
 * costs no more than all at once. Nothing is copied: an http_request is views into the buffer, good while it stays.
 * A head is judged when it is complete; only what cannot be HTTP at all (a TLS hello, say) is refused at once.
 *
 * Limits: a head has at most 16 KiB and 128 header lines: 400 or 431. Go clients send 200 bytes and 5 lines, browsers
 * with cookies rarely exceed 8 KiB; the bound is what one unauthenticated connection may hold. (Go: 1 MiB.)
 *
 * As Go: lines may end in LF alone; names are tokens and compare without case; values lose their outer blanks and
 * hold no control characters but TAB; HTTP/1.1 needs a Host, and one at most, of legal characters; versions other
 * than HTTP/1.x get 505; the first value of a repeated header counts.
 * Stricter than Go: continuation lines (obs-fold), Transfer-Encoding together with Content-Length, and a
 * Transfer-Encoding in HTTP/1.0 are refused: they are how requests are smuggled past proxies.
 * Percent escapes in the target are neither checked nor decoded here: proto/http_path.h does that.
 *
 * Bodies: never read. has_body tells that one follows; the owner refuses or closes, it cannot go on.
 * Threads: pure functions. Memory: the caller's; a struct http_request is 4 KiB, so keep one per thread, not one per
 * connection. Errors: a status code to answer with before closing.
 * Not here: routing and pages (relay/front), WebSocket keys and frames (websocket.h), the clock (Date is a parameter).
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "proto/key.h"

#define HTTP_HEAD_SIZE_MAX (16 * 1024)
#define HTTP_HEADER_COUNT_MAX 128

/* A piece of the head. Not terminated. `at` is never NULL in a parsed head. */
struct http_view {
    const char *at;
    size_t size;
};

struct http_header {
    struct http_view name;
    struct http_view value;
};

struct http_headers {
    size_t count;
    struct http_header items[HTTP_HEADER_COUNT_MAX];
};

/* How far the search for the end of a head has come. Zero it before the first byte of each head. */
struct http_scan {
    size_t offset;  // everything before it holds no end of head
};

enum http_progress {
    HTTP_MORE,  // so far so good: call again with more bytes
    HTTP_DONE,  // complete: head_size bytes
    HTTP_BAD,   // answer with status, then close
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OPTIONS, HTTP_OTHER };

struct http_request {
    uint16_t status;         // BAD: 400, 431, 501 or 505
    size_t head_size;        // DONE: bytes up to and with the blank line; what follows belongs to whoever comes next
    enum http_method method;
    struct http_view method_text;
    struct http_view target;  // as sent
    struct http_view path;    // the target up to '?', and without scheme and authority; "" for CONNECT's authority
    struct http_view query;   // behind the '?', or empty
    uint8_t minor;            // of HTTP/1.x
    struct http_view host;    // "" in HTTP/1.0 without one
    bool wants_close;         // said so, or HTTP/1.0 and did not ask to keep the connection
    bool has_body;            // a body follows, with or without a known length
    uint64_t content_length;  // 0 when not given
    struct http_headers headers;
};

/* `bytes` starts at the head's first byte; `size` is all that has arrived so far. */
must_use enum http_progress http_request_parse(struct http_scan *scan, const void *bytes, size_t size,
                                               struct http_request *out);

/* ---- looking into a head ---- */

bool http_view_is(struct http_view v, const char *text);
bool http_view_is_nocase(struct http_view v, const char *text);

/* The value of the first header of this name, or NULL. Names compare without case. */
const struct http_view *http_header_find(const struct http_headers *headers, const char *name);

/* Does `token` occur in the comma-separated lists of all headers of this name? Without case. */
bool http_header_has_token(const struct http_headers *headers, const char *name, const char *token);

/* The same, and how the client has written it; without one *found stays as it is. */
bool http_header_find_token(const struct http_headers *headers, const char *name, const char *token,
                            struct http_view *found);

enum http_upgrade {
    HTTP_UPGRADE_NONE,       // 426
    HTTP_UPGRADE_DERP,       // DERP frames follow
    HTTP_UPGRADE_WEBSOCKET,  // a WebSocket handshake is due (websocket.h judges the rest), DERP frames inside
};

/* What a request for /derp asks for. Only the Upgrade header is looked at: "derp" or "websocket" in any case; the
 * latter means a WebSocket only when Sec-WebSocket-Protocol contains "derp", else it is plain DERP from very old
 * clients. Method, version and Connection do not matter (docs/derp.md, "Upgrade"). */
enum http_upgrade http_derp_upgrade(const struct http_request *request);

/* Derp-Fast-Start is exactly "1": no response at all, the first bytes are the ServerKey frame. Matters only for
 * HTTP_UPGRADE_DERP. */
bool http_wants_fast_start(const struct http_request *request);

/* ---- responses ---- */

struct http_field {
    const char *name;
    const char *value;
};

struct http_response {
    uint16_t status;
    const char *content_type;          // NULL: none
    const struct http_field *fields;   // further headers
    size_t field_count;
    const void *body;
    size_t body_size;
    uint64_t unix_s;                   // for the Date header; 0: none
    bool is_head_request;              // announce the body, do not send it
    bool is_close;                     // "Connection: close"
};

/* Head and body. Without room the writer is bad and nothing was written. 1xx, 204 and 304 have no body and no
 * Content-Length. Names and values must not contain line ends (CHECK). */
void http_write_response(struct writer *w, const struct http_response *response);

/* A refusal in Go's manner: text/plain, nosniff, the text with a newline, Connection: close. `text` NULL: the
 * status's own words. */
void http_write_error(struct writer *w, uint16_t status, const char *text, uint64_t unix_s);

/* "Switching Protocols" and so on; "Unknown" for others. */
const char *http_status_text(uint16_t status);

/* The 101 answer to an upgrade to DERP, byte for byte as derper's (docs/derp.md, "Upgrade"). */
void http_write_derp_switch(struct writer *w, const struct node_key *server);

/* RFC 9110 IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT". */
#define HTTP_DATE_SIZE 30
void http_format_date(uint64_t unix_s, char text[HTTP_DATE_SIZE]);

/* ---- client ---- */

struct http_derp_request {
    const char *host;        // the Host header: "derp.example" or "derp.example:8443"
    const char *path;        // "/derp"
    const char *ideal_node;  // NULL: none
    bool is_fast_start;
};

void http_write_derp_request(struct writer *w, const struct http_derp_request *request);

struct http_answer {
    uint16_t status;    // DONE: the response's code, 100..999
    uint8_t minor;
    size_t head_size;
    struct http_headers headers;
};

/* A response's head, as http_request_parse(). */
must_use enum http_progress http_answer_parse(struct http_scan *scan, const void *bytes, size_t size,
                                              struct http_answer *out);
