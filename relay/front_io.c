/* front_io.c - a session's bytes, in the clear or through TLS (relay/session.h). */
#include <sodium.h>

#include "core/check.h"
#include "relay/front.h"
#include "relay/session.h"

static bool is_tls(const struct session *s) { return s->transport == TRANSPORT_TLS; }

/* ---- in ---- */

void session_consume(struct session *s, size_t size) {
    DCHECK(size <= s->in_size);
    s->in_size -= (uint32_t)size;
    memmove(s->in, s->in + size, s->in_size);
}

void session_receive(struct front *f, struct session *s) {
    uint32_t room = is_tls(s) ? SESSION_RAW_SIZE - s->raw_size : s->in_room - s->in_size;
    if (s->is_receiving || room == 0 || s->phase == SESSION_CLOSING) return;
    s->is_receiving = true;
    ring_receive(f->ring, &s->socket, RING_RECEIVE_ONCE, room);
}

void session_take_bytes(struct session *s, const uint8_t *bytes, size_t size) {
    uint8_t *to = is_tls(s) ? s->raw + s->raw_size : s->in + s->in_size;
    CHECK(size <= (is_tls(s) ? SESSION_RAW_SIZE - s->raw_size : s->in_room - s->in_size));
    memcpy(to, bytes, size);
    if (is_tls(s)) {
        s->raw_size += (uint32_t)size;
    } else {
        s->in_size += (uint32_t)size;
    }
}

static void consume_raw(struct session *s, size_t size) {
    s->raw_size -= (uint32_t)size;
    memmove(s->raw, s->raw + size, s->raw_size);
}

/* ---- the handshake ---- */

static void end_handshake(struct session *s) {
    handshake_free(s->handshake);
    s->handshake = NULL;
}

/* The secrets go from wolfSSL to the record layer, and wolfSSL's object is freed. */
static bool export_secrets(struct front *f, struct session *s) {
    struct tls_secrets secrets;
    handshake_export(s->handshake, &secrets);
    bool is_fine = record_init(&s->record, secrets.suite, false, secrets.in_secret, secrets.out_secret);
    sodium_memzero(&secrets, sizeof(secrets));
    end_handshake(s);
    if (f->options.rekey_after) s->record.rekey_after = f->options.rekey_after;
    return is_fine;
}

static void on_handshake_done(struct front *f, struct session *s) {
    stat_add(&f->metrics->handshakes, 1);
    if (!export_secrets(f, s)) {
        session_refuse(f, s, REFUSE_BUFFERS_FULL);
        return;
    }
    session_enter(f, s, SESSION_HEAD, SESSION_HEAD_TIMEOUT_S * NS_PER_S);
}

/* The alert that wolfSSL wrote, or for a lost browser an answer in the clear, is sent before closing. */
static void on_handshake_failed(struct front *f, struct session *s, struct writer *out) {
    enum handshake_failure failure = handshake_cause(s->handshake);
    stat_add(&f->metrics->handshake_failures[failure], 1);
    if (failure == HANDSHAKE_FAILURE_PLAIN_HTTP) {
        writer_text(out, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    }
    end_handshake(s);
    s->is_close_after_send = true;
    if (out->at == s->sealed) session_refuse(f, s, REFUSE_TLS);
}

static void send_sealed(struct front *f, struct session *s) {
    s->is_sending = true;
    ring_send(f->ring, &s->socket, s->sealed + s->sealed_sent, s->sealed_size - s->sealed_sent);
}

static void handshake_pull(struct front *f, struct session *s) {
    if (s->is_sending || s->handshake == NULL) return;
    struct reader in = reader_of(s->raw, s->raw_size);
    struct writer out = writer_of(s->sealed, sizeof(s->sealed));
    enum handshake_state state = handshake_step(s->handshake, &in, &out);
    consume_raw(s, s->raw_size - reader_left(&in));
    s->sealed_sent = 0;
    if (state == HANDSHAKE_DONE) on_handshake_done(f, s);
    if (state == HANDSHAKE_FAILED) on_handshake_failed(f, s, &out);
    s->sealed_size = (uint32_t)(out.at - s->sealed);
    if (s->sealed_size > 0 && s->phase != SESSION_CLOSING) send_sealed(f, s);
}

/* ---- records ---- */

static void refuse_record(struct front *f, struct session *s, enum record_alert alert) {
    s->close_alert = (uint8_t)alert;
    session_refuse(f, s, REFUSE_TLS_BAD_RECORD);
}

static void open_record(struct front *f, struct session *s, size_t record_size) {
    size_t plain_size;
    enum record_alert alert;
    enum record_opened opened = record_open(&s->record, s->raw, record_size, s->in + s->in_size, &plain_size, &alert);
    stat_add(&f->metrics->records_opened, 1);
    consume_raw(s, record_size);
    switch (opened) {
        case RECORD_DATA: s->in_size += (uint32_t)plain_size; return;
        case RECORD_HANDLED: return;
        case RECORD_CLOSED: session_refuse(f, s, REFUSE_GONE); return;
        case RECORD_ALERTED:
            record_fini(&s->record);  // a fatal alert is answered by closing only
            session_refuse(f, s, REFUSE_GONE);
            return;
        case RECORD_BAD: break;
    }
    refuse_record(f, s, alert);
}

/* One record; false when there is none, or no room for it now. */
static bool pull_record(struct front *f, struct session *s) {
    size_t record_size;
    enum record_alert alert;
    if (s->phase == SESSION_CLOSING) return false;
    enum record_found found = record_next(s->raw, s->raw_size, &record_size, &alert);
    if (found == RECORD_REFUSED) refuse_record(f, s, alert);
    if (found != RECORD_WHOLE || record_plain_room(record_size) > s->in_room - s->in_size) return false;
    open_record(f, s, record_size);
    return true;
}

void session_pull(struct front *f, struct session *s) {
    if (!is_tls(s)) return;
    if (s->phase == SESSION_HANDSHAKE) handshake_pull(f, s);
    if (s->phase == SESSION_HANDSHAKE) return;
    while (pull_record(f, s)) {}
}

/* ---- out ---- */

/* The next piece of s->out, as one record. */
static void seal_piece(struct front *f, struct session *s) {
    uint32_t size = min_of(s->out_size - s->out_sent, (uint32_t)SESSION_OUT_SIZE);
    struct writer room = writer_of(s->sealed, sizeof(s->sealed));
    CHECK(record_room_needed(&s->record, size) <= sizeof(s->sealed));
    stat_add(&f->metrics->records_sealed, 1);
    if (!record_seal(&s->record, &room, s->out + s->out_sent, size)) {
        session_refuse(f, s, REFUSE_BUFFERS_FULL);
        return;
    }
    s->out_sent += size;
    s->sealed_size = (uint32_t)(room.at - s->sealed);
    s->sealed_sent = 0;
    send_sealed(f, s);
}

void session_send(struct front *f, struct session *s) {
    CHECK(s->out_size > s->out_sent);
    if (s->is_sending) return;  // the end of the handshake is still under way: session_on_sent goes on
    if (is_tls(s)) {
        seal_piece(f, s);
        return;
    }
    s->is_sending = true;
    ring_send(f->ring, &s->socket, s->out + s->out_sent, s->out_size - s->out_sent);
}

bool session_on_sent(struct front *f, struct session *s, uint32_t size) {
    s->is_sending = false;
    if (is_tls(s)) {
        s->sealed_sent += size;
    } else {
        s->out_sent += size;
    }
    if (s->sealed_sent < s->sealed_size) {
        send_sealed(f, s);
        return false;
    }
    s->sealed_size = s->sealed_sent = 0;
    if (s->out_sent < s->out_size) {
        session_send(f, s);
        return false;
    }
    s->out_size = s->out_sent = 0;
    s->out = s->own_out;
    return true;
}

void session_append(struct front *f, struct session *s, const void *bytes, size_t size) {
    if (s->out_size == 0) s->out = s->own_out;
    CHECK(s->out == s->own_out && size <= SESSION_OUT_SIZE - s->out_size);
    memcpy(s->out + s->out_size, bytes, size);
    s->out_size += (uint32_t)size;
    session_send(f, s);
}

/* A WebSocket's close frame, behind a login that failed. */
static void write_close(struct session *s, struct writer *room) {
    uint8_t bytes[WEBSOCKET_CLOSE_SIZE_MAX + 1];  // and a place to lend
    struct writer frame = writer_of(bytes, WEBSOCKET_CLOSE_SIZE_MAX);
    websocket_write_close(&frame, WEBSOCKET_NORMAL);
    s->is_close_said = true;
    if (!is_tls(s)) {
        writer_copy(room, bytes, WEBSOCKET_CLOSE_SIZE_MAX);
    } else if (!record_seal(&s->record, room, bytes, WEBSOCKET_CLOSE_SIZE_MAX)) {
        s->close_alert = ALERT_INTERNAL_ERROR;  // no memory for a new key
    }
}

void session_say_goodbye(struct front *f, struct session *s) {
    struct writer room = writer_of(s->sealed, sizeof(s->sealed));
    bool is_established = is_tls(s) && s->record.suite != 0;
    bool is_close_due = s->is_websocket && !s->is_close_said && s->close_alert == ALERT_CLOSE_NOTIFY;
    if (s->is_sending) return;
    if (is_close_due && (is_established || !is_tls(s))) write_close(s, &room);
    if (is_established) CHECK(record_seal_alert(&s->record, &room, s->close_alert));
    if (room.at > s->sealed) ring_send(f->ring, &s->socket, s->sealed, (size_t)(room.at - s->sealed));
}
