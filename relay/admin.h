/* admin.h - the operator's door into a running relay: a Unix socket, a request and an answer, a line of JSON each.
 *
 * The protocol is docs/admin.md. Who may: root, and the user the relay runs as; the file has mode 0600, and the kernel
 * says who has connected.
 *
 *   (free) --accept--> READING --a line, or an HTTP request--> ANSWERING --sent--> READING
 *                         |     |--clients--> WAITING --dump is there--> ANSWERING, piece by piece
 *                         |     \--endpoints--> WALKING --much, or all, is written--> ANSWERING --sent--> WALKING
 *                         `--30 s, or the oldest when all places are taken--> CLOSING --RING_CLOSED--> (free)
 *
 * A list of clients is gathered by the workers (relay/dump.h). There is one dump, so one such answer is made at a time,
 * and it is held until its reader has it all; others wait in the order in which they asked. A reader that takes nothing
 * for ADMIN_SEND_TIMEOUT_S is closed.
 *
 * Endpoints of the UDP relay are listed from where they are, a piece in each pass (relay/admin_endpoints.h).
 *
 * The office writes the log besides, so nothing here waits: sockets are the ring's, what is done in a pass is bounded
 * (an event each, one piece of an answer each), clients are ADMIN_CLIENTS_MAX at most. Sorting a list is the longest
 * step: 3 ms for 16384 connections.
 *
 * Threads: the office. Memory: the office's arena; jansson allocates for a request and a status, and frees at once.
 * Errors: a sentence in the answer, `"ok": false`.
 */
#pragma once

#include "core/arena.h"
#include "core/lane.h"
#include "core/ring.h"
#include "relay/admin_endpoints.h"
#include "relay/admin_http.h"
#include "relay/admin_query.h"
#include "relay/admin_status.h"
#include "relay/dump.h"
#include "relay/mail.h"

/* Where the socket is unless somebody says otherwise. */
#define ADMIN_SOCKET_FOLDER "/run/ringrelay"
#define ADMIN_SOCKET_PATH ADMIN_SOCKET_FOLDER "/admin.sock"

enum {
    ADMIN_CLIENTS_MAX = 16,
    ADMIN_PLACES = 2 * ADMIN_CLIENTS_MAX,  // closing ones still have theirs
    ADMIN_OUT_SIZE = 64 * 1024,
    ADMIN_EVENTS_PER_PASS = 32,
    ADMIN_READ_TIMEOUT_S = 30,  // for a whole request
    ADMIN_SEND_TIMEOUT_S = 5,   // without progress
    ADMIN_HOLD_TIMEOUT_S = 30,  // for a whole answer
    ADMIN_WAIT_TIMEOUT_S = 60,  // for one's turn
    ADMIN_RECEIVE_BUFFERS = 32,  // of the office's ring
};

enum admin_state { ADMIN_FREE, ADMIN_READING, ADMIN_WAITING, ADMIN_WALKING, ADMIN_ANSWERING, ADMIN_CLOSING };

struct admin_client {
    struct ring_socket socket;
    enum admin_state state;
    bool is_receiving;
    bool is_last_answer;   // then close
    uint64_t deadline_ns;  // of the state
    uint64_t hold_until_ns;
    uint64_t turn;  // READING: when it was last served; WAITING: when it asked. Counts, not times
    struct admin_query query;
    bool is_walking;         // the rest of its list is still to be written
    struct admin_walk walk;
    uint32_t in_size;
    uint32_t out_size, out_sent;
    char in[ADMIN_REQUEST_MAX];
    char out[ADMIN_OUT_SIZE];
};

struct admin_options {
    int listen_fd;
    bool is_on;
};

struct admin_links {
    struct ring *ring;        // the office's
    struct lane *to_control;  // lane: we produce
    struct lane *to_front;    // lane: we produce, and the office
    struct ring *control_ring;
    struct ring *front_ring;
};

struct admin {
    struct admin_links links;
    struct admin_facts facts;
    struct ring_socket listener;
    bool is_listening;
    uint64_t accept_again_ns;  // after running out of file descriptors
    uint64_t now_ns;
    uint64_t turns;
    struct dump dump;
    bool is_dump_away;            // control or a worker has it
    uint64_t dump_begun_ns;
    struct admin_client *holder;  // whose answer the dump is for
    uint64_t front_turn;          // 0: the front has not asked for one
    bool is_front_holder;         // the dump is for the front
    uint32_t *order;              // the holder's rows
    uint32_t order_count, order_next;
    struct admin_http http;  // scratch
    struct admin_client clients[ADMIN_PLACES];
};

size_t admin_footprint(const struct limits *limits);

/* `a` is zeroed by the caller and too large for a stack; `facts` is copied, but for what it points to. */
void admin_init(struct admin *a, struct arena *arena, const struct admin_options *options,
                const struct admin_links *links, const struct admin_facts *facts);

/* One pass: `event` for each that the office has reaped, admin_step at the end. Returns until when there is nothing to
 * do unless something happens. */
void admin_on_event(struct admin *a, const struct ring_event *event, uint64_t now_ns);
must_use uint64_t admin_step(struct admin *a, uint64_t now_ns);

/* The dump is back from a worker, or from the front. */
void admin_on_dump(struct admin *a, uint64_t now_ns);
void admin_on_front_dump(struct admin *a, uint64_t now_ns);

/* The front wants a dump, too: its turn comes as everybody's. */
void admin_on_front_asks(struct admin *a);
