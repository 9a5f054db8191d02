#include "perf/derpload/relay.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "perf/derpload/send_frame.h"
#include "perf/load/progress.h"

struct load {
    const struct options *o;
    struct crowd crowd;
    struct contents contents;
    struct plan plan;
    struct course course;
    struct progress progress;
    struct client *writers;  // list: may have something to write
    uint32_t packets_per_write;
};

/* ---- giving flows something to send ---- */

static void list_writer(struct load *l, struct client *c) {
    if (c->is_listed) return;
    c->is_listed = true;
    c->next_listed = l->writers;
    l->writers = c;
}

static void grant(void *owner, struct flow *f, uint32_t count) {
    struct load *l = owner;
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

/* ---- writing ---- */

static void write_packet(struct load *l, struct client *c, struct flow *f) {
    uint64_t now_ns = l->crowd.now_ns;
    uint8_t *frame = send_frame(&l->contents, f, now_ns);
    (void)course_leaves(&l->course, f, now_ns);
    client_write_frame(c, frame, l->contents.frame_size);
}

/* One write: of each flow that has something due, in turn, until the write is full. A flood is always due, and the next
 * flow of the sender begins the next write. */
static void write_some(struct load *l, struct client *c) {
    uint32_t room = l->packets_per_write;
    bool is_flood = l->o->mode == COURSE_FLOOD;
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
        if (client_may_write(c) && c->due_first && course_is_sending(&l->course)) write_some(l, c);
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
    if (f->to != c->idx) {
        wrong(l, c, "it is another client's", &stamp);
    } else if (!key_equal(packet->src, &f->from_key)) {
        wrong(l, c, "it names another source", &stamp);
    } else {
        enum flow_verdict verdict = course_arrived(&l->course, f, stamp.sequence);
        if (verdict != FLOW_GOOD) wrong(l, c, flow_verdict_text(verdict), &stamp);
    }
}

/* ---- course ---- */

static void begin(struct load *l, const struct meter *meter) {
    const struct options *o = l->o;
    struct course_options options = {.mode = o->mode,
                                     .window = o->window,
                                     .gather = o->gather,
                                     .rate = o->rate,
                                     .warmup = o->warmup,
                                     .seconds = o->seconds,
                                     .flows = l->plan.flows,
                                     .flows_count = l->plan.flows_count,
                                     .order = l->plan.order,
                                     .place = l->plan.place,
                                     .meter = meter,
                                     .grant = grant,
                                     .owner = l};
    options.step = max_of((uint64_t)1, o->window / 4);
    if (o->connections) options.tokens = o->pairs * o->window;
    progress_begin(&l->progress, o->wants_progress, "derpload", "packets", meter, l->crowd.now_ns);
    course_begin(&l->course, &options, l->crowd.now_ns);
}

static void run_load(struct load *l) {
    while (!course_is_done(&l->course) && !l->crowd.is_failed) {
        course_step(&l->course, l->crowd.now_ns);
        progress_step(&l->progress, l->crowd.now_ns, l->course.verified);
        write_all(l);
        if (!l->crowd.is_failed) crowd_turn(&l->crowd, course_wait_ns(&l->course, l->crowd.now_ns));
    }
}

/* ---- before and after ---- */

static bool prepare(struct load *l, const struct crowd_options *base) {
    struct rng rng;
    rng_init_system(&rng);
    if (!plan_make(&l->plan, l->o, &rng) || !send_frames_init(&l->contents, (uint32_t)l->o->size, &rng)) {
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
    if (prepare(l, base)) {
        begin(l, meter);
        run_load(l);
    }
    ret->course = l->course.result;
    if (!l->crowd.is_failed && ret->course.verified == 0) {
        crowd_fail(&l->crowd, "not one packet of %llu came through: nothing was measured",
                   (unsigned long long)ret->course.sent);
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
