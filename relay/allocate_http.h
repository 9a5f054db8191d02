/* allocate_http.h - "POST /v0/relay/endpoint": an endpoint of the UDP relay by HTTP (docs/udp-relay.md, "Asking by
 * HTTP").
 *
 *     {"DiscoKeys":["discokey:..","discokey:.."]}  -->  {"ServerDisco":.., "LamportID":.., "VNI":.., ..}
 *
 * The two doors that serve it, the front's (with a token) and the admin socket's (trusted), have bytes and buffers of
 * their own; what is asked, who may ask and what is said is here:
 *
 *     head is there   allocate_http_judge   refuses what no body can mend, so that nobody sends one for nothing
 *     body is there   allocate_http_serve   reads it, asks the allocator, writes the answer
 *
 * Every refusal that may pass is 503 with Retry-After: that is what clients of this protocol try again after.
 *
 * Threads: pure functions but for the allocator, which has its own lock; jansson allocates for the body. Memory: the
 * caller's. Errors: a status and a sentence in the reply; each refusal is counted with its reason.
 * Not here: sockets, bodies that come in pieces (front_allocate.c, admin_http.c), the file of tokens (relay/tokens.h).
 */
#pragma once

#include "proto/http.h"
#include "relay/allocator.h"
#include "relay/tokens.h"

#define ALLOCATE_PATH "/v0/relay/endpoint"

enum {
    ALLOCATE_BODY_MAX = 512,
    ALLOCATE_REPLY_MAX = 3072,  // 32 addresses take 1600
    ALLOCATE_FIELDS_MAX = 2,
};

/* Who is asked, and who asks. */
struct allocate_door {
    struct allocator *allocator;  // NULL: there is no UDP relay
    struct metrics *metrics;      // of the thread that serves
    const struct tokens *tokens;  // NULL: nobody has one
    bool is_trusted;              // no token is asked for, nothing is rationed
    struct allocator_limits limits;  // of each token
};

struct allocate_reply {
    uint16_t status;
    bool is_close;  // after a token that is wrong: each guess takes a connection
    bool is_json;
    size_t body_size;
    char body[ALLOCATE_REPLY_MAX];
    char retry_after[12];
    struct http_field fields[ALLOCATE_FIELDS_MAX];
    size_t fields_count;
};

/* What its head says of a request for ALLOCATE_PATH. True: go on when all of the body is there; *who is the token, NULL
 * for the trusted. False: *reply is the answer. */
must_use bool allocate_http_judge(const struct allocate_door *door, const struct http_request *request,
                                  const struct token_id **who, struct allocate_reply *reply);

/* After a head that was fine. `body` is overwritten. */
void allocate_http_serve(const struct allocate_door *door, const struct token_id *who, char *body, size_t size,
                         uint64_t now_ns, struct allocate_reply *reply);

/* The reply for http_write_response; it points into *reply. Date and Connection are the caller's. */
struct http_response allocate_http_response(const struct allocate_reply *reply);

/* ---- the parts ---- */

/* Reads a body. False: *reply says why not. The zero key is a key here. */
must_use bool allocate_http_read(char *body, size_t size, struct disco_key clients[2], struct allocate_reply *reply);

/* What the allocator has said, granted or refused, as a reply. */
void allocate_http_tell(bool is_granted, const struct allocator_answer *answer, struct allocate_reply *reply);

/* The JSON of an endpoint. The writer goes bad when it does not fit. */
void allocate_http_write(struct writer *w, const struct allocator_answer *answer);

/* A duration as Go writes it: "30s", "5m0s", "1.5s", "250ms", "0s". */
#define GO_DURATION_TEXT_MAX 40
const char *go_duration_text(uint64_t ns, char text[GO_DURATION_TEXT_MAX]);
