/* ring_probe.c - does this kernel do multishot accept and multishot receive?
 *
 * No feature bit says so, therefore each is used once, on a throw-away ring and local sockets that need no network and
 * no file. Whatever goes wrong counts as "no": the alternative always works.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/ring_internal.h"

#define PROBE_TIMEOUT_S 2

/* A multishot request that works completes with success and says that it stays armed. */
static bool completes_and_stays(struct io_uring *uring) {
    struct io_uring_cqe *cqe = NULL;
    struct __kernel_timespec timeout = {.tv_sec = PROBE_TIMEOUT_S};
    if (io_uring_submit(uring) != 1) return false;
    // The completion is there already, or a moment later; the timeout is for a kernel that does neither yes nor no.
    if (io_uring_wait_cqe_timeout(uring, &cqe, &timeout) != 0) return false;
    bool yes = cqe->res >= 0 && (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (cqe->res >= 0 && cqe->user_data == TAG_ACCEPT) close(cqe->res);
    io_uring_cqe_seen(uring, cqe);
    return yes;
}

static bool accept_works_on(struct io_uring *uring, int listener, int client) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t);  // no name given: the kernel picks one that no file stands for
    if (listener < 0 || client < 0) return false;
    if (bind(listener, (struct sockaddr *)(void *)&address, size) != 0 || listen(listener, 1) != 0) return false;
    size = sizeof(address);
    if (getsockname(listener, (struct sockaddr *)(void *)&address, &size) != 0) return false;
    if (connect(client, (struct sockaddr *)(void *)&address, size) != 0) return false;
    struct io_uring_sqe *sqe = io_uring_get_sqe(uring);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = TAG_ACCEPT;
    return completes_and_stays(uring);
}

static bool probe_accept(struct io_uring *uring) {
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool works = accept_works_on(uring, listener, client);
    if (listener >= 0) close(listener);
    if (client >= 0) close(client);
    return works;
}

static bool receive_works_on(struct io_uring *uring, int fd) {
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    struct io_uring_buf_ring *buffers = aligned_alloc(page_size, page_size);
    if (buffers == NULL) return false;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)buffers, .ring_entries = 2};
    bool works = io_uring_register_buf_ring(uring, &reg, 0) == 0;
    if (works) {
        uint8_t *bytes = (uint8_t *)buffers + page_size / 2;
        io_uring_buf_ring_init(buffers);
        for (unsigned short i = 0; i < 2; i++) io_uring_buf_ring_add(buffers, bytes + 64 * i, 64, i, 1, i);
        io_uring_buf_ring_advance(buffers, 2);
        struct io_uring_sqe *sqe = io_uring_get_sqe(uring);
        io_uring_prep_recv(sqe, fd, NULL, 0, 0);
        sqe->ioprio = IORING_RECV_MULTISHOT;
        sqe->flags = IOSQE_BUFFER_SELECT;
        sqe->user_data = TAG_RECEIVE;
        works = completes_and_stays(uring);
        io_uring_unregister_buf_ring(uring, 0);
    }
    free(buffers);
    return works;
}

static bool probe_receive(struct io_uring *uring) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
    bool works = write(pair[1], "?", 1) == 1 && receive_works_on(uring, pair[0]);
    close(pair[0]);
    close(pair[1]);
    return works;
}

/* Each probe has a ring of its own, so that what one leaves armed cannot be taken for the other's answer. */
static bool probe(bool (*with)(struct io_uring *)) {
    struct io_uring uring;
    if (io_uring_queue_init(4, &uring, 0) != 0) return false;
    bool works = with(&uring);
    io_uring_queue_exit(&uring);
    return works;
}

unsigned ring_probe_multishot(unsigned wanted) {
    unsigned features = 0;
    if ((wanted & RING_MULTISHOT_ACCEPT) && probe(probe_accept)) features |= RING_MULTISHOT_ACCEPT;
    if ((wanted & RING_MULTISHOT_RECEIVE) && probe(probe_receive)) features |= RING_MULTISHOT_RECEIVE;
    return features;
}
