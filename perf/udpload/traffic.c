#include "perf/udpload/traffic.h"

#include <stdlib.h>
#include <time.h>

#include "core/check.h"
#include "perf/load/contents.h"
#include "proto/geneve.h"

enum {
    FULL_WAIT_NS = 200 * 1000,  // after the kernel's queue was full
    REST_PART = 8,              // of what is under way may come during a rest
    REST_NS_MIN = 40 * 1000,    // less is not worth a timer
    REST_NS_MAX = 100 * 1000,
};

struct traffic {
    struct ground *g;
    struct course course;
    struct contents contents;
    struct progress progress;
    struct flow *flows;
    uint32_t *order, *place;
    uint8_t (*heads)[GENEVE_HEADER_SIZE];  // of each flow's packets
    uint32_t count;
    uint32_t unit;      // packets of a flow in a row
    uint32_t segments;
    struct flow *first, *last;  // that have something due
    bool is_full;       // the kernel takes no more for now
    uint64_t rest_packets;  // how many may come during a rest; 0: there is none
    uint64_t rested_ns, rested_verified;  // when the last one was over, and what had come by then
};

/* ---- sending ---- */

static void enlist(struct traffic *t, struct flow *f) {
    f->is_listed = true;
    f->next_due = NULL;
    if (t->first) t->last->next_due = f;
    else t->first = f;
    t->last = f;
}

static struct flow *unlist(struct traffic *t) {
    struct flow *f = t->first;
    t->first = f->next_due;
    f->is_listed = false;
    return f;
}

static void grant(void *owner, struct flow *f, uint32_t count) {
    struct traffic *t = owner;
    f->due += count;
    if (!f->is_listed && (f->due >= t->segments || t->course.options.mode == COURSE_FLOOD)) enlist(t, f);
}

/* So many packets in a row, whole runs. Returns how many went. */
static uint32_t send_some(struct traffic *t, struct flow *f, uint32_t count) {
    uint8_t *frames[WIRE_RUNS_PACKETS_MAX];
    uint64_t now_ns = t->g->swarm.now_ns;
    for (uint32_t i = 0; i < count; i++) {
        frames[i] = contents_frame(&t->contents, f->id, f->sent + i, now_ns);
        memcpy(frames[i], t->heads[f->id], GENEVE_HEADER_SIZE);
    }
    uint32_t sent =
        wire_send_runs(&t->g->swarm, &t->g->swarm.wires[f->from], frames, count, t->contents.frame_size, t->segments);
    for (uint32_t i = 0; i < sent; i++) (void)course_leaves(&t->course, f, now_ns);
    return sent;
}

/* `count` packets of a flow, as many at one time as have bodies of their own. */
static uint32_t send_row(struct traffic *t, struct flow *f, uint32_t count) {
    uint32_t most = min_of(contents_run_max(&t->contents), (uint32_t)WIRE_RUNS_PACKETS_MAX), sent = 0;
    most -= most % t->segments;
    count -= count % t->segments;
    while (sent < count && !t->is_full) {
        uint32_t wanted = min_of(most, count - sent), went = send_some(t, f, wanted);
        sent += went;
        t->is_full = went < wanted;
    }
    return sent;
}

/* A turn of each flow after the other. One that is alone has all turns. */
static void send_due(struct traffic *t) {
    t->is_full = false;
    while (t->first && !t->is_full && !t->g->swarm.is_failed) {
        struct flow *f = unlist(t);
        uint32_t count = t->first ? min_of(t->unit, f->due) : f->due;
        f->due -= send_row(t, f, count);
        if (f->due >= t->segments) enlist(t, f);
    }
}

/* One turn of each; then it is time to receive. */
static void send_flood(struct traffic *t) {
    t->is_full = false;
    for (uint32_t i = 0; i < t->count && !t->is_full && !t->g->swarm.is_failed; i++) {
        struct flow *f = unlist(t);
        (void)send_row(t, f, t->unit);
        enlist(t, f);
    }
}

/* ---- what comes ---- */

static void wrong(struct traffic *t, const struct wire *w, const char *what, const struct contents_stamp *stamp) {
    swarm_fail(&t->g->swarm, "client %u got a wrong packet: %s (flow %u, number %llu)", w->idx, what, stamp->flow,
               (unsigned long long)stamp->sequence);
}

static void take_packet(struct traffic *t, struct wire *w, const uint8_t *bytes, size_t size) {
    struct contents_stamp stamp = {0};
    const uint8_t *data = bytes + GENEVE_HEADER_SIZE;
    enum contents_verdict contents = contents_check(&t->contents, data, size - GENEVE_HEADER_SIZE, &stamp);
    if (contents != CONTENTS_GOOD) {
        wrong(t, w, contents_verdict_text(contents), &stamp);
        return;
    }
    // The stamp is ours: its sum fits.
    CHECK(stamp.flow < t->count);
    struct flow *f = &t->flows[stamp.flow];
    if (f->to != w->idx) {
        wrong(t, w, "it is another client's", &stamp);
    } else if (memcmp(bytes, t->heads[f->id], GENEVE_HEADER_SIZE) != 0) {
        wrong(t, w, "its Geneve header was changed", &stamp);
    } else {
        enum flow_verdict verdict = course_arrived(&t->course, f, stamp.sequence);
        if (verdict != FLOW_GOOD) wrong(t, w, flow_verdict_text(verdict), &stamp);
    }
}

/* Late answers of handshakes may still come. */
static void on_datagram(void *owner, struct wire *w, uint8_t *bytes, size_t size) {
    struct traffic *t = owner;
    bool is_packet = size == t->contents.frame_size && memcmp(bytes, t->heads[0], 4) == 0;
    if (unlikely(!is_packet || size <= GENEVE_HEADER_SIZE + CONTENTS_SIZE_MIN)) {
        if (ground_is_stray(size) || binder_take(&t->g->binder, w, bytes, size)) return;
    }
    if (likely(size >= GENEVE_HEADER_SIZE)) take_packet(t, w, bytes, size);
    else swarm_fail(&t->g->swarm, "client %u got a datagram of %zu bytes that nobody has sent", w->idx, size);
}

/* ---- course ---- */

static void shuffle(uint32_t *items, uint32_t size, struct rng *rng) {
    for (uint32_t i = size; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(rng, i), item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

static bool prepare(struct traffic *t, bool is_spread) {
    struct binder *b = &t->g->binder;
    uint8_t head[GENEVE_HEADER_SIZE] = {0};  // each packet gets its own
    t->flows = calloc(t->count, sizeof(*t->flows));
    t->order = calloc(t->count, sizeof(*t->order));
    t->place = calloc(t->count, sizeof(*t->place));
    t->heads = calloc(t->count, sizeof(*t->heads));
    if (!t->flows || !t->order || !t->place || !t->heads) return false;
    if (!contents_init(&t->contents, (uint32_t)t->g->o->size, head, sizeof(head), &b->rng)) return false;
    for (uint32_t i = 0; i < t->count; i++) {
        struct geneve_header header = {.vni = b->endpoints[i].vni, .protocol = GENEVE_PROTOCOL_WIREGUARD};
        flow_init(&t->flows[i], i, b->endpoints[i].wires[0], b->endpoints[i].wires[1]);
        geneve_header_write(t->heads[i], &header);
        t->order[i] = i;
    }
    if (is_spread) shuffle(t->order, t->count, &b->rng);
    for (uint32_t i = 0; i < t->count; i++) t->place[t->order[i]] = i;
    return true;
}

static void begin(struct traffic *t, bool is_spread) {
    const struct options *o = t->g->o;
    struct course_options options = {.mode = o->mode,
                                     .window = o->window,
                                     .step = t->unit,
                                     .gather = t->unit,
                                     .rate = o->rate,
                                     .tokens = is_spread ? max_of(o->pairs * o->window, (uint64_t)t->unit) : 0,
                                     .warmup = o->warmup,
                                     .seconds = o->seconds,
                                     .flows = t->flows,
                                     .flows_count = t->count,
                                     .order = t->order,
                                     .place = t->place,
                                     .meter = t->g->meter,
                                     .grant = grant,
                                     .owner = t};
    uint64_t under_way = is_spread ? options.tokens : t->count * o->window;
    if (o->mode == COURSE_WINDOW && !o->has_no_rest) t->rest_packets = under_way / REST_PART;
    t->g->swarm.on_datagram = on_datagram;
    t->g->swarm.owner = t;
    t->g->swarm.now_ns = sys_clock_ns();
    progress_begin(&t->progress, o->wants_progress, "udpload", "packets", t->g->meter, t->g->swarm.now_ns);
    course_begin(&t->course, &options, t->g->swarm.now_ns);
}

/* In window mode nothing is gained by being woken for each packet, and each wake costs the relay a part of what is
 * measured: a rest for as long as an eighth of what is under way will take, at the pace of late. */
static void rest(struct traffic *t) {
    uint64_t now_ns = sys_clock_ns(), came = t->course.verified - t->rested_verified;
    uint64_t wanted_ns = came ? (now_ns - t->rested_ns) * t->rest_packets / came : 0;
    struct timespec time = {.tv_nsec = (long)min_of(wanted_ns, (uint64_t)REST_NS_MAX)};
    t->rested_ns = now_ns;
    t->rested_verified = t->course.verified;
    if (wanted_ns >= REST_NS_MIN) (void)nanosleep(&time, NULL);
}

static void run(struct traffic *t) {
    struct swarm *s = &t->g->swarm;
    while (!course_is_done(&t->course) && !s->is_failed) {
        bool is_flood = t->course.options.mode == COURSE_FLOOD && course_is_sending(&t->course);
        course_step(&t->course, s->now_ns);
        progress_step(&t->progress, s->now_ns, t->course.verified);
        if (is_flood) send_flood(t);
        else if (course_is_sending(&t->course)) send_due(t);
        if (t->rest_packets && course_is_sending(&t->course)) rest(t);
        uint64_t wait_ns = is_flood ? 0 : course_wait_ns(&t->course, s->now_ns);
        if (t->is_full) wait_ns = min_of(wait_ns, (uint64_t)FULL_WAIT_NS);
        if (!s->is_failed) swarm_turn(s, wait_ns);
    }
}

bool traffic_run(struct ground *g, uint32_t flows, bool is_spread, struct traffic_result *ret) {
    struct traffic t = {
        .g = g, .count = flows, .unit = (uint32_t)options_unit(g->o), .segments = (uint32_t)g->o->segments};
    *ret = (struct traffic_result){.flows = flows, .is_spread = is_spread};
    if (prepare(&t, is_spread)) {
        begin(&t, is_spread);
        run(&t);
        ret->course = t.course.result;
    } else {
        swarm_fail(&g->swarm, "no memory for the load");
    }
    if (ret->course.verified == 0) {
        swarm_fail(&g->swarm, "not one packet of %llu came through: nothing was measured",
                   (unsigned long long)ret->course.sent);
    }
    contents_fini(&t.contents);
    free(t.flows);
    free(t.order);
    free(t.place);
    free(t.heads);
    return !g->swarm.is_failed;
}

bool relay_run(const struct options *o, const struct meter *meter, struct relay_result *ret, char *why) {
    uint32_t flows = (uint32_t)(o->flows ? o->flows : o->pairs);
    struct ground_options options = {.own = flows};
    struct ground g;
    if (ground_open(&g, o, meter, &options) && binder_run(&g.binder, 0, flows)) {
        (void)!traffic_run(&g, flows, o->flows != 0, &ret->traffic);
    }
    ret->relay = g.binder.relay;
    return ground_close(&g, why);
}
