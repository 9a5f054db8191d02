/* asker.h - a few connections over which endpoints are asked for, one request at a time on each.
 *
 * Where: an HTTP server by TCP, in the clear or through TLS, or by a Unix socket. Connections stay open as long as the
 * server likes, and are opened anew.
 *
 *     asker_ask(&a, line, &pair);                    // writes, does not wait
 *     asker_answer(&a, line, &answer);               // waits for the answer, ten seconds at most
 *
 * Threads: one, blocking. Memory: 8 KB per line, and what TLS takes. Errors: a sentence in a->why.
 */
#pragma once

#include "perf/udpload/endpoint_json.h"
#include "relay/channel.h"

enum { ASKER_LINES_MAX = 8, ASKER_TOKEN_MAX = 256 };

struct asker_line {
    struct channel channel;
    bool is_open;
    bool is_waiting;  // for an answer
    bool is_used;     // has had one
    struct disco_pair pair;
    size_t in_size;
    char in[ENDPOINT_ANSWER_MAX];
};

struct asker {
    const char *unix_path;  // NULL: url
    struct channel_url url;
    struct tls_trust *trust;
    char token[ASKER_TOKEN_MAX + 1];
    char why[CHANNEL_WHY_MAX];
    struct asker_line lines[ASKER_LINES_MAX];
};

enum asker_result {
    ASKER_GOOD,
    ASKER_REFUSED,  // by a status; the connection lives on
    ASKER_LATER,    // the same, and it says that it can be tried again
    ASKER_FAILED,   // no answer
};

/* `where` is "unix:PATH", "http://..." or "https://..."; `token_path` NULL: no token. `trust` is for https and is
 * the caller's. */
must_use bool asker_open(struct asker *a, const char *where, const char *token_path, struct tls_trust *trust);
void asker_close(struct asker *a);

/* `where` needs a struct tls_trust. */
bool asker_needs_trust(const char *where);

must_use bool asker_ask(struct asker *a, unsigned line, const struct disco_pair *pair);
must_use enum asker_result asker_answer(struct asker *a, unsigned line, struct endpoint_answer *ret);
