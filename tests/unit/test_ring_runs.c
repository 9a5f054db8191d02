/* test_ring_runs.c - runs of datagrams on the ring: in by UDP_GRO, out by UDP_SEGMENT, gathered from many places, and
 * refused; how many buffers lie with the kernel; who goes first when there are none.
 *
 * The near end is on the ring; the far end is a plain socket of the test. Each test runs under every feature mask.
 */
#include "test_ring_bed.h"

#include <netinet/udp.h>

enum { BUFFERS = 8, BUFFER_SIZE = 65536 + RING_DATAGRAM_OVERHEAD, SEGMENT = 300, HANDLE = 5 };

struct line {
    struct bed bed;
    struct ring_datagram_socket near;
    struct net_address near_address, far_address;
    int far, far_family;
};

static struct net_address bound_address(int fd) {
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    struct net_address address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    assert_int_equal(net_address_from_kernel(&name, &address), 0);
    return address;
}

static int far_open(const struct net_address *to, int family, struct net_address *own) {
    struct sockaddr_storage name;
    socklen_t size = net_address_to_kernel(to, family, &name);
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    *own = bound_address(fd);
    return fd;
}

static int near_open(int family, struct net_address *bound) {
    struct udp_listen listen = {
        .family = family == AF_INET ? UDP_IPV4 : UDP_IPV6, .kernel_bytes = 1 << 20, .has_runs = true};
    struct listen_address where;
    char why[SYS_WHY_MAX];
    int fd;
    assert_true(listen_address_parse(family == AF_INET ? "127.0.0.1:0" : "[::1]:0", &where, why));
    if (sys_listen_datagrams(&where, &listen, &fd, bound, why) != 0) fail_msg("%s", why);
    return fd;
}

static void line_open_on(struct line *line, int family) {
    int fd = near_open(family, &line->near_address);
    ring_datagram_socket_init(&line->near, fd, HANDLE);
    line->far_family = family;
    line->far = far_open(&line->near_address, family, &line->far_address);
}

static void line_open(struct line *line, unsigned features, int family) {
    bed_open(&line->bed, features, 16, 256, BUFFERS, BUFFER_SIZE);
    line_open_on(line, family);
}

static void line_close(struct line *line) {
    bed_close_socket(&line->bed, &line->near.socket);
    close(line->far);
    ring_close(line->bed.ring);
}

static void fill(uint8_t *bytes, uint64_t stream, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = bed_byte(stream, i);
}

static void far_send_run(const struct line *line, uint64_t stream, size_t size, uint16_t segment) {
    static uint8_t bytes[65536];
    _Alignas(8) uint8_t control[CMSG_SPACE(sizeof(segment))] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    *item = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(segment))};
    memcpy(CMSG_DATA(item), &segment, sizeof(segment));
    fill(bytes, stream, size);
    assert_int_equal(sendmsg(line->far, &message, 0), size);
}

static void far_expect(const struct line *line, const uint8_t *wanted, size_t size) {
    static uint8_t bytes[65536];
    assert_int_equal(recv(line->far, bytes, sizeof(bytes), 0), size);
    assert_memory_equal(bytes, wanted, size);
}

static void for_all(void (*test)(unsigned features, int family)) {
    for (size_t i = 0; i < array_count(bed_masks); i++) {
        test(bed_masks[i].features, AF_INET);
        test(bed_masks[i].features, AF_INET6);
    }
}

/* ---- in ---- */

static void runs_in(unsigned features, int family) {
    static const size_t sizes[] = {2 * SEGMENT, 10 * SEGMENT, 10 * SEGMENT + 7, 64 * SEGMENT, SEGMENT + 1};
    struct line line;
    line_open(&line, features, family);
    ring_receive_datagrams(line.bed.ring, &line.near);
    for (size_t i = 0; i < array_count(sizes); i++) {
        far_send_run(&line, i, sizes[i], SEGMENT);
        struct ring_event event = bed_expect(&line.bed, RING_RECEIVED, &line.near.socket);
        const struct ring_arrival *arrival = ring_arrival(line.bed.ring, &event);
        assert_int_equal(event.result, sizes[i]);
        assert_int_equal(arrival->segment_size, SEGMENT);
        assert_false(arrival->is_cut);
        assert_true(arrival->path.has_local);
        assert_memory_equal(arrival->path.local_ip, line.near_address.ip, 16);
        assert_int_equal(arrival->path.remote.port, line.far_address.port);
        bed_check_bytes(event.bytes, sizes[i], i, 0);
        ring_give_back(line.bed.ring, &event);
    }
    assert_int_equal(send(line.far, "alone", 5, 0), 5);
    struct ring_event event = bed_expect(&line.bed, RING_RECEIVED, &line.near.socket);
    assert_int_equal(event.result, 5);
    uint16_t segment_size = ring_arrival(line.bed.ring, &event)->segment_size;
    assert_true(segment_size == 0 || segment_size == 5);
    ring_give_back(line.bed.ring, &event);
    line_close(&line);
}

static void test_runs_in(void **state) {
    (void)state;
    for_all(runs_in);
}

/* ---- out ---- */

static int32_t send_and_wait(struct line *line, struct ring_datagram *datagram) {
    ring_send_datagram(line->bed.ring, &line->near, datagram);
    struct ring_event event = bed_expect(&line->bed, RING_DATAGRAM_SENT, &line->near.socket);
    assert_ptr_equal(event.datagram, datagram);
    return event.result;
}

/* From one place and from 64, with a last one that is as long or shorter; from the address that is named. */
static void runs_out(unsigned features, int family) {
    static uint8_t bytes[64 * SEGMENT];
    struct iovec parts[64];
    struct line line;
    line_open(&line, features, family);
    fill(bytes, 3, sizeof(bytes));
    for (size_t count = 2; count <= 64; count *= 2) {
        for (size_t less = 0; less < 20; less += 10) {
            struct ring_datagram datagram = {.bytes = bytes,
                                             .size = count * SEGMENT - less,
                                             .path = {.remote = line.far_address, .has_local = true},
                                             .segment_size = SEGMENT,
                                             .is_immediate = less != 0};
            memcpy(datagram.path.local_ip, line.near_address.ip, 16);
            size_t size = datagram.size;
            for (int gathers = 0; gathers < 2; gathers++) {
                assert_int_equal(send_and_wait(&line, &datagram), size);
                for (size_t at = 0; at < size; at += SEGMENT) {
                    far_expect(&line, bytes + at, min_of(size - at, (size_t)SEGMENT));
                }
                for (size_t i = 0; i < count; i++) {
                    parts[i] = (struct iovec){bytes + i * SEGMENT, i + 1 < count ? SEGMENT : SEGMENT - less};
                }
                datagram.parts = parts;
                datagram.parts_count = (uint32_t)count;
            }
        }
    }
    struct ring_datagram one = {.parts = parts, .parts_count = 3, .path = {.remote = line.far_address}};
    assert_int_equal(send_and_wait(&line, &one), 3 * SEGMENT);  // no run: one datagram from three places
    far_expect(&line, bytes, 3 * SEGMENT);
    line_close(&line);
}

static void test_runs_out(void **state) {
    (void)state;
    for_all(runs_out);
}

/* The kernel says no to the run and would say yes to its datagrams. */
static void refused(unsigned features, int family) {
    static uint8_t bytes[66000];
    struct line line;
    int yes = 1;
    line_open(&line, features, family);
    struct ring_datagram datagram = {.bytes = bytes,
                                     .size = sizeof(bytes),
                                     .path = {.remote = line.far_address},
                                     .segment_size = 1100,
                                     .is_immediate = true};
    assert_int_equal(send_and_wait(&line, &datagram), -EMSGSIZE);
    datagram.size = 4 * SEGMENT;
    datagram.segment_size = SEGMENT;
    if (family == AF_INET) {
        assert_int_equal(setsockopt(line.near.socket.fd, SOL_SOCKET, SO_NO_CHECK, &yes, sizeof(yes)), 0);
        int32_t result = send_and_wait(&line, &datagram);
        assert_true(result == -EINVAL || result == -EIO);
    }
    datagram.segment_size = 0;
    datagram.size = SEGMENT;
    assert_int_equal(send_and_wait(&line, &datagram), SEGMENT);
    far_expect(&line, bytes, SEGMENT);
    line_close(&line);
}

static void test_refused(void **state) {
    (void)state;
    for_all(refused);
}

/* A full send buffer ends an immediate send at once; a TCP connection that nobody reads from stands in for one. */
static void immediate(unsigned features, int family) {
    static uint8_t big[16 << 20];
    struct ring_datagram_socket near;
    struct bed bed;
    int fds[2];
    if (family != AF_INET) return;
    bed_open(&bed, features, 16, 64, 2, BUFFER_SIZE);
    bed_pair(fds);
    ring_datagram_socket_init(&near, fds[0], HANDLE);
    near.is_ipv4 = true;
    struct ring_datagram datagram = {.bytes = big, .size = sizeof(big), .is_immediate = true};
    memcpy(datagram.path.remote.ip, (const uint8_t[]){[10] = 0xff, 0xff, 127, 0, 0, 1}, 16);
    int32_t result = 1;
    for (int i = 0; i < 100 && result > 0; i++) {
        ring_send_datagram(bed.ring, &near, &datagram);
        struct ring_event event = bed_expect(&bed, RING_DATAGRAM_SENT, &near.socket);
        result = event.result;
    }
    assert_int_equal(result, -EAGAIN);
    bed_close_socket(&bed, &near.socket);
    close(fds[1]);
    ring_close(bed.ring);
}

static void test_immediate(void **state) {
    (void)state;
    for_all(immediate);
}

/* The ends of sends are there after a flush, and nothing else is looked for. */
static void flush(unsigned features, int family) {
    struct line line;
    struct ring_event events[4];
    line_open(&line, features, family);
    struct ring_datagram datagram = {
        .bytes = "now", .size = 3, .path = {.remote = line.far_address}, .is_immediate = true};
    ring_send_datagram(line.bed.ring, &line.near, &datagram);
    assert_int_equal(ring_flush(line.bed.ring, events, array_count(events)), 1);
    assert_int_equal(events[0].op, RING_DATAGRAM_SENT);
    far_expect(&line, (const uint8_t *)"now", 3);
    assert_int_equal(ring_flush(line.bed.ring, events, array_count(events)), 0);
    line_close(&line);
}

static void test_flush(void **state) {
    (void)state;
    for_all(flush);
}

/* ---- buffers ---- */

/* Few with the kernel: no more than these come until some are back, and the same few are used again and again. */
static void few_offered(unsigned features, int family) {
    struct line line;
    struct ring_event held[2], event;
    bool was_used[BUFFERS] = {false};
    line_open(&line, features, family);
    ring_offer_buffers(line.bed.ring, 2);
    ring_receive_datagrams(line.bed.ring, &line.near);
    for (size_t i = 0; i < 2 * BUFFERS; i++) {  // those that the kernel had already
        assert_int_equal(send(line.far, "x", 1, 0), 1);
        event = bed_expect(&line.bed, RING_RECEIVED, &line.near.socket);
        ring_give_back(line.bed.ring, &event);
    }
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(send(line.far, "x", 1, 0), 1);
        event = bed_expect(&line.bed, RING_RECEIVED, &line.near.socket);
        was_used[event.buffer_idx] = true;
        ring_give_back(line.bed.ring, &event);
    }
    size_t used = 0;
    for (size_t i = 0; i < BUFFERS; i++) used += was_used[i];
    assert_int_equal(used, 2);
    ring_offer_buffers(line.bed.ring, BUFFERS);
    for (size_t i = 0; i < BUFFERS; i++) assert_int_equal(send(line.far, "x", 1, 0), 1);
    for (size_t i = 0; i < BUFFERS; i++) {
        event = bed_expect(&line.bed, RING_RECEIVED, &line.near.socket);
        if (i < 2) held[i] = event;
        else ring_give_back(line.bed.ring, &event);
    }
    for (size_t i = 0; i < 2; i++) ring_give_back(line.bed.ring, &held[i]);
    line_close(&line);
}

static void test_few_offered(void **state) {
    (void)state;
    for_all(few_offered);
}

/* Two sockets flooded beyond all buffers: each gets its share, and a third that has one datagram gets it. */
static void flooded(unsigned features, int family) {
    enum { FLOOD = 200 };
    struct line lines[3];
    size_t got[3] = {0}, turns = 0;
    line_open(&lines[0], features, family);
    for (size_t i = 1; i < 3; i++) line_open_on(&lines[i], family);
    struct bed *bed = &lines[0].bed;
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < (i < 2 ? FLOOD : 1); k++) assert_int_equal(send(lines[i].far, "flood", 5, 0), 5);
        ring_receive_datagrams(bed->ring, &lines[i].near);
    }
    while (got[2] == 0 || got[1] < 3 * BUFFERS) {
        struct ring_event held[BUFFERS];
        size_t count = 0;
        for (; count < BUFFERS && bed_next_within(bed, &held[count], NS_PER_MS); count++) {
            for (size_t i = 0; i < 3; i++) got[i] += held[count].socket == &lines[i].near.socket;
        }
        for (size_t i = 0; i < count; i++) ring_give_back(bed->ring, &held[i]);
        assert_true(++turns < 20);
    }
    assert_true(got[0] < FLOOD);
    for (size_t i = 1; i < 3; i++) {
        ring_close_socket(bed->ring, &lines[i].near.socket, false);
        for (struct ring_event event = {0}; event.op != RING_CLOSED;) {
            event = bed_next(bed);
            if (event.op == RING_RECEIVED) ring_give_back(bed->ring, &event);
        }
        close(lines[i].far);
    }
    ring_close_socket(bed->ring, &lines[0].near.socket, false);
    for (struct ring_event event = {0}; event.op != RING_CLOSED;) {
        event = bed_next(bed);
        if (event.op == RING_RECEIVED) ring_give_back(bed->ring, &event);
    }
    close(lines[0].far);
    ring_close(bed->ring);
}

static void test_flooded(void **state) {
    (void)state;
    for_all(flooded);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_in),   cmocka_unit_test(test_runs_out), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_immediate), cmocka_unit_test(test_flush),    cmocka_unit_test(test_few_offered),
        cmocka_unit_test(test_flooded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
