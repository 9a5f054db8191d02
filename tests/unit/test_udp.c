/* test_udp.c - the UDP worker on the loopback: handshakes and data of two clients, families, hostile datagrams. */
#include "test_udp_bed.h"

static const char *const pairs[][2] = {
    {"127.0.0.1:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}, {"127.0.0.1:0", "[::1]:0"}, {"127.0.0.3:0", "127.0.0.2:0"}};

struct pair {
    struct client a, b;
    uint32_t vni;
};

static void pair_open(struct pair *p) {
    client_open(&p->a, "127.0.0.1:0");
    client_open(&p->b, "127.0.0.1:0");
    p->vni = bind_both(&p->a, &p->b);
}

static void pair_close(struct pair *p) {
    close(p->a.fd);
    close(p->b.fd);
}

/* ---- both ways ---- */

static void both_ways(unsigned features, const char *const ips[2]) {
    static const size_t sizes[] = {8, 9, 20, 100, 1280, 1500, 9000, 65000};
    struct client a, b;
    house_open_with(features, (struct udp_options){.has_no_runs = false});
    client_open(&a, ips[0]);
    client_open(&b, ips[1]);
    uint32_t vni = bind_both(&a, &b);
    uint64_t bytes = 0;
    for (size_t i = 0; i < array_count(sizes); i++) {
        send_data(&a, vni, i, sizes[i]);
        expect_data(&b, vni, i, sizes[i]);
        send_data(&b, vni, i + 100, sizes[i]);
        expect_data(&a, vni, i + 100, sizes[i]);
        bytes += sizes[i];
    }
    int from = a.family == AF_INET6, to = b.family == AF_INET6;
    bool is_one = from == to;
    assert_int_equal(stat_get(&house.metrics.udp_forwarded_packets[from][to]), array_count(sizes) * (is_one ? 2 : 1));
    assert_int_equal(stat_get(&house.metrics.udp_forwarded_bytes[to][from]), bytes * (is_one ? 2 : 1));
    struct vni_info info;
    uint32_t cursor = 0;
    assert_true(vni_list(&house.vni, &cursor, &info));
    assert_true(info.is_open);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(info.clients[i].packets, array_count(sizes));
        assert_int_equal(info.clients[i].bytes, bytes);
    }
    house_expect_whole();
    close(a.fd);
    close(b.fd);
    house_close();
}

static void test_both_ways(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(bed_masks); i++) {
        for (size_t k = 0; k < array_count(pairs); k++) both_ways(bed_masks[i].features, pairs[k]);
    }
}

/* ---- what is no handshake ---- */

/* That many datagrams were dropped for the reason, and nobody was told. */
static void expect_dropped(const struct client *c, enum udp_drop_reason reason, uint64_t count) {
    house_step_until(&house.metrics.udp_drops[reason], count);
    client_expect_nothing(c);
}

static void send_changed_bind(const struct pair *p, const struct disco_bind *bind) {
    uint8_t bytes[CONTROL_SIZE];
    client_send(&p->a, bytes, seal_bind(&p->a, p->vni, DISCO_BIND, bind, bytes));
}

static void test_bad_binds(void **state) {
    (void)state;
    struct pair p;
    uint8_t bytes[CONTROL_SIZE + 200], plain[DISCO_BIND_SIZE + 200] = {0};
    house_open();
    pair_open(&p);
    struct disco_bind good = bind_of(p.vni, 3, &p.b), bad = good;
    bad.generation = 0;
    send_changed_bind(&p, &bad);
    expect_dropped(&p.a, UDP_DROP_GENERATION, 1);
    const struct disco_key wrong[] = {p.a.key, house.vni.options.server, {{0}}};
    for (size_t i = 0; i < array_count(wrong); i++) {
        bad = good;
        bad.remote = wrong[i];
        send_changed_bind(&p, &bad);
        expect_dropped(&p.a, UDP_DROP_REMOTE_KEY, i + 1);
    }
    bad = good;
    bad.vni++;
    send_changed_bind(&p, &bad);
    expect_dropped(&p.a, UDP_DROP_BODY_VNI, 1);
    // lengths: one byte too few, far too many
    struct writer w = writer_of(plain, DISCO_BIND_SIZE);
    disco_bind_write(&w, DISCO_BIND, &good);
    client_send(&p.a, bytes, seal_message(&p.a, p.vni, plain, DISCO_BIND_SIZE - 1, bytes));
    client_send(&p.a, bytes, seal_message(&p.a, p.vni, plain, DISCO_BIND_SIZE + 97, bytes));
    expect_dropped(&p.a, UDP_DROP_SIZE, 2);
    // other types, and none
    static const uint8_t types[] = {0, 1, 2, 5, 7, 8, 9, 10, 255};
    for (size_t i = 0; i < array_count(types); i++) {
        plain[0] = types[i];
        client_send(&p.a, bytes, seal_message(&p.a, p.vni, plain, DISCO_BIND_SIZE + 10, bytes));
        expect_dropped(&p.a, UDP_DROP_BODY, i + 1);
    }
    house_expect_whole();
    pair_close(&p);
    house_close();
}

static void test_bad_envelopes(void **state) {
    (void)state;
    struct pair p;
    uint8_t bytes[CONTROL_SIZE];
    house_open();
    pair_open(&p);
    struct disco_bind good = bind_of(p.vni, 3, &p.b);
    size_t size = seal_bind(&p.a, p.vni, DISCO_BIND, &good, bytes);
    bytes[8] ^= 1;  // magic
    client_send(&p.a, bytes, size);
    expect_dropped(&p.a, UDP_DROP_ENVELOPE, 1);
    bytes[8] ^= 1;
    bytes[8 + 6] ^= 1;  // sender
    client_send(&p.a, bytes, size);
    expect_dropped(&p.a, UDP_DROP_SENDER, 1);
    bytes[8 + 6] ^= 1;
    static const size_t covered[] = {8 + 38, 8 + 61, 8 + 62, 8 + 77, 8 + 78, CONTROL_SIZE - 1};
    for (size_t i = 0; i < array_count(covered); i++) {
        bytes[covered[i]] ^= 0x40;
        client_send(&p.a, bytes, size);
        expect_dropped(&p.a, UDP_DROP_BOX, i + 1);
        bytes[covered[i]] ^= 0x40;
    }
    store_be32(bytes + 4, (p.vni ^ 1) << 8);
    client_send(&p.a, bytes, size);
    expect_dropped(&p.a, UDP_DROP_VNI_UNKNOWN, 1);
    store_be32(bytes + 4, p.vni << 8);
    bytes[3] = 0x12;  // O, but WireGuard
    client_send(&p.a, bytes, size);
    expect_dropped(&p.a, UDP_DROP_PROTOCOL, 1);
    bytes[3] = 0x11;
    client_send(&p.a, bytes, size);  // and it was a good one
    (void)expect_challenge(&p.a, p.vni, 3, &p.b);
    pair_close(&p);
    house_close();
}

/* Odd header bits, another version inside and bytes behind: answered, with a clean header. */
static void test_odd_binds(void **state) {
    (void)state;
    struct pair p;
    uint8_t bytes[CONTROL_SIZE + 3], plain[DISCO_BIND_SIZE + 3] = {0};
    house_open();
    pair_open(&p);
    struct disco_bind good = bind_of(p.vni, 9, &p.b);
    size_t size = seal_bind(&p.a, p.vni, DISCO_BIND, &good, bytes);
    bytes[0] = bytes[1] = bytes[7] = 0xff;
    client_send(&p.a, bytes, size);
    struct disco_bind first = expect_challenge(&p.a, p.vni, 9, &p.b);
    struct writer w = writer_of(plain, DISCO_BIND_SIZE);
    disco_bind_write(&w, DISCO_BIND, &good);
    plain[1] = 9;
    client_send(&p.a, bytes, seal_message(&p.a, p.vni, plain, sizeof(plain), bytes));
    struct disco_bind second = expect_challenge(&p.a, p.vni, 9, &p.b);
    assert_memory_equal(first.challenge, second.challenge, sizeof(first.challenge));
    struct client other = p.a;
    client_connect(&other, "127.0.0.1:0");
    send_bind(&other, p.vni, 9, &p.b);
    struct disco_bind third = expect_challenge(&other, p.vni, 9, &p.b);
    assert_memory_not_equal(first.challenge, third.challenge, sizeof(first.challenge));
    send_answer(&other, p.vni, &first);  // of the first socket
    expect_dropped(&other, UDP_DROP_CHALLENGE, 1);
    close(other.fd);
    pair_close(&p);
    house_close();
}

static void test_generations(void **state) {
    (void)state;
    struct pair p;
    house_open();
    pair_open(&p);
    send_bind(&p.a, p.vni, 5, &p.b);
    struct disco_bind five = expect_challenge(&p.a, p.vni, 5, &p.b);
    send_bind(&p.a, p.vni, 2, &p.b);
    struct disco_bind two = expect_challenge(&p.a, p.vni, 2, &p.b);
    send_answer(&p.a, p.vni, &five);
    expect_dropped(&p.a, UDP_DROP_GENERATION, 1);
    send_answer(&p.a, p.vni, &two);
    house_step_until(&house.metrics.udp_bound, 3);
    send_answer(&p.a, p.vni, &two);
    expect_dropped(&p.a, UDP_DROP_GENERATION, 2);
    pair_close(&p);
    house_close();
}

/* ---- what is not forwarded, and what is ---- */

static void test_before_both_are_bound(void **state) {
    (void)state;
    struct client a, b;
    house_open();
    client_open(&a, "127.0.0.1:0");
    client_open(&b, "127.0.0.1:0");
    uint32_t vni = house_allocate(&a, &b);
    send_data(&a, vni, 1, 100);
    expect_dropped(&b, UDP_DROP_NOT_OPEN, 1);
    bind_client(&a, vni, 1, &b);
    send_data(&a, vni, 1, 100);
    expect_dropped(&b, UDP_DROP_NOT_OPEN, 2);
    // Answer and Ping back to back: the Ping passes
    send_bind(&b, vni, 1, &a);
    struct disco_bind challenge = expect_challenge(&b, vni, 1, &a);
    send_answer(&b, vni, &challenge);
    send_data(&b, vni, 2, 132);
    expect_data(&a, vni, 2, 132);
    struct client stranger = a;
    client_connect(&stranger, "127.0.0.1:0");
    send_data(&stranger, vni, 3, 100);
    expect_dropped(&b, UDP_DROP_NOT_BOUND, 1);
    send_data(&a, vni ^ 1, 3, 100);
    send_data(&a, 0, 3, 100);
    expect_dropped(&b, UDP_DROP_VNI_UNKNOWN, 2);
    close(stranger.fd);
    close(a.fd);
    close(b.fd);
    house_close();
}

/* Whatever the header says beside O and VNI. */
static void test_odd_data(void **state) {
    (void)state;
    static const uint8_t heads[][4] = {
        {0, 0, 0x65, 0x58}, {0xff, 0x7f, 0xff, 0xff}, {0, 0, 0x7a, 0x11}, {0, 0, 0, 0}, {0, 0x40, 0x7a, 0x12}};
    struct pair p;
    uint8_t bytes[100], got[BED_DATAGRAM_MAX];
    house_open();
    pair_open(&p);
    for (size_t i = 0; i < 2 * array_count(heads); i++) {
        size_t size = i % 2 ? 8 : sizeof(bytes);
        make_data(bytes, p.vni, i, sizeof(bytes));
        memcpy(bytes, heads[i / 2], 4);
        bytes[7] = 0xa5;
        client_send(&p.a, bytes, size);
        assert_int_equal(client_receive(&p.b, got), size);
        assert_memory_equal(got, bytes, size);
    }
    for (size_t size = 0; size < 8; size++) client_send(&p.a, bytes, size);
    expect_dropped(&p.b, UDP_DROP_TOO_SHORT, 8);
    house_expect_whole();
    pair_close(&p);
    house_close();
}

static void test_roaming(void **state) {
    (void)state;
    struct pair p;
    house_open();
    pair_open(&p);
    struct client moved = p.a;
    client_connect(&moved, "127.0.0.1:0");
    send_bind(&moved, p.vni, 2, &p.b);
    struct disco_bind challenge = expect_challenge(&moved, p.vni, 2, &p.b);
    send_data(&p.b, p.vni, 1, 50);
    expect_data(&p.a, p.vni, 1, 50);  // still the old address
    send_data(&p.a, p.vni, 2, 50);
    expect_data(&p.b, p.vni, 2, 50);
    send_answer(&moved, p.vni, &challenge);
    send_data(&moved, p.vni, 3, 60);
    expect_data(&p.b, p.vni, 3, 60);
    send_data(&p.b, p.vni, 4, 60);
    expect_data(&moved, p.vni, 4, 60);
    send_data(&p.a, p.vni, 5, 60);
    expect_dropped(&p.b, UDP_DROP_NOT_BOUND, 1);
    close(moved.fd);
    pair_close(&p);
    house_close();
}

/* Without a socket of the other family: counted, and the rest goes on. */
static void test_no_socket(void **state) {
    (void)state;
    struct pair p;
    struct udp_options options = {.has_no_runs = false};
    options.fds[UDP_PLACE_IPV6] = -1;
    options.fds[UDP_PLACE_STUN] = -1;
    house_open_with(RING_FEATURES_ALL, options);
    pair_open(&p);
    struct vni_sender sender;
    struct vni_event event = {.kind = VNI_BIND, .vni = p.vni, .generation = 9, .remote = p.a.key};
    struct vni_outcome outcome;
    struct net_address far = bed_address("[::1]:0", 9);
    event.source = vni_address_make(&far, 0);
    assert_true(vni_sender(&house.vni, p.vni, &p.b.key, &sender));
    assert_int_equal(vni_handshake(&house.vni, &sender, &event, house.now_ns, &outcome), VNI_CHALLENGE);
    event.kind = VNI_ANSWER;
    memcpy(event.challenge, outcome.challenge, sizeof(event.challenge));
    assert_int_equal(vni_handshake(&house.vni, &sender, &event, house.now_ns, &outcome), VNI_BOUND);
    send_data(&p.a, p.vni, 1, 50);
    expect_dropped(&p.b, UDP_DROP_NO_SOCKET, 1);
    house_expect_whole();
    pair_close(&p);
    house_close();
}

/* ---- STUN ---- */

static void ask_stun(int fd) {
    uint8_t request[STUN_REQUEST_SIZE], transaction[STUN_TRANSACTION_SIZE] = {1, 2, 3}, bytes[64];
    struct net_address seen;
    uint64_t before = stat_get(&house.metrics.stun_requests[STUN_SUCCESS]);
    stun_request_write(request, transaction);
    assert_int_equal(send(fd, request, sizeof(request), 0), sizeof(request));
    house_step_until(&house.metrics.stun_requests[STUN_SUCCESS], before + 1);
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    assert_true(n > 0 && stun_answer_parse(bytes, (size_t)n, transaction, &seen));
    assert_true(net_address_is_loopback(&seen));
}

static void test_stun(void **state) {
    (void)state;
    for (size_t k = 0; k < array_count(pairs); k++) {
        struct client c, asker;
        house_open();
        client_open(&c, pairs[k][0]);
        for (int i = 0; i < 5; i++) ask_stun(c.fd);
        house.bound[UDP_PLACE_IPV4] = house.bound[UDP_PLACE_STUN];
        client_connect(&asker, "127.0.0.1:0");
        for (int i = 0; i < 5; i++) ask_stun(asker.fd);
        client_send(&asker, "not STUN but long enough", 24);
        client_send(&asker, "", 0);
        house_step_until(&house.metrics.stun_requests[STUN_NOT_STUN], 2);
        // on the relay's port: like STUN, but no request of Tailscale's; an answer; a data packet on the STUN port
        uint8_t request[STUN_REQUEST_SIZE], transaction[STUN_TRANSACTION_SIZE] = {0};
        stun_request_write(request, transaction);
        request[39] ^= 1;
        client_send(&c, request, sizeof(request));
        house_step_until(&house.metrics.stun_requests[STUN_NOT_STUN], 3);
        struct net_address self = bed_address("127.0.0.1:0", 7);
        uint8_t answer[STUN_ANSWER_SIZE_MAX];
        client_send(&c, answer, stun_answer_write(answer, transaction, &self));
        house_step_until(&house.metrics.udp_stun_answers, 1);
        client_expect_nothing(&c);
        house_expect_whole();
        close(c.fd);
        close(asker.fd);
        house_close();
    }
}

/* More requests at once than answers for STUN: the rest is dropped, and there is one left for a Bind. */
static void test_stun_leaves_answers(void **state) {
    (void)state;
    struct client a, b;
    uint8_t run[64 * STUN_REQUEST_SIZE], transaction[STUN_TRANSACTION_SIZE] = {0};
    house_open();
    client_open(&a, "127.0.0.1:0");
    client_open(&b, "127.0.0.1:0");
    uint32_t vni = house_allocate(&a, &b);
    for (size_t i = 0; i < 64; i++) stun_request_write(run + i * STUN_REQUEST_SIZE, transaction);
    for (int i = 0; i < 6; i++) send_run(&b, run, sizeof(run), STUN_REQUEST_SIZE);
    send_bind(&a, vni, 1, &b);
    (void)expect_challenge(&a, vni, 1, &b);
    assert_int_equal(stat_get(&house.metrics.stun_requests[STUN_SUCCESS]) + stat_get(&house.metrics.stun_dropped),
                     6 * 64);
    assert_true(stat_get(&house.metrics.stun_dropped) > 0);
    house_expect_whole();
    close(a.fd);
    close(b.fd);
    house_close();
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_bad_binds),
        cmocka_unit_test(test_bad_envelopes),
        cmocka_unit_test(test_odd_binds),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_before_both_are_bound),
        cmocka_unit_test(test_odd_data),
        cmocka_unit_test(test_roaming),
        cmocka_unit_test(test_no_socket),
        cmocka_unit_test(test_stun),
        cmocka_unit_test(test_stun_leaves_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
