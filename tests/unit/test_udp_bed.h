/* test_udp_bed.h - a UDP worker on a real ring and the loopback, stepped by the test, and clients with sockets. */
#pragma once

#include "test_ring_bed.h"

#include <netinet/udp.h>
#include <sodium.h>

#include "core/lane.h"
#include "relay/udp.h"
#include "relay/udp_internal.h"

enum { BED_DATAGRAM_MAX = 65536 };

struct house {
    struct ring *ring, *office_ring;
    struct arena arena, vni_arena;
    struct rng rng, vni_rng;
    struct lane from_main;
    void *storage;
    struct metrics metrics;
    struct vni_table vni;
    struct udp_locals locals;
    struct disco_private server_private;
    struct net_address bound[UDP_PLACE_COUNT];
    struct udp worker;
    uint64_t now_ns;
};

static struct house house;  // large

static inline int house_socket(enum udp_place place, const char *where_text) {
    static const enum udp_family families[] = {UDP_IPV4, UDP_IPV6, UDP_ANY_FAMILY};
    struct udp_listen listen = {.family = families[place],
                                .kernel_bytes = LIMIT_UDP_KERNEL_BYTES,
                                .is_shared = true,
                                .has_runs = place != UDP_PLACE_STUN};
    struct listen_address where;
    char why[SYS_WHY_MAX];
    int fd = -1;
    assert_true(listen_address_parse(where_text, &where, why));
    if (sys_listen_datagrams(&where, &listen, &fd, &house.bound[place], why) != 0) fail_msg("%s", why);
    return fd;
}

/* Both families and STUN, unless `options` says which fds. */
static inline void house_open_with(unsigned features, struct udp_options options) {
    char why[RING_WHY_MAX];
    struct ring_options ring = udp_ring_options(features);
    memset(&house, 0, sizeof(house));
    house.now_ns = 1000 * NS_PER_S;
    if (ring_open(&house.ring, &ring, why) != 0) fail_msg("%s", why);
    house.office_ring = bed_ring_open(features, 8, 16, 0, 0);
    assert_int_equal(ring_enable(house.ring), 0);
    rng_init_system(&house.rng);
    rng_init_seeded(&house.vni_rng, 7);
    disco_private_generate(&house.rng, &house.server_private);
    struct vni_options vni = {.endpoints_max = 1024};
    disco_private_public(&house.server_private, &vni.server);
    assert_int_equal(arena_init(&house.vni_arena, vni_footprint(vni.endpoints_max)), 0);
    vni_init(&house.vni, &house.vni_arena, &vni, &house.vni_rng, house.now_ns);
    vni_set_ready(&house.vni, true);
    assert_int_equal(arena_init(&house.arena, udp_footprint()), 0);
    house.storage = aligned_alloc(CACHE_LINE_SIZE, round_up(lane_storage_size(4, sizeof(struct mail)), 64));
    lane_init(&house.from_main, house.storage, 4, sizeof(struct mail));
    static const char *const texts[] = {"0.0.0.0:0", "[::]:0", "127.0.0.1:0"};
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) {
        options.fds[i] = options.fds[i] < 0 ? -1 : house_socket((enum udp_place)i, texts[i]);
    }
    options.server = vni.server;
    struct udp_links links = {
        .from_main = &house.from_main, .office_ring = house.office_ring, .vni = &house.vni, .locals = &house.locals};
    udp_init(&house.worker, &house.arena, &options, &links, house.ring, &house.metrics, &house.rng, house.now_ns);
}

static inline void house_open(void) { house_open_with(RING_FEATURES_ALL, (struct udp_options){.has_no_runs = false}); }

static inline void house_step(void) {
    (void)!udp_step(&house.worker, house.now_ns);
    ring_wait(house.ring, NS_PER_MS);
}

/* All buffers, sends and answers are back. */
static inline void house_expect_whole(void) {
    const struct udp *u = &house.worker;
    assert_int_equal(u->sends_free_count, LIMIT_UDP_SENDS);
    assert_int_equal(u->answers_free_count, LIMIT_UDP_ANSWERS);
    assert_int_equal(u->arrivals_count, 0);
    for (size_t i = 0; i < LIMIT_UDP_BUFFERS; i++) assert_int_equal(u->references[i], 0);
}

static inline void house_close(void) {
    assert_true(lane_push(&house.from_main, &(struct mail){.kind = MAIL_STOP}));
    lane_flush(&house.from_main);
    assert_false(udp_may_sleep(&house.worker));
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    while (!house.worker.is_stopped && bed_now_ns() < deadline_ns) house_step();
    assert_true(house.worker.is_stopped);
    ring_close(house.ring);
    ring_close(house.office_ring);
    arena_fini(&house.arena);
    arena_fini(&house.vni_arena);
    free(house.storage);
}

static inline void house_step_until(const struct stat_counter *counter, uint64_t value) {
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    while (stat_get(counter) < value) {
        if (bed_now_ns() > deadline_ns) fail_msg("%d instead of %d", (int)stat_get(counter), (int)value);
        house_step();
    }
    assert_int_equal(stat_get(counter), value);
}

static inline uint64_t house_drops(enum udp_drop_reason reason) { return stat_get(&house.metrics.udp_drops[reason]); }

/* ---- clients ---- */

struct client {
    struct disco_private private;
    struct disco_key key;
    struct box_key shared;  // with the relay
    int family, fd;
    struct net_address relay;
};

static inline struct net_address bed_address(const char *text, uint16_t port) {
    struct listen_address parsed;
    char why[SYS_WHY_MAX];
    assert_true(listen_address_parse(text, &parsed, why));
    parsed.address.port = port;
    return parsed.address;
}

/* A socket connected to the relay: it takes datagrams from there alone, which is the test of what they come from. */
static inline void client_connect(struct client *c, const char *relay_ip) {
    struct sockaddr_storage name;
    bool is_ipv6 = strchr(relay_ip, '[') != NULL;
    c->family = is_ipv6 ? AF_INET6 : AF_INET;
    c->relay = bed_address(relay_ip, house.bound[is_ipv6 ? UDP_PLACE_IPV6 : UDP_PLACE_IPV4].port);
    socklen_t size = net_address_to_kernel(&c->relay, c->family, &name);
    c->fd = socket(c->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int bytes = 4 << 20;
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    assert_int_equal(connect(c->fd, (struct sockaddr *)&name, size), 0);
}

static inline void client_open(struct client *c, const char *relay_ip) {
    disco_private_generate(&house.rng, &c->private);
    disco_private_public(&c->private, &c->key);
    assert_true(disco_key_share(&c->shared, &house.vni.options.server, &c->private));
    client_connect(c, relay_ip);
}

static inline void client_send(const struct client *c, const void *bytes, size_t size) {
    assert_int_equal(send(c->fd, bytes, size, 0), size);
}

/* What comes next, in `to` of BED_DATAGRAM_MAX bytes. */
static inline size_t client_receive(const struct client *c, uint8_t *to) {
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    for (;;) {
        ssize_t n = recv(c->fd, to, BED_DATAGRAM_MAX, MSG_DONTWAIT);
        if (n >= 0) return (size_t)n;
        assert_true(errno == EAGAIN);
        if (bed_now_ns() > deadline_ns) fail_msg("nothing came");
        house_step();
    }
}

static inline void client_expect_nothing(const struct client *c) {
    uint8_t byte;
    assert_int_equal(recv(c->fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

/* The VNI of the pair. */
static inline uint32_t house_allocate(const struct client *a, const struct client *b) {
    struct vni_request request = {.clients = {a->key, b->key}};
    struct vni_offer offer;
    memcpy(request.shared_keys[0], a->shared.bytes, VNI_SHARED_KEY_SIZE);
    memcpy(request.shared_keys[1], b->shared.bytes, VNI_SHARED_KEY_SIZE);
    assert_int_not_equal(vni_allocate(&house.vni, &request, house.now_ns, &offer), VNI_REFUSED);
    return offer.vni;
}

/* ---- handshakes ---- */

enum { CONTROL_SIZE = GENEVE_HEADER_SIZE + DISCO_OVERHEAD + DISCO_BIND_SIZE };

/* A whole datagram around `plain`. */
static inline size_t seal_message(const struct client *c, uint32_t vni, const uint8_t *plain, size_t size,
                                  uint8_t *to) {
    geneve_header_write(to, &(struct geneve_header){.vni = vni, .protocol = GENEVE_PROTOCOL_DISCO, .is_control = true});
    struct writer w = writer_of(to + GENEVE_HEADER_SIZE, DISCO_OVERHEAD + size);
    disco_envelope_seal(&w, &c->key, &c->shared, &house.rng, plain, size);
    assert_true(writer_ok(&w));
    return GENEVE_HEADER_SIZE + DISCO_OVERHEAD + size;
}

static inline size_t seal_bind(const struct client *c, uint32_t vni, enum disco_type type,
                               const struct disco_bind *bind, uint8_t *to) {
    uint8_t plain[DISCO_BIND_SIZE];
    struct writer w = writer_of(plain, sizeof(plain));
    disco_bind_write(&w, type, bind);
    return seal_message(c, vni, plain, sizeof(plain), to);
}

static inline struct disco_bind bind_of(uint32_t vni, uint32_t generation, const struct client *remote) {
    return (struct disco_bind){.vni = vni, .generation = generation, .remote = remote->key};
}

static inline void send_bind(const struct client *c, uint32_t vni, uint32_t generation, const struct client *remote) {
    uint8_t bytes[CONTROL_SIZE];
    struct disco_bind bind = bind_of(vni, generation, remote);
    client_send(c, bytes, seal_bind(c, vni, DISCO_BIND, &bind, bytes));
}

/* The next datagram is the Challenge to that Bind. */
static inline struct disco_bind expect_challenge(const struct client *c, uint32_t vni, uint32_t generation,
                                                 const struct client *remote) {
    static uint8_t bytes[BED_DATAGRAM_MAX];
    struct geneve_header header;
    struct disco_message message;
    size_t plain_size;
    assert_int_equal(client_receive(c, bytes), CONTROL_SIZE);
    assert_true(geneve_header_read_strict(bytes, CONTROL_SIZE, &header));
    assert_true(header.is_control && header.vni == vni && header.protocol == GENEVE_PROTOCOL_DISCO);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[1], 0x80);
    const struct disco_key *sender = disco_envelope_sender(bytes + 8, CONTROL_SIZE - 8);
    assert_true(sender != NULL && disco_key_equal(sender, &house.vni.options.server));
    const uint8_t *plain = disco_envelope_open(&c->shared, bytes + 8, CONTROL_SIZE - 8, &plain_size);
    assert_non_null(plain);
    assert_int_equal(disco_message_parse(plain, plain_size, &message), DISCO_OK);
    assert_int_equal(message.type, DISCO_CHALLENGE);
    assert_true(message.bind.vni == vni && message.bind.generation == generation);
    assert_true(disco_key_equal(&message.bind.remote, &remote->key));
    return message.bind;
}

static inline void send_answer(const struct client *c, uint32_t vni, const struct disco_bind *challenge) {
    uint8_t bytes[CONTROL_SIZE];
    client_send(c, bytes, seal_bind(c, vni, DISCO_ANSWER, challenge, bytes));
}

static inline void bind_client(const struct client *c, uint32_t vni, uint32_t generation, const struct client *remote) {
    uint64_t bound = stat_get(&house.metrics.udp_bound);
    send_bind(c, vni, generation, remote);
    struct disco_bind challenge = expect_challenge(c, vni, generation, remote);
    send_answer(c, vni, &challenge);
    house_step_until(&house.metrics.udp_bound, bound + 1);
}

static inline uint32_t bind_both(const struct client *a, const struct client *b) {
    uint32_t vni = house_allocate(a, b);
    bind_client(a, vni, 1, b);
    bind_client(b, vni, 1, a);
    return vni;
}

/* ---- data ---- */

/* `size` bytes with a header, of a stream of its own. */
static inline void make_data(uint8_t *to, uint32_t vni, uint64_t stream, size_t size) {
    for (size_t i = 0; i < size; i++) to[i] = bed_byte(stream, i);
    geneve_header_write(to, &(struct geneve_header){.vni = vni, .protocol = GENEVE_PROTOCOL_WIREGUARD});
}

static inline void send_data(const struct client *c, uint32_t vni, uint64_t stream, size_t size) {
    static uint8_t bytes[BED_DATAGRAM_MAX];
    make_data(bytes, vni, stream, size);
    client_send(c, bytes, size);
}

static inline void expect_data(const struct client *c, uint32_t vni, uint64_t stream, size_t size) {
    static uint8_t wanted[BED_DATAGRAM_MAX], bytes[BED_DATAGRAM_MAX];
    make_data(wanted, vni, stream, size);
    assert_int_equal(client_receive(c, bytes), size);
    assert_memory_equal(bytes, wanted, size);
}

/* Several datagrams by one call, as the kernel's runs: all of `segment` bytes but the last. */
static inline void send_run(const struct client *c, const uint8_t *bytes, size_t size, uint16_t segment) {
    _Alignas(8) uint8_t control[CMSG_SPACE(sizeof(segment))] = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_UDP;
    item->cmsg_type = UDP_SEGMENT;
    item->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(item), &segment, sizeof(segment));
    assert_int_equal(sendmsg(c->fd, &message, 0), size);
}
