/* test_ring.c - the ring on real sockets: features, restrictions, accepting, receiving, pausing; the whole set once for
 * each feature mask. */
#include "test_ring_bed.h"

#include <sys/resource.h>

#include "core/ring_internal.h"

static unsigned mask;  // of the current round

/* ---- names, sizes, features ---- */

static void names_and_versions(void **state) {
    (void)state;
    unsigned features = 0;
    char text[RING_FEATURES_TEXT_MAX];
    assert_true(ring_features_of_kernel("5.19", &features));
    assert_string_equal(ring_features_text(features, text), "multishot-accept coop-taskrun restrictions");
    assert_true(ring_features_of_kernel("6.0", &features));
    assert_int_equal(features, RING_FEATURES_ALL & ~(unsigned)RING_DEFER_TASKRUN);
    assert_true(ring_features_of_kernel("6.1", &features));
    assert_int_equal(features, RING_FEATURES_ALL);
    assert_false(ring_features_of_kernel("6.18", &features));
    assert_string_equal(ring_features_text(0, text), "");
    assert_true(strlen(ring_features_text(RING_FEATURES_ALL, text)) < RING_FEATURES_TEXT_MAX);
    assert_int_equal(ring_feature_by_name("multishot-receive,x", 17), RING_MULTISHOT_RECEIVE);
    assert_int_equal(ring_feature_by_name("multishot", 9), 0);
    assert_int_equal(ring_feature_by_name("", 0), 0);
    for (unsigned bit = 1; bit <= RING_FEATURES_ALL; bit <<= 1) {
        ring_features_text(bit, text);
        assert_int_equal(ring_feature_by_name(text, strlen(text)), bit);
    }
}

static void footprint_counts_queues_and_buffers(void **state) {
    (void)state;
    struct ring_options options = {.submissions_max = 1024, .completions_max = 8192};
    size_t queues = ring_footprint(&options);
    assert_in_range(queues, 1024 * 64 + 8192 * 16, 1024 * 68 + 8192 * 16 + 16384);
    options.receive_buffers = 64;
    options.receive_buffer_size = 32768;
    assert_in_range(ring_footprint(&options) - queues, 64 * 32768 + 64 * 17, 64 * 32768 + 3 * 4096);
}

static unsigned features_in_use(unsigned allowed) {
    struct ring *ring = bed_ring_open(allowed, 8, 16, 2, 64);
    unsigned features = ring_features(ring);
    ring_close(ring);
    return features;
}

/* On a kernel with everything (6.1 and later) each mask gives exactly the features of the kernel it stands for. */
static void features_are_truthful(void **state) {
    (void)state;
    const unsigned newest = RING_FEATURES_ALL & ~(unsigned)RING_COOP_TASKRUN;  // DEFER_TASKRUN takes its place
    unsigned best = features_in_use(RING_FEATURES_ALL), of_5_19 = 0, of_6_0 = 0, of_6_1 = 0;
    assert_int_equal(features_in_use(0), 0);
    assert_int_equal(features_in_use(RING_MULTISHOT_ACCEPT) & ~(unsigned)RING_MULTISHOT_ACCEPT, 0);
    if (best != newest) skip();
    assert_true(ring_features_of_kernel("5.19", &of_5_19));
    assert_true(ring_features_of_kernel("6.0", &of_6_0));
    assert_true(ring_features_of_kernel("6.1", &of_6_1));
    assert_int_equal(features_in_use(of_5_19), of_5_19);
    assert_int_equal(features_in_use(of_6_0), of_6_0);
    assert_int_equal(features_in_use(of_6_1), newest);
    // DEFER_TASKRUN demands SINGLE_ISSUER
    unsigned no_single = RING_FEATURES_ALL & ~(unsigned)RING_SINGLE_ISSUER;
    assert_int_equal(features_in_use(no_single), no_single & ~(unsigned)RING_DEFER_TASKRUN);
}

/* ---- restrictions ---- */

static int result_of_forbidden_op(struct ring *ring) {
    struct io_uring_sqe *sqe = ring_sqe(ring, NULL, TAG_WAKE);
    sqe->opcode = IORING_OP_OPENAT;
    sqe->fd = AT_FDCWD;
    sqe->addr = (uint64_t)(uintptr_t)"/";
    sqe->open_flags = O_RDONLY;
    ring_push_and_wait(ring, NULL);
    struct io_uring_cqe *cqe = NULL;
    assert_int_equal(io_uring_peek_cqe(&ring->uring, &cqe), 0);
    int result = cqe->res;
    io_uring_cqe_seen(&ring->uring, cqe);
    return result;
}

static void nothing_but_our_ops(void **state) {
    (void)state;
    struct bed bed;
    bed_open(&bed, mask, 8, 16, 2, 64);
    int result = result_of_forbidden_op(bed.ring);
    int fd = -1, registered = io_uring_register_files(&bed.ring->uring, &fd, 1);
    if (ring_features(bed.ring) & RING_RESTRICTIONS) {
        assert_int_equal(result, -EACCES);
        assert_int_equal(registered, -EACCES);
    } else {
        assert_true(result >= 0);
        assert_int_equal(registered, 0);
        close(result);
    }
    ring_close(bed.ring);
}

/* ---- accepting ---- */

static void accept_many(void **state) {
    (void)state;
    enum { CLIENTS = 100 };
    struct bed bed;
    struct ring_socket listener;
    struct sockaddr_in address;
    int clients[CLIENTS];
    bed_open(&bed, mask, 8, 16, 0, 0);
    ring_socket_init(&listener, bed_listen(&address), 7);
    ring_accept(bed.ring, &listener);
    for (int i = 0; i < CLIENTS; i++) clients[i] = bed_connect(&address);
    for (int i = 0; i < CLIENTS; i++) {
        struct ring_event event = bed_expect(&bed, RING_ACCEPTED, &listener);
        assert_true(event.result >= 0);
        assert_true(event.more);
        assert_int_equal(fcntl(event.result, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fcntl(event.result, F_GETFL) & O_NONBLOCK, 0);
        close(event.result);
    }
    bed_expect_quiet(&bed);
    bed_close_socket(&bed, &listener);
    for (int i = 0; i < CLIENTS; i++) close(clients[i]);
    ring_close(bed.ring);
}

static void wait_until_idle(struct bed *bed, struct ring_socket *socket) {
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    while (!ring_socket_is_idle(socket) && bed_now_ns() < deadline_ns) {
        assert_int_equal(ring_reap(bed->ring, bed->events, bed->events_max), 0);
        if (!ring_socket_is_idle(socket)) ring_wait(bed->ring, NS_PER_S);
    }
    assert_true(ring_socket_is_idle(socket));
}

static void accept_pauses_and_goes_on(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket listener;
    struct sockaddr_in address;
    bed_open(&bed, mask, 8, 16, 0, 0);
    ring_socket_init(&listener, bed_listen(&address), 7);
    ring_accept_pause(bed.ring, &listener);  // no effect
    ring_accept(bed.ring, &listener);
    bed_expect_quiet(&bed);
    ring_accept_pause(bed.ring, &listener);
    ring_accept_pause(bed.ring, &listener);
    wait_until_idle(&bed, &listener);
    int client = bed_connect(&address);
    bed_expect_quiet(&bed);
    ring_accept(bed.ring, &listener);
    struct ring_event event = bed_expect(&bed, RING_ACCEPTED, &listener);
    assert_true(event.result >= 0);
    close(event.result);
    close(client);
    bed_close_socket(&bed, &listener);
    ring_close(bed.ring);
}

/* Out of descriptors: reported, and it goes on by itself when there are some again. */
static void accept_survives_emfile(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket listener;
    struct sockaddr_in address;
    struct rlimit before, tight;
    bed_open(&bed, mask, 8, 16, 0, 0);
    ring_socket_init(&listener, bed_listen(&address), 7);
    int client = bed_connect(&address), unused_fd = dup(client);
    close(unused_fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)unused_fd;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    ring_accept(bed.ring, &listener);
    struct ring_event event = bed_next(&bed);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(event.op, RING_ACCEPTED);
    assert_int_equal(event.result, -EMFILE);
    assert_true(event.more);
    do event = bed_expect(&bed, RING_ACCEPTED, &listener);
    while (event.result == -EMFILE);
    assert_true(event.result >= 0);
    close(event.result);
    close(client);
    bed_close_socket(&bed, &listener);
    ring_close(bed.ring);
}

/* ---- receiving ---- */

/* All buffers are with the owner most of the time: sockets park and resume, and not a byte is lost. */
static void receive_more_than_buffers_hold(void **state) {
    (void)state;
    enum { STREAMS = 6, BUFFERS = 4, SIZE = 20000 };
    struct bed bed;
    struct stream streams[STREAMS];
    struct ring_event held[BUFFERS], event;
    size_t held_count = 0, total = 0;
    bed_open(&bed, mask, 8, 32, BUFFERS, 256);
    streams_open(streams, STREAMS);
    for (int i = 0; i < STREAMS; i++) {
        bed_write(streams[i].far, (uint64_t)i, 0, SIZE);
        ring_receive(bed.ring, &streams[i].socket, RING_RECEIVE_MANY, 0);
    }
    while (total < STREAMS * SIZE) {
        event = bed_next(&bed);
        stream_check(&streams[event.handle], &event);
        assert_true(event.more);
        total += (size_t)event.result;
        held[held_count++] = event;
        if (held_count < BUFFERS) continue;
        assert_int_equal(bed.next, bed.count);  // no buffer is left, so there can be no further event
        if (total % 3 == 0) assert_int_equal(ring_reap(bed.ring, &event, 1), 0);
        for (size_t back = 1 + total % BUFFERS; back > 0; back--) ring_give_back(bed.ring, &held[--held_count]);
    }
    while (held_count > 0) ring_give_back(bed.ring, &held[--held_count]);
    bed_expect_quiet(&bed);
    for (int i = 0; i < STREAMS; i++) assert_int_equal(streams[i].received, SIZE);
    struct ring_figures figures = bed_figures(&bed);
    assert_true(figures.receive_parked > 0);
    // No spinning: what is parked costs at most a few requests per event.
    assert_in_range(figures.submissions, 1, 4 * (STREAMS * SIZE / 256));
    streams_close(&bed, streams, STREAMS);
    ring_close(bed.ring);
}

static void parked_resume_in_order(struct bed *bed, enum ring_receive_mode mode) {
    enum { STREAMS = 7, THIEF = 6 };
    static const int order[THIEF] = {3, 1, 5, 0, 2, 4};
    struct stream streams[STREAMS];
    struct ring_event held[2], event;
    streams_open(streams, STREAMS);
    take_all_buffers(bed, &streams[THIEF], held);
    for (int i = 0; i < THIEF; i++) {
        bed_write(streams[order[i]].far, (uint64_t)order[i], 0, 64);
        ring_receive(bed->ring, &streams[order[i]].socket, mode, 0);
        bed_expect_quiet(bed);
    }
    ring_give_back(bed->ring, &held[0]);
    for (int i = 0; i < THIEF; i++) {
        event = bed_next(bed);
        assert_int_equal(event.handle, order[i]);
        stream_check(&streams[order[i]], &event);
        ring_give_back(bed->ring, &event);
    }
    ring_give_back(bed->ring, &held[1]);
    bed_expect_quiet(bed);
    streams_close(bed, streams, STREAMS);
}

static void parked_resume_in_order_once(void **state) {
    (void)state;
    struct bed bed;
    bed_open(&bed, mask, 8, 32, 2, 64);
    parked_resume_in_order(&bed, RING_RECEIVE_ONCE);
    ring_close(bed.ring);
}

static void parked_resume_in_order_many(void **state) {
    (void)state;
    struct bed bed;
    bed_open(&bed, mask, 8, 32, 2, 64);
    parked_resume_in_order(&bed, RING_RECEIVE_MANY);
    ring_close(bed.ring);
}

/* Parked sockets with nothing to read must not stand in the way of one that has, even while the thread sleeps. */
static void idle_parked_sockets_block_nobody(void **state) {
    (void)state;
    enum { STREAMS = 9, THIEF = 8, LAST = 7 };
    struct bed bed;
    struct stream streams[STREAMS];
    struct ring_event held[2];
    bed_open(&bed, mask, 8, 32, 2, 64);
    streams_open(streams, STREAMS);
    take_all_buffers(&bed, &streams[THIEF], held);
    for (int i = 0; i <= LAST; i++) ring_receive(bed.ring, &streams[i].socket, RING_RECEIVE_MANY, 0);
    bed_expect_quiet(&bed);
    bed_write(streams[LAST].far, LAST, 0, 64);
    bed_expect_quiet(&bed);
    assert_int_equal(bed_figures(&bed).receive_parked, LAST + 1);
    ring_give_back(bed.ring, &held[0]);
    struct ring_event event = bed_next(&bed);
    stream_check(&streams[LAST], &event);
    ring_give_back(bed.ring, &event);
    ring_give_back(bed.ring, &held[1]);
    streams_close(&bed, streams, STREAMS);
    ring_close(bed.ring);
}

static void receive_once_is_bounded(void **state) {
    (void)state;
    struct bed bed;
    struct stream stream;
    struct ring_event event;
    bed_open(&bed, mask, 8, 16, 4, 256);
    streams_open(&stream, 1);
    bed_write(stream.far, 0, 0, 1000);
    static const uint32_t bounds[] = {100, 1, 256, 0, 4096, 0};
    static const int32_t results[] = {100, 1, 256, 256, 256, 131};
    for (size_t i = 0; i < array_count(bounds); i++) {
        ring_receive(bed.ring, &stream.socket, RING_RECEIVE_ONCE, bounds[i]);
        event = bed_next(&bed);
        stream_check(&stream, &event);
        assert_int_equal(event.result, results[i]);
        assert_false(event.more);
        assert_true(ring_socket_is_idle(&stream.socket));
        ring_give_back(bed.ring, &event);
        bed_expect_quiet(&bed);
    }
    streams_close(&bed, &stream, 1);
    ring_close(bed.ring);
}

static void end_of_stream(void **state) {
    (void)state;
    struct bed bed;
    struct stream streams[2];
    bed_open(&bed, mask, 8, 16, 4, 256);
    streams_open(streams, 2);
    for (int i = 0; i < 2; i++) {
        ring_receive(bed.ring, &streams[i].socket, i ? RING_RECEIVE_MANY : RING_RECEIVE_ONCE, 0);
        bed_expect_quiet(&bed);
        shutdown(streams[i].far, SHUT_WR);
        struct ring_event event = bed_expect(&bed, RING_RECEIVED, &streams[i].socket);
        assert_int_equal(event.result, 0);
        assert_false(event.more);
        assert_null(event.bytes);
        assert_true(ring_socket_is_idle(&streams[i].socket));
    }
    bed_expect_quiet(&bed);
    assert_int_equal(bed.ring->buffers_free, 4);
    streams_close(&bed, streams, 2);
    ring_close(bed.ring);
}

static void reset_by(int fd) {
    struct linger abort_at_close = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof(abort_at_close)), 0);
    close(fd);
}

static void reset_by_peer(void **state) {
    (void)state;
    struct bed bed;
    struct ring_socket socket;
    bed_open(&bed, mask, 8, 16, 4, 256);
    int far = bed_socket(&socket, 3);
    ring_receive(bed.ring, &socket, RING_RECEIVE_MANY, 0);
    bed_expect_quiet(&bed);
    reset_by(far);
    struct ring_event event = bed_expect(&bed, RING_RECEIVED, &socket);
    assert_int_equal(event.result, -ECONNRESET);
    assert_false(event.more);
    ring_send(bed.ring, &socket, "x", 1);
    event = bed_expect(&bed, RING_SENT, &socket);
    assert_int_equal(event.result, -EPIPE);  // and no SIGPIPE
    bed_close_socket(&bed, &socket);
    ring_close(bed.ring);
}

/* ---- pausing ---- */

static void pause_and_go_on(void **state) {
    (void)state;
    struct bed bed;
    struct stream stream;
    struct ring_event event;
    bed_open(&bed, mask, 8, 16, 4, 256);
    streams_open(&stream, 1);
    for (int round = 0; round < 3; round++) {
        ring_receive(bed.ring, &stream.socket, round == 1 ? RING_RECEIVE_ONCE : RING_RECEIVE_MANY, 0);
        if (round != 2) bed_expect_quiet(&bed);
        ring_receive_pause(bed.ring, &stream.socket);
        ring_receive_pause(bed.ring, &stream.socket);
        bed_expect(&bed, RING_RECEIVE_PAUSED, &stream.socket);
        assert_true(ring_socket_is_idle(&stream.socket));
        bed_write(stream.far, 0, stream.received, 50);
        bed_expect_quiet(&bed);
        ring_receive(bed.ring, &stream.socket, RING_RECEIVE_ONCE, 0);
        event = bed_next(&bed);
        stream_check(&stream, &event);
        assert_int_equal(event.result, 50);
        ring_give_back(bed.ring, &event);
    }
    streams_close(&bed, &stream, 1);
    ring_close(bed.ring);
}

/* Bytes that crossed with the pause come before its event, and what comes after is the rest. */
static void pause_amid_bytes(void **state) {
    (void)state;
    enum { SIZE = 30000 };
    struct bed bed;
    struct stream stream;
    bool is_pausing = false, is_asked = false;
    bed_open(&bed, mask, 8, 16, 4, 256);
    bed.events_max = 3;
    streams_open(&stream, 1);
    bed_write(stream.far, 0, 0, SIZE);
    while (stream.received < SIZE || is_pausing) {
        if (!is_asked) ring_receive(bed.ring, &stream.socket, RING_RECEIVE_MANY, 0);
        is_asked = true;
        struct ring_event event = bed_next(&bed);
        if (event.op == RING_RECEIVE_PAUSED) {
            assert_true(is_pausing && ring_socket_is_idle(&stream.socket));
            is_pausing = is_asked = false;
            continue;
        }
        stream_check(&stream, &event);
        ring_give_back(bed.ring, &event);
        if (!is_pausing && stream.received % 5 != 0) {
            ring_receive_pause(bed.ring, &stream.socket);
            is_pausing = true;
        }
    }
    streams_close(&bed, &stream, 1);
    ring_close(bed.ring);
}

static void pause_while_parked_or_over(void **state) {
    (void)state;
    struct bed bed;
    struct stream streams[2];
    struct ring_event held[2];
    bed_open(&bed, mask, 8, 16, 2, 64);
    streams_open(streams, 2);
    take_all_buffers(&bed, &streams[1], held);
    ring_receive(bed.ring, &streams[0].socket, RING_RECEIVE_MANY, 0);
    bed_expect_quiet(&bed);
    assert_false(ring_socket_is_idle(&streams[0].socket));  // parked, but under way
    ring_receive_pause(bed.ring, &streams[0].socket);
    bed_expect(&bed, RING_RECEIVE_PAUSED, &streams[0].socket);
    assert_null(bed.ring->parked_first);
    ring_give_back(bed.ring, &held[0]);
    ring_give_back(bed.ring, &held[1]);
    // over, and over without any receive at all
    shutdown(streams[0].far, SHUT_WR);
    ring_receive(bed.ring, &streams[0].socket, RING_RECEIVE_MANY, 0);
    struct ring_event event = bed_expect(&bed, RING_RECEIVED, &streams[0].socket);
    assert_int_equal(event.result, 0);
    for (int i = 0; i < 2; i++) {
        ring_receive_pause(bed.ring, &streams[0].socket);
        bed_expect(&bed, RING_RECEIVE_PAUSED, &streams[0].socket);
    }
    bed_expect_quiet(&bed);
    streams_close(&bed, streams, 2);
    ring_close(bed.ring);
}

static int run_round(const struct bed_mask *round) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_but_our_ops),
        cmocka_unit_test(accept_many),
        cmocka_unit_test(accept_pauses_and_goes_on),
        cmocka_unit_test(accept_survives_emfile),
        cmocka_unit_test(receive_more_than_buffers_hold),
        cmocka_unit_test(parked_resume_in_order_once),
        cmocka_unit_test(parked_resume_in_order_many),
        cmocka_unit_test(idle_parked_sockets_block_nobody),
        cmocka_unit_test(receive_once_is_bounded),
        cmocka_unit_test(end_of_stream),
        cmocka_unit_test(reset_by_peer),
        cmocka_unit_test(pause_and_go_on),
        cmocka_unit_test(pause_amid_bytes),
        cmocka_unit_test(pause_while_parked_or_over),
    };
    mask = round->features;
    return cmocka_run_group_tests_name(round->name, tests, NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_versions),
        cmocka_unit_test(footprint_counts_queues_and_buffers),
        cmocka_unit_test(features_are_truthful),
    };
    int failed = cmocka_run_group_tests_name("features", tests, NULL, NULL);
    for (size_t i = 0; i < array_count(bed_masks); i++) failed += run_round(&bed_masks[i]);
    return failed != 0;
}
