/* binder.h - endpoints from the request to the first packet: many at one time, each with two clients of our own.
 *
 *     asked -> binding -> trying -> bound
 *
 * What it is: the client's half of docs/udp-relay.md for both clients of an endpoint. Both send Bind and answer the
 * challenge; there is no acknowledgement, so both send a packet right behind the answer, as Tailscale's clients do, and
 * the endpoint is bound when one of them has come: that of the client who was bound last does, however many threads the
 * relay has. What does not come within 300 ms is sent again, six times at most; when both trying packets are lost, the
 * handshakes are made anew with the next generation.
 *
 *     binder_open(&b, &options);
 *     binder_own(&b, n) / binder_shared(&b, n, sockets);        // who has which sockets and keys
 *     while (...) { if (binder_may_start(&b)) binder_start(&b, idx); binder_turn(&b, wait_ns); }
 *
 * Model: the clients of shared endpoints are few and each has many peers, as nodes have: m keys on either side make m*m
 * pairs. A VNI leads to its endpoint by a hash table.
 * Each challenge is judged: size, header, sender, box, VNI, generation, the other client's key, the socket it came to.
 * A wrong one is a failure of the run.
 *
 * Threads: one. Memory: about 100 bytes per endpoint, in binder_open. Errors: swarm->is_failed; an endpoint that is
 * refused or never bound is told to on_failed.
 */
#pragma once

#include "core/rng.h"
#include "perf/udpload/asker.h"
#include "perf/udpload/options.h"
#include "perf/udpload/swarm.h"

/* A client: its keys. */
struct party {
    struct disco_private ours;
    struct disco_key key;
    struct box_key shared;  // with the relay
    bool has_shared;
};

enum endpoint_state { ENDPOINT_NEW, ENDPOINT_ASKED, ENDPOINT_BINDING, ENDPOINT_TRYING, ENDPOINT_BOUND };

struct endpoint {
    uint32_t vni;
    uint32_t parties[2];
    uint32_t wires[2];
    uint32_t generation;
    uint8_t state;
    uint8_t answered;  // a bit for each client
    uint8_t attempts;
    uint64_t begun_ns;
    uint64_t acted_ns;  // asked or sent the last time
};

struct binder_options {
    struct swarm *swarm;
    struct asker *asker;
    int family;  // enum load_family
    uint32_t at_once;
    uint32_t endpoints_max;
    uint32_t parties_max;
    void (*on_bound)(void *owner, uint32_t idx);   // may be NULL
    void (*on_failed)(void *owner, uint32_t idx);  // NULL: the run fails; otherwise binder.why says why
    void *owner;
};

struct binder {
    struct binder_options options;
    struct rng rng;
    struct endpoint *endpoints;
    uint32_t count;  // that have sockets and keys
    struct party *parties;
    uint32_t parties_count;
    uint32_t *vnis;  // hash table of endpoints + 1
    uint32_t vnis_mask;
    uint32_t *under_way;  // endpoints, options.at_once at most
    uint32_t under_way_count;
    uint32_t *queue;  // of those that wait for a line, in a circle
    uint32_t queue_first, queue_count;
    unsigned lines_count;
    uint32_t lines[ASKER_LINES_MAX];  // the endpoint that is asked for
    struct disco_key server;
    struct net_address relay;
    bool has_relay;
    uint64_t secret;  // of trying packets
    uint64_t next_scan_ns;
    uint64_t bound;
    char why[CHANNEL_WHY_MAX];
};

/* False: swarm->why. binder_close is to be called in either case. */
must_use bool binder_open(struct binder *b, const struct binder_options *options);
void binder_close(struct binder *b);

/* The sockets that so many endpoints need, and the keys. */
static inline uint32_t binder_own_wires(uint32_t count) { return 2 * count; }
uint32_t binder_shared_parties(uint32_t count);

/* The next endpoints: each client has a socket and a key of its own. */
void binder_own(struct binder *b, uint32_t count);

/* The next endpoints: on so many pairs of sockets. */
void binder_shared(struct binder *b, uint32_t count, uint32_t sockets);

static inline bool binder_may_start(const struct binder *b) { return b->under_way_count < b->options.at_once; }
void binder_start(struct binder *b, uint32_t idx);

/* Asks, sends again what is overdue, waits, handles what has come. */
void binder_turn(struct binder *b, uint64_t wait_ns);

/* All of [from, to); each has to succeed. */
must_use bool binder_run(struct binder *b, uint32_t from, uint32_t to);

/* Handles a datagram of a handshake, or a trying packet. False: it is none. A wrong one fails the run. */
bool binder_take(struct binder *b, struct wire *w, uint8_t *bytes, size_t size);
