#include "relay/front.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/log.h"
#include "relay/conn_value.h"
#include "relay/session.h"
#include "relay/trace.h"

enum {
    RESPONSE_TIMEOUT_S = 30,
    DRAIN_MS = 2000,
    DRAIN_CLOSED_MS = 250,    // a WebSocket that was closed waits for us to close
    DRAIN_BYTES_MAX = 256 * 1024,
    ACCEPT_PAUSE_MS = 50,     // when there are no file descriptors: existing sockets have to end first
};

enum { TIMER_SESSION = 1, TIMER_LISTENER, TIMER_TRAFFIC };

/* Listeners share a handle that no session has. */
enum { LISTENER_HANDLE = 0 };

enum { PREFIX_BUCKETS = 1024 };

size_t front_footprint(const struct limits *limits) {
    return pool_footprint(LIMIT_SESSIONS_ALL, sizeof(struct session)) +
           pool_footprint(LIMIT_LARGE_BUFFERS, SESSION_LARGE_SIZE) + parcel_box_footprint() +
           traffic_footprint(limits) + (limits->has_node ? node_footprint() : 0);
}

void front_init(struct front *f, struct arena *arena, const struct front_options *options,
                const struct front_links *links, struct ring *ring, struct metrics *metrics, struct rng *rng,
                uint64_t now_ns) {
    memset(f, 0, sizeof(*f));
    f->ring = ring;
    f->rng = rng;
    f->metrics = metrics;
    f->options = *options;
    f->links = *links;
    f->start_ns = now_ns;
    f->accept_log = (struct log_limit)LOG_LIMIT(3, 6);
    wheel_init(&f->wheel, now_ns);
    bool is_limited = options->identity && options->accept_burst > 0;
    f->accept_limit = accept_limit_of(is_limited ? options->accept_per_s : INFINITY, options->accept_burst, now_ns);
    bootstrap_queries_init(&f->bootstrap_queries, rng);
    pool_init(&f->sessions, arena, LIMIT_SESSIONS_ALL, sizeof(struct session));
    pool_init(&f->large_buffers, arena, LIMIT_LARGE_BUFFERS, SESSION_LARGE_SIZE);
    parcel_box_init(&f->parcels, arena);
    traffic_init(&f->traffic, arena, &options->limits);
    f->traffic.timer.kind = TIMER_TRAFFIC;
    if (options->node.is_on) {
        f->node = node_make(arena, &options->node, &options->public_key, links->allocator, ring, metrics, rng, now_ns);
        nodekeys_wipe(&f->options.node.desk.keys);  // it has them, and the list
        f->options.node.desk.allowed = NULL;
    }
    for (unsigned i = 0; i < options->listeners_count; i++) {
        f->listeners[i].resume_timer.kind = TIMER_LISTENER;
        ring_socket_init(&f->listeners[i].socket, options->listen_fds[i], LISTENER_HANDLE);
    }
}

void front_fini(struct front *f) {
    for (uint32_t slot = 0; slot < f->sessions.count; slot++) {
        struct session *s = pool_at(&f->sessions, slot);
        if (s == NULL) continue;
        handshake_free(s->handshake);
        record_fini(&s->record);
    }
    node_fini(f->node);
    key_private_wipe(&f->options.private_key);
    key_mesh_wipe(&f->options.mesh_key);
    debug_access_wipe(&f->options.debug_access);
    tokens_free(f->options.tokens);
    free(f->bootstrap_published);
    free(f->bootstrap_hidden);
    tls_identity_give(f->options.identity);
    f->options.identity = NULL;
}

/* ---- sessions ---- */

static void list_add(struct front *f, struct session *s) {
    s->older = f->newest;
    if (f->newest) f->newest->newer = s;
    f->newest = s;
    if (f->oldest == NULL) f->oldest = s;
    f->open_count++;
}

static void list_remove(struct front *f, struct session *s) {
    if (s->older) s->older->newer = s->newer;
    if (s->newer) s->newer->older = s->older;
    if (f->oldest == s) f->oldest = s->newer;
    if (f->newest == s) f->newest = s->older;
    s->older = s->newer = NULL;
    f->open_count--;
}

void session_enter(struct front *f, struct session *s, enum session_phase phase, uint64_t timeout_ns) {
    s->phase = phase;
    wheel_arm(&f->wheel, &s->timer, f->now_ns + timeout_ns);
}

/* A request has come over TLS, or is done with. A DERP connection goes on counting on its worker. */
static void count_tls_request(struct front *f, struct session *s, bool is_active) {
    if (s->transport != TRANSPORT_TLS || s->is_tls_active == is_active) return;
    s->is_tls_active = is_active;
    if (is_active) {
        stat_add(&f->metrics->tls_requests, 1);
        stat_add(&f->metrics->tls_active, 1);
    } else {
        stat_sub(&f->metrics->tls_active, 1);
    }
}

/* Called once per session, by whichever end comes first. */
static void session_leave(struct front *f, struct session *s) {
    wheel_disarm(&f->wheel, &s->timer);
    list_remove(f, s);
    count_tls_request(f, s, false);
    traffic_on_end(f, s);
    s->phase = SESSION_CLOSING;
}

static void session_free(struct front *f, struct session *s) {
    if (s->large) pool_give(&f->large_buffers, s->large);
    handshake_free(s->handshake);
    record_fini(&s->record);
    stat_sub(&f->metrics->sessions, 1);
    pool_give(&f->sessions, s);
}

void session_refuse(struct front *f, struct session *s, enum refuse_reason reason) {
    if (s->phase == SESSION_CLOSING) return;
    stat_add(&f->metrics->refusals[reason], 1);
    trace_refuse(s->socket.fd, reason, s->remote.ip, s->remote.port);
    session_leave(f, s);
    session_say_goodbye(f, s);
    ring_close_socket(f->ring, &s->socket, false);
}

bool session_take_large(struct front *f, struct session *s) {
    if (s->large == NULL) s->large = pool_take(&f->large_buffers);
    return s->large != NULL;
}

/* ---- who has to go when all sessions are taken ---- */

/* A network that is one customer's, usually: /24 of IPv4, /56 of IPv6. */
static uint32_t prefix_of(const struct session *s) {
    uint64_t hash = net_address_is_ipv4(&s->remote) ? 1 : 2;
    size_t size = net_address_is_ipv4(&s->remote) ? 15 : 7;
    for (size_t i = 0; i < size; i++) hash = (hash ^ s->remote.ip[i]) * 0x100000001b3ull;
    return (uint32_t)(hash >> 20) % PREFIX_BUCKETS;
}

/* The oldest session of the prefix that holds most of them: a flood from one network evicts itself. */
static struct session *session_to_evict(struct front *f) {
    uint16_t counts[PREFIX_BUCKETS] = {0};
    uint16_t most = 0;
    for (struct session *s = f->oldest; s; s = s->newer) {
        uint16_t count = ++counts[prefix_of(s)];
        most = max_of(most, count);
    }
    for (struct session *s = f->oldest; s; s = s->newer) {
        if (counts[prefix_of(s)] == most) return s;
    }
    return NULL;
}

static void evict(struct front *f) {
    struct session *s = session_to_evict(f);
    if (s) session_refuse(f, s, REFUSE_SESSIONS_FULL);
}

/* A session for TLS starts with a handshake; false when there is no memory for one. */
static bool session_begin(struct front *f, struct session *s) {
    bool is_tls = f->options.identity && !s->is_port80 && !s->is_node;
    s->transport = is_tls ? TRANSPORT_TLS : TRANSPORT_PLAIN;
    s->close_alert = ALERT_CLOSE_NOTIFY;
    s->close_reason = REFUSE_HTTP_DONE;
    if (is_tls && (s->handshake = handshake_server(f->options.identity)) == NULL) return false;
    enum session_phase first = is_tls ? SESSION_HANDSHAKE : SESSION_HEAD;
    session_enter(f, s, first, SESSION_HEAD_TIMEOUT_S * NS_PER_S);
    session_receive(f, s);
    return true;
}

static bool has_place(const struct front *f) { return pool_used(&f->sessions) < LIMIT_SESSIONS_ALL; }

static void session_open(struct front *f, int fd, enum front_door door) {
    if (f->open_count >= LIMIT_SESSIONS) evict(f);
    struct session *s = pool_take(&f->sessions);
    CHECK(s != NULL);  // has_place
    ring_socket_init(&s->socket, fd, pool_handle_of(&f->sessions, s));
    s->timer.kind = TIMER_SESSION;
    s->accepted_ns = f->now_ns;
    s->is_port80 = door == DOOR_PORT80;
    s->is_node = door == DOOR_NODE;
    s->in = s->own_in;
    s->in_room = sizeof(s->own_in);
    s->out = s->own_out;
    list_add(f, s);
    stat_add(&f->metrics->sessions, 1);
    if (ring_peer_address(fd, &s->remote) != 0) {
        session_refuse(f, s, REFUSE_GONE);
        return;
    }
    if (!session_begin(f, s)) session_refuse(f, s, REFUSE_BUFFERS_FULL);
}

/* In a burst more come than can be closing at one time. They wait until closed ones are gone, so that it is the oldest
 * who go and not the newest. Beyond that the newest is turned away, and comes again. */
static void session_open_or_wait(struct front *f, int fd, enum front_door door) {
    if (f->waiting_count == 0 && has_place(f)) {
        session_open(f, fd, door);
    } else if (f->waiting_count < LIMIT_ACCEPTS_WAITING) {
        uint32_t last = (f->waiting_first + f->waiting_count++) % LIMIT_ACCEPTS_WAITING;
        f->waiting[last] = (struct front_waiting){.fd = fd, .door = door};
    } else {
        stat_add(&f->metrics->refusals[REFUSE_SESSIONS_FULL], 1);
        trace_refuse(fd, REFUSE_SESSIONS_FULL, NULL, 0);
        ring_close_fd(f->ring, fd);
    }
}

static void phase_waiting(struct front *f) {
    while (f->waiting_count > 0 && has_place(f)) {
        struct front_waiting next = f->waiting[f->waiting_first];
        f->waiting_first = (f->waiting_first + 1) % LIMIT_ACCEPTS_WAITING;
        f->waiting_count--;
        session_open(f, next.fd, next.door);
    }
}

/* ---- handing over ---- */

/* HANDOVER and nothing in flight: the connection is packed and mailed to control; the session ends. */
static void session_hand_over(struct front *f, struct session *s) {
    uint16_t parcel_idx;
    if (s->is_websocket && !session_unwrap(f, s)) return;  // what has come since the login
    if (!parcel_take(&f->parcels, &parcel_idx)) {
        session_refuse(f, s, REFUSE_BUFFERS_FULL);
        return;
    }
    struct parcel *parcel = &f->parcels.parcels[parcel_idx];
    struct mail login = {
        .kind = MAIL_LOGIN, .parcel_idx = parcel_idx, .key = s->login.key, .conn_id = ++f->conn_id_last};
    struct conn_value value;
    session_value(f, s, login.conn_id, &value);
    conn_value_present(&value, &login.present);
    value.fd = ring_socket_detach(&s->socket);
    struct writer w = writer_of(parcel->bytes, sizeof(parcel->bytes));
    CHECK(conn_value_pack(&value, &w));  // the bound of every part is below PARCEL_BYTES_MAX
    sodium_memzero(&value, sizeof(value));
    parcel->size = (uint32_t)(w.at - parcel->bytes);
    CHECK(lane_push(f->links.to_control, &login));  // as long as there are parcels
    f->has_mail_for_control = true;
    stat_add(&f->metrics->logins, 1);
    session_leave(f, s);
    session_free(f, s);
}

/* ---- what arrives ---- */

static void refuse_head(struct front *f, struct session *s, uint16_t status) {
    s->close_reason = REFUSE_HTTP_BAD;
    session_answer_error(s, status, NULL);
    session_enter(f, s, SESSION_RESPONDING, RESPONSE_TIMEOUT_S * NS_PER_S);
    session_send(f, s);
}

/* HEAD: as soon as the head is complete, the request is answered or the connection is upgraded. */
static void head_step(struct front *f, struct session *s) {
    bool is_first_look = s->request_size == 0;
    if (s->in_size < s->request_size) return;  // its body is still to come
    enum http_progress progress = http_request_parse(&s->scan, s->in, s->in_size, &f->request);
    if (progress == HTTP_MORE) return;  // a head that is too long is BAD
    if (progress == HTTP_BAD) {
        refuse_head(f, s, f->request.status);
        return;
    }
    if (is_first_look) {
        stat_add(&f->metrics->http_requests, 1);
        count_tls_request(f, s, true);
    }
    s->scan = (struct http_scan){0};
    s->request_size = 0;
    if (session_wants_derp(f, s, &f->request)) {
        session_upgrade(f, s, &f->request);
        return;
    }
    session_answer(f, s, &f->request);
    if (s->in_size < s->request_size) return;
    session_consume(s, max_of((size_t)s->request_size, f->request.head_size));
    s->request_size = 0;
    if (s->phase == SESSION_RECHECK) return;
    session_enter(f, s, SESSION_RESPONDING, RESPONSE_TIMEOUT_S * NS_PER_S);
    session_send(f, s);
}

/* Goes as far as the bytes that are there allow. */
static void session_step(struct front *f, struct session *s) {
    session_pull(f, s);
    if (s->phase == SESSION_HEAD) head_step(f, s);
    bool is_accepted = s->phase == SESSION_LOGIN && session_login_step(f, s);
    if (is_accepted && s->out_size == 0 && !s->is_sending && !s->is_receiving) {
        session_hand_over(f, s);
        return;
    }
    bool wants_more = s->phase == SESSION_HANDSHAKE || s->phase == SESSION_HEAD || s->phase == SESSION_LOGIN;
    if (wants_more) session_receive(f, s);
}

/* A close with bytes unread is a reset, which may overtake the answer. So they are read, for a while and up to a
 * size. */
static void drain(struct front *f, struct session *s) {
    s->in_size = s->raw_size = 0;
    s->in = s->own_in;
    s->in_room = sizeof(s->own_in);
    uint64_t timeout_ms = s->is_close_said ? DRAIN_CLOSED_MS : DRAIN_MS;
    if (s->phase != SESSION_DRAINING) session_enter(f, s, SESSION_DRAINING, timeout_ms * NS_PER_MS);
    session_receive(f, s);
}

static void on_drained(struct front *f, struct session *s, uint32_t size) {
    s->drained_size += size;
    if (s->drained_size > DRAIN_BYTES_MAX) {
        session_refuse(f, s, s->close_reason);
        return;
    }
    drain(f, s);
}

static void on_received(struct front *f, struct session *s, const struct ring_event *event) {
    s->is_receiving = false;
    if (event->result <= 0) {
        session_refuse(f, s, s->phase == SESSION_DRAINING ? s->close_reason : REFUSE_GONE);
        return;
    }
    if (s->phase == SESSION_DRAINING) {
        on_drained(f, s, (uint32_t)event->result);
        return;
    }
    session_take_bytes(s, event->bytes, (size_t)event->result);
    if (s->phase == SESSION_HANDOVER) {
        if (s->out_size == 0 && !s->is_sending) session_hand_over(f, s);
        return;
    }
    session_step(f, s);
}

static void after_response(struct front *f, struct session *s) {
    if (f->traffic.reader == s) {  // whose response goes on
        traffic_on_sent(f);
        return;
    }
    count_tls_request(f, s, false);
    if (s->is_close_after_send && s->is_drain_after_send) {
        session_say_goodbye(f, s);
        record_fini(&s->record);  // nothing may follow it
        drain(f, s);
        return;
    }
    if (s->is_close_after_send) {
        session_refuse(f, s, s->close_reason);
        return;
    }
    session_enter(f, s, SESSION_HEAD, SESSION_HEAD_TIMEOUT_S * NS_PER_S);
    session_step(f, s);
}

/* ServerKey is out: from now on ten seconds for ClientInfo. Or it was a pong, which gives no more time. */
static void on_login_sent(struct front *f, struct session *s) {
    if (!s->is_greeted) session_enter(f, s, SESSION_LOGIN, SESSION_LOGIN_TIMEOUT_S * NS_PER_S);
    s->is_greeted = true;
    session_pay_pong(f, s);
}

static void on_sent(struct front *f, struct session *s, const struct ring_event *event) {
    if (event->result <= 0) {
        session_refuse(f, s, REFUSE_GONE);
        return;
    }
    if (!session_on_sent(f, s, (uint32_t)event->result)) return;
    switch (s->phase) {
        case SESSION_HANDSHAKE:
            if (s->is_close_after_send) {
                session_refuse(f, s, REFUSE_TLS);
            } else {
                session_step(f, s);
            }
            return;
        case SESSION_HEAD: return;  // the last flight of the handshake
        case SESSION_RESPONDING: after_response(f, s); return;
        case SESSION_LOGIN: on_login_sent(f, s); return;
        case SESSION_HANDOVER:
            if (!s->is_receiving) session_hand_over(f, s);  // else when what was asked for has come
            return;
        case SESSION_RECHECK: return;  // nothing is under way
        case SESSION_DRAINING: return;  // TLS's goodbye
        case SESSION_CLOSING: return;
    }
}

/* Who comes too fast is closed at once: then nobody waits in the kernel's queue, and the client comes again later. */
static void open_or_reject(struct front *f, int fd, enum front_door door) {
    trace_accept(fd, door, f->open_count);
    bool is_counted = door == DOOR_MAIN && f->options.identity;
    if (is_counted && !accept_limit_take(&f->accept_limit, f->now_ns)) {
        stat_add(&f->metrics->tls_rejected, 1);
        stat_add(&f->metrics->refusals[REFUSE_ACCEPT_LIMIT], 1);
        trace_refuse(fd, REFUSE_ACCEPT_LIMIT, NULL, 0);
        ring_close_fd(f->ring, fd);
        return;
    }
    if (is_counted) stat_add(&f->metrics->tls_accepted, 1);
    session_open_or_wait(f, fd, door);
}

/* Without file descriptors accepting would fail at once again and again. */
static void on_accepted(struct front *f, const struct ring_event *event) {
    uint32_t suppressed;
    struct front_listener *listener = container_of(event->socket, struct front_listener, socket);
    if (event->result >= 0) {
        open_or_reject(f, event->result, (enum front_door)f->options.doors[listener - f->listeners]);
        return;
    }
    ring_accept_pause(f->ring, &listener->socket);
    wheel_arm(&f->wheel, &listener->resume_timer, f->now_ns + ACCEPT_PAUSE_MS * NS_PER_MS);
    evict(f);
    if (!log_limit_allows(&f->accept_log, f->now_ns, &suppressed)) return;
    log_line(LOG_WARNING,
             "cannot accept: %s (and %u more times); raise the limit of open files or lower "
             "-max-connections",
             strerror(-event->result), suppressed);
}

static void on_node_event(struct front *f, const struct ring_event *event) {
    int fd = node_on_event(f->node, event, f->now_ns);
    if (fd >= 0) session_open_or_wait(f, fd, DOOR_NODE);
}

static void on_event(struct front *f, const struct ring_event *event) {
    if (event->handle == NODE_HANDLE) {
        on_node_event(f, event);
        return;
    }
    if (event->op == RING_ACCEPTED) {
        on_accepted(f, event);
        return;
    }
    struct session *s = pool_find(&f->sessions, event->handle);
    CHECK(s != NULL);  // it lives until RING_CLOSED, the last event of its socket
    if (event->op == RING_CLOSED) {
        session_free(f, s);
        return;
    }
    /* Handling may end with a hand-over, after which the session is gone. */
    bool is_alive = s->phase != SESSION_CLOSING;
    if (is_alive && event->op == RING_RECEIVED) {
        on_received(f, s, event);
    } else if (is_alive && event->op == RING_SENT) {
        on_sent(f, s, event);
    }
    if (event->bytes) ring_give_back(f->ring, event);
}

/* ---- mail ---- */

/* Control could not place the connection: it ends here, where it began. */
static void refuse_parcel(struct front *f, uint16_t parcel_idx) {
    stat_add(&f->metrics->refusals[REFUSE_RELAY_FULL], 1);
    trace_refuse(parcel_discard(f->ring, &f->parcels.parcels[parcel_idx]), REFUSE_RELAY_FULL, NULL, 0);
}

static void take_bootstrap(struct front *f, struct bootstrap_table *table) {
    struct bootstrap_table **place = table->is_published ? &f->bootstrap_published : &f->bootstrap_hidden;
    free(*place);
    *place = table;
}

static void take_mail(struct front *f, struct lane *lane) {
    struct mail mail;
    while (lane_pop(lane, &mail)) {
        if (mail.kind == MAIL_STOP) {
            f->is_stopped = true;
            continue;
        }
        if (mail.kind == MAIL_IDENTITY) {
            tls_identity_give(f->options.identity);  // handshakes under way hold their own references
            f->options.identity = mail.identity;
            continue;
        }
        if (mail.kind == MAIL_BOOTSTRAP) {
            take_bootstrap(f, mail.bootstrap);
            continue;
        }
        if (mail.kind == MAIL_RATE) {
            f->options.rate = mail.rate;
            continue;
        }
        if (mail.kind == MAIL_TOKENS) {
            tokens_free(f->options.tokens);
            f->options.tokens = mail.tokens;
            continue;
        }
        if (mail.kind == MAIL_DUMP) {
            traffic_on_dump(f, mail.dump);
            continue;
        }
        if (mail.kind == MAIL_ALLOWED) {
            node_desk_set_allowed(&f->node->desk, mail.allowed);
            continue;
        }
        CHECK(mail.kind == MAIL_PARCEL_BACK);
        if (mail.is_refused) refuse_parcel(f, mail.parcel_idx);
        parcel_give(&f->parcels, mail.parcel_idx);
    }
}

/* ---- the pass ---- */

static void on_session_timer(struct front *f, struct session *s) {
    if (s->phase != SESSION_RECHECK) {
        session_refuse(f, s, s->phase == SESSION_DRAINING ? s->close_reason : REFUSE_TIMEOUT);
        return;
    }
    session_recheck(f, s);
    session_enter(f, s, SESSION_RESPONDING, RESPONSE_TIMEOUT_S * NS_PER_S);
    session_send(f, s);
}

static void phase_timers(struct front *f) {
    struct wheel_timer *timer;
    while ((timer = wheel_pop(&f->wheel, f->now_ns)) != NULL) {
        if (timer->kind == TIMER_SESSION) {
            on_session_timer(f, container_of(timer, struct session, timer));
            continue;
        }
        if (timer->kind == TIMER_TRAFFIC) {
            traffic_on_timer(f);
            continue;
        }
        struct front_listener *listener = container_of(timer, struct front_listener, resume_timer);
        if (ring_socket_is_idle(&listener->socket)) {
            ring_accept(f->ring, &listener->socket);
        } else {
            wheel_arm(&f->wheel, timer, f->now_ns + ACCEPT_PAUSE_MS * NS_PER_MS);
        }
    }
}

static void start_listening(struct front *f) {
    for (unsigned i = 0; i < f->options.listeners_count; i++) ring_accept(f->ring, &f->listeners[i].socket);
    f->is_listening = true;
}

/* why at every second whatever the table says: others allocate, too, and do not wake this thread. */
static uint64_t end_endpoints(struct front *f) {
    if (f->now_ns >= f->endpoints_due_ns) {
        bool has_more = allocator_step(f->links.allocator, f->metrics, f->now_ns) <= f->now_ns;
        f->endpoints_due_ns = has_more ? f->now_ns : f->now_ns + NS_PER_S;
    }
    return f->endpoints_due_ns;
}

uint64_t front_step(struct front *f, uint64_t now_ns) {
    f->now_ns = now_ns;
    if (!f->is_listening) start_listening(f);
    size_t count = ring_reap(f->ring, f->events, LIMIT_EVENTS_PER_PASS);
    for (size_t i = 0; i < count; i++) on_event(f, &f->events[i]);
    uint64_t node_due_ns = f->node ? node_step(f->node, now_ns) : TIME_NEVER;
    phase_waiting(f);
    take_mail(f, f->links.from_main);
    take_mail(f, f->links.from_control);
    take_mail(f, f->links.from_office);
    for (uint32_t i = 0; i < f->links.workers_count; i++) take_mail(f, f->links.from_workers[i]);
    phase_timers(f);
    if (f->has_mail_for_control && lane_flush(f->links.to_control)) ring_wake(f->ring, f->links.control_ring);
    f->has_mail_for_control = false;
    if (log_flush()) ring_wake(f->ring, f->links.office_ring);
    stat_add(&f->metrics->passes, 1);
    uint64_t next_ns = wheel_next_ns(&f->wheel);
    next_ns = min_of(next_ns, node_due_ns);
    return f->links.allocator ? min_of(next_ns, end_endpoints(f)) : next_ns;
}

bool front_may_sleep(struct front *f) {
    if (lane_has_mail(f->links.from_main)) return false;
    if (lane_has_mail(f->links.from_control) || lane_has_mail(f->links.from_office)) return false;
    for (uint32_t i = 0; i < f->links.workers_count; i++) {
        if (lane_has_mail(f->links.from_workers[i])) return false;
    }
    return true;
}
