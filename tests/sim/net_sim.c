#include "tests/sim/net_sim.h"

#include <errno.h>
#include <stdlib.h>

#include "core/check.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/sched_sim.h"

enum { SEGMENTS_MAX = 64, FDS_MAX = NET_LINKS_MAX + 1 };

enum segment_kind { SEGMENT_DATA, SEGMENT_FIN, SEGMENT_RESET };

struct segment {
    uint64_t arrive_ns;
    size_t size;
    enum segment_kind kind;
};

/* The incoming bytes of an end: a ring buffer with three marks, read <= arrived <= written. */
struct pipe {
    uint8_t *bytes;
    size_t capacity;
    uint64_t written;
    uint64_t arrived;
    uint64_t read;
    bool has_fin;      // arrived
    struct segment segments[SEGMENTS_MAX];
    size_t segments_head;
    size_t segments_count;
};

struct net_end {
    struct net_end *other;
    struct pipe in;
    int fd;  // of the relay's; -1: outside, or not accepted yet
    uint32_t link;
    bool is_closed;
    bool is_shut;   // FIN written
    bool is_reset;  // arrived
    bool is_reset_sent;  // to this end
};

struct link {
    struct net_end outside;
    struct net_end inside;
    uint64_t accept_ns;
    uint64_t delay_ns;
    uint64_t jitter_ns;
    size_t segment_size_max;
    uint64_t full_since_ns;  // the relay finds no room in the outside end's pipe; 0: there is some
    uint64_t full_until_ns;  // the last time before, when it ended and how long it was
    uint64_t full_ns;
    uint64_t closed_ns;      // by the relay
    int listen_fd;
    bool is_accepted;
    bool is_silent;
    bool is_timed_out;
};

static struct {
    struct link *links[NET_LINKS_MAX];
    uint32_t links_count;
    uint32_t live[NET_LINKS_MAX];  // numbers of links that are not over, in order
    uint32_t live_count;
    uint32_t timeouts;
    struct net_end *ends[FDS_MAX];  // by fd
    bool is_listener[FDS_MAX];
    uint32_t fds_open;
} net;

void net_init(void) { memset(&net, 0, sizeof(net)); }

void net_fini(void) {
    for (uint32_t i = 0; i < net.links_count; i++) {
        free(net.links[i]->outside.in.bytes);
        free(net.links[i]->inside.in.bytes);
        free(net.links[i]);
    }
    net_init();
}

/* ---- segments ---- */

static struct segment *segment_at(struct pipe *pipe, size_t idx) {
    return &pipe->segments[(pipe->segments_head + idx) % SEGMENTS_MAX];
}

/* One more segment to `end`, behind those under way; a full list makes the last data segment larger instead. */
static void segment_add(struct net_end *end, enum segment_kind kind, size_t size) {
    struct pipe *pipe = &end->in;
    const struct link *link = net.links[end->link];
    if (link->is_silent) return;
    struct segment *last = pipe->segments_count ? segment_at(pipe, pipe->segments_count - 1) : NULL;
    if (kind == SEGMENT_DATA && pipe->segments_count >= SEGMENTS_MAX - 3 && last->kind == SEGMENT_DATA) {
        last->size += size;
        return;
    }
    CHECK(pipe->segments_count < SEGMENTS_MAX);
    uint64_t arrive_ns = sim.now_ns + link->delay_ns + sim_below(link->jitter_ns + 1);
    if (last) arrive_ns = max_of(arrive_ns, last->arrive_ns);
    *segment_at(pipe, pipe->segments_count++) = (struct segment){arrive_ns, size, kind};
}

static void reset_arrives(struct net_end *end) {
    sim_note("net: reset arrives", end->link, end->fd >= 0);
    end->is_reset = true;
    end->in.segments_count = 0;
    end->in.read = end->in.arrived = end->in.written;
}

static void send_reset(struct net_end *to) {
    if (to->is_closed || to->is_reset_sent) return;
    to->is_reset_sent = true;
    segment_add(to, SEGMENT_RESET, 0);
}

static void arrive(struct net_end *end, const struct segment *segment) {
    switch (segment->kind) {
        case SEGMENT_RESET: reset_arrives(end); return;
        case SEGMENT_FIN: end->in.has_fin = true; return;
        case SEGMENT_DATA: break;
    }
    end->in.arrived += segment->size;
    if (!end->is_closed) return;
    end->in.read = end->in.arrived;
    send_reset(end->other);
}

static void end_advance(struct net_end *end) {
    struct pipe *pipe = &end->in;
    while (pipe->segments_count && segment_at(pipe, 0)->arrive_ns <= sim.now_ns) {
        struct segment segment = *segment_at(pipe, 0);
        pipe->segments_head = (pipe->segments_head + 1) % SEGMENTS_MAX;
        pipe->segments_count--;
        arrive(end, &segment);
    }
}

static bool is_over(const struct link *link) {
    bool is_quiet = link->outside.in.segments_count == 0 && link->inside.in.segments_count == 0;
    return is_quiet && link->outside.is_closed && link->inside.is_closed;
}

void net_advance(void) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < net.live_count; i++) {
        struct link *link = net.links[net.live[i]];
        end_advance(&link->outside);
        end_advance(&link->inside);
        if (!is_over(link)) net.live[kept++] = net.live[i];
    }
    net.live_count = kept;
}

static uint64_t end_next_ns(struct net_end *end) {
    return end->in.segments_count ? segment_at(&end->in, 0)->arrive_ns : TIME_NEVER;
}

uint64_t net_next_ns(void) {
    uint64_t next_ns = TIME_NEVER;
    for (uint32_t i = 0; i < net.live_count; i++) {
        struct link *link = net.links[net.live[i]];
        next_ns = min_of(next_ns, min_of(end_next_ns(&link->outside), end_next_ns(&link->inside)));
        if (!link->is_accepted && link->accept_ns > sim.now_ns) next_ns = min_of(next_ns, link->accept_ns);
    }
    return next_ns;
}

/* ---- descriptors ---- */

static int fd_take(struct net_end *end) {
    int idx = 0;
    while (idx < FDS_MAX && (net.ends[idx] || net.is_listener[idx])) idx++;
    CHECK(idx < FDS_MAX);
    net.ends[idx] = end;
    return NET_FD_FIRST + idx;
}

static size_t idx_of(int fd) {
    CHECK(fd >= NET_FD_FIRST && fd < NET_FD_FIRST + FDS_MAX);
    return (size_t)(fd - NET_FD_FIRST);
}

struct net_end *net_end_of(int fd) {
    CHECK(net.ends[idx_of(fd)] != NULL);  // else it is used after it was closed
    return net.ends[idx_of(fd)];
}

int net_listen(void) {
    int fd = fd_take(NULL);
    net.is_listener[idx_of(fd)] = true;
    return fd;
}

uint32_t net_fds_open(void) { return net.fds_open; }

/* ---- connecting ---- */

/* As large as it takes for a few hundred kilobytes in a second: a slow network would be an excuse for everything. */
static size_t some_capacity(uint64_t delay_ns, bool is_narrow) {
    static const size_t capacities[] = {600, 4096, 32768, 262144, 1048576};
    size_t at_least = (size_t)(delay_ns / 1000 * 8 / 10), i = 0;
    while (i + 1 < array_count(capacities) && capacities[i] < at_least) i++;
    return capacities[is_narrow ? i : i + sim_below(array_count(capacities) - i)];
}

static void end_init(struct net_end *end, struct net_end *other, uint32_t link, size_t capacity) {
    *end = (struct net_end){.other = other, .link = link, .fd = -1};
    end->in.capacity = capacity;
    end->in.bytes = malloc(end->in.capacity);
    CHECK(end->in.bytes != NULL);
}

struct net_end *net_connect(int listen_fd, const struct net_hints *hints) {
    static const size_t segment_sizes[] = {40, 536, 1460, 65536};
    static const uint64_t delays_ns[] = {1000, 50 * NS_PER_US, 2 * NS_PER_MS, 20 * NS_PER_MS};
    CHECK(net.links_count < NET_LINKS_MAX && net.is_listener[idx_of(listen_fd)]);
    struct link *link = calloc(1, sizeof(*link));
    CHECK(link != NULL);
    net.links[net.links_count] = link;
    net.live[net.live_count++] = net.links_count;
    link->listen_fd = listen_fd;
    link->closed_ns = TIME_NEVER;
    link->delay_ns = delays_ns[sim_below(hints->is_near ? 2 : array_count(delays_ns))];
    end_init(&link->outside, &link->inside, net.links_count, some_capacity(link->delay_ns, hints->is_narrow));
    end_init(&link->inside, &link->outside, net.links_count, some_capacity(link->delay_ns, false));
    link->jitter_ns = sim_below(link->delay_ns);
    link->segment_size_max = segment_sizes[sim_below(array_count(segment_sizes))];
    link->accept_ns = sim.now_ns + 2 * link->delay_ns;
    sim_note("net: connect", net.links_count, link->delay_ns);
    net.links_count++;
    return &link->outside;
}

static struct link *first_waiting(int listen_fd) {
    for (uint32_t i = 0; i < net.live_count; i++) {
        struct link *link = net.links[net.live[i]];
        if (link->listen_fd == listen_fd && !link->is_accepted && link->accept_ns <= sim.now_ns) return link;
    }
    return NULL;
}

bool net_can_accept(int listen_fd) { return first_waiting(listen_fd) != NULL; }

int net_accept(int listen_fd) {
    struct link *link = first_waiting(listen_fd);
    CHECK(link != NULL);
    link->is_accepted = true;
    link->inside.fd = fd_take(&link->inside);
    net.fds_open++;
    return link->inside.fd;
}

int net_peer_address(int fd, struct net_address *ret) {
    const struct net_end *end = net_end_of(fd);
    if (end->is_reset) return -ENOTCONN;
    *ret = (struct net_address){.ip = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = (uint8_t)(end->link + 1)},
                                .port = (uint16_t)(40000 + end->link)};
    return 0;
}

/* ---- bytes ---- */

static void pipe_put(struct pipe *pipe, const uint8_t *bytes, size_t size) {
    for (size_t done = 0, part; done < size; done += part) {
        size_t at = pipe->written % pipe->capacity;
        part = min_of(size - done, pipe->capacity - at);
        memcpy(pipe->bytes + at, bytes + done, part);
        pipe->written += part;
    }
}

static void pipe_get(struct pipe *pipe, uint8_t *to, size_t size) {
    for (size_t done = 0, part; done < size; done += part) {
        size_t at = pipe->read % pipe->capacity;
        part = min_of(size - done, pipe->capacity - at);
        memcpy(to + done, pipe->bytes + at, part);
        pipe->read += part;
    }
}

/* All of it, or, once in a while, less. */
static size_t some_of(size_t size) { return sim_one_in(3) ? (size_t)sim_between(1, size) : size; }

static size_t room_of(const struct net_end *end) {
    const struct pipe *pipe = &end->other->in;
    return pipe->capacity - (size_t)(pipe->written - pipe->read);
}

bool net_can_write(const struct net_end *end) { return end->is_reset || room_of(end) > 0; }

bool net_can_read(const struct net_end *end) {
    return end->is_reset || end->in.arrived > end->in.read || end->in.has_fin;
}

int64_t net_unread(int fd) {
    const struct pipe *pipe = &net_end_of(fd)->other->in;
    return (int64_t)(pipe->written - pipe->read);
}

/* Since when the relay can write nothing to a client is what its write timeout is about. */
static void note_room(struct link *link) {
    bool is_full = room_of(&link->inside) == 0;
    if (is_full == (link->full_since_ns != 0)) return;
    if (!is_full) {
        link->full_until_ns = sim.now_ns;
        link->full_ns = sim.now_ns - link->full_since_ns;
    }
    link->full_since_ns = is_full ? sim.now_ns : 0;
}

ssize_t net_write(struct net_end *end, const void *bytes, size_t size) {
    CHECK(!end->is_closed && !end->is_shut);
    if (end->is_reset) return -ECONNRESET;
    size_t count = min_of(size, room_of(end));
    if (count == 0) return 0;
    count = some_of(count);
    pipe_put(&end->other->in, bytes, count);
    size_t segment_size_max = net.links[end->link]->segment_size_max;
    for (size_t done = 0, part; done < count; done += part) {
        part = some_of(min_of(count - done, segment_size_max));
        segment_add(end->other, SEGMENT_DATA, part);
    }
    note_room(net.links[end->link]);
    return (ssize_t)count;
}

ssize_t net_read(struct net_end *end, void *to, size_t size) {
    CHECK(!end->is_closed);
    if (end->is_reset) return -ECONNRESET;
    size_t count = min_of(size, (size_t)(end->in.arrived - end->in.read));
    if (count == 0) return end->in.has_fin ? 0 : -EAGAIN;
    count = some_of(count);
    pipe_get(&end->in, to, count);
    note_room(net.links[end->link]);
    return (ssize_t)count;
}

/* ---- ending ---- */

void net_vanish(struct net_end *end) {
    struct link *link = net.links[end->link];
    sim_note("net: vanishes", end->link, 0);
    link->is_silent = true;
    link->inside.in.segments_count = link->outside.in.segments_count = 0;
}

uint32_t net_link_of(const struct net_end *end) { return end->link; }

uint64_t net_closed_ns(uint32_t link) { return net.links[link]->closed_ns; }

bool net_is_timed_out(uint32_t link) { return net.links[link]->is_timed_out; }

/* Room that has come just now the relay may not know of yet. */
static uint64_t stuck_ns(const struct link *link) {
    if (link->full_since_ns) return sim.now_ns - link->full_since_ns;
    uint64_t slack_ns = faults.write_timeout_ns - faults_stuck_ns_min();
    return sim.now_ns - link->full_until_ns <= slack_ns ? link->full_ns : 0;
}

void net_judge_timeout(int fd) {
    struct link *link = net.links[net_end_of(fd)->link];
    uint64_t ns = stuck_ns(link);
    sim_note("net: write timeout", net_end_of(fd)->link, ns);
    net.timeouts++;
    link->is_timed_out = true;
    if (ns >= faults_stuck_ns_min()) return;
    sim_fail("link %u: ended by the write timeout after %llu ms without room", net_end_of(fd)->link,
             (unsigned long long)(ns / NS_PER_MS));
}

uint32_t net_timeouts(void) { return net.timeouts; }

void net_shutdown(struct net_end *end) {
    if (!end->is_shut && !end->is_reset && !end->other->is_closed) segment_add(end->other, SEGMENT_FIN, 0);
    end->is_shut = true;
}

void net_close(struct net_end *end, bool reset) {
    struct link *link = net.links[end->link];
    CHECK(!end->is_closed);
    if (end == &link->outside) link->is_silent = false;
    if (end == &link->inside) link->closed_ns = sim.now_ns;
    sim_note("net: close", end->link, (uint64_t)(end->fd >= 0) << 1 | reset);
    if (reset || end->in.arrived > end->in.read) {
        send_reset(end->other);
    } else {
        net_shutdown(end);
    }
    end->is_closed = true;
    end->in.read = end->in.arrived;
}

void net_close_fd(int fd, bool reset) {
    size_t idx = idx_of(fd);
    if (net.is_listener[idx]) {
        net.is_listener[idx] = false;
        return;
    }
    net_close(net_end_of(fd), reset);
    net.ends[idx] = NULL;
    net.fds_open--;
}
