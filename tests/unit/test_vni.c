/* test_vni.c - endpoints of the UDP relay: who gets one, how long it lives, who is told where to send. The handshake is
 * in test_vni_handshake.c, all of it against a model in test_vni_model.c, threads in test_vni_threads.c. */
#include "test_vni_bed.h"

#include <stdlib.h>

/* ---- the table ---- */

static void test_footprint_is_what_init_takes(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 10, 16, 17, 1000, 1025, 65537, 100000};
    for (size_t i = 0; i < array_count(sizes); i++) {
        struct bed bed;
        bed_make(&bed, sizes[i]);
        assert_int_equal(bed.arena.used, vni_footprint(sizes[i]));
        if (sizes[i] >= 16) assert_true(vni_footprint(sizes[i]) <= (size_t)sizes[i] * 1024);
        bed_end(&bed);
    }
}

static void test_as_many_as_asked_for_fit(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 10, 16, 17, 100000};
    for (size_t i = 0; i < array_count(sizes); i++) {
        struct bed bed;
        bed_make(&bed, sizes[i]);
        uint8_t *seen = calloc(1, (VNI_MASK >> 3) + 1);
        for (uint32_t n = 0; n < sizes[i]; n++) {
            uint32_t vni = allocate(&bed, 1 + n % 60000, 60001 + n / 60000, T0);
            assert_true(vni > 0 && vni <= VNI_MASK);
            assert_false(seen[vni >> 3] & 1u << (vni & 7));
            seen[vni >> 3] |= (uint8_t)(1u << (vni & 7));
        }
        struct vni_request request = request_of(5, 70);
        struct vni_offer offer;
        assert_int_equal(vni_find(&bed.table, &request, T0, &offer), VNI_REFUSED);
        assert_int_equal(offer.reason, UDP_REFUSE_FULL);
        assert_int_equal(vni_allocate(&bed.table, &request, T0, &offer), VNI_REFUSED);
        assert_int_equal(vni_used_count(&bed.table), sizes[i]);
        assert_int_equal(expire_all(&bed, T0 + 36 * NS_PER_S), sizes[i]);
        assert_int_equal(vni_used_count(&bed.table), 0);
        free(seen);
        bed_end(&bed);
    }
}

/* ---- allocation ---- */

static void test_an_offer_says_everything(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct vni_request request = request_of(9, 4);
    struct vni_offer found, offer;
    assert_int_equal(vni_find(&bed.table, &request, T0, &found), VNI_NEW);
    assert_int_equal(vni_used_count(&bed.table), 0);  // finding makes nothing
    assert_int_equal(vni_allocate(&bed.table, &request, T0, &offer), VNI_NEW);
    assert_memory_equal(&offer.clients[0], &request.clients[1], sizeof(struct disco_key));
    assert_memory_equal(&offer.clients[1], &request.clients[0], sizeof(struct disco_key));
    assert_true(offer.vni > 0 && offer.vni <= VNI_MASK);
    assert_int_equal(offer.lamport, 1);
    assert_int_equal(offer.bind_lifetime_ns, 0x6FC23AC00);
    assert_int_equal(offer.steady_lifetime_ns, 0x45D964B800);
    assert_false(offer.is_open);
    bed_end(&bed);
}

static void assert_same_offer(struct bed *bed, uint32_t a, uint32_t b, const struct vni_offer *wanted, uint64_t now) {
    struct vni_request request = request_of(a, b);
    struct vni_offer offer;
    for (int i = 0; i < 2; i++) {
        enum vni_allocation got =
            i ? vni_find(&bed->table, &request, now, &offer) : vni_allocate(&bed->table, &request, now, &offer);
        assert_int_equal(got, VNI_EXISTING);
        assert_int_equal(offer.vni, wanted->vni);
        assert_int_equal(offer.lamport, wanted->lamport);
        assert_int_equal(offer.bind_lifetime_ns, wanted->bind_lifetime_ns);
        assert_int_equal(offer.steady_lifetime_ns, wanted->steady_lifetime_ns);
        assert_memory_equal(offer.clients, wanted->clients, sizeof(offer.clients));
    }
}

static void test_a_pair_has_one_endpoint(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct vni_request request = request_of(1, 2);
    struct vni_offer first;
    assert_int_equal(vni_allocate(&bed.table, &request, T0, &first), VNI_NEW);
    assert_same_offer(&bed, 1, 2, &first, T0);
    assert_same_offer(&bed, 2, 1, &first, T0 + 1);
    bind_leg_to(&bed, first.vni, 1, 2, 11, T0);
    assert_same_offer(&bed, 1, 2, &first, T0 + 2);
    bind_leg_to(&bed, first.vni, 2, 1, 12, T0);
    assert_same_offer(&bed, 2, 1, &first, T0 + 100 * NS_PER_S);  // open, and older than any handshake may be
    assert_int_not_equal(allocate(&bed, 1, 3, T0), first.vni);
    assert_int_not_equal(allocate(&bed, 2, 3, T0), first.vni);
    assert_int_equal(vni_used_count(&bed.table), 3);
    bed_end(&bed);
}

static void assert_refused(struct bed *bed, const struct vni_request *request, enum udp_refuse_reason reason) {
    struct vni_offer offer;
    assert_int_equal(vni_find(&bed->table, request, T0, &offer), VNI_REFUSED);
    assert_int_equal(offer.reason, reason);
    assert_int_equal(vni_allocate(&bed->table, request, T0, &offer), VNI_REFUSED);
    assert_int_equal(offer.reason, reason);
    assert_int_equal(offer.vni, 0);
}

static void test_refusals_come_in_order(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct vni_request good = request_of(1, 2), own = request_of(1, SERVER), own_first = request_of(SERVER, 1);
    struct vni_request zero = request_of(1, 2), equal = request_of(3, 3);
    memset(&zero.clients[1], 0, sizeof(zero.clients[1]));
    assert_refused(&bed, &own, UDP_REFUSE_SERVER_KEY);
    assert_refused(&bed, &own_first, UDP_REFUSE_SERVER_KEY);
    assert_refused(&bed, &zero, UDP_REFUSE_ZERO_KEY);
    assert_refused(&bed, &equal, UDP_REFUSE_EQUAL_KEYS);
    uint32_t vni = open_endpoint(&bed, 1, 2, T0);
    vni_set_ready(&bed.table, false);
    assert_refused(&bed, &good, UDP_REFUSE_NOT_READY);  // also what exists
    assert_refused(&bed, &own, UDP_REFUSE_NOT_READY);
    vni_close(&bed.table);
    assert_refused(&bed, &good, UDP_REFUSE_CLOSED);
    assert_true(send_from(&bed, vni, 1, 2, T0));  // nobody who talks is disturbed
    bed_end(&bed);
}

static void test_a_full_table_disturbs_nobody(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 2);
    uint32_t vni = open_endpoint(&bed, 1, 2, T0);
    uint32_t waiting = allocate(&bed, 3, 4, T0);
    struct vni_request more = request_of(5, 6), known = request_of(2, 1);
    struct vni_offer offer;
    for (int i = 0; i < 100; i++) assert_refused(&bed, &more, UDP_REFUSE_FULL);
    assert_int_equal(vni_allocate(&bed.table, &known, T0, &offer), VNI_EXISTING);
    assert_int_equal(offer.vni, vni);
    assert_true(send_from(&bed, vni, 2, 1, T0));
    bind_leg_to(&bed, waiting, 3, 4, 3, T0);
    // A stale one would be replaced, but there is no room; then it is gone, and there is.
    struct vni_request stale = request_of(3, 4);
    assert_int_equal(vni_allocate(&bed.table, &stale, T0 + 25 * NS_PER_S, &offer), VNI_REFUSED);
    assert_int_equal(expire_all(&bed, T0 + 36 * NS_PER_S), 1);
    assert_int_equal(vni_allocate(&bed.table, &more, T0 + 36 * NS_PER_S, &offer), VNI_NEW);
    bed_end(&bed);
}

static void test_who_waits_is_bounded(void **state) {
    (void)state;
    struct bed bed;
    bed_make_with(&bed, (struct vni_options){.endpoints_max = 16, .unbound_max = 2}, 1);
    struct vni_request more = request_of(5, 6);
    struct vni_offer offer;
    uint32_t vni = allocate(&bed, 1, 2, T0);
    (void)allocate(&bed, 3, 4, T0);
    assert_refused(&bed, &more, UDP_REFUSE_UNBOUND_FULL);
    bind_leg_to(&bed, vni, 1, 2, 1, T0);
    assert_refused(&bed, &more, UDP_REFUSE_UNBOUND_FULL);  // half of it is not enough
    bind_leg_to(&bed, vni, 2, 1, 2, T0);
    assert_int_equal(vni_open_count(&bed.table), 1);
    assert_int_equal(vni_allocate(&bed.table, &more, T0, &offer), VNI_NEW);
    bind_leg_to(&bed, vni, 2, 1, 22, T0);  // bound again is not open twice
    assert_int_equal(vni_open_count(&bed.table), 1);
    struct vni_gone gone;
    assert_true(vni_release(&bed.table, vni, &gone));
    assert_true(gone.was_open && gone.vni == vni && gone.tag == (1ull << 32 | 2));
    assert_int_equal(vni_open_count(&bed.table), 0);
    assert_refused(&bed, &(struct vni_request){.clients = {key_of(7), key_of(8)}}, UDP_REFUSE_UNBOUND_FULL);
    bed_end(&bed);
}

/* ---- what was promised ---- */

static void test_a_stale_endpoint_is_replaced(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct vni_request request = request_of(1, 2);
    struct vni_offer first, later;
    assert_int_equal(vni_allocate(&bed.table, &request, T0, &first), VNI_NEW);
    assert_int_equal(vni_allocate(&bed.table, &request, T0 + 20 * NS_PER_S, &later), VNI_EXISTING);
    assert_int_equal(vni_allocate(&bed.table, &request, T0 + 20 * NS_PER_S + 1, &later), VNI_NEW);
    assert_true(later.vni != first.vni && later.lamport > first.lamport);
    assert_int_equal(vni_used_count(&bed.table), 2);
    // The old one keeps its promise of 20 s later, and binds.
    assert_int_equal(expire_all(&bed, T0 + 50 * NS_PER_S), 0);
    bind_leg_to(&bed, first.vni, 1, 2, 1, T0 + 50 * NS_PER_S);
    bind_leg_to(&bed, first.vni, 2, 1, 2, T0 + 50 * NS_PER_S);
    assert_true(send_from(&bed, first.vni, 1, 2, T0 + 50 * NS_PER_S));
    // The pair's is the new one all the same, and when the old one ends, that stays so.
    assert_int_equal(allocate(&bed, 1, 2, T0 + 39 * NS_PER_S), later.vni);
    struct vni_gone gone;
    assert_true(vni_release(&bed.table, first.vni, &gone));
    assert_int_equal(allocate(&bed, 1, 2, T0 + 40 * NS_PER_S), later.vni);
    bed_end(&bed);
}

static void test_a_replaced_endpoint_ends(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    uint32_t first = allocate(&bed, 1, 2, T0), second = allocate(&bed, 1, 2, T0 + 25 * NS_PER_S);
    assert_int_not_equal(first, second);
    assert_int_equal(expire_all(&bed, T0 + 34 * NS_PER_S), 0);
    assert_int_equal(expire_all(&bed, T0 + 36 * NS_PER_S), 1);
    assert_int_equal(vni_state(&bed.table, first), VNI_ABSENT);
    assert_int_equal(vni_state(&bed.table, second), VNI_CONNECTING);
    assert_int_equal(allocate(&bed, 2, 1, T0 + 36 * NS_PER_S), second);
    bed_end(&bed);
}

/* 30 s from when it was last handed out, and some for the way; not for ever. */
static void test_each_offer_is_a_promise(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    uint32_t vni = allocate(&bed, 1, 2, T0);
    assert_int_equal(allocate(&bed, 1, 2, T0 + 19 * NS_PER_S), vni);
    assert_int_equal(expire_all(&bed, T0 + 53 * NS_PER_S), 0);
    assert_int_equal(expire_all(&bed, T0 + 55 * NS_PER_S), 1);

    vni = open_endpoint(&bed, 1, 2, T0 + 60 * NS_PER_S);
    uint64_t nearly = T0 + 60 * NS_PER_S + 299 * NS_PER_S;
    assert_int_equal(expire_all(&bed, nearly), 0);
    assert_int_equal(allocate(&bed, 1, 2, nearly), vni);
    assert_int_equal(expire_all(&bed, nearly + 34 * NS_PER_S), 0);
    assert_int_equal(expire_all(&bed, nearly + 36 * NS_PER_S), 1);
    bed_end(&bed);
}

/* ---- lifetimes ---- */

static void test_unbound_endpoints_end(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    uint32_t none = allocate(&bed, 1, 2, T0), one = allocate(&bed, 3, 4, T0);
    bind_leg_to(&bed, one, 4, 3, 4, T0 + 29 * NS_PER_S);
    assert_true(vni_next_expiry_ns(&bed.table) > T0 && vni_next_expiry_ns(&bed.table) <= T0 + 36 * NS_PER_S);
    assert_int_equal(expire_all(&bed, T0 + 30 * NS_PER_S), 0);
    assert_int_equal(vni_state(&bed.table, none), VNI_CONNECTING);
    assert_int_equal(vni_state(&bed.table, one), VNI_CONNECTING);
    assert_int_equal(expire_all(&bed, T0 + 35 * NS_PER_S + 10 * NS_PER_MS), 2);
    assert_int_equal(vni_state(&bed.table, none), VNI_ABSENT);
    assert_int_equal(vni_state(&bed.table, one), VNI_ABSENT);
    assert_int_equal(drop_of(&bed, one, 4), UDP_DROP_VNI_UNKNOWN);
    assert_int_equal(try_bind(&bed, one, 3, 4, 1, 3, T0 + 36 * NS_PER_S), VNI_DROP);
    assert_int_equal(vni_next_expiry_ns(&bed.table), TIME_NEVER);
    assert_int_not_equal(allocate(&bed, 1, 2, T0 + 36 * NS_PER_S), none);
    bed_end(&bed);
}

/* Many that live on are not looked at all at once: the owner's lock is somebody else's, too, in between. */
static void test_looks_are_bounded(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    struct bed bed;
    struct vni_gone gone;
    uint64_t due_ns = T0 + 36 * NS_PER_S;
    uint32_t calls = 0;
    bed_make(&bed, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) (void)open_endpoint(&bed, 2 * i + 1, 2 * i + 2, T0);
    do {
        assert_false(vni_expire(&bed.table, due_ns, &gone));
        calls++;
    } while (vni_next_expiry_ns(&bed.table) <= due_ns);
    assert_in_range(calls, COUNT / 100, COUNT / 10);
    assert_int_equal(vni_used_count(&bed.table), COUNT);
    assert_int_equal(expire_all(&bed, T0 + 301 * NS_PER_S), COUNT);
    bed_end(&bed);
}

static void test_either_silent_leg_ends_an_open_endpoint(void **state) {
    (void)state;
    for (uint32_t silent = 0; silent < 3; silent++) {  // leg 1, leg 2, none
        struct bed bed;
        bed_make(&bed, 16);
        uint32_t vni = open_endpoint(&bed, 1, 2, T0);
        uint64_t now = T0;
        for (; now < T0 + 299 * NS_PER_S; now += NS_PER_S) {
            if (silent != 0) assert_true(send_from(&bed, vni, 1, 2, now));
            if (silent != 1) assert_true(send_from(&bed, vni, 2, 1, now));
            assert_int_equal(expire_all(&bed, now), 0);
        }
        assert_int_equal(expire_all(&bed, T0 + 301 * NS_PER_S), silent < 2);
        assert_int_equal(vni_state(&bed.table, vni), silent < 2 ? VNI_ABSENT : VNI_OPEN);
        bed_end(&bed);
    }
}

/* Bind and drops are no sign of life; an Answer is, and only for its leg. */
static void test_what_refreshes_a_leg(void **state) {
    (void)state;
    struct bed bed;
    struct vni_outcome outcome;
    bed_make(&bed, 16);
    uint32_t vni = open_endpoint(&bed, 1, 2, T0);
    uint64_t later = T0 + 200 * NS_PER_S;
    struct vni_event event = event_of(VNI_BIND, vni, 9, 2, 1);
    assert_true(send_from(&bed, vni, 2, 1, later));
    assert_int_equal(say(&bed, 1, &event, later, &outcome), VNI_CHALLENGE);
    assert_int_equal(drop_of(&bed, vni, 77), UDP_DROP_NOT_BOUND);
    assert_int_equal(expire_all(&bed, T0 + 301 * NS_PER_S), 1);

    vni = open_endpoint(&bed, 1, 2, T0 + 400 * NS_PER_S);
    later = T0 + 600 * NS_PER_S;
    assert_true(send_from(&bed, vni, 2, 1, later));
    bind_leg_to(&bed, vni, 1, 2, 5, later);
    assert_int_equal(expire_all(&bed, T0 + 899 * NS_PER_S), 0);
    assert_int_equal(expire_all(&bed, T0 + 901 * NS_PER_S), 1);
    bed_end(&bed);
}

static void test_lifetimes_can_be_chosen(void **state) {
    (void)state;
    struct bed bed;
    struct vni_options options = {
        .endpoints_max = 16, .bind_lifetime_ns = 3 * NS_PER_S, .steady_lifetime_ns = 9 * NS_PER_S};
    bed_make_with(&bed, options, 1);
    (void)allocate(&bed, 1, 2, T0);
    (void)open_endpoint(&bed, 3, 4, T0);
    assert_int_equal(expire_all(&bed, T0 + 3 * NS_PER_S), 0);
    assert_int_equal(expire_all(&bed, T0 + 4 * NS_PER_S), 1);
    assert_int_equal(expire_all(&bed, T0 + 8 * NS_PER_S), 0);
    assert_int_equal(expire_all(&bed, T0 + 10 * NS_PER_S), 1);
    bed_end(&bed);
}

static void test_release(void **state) {
    (void)state;
    struct bed bed;
    struct vni_gone gone;
    bed_make(&bed, 16);
    assert_false(vni_release(&bed.table, 0, &gone));
    assert_false(vni_release(&bed.table, 12345, &gone));
    uint32_t vni = open_endpoint(&bed, 1, 2, T0);
    assert_false(vni_release(&bed.table, vni | 1u << 24, &gone));
    assert_true(vni_release(&bed.table, vni, &gone));
    assert_int_equal(gone.lamport, 1);
    assert_false(vni_release(&bed.table, vni, &gone));
    assert_int_equal(drop_of(&bed, vni, 1), UDP_DROP_VNI_UNKNOWN);
    assert_int_equal(expire_all(&bed, T0 + 1000 * NS_PER_S), 0);
    bed_end(&bed);
}

/* No key of an endpoint that is gone stays in memory. */
static void test_secrets_are_wiped(void **state) {
    (void)state;
    struct bed bed;
    struct vni_gone gone;
    bed_make(&bed, 16);
    uint32_t vni = open_endpoint(&bed, 1, 2, T0);
    assert_true(vni_release(&bed.table, vni, &gone));
    const struct vni_endpoint *endpoint = &bed.table.slots[vni & bed.table.slot_mask];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < VNI_KEY_WORDS; k++) assert_int_equal(atomic_load(&endpoint->shared_keys[i][k]), 0);
    }
    bed_end(&bed);
}

/* ---- VNIs ---- */

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Of a table of 2^16 slots, one free: its VNI goes through all 256 before one comes again (255 in slot 0). */
static void test_a_vni_rests_before_it_comes_again(void **state) {
    (void)state;
    enum { SLOTS = 1 << 16, HIGH = 256 };
    static uint32_t vnis[2 * HIGH], sorted[HIGH];
    struct bed bed;
    struct vni_gone gone;
    bed_make(&bed, SLOTS);
    uint32_t vni = 0;
    for (uint32_t n = 0; n < SLOTS; n++) {
        uint32_t got = allocate(&bed, 1 + n / 256, 1000 + n % 256, T0);
        if ((got & (SLOTS - 1)) != 0) vni = got;
    }
    for (int i = 0; i < 2 * HIGH; i++) {
        vnis[i] = vni;
        assert_true(vni_release(&bed.table, vni, &gone));
        vni = allocate(&bed, 5000, 5001 + (uint32_t)i, T0);
        assert_int_equal(vni & (SLOTS - 1), vnis[0] & (SLOTS - 1));
    }
    memcpy(sorted, vnis, sizeof(sorted));
    qsort(sorted, HIGH, sizeof(sorted[0]), compare_u32);
    for (int i = 1; i < HIGH; i++) assert_true(sorted[i] != sorted[i - 1]);
    assert_memory_equal(vnis, vnis + HIGH, HIGH * sizeof(vnis[0]));
    bed_end(&bed);
}

/* Not a proof of anything: that neither the order of slots nor of lives shows. */
static void test_vnis_are_spread(void **state) {
    (void)state;
    enum { N = 4096 };
    static uint32_t a[N], b[N];
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct bed bed;
        struct vni_gone gone;
        bed_make_with(&bed, (struct vni_options){.endpoints_max = 16}, seed);
        for (uint32_t n = 0; n < N; n++) {
            uint32_t vni = allocate(&bed, 1, 2, T0);
            assert_true(vni_release(&bed.table, vni, &gone));
            (seed == 1 ? a : b)[n] = vni;
        }
        bed_end(&bed);
    }
    uint32_t equal_steps = 0, same = 0, same_slot = 0, quarters[4] = {0};
    for (uint32_t n = 2; n < N; n++) {
        equal_steps += a[n] - a[n - 1] == a[n - 1] - a[n - 2];
        same += a[n] == b[n];
        same_slot += (a[n] & 15) == (a[n - 1] & 15);
        quarters[a[n] >> 22]++;
    }
    assert_true(equal_steps < 4 && same < 4);
    assert_in_range(same_slot, N / 32, N / 8);
    for (int i = 0; i < 4; i++) assert_in_range(quarters[i], N / 8, N / 2);
}

/* ---- listing ---- */

/* In pieces it is the same list, and no piece looks further than it was told. */
static void test_the_list_in_pieces(void **state) {
    (void)state;
    enum { N = 20 };
    struct bed bed;
    struct vni_info whole, piece;
    bed_make(&bed, 64);
    for (uint32_t i = 0; i < N; i++) (void)allocate(&bed, 2 + i, 100, T0);
    uint32_t slots = vni_slots(&bed.table), cursor = 0, all = 0, found = 0;
    assert_int_equal(slots, 64);
    for (uint32_t end = 1; end <= slots + 8; end++) {
        while (vni_list_until(&bed.table, &cursor, end, &piece)) {
            assert_true(vni_list(&bed.table, &all, &whole));
            assert_int_equal(piece.vni, whole.vni);
            assert_true(cursor <= end);
            found++;
        }
        assert_int_equal(cursor, min_of(end, slots));
    }
    assert_int_equal(found, N);
    assert_false(vni_list(&bed.table, &all, &whole));
    bed_end(&bed);
}

static void test_the_list(void **state) {
    (void)state;
    struct bed bed;
    struct vni_info info;
    bed_make(&bed, 16);
    uint32_t cursor = 0, found = 0;
    assert_false(vni_list(&bed.table, &cursor, &info));
    uint32_t open = open_endpoint(&bed, 2, 3, T0), half = allocate(&bed, 9, 4, T0);
    bind_leg_to(&bed, half, 9, 4, 99, T0 + 5);
    assert_true(send_from(&bed, open, 2, 3, T0 + 1));
    assert_true(send_from(&bed, open, 2, 3, T0 + 2));
    assert_true(send_from(&bed, open, 3, 2, T0 + 3));
    struct disco_key four = key_of(4), nine = key_of(9);
    for (cursor = 0; vni_list(&bed.table, &cursor, &info); found++) {
        if (info.vni == open) {
            assert_true(info.is_open && info.lamport == 1);
            assert_true(address_is(&info.clients[0].address, 2) && address_is(&info.clients[1].address, 3));
            assert_int_equal(info.clients[0].packets, 2);
            assert_int_equal(info.clients[0].bytes, 200);
            assert_int_equal(info.clients[0].last_seen_ns, T0 + 2);
            assert_int_equal(info.clients[1].packets, 1);
            assert_int_equal(info.clients[1].last_seen_ns, T0 + 3);
        } else {
            assert_true(info.vni == half && !info.is_open && info.lamport == 2);
            assert_memory_equal(&info.clients[0].key, &four, sizeof(four));
            assert_memory_equal(&info.clients[1].key, &nine, sizeof(nine));
            assert_int_equal(info.clients[0].address.port, 0);
            assert_int_equal(info.clients[0].last_seen_ns, 0);
            assert_true(address_is(&info.clients[1].address, 99));
            assert_int_equal(info.clients[1].last_seen_ns, T0 + 5);
        }
    }
    assert_int_equal(found, 2);
    bed_end(&bed);
}

/* Counters begin anew with the endpoint. */
static void test_a_slot_begins_anew(void **state) {
    (void)state;
    struct bed bed;
    struct vni_gone gone;
    struct vni_info info;
    bed_make(&bed, 1);
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t vni = open_endpoint(&bed, 1, 2, T0), cursor = 0;
        assert_true(send_from(&bed, vni, 1, 2, T0));
        assert_true(vni_list(&bed.table, &cursor, &info));
        assert_int_equal(info.clients[0].packets, 1);
        assert_int_equal(info.clients[1].packets, 0);
        assert_int_equal(info.lamport, i + 1);
        assert_true(vni_release(&bed.table, vni, &gone));
    }
    bed_end(&bed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_footprint_is_what_init_takes),
        cmocka_unit_test(test_as_many_as_asked_for_fit),
        cmocka_unit_test(test_an_offer_says_everything),
        cmocka_unit_test(test_a_pair_has_one_endpoint),
        cmocka_unit_test(test_refusals_come_in_order),
        cmocka_unit_test(test_a_full_table_disturbs_nobody),
        cmocka_unit_test(test_who_waits_is_bounded),
        cmocka_unit_test(test_a_stale_endpoint_is_replaced),
        cmocka_unit_test(test_a_replaced_endpoint_ends),
        cmocka_unit_test(test_each_offer_is_a_promise),
        cmocka_unit_test(test_unbound_endpoints_end),
        cmocka_unit_test(test_looks_are_bounded),
        cmocka_unit_test(test_either_silent_leg_ends_an_open_endpoint),
        cmocka_unit_test(test_what_refreshes_a_leg),
        cmocka_unit_test(test_lifetimes_can_be_chosen),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_secrets_are_wiped),
        cmocka_unit_test(test_a_vni_rests_before_it_comes_again),
        cmocka_unit_test(test_vnis_are_spread),
        cmocka_unit_test(test_the_list),
        cmocka_unit_test(test_the_list_in_pieces),
        cmocka_unit_test(test_a_slot_begins_anew),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
