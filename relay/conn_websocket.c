#include "core/check.h"
#include "relay/conn_io.h"
#include "relay/peer.h"
#include "relay/worker.h"

/* ---- messages ---- */

/* The piece reaches to the end of what its slot holds: from here on the slot holds the piece and nothing else, so that
 * a frame that is alone in it can take it over. */
static void trim(const struct websocket_view *piece, struct packet *const *whole) {
    if (whole == NULL || *whole == NULL) return;
    struct packet *packet = *whole;
    if (piece->payload + piece->size != packet->frame + packet->size) return;
    packet->frame = piece->payload;
    packet->size = (uint32_t)piece->size;
}

static enum close_reason reason_of_code(uint16_t code) {
    bool is_fine = code == WEBSOCKET_NORMAL || code == WEBSOCKET_GOING_AWAY || code == WEBSOCKET_NO_CODE;
    return is_fine ? CLOSE_EOF : CLOSE_WEBSOCKET_CLOSED;
}

/* The client's close frame: the answer to ours, or the first word. */
static void on_close(struct worker *w, struct conn *conn, uint16_t code) {
    if (conn_is_lingering(conn)) {
        conn_close(w, conn, CLOSE_EOF);
    } else {
        conn_end(w, conn, reason_of_code(code), code);
    }
}

/* Heads, pings and the like cost what they take on the wire; frames are charged as such. */
static void charge_overhead(const struct worker *w, struct conn *conn, size_t size) {
    if (conn->r.rate.bytes_per_s && size > 0) rate_charge(&conn->r.rate, size, w->now_ns);
}

/* Returns how much of the input was data. */
static size_t on_messages(struct worker *w, struct conn *conn, struct reader *in, struct packet **whole) {
    struct websocket_view view;
    size_t data_size = 0;
    while (!conn->r.is_closing) {
        switch (websocket_next(&conn->r.websocket, in, &view)) {
            case WEBSOCKET_NEED_INPUT: return data_size;
            case WEBSOCKET_DATA:
                data_size += view.size;
                trim(&view, whole);
                conn_on_plain(w, conn, view.payload, view.size, whole);
                break;
            case WEBSOCKET_PING: conn_make_dirty(w, conn); break;
            case WEBSOCKET_CLOSE: on_close(w, conn, view.code); break;
            case WEBSOCKET_BAD:
                conn_end(w, conn, view.code == WEBSOCKET_UNSUPPORTED ? CLOSE_WEBSOCKET_TEXT : CLOSE_WEBSOCKET_PROTOCOL,
                         view.code);
                return data_size;
        }
    }
    return data_size;
}

void conn_on_stream(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size, struct packet **whole) {
    if (!conn->v.is_websocket) {
        conn_on_plain(w, conn, bytes, size, whole);
        return;
    }
    struct reader in = reader_of(bytes, size);
    size_t data_size = on_messages(w, conn, &in, whole);
    charge_overhead(w, conn, size - data_size);
}

/* ---- ending ---- */

/* For the client's own close frame; when its frames can not be read any more, for what it had under way. */
enum { LINGER_MS = 2000, LINGER_DEAD_MS = 250 };

void conn_end(struct worker *w, struct conn *conn, enum close_reason reason, uint16_t code) {
    if (!conn->v.is_websocket) {
        conn_close(w, conn, reason);
        return;
    }
    if (conn->r.is_closing || conn->r.ending) return;
    conn->r.ending = ENDING_OWED;
    conn->r.ending_reason = (uint8_t)reason;
    conn->r.ending_code = code;
    peer_leave(w, conn->r.peer, conn);  // while we linger its packets would wait for nothing
    conn_make_dirty(w, conn);
}

/* With both close frames said it is the server that closes. Before that, bytes the client has under way would turn our
 * close into a reset, which may overtake the close frame. */
void conn_ending_on_sent(struct worker *w, struct conn *conn) {
    if (conn->r.ending == ENDING_OWED) return;  // that was the send before it
    if (conn->r.websocket.phase == WEBSOCKET_IS_CLOSED) {
        conn_close(w, conn, CLOSE_EOF);
    } else {
        uint64_t linger_ms = conn->r.websocket.phase == WEBSOCKET_IS_DEAD ? LINGER_DEAD_MS : LINGER_MS;
        wheel_arm(&w->wheel, &conn->r.write_timer, w->now_ns + linger_ms * NS_PER_MS);
    }
}
