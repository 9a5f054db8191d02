/* channel.h - a blocking connection to a DERP server, in the clear or through TLS: what `ringrelay probe` speaks
 * through.
 *
 * Bytes in, bytes out, with a deadline for each call. TLS is the project's own: wolfSSL for the handshake, the record
 * layer afterwards, so that a probe also tries those out.
 *
 * Threads: one, blocking: a tool, not part of the relay. Memory: the heap, in channel_open. Errors: false and a
 * sentence in `why` that names the step; the channel can only be closed then.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"
#include "proto/record.h"
#include "proto/tls_trust.h"

#define CHANNEL_WHY_MAX 512

/* A URL of a DERP server, taken apart. */
struct channel_url {
    bool is_tls;
    char host[256];  // without brackets
    char port[8];
    char authority[272];  // for the Host header
    char path[256];  // "/derp" when there was none
};

/* "http://host[:port][/path]" or "https://...". */
must_use bool channel_url_parse(struct channel_url *ret, const char *url, char *why);

struct channel {
    int fd;
    bool is_tls;
    uint64_t timeout_ns;
    char *why;  // CHANNEL_WHY_MAX bytes of the caller's
    struct record record;
    uint8_t *raw;  // TLS: received, not opened
    size_t raw_size;
    char address[64];  // the server's, as connected
    bool has_metacert;  // TLS: the server's chain named its key
    struct node_key metacert_key;
};

/* Connects, and shakes hands when the URL is https. `trust` is for TLS; NULL otherwise. channel_close is to be called
 * in either case. */
must_use bool channel_open(struct channel *c, const struct channel_url *url, struct tls_trust *trust,
                           uint64_t timeout_ns, char *why);
void channel_close(struct channel *c);

/* All of it. */
must_use bool channel_write(struct channel *c, const uint8_t *bytes, size_t size, const char *step);

/* At least one byte into `to`, which has room for RECORD_INNER_MAX bytes or more; at most `room`. */
must_use bool channel_read(struct channel *c, uint8_t *to, size_t room, size_t *ret_size, const char *step);
