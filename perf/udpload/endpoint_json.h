/* endpoint_json.h - asking for an endpoint over HTTP: the request, and what the answer says (docs/udp-relay.md).
 *
 *     POST /v0/relay/endpoint
 *     {"DiscoKeys": ["discokey:...", "discokey:..."]}
 *     {"ServerDisco": "discokey:...", "ClientDisco": [...], "LamportID": 1, "AddrPorts": ["127.0.0.1:40000"], "VNI": 1,
 *      "BindLifetime": "30s", "SteadyStateLifetime": "5m0s"}
 *
 * Threads: pure functions. Memory: jansson's, for a moment. Errors: false and a sentence in `why`
 * (ENDPOINT_WHY_MAX bytes).
 */
#pragma once

#include "core/sys.h"
#include "proto/disco.h"

enum { ENDPOINT_WHY_MAX = 512, ENDPOINT_ADDRESSES_MAX = 16, ENDPOINT_REQUEST_MAX = 1024, ENDPOINT_ANSWER_MAX = 8192 };

#define ENDPOINT_PATH "/v0/relay/endpoint"

struct endpoint_answer {
    struct disco_key server;
    uint32_t vni;
    uint32_t addresses_count;
    struct net_address addresses[ENDPOINT_ADDRESSES_MAX];
};

/* The whole request into `text` (ENDPOINT_REQUEST_MAX); returns its size. `token` NULL: none; at most 256 bytes. */
must_use size_t endpoint_request(char *text, const char *host, const char *token, const struct disco_pair *pair);

/* The body of an answer with status 200, for this pair. */
must_use bool endpoint_parse(struct endpoint_answer *ret, const char *body, size_t size, const struct disco_pair *pair,
                             char *why);

/* An answer's head: status, and how its body ends. */
struct endpoint_head {
    unsigned status;
    size_t head_size;   // with the empty line
    size_t body_size;
    bool is_last;       // on this connection
    unsigned retry_s;   // Retry-After; 0: none
};

/* 1: *ret is filled; 0: it is not all there yet; -1: no HTTP/1.1 answer with a Content-Length, and a sentence. */
must_use int endpoint_head_parse(struct endpoint_head *ret, const char *text, size_t size, char *why);
