#include "perf/udpload/swarm.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/check.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    MESSAGES = 32,          // of one receive
    RUNS = 4,               // the same while runs come: more would not stay in the cache
    RUN_SIZE_MIN = 8192,    // mean size that means so
    MESSAGE_SIZE = 65536,   // a datagram, or many that the kernel put together
    CONTROL_SIZE = 64,
    EVENTS = 256,
    BUFFER_SIZE = 7 << 20,  // of a socket, as Tailscale's clients ask for
};

struct swarm_batch {
    unsigned messages_max;
    struct mmsghdr messages[MESSAGES];
    struct iovec parts[MESSAGES];
    uint8_t controls[MESSAGES][CONTROL_SIZE];
    struct epoll_event events[EVENTS];
    struct mmsghdr out[WIRE_RUNS_PACKETS_MAX];
    struct iovec out_parts[WIRE_RUNS_PACKETS_MAX];
    uint8_t out_control[CMSG_SPACE(sizeof(uint16_t))] __attribute__((aligned(8)));
    uint8_t bytes[MESSAGES][MESSAGE_SIZE];
};

void swarm_fail(struct swarm *s, const char *format, ...) {
    va_list args;
    if (s->is_failed) return;  // the first is the cause
    s->is_failed = true;
    va_start(args, format);
    vsnprintf(s->why, sizeof(s->why), format, args);
    va_end(args);
}

/* ---- sockets ---- */

/* Room for one datagram, or a run of them. */
static void prepare(struct swarm_batch *b, unsigned idx) {
    b->parts[idx] = (struct iovec){b->bytes[idx], MESSAGE_SIZE};
    b->messages[idx].msg_hdr = (struct msghdr){
        .msg_iov = &b->parts[idx], .msg_iovlen = 1, .msg_control = b->controls[idx], .msg_controllen = CONTROL_SIZE};
}

bool swarm_open(struct swarm *s, uint32_t wires_max, bool has_gro) {
    *s = (struct swarm){.count_max = wires_max, .has_gro = has_gro, .now_ns = sys_clock_ns()};
    s->wires = calloc(wires_max, sizeof(*s->wires));
    s->batch = calloc(1, sizeof(*s->batch));
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->wires == NULL || s->batch == NULL || s->epoll_fd < 0) swarm_fail(s, "no memory for the sockets");
    if (wires_max + 64 > sys_fd_limit()) {
        swarm_fail(s, "%u sockets are more than this process may have: raise its limit of open files (ulimit -n)",
                   wires_max);
    }
    for (unsigned i = 0; s->batch && i < MESSAGES; i++) prepare(s->batch, i);
    if (s->batch) s->batch->messages_max = MESSAGES;
    return !s->is_failed;
}

void swarm_close(struct swarm *s) {
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->wires[i].fd >= 0) close(s->wires[i].fd);
    }
    if (s->epoll_fd >= 0) close(s->epoll_fd);
    free(s->wires);
    free(s->batch);
}

struct wire *swarm_add(struct swarm *s, uint32_t side) {
    CHECK(s->count < s->count_max);
    struct wire *w = &s->wires[s->count];
    *w = (struct wire){.fd = -1, .idx = s->count++, .side = side, .flow = WIRE_NO_FLOW};
    return w;
}

/* Beyond the system's limit where that is allowed. */
static void set_buffer(int fd, int forced, int plain) {
    int size = BUFFER_SIZE;
    if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) != 0) {
        (void)!setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
    }
}

static bool set_up(struct swarm *s, struct wire *w, const struct net_address *relay) {
    struct sockaddr_storage name;
    int one = 1, family = net_address_is_ipv4(relay) ? AF_INET : AF_INET6;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = w};
    w->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->fd < 0) return false;
    set_buffer(w->fd, SO_RCVBUFFORCE, SO_RCVBUF);
    set_buffer(w->fd, SO_SNDBUFFORCE, SO_SNDBUF);
    if (s->has_gro && setsockopt(w->fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) != 0) return false;
    unsigned size = net_address_to_kernel(relay, family, &name);
    return connect(w->fd, (struct sockaddr *)&name, size) == 0 &&
           epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, w->fd, &event) == 0;
}

bool swarm_connect(struct swarm *s, struct wire *w, const struct net_address *relay) {
    char text[NET_ADDRESS_TEXT_MAX];
    if (w->is_connected) return true;
    w->is_connected = set_up(s, w, relay);
    if (!w->is_connected) swarm_fail(s, "a socket to %s: %s", net_address_text(relay, text), strerror(errno));
    return w->is_connected;
}

/* ---- receiving ---- */

static size_t segment_size(const struct msghdr *message, size_t size) {
    struct msghdr *m = (struct msghdr *)(uintptr_t)message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        int segment;
        if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
        memcpy(&segment, CMSG_DATA(c), sizeof(segment));
        if (segment > 0) return (size_t)segment;
    }
    return size;
}

static void hand_over(struct swarm *s, struct wire *w, unsigned idx) {
    size_t size = s->batch->messages[idx].msg_len, segment = segment_size(&s->batch->messages[idx].msg_hdr, size);
    uint8_t *bytes = s->batch->bytes[idx];
    if (size == 0) s->on_datagram(s->owner, w, bytes, 0);
    for (size_t at = 0; at < size && !s->is_failed; at += segment) {
        s->on_datagram(s->owner, w, bytes + at, min_of(segment, size - at));
    }
}

/* What is there now, at most one batch; there is another turn for the rest. */
static void receive(struct swarm *s, struct wire *w) {
    size_t total = 0;
    int count = recvmmsg(w->fd, s->batch->messages, s->batch->messages_max, 0, NULL);
    if (count < 0 && errno == ECONNREFUSED) {
        swarm_fail(s, "nobody listens on the relay's UDP port: it has ended, or said another address than its own");
    } else if (count < 0 && errno != EAGAIN && errno != EINTR) {
        swarm_fail(s, "receiving: %s", strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        total += s->batch->messages[i].msg_len;
        if (!s->is_failed) hand_over(s, w, (unsigned)i);
        prepare(s->batch, (unsigned)i);
    }
    if (count > 0) s->batch->messages_max = total / (unsigned)count >= RUN_SIZE_MIN ? RUNS : MESSAGES;
}

void swarm_turn(struct swarm *s, uint64_t wait_ns) {
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / NS_PER_S), .tv_nsec = (long)(wait_ns % NS_PER_S)};
    int count = epoll_pwait2(s->epoll_fd, s->batch->events, EVENTS, &wait, NULL);
    if (count < 0 && errno != EINTR) swarm_fail(s, "waiting for datagrams: %s", strerror(errno));
    s->now_ns = sys_clock_ns();
    for (int i = 0; i < count && !s->is_failed; i++) receive(s, s->batch->events[i].data.ptr);
}

/* ---- sending ---- */

static bool is_full(int error) { return error == EAGAIN || error == ENOBUFS || error == EINTR || error == ENOMEM; }

static void send_failed(struct swarm *s, uint32_t segments) {
    if (errno == ECONNREFUSED) {
        swarm_fail(s, "nobody listens on the relay's UDP port: it has ended, or said another address than its own");
    } else if (segments > 1) {
        swarm_fail(s, "sending %u packets as one: %s; --segments 1 sends them one by one", segments, strerror(errno));
    } else {
        swarm_fail(s, "sending: %s", strerror(errno));
    }
}

void wire_send(struct swarm *s, struct wire *w, const void *bytes, size_t size) {
    if (send(w->fd, bytes, size, 0) < 0 && !is_full(errno)) send_failed(s, 1);
}

/* All runs have one control message: it says the same for each. */
static void write_control(struct swarm_batch *b, uint32_t size) {
    struct msghdr head = {.msg_control = b->out_control, .msg_controllen = sizeof(b->out_control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&head);
    uint16_t segment = (uint16_t)size;
    *c = (struct cmsghdr){.cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(segment))};
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

uint32_t wire_send_runs(struct swarm *s, struct wire *w, uint8_t *const *frames, uint32_t count, uint32_t size,
                        uint32_t segments) {
    struct swarm_batch *b = s->batch;
    uint32_t runs = 0;
    CHECK(count <= WIRE_RUNS_PACKETS_MAX);
    if (segments > 1) write_control(b, size);
    for (uint32_t i = 0; i < count; i++) b->out_parts[i] = (struct iovec){frames[i], size};
    for (uint32_t at = 0; at < count; at += segments) {
        uint32_t length = min_of(segments, count - at);
        b->out[runs++].msg_hdr = (struct msghdr){.msg_iov = &b->out_parts[at],
                                                 .msg_iovlen = length,
                                                 .msg_control = length > 1 ? b->out_control : NULL,
                                                 .msg_controllen = length > 1 ? sizeof(b->out_control) : 0};
    }
    int sent = runs == 1 ? (int)sendmsg(w->fd, &b->out[0].msg_hdr, 0) : sendmmsg(w->fd, b->out, runs, 0);
    if (sent < 0 && !is_full(errno)) send_failed(s, segments);
    if (sent < 0) return 0;
    return runs == 1 ? count : min_of(count, (uint32_t)sent * segments);
}
