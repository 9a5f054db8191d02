#include "relay/conn.h"

#include <sodium.h>

#include "core/check.h"
#include "relay/conn_io.h"
#include "relay/peer.h"
#include "relay/trace.h"
#include "relay/worker.h"

/* ---- arriving ---- */

/* The stream's state travels field by field, because its struct also holds a pointer. A field that is added to
 * DERP_STREAM_FIELDS has to be added here and to CONN_FIELDS. */
#define COUNT_ONE(type, name, array) +1
_Static_assert(0 DERP_STREAM_FIELDS(COUNT_ONE) == 6, "derp_stream has fields that conn_value does not carry");

static bool restore_stream(struct worker *w, struct conn *conn) {
    struct derp_stream *s = &conn->r.stream;
    const struct conn_value *v = &conn->v;
    *s = (struct derp_stream){.side = v->stream_side,
                              .phase = v->stream_phase,
                              .verdict = v->stream_verdict,
                              .header_have = v->stream_header_have,
                              .have = v->stream_have};
    memcpy(s->header, v->stream_header, sizeof(s->header));
    if (s->phase == DERP_STREAM_FILLING) {
        conn->r.partial = worker_take_packet(w, DERP_HEADER_SIZE + derp_stream_length(s));
        if (conn->r.partial == NULL) return false;
        w->partial_bytes += packet_cost(conn->r.partial);
        if (v->partial.size != s->have) return false;
        memcpy(conn->r.partial->frame + DERP_HEADER_SIZE, v->partial.bytes, v->partial.size);
        derp_stream_rehome(s, conn->r.partial->frame + DERP_HEADER_SIZE);
    }
    return derp_stream_is_valid(s);
}

/* A blob of the value becomes a packet of our own; an empty one none. */
static bool restore_packet(struct worker *w, const struct conn_blob *blob,
                           struct packet *(*take)(struct worker *w, size_t size), struct packet **ret) {
    *ret = NULL;
    if (blob->size == 0) return true;
    if (blob->size > LIMIT_CHUNK_MAX || (*ret = take(w, blob->size)) == NULL) return false;
    memcpy((*ret)->frame, blob->bytes, blob->size);
    (*ret)->size = blob->size;
    return true;
}

static struct packet *take_unsent(struct worker *w, size_t size) { return worker_take_chunk(w, size, false); }

static bool restore_record(struct conn *conn) {
    if (conn->v.transport != TRANSPORT_TLS) return conn->v.transport == TRANSPORT_PLAIN;
    conn_value_to_record(&conn->v, &conn->r.record);
    sodium_memzero(conn->v.record_in_secret, sizeof(conn->v.record_in_secret));
    sodium_memzero(conn->v.record_out_secret, sizeof(conn->v.record_out_secret));
    conn->r.close_alert = ALERT_CLOSE_NOTIFY;
    return record_rederive(&conn->r.record);
}

/* One that is broken or closed is not handed over. */
static bool restore_websocket(struct conn *conn) {
    if (!conn->v.is_websocket) return true;
    conn_value_to_websocket(&conn->v, &conn->r.websocket);
    return websocket_is_valid(&conn->r.websocket) && conn->r.websocket.phase < WEBSOCKET_IS_CLOSED;
}

static bool restore(struct worker *w, struct conn *conn) {
    struct packet *urgent = NULL;
    if (!restore_record(conn) || !restore_websocket(conn) || !restore_stream(w, conn) ||
        !restore_packet(w, &conn->v.unsent, take_unsent, &conn->r.sending) ||
        !restore_packet(w, &conn->v.urgent, worker_take_packet, &urgent)) {
        return false;
    }
    if (urgent) queue_push(&conn->r.urgent, urgent);
    /* The blobs' memory is the parcel's; what came behind the login is still needed: the parcel is kept until GO. */
    conn->v.partial = conn->v.unsent = conn->v.urgent = (struct conn_blob){0};
    return true;
}

/* What has come in part will not be completed any more. */
static void give_incomplete(struct worker *w, struct conn *conn) {
    if (conn->r.partial) w->partial_bytes -= packet_cost(conn->r.partial);
    if (conn->r.partial) packet_give(&w->packets, conn->r.partial);
    if (conn->r.raw) packet_give(&w->packets, conn->r.raw);
    conn->r.partial = conn->r.raw = NULL;
    worker_note_holder(w, conn);
}

static void give_packets(struct worker *w, struct conn *conn) {
    struct packet *packet;
    conn_drop_chunk(w, conn);
    while ((packet = queue_pop(&conn->r.urgent)) != NULL) packet_give(&w->packets, packet);
    while ((packet = queue_pop(&conn->r.farewells)) != NULL) packet_give(&w->packets, packet);
    give_incomplete(w, conn);
}

bool conn_may_give_up(const struct worker *w, const struct conn *conn) {
    return conn->r.raw == NULL || w->now_ns >= conn->r.holder_since_ns + NS_PER_S;
}

void conn_give_up_incomplete(struct worker *w, struct conn *conn) {
    if (conn->r.is_closing) return;
    if (conn->r.raw) {
        conn_close(w, conn, CLOSE_NO_MEMORY);
        return;
    }
    derp_stream_discard(&conn->r.stream);
    give_incomplete(w, conn);
}

struct conn *conn_adopt(struct worker *w, struct peer *peer, uint16_t parcel_idx) {
    const struct parcel *parcel = &w->links.parcels[parcel_idx];
    struct conn *conn = pool_take(&w->conns);
    if (conn == NULL) return NULL;
    conn->r.parcel_idx = parcel_idx;
    conn->r.has_parcel = true;
    conn->r.keepalive_timer.kind = CONN_TIMER_KEEPALIVE;
    conn->r.write_timer.kind = CONN_TIMER_WRITE;
    conn->r.read_timer.kind = CONN_TIMER_READ;
    CHECK(conn_value_unpack(&conn->v, parcel->bytes, parcel->size));  // the front has packed it
    if (!restore(w, conn)) {
        give_packets(w, conn);
        record_fini(&conn->r.record);
        pool_give(&w->conns, conn);
        return NULL;
    }
    worker_note_holder(w, conn);
    conn->r.heard_ns = w->now_ns;
    ring_socket_init(&conn->r.socket, conn->v.fd, pool_handle_of(&w->conns, conn));
    sender_holder_init(&w->senders, &conn->r.senders);
    conn->r.source_hash = worker_source_hash(w, &peer->key);
    conn_set_rate(w, conn);
    peer_join(w, peer, conn);
    if (conn->v.is_watching) watcher_start(w, conn);
    trace_login(conn->v.conn_id, w->idx, conn->v.fd, conn->v.transport, conn->v.is_websocket, peer->key.bytes);
    stat_add(&w->metrics->connections, 1);
    if (conn->v.transport == TRANSPORT_TLS) stat_add(&w->metrics->tls_active, 1);
    if (conn->v.is_preferred) stat_add(&w->metrics->home_connections, 1);
    if (conn->v.is_not_ideal) stat_add(&w->metrics->notideal_connections, 1);
    return conn;
}

static void give_parcel_back(struct worker *w, struct conn *conn) {
    if (!conn->r.has_parcel) return;
    struct parcel *parcel = &w->links.parcels[conn->r.parcel_idx];
    conn->r.has_parcel = false;
    conn->v.opened = conn->v.unopened = (struct conn_blob){0};
    sodium_memzero(parcel->bytes, parcel->size);  // it held the connection's secrets
    worker_mail_front(w, &(struct mail){.kind = MAIL_PARCEL_BACK, .parcel_idx = conn->r.parcel_idx});
}

/* ---- leaving ---- */

/* TLS and WebSocket say goodbye, unless the socket has failed, the other side has been rude, or a send is in flight
 * already. */
static bool may_say_why(const struct conn *conn, enum close_reason reason) {
    bool is_broken = reason == CLOSE_RECEIVE_ERROR || reason == CLOSE_SEND_ERROR || reason == CLOSE_WRITE_TIMEOUT ||
                     reason == CLOSE_TLS_ALERT;
    bool has_words = conn->v.transport == TRANSPORT_TLS || conn->v.is_websocket;
    return has_words && !is_broken && !conn->r.is_sealing_broken && conn->r.sending == NULL;
}

void conn_close(struct worker *w, struct conn *conn, enum close_reason reason) {
    if (conn->r.is_closing) return;
    conn->r.is_closing = true;
    enum close_reason first_reason = conn->r.ending ? (enum close_reason)conn->r.ending_reason : reason;
    stat_add(&w->metrics->closes[first_reason], 1);
    trace_close(conn->v.conn_id, w->idx, first_reason, conn->v.packets_received, conn->v.packets_sent,
                conn->r.peer->backlog.bytes);
    if (reason == CLOSE_WRITE_TIMEOUT) stat_add(&w->metrics->write_timeouts, 1);
    wheel_disarm(&w->wheel, &conn->r.keepalive_timer);
    wheel_disarm(&w->wheel, &conn->r.write_timer);
    wheel_disarm(&w->wheel, &conn->r.read_timer);
    sender_holder_fini(&w->senders, &conn->r.senders);
    watcher_stop(w, conn);
    give_parcel_back(w, conn);
    give_incomplete(w, conn);
    if (may_say_why(conn, reason)) conn_say_goodbye(w, conn);
    bool is_stalled = reason == CLOSE_WRITE_TIMEOUT || reason == CLOSE_WATCH_BEHIND;
    /* A peer that does not read would keep our unsent bytes in the kernel; a polite one gets a FIN. */
    ring_close_socket(w->ring, &conn->r.socket, is_stalled);
}

/* The object is ours again: everything goes back, and control hears of it. */
static void on_closed(struct worker *w, struct conn *conn) {
    struct peer *peer = conn->r.peer;
    struct mail left = {.kind = MAIL_LEFT,
                        .where = peer->where,
                        .conn_id = conn->v.conn_id,
                        .key = peer->key,
                        .has_watched = conn->r.watcher.has_told};
    conn_make_clean(w, conn);  // it may have found no chunk when it was flushed
    if (!conn->r.ending) peer_leave(w, peer, conn);
    const struct conn *active = peer_active(peer);
    if (active) conn_value_present(&active->v, &left.present);
    give_packets(w, conn);
    stat_sub(&w->metrics->connections, 1);
    if (conn->v.transport == TRANSPORT_TLS) stat_sub(&w->metrics->tls_active, 1);
    if (conn->v.is_preferred) stat_sub(&w->metrics->home_connections, 1);
    if (conn->v.is_not_ideal) stat_sub(&w->metrics->notideal_connections, 1);
    record_fini(&conn->r.record);
    pool_give(&w->conns, conn);
    worker_mail_control(w, &left);
}

/* ---- events and timers ---- */

void conn_start(struct worker *w, struct conn *conn) {
    if (conn->v.is_started || conn->r.is_closing) return;
    conn->v.is_started = true;
    wheel_arm(&w->wheel, &conn->r.keepalive_timer, conn->v.keepalive_due_ns);
    rtt_note_start(w, conn);
    conn_make_dirty(w, conn);
    conn_on_plain(w, conn, conn->v.opened.bytes, conn->v.opened.size, NULL);
    if (!conn->r.is_closing) conn_on_bytes(w, conn, conn->v.unopened.bytes, conn->v.unopened.size);
    if (conn->r.is_closing) return;
    give_parcel_back(w, conn);
    conn_read_start(w, conn);
}

static void on_received(struct worker *w, struct conn *conn, const struct ring_event *event) {
    if (event->result > 0) {
        conn_read_account(w, conn, (size_t)event->result);
        conn_on_bytes(w, conn, event->bytes, (size_t)event->result);
        conn_read_on_bytes(w, conn, (size_t)event->result);
    } else {
        conn_close(w, conn, event->result == 0 ? CLOSE_EOF : CLOSE_RECEIVE_ERROR);
    }
}

void conn_on_event(struct worker *w, struct conn *conn, const struct ring_event *event) {
    if (event->op == RING_CLOSED) {
        on_closed(w, conn);
        return;
    }
    if (!conn->r.is_closing) {
        if (event->op == RING_RECEIVED) on_received(w, conn, event);
        if (event->op == RING_SENT) conn_on_sent(w, conn, event);
        if (event->op == RING_RECEIVE_PAUSED) conn_read_on_paused(w, conn);
    }
    if (event->bytes) ring_give_back(w->ring, event);
}

void conn_on_keepalive_timer(struct worker *w, struct conn *conn) {
    conn->r.is_keepalive_due = true;
    conn->v.keepalive_due_ns += conn->v.keepalive_period_ns;
    wheel_arm(&w->wheel, &conn->r.keepalive_timer, conn->v.keepalive_due_ns);
    conn_make_dirty(w, conn);
}
