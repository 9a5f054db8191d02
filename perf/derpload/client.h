/* client.h - one client of a DERP server: from connect to close, on the ring, never waiting.
 *
 *     client_start --> SHAKING (TLS) --> GREETING --> INFO --> READY --client_close--> CLOSING --> NONE
 *
 * TLS by wolfSSL until the secrets are there, then the record layer; login by a fast start (the first bytes from the
 * server are its key). In READY the owner gets every packet as it lies in memory, and sends with
 *
 *     client_write_begin(c);  client_write_frame(c, frame, size)...;  client_write_end(c);
 *
 * which seals frames one behind the other into one buffer and sends it by one request. One write is under way per
 * client: on_sendable says when the next may begin.
 *
 * What all clients share is `struct crowd` (crowd.h): the ring, the buffers, the callbacks. A failure ends the run:
 * crowd_fail with a sentence, the first one counts. Only one that happens during a login is survived when the owner has
 * an on_failed: the client is closed then, and on_closed follows.
 *
 * Threads: one. Memory: the crowd's; a handshake's on the heap (71 KB) while it lasts.
 * Not here: what is in packets (contents.h), who sends when (relay.c and its like).
 */
#pragma once

#include "core/ring.h"
#include "proto/box.h"
#include "proto/derp_stream.h"
#include "proto/handshake.h"
#include "proto/record.h"

struct crowd;
struct flow;

enum client_state {
    CLIENT_NONE,
    CLIENT_SHAKING,
    CLIENT_GREETING,  // a ServerKey is due
    CLIENT_INFO,      // a ServerInfo is due
    CLIENT_READY,
    CLIENT_CLOSING,
};

struct client {
    struct ring_socket socket;
    struct crowd *crowd;
    uint32_t idx;
    uint8_t state;    // enum client_state
    bool is_tls;
    bool has_failed;  // its login; to be closed
    bool is_listed;   // in its owner's list of clients that may write
    struct client *next_listed;
    struct flow *due_first, *due_last;  // the owner's: flows that have something to send
    struct derp_stream stream;
    uint8_t *raw;     // TLS: the beginning of a record
    size_t raw_have;
    uint8_t *space;   // for a frame that straddles records or buffers

    /* The write under way or being made. */
    uint8_t *out;  // NULL: none
    size_t out_size, out_sent;
    struct writer w;
    size_t gathered;        // bytes of frames that wait in the crowd's scratch for their record
    uint32_t gathered_count;

    struct record record;

    /* Login. */
    struct handshake *handshake;
    struct node_private private_key;
    struct node_key key;
    struct box_key shared;
    uint64_t started_ns;
};

/* Connects and logs in, with a new key the first time. On a CLIENT_NONE. */
void client_start(struct client *c, uint64_t now_ns);

/* From any state but NONE and CLOSING. on_closed follows. */
void client_close(struct client *c);

void client_on_event(struct client *c, const struct ring_event *event);

static inline bool client_may_write(const struct client *c) { return c->state == CLIENT_READY && c->out == NULL; }

/* A write has room for crowd_options.frames_per_record * records_per_write frames of the size named there. Nothing else
 * happens to the client between begin and end. */
void client_write_begin(struct client *c);
void client_write_frame(struct client *c, uint8_t *frame, size_t size);
void client_write_end(struct client *c);
