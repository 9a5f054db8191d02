/* test_vni_handshake.c - who may bind what: the rules of Bind and Answer, roaming, challenges, replays, packets. */
#include "test_vni_bed.h"

#include "relay/vni_challenge.h"

enum { A = 1, B = 2, HOME_A = 11, HOME_B = 12 };

struct pair {
    struct bed bed;
    uint32_t vni;
};

static void pair_make(struct pair *p) {
    bed_make(&p->bed, 16);
    p->vni = allocate(&p->bed, A, B, T0);
}

static void pair_open(struct pair *p) {
    pair_make(p);
    bind_leg_to(&p->bed, p->vni, A, B, HOME_A, T0);
    bind_leg_to(&p->bed, p->vni, B, A, HOME_B, T0);
}

/* A's message is dropped for that reason. */
static void assert_dropped(struct pair *p, const struct vni_event *event, uint64_t now_ns,
                           enum udp_drop_reason reason) {
    struct vni_outcome outcome;
    assert_int_equal(say(&p->bed, A, event, now_ns, &outcome), VNI_DROP);
    assert_int_equal(outcome.reason, reason);
}

/* A's Bind, and the Answer to its challenge. */
static struct vni_event challenged(struct pair *p, uint32_t generation, uint32_t from, uint64_t now_ns) {
    struct vni_event event = event_of(VNI_BIND, p->vni, generation, B, from);
    struct vni_outcome outcome;
    assert_int_equal(say(&p->bed, A, &event, now_ns, &outcome), VNI_CHALLENGE);
    event.kind = VNI_ANSWER;
    memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
    return event;
}

static void assert_bound(struct pair *p, const struct vni_event *event, uint64_t now_ns) {
    struct vni_outcome outcome;
    assert_int_equal(say(&p->bed, A, event, now_ns, &outcome), VNI_BOUND);
}

/* ---- who is it? ---- */

static void test_the_sender_is_one_of_two(void **state) {
    (void)state;
    struct pair p;
    struct vni_sender sender;
    pair_make(&p);
    for (uint32_t n = A; n <= B; n++) {
        struct disco_key key = key_of(n), other = key_of(A + B - n);
        uint8_t shared[VNI_SHARED_KEY_SIZE];
        memset(shared, (int)(n ^ 0x80), sizeof(shared));
        assert_true(vni_sender(&p.bed.table, p.vni, &key, &sender));
        assert_int_equal(sender.leg, n - A);
        assert_memory_equal(&sender.remote, &other, sizeof(other));
        assert_memory_equal(sender.shared_key, shared, sizeof(shared));
    }
    struct disco_key nine = key_of(9), a = key_of(A), stranger = key_of(3);
    assert_true(vni_sender(&p.bed.table, allocate(&p.bed, 9, 4, T0), &nine, &sender));  // asked for in the other order
    assert_int_equal(sender.leg, 1);
    assert_int_equal(sender.shared_key[0], 9 ^ 0x80);
    assert_false(vni_sender(&p.bed.table, p.vni, &stranger, &sender));
    assert_int_equal(sender.reason, UDP_DROP_SENDER);
    const uint8_t nothing[VNI_SHARED_KEY_SIZE] = {0};
    assert_memory_equal(sender.shared_key, nothing, sizeof(nothing));
    const uint32_t wrong[] = {0, p.vni ^ 1, p.vni ^ 1u << 23, p.vni | 1u << 24, UINT32_MAX};
    for (size_t i = 0; i < array_count(wrong); i++) {
        assert_false(vni_sender(&p.bed.table, wrong[i], &a, &sender));
        assert_int_equal(sender.reason, UDP_DROP_VNI_UNKNOWN);
    }
    bed_end(&p.bed);
}

/* ---- Bind ---- */

static void test_what_is_no_bind(void **state) {
    (void)state;
    struct pair p;
    pair_make(&p);
    struct vni_event good = event_of(VNI_BIND, p.vni, 1, B, HOME_A), bad = good;
    bad.generation = 0;
    assert_dropped(&p, &bad, T0, UDP_DROP_GENERATION);
    bad = good;
    bad.kind = VNI_OTHER;
    assert_dropped(&p, &bad, T0, UDP_DROP_BODY);
    static const uint32_t others[] = {A, 3, SERVER, 0};
    for (size_t i = 0; i < array_count(others); i++) {
        bad = good;
        bad.remote = key_of(others[i]);
        assert_dropped(&p, &bad, T0, UDP_DROP_REMOTE_KEY);
    }
    bad = good;
    bad.source.port = 0;
    assert_dropped(&p, &bad, T0, UDP_DROP_PORT_ZERO);
    // Another VNI inside than outside: say() takes both from the event.
    struct disco_key a = key_of(A);
    struct vni_sender sender;
    struct vni_outcome outcome;
    assert_true(vni_sender(&p.bed.table, p.vni, &a, &sender));
    const uint32_t wrong[] = {p.vni + 1, p.vni - 1, p.vni | 1u << 24, 0};
    for (size_t i = 0; i < array_count(wrong); i++) {
        bad = good;
        bad.vni = wrong[i];
        assert_int_equal(vni_handshake(&p.bed.table, &sender, &bad, T0, &outcome), VNI_DROP);
        assert_int_equal(outcome.reason, UDP_DROP_BODY_VNI);
    }
    // Nothing of this has begun a handshake.
    good.kind = VNI_ANSWER;
    assert_dropped(&p, &good, T0, UDP_DROP_GENERATION);
    bed_end(&p.bed);
}

static void test_every_bind_is_answered(void **state) {
    (void)state;
    struct pair p;
    pair_make(&p);
    struct vni_event first = challenged(&p, 5, HOME_A, T0), again = challenged(&p, 5, HOME_A, T0 + NS_PER_S);
    assert_memory_equal(first.challenge, again.challenge, VNI_CHALLENGE_SIZE);
    struct vni_event elsewhere = challenged(&p, 5, 13, T0);
    assert_memory_not_equal(first.challenge, elsewhere.challenge, VNI_CHALLENGE_SIZE);
    assert_bound(&p, &first, T0);
    // Also when the leg is bound, also the same generation, also a lower one.
    static const uint32_t generations[] = {5, 4, UINT32_MAX, 1};
    for (size_t i = 0; i < array_count(generations); i++) {
        struct vni_event event = challenged(&p, generations[i], HOME_A, T0);
        assert_bound(&p, &event, T0);
    }
    bed_end(&p.bed);
}

/* ---- Answer ---- */

static void test_an_answer_needs_its_bind(void **state) {
    (void)state;
    struct pair p;
    pair_make(&p);
    struct vni_event answer = event_of(VNI_ANSWER, p.vni, 5, B, HOME_A);
    assert_dropped(&p, &answer, T0, UDP_DROP_GENERATION);
    answer.generation = 0;
    assert_dropped(&p, &answer, T0, UDP_DROP_GENERATION);
    struct vni_event five = challenged(&p, 5, HOME_A, T0), two = challenged(&p, 2, HOME_A, T0);
    assert_dropped(&p, &five, T0, UDP_DROP_GENERATION);  // the newer Bind counts
    two.generation = 5;
    assert_dropped(&p, &two, T0, UDP_DROP_GENERATION);
    two.generation = 2;
    assert_bound(&p, &two, T0);
    assert_dropped(&p, &two, T0, UDP_DROP_GENERATION);  // once
    assert_dropped(&p, &five, T0, UDP_DROP_GENERATION);
    bed_end(&p.bed);
}

static void test_an_answer_comes_from_where_it_was_challenged(void **state) {
    (void)state;
    struct pair p;
    pair_make(&p);
    struct vni_event good = challenged(&p, 5, HOME_A, T0), bad = good;
    bad.source = address_of(13);
    assert_dropped(&p, &bad, T0, UDP_DROP_CHALLENGE);
    bad = good;
    bad.source.port++;
    assert_dropped(&p, &bad, T0, UDP_DROP_CHALLENGE);
    bad = good;
    bad.source.scope++;
    assert_dropped(&p, &bad, T0, UDP_DROP_CHALLENGE);
    for (int i = 0; i < VNI_CHALLENGE_SIZE; i++) {
        bad = good;
        bad.challenge[i] ^= 1;
        assert_dropped(&p, &bad, T0, UDP_DROP_CHALLENGE);
    }
    assert_bound(&p, &good, T0);  // none of these has ended the handshake
    bed_end(&p.bed);
}

/* The challenge of one leg is of no use to the other, nor to another endpoint. */
static void test_a_challenge_is_for_one_leg(void **state) {
    (void)state;
    struct pair p;
    struct vni_outcome outcome;
    pair_make(&p);
    struct vni_event a = challenged(&p, 5, HOME_A, T0);
    struct vni_event b = event_of(VNI_BIND, p.vni, 5, A, HOME_A);
    assert_int_equal(say(&p.bed, B, &b, T0, &outcome), VNI_CHALLENGE);
    assert_memory_not_equal(outcome.challenge, a.challenge, VNI_CHALLENGE_SIZE);
    b.kind = VNI_ANSWER;
    memcpy(b.challenge, a.challenge, sizeof(b.challenge));
    assert_int_equal(say(&p.bed, B, &b, T0, &outcome), VNI_DROP);
    assert_int_equal(outcome.reason, UDP_DROP_CHALLENGE);
    uint32_t other_vni = allocate(&p.bed, A, 3, T0);
    struct vni_event other = event_of(VNI_BIND, other_vni, 5, 3, HOME_A);
    assert_int_equal(say(&p.bed, A, &other, T0, &outcome), VNI_CHALLENGE);
    other.kind = VNI_ANSWER;
    memcpy(other.challenge, a.challenge, sizeof(other.challenge));
    assert_dropped(&p, &other, T0, UDP_DROP_CHALLENGE);
    bed_end(&p.bed);
}

/* ---- challenges ---- */

static void make_challenge(const struct vni_table *table, struct vni_event event, uint64_t now_ns, uint8_t *to) {
    vni_challenge_make(table, &event, now_ns, to);
}

static void test_what_a_challenge_depends_on(void **state) {
    (void)state;
    struct bed bed, other;
    enum { CASES = 9 };
    uint8_t got[CASES + 1][VNI_CHALLENGE_SIZE];
    bed_make(&bed, 16);
    bed_make_with(&other, (struct vni_options){.endpoints_max = 16}, 2);
    struct vni_event event = event_of(VNI_BIND, 77, 5, B, HOME_A), changed[CASES];
    for (int i = 0; i < CASES; i++) changed[i] = event;
    changed[1].vni++;
    changed[2].generation++;
    changed[3].remote.bytes[31] ^= 1;
    changed[4].source.ip[15] ^= 1;
    changed[5].source.ip[0] ^= 1;
    changed[6].source.port ^= 0x100;
    changed[7].source.scope ^= 1;
    for (int i = 0; i < CASES - 1; i++) make_challenge(&bed.table, changed[i], T0, got[i]);
    make_challenge(&bed.table, event, T0 + VNI_CHALLENGE_PERIOD_S * NS_PER_S, got[CASES - 1]);
    make_challenge(&other.table, event, T0, got[CASES]);
    for (int i = 0; i <= CASES; i++) {
        for (int k = 0; k < i; k++) assert_memory_not_equal(got[i], got[k], VNI_CHALLENGE_SIZE);
    }
    event.challenge[3] = 9;
    event.kind = VNI_ANSWER;
    event.nonce_mark = 4;
    make_challenge(&bed.table, event, T0, got[1]);
    assert_memory_equal(got[0], got[1], VNI_CHALLENGE_SIZE);
    bed_end(&bed);
    bed_end(&other);
}

/* Good for two minutes at least and four at most, whatever else happens or does not. */
static void test_a_challenge_ages(void **state) {
    (void)state;
    struct bed bed;
    const uint64_t period = VNI_CHALLENGE_PERIOD_S * NS_PER_S, begins[] = {0, 8 * period, 9 * period - 1, T0};
    bed_make(&bed, 16);
    for (size_t i = 0; i < array_count(begins); i++) {
        struct vni_event event = event_of(VNI_ANSWER, 77, 5, B, HOME_A);
        uint64_t at = begins[i], last = (at / period + 2) * period - 1;
        vni_challenge_make(&bed.table, &event, at, event.challenge);
        assert_true(vni_challenge_is_right(&bed.table, &event, at));
        assert_true(vni_challenge_is_right(&bed.table, &event, at + period));
        assert_true(vni_challenge_is_right(&bed.table, &event, last));
        assert_false(vni_challenge_is_right(&bed.table, &event, last + 1));
        assert_false(vni_challenge_is_right(&bed.table, &event, at + 2 * period));
        assert_false(vni_challenge_is_right(&bed.table, &event, at + 3600 * NS_PER_S));
    }
    bed_end(&bed);
}

static void test_a_late_answer(void **state) {
    (void)state;
    struct pair p;
    pair_open(&p);
    struct vni_event first = challenged(&p, 5, 13, T0);
    assert_dropped(&p, &first, T0 + 250 * NS_PER_S, UDP_DROP_CHALLENGE);
    assert_true(send_from(&p.bed, p.vni, HOME_A, HOME_B, T0));
    bed_end(&p.bed);
}

/* ---- roaming ---- */

static void test_the_old_binding_stands_until_the_new_one(void **state) {
    (void)state;
    struct pair p;
    pair_open(&p);
    struct vni_event answer = challenged(&p, 7, 21, T0);
    assert_true(send_from(&p.bed, p.vni, HOME_B, HOME_A, T0));
    assert_true(send_from(&p.bed, p.vni, HOME_A, HOME_B, T0));
    assert_int_equal(drop_of(&p.bed, p.vni, 21), UDP_DROP_NOT_BOUND);  // data moves nothing
    assert_true(send_from(&p.bed, p.vni, HOME_B, HOME_A, T0));
    assert_bound(&p, &answer, T0);
    assert_true(send_from(&p.bed, p.vni, HOME_B, 21, T0));
    assert_true(send_from(&p.bed, p.vni, 21, HOME_B, T0));
    assert_int_equal(drop_of(&p.bed, p.vni, HOME_A), UDP_DROP_NOT_BOUND);
    bind_leg_to(&p.bed, p.vni, B, A, 22, T0);
    assert_true(send_from(&p.bed, p.vni, 21, 22, T0));
    assert_true(send_from(&p.bed, p.vni, 22, 21, T0));
    assert_int_equal(drop_of(&p.bed, p.vni, HOME_B), UDP_DROP_NOT_BOUND);
    assert_int_equal(vni_state(&p.bed.table, p.vni), VNI_OPEN);
    bed_end(&p.bed);
}

static void test_an_open_endpoint_opens_once(void **state) {
    (void)state;
    struct pair p;
    struct vni_outcome outcome;
    pair_make(&p);
    struct vni_event a = challenged(&p, 1, HOME_A, T0);
    assert_int_equal(say(&p.bed, A, &a, T0, &outcome), VNI_BOUND);
    assert_false(outcome.has_opened);
    assert_int_equal(vni_state(&p.bed.table, p.vni), VNI_CONNECTING);
    struct vni_event b = event_of(VNI_BIND, p.vni, 1, A, HOME_B);
    assert_int_equal(say(&p.bed, B, &b, T0, &outcome), VNI_CHALLENGE);
    b.kind = VNI_ANSWER;
    memcpy(b.challenge, outcome.challenge, sizeof(b.challenge));
    assert_int_equal(say(&p.bed, B, &b, T0, &outcome), VNI_BOUND);
    assert_true(outcome.has_opened);
    a = challenged(&p, 2, 21, T0);
    assert_int_equal(say(&p.bed, A, &a, T0, &outcome), VNI_BOUND);
    assert_false(outcome.has_opened);
    assert_int_equal(vni_open_count(&p.bed.table), 1);
    bed_end(&p.bed);
}

/* Both clients behind one address and port: it speaks as leg 0 to leg 1, which is itself. */
static void test_one_address_for_both(void **state) {
    (void)state;
    struct pair p;
    pair_make(&p);
    bind_leg_to(&p.bed, p.vni, A, B, HOME_A, T0);
    bind_leg_to(&p.bed, p.vni, B, A, HOME_A, T0);
    assert_true(send_from(&p.bed, p.vni, HOME_A, HOME_A, T0));
    uint32_t cursor = 0;
    struct vni_info info;
    assert_true(vni_list(&p.bed.table, &cursor, &info));
    assert_int_equal(info.clients[0].packets, 1);
    assert_int_equal(info.clients[1].packets, 0);
    bed_end(&p.bed);
}

/* ---- replays ---- */

static void test_an_answer_is_taken_once(void **state) {
    (void)state;
    struct pair p;
    pair_open(&p);
    struct vni_event old = challenged(&p, 5, HOME_A, T0);
    old.nonce_mark = 0x1234;
    assert_bound(&p, &old, T0);
    bind_leg_to(&p.bed, p.vni, A, B, 21, T0);  // A moves
    (void)challenged(&p, 5, HOME_A, T0);  // a recorded Bind, from the old address
    assert_dropped(&p, &old, T0, UDP_DROP_REPLAYED);
    assert_true(send_from(&p.bed, p.vni, HOME_B, 21, T0));
    struct vni_event anew = old;  // A comes back in earnest: the same challenge in another box
    anew.nonce_mark = 0x1235;
    assert_bound(&p, &anew, T0);
    for (uint64_t mark = 0; mark < 10; mark++) {  // without a mark anything goes
        struct vni_event event = challenged(&p, 5, HOME_A, T0);
        assert_bound(&p, &event, T0);
    }
    bed_end(&p.bed);
}

/* ---- packets ---- */

static void test_packets_before_both_are_bound(void **state) {
    (void)state;
    struct pair p;
    struct vni_info info;
    pair_make(&p);
    assert_int_equal(drop_of(&p.bed, p.vni, HOME_A), UDP_DROP_NOT_OPEN);
    bind_leg_to(&p.bed, p.vni, A, B, HOME_A, T0);
    assert_int_equal(drop_of(&p.bed, p.vni, HOME_A), UDP_DROP_NOT_OPEN);
    assert_int_equal(drop_of(&p.bed, p.vni, HOME_B), UDP_DROP_NOT_OPEN);
    struct vni_address nowhere = {.port = 0};  // as an unbound leg has it
    struct vni_hop hop;
    assert_false(vni_far_end(&p.bed.table, p.vni, &nowhere, &hop));
    bind_leg_to(&p.bed, p.vni, B, A, HOME_B, T0);
    uint32_t cursor = 0;
    assert_true(vni_list(&p.bed.table, &cursor, &info));
    assert_true(info.clients[0].packets == 0 && info.clients[1].packets == 0);
    assert_true(send_from(&p.bed, p.vni, HOME_A, HOME_B, T0));
    bed_end(&p.bed);
}

static void test_a_source_is_all_of_it(void **state) {
    (void)state;
    struct pair p;
    struct vni_hop hop;
    pair_open(&p);
    bind_leg_to(&p.bed, p.vni, A, B, 14, T0);  // an address with a scope
    struct vni_address good = address_of(14), bad[] = {good, good, good, good};
    bad[0].ip[15] ^= 1;
    bad[1].ip[0] ^= 1;
    bad[2].port ^= 1;
    bad[3].scope ^= 1;
    assert_true(vni_far_end(&p.bed.table, p.vni, &good, &hop));
    for (size_t i = 0; i < array_count(bad); i++) {
        assert_false(vni_far_end(&p.bed.table, p.vni, &bad[i], &hop));
        assert_int_equal(hop.reason, UDP_DROP_NOT_BOUND);
    }
    const uint32_t wrong[] = {0, p.vni ^ 1, p.vni ^ 1u << 23, p.vni | 1u << 24, UINT32_MAX, 0x2112A4};
    for (size_t i = 0; i < array_count(wrong); i++) {
        if (wrong[i] == p.vni) continue;
        assert_false(vni_far_end(&p.bed.table, wrong[i], &good, &hop));
        assert_int_equal(hop.reason, UDP_DROP_VNI_UNKNOWN);
    }
    bed_end(&p.bed);
}

static void test_runs_are_counted(void **state) {
    (void)state;
    struct pair p;
    struct vni_hop hop;
    struct vni_info info;
    pair_open(&p);
    struct vni_address source = address_of(HOME_B);
    assert_true(vni_far_end(&p.bed.table, p.vni, &source, &hop));
    assert_int_equal(hop.leg, 1);
    vni_count(&hop, 32, 32 * 1288, T0 + 9);
    vni_count(&hop, 1, 8, T0 + 8);  // another worker's clock
    uint32_t cursor = 0;
    assert_true(vni_list(&p.bed.table, &cursor, &info));
    assert_int_equal(info.clients[1].packets, 33);
    assert_int_equal(info.clients[1].bytes, 32 * 1288 + 8);
    assert_int_equal(info.clients[1].last_seen_ns, T0 + 9);
    struct vni_gone gone;
    assert_true(vni_release(&p.bed.table, p.vni, &gone));
    vni_count(&hop, 1, 8, T0 + 10);  // of the same pass: nobody's
    assert_int_equal(atomic_load(&hop.endpoint->legs[1].packets), 33);
    bed_end(&p.bed);
}

/* ---- between the steps of one worker, another thread does something ---- */

/* The endpoint ends, and its slot is another's, between finding the sender and the message. */
static void test_a_sender_of_an_endpoint_that_is_gone(void **state) {
    (void)state;
    struct pair p;
    struct vni_gone gone;
    struct vni_outcome outcome;
    struct vni_sender sender;
    struct disco_key a = key_of(A);
    pair_make(&p);
    struct vni_event answer = challenged(&p, 5, HOME_A, T0), bind = answer;
    bind.kind = VNI_BIND;
    assert_true(vni_sender(&p.bed.table, p.vni, &a, &sender));
    assert_true(vni_release(&p.bed.table, p.vni, &gone));
    assert_int_equal(vni_handshake(&p.bed.table, &sender, &bind, T0, &outcome), VNI_DROP);
    assert_int_equal(outcome.reason, UDP_DROP_VNI_UNKNOWN);
    uint32_t vni;
    do {  // until the slot is taken again, by another pair
        vni = allocate(&p.bed, 3, 4, T0);
        if ((vni & p.bed.table.slot_mask) != (p.vni & p.bed.table.slot_mask)) {
            assert_true(vni_release(&p.bed.table, vni, &gone));
            vni = 0;
        }
    } while (vni == 0);
    struct vni_event theirs = event_of(VNI_ANSWER, vni, 5, 4, 13);
    assert_int_equal(say(&p.bed, 3, &theirs, T0, &outcome), VNI_DROP);
    assert_int_equal(outcome.reason, UDP_DROP_GENERATION);  // 5 was the other's
    theirs.kind = VNI_BIND;
    assert_int_equal(say(&p.bed, 3, &theirs, T0, &outcome), VNI_CHALLENGE);
    bind.generation = 6;
    assert_int_equal(vni_handshake(&p.bed.table, &sender, &bind, T0, &outcome), VNI_DROP);
    assert_int_equal(outcome.reason, UDP_DROP_VNI_UNKNOWN);
    assert_int_equal(vni_handshake(&p.bed.table, &sender, &answer, T0, &outcome), VNI_DROP);
    assert_int_equal(outcome.reason, UDP_DROP_VNI_UNKNOWN);  // though 5 is what the other handshake waits for
    bind_leg_to(&p.bed, vni, 3, 4, 13, T0);
    bed_end(&p.bed);
}

static void test_a_lock_that_is_held(void **state) {
    (void)state;
    struct pair p;
    struct vni_gone gone;
    pair_open(&p);
    struct vni_event answer = challenged(&p, 5, 21, T0), bind = answer;
    bind.kind = VNI_BIND;
    struct vni_endpoint *endpoint = &p.bed.table.slots[p.vni & p.bed.table.slot_mask];
    assert_true(vni_lock(endpoint));
    assert_dropped(&p, &answer, T0, UDP_DROP_BUSY);
    assert_dropped(&p, &bind, T0, UDP_DROP_BUSY);
    assert_true(send_from(&p.bed, p.vni, HOME_A, HOME_B, T0));  // packets do not need it
    assert_false(vni_release(&p.bed.table, p.vni, &gone));
    uint64_t late = T0 + 3600 * NS_PER_S;
    assert_int_equal(expire_all(&p.bed, late), 0);
    assert_true(vni_next_expiry_ns(&p.bed.table) <= late + NS_PER_S);  // soon again
    vni_unlock(endpoint);
    assert_bound(&p, &answer, T0);  // nothing was used up
    assert_int_equal(expire_all(&p.bed, late + NS_PER_S), 1);
    bed_end(&p.bed);
}

static void test_a_pair_that_is_being_written(void **state) {
    (void)state;
    struct pair p;
    pair_open(&p);
    struct vni_endpoint *endpoint = &p.bed.table.slots[p.vni & p.bed.table.slot_mask];
    atomic_fetch_add(&endpoint->sequence, 1);
    assert_int_equal(drop_of(&p.bed, p.vni, HOME_A), UDP_DROP_BUSY);
    atomic_fetch_add(&endpoint->sequence, 1);
    assert_true(send_from(&p.bed, p.vni, HOME_A, HOME_B, T0));
    bed_end(&p.bed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_sender_is_one_of_two),
        cmocka_unit_test(test_what_is_no_bind),
        cmocka_unit_test(test_every_bind_is_answered),
        cmocka_unit_test(test_an_answer_needs_its_bind),
        cmocka_unit_test(test_an_answer_comes_from_where_it_was_challenged),
        cmocka_unit_test(test_a_challenge_is_for_one_leg),
        cmocka_unit_test(test_what_a_challenge_depends_on),
        cmocka_unit_test(test_a_challenge_ages),
        cmocka_unit_test(test_a_late_answer),
        cmocka_unit_test(test_the_old_binding_stands_until_the_new_one),
        cmocka_unit_test(test_an_open_endpoint_opens_once),
        cmocka_unit_test(test_one_address_for_both),
        cmocka_unit_test(test_an_answer_is_taken_once),
        cmocka_unit_test(test_packets_before_both_are_bound),
        cmocka_unit_test(test_a_source_is_all_of_it),
        cmocka_unit_test(test_runs_are_counted),
        cmocka_unit_test(test_a_sender_of_an_endpoint_that_is_gone),
        cmocka_unit_test(test_a_lock_that_is_held),
        cmocka_unit_test(test_a_pair_that_is_being_written),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
