/* node.h - the relay's own node: a DERP client of this very daemon, which answers requests for endpoints.
 *
 * Tailscale's clients ask a relay that is a peer of theirs: they send it a disco message through its home DERP. For a
 * relay that runs without a VPN node beside it, the control plane lists this node as such a peer (docs/udp-relay.md,
 * "Asking over DERP"); its home is the DERP server that it lives in.
 *
 *     client --DERP--> worker ==TCP over 127.0.0.1==> node, in the front's thread --> node_desk --> allocator
 *
 * Why a connection and no short cut: so presence, routing (also from other relays of a mesh), fairness, queues and
 * limits hold for the node as for any client. A flood at it costs what a flood at a client costs: the worker's queue
 * for it is bounded, and shared fairly between senders.
 *
 * The connection is made by the node itself, to a listener on 127.0.0.1 that stays open; both ends are ours. What the
 * listener accepts is compared with the address of our own end, and anybody else is closed. The accepted end goes to
 * the front as one of DOOR_NODE: in the clear also when the daemon speaks TLS, and exempt from the accept limit.
 *
 *     DOWN --due--> GREETING --ServerKey--> LOGIN --ServerInfo--> UP
 *      ^               |                      |                    |
 *      `--RING_CLOSED--+------ CLOSING <------+--------------------'  end, error, nonsense, or silence
 *
 * It comes back after a second, and later ones take twice as long as the one before, up to half a minute. The first
 * connection is made at boot, so that a host where this cannot be is told of at once.
 *
 * Bounds: NODE_READ_SIZE bytes are read in a pass of the front, so that logins go on whatever is sent here; answers
 * wait in NODE_OUT_SIZE bytes, and a request for whose answer there is no room is dropped and counted.
 *
 * Threads: the front's, after node_init. Memory: node_footprint, from the front's arena; frames larger than
 * NODE_FRAME_MAX that do not come in one piece are discarded, no request is that long. Errors: a line in the log.
 * Not here: who may ask (node_desk.h), keys on disk (nodekeys.h).
 */
#pragma once

#include "core/arena.h"
#include "core/limits.h"
#include "core/ring.h"
#include "proto/derp_stream.h"
#include "relay/node_desk.h"

/* Of its sockets. No session has it: no pool has so many slots. */
#define NODE_HANDLE UINT64_MAX

/* What it is called in ClientInfo, for watchers. */
#define NODE_APP_NAME "ringrelay-node"

#define NODE_WHY_MAX 512

enum {
    NODE_READ_SIZE = 8 * 1024,
    NODE_OUT_SIZE = 16 * 1024,
    NODE_FRAME_MAX = 2 * 1024,
    NODE_LOGIN_TIMEOUT_S = 10,
    NODE_SILENCE_S = 150,  // a server says something every minute
    NODE_PAUSE_MIN_S = 1,
    NODE_PAUSE_MAX_S = 30,
};

enum node_state { NODE_DOWN, NODE_GREETING, NODE_LOGIN, NODE_UP, NODE_CLOSING };

struct node_options {
    bool is_on;
    int listen_fd;                 // on 127.0.0.1, of nobody's use but ours
    struct net_address listening;  // where that is
    int fd;                        // the first connection, made to it
    struct net_address local;      // whose own address this is
    struct node_desk_options desk;
};

struct node {
    struct ring *ring;
    struct rng *rng;
    struct metrics *metrics;
    struct node_options options;
    struct node_key server;  // the daemon's
    struct node_desk desk;
    uint64_t now_ns;
    struct ring_socket listener;
    struct ring_socket socket;
    struct net_address local;
    enum node_state state;
    bool is_met;       // the other end of the connection has been accepted
    bool is_sending;
    bool is_listening;
    uint64_t due_ns;   // DOWN: when to try; else when to give up
    uint64_t pause_ns; // before the next try
    struct log_limit lost_log;
    struct derp_stream stream;
    struct box_key shared;  // of the login
    uint32_t out_size;
    uint8_t out[NODE_OUT_SIZE];  // a send under way is at the begin
    uint8_t space[NODE_FRAME_MAX];
};

size_t node_footprint(void);

/* `options` has the sockets of node_open; fds, keys and the list are the node's from here on. Its end of the first
 * connection says what it has to as soon as node_step is called. */
struct node *node_make(struct arena *arena, const struct node_options *options, const struct node_key *server,
                       struct allocator *allocator, struct ring *ring, struct metrics *metrics, struct rng *rng,
                       uint64_t now_ns);

/* After its thread has ended. NULL is fine. */
void node_fini(struct node *n);

/* One of its sockets' events (handle NODE_HANDLE). Returns an fd that is the front's from then on, the server's end of
 * a new connection; or -1. */
must_use int node_on_event(struct node *n, const struct ring_event *event, uint64_t now_ns);

/* Each pass. Returns when there is something to do again. */
must_use uint64_t node_step(struct node *n, uint64_t now_ns);

/* Boot thread: the listener and the first connection. False with a sentence in `why` (NODE_WHY_MAX bytes). */
must_use bool node_open(struct node_options *options, char *why);
