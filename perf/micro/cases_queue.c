/* Packets that wait, and their memory. One operation is one packet, in and out.
 *
 *   packet/SIZE            packet_take and packet_give, 32 in a row
 *   queue/push-pop         the plain queue, with 8 in it
 *   backlog/one            the same, of one source
 *   backlog/fifo           of 8 sources, and little waits: one FIFO over their flows
 *   backlog/fair           above LIMIT_FAIR_BYTES, 16 flows: the one with the least time goes next */
#include <stdlib.h>

#include "core/check.h"
#include "perf/micro/bench.h"
#include "relay/backlog.h"
#include "relay/queue.h"

enum { POOL_BYTES = 16 * 1024 * 1024, ROW = 32, FEW = 8, MANY = 256 };

struct waiting {
    struct arena arena;
    struct packet_pool pool;
    struct queue queue;
    struct backlog backlog;
    size_t size;
};

static struct packet *take(struct waiting *w, uint32_t flow) {
    struct packet *packet = packet_take(&w->pool, w->size);
    CHECK(packet != NULL);
    packet->size = (uint32_t)w->size;
    packet->flow = (uint8_t)flow;
    return packet;
}

static struct waiting *make_pool(const struct bench_case *self) {
    struct waiting *w = bench_alloc(sizeof(*w));
    CHECK(arena_init(&w->arena, packet_pool_footprint(POOL_BYTES)) == 0);
    packet_pool_init(&w->pool, &w->arena, POOL_BYTES, 0);
    w->size = self->param;
    return w;
}

static void *make(const struct bench_case *self, char *why) {
    (void)why;
    struct waiting *w = make_pool(self);
    for (uint32_t i = 0; i < self->variant; i++) {
        queue_push(&w->queue, take(w, 0));
        backlog_push(&w->backlog, take(w, i % (self->text ? 1 : BACKLOG_FLOWS)));
    }
    CHECK((w->backlog.bytes > LIMIT_FAIR_BYTES) == (self->variant == MANY));  // else it is not the mode it says
    return w;
}

static void end(void *state) {
    struct waiting *w = state;
    arena_fini(&w->arena);
    free(w);
}

static void run_packet(void *state, uint64_t count) {
    struct waiting *w = state;
    struct packet *row[ROW];
    while (count > 0) {
        uint64_t part = min_of(count, (uint64_t)ROW);
        for (uint64_t i = 0; i < part; i++) CHECK((row[i] = packet_take(&w->pool, w->size)) != NULL);
        for (uint64_t i = 0; i < part; i++) packet_give(&w->pool, row[i]);
        count -= part;
    }
}

static void run_queue(void *state, uint64_t count) {
    struct waiting *w = state;
    for (; count > 0; count--) queue_push(&w->queue, queue_pop(&w->queue));
}

static void run_backlog(void *state, uint64_t count) {
    struct waiting *w = state;
    for (; count > 0; count--) {
        struct packet *packet = backlog_pop(&w->backlog);
        backlog_push(&w->backlog, packet);
    }
}

void cases_queue(struct bench_list *list) {
    static const uint32_t sizes[] = {64, 1400, 16000};
    struct bench_case c = {.make = make, .run = run_packet, .end = end};
    for (size_t i = 0; i < array_count(sizes); i++) {
        c.param = sizes[i];
        bench_add(list, &c, "packet/%u", c.param);
    }
    c.param = 1400;
    c.variant = FEW;
    c.run = run_queue;
    bench_add(list, &c, "queue/push-pop");
    c.run = run_backlog;
    c.text = "one source";
    bench_add(list, &c, "backlog/one");
    c.text = NULL;
    bench_add(list, &c, "backlog/fifo");
    c.variant = MANY;
    bench_add(list, &c, "backlog/fair");
}
