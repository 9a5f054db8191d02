#include "relay/vni.h"

#include <sodium.h>

#include "core/check.h"
#include "relay/vni_endpoint.h"

enum { FREE_SLOTS_MIN = 512, SLOT_BITS_MIN = 4, SLOT_BITS_MAX = VNI_BITS - 4 };

/* Endpoints that live on, looked at in one call: others wait for the owner's lock meanwhile. */
enum { LOOKS_MAX = 64 };

_Static_assert(VNI_ENDPOINTS_MAX == 1 << SLOT_BITS_MAX, "four bits of a VNI are left");

/* ---- the table ---- */

static uint32_t slots_for(uint32_t endpoints_max) {
    CHECK(endpoints_max > 0 && endpoints_max <= VNI_ENDPOINTS_MAX);
    return (uint32_t)power_of_two_above(max_of(endpoints_max, (uint32_t)1 << SLOT_BITS_MIN));
}

size_t vni_footprint(uint32_t endpoints_max) {
    size_t slots = slots_for(endpoints_max);
    return arena_cost(slots * sizeof(struct vni_endpoint)) + 2 * arena_cost(slots * sizeof(uint32_t));
}

static void fill_in(struct vni_options *options) {
    if (options->unbound_max == 0) options->unbound_max = options->endpoints_max;
    if (options->bind_lifetime_ns == 0) options->bind_lifetime_ns = VNI_BIND_S * NS_PER_S;
    if (options->steady_lifetime_ns == 0) options->steady_lifetime_ns = VNI_STEADY_S * NS_PER_S;
}

void vni_init(struct vni_table *table, struct arena *arena, const struct vni_options *options, struct rng *rng,
              uint64_t now_ns) {
    uint32_t slots = slots_for(options->endpoints_max);
    *table = (struct vni_table){.options = *options, .rng = rng, .slot_mask = slots - 1};
    fill_in(&table->options);
    table->slot_bits = (uint32_t)__builtin_ctz(slots);
    rng_bytes(rng, table->challenge_secret, sizeof(table->challenge_secret));
    rng_bytes(rng, table->pair_secret, sizeof(table->pair_secret));
    rng_bytes(rng, table->vni_secret, sizeof(table->vni_secret));
    wheel_init(&table->wheel, now_ns);
    table->slots = arena_take(arena, (size_t)slots * sizeof(*table->slots));
    table->buckets = arena_take(arena, (size_t)slots * sizeof(*table->buckets));
    table->free_slots = arena_take(arena, (size_t)slots * sizeof(*table->free_slots));
}

void vni_set_ready(struct vni_table *table, bool is_ready) { table->is_ready = is_ready; }

void vni_close(struct vni_table *table) { table->is_closed = true; }

static uint32_t slot_of(const struct vni_table *table, const struct vni_endpoint *endpoint) {
    return (uint32_t)(endpoint - table->slots);
}

/* ---- VNIs ---- */

static uint64_t hash_of(const void *bytes, size_t size, const uint8_t secret[16]) {
    uint64_t hash;
    _Static_assert(crypto_shorthash_BYTES == sizeof(hash), "SipHash gives 64 bits");
    _Static_assert(crypto_shorthash_KEYBYTES == sizeof(((struct vni_table *)NULL)->pair_secret), "of 128 bits of key");
    crypto_shorthash((unsigned char *)&hash, bytes, size, secret);
    return hash;
}

/* The high bits of a slot's VNI in its nth life: a permutation of their values, one for each slot. Every step can be
 * undone within `bits` bits: adding, multiplying by an odd number, and xor with what was shifted down. */
static uint32_t high_bits_of(uint64_t key, uint32_t nth, uint32_t bits) {
    uint32_t mask = ((uint32_t)1 << bits) - 1;
    uint64_t x = nth & mask;
    for (int round = 0; round < 3; round++) {
        x = (x * (key | 1) + (key >> 32)) & mask;
        x ^= x >> ((bits + 1) / 2);
        key = key << 21 | key >> 43;
    }
    return (uint32_t)x;
}

static uint32_t next_vni(struct vni_table *table, uint32_t slot) {
    struct vni_endpoint *endpoint = &table->slots[slot];
    uint64_t key = hash_of(&slot, sizeof(slot), table->vni_secret);
    uint32_t vni;
    do {
        uint32_t high = high_bits_of(key, endpoint->lives++, VNI_BITS - table->slot_bits);
        vni = high << table->slot_bits | slot;
    } while (vni == 0);
    return vni;
}

/* As many to draw from as make a VNI hard to guess and keep endpoints close together: a slot that was never used costs
 * no memory yet. */
static void open_slots(struct vni_table *table) {
    uint32_t wanted = max_of((uint32_t)FREE_SLOTS_MIN, table->used_count / 4);
    while (table->free_count < wanted && table->opened_count <= table->slot_mask) {
        table->free_slots[table->free_count++] = table->opened_count++;
    }
}

/* There is one: the caller has counted. */
static uint32_t take_free_slot(struct vni_table *table) {
    open_slots(table);
    CHECK(table->free_count > 0);
    uint32_t at = (uint32_t)rng_below(table->rng, table->free_count);
    uint32_t slot = table->free_slots[at];
    table->free_slots[at] = table->free_slots[--table->free_count];
    return slot;
}

/* ---- pairs: the owner's ---- */

static uint32_t *bucket_of(struct vni_table *table, const struct disco_key pair[2]) {
    return &table->buckets[hash_of(pair, 2 * sizeof(pair[0]), table->pair_secret) & table->slot_mask];
}

static void keys_of(const struct vni_endpoint *endpoint, struct disco_key ret[2]) {
    for (int i = 0; i < 2; i++) vni_key_load(endpoint->keys[i], &ret[i]);
}

static struct vni_endpoint *pair_find(struct vni_table *table, const struct disco_key pair[2]) {
    struct disco_key keys[2];
    for (uint32_t at = *bucket_of(table, pair); at != 0; at = table->slots[at - 1].pair_next) {
        keys_of(&table->slots[at - 1], keys);
        if (memcmp(keys, pair, sizeof(keys)) == 0) return &table->slots[at - 1];
    }
    return NULL;
}

static void pair_add(struct vni_table *table, const struct disco_key pair[2], struct vni_endpoint *endpoint) {
    uint32_t *bucket = bucket_of(table, pair);
    endpoint->pair_next = *bucket;
    *bucket = slot_of(table, endpoint) + 1;
}

static void pair_remove(struct vni_table *table, struct vni_endpoint *endpoint) {
    struct disco_key keys[2];
    keys_of(endpoint, keys);
    uint32_t *at = bucket_of(table, keys);
    while (*at != slot_of(table, endpoint) + 1) {
        CHECK(*at != 0);
        at = &table->slots[*at - 1].pair_next;
    }
    *at = endpoint->pair_next;
}

/* ---- lifetimes ---- */

static bool is_open(const struct vni_endpoint *endpoint) {
    struct vni_address pair[2];
    return !vni_pair_load(endpoint, pair) || vni_pair_is_open(pair);  // busy: a leg is being bound
}

/* The advertised time begins when the client hears of it: five seconds for the way, of thirty. */
static void promise(struct vni_table *table, struct vni_endpoint *endpoint, uint64_t now_ns) {
    uint64_t lifetime = table->options.bind_lifetime_ns;
    endpoint->promised_ns = max_of(endpoint->promised_ns, now_ns + lifetime + lifetime / 6);
}

/* Too old to be handed out again before it is open. */
static bool is_stale(const struct vni_table *table, const struct vni_endpoint *endpoint, uint64_t now_ns) {
    uint64_t lifetime = table->options.bind_lifetime_ns;
    return now_ns - endpoint->allocated_ns > lifetime - lifetime / 3 && !is_open(endpoint);
}

/* When the endpoint's time is over, as things stand. */
static uint64_t end_of(const struct vni_table *table, const struct vni_endpoint *endpoint) {
    if (!is_open(endpoint)) return endpoint->promised_ns;
    uint64_t seen[2];
    for (int i = 0; i < 2; i++) {
        seen[i] = atomic_load_explicit(&endpoint->legs[i].last_seen_ns, memory_order_relaxed);
    }
    return max_of(min_of(seen[0], seen[1]) + table->options.steady_lifetime_ns, endpoint->promised_ns);
}

/* ---- allocation ---- */

static enum vni_allocation refuse(struct vni_offer *ret, enum udp_refuse_reason reason) {
    *ret = (struct vni_offer){.reason = reason};
    return VNI_REFUSED;
}

/* What is wrong with the request whatever the table holds; UDP_REFUSE_REASON_COUNT: nothing. */
static enum udp_refuse_reason judge(const struct vni_table *table, const struct vni_request *request) {
    static const struct disco_key zero;
    const struct disco_key *a = &request->clients[0], *b = &request->clients[1];
    const struct disco_key *server = &table->options.server;
    if (table->is_closed) return UDP_REFUSE_CLOSED;
    if (!table->is_ready) return UDP_REFUSE_NOT_READY;
    if (disco_key_equal(a, &zero) || disco_key_equal(b, &zero)) return UDP_REFUSE_ZERO_KEY;
    if (disco_key_equal(a, server) || disco_key_equal(b, server)) return UDP_REFUSE_SERVER_KEY;
    if (disco_key_equal(a, b)) return UDP_REFUSE_EQUAL_KEYS;
    return UDP_REFUSE_REASON_COUNT;
}

/* Whether one more is too many. */
static enum udp_refuse_reason judge_room(const struct vni_table *table) {
    if (table->used_count >= table->options.endpoints_max) return UDP_REFUSE_FULL;
    if (table->used_count - vni_open_count(table) >= table->options.unbound_max) return UDP_REFUSE_UNBOUND_FULL;
    return UDP_REFUSE_REASON_COUNT;
}

/* The number of the request's client that goes first. */
static int first_of(const struct vni_request *request) {
    return memcmp(&request->clients[0], &request->clients[1], sizeof(request->clients[0])) > 0;
}

static void offer(const struct vni_table *table, const struct vni_endpoint *endpoint, struct vni_offer *ret) {
    uint64_t life = vni_life(endpoint);
    *ret = (struct vni_offer){.vni = vni_life_vni(life),
                              .lamport = vni_life_lamport(life),
                              .is_open = is_open(endpoint),
                              .bind_lifetime_ns = table->options.bind_lifetime_ns,
                              .steady_lifetime_ns = table->options.steady_lifetime_ns};
    keys_of(endpoint, ret->clients);
}

enum vni_allocation vni_find(struct vni_table *table, const struct vni_request *request, uint64_t now_ns,
                             struct vni_offer *ret) {
    enum udp_refuse_reason reason = judge(table, request);
    if (reason != UDP_REFUSE_REASON_COUNT) return refuse(ret, reason);
    int first = first_of(request);
    const struct disco_key pair[2] = {request->clients[first], request->clients[1 - first]};
    struct vni_endpoint *endpoint = pair_find(table, pair);
    if (endpoint != NULL && !is_stale(table, endpoint, now_ns)) {
        promise(table, endpoint, now_ns);
        offer(table, endpoint, ret);
        return VNI_EXISTING;
    }
    reason = judge_room(table);
    if (reason != UDP_REFUSE_REASON_COUNT) return refuse(ret, reason);
    *ret = (struct vni_offer){.clients = {pair[0], pair[1]}};
    return VNI_NEW;
}

/* Fills a free slot; its life, which comes last, shows it to everybody. */
static void make(struct vni_table *table, struct vni_endpoint *endpoint, const struct vni_request *request,
                 uint64_t now_ns) {
    int first = first_of(request);
    for (int i = 0; i < 2; i++) {
        vni_key_store(endpoint->keys[i], &request->clients[first ^ i]);
        vni_key_store(endpoint->shared_keys[i], request->shared_keys[first ^ i]);
        atomic_store_explicit(&endpoint->legs[i].packets, 0, memory_order_relaxed);
        atomic_store_explicit(&endpoint->legs[i].bytes, 0, memory_order_relaxed);
        atomic_store_explicit(&endpoint->legs[i].last_seen_ns, 0, memory_order_relaxed);
    }
    endpoint->is_replaced = false;
    endpoint->tag = request->tag;
    endpoint->allocated_ns = now_ns;
    endpoint->promised_ns = 0;
    promise(table, endpoint, now_ns);
    CHECK(++table->lamport < UINT64_C(1) << (64 - VNI_BITS));
    uint64_t life = vni_life_of(table->lamport, next_vni(table, slot_of(table, endpoint)));
    atomic_store_explicit(&endpoint->life, life, memory_order_release);
}

enum vni_allocation vni_allocate(struct vni_table *table, const struct vni_request *request, uint64_t now_ns,
                                 struct vni_offer *ret) {
    enum vni_allocation found = vni_find(table, request, now_ns, ret);
    if (found != VNI_NEW) return found;
    struct vni_endpoint *old = pair_find(table, ret->clients);
    if (old != NULL) {
        pair_remove(table, old);
        old->is_replaced = true;
    }
    struct vni_endpoint *endpoint = &table->slots[take_free_slot(table)];
    make(table, endpoint, request, now_ns);
    pair_add(table, ret->clients, endpoint);
    wheel_arm(&table->wheel, &endpoint->timer, endpoint->promised_ns);
    table->used_count++;
    offer(table, endpoint, ret);
    return VNI_NEW;
}

/* ---- the end ---- */

/* What workers may still look at. With the lock. */
static void clear(struct vni_endpoint *endpoint) {
    static const struct vni_address nowhere[2];
    static const struct disco_key zero;
    atomic_store_explicit(&endpoint->life, 0, memory_order_release);
    vni_pair_store(endpoint, nowhere);
    for (int i = 0; i < 2; i++) {
        vni_key_store(endpoint->keys[i], &zero);
        vni_key_store(endpoint->shared_keys[i], &zero);
        atomic_store_explicit(&endpoint->in_progress[i], 0, memory_order_relaxed);
    }
    memset(endpoint->answers, 0, sizeof(endpoint->answers));
}

/* With the lock, which it gives back. */
static void end(struct vni_table *table, struct vni_endpoint *endpoint, struct vni_gone *ret) {
    uint64_t life = vni_life(endpoint);
    *ret = (struct vni_gone){.vni = vni_life_vni(life),
                             .lamport = vni_life_lamport(life),
                             .was_open = is_open(endpoint),
                             .tag = endpoint->tag};
    if (!endpoint->is_replaced) pair_remove(table, endpoint);
    clear(endpoint);
    vni_unlock(endpoint);
    if (ret->was_open) atomic_fetch_sub_explicit(&table->open_count, 1, memory_order_relaxed);
    wheel_disarm(&table->wheel, &endpoint->timer);
    table->free_slots[table->free_count++] = slot_of(table, endpoint);
    table->used_count--;
}

bool vni_expire(struct vni_table *table, uint64_t now_ns, struct vni_gone *ret) {
    struct wheel_timer *timer;
    for (int i = 0; i < LOOKS_MAX && (timer = wheel_pop(&table->wheel, now_ns)) != NULL; i++) {
        struct vni_endpoint *endpoint = container_of(timer, struct vni_endpoint, timer);
        if (!vni_lock(endpoint)) {
            wheel_arm(&table->wheel, timer, now_ns + 10 * NS_PER_MS);
            continue;
        }
        uint64_t end_ns = end_of(table, endpoint);
        if (end_ns <= now_ns) {
            end(table, endpoint, ret);
            return true;
        }
        vni_unlock(endpoint);
        wheel_arm(&table->wheel, timer, end_ns);
    }
    return false;
}

uint64_t vni_next_expiry_ns(const struct vni_table *table) { return wheel_next_ns(&table->wheel); }

bool vni_release(struct vni_table *table, uint32_t vni, struct vni_gone *ret) {
    uint64_t life;
    struct vni_endpoint *endpoint = vni_lookup(table, vni, &life);
    if (endpoint == NULL || !vni_lock(endpoint)) return false;
    end(table, endpoint, ret);
    return true;
}
