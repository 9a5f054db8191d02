/* test_vni_model.c - endpoints of the UDP relay: random steps of everything, against a slow and simple model. */
#include "test_vni_bed.h"

enum { ENDPOINTS = 24, KEYS = 7, ADDRESSES = 6, CHALLENGES = 32, STEPS = 60000, MARKS = 12 };

struct model_leg {
    uint32_t key, bound, generation;
    uint64_t seen_ns, packets, marks[VNI_ANSWERS_KEPT];
};

struct model_endpoint {
    bool is_alive, is_replaced;
    uint32_t vni;
    uint64_t lamport, allocated_ns, promised_ns;
    struct model_leg legs[2];
};

struct model_challenge {
    uint64_t lamport, made_ns;
    uint32_t leg;
    struct vni_event event;
    uint32_t from;
};

struct model {
    struct bed bed;
    struct rng rng;
    uint64_t now_ns, lamport;
    struct model_endpoint endpoints[ENDPOINTS];
    struct model_challenge challenges[CHALLENGES];
    uint32_t bound_count, replayed_count, replaced_count, expired_count, sent_count, refused_count;
};

static uint32_t draw(struct model *m, uint32_t bound) { return (uint32_t)rng_below(&m->rng, bound); }

static bool model_is_open(const struct model_endpoint *e) { return e->legs[0].bound && e->legs[1].bound; }

static uint64_t model_end_ns(const struct model_endpoint *e) {
    if (!model_is_open(e)) return e->promised_ns;
    return max_of(e->promised_ns, min_of(e->legs[0].seen_ns, e->legs[1].seen_ns) + VNI_STEADY_S * NS_PER_S);
}

static uint32_t model_alive(const struct model *m, bool is_open_only) {
    uint32_t count = 0;
    for (int i = 0; i < ENDPOINTS; i++) {
        count += m->endpoints[i].is_alive && (!is_open_only || model_is_open(&m->endpoints[i]));
    }
    return count;
}

static struct model_endpoint *model_of_pair(struct model *m, uint32_t a, uint32_t b) {
    for (int i = 0; i < ENDPOINTS; i++) {
        struct model_endpoint *e = &m->endpoints[i];
        if (e->is_alive && !e->is_replaced && e->legs[0].key == a && e->legs[1].key == b) return e;
    }
    return NULL;
}

static struct model_endpoint *model_of_vni(struct model *m, uint32_t vni) {
    for (int i = 0; i < ENDPOINTS; i++) {
        if (m->endpoints[i].is_alive && m->endpoints[i].vni == vni) return &m->endpoints[i];
    }
    return NULL;
}

static struct model_endpoint *model_unused(struct model *m) {
    int i = 0;
    while (m->endpoints[i].is_alive) i++;
    return &m->endpoints[i];
}

static void step_allocate(struct model *m) {
    uint32_t a = 1 + draw(m, KEYS), b = 1 + draw(m, KEYS);
    struct vni_request request = request_of(a, b);
    struct vni_offer offer;
    struct model_endpoint *e = model_of_pair(m, min_of(a, b), max_of(a, b));
    enum vni_allocation got = vni_allocate(&m->bed.table, &request, m->now_ns, &offer);
    uint64_t promise_ns = m->now_ns + 35 * NS_PER_S;
    bool is_stale = e && !model_is_open(e) && m->now_ns > e->allocated_ns + 20 * NS_PER_S;
    if (a == b) {
        assert_true(got == VNI_REFUSED && offer.reason == UDP_REFUSE_EQUAL_KEYS);
    } else if (e && !is_stale) {
        assert_true(got == VNI_EXISTING && offer.vni == e->vni && offer.lamport == e->lamport);
        assert_int_equal(offer.is_open, model_is_open(e));
        e->promised_ns = max_of(e->promised_ns, promise_ns);
    } else if (model_alive(m, false) == ENDPOINTS - 1) {
        assert_true(got == VNI_REFUSED && offer.reason == UDP_REFUSE_FULL);
        m->refused_count++;
    } else if (model_alive(m, false) - model_alive(m, true) == ENDPOINTS / 2) {
        assert_true(got == VNI_REFUSED && offer.reason == UDP_REFUSE_UNBOUND_FULL);
        m->refused_count++;
    } else {
        assert_true(got == VNI_NEW && offer.lamport == ++m->lamport && model_of_vni(m, offer.vni) == NULL);
        m->replaced_count += is_stale;
        if (is_stale) e->is_replaced = true;
        *model_unused(m) = (struct model_endpoint){.is_alive = true,
                                                   .vni = offer.vni,
                                                   .lamport = offer.lamport,
                                                   .allocated_ns = m->now_ns,
                                                   .promised_ns = promise_ns,
                                                   .legs = {{.key = min_of(a, b)}, {.key = max_of(a, b)}}};
    }
}

static void step_bind(struct model *m) {
    struct model_endpoint *e = &m->endpoints[draw(m, ENDPOINTS)];  // perhaps one that is gone
    uint32_t leg = draw(m, 2), from = 1 + draw(m, ADDRESSES), generation = draw(m, 3);
    struct vni_event event = event_of(VNI_BIND, e->vni, generation, e->legs[1 - leg].key, from);
    struct vni_outcome outcome;
    enum vni_action action = say(&m->bed, e->legs[leg].key, &event, m->now_ns, &outcome);
    assert_int_equal(action, e->is_alive && generation ? VNI_CHALLENGE : VNI_DROP);
    if (action != VNI_CHALLENGE) return;
    e->legs[leg].generation = generation;
    event.kind = VNI_ANSWER;
    event.nonce_mark = draw(m, MARKS);
    memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
    m->challenges[draw(m, CHALLENGES)] =
        (struct model_challenge){.lamport = e->lamport, .made_ns = m->now_ns, .leg = leg, .event = event, .from = from};
}

static bool model_was_taken(struct model *m, const struct model_leg *leg, uint64_t mark) {
    bool was_taken = false;
    for (int i = 0; i < VNI_ANSWERS_KEPT; i++) was_taken |= mark != 0 && leg->marks[i] == mark;
    m->replayed_count += was_taken;
    return was_taken;
}

static void model_bind(struct model *m, struct model_leg *leg, uint32_t from, uint64_t mark) {
    leg->bound = from;
    leg->seen_ns = m->now_ns;
    leg->generation = 0;
    memmove(leg->marks + 1, leg->marks, (VNI_ANSWERS_KEPT - 1) * sizeof(mark));
    leg->marks[0] = mark;
    m->bound_count++;
}

static void step_answer(struct model *m) {
    const struct model_challenge *c = &m->challenges[draw(m, CHALLENGES)];
    if (c->lamport == 0) return;
    struct vni_event event = c->event;
    struct model_endpoint *e = model_of_vni(m, event.vni);
    const uint64_t period = VNI_CHALLENGE_PERIOD_S * NS_PER_S;
    uint32_t key = 0;
    for (uint32_t n = 1; n <= KEYS; n++) {
        struct disco_key remote = key_of(n);
        if (e && e->lamport == c->lamport && memcmp(&event.remote, &remote, sizeof(remote)) == 0) {
            key = e->legs[c->leg].key;
        }
    }
    bool is_spoilt = draw(m, 8) == 0;
    if (is_spoilt && draw(m, 2)) {
        event.source = address_of(c->from % ADDRESSES + 1);
    } else if (is_spoilt) {
        event.challenge[draw(m, VNI_CHALLENGE_SIZE)] ^= 0x40;
    }
    bool is_good = key != 0 && !is_spoilt && e->legs[c->leg].generation == event.generation &&
                   m->now_ns / period - c->made_ns / period <= 1;
    if (is_good) is_good = !model_was_taken(m, &e->legs[c->leg], event.nonce_mark);
    struct vni_outcome outcome;
    bool was_open = e && model_is_open(e);
    enum vni_action action = say(&m->bed, key, &event, m->now_ns, &outcome);
    assert_int_equal(action, is_good ? VNI_BOUND : VNI_DROP);
    if (!is_good) return;
    model_bind(m, &e->legs[c->leg], c->from, event.nonce_mark);
    assert_int_equal(outcome.has_opened, !was_open && model_is_open(e));
}

static void step_send(struct model *m) {
    struct model_endpoint *e = &m->endpoints[draw(m, ENDPOINTS)];
    uint32_t from = 1 + draw(m, ADDRESSES);
    struct vni_address source = address_of(from);
    struct vni_hop hop;
    bool is_sent = vni_far_end(&m->bed.table, e->vni, &source, &hop);
    bool is_from[2] = {e->legs[0].bound == from, e->legs[1].bound == from};
    assert_int_equal(is_sent, e->is_alive && model_is_open(e) && (is_from[0] || is_from[1]));
    if (!is_sent) {
        assert_int_equal(hop.reason, !e->is_alive        ? UDP_DROP_VNI_UNKNOWN
                                     : !model_is_open(e) ? UDP_DROP_NOT_OPEN
                                                         : UDP_DROP_NOT_BOUND);
        return;
    }
    uint32_t leg = !is_from[0];
    assert_int_equal(hop.leg, leg);
    assert_true(address_is(&hop.to, e->legs[1 - leg].bound));
    vni_count(&hop, 3, 300, m->now_ns);
    e->legs[leg].packets += 3;
    e->legs[leg].seen_ns = m->now_ns;
    m->sent_count++;
}

/* The wheel is up to two ticks late. */
static void step_time(struct model *m) {
    struct vni_gone gone;
    m->now_ns += draw(m, 16) ? (uint64_t)draw(m, 2000) * NS_PER_MS : (uint64_t)draw(m, 40) * NS_PER_S;
    while (vni_expire(&m->bed.table, m->now_ns, &gone)) {
        struct model_endpoint *e = model_of_vni(m, gone.vni);
        assert_true(e && e->lamport == gone.lamport && model_end_ns(e) <= m->now_ns);
        assert_int_equal(gone.was_open, model_is_open(e));
        e->is_alive = false;
        m->expired_count++;
    }
    for (int i = 0; i < ENDPOINTS; i++) {
        if (m->endpoints[i].is_alive) assert_true(model_end_ns(&m->endpoints[i]) + 10 * NS_PER_MS > m->now_ns);
    }
}

static void step_release(struct model *m) {
    struct model_endpoint *e = &m->endpoints[draw(m, ENDPOINTS)];
    struct vni_gone gone;
    assert_int_equal(vni_release(&m->bed.table, e->vni, &gone), e->is_alive);
    if (e->is_alive) assert_int_equal(gone.was_open, model_is_open(e));
    e->is_alive = false;
}

static void compare_all(struct model *m) {
    struct vni_info info;
    uint32_t cursor = 0, count = 0;
    for (; vni_list(&m->bed.table, &cursor, &info); count++) {
        struct model_endpoint *e = model_of_vni(m, info.vni);
        assert_true(e && e->lamport == info.lamport && model_is_open(e) == info.is_open);
        for (int leg = 0; leg < 2; leg++) {
            struct disco_key key = key_of(e->legs[leg].key);
            assert_memory_equal(&info.clients[leg].key, &key, sizeof(key));
            assert_int_equal(info.clients[leg].packets, e->legs[leg].packets);
            assert_int_equal(info.clients[leg].last_seen_ns, e->legs[leg].seen_ns);
            if (e->legs[leg].bound) assert_true(address_is(&info.clients[leg].address, e->legs[leg].bound));
            if (!e->legs[leg].bound) assert_int_equal(info.clients[leg].address.port, 0);
        }
    }
    assert_int_equal(count, model_alive(m, false));
    assert_int_equal(vni_used_count(&m->bed.table), count);
    assert_int_equal(vni_open_count(&m->bed.table), model_alive(m, true));
}

static void test_like_a_model(void **state) {
    (void)state;
    static struct model m;
    m.now_ns = T0;
    rng_init_seeded(&m.rng, 42);
    bed_make_with(&m.bed, (struct vni_options){.endpoints_max = ENDPOINTS - 1, .unbound_max = ENDPOINTS / 2}, 43);
    for (int i = 0; i < STEPS; i++) {
        uint32_t step = draw(&m, 100);
        if (step < 12) {
            step_allocate(&m);
        } else if (step < 40) {
            step_bind(&m);
        } else if (step < 70) {
            step_answer(&m);
        } else if (step < 92) {
            step_send(&m);
        } else if (step < 99) {
            step_time(&m);
        } else {
            step_release(&m);
        }
        if (i % 16 == 0) compare_all(&m);
    }
    // It went everywhere.
    assert_true(m.bound_count > 500 && m.replayed_count > 20 && m.replaced_count > 20);
    assert_true(m.expired_count > 100 && m.sent_count > 500 && m.refused_count > 20);
    bed_end(&m.bed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_a_model),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
