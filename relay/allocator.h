/* allocator.h - who gets an endpoint of the UDP relay, and what he is told: keys, quotas, rates, addresses.
 *
& to them but not to packets: the relay's
 * disco key, which is made anew at each start; who has asked how often and holds how many; the addresses that clients
 * are told.
 *
 *     front: POST /v0/relay/endpoint --+
 *     office: the same, admin socket --+--> allocator_allocate --> vni table --> UDP workers (read only)
 *     front: the virtual node, DERP ---+
 *
 * Why a mutex and no thread of its own: a request takes a microsecond but for two multiplications of the curve (80 us),
 * and those are made outside, by the thread that asks and on its account. What the mutex covers is a few hundred
 * instructions; packets and handshakes never take it.
 *
 * A request, in order: the requester's bucket (one token per request, whatever comes of it: nobody tries for free), its
 * quota, the endpoint that the pair has already, room in the table; then the curve; then the endpoint.
 *
 * Requesters are known by a hash of what they are (a node key, a token). There is a fixed number of places for them;
 * one without endpoints and with a full bucket is forgotten when its place is wanted: nothing is lost by that.
 *
 * Sharing class: published, under its mutex. Threads: any but UDP workers. Memory: allocator_footprint, from an arena,
 * at init. Errors: a refusal with a reason of relay/reason.h; each is counted in the metrics of the thread that asked.
 * Not here: who is let in (allow file, tokens), JSON, boxes, how addresses are found.
 */
#pragma once

#include <pthread.h>

#include "core/arena.h"
#include "core/rng.h"
#include "core/sys.h"
#include "proto/disco.h"
#include "relay/metrics.h"
#include "relay/vni.h"

enum {
    ALLOCATOR_ADDRESSES_MAX = 32,  // told to clients: each sends a Bind to every one
    ALLOCATOR_REQUESTERS = 4096,
    ALLOCATOR_RETRY_AFTER_S = 3,  // when NOT_READY, as the reference says
    ALLOCATOR_EXPIRE_MAX = 64,  // endpoints ended in one step
};

struct allocator_options {
    uint32_t endpoints_max;  // 1 to VNI_ENDPOINTS_MAX
    uint32_t unbound_max;    // 0: as many
    uint64_t bind_lifetime_ns;    // 0: 30 s
    uint64_t steady_lifetime_ns;  // 0: 5 min
};

/* What one requester may do. 0: no limit. */
struct allocator_limits {
    double requests_per_s;
    double burst;  // at once; at least 1 when there is a rate
    uint32_t endpoints_max;
};

enum { ALLOCATOR_BURST_S = 5 };  // so many seconds' worth of requests may come at once

/* `requests_per_s` and `endpoints_max`: 0: no limit. */
static inline struct allocator_limits allocator_limits_of(double requests_per_s, uint32_t endpoints_max) {
    return (struct allocator_limits){.requests_per_s = requests_per_s,
                                     .burst = max_of(requests_per_s * ALLOCATOR_BURST_S, 1.0),
                                     .endpoints_max = endpoints_max};
}

struct allocator_request {
    const void *requester;  // who asks: any bytes that tell one from another, such as a node key. NULL: trusted
    size_t requester_size;
    struct allocator_limits limits;  // of this requester; not looked at when trusted
    struct disco_key clients[2];     // in any order
};

struct allocator_answer {
    enum udp_refuse_reason reason;  // when refused
    uint32_t retry_after_s;         // when it makes sense to ask again; 0: it does not
    struct disco_key server;
    struct vni_offer offer;
    struct net_address addresses[ALLOCATOR_ADDRESSES_MAX];
    size_t addresses_count;
};

struct allocator;

size_t allocator_footprint(const struct allocator_options *options);

/* Makes the relay's disco key. `rng` is the allocator's from here on. No address is known at first. */
struct allocator *allocator_make(struct arena *arena, const struct allocator_options *options, struct rng *rng,
                                 uint64_t now_ns);

/* Wipes keys. NULL is fine. */
void allocator_fini(struct allocator *allocator);

/* For the UDP workers. */
struct vni_table *allocator_endpoints(struct allocator *allocator);

/* The relay's disco key, "ServerDisco". */
struct disco_key allocator_server(const struct allocator *allocator);

/* What clients are told from now on, in this order. At most ALLOCATOR_ADDRESSES_MAX; none: not ready. */
void allocator_set_addresses(struct allocator *allocator, const struct net_address *addresses, size_t count);

/* Copies what clients are told now. Returns how many. */
size_t allocator_addresses(struct allocator *allocator, struct net_address ret[ALLOCATOR_ADDRESSES_MAX]);

/* From here on nobody gets an endpoint; those that are there go on. */
void allocator_close(struct allocator *allocator);

/* The endpoint of the pair, existing or new; false when refused. *ret is filled either way. About 100 us when new,
 * 1 us else. */
must_use bool allocator_allocate(struct allocator *allocator, const struct allocator_request *request,
                                 struct metrics *metrics, uint64_t now_ns, struct allocator_answer *ret);

/* Counts a refusal that was decided elsewhere (NOT_ALLOWED, NOT_A_CLIENT, BAD_REQUEST). */
void allocator_count_refusal(struct metrics *metrics, enum udp_refuse_reason reason);

/* Ends an endpoint, for an operator. False when there is none with this VNI, or (rarely) when it is busy: ask again. */
must_use bool allocator_release(struct allocator *allocator, uint32_t vni, struct metrics *metrics);

/* Ends endpoints whose time is over, at most ALLOCATOR_EXPIRE_MAX. Returns when to call again. By one thread. */
must_use uint64_t allocator_step(struct allocator *allocator, struct metrics *metrics, uint64_t now_ns);

struct allocator_figures {
    uint32_t endpoints;  // allocated, open ones among them
    uint32_t open;
    uint32_t endpoints_max;
    uint32_t requesters;  // that hold endpoints
};

void allocator_figures_read(struct allocator *allocator, struct allocator_figures *ret);
