/* ring.h - the submission/completion engine: the one door between a thread and the kernel.
 *
 * What it is. A ring belongs to one thread. The thread asks for accepts, receives and sends on sockets, and once per
 * loop pass collects what has happened since as an array of small `struct ring_event`. There are no callbacks.
 *
 * What it hides: io_uring setup flags and the ladder of fallbacks for older kernels, registered receive buffers,
 * multishot operations and their re-arming, running out of receive buffers (the socket is parked and resumed, in the
 * order of parking, when buffers are back), a full submission queue, completion queue overflow, cancelling,
 * waking a sleeping thread. What it does not hide: a short send. The owner keeps its offset and sends the rest, because
 * only the owner can tell progress from a stall.
 *
 * Features are probed when the ring is opened, never derived from a version string. Each can be masked off, so that
 * the path of the oldest supported kernel is tested on the newest (`enum ring_feature`).
 *
 * Sockets. The ring's view of a socket is a `struct ring_socket`, embedded in the owner's own connection object. The
 * ring finds the object of a completion through it, so it must not move or be reused while anything is in flight; that
 * is what `ring_socket_is_idle` answers and what ring_close_socket ends. Life of one:
 *
 *          ring_socket_init                 ring_close_socket                     event RING_CLOSED
 *     (none) ---------------> idle <-> busy -----------------> closing ------------------------------> (none)
 *                               |                              nothing but RING_CLOSED is reported any more;
 *                               | ring_socket_detach           the fd is closed, the object is the owner's again
 *                               v
 *                            (none), the fd lives on and is the caller's
 *
 * Limits per socket: one receive (or accept) and one send in flight; both are CHECKed. A datagram socket may have any
 * number of sends in flight, each with an object of its own (see "datagrams").
 *
 * Memory. All of it is allocated by ring_open and has a size known before (ring_footprint). Received bytes lie in the
 * ring's registered buffers: they are the owner's from the event until ring_give_back, which must happen for every
 * RING_RECEIVED event that has bytes, normally in the same pass: an unreturned buffer stalls other sockets.
 * Memory given to ring_send stays the caller's, unchanged, until RING_SENT or RING_CLOSED.
 *
 * Threads. thread-local, but for the target of ring_wake and for ring_figures_read. A ring is opened by any thread and
 * then belongs to the one that calls ring_enable. Only our own opcodes are allowed on it from then on
 * (IORING_REGISTER_RESTRICTIONS).
 *
 * Sleeping and waking. A thread that found nothing to do calls ring_doze; other threads that have mail for it call
 * ring_wake on its ring, which costs a message only when the thread really sleeps (an atomic flag, sequentially
 * consistent, re-checked). The order that makes it safe:
 *     sleeper: ring_doze (flag up) -> look into every lane once more -> ring_wait -> flag down (ring_wait does it)
 *     waker:   publish the mail -> ring_wake (fence, flag up? post)
 *
 * Errors. ring_open returns a negative errno and, in `why`, a sentence for the operator with cause and remedy.
 * Operations on sockets cannot fail at the call; their errors arrive as events with a negative errno as result.
 *
 * The simulator implements this same header on virtual time (tests/sim/ring_sim.c).
 */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/base.h"
#include "core/sys.h"

struct ring;

/* What newer kernels offer, each with a working alternative. The bit is set when in use. */
enum ring_feature {
    RING_MULTISHOT_ACCEPT = 1 << 0,  // 5.19; else one accept at a time, re-armed
    RING_COOP_TASKRUN = 1 << 1,      // 5.19; else interrupts
    RING_SINGLE_ISSUER = 1 << 2,     // 6.0
    RING_MULTISHOT_RECEIVE = 1 << 3, // 6.0; else one receive at a time from the same registered buffers; both kinds
    RING_DEFER_TASKRUN = 1 << 4,     // 6.1; else COOP_TASKRUN
    RING_RESTRICTIONS = 1 << 5,      // 5.10; may be refused by a hardened kernel
};
#define RING_FEATURES_ALL 0x3fu

/* What a kernel of that version offers, for masks: "5.19", "6.0", "6.1"; other texts give false. */
must_use bool ring_features_of_kernel(const char *version, unsigned *features);

/* A feature by its name in flags and logs ("multishot-receive"); 0 when unknown. */
unsigned ring_feature_by_name(const char *name, size_t size);

/* "multishot-accept coop-taskrun …", into `text` (at least RING_FEATURES_TEXT_MAX bytes). Returns `text`. */
#define RING_FEATURES_TEXT_MAX 160
const char *ring_features_text(unsigned features, char *text);

struct ring_options {
    unsigned features_allowed;     // mask of enum ring_feature; RING_FEATURES_ALL normally
    unsigned submissions_max;      // SQ entries, a power of two
    unsigned completions_max;      // CQ entries, a power of two: 2 for each socket plus the posts of other rings
    unsigned receive_buffers;      // count, a power of two, at most 32768; 0 for a ring that never receives
    unsigned receive_buffer_size;  // bytes each
};

#define RING_WHY_MAX 512

/* Opens a ring. On success *ret is set, 0 is returned. On failure *ret is untouched, a negative errno is returned and
 * `why` (RING_WHY_MAX bytes) holds a sentence: what was refused, the likely cause (seccomp profile of a container,
 * sysctl kernel.io_uring_disabled, a kernel before 5.19, RLIMIT_MEMLOCK) and what to do. */
must_use int ring_open(struct ring **ret, const struct ring_options *options, char *why);

/* Releases everything; NULL is fine. Sockets that are still open are the caller's problem: close them before. */
void ring_close(struct ring *ring);

/* To be called once by the thread that will use the ring, before any other verb below. Negative errno on failure. */
must_use int ring_enable(struct ring *ring);

/* Bytes of memory a ring with these options takes, queues and buffers together: for the budget. */
size_t ring_footprint(const struct ring_options *options);

unsigned ring_features(const struct ring *ring);

/* ---- sockets ---- */

struct ring_socket {
    uint64_t handle;  // the owner's name for it, reported with every event; may be changed while idle
    int fd;           // -1 when there is none
    uint16_t in_flight;
    uint8_t close_state;    // private to the ring, as are all fields below
    uint8_t receive_state;  // of the receive or accept
    uint8_t receive_mode;
    uint8_t receive_cancels;
    bool pausing;
    bool sending;
    uint32_t receive_size_max;
    struct ring_socket *parked_next;
    struct ring_socket *parked_prev;
};

/* Takes over `fd` (a TCP socket, listening or connected). No system call. The fd must not have O_NONBLOCK set: the
 * kernel would then answer every request that has to wait with -EAGAIN instead of waiting. */
void ring_socket_init(struct ring_socket *socket, int fd, uint64_t handle);

/* Nothing in flight and not closing: may be detached, and the object may be freed after ring_socket_detach. */
static inline bool ring_socket_is_idle(const struct ring_socket *socket) {
    return socket->in_flight == 0 && socket->close_state == 0;
}

/* The socket leaves this ring alive, for another thread's: returns the fd and sets socket->fd to -1. Must be idle. */
must_use int ring_socket_detach(struct ring_socket *socket);

/* The system calls on a connected fd that are made outside the queues; here, because the simulator's sockets are
 * not the kernel's. */

/* The other side's address. Negative errno on failure (the connection is gone already). */
must_use int ring_peer_address(int fd, struct net_address *ret);

/* Bytes that were sent on a connected fd and that the other side has not acknowledged. Negative errno on failure. */
must_use int64_t ring_unacknowledged(int fd);

/* The kernel's smoothed round-trip time. Negative errno on failure. */
must_use int ring_tcp_rtt(int fd, uint32_t *ret_us);

/* Closes an fd that has no ring_socket. */
void ring_close_fd(struct ring *ring, int fd);

/* ---- asking ---- */

/* Accept connections until the socket is closed. Each gives RING_ACCEPTED with the new fd (non-blocking flags: none,
 * close-on-exec set). An error such as EMFILE is reported as a RING_ACCEPTED event with a negative result, and
 * accepting goes on by itself after the event; the owner may call ring_accept_pause when it wants none for a while. */
void ring_accept(struct ring *ring, struct ring_socket *socket);

/* Stops accepting; no further RING_ACCEPTED after those already reaped, except connections that the kernel had accepted
 * already. ring_accept starts again once ring_socket_is_idle. */
void ring_accept_pause(struct ring *ring, struct ring_socket *socket);

enum ring_receive_mode {
    RING_RECEIVE_ONCE,  // one RING_RECEIVED with at most size_max bytes, then ask again
    RING_RECEIVE_MANY,  // RING_RECEIVED again and again until ring_receive_pause, end of stream, error or close
};

/* Asks for received bytes. `size_max` bounds one event in ONCE mode (0: a whole buffer); MANY ignores it.
 * No receive may be asked for already. Running out of buffers is not an event: the ring waits for them. */
void ring_receive(struct ring *ring, struct ring_socket *socket, enum ring_receive_mode mode, uint32_t size_max);

/* Ends a receive. Exactly one RING_RECEIVE_PAUSED follows, when nothing more will come (bytes already received, and an
 * end of stream or error that crossed with the call, come before it), unless the socket is closed first. It follows
 * also when no receive was under way any more. No effect on a closing socket, nor while pausing. Until the event no
 * receive may be asked for. */
void ring_receive_pause(struct ring *ring, struct ring_socket *socket);

/* Sends `size` > 0 bytes; RING_SENT reports how many the kernel took (maybe fewer: ask again for the rest) or an
 * error. No MSG_WAITALL: a stall is seen at once. */
void ring_send(struct ring *ring, struct ring_socket *socket, const void *bytes, size_t size);

/* Closes: cancels what is in flight, discards its results, closes the fd and then reports RING_CLOSED, once, always in
 * a later ring_reap. After the call nothing but RING_CLOSED is reported for the socket. Calling it again is fine.
 * With `reset` the peer gets a TCP reset instead of a FIN (unsent data is thrown away). */
void ring_close_socket(struct ring *ring, struct ring_socket *socket, bool reset);

/* At most so many of the receive buffers lie with the kernel from here on (1 to all of them; all at first). The kernel
 * fills what it has in a circle, so what lies with it is what the caches have to hold: for large amounts at a time few
 * are best, for many small ones all. Others wait here, and the last to come back is the first to be offered again. */
void ring_offer_buffers(struct ring *ring, unsigned count);

/* ---- datagrams ----
 *
 * A UDP socket, made by sys_listen_udp: it is asked for the local address of each datagram. It is closed with
 * ring_close_socket and paused with ring_receive_pause on its `socket`, which all its events name; the other asking
 * verbs are not for it.
 *
 * Received datagrams come as RING_RECEIVED, in buffers that are given back like those of streams; who sent one, and to
 * which address of this host, tells ring_arrival. A datagram without bytes is reported with result 0 and has no buffer.
 * What does not fit (RING_DATAGRAM_OVERHEAD bytes of a buffer may be the kernel's) is cut off and marked. An error
 * ends the receive: ask again, but not at once, it may be there for longer.
 *
 * Sending. One send is a `struct ring_datagram` of the caller's, many may be in flight. It and the bytes it names stay
 * unchanged and in place until RING_DATAGRAM_SENT names it, or RING_CLOSED the socket. Sends that are `is_immediate`
 * are taken by the kernel in the order in which they were asked for, or refused (-EAGAIN); of others, one that finds
 * the socket's buffer full waits, and later ones may overtake it.
 * An answer leaves from the address that was asked when it is sent along the path that the question came by.
 *
 * Runs: several datagrams along one path as one, all of `segment_size` bytes but the last, which may be shorter.
 * A socket that was opened for it (sys.h, has_runs) receives such runs; any sends them, at most RING_SEGMENTS_MAX
 * datagrams of together at most RING_RUN_SIZE_MAX bytes (RING_RUN_SIZE_MAX_IPV4 to IPv4). A kernel or device may
 * refuse to send one: -EIO (it never can), -EINVAL or -EMSGSIZE (not this one); then nothing of it was sent.
 *
 * Fairness: of several datagram sockets that wait for buffers, those that got none since they were armed go first. */

/* Where a datagram comes from or goes to, seen from here. */
struct ring_path {
    struct net_address remote;
    uint8_t local_ip[16];  // v4-mapped as in net_address; our side
    bool has_local;  // false: the kernel chooses, or did not say
    uint32_t interface;  // by which it came; used for link-local addresses alone, which mean nothing without it
};

struct ring_arrival {
    struct ring_path path;
    uint16_t segment_size;  // of a run; 0: it is one datagram
    bool is_cut;  // the datagram was longer
};

enum {
    RING_CONTROL_SIZE = 64,  // packet info of IPv6 (40) and a segment size (24)
    RING_NAME_SIZE = 32,  // a socket address of IPv6 (28), rounded up
    RING_DATAGRAM_OVERHEAD = 16 + RING_NAME_SIZE + RING_CONTROL_SIZE,
    RING_SEGMENTS_MAX = 64,
    RING_RUN_SIZE_MAX = 65527,
    RING_RUN_SIZE_MAX_IPV4 = 65507,
};

/* What the kernel reads or writes about a datagram beside its bytes. Private to the ring. */
struct ring_message {
    struct msghdr header;
    struct iovec bytes;
    _Alignas(8) uint8_t name[RING_NAME_SIZE];
    _Alignas(8) uint8_t control[RING_CONTROL_SIZE];
};

struct ring_datagram_socket {
    struct ring_socket socket;
    uint32_t sends_in_flight;  // private, as all below
    bool is_ipv4;  // not of the dual-stack kind
    bool is_starved;  // armed, and nothing received since
    struct ring_message received;
};

struct ring_datagram {
    const void *bytes;
    size_t size;
    struct iovec *parts;  // not NULL: these, one behind the other, instead of `bytes` and `size`
    uint32_t parts_count;
    struct ring_path path;
    uint16_t segment_size;  // 0: all of it is one datagram
    bool is_immediate;
    struct ring_datagram_socket *in_flight_on;  // NULL: the caller's; private, as all below
    struct ring_message message;
};

/* Takes over a bound UDP socket `fd`. The object must not move until RING_CLOSED, as a ring_socket. */
void ring_datagram_socket_init(struct ring_datagram_socket *socket, int fd, uint64_t handle);

/* Asks for datagrams, again and again until ring_receive_pause, an error or close. Running out of buffers is no event.
 * The ring's buffers have to be larger than RING_DATAGRAM_OVERHEAD, and multiples of 8 bytes. */
void ring_receive_datagrams(struct ring *ring, struct ring_datagram_socket *socket);

/* Sends `datagram` by the socket: what stands above `in_flight_on`; the rest is zero at its first use. */
void ring_send_datagram(struct ring *ring, struct ring_datagram_socket *socket, struct ring_datagram *datagram);

/* ---- collecting ---- */

enum ring_op {
    RING_ACCEPTED,  // on the listening socket; result: new fd or -errno
    RING_RECEIVED,  // result: bytes > 0, 0 at end of stream, or -errno; the last two end the receive. Datagrams: above
    RING_RECEIVE_PAUSED,  // after ring_receive_pause
    RING_SENT,  // result: bytes the kernel took, or -errno
    RING_CLOSED,  // after ring_close_socket: the object is the owner's again
    RING_DATAGRAM_SENT,  // result: bytes the kernel took (all of them), or -errno; `datagram` is the owner's again
};

struct ring_event {
    uint64_t handle;  // of the socket
    struct ring_socket *socket;
    union {
        const uint8_t *bytes;  // RING_RECEIVED with result > 0
        struct ring_datagram *datagram;  // RING_DATAGRAM_SENT
    };
    int32_t result;
    uint16_t buffer_idx;  // for ring_give_back
    uint8_t op;  // enum ring_op
    bool more;  // RING_RECEIVED, RING_ACCEPTED: the operation is still armed
};

/* Collects up to `count_max` events without waiting; submits what was asked for before. An event for a socket that was
 * closed by the handling of an earlier event of the same batch is still in the array: the owner must skip events whose
 * socket `ring_socket_is_closing` (returning their bytes with ring_give_back all the same). */
size_t ring_reap(struct ring *ring, struct ring_event *events, size_t count_max);

/* Submits what was asked for before and collects what there is then. Unlike ring_reap it arms nothing and looks for
 * nothing: after immediate sends these are their ends, and receives that wait for buffers find those of the sends. */
size_t ring_flush(struct ring *ring, struct ring_event *events, size_t count_max);

static inline bool ring_socket_is_closing(const struct ring_socket *socket) { return socket->close_state != 0; }

/* Of a RING_RECEIVED event with bytes on a datagram socket. Valid until its buffer is given back. */
const struct ring_arrival *ring_arrival(const struct ring *ring, const struct ring_event *event);

/* Returns the buffer of a RING_RECEIVED event with bytes. */
void ring_give_back(struct ring *ring, const struct ring_event *event);

/* ---- sleeping and waking ---- */

/* Submits what was asked for, and sleeps for `ns` (less than a second) whatever arrives meanwhile: it is there to be
 * reaped afterwards, all at once. Ends early on kernels without RING_DEFER_TASKRUN, where arrivals interrupt. Others'
 * mail waits, too: not between ring_doze and ring_wait. */
void ring_rest(struct ring *ring, uint64_t ns);

/* Announces the wish to sleep. From here on ring_wake by others is not lost. */
void ring_doze(struct ring *ring);

/* Submits, then waits until there is something to reap, a wake-up, or `timeout_ns` have passed (0: does not wait;
 * TIME_NEVER: no limit). Lowers the flag that ring_doze raised. Interrupted waits return early: just loop. */
void ring_wait(struct ring *ring, uint64_t timeout_ns);

/* Called by the thread of `self` after it published something for the thread of `other`: wakes it if it sleeps. */
void ring_wake(struct ring *self, struct ring *other);

/* ---- figures ---- */

struct ring_figures {
    uint64_t enters;  // system calls
    uint64_t submissions;
    uint64_t completions;
    uint64_t receive_parked;  // times a socket waited for a receive buffer
    uint64_t queue_full;  // submissions that had to enter the kernel early
    uint64_t overflows;  // completions that came with those of the kernel's overflow list
    uint64_t wakes_sent;
    uint64_t wakes_spared;  // the other thread was awake
    uint64_t wakes_failed;  // the kernel refused the message; sent again when only memory was short
};

/* Safe to read from other threads: relaxed atomics underneath. */
void ring_figures_read(const struct ring *ring, struct ring_figures *figures);
