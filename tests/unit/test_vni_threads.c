/* test_vni_threads.c - endpoints of the UDP relay under many hands: workers that bind, workers that look up, and the
 * owner who ends and allocates meanwhile. What ThreadSanitizer is for.
 *
 * Each address says its own number, and the VNI it was bound for, so a torn pair, or one of another endpoint, shows. */
#include "test_vni_bed.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
    PAIRS = 6,
    READERS = 2,
    BINDERS = 2,
    ROUNDS = 200,
    KEPT = 3,
    WANTED = 20000,
    CHANGES_WANTED = 3000,
    DEADLINE_S = 60
};

struct crowd {
    struct bed bed;
    _Atomic uint32_t vnis[PAIRS];
    _Atomic uint32_t bound;  // how often
    _Atomic bool is_over;
};

struct hand {
    struct crowd *crowd;
    uint32_t idx;
    pthread_t id;
    uint64_t done, absent, wrong;
};

/* Address number `n` of a leg of this VNI: every 8 bytes of it depend on all three. But leg 0 has the same addresses
 * in all endpoints, as a client with one socket and many peers: then only the other end tells whose pair it was. */
static struct vni_address address_for(uint32_t vni, uint32_t leg, uint32_t n) {
    if (leg == 0) vni = 0;
    struct vni_address address = {.port = (uint16_t)(1 + n), .scope = vni << 1 | leg};
    uint64_t words[2] = {(uint64_t)vni << 32 | leg << 16 | n, ~((uint64_t)vni << 32 | leg << 16 | n)};
    memcpy(address.ip, words, sizeof(words));
    return address;
}

static bool is_address_for(const struct vni_address *address, uint32_t vni, uint32_t leg) {
    struct vni_address wanted = address_for(vni, leg, address->port - 1u);
    return memcmp(address, &wanted, sizeof(wanted)) == 0;
}

/* ---- who looks up ---- */

static void look_up(struct hand *h, struct rng *rng) {
    struct vni_table *table = &h->crowd->bed.table;
    uint32_t vni = atomic_load_explicit(&h->crowd->vnis[rng_below(rng, PAIRS)], memory_order_relaxed);
    uint32_t leg = (uint32_t)rng_below(rng, 2);
    struct vni_address source = address_for(vni, leg, (uint32_t)rng_below(rng, KEPT));
    struct vni_hop hop;
    if (!vni_far_end(table, vni, &source, &hop)) {
        h->absent++;
        return;
    }
    h->wrong += hop.leg != leg || !is_address_for(&hop.to, vni, 1 - leg);
    vni_count(&hop, 1, 100, T0);
    h->done++;
}

static void look_at_all(struct hand *h) {
    struct vni_info info;
    for (uint32_t cursor = 0; vni_list(&h->crowd->bed.table, &cursor, &info);) {
        for (uint32_t leg = 0; leg < 2; leg++) {
            const struct vni_address *address = &info.clients[leg].address;
            h->wrong += address->port != 0 && !is_address_for(address, info.vni, leg);
        }
        struct disco_key a = key_of(1 + 2 * (info.clients[0].key.bytes[0] / 2u)), b = key_of(a.bytes[0] + 1u);
        h->wrong +=
            memcmp(&info.clients[0].key, &a, sizeof(a)) != 0 || memcmp(&info.clients[1].key, &b, sizeof(b)) != 0;
    }
}

static void *reader_main(void *argument) {
    struct hand *h = argument;
    struct rng rng;
    rng_init_seeded(&rng, 100 + h->idx);
    while (!atomic_load_explicit(&h->crowd->is_over, memory_order_relaxed)) {
        for (int i = 0; i < 64; i++) look_up(h, &rng);
        look_at_all(h);
    }
    return NULL;
}

/* Until so many packets have found a way. */
static void *sender_main(void *argument) {
    struct hand *h = argument;
    struct rng rng;
    uint64_t deadline_ns = sys_clock_ns() + DEADLINE_S * NS_PER_S;
    rng_init_seeded(&rng, 400 + h->idx);
    while (h->done < WANTED && sys_clock_ns() < deadline_ns) {
        for (int i = 0; i < 64; i++) look_up(h, &rng);
    }
    return NULL;
}

/* ---- who binds ---- */

/* Either leg of any pair: the binders meet. */
static void bind_one(struct hand *h, struct rng *rng) {
    struct vni_table *table = &h->crowd->bed.table;
    uint32_t pair = (uint32_t)rng_below(rng, PAIRS), leg = (uint32_t)rng_below(rng, 2);
    uint32_t vni = atomic_load_explicit(&h->crowd->vnis[pair], memory_order_relaxed);
    struct disco_key client = key_of(1 + 2 * pair + leg);
    struct vni_event event = event_of(VNI_BIND, vni, 1 + h->idx, 2 + 2 * pair - leg, 1);
    struct vni_outcome outcome;
    struct vni_sender sender;
    event.source = address_for(vni, leg, (uint32_t)rng_below(rng, KEPT));
    if (!vni_sender(table, vni, &client, &sender)) return;
    uint8_t key = (uint8_t)((1 + 2 * pair + leg) ^ 0x80);
    for (int i = 0; i < VNI_SHARED_KEY_SIZE; i++) h->wrong += sender.shared_key[i] != key;
    if (vni_handshake(table, &sender, &event, T0, &outcome) != VNI_CHALLENGE) return;
    event.kind = VNI_ANSWER;
    memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
    if (vni_handshake(table, &sender, &event, T0, &outcome) == VNI_BOUND) {
        h->done++;
        atomic_fetch_add_explicit(&h->crowd->bound, 1, memory_order_relaxed);
    }
}

static void *binder_main(void *argument) {
    struct hand *h = argument;
    struct rng rng;
    rng_init_seeded(&rng, 200 + h->idx);
    while (!atomic_load_explicit(&h->crowd->is_over, memory_order_relaxed)) bind_one(h, &rng);
    return NULL;
}

/* ---- one pair, written all the time ---- */

/* Between two changes: from nothing to long enough for a reader that is slowed down by a sanitizer. */
static void linger(uint64_t n) {
    for (uint64_t i = n % 64; i > 0; i--) vni_pause();
}

static void *pair_reader_main(void *argument) {
    struct hand *h = argument;
    const struct vni_endpoint *endpoint = h->crowd->bed.table.slots;
    struct vni_address pair[2];
    uint32_t last = 0;
    uint64_t deadline_ns = sys_clock_ns() + DEADLINE_S * NS_PER_S;
    while (h->done < CHANGES_WANTED && sys_clock_ns() < deadline_ns) {
        if (!vni_pair_load(endpoint, pair)) continue;
        h->wrong += pair[0].port != pair[1].port || !is_address_for(&pair[0], 5, 0) || !is_address_for(&pair[1], 5, 1);
        h->done += pair[0].port != last;
        last = pair[0].port;
    }
    return NULL;
}

static void *pair_writer_main(void *argument) {
    struct hand *h = argument;
    struct vni_endpoint *endpoint = h->crowd->bed.table.slots;
    for (uint32_t n = 0; !atomic_load_explicit(&h->crowd->is_over, memory_order_relaxed); n++) {
        struct vni_address pair[2] = {address_for(5, 0, n % 60000), address_for(5, 1, n % 60000)};
        vni_pair_store(endpoint, pair);
        linger(n);
    }
    return NULL;
}

/* ---- one slot, another endpoint all the time ---- */

/* Of slot 0. */
static uint32_t slot_vni(uint64_t n) { return (uint32_t)(1 + n % 2) << 4; }

/* As the owner and two handshakes do, but faster. */
static void *slot_writer_main(void *argument) {
    struct hand *h = argument;
    struct vni_endpoint *endpoint = h->crowd->bed.table.slots;
    for (uint64_t n = 1; !atomic_load_explicit(&h->crowd->is_over, memory_order_relaxed); n++) {
        struct vni_address pair[2] = {address_for(slot_vni(n), 0, 0), address_for(slot_vni(n), 1, (uint32_t)n % 60000)};
        struct disco_key keys[2] = {key_of(1), key_of(slot_vni(n))}, shared;
        memset(&shared, (int)slot_vni(n), sizeof(shared));
        atomic_store_explicit(&endpoint->life, 0, memory_order_release);
        vni_pair_store(endpoint, pair);
        for (int leg = 0; leg < 2; leg++) {
            vni_key_store(endpoint->keys[leg], &keys[leg]);
            vni_key_store(endpoint->shared_keys[leg], &shared);
        }
        atomic_store_explicit(&endpoint->life, vni_life_of(n, slot_vni(n)), memory_order_release);
        linger(n);
    }
    return NULL;
}

/* The one client that both endpoints have. */
static void look_up_sender(struct hand *h, uint32_t vni) {
    struct disco_key client = key_of(1), remote = key_of(vni);
    struct vni_sender sender;
    uint8_t shared[VNI_SHARED_KEY_SIZE];
    memset(shared, (int)vni, sizeof(shared));
    if (!vni_sender(&h->crowd->bed.table, vni, &client, &sender)) return;
    h->wrong += sender.leg != 0 || memcmp(&sender.remote, &remote, sizeof(remote)) != 0;
    h->wrong += memcmp(sender.shared_key, shared, sizeof(shared)) != 0;
    h->done++;
}

static void *slot_reader_main(void *argument) {
    struct hand *h = argument;
    struct vni_hop hop;
    uint64_t deadline_ns = sys_clock_ns() + DEADLINE_S * NS_PER_S;
    for (uint64_t n = 0; h->done < WANTED && sys_clock_ns() < deadline_ns; n++) {
        struct vni_address source = address_for(slot_vni(n), 0, 0);
        look_up_sender(h, slot_vni(n));
        if (!vni_far_end(&h->crowd->bed.table, slot_vni(n), &source, &hop)) continue;
        h->wrong += !is_address_for(&hop.to, slot_vni(n), 1);
        h->done++;
    }
    return NULL;
}

/* ---- one Answer, on two workers at once ---- */

struct race {
    struct vni_table *table;
    struct vni_sender sender;
    struct vni_event answer;
    _Atomic uint32_t round, ready, bound;
};

enum { RACERS = 2, RACES = 2000 };

static void *racer_main(void *argument) {
    struct race *race = argument;
    struct vni_outcome outcome;
    for (uint32_t round = 1; round <= RACES; round++) {
        while (atomic_load(&race->round) != round) sched_yield();  // why: there may be one processor
        if (vni_handshake(race->table, &race->sender, &race->answer, T0, &outcome) == VNI_BOUND) {
            atomic_fetch_add(&race->bound, 1);
        }
        atomic_fetch_add(&race->ready, 1);
    }
    return NULL;
}

/* ---- the owner ---- */

static void allocate_pair(struct crowd *crowd, uint32_t pair) {
    uint32_t vni = allocate(&crowd->bed, 1 + 2 * pair, 2 + 2 * pair, T0);
    atomic_store_explicit(&crowd->vnis[pair], vni, memory_order_relaxed);
}

/* Ends one each time that somebody has bound something. False when nobody does. */
static bool own(struct crowd *crowd) {
    struct rng rng;
    struct vni_gone gone;
    uint32_t seen = 0;
    uint64_t deadline_ns = sys_clock_ns() + DEADLINE_S * NS_PER_S;
    rng_init_seeded(&rng, 300);
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t pair = (uint32_t)rng_below(&rng, PAIRS), bound;
        uint32_t vni = atomic_load_explicit(&crowd->vnis[pair], memory_order_relaxed);
        if (vni_release(&crowd->bed.table, vni, &gone)) allocate_pair(crowd, pair);
        while ((bound = atomic_load_explicit(&crowd->bound, memory_order_relaxed)) == seen) {
            if (sys_clock_ns() >= deadline_ns) return false;
            sched_yield();  // why: there may be one processor
        }
        seen = bound;
    }
    return true;
}

static void start(struct hand *hands, uint32_t count, struct crowd *crowd, void *(*body)(void *)) {
    for (uint32_t i = 0; i < count; i++) {
        hands[i] = (struct hand){.crowd = crowd, .idx = i};
        assert_int_equal(pthread_create(&hands[i].id, NULL, body, &hands[i]), 0);
    }
}

/* Nothing is asserted before all have ended: a test that fails leaves its stack. Adds up what they saw wrong. */
static uint64_t finish(struct hand *hands, uint32_t count, uint64_t *wrong) {
    uint64_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        int result = pthread_join(hands[i].id, NULL);
        *wrong += hands[i].wrong + (result != 0);
        done += hands[i].done;
    }
    return done;
}

static void test_nobody_sees_half_of_anything(void **state) {
    (void)state;
    static struct crowd crowd;
    struct hand readers[READERS], binders[BINDERS];
    bed_make(&crowd.bed, PAIRS);
    for (uint32_t pair = 0; pair < PAIRS; pair++) allocate_pair(&crowd, pair);
    start(readers, READERS, &crowd, reader_main);
    start(binders, BINDERS, &crowd, binder_main);
    bool was_bound = own(&crowd);
    atomic_store(&crowd.is_over, true);
    uint64_t wrong = 0, binds = finish(binders, BINDERS, &wrong);
    (void)finish(readers, READERS, &wrong);
    assert_true(was_bound && binds >= ROUNDS);
    assert_int_equal(wrong, 0);
    uint32_t open = 0;
    for (uint32_t pair = 0; pair < PAIRS; pair++) {
        open += vni_state(&crowd.bed.table, atomic_load(&crowd.vnis[pair])) == VNI_OPEN;
    }
    assert_int_equal(vni_open_count(&crowd.bed.table), open);
    bed_end(&crowd.bed);
}

/* Without an owner: endpoints stay, so that packets go, and all of them are counted. */
static void test_packets_go_while_both_legs_roam(void **state) {
    (void)state;
    static struct crowd crowd;
    struct hand senders[READERS], binders[BINDERS];
    bed_make(&crowd.bed, PAIRS);
    for (uint32_t pair = 0; pair < PAIRS; pair++) {
        allocate_pair(&crowd, pair);
        crowd.vnis[pair] = crowd.vnis[0];  // all look at one
    }
    start(binders, BINDERS, &crowd, binder_main);
    start(senders, READERS, &crowd, sender_main);
    uint64_t wrong = 0, sent = finish(senders, READERS, &wrong), counted = 0;
    atomic_store(&crowd.is_over, true);
    assert_true(finish(binders, BINDERS, &wrong) > 100);
    assert_int_equal(wrong, 0);
    struct vni_info info;
    for (uint32_t cursor = 0; vni_list(&crowd.bed.table, &cursor, &info);) {
        counted += info.clients[0].packets + info.clients[1].packets;
    }
    assert_true(sent >= (uint64_t)READERS * WANTED);
    assert_int_equal(counted, sent);
    bed_end(&crowd.bed);
}

static void test_a_pair_is_whole(void **state) {
    (void)state;
    static struct crowd crowd;
    struct hand readers[READERS], writer[1];
    bed_make(&crowd.bed, PAIRS);
    vni_pair_store(crowd.bed.table.slots, (struct vni_address[2]){address_for(5, 0, 0), address_for(5, 1, 0)});
    start(writer, 1, &crowd, pair_writer_main);
    start(readers, READERS, &crowd, pair_reader_main);
    uint64_t wrong = 0, done = finish(readers, READERS, &wrong);
    atomic_store(&crowd.is_over, true);
    (void)finish(writer, 1, &wrong);
    assert_true(done >= (uint64_t)READERS * CHANGES_WANTED);
    assert_int_equal(wrong, 0);
    bed_end(&crowd.bed);
}

static void test_a_pair_is_of_its_endpoint(void **state) {
    (void)state;
    static struct crowd crowd;
    struct hand readers[READERS], writer[1];
    bed_make(&crowd.bed, 16);
    start(writer, 1, &crowd, slot_writer_main);
    start(readers, READERS, &crowd, slot_reader_main);
    uint64_t wrong = 0, done = finish(readers, READERS, &wrong);
    atomic_store(&crowd.is_over, true);
    (void)finish(writer, 1, &wrong);
    assert_true(done >= (uint64_t)READERS * WANTED);
    assert_int_equal(wrong, 0);
    bed_end(&crowd.bed);
}

static void test_an_answer_binds_once(void **state) {
    (void)state;
    struct bed bed;
    static struct race race;
    struct disco_key client = key_of(1);
    struct vni_outcome outcome;
    pthread_t racers[RACERS];
    bed_make(&bed, 1);
    uint32_t vni = allocate(&bed, 1, 2, T0);
    race.table = &bed.table;
    assert_true(vni_sender(&bed.table, vni, &client, &race.sender));
    for (int i = 0; i < RACERS; i++) assert_int_equal(pthread_create(&racers[i], NULL, racer_main, &race), 0);
    for (uint32_t round = 1; round <= RACES; round++) {
        struct vni_event event = event_of(VNI_BIND, vni, round, 2, 1);
        assert_int_equal(vni_handshake(&bed.table, &race.sender, &event, T0, &outcome), VNI_CHALLENGE);
        event.kind = VNI_ANSWER;
        memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
        race.answer = event;
        atomic_store(&race.round, round);
        while (atomic_load(&race.ready) != RACERS * round) sched_yield();  // why: there may be one processor
        assert_int_equal(atomic_load(&race.bound), round);
    }
    for (int i = 0; i < RACERS; i++) assert_int_equal(pthread_join(racers[i], NULL), 0);
    bed_end(&bed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_sees_half_of_anything),    cmocka_unit_test(test_a_pair_is_whole),
        cmocka_unit_test(test_a_pair_is_of_its_endpoint),       cmocka_unit_test(test_an_answer_binds_once),
        cmocka_unit_test(test_packets_go_while_both_legs_roam),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
