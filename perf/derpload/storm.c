#include "perf/derpload/storm.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/sys.h"
#include "perf/load/progress.h"

enum { SETTLE_S = 1, STUCK_S = 10 };

struct storm {
    struct crowd crowd;
    struct progress progress;
    struct login_result *result;
    uint64_t started;
    uint64_t count_max;     // UINT64_MAX: until the time is over
    uint64_t end_ns;        // TIME_NEVER: until the count is reached
    uint64_t closed;
    uint64_t stuck_ns;
};

/* ---- login ---- */

static void start_next(struct storm *s, struct client *c) {
    if (s->started >= s->count_max || s->crowd.now_ns >= s->end_ns || s->crowd.is_failed) return;
    s->started++;
    client_start(c, s->crowd.now_ns);
}

static void on_ready(void *owner, struct client *c) {
    struct storm *s = owner;
    s->result->logins++;
    histogram_add(&s->result->login_ns, sys_clock_ns() - c->started_ns);
    client_close(c);
}

/* A server may refuse logins when there are too many: that is a result. */
static void on_failed(void *owner, struct client *c) {
    struct storm *s = owner;
    (void)c;
    s->result->failed++;
}

static void on_closed(void *owner, struct client *c) {
    struct storm *s = owner;
    s->closed++;
    s->stuck_ns = s->crowd.now_ns + STUCK_S * NS_PER_S;
    start_next(s, c);
}

static void run_logins(struct storm *s) {
    s->stuck_ns = s->crowd.now_ns + STUCK_S * NS_PER_S;
    for (uint32_t i = 0; i < s->crowd.options.clients; i++) start_next(s, &s->crowd.clients[i]);
    while (s->closed < s->started && !s->crowd.is_failed) {
        crowd_turn(&s->crowd, 100 * NS_PER_MS);
        progress_step(&s->progress, s->crowd.now_ns, s->result->logins);
        if (s->crowd.now_ns > s->stuck_ns) crowd_fail(&s->crowd, "no login got through for %d s", (int)STUCK_S);
    }
}

/* One login beforehand: what a server makes at the first one is not what is measured. */
static void warm_up(struct storm *s) {
    s->count_max = 1;
    s->end_ns = TIME_NEVER;
    run_logins(s);
    if (s->result->failed) crowd_fail(&s->crowd, "the first login failed: %s", s->crowd.login_why);
    s->started = s->closed = s->result->logins = s->result->failed = 0;
    histogram_clear(&s->result->login_ns);
}

static void finish_login(struct storm *s, const struct meter *meter) {
    struct login_result *r = s->result;
    meter_read(meter, &r->end);
    r->rss_kib = meter_server_rss_kib(meter);
    if (r->failed && r->logins == 0) crowd_fail(&s->crowd, "all logins failed: %s", s->crowd.login_why);
    r->suite = s->crowd.suite;
    snprintf(r->why, sizeof(r->why), "%s", s->crowd.login_why);
}

bool login_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
               struct login_result *ret, char *why) {
    struct storm *s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    struct crowd_options options = *base;
    options.clients = (uint32_t)o->at_once;
    options.callbacks = (struct crowd_callbacks){.on_ready = on_ready, .on_failed = on_failed, .on_closed = on_closed};
    options.owner = s;
    *ret = (struct login_result){0};
    s->result = ret;
    if (crowd_open(&s->crowd, &options)) {
        progress_begin(&s->progress, o->wants_progress, "derpload", "logins", meter, s->crowd.now_ns);
        warm_up(s);
        meter_read(meter, &ret->begin);
        s->count_max = o->count ? o->count : UINT64_MAX;
        s->end_ns = o->count ? TIME_NEVER : ret->begin.now_ns + (uint64_t)(o->seconds * (double)NS_PER_S);
        run_logins(s);
    }
    if (!s->crowd.is_failed) finish_login(s, meter);
    snprintf(why, CROWD_WHY_MAX, "%s", s->crowd.why);
    bool is_fine = !s->crowd.is_failed;
    s->count_max = 0;  // what closes is not started again
    crowd_close(&s->crowd);
    free(s);
    return is_fine;
}

/* ---- idle ---- */

static void on_packet(void *owner, struct client *c, const struct derp_recv *packet) {
    (void)packet;
    crowd_fail(owner, "client %u got a packet that nobody has sent", c->idx);
}

static void pass_time(struct crowd *crowd, double seconds) {
    uint64_t end_ns = sys_clock_ns() + (uint64_t)(seconds * (double)NS_PER_S);
    while (crowd->now_ns < end_ns && !crowd->is_failed) crowd_turn(crowd, min_of(end_ns - crowd->now_ns, NS_PER_S));
}

static void idle(const struct options *o, struct crowd *crowd, const struct meter *meter, struct idle_result *ret) {
    struct meter_reading start;
    ret->rss_before_kib = meter_server_rss_kib(meter);
    meter_read(meter, &start);
    if (!crowd_log_in(crowd, (uint32_t)o->at_once)) return;
    meter_read(meter, &ret->begin);
    ret->login_s = meter_seconds(&start, &ret->begin);
    pass_time(crowd, SETTLE_S);
    ret->rss_after_kib = meter_server_rss_kib(meter);
    meter_read(meter, &ret->begin);
    pass_time(crowd, o->seconds);
    meter_read(meter, &ret->end);
    ret->connections = crowd->ready_count;
}

bool idle_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
              struct idle_result *ret, char *why) {
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    CHECK(crowd != NULL);
    struct crowd_options options = *base;
    options.clients = (uint32_t)o->connections;
    options.callbacks = (struct crowd_callbacks){.on_packet = on_packet};
    options.owner = crowd;
    *ret = (struct idle_result){0};
    if (crowd_open(crowd, &options)) idle(o, crowd, meter, ret);
    ret->suite = crowd->suite;
    snprintf(why, CROWD_WHY_MAX, "%s", crowd->why);
    bool is_fine = !crowd->is_failed;
    crowd_close(crowd);
    free(crowd);
    return is_fine;
}
