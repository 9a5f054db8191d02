#include "relay/conn.h"

#include "core/check.h"
#include "relay/forward.h"
#include "relay/peer.h"
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
        if (conn->r.partial == NULL || v->partial.size != s->have) return false;
        memcpy(conn->r.partial->frame + DERP_HEADER_SIZE, v->partial.bytes, v->partial.size);
        derp_stream_rehome(s, conn->r.partial->frame + DERP_HEADER_SIZE);
    }
    return derp_stream_is_valid(s);
}

/* A blob of the value becomes a packet of our own; an empty one none. */
static bool restore_packet(struct worker *w, const struct conn_blob *blob, struct packet **ret) {
    *ret = NULL;
    if (blob->size == 0) return true;
    if (blob->size > LIMIT_FRAME_SIZE_MAX || (*ret = packet_take(&w->packets, blob->size)) == NULL) return false;
    memcpy((*ret)->frame, blob->bytes, blob->size);
    (*ret)->size = blob->size;
    return true;
}

static bool restore(struct worker *w, struct conn *conn) {
    struct packet *urgent = NULL;
    if (!restore_stream(w, conn) || !restore_packet(w, &conn->v.unsent, &conn->r.sending) ||
        !restore_packet(w, &conn->v.urgent, &urgent)) {
        return false;
    }
    if (urgent) queue_push(&conn->r.urgent, urgent);
    /* The blobs' memory is the parcel's; only `unopened` is still needed, and the parcel is kept until GO. */
    conn->v.partial = conn->v.unsent = conn->v.urgent = (struct conn_blob){0};
    return true;
}

struct conn *conn_adopt(struct worker *w, struct peer *peer, uint16_t parcel_idx) {
    const struct parcel *parcel = &w->links.parcels[parcel_idx];
    struct conn *conn = pool_take(&w->conns);
    if (conn == NULL) return NULL;
    conn->r.parcel_idx = parcel_idx;
    conn->r.has_parcel = true;
    conn->r.keepalive_timer.kind = CONN_TIMER_KEEPALIVE;
    conn->r.write_timer.kind = CONN_TIMER_WRITE;
    if (!conn_value_unpack(&conn->v, parcel->bytes, parcel->size) || !restore(w, conn)) {
        pool_give(&w->conns, conn);
        return NULL;
    }
    ring_socket_init(&conn->r.socket, conn->v.fd, pool_handle_of(&w->conns, conn));
    sender_holder_init(&w->senders, &conn->r.senders);
    peer_join(w, peer, conn);
    stat_add(&w->metrics->connections, 1);
    if (conn->v.is_preferred) stat_add(&w->metrics->home_connections, 1);
    if (conn->v.is_not_ideal) stat_add(&w->metrics->notideal_connections, 1);
    return conn;
}

static void give_parcel_back(struct worker *w, struct conn *conn) {
    if (!conn->r.has_parcel) return;
    conn->r.has_parcel = false;
    conn->v.unopened = (struct conn_blob){0};
    worker_mail_front(w, &(struct mail){.kind = MAIL_PARCEL_BACK, .parcel_idx = conn->r.parcel_idx});
}

/* ---- leaving ---- */

/* Which packets of an unfinished chunk were delivered only the other side knows: all of them count as lost. */
static void drop_chunk(struct worker *w, struct conn *conn) {
    struct packet *chunk = conn->r.sending;
    if (chunk == NULL) return;
    conn->r.sending = NULL;
    for (int kind = 0; kind < PACKET_KIND_COUNT; kind++) {
        stat_add(&w->metrics->packets_dropped[DROP_WRITE_ERROR][kind], chunk->relayed[kind]);
        stat_add(&w->metrics->bytes_dropped[DROP_WRITE_ERROR][kind], chunk->relayed_bytes[kind]);
    }
    packet_give(&w->packets, chunk);
}

static void give_packets(struct worker *w, struct conn *conn) {
    struct packet *packet;
    drop_chunk(w, conn);
    while ((packet = queue_pop(&conn->r.urgent)) != NULL) packet_give(&w->packets, packet);
    if (conn->r.partial) packet_give(&w->packets, conn->r.partial);
    conn->r.partial = NULL;
}

void conn_close(struct worker *w, struct conn *conn, enum close_reason reason) {
    if (conn->r.is_closing) return;
    conn->r.is_closing = true;
    stat_add(&w->metrics->closes[reason], 1);
    if (reason == CLOSE_WRITE_TIMEOUT) stat_add(&w->metrics->write_timeouts, 1);
    wheel_disarm(&w->wheel, &conn->r.keepalive_timer);
    wheel_disarm(&w->wheel, &conn->r.write_timer);
    sender_holder_fini(&w->senders, &conn->r.senders);
    give_parcel_back(w, conn);
    /* A peer that does not read would keep our unsent bytes in the kernel; a polite one gets a FIN. */
    ring_close_socket(w->ring, &conn->r.socket, reason == CLOSE_WRITE_TIMEOUT);
}

/* The object is ours again: everything goes back, and control hears of it. */
static void on_closed(struct worker *w, struct conn *conn) {
    struct peer *peer = conn->r.peer;
    struct mail left = {.kind = MAIL_LEFT, .where = peer->where, .conn_id = conn->v.conn_id, .key = peer->key};
    peer_leave(w, peer, conn);
    give_packets(w, conn);
    stat_sub(&w->metrics->connections, 1);
    if (conn->v.is_preferred) stat_sub(&w->metrics->home_connections, 1);
    if (conn->v.is_not_ideal) stat_sub(&w->metrics->notideal_connections, 1);
    pool_give(&w->conns, conn);
    worker_mail_control(w, &left);
}

/* ---- the way in ---- */

static enum close_reason reason_of(enum derp_verdict verdict) {
    switch (verdict) {
        case DERP_REFUSE_TOO_SHORT: return CLOSE_FRAME_TOO_SHORT;
        case DERP_REFUSE_TOO_LONG: return CLOSE_FRAME_TOO_LONG;
        case DERP_REFUSE_NOT_PERMITTED: return CLOSE_FRAME_FORBIDDEN;
        default: return CLOSE_FRAME_LENGTH;
    }
}

static void on_ping(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    const uint8_t *data;
    stat_add(&w->metrics->got_ping, 1);
    /* One pong may be owed at a time: the only brake on pings, and enough of one. */
    if (conn->v.is_pong_owed || !derp_read_ping(frame->payload, frame->length, &data)) return;
    memcpy(conn->v.pong, data, sizeof(conn->v.pong));
    conn->v.is_pong_owed = true;
    conn_make_dirty(w, conn);
}

/* A client that calls this relay its home as its first act moves nowhere: moves count after five seconds. */
static void on_note_preferred(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    bool is_home;
    if (!derp_read_note_preferred(frame->payload, frame->length, &is_home) || is_home == conn->v.is_preferred) return;
    conn->v.is_preferred = is_home;
    bool is_move = w->now_ns - conn->v.connected_ns > 5 * NS_PER_S;
    if (is_home) {
        stat_add(&w->metrics->home_connections, 1);
        if (is_move) stat_add(&w->metrics->home_moves_in, 1);
    } else {
        stat_sub(&w->metrics->home_connections, 1);
        if (is_move) stat_add(&w->metrics->home_moves_out, 1);
    }
}

static void on_send(struct worker *w, struct conn *conn, const struct derp_frame_view *frame, struct packet *carrier) {
    struct derp_send send;
    if (!derp_read_send(frame->payload, frame->length, &send)) {
        if (carrier) packet_give(&w->packets, carrier);
        return;
    }
    if (carrier) {
        stat_add(&w->metrics->frames_copied, 1);
        carrier->size = DERP_HEADER_SIZE + frame->length;
        struct writer head = writer_of(carrier->frame, DERP_HEADER_SIZE);
        derp_write_header(&head, DERP_SEND_PACKET, frame->length);
    }
    forward_from_client(w, conn, &send, carrier);
}

/* Any frame makes its connection the active one of the key. `carrier` is set when the frame was collected in a slot. */
static void on_frame(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    struct packet *carrier = conn->r.partial;
    conn->r.partial = NULL;
    if (conn->r.peer->conns_count > 1) peer_promote(w, conn->r.peer, conn);
    if (frame->type == DERP_SEND_PACKET) {
        on_send(w, conn, frame, carrier);
        return;
    }
    if (frame->type == DERP_PING) {
        on_ping(w, conn, frame);
    } else if (frame->type == DERP_NOTE_PREFERRED) {
        on_note_preferred(w, conn, frame);
    } else {
        conn_close(w, conn, CLOSE_FRAME_UNSUPPORTED);
    }
    if (carrier) packet_give(&w->packets, carrier);
}

/* A frame straddles the end of what has arrived: it is collected in a slot that can become the packet. */
static void collect(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    conn->r.partial = worker_take_packet(w, DERP_HEADER_SIZE + frame->length);
    if (conn->r.partial) {
        derp_stream_give_space(&conn->r.stream, conn->r.partial->frame + DERP_HEADER_SIZE);
    } else {
        derp_stream_discard(&conn->r.stream);
    }
}

static void on_discarded(struct worker *w, const struct derp_frame_view *frame) {
    size_t data_size = frame->length > KEY_SIZE ? frame->length - KEY_SIZE : 0;
    if (frame->type == DERP_SEND_PACKET) metrics_drop(w->metrics, DROP_POOL_EMPTY, false, data_size);
}

static void on_skipped(struct worker *w, struct conn *conn) {
    stat_add(&w->metrics->unknown_frames, 1);
    if (conn->r.peer->conns_count > 1) peer_promote(w, conn->r.peer, conn);
}

/* Everything in `bytes`, which may be rewritten, is parsed and acted on. */
static void on_bytes(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size) {
    struct reader in = reader_of(bytes, size);
    struct derp_frame_view frame;
    while (!conn->r.is_closing) {
        switch (derp_stream_next(&conn->r.stream, &in, &frame)) {
            case DERP_STREAM_NEED_INPUT: return;
            case DERP_STREAM_FRAME: on_frame(w, conn, &frame); break;
            case DERP_STREAM_NEED_SPACE: collect(w, conn, &frame); break;
            case DERP_STREAM_SKIPPED: on_skipped(w, conn); break;
            case DERP_STREAM_DISCARDED: on_discarded(w, &frame); break;
            case DERP_STREAM_BAD: conn_close(w, conn, reason_of(frame.verdict)); break;
        }
    }
}

static void on_received(struct worker *w, struct conn *conn, const struct ring_event *event) {
    if (event->result > 0) {
        on_bytes(w, conn, event->bytes, (size_t)event->result);
    } else {
        conn_close(w, conn, event->result == 0 ? CLOSE_EOF : CLOSE_RECEIVE_ERROR);
    }
}

/* ---- the way out ---- */

static void arm_write_timer(struct worker *w, struct conn *conn) {
    if (w->write_timeout_ns == 0) return;
    conn->v.write_deadline_ns = w->now_ns + w->write_timeout_ns;
    wheel_arm(&w->wheel, &conn->r.write_timer, conn->v.write_deadline_ns);
}

static void send_rest(struct worker *w, struct conn *conn) {
    struct packet *chunk = conn->r.sending;
    ring_send(w->ring, &conn->r.socket, chunk->frame + chunk->sent, chunk->size - chunk->sent);
    stat_add(&w->metrics->sends, 1);
}

void conn_make_dirty(struct worker *w, struct conn *conn) {
    if (conn->r.is_dirty || conn->r.is_closing) return;
    conn->r.is_dirty = true;
    conn->r.dirty_next = w->dirty;
    w->dirty = conn;
}

static void seal_urgent(struct conn *conn, struct packet_pool *packets, struct writer *chunk) {
    while (!queue_is_empty(&conn->r.urgent) && conn->r.urgent.head->size <= writer_left(chunk)) {
        struct packet *packet = queue_pop(&conn->r.urgent);
        writer_copy(chunk, packet->frame, packet->size);
        packet_give(packets, packet);
    }
}

static void seal_small(struct worker *w, struct conn *conn, struct writer *chunk) {
    if (conn->v.is_pong_owed) {
        derp_write_pong(chunk, conn->v.pong);
        conn->v.is_pong_owed = false;
        stat_add(&w->metrics->sent_pong, 1);
    }
    if (conn->r.is_keepalive_due) {
        derp_write_keep_alive(chunk);
        conn->r.is_keepalive_due = false;
        stat_add(&w->metrics->keep_alives_sent, 1);
    }
}

/* The first packet of a source makes the connection a holder of it. If the source left between its packet and now, its
 * GONE has passed already, so the directory is asked (after the pair is noted: relay/senders.h). */
static void note_sender(struct worker *w, struct conn *conn, const struct packet *packet) {
    struct node_key src;
    memcpy(src.bytes, packet->frame + DERP_HEADER_SIZE, KEY_SIZE);
    if (!senders_note(&w->senders, &conn->r.senders, &src)) return;
    if (directory_find(w->directory, &src) != ROUTE_NONE) return;
    senders_forget(&w->senders, &conn->r.senders, &src);
    conn_send_peer_gone(w, conn, &src, DERP_GONE_DISCONNECTED);
}

static void seal_packets(struct worker *w, struct conn *conn, struct packet *chunk, struct writer *room) {
    struct queue *queue = &conn->r.peer->queue;
    while (!queue_is_empty(queue) && queue->head->size <= writer_left(room)) {
        struct packet *packet = queue_pop(queue);
        enum packet_kind kind = packet->is_disco ? KIND_DISCO : KIND_OTHER;
        writer_copy(room, packet->frame, packet->size);
        chunk->relayed[kind]++;
        chunk->relayed_bytes[kind] += packet->size - DERP_SEND_HEAD_SIZE;
        metrics_queue_time(w->metrics, w->now_ns - packet->enqueued_ns);
        note_sender(w, conn, packet);
        packet_give(&w->packets, packet);
    }
    metrics_observe_frames(w->metrics, chunk->relayed[KIND_DISCO] + chunk->relayed[KIND_OTHER]);
}

static void account_sent(struct worker *w, struct conn *conn, const struct packet *chunk) {
    uint32_t count = chunk->relayed[KIND_DISCO] + chunk->relayed[KIND_OTHER];
    uint32_t bytes = chunk->relayed_bytes[KIND_DISCO] + chunk->relayed_bytes[KIND_OTHER];
    stat_add(&w->metrics->packets_sent, count);
    stat_add(&w->metrics->bytes_sent, bytes);
    conn->v.packets_sent += count;
    conn->v.bytes_sent += bytes;
}

static void on_sent(struct worker *w, struct conn *conn, const struct ring_event *event) {
    struct packet *chunk = conn->r.sending;
    if (event->result <= 0) {
        conn_close(w, conn, CLOSE_SEND_ERROR);
        return;
    }
    chunk->sent += (uint32_t)event->result;
    conn->r.was_short = chunk->sent < chunk->size;
    if (conn->r.was_short) {
        arm_write_timer(w, conn);
        send_rest(w, conn);
        return;
    }
    account_sent(w, conn, chunk);
    wheel_disarm(&w->wheel, &conn->r.write_timer);
    conn->v.write_deadline_ns = 0;
    conn->r.sending = NULL;
    packet_give(&w->packets, chunk);
    conn_make_dirty(w, conn);
}

static bool is_active(const struct conn *conn) { return conn->r.peer->active == conn; }

static bool has_work(const struct conn *conn) {
    return !queue_is_empty(&conn->r.urgent) || conn->v.is_pong_owed || conn->r.is_keepalive_due ||
           (is_active(conn) && !queue_is_empty(&conn->r.peer->queue));
}

/* Small when little waits or the receiver is slow, else as much as one slot holds. Small ones are four to a page. */
static struct packet *take_chunk(struct worker *w, const struct conn *conn) {
    const struct queue *queue = &conn->r.peer->queue;
    size_t waiting = conn->r.urgent.bytes + (is_active(conn) ? queue->bytes : 0);
    bool is_large = waiting > LIMIT_CHUNK_SMALL && !conn->r.was_short;
    size_t first = is_active(conn) && queue->head ? queue->head->size : 0;
    size_t size = is_large ? LIMIT_FRAME_SIZE_MAX : LIMIT_CHUNK_SMALL;
    return packet_take(&w->packets, max_of(size, first));
}

void conn_flush(struct worker *w, struct conn *conn) {
    if (!conn->v.is_started || conn->r.sending || !has_work(conn)) return;
    struct packet *chunk = take_chunk(w, conn);
    if (chunk == NULL) {
        conn_make_dirty(w, conn);
        return;
    }
    struct writer room = writer_of(chunk->frame, packet_capacity(chunk));
    seal_urgent(conn, &w->packets, &room);
    seal_small(w, conn, &room);
    if (is_active(conn)) seal_packets(w, conn, chunk, &room);
    chunk->size = packet_capacity(chunk) - (uint32_t)writer_left(&room);
    CHECK(writer_ok(&room) && chunk->size > 0);
    conn->r.sending = chunk;
    arm_write_timer(w, conn);
    send_rest(w, conn);
}

void conn_send_peer_gone(struct worker *w, struct conn *conn, const struct node_key *key, enum derp_gone_reason reason) {
    size_t size = DERP_HEADER_SIZE + DERP_PEER_GONE_LENGTH;
    if (conn->r.is_closing || conn->r.urgent.bytes >= LIMIT_URGENT_BYTES_MAX) return;
    struct packet *packet = worker_take_packet(w, size);
    if (packet == NULL) return;
    struct writer frame = writer_of(packet->frame, size);
    derp_write_peer_gone(&frame, key, reason);
    packet->size = (uint32_t)size;
    queue_push(&conn->r.urgent, packet);
    stat_add(reason == DERP_GONE_NOT_HERE ? &w->metrics->peer_gone_not_here_frames
                                          : &w->metrics->peer_gone_disconnected_frames, 1);
    conn_make_dirty(w, conn);
}

/* ---- events and timers ---- */

void conn_start(struct worker *w, struct conn *conn) {
    if (conn->v.is_started || conn->r.is_closing) return;
    conn->v.is_started = true;
    wheel_arm(&w->wheel, &conn->r.keepalive_timer, conn->v.keepalive_due_ns);
    conn_make_dirty(w, conn);
    on_bytes(w, conn, conn->v.unopened.bytes, conn->v.unopened.size);
    if (conn->r.is_closing) return;
    give_parcel_back(w, conn);
    ring_receive(w->ring, &conn->r.socket, RING_RECEIVE_MANY, 0);
}

void conn_on_event(struct worker *w, struct conn *conn, const struct ring_event *event) {
    if (event->op == RING_CLOSED) {
        on_closed(w, conn);
        return;
    }
    if (!conn->r.is_closing) {
        if (event->op == RING_RECEIVED) on_received(w, conn, event);
        if (event->op == RING_SENT) on_sent(w, conn, event);
    }
    if (event->bytes) ring_give_back(w->ring, event);
}

void conn_on_keepalive_timer(struct worker *w, struct conn *conn) {
    conn->r.is_keepalive_due = true;
    conn->v.keepalive_due_ns += conn->v.keepalive_period_ns;
    wheel_arm(&w->wheel, &conn->r.keepalive_timer, conn->v.keepalive_due_ns);
    conn_make_dirty(w, conn);
}

void conn_on_write_timer(struct worker *w, struct conn *conn) { conn_close(w, conn, CLOSE_WRITE_TIMEOUT); }
