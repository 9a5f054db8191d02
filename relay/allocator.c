#include "relay/allocator.h"

#include <sodium.h>

#include "core/check.h"

/* Places one requester may have: a lookup reads that many. */
enum { PROBES = 16 };

_Static_assert((ALLOCATOR_REQUESTERS & (ALLOCATOR_REQUESTERS - 1)) == 0, "a mask");

struct requester {
    uint64_t tag;  // 0: nobody
    uint64_t filled_ns;  // when the bucket was last filled
    double tokens;
    double requests_per_s, burst;  // as they were at the last request: for judging whether the bucket is full
    uint32_t held;  // endpoints that are there
};

struct allocator {
    pthread_mutex_t mutex;
    struct disco_private server_private;  // frozen
    struct disco_key server;              // frozen
    uint8_t tag_secret[16];               // frozen
    /* under the mutex */
    struct vni_table endpoints;  // its owner's side
    struct rng *rng;
    uint64_t now_ns;  // the latest that anybody has said: their clocks are read at different times
    struct net_address addresses[ALLOCATOR_ADDRESSES_MAX];
    size_t addresses_count;
    struct requester requesters[ALLOCATOR_REQUESTERS];
};

size_t allocator_footprint(const struct allocator_options *options) {
    return arena_cost(sizeof(struct allocator)) + vni_footprint(options->endpoints_max);
}

struct allocator *allocator_make(struct arena *arena, const struct allocator_options *options, struct rng *rng,
                                 uint64_t now_ns) {
    struct allocator *a = arena_take(arena, sizeof(*a));
    memset(a, 0, sizeof(*a));
    CHECK(pthread_mutex_init(&a->mutex, NULL) == 0);
    disco_private_generate(rng, &a->server_private);
    disco_private_public(&a->server_private, &a->server);
    rng_bytes(rng, a->tag_secret, sizeof(a->tag_secret));
    a->rng = rng;
    a->now_ns = now_ns;
    struct vni_options vni = {.endpoints_max = options->endpoints_max,
                              .unbound_max = options->unbound_max,
                              .server = a->server,
                              .bind_lifetime_ns = options->bind_lifetime_ns,
                              .steady_lifetime_ns = options->steady_lifetime_ns};
    vni_init(&a->endpoints, arena, &vni, rng, now_ns);
    return a;
}

void allocator_fini(struct allocator *allocator) {
    if (allocator == NULL) return;
    disco_private_wipe(&allocator->server_private);
    sodium_memzero(allocator->tag_secret, sizeof(allocator->tag_secret));
    CHECK(pthread_mutex_destroy(&allocator->mutex) == 0);
}

struct vni_table *allocator_endpoints(struct allocator *allocator) { return &allocator->endpoints; }

struct disco_key allocator_server(const struct allocator *allocator) { return allocator->server; }

static void enter(struct allocator *a) { CHECK(pthread_mutex_lock(&a->mutex) == 0); }
static void leave(struct allocator *a) { CHECK(pthread_mutex_unlock(&a->mutex) == 0); }

/* ---- addresses ---- */

void allocator_set_addresses(struct allocator *allocator, const struct net_address *addresses, size_t count) {
    CHECK(count <= ALLOCATOR_ADDRESSES_MAX);
    enter(allocator);
    if (count > 0) memcpy(allocator->addresses, addresses, count * sizeof(*addresses));
    allocator->addresses_count = count;
    vni_set_ready(&allocator->endpoints, count > 0);
    leave(allocator);
}

static size_t copy_addresses(const struct allocator *a, struct net_address *to) {
    memcpy(to, a->addresses, a->addresses_count * sizeof(*to));
    return a->addresses_count;
}

size_t allocator_addresses(struct allocator *allocator, struct net_address ret[ALLOCATOR_ADDRESSES_MAX]) {
    enter(allocator);
    size_t count = copy_addresses(allocator, ret);
    leave(allocator);
    return count;
}

void allocator_close(struct allocator *allocator) {
    enter(allocator);
    vni_close(&allocator->endpoints);
    leave(allocator);
}

/* ---- requesters: with the mutex ---- */

static uint64_t tag_of(const struct allocator *a, const struct allocator_request *request) {
    uint64_t tag;
    crypto_shorthash((unsigned char *)&tag, request->requester, request->requester_size, a->tag_secret);
    return tag ? tag : 1;
}

static void fill(struct requester *r, uint64_t now_ns) {
    double tokens = r->tokens + r->requests_per_s * ((double)(now_ns - r->filled_ns) / (double)NS_PER_S);
    r->tokens = min_of(tokens, r->burst);
    r->filled_ns = now_ns;
}

/* Forgetting it gives nothing away. */
static bool is_idle(struct requester *r, uint64_t now_ns) {
    if (r->held > 0) return false;
    fill(r, now_ns);
    return r->tokens >= r->burst;
}

static struct requester *place_at(struct allocator *a, uint64_t tag, uint32_t nth) {
    return &a->requesters[(tag + nth) & (ALLOCATOR_REQUESTERS - 1)];
}

static struct requester *requester_find(struct allocator *a, uint64_t tag) {
    for (uint32_t i = 0; i < PROBES; i++) {
        if (place_at(a, tag, i)->tag == tag) return place_at(a, tag, i);
    }
    return NULL;
}

/* NULL: each place that it may have is somebody's who cannot be forgotten yet. */
static struct requester *requester_of(struct allocator *a, uint64_t tag, const struct allocator_limits *limits) {
    struct requester *r = requester_find(a, tag);
    for (uint32_t i = 0; r == NULL && i < PROBES; i++) {
        struct requester *place = place_at(a, tag, i);
        if (place->tag != 0 && !is_idle(place, a->now_ns)) continue;
        r = place;
        *r = (struct requester){.tag = tag, .tokens = limits->burst, .burst = limits->burst, .filled_ns = a->now_ns};
    }
    if (r == NULL) return NULL;
    fill(r, a->now_ns);
    r->requests_per_s = limits->requests_per_s;
    r->burst = limits->burst;
    return r;
}

/* Takes a token. UDP_REFUSE_REASON_COUNT: it may go on. */
static enum udp_refuse_reason judge_requester(struct allocator *a, const struct allocator_request *request,
                                              uint64_t tag) {
    struct requester *r = requester_of(a, tag, &request->limits);
    if (r == NULL) return UDP_REFUSE_REQUESTERS_FULL;
    if (request->limits.requests_per_s > 0) {
        if (r->tokens < 1) return UDP_REFUSE_RATE;
        r->tokens -= 1;
    }
    return UDP_REFUSE_REASON_COUNT;
}

/* Whether one more is too many: only for new endpoints. */
static bool has_quota_left(struct allocator *a, const struct allocator_request *request, uint64_t tag) {
    const struct requester *r = request->requester ? requester_find(a, tag) : NULL;
    uint32_t most = request->limits.endpoints_max;
    return r == NULL || most == 0 || r->held < most;
}

static void on_gone(struct allocator *a, const struct vni_gone *gone, struct metrics *metrics) {
    struct requester *r = gone->tag ? requester_find(a, gone->tag) : NULL;
    if (r != NULL && r->held > 0) r->held--;
    stat_add(&metrics->udp_endpoints_ended[gone->was_open], 1);
}

/* ---- allocation ---- */

static bool refuse(struct allocator_answer *ret, struct metrics *metrics, enum udp_refuse_reason reason) {
    ret->reason = reason;
    bool is_passing = reason == UDP_REFUSE_NOT_READY || reason == UDP_REFUSE_RATE || reason == UDP_REFUSE_FULL ||
                      reason == UDP_REFUSE_UNBOUND_FULL || reason == UDP_REFUSE_REQUESTERS_FULL ||
                      reason == UDP_REFUSE_QUOTA;
    ret->retry_after_s = is_passing ? ALLOCATOR_RETRY_AFTER_S : 0;
    allocator_count_refusal(metrics, reason);
    return false;
}

void allocator_count_refusal(struct metrics *metrics, enum udp_refuse_reason reason) {
    stat_add(&metrics->udp_refusals[reason], 1);
}

static enum vni_allocation first_look(struct allocator *a, const struct allocator_request *request,
                                      struct vni_request *vni, uint64_t now_ns, struct allocator_answer *ret) {
    enter(a);
    a->now_ns = max_of(a->now_ns, now_ns);
    enum udp_refuse_reason reason =
        vni->tag ? judge_requester(a, request, vni->tag) : (enum udp_refuse_reason)UDP_REFUSE_REASON_COUNT;
    enum vni_allocation found = VNI_REFUSED;
    if (reason == UDP_REFUSE_REASON_COUNT) {
        found = vni_find(&a->endpoints, vni, a->now_ns, &ret->offer);
        reason = ret->offer.reason;
    }
    if (found == VNI_NEW && !has_quota_left(a, request, vni->tag)) {
        found = VNI_REFUSED;
        reason = UDP_REFUSE_QUOTA;
    }
    ret->addresses_count = copy_addresses(a, ret->addresses);
    leave(a);
    ret->reason = reason;
    return found;
}

/* The quota is asked for again: the same requester may be served by two threads. */
static enum vni_allocation second_look(struct allocator *a, const struct allocator_request *request,
                                       const struct vni_request *vni, struct allocator_answer *ret) {
    enter(a);
    enum vni_allocation found = VNI_REFUSED;
    ret->reason = UDP_REFUSE_QUOTA;
    if (has_quota_left(a, request, vni->tag)) {
        found = vni_allocate(&a->endpoints, vni, a->now_ns, &ret->offer);
        ret->reason = ret->offer.reason;
    }
    /* why it may be found gone: it holds nothing, so others may have had its place meanwhile; then it counts anew */
    struct requester *r = found == VNI_NEW && vni->tag ? requester_of(a, vni->tag, &request->limits) : NULL;
    if (r != NULL) r->held++;
    if (found == VNI_NEW && vni->tag && r == NULL) {
        struct vni_gone gone;
        if (vni_release(&a->endpoints, ret->offer.vni, &gone)) found = VNI_REFUSED;
        ret->reason = UDP_REFUSE_REQUESTERS_FULL;
    }
    leave(a);
    return found;
}

/* The curve: 40 us each. False for points of low order. */
static bool share(const struct allocator *a, struct vni_request *vni) {
    _Static_assert(sizeof(struct box_key) == VNI_SHARED_KEY_SIZE, "keys of boxes");
    bool is_fine = true;
    for (int i = 0; i < 2; i++) {
        struct box_key shared;
        is_fine = disco_key_share(&shared, &vni->clients[i], &a->server_private) && is_fine;
        memcpy(vni->shared_keys[i], &shared, sizeof(shared));
        sodium_memzero(&shared, sizeof(shared));
    }
    return is_fine;
}

bool allocator_allocate(struct allocator *allocator, const struct allocator_request *request, struct metrics *metrics,
                        uint64_t now_ns, struct allocator_answer *ret) {
    struct vni_request vni = {.clients = {request->clients[0], request->clients[1]},
                              .tag = request->requester ? tag_of(allocator, request) : 0};
    *ret = (struct allocator_answer){.server = allocator->server};
    enum vni_allocation found = first_look(allocator, request, &vni, now_ns, ret);
    if (found == VNI_NEW && !share(allocator, &vni)) {
        found = VNI_REFUSED;
        ret->reason = UDP_REFUSE_WEAK_KEY;
    } else if (found == VNI_NEW) {
        found = second_look(allocator, request, &vni, ret);
    }
    sodium_memzero(vni.shared_keys, sizeof(vni.shared_keys));
    if (found == VNI_REFUSED) return refuse(ret, metrics, ret->reason);
    stat_add(&metrics->udp_allocations[found == VNI_NEW], 1);
    return true;
}

/* ---- the end ---- */

bool allocator_release(struct allocator *allocator, uint32_t vni, struct metrics *metrics) {
    struct vni_gone gone;
    enter(allocator);
    bool is_gone = vni_release(&allocator->endpoints, vni, &gone);
    if (is_gone) on_gone(allocator, &gone, metrics);
    leave(allocator);
    return is_gone;
}

uint64_t allocator_step(struct allocator *allocator, struct metrics *metrics, uint64_t now_ns) {
    struct vni_gone gone;
    enter(allocator);
    allocator->now_ns = max_of(allocator->now_ns, now_ns);
    int ended = 0;
    while (ended < ALLOCATOR_EXPIRE_MAX && vni_expire(&allocator->endpoints, allocator->now_ns, &gone)) {
        on_gone(allocator, &gone, metrics);
        ended++;
    }
    uint64_t next_ns = ended == ALLOCATOR_EXPIRE_MAX ? now_ns : vni_next_expiry_ns(&allocator->endpoints);
    leave(allocator);
    return next_ns;
}

void allocator_figures_read(struct allocator *allocator, struct allocator_figures *ret) {
    enter(allocator);
    *ret = (struct allocator_figures){.endpoints = vni_used_count(&allocator->endpoints),
                                      .open = vni_open_count(&allocator->endpoints),
                                      .endpoints_max = allocator->endpoints.options.endpoints_max};
    for (size_t i = 0; i < ALLOCATOR_REQUESTERS; i++) ret->requesters += allocator->requesters[i].held > 0;
    leave(allocator);
}
