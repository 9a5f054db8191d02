/* front_websocket.c - the front's part of DERP over WebSocket (relay/session.h, docs/derp.md, "WebSocket").
 *
 * What a client sends is taken apart in place: unwrapped bytes gather at the beginning of s->in, so that the login
 * reads them as it reads any other client's. Whatever is left behind the login travels in the packed connection, and
 * with it the place in the frames.
 */
#include "core/check.h"
#include "core/sys.h"
#include "relay/front.h"
#include "relay/session.h"

/* What is in s->own_out goes out, and then the session ends. */
static void send_and_end(struct front *f, struct session *s, enum refuse_reason reason) {
    s->close_reason = reason;
    s->is_close_after_send = s->is_drain_after_send = true;
    session_enter(f, s, SESSION_RESPONDING, SESSION_LOGIN_TIMEOUT_S * NS_PER_S);
}

static void refuse_offer(struct front *f, struct session *s, const struct websocket_offer *offer) {
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    websocket_write_refusal(&w, offer, sys_wall_clock_s());
    CHECK(writer_ok(&w));
    s->out_size = (uint32_t)(w.at - s->own_out);
    send_and_end(f, s, REFUSE_HTTP_DONE);
    session_send(f, s);
}

/* As the reference: accepted, and closed at once. A browser shows the code where it would not show a status. */
static void refuse_protocol(struct front *f, struct session *s, struct writer *w) {
    websocket_write_close(w, WEBSOCKET_POLICY);
    CHECK(writer_ok(w));
    s->out_size = (uint32_t)(w->at - s->own_out);
    s->is_close_said = true;
    send_and_end(f, s, REFUSE_WEBSOCKET);
    session_send(f, s);
}

static void write_server_key(struct front *f, struct writer *w) {
    uint8_t bytes[WEBSOCKET_MESSAGE_HEAD_MAX + DERP_HEADER_SIZE + DERP_SERVER_KEY_LENGTH];
    struct writer frame = writer_of(bytes + WEBSOCKET_MESSAGE_HEAD_MAX, sizeof(bytes) - WEBSOCKET_MESSAGE_HEAD_MAX);
    derp_write_server_key(&frame, &f->options.public_key);
    CHECK(writer_ok(&frame));
    const uint8_t *message =
        websocket_put_head(bytes + WEBSOCKET_MESSAGE_HEAD_MAX, DERP_HEADER_SIZE + DERP_SERVER_KEY_LENGTH);
    writer_copy(w, message, (size_t)(frame.at - message));
}

void session_upgrade_websocket(struct front *f, struct session *s, const struct http_request *request) {
    struct websocket_offer offer;
    websocket_judge(request, &offer);
    if (offer.status) {
        refuse_offer(f, s, &offer);
        return;
    }
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    websocket_write_switch(&w, &offer);
    if (!offer.is_derp) {
        refuse_protocol(f, s, &w);
        return;
    }
    write_server_key(f, &w);
    s->is_websocket = true;
    websocket_init(&s->websocket);
    stat_add(&f->metrics->websocket_accepts, 1);
    session_begin_login(f, s, request, &w);
}

void session_pay_pong(struct front *f, struct session *s) {
    uint8_t bytes[WEBSOCKET_PONG_SIZE_MAX];
    struct writer pong = writer_of(bytes, sizeof(bytes));
    if (!websocket_owes_pong(&s->websocket) || s->phase != SESSION_LOGIN || s->out_size > 0) return;
    websocket_write_pong(&pong, &s->websocket);
    session_append(f, s, bytes, (size_t)(pong.at - bytes));
}

/* There is always room: behind the answer and ServerKey comes one pong at a time, and one close frame. */
static void end(struct front *f, struct session *s, enum refuse_reason reason, uint16_t code) {
    uint8_t bytes[WEBSOCKET_CLOSE_SIZE_MAX];
    struct writer frame = writer_of(bytes, sizeof(bytes));
    websocket_write_close(&frame, code);
    s->is_close_said = true;
    send_and_end(f, s, reason);
    session_append(f, s, bytes, (size_t)(frame.at - bytes));
}

bool session_unwrap(struct front *f, struct session *s) {
    struct reader in = reader_of(s->in + s->unwrapped, s->in_size - s->unwrapped);
    struct websocket_view view;
    for (;;) {
        switch (websocket_next(&s->websocket, &in, &view)) {
            case WEBSOCKET_NEED_INPUT:
                s->in_size = s->unwrapped;
                session_pay_pong(f, s);
                return true;
            case WEBSOCKET_DATA:
                memmove(s->in + s->unwrapped, view.payload, view.size);
                s->unwrapped += (uint32_t)view.size;
                break;
            case WEBSOCKET_PING: break;
            case WEBSOCKET_CLOSE:
                end(f, s, REFUSE_GONE, view.code);
                s->is_drain_after_send = false;  // it was the client's last word
                return false;
            case WEBSOCKET_BAD: end(f, s, REFUSE_WEBSOCKET, view.code); return false;
        }
    }
}
