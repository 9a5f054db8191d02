/* ring_internal.h - what the files of the ring share: ring_setup.c opens, ring_probe.c asks the kernel what it can,
 * ring.c asks and collects, ring_datagram.c translates between paths and the kernel's messages, ring_enter.c goes into
 * the kernel. Nobody else includes this.
 *
 * A request is told from the others by its user_data: the address of its ring_socket (of a ring_datagram, when it is
 * the send of one) with a tag in the low three bits, all eight of which are in use.
 * Counting rule, on which every lifetime here rests: in_flight of a socket counts each submitted request of it, cancels
 * included, until the last completion of that request, and a parked receive too. A close request is submitted only
 * when the count is zero, and RING_CLOSED is its completion.
 *
 * Sharing class: thread-local to the thread that enabled the ring, except `sleeping` and `figures` (published).
 */
#pragma once

#include <liburing.h>
#include <stdatomic.h>

#include "core/asan.h"
#include "core/check.h"
#include "core/ring.h"
#include "core/stat.h"

/* Missing in the headers of liburing 2.3; the values are the kernel's and cannot change. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif
#ifndef IORING_RECV_MULTISHOT
#define IORING_RECV_MULTISHOT (1U << 1)
#endif

enum ring_tag {
    TAG_RECEIVE,
    TAG_ACCEPT,
    TAG_SEND,
    TAG_CANCEL_RECEIVE,  // of a receive or an accept
    TAG_CANCEL_SEND,
    TAG_CLOSE,
    TAG_WAKE,  // no address: another ring woke this one; with one: this ring could not wake the one it names
    TAG_DATAGRAM,
};
#define TAG_MASK 7u

/* ring_socket.receive_state */
enum { RECEIVE_NONE, RECEIVE_ARMED, RECEIVE_PARKED };

/* ring_socket.receive_mode beside the two of enum ring_receive_mode */
enum { RECEIVE_ACCEPT = 2, RECEIVE_DATAGRAMS };  // the latter from ring_datagram_socket_init on, for good

/* ring_socket.close_state; zero is open. */
enum { CLOSE_CANCELLING = 1, CLOSE_SUBMITTED };

/* The one buffer group of a ring. */
#define RING_BUFFER_GROUP 0

struct ring_counters {
    struct stat_counter enters;
    struct stat_counter submissions;
    struct stat_counter completions;
    struct stat_counter receive_parked;
    struct stat_counter queue_full;
    struct stat_counter overflows;
    struct stat_counter wakes_sent;
    struct stat_counter wakes_spared;
    struct stat_counter wakes_failed;
};

struct ring {
    struct io_uring uring;
    unsigned features;  // enum ring_feature, in use
    bool dozing;        // ring_doze was called and ring_wait has not been since

    /* Receive buffers. `buffers_free` is what the kernel may still fill, as far as completions reaped so far tell. */
    unsigned buffers;
    unsigned buffers_free;
    size_t buffer_size;
    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffer_bytes;
    uint8_t *buffer_is_out;  // per buffer: with the owner, between its event and ring_give_back
    uint16_t *buffer_stack;  // those that are with nobody, the last to come back on top
    unsigned buffers_stacked;
    unsigned buffers_offered_max;
    struct ring_arrival *arrivals;  // per buffer: of the datagram that lies in it

    /* Receives that found no buffer, first come first served. */
    struct ring_socket *parked_first;
    struct ring_socket *parked_last;

    void *memory;  // of the four buffer arrays
    size_t memory_size;

    cache_aligned struct ring_counters figures;  // published: written here, read by whoever exports figures
    cache_aligned _Atomic uint32_t sleeping;  // published: raised by ring_doze, lowered by the first waker
};

static inline unsigned ring_kernel_flags(const struct ring *ring) { return IO_URING_READ_ONCE(*ring->uring.sq.kflags); }

/* Completions that can be taken without entering the kernel. */
static inline unsigned ring_ready(const struct ring *ring) {
    return io_uring_smp_load_acquire(ring->uring.cq.ktail) - *ring->uring.cq.khead;
}

/* ---- ring_enter.c ---- */

/* A free submission entry, user_data set. Enters the kernel when the queue is full. Never NULL. */
struct io_uring_sqe *ring_sqe(struct ring *ring, const void *object, enum ring_tag tag);

/* Submits what is queued, without waiting. */
void ring_submit(struct ring *ring);

/* Submits what is queued, runs what the kernel has put off, fetches completions from its overflow list. Makes no
 * system call when there is none of it. */
void ring_push(struct ring *ring);

/* As ring_push, then waits for a completion. `timeout` may be NULL. */
void ring_push_and_wait(struct ring *ring, const struct __kernel_timespec *timeout);

/* ---- ring_datagram.c ---- */

/* What a multishot receive of datagrams asks for: as much room for name and control data as a ring_message has. */
extern const struct msghdr ring_message_template;

/* An empty message for a single-shot receive. */
void ring_message_reset(struct ring_message *message);

/* Name, control data and flags that came with a datagram, into *arrival. */
void ring_message_read(const struct msghdr *header, struct ring_arrival *arrival);

/* From bytes and path to the message that the kernel is given. */
void ring_message_write(struct ring_datagram *datagram, bool is_ipv4);

/* ---- ring_probe.c ---- */

/* Which of the `wanted` multishot features work, found by using them once on a ring of its own. */
must_use unsigned ring_probe_multishot(unsigned wanted);
