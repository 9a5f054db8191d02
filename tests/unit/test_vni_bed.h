/* test_vni_bed.h - for tests of the table of endpoints: a table, keys and addresses by number, and handshakes. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sys.h"
#include "relay/vni.h"
#include "relay/vni_endpoint.h"

#define T0 (1000 * NS_PER_S)

struct bed {
    struct arena arena;
    struct rng rng;
    struct vni_table table;
};

enum { SERVER = 65535 };

/* Keys by number, below 65536. Single bytes are in the order of their numbers. */
static inline struct disco_key key_of(uint32_t n) {
    struct disco_key key = {{(uint8_t)n, (uint8_t)(n >> 8), 7}};
    return key;
}

/* Says its number and its VNI in all its fields. n > 0. Odd numbers are IPv4. */
static inline struct vni_address address_of(uint32_t n) {
    struct net_address from = {.ip = {[10] = 0xff, [11] = 0xff}, .port = (uint16_t)n};
    memcpy(from.ip + 12, &n, sizeof(n));
    if (n % 2 == 0) memcpy(from.ip + 2, &n, sizeof(n));
    return vni_address_make(&from, n % 2 ? 0 : n);
}

static inline bool address_is(const struct vni_address *address, uint32_t n) {
    struct vni_address wanted = address_of(n);
    return memcmp(address, &wanted, sizeof(wanted)) == 0;
}

static inline struct vni_request request_of(uint32_t a, uint32_t b) {
    struct vni_request request = {.clients = {key_of(a), key_of(b)}, .tag = (uint64_t)a << 32 | b};
    memset(request.shared_keys[0], (int)(a ^ 0x80), VNI_SHARED_KEY_SIZE);
    memset(request.shared_keys[1], (int)(b ^ 0x80), VNI_SHARED_KEY_SIZE);
    return request;
}

static inline void bed_make_with(struct bed *bed, struct vni_options options, uint64_t seed) {
    options.server = key_of(SERVER);
    rng_init_seeded(&bed->rng, seed);
    assert_int_equal(arena_init(&bed->arena, vni_footprint(options.endpoints_max)), 0);
    vni_init(&bed->table, &bed->arena, &options, &bed->rng, T0);
    vni_set_ready(&bed->table, true);
}

static inline void bed_make(struct bed *bed, uint32_t endpoints_max) {
    bed_make_with(bed, (struct vni_options){.endpoints_max = endpoints_max}, 1);
}

static inline void bed_end(struct bed *bed) { arena_fini(&bed->arena); }

/* The VNI of a pair that is given one, or has one. */
static inline uint32_t allocate(struct bed *bed, uint32_t a, uint32_t b, uint64_t now_ns) {
    struct vni_request request = request_of(a, b);
    struct vni_offer offer;
    assert_int_not_equal(vni_allocate(&bed->table, &request, now_ns, &offer), VNI_REFUSED);
    return offer.vni;
}

static inline struct vni_event event_of(enum vni_event_kind kind, uint32_t vni, uint32_t generation, uint32_t remote,
                                        uint32_t from) {
    return (struct vni_event){
        .kind = kind, .vni = vni, .generation = generation, .remote = key_of(remote), .source = address_of(from)};
}

/* A message by the client with key `client`. VNI_DROP with reason when it has no endpoint there. */
static inline enum vni_action say(struct bed *bed, uint32_t client, const struct vni_event *event, uint64_t now_ns,
                                  struct vni_outcome *ret) {
    struct disco_key key = key_of(client);
    struct vni_sender sender;
    *ret = (struct vni_outcome){.has_opened = false};
    if (!vni_sender(&bed->table, event->vni, &key, &sender)) {
        ret->reason = sender.reason;
        return VNI_DROP;
    }
    return vni_handshake(&bed->table, &sender, event, now_ns, ret);
}

/* Bind and Answer. */
static inline enum vni_action try_bind(struct bed *bed, uint32_t vni, uint32_t client, uint32_t remote,
                                       uint32_t generation, uint32_t from, uint64_t now_ns) {
    struct vni_event event = event_of(VNI_BIND, vni, generation, remote, from);
    struct vni_outcome outcome;
    if (say(bed, client, &event, now_ns, &outcome) != VNI_CHALLENGE) return VNI_DROP;
    event.kind = VNI_ANSWER;
    memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
    return say(bed, client, &event, now_ns, &outcome);
}

static inline void bind_leg_to(struct bed *bed, uint32_t vni, uint32_t client, uint32_t remote, uint32_t from,
                               uint64_t now_ns) {
    assert_int_equal(try_bind(bed, vni, client, remote, 1, from, now_ns), VNI_BOUND);
}

/* Keys a < b, bound to addresses of the same numbers. */
static inline uint32_t open_endpoint(struct bed *bed, uint32_t a, uint32_t b, uint64_t now_ns) {
    uint32_t vni = allocate(bed, a, b, now_ns);
    bind_leg_to(bed, vni, a, b, a, now_ns);
    bind_leg_to(bed, vni, b, a, b, now_ns);
    return vni;
}

/* One packet of 100 bytes from an address; its destination's number, or 0 when it is dropped. */
static inline bool send_from(struct bed *bed, uint32_t vni, uint32_t from, uint32_t wanted_to, uint64_t now_ns) {
    struct vni_address source = address_of(from);
    struct vni_hop hop;
    if (!vni_far_end(&bed->table, vni, &source, &hop)) return false;
    vni_count(&hop, 1, 100, now_ns);
    return address_is(&hop.to, wanted_to);
}

static inline enum udp_drop_reason drop_of(struct bed *bed, uint32_t vni, uint32_t from) {
    struct vni_address source = address_of(from);
    struct vni_hop hop;
    assert_false(vni_far_end(&bed->table, vni, &source, &hop));
    return hop.reason;
}

static inline uint32_t expire_all(struct bed *bed, uint64_t now_ns) {
    struct vni_gone gone;
    uint32_t count = 0;
    do {
        while (vni_expire(&bed->table, now_ns, &gone)) count++;
    } while (vni_next_expiry_ns(&bed->table) <= now_ns);
    return count;
}
