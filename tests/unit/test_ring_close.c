/* test_ring_close.c - the ring on real sockets: sending, closing, tiny queues, waiting, detaching; the whole set
 * once for each feature mask. */
#include "test_ring_bed.h"

#include "core/ring_internal.h"

static unsigned mask;  // of the current round

/* ---- sending ---- */

static size_t drain(int fd, size_t from, uint64_t stream) {
    static uint8_t bytes[65536];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n <= 0) return 0;
    bed_check_bytes(bytes, (size_t)n, stream, from);
    return (size_t)n;
}

/* The far end does not read: a send is short, the next one stalls; it reads: progress, until all has arrived. */
static void send_is_short_then_stalls_then_goes_on(void **state) {
    (void)state;
    enum { SIZE = 8 << 20 };
    struct bed bed;
    struct ring_socket socket;
    struct ring_event event;
    uint8_t *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) bytes[i] = bed_byte(5, i);
    bed_open(&bed, mask, 8, 16, 0, 0);
    int far = bed_socket(&socket, 5), room = 65536;
    assert_int_equal(setsockopt(socket.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    size_t sent = 0, arrived = 0;
    bool is_short = false, is_stalled = false, is_sending = false;
    while (arrived < SIZE) {
        if (!is_sending && sent < SIZE) {
            ring_send(bed.ring, &socket, bytes + sent, SIZE - sent);
            is_sending = true;
        }
        if (is_sending && bed_next_within(&bed, &event, is_stalled ? NS_PER_MS : BED_QUIET_NS)) {
            assert_int_equal(event.op, RING_SENT);
            assert_true(event.result > 0);
            if ((size_t)event.result < SIZE - sent) is_short = true;
            sent += (size_t)event.result;
            is_sending = false;
        } else {
            is_stalled = true;
        }
        if (is_stalled) arrived += drain(far, arrived, 5);
    }
    assert_true(is_short && is_stalled);
    assert_int_equal(sent, SIZE);
    bed_close_socket(&bed, &socket);
    close(far);
    free(bytes);
    ring_close(bed.ring);
}

/* ---- closing ---- */

static void send_stall(struct bed *bed, struct ring_socket *socket, const uint8_t *bytes, size_t size) {
    struct ring_event event;
    do ring_send(bed->ring, socket, bytes, size);
    while (bed_next_within(bed, &event, BED_QUIET_NS));
}

static void close_with_everything_in_flight(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    struct bed bed;
    struct ring_socket socket;
    static uint8_t bytes[SIZE];
    bed_open(&bed, mask, 8, 16, 2, 64);
    for (int reset = 0; reset < 2; reset++) {
        int far = bed_socket(&socket, 11), fd = socket.fd, error = 0;
        socklen_t size = sizeof(error);
        ring_receive(bed.ring, &socket, RING_RECEIVE_MANY, 0);
        send_stall(&bed, &socket, bytes, SIZE);
        assert_false(ring_socket_is_idle(&socket));
        ring_close_socket(bed.ring, &socket, reset);
        ring_close_socket(bed.ring, &socket, reset);
        assert_true(ring_socket_is_closing(&socket));
        assert_true(bed_fd_is_open(fd));
        bed_write(far, 11, 0, 50);  // too late, must not be reported
        bed_expect(&bed, RING_CLOSED, &socket);
        assert_false(bed_fd_is_open(fd));
        assert_false(ring_socket_is_closing(&socket));
        assert_int_equal(socket.in_flight, 0);
        bed_expect_quiet(&bed);
        assert_int_equal(bed.ring->buffers_free, 2);
        if (reset) {
            assert_int_equal(getsockopt(far, SOL_SOCKET, SO_ERROR, &error, &size), 0);
            assert_int_equal(error, ECONNRESET);
        }
        close(far);
    }
    ring_close(bed.ring);
}

/* Data, end of stream and accepted connections that the kernel reports for a socket that is closing already. */
static void events_of_a_closing_socket_are_swallowed(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket socket, listener;
    struct sockaddr_in address;
    bed_open(&bed, mask, 16, 32, 4, 64);
    int far = bed_socket(&socket, 1);
    bed_write(far, 1, 0, 150);
    shutdown(far, SHUT_WR);
    ring_socket_init(&listener, bed_listen(&address), 2);
    int clients[3] = {bed_connect(&address), bed_connect(&address), bed_connect(&address)};
    int highest = dup(far);
    close(highest);
    ring_receive(bed.ring, &socket, RING_RECEIVE_MANY, 0);
    ring_accept(bed.ring, &listener);
    ring_submit(bed.ring);  // what is there is completed now, before the close
    ring_close_socket(bed.ring, &socket, false);
    ring_close_socket(bed.ring, &listener, false);
    struct ring_event first = bed_next(&bed), second = bed_next(&bed);
    assert_int_equal(first.op, RING_CLOSED);
    assert_int_equal(second.op, RING_CLOSED);
    assert_int_equal(first.handle + second.handle, 3);
    bed_expect_quiet(&bed);
    assert_int_equal(bed.ring->buffers_free, 4);
    for (int fd = highest; fd < highest + 3; fd++) assert_false(bed_fd_is_open(fd));
    for (int i = 0; i < 3; i++) close(clients[i]);
    close(far);
    ring_close(bed.ring);
}

static void close_while_parked_paused_or_idle(void **state) {
    (void)state;
    struct bed bed;
    struct stream streams[4];
    struct ring_event held[2];
    bed_open(&bed, mask, 8, 16, 2, 64);
    streams_open(streams, 4);
    take_all_buffers(&bed, &streams[3], held);
    for (int i = 0; i < 3; i++) ring_receive(bed.ring, &streams[i].socket, RING_RECEIVE_MANY, 0);
    bed_expect_quiet(&bed);
    bed_close_socket(&bed, &streams[1].socket);  // from the middle of the parked
    ring_give_back(bed.ring, &held[0]);
    ring_give_back(bed.ring, &held[1]);
    bed_expect_quiet(&bed);
    ring_receive_pause(bed.ring, &streams[0].socket);
    bed_close_socket(&bed, &streams[0].socket);  // no RING_RECEIVE_PAUSED before it
    bed_write(streams[2].far, 2, 0, 60);
    struct ring_event event = bed_next(&bed);
    stream_check(&streams[2], &event);
    ring_give_back(bed.ring, &event);
    bed_close_socket(&bed, &streams[2].socket);
    bed_close_socket(&bed, &streams[3].socket);  // idle
    for (int i = 0; i < 4; i++) close(streams[i].far);
    ring_close(bed.ring);
}

/* Bytes that were put into the caller's array before the close stay his. */
static void events_already_reaped_stay(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket socket;
    struct ring_event events[4];
    bed_open(&bed, mask, 8, 16, 4, 64);
    int far = bed_socket(&socket, 1);
    bed_write(far, 1, 0, 40);
    ring_receive(bed.ring, &socket, RING_RECEIVE_MANY, 0);
    size_t count = 0;
    while (count == 0) {
        ring_wait(bed.ring, NS_PER_S);
        count = ring_reap(bed.ring, events, 4);
    }
    ring_close_socket(bed.ring, &socket, false);
    assert_true(ring_socket_is_closing(events[0].socket));
    bed_check_bytes(events[0].bytes, (size_t)events[0].result, 1, 0);
    ring_give_back(bed.ring, &events[0]);
    bed_expect(&bed, RING_CLOSED, &socket);
    close(far);
    ring_close(bed.ring);
}

/* ---- queues ---- */

/* Queues far too small for what is asked: slower, but nothing is lost and nothing comes twice. */
static void tiny_queues_lose_nothing(void **state) {
    (void)state;
    enum { STREAMS = 48, SIZE = 700 };
    static const unsigned completions[] = {2, 4, 8};
    for (size_t round = 0; round < array_count(completions); round++) {
        struct bed bed;
        struct stream streams[STREAMS];
        size_t sent = 0, total = 0, closed = 0;
        bed_open(&bed, mask, 2, completions[round], 64, 64);
        streams_open(streams, STREAMS);
        for (uint64_t i = 0; i < STREAMS; i++) bed_write(streams[i].far, i, 0, SIZE);
        for (int i = 0; i < STREAMS; i++) {
            ring_receive(bed.ring, &streams[i].socket, RING_RECEIVE_MANY, 0);
            ring_send(bed.ring, &streams[i].socket, "reply", 5);
        }
        while (total < STREAMS * SIZE || sent < STREAMS) {
            struct ring_event event = bed_next(&bed);
            if (event.op == RING_SENT) {
                assert_int_equal(event.result, 5);
                sent++;
                continue;
            }
            stream_check(&streams[event.handle], &event);
            total += (size_t)event.result;
            ring_give_back(bed.ring, &event);
        }
        for (int i = 0; i < STREAMS; i++) ring_close_socket(bed.ring, &streams[i].socket, false);
        for (; closed < STREAMS; closed++) assert_int_equal(bed_next(&bed).op, RING_CLOSED);
        bed_expect_quiet(&bed);
        for (int i = 0; i < STREAMS; i++) close(streams[i].far);
        assert_true(bed_figures(&bed).overflows > 0);
        assert_true(bed_figures(&bed).queue_full > 0);
        assert_int_equal(bed.ring->buffers_free, 64);
        ring_close(bed.ring);
    }
}

static void reaping_nothing_costs_no_system_call(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket socket;
    bed_open(&bed, mask, 8, 16, 4, 64);
    int far = bed_socket(&socket, 1);
    ring_receive(bed.ring, &socket, RING_RECEIVE_MANY, 0);
    bed_expect_quiet(&bed);
    uint64_t enters = bed_figures(&bed).enters;
    for (int i = 0; i < 1000; i++) assert_int_equal(ring_reap(bed.ring, bed.events, 16), 0);
    assert_int_equal(bed_figures(&bed).enters, enters);
    bed_write(far, 1, 0, 10);
    // Reaping alone, without ever waiting, gets the bytes.
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    while (ring_reap(bed.ring, bed.events, 16) == 0) assert_true(bed_now_ns() < deadline_ns);
    assert_int_equal(bed.events[0].result, 10);
    ring_give_back(bed.ring, &bed.events[0]);
    bed_close_socket(&bed, &socket);
    close(far);
    ring_close(bed.ring);
}

static uint64_t time_of_wait_ns(struct ring *ring, uint64_t timeout_ns) {
    uint64_t start_ns = bed_now_ns();
    ring_wait(ring, timeout_ns);
    return bed_now_ns() - start_ns;
}

static void waiting(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket socket;
    bed_open(&bed, mask, 8, 16, 4, 64);
    assert_in_range(time_of_wait_ns(bed.ring, 0), 0, NS_PER_S);
    assert_in_range(time_of_wait_ns(bed.ring, 30 * NS_PER_MS), 30 * NS_PER_MS, 5 * NS_PER_S);
    int far = bed_socket(&socket, 1);
    // A wait that also submits runs out once, not twice.
    ring_receive(bed.ring, &socket, RING_RECEIVE_MANY, 0);
    uint64_t enters = bed_figures(&bed).enters;
    assert_in_range(time_of_wait_ns(bed.ring, 30 * NS_PER_MS), 30 * NS_PER_MS, 5 * NS_PER_S);
    assert_int_equal(bed_figures(&bed).enters, enters + 1);
    bed_write(far, 1, 0, 10);
    assert_in_range(time_of_wait_ns(bed.ring, TIME_NEVER), 0, 5 * NS_PER_S);
    assert_in_range(time_of_wait_ns(bed.ring, TIME_NEVER), 0, 5 * NS_PER_S);  // still not reaped
    assert_in_range(time_of_wait_ns(bed.ring, TIME_NEVER - 1), 0, 5 * NS_PER_S);
    struct ring_event event = bed_expect(&bed, RING_RECEIVED, &socket);
    ring_give_back(bed.ring, &event);
    bed_close_socket(&bed, &socket);
    close(far);
    ring_close(bed.ring);
}

static void detach_leaves_the_socket_alive(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket socket;
    bed_open(&bed, mask, 8, 16, 4, 64);
    int far = bed_socket(&socket, 1), fd = socket.fd;
    bed_write(far, 1, 0, 10);
    ring_receive(bed.ring, &socket, RING_RECEIVE_ONCE, 4);
    struct ring_event event = bed_expect(&bed, RING_RECEIVED, &socket);
    assert_int_equal(event.result, 4);
    ring_give_back(bed.ring, &event);
    socket.handle = 99;
    ring_receive(bed.ring, &socket, RING_RECEIVE_ONCE, 3);
    event = bed_expect(&bed, RING_RECEIVED, &socket);
    ring_give_back(bed.ring, &event);
    assert_int_equal(ring_socket_detach(&socket), fd);
    assert_int_equal(socket.fd, -1);
    uint8_t rest[8];
    assert_int_equal(recv(fd, rest, sizeof(rest), 0), 3);
    bed_check_bytes(rest, 3, 1, 7);
    close(fd);
    close(far);
    ring_close(bed.ring);
}

static int run_round(const struct bed_mask *round) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send_is_short_then_stalls_then_goes_on),
        cmocka_unit_test(close_with_everything_in_flight),
        cmocka_unit_test(events_of_a_closing_socket_are_swallowed),
        cmocka_unit_test(close_while_parked_paused_or_idle),
        cmocka_unit_test(events_already_reaped_stay),
        cmocka_unit_test(tiny_queues_lose_nothing),
        cmocka_unit_test(reaping_nothing_costs_no_system_call),
        cmocka_unit_test(waiting),
        cmocka_unit_test(detach_leaves_the_socket_alive),
    };
    mask = round->features;
    return cmocka_run_group_tests_name(round->name, tests, NULL, NULL);
}

int main(void) {
    int failed = 0;
    for (size_t i = 0; i < array_count(bed_masks); i++) failed += run_round(&bed_masks[i]);
    return failed != 0;
}
