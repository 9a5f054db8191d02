#include "relay/udp.h"

#include <errno.h>

#include "core/check.h"
#include "core/sys.h"
#include "relay/udp_internal.h"

enum {
    RETRY_AFTER_NS = 1000 * 1000 * 1000,
    OVERFLOWS_EVERY_NS = 1000 * 1000 * 1000,
    LOOK_EVERY = 32,         // arrivals
    RUN_SIZE_MIN = 8 * 1024,  // what is shorter touches few pages of its buffer
};

size_t udp_footprint(void) {
    return arena_cost(LIMIT_UDP_BUFFERS * sizeof(struct udp_arrival)) +
           arena_cost(LIMIT_UDP_BUFFERS * sizeof(uint16_t)) + arena_cost(LIMIT_UDP_SENDS * sizeof(struct udp_send)) +
           arena_cost(UDP_GROUPS * sizeof(struct udp_group)) +
           arena_cost(LIMIT_UDP_ANSWERS * sizeof(struct udp_answer));
}

struct ring_options udp_ring_options(unsigned features_allowed) {
    return (struct ring_options){
        .features_allowed = features_allowed,
        .submissions_max = LIMIT_SUBMISSIONS,
        .completions_max = (unsigned)power_of_two_above(LIMIT_UDP_BUFFERS + LIMIT_UDP_SENDS + LIMIT_UDP_ANSWERS + 256),
        .receive_buffers = LIMIT_UDP_BUFFERS,
        .receive_buffer_size = LIMIT_UDP_BUFFER_SIZE,
    };
}

static void give_answer(struct udp *u, struct udp_answer *answer) {
    answer->next_free = u->answers_free;
    u->answers_free = answer;
    u->answers_free_count++;
}

static void make_memory(struct udp *u, struct arena *arena) {
    u->arrivals = arena_take(arena, LIMIT_UDP_BUFFERS * sizeof(*u->arrivals));
    u->references = arena_take(arena, LIMIT_UDP_BUFFERS * sizeof(*u->references));
    u->sends = arena_take(arena, LIMIT_UDP_SENDS * sizeof(*u->sends));
    u->groups = arena_take(arena, UDP_GROUPS * sizeof(*u->groups));
    u->answers = arena_take(arena, LIMIT_UDP_ANSWERS * sizeof(*u->answers));
    for (size_t i = LIMIT_UDP_ANSWERS; i-- > 0;) give_answer(u, &u->answers[i]);
    for (size_t i = LIMIT_UDP_SENDS; i-- > 0;) {
        u->sends[i].next = u->sends_free;
        u->sends_free = &u->sends[i];
        u->sends_free_count++;
    }
}

static void open_socket(struct udp *u, enum udp_place place, int fd, bool has_runs, uint64_t now_ns) {
    struct udp_socket *socket = &u->sockets[place];
    socket->place = place;
    socket->receive_due_ns = fd >= 0 ? now_ns : TIME_NEVER;
    if (fd < 0) return;
    ring_datagram_socket_init(&socket->ring, fd, (uint64_t)place);
    socket->is_open = true;
    socket->has_runs = has_runs;
}

static bool has_sockets(const struct udp *u) {
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) {
        if (u->sockets[i].is_open) return true;
    }
    return false;
}

void udp_init(struct udp *u, struct arena *arena, const struct udp_options *options, const struct udp_links *links,
              struct ring *ring, struct metrics *metrics, struct rng *rng, uint64_t now_ns) {
    *u = (struct udp){.ring = ring,
                      .rng = rng,
                      .metrics = metrics,
                      .links = *links,
                      .server = options->server,
                      .has_tails = options->has_tails,
                      .buffers_offered = LIMIT_UDP_BUFFERS,
                      .round = 1,
                      .overflows_due_ns = now_ns,
                      .log_limit = LOG_LIMIT(3, 6)};
    u->outgoing_last = &u->outgoing_first;
    u->group_secret = rng_u64(rng);
    make_memory(u, arena);
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) {
        open_socket(u, (enum udp_place)i, options->fds[i], !options->has_no_runs, now_ns);
    }
    u->is_stopped = !has_sockets(u);
}

/* ---- receive buffers ---- */

void udp_release(struct udp *u, uint16_t buffer) {
    DCHECK(u->references[buffer] > 0);
    if (--u->references[buffer] == 0) ring_give_back(u->ring, &(struct ring_event){.buffer_idx = buffer});
}

/* Runs fill their buffers: few of them stay in the cache. */
static void look_at_arrivals(struct udp *u) {
    if (u->arrivals_seen < LOOK_EVERY) return;
    uint32_t wanted = 2 * u->runs_seen > u->arrivals_seen ? LIMIT_UDP_BUFFERS_OF_RUNS : LIMIT_UDP_BUFFERS;
    u->arrivals_seen = u->runs_seen = 0;
    if (wanted == u->buffers_offered) return;
    u->buffers_offered = wanted;
    ring_offer_buffers(u->ring, wanted);
}

/* ---- events ---- */

static uint64_t packets_in(const struct ring_event *event, const struct ring_arrival *arrival) {
    if (arrival->segment_size == 0) return 1;
    return ((uint32_t)event->result + arrival->segment_size - 1u) / arrival->segment_size;
}

static void on_datagrams(struct udp *u, struct udp_socket *socket, const struct ring_event *event) {
    const struct ring_arrival *ring = ring_arrival(u->ring, event);
    uint32_t last = u->arrivals_first + u->arrivals_count++;
    struct udp_arrival *arrival = &u->arrivals[last % LIMIT_UDP_BUFFERS];
    CHECK(u->arrivals_count <= LIMIT_UDP_BUFFERS && u->references[event->buffer_idx] == 0);
    u->references[event->buffer_idx] = 1;
    u->arrivals_seen++;
    stat_add(&u->metrics->udp_received, packets_in(event, ring));
    u->runs_seen += event->result >= RUN_SIZE_MIN;
    *arrival = (struct udp_arrival){
        .bytes = (uint8_t *)(uintptr_t)event->bytes,  // ours until it is given back
        .size = (uint32_t)event->result,
        .segment_size = ring->segment_size ? ring->segment_size : (uint32_t)event->result,
        .buffer = event->buffer_idx,
        .socket = socket,
        .ring = ring,
        .source = vni_address_make(&ring->path.remote,
                                   net_ip_is_link_local(ring->path.remote.ip) ? ring->path.interface : 0)};
}

static void on_nothing(struct udp *u, const struct udp_socket *socket) {
    if (socket->place == UDP_PLACE_STUN) stat_add(&u->metrics->stun_requests[STUN_NOT_STUN], 1);
    else udp_drop(u, UDP_DROP_TOO_SHORT, 1);
}

static void on_receive_error(struct udp *u, struct udp_socket *socket, int32_t error) {
    uint32_t suppressed;
    stat_add(&u->metrics->udp_receive_errors, 1);
    socket->receive_due_ns = u->now_ns + RETRY_AFTER_NS;
    if (!log_limit_allows(&u->log_limit, u->now_ns, &suppressed)) return;
    log_line(LOG_WARNING, "UDP relay: receiving failed: %s (and %u more times); trying again in a second",
             strerror(-error), suppressed);
}

static void on_received(struct udp *u, struct udp_socket *socket, const struct ring_event *event) {
    bool is_closing = ring_socket_is_closing(&socket->ring.socket);
    if (event->result > 0 && is_closing) ring_give_back(u->ring, event);
    if (is_closing) return;
    if (event->result > 0) on_datagrams(u, socket, event);
    else if (event->result == 0) on_nothing(u, socket);
    else on_receive_error(u, socket, event->result);
}

static bool is_answer(const struct udp *u, const struct ring_datagram *datagram) {
    uintptr_t at = (uintptr_t)datagram, first = (uintptr_t)u->answers;
    return at >= first && at < first + LIMIT_UDP_ANSWERS * sizeof(*u->answers);
}

static void on_datagram_sent(struct udp *u, const struct ring_event *event) {
    if (!is_answer(u, event->datagram)) {
        udp_on_sent(u, container_of(event->datagram, struct udp_send, datagram), event->result);
        return;
    }
    struct udp_answer *answer = container_of(event->datagram, struct udp_answer, datagram);
    udp_on_answer_sent(u, answer, event->result);
    give_answer(u, answer);
}

static void on_event(struct udp *u, const struct ring_event *event) {
    struct udp_socket *socket = &u->sockets[event->handle];
    switch ((enum ring_op)event->op) {
        case RING_RECEIVED: on_received(u, socket, event); return;
        case RING_DATAGRAM_SENT: on_datagram_sent(u, event); return;
        case RING_CLOSED:
            socket->is_open = false;
            u->is_stopped = !has_sockets(u);
            return;
        case RING_ACCEPTED:
        case RING_RECEIVE_PAUSED:
        case RING_SENT: CHECK(false); return;
    }
}

/* ---- the pass ---- */

static void stop(struct udp *u) {
    u->is_closing = true;
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) {
        struct udp_socket *socket = &u->sockets[i];
        socket->receive_due_ns = TIME_NEVER;
        if (socket->is_open) ring_close_socket(u->ring, &socket->ring.socket, false);
    }
}

static void take_mail(struct udp *u) {
    struct mail mail;
    while (lane_pop(u->links.from_main, &mail)) {
        CHECK(mail.kind == MAIL_STOP);
        stop(u);
    }
    udp_ask_servers(u);
}

static void ask_for_datagrams(struct udp *u) {
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) {
        struct udp_socket *socket = &u->sockets[i];
        if (socket->receive_due_ns > u->now_ns) continue;
        socket->receive_due_ns = TIME_NEVER;
        ring_receive_datagrams(u->ring, &socket->ring);
    }
}

/* why again and again: the kernel shows at most 32 datagrams of a socket at a time. Asking when there are no more costs
 * no system call. */
static void collect(struct udp *u) {
    for (int i = 0; i < LIMIT_UDP_REAPS && u->arrivals_count < u->buffers_offered; i++) {
        size_t count = ring_reap(u->ring, u->events, array_count(u->events));
        for (size_t k = 0; k < count; k++) on_event(u, &u->events[k]);
        if (count == 0) return;
    }
}

/* Has the kernel take what was made, and takes back what it is done with. Twice at most: what it refused as a run goes
 * out singly. */
static void settle(struct udp *u) {
    do {
        udp_ask_sends(u);
        size_t count;
        do {
            count = ring_flush(u->ring, u->events, array_count(u->events));
            for (size_t k = 0; k < count; k++) on_event(u, &u->events[k]);
        } while (count == array_count(u->events));
    } while (u->outgoing_first != NULL);
}

/* What arrived before a stop and was not forwarded. */
static void drop_arrivals(struct udp *u) {
    for (; u->arrivals_count > 0; u->arrivals_count--) {
        const struct udp_arrival *arrival = &u->arrivals[u->arrivals_first++ % LIMIT_UDP_BUFFERS];
        udp_drop(u, UDP_DROP_CLOSING, 1);
        udp_release(u, arrival->buffer);
    }
}

static void look_at_overflows(struct udp *u) {
    if (u->overflows_due_ns > u->now_ns) return;
    u->overflows_due_ns = u->now_ns + OVERFLOWS_EVERY_NS;
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) {
        struct udp_socket *socket = &u->sockets[i];
        uint32_t overflows;
        if (!socket->is_open || ring_socket_is_closing(&socket->ring.socket)) continue;
        if (sys_udp_overflows(socket->ring.socket.fd, &overflows) != 0) continue;
        stat_add(&u->metrics->udp_overflows, overflows - socket->overflows);  // 32 bits that go round
        socket->overflows = overflows;
    }
}

/* After a burst the last look is still to come; in a silence there is nothing to look for. */
static uint64_t next_pass_ns(const struct udp *u, bool is_quiet) {
    if (u->arrivals_count > 0) return u->now_ns;
    uint64_t next_ns = is_quiet ? TIME_NEVER : u->overflows_due_ns;
    for (size_t i = 0; i < UDP_PLACE_COUNT; i++) next_ns = min_of(next_ns, u->sockets[i].receive_due_ns);
    return next_ns;
}

uint64_t udp_step(struct udp *u, uint64_t now_ns) {
    u->now_ns = now_ns;
    take_mail(u);
    if (u->is_stopped) return TIME_NEVER;
    ask_for_datagrams(u);
    collect(u);
    bool is_quiet = u->arrivals_count == 0;
    if (unlikely(u->is_closing)) drop_arrivals(u);
    u->boxes_left = LIMIT_UDP_ANSWERS_RESERVED;
    udp_forward_arrivals(u);
    settle(u);
    look_at_arrivals(u);
    look_at_overflows(u);
    stat_add(&u->metrics->passes, 1);
    if (log_flush()) ring_wake(u->ring, u->links.office_ring);
    return next_pass_ns(u, is_quiet);
}

bool udp_may_sleep(struct udp *u) {
    bool has_questions = u->links.from_office && lane_has_mail(u->links.from_office);
    return !has_questions && !lane_has_mail(u->links.from_main);
}
