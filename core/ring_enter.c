/* ring_enter.c - the way into the kernel: the submission queue, the one system call, and its errors.
 *
 * why: liburing's own submit-and-wait is not used. Some versions that distributions ship start the whole timeout again
 * when a wait that also submitted runs out, and none tells how many system calls it made.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "core/ring_internal.h"

/* Makes queued entries visible to the kernel. Returns how many it has not consumed yet. */
static unsigned queue_publish(struct ring *ring) {
    struct io_uring_sq *sq = &ring->uring.sq;
    if (sq->sqe_head != sq->sqe_tail) {
        sq->sqe_head = sq->sqe_tail;
        io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    }
    return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

/* Errors of io_uring_enter that are part of life: the caller comes round again, nothing is lost.
 *   EINTR   a signal came while waiting
 *   ETIME   the wait ran out
 *   EBUSY   the completion queue is full, and the overflow list not empty: collect first
 *   EAGAIN, ENOMEM   no memory for requests just now; entries stay queued
 * All others are bugs: EBADF, EBADFD (not a ring, not enabled), EINVAL, EFAULT, EOPNOTSUPP, ENXIO (malformed call),
 * EEXIST (not the thread that enabled the ring) - or a broken promise: EBADR says that the kernel has dropped a
 * completion for want of memory, so that some socket would wait for it for ever. */
static bool error_is_passing(int error) {
    return error == -EINTR || error == -ETIME || error == -EBUSY || error == -EAGAIN || error == -ENOMEM;
}

static void enter(struct ring *ring, unsigned submit_count, unsigned wait_count, unsigned flags,
                  struct io_uring_getevents_arg *wait_arg) {
    bool is_overflown = (ring_kernel_flags(ring) & IORING_SQ_CQ_OVERFLOW) != 0;
    unsigned ready_before = ring_ready(ring);
    if (wait_arg != NULL) flags |= IORING_ENTER_EXT_ARG;
    int n = io_uring_enter2((unsigned)ring->uring.ring_fd, submit_count, wait_count, flags,
                            (sigset_t *)(void *)wait_arg, wait_arg != NULL ? sizeof(*wait_arg) : 0);
    stat_add(&ring->figures.enters, 1);
    if (n > 0) stat_add(&ring->figures.submissions, (uint64_t)n);
    CHECK(n >= 0 || error_is_passing(n));
    if (unlikely(is_overflown)) stat_add(&ring->figures.overflows, ring_ready(ring) - ready_before);
}

/* IORING_ENTER_GETEVENTS when entering is what makes completions appear: put-off work with DEFER_TASKRUN, the overflow
 * list. Elsewhere put-off work runs on the way out of any system call, but asking is what clears the flag for sure. */
static unsigned events_flag(const struct ring *ring) {
    bool is_due = (ring->features & RING_DEFER_TASKRUN) != 0 ||
                  (ring_kernel_flags(ring) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
    return is_due ? IORING_ENTER_GETEVENTS : 0;
}

struct io_uring_sqe *ring_sqe(struct ring *ring, const void *object, enum ring_tag tag) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    while (unlikely(sqe == NULL)) {
        stat_add(&ring->figures.queue_full, 1);
        ring_submit(ring);
        sqe = io_uring_get_sqe(&ring->uring);
        // The kernel took nothing: it has no memory at this moment. There is no way round it, others may free some.
        if (sqe == NULL) sched_yield();
    }
    memset(sqe, 0, sizeof(*sqe));
    sqe->user_data = (uint64_t)(uintptr_t)object | tag;
    return sqe;
}

void ring_submit(struct ring *ring) {
    unsigned count = queue_publish(ring);
    if (count != 0) enter(ring, count, 0, 0, NULL);
}

void ring_push(struct ring *ring) {
    unsigned count = queue_publish(ring);
    bool is_due = (ring_kernel_flags(ring) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
    if (count != 0 || is_due) enter(ring, count, 0, events_flag(ring), NULL);
}

void ring_push_and_wait(struct ring *ring, const struct __kernel_timespec *timeout) {
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)timeout};
    enter(ring, queue_publish(ring), 1, IORING_ENTER_GETEVENTS, timeout != NULL ? &arg : NULL);
}

/* Without IORING_ENTER_GETEVENTS, so that put-off receives stay put off and find more. */
void ring_rest(struct ring *ring, uint64_t ns) {
    const struct timespec rest = {.tv_nsec = (long)ns};
    ring_submit(ring);
    (void)nanosleep(&rest, NULL);  // why: a signal only makes it shorter
}
