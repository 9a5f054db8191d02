/* test_ring_bed.h - what the tests of the ring share: TCP sockets on the loopback, a pump with a deadline, and the list
 * of feature masks under which each test runs, so that one kernel stands for many. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
// last, as its documentation asks
#include <cmocka.h>

#include "core/ring.h"

#define BED_DEADLINE_NS (20 * NS_PER_S)
#define BED_QUIET_NS (10 * NS_PER_MS)  // how long is listened for events that must not come

struct bed_mask {
    const char *name;
    unsigned features;
};

/* The oldest kernels to run on, nothing at all, everything, and each feature missing alone. */
static const struct bed_mask bed_masks[] = {
    {"all", RING_FEATURES_ALL},
    {"6.1", RING_FEATURES_ALL},
    {"6.0", RING_FEATURES_ALL & ~(unsigned)RING_DEFER_TASKRUN},
    {"5.19", RING_MULTISHOT_ACCEPT | RING_COOP_TASKRUN | RING_RESTRICTIONS},
    {"none", 0},
    {"no multishot-accept", RING_FEATURES_ALL & ~(unsigned)RING_MULTISHOT_ACCEPT},
    {"no coop-taskrun", RING_FEATURES_ALL & ~(unsigned)RING_COOP_TASKRUN},
    {"no single-issuer", RING_FEATURES_ALL & ~(unsigned)RING_SINGLE_ISSUER},
    {"no multishot-receive", RING_FEATURES_ALL & ~(unsigned)RING_MULTISHOT_RECEIVE},
    {"no restrictions", RING_FEATURES_ALL & ~(unsigned)RING_RESTRICTIONS},
    {"no defer-, no coop-taskrun", RING_FEATURES_ALL & ~(unsigned)(RING_DEFER_TASKRUN | RING_COOP_TASKRUN)},
};

struct bed {
    struct ring *ring;
    struct ring_event events[16];
    size_t events_max;  // asked for at once, at most 16
    size_t count, next;
};

static inline uint64_t bed_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline struct ring *bed_ring_open(unsigned features, unsigned sq, unsigned cq, unsigned buffers, unsigned size) {
    struct ring_options options = {.features_allowed = features,
                                   .submissions_max = sq,
                                   .completions_max = cq,
                                   .receive_buffers = buffers,
                                   .receive_buffer_size = size};
    struct ring *ring = NULL;
    char why[RING_WHY_MAX] = "";
    int error = ring_open(&ring, &options, why);
    if (error != 0) fail_msg("ring_open: %d: %s", error, why);
    return ring;
}

static inline void bed_open(struct bed *bed, unsigned features, unsigned sq, unsigned cq, unsigned buffers,
                            unsigned size) {
    *bed = (struct bed){.ring = bed_ring_open(features, sq, cq, buffers, size), .events_max = array_count(bed->events)};
    assert_int_equal(ring_enable(bed->ring), 0);
}

/* The next event, or false when none has come for `patience_ns`. */
static inline bool bed_next_within(struct bed *bed, struct ring_event *event, uint64_t patience_ns) {
    uint64_t deadline_ns = bed_now_ns() + patience_ns;
    while (bed->next == bed->count) {
        bed->next = 0;
        bed->count = ring_reap(bed->ring, bed->events, bed->events_max);
        if (bed->count != 0) break;
        uint64_t now_ns = bed_now_ns();
        if (now_ns >= deadline_ns) return false;
        ring_wait(bed->ring, deadline_ns - now_ns);
    }
    *event = bed->events[bed->next++];
    return true;
}

static inline struct ring_event bed_next(struct bed *bed) {
    struct ring_event event = {0};
    if (!bed_next_within(bed, &event, BED_DEADLINE_NS)) fail_msg("no event came");
    return event;
}

static inline struct ring_event bed_expect(struct bed *bed, enum ring_op op, const struct ring_socket *socket) {
    struct ring_event event = bed_next(bed);
    assert_int_equal(event.op, op);
    assert_ptr_equal(event.socket, socket);
    assert_int_equal(event.handle, socket->handle);
    return event;
}

static inline void bed_expect_quiet(struct bed *bed) {
    struct ring_event event;
    if (bed_next_within(bed, &event, BED_QUIET_NS))
        fail_msg("unexpected event: op %d result %d", event.op, event.result);
}

static inline struct ring_figures bed_figures(const struct bed *bed) {
    struct ring_figures figures;
    ring_figures_read(bed->ring, &figures);
    return figures;
}

static inline bool bed_fd_is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

/* Closes, and insists that this is the last that is heard of the socket. */
static inline void bed_close_socket(struct bed *bed, struct ring_socket *socket) {
    int fd = socket->fd;
    ring_close_socket(bed->ring, socket, false);
    bed_expect(bed, RING_CLOSED, socket);
    assert_int_equal(socket->fd, -1);
    assert_false(bed_fd_is_open(fd));
}

static inline int bed_listen(struct sockaddr_in *address) {
    socklen_t size = sizeof(*address);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)address, size), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)address, &size), 0);
    return fd;
}

static inline int bed_connect(const struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)address, sizeof(*address)), 0);
    return fd;
}

/* Two ends of one TCP connection. */
static inline void bed_pair(int fds[2]) {
    struct sockaddr_in address;
    int listener = bed_listen(&address);
    fds[1] = bed_connect(&address);
    fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fds[0] >= 0);
    close(listener);
}

/* A connection whose near end is on the ring; returns the far end. */
static inline int bed_socket(struct ring_socket *socket, uint64_t handle) {
    int fds[2];
    bed_pair(fds);
    ring_socket_init(socket, fds[0], handle);
    return fds[1];
}

/* Byte `at` of the stream that test data consists of. */
static inline uint8_t bed_byte(uint64_t stream, size_t at) { return (uint8_t)(stream * 31 + at * 7 + (at >> 8) * 13); }

static inline void bed_write(int fd, uint64_t stream, size_t from, size_t size) {
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++) bytes[i] = bed_byte(stream, from + i);
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT), size);
    free(bytes);
}

static inline void bed_check_bytes(const uint8_t *bytes, size_t size, uint64_t stream, size_t from) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != bed_byte(stream, from + i)) fail_msg("wrong byte at %zu of stream %d", from + i, (int)stream);
    }
}

/* ---- a socket that receives the test stream which its handle names ---- */

struct stream {
    struct ring_socket socket;
    int far;
    size_t received;
};

static inline void stream_check(struct stream *stream, const struct ring_event *event) {
    assert_int_equal(event->op, RING_RECEIVED);
    assert_ptr_equal(event->socket, &stream->socket);
    assert_true(event->result > 0);
    bed_check_bytes(event->bytes, (size_t)event->result, stream->socket.handle, stream->received);
    stream->received += (size_t)event->result;
}

static inline void streams_open(struct stream *streams, size_t count) {
    for (size_t i = 0; i < count; i++) {
        streams[i].far = bed_socket(&streams[i].socket, i);
        streams[i].received = 0;
    }
}

static inline void streams_close(struct bed *bed, struct stream *streams, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bed_close_socket(bed, &streams[i].socket);
        close(streams[i].far);
    }
}

/* Takes both buffers of the ring away through a socket that wants no more. */
static inline void take_all_buffers(struct bed *bed, struct stream *thief, struct ring_event held[2]) {
    bed_write(thief->far, thief->socket.handle, 0, 128);
    for (int i = 0; i < 2; i++) {
        ring_receive(bed->ring, &thief->socket, RING_RECEIVE_ONCE, 0);
        held[i] = bed_next(bed);
        stream_check(thief, &held[i]);
    }
}
