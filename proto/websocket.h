/* websocket.h - the server's side of WebSocket (RFC 6455): the handshake's answer, frames in, messages out.
 *
 * What it is: the layer between a byte stream (a socket, or opened TLS records) and DERP, for clients that cannot have
 * a plain stream: browsers. Binary messages carry bytes of the DERP stream; where a message begins or ends means
 * nothing.
 *
 * A frame as the client sends it, always masked:
 *
 *      0                 1                 2 or 2..3 or 2..9     4 bytes   `length` bytes
 *     | F 0 0 0 opcode | 1 length 7 bits | length 16 or 64 bits | mask  | payload, each byte xor mask[i % 4] |
 *       |                  '-- 126: 16 bits follow, 127: 64 bits; the shortest form that holds it
 *       '-- F: the last frame of its message
 *
 *     opcode  0 continuation   1 text   2 binary   8 close   9 ping   a pong
 *     close   nothing, or code u16 and a reason that nobody reads
 *
 * and as we send it, never masked and never in fragments:
 *
 *     82 length7       | payload     up to 125 bytes
 *     82 7e length u16 | payload     up to WEBSOCKET_MESSAGE_MAX
 *     88 02 code u16                 close;  88 00 without a code
 *     8a length7 | payload           pong
 *
 * Reading. A pull parser that owns no buffer, like derp_stream.h:
 *
 *     struct reader in = reader_of(bytes, size);
 *     for (;;) {
 *         switch (websocket_next(&ws, &in, &view)) {
 *         case WEBSOCKET_NEED_INPUT: return;                               // `in` is empty
 *         case WEBSOCKET_DATA:  ...view.size bytes of the DERP stream at view.payload, in the input; break;
 *         case WEBSOCKET_PING:  ...websocket_owes_pong(&ws) now: send soon; break;
 *         case WEBSOCKET_CLOSE: ...answer with websocket_write_close(view.code), end; return;
 *         case WEBSOCKET_BAD:   ...websocket_write_close(view.code), end; return;
 *         }
 *     }
 *
 * Payload is unmasked where it lies and reported piece by piece as it comes, so that a message or a frame of any length
 * costs no memory: that is why neither has a bound here. What is inside is bounded by derp_stream.h. Only control
 * frames are collected: 125 bytes. Fragments are the same as messages, control frames may stand between them.
 *
 * Model:
 *     HEAD --2 bytes, judged--> HEAD --whole head, length judged--> DATA ------all of `left`------> HEAD
 *                                                                   SKIP (a pong) --------------->  HEAD
 *                                                                   CONTROL --complete--> PING -->  HEAD
 *                                                                              `--> CLOSE --> CLOSED, for ever
 *     any rule broken: DEAD, for ever
 *
 * Pongs. One is owed at a time, for the newest ping (section 5.5.3 allows it): many pings cost one answer per send. Its
 * payload lies where control frames are collected, so that a newer ping displaces it.
 *
 * Refused with 1002: an unmasked frame, reserved bits and opcodes, a length that is not in its shortest form or has the
 * top bit set, a control frame in fragments or above 125 bytes, a continuation of nothing, a new message inside
 * another, a close frame of one byte or with a code that may not be sent. With 1003: text. Not checked: that a close
 * reason is UTF-8, because it is not looked at.
 *
 * Invariants: events do not depend on how the bytes are cut into inputs, but for the cutting of DATA; after BAD nothing
 * is consumed; after CLOSE everything is, silently.
 * A plain value: everything is in WEBSOCKET_FIELDS, so that a table elsewhere can pack a connection.
 *
 * Threads: thread-local, like its connection. Memory: none of its own. Errors: an HTTP status; BAD with a code.
 * Not here: extensions (none is offered, compression would gain nothing on encrypted packets), the client's side, pings
 * of our own (DERP has keep-alives), time.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "proto/http.h"

enum {
    WEBSOCKET_HEAD_MAX = 14,      // of a frame from a client
    WEBSOCKET_CONTROL_MAX = 125,  // payload of a control frame

    /* What one message of ours holds at most. Go clients read no message above 32 KiB; with its head this is two full
     * TLS records, so that the split costs no further record. */
    WEBSOCKET_MESSAGE_HEAD_MAX = 4,
    WEBSOCKET_MESSAGE_MAX = 32768 - WEBSOCKET_MESSAGE_HEAD_MAX,
    WEBSOCKET_PONG_SIZE_MAX = 2 + WEBSOCKET_CONTROL_MAX,
    WEBSOCKET_CLOSE_SIZE_MAX = 4,
};

enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_NO_CODE = 1005,  // never on the wire: a close frame without a code
    WEBSOCKET_POLICY = 1008,
};

/* ---- the handshake ---- */

/* What a request for a WebSocket amounts to. */
struct websocket_offer {
    uint16_t status;  // 0: acceptable; else 426, 405 or 400, with `text`
    const char *text;
    struct http_view key;  // Sec-WebSocket-Key: 24 characters
    struct http_view protocol;  // the client's own spelling of "derp", or empty
    bool is_derp;  // that is exactly "derp"; else the connection is accepted and closed at once, with 1008
};

/* Judges a request that http_derp_upgrade() says asks for a WebSocket. As the reference: HTTP/1.1 and `Connection:
 * Upgrade` (426), GET (405), version 13 and one key of 16 bytes (400). Any Origin is fine: a relay has no cookies. */
void websocket_judge(const struct http_request *request, struct websocket_offer *out);

/* The answer to an offer with a status: with the headers that tell the client what would have been right. */
void websocket_write_refusal(struct writer *w, const struct websocket_offer *offer, uint64_t unix_s);

/* 101 with Sec-WebSocket-Accept and the protocol. */
void websocket_write_switch(struct writer *w, const struct websocket_offer *offer);

/* ---- reading ---- */

enum websocket_phase {
    WEBSOCKET_IN_HEAD,
    WEBSOCKET_IN_DATA,
    WEBSOCKET_IN_SKIP,
    WEBSOCKET_IN_CONTROL,
    WEBSOCKET_IS_CLOSED,
    WEBSOCKET_IS_DEAD,
};

/* F(type, name, array suffix) for each field that travels with a packed connection:
 *   phase          enum websocket_phase
 *   is_in_message  the last data frame was not the last of its message
 *   owes_pong      `control` holds the payload of a ping that is not answered
 *   head_have      how many bytes of the head are there; all of it beyond IN_HEAD
 *   control_size   of the ping that is not answered
 *   code           IS_DEAD: enum websocket_code to close with
 *   left           payload of this frame still to come
 *   head           as received
 *   control        payload of a ping or close frame */
#define WEBSOCKET_FIELDS(F)                \
    F(uint8_t, phase, )                    \
    F(uint8_t, is_in_message, )            \
    F(uint8_t, owes_pong, )                \
    F(uint8_t, head_have, )                \
    F(uint8_t, control_size, )             \
    F(uint16_t, code, )                    \
    F(uint64_t, left, )                    \
    F(uint8_t, head, [WEBSOCKET_HEAD_MAX]) \
    F(uint8_t, control, [WEBSOCKET_CONTROL_MAX])

struct websocket {
#define WEBSOCKET_DECLARE(type, name, array) type name array;
    WEBSOCKET_FIELDS(WEBSOCKET_DECLARE)
#undef WEBSOCKET_DECLARE
};

enum websocket_event {
    WEBSOCKET_NEED_INPUT,  // the input is used up; nothing to report
    WEBSOCKET_DATA,  // some bytes of messages
    WEBSOCKET_PING,  // a ping is complete: a pong is owed
    WEBSOCKET_CLOSE,  // the client says goodbye with `code`
    WEBSOCKET_BAD,  // a rule is broken: `code` says which
};

/* What an event is about; fields that are not named for it are not written. */
struct websocket_view {
    uint8_t *payload;  // DATA: unmasked, in the input
    size_t size;  // DATA: at least 1
    uint16_t code;  // CLOSE: what to answer with: the client's, or WEBSOCKET_NO_CODE; BAD: what to send
};

void websocket_init(struct websocket *ws);

/* The next event; consumes from `in` what belongs to it. `in` must wrap memory that its owner may write. */
must_use enum websocket_event websocket_next(struct websocket *ws, struct reader *in, struct websocket_view *out);

static inline bool websocket_owes_pong(const struct websocket *ws) { return ws->owes_pong; }

/* Do the fields of an unpacked value, which may come from a newer or broken program, make sense together? */
must_use bool websocket_is_valid(const struct websocket *ws);

/* ---- writing ---- */

/* Of the head of a message with `size` bytes. */
static inline size_t websocket_head_size(size_t size) { return size <= WEBSOCKET_CONTROL_MAX ? 2 : 4; }

/* How many messages `size` bytes need, and how many bytes of heads. */
static inline size_t websocket_messages(size_t size) {
    return (size + WEBSOCKET_MESSAGE_MAX - 1) / WEBSOCKET_MESSAGE_MAX;
}
static inline size_t websocket_heads_size(size_t size) {
    size_t full = size / WEBSOCKET_MESSAGE_MAX, rest = size % WEBSOCKET_MESSAGE_MAX;
    return full * WEBSOCKET_MESSAGE_HEAD_MAX + (rest ? websocket_head_size(rest) : 0);
}

/* Writes the head of a binary message in front of its `size` <= WEBSOCKET_MESSAGE_MAX bytes: websocket_head_size(size)
 * bytes that the caller may write. The result is where the message begins. */
uint8_t *websocket_put_head(uint8_t *payload, size_t size);

/* Answers the newest ping. Without room the writer is bad and the pong still owed. Nothing when none is owed. */
void websocket_write_pong(struct writer *w, struct websocket *ws);

void websocket_write_close(struct writer *w, uint16_t code);
