#include "perf/derpload/rtt.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/sys.h"
#include "perf/derpload/send_frame.h"
#include "perf/load/progress.h"

enum { SPIN_NS = 50 * 1000, LATE_NS = 1000 * 1000, DRAIN_NS = 1000 * 1000 * 1000 };

/* Flow 0 goes there, flow 1 back. With an echo there is one client and flow 0 comes back by itself. */
struct probe {
    const struct options *o;
    struct rtt_result *result;
    struct crowd crowd;
    struct contents contents;
    struct progress progress;
    struct flow flows[2];
    bool is_echo;
    bool is_measuring;
    double period_ns;
    uint64_t start_ns;
    uint64_t back_due_sent;  // number of packets B has to send back
    uint64_t back[8192];     // their times, in a circle
    uint64_t verified;
};

static uint64_t due_ns(const struct probe *p, uint64_t number) {
    return p->start_ns + (uint64_t)((double)number * p->period_ns);
}

static void write_packet(struct probe *p, struct flow *f, uint64_t wanted_ns) {
    struct client *c = &p->crowd.clients[f->from];
    uint8_t *frame = send_frame(&p->contents, f, wanted_ns);
    f->sent++;
    // An echo is no relay: what is to come back as a packet from ourselves has to leave as one.
    if (p->is_echo) derp_rewrite_send_to_recv(frame, &f->from_key);
    client_write_begin(c);
    client_write_frame(c, frame, p->contents.frame_size);
    client_write_end(c);
}

/* ---- there ---- */

/* One after the other when several are overdue: on_sendable brings the next. */
static void send_due(struct probe *p, uint64_t now_ns) {
    struct flow *f = &p->flows[0];
    uint64_t wanted_ns = due_ns(p, f->sent);
    if (now_ns < wanted_ns || !client_may_write(&p->crowd.clients[0])) return;
    if (p->is_measuring && now_ns > wanted_ns + LATE_NS) p->result->late++;
    write_packet(p, f, wanted_ns);
}

/* ---- and back ---- */

static void send_back(struct probe *p) {
    struct flow *f = &p->flows[1];
    if (f->sent == p->back_due_sent || !client_may_write(&p->crowd.clients[1])) return;
    write_packet(p, f, p->back[f->sent % array_count(p->back)]);
}

static void on_sendable(void *owner, struct client *c) {
    struct probe *p = owner;
    if (c->idx == 1) send_back(p);
}

/* More than a circle of packets waiting behind a write that does not end are as good as lost. */
static void turn_back(struct probe *p, const struct contents_stamp *stamp) {
    if (p->back_due_sent - p->flows[1].sent >= array_count(p->back)) return;
    p->back[p->back_due_sent++ % array_count(p->back)] = stamp->sent_ns;
    send_back(p);
}

static void arrived(struct probe *p, const struct contents_stamp *stamp) {
    p->verified++;
    if (p->is_measuring && stamp->sent_ns >= p->result->begin.now_ns) {
        p->result->verified++;
        histogram_add(&p->result->rtt_ns, sys_clock_ns() - stamp->sent_ns);
    }
}

static void on_packet(void *owner, struct client *c, const struct derp_recv *packet) {
    struct probe *p = owner;
    struct contents_stamp stamp = {0};
    enum contents_verdict contents = contents_check(&p->contents, packet->data, packet->data_size, &stamp);
    if (contents != CONTENTS_GOOD || stamp.flow >= array_count(p->flows)) {
        crowd_fail(&p->crowd, "client %u got a wrong packet: %s", c->idx, contents_verdict_text(contents));
        return;
    }
    struct flow *f = &p->flows[stamp.flow];
    enum flow_verdict verdict = flow_receive(f, stamp.sequence);
    if (f->to != c->idx || !key_equal(packet->src, &f->from_key) || verdict != FLOW_GOOD) {
        crowd_fail(&p->crowd, "client %u got a wrong packet: %s", c->idx,
                   verdict != FLOW_GOOD ? flow_verdict_text(verdict) : "it is another client's");
    } else if (f->id == 0 && !p->is_echo) {
        turn_back(p, &stamp);
    } else {
        arrived(p, &stamp);
    }
}

/* ---- course ---- */

static void turn(struct probe *p, uint64_t until_ns) {
    uint64_t now_ns = p->crowd.now_ns;
    uint64_t wait_ns = until_ns > now_ns + SPIN_NS ? until_ns - now_ns - SPIN_NS : 0;
    crowd_turn(&p->crowd, wait_ns);
    progress_step(&p->progress, p->crowd.now_ns, p->verified);
}

static void run_until(struct probe *p, uint64_t end_ns) {
    while (!p->crowd.is_failed && due_ns(p, p->flows[0].sent) < end_ns) {
        send_due(p, p->crowd.now_ns);
        bool is_busy = !client_may_write(&p->crowd.clients[0]);
        uint64_t next_ns = due_ns(p, p->flows[0].sent);
        turn(p, is_busy ? max_of(next_ns, p->crowd.now_ns + NS_PER_MS) : next_ns);
    }
}

static uint64_t after(uint64_t from_ns, double seconds) { return from_ns + (uint64_t)(seconds * (double)NS_PER_S); }

static void measure(struct probe *p, const struct meter *meter) {
    struct rtt_result *r = p->result;
    p->start_ns = p->crowd.now_ns;
    run_until(p, after(p->start_ns, p->o->warmup));
    meter_read(meter, &r->begin);
    r->begin.now_ns = due_ns(p, p->flows[0].sent);
    p->is_measuring = true;
    uint64_t sent_before = p->flows[0].sent;
    run_until(p, after(r->begin.now_ns, p->o->seconds));
    meter_read(meter, &r->end);
    r->sent = p->flows[0].sent - sent_before;
    uint64_t drain_ns = p->crowd.now_ns + DRAIN_NS;
    while (!p->crowd.is_failed && r->verified < r->sent && p->crowd.now_ns < drain_ns) turn(p, drain_ns);
    r->lost = r->sent - min_of(r->sent, r->verified);
    r->reordered = p->flows[0].reordered + p->flows[1].reordered;
    r->rss_kib = meter_server_rss_kib(meter);
}

static bool prepare(struct probe *p, const struct crowd_options *base) {
    struct crowd_options options = *base;
    struct rng rng;
    rng_init_system(&rng);
    if (!send_frames_init(&p->contents, (uint32_t)p->o->size, &rng)) {
        crowd_fail(&p->crowd, "no memory for the packets");
        return false;
    }
    options.clients = p->is_echo ? 1 : 2;
    options.frame_size = p->contents.frame_size;
    options.records_per_write = options.frames_per_record = 1;
    options.callbacks = (struct crowd_callbacks){.on_sendable = on_sendable, .on_packet = on_packet};
    options.owner = p;
    if (!crowd_open(&p->crowd, &options) || !crowd_log_in(&p->crowd, 2)) return false;
    uint32_t other = p->is_echo ? 0 : 1;
    flow_init(&p->flows[0], 0, 0, other);
    flow_init(&p->flows[1], 1, other, 0);
    for (unsigned i = 0; i < array_count(p->flows); i++) {
        p->flows[i].from_key = p->crowd.clients[p->flows[i].from].key;
        p->flows[i].to_key = p->crowd.clients[p->flows[i].to].key;
    }
    return true;
}

bool rtt_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
             struct rtt_result *ret, char *why) {
    struct probe *p = calloc(1, sizeof(*p));
    CHECK(p != NULL);
    memset(ret, 0, sizeof(*ret));
    histogram_clear(&ret->rtt_ns);
    p->o = o;
    p->result = ret;
    p->is_echo = base->is_bare;
    p->period_ns = (double)NS_PER_S / (double)o->rate;
    if (prepare(p, base)) {
        progress_begin(&p->progress, o->wants_progress, "derpload", "packets", meter, p->crowd.now_ns);
        measure(p, meter);
    }
    if (!p->crowd.is_failed && ret->verified == 0) crowd_fail(&p->crowd, "no packet came back: nothing was measured");
    ret->suite = p->crowd.suite;
    bool is_fine = !p->crowd.is_failed;
    snprintf(why, CROWD_WHY_MAX, "%s", p->crowd.why);
    crowd_close(&p->crowd);
    contents_fini(&p->contents);
    free(p);
    return is_fine;
}
