#include "perf/derpload/relay.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "perf/derpload/progress.h"

enum {
    TICK_NS = 500 * 1000,       // of the schedule
    LATE_NS = 1000 * 1000,      // from here on a packet is behind
    SCAN_NS = 50 * 1000 * 1000, // how often flows are looked at that have come to rest
    SCANS_QUIET = 5,            // 250 ms: what is under way is written off
    DRAIN_QUIET_NS = 1000 * 1000 * 1000,
    DRAIN_QUIET_TURNS = 5,  // of the loop: who was not running himself has not listened
};
#define DRAIN_NS_MAX (5 * NS_PER_S)

enum phase { PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN, PHASE_DONE };

struct load {
    const struct options *o;
    const struct meter *meter;
    struct relay_result *result;
    struct crowd crowd;
    struct contents contents;
    struct plan plan;
    struct progress progress;
    enum phase phase;
    uint64_t phase_end_ns;
    uint64_t next_scan_ns;

    struct client *writers;  // list: may have something to write
    uint32_t packets_per_write;
    uint64_t verified;

    /* window */
    uint64_t step;      // of a flow
    uint64_t tokens;    // spread: packets that may be put under way
    /* whose turn it is: spread, rate */
    uint32_t cursor;
    /* rate */
    uint64_t start_ns, next_tick_ns;
    uint64_t scheduled;  // packets handed to flows
    uint64_t behind;
    double period_ns;    // between packets

    uint64_t heard_ns;       // drain: when something came last
    uint64_t heard_verified;
    uint32_t quiet_turns;
};

/* ---- giving flows something to send ---- */

static void list_writer(struct load *l, struct client *c) {
    if (c->is_listed) return;
    c->is_listed = true;
    c->next_listed = l->writers;
    l->writers = c;
}

static void grant(struct load *l, struct flow *f, uint32_t count) {
    struct client *c = &l->crowd.clients[f->from];
    f->due += count;
    if (!f->is_listed) {
        f->is_listed = true;
        f->next_due = NULL;
        if (c->due_first) c->due_last->next_due = f;
        else c->due_first = f;
        c->due_last = f;
    }
    if (c->out == NULL) list_writer(l, c);
}

static struct flow *next_flow(struct load *l) {
    struct flow *f = &l->plan.flows[l->plan.order[l->cursor]];
    if (++l->cursor == l->plan.flows_count) l->cursor = 0;
    return f;
}

static bool is_sending(const struct load *l) { return l->phase < PHASE_DRAIN; }

static void refill(struct load *l, struct flow *f) {
    uint64_t busy = flow_under_way(f) + f->due;
    if (l->o->window >= busy + l->step) grant(l, f, (uint32_t)(l->o->window - busy));
}

/* So many packets of a flow are not under way any more. */
static void settle(struct load *l, struct flow *f, uint64_t count) {
    if (l->o->mode != MODE_WINDOW || !is_sending(l)) return;
    if (l->o->connections) l->tokens += count;
    else refill(l, f);
}

static void spend_tokens(struct load *l) {
    uint32_t gather = (uint32_t)l->o->gather;
    for (; l->tokens >= gather; l->tokens -= gather) grant(l, next_flow(l), gather);
}

/* What has fallen due since the last tick, `gather` packets to one flow after the other. */
static void spend_schedule(struct load *l, uint64_t now_ns) {
    uint32_t gather = (uint32_t)l->o->gather;
    if (now_ns < l->next_tick_ns) return;
    uint64_t due = (uint64_t)((double)(now_ns - l->start_ns) / l->period_ns);
    for (; l->scheduled + gather <= due; l->scheduled += gather) grant(l, next_flow(l), gather);
    l->next_tick_ns = max_of(now_ns, l->next_tick_ns + TICK_NS);
}

/* The packet that a flow sends next was due then. */
static uint64_t due_ns(const struct load *l, const struct flow *f) {
    uint64_t round = f->sent / l->o->gather;
    uint64_t turn = round * l->plan.flows_count + l->plan.place[f->id];
    return l->start_ns + (uint64_t)((double)((turn + 1) * l->o->gather) * l->period_ns);
}

/* ---- writing ---- */

static void write_packet(struct load *l, struct client *c, struct flow *f) {
    uint64_t now_ns = l->crowd.now_ns;
    if (l->o->mode == MODE_RATE && now_ns > due_ns(l, f) + LATE_NS) l->behind++;
    uint8_t *frame = contents_frame(&l->contents, &f->to_key, f->id, f->sent, now_ns);
    f->sent++;
    client_write_frame(c, frame, l->contents.frame_size);
}

/* One write: of each flow that has something due, in turn, until the write is full. A flood is always due, and the next
 * flow of the sender begins the next write. */
static void write_some(struct load *l, struct client *c) {
    uint32_t room = l->packets_per_write;
    bool is_flood = l->o->mode == MODE_FLOOD;
    client_write_begin(c);
    while (room > 0 && c->due_first) {
        struct flow *f = c->due_first;
        uint32_t count = is_flood ? room : min_of(room, f->due);
        for (uint32_t i = 0; i < count; i++) write_packet(l, c, f);
        room -= count;
        if (!is_flood) f->due -= count;
        if (f->due > 0 && (!is_flood || f->next_due == NULL)) break;
        c->due_first = f->next_due;
        f->next_due = NULL;
        f->is_listed = false;
        if (is_flood) grant(l, f, 0);
    }
    client_write_end(c);
}

static void write_all(struct load *l) {
    struct client *c = l->writers;
    l->writers = NULL;
    while (c) {
        struct client *next = c->next_listed;
        c->is_listed = false;
        if (client_may_write(c) && c->due_first && is_sending(l)) write_some(l, c);
        c = next;
    }
}

/* ---- what comes ---- */

static void on_sendable(void *owner, struct client *c) {
    if (c->due_first) list_writer(owner, c);
}

static void wrong(struct load *l, const struct client *c, const char *what, const struct contents_stamp *stamp) {
    crowd_fail(&l->crowd, "client %u got a wrong packet: %s (flow %u, number %llu)", c->idx, what, stamp->flow,
               (unsigned long long)stamp->sequence);
}

static void on_packet(void *owner, struct client *c, const struct derp_recv *packet) {
    struct load *l = owner;
    struct contents_stamp stamp = {0};
    enum contents_verdict contents = contents_check(&l->contents, packet->data, packet->data_size, &stamp);
    if (contents != CONTENTS_GOOD) {
        wrong(l, c, contents_verdict_text(contents), &stamp);
        return;
    }
    // The stamp is ours: its sum fits.
    CHECK(stamp.flow < l->plan.flows_count);
    struct flow *f = &l->plan.flows[stamp.flow];
    uint64_t settled = f->settled;
    if (f->to != c->idx) {
        wrong(l, c, "it is another client's", &stamp);
    } else if (!key_equal(packet->src, &f->from_key)) {
        wrong(l, c, "it names another source", &stamp);
    } else {
        enum flow_verdict verdict = flow_receive(f, stamp.sequence);
        if (verdict != FLOW_GOOD) wrong(l, c, flow_verdict_text(verdict), &stamp);
        l->verified++;
        if (f->settled != settled) settle(l, f, f->settled - settled);
    }
}

/* ---- course ---- */

static void scan(struct load *l, uint64_t now_ns) {
    if (now_ns < l->next_scan_ns) return;
    l->next_scan_ns = now_ns + SCAN_NS;
    for (uint32_t i = 0; i < l->plan.flows_count; i++) {
        uint64_t written_off = flow_scan(&l->plan.flows[i], SCANS_QUIET);
        if (written_off > 0) settle(l, &l->plan.flows[i], written_off);
    }
}

static void begin_load(struct load *l) {
    uint64_t now_ns = l->crowd.now_ns;
    l->start_ns = l->next_tick_ns = now_ns;
    l->next_scan_ns = now_ns + SCAN_NS;
    l->phase_end_ns = now_ns + (uint64_t)(l->o->warmup * (double)NS_PER_S);
    if (l->o->mode == MODE_RATE) l->period_ns = (double)NS_PER_S / (double)l->o->rate;
    if (l->o->mode == MODE_WINDOW && l->o->connections) l->tokens = l->o->pairs * l->o->window;
    for (uint32_t i = 0; i < l->plan.flows_count && !l->o->connections; i++) {
        if (l->o->mode == MODE_WINDOW) refill(l, &l->plan.flows[i]);
    }
    for (uint32_t i = 0; i < l->plan.flows_count && l->o->mode == MODE_FLOOD; i++) grant(l, &l->plan.flows[i], 1);
}

static void begin_measure(struct load *l) {
    l->phase = PHASE_MEASURE;
    l->behind = 0;
    for (uint32_t i = 0; i < l->plan.flows_count; i++) flow_range_start(&l->plan.flows[i]);
    l->result->verified = l->verified;
    meter_read(l->meter, &l->result->begin);
    l->phase_end_ns = l->result->begin.now_ns + (uint64_t)(l->o->seconds * (double)NS_PER_S);
}

static void shares(struct load *l) {
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < l->plan.flows_count; i++) {
        const struct flow *f = &l->plan.flows[i];
        least = min_of(least, f->verified - f->verified_before);
        most = max_of(most, f->verified - f->verified_before);
    }
    double mean = (double)l->result->verified / l->plan.flows_count;
    l->result->min_share = mean > 0 ? (double)least / mean : 0;
    l->result->max_share = mean > 0 ? (double)most / mean : 0;
}

static void end_measure(struct load *l) {
    l->phase = PHASE_DRAIN;
    meter_read(l->meter, &l->result->end);
    l->result->verified = l->verified - l->result->verified;
    l->result->behind = l->behind;
    l->result->rss_kib = meter_server_rss_kib(l->meter);
    for (uint32_t i = 0; i < l->plan.flows_count; i++) flow_range_stop(&l->plan.flows[i]);
    shares(l);
    l->heard_ns = l->result->end.now_ns;
    l->phase_end_ns = l->heard_ns + DRAIN_NS_MAX;
}

static void judge(struct load *l) {
    struct relay_result *r = l->result;
    r->sent = r->lost = r->reordered = 0;
    for (uint32_t i = 0; i < l->plan.flows_count; i++) {
        const struct flow *f = &l->plan.flows[i];
        r->sent += flow_range_sent(f);
        r->lost += flow_range_missing(f);
        r->reordered += f->reordered;
    }
}

static void drain(struct load *l, uint64_t now_ns) {
    bool is_quiet = l->verified == l->heard_verified;
    if (!is_quiet) l->heard_ns = now_ns;
    l->quiet_turns = is_quiet ? l->quiet_turns + 1 : 0;
    l->heard_verified = l->verified;
    judge(l);
    bool is_over = now_ns - l->heard_ns > DRAIN_QUIET_NS && l->quiet_turns > DRAIN_QUIET_TURNS;
    if (l->result->lost == 0 || is_over || now_ns >= l->phase_end_ns) l->phase = PHASE_DONE;
}

static void step(struct load *l) {
    uint64_t now_ns = l->crowd.now_ns;
    if (l->phase == PHASE_WARMUP && now_ns >= l->phase_end_ns) begin_measure(l);
    if (l->phase == PHASE_MEASURE && now_ns >= l->phase_end_ns) end_measure(l);
    scan(l, now_ns);
    if (l->phase == PHASE_DRAIN) drain(l, now_ns);
    if (is_sending(l) && l->o->mode == MODE_RATE) spend_schedule(l, now_ns);
    if (is_sending(l) && l->tokens > 0) spend_tokens(l);
    progress_step(&l->progress, now_ns, l->verified);
}

static uint64_t wait_ns(const struct load *l) {
    uint64_t now_ns = l->crowd.now_ns;
    uint64_t until_ns = min_of(l->phase_end_ns, l->next_scan_ns);
    if (l->o->mode == MODE_RATE && is_sending(l)) until_ns = min_of(until_ns, l->next_tick_ns);
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

static void run_load(struct load *l) {
    begin_load(l);
    while (l->phase != PHASE_DONE && !l->crowd.is_failed) {
        step(l);
        write_all(l);
        if (!l->crowd.is_failed) crowd_turn(&l->crowd, wait_ns(l));
    }
}

/* ---- before and after ---- */

static bool prepare(struct load *l, const struct crowd_options *base) {
    struct rng rng;
    rng_init_system(&rng);
    if (!plan_make(&l->plan, l->o, &rng) || !contents_init(&l->contents, (uint32_t)l->o->size, &rng)) {
        crowd_fail(&l->crowd, "no memory for the load");
        return false;
    }
    struct crowd_options options = *base;
    options.clients = l->plan.clients;
    options.frame_size = l->contents.frame_size;
    options.records_per_write = (uint32_t)l->o->records_per_write;
    options.frames_per_record = (uint32_t)l->o->frames_per_record;
    options.callbacks = (struct crowd_callbacks){.on_sendable = on_sendable, .on_packet = on_packet};
    options.owner = l;
    l->packets_per_write = options.records_per_write * options.frames_per_record;
    l->step = max_of((uint64_t)1, l->o->window / 4);
    if (!crowd_open(&l->crowd, &options) || !crowd_log_in(&l->crowd, (uint32_t)l->o->at_once)) return false;
    for (uint32_t i = 0; i < l->plan.flows_count; i++) {
        l->plan.flows[i].from_key = l->crowd.clients[l->plan.flows[i].from].key;
        l->plan.flows[i].to_key = l->crowd.clients[l->plan.flows[i].to].key;
    }
    return true;
}

bool relay_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
               struct relay_result *ret, char *why) {
    struct load *l = calloc(1, sizeof(*l));
    CHECK(l != NULL);
    *ret = (struct relay_result){0};
    l->o = o;
    l->meter = meter;
    l->result = ret;
    if (prepare(l, base)) {
        progress_begin(&l->progress, o, meter, l->crowd.now_ns);
        run_load(l);
    }
    if (!l->crowd.is_failed && ret->verified == 0) {
        crowd_fail(&l->crowd, "not one packet of %llu came through: nothing was measured",
                   (unsigned long long)ret->sent);
    }
    ret->suite = l->crowd.suite;
    ret->connections = l->plan.clients;
    ret->pattern = l->plan.name;
    bool is_fine = !l->crowd.is_failed;
    snprintf(why, CROWD_WHY_MAX, "%s", l->crowd.why);
    crowd_close(&l->crowd);
    contents_fini(&l->contents);
    plan_free(&l->plan);
    free(l);
    return is_fine;
}
