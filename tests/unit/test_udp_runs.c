/* test_udp_runs.c - what the UDP worker does with many datagrams: runs in and out, regrouping, order, refusals. */
#include "test_udp_bed.h"

enum { SEGMENTS = 32, SEGMENT = 200 };

/* A hub and its peers, each with an endpoint of its own. */
enum { PEERS = 3 };

struct star {
    struct client hub, peers[PEERS];
    uint32_t vnis[PEERS];
    uint8_t run[64 * 1300];
};

static struct star star;  // large

static void star_open(void) {
    client_open(&star.hub, "127.0.0.1:0");
    for (size_t i = 0; i < PEERS; i++) {
        client_open(&star.peers[i], i == 2 ? "[::1]:0" : "127.0.0.1:0");
        star.vnis[i] = bind_both(&star.hub, &star.peers[i]);
    }
}

static void star_close(void) {
    close(star.hub.fd);
    for (size_t i = 0; i < PEERS; i++) close(star.peers[i].fd);
    house_expect_whole();
    house_close();
}

static uint64_t sends(void) { return stat_get(&house.metrics.udp_sends); }

static bool is_whole_kernel(unsigned features) { return (features & RING_MULTISHOT_RECEIVE) != 0; }

/* One run of one VNI: one send. */
static void whole_run(unsigned features) {
    house_open_with(features, (struct udp_options){.has_no_runs = false});
    star_open();
    for (size_t i = 0; i < SEGMENTS; i++) make_data(star.run + i * SEGMENT, star.vnis[0], i, SEGMENT);
    for (size_t last = 0; last < 2; last++) {  // with a last one that is as long, and with one that is shorter
        uint64_t before = sends();
        size_t size = SEGMENTS * SEGMENT - last * 50;
        send_run(&star.hub, star.run, size, SEGMENT);
        for (size_t i = 0; i < SEGMENTS - last; i++) expect_data(&star.peers[0], star.vnis[0], i, SEGMENT);
        if (last) expect_data(&star.peers[0], star.vnis[0], SEGMENTS - 1, SEGMENT - 50);
        assert_int_equal(sends(), before + 1);
    }
    star_close();
}

static void test_whole_run(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(bed_masks); i++) whole_run(bed_masks[i].features);
}

/* Datagrams of several VNIs, of none and of STUN, mixed in one run, as a NAT's or NIC's coalescing makes them. */
static void test_mixed_run(void **state) {
    (void)state;
    house_open();
    star_open();
    for (size_t i = 0; i < 64; i++) {
        make_data(star.run + i * SEGMENT, i % 8 == 7 ? 0 : star.vnis[i * 7 / 3 % PEERS], i, SEGMENT);
        star.run[i * SEGMENT + 1] = (uint8_t)(i % 2 ? 0x40 : 0);  // a bit that nobody looks at
    }
    uint64_t before = sends();
    send_run(&star.hub, star.run, 64 * SEGMENT, SEGMENT);
    uint8_t got[BED_DATAGRAM_MAX];
    for (size_t peer = 0; peer < PEERS; peer++) {
        for (size_t i = 0; i < 64; i++) {
            if (i % 8 == 7 || i * 7 / 3 % PEERS != peer) continue;
            assert_int_equal(client_receive(&star.peers[peer], got), SEGMENT);
            assert_memory_equal(got, star.run + i * SEGMENT, SEGMENT);
        }
        client_expect_nothing(&star.peers[peer]);
    }
    assert_int_equal(sends(), before + PEERS);
    assert_int_equal(house_drops(UDP_DROP_VNI_UNKNOWN), 8);
    star_close();
}

/* Datagrams that come singly and alternate leave as few runs, each destination's in order. */
static void singles(unsigned features) {
    enum { COUNT = 90 };
    house_open_with(features, (struct udp_options){.has_no_runs = false});
    star_open();
    uint64_t before = sends();
    for (size_t i = 0; i < COUNT; i++) send_data(&star.hub, star.vnis[i % PEERS], i, SEGMENT + i % 5 % 2);
    for (size_t peer = 0; peer < PEERS; peer++) {
        for (size_t i = peer; i < COUNT; i += PEERS) {
            expect_data(&star.peers[peer], star.vnis[peer], i, SEGMENT + i % 5 % 2);
        }
    }
    if (is_whole_kernel(features)) assert_true(sends() - before <= COUNT / 2);
    star_close();
}

static void test_singles(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(bed_masks); i++) singles(bed_masks[i].features);
}

/* Sizes in any order: every rule about what may go together. */
static void test_any_sizes(void **state) {
    (void)state;
    enum { ROUNDS = 40, COUNT = 100 };
    size_t sizes[COUNT];
    struct rng rng;
    rng_init_seeded(&rng, 3);
    house_open();
    star_open();
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t kinds = 1 + rng_below(&rng, 4), largest = round % 10 == 0 ? 30000 : 1500;
        for (size_t i = 0; i < COUNT; i++) {
            sizes[i] = 8 + (size_t)rng_below(&rng, kinds) * (size_t)(largest / kinds);
            send_data(&star.hub, star.vnis[i % 2], i, sizes[i]);
        }
        for (size_t peer = 0; peer < 2; peer++) {
            for (size_t i = peer; i < COUNT; i += 2) expect_data(&star.peers[peer], star.vnis[peer], i, sizes[i]);
        }
    }
    star_close();
}

/* Large runs, more than fits one send, of which the second takes up where the first ended. */
static void test_long_runs(void **state) {
    (void)state;
    house_open();
    star_open();
    for (size_t peer = 0; peer < PEERS; peer += 2) {
        uint64_t before = sends();
        for (size_t i = 0; i < 50; i++) make_data(star.run + i * 1280, star.vnis[peer], i, 1280);
        for (int k = 0; k < 6; k++) send_run(&star.hub, star.run, 50 * 1280, 1280);
        for (size_t i = 0; i < 6 * 50; i++) expect_data(&star.peers[peer], star.vnis[peer], i % 50, 1280);
        assert_in_range(sends() - before, 6, 7);
    }
    star_close();
}

/* More destinations in one pass than a table of them keeps apart by chance: each gets its own and nothing else. */
static void test_many_destinations(void **state) {
    (void)state;
    enum { COUNT = 300 };
    static struct client peers[COUNT];
    static uint32_t vnis[COUNT];
    house_open();
    client_open(&star.hub, "127.0.0.1:0");
    for (size_t i = 0; i < COUNT; i++) {
        client_open(&peers[i], "127.0.0.1:0");
        vnis[i] = bind_both(&star.hub, &peers[i]);
    }
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < COUNT; i++) send_data(&star.hub, vnis[i], i + turn, SEGMENT);
    }
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t turn = 0; turn < 2; turn++) expect_data(&peers[i], vnis[i], i + turn, SEGMENT);
    }
    for (size_t i = 0; i < COUNT; i++) {
        client_expect_nothing(&peers[i]);
        close(peers[i].fd);
    }
    close(star.hub.fd);
    house_expect_whole();
    house_close();
}

/* ---- when runs cannot be sent ---- */

static void expect_run(size_t count) {
    for (size_t i = 0; i < count; i++) expect_data(&star.peers[0], star.vnis[0], i, SEGMENT);
}

static void send_whole_run(void) {
    for (size_t i = 0; i < SEGMENTS; i++) make_data(star.run + i * SEGMENT, star.vnis[0], i, SEGMENT);
    send_run(&star.hub, star.run, SEGMENTS * SEGMENT, SEGMENT);
}

static void test_without_runs(void **state) {
    (void)state;
    house_open_with(RING_FEATURES_ALL, (struct udp_options){.has_no_runs = true});
    star_open();
    uint64_t before = sends();
    // more datagrams than sends: the rest waits for the next pass
    for (int k = 0; k < 30; k++) send_whole_run();
    for (int k = 0; k < 30; k++) expect_run(SEGMENTS);
    assert_int_equal(sends(), before + 30 * SEGMENTS);
    star_close();
}

/* Without checksums the kernel refuses runs, each time (-EINVAL): sent again singly, and then singly at once, until ten
 * seconds have passed. */
static void test_refused_run(void **state) {
    (void)state;
    int yes = 1;
    house_open();
    star_open();
    int fd = house.worker.sockets[UDP_PLACE_IPV4].ring.socket.fd;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &yes, sizeof(yes)), 0);
    for (int k = 0; k < 3; k++) {
        send_whole_run();
        expect_run(SEGMENTS);
        assert_int_equal(stat_get(&house.metrics.udp_runs_refused), 1);
    }
    assert_true(house.worker.sockets[UDP_PLACE_IPV4].has_runs);
    yes = 0;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &yes, sizeof(yes)), 0);
    house.now_ns += 11 * NS_PER_S;
    uint64_t before = sends();
    send_whole_run();
    expect_run(SEGMENTS);
    assert_int_equal(sends(), before + 1);
    for (size_t i = 0; i < UDP_DROP_REASON_COUNT; i++) assert_int_equal(house_drops((enum udp_drop_reason)i), 0);
    star_close();
}

/* A device that can never send them (-EIO), which no loopback is: what the kernel would say is said here. */
static void test_runs_given_up(void **state) {
    (void)state;
    struct udp *u = &house.worker;
    struct ring_event event;
    house_open();
    star_open();
    send_whole_run();
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    while (ring_reap(house.ring, &event, 1) == 0 && bed_now_ns() < deadline_ns) ring_wait(house.ring, NS_PER_MS);
    assert_int_equal(event.op, RING_RECEIVED);
    const struct ring_arrival *ring = ring_arrival(house.ring, &event);
    u->references[event.buffer_idx] = 1;
    u->arrivals[u->arrivals_first % LIMIT_UDP_BUFFERS] =
        (struct udp_arrival){.bytes = (uint8_t *)(uintptr_t)event.bytes,
                             .size = (uint32_t)event.result,
                             .segment_size = ring->segment_size,
                             .buffer = event.buffer_idx,
                             .socket = &u->sockets[UDP_PLACE_IPV4],
                             .ring = ring,
                             .source = vni_address_make(&ring->path.remote, 0)};
    u->arrivals_count = 1;
    udp_forward_arrivals(u);
    struct udp_send *send = u->outgoing_first;
    assert_true(send != NULL && send->next == NULL && send->segments == SEGMENTS);
    u->outgoing_first = NULL;
    u->outgoing_last = &u->outgoing_first;
    u->round++;
    send->datagram.segment_size = SEGMENT;
    udp_on_sent(u, send, -EIO);
    assert_false(u->sockets[UDP_PLACE_IPV4].has_runs);
    assert_true(u->sockets[UDP_PLACE_IPV6].has_runs);
    expect_run(SEGMENTS);
    uint64_t before = sends();
    send_whole_run();
    expect_run(SEGMENTS);
    assert_int_equal(sends(), before + SEGMENTS);
    star_close();
}

/* A tail of one byte behind runs of equal sizes, and only there. */
static void test_tails(void **state) {
    (void)state;
    static const uint8_t tail = 0x07;
    uint8_t got[BED_DATAGRAM_MAX];
    house_open_with(RING_FEATURES_ALL, (struct udp_options){.has_tails = true});
    star_open();
    send_whole_run();
    expect_run(SEGMENTS);
    assert_int_equal(client_receive(&star.peers[0], got), 1);
    assert_int_equal(got[0], tail);
    send_run(&star.hub, star.run, SEGMENTS * SEGMENT - 1, SEGMENT);
    expect_run(SEGMENTS - 1);
    expect_data(&star.peers[0], star.vnis[0], SEGMENTS - 1, SEGMENT - 1);
    send_data(&star.hub, star.vnis[0], 5, 100);
    expect_data(&star.peers[0], star.vnis[0], 5, 100);
    client_expect_nothing(&star.peers[0]);
    star_close();
}

/* ---- the kernel ---- */

/* Datagrams that the kernel had no room for are counted, once a second. */
static void test_overflows(void **state) {
    (void)state;
    int least = 1;
    house_open();
    star_open();
    int fd = house.worker.sockets[UDP_PLACE_IPV4].ring.socket.fd;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
    for (int i = 0; i < 100; i++) send_data(&star.hub, star.vnis[0], 1, 1280);
    house_step();
    assert_int_equal(stat_get(&house.metrics.udp_overflows), 0);
    uint64_t due_ns = house.worker.overflows_due_ns;
    assert_true(due_ns > house.now_ns && due_ns <= house.now_ns + NS_PER_S);
    house.now_ns = due_ns;
    house_step();
    assert_in_range(stat_get(&house.metrics.udp_overflows), 1, 100);
    star_close();
}

/* A client that is stopped with datagrams waiting: all memory comes home. */
static void test_stop_under_load(void **state) {
    (void)state;
    house_open();
    star_open();
    for (int k = 0; k < 50; k++) send_whole_run();
    star_close();
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_run),     cmocka_unit_test(test_mixed_run),
        cmocka_unit_test(test_singles),       cmocka_unit_test(test_any_sizes),
        cmocka_unit_test(test_long_runs),     cmocka_unit_test(test_many_destinations),
        cmocka_unit_test(test_without_runs),  cmocka_unit_test(test_refused_run),
        cmocka_unit_test(test_runs_given_up), cmocka_unit_test(test_tails),
        cmocka_unit_test(test_overflows),     cmocka_unit_test(test_stop_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
