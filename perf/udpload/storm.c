#include "perf/udpload/storm.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"

enum { SETTLE_S = 1, STUCK_S = 10, TURN_NS = 50 * 1000 * 1000 };

/* More endpoints than any relay makes in a second, and than are ever wanted at one time. */
enum { PER_SECOND_MAX = 50000, STORM_MAX = 1000000 };

struct storm {
    struct ground ground;
    struct progress progress;
    struct bind_result *result;
    uint32_t next;
    uint64_t stuck_ns;
};

/* ---- bind ---- */

static void on_bound(void *owner, uint32_t idx) {
    struct storm *s = owner;
    s->result->binds++;
    histogram_add(&s->result->bind_ns, sys_clock_ns() - s->ground.binder.endpoints[idx].begun_ns);
    s->stuck_ns = sys_clock_ns() + STUCK_S * NS_PER_S;
}

/* A relay may refuse endpoints when there are too many: that is a result. */
static void on_failed(void *owner, uint32_t idx) {
    struct storm *s = owner;
    (void)idx;
    s->result->failed++;
}

/* Until `end` endpoints have been begun, or the time is over, and none is under way. */
static void run_storm(struct storm *s, uint32_t end, uint64_t end_ns) {
    struct swarm *swarm = &s->ground.swarm;
    struct binder *b = &s->ground.binder;
    s->stuck_ns = sys_clock_ns() + STUCK_S * NS_PER_S;
    while (!swarm->is_failed) {
        bool is_over = s->next == end || sys_clock_ns() >= end_ns;
        if (is_over && b->under_way_count == 0) return;
        while (!is_over && s->next < end && binder_may_start(b)) binder_start(b, s->next++);
        binder_turn(b, TURN_NS);
        progress_step(&s->progress, swarm->now_ns, s->result->binds);
        if (swarm->now_ns > s->stuck_ns) swarm_fail(swarm, "no endpoint was bound for %d s: %s", (int)STUCK_S, b->why);
    }
}

/* One beforehand: what a relay makes at the first one is not what is measured. */
static void warm_up(struct storm *s) {
    run_storm(s, 1, TIME_NEVER);
    if (s->result->failed) swarm_fail(&s->ground.swarm, "the first endpoint failed: %s", s->ground.binder.why);
    s->result->binds = s->result->failed = 0;
    histogram_clear(&s->result->bind_ns);
}

static void finish_bind(struct storm *s) {
    struct bind_result *r = s->result;
    meter_read(s->ground.meter, &r->end);
    r->rss_kib = meter_server_rss_kib(s->ground.meter);
    if (r->failed && r->binds == 0) swarm_fail(&s->ground.swarm, "all endpoints failed: %s", s->ground.binder.why);
    snprintf(r->why, sizeof(r->why), "%s", s->ground.binder.why);
    r->relay = s->ground.binder.relay;
}

static uint32_t most_of(const struct options *o) {
    return 1 + (uint32_t)(o->count ? o->count : min_of((uint64_t)(o->seconds * PER_SECOND_MAX) + 1, STORM_MAX));
}

bool bind_run(const struct options *o, const struct meter *meter, struct bind_result *ret, char *why) {
    uint32_t most = most_of(o);
    struct storm *s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    struct ground_options options = {.shared = most, .on_bound = on_bound, .on_failed = on_failed, .owner = s};
    memset(ret, 0, sizeof(*ret));
    s->result = ret;
    if (ground_open(&s->ground, o, meter, &options)) {
        progress_begin(&s->progress, o->wants_progress, "udpload", "endpoints", meter, sys_clock_ns());
        warm_up(s);
        meter_read(meter, &ret->begin);
        run_storm(s, most, o->count ? TIME_NEVER : ret->begin.now_ns + (uint64_t)(o->seconds * (double)NS_PER_S));
        finish_bind(s);
    }
    bool is_fine = ground_close(&s->ground, why);
    free(s);
    return is_fine;
}

/* ---- idle ---- */

static void pass_time(struct swarm *s, double seconds) {
    uint64_t end_ns = sys_clock_ns() + (uint64_t)(seconds * (double)NS_PER_S);
    for (s->now_ns = sys_clock_ns(); s->now_ns < end_ns && !s->is_failed;) swarm_turn(s, end_ns - s->now_ns);
}

static void idle(struct ground *g, struct idle_result *ret) {
    const struct options *o = g->o;
    struct meter_reading start;
    ret->rss_before_kib = meter_server_rss_kib(g->meter);
    meter_read(g->meter, &start);
    if (!binder_run(&g->binder, 0, (uint32_t)o->endpoints)) return;
    meter_read(g->meter, &ret->begin);
    ret->bind_s = meter_seconds(&start, &ret->begin);
    pass_time(&g->swarm, SETTLE_S);
    ret->rss_after_kib = meter_server_rss_kib(g->meter);
    meter_read(g->meter, &ret->begin);
    if (o->active) (void)!traffic_run(g, (uint32_t)o->active, true, &ret->traffic);
    else pass_time(&g->swarm, o->seconds);
    meter_read(g->meter, &ret->end);
}

bool idle_run(const struct options *o, const struct meter *meter, struct idle_result *ret, char *why) {
    struct ground_options options = {.own = (uint32_t)o->active, .shared = (uint32_t)(o->endpoints - o->active)};
    struct ground g;
    *ret = (struct idle_result){0};
    if (ground_open(&g, o, meter, &options)) idle(&g, ret);
    ret->relay = g.binder.relay;
    return ground_close(&g, why);
}
