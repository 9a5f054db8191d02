#include "perf/udpload/binder.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/geneve.h"

enum { RETRY_NS = 300 * 1000 * 1000, SCAN_NS = 50 * 1000 * 1000, ATTEMPTS_MAX = 6, LATER_ATTEMPTS_MAX = 6 };
enum { HANDSHAKE_SIZE = GENEVE_HEADER_SIZE + DISCO_OVERHEAD + DISCO_BIND_SIZE };

/* What is sent to try an endpoint. */
struct trial {
    uint64_t sum;
    uint32_t idx;
    uint32_t generation;
    uint32_t side;  // who sends it
    uint8_t padding[12];
};

enum { TRIAL_SIZE = GENEVE_HEADER_SIZE + sizeof(struct trial) };

/* ---- memory ---- */

bool binder_open(struct binder *b, const struct binder_options *options) {
    size_t slots = power_of_two_above(2 * (size_t)options->endpoints_max);
    *b = (struct binder){.options = *options, .vnis_mask = (uint32_t)slots - 1};
    rng_init_system(&b->rng);
    b->secret = rng_u64(&b->rng);
    b->lines_count = (unsigned)min_of(options->at_once, (uint32_t)ASKER_LINES_MAX);
    b->endpoints = calloc(options->endpoints_max, sizeof(*b->endpoints));
    b->parties = calloc(options->parties_max, sizeof(*b->parties));
    b->vnis = calloc(slots, sizeof(*b->vnis));
    b->under_way = calloc(options->at_once, sizeof(*b->under_way));
    b->queue = calloc(options->at_once, sizeof(*b->queue));
    bool is_fine = b->endpoints && b->parties && b->vnis && b->under_way && b->queue;
    if (!is_fine) swarm_fail(options->swarm, "no memory for the endpoints");
    return is_fine;
}

void binder_close(struct binder *b) {
    for (uint32_t i = 0; b->parties && i < b->parties_count; i++) disco_private_wipe(&b->parties[i].ours);
    free(b->endpoints);
    free(b->parties);
    free(b->vnis);
    free(b->under_way);
    free(b->queue);
}

static uint32_t add_party(struct binder *b) {
    CHECK(b->parties_count < b->options.parties_max);
    struct party *p = &b->parties[b->parties_count];
    disco_private_generate(&b->rng, &p->ours);
    disco_private_public(&p->ours, &p->key);
    return b->parties_count++;
}

/* Keys on one side for so many pairs. */
static uint32_t side_of_square(uint32_t count) {
    uint32_t side = 1;
    while ((uint64_t)side * side < count) side++;
    return side;
}

uint32_t binder_shared_parties(uint32_t count) { return 2 * side_of_square(count); }

void binder_own(struct binder *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct endpoint *e = &b->endpoints[b->count++];
        for (unsigned side = 0; side < 2; side++) {
            e->parties[side] = add_party(b);
            e->wires[side] = swarm_add(b->options.swarm, side)->idx;
        }
    }
}

void binder_shared(struct binder *b, uint32_t count, uint32_t sockets) {
    uint32_t square = side_of_square(count), first_party = b->parties_count, first_wire = b->options.swarm->count;
    for (uint32_t i = 0; i < 2 * square; i++) (void)add_party(b);
    for (uint32_t i = 0; i < 2 * sockets; i++) (void)swarm_add(b->options.swarm, i % 2);
    for (uint32_t i = 0; i < count; i++) {
        struct endpoint *e = &b->endpoints[b->count++];
        e->parties[0] = first_party + i % square;
        e->parties[1] = first_party + square + i / square;
        for (uint32_t side = 0; side < 2; side++) e->wires[side] = first_wire + 2 * (i % sockets) + side;
    }
}

/* ---- VNIs ---- */

static uint32_t slot_of(const struct binder *b, uint32_t vni) {
    return (uint32_t)((uint64_t)vni * UINT64_C(0x9e3779b97f4a7c15) >> 40) & b->vnis_mask;
}

/* A VNI of an endpoint that was forgotten by the relay may come again for another one: the later counts. */
static void remember(struct binder *b, uint32_t vni, uint32_t idx) {
    uint32_t slot = slot_of(b, vni);
    while (b->vnis[slot] != 0 && b->endpoints[b->vnis[slot] - 1].vni != vni) slot = (slot + 1) & b->vnis_mask;
    b->vnis[slot] = idx + 1;
}

static struct endpoint *find(const struct binder *b, uint32_t vni) {
    for (uint32_t slot = slot_of(b, vni); b->vnis[slot] != 0; slot = (slot + 1) & b->vnis_mask) {
        struct endpoint *e = &b->endpoints[b->vnis[slot] - 1];
        if (e->vni == vni) return e;
    }
    return NULL;
}

static uint32_t idx_of(const struct binder *b, const struct endpoint *e) { return (uint32_t)(e - b->endpoints); }
static struct wire *wire_of(struct binder *b, const struct endpoint *e, unsigned side) {
    return &b->options.swarm->wires[e->wires[side]];
}

/* ---- sending ---- */

static const struct box_key *shared_of(struct binder *b, struct party *p) {
    if (!p->has_shared) p->has_shared = disco_key_share(&p->shared, &b->server, &p->ours);
    if (!p->has_shared) swarm_fail(b->options.swarm, "the relay's disco key is of no use");
    return p->has_shared ? &p->shared : NULL;
}

static void send_handshake(struct binder *b, struct endpoint *e, unsigned side, enum disco_type type,
                           const uint8_t *challenge) {
    uint8_t bytes[HANDSHAKE_SIZE], plain[DISCO_BIND_SIZE];
    struct party *p = &b->parties[e->parties[side]];
    const struct box_key *shared = shared_of(b, p);
    struct geneve_header header = {.vni = e->vni, .protocol = GENEVE_PROTOCOL_DISCO, .is_control = true};
    struct disco_bind bind = {
        .vni = e->vni, .generation = e->generation, .remote = b->parties[e->parties[1 - side]].key};
    if (shared == NULL) return;
    if (challenge) memcpy(bind.challenge, challenge, sizeof(bind.challenge));
    struct writer w = writer_of(plain, sizeof(plain));
    disco_bind_write(&w, type, &bind);
    geneve_header_write(bytes, &header);
    w = writer_of(bytes + GENEVE_HEADER_SIZE, sizeof(bytes) - GENEVE_HEADER_SIZE);
    disco_envelope_seal(&w, &p->key, shared, &b->rng, plain, sizeof(plain));
    wire_send(b->options.swarm, wire_of(b, e, side), bytes, sizeof(bytes));
}

static uint64_t sum_of(const struct binder *b, const struct trial *t) {
    uint64_t all = (uint64_t)t->idx << 32 | (uint64_t)t->side << 31 | t->generation;
    return b->secret ^ all * UINT64_C(0x9e3779b97f4a7c15);
}

static void send_trial(struct binder *b, struct endpoint *e, unsigned side) {
    uint8_t bytes[TRIAL_SIZE];
    struct geneve_header header = {.vni = e->vni, .protocol = GENEVE_PROTOCOL_WIREGUARD};
    struct trial trial = {.idx = idx_of(b, e), .generation = e->generation, .side = side};
    trial.sum = sum_of(b, &trial);
    geneve_header_write(bytes, &header);
    memcpy(bytes + GENEVE_HEADER_SIZE, &trial, sizeof(trial));
    wire_send(b->options.swarm, wire_of(b, e, side), bytes, sizeof(bytes));
}

/* ---- an endpoint's course ---- */

static void leave(struct binder *b, uint32_t idx) {
    uint32_t at = 0;
    while (b->under_way[at] != idx) at++;
    b->under_way[at] = b->under_way[--b->under_way_count];
}

/* b->why says why. */
static void give_up(struct binder *b, uint32_t idx) {
    leave(b, idx);
    b->endpoints[idx].state = ENDPOINT_NEW;
    if (b->options.on_failed) b->options.on_failed(b->options.owner, idx);
    else swarm_fail(b->options.swarm, "%s", b->why);
}

static void enqueue(struct binder *b, uint32_t idx) {
    b->queue[(b->queue_first + b->queue_count++) % b->options.at_once] = idx;
}

void binder_start(struct binder *b, uint32_t idx) {
    struct endpoint *e = &b->endpoints[idx];
    CHECK(binder_may_start(b) && e->state == ENDPOINT_NEW);
    b->under_way[b->under_way_count++] = idx;
    e->state = ENDPOINT_ASKED;
    e->attempts = e->answered = 0;
    e->begun_ns = e->acted_ns = sys_clock_ns();
    enqueue(b, idx);
}

static void bind_both(struct binder *b, struct endpoint *e) {
    e->state = ENDPOINT_BINDING;
    e->acted_ns = b->options.swarm->now_ns;
    for (unsigned side = 0; side < 2; side++) {
        if (!(e->answered & 1u << side)) send_handshake(b, e, side, DISCO_BIND, NULL);
    }
}

/* A relay that is one process says the same each time. */
static bool take_relay(struct binder *b, const struct endpoint_answer *answer) {
    for (uint32_t i = 0; !b->has_relay && i < answer->addresses_count; i++) {
        bool is_ipv4 = net_address_is_ipv4(&answer->addresses[i]);
        if (b->options.family != FAMILY_ANY && is_ipv4 != (b->options.family == FAMILY_IPV4)) continue;
        b->relay = answer->addresses[i];
        b->server = answer->server;
        b->has_relay = true;
    }
    if (!b->has_relay) swarm_fail(b->options.swarm, "the relay has no address of that --family");
    else if (!disco_key_equal(&b->server, &answer->server))
        swarm_fail(b->options.swarm, "the relay has another key now");
    return !b->options.swarm->is_failed;
}

static void begin_binding(struct binder *b, uint32_t idx, const struct endpoint_answer *answer) {
    struct endpoint *e = &b->endpoints[idx];
    if (!take_relay(b, answer)) return;
    for (unsigned side = 0; side < 2; side++) {
        if (!swarm_connect(b->options.swarm, wire_of(b, e, side), &b->relay)) return;
    }
    e->vni = answer->vni;
    e->generation++;
    e->attempts = 0;
    remember(b, e->vni, idx);
    bind_both(b, e);
}

static void retry(struct binder *b, uint32_t idx) {
    struct endpoint *e = &b->endpoints[idx];
    if (e->attempts++ >= ATTEMPTS_MAX) {
        snprintf(b->why, sizeof(b->why), "endpoint %u (VNI %u): %s", idx, e->vni,
                 e->state == ENDPOINT_TRYING ? "bound, but no packet comes through" : "a Bind is not answered");
        give_up(b, idx);
        return;
    }
    if (e->state == ENDPOINT_TRYING) {
        e->generation++;
        e->answered = 0;
    }
    bind_both(b, e);
}

/* ---- what comes ---- */

static bool wrong(struct binder *b, const struct endpoint *e, const char *what) {
    swarm_fail(b->options.swarm, "a wrong answer to a Bind (VNI %u): %s", e ? e->vni : 0, what);
    return true;
}

static void take_challenge(struct binder *b, struct endpoint *e, unsigned side, const struct disco_bind *bind) {
    if (bind->generation != e->generation || e->state != ENDPOINT_BINDING || e->answered & 1u << side) return;
    e->answered |= (uint8_t)(1u << side);
    e->acted_ns = b->options.swarm->now_ns;
    send_handshake(b, e, side, DISCO_ANSWER, bind->challenge);
    send_trial(b, e, side);
    if (e->answered == 3) e->state = ENDPOINT_TRYING;
}

static bool take_control(struct binder *b, struct wire *w, const struct geneve_header *header, uint8_t *bytes,
                         size_t size) {
    struct endpoint *e = find(b, header->vni);
    struct disco_message message;
    size_t plain_size;
    if (e == NULL || e->wires[w->side] != w->idx) return wrong(b, e, "it came to a socket that has not asked");
    const struct disco_key *sender = disco_envelope_sender(bytes, size);
    if (size != HANDSHAKE_SIZE - GENEVE_HEADER_SIZE) return wrong(b, e, "its size");
    if (sender == NULL || !disco_key_equal(sender, &b->server)) return wrong(b, e, "the relay's key");
    const struct party *p = &b->parties[e->parties[w->side]], *other = &b->parties[e->parties[1 - w->side]];
    const uint8_t *plain = disco_envelope_open(&p->shared, bytes, size, &plain_size);
    if (plain == NULL) return wrong(b, e, "it does not open");
    if (disco_message_parse(plain, plain_size, &message) != DISCO_OK || message.type != DISCO_CHALLENGE ||
        message.bind.vni != e->vni || !disco_key_equal(&message.bind.remote, &other->key)) {
        return wrong(b, e, "it is no challenge of this endpoint");
    }
    take_challenge(b, e, w->side, &message.bind);
    return true;
}

static bool take_trial(struct binder *b, struct wire *w, const struct geneve_header *header, const uint8_t *bytes) {
    struct trial trial;
    memcpy(&trial, bytes, sizeof(trial));
    if (trial.sum != sum_of(b, &trial) || trial.idx >= b->count || trial.side > 1) return false;
    struct endpoint *e = &b->endpoints[trial.idx];
    if (e->wires[1 - trial.side] != w->idx || e->vni != header->vni) {
        swarm_fail(b->options.swarm, "a packet of VNI %u came to another client", e->vni);
    } else if (e->state == ENDPOINT_TRYING) {
        e->state = ENDPOINT_BOUND;
        b->bound++;
        leave(b, trial.idx);
        if (b->options.on_bound) b->options.on_bound(b->options.owner, trial.idx);
    }
    return true;
}

bool binder_take(struct binder *b, struct wire *w, uint8_t *bytes, size_t size) {
    struct geneve_header header;
    if (!geneve_header_read_strict(bytes, size, &header)) return false;
    uint8_t *body = bytes + GENEVE_HEADER_SIZE;
    if (header.is_control) return take_control(b, w, &header, body, size - GENEVE_HEADER_SIZE);
    return size == TRIAL_SIZE && take_trial(b, w, &header, body);
}

/* ---- the loop ---- */

static void ask(struct binder *b) {
    for (unsigned i = 0; i < b->lines_count && b->queue_count > 0 && !b->options.swarm->is_failed; i++) {
        if (b->options.asker->lines[i].is_waiting) continue;
        uint32_t idx = b->queue[b->queue_first];
        const struct endpoint *e = &b->endpoints[idx];
        struct disco_pair pair = disco_pair_of(&b->parties[e->parties[0]].key, &b->parties[e->parties[1]].key);
        b->queue_first = (b->queue_first + 1) % b->options.at_once;
        b->queue_count--;
        b->lines[i] = idx;
        if (!asker_ask(b->options.asker, i, &pair)) swarm_fail(b->options.swarm, "%s", b->options.asker->why);
    }
}

static void take_answer(struct binder *b, unsigned line) {
    struct endpoint_answer answer;
    uint32_t idx = b->lines[line];
    struct endpoint *e = &b->endpoints[idx];
    enum asker_result result = asker_answer(b->options.asker, line, &answer);
    e->acted_ns = b->options.swarm->now_ns = sys_clock_ns();
    if (result == ASKER_GOOD) {
        begin_binding(b, idx, &answer);
    } else if (result == ASKER_FAILED) {
        swarm_fail(b->options.swarm, "%s", b->options.asker->why);
    } else if (result == ASKER_REFUSED || e->attempts++ >= LATER_ATTEMPTS_MAX) {
        snprintf(b->why, sizeof(b->why), "%s", b->options.asker->why);
        give_up(b, idx);
    } else {
        e->acted_ns += NS_PER_S;  // that much later it is overdue
        e->state = ENDPOINT_NEW;
    }
}

/* Backwards: who gives up is replaced by the last. */
static void scan(struct binder *b) {
    uint64_t now_ns = b->options.swarm->now_ns;
    if (now_ns < b->next_scan_ns) return;
    b->next_scan_ns = now_ns + SCAN_NS;
    for (uint32_t i = b->under_way_count; i-- > 0 && !b->options.swarm->is_failed;) {
        uint32_t idx = b->under_way[i];
        struct endpoint *e = &b->endpoints[idx];
        if (e->state == ENDPOINT_ASKED || now_ns < e->acted_ns + RETRY_NS) continue;
        if (e->state != ENDPOINT_NEW) {
            retry(b, idx);
        } else {
            e->state = ENDPOINT_ASKED;
            enqueue(b, idx);
        }
    }
}

void binder_turn(struct binder *b, uint64_t wait_ns) {
    struct pollfd fds[1 + ASKER_LINES_MAX] = {{.fd = b->options.swarm->epoll_fd, .events = POLLIN}};
    uint64_t bounded_ns = min_of(wait_ns, (uint64_t)SCAN_NS);
    struct timespec wait = {.tv_nsec = (long)bounded_ns};
    ask(b);
    for (unsigned i = 0; i < b->lines_count; i++) {
        const struct asker_line *l = &b->options.asker->lines[i];
        fds[1 + i] = (struct pollfd){.fd = l->is_waiting ? l->channel.fd : -1, .events = POLLIN};
    }
    if (b->options.swarm->is_failed || ppoll(fds, 1 + b->lines_count, &wait, NULL) < 0) return;
    swarm_turn(b->options.swarm, 0);
    for (unsigned i = 0; i < b->lines_count && !b->options.swarm->is_failed; i++) {
        if (fds[1 + i].revents) take_answer(b, i);
    }
    scan(b);
}

bool binder_run(struct binder *b, uint32_t from, uint32_t to) {
    uint64_t wanted = b->bound + (to - from);
    while (b->bound < wanted && !b->options.swarm->is_failed) {
        while (from < to && binder_may_start(b)) binder_start(b, from++);
        binder_turn(b, SCAN_NS);
    }
    return !b->options.swarm->is_failed;
}
