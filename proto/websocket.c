#include "proto/websocket.h"

#include <sodium.h>
#include <wolfssl/options.h>  // first: it says how the library was built
#include <wolfssl/wolfcrypt/hash.h>

#include "core/check.h"

enum { BIT_FIN = 0x80, BITS_RESERVED = 0x70, BIT_MASKED = 0x80, BIT_CONTROL = 0x08, LENGTH_BITS = 0x7f };

enum opcode { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

/* ---- the handshake ---- */

enum { KEY_TEXT_SIZE = 24, ACCEPT_TEXT_SIZE = 29, SHA1_SIZE = 20 };

static const char accept_suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // section 1.3

static bool is_base64(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* 16 bytes in base64: 22 digits and two equal signs. The four bits that no byte uses may be anything, as in Go. */
static bool is_key(struct http_view key) {
    if (key.size != KEY_TEXT_SIZE || memcmp(key.at + 22, "==", 2) != 0) return false;
    for (size_t i = 0; i < 22; i++)
        if (!is_base64(key.at[i])) return false;
    return true;
}

static size_t count_headers(const struct http_headers *headers, const char *name) {
    size_t count = 0;
    for (size_t i = 0; i < headers->count; i++) count += http_view_is_nocase(headers->items[i].name, name);
    return count;
}

static void refuse(struct websocket_offer *out, uint16_t status, const char *text) {
    out->status = status;
    out->text = text;
}

static void judge_key(const struct http_headers *headers, struct websocket_offer *out) {
    const struct http_view *key = http_header_find(headers, "Sec-WebSocket-Key");
    if (key == NULL) {
        refuse(out, 400, "WebSocket handshake without Sec-WebSocket-Key");
    } else if (count_headers(headers, "Sec-WebSocket-Key") > 1) {
        refuse(out, 400, "WebSocket handshake with several Sec-WebSocket-Key headers");
    } else if (!is_key(*key)) {
        refuse(out, 400, "Sec-WebSocket-Key must be 16 bytes in base64");
    } else {
        out->key = *key;
    }
}

void websocket_judge(const struct http_request *request, struct websocket_offer *out) {
    const struct http_headers *headers = &request->headers;
    const struct http_view *version = http_header_find(headers, "Sec-WebSocket-Version");
    *out = (struct websocket_offer){.protocol = {.at = "", .size = 0}};
    if (request->minor == 0) {
        refuse(out, 426, "WebSocket needs HTTP/1.1");
    } else if (!http_header_has_token(headers, "Connection", "Upgrade")) {
        refuse(out, 426,
               "WebSocket handshake without \"Connection: Upgrade\"; a proxy that drops it must be told not to");
    } else if (request->method != HTTP_GET) {
        refuse(out, 405, "WebSocket handshake must be a GET");
    } else if (version == NULL || !http_view_is(*version, "13")) {
        refuse(out, 400, "unsupported WebSocket version, only 13 is");
    } else {
        judge_key(headers, out);
    }
    if (out->status) return;
    (void)http_header_find_token(headers, "Sec-WebSocket-Protocol", "derp", &out->protocol);  // why: may be empty
    out->is_derp = http_view_is(out->protocol, "derp");
}

void websocket_write_refusal(struct writer *w, const struct websocket_offer *offer, uint64_t unix_s) {
    static const struct http_field to_upgrade = {"Upgrade", "websocket"};
    static const struct http_field to_version = {"Sec-WebSocket-Version", "13"};
    struct http_field fields[] = {{"X-Content-Type-Options", "nosniff"},
                                  offer->status == 426 ? to_upgrade : to_version};
    char body[128];
    size_t size = strlen(offer->text);
    CHECK(size + 1 <= sizeof(body));
    memcpy(body, offer->text, size);
    body[size] = '\n';
    http_write_response(w, &(struct http_response){.status = offer->status,
                                                   .content_type = "text/plain; charset=utf-8",
                                                   .fields = fields,
                                                   .field_count = array_count(fields),
                                                   .body = body,
                                                   .body_size = size + 1,
                                                   .unix_s = unix_s,
                                                   .is_close = true});
}

/* base64(SHA-1(key, suffix)): proves that the answer is a WebSocket server's. */
static void format_accept(struct http_view key, char text[ACCEPT_TEXT_SIZE]) {
    uint8_t bytes[KEY_TEXT_SIZE + sizeof(accept_suffix) - 1], hash[SHA1_SIZE];
    CHECK(key.size == KEY_TEXT_SIZE);
    memcpy(bytes, key.at, KEY_TEXT_SIZE);
    memcpy(bytes + KEY_TEXT_SIZE, accept_suffix, sizeof(accept_suffix) - 1);
    CHECK(wc_ShaHash(bytes, sizeof(bytes), hash) == 0);  // it computes; there is nothing to fail
    sodium_bin2base64(text, ACCEPT_TEXT_SIZE, hash, sizeof(hash), sodium_base64_VARIANT_ORIGINAL);
}

void websocket_write_switch(struct writer *w, const struct websocket_offer *offer) {
    char accept[ACCEPT_TEXT_SIZE], protocol[8] = "";
    CHECK(offer->status == 0 && offer->protocol.size < sizeof(protocol));
    memcpy(protocol, offer->protocol.at, offer->protocol.size);
    format_accept(offer->key, accept);
    const struct http_field fields[] = {{"Upgrade", "websocket"},
                                        {"Connection", "Upgrade"},
                                        {"Sec-WebSocket-Accept", accept},
                                        {"Sec-WebSocket-Protocol", protocol}};
    http_write_response(w,
                        &(struct http_response){.status = 101, .fields = fields, .field_count = protocol[0] ? 4 : 3});
}

/* ---- reading ---- */

void websocket_init(struct websocket *ws) { *ws = (struct websocket){.phase = WEBSOCKET_IN_HEAD}; }

static unsigned opcode_of(const struct websocket *ws) { return ws->head[0] & 0x0f; }

static bool is_control(const struct websocket *ws) { return ws->head[0] & BIT_CONTROL; }

/* Where the mask stands, which the first two bytes tell. */
static size_t mask_offset(const struct websocket *ws) {
    unsigned length = ws->head[1] & LENGTH_BITS;
    return length < 126 ? 2 : length == 126 ? 4 : 10;
}

static size_t head_size(const struct websocket *ws) { return mask_offset(ws) + 4; }

static uint64_t length_of(const struct websocket *ws) {
    unsigned length = ws->head[1] & LENGTH_BITS;
    if (length < 126) return length;
    if (length == 126) return load_be16(ws->head + 2);
    return (uint64_t)load_be32(ws->head + 2) << 32 | load_be32(ws->head + 6);
}

/* The code to close with, or 0: as far as the first two bytes of a frame tell. */
static uint16_t judge_start(const struct websocket *ws) {
    bool is_last = ws->head[0] & BIT_FIN;
    if ((ws->head[0] & BITS_RESERVED) || !(ws->head[1] & BIT_MASKED)) return WEBSOCKET_PROTOCOL_ERROR;
    bool is_long = (ws->head[1] & LENGTH_BITS) > WEBSOCKET_CONTROL_MAX;
    if (is_control(ws) && (!is_last || is_long)) return WEBSOCKET_PROTOCOL_ERROR;
    switch (opcode_of(ws)) {
        case OP_CONTINUATION: return ws->is_in_message ? 0 : WEBSOCKET_PROTOCOL_ERROR;
        case OP_BINARY: return ws->is_in_message ? WEBSOCKET_PROTOCOL_ERROR : 0;
        case OP_TEXT: return ws->is_in_message ? WEBSOCKET_PROTOCOL_ERROR : WEBSOCKET_UNSUPPORTED;
        case OP_CLOSE:
        case OP_PING:
        case OP_PONG: return 0;
        default: return WEBSOCKET_PROTOCOL_ERROR;
    }
}

static uint16_t judge_length(const struct websocket *ws) {
    uint64_t length = length_of(ws);
    size_t form = mask_offset(ws);
    bool is_shortest = form == 2 || (form == 4 && length > WEBSOCKET_CONTROL_MAX) || length > UINT16_MAX;
    return is_shortest && length <= INT64_MAX ? 0 : WEBSOCKET_PROTOCOL_ERROR;
}

static void die(struct websocket *ws, uint16_t code) {
    ws->phase = WEBSOCKET_IS_DEAD;
    ws->code = code;
    ws->left = 0;
}

/* The head is complete and good. */
static void begin_payload(struct websocket *ws) {
    ws->left = length_of(ws);
    if (!is_control(ws)) {
        ws->is_in_message = !(ws->head[0] & BIT_FIN);
        ws->phase = WEBSOCKET_IN_DATA;
    } else if (opcode_of(ws) == OP_PONG) {
        ws->phase = WEBSOCKET_IN_SKIP;
    } else {
        ws->phase = WEBSOCKET_IN_CONTROL;
        ws->owes_pong = false;  // its payload makes room
    }
}

static void begin_head(struct websocket *ws) {
    ws->phase = WEBSOCKET_IN_HEAD;
    ws->head_have = 0;
}

/* Takes bytes until the head has `size`; false when the input ends before. */
static bool fill_head(struct websocket *ws, struct reader *in, size_t size) {
    size_t n = min_of(reader_left(in), size - ws->head_have);
    if (!reader_copy(in, ws->head + ws->head_have, n)) return false;
    ws->head_have = (uint8_t)(ws->head_have + n);
    return ws->head_have == size;
}

/* False when more input is needed; otherwise the phase has moved on. */
static bool take_head(struct websocket *ws, struct reader *in) {
    uint16_t code;
    if (ws->head_have < 2) {
        if (!fill_head(ws, in, 2)) return false;
        if ((code = judge_start(ws)) != 0) {
            die(ws, code);
            return true;
        }
    }
    if (!fill_head(ws, in, head_size(ws))) return false;
    if ((code = judge_length(ws)) != 0) {
        die(ws, code);
    } else {
        begin_payload(ws);
    }
    return true;
}

/* Eight bytes at a time; `at` is how many bytes of the payload came before. */
static void unmask(uint8_t *bytes, size_t size, const uint8_t mask[4], uint64_t at) {
    uint8_t pattern[8];
    for (size_t i = 0; i < sizeof(pattern); i++) pattern[i] = mask[(at + i) & 3];
    uint64_t wide, word;
    memcpy(&wide, pattern, sizeof(wide));
    size_t i = 0;
    for (; i + sizeof(wide) <= size; i += sizeof(wide)) {
        memcpy(&word, bytes + i, sizeof(word));
        word ^= wide;
        memcpy(bytes + i, &word, sizeof(word));
    }
    for (; i < size; i++) bytes[i] ^= pattern[i & 7];
}

/* What the input has of this frame's payload, unmasked in place. */
static uint8_t *take_payload(struct websocket *ws, struct reader *in, size_t *size) {
    uint64_t done = length_of(ws) - ws->left;
    *size = (size_t)min_of((uint64_t)reader_left(in), ws->left);
    uint8_t *bytes = (uint8_t *)(uintptr_t)reader_take(in, *size);  // the owner says that it may be written
    ws->left -= *size;
    unmask(bytes, *size, ws->head + mask_offset(ws), done);
    return bytes;
}

static bool is_sendable(uint16_t code) {
    bool is_reserved = code == 1004 || code == WEBSOCKET_NO_CODE || code == 1006;
    return (code >= 1000 && code <= 1014 && !is_reserved) || (code >= 3000 && code <= 4999);
}

static enum websocket_event on_close(struct websocket *ws, size_t size, struct websocket_view *out) {
    out->code = size == 0 ? WEBSOCKET_NO_CODE : size == 1 ? 0 : load_be16(ws->control);
    if (size > 0 && !is_sendable(out->code)) {
        die(ws, WEBSOCKET_PROTOCOL_ERROR);
        out->code = ws->code;
        return WEBSOCKET_BAD;
    }
    ws->phase = WEBSOCKET_IS_CLOSED;
    return WEBSOCKET_CLOSE;
}

static enum websocket_event take_control(struct websocket *ws, struct reader *in, struct websocket_view *out) {
    size_t whole = (size_t)length_of(ws), have = whole - (size_t)ws->left, size;
    if (ws->left > 0) {
        const uint8_t *bytes = take_payload(ws, in, &size);
        if (size > 0) memcpy(ws->control + have, bytes, size);
        if (ws->left > 0) return WEBSOCKET_NEED_INPUT;
    }
    if (opcode_of(ws) == OP_CLOSE) return on_close(ws, whole, out);
    ws->control_size = (uint8_t)whole;
    ws->owes_pong = true;
    begin_head(ws);
    return WEBSOCKET_PING;
}

/* DATA, or NEED_INPUT when there was nothing to report. */
static enum websocket_event take_data(struct websocket *ws, struct reader *in, struct websocket_view *out) {
    bool is_data = ws->phase == WEBSOCKET_IN_DATA;
    uint8_t *bytes = take_payload(ws, in, &out->size);
    if (ws->left == 0) begin_head(ws);
    if (!is_data || out->size == 0) return WEBSOCKET_NEED_INPUT;
    out->payload = bytes;
    return WEBSOCKET_DATA;
}

enum websocket_event websocket_next(struct websocket *ws, struct reader *in, struct websocket_view *out) {
    enum websocket_event event = WEBSOCKET_NEED_INPUT;
    for (;;) {
        if (ws->phase == WEBSOCKET_IN_HEAD && !take_head(ws, in)) return WEBSOCKET_NEED_INPUT;
        switch (ws->phase) {
            case WEBSOCKET_IN_DATA:
            case WEBSOCKET_IN_SKIP: event = take_data(ws, in, out); break;
            case WEBSOCKET_IN_CONTROL: event = take_control(ws, in, out); break;
            case WEBSOCKET_IS_CLOSED: (void)reader_take(in, reader_left(in)); return WEBSOCKET_NEED_INPUT;
            default: out->code = ws->code; return WEBSOCKET_BAD;
        }
        if (event != WEBSOCKET_NEED_INPUT || reader_left(in) == 0) return event;
    }
}

bool websocket_is_valid(const struct websocket *ws) {
    bool are_flags = ws->is_in_message <= 1 && ws->owes_pong <= 1;
    if (!are_flags || ws->phase > WEBSOCKET_IS_DEAD || ws->control_size > WEBSOCKET_CONTROL_MAX) return false;
    if (ws->phase == WEBSOCKET_IS_DEAD) {
        return ws->left == 0 && (ws->code == WEBSOCKET_PROTOCOL_ERROR || ws->code == WEBSOCKET_UNSUPPORTED);
    }
    if (ws->code != 0) return false;
    if (ws->phase == WEBSOCKET_IS_CLOSED) return ws->left == 0;
    bool is_started = ws->head_have >= 2;
    bool is_in_head = ws->phase == WEBSOCKET_IN_HEAD;
    if (is_in_head && (!is_started || ws->left > 0)) return ws->left == 0 && ws->head_have < 2;
    /* IN_DATA has changed is_in_message already, so the start cannot be judged again there. */
    if (is_in_head) return ws->head_have < head_size(ws) && judge_start(ws) == 0;
    if (ws->head_have != head_size(ws) || judge_length(ws) != 0) return false;
    if (ws->left > length_of(ws) || (ws->left == 0 && length_of(ws) != 0)) return false;
    bool is_plain = !(ws->head[0] & BITS_RESERVED) && (ws->head[1] & BIT_MASKED);
    switch (ws->phase) {
        case WEBSOCKET_IN_DATA:
            return is_plain && opcode_of(ws) <= OP_BINARY && opcode_of(ws) != OP_TEXT &&
                   ws->is_in_message == !(ws->head[0] & BIT_FIN);
        case WEBSOCKET_IN_SKIP: return judge_start(ws) == 0 && opcode_of(ws) == OP_PONG;
        default: return judge_start(ws) == 0 && is_control(ws) && opcode_of(ws) != OP_PONG && !ws->owes_pong;
    }
}

/* ---- writing ---- */

uint8_t *websocket_put_head(uint8_t *payload, size_t size) {
    DCHECK(size <= WEBSOCKET_MESSAGE_MAX);
    uint8_t *head = payload - websocket_head_size(size);
    head[0] = BIT_FIN | OP_BINARY;
    if (size <= WEBSOCKET_CONTROL_MAX) {
        head[1] = (uint8_t)size;
    } else {
        head[1] = 126;
        store_be16(head + 2, (uint16_t)size);
    }
    return head;
}

void websocket_write_pong(struct writer *w, struct websocket *ws) {
    if (!ws->owes_pong) return;
    uint8_t *room = writer_room(w, 2u + ws->control_size);
    if (room == NULL) return;
    room[0] = BIT_FIN | OP_PONG;
    room[1] = ws->control_size;
    memcpy(room + 2, ws->control, ws->control_size);
    ws->owes_pong = false;
}

void websocket_write_close(struct writer *w, uint16_t code) {
    bool has_code = code != WEBSOCKET_NO_CODE;
    uint8_t *room = writer_room(w, has_code ? 4 : 2);
    if (room == NULL) return;
    room[0] = BIT_FIN | OP_CLOSE;
    room[1] = has_code ? 2 : 0;
    if (has_code) store_be16(room + 2, code);
}
