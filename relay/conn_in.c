#include "core/check.h"
#include "relay/conn_io.h"
#include "relay/forward.h"
#include "relay/peer.h"
#include "relay/worker.h"

/* ---- frames ---- */

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
    bool is_move = w->now_ns > conn->v.connected_ns + 5 * NS_PER_S;
    if (is_home) {
        stat_add(&w->metrics->home_connections, 1);
        if (is_move) stat_add(&w->metrics->home_moves_in, 1);
    } else {
        stat_sub(&w->metrics->home_connections, 1);
        if (is_move) stat_add(&w->metrics->home_moves_out, 1);
    }
}

/* `carrier` is a slot of its own that holds the whole frame, or NULL when it lies among others. */
static void on_send(struct worker *w, struct conn *conn, const struct derp_frame_view *frame, struct packet *carrier) {
    struct derp_send send;
    if (!derp_read_send(frame->payload, frame->length, &send)) {
        if (carrier) packet_give(&w->packets, carrier);
        return;
    }
    forward_from_client(w, conn, &send, carrier);
}

/* As on_send, from a mesh peer. */
static void on_forward(struct worker *w, struct conn *conn, const struct derp_frame_view *frame,
                       struct packet *carrier) {
    struct derp_forward forward;
    if (!derp_read_forward(frame->payload, frame->length, &forward)) {
        if (carrier) packet_give(&w->packets, carrier);
        return;
    }
    forward_from_mesh(w, conn, &forward, carrier);
}

static void on_close_peer(struct worker *w, const struct derp_frame_view *frame) {
    const struct node_key *key;
    if (derp_read_close_peer(frame->payload, frame->length, &key)) forward_close_peer(w, key);
}

/* A frame that was collected: its slot has room for the header, which the stream has taken apart. */
static struct packet *take_partial(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    struct packet *packet = conn->r.partial;
    conn->r.partial = NULL;
    w->partial_bytes -= packet_cost(packet);
    worker_note_holder(w, conn);
    packet->size = DERP_HEADER_SIZE + frame->length;
    struct writer head = writer_of(packet->frame, DERP_HEADER_SIZE);
    derp_write_header(&head, (enum derp_frame_type)frame->type, frame->length);
    stat_add(&w->metrics->frames_collected, 1);
    return packet;
}

/* The frame is alone in what was opened: the opened bytes become the packet, and nothing is copied. */
static bool is_alone(const struct derp_frame_view *frame, struct packet *const *whole) {
    return whole && *whole && frame->is_whole && frame->payload == (*whole)->frame + DERP_HEADER_SIZE &&
           (*whole)->size == DERP_HEADER_SIZE + frame->length;
}

static struct packet *take_carrier(struct worker *w, struct conn *conn, const struct derp_frame_view *frame,
                                   struct packet **whole) {
    if (conn->r.partial) return take_partial(w, conn, frame);
    if (!is_alone(frame, whole)) return NULL;
    struct packet *packet = *whole;
    *whole = NULL;
    return packet;
}

/* What is no packet. */
static void on_word(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    switch (frame->type) {
        case DERP_PING: on_ping(w, conn, frame); return;
        case DERP_NOTE_PREFERRED: on_note_preferred(w, conn, frame); return;
        case DERP_WATCH_CONNS: watcher_start(w, conn); return;
        case DERP_CLOSE_PEER: on_close_peer(w, frame); return;
        default: break;
    }
    BUG("a frame that derp_frame_check accepts, and nobody handles");
}

/* Any frame may make its connection the active one of the key. */
static void on_frame(struct worker *w, struct conn *conn, const struct derp_frame_view *frame, struct packet **whole) {
    struct packet *carrier = take_carrier(w, conn, frame, whole);
    bool is_packet = frame->type == DERP_SEND_PACKET || frame->type == DERP_FORWARD_PACKET;
    bool is_copied = is_packet && carrier == NULL && conn->v.transport != TRANSPORT_PLAIN;
    peer_note_activity(w, conn->r.peer, conn);
    if (is_copied) stat_add(&w->metrics->frames_copied, 1);
    if (frame->type == DERP_SEND_PACKET) {
        on_send(w, conn, frame, carrier);
    } else if (frame->type == DERP_FORWARD_PACKET) {
        on_forward(w, conn, frame, carrier);
    } else {
        on_word(w, conn, frame);
        if (carrier) packet_give(&w->packets, carrier);
    }
}

/* A frame straddles the end of what has arrived: it is collected in a slot that can become the packet. */
static void collect(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    conn->r.partial = worker_take_packet(w, DERP_HEADER_SIZE + frame->length);
    worker_note_holder(w, conn);
    if (conn->r.partial) {
        w->partial_bytes += packet_cost(conn->r.partial);
        derp_stream_give_space(&conn->r.stream, conn->r.partial->frame + DERP_HEADER_SIZE);
    } else {
        derp_stream_discard(&conn->r.stream);
    }
}

static void on_discarded(struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    bool is_forward = frame->type == DERP_FORWARD_PACKET;
    if (frame->type != DERP_SEND_PACKET && !is_forward) return;
    size_t data_size = frame->length - (is_forward ? 2 * KEY_SIZE : KEY_SIZE);
    if (is_forward) {
        forward_account_mesh(w, conn, data_size);
    } else {
        forward_account(w, conn, data_size, false);
    }
    metrics_drop(w->metrics, DROP_POOL_EMPTY, false, data_size);
}

static void on_skipped(struct worker *w, struct conn *conn) {
    stat_add(&w->metrics->unknown_frames, 1);
    peer_note_activity(w, conn->r.peer, conn);
}

/* Each frame costs its length, whatever it is; conn_read.c then stops reading who is in debt. */
static void charge(const struct worker *w, struct conn *conn, const struct derp_frame_view *frame) {
    if (conn->r.rate.bytes_per_s) rate_charge(&conn->r.rate, rate_cost(frame->length), w->now_ns);
}

void conn_on_plain(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size, struct packet **whole) {
    struct reader in = reader_of(bytes, size);
    struct derp_frame_view frame;
    while (!conn->r.is_closing && !conn->r.ending) {
        enum derp_stream_event event = derp_stream_next(&conn->r.stream, &in, &frame);
        switch (event) {
            case DERP_STREAM_NEED_INPUT: return;
            case DERP_STREAM_FRAME:
                charge(w, conn, &frame);
                on_frame(w, conn, &frame, whole);
                break;
            case DERP_STREAM_NEED_SPACE: collect(w, conn, &frame); break;
            case DERP_STREAM_SKIPPED:
                charge(w, conn, &frame);
                on_skipped(w, conn);
                break;
            case DERP_STREAM_DISCARDED:
                charge(w, conn, &frame);
                on_discarded(w, conn, &frame);
                break;
            case DERP_STREAM_BAD: conn_end(w, conn, reason_of(frame.verdict), WEBSOCKET_NORMAL); break;
        }
    }
}

/* ---- records ---- */

static void refuse_record(struct worker *w, struct conn *conn, enum record_alert alert) {
    conn->r.close_alert = (uint8_t)alert;
    conn_close(w, conn, CLOSE_TLS_BAD_RECORD);
}

/* Opens one whole record. Without a slot for it the bytes are opened into the worker's scratch all the same: the
 * sequence has to go on, and what is then lost are packets, with their reason. */
static void open_record(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size) {
    struct packet *packet = worker_take_packet(w, record_plain_room(size));
    uint8_t *plain = packet ? packet->frame : w->scratch;
    size_t plain_size;
    enum record_alert alert;
    enum record_opened opened = record_open(&conn->r.record, bytes, size, plain, &plain_size, &alert);
    stat_add(&w->metrics->records_opened, 1);
    if (packet) packet->size = (uint32_t)plain_size;
    switch (opened) {
        case RECORD_DATA: conn_on_stream(w, conn, plain, plain_size, packet ? &packet : NULL); break;
        case RECORD_HANDLED: break;
        case RECORD_CLOSED: conn_close(w, conn, CLOSE_EOF); break;
        case RECORD_ALERTED: conn_close(w, conn, CLOSE_TLS_ALERT); break;
        case RECORD_BAD: refuse_record(w, conn, alert); break;
    }
    if (packet) packet_give(&w->packets, packet);
    if (record_owes(&conn->r.record)) conn_make_dirty(w, conn);
}

/* The incomplete record needs `size` bytes of room: it moves to a larger slot if its own is too small. Slots grow with
 * the bytes that have really come, not with what a header promises. */
static bool make_raw_room(struct worker *w, struct conn *conn, size_t size) {
    struct packet *old = conn->r.raw;
    if (old && packet_capacity(old) >= size) return true;
    struct packet *packet = worker_take_raw(w, size);
    if (packet == NULL) return false;
    if (old) {
        memcpy(packet->frame, old->frame, old->size);
        packet->size = old->size;
        packet_give(&w->packets, old);
    }
    conn->r.raw = packet;
    worker_note_holder(w, conn);
    return true;
}

/* Appends from the input up to `target` bytes; false when there is no memory for them, and the connection has ended. */
static bool append_raw(struct worker *w, struct conn *conn, struct reader *in, size_t target) {
    size_t have = conn->r.raw ? conn->r.raw->size : 0;
    size_t size = min_of(target - have, reader_left(in));
    if (!make_raw_room(w, conn, have + size)) {
        conn_close(w, conn, CLOSE_NO_MEMORY);
        return false;
    }
    memcpy(conn->r.raw->frame + have, reader_take(in, size), size);
    conn->r.raw->size += (uint32_t)size;
    return true;
}

static void open_raw(struct worker *w, struct conn *conn) {
    struct packet *raw = conn->r.raw;
    conn->r.raw = NULL;
    worker_note_holder(w, conn);
    stat_add(&w->metrics->records_straddling, 1);
    open_record(w, conn, raw->frame, raw->size);
    packet_give(&w->packets, raw);
}

/* One step with the incomplete record: its header, then what the header promises, then it is opened. False when more
 * input is needed first, or the connection has ended. */
static bool continue_raw(struct worker *w, struct conn *conn, struct reader *in) {
    size_t record_size;
    enum record_alert alert;
    enum record_found found = record_next(conn->r.raw->frame, conn->r.raw->size, &record_size, &alert);
    if (found == RECORD_REFUSED) {
        refuse_record(w, conn, alert);
        return false;
    }
    if (found == RECORD_WHOLE) {
        open_raw(w, conn);
        return true;
    }
    size_t target = record_size ? record_size : RECORD_HEADER_SIZE;
    return reader_left(in) > 0 && append_raw(w, conn, in, target);
}

/* A record that lies whole in the input is opened from there. False when the input is used up or the connection
 * ended. */
static bool take_record(struct worker *w, struct conn *conn, struct reader *in) {
    size_t record_size;
    enum record_alert alert;
    switch (record_next(in->at, reader_left(in), &record_size, &alert)) {
        case RECORD_WHOLE: open_record(w, conn, reader_take(in, record_size), record_size); return true;
        case RECORD_MORE: (void)append_raw(w, conn, in, reader_left(in)); return false;  // the beginning of a record
        case RECORD_REFUSED: break;
    }
    refuse_record(w, conn, alert);
    return false;
}

static void on_records(struct worker *w, struct conn *conn, struct reader *in) {
    while (!conn->r.is_closing && conn->r.raw && continue_raw(w, conn, in)) {}
    while (!conn->r.is_closing && reader_left(in) > 0 && take_record(w, conn, in)) {}
}

void conn_on_bytes(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size) {
    struct reader in = reader_of(bytes, size);
    if (conn->v.transport == TRANSPORT_PLAIN) {
        conn_on_stream(w, conn, bytes, size, NULL);
    } else {
        on_records(w, conn, &in);
    }
}
