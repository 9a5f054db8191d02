/* ring.c - the verbs: requests become submission entries, completions become events.
 *
 * Cancels name their target by user_data, which the kernel finds by hash; naming the fd makes it walk all that is
 * pending on the ring, which is done only when a datagram socket with sends in flight is closed.
 */
#include "core/ring_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define RING_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RING_UNDER_TSAN 1
#endif
#endif

/* One send asks for at most this much: the kernel's length field has 32 bits, its result 31. */
#define SEND_SIZE_MAX ((size_t)1 << 30)

/* From here on a timeout is no timeout: added to its clock, the kernel could take it for one in the past. */
#define TIMEOUT_ENDLESS_NS (UINT64_C(1) << 62)

/* ---- receive buffers ---- */

static uint8_t *buffer_at(const struct ring *ring, unsigned idx) {
    return ring->buffer_bytes + idx * ring->buffer_size;
}

/* The kernel has filled a buffer; it is the owner's, or ours to return. */
static void buffer_taken(struct ring *ring, unsigned idx) {
    CHECK(idx < ring->buffers && !ring->buffer_is_out[idx]);
    ring->buffer_is_out[idx] = 1;
    ring->buffers_free--;
}

static void buffer_offer(struct ring *ring, unsigned idx) {
    ring->buffers_free++;
    io_uring_buf_ring_add(ring->buffer_ring, buffer_at(ring, idx), (unsigned)ring->buffer_size, (unsigned short)idx,
                          io_uring_buf_ring_mask(ring->buffers), 0);
    io_uring_buf_ring_advance(ring->buffer_ring, 1);
}

static void buffers_top_up(struct ring *ring) {
    while (ring->buffers_stacked > 0 && ring->buffers_free < ring->buffers_offered_max) {
        buffer_offer(ring, ring->buffer_stack[--ring->buffers_stacked]);
    }
}

/* A buffer that came back twice would be filled for two sockets at once: one user's bytes in another's stream. */
static void buffer_return(struct ring *ring, unsigned idx) {
    CHECK(idx < ring->buffers && ring->buffer_is_out[idx]);
    ring->buffer_is_out[idx] = 0;
    asan_poison(buffer_at(ring, idx), ring->buffer_size);
    if (ring->buffers_offered_max == ring->buffers) buffer_offer(ring, idx);
    else ring->buffer_stack[ring->buffers_stacked++] = (uint16_t)idx;
}

void ring_offer_buffers(struct ring *ring, unsigned count) {
    CHECK(count > 0 && count <= ring->buffers);
    ring->buffers_offered_max = count;
    buffers_top_up(ring);
}

void ring_give_back(struct ring *ring, const struct ring_event *event) { buffer_return(ring, event->buffer_idx); }

/* ---- requests ---- */

static struct io_uring_sqe *request(struct ring *ring, struct ring_socket *socket, enum ring_tag tag) {
    struct io_uring_sqe *sqe = ring_sqe(ring, socket, tag);
    sqe->fd = socket->fd;
    socket->in_flight++;
    return sqe;
}

static void submit_accept(struct ring *ring, struct ring_socket *socket) {
    struct io_uring_sqe *sqe = request(ring, socket, TAG_ACCEPT);
    sqe->opcode = IORING_OP_ACCEPT;
    sqe->accept_flags = SOCK_CLOEXEC;
    if (ring->features & RING_MULTISHOT_ACCEPT) sqe->ioprio = IORING_ACCEPT_MULTISHOT;
}

static void submit_receive(struct ring *ring, struct ring_socket *socket) {
    struct io_uring_sqe *sqe = request(ring, socket, TAG_RECEIVE);
    sqe->opcode = IORING_OP_RECV;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_BUFFER_GROUP;
    if (socket->receive_mode == RING_RECEIVE_ONCE) {
        sqe->len = socket->receive_size_max;
    } else if (ring->features & RING_MULTISHOT_RECEIVE) {
        sqe->ioprio = IORING_RECV_MULTISHOT;
    }
}

static struct ring_datagram_socket *datagram_socket_of(struct ring_socket *socket) {
    return container_of(socket, struct ring_datagram_socket, socket);
}

/* Multishot puts name and control data into the buffer, in front of the bytes; single-shot into the socket's object. */
static void submit_receive_datagrams(struct ring *ring, struct ring_socket *socket) {
    struct ring_message *message = &datagram_socket_of(socket)->received;
    struct io_uring_sqe *sqe = request(ring, socket, TAG_RECEIVE);
    bool is_multishot = (ring->features & RING_MULTISHOT_RECEIVE) != 0;
    if (!is_multishot) ring_message_reset(message);
    datagram_socket_of(socket)->is_starved = true;
    sqe->opcode = IORING_OP_RECVMSG;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_BUFFER_GROUP;
    sqe->addr = (uint64_t)(uintptr_t)(is_multishot ? &ring_message_template : &message->header);
    sqe->len = 1;
    if (is_multishot) sqe->ioprio = IORING_RECV_MULTISHOT;
}

static void submit_armed(struct ring *ring, struct ring_socket *socket) {
    socket->receive_state = RECEIVE_ARMED;
    if (socket->receive_mode == RECEIVE_ACCEPT) submit_accept(ring, socket);
    else if (socket->receive_mode == RECEIVE_DATAGRAMS) submit_receive_datagrams(ring, socket);
    else submit_receive(ring, socket);
}

static void submit_cancel(struct ring *ring, struct ring_socket *socket, enum ring_tag target, enum ring_tag tag) {
    struct io_uring_sqe *sqe = request(ring, socket, tag);
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = (uint64_t)(uintptr_t)socket | target;
}

static void submit_cancel_receive(struct ring *ring, struct ring_socket *socket) {
    enum ring_tag target = socket->receive_mode == RECEIVE_ACCEPT ? TAG_ACCEPT : TAG_RECEIVE;
    socket->receive_cancels++;
    submit_cancel(ring, socket, target, TAG_CANCEL_RECEIVE);
}

/* Of a datagram socket all that is in flight, whatever it is: they have nothing else in common. */
static void submit_cancel_send(struct ring *ring, struct ring_socket *socket) {
    if (socket->receive_mode != RECEIVE_DATAGRAMS) {
        submit_cancel(ring, socket, TAG_SEND, TAG_CANCEL_SEND);
        return;
    }
    struct io_uring_sqe *sqe = request(ring, socket, TAG_CANCEL_SEND);
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
}

/* why: through the ring and not close(2). It goes out with the batch, costs no system call of its own, and its
 * completion is the later event that the contract promises. Nothing else of the socket is in flight, so this is the
 * last reference, and a TCP close without linger time does not block. */
static void submit_close(struct ring *ring, struct ring_socket *socket) {
    struct io_uring_sqe *sqe = request(ring, socket, TAG_CLOSE);
    sqe->opcode = IORING_OP_CLOSE;
    socket->close_state = CLOSE_SUBMITTED;
}

/* ---- parking ---- */

static bool is_starved(struct ring_socket *socket) {
    return socket->receive_mode == RECEIVE_DATAGRAMS && datagram_socket_of(socket)->is_starved;
}

/* Whom to park behind; NULL: at the front. why: one datagram socket can take all buffers each time it is armed, so the
 * others would find none for as long as it is flooded. */
static struct ring_socket *place_behind(struct ring *ring, struct ring_socket *socket) {
    if (!is_starved(socket)) return ring->parked_last;
    struct ring_socket *behind = NULL;
    for (struct ring_socket *at = ring->parked_first; at != NULL && is_starved(at); at = at->parked_next) behind = at;
    return behind;
}

/* A parked receive counts as in flight: the socket is not idle. */
static void park(struct ring *ring, struct ring_socket *socket) {
    struct ring_socket *behind = place_behind(ring, socket);
    struct ring_socket *before = behind != NULL ? behind->parked_next : ring->parked_first;
    socket->receive_state = RECEIVE_PARKED;
    socket->in_flight++;
    socket->parked_prev = behind;
    socket->parked_next = before;
    if (behind != NULL) behind->parked_next = socket;
    else ring->parked_first = socket;
    if (before != NULL) before->parked_prev = socket;
    else ring->parked_last = socket;
    stat_add(&ring->figures.receive_parked, 1);
}

static void unpark(struct ring *ring, struct ring_socket *socket) {
    if (socket->parked_prev != NULL) socket->parked_prev->parked_next = socket->parked_next;
    else ring->parked_first = socket->parked_next;
    if (socket->parked_next != NULL) socket->parked_next->parked_prev = socket->parked_prev;
    else ring->parked_last = socket->parked_prev;
    socket->parked_next = socket->parked_prev = NULL;
    socket->receive_state = RECEIVE_NONE;
    socket->in_flight--;
}

/* Arms parked receives again, in the order of parking and at most one for each free buffer. A receive may find that
 * another socket was faster; then it is parked again, at the end, and somebody has made progress: this cannot spin. */
static void resume_parked(struct ring *ring) {
    buffers_top_up(ring);
    for (unsigned n = ring->buffers_free; n > 0 && ring->parked_first != NULL; n--) {
        struct ring_socket *socket = ring->parked_first;
        unpark(ring, socket);
        submit_armed(ring, socket);
    }
}

/* ---- sockets ---- */

void ring_socket_init(struct ring_socket *socket, int fd, uint64_t handle) {
    DCHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    *socket = (struct ring_socket){.handle = handle, .fd = fd};
}

int ring_socket_detach(struct ring_socket *socket) {
    CHECK(ring_socket_is_idle(socket) && socket->fd >= 0);
    int fd = socket->fd;
    socket->fd = -1;
    return fd;
}

static void receive_start(struct ring *ring, struct ring_socket *socket, uint8_t mode, uint32_t size_max) {
    CHECK(socket->close_state == 0 && socket->receive_state == RECEIVE_NONE && !socket->pausing);
    socket->receive_mode = mode;
    socket->receive_size_max = size_max;
    submit_armed(ring, socket);
}

void ring_accept(struct ring *ring, struct ring_socket *socket) { receive_start(ring, socket, RECEIVE_ACCEPT, 0); }

void ring_receive(struct ring *ring, struct ring_socket *socket, enum ring_receive_mode mode, uint32_t size_max) {
    CHECK(ring->buffers > 0 && socket->receive_mode != RECEIVE_DATAGRAMS);
    receive_start(ring, socket, (uint8_t)mode, size_max);
}

/* The cancel is sent even when nothing is armed any more (the end of the receive may have been reaped but not yet
 * handled): its completion is what reports the pause, so there is exactly one in every case. */
static void pause_start(struct ring *ring, struct ring_socket *socket) {
    if (socket->close_state != 0 || socket->pausing) return;
    socket->pausing = true;
    if (socket->receive_state == RECEIVE_PARKED) unpark(ring, socket);
    submit_cancel_receive(ring, socket);
}

void ring_accept_pause(struct ring *ring, struct ring_socket *socket) {
    if (socket->receive_state != RECEIVE_NONE) pause_start(ring, socket);
}

void ring_receive_pause(struct ring *ring, struct ring_socket *socket) { pause_start(ring, socket); }

void ring_send(struct ring *ring, struct ring_socket *socket, const void *bytes, size_t size) {
    CHECK(socket->close_state == 0 && !socket->sending && size > 0);
    struct io_uring_sqe *sqe = request(ring, socket, TAG_SEND);
    sqe->opcode = IORING_OP_SEND;
    sqe->addr = (uint64_t)(uintptr_t)bytes;
    sqe->len = (uint32_t)min_of(size, SEND_SIZE_MAX);
    sqe->msg_flags = MSG_NOSIGNAL;
    socket->sending = true;
}

void ring_datagram_socket_init(struct ring_datagram_socket *socket, int fd, uint64_t handle) {
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    CHECK(getsockname(fd, (struct sockaddr *)&name, &size) == 0);
    *socket = (struct ring_datagram_socket){.is_ipv4 = name.ss_family == AF_INET};
    ring_socket_init(&socket->socket, fd, handle);
    socket->socket.receive_mode = RECEIVE_DATAGRAMS;
}

void ring_receive_datagrams(struct ring *ring, struct ring_datagram_socket *socket) {
    CHECK(ring->buffer_size > RING_DATAGRAM_OVERHEAD && ring->buffer_size % 8 == 0);
    CHECK(ring->buffers > 0 && socket->socket.receive_mode == RECEIVE_DATAGRAMS);
    receive_start(ring, &socket->socket, RECEIVE_DATAGRAMS, 0);
}

void ring_send_datagram(struct ring *ring, struct ring_datagram_socket *socket, struct ring_datagram *datagram) {
    CHECK(socket->socket.close_state == 0 && socket->socket.receive_mode == RECEIVE_DATAGRAMS);
    CHECK(datagram->in_flight_on == NULL && socket->socket.in_flight < UINT16_MAX / 2);
    CHECK(datagram->parts == NULL || (datagram->parts_count > 0 && datagram->parts_count <= RING_SEGMENTS_MAX));
    ring_message_write(datagram, socket->is_ipv4);
    datagram->in_flight_on = socket;
    struct io_uring_sqe *sqe = ring_sqe(ring, datagram, TAG_DATAGRAM);
    sqe->opcode = IORING_OP_SENDMSG;
    sqe->fd = socket->socket.fd;
    sqe->addr = (uint64_t)(uintptr_t)&datagram->message.header;
    sqe->len = 1;
    sqe->msg_flags = MSG_NOSIGNAL | (datagram->is_immediate ? MSG_DONTWAIT : 0);
    socket->sends_in_flight++;
    socket->socket.in_flight++;
    socket->socket.sending = true;
}

const struct ring_arrival *ring_arrival(const struct ring *ring, const struct ring_event *event) {
    CHECK(event->buffer_idx < ring->buffers && ring->buffer_is_out[event->buffer_idx]);
    return &ring->arrivals[event->buffer_idx];
}

void ring_close_socket(struct ring *ring, struct ring_socket *socket, bool reset) {
    static const struct linger abort_at_close = {.l_onoff = 1, .l_linger = 0};
    if (socket->close_state != 0) return;
    CHECK(socket->fd >= 0);
    // A failure means that it is no TCP connection (any more): then there is nothing to reset.
    if (reset) (void)!setsockopt(socket->fd, SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof(abort_at_close));
    socket->close_state = CLOSE_CANCELLING;
    if (socket->receive_state == RECEIVE_PARKED) unpark(ring, socket);
    if (socket->receive_state == RECEIVE_ARMED) submit_cancel_receive(ring, socket);
    if (socket->sending) submit_cancel_send(ring, socket);
    if (socket->in_flight == 0) submit_close(ring, socket);
}

/* ---- completions ----
 *
 * Each handler gets one completion and fills at most one event; true when it did.
 */

static bool event_fill(struct ring_event *event, struct ring_socket *socket, enum ring_op op, int32_t result) {
    *event = (struct ring_event){.handle = socket->handle, .socket = socket, .result = result, .op = (uint8_t)op};
    return true;
}

/* A request of a closing socket has ended. */
static bool closing_step(struct ring *ring, struct ring_socket *socket) {
    if (socket->in_flight == 0) submit_close(ring, socket);
    return false;
}

/* The receive or accept is not armed any more. */
static void receive_ended(struct ring_socket *socket) {
    socket->receive_state = RECEIVE_NONE;
    socket->in_flight--;
}

/* After each completion that may be the last one a pause waits for. Accepting pauses without an event. */
static bool pause_step(struct ring_socket *socket, struct ring_event *event) {
    if (!socket->pausing || socket->receive_state != RECEIVE_NONE || socket->receive_cancels != 0) return false;
    socket->pausing = false;
    if (socket->receive_mode == RECEIVE_ACCEPT) return false;
    return event_fill(event, socket, RING_RECEIVE_PAUSED, 0);
}

static bool on_accepted(struct ring *ring, struct ring_socket *socket, const struct io_uring_cqe *cqe,
                        struct ring_event *event) {
    if (!(cqe->flags & IORING_CQE_F_MORE)) receive_ended(socket);
    if (socket->close_state != 0) {
        if (cqe->res >= 0) close(cqe->res);
        return closing_step(ring, socket);
    }
    // A pause ends it with an error of its own, which is nobody's business; connections are reported all the same.
    if (socket->pausing && cqe->res < 0) return pause_step(socket, event);
    if (socket->receive_state == RECEIVE_NONE) {
        if (!socket->pausing) submit_armed(ring, socket);
        else (void)pause_step(socket, event);  // never an event for an accept
    }
    event_fill(event, socket, RING_ACCEPTED, cqe->res);
    event->more = socket->receive_state != RECEIVE_NONE;
    return true;
}

/* After a completion with bytes, or with a datagram. */
static void receive_goes_on(struct ring *ring, struct ring_socket *socket) {
    if (socket->receive_state != RECEIVE_NONE) return;
    // Without multishot, or when the kernel has ended one for reasons of its own: MANY means until told.
    if (socket->receive_mode != RING_RECEIVE_ONCE && !socket->pausing) submit_armed(ring, socket);
    // This completion is spoken for by the bytes, the pause needs another one.
    if (socket->pausing && socket->receive_cancels == 0) submit_cancel_receive(ring, socket);
}

static bool on_bytes(struct ring *ring, struct ring_socket *socket, const struct io_uring_cqe *cqe,
                     struct ring_event *event) {
    unsigned idx = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    receive_goes_on(ring, socket);
    event_fill(event, socket, RING_RECEIVED, cqe->res);
    event->bytes = buffer_at(ring, idx);
    event->buffer_idx = (uint16_t)idx;
    event->more = socket->receive_state != RECEIVE_NONE;
    asan_unpoison(event->bytes, (size_t)cqe->res);
    return true;
}

/* The receive ended without bytes: end of stream, error, or nothing but a change of plan. */
static bool on_no_bytes(struct ring *ring, struct ring_socket *socket, int32_t result, struct ring_event *event) {
    if (result != -ENOBUFS && result != -EINTR && result != -ECANCELED) {
        if (socket->pausing && socket->receive_cancels == 0) submit_cancel_receive(ring, socket);
        return event_fill(event, socket, RING_RECEIVED, result);
    }
    if (socket->pausing) return pause_step(socket, event);
    if (result == -ENOBUFS) {
        park(ring, socket);
        return false;
    }
    if (result == -EINTR) {
        submit_armed(ring, socket);
        return false;
    }
    return event_fill(event, socket, RING_RECEIVED, result);
}

/* A buffer that a multishot receive has filled: its own header, name, control data, bytes. */
static const uint8_t *datagram_in_buffer(struct ring *ring, unsigned idx, size_t size_all, size_t *size) {
    uint8_t *at = buffer_at(ring, idx);
    CHECK(size_all >= RING_DATAGRAM_OVERHEAD && size_all <= ring->buffer_size);
    asan_unpoison(at, size_all);
    struct io_uring_recvmsg_out out;
    memcpy(&out, at, sizeof(out));
    struct msghdr header = {.msg_name = at + sizeof(out),
                            .msg_namelen = min_of(out.namelen, (uint32_t)RING_NAME_SIZE),
                            .msg_control = at + sizeof(out) + RING_NAME_SIZE,
                            .msg_controllen = min_of(out.controllen, (uint32_t)RING_CONTROL_SIZE),
                            .msg_flags = (int)out.flags};
    ring_message_read(&header, &ring->arrivals[idx]);
    *size = size_all - RING_DATAGRAM_OVERHEAD;
    return at + RING_DATAGRAM_OVERHEAD;
}

/* The arrival is noted before the next receive may overwrite the message. */
static const uint8_t *datagram_take(struct ring *ring, struct ring_socket *socket, const struct io_uring_cqe *cqe,
                                    size_t *size) {
    unsigned idx = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    *size = (size_t)cqe->res;
    if ((cqe->flags & IORING_CQE_F_BUFFER) == 0) return NULL;  // single-shot kernels take none for nothing
    if (ring->features & RING_MULTISHOT_RECEIVE) return datagram_in_buffer(ring, idx, *size, size);
    ring_message_read(&datagram_socket_of(socket)->received.header, &ring->arrivals[idx]);
    asan_unpoison(buffer_at(ring, idx), *size);
    return buffer_at(ring, idx);
}

static bool on_datagram(struct ring *ring, struct ring_socket *socket, const struct io_uring_cqe *cqe,
                        struct ring_event *event) {
    unsigned idx = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    size_t size;
    const uint8_t *bytes = datagram_take(ring, socket, cqe, &size);
    datagram_socket_of(socket)->is_starved = false;
    receive_goes_on(ring, socket);
    CHECK(bytes != NULL || size == 0);
    event_fill(event, socket, RING_RECEIVED, (int32_t)size);
    event->more = socket->receive_state != RECEIVE_NONE;
    if (size > 0) {
        event->bytes = bytes;
        event->buffer_idx = (uint16_t)idx;
    } else if (bytes != NULL) {
        buffer_return(ring, idx);
    }
    return true;
}

static bool on_received(struct ring *ring, struct ring_socket *socket, const struct io_uring_cqe *cqe,
                        struct ring_event *event) {
    bool has_buffer = (cqe->flags & IORING_CQE_F_BUFFER) != 0;
    bool is_datagram = socket->receive_mode == RECEIVE_DATAGRAMS && cqe->res >= 0;
    bool has_bytes = has_buffer && (cqe->res > 0 || is_datagram);
    unsigned idx = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    if (has_buffer) buffer_taken(ring, idx);
    // Some kernels hand out a buffer for the end of the stream as well.
    if (has_buffer && (!has_bytes || socket->close_state != 0)) buffer_return(ring, idx);
    bool is_armed = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (!is_armed) receive_ended(socket);
    if (socket->close_state != 0) return closing_step(ring, socket);
    if (is_datagram) return on_datagram(ring, socket, cqe, event);
    if (has_bytes) return on_bytes(ring, socket, cqe, event);
    CHECK(!is_armed && cqe->res <= 0);  // the kernel keeps nothing armed past an end or error, nor uses memory not ours
    return on_no_bytes(ring, socket, cqe->res, event);
}

static bool on_datagram_sent(struct ring *ring, struct ring_datagram *datagram, int32_t result,
                             struct ring_event *event) {
    struct ring_datagram_socket *socket = datagram->in_flight_on;
    datagram->in_flight_on = NULL;
    socket->sends_in_flight--;
    socket->socket.in_flight--;
    socket->socket.sending = socket->sends_in_flight > 0;
    if (socket->socket.close_state != 0) return closing_step(ring, &socket->socket);
    event_fill(event, &socket->socket, RING_DATAGRAM_SENT, result);
    event->datagram = datagram;
    return true;
}

static bool on_sent(struct ring *ring, struct ring_socket *socket, int32_t result, struct ring_event *event) {
    socket->sending = false;
    socket->in_flight--;
    if (socket->close_state != 0) return closing_step(ring, socket);
    return event_fill(event, socket, RING_SENT, result);
}

/* A cancel that found nothing to cancel though the request has not ended must have crossed with it inside the kernel:
 * ask again, else a close or pause could wait for ever. */
static bool on_cancelled_receive(struct ring *ring, struct ring_socket *socket, int32_t result,
                                 struct ring_event *event) {
    socket->receive_cancels--;
    socket->in_flight--;
    bool is_wanted = socket->close_state != 0 || socket->pausing;
    if (result < 0 && is_wanted && socket->receive_state == RECEIVE_ARMED) submit_cancel_receive(ring, socket);
    if (socket->close_state != 0) return closing_step(ring, socket);
    return pause_step(socket, event);
}

static bool on_cancelled_send(struct ring *ring, struct ring_socket *socket, int32_t result) {
    socket->in_flight--;
    bool has_missed = result < 0 || socket->receive_mode == RECEIVE_DATAGRAMS;  // there the result is how many were hit
    if (has_missed && socket->sending) submit_cancel_send(ring, socket);
    return closing_step(ring, socket);
}

static bool on_closed(struct ring_socket *socket, int32_t result, struct ring_event *event) {
    // EBADF would mean that somebody else has closed our fd, and perhaps that we have just closed another's.
    CHECK(result == 0);
    socket->in_flight--;
    CHECK(socket->in_flight == 0);
    socket->fd = -1;
    socket->close_state = 0;
    return event_fill(event, socket, RING_CLOSED, 0);
}

static void post_wake(struct ring *self, const struct ring *other) {
    struct io_uring_sqe *sqe = ring_sqe(self, other, TAG_WAKE);
    sqe->opcode = IORING_OP_MSG_RING;
    sqe->fd = other->uring.ring_fd;
    sqe->off = TAG_WAKE;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

/* Only failures get here. For want of memory the kernel may pass next time, and the sleeper is still asleep. Otherwise
 * (EOVERFLOW: its completion queue is full) it is awake or about to be. */
static void on_wake_failed(struct ring *ring, const struct ring *other, int32_t result) {
    stat_add(&ring->figures.wakes_failed, 1);
    if (result == -ENOMEM || result == -EAGAIN) post_wake(ring, other);
}

static bool on_completion(struct ring *ring, const struct io_uring_cqe *cqe, struct ring_event *event) {
    void *object = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
    switch ((enum ring_tag)(cqe->user_data & TAG_MASK)) {
        case TAG_RECEIVE: return on_received(ring, object, cqe, event);
        case TAG_ACCEPT: return on_accepted(ring, object, cqe, event);
        case TAG_SEND: return on_sent(ring, object, cqe->res, event);
        case TAG_CANCEL_RECEIVE: return on_cancelled_receive(ring, object, cqe->res, event);
        case TAG_CANCEL_SEND: return on_cancelled_send(ring, object, cqe->res);
        case TAG_CLOSE: return on_closed(object, cqe->res, event);
        case TAG_WAKE:
            if (object != NULL) on_wake_failed(ring, object, cqe->res);
            return false;
        case TAG_DATAGRAM: return on_datagram_sent(ring, object, cqe->res, event);
    }
    return false;
}

/* ---- collecting ---- */

static size_t collect(struct ring *ring, struct ring_event *events, size_t count_max) {
    struct io_uring_cq *cq = &ring->uring.cq;
    unsigned first = *cq->khead, head = first, tail = io_uring_smp_load_acquire(cq->ktail);
    size_t count = 0;
    while (head != tail && count < count_max) {
        // A copy: handling may enter the kernel when the submission queue is full.
        const struct io_uring_cqe cqe = {
            .user_data = cq->cqes[head & cq->ring_mask].user_data,
            .res = cq->cqes[head & cq->ring_mask].res,
            .flags = cq->cqes[head & cq->ring_mask].flags,
        };
        head++;
        if (on_completion(ring, &cqe, &events[count])) count++;
    }
    if (head != first) {
        io_uring_smp_store_release(cq->khead, head);
        stat_add(&ring->figures.completions, head - first);
    }
    return count;
}

size_t ring_reap(struct ring *ring, struct ring_event *events, size_t count_max) {
    resume_parked(ring);
    ring_push(ring);
    size_t count = collect(ring, events, count_max);
    // The queue has room again: fetch what it could not hold.
    while (unlikely(count < count_max && (ring_kernel_flags(ring) & IORING_SQ_CQ_OVERFLOW) != 0)) {
        ring_push(ring);
        if (ring_ready(ring) == 0) break;
        count += collect(ring, events + count, count_max - count);
    }
    return count;
}

size_t ring_flush(struct ring *ring, struct ring_event *events, size_t count_max) {
    ring_submit(ring);
    return collect(ring, events, count_max);
}

/* ---- sleeping and waking ---- */

/* What stands between "I published" and "does it sleep?", and its mirror image in ring_doze. A fence leaves the flag's
 * line shared between wakers. Thread sanitizer does not see fences: for it, both sides modify the flag. */
static bool is_asleep(struct ring *ring) {
#ifdef RING_UNDER_TSAN
    return atomic_fetch_or_explicit(&ring->sleeping, 0, memory_order_seq_cst) != 0;
#else
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&ring->sleeping, memory_order_relaxed) != 0;
#endif
}

void ring_doze(struct ring *ring) {
    ring->dozing = true;
    atomic_exchange_explicit(&ring->sleeping, 1, memory_order_seq_cst);
#ifndef RING_UNDER_TSAN
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* More sockets may be parked than buffers are free, and those armed for them may have had nothing to read: their
 * buffers are still there for the next in line, which must not be slept over. Each turn shortens the list. */
static void resume_all_parked(struct ring *ring) {
    resume_parked(ring);
    while (unlikely(ring->parked_first != NULL && ring->buffers_free > 0 && ring_ready(ring) == 0)) {
        ring_push(ring);
        resume_parked(ring);
    }
}

void ring_wait(struct ring *ring, uint64_t timeout_ns) {
    bool is_woken = ring->dozing && atomic_load_explicit(&ring->sleeping, memory_order_acquire) == 0;
    resume_all_parked(ring);
    if (timeout_ns == 0 || is_woken || ring_ready(ring) != 0) {
        ring_push(ring);
    } else {
        struct __kernel_timespec timeout = {
            .tv_sec = (long long)(timeout_ns / NS_PER_S),
            .tv_nsec = (long long)(timeout_ns % NS_PER_S),
        };
        ring_push_and_wait(ring, timeout_ns >= TIMEOUT_ENDLESS_NS ? NULL : &timeout);
    }
    ring->dozing = false;
    // Unconditional stores would take the line from the wakers each time; a waker that lowered it has sent a message.
    if (atomic_load_explicit(&ring->sleeping, memory_order_relaxed) != 0)
        atomic_store_explicit(&ring->sleeping, 0, memory_order_release);
}

void ring_wake(struct ring *self, struct ring *other) {
    if (!is_asleep(other) || atomic_exchange_explicit(&other->sleeping, 0, memory_order_acq_rel) == 0) {
        stat_add(&self->figures.wakes_spared, 1);
        return;
    }
    // A thread that names itself is awake: its next ring_wait sees the flag down and does not sleep.
    if (self == other) return;
    post_wake(self, other);
    stat_add(&self->figures.wakes_sent, 1);
    ring_submit(self);  // at once: this thread may have work for long, and the other's latency is a packet's
}

/* ---- figures ---- */

void ring_figures_read(const struct ring *ring, struct ring_figures *figures) {
    *figures = (struct ring_figures){
        .enters = stat_get(&ring->figures.enters),
        .submissions = stat_get(&ring->figures.submissions),
        .completions = stat_get(&ring->figures.completions),
        .receive_parked = stat_get(&ring->figures.receive_parked),
        .queue_full = stat_get(&ring->figures.queue_full),
        .overflows = stat_get(&ring->figures.overflows),
        .wakes_sent = stat_get(&ring->figures.wakes_sent),
        .wakes_spared = stat_get(&ring->figures.wakes_spared),
        .wakes_failed = stat_get(&ring->figures.wakes_failed),
    };
}
