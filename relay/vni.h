/* vni.h - the endpoints of the UDP relay: who may send to whom under which number.
 *
 * An endpoint joins two clients, known by their disco keys, under a VNI of 24 bits that every packet carries. It is
 * allocated for a sorted pair of keys, each client binds its address by a handshake, and then packets go from one bound
 * address to the other. Everything about that is here but sockets, boxes and bytes: values in, values out.
 *
 *     allocated --- leg 0 bound, leg 1 bound ---> open
 *         |  30 s after it was last promised        |  either leg silent for 5 min
 *         +-----------------> gone <----------------+
 *
 * Slots: there is an array of them, a power of two. The low bits of a VNI are the number of its slot, so a packet
 * finds its endpoint without any index: one cache line for VNI and both addresses. Which free slot comes next is
 * drawn, from at least 512 and a quarter more than are in use (slots that were never used cost no memory); the high
 * bits go through all their values in an order of the slot's own that depends on a secret. So a VNI is hard to guess
 * and comes back after at least 16 other lives of its slot. `life` is the Lamport id and the VNI in one word: it names
 * one endpoint for ever, and is what everybody compares who has come by a slot without a lock.
 *
 * Threads. One owner (who allocates, expires, releases: control or the office) and any number of workers.
 *   owner    vni_find, vni_allocate, vni_release, vni_expire, and the switches
 *   workers  vni_far_end and vni_count for packets, vni_sender and vni_handshake for control messages
 *   anybody  vni_list, vni_state, vni_open_count
 * Where the handshake runs: on the worker whose socket got the message, at once, between the packets before and behind
 * it. A client sends its Answer and then a Ping on the same 5-tuple and repeats neither, so the Answer has to be done
 * when the Ping is looked up. The kernel gives one 5-tuple to one socket, one worker reads a socket in order, and when
 * vni_handshake has said BOUND, vni_far_end of every worker knows it: nothing is mailed, nothing comes later. Workers
 * never wait for the owner, and need nothing of it: the curve multiplications are made before vni_allocate, by whoever
 * calls it, and what a handshake needs (shared keys, the secret of challenges) lies here for reading.
 *
 * Sharing class: published, with a named writer per field (relay/vni_endpoint.h).
 *   - Slots are never another kind of memory. What does not change in an endpoint's life is written by the owner before
 *     `life` and read by anybody between two looks at `life`.
 *   - The pair of bound addresses is a seqlock: readers take a whole pair or look again; they write nothing.
 *   - Whoever changes a binding or the state of a handshake holds the endpoint's lock, one word, for some ten
 *     instructions. Who finds it taken looks again, then offers his processor to the holder, who must have been put
 *     aside, and gives up after 1100 looks (0.3 ms at least): a worker then drops the message as BUSY, the owner comes
 *     back later. Packets do not need the lock, and wait for a pair that is being written in the same way.
 *   - Counters stand on a line per leg. In the steady state one worker writes it, so adding is cheap though atomic.
 *
 * The challenge is a keyed BLAKE2b over the period of two minutes, VNI, generation, RemoteKey and source. The period
 * being in it is what rotates the secret: a challenge is good in its period and in the next (2 to 4 minutes), without
 * any state to rotate or to share, and also when nobody has sent anything for an hour.
 *
 * What was promised is kept. Each time an endpoint is handed out it will live for the 30 s that are said (and 5 s for
 * the way), also an open one with a leg that is almost silent too long. One that is not open is handed out again while
 * a third of its first 30 s is left; after that the pair gets a new one with a higher Lamport id, and the old one ends
 * its time under its VNI: a handshake that runs is never cut off by an allocation.
 *
 * Beyond the reference: an Answer is taken once (its nonce is remembered, the last three of each leg), so a recorded
 * Bind and Answer can not bind a leg back to where it was. Pairs with a zero key or two equal keys are refused, points
 * of low order by whoever derives the shared keys.
 *
 * Memory: 448 bytes per slot and two index words, 912 bytes per endpoint at worst (when endpoints_max is just above a
 * power of two); from an arena, at init. Errors: refusals and drops with a reason of relay/reason.h.
 * Not here: quotas per requester (`tag` is for them), addresses of the server, boxes, Geneve, sockets.
 */
#pragma once

#include <stdatomic.h>

#include "core/arena.h"
#include "core/base.h"
#include "core/rng.h"
#include "core/sys.h"
#include "core/wheel.h"
#include "proto/disco.h"
#include "relay/reason.h"

enum {
    VNI_ENDPOINTS_MAX = 1 << 20,  // four bits of the VNI are left to choose then
    VNI_BIND_S = 30,
    VNI_STEADY_S = 5 * 60,
    VNI_CHALLENGE_PERIOD_S = 2 * 60,
    VNI_SHARED_KEY_SIZE = 32,
    VNI_CHALLENGE_SIZE = 32,
};

/* Where datagrams come from and go to. IPv4 is v4-mapped. */
struct vni_address {
    uint8_t ip[16];
    uint16_t port;   // host order; 0: not bound
    uint16_t local;  // by which address of this host: a number of the caller's (relay/udp_locals.h); 0: any
    uint32_t scope;  // the interface of a link-local address, else 0
};

/* The same place, by whichever of our addresses. */
static inline bool vni_address_equal(const struct vni_address *a, const struct vni_address *b) {
    uint64_t x[2], y[2];
    memcpy(x, a->ip, sizeof(x));
    memcpy(y, b->ip, sizeof(y));
    return x[0] == y[0] && x[1] == y[1] && a->port == b->port && a->scope == b->scope;
}

static inline struct vni_address vni_address_make(const struct net_address *from, uint32_t scope) {
    struct vni_address address = {.port = from->port, .scope = scope};
    memcpy(address.ip, from->ip, sizeof(address.ip));
    return address;
}

struct vni_endpoint;

struct vni_options {
    uint32_t endpoints_max;       // 1 to VNI_ENDPOINTS_MAX
    uint32_t unbound_max;         // of those, endpoints that are not open; 0: as many
    struct disco_key server;      // who is no client
    uint64_t bind_lifetime_ns;    // 0: 30 s
    uint64_t steady_lifetime_ns;  // 0: 5 min
};

struct vni_table {
    /* frozen */
    struct vni_endpoint *slots;
    uint32_t slot_mask;
    uint32_t slot_bits;
    struct vni_options options;
    uint8_t challenge_secret[32];
    /* the owner's */
    cache_aligned struct wheel wheel;
    struct rng *rng;
    uint32_t *buckets;     // pairs, hashed: slot + 1, or 0
    uint32_t *free_slots;  // of those that were opened; in no order
    uint32_t opened_count;  // slots that may have been used
    uint32_t free_count;
    uint32_t used_count;
    uint64_t lamport;  // the last one given
    bool is_ready;
    bool is_closed;
    uint8_t pair_secret[16];
    uint8_t vni_secret[16];
    /* published; written by whoever opens an endpoint, and by the owner */
    cache_aligned _Atomic uint32_t open_count;
};

size_t vni_footprint(uint32_t endpoints_max);

/* `rng` is the owner's and stays in use. The table does not move afterwards. Not ready at first. */
void vni_init(struct vni_table *table, struct arena *arena, const struct vni_options *options, struct rng *rng,
              uint64_t now_ns);

/* ---- the owner: allocation ---- */

/* Whether there is an address to tell clients. While not, allocation is refused as NOT_READY (retry after 3 s). */
void vni_set_ready(struct vni_table *table, bool is_ready);

/* From here on allocation is refused. Packets of open endpoints go on. */
void vni_close(struct vni_table *table);

struct vni_request {
    struct disco_key clients[2];                     // in any order
    uint8_t shared_keys[2][VNI_SHARED_KEY_SIZE];     // of clients[i] and the server; not looked at by vni_find
    uint64_t tag;                                    // the caller's, for instance who asked
};

struct vni_offer {
    enum udp_refuse_reason reason;  // of REFUSED
    bool is_open;
    uint32_t vni;
    uint64_t lamport;
    struct disco_key clients[2];  // sorted
    uint64_t bind_lifetime_ns;
    uint64_t steady_lifetime_ns;
};

enum vni_allocation {
    VNI_EXISTING,  // *ret is what the pair has: from now on it is promised anew
    VNI_NEW,  // vni_find: there is none, derive the shared keys and call vni_allocate. vni_allocate: *ret is new
    VNI_REFUSED,  // ret->reason
};

/* Everything that can be said before the shared keys are known. */
must_use enum vni_allocation vni_find(struct vni_table *table, const struct vni_request *request, uint64_t now_ns,
                                      struct vni_offer *ret);

/* As vni_find, but what is not there is made. */
must_use enum vni_allocation vni_allocate(struct vni_table *table, const struct vni_request *request, uint64_t now_ns,
                                          struct vni_offer *ret);

/* ---- the owner: the end ---- */

/* An endpoint that is no more. */
struct vni_gone {
    uint32_t vni;
    bool was_open;
    uint64_t lamport;
    uint64_t tag;  // of the request that made it
};

/* Takes one endpoint whose time is over. Call until it says false: there are no more, or many were looked at that live
 * on; then vni_next_expiry_ns is not in the future. */
must_use bool vni_expire(struct vni_table *table, uint64_t now_ns, struct vni_gone *ret);

/* When vni_expire may have something, as wheel_next_ns. */
uint64_t vni_next_expiry_ns(const struct vni_table *table);

/* Ends an endpoint now, for an operator. False when there is none, or (rarely) when it is busy: ask again then. */
must_use bool vni_release(struct vni_table *table, uint32_t vni, struct vni_gone *ret);

/* Endpoints that are allocated, open ones among them. */
static inline uint32_t vni_used_count(const struct vni_table *table) { return table->used_count; }

/* ---- workers: packets (O = 0) ---- */

/* Where a packet goes, and whom it is counted for. Good for the pass in which it was looked up. */
struct vni_hop {
    struct vni_address to;
    enum udp_drop_reason reason;  // when there is no way
    uint8_t leg;  // who sent it: 0 or 1
    uint64_t life;
    struct vni_endpoint *endpoint;
};

/* The way of packets with this VNI from `source`. False, with a reason: VNI_UNKNOWN, NOT_OPEN, NOT_BOUND, BUSY. */
must_use bool vni_far_end(const struct vni_table *table, uint32_t vni, const struct vni_address *source,
                          struct vni_hop *ret);

/* Counts what goes that way, and that its sender is alive. `bytes` are whole UDP payloads, Geneve headers included.
 * Once for a run of packets. */
void vni_count(const struct vni_hop *hop, uint64_t packets, uint64_t bytes, uint64_t now_ns);

/* ---- workers: control messages (O = 1) ---- */

/* Who sent a control message, found by what anybody can read of it. The caller wipes it after use. */
struct vni_sender {
    enum udp_drop_reason reason;
    uint8_t leg;
    uint32_t vni;
    uint64_t life;
    struct vni_endpoint *endpoint;
    struct disco_key remote;                     // the other client
    uint8_t shared_key[VNI_SHARED_KEY_SIZE];     // opens the message, seals the answer
};

/* False, with a reason, when the VNI is unknown or `client` is neither of its clients. */
must_use bool vni_sender(const struct vni_table *table, uint32_t vni, const struct disco_key *client,
                         struct vni_sender *ret);

enum vni_event_kind { VNI_BIND, VNI_ANSWER, VNI_OTHER };

/* A message that was in a box of the sender's. */
struct vni_event {
    enum vni_event_kind kind;
    uint32_t vni;  // the body's
    uint32_t generation;
    struct disco_key remote;
    uint8_t challenge[VNI_CHALLENGE_SIZE];  // of an ANSWER
    struct vni_address source;
    uint64_t nonce_mark;  // first 8 bytes of the box's nonce: tells Answers apart; 0: do not
};

enum vni_action {
    VNI_DROP,       // nothing to do; reason
    VNI_CHALLENGE,  // send `challenge` to the source, with the event's VNI, generation and remote
    VNI_BOUND,      // the leg is bound to the source; no answer
};

struct vni_outcome {
    enum udp_drop_reason reason;
    bool has_opened;  // BOUND, and by this the endpoint has become open
    uint8_t challenge[VNI_CHALLENGE_SIZE];
};

/* The rules of the handshake. When it returns, what it has done is true for every worker. */
must_use enum vni_action vni_handshake(struct vni_table *table, const struct vni_sender *sender,
                                       const struct vni_event *event, uint64_t now_ns, struct vni_outcome *ret);

/* ---- anybody ---- */

enum vni_state { VNI_ABSENT, VNI_CONNECTING, VNI_OPEN };

enum vni_state vni_state(const struct vni_table *table, uint32_t vni);

struct vni_info {
    uint32_t vni;
    bool is_open;
    uint64_t lamport;
    struct {
        struct disco_key key;
        struct vni_address address;  // port 0: never bound
        uint64_t packets;            // that it sent and that went on
        uint64_t bytes;
        uint64_t last_seen_ns;  // 0: never
    } clients[2];
};

/* The next endpoint at or behind *cursor, which starts at 0 and moves on; false at the end. Costs a cache line for each
 * slot; endpoints that come and go meanwhile may be missing. */
must_use bool vni_list(const struct vni_table *table, uint32_t *cursor, struct vni_info *ret);

/* The same, up to the slot `end`, for walks in pieces: when it says false, *cursor is there, or at the end of all. */
must_use bool vni_list_until(const struct vni_table *table, uint32_t *cursor, uint32_t end, struct vni_info *ret);

static inline uint32_t vni_slots(const struct vni_table *table) { return table->slot_mask + 1; }

static inline uint32_t vni_open_count(const struct vni_table *table) {
    return atomic_load_explicit(&table->open_count, memory_order_relaxed);
}
