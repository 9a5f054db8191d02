/* test_ring_datagram.c - datagrams on the loopback, IPv4 and IPv6, under every feature mask.
 *
 * The near end is on the ring; the far end is a plain socket of the test. Each test runs for both families and for a
 * dual-stack socket that is spoken to by IPv4.
 */
#include "test_ring_bed.h"

enum { BUFFERS = 8, BUFFER_SIZE = 512, ROOM = BUFFER_SIZE - RING_DATAGRAM_OVERHEAD, HANDLE = 77 };

enum family { FAMILY_IPV4, FAMILY_IPV6, FAMILY_DUAL, FAMILY_COUNT };

/* Near socket's address, and the address the far one sends to, without port. */
static const char *const listen_texts[FAMILY_COUNT] = {"127.0.0.1:0", "[::1]:0", ":0"};
static const char *const ask_texts[FAMILY_COUNT] = {"127.0.0.1:0", "[::1]:0", "127.0.0.7:0"};

struct line {
    struct bed bed;
    struct ring_datagram_socket near;
    struct net_address near_address, far_address;
    int near_fd, far;
    int far_family;
};

static struct net_address address_of(const char *text) {
    struct listen_address parsed;
    char why[SYS_WHY_MAX];
    assert_true(listen_address_parse(text, &parsed, why));
    return parsed.address;
}

static struct net_address bound_address(int fd) {
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    struct net_address address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    assert_int_equal(net_address_from_kernel(&name, &address), 0);
    return address;
}

/* A plain socket connected to `to`: it takes datagrams from there alone. */
static int far_open(const struct net_address *to, int family, struct net_address *own) {
    struct sockaddr_storage name;
    socklen_t size = net_address_to_kernel(to, family, &name);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, size), 0);
    struct timeval patience = {.tv_sec = 20};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    *own = bound_address(fd);
    return fd;
}

static int near_open(enum family family, struct net_address *address) {
    struct listen_address where;
    char why[SYS_WHY_MAX];
    int fd = -1;
    assert_true(listen_address_parse(listen_texts[family], &where, why));
    if (sys_listen_udp(&where, 1 << 18, &fd, address, why) != 0) fail_msg("%s", why);
    return fd;
}

static void line_open(struct line *line, unsigned features, enum family family, unsigned buffers) {
    bed_open(&line->bed, features, 16, 64, buffers, BUFFER_SIZE);
    line->near_fd = near_open(family, &line->near_address);
    ring_datagram_socket_init(&line->near, line->near_fd, HANDLE);
    struct net_address to = address_of(ask_texts[family]);
    to.port = line->near_address.port;
    line->near_address = to;
    line->far_family = family == FAMILY_IPV6 ? AF_INET6 : AF_INET;
    line->far = far_open(&to, line->far_family, &line->far_address);
}

static void line_close(struct line *line) {
    bed_close_socket(&line->bed, &line->near.socket);
    close(line->far);
    ring_close(line->bed.ring);
}

static void far_send(const struct line *line, uint64_t stream, size_t size) {
    uint8_t bytes[2048];
    for (size_t i = 0; i < size; i++) bytes[i] = bed_byte(stream, i);
    assert_int_equal(send(line->far, bytes, size, 0), size);
}

static void far_expect(const struct line *line, uint64_t stream, size_t size) {
    uint8_t bytes[2048];
    ssize_t n = recv(line->far, bytes, sizeof(bytes), 0);
    assert_int_equal(n, size);
    bed_check_bytes(bytes, size, stream, 0);
}

/* The next event is the datagram of that stream. */
static struct ring_event expect_datagram(struct line *line, uint64_t stream, size_t size) {
    struct ring_event event = bed_expect(&line->bed, RING_RECEIVED, &line->near.socket);
    assert_int_equal(event.result, size);
    if (size > 0) bed_check_bytes(event.bytes, size, stream, 0);
    else assert_null(event.bytes);
    return event;
}

static void check_path(const struct line *line, const struct ring_event *event) {
    const struct ring_arrival *arrival = ring_arrival(line->bed.ring, event);
    assert_memory_equal(arrival->path.remote.ip, line->far_address.ip, 16);
    assert_int_equal(arrival->path.remote.port, line->far_address.port);
    assert_true(arrival->path.has_local);
    assert_memory_equal(arrival->path.local_ip, line->near_address.ip, 16);
    assert_int_equal(arrival->path.interface, 1);  // lo
    assert_int_equal(arrival->segment_size, 0);
}

static void for_all(void (*test)(unsigned features, enum family family)) {
    for (size_t i = 0; i < array_count(bed_masks); i++) {
        for (enum family family = 0; family < FAMILY_COUNT; family++) test(bed_masks[i].features, family);
    }
}

/* ---- receiving and answering ---- */

static void echo(unsigned features, enum family family) {
    struct line line;
    line_open(&line, features, family, BUFFERS);
    ring_receive_datagrams(line.bed.ring, &line.near);
    struct ring_datagram answer = {0};
    uint8_t copy[BUFFER_SIZE];
    for (uint64_t i = 0; i < 20; i++) {
        size_t size = 1 + (size_t)i * 19 % ROOM;
        far_send(&line, i, size);
        struct ring_event event = expect_datagram(&line, i, size);
        check_path(&line, &event);
        assert_false(ring_arrival(line.bed.ring, &event)->is_cut);
        memcpy(copy, event.bytes, size);
        answer.bytes = copy;
        answer.size = size;
        answer.path = ring_arrival(line.bed.ring, &event)->path;
        ring_give_back(line.bed.ring, &event);
        ring_send_datagram(line.bed.ring, &line.near, &answer);
        struct ring_event sent = bed_expect(&line.bed, RING_DATAGRAM_SENT, &line.near.socket);
        assert_ptr_equal(sent.datagram, &answer);
        assert_int_equal(sent.result, size);
        far_expect(&line, i, size);  // it is connected: from the address it asked, or it gets nothing
    }
    line_close(&line);
}

static void test_echo(void **state) {
    (void)state;
    for_all(echo);
}

static void sizes(unsigned features, enum family family) {
    struct line line;
    line_open(&line, features, family, BUFFERS);
    ring_receive_datagrams(line.bed.ring, &line.near);
    const size_t fitting[] = {0, 1, 0, 0, ROOM, ROOM - 1, 0, 7};
    for (size_t i = 0; i < array_count(fitting); i++) {
        far_send(&line, i, fitting[i]);
        struct ring_event event = expect_datagram(&line, i, fitting[i]);
        if (event.result > 0) ring_give_back(line.bed.ring, &event);
    }
    far_send(&line, 3, BUFFER_SIZE + 100);
    struct ring_event event = bed_expect(&line.bed, RING_RECEIVED, &line.near.socket);
    assert_in_range(event.result, ROOM, BUFFER_SIZE);
    bed_check_bytes(event.bytes, (size_t)event.result, 3, 0);
    assert_true(ring_arrival(line.bed.ring, &event)->is_cut);
    ring_give_back(line.bed.ring, &event);
    far_send(&line, 4, 9);  // and the next one is whole
    event = expect_datagram(&line, 4, 9);
    assert_false(ring_arrival(line.bed.ring, &event)->is_cut);
    ring_give_back(line.bed.ring, &event);
    line_close(&line);
}

/* Many more datagrams without bytes than there are buffers: none of them keeps one. */
static void empty_ones(unsigned features, enum family family) {
    struct line line;
    line_open(&line, features, family, 2);
    ring_receive_datagrams(line.bed.ring, &line.near);
    for (int i = 0; i < 10; i++) {
        far_send(&line, 0, 0);
        (void)expect_datagram(&line, 0, 0);
    }
    far_send(&line, 1, 5);
    struct ring_event event = expect_datagram(&line, 1, 5);
    ring_give_back(line.bed.ring, &event);
    line_close(&line);
}

static void test_empty_ones(void **state) {
    (void)state;
    for_all(empty_ones);
}

static void test_sizes(void **state) {
    (void)state;
    for_all(sizes);
}

/* Two buffers, both held: nothing more comes, and nothing is lost. */
static void scarcity(unsigned features, enum family family) {
    struct line line;
    struct ring_event held[2];
    line_open(&line, features, family, 2);
    ring_receive_datagrams(line.bed.ring, &line.near);
    for (uint64_t i = 0; i < 7; i++) far_send(&line, i, 50);
    held[0] = expect_datagram(&line, 0, 50);
    held[1] = expect_datagram(&line, 1, 50);
    bed_expect_quiet(&line.bed);
    for (uint64_t i = 2; i < 7; i++) {
        ring_give_back(line.bed.ring, &held[i % 2]);
        held[i % 2] = expect_datagram(&line, i, 50);
        check_path(&line, &held[i % 2]);
    }
    assert_true(bed_figures(&line.bed).receive_parked > 0);
    bed_check_bytes(held[1].bytes, 50, 5, 0);  // untouched while held
    ring_give_back(line.bed.ring, &held[0]);
    ring_give_back(line.bed.ring, &held[1]);
    line_close(&line);
}

static void test_scarcity(void **state) {
    (void)state;
    for_all(scarcity);
}

/* ---- sending ---- */

enum { MANY = 100 };

static void many_sends(unsigned features, enum family family) {
    struct line line;
    static struct ring_datagram datagrams[MANY];
    static uint8_t bytes[MANY][40];
    bool is_back[MANY] = {false};
    line_open(&line, features, family, BUFFERS);
    memset(datagrams, 0, sizeof(datagrams));
    for (uint64_t i = 0; i < MANY; i++) {
        for (size_t at = 0; at < sizeof(bytes[i]); at++) bytes[i][at] = bed_byte(i, at);
        datagrams[i].bytes = bytes[i];
        datagrams[i].size = sizeof(bytes[i]);
        datagrams[i].path = (struct ring_path){.remote = line.far_address, .has_local = true};
        memcpy(datagrams[i].path.local_ip, line.near_address.ip, 16);
        ring_send_datagram(line.bed.ring, &line.near, &datagrams[i]);
    }
    for (int i = 0; i < MANY; i++) {
        struct ring_event event = bed_expect(&line.bed, RING_DATAGRAM_SENT, &line.near.socket);
        assert_int_equal(event.result, sizeof(bytes[0]));
        assert_false(is_back[event.datagram - datagrams]);
        is_back[event.datagram - datagrams] = true;
    }
    for (uint64_t i = 0; i < MANY; i++) far_expect(&line, i, sizeof(bytes[i]));
    line_close(&line);
}

static void test_many_sends(void **state) {
    (void)state;
    for_all(many_sends);
}

/* From an address that this host does not have, and to port 0: the errors come as events, and the socket lives on. */
static void send_errors(unsigned features, enum family family) {
    struct line line;
    line_open(&line, features, family, BUFFERS);
    struct ring_datagram bad = {.bytes = "bad", .size = 3, .path = {.remote = line.far_address, .has_local = true}};
    struct net_address stranger = address_of(family == FAMILY_IPV6 ? "[2001:db8::1]:1" : "192.0.2.1:1");
    memcpy(bad.path.local_ip, stranger.ip, 16);
    ring_send_datagram(line.bed.ring, &line.near, &bad);
    struct ring_event event = bed_expect(&line.bed, RING_DATAGRAM_SENT, &line.near.socket);
    assert_true(event.result < 0);
    bad.path = (struct ring_path){.remote = line.far_address};
    bad.path.remote.port = 0;
    ring_send_datagram(line.bed.ring, &line.near, &bad);
    event = bed_expect(&line.bed, RING_DATAGRAM_SENT, &line.near.socket);
    assert_true(event.result < 0);
    ring_receive_datagrams(line.bed.ring, &line.near);
    far_send(&line, 1, 33);
    event = expect_datagram(&line, 1, 33);
    ring_give_back(line.bed.ring, &event);
    line_close(&line);
}

static void test_send_errors(void **state) {
    (void)state;
    for_all(send_errors);
}

/* ---- pausing and closing ---- */

static void pause_and_go_on(unsigned features, enum family family) {
    struct line line;
    line_open(&line, features, family, BUFFERS);
    for (uint64_t i = 0; i < 5; i++) {
        ring_receive_datagrams(line.bed.ring, &line.near);
        far_send(&line, i, 60);
        struct ring_event event = expect_datagram(&line, i, 60);
        ring_give_back(line.bed.ring, &event);
        ring_receive_pause(line.bed.ring, &line.near.socket);
        bed_expect(&line.bed, RING_RECEIVE_PAUSED, &line.near.socket);
        assert_true(ring_socket_is_idle(&line.near.socket));
    }
    far_send(&line, 9, 60);
    bed_expect_quiet(&line.bed);
    ring_receive_datagrams(line.bed.ring, &line.near);
    struct ring_event event = expect_datagram(&line, 9, 60);
    ring_give_back(line.bed.ring, &event);
    line_close(&line);
}

static void test_pause(void **state) {
    (void)state;
    for_all(pause_and_go_on);
}

/* Receive armed, datagrams waiting to be read, sends just asked for: RING_CLOSED is all that comes. */
static void close_in_flight(unsigned features, enum family family) {
    struct line line;
    static struct ring_datagram datagrams[8];
    memset(datagrams, 0, sizeof(datagrams));
    line_open(&line, features, family, 4);
    ring_receive_datagrams(line.bed.ring, &line.near);
    ring_wait(line.bed.ring, 0);
    for (uint64_t i = 0; i < 6; i++) far_send(&line, i, 10);
    for (size_t i = 0; i < array_count(datagrams); i++) {
        datagrams[i] = (struct ring_datagram){.bytes = "late", .size = 4, .path = {.remote = line.far_address}};
        ring_send_datagram(line.bed.ring, &line.near, &datagrams[i]);
    }
    line_close(&line);
    for (size_t i = 0; i < array_count(datagrams); i++) assert_null(datagrams[i].in_flight_on);
}

static void test_close_in_flight(void **state) {
    (void)state;
    for_all(close_in_flight);
}

static void close_while_parked(unsigned features, enum family family) {
    struct line line;
    struct ring_event held[2];
    line_open(&line, features, family, 2);
    ring_receive_datagrams(line.bed.ring, &line.near);
    for (uint64_t i = 0; i < 3; i++) far_send(&line, i, 50);
    held[0] = expect_datagram(&line, 0, 50);
    held[1] = expect_datagram(&line, 1, 50);
    bed_expect_quiet(&line.bed);
    int fd = line.near_fd;
    ring_close_socket(line.bed.ring, &line.near.socket, false);
    bed_expect(&line.bed, RING_CLOSED, &line.near.socket);
    assert_false(bed_fd_is_open(fd));
    ring_give_back(line.bed.ring, &held[0]);
    ring_give_back(line.bed.ring, &held[1]);
    close(line.far);
    ring_close(line.bed.ring);
}

static void test_close_while_parked(void **state) {
    (void)state;
    for_all(close_while_parked);
}

/* Large sends with the least send buffer there is, some of which may have to wait, and a close behind them. */
static void stop_under_load(unsigned features, enum family family) {
    struct line line;
    static struct ring_datagram datagrams[MANY];
    static uint8_t big[1400];
    memset(datagrams, 0, sizeof(datagrams));
    line_open(&line, features, family, BUFFERS);
    int least = 1;
    assert_int_equal(setsockopt(line.near_fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
    ring_receive_datagrams(line.bed.ring, &line.near);
    for (size_t i = 0; i < MANY; i++) {
        datagrams[i] = (struct ring_datagram){.bytes = big, .size = sizeof(big), .path = {.remote = line.far_address}};
        ring_send_datagram(line.bed.ring, &line.near, &datagrams[i]);
    }
    line_close(&line);
    for (size_t i = 0; i < MANY; i++) assert_null(datagrams[i].in_flight_on);
}

static void test_stop_under_load(void **state) {
    (void)state;
    for_all(stop_under_load);
}

/* Sends that wait for ever are cancelled by a close. A send by UDP does not wait on the loopback, so a TCP connection
 * stands in that nobody reads from: it takes no notice of names. */
static void close_while_sends_wait(unsigned features, enum family family) {
    enum { SIZE = 8 << 20, COUNT = 5 };
    struct bed bed;
    struct ring_datagram_socket near;
    static struct ring_datagram datagrams[COUNT];
    static uint8_t big[SIZE];
    int fds[2];
    if (family != FAMILY_IPV4) return;
    bed_open(&bed, features, 16, 64, 2, BUFFER_SIZE);
    bed_pair(fds);
    ring_datagram_socket_init(&near, fds[0], HANDLE);
    ring_receive_datagrams(bed.ring, &near);
    for (size_t i = 0; i < COUNT; i++) {
        struct net_address nobody = address_of("127.0.0.1:9");
        datagrams[i] = (struct ring_datagram){.bytes = big, .size = SIZE, .path = {.remote = nobody}};
        ring_send_datagram(bed.ring, &near, &datagrams[i]);
    }
    struct ring_event event;
    size_t sent = 0;
    while (bed_next_within(&bed, &event, BED_QUIET_NS)) sent++;  // a part of the first, perhaps
    assert_true(sent < COUNT && near.sends_in_flight == COUNT - sent);
    bed_close_socket(&bed, &near.socket);
    assert_int_equal(near.sends_in_flight, 0);
    close(fds[1]);
    ring_close(bed.ring);
}

static void test_close_while_sends_wait(void **state) {
    (void)state;
    for_all(close_while_sends_wait);
}

/* ---- beside streams ---- */

/* Both kinds of receive on one ring and one set of buffers. */
static void beside_streams(unsigned features, enum family family) {
    struct line line;
    struct stream stream;
    line_open(&line, features, family, BUFFERS);
    streams_open(&stream, 1);
    ring_receive(line.bed.ring, &stream.socket, RING_RECEIVE_MANY, 0);
    ring_receive_datagrams(line.bed.ring, &line.near);
    size_t sent = 0;
    for (uint64_t i = 0; i < 30; i++) {
        bed_write(stream.far, 0, sent, 70);
        sent += 70;
        while (stream.received < sent) {
            struct ring_event event = bed_next(&line.bed);
            stream_check(&stream, &event);
            ring_give_back(line.bed.ring, &event);
        }
        far_send(&line, i, 80);
        struct ring_event event = expect_datagram(&line, i, 80);
        ring_give_back(line.bed.ring, &event);
    }
    streams_close(&line.bed, &stream, 1);
    line_close(&line);
}

static void test_beside_streams(void **state) {
    (void)state;
    for_all(beside_streams);
}

/* ---- the socket ---- */

static void test_port_in_use(void **state) {
    (void)state;
    struct net_address bound;
    struct listen_address where = {0};
    char why[SYS_WHY_MAX] = "", text[NET_ADDRESS_TEXT_MAX];
    int fd = near_open(FAMILY_IPV4, &bound), other;
    where.address = bound;
    assert_int_equal(sys_listen_udp(&where, 4096, &other, &bound, why), -EADDRINUSE);
    assert_non_null(strstr(why, net_address_text(&where.address, text)));
    assert_non_null(strstr(why, "another process has it"));
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_empty_ones),
        cmocka_unit_test(test_scarcity),
        cmocka_unit_test(test_many_sends),
        cmocka_unit_test(test_send_errors),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_close_in_flight),
        cmocka_unit_test(test_close_while_parked),
        cmocka_unit_test(test_stop_under_load),
        cmocka_unit_test(test_close_while_sends_wait),
        cmocka_unit_test(test_beside_streams),
        cmocka_unit_test(test_port_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
