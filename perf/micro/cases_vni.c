/* Endpoints of the UDP relay (relay/vni). Packets come from either side of ACTIVE endpoints, in an order that is not
 * theirs, out of ALL that are there and open.
 *
 *   vni/way/ACTIVE/ALL   one run of packets: where does it go, and counting it
 *   vni/handshake        Bind and Answer, without boxes
 *   vni/allocate         a pair that is new, and its release; vni/again: one that is there */
#include <stdlib.h>

#include "core/check.h"
#include "perf/micro/bench.h"
#include "relay/vni.h"

enum { ASKED = 16 * 1024 };

struct asked {
    uint32_t vni;
    struct vni_address from;
};

struct endpoints {
    struct arena arena;
    struct rng rng;
    struct vni_table table;
    uint32_t at;
    uint32_t *vnis;
    struct asked asked[ASKED];
};

static struct disco_key key_of(uint64_t n) {
    struct disco_key key = {{1}};
    for (int i = 0; i < 8; i++) key.bytes[1 + i] = (uint8_t)(n >> (8 * (7 - i)));
    return key;
}

static struct vni_address address_of(uint32_t n) {
    struct net_address address = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 10}, .port = 41641};
    for (int i = 0; i < 3; i++) address.ip[13 + i] = (uint8_t)(n >> (8 * i));
    return vni_address_make(&address, 0);
}

static uint32_t allocate(struct endpoints *e, uint64_t n) {
    struct vni_request request = {.clients = {key_of(2 * n), key_of(2 * n + 1)}};
    struct vni_offer offer;
    CHECK(vni_allocate(&e->table, &request, NS_PER_S, &offer) != VNI_REFUSED);
    return offer.vni;
}

/* Either leg of endpoint n. */
static void bind_leg(struct endpoints *e, uint32_t vni, uint64_t n, uint32_t leg) {
    struct disco_key client = key_of(2 * n + leg);
    struct vni_event event = {.kind = VNI_BIND, .vni = vni, .generation = 1, .remote = key_of(2 * n + 1 - leg)};
    struct vni_outcome outcome;
    struct vni_sender sender;
    event.source = address_of((uint32_t)(2 * n + leg));
    CHECK(vni_sender(&e->table, vni, &client, &sender));
    CHECK(vni_handshake(&e->table, &sender, &event, NS_PER_S, &outcome) == VNI_CHALLENGE);
    event.kind = VNI_ANSWER;
    memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
    CHECK(vni_handshake(&e->table, &sender, &event, NS_PER_S, &outcome) == VNI_BOUND);
}

static void *make(const struct bench_case *self, char *why) {
    (void)why;
    struct endpoints *e = bench_alloc(sizeof(*e));
    uint32_t all = self->variant, active = self->param;
    rng_init_seeded(&e->rng, 1);
    CHECK(arena_init(&e->arena, vni_footprint(all + 1)) == 0);
    vni_init(&e->table, &e->arena, &(struct vni_options){.endpoints_max = all + 1}, &e->rng, NS_PER_S);
    vni_set_ready(&e->table, true);
    e->vnis = bench_alloc(all * sizeof(*e->vnis));
    for (uint32_t n = 0; n < all; n++) {
        e->vnis[n] = allocate(e, n);
        for (uint32_t leg = 0; leg < 2; leg++) bind_leg(e, e->vnis[n], n, leg);
    }
    for (uint32_t i = 0; i < ASKED; i++) {
        uint32_t n = (uint32_t)rng_below(&e->rng, active), leg = (uint32_t)rng_below(&e->rng, 2);
        e->asked[i] = (struct asked){.vni = e->vnis[n], .from = address_of(2 * n + leg)};
    }
    return e;
}

static void end(void *state) {
    struct endpoints *e = state;
    arena_fini(&e->arena);
    free(e->vnis);
    free(e);
}

static void run_way(void *state, uint64_t count) {
    struct endpoints *e = state;
    for (; count > 0; count--) {
        const struct asked *asked = &e->asked[e->at++ % ASKED];
        struct vni_hop hop;
        CHECK(vni_far_end(&e->table, asked->vni, &asked->from, &hop));
        vni_count(&hop, 1, 1288, 2 * NS_PER_S);
    }
}

static void run_handshake(void *state, uint64_t count) {
    struct endpoints *e = state;
    for (; count > 0; count--) bind_leg(e, e->vnis[0], 0, 0);
}

static void run_allocate(void *state, uint64_t count) {
    struct endpoints *e = state;
    struct vni_gone gone;
    for (; count > 0; count--) CHECK(vni_release(&e->table, allocate(e, 1000000), &gone));
}

static void run_again(void *state, uint64_t count) {
    struct endpoints *e = state;
    for (; count > 0; count--) CHECK(allocate(e, 0) == e->vnis[0]);
}

void cases_vni(struct bench_list *list) {
    static const uint32_t ways[][2] = {{10, 10},     {10, 1000},     {10, 100000},
                                       {1000, 1000}, {1000, 100000}, {100000, 100000}};
    struct bench_case c = {.make = make, .run = run_way, .end = end};
    for (size_t i = 0; i < array_count(ways); i++) {
        c.param = ways[i][0];
        c.variant = ways[i][1];
        bench_add(list, &c, "vni/way/%u/%u", c.param, c.variant);
    }
    c.param = c.variant = 1000;
    c.run = run_handshake;
    bench_add(list, &c, "vni/handshake");
    c.run = run_allocate;
    bench_add(list, &c, "vni/allocate");
    c.run = run_again;
    bench_add(list, &c, "vni/again");
}
