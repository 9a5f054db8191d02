/* From one thread to another, both ends on this one: what the instructions cost, and no cache line travels. One
 * operation is one item or packet, in rows of 32.
 *
 *   lane/push-pop    mail: copied in, published, copied out
 *   chain/push-take  things linked through themselves
 *   crossing/there-and-home   a packet to another worker and its memory back */
#include <stdlib.h>

#include "core/chain.h"
#include "core/check.h"
#include "core/lane.h"
#include "perf/micro/bench.h"
#include "relay/crossing.h"
#include "relay/mail.h"

enum { ROW = 32, CAPACITY = 64, POOL_BYTES = 4 * 1024 * 1024, PACKET_SIZE = 1400 };

/* ---- lanes ---- */

static void *make_lane(const struct bench_case *self, char *why) {
    (void)self;
    (void)why;
    struct lane *lane = bench_alloc(sizeof(*lane));
    lane_init(lane, bench_alloc(lane_storage_size(CAPACITY, sizeof(struct mail))), CAPACITY, sizeof(struct mail));
    return lane;
}

static void end_lane(void *state) {
    struct lane *lane = state;
    free(lane->items);
    free(lane);
}

static void run_lane(void *state, uint64_t count) {
    struct mail mail = {.kind = MAIL_GONE};
    while (count > 0) {
        uint64_t part = min_of(count, (uint64_t)ROW);
        for (uint64_t i = 0; i < part; i++) CHECK(lane_push(state, &mail));
        CHECK(lane_flush(state));
        for (uint64_t i = 0; i < part; i++) CHECK(lane_pop(state, &mail));
        count -= part;
    }
}

/* ---- chains ---- */

struct linked {
    struct chain chain;
    struct chain_link links[ROW];
};

static void *make_chain(const struct bench_case *self, char *why) {
    (void)self;
    (void)why;
    return bench_alloc(sizeof(struct linked));
}

static void run_chain(void *state, uint64_t count) {
    struct linked *l = state;
    while (count > 0) {
        uint64_t part = min_of(count, (uint64_t)ROW), taken = 0;
        struct chain_batch batch = {0};
        for (uint64_t i = 0; i < part; i++) chain_batch_add(&batch, &l->links[i]);
        CHECK(chain_push(&l->chain, &batch));
        for (struct chain_link *at = chain_take(&l->chain); at; at = at->next) taken++;
        CHECK(taken == part);
        count -= part;
    }
}

/* ---- packets between workers ---- */

struct two_workers {
    struct crossing_station stations[2];
    struct ring *rings[2];
    struct crossing crossings[2];
    struct arena arena;
    struct packet_pool pool;
};

static void *make_crossing(const struct bench_case *self, char *why) {
    (void)self;
    struct ring_options options = {.features_allowed = RING_FEATURES_ALL, .submissions_max = 8, .completions_max = 64};
    struct two_workers *t = bench_alloc(sizeof(*t));
    for (uint32_t i = 0; i < 2; i++) {
        if (ring_open(&t->rings[i], &options, why) == 0) continue;
        ring_close(t->rings[0]);
        free(t);
        return NULL;
    }
    CHECK(arena_init(&t->arena, packet_pool_footprint(POOL_BYTES)) == 0);
    packet_pool_init(&t->pool, &t->arena, POOL_BYTES, 0);
    for (uint32_t i = 0; i < 2; i++) {
        crossing_init(&t->crossings[i], i, 2, POOL_BYTES, t->stations, t->rings[i], t->rings);
    }
    return t;
}

static void end_crossing(void *state) {
    struct two_workers *t = state;
    for (uint32_t i = 0; i < 2; i++) ring_close(t->rings[i]);
    arena_fini(&t->arena);
    free(t);
}

static void run_crossing(void *state, uint64_t count) {
    struct two_workers *t = state;
    const struct node_key dst = {{1}};
    while (count > 0) {
        uint64_t part = min_of(count, (uint64_t)ROW);
        for (uint64_t i = 0; i < part; i++) {
            struct packet *packet = packet_take(&t->pool, PACKET_SIZE);
            CHECK(packet != NULL);
            crossing_send(&t->crossings[0], packet, route_make(1, 1, 1), &dst);
        }
        crossing_flush_out(&t->crossings[0]);
        for (struct packet *packet = crossing_take(&t->crossings[1]), *next; packet; packet = next) {
            next = crossing_next(packet);
            crossing_send_home(&t->crossings[1], packet);
        }
        crossing_flush_home(&t->crossings[1]);
        crossing_collect(&t->crossings[0], &t->pool);
        CHECK(t->crossings[0].away == 0);
        count -= part;
    }
}

void cases_crossing(struct bench_list *list) {
    bench_add(list, &(struct bench_case){.make = make_lane, .run = run_lane, .end = end_lane}, "lane/push-pop");
    bench_add(list, &(struct bench_case){.make = make_chain, .run = run_chain, .end = free}, "chain/push-take");
    bench_add(list, &(struct bench_case){.make = make_crossing, .run = run_crossing, .end = end_crossing},
              "crossing/there-and-home");
}
