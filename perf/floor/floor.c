/* floor.c - what a relay of DERP frames cannot do without: the floor that perf/compare measures others against.
 *
 *     perf_floor [-a ADDRESS:PORT]      default 127.0.0.1:0, the kernel chooses; says "listening on ADDRESS:PORT"
 *
 * What it is: one thread, plain TCP, epoll. A real DERP login (once per connection), then per packet the least there
 * is: bytes in by large reads, the 37 bytes in front of each packet rewritten where they lie, a look-up of the
 * destination, bytes out by one vectored write per destination and pass. No cipher, no queue to be fair about, no
 * limits, no timers, no counters. CPU time per packet of this program, and of opening and sealing a record
 * (aead_bench), are what the relay's own figure is to be compared with.
 *
 * A pass: wait; read each ready socket once, all into one arena, and append each packet's bytes to its destination's
 * list of iovecs; when all were read or the arena is full, write the lists. Packets that lie side by side and have the
 * same destination are one iovec. What a socket does not take is copied and waits for it (up to PENDING_MAX, then
 * packets for it are lost).
 *
 * Not a product: who connects is trusted not to be hostile. It answers pings, knows one connection per key (the last),
 * and sends neither PeerGone nor keep-alives.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/rng.h"
#include "core/sys.h"
#include "proto/derp.h"
#include "proto/http.h"
#include "proto/key.h"
#include "proto/login.h"

enum {
    READ_SIZE = 128 * 1024,                  // of one read
    ARENA_SIZE = 1024 * 1024,                // of a pass; small enough to stay in a cache
    TAIL_MAX = DERP_FRAME_SIZE_MAX,          // an incomplete frame
    IOV_MAX_PER_PASS = 64,                   // per destination; then it is written early
    EVENT_MAX = 512,                         // per pass
    TABLE_SIZE = 64 * 1024,  // places of the key table, a power of two: four times the clients or more
    PENDING_MAX = 16 * 1024 * 1024,  // waiting for one socket
};

enum phase { PHASE_HTTP, PHASE_CLIENT_INFO, PHASE_RELAY };

struct peer {
    int fd;
    enum phase phase;
    bool is_dead, is_dirty, waits_to_write;
    struct http_scan scan;
    struct node_key key;
    uint8_t *tail;  // TAIL_MAX bytes, from the first incomplete frame on
    size_t tail_size;
    uint8_t *pending;  // not yet taken by the socket
    size_t pending_at, pending_end, pending_room;
    unsigned iov_count;
    struct iovec iov[IOV_MAX_PER_PASS];
};

static struct {
    int epoll_fd, listen_fd;
    struct rng rng;
    struct node_private private_key;
    struct node_key public_key;
    size_t arena_at, dirty_count, dead_count, peer_count;
    struct peer *table[TABLE_SIZE];  // by key, open addressing
    struct peer *dirty[TABLE_SIZE], *dead[TABLE_SIZE];
    uint8_t arena[ARENA_SIZE];
} g;

noreturn_fn static void die(const char *what) {
    fprintf(stderr, "perf_floor: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void *allocate(void *old, size_t size) {
    void *memory = realloc(old, size);
    if (!memory) die("memory");
    return memory;
}

/* ---- who has a key ---- */

/* The key's place, or the empty one where it belongs. Keys are points on a curve: any eight bytes are a hash. */
static struct peer **place_of(const struct node_key *key) {
    uint64_t at;
    memcpy(&at, key->bytes, sizeof(at));
    for (;; at++) {
        struct peer **place = &g.table[at % TABLE_SIZE];
        if (!*place || key_equal(&(*place)->key, key)) return place;
    }
}

/* Those behind a place that becomes empty are entered anew: a search would end there. */
static void forget(struct peer *p) {
    struct peer **place = place_of(&p->key);
    if (*place != p) return;
    *place = NULL;
    for (size_t at = (size_t)(place - g.table) + 1; g.table[at % TABLE_SIZE]; at++) {
        struct peer *moved = g.table[at % TABLE_SIZE];
        g.table[at % TABLE_SIZE] = NULL;
        *place_of(&moved->key) = moved;
    }
}

/* ---- a connection ends: at once for everybody, its memory at the end of the pass ---- */

static void kill_peer(struct peer *p) {
    if (p->is_dead) return;
    p->is_dead = true;
    if (p->phase == PHASE_RELAY) forget(p);
    (void)close(p->fd);
    g.dead[g.dead_count++] = p;
}

static void bury(void) {
    for (size_t i = 0; i < g.dead_count; i++) {
        free(g.dead[i]->tail);
        free(g.dead[i]->pending);
        free(g.dead[i]);
    }
    g.peer_count -= g.dead_count;
    g.dead_count = 0;
}

/* ---- out ---- */

static void watch(struct peer *p, bool wants_to_write) {
    struct epoll_event event = {.events = EPOLLIN | (wants_to_write ? EPOLLOUT : 0), .data.ptr = p};
    if (p->waits_to_write == wants_to_write) return;
    p->waits_to_write = wants_to_write;
    if (epoll_ctl(g.epoll_fd, EPOLL_CTL_MOD, p->fd, &event) != 0) die("epoll_ctl");
}

static void make_room(struct peer *p, size_t size) {
    if (p->pending_end + size <= p->pending_room) return;
    if (p->pending_at > 0) memmove(p->pending, p->pending + p->pending_at, p->pending_end - p->pending_at);
    p->pending_end -= p->pending_at;
    p->pending_at = 0;
    if (p->pending_end + size > p->pending_room)
        p->pending = allocate(p->pending, p->pending_room = 2 * (p->pending_end + size));
}

/* What lies in the arena is copied, as the arena will be used again. */
static void keep_pending(struct peer *p, size_t skip) {
    for (unsigned i = 0; i < p->iov_count; i++) {
        size_t size = p->iov[i].iov_len;
        if (skip >= size) {
            skip -= size;
            continue;
        }
        make_room(p, size - skip);
        memcpy(p->pending + p->pending_end, (uint8_t *)p->iov[i].iov_base + skip, size - skip);
        p->pending_end += size - skip;
        skip = 0;
    }
    watch(p, true);
}

static void write_list(struct peer *p) {
    struct msghdr message = {.msg_iov = p->iov, .msg_iovlen = p->iov_count};
    size_t total = 0;
    ssize_t sent = 0;
    for (unsigned i = 0; i < p->iov_count; i++) total += p->iov[i].iov_len;
    if (total == 0 || p->is_dead) return;
    bool is_first = p->pending_at == p->pending_end;
    if (is_first) sent = sendmsg(p->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) kill_peer(p);
    else if (sent < (ssize_t)total && p->pending_end - p->pending_at < PENDING_MAX)
        keep_pending(p, sent > 0 ? (size_t)sent : 0);
}

static void flush(void) {
    for (size_t i = 0; i < g.dirty_count; i++) {
        write_list(g.dirty[i]);
        g.dirty[i]->is_dirty = false;
        g.dirty[i]->iov_count = 0;
    }
    g.dirty_count = 0;
}

static void write_pending(struct peer *p) {
    ssize_t sent = send(p->fd, p->pending + p->pending_at, p->pending_end - p->pending_at, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) kill_peer(p);
    if (sent <= 0) return;
    p->pending_at += (size_t)sent;
    if (p->pending_at < p->pending_end) return;
    p->pending_at = p->pending_end = 0;
    watch(p, false);
}

/* `bytes` stays where it is until the flush. */
static void append(struct peer *to, uint8_t *bytes, size_t size) {
    if (!to->is_dirty) {
        to->is_dirty = true;
        g.dirty[g.dirty_count++] = to;
    }
    struct iovec *last = to->iov_count ? &to->iov[to->iov_count - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += size;
        return;
    }
    if (to->iov_count == IOV_MAX_PER_PASS) {
        write_list(to);
        to->iov_count = 0;
    }
    to->iov[to->iov_count++] = (struct iovec){.iov_base = bytes, .iov_len = size};
}

/* For the few bytes of a login: they are made here, sent at once, and fit. */
static bool send_now(struct peer *p, const struct writer *w, const uint8_t *bytes) {
    size_t size = (size_t)(w->at - bytes);
    return writer_ok(w) && send(p->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* ---- in: each takes one thing from the front of the bytes and returns its size; 0: not all there; -1: bad ---- */

static ssize_t take_http(struct peer *p, uint8_t *bytes, size_t size) {
    static struct http_request request;
    uint8_t answer[1024];
    struct writer w = writer_of(answer, sizeof(answer));
    enum http_progress progress = http_request_parse(&p->scan, bytes, size, &request);
    if (progress == HTTP_MORE) return 0;
    if (progress == HTTP_BAD || http_derp_upgrade(&request) != HTTP_UPGRADE_DERP) {
        http_write_error(&w, 426, NULL, 0);  // whoever starts this program asks for a page to see it run
        (void)send_now(p, &w, answer);
        return -1;
    }
    if (!http_wants_fast_start(&request)) http_write_derp_switch(&w, &g.public_key);
    derp_write_server_key(&w, &g.public_key);
    p->phase = PHASE_CLIENT_INFO;
    return send_now(p, &w, answer) ? (ssize_t)request.head_size : -1;
}

static ssize_t take_client_info(struct peer *p, uint8_t *frame, size_t size) {
    struct client_info info;
    struct box_key shared;
    uint8_t answer[LOGIN_SERVER_INFO_FRAME_SIZE];
    struct writer w = writer_of(answer, sizeof(answer));
    if (size < DERP_HEADER_SIZE) return 0;
    size_t length = load_be32(frame + 1);
    if (frame[0] != DERP_CLIENT_INFO || length > TAIL_MAX - DERP_HEADER_SIZE) return -1;
    if (size < DERP_HEADER_SIZE + length) return 0;
    if (login_open_client_info(&g.private_key, frame + DERP_HEADER_SIZE, length, &p->key, &info, &shared) != LOGIN_OK)
        return -1;
    login_write_server_info(&w, &shared, &g.rng);
    *place_of(&p->key) = p;
    p->phase = PHASE_RELAY;
    return send_now(p, &w, answer) ? (ssize_t)(DERP_HEADER_SIZE + length) : -1;
}

static void answer_ping(struct peer *p, uint8_t *frame) {
    frame[0] = DERP_PONG;
    store_be32(frame + 1, DERP_PING_SIZE);
    append(p, frame, DERP_HEADER_SIZE + DERP_PING_SIZE);
}

static ssize_t take_frame(struct peer *p, uint8_t *frame, size_t size) {
    if (size < DERP_HEADER_SIZE) return 0;
    size_t length = load_be32(frame + 1);
    if (length > TAIL_MAX - DERP_HEADER_SIZE) return -1;
    if (size < DERP_HEADER_SIZE + length) return 0;
    if (frame[0] == DERP_SEND_PACKET && length >= KEY_SIZE) {
        struct peer *to = *place_of((const struct node_key *)(frame + DERP_HEADER_SIZE));
        derp_rewrite_send_to_recv(frame, &p->key);
        if (to) append(to, frame, DERP_HEADER_SIZE + length);
    } else if (frame[0] == DERP_PING && length >= DERP_PING_SIZE) {
        answer_ping(p, frame);
    }
    return (ssize_t)(DERP_HEADER_SIZE + length);
}

static ssize_t take(struct peer *p, uint8_t *bytes, size_t size) {
    if (likely(p->phase == PHASE_RELAY)) return take_frame(p, bytes, size);
    return p->phase == PHASE_HTTP ? take_http(p, bytes, size) : take_client_info(p, bytes, size);
}

static void take_all(struct peer *p, uint8_t *bytes, size_t size) {
    ssize_t taken = 0;
    while (size > 0 && (taken = take(p, bytes, size)) > 0) {
        bytes += taken;
        size -= (size_t)taken;
    }
    if (taken < 0 || size > TAIL_MAX) {
        kill_peer(p);
        return;
    }
    if (size > 0 && !p->tail) p->tail = allocate(NULL, TAIL_MAX);
    if (size > 0) memcpy(p->tail, bytes, size);
    p->tail_size = size;
}

static void read_peer(struct peer *p) {
    if (ARENA_SIZE - g.arena_at < TAIL_MAX + READ_SIZE) {
        flush();
        g.arena_at = 0;
    }
    uint8_t *bytes = g.arena + g.arena_at;
    ssize_t size = recv(p->fd, bytes + p->tail_size, READ_SIZE, 0);
    if (size == 0 || (size < 0 && errno != EAGAIN)) kill_peer(p);
    if (size <= 0) return;
    if (p->tail_size > 0) memcpy(bytes, p->tail, p->tail_size);
    size += (ssize_t)p->tail_size;
    g.arena_at += round_up((size_t)size, CACHE_LINE_SIZE);
    take_all(p, bytes, (size_t)size);
}

/* ---- the loop ---- */

static void accept_peers(void) {
    const int one = 1;
    int fd;
    while ((fd = accept4(g.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = allocate(NULL, sizeof(*p));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
        if (++g.peer_count > TABLE_SIZE / 4) {
            errno = EMFILE;
            die("more clients than the table of keys is made for");
        }
        *p = (struct peer){.fd = fd};
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (epoll_ctl(g.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
    }
    if (errno == EMFILE || errno == ENFILE) die("accept");
}

static void step(void) {
    static struct epoll_event events[EVENT_MAX];
    int count = epoll_wait(g.epoll_fd, events, EVENT_MAX, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    g.arena_at = 0;
    for (int i = 0; i < count; i++) {
        struct peer *p = events[i].data.ptr;
        if (!p) accept_peers();
        else if (!p->is_dead && events[i].events & EPOLLOUT) write_pending(p);
        if (p && !p->is_dead && events[i].events & ~(uint32_t)EPOLLOUT) read_peer(p);
    }
    flush();
    bury();
}

static void listen_at(const char *text) {
    char why[SYS_WHY_MAX], name[NET_ADDRESS_TEXT_MAX];
    struct listen_address at;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    struct net_address bound;
    if (!listen_address_parse(text, &at, why)) {
        fprintf(stderr, "perf_floor: %s\n", why);
        exit(2);
    }
    if (sys_listen_tcp(&at, &(struct tcp_options){0}, &g.listen_fd, &bound, why) != 0) {
        fprintf(stderr, "perf_floor: %s\n", why);
        exit(EXIT_FAILURE);
    }
    if (fcntl(g.listen_fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl");
    g.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (g.epoll_fd < 0 || epoll_ctl(g.epoll_fd, EPOLL_CTL_ADD, g.listen_fd, &event) != 0) die("epoll");
    fprintf(stderr, "perf_floor: listening on %s\n", net_address_text(&bound, name));
}

int main(int argc, char **argv) {
    bool has_address = argc == 3 && strcmp(argv[1], "-a") == 0;
    if (argc != 1 && !has_address) {
        fprintf(stderr, "usage: perf_floor [-a ADDRESS:PORT]\n");
        return 2;
    }
    if (sys_init() != 0) die("start");
    rng_init_system(&g.rng);
    key_generate(&g.rng, &g.private_key);
    key_private_public(&g.private_key, &g.public_key);
    listen_at(has_address ? argv[2] : "127.0.0.1:0");
    for (;;) step();
}
