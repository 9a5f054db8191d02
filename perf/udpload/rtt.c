#include "perf/udpload/rtt.h"

#include <stdlib.h>

#include "core/check.h"
#include "perf/load/contents.h"
#include "perf/load/flow.h"
#include "proto/geneve.h"

enum { SPIN_NS = 50 * 1000, LATE_NS = 1000 * 1000, DRAIN_NS = 1000 * 1000 * 1000 };

/* Flow 0 goes there, flow 1 back. */
struct probe {
    struct ground ground;
    struct rtt_result *result;
    struct contents contents;
    struct progress progress;
    struct flow flows[2];
    bool is_measuring;
    double period_ns;
    uint64_t start_ns;
    uint64_t verified;
};

static uint64_t due_ns(const struct probe *p, uint64_t number) {
    return p->start_ns + (uint64_t)((double)number * p->period_ns);
}

static void send_packet(struct probe *p, struct flow *f, uint64_t wanted_ns) {
    const uint8_t *frame = contents_frame(&p->contents, f->id, f->sent, wanted_ns);
    f->sent++;
    wire_send(&p->ground.swarm, &p->ground.swarm.wires[f->from], frame, p->contents.frame_size);
}

static void send_due(struct probe *p) {
    struct flow *f = &p->flows[0];
    uint64_t now_ns = sys_clock_ns(), wanted_ns = due_ns(p, f->sent);
    if (now_ns < wanted_ns) return;
    if (p->is_measuring && now_ns > wanted_ns + LATE_NS) p->result->late++;
    send_packet(p, f, wanted_ns);
}

static void arrived(struct probe *p, const struct contents_stamp *stamp) {
    p->verified++;
    if (!p->is_measuring || stamp->sent_ns < p->result->begin.now_ns) return;
    p->result->verified++;
    histogram_add(&p->result->rtt_ns, sys_clock_ns() - stamp->sent_ns);
}

static void take_packet(struct probe *p, struct wire *w, const uint8_t *data, size_t size) {
    struct contents_stamp stamp = {0};
    enum contents_verdict contents = contents_check(&p->contents, data, size, &stamp);
    if (contents != CONTENTS_GOOD || stamp.flow >= array_count(p->flows)) {
        swarm_fail(&p->ground.swarm, "client %u got a wrong packet: %s", w->idx, contents_verdict_text(contents));
        return;
    }
    struct flow *f = &p->flows[stamp.flow];
    enum flow_verdict verdict = flow_receive(f, stamp.sequence);
    if (f->to != w->idx || verdict != FLOW_GOOD) {
        swarm_fail(&p->ground.swarm, "client %u got a wrong packet: %s", w->idx,
                   verdict != FLOW_GOOD ? flow_verdict_text(verdict) : "it is another client's");
    } else if (f->id == 0) {
        send_packet(p, &p->flows[1], stamp.sent_ns);
    } else {
        arrived(p, &stamp);
    }
}

static void on_datagram(void *owner, struct wire *w, uint8_t *bytes, size_t size) {
    struct probe *p = owner;
    bool is_ours = size == p->contents.frame_size && w->idx < 2;
    if (is_ours && size > GENEVE_HEADER_SIZE + CONTENTS_SIZE_MIN) {
        take_packet(p, w, bytes + GENEVE_HEADER_SIZE, size - GENEVE_HEADER_SIZE);
    } else if (!ground_is_stray(size) && !binder_take(&p->ground.binder, w, bytes, size)) {
        if (is_ours) take_packet(p, w, bytes + GENEVE_HEADER_SIZE, size - GENEVE_HEADER_SIZE);
        else swarm_fail(&p->ground.swarm, "client %u got %zu bytes that nobody has sent", w->idx, size);
    }
}

/* ---- course ---- */

static void turn(struct probe *p, uint64_t until_ns) {
    uint64_t now_ns = sys_clock_ns();
    swarm_turn(&p->ground.swarm, until_ns > now_ns + SPIN_NS ? until_ns - now_ns - SPIN_NS : 0);
    progress_step(&p->progress, p->ground.swarm.now_ns, p->verified);
}

static void run_until(struct probe *p, uint64_t end_ns) {
    while (!p->ground.swarm.is_failed && due_ns(p, p->flows[0].sent) < end_ns) {
        send_due(p);
        turn(p, due_ns(p, p->flows[0].sent));
    }
}

static uint64_t after(uint64_t from_ns, double seconds) { return from_ns + (uint64_t)(seconds * (double)NS_PER_S); }

static void measure(struct probe *p) {
    struct rtt_result *r = p->result;
    const struct options *o = p->ground.o;
    p->start_ns = sys_clock_ns();
    run_until(p, after(p->start_ns, o->warmup));
    meter_read(p->ground.meter, &r->begin);
    r->begin.now_ns = due_ns(p, p->flows[0].sent);
    p->is_measuring = true;
    uint64_t sent_before = p->flows[0].sent;
    run_until(p, after(r->begin.now_ns, o->seconds));
    meter_read(p->ground.meter, &r->end);
    r->sent = p->flows[0].sent - sent_before;
    uint64_t drain_ns = sys_clock_ns() + DRAIN_NS;
    while (!p->ground.swarm.is_failed && r->verified < r->sent && sys_clock_ns() < drain_ns) turn(p, drain_ns);
    r->lost = r->sent - min_of(r->sent, r->verified);
    r->reordered = p->flows[0].reordered + p->flows[1].reordered;
    r->rss_kib = meter_server_rss_kib(p->ground.meter);
}

static bool prepare(struct probe *p) {
    struct binder *b = &p->ground.binder;
    uint8_t head[GENEVE_HEADER_SIZE];
    if (!binder_run(b, 0, 1)) return false;
    const struct endpoint *e = &b->endpoints[0];
    struct geneve_header header = {.vni = e->vni, .protocol = GENEVE_PROTOCOL_WIREGUARD};
    geneve_header_write(head, &header);
    if (!contents_init(&p->contents, (uint32_t)p->ground.o->size, head, sizeof(head), &b->rng)) {
        swarm_fail(&p->ground.swarm, "no memory for the packets");
        return false;
    }
    flow_init(&p->flows[0], 0, e->wires[0], e->wires[1]);
    flow_init(&p->flows[1], 1, e->wires[1], e->wires[0]);
    p->ground.swarm.on_datagram = on_datagram;
    p->ground.swarm.owner = p;
    return true;
}

bool rtt_run(const struct options *o, const struct meter *meter, struct rtt_result *ret, char *why) {
    struct ground_options options = {.own = 1};
    struct probe *p = calloc(1, sizeof(*p));
    CHECK(p != NULL);
    memset(ret, 0, sizeof(*ret));
    histogram_clear(&ret->rtt_ns);
    p->result = ret;
    p->period_ns = (double)NS_PER_S / (double)o->rate;
    if (ground_open(&p->ground, o, meter, &options) && prepare(p)) {
        progress_begin(&p->progress, o->wants_progress, "udpload", "packets", meter, sys_clock_ns());
        measure(p);
        if (ret->verified == 0) swarm_fail(&p->ground.swarm, "no packet came back: nothing was measured");
    }
    ret->relay = p->ground.binder.relay;
    contents_fini(&p->contents);
    bool is_fine = ground_close(&p->ground, why);
    free(p);
    return is_fine;
}
