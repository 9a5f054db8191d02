#include "perf/load/course.h"

enum {
    TICK_NS = 500 * 1000,       // of the schedule
    LATE_NS = 1000 * 1000,      // from here on a packet is behind
    SCAN_NS = 50 * 1000 * 1000, // how often flows are looked at that have come to rest
    SCANS_QUIET = 5,            // 250 ms: what is under way is written off
    DRAIN_QUIET_NS = 1000 * 1000 * 1000,
    DRAIN_QUIET_TURNS = 5,  // of the loop: who was not running himself has not listened
};
#define DRAIN_NS_MAX (5 * NS_PER_S)

const char *course_mode_name(enum course_mode mode) {
    static const char *const names[] = {"window", "rate", "flood"};
    return names[mode];
}

/* ---- giving flows something to send ---- */

static void grant(struct course *c, struct flow *f, uint64_t count) {
    c->options.grant(c->options.owner, f, (uint32_t)count);
}

static struct flow *next_flow(struct course *c) {
    struct flow *f = &c->options.flows[c->options.order[c->cursor]];
    if (++c->cursor == c->options.flows_count) c->cursor = 0;
    return f;
}

static void refill(struct course *c, struct flow *f) {
    uint64_t busy = flow_under_way(f) + f->due;
    if (c->options.window >= busy + c->options.step) grant(c, f, c->options.window - busy);
}

/* So many packets of a flow are not under way any more. */
static void settle(struct course *c, struct flow *f, uint64_t count) {
    if (c->options.mode != COURSE_WINDOW || !course_is_sending(c)) return;
    if (c->options.tokens) c->tokens += count;
    else refill(c, f);
}

static void spend_tokens(struct course *c) {
    uint64_t gather = c->options.gather;
    for (; c->tokens >= gather; c->tokens -= gather) grant(c, next_flow(c), gather);
}

/* What has fallen due since the last tick, `gather` packets to one flow after the other. */
static void spend_schedule(struct course *c, uint64_t now_ns) {
    uint64_t gather = c->options.gather;
    if (now_ns < c->next_tick_ns) return;
    uint64_t due = (uint64_t)((double)(now_ns - c->start_ns) / c->period_ns);
    for (; c->scheduled + gather <= due; c->scheduled += gather) grant(c, next_flow(c), gather);
    c->next_tick_ns = max_of(now_ns, c->next_tick_ns + TICK_NS);
}

/* The packet that a flow sends next was due then. */
static uint64_t due_ns(const struct course *c, const struct flow *f) {
    uint64_t round = f->sent / c->options.gather;
    uint64_t turn = round * c->options.flows_count + c->options.place[f->id];
    return c->start_ns + (uint64_t)((double)((turn + 1) * c->options.gather) * c->period_ns);
}

uint64_t course_leaves(struct course *c, struct flow *f, uint64_t now_ns) {
    if (c->options.mode == COURSE_RATE && now_ns > due_ns(c, f) + LATE_NS) c->behind++;
    return f->sent++;
}

enum flow_verdict course_arrived(struct course *c, struct flow *f, uint64_t sequence) {
    uint64_t settled = f->settled;
    enum flow_verdict verdict = flow_receive(f, sequence);
    c->verified++;
    if (f->settled != settled) settle(c, f, f->settled - settled);
    return verdict;
}

/* ---- phases ---- */

static void scan(struct course *c, uint64_t now_ns) {
    if (now_ns < c->next_scan_ns) return;
    c->next_scan_ns = now_ns + SCAN_NS;
    for (uint32_t i = 0; i < c->options.flows_count; i++) {
        uint64_t written_off = flow_scan(&c->options.flows[i], SCANS_QUIET);
        if (written_off > 0) settle(c, &c->options.flows[i], written_off);
    }
}

void course_begin(struct course *c, const struct course_options *options, uint64_t now_ns) {
    *c = (struct course){.options = *options, .start_ns = now_ns, .next_tick_ns = now_ns};
    c->next_scan_ns = now_ns + SCAN_NS;
    c->phase_end_ns = now_ns + (uint64_t)(options->warmup * (double)NS_PER_S);
    if (options->mode == COURSE_RATE) c->period_ns = (double)NS_PER_S / (double)options->rate;
    if (options->mode == COURSE_WINDOW) c->tokens = options->tokens;
    for (uint32_t i = 0; i < options->flows_count; i++) {
        if (options->mode == COURSE_WINDOW && !options->tokens) refill(c, &options->flows[i]);
        if (options->mode == COURSE_FLOOD) grant(c, &options->flows[i], 1);
    }
}

static void begin_measure(struct course *c) {
    c->phase = COURSE_MEASURE;
    c->behind = 0;
    for (uint32_t i = 0; i < c->options.flows_count; i++) flow_range_start(&c->options.flows[i]);
    c->result.verified = c->verified;
    meter_read(c->options.meter, &c->result.begin);
    c->phase_end_ns = c->result.begin.now_ns + (uint64_t)(c->options.seconds * (double)NS_PER_S);
}

static void shares(struct course *c) {
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < c->options.flows_count; i++) {
        const struct flow *f = &c->options.flows[i];
        least = min_of(least, f->verified - f->verified_before);
        most = max_of(most, f->verified - f->verified_before);
    }
    double mean = (double)c->result.verified / c->options.flows_count;
    c->result.min_share = mean > 0 ? (double)least / mean : 0;
    c->result.max_share = mean > 0 ? (double)most / mean : 0;
}

static void end_measure(struct course *c) {
    c->phase = COURSE_DRAIN;
    meter_read(c->options.meter, &c->result.end);
    c->result.verified = c->verified - c->result.verified;
    c->result.behind = c->behind;
    c->result.rss_kib = meter_server_rss_kib(c->options.meter);
    for (uint32_t i = 0; i < c->options.flows_count; i++) flow_range_stop(&c->options.flows[i]);
    shares(c);
    c->heard_ns = c->result.end.now_ns;
    c->phase_end_ns = c->heard_ns + DRAIN_NS_MAX;
}

static void judge(struct course *c) {
    struct course_result *r = &c->result;
    r->sent = r->lost = r->reordered = 0;
    for (uint32_t i = 0; i < c->options.flows_count; i++) {
        const struct flow *f = &c->options.flows[i];
        r->sent += flow_range_sent(f);
        r->lost += flow_range_missing(f);
        r->reordered += f->reordered;
    }
}

static void drain(struct course *c, uint64_t now_ns) {
    bool is_quiet = c->verified == c->heard_verified;
    if (!is_quiet) c->heard_ns = now_ns;
    c->quiet_turns = is_quiet ? c->quiet_turns + 1 : 0;
    c->heard_verified = c->verified;
    judge(c);
    bool is_over = now_ns - c->heard_ns > DRAIN_QUIET_NS && c->quiet_turns > DRAIN_QUIET_TURNS;
    if (c->result.lost == 0 || is_over || now_ns >= c->phase_end_ns) c->phase = COURSE_DONE;
}

void course_step(struct course *c, uint64_t now_ns) {
    if (c->phase == COURSE_WARMUP && now_ns >= c->phase_end_ns) begin_measure(c);
    if (c->phase == COURSE_MEASURE && now_ns >= c->phase_end_ns) end_measure(c);
    scan(c, now_ns);
    if (c->phase == COURSE_DRAIN) drain(c, now_ns);
    if (!course_is_sending(c)) return;
    if (c->options.mode == COURSE_RATE) spend_schedule(c, now_ns);
    if (c->tokens > 0) spend_tokens(c);
}

uint64_t course_wait_ns(const struct course *c, uint64_t now_ns) {
    uint64_t until_ns = min_of(c->phase_end_ns, c->next_scan_ns);
    if (c->options.mode == COURSE_RATE && course_is_sending(c)) until_ns = min_of(until_ns, c->next_tick_ns);
    return until_ns > now_ns ? until_ns - now_ns : 0;
}
