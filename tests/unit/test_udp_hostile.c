/* test_udp_hostile.c - clients of the UDP relay that mean harm: runs as long as the kernel hands them over, any mixture
 * in a run, floods of handshakes.
 */
#include "test_udp_bed.h"

enum { KERNEL_SEGMENTS = 128, SEGMENT = 100, PEERS = 3, GARBAGE = PEERS };

static uint8_t run[BED_DATAGRAM_MAX];

struct yard {
    struct client hub, peers[PEERS];
    uint32_t vnis[PEERS];
};

static void yard_open(struct yard *y) {
    client_open(&y->hub, "127.0.0.1:0");
    for (size_t i = 0; i < PEERS; i++) {
        client_open(&y->peers[i], i == 2 ? "[::1]:0" : "127.0.0.1:0");
        y->vnis[i] = bind_both(&y->hub, &y->peers[i]);
    }
}

static void yard_close(struct yard *y) {
    close(y->hub.fd);
    for (size_t i = 0; i < PEERS; i++) close(y->peers[i].fd);
    house_expect_whole();
    house_close();
}

/* Since 6.9 a sender on the same host, such as a container or a guest, makes runs of 128, which arrive as they are. */
static size_t kernel_segments(const struct client *c) {
    static const uint8_t bytes[KERNEL_SEGMENTS * 8];
    uint64_t before = stat_get(&house.metrics.udp_received);
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = sizeof(bytes)};
    _Alignas(8) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    *item = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
    memcpy(CMSG_DATA(item), &(uint16_t){8}, sizeof(uint16_t));
    if (sendmsg(c->fd, &message, 0) != sizeof(bytes)) return 64;
    house_step_until(&house.metrics.udp_received, before + KERNEL_SEGMENTS);
    return KERNEL_SEGMENTS;
}

/* Nothing can be sent as a run, and each run that came takes more sends than a shorter one. */
static void test_longest_runs(void **state) {
    (void)state;
    struct yard y;
    enum { RUNS = 6 };
    house_open_with(RING_FEATURES_ALL, (struct udp_options){.has_no_runs = true});
    yard_open(&y);
    size_t segments = kernel_segments(&y.hub);
    send_data(&y.hub, y.vnis[0], 1000, SEGMENT);
    for (size_t i = 0; i < segments; i++) make_data(run + i * SEGMENT, y.vnis[0], i, SEGMENT);
    for (int k = 0; k < RUNS; k++) send_run(&y.hub, run, segments * SEGMENT, SEGMENT);
    expect_data(&y.peers[0], y.vnis[0], 1000, SEGMENT);
    for (size_t i = 0; i < RUNS * segments; i++) expect_data(&y.peers[0], y.vnis[0], i % segments, SEGMENT);
    yard_close(&y);
}

/* ---- any mixture ---- */

struct mixture {
    size_t segment, size, count;
    uint8_t who[KERNEL_SEGMENTS];  // a peer, or GARBAGE
};

static void make_garbage(struct rng *rng, uint32_t vni, uint8_t *to, size_t size) {
    rng_bytes(rng, to, size);
    if (size < 8) return;
    uint64_t kind = rng_below(rng, 4);
    if (kind == 0) store_be32(to + 4, 0);
    if (kind == 1) to[1] |= 0x80;  // control, of whatever protocol
    if (kind == 2) geneve_header_write(to, &(struct geneve_header){vni, GENEVE_PROTOCOL_DISCO, true});
    if (kind == 3 && size >= 20) {  // like STUN, with a VNI behind it that might be anybody's
        memcpy(to, (uint8_t[]){0, 1}, 2);
        store_be32(to + 4, UINT32_C(0x2112a442));
    } else if (kind == 3) {
        store_be32(to + 4, 0);
        to[1] &= 0x7f;
    }
}

static void mix(struct rng *rng, const struct yard *y, size_t segments_max, struct mixture *m) {
    size_t last;
    m->segment = 1 + (size_t)rng_below(rng, rng_below(rng, 4) ? 500 : 30);
    m->count = 1 + (size_t)rng_below(rng, segments_max);
    last = 1 + (size_t)rng_below(rng, m->segment);
    m->size = (m->count - 1) * m->segment + last;
    size_t usual = (size_t)rng_below(rng, PEERS);
    for (size_t i = 0; i < m->count; i++) {
        size_t size = i + 1 == m->count ? last : m->segment;
        uint8_t *at = run + i * m->segment;
        uint64_t die = rng_below(rng, 8);
        size_t who = die == 0 ? GARBAGE : (die == 1 ? (size_t)rng_below(rng, PEERS) : usual);
        if (size < GENEVE_HEADER_SIZE) who = GARBAGE;
        m->who[i] = (uint8_t)who;
        if (who == GARBAGE) make_garbage(rng, y->vnis[usual], at, size);
        else make_data(at, y->vnis[who], rng_u64(rng), size);
    }
}

static void expect_mixture(const struct yard *y, const struct mixture *m, const uint8_t *sent) {
    static uint8_t got[BED_DATAGRAM_MAX];
    for (size_t i = 0; i < m->count; i++) {
        size_t size = min_of(m->segment, m->size - i * m->segment);
        if (m->who[i] == GARBAGE) continue;
        size_t got_size = client_receive(&y->peers[m->who[i]], got);
        while (got_size == 1) got_size = client_receive(&y->peers[m->who[i]], got);  // a tail
        assert_int_equal(got_size, size);
        assert_memory_equal(got, sent + i * m->segment, size);
    }
}

/* Runs to this peer are refused from here on: the first one's datagrams may be overtaken, so it comes alone. */
static void be_refused(const struct yard *y, size_t peer) {
    uint64_t before = stat_get(&house.metrics.udp_runs_refused);
    for (size_t i = 0; i < 2; i++) make_data(run + i * SEGMENT, y->vnis[peer], i, SEGMENT);
    send_run(&y->hub, run, 2 * SEGMENT, SEGMENT);
    for (size_t i = 0; i < 2; i++) expect_data(&y->peers[peer], y->vnis[peer], i, SEGMENT);
    assert_int_equal(stat_get(&house.metrics.udp_runs_refused), before + 1);
}

static void mixtures(struct udp_options options, bool is_refused) {
    enum { ROUNDS = 150, RUNS = 5 };
    static struct mixture sent[RUNS];
    static uint8_t bytes[RUNS][BED_DATAGRAM_MAX];
    struct rng rng;
    struct yard y;
    rng_init_seeded(&rng, 11);
    house_open_with(RING_FEATURES_ALL, options);
    yard_open(&y);
    size_t segments = kernel_segments(&y.hub);
    int fd = house.worker.sockets[UDP_PLACE_IPV4].ring.socket.fd;
    if (is_refused) {
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &(int){1}, sizeof(int)), 0);
        for (size_t i = 0; i < 2; i++) be_refused(&y, i);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < RUNS; i++) {
            mix(&rng, &y, segments, &sent[i]);
            memcpy(bytes[i], run, sent[i].size);
            if (sent[i].count == 1) client_send(&y.hub, run, sent[i].size);
            else send_run(&y.hub, run, sent[i].size, (uint16_t)sent[i].segment);
        }
        for (size_t i = 0; i < RUNS; i++) expect_mixture(&y, &sent[i], bytes[i]);
    }
    if (!options.has_tails) {
        for (size_t i = 0; i < PEERS; i++) client_expect_nothing(&y.peers[i]);
    }
    yard_close(&y);
}

static void test_mixtures(void **state) {
    (void)state;
    mixtures((struct udp_options){.has_no_runs = false}, false);
    mixtures((struct udp_options){.has_no_runs = true}, false);
    mixtures((struct udp_options){.has_tails = true}, false);
    mixtures((struct udp_options){.has_no_runs = false}, true);
}

/* ---- floods ---- */

/* One client's Binds, more than there are answers, and behind them another's. */
static void test_bind_flood(void **state) {
    (void)state;
    enum { RUNS = 5, BINDS = 64 };
    struct client bad, good, other;
    house_open();
    client_open(&bad, "127.0.0.1:0");
    client_open(&good, "127.0.0.1:0");
    client_open(&other, "127.0.0.1:0");
    uint32_t vni = house_allocate(&bad, &other), fine = house_allocate(&good, &other);
    struct disco_bind bind = bind_of(vni, 1, &other);
    for (size_t i = 0; i < BINDS; i++) (void)seal_bind(&bad, vni, DISCO_BIND, &bind, run + i * CONTROL_SIZE);
    for (int k = 0; k < RUNS; k++) send_run(&bad, run, BINDS * CONTROL_SIZE, CONTROL_SIZE);
    send_bind(&good, fine, 1, &other);
    (void)expect_challenge(&good, fine, 1, &other);
    assert_int_equal(house_drops(UDP_DROP_ANSWERS_FULL), 0);
    assert_int_equal(stat_get(&house.metrics.udp_challenges), RUNS * BINDS + 1);
    house_expect_whole();
    close(bad.fd);
    close(good.fd);
    close(other.fd);
    house_close();
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_runs),
        cmocka_unit_test(test_mixtures),
        cmocka_unit_test(test_bind_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
