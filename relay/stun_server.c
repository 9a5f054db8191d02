#include "relay/stun_server.h"

#include "core/check.h"

enum { RETRY_AFTER_NS = 1000 * 1000 * 1000 };

size_t stun_server_footprint(void) { return arena_cost(LIMIT_STUN_ANSWERS * sizeof(struct stun_answer)); }

static void give(struct stun_server *s, struct stun_answer *answer) {
    answer->next_free = s->first_free;
    s->first_free = answer;
}

void stun_server_init(struct stun_server *s, struct arena *arena, const struct stun_options *options,
                      const struct stun_links *links, struct ring *ring, struct metrics *metrics, uint64_t now_ns) {
    *s = (struct stun_server){.ring = ring,
                              .metrics = metrics,
                              .links = *links,
                              .answers = arena_take(arena, LIMIT_STUN_ANSWERS * sizeof(struct stun_answer)),
                              .receive_due_ns = now_ns,
                              .error_log = LOG_LIMIT(3, 6),
                              .is_stopped = !options->is_on};
    for (size_t i = LIMIT_STUN_ANSWERS; i-- > 0;) give(s, &s->answers[i]);
    if (options->is_on) ring_datagram_socket_init(&s->socket, options->fd, 0);
}

/* ---- requests ---- */

static void count(struct stun_server *s, enum stun_disposition disposition) {
    stat_add(&s->metrics->stun_requests[disposition], 1);
}

static void answer(struct stun_server *s, const struct ring_path *path, const uint8_t *transaction) {
    struct stun_answer *a = s->first_free;
    if (a == NULL) {
        stat_add(&s->metrics->stun_dropped, 1);
        return;
    }
    s->first_free = a->next_free;
    a->datagram.bytes = a->bytes;
    a->datagram.size = stun_answer_write(a->bytes, transaction, &path->remote);
    a->datagram.path = *path;
    ring_send_datagram(s->ring, &s->socket, &a->datagram);
}

static void on_datagram(struct stun_server *s, const struct ring_event *event) {
    const struct ring_arrival *arrival = ring_arrival(s->ring, event);
    uint8_t transaction[STUN_TRANSACTION_SIZE];
    size_t size = (size_t)event->result;
    if (size > LIMIT_STUN_DATAGRAM || !stun_request_parse(event->bytes, size, transaction)) {
        count(s, STUN_NOT_STUN);
        return;
    }
    bool is_ipv6 = !net_address_is_ipv4(&arrival->path.remote);
    stat_add(&s->metrics->stun_families[is_ipv6 ? STUN_IPV6 : STUN_IPV4], 1);
    if (!arrival->path.has_local) stat_add(&s->metrics->stun_no_local_addr, 1);
    answer(s, &arrival->path, transaction);
}

static void on_receive_error(struct stun_server *s, int error, uint64_t now_ns) {
    uint32_t suppressed;
    count(s, STUN_READ_ERROR);
    s->receive_due_ns = now_ns + RETRY_AFTER_NS;
    if (!log_limit_allows(&s->error_log, now_ns, &suppressed)) return;
    log_line(LOG_WARNING, "STUN: receiving failed: %s (and %u more times); trying again in a second", strerror(-error),
             suppressed);
}

static void on_event(struct stun_server *s, const struct ring_event *event, uint64_t now_ns) {
    switch ((enum ring_op)event->op) {
        case RING_RECEIVED:
            if (event->result < 0) on_receive_error(s, event->result, now_ns);
            else if (event->result == 0) count(s, STUN_NOT_STUN);
            else if (!ring_socket_is_closing(&s->socket.socket)) on_datagram(s, event);
            if (event->result > 0) ring_give_back(s->ring, event);
            return;
        case RING_DATAGRAM_SENT:
            count(s, event->result < 0 ? STUN_WRITE_ERROR : STUN_SUCCESS);
            give(s, container_of(event->datagram, struct stun_answer, datagram));
            return;
        case RING_CLOSED: s->is_stopped = true; return;
        case RING_ACCEPTED:
        case RING_RECEIVE_PAUSED:
        case RING_SENT: CHECK(false); return;
    }
}

/* ---- the pass ---- */

static void take_mail(struct stun_server *s) {
    struct mail mail;
    while (lane_pop(s->links.from_main, &mail)) {
        CHECK(mail.kind == MAIL_STOP);
        if (!s->is_stopped) ring_close_socket(s->ring, &s->socket.socket, false);
        s->receive_due_ns = TIME_NEVER;
    }
}

uint64_t stun_server_step(struct stun_server *s, uint64_t now_ns) {
    take_mail(s);
    if (s->is_stopped) return TIME_NEVER;
    if (s->receive_due_ns <= now_ns) {
        s->receive_due_ns = TIME_NEVER;
        ring_receive_datagrams(s->ring, &s->socket);
    }
    size_t events_count = ring_reap(s->ring, s->events, array_count(s->events));
    for (size_t i = 0; i < events_count; i++) on_event(s, &s->events[i], now_ns);
    stat_add(&s->metrics->passes, 1);
    if (log_flush()) ring_wake(s->ring, s->links.office_ring);
    return s->receive_due_ns;
}

bool stun_server_may_sleep(struct stun_server *s) { return !lane_has_mail(s->links.from_main); }
