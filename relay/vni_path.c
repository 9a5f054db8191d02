#include "core/check.h"
#include "relay/vni.h"
#include "relay/vni_challenge.h"
#include "relay/vni_endpoint.h"

/* ---- packets ---- */

static bool no_way(struct vni_hop *ret, enum udp_drop_reason reason) {
    ret->reason = reason;
    return false;
}

bool vni_far_end(const struct vni_table *table, uint32_t vni, const struct vni_address *source, struct vni_hop *ret) {
    struct vni_address pair[2];
    struct vni_endpoint *endpoint = vni_lookup(table, vni, &ret->life);
    if (endpoint == NULL) return no_way(ret, UDP_DROP_VNI_UNKNOWN);
    if (!vni_pair_load(endpoint, pair)) return no_way(ret, UDP_DROP_BUSY);
    if (!vni_still_lives(endpoint, ret->life)) return no_way(ret, UDP_DROP_VNI_UNKNOWN);
    if (!vni_pair_is_open(pair)) return no_way(ret, UDP_DROP_NOT_OPEN);
    // why leg 0 first: when both have one address, it speaks as leg 0 (and to itself), as with the reference
    ret->leg = !vni_address_equal(source, &pair[0]);
    if (ret->leg && !vni_address_equal(source, &pair[1])) return no_way(ret, UDP_DROP_NOT_BOUND);
    ret->to = pair[1 - ret->leg];
    ret->endpoint = endpoint;
    return true;
}

/* Clocks of two workers differ by the length of a pass: the later one stands. */
static void see(struct vni_leg *leg, uint64_t now_ns) {
    if (atomic_load_explicit(&leg->last_seen_ns, memory_order_relaxed) >= now_ns) return;
    atomic_store_explicit(&leg->last_seen_ns, now_ns, memory_order_relaxed);
}

void vni_count(const struct vni_hop *hop, uint64_t packets, uint64_t bytes, uint64_t now_ns) {
    if (unlikely(!vni_still_lives(hop->endpoint, hop->life))) return;
    struct vni_leg *leg = &hop->endpoint->legs[hop->leg];
    atomic_fetch_add_explicit(&leg->packets, packets, memory_order_relaxed);
    atomic_fetch_add_explicit(&leg->bytes, bytes, memory_order_relaxed);
    see(leg, now_ns);
}

/* ---- control messages: who is it? ---- */

static int leg_of(const struct vni_endpoint *endpoint, const struct disco_key *client, struct disco_key *ret_remote) {
    struct disco_key keys[2];
    for (int i = 0; i < 2; i++) vni_key_load(endpoint->keys[i], &keys[i]);
    for (int i = 0; i < 2; i++) {
        if (memcmp(&keys[i], client, sizeof(*client)) != 0) continue;
        *ret_remote = keys[1 - i];
        return i;
    }
    return -1;
}

bool vni_sender(const struct vni_table *table, uint32_t vni, const struct disco_key *client, struct vni_sender *ret) {
    *ret = (struct vni_sender){.vni = vni, .reason = UDP_DROP_VNI_UNKNOWN};
    ret->endpoint = vni_lookup(table, vni, &ret->life);
    if (ret->endpoint == NULL) return false;
    int leg = leg_of(ret->endpoint, client, &ret->remote);
    if (leg >= 0) vni_key_load(ret->endpoint->shared_keys[leg], ret->shared_key);
    if (!vni_still_lives(ret->endpoint, ret->life)) return false;
    ret->reason = UDP_DROP_SENDER;
    ret->leg = leg > 0;
    return leg >= 0;
}

/* ---- control messages: the handshake ---- */

static enum vni_action drop(struct vni_outcome *ret, enum udp_drop_reason reason) {
    ret->reason = reason;
    return VNI_DROP;
}

/* Locks the sender's endpoint; false, with a reason, when it is gone or cannot be had. */
static bool lock_of(const struct vni_sender *sender, struct vni_outcome *ret) {
    ret->reason = UDP_DROP_BUSY;
    if (!vni_lock(sender->endpoint)) return false;
    if (vni_life(sender->endpoint) == sender->life) return true;
    vni_unlock(sender->endpoint);
    ret->reason = UDP_DROP_VNI_UNKNOWN;
    return false;
}

static enum vni_action on_bind(struct vni_table *table, const struct vni_sender *sender, const struct vni_event *event,
                               uint64_t now_ns, struct vni_outcome *ret) {
    if (event->generation == 0) return drop(ret, UDP_DROP_GENERATION);
    if (!lock_of(sender, ret)) return VNI_DROP;
    // why any value: a client's counter starts anew with its process, so no order can be asked for
    atomic_store_explicit(&sender->endpoint->in_progress[sender->leg], event->generation, memory_order_relaxed);
    vni_unlock(sender->endpoint);
    vni_challenge_make(table, event, now_ns, ret->challenge);
    return VNI_CHALLENGE;
}

static bool is_in_progress(const struct vni_sender *sender, const struct vni_event *event) {
    uint32_t generation = atomic_load_explicit(&sender->endpoint->in_progress[sender->leg], memory_order_relaxed);
    return generation != 0 && generation == event->generation;
}

static bool was_taken(const struct vni_sender *sender, const struct vni_event *event) {
    const uint64_t *marks = sender->endpoint->answers[sender->leg];
    for (int i = 0; i < VNI_ANSWERS_KEPT; i++) {
        if (event->nonce_mark != 0 && marks[i] == event->nonce_mark) return true;
    }
    return false;
}

static void remember(const struct vni_sender *sender, const struct vni_event *event) {
    uint64_t *marks = sender->endpoint->answers[sender->leg];
    memmove(marks + 1, marks, (VNI_ANSWERS_KEPT - 1) * sizeof(marks[0]));
    marks[0] = event->nonce_mark;
}

/* With the lock: the leg's address, and whether the endpoint has become open by it. */
static bool bind_leg(struct vni_table *table, const struct vni_sender *sender, const struct vni_event *event,
                     uint64_t now_ns) {
    struct vni_endpoint *endpoint = sender->endpoint;
    struct vni_address pair[2];
    bool is_whole = vni_pair_load(endpoint, pair);
    CHECK(is_whole);  // nobody else writes
    bool was_open = vni_pair_is_open(pair);
    pair[sender->leg] = event->source;
    see(&endpoint->legs[sender->leg], now_ns);
    vni_pair_store(endpoint, pair);
    atomic_store_explicit(&endpoint->in_progress[sender->leg], 0, memory_order_relaxed);
    if (was_open || !vni_pair_is_open(pair)) return false;
    atomic_fetch_add_explicit(&table->open_count, 1, memory_order_relaxed);
    return true;
}

static enum vni_action on_answer(struct vni_table *table, const struct vni_sender *sender,
                                 const struct vni_event *event, uint64_t now_ns, struct vni_outcome *ret) {
    if (!is_in_progress(sender, event)) return drop(ret, UDP_DROP_GENERATION);
    if (!vni_challenge_is_right(table, event, now_ns)) return drop(ret, UDP_DROP_CHALLENGE);
    if (!lock_of(sender, ret)) return VNI_DROP;
    enum vni_action action = VNI_BOUND;
    if (!is_in_progress(sender, event)) {  // another worker was faster
        action = drop(ret, UDP_DROP_GENERATION);
    } else if (was_taken(sender, event)) {
        action = drop(ret, UDP_DROP_REPLAYED);
    } else {
        remember(sender, event);
        ret->has_opened = bind_leg(table, sender, event, now_ns);
    }
    vni_unlock(sender->endpoint);
    return action;
}

enum vni_action vni_handshake(struct vni_table *table, const struct vni_sender *sender, const struct vni_event *event,
                              uint64_t now_ns, struct vni_outcome *ret) {
    *ret = (struct vni_outcome){.has_opened = false};
    if (event->kind == VNI_OTHER) return drop(ret, UDP_DROP_BODY);
    if (event->vni != sender->vni) return drop(ret, UDP_DROP_BODY_VNI);
    if (memcmp(&event->remote, &sender->remote, sizeof(event->remote)) != 0) return drop(ret, UDP_DROP_REMOTE_KEY);
    if (event->source.port == 0) return drop(ret, UDP_DROP_PORT_ZERO);
    return event->kind == VNI_BIND ? on_bind(table, sender, event, now_ns, ret)
                                   : on_answer(table, sender, event, now_ns, ret);
}

/* ---- for anybody ---- */

enum vni_state vni_state(const struct vni_table *table, uint32_t vni) {
    struct vni_address pair[2];
    uint64_t life;
    const struct vni_endpoint *endpoint = vni_lookup(table, vni, &life);
    if (endpoint == NULL) return VNI_ABSENT;
    bool is_open = !vni_pair_load(endpoint, pair) || vni_pair_is_open(pair);  // busy: it is being bound
    if (!vni_still_lives(endpoint, life)) return VNI_ABSENT;
    return is_open ? VNI_OPEN : VNI_CONNECTING;
}

static bool info_of(const struct vni_endpoint *endpoint, struct vni_info *ret) {
    struct vni_address pair[2];
    uint64_t life = vni_life(endpoint);
    if (life == 0 || !vni_pair_load(endpoint, pair)) return false;
    *ret = (struct vni_info){
        .vni = vni_life_vni(life), .lamport = vni_life_lamport(life), .is_open = vni_pair_is_open(pair)};
    for (int i = 0; i < 2; i++) {
        const struct vni_leg *leg = &endpoint->legs[i];
        vni_key_load(endpoint->keys[i], &ret->clients[i].key);
        ret->clients[i].address = pair[i];
        ret->clients[i].packets = atomic_load_explicit(&leg->packets, memory_order_relaxed);
        ret->clients[i].bytes = atomic_load_explicit(&leg->bytes, memory_order_relaxed);
        ret->clients[i].last_seen_ns = atomic_load_explicit(&leg->last_seen_ns, memory_order_relaxed);
    }
    return vni_still_lives(endpoint, life);
}

bool vni_list_until(const struct vni_table *table, uint32_t *cursor, uint32_t end, struct vni_info *ret) {
    while (*cursor < end && *cursor <= table->slot_mask) {
        if (info_of(&table->slots[(*cursor)++], ret)) return true;
    }
    return false;
}

bool vni_list(const struct vni_table *table, uint32_t *cursor, struct vni_info *ret) {
    return vni_list_until(table, cursor, vni_slots(table), ret);
}
