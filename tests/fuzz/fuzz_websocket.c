/* Fuzzes proto/websocket: the decoder of frames, and what it answers.
 *
 * Attack surface: every byte that a client sends behind a WebSocket handshake, before its login and after. No mocks.
 * Input: byte 0 chooses how the rest is cut into pieces, the rest is the stream.
 * Beyond crashes: the same events, data and pongs whether the bytes come at once or in pieces, with the value packed
 * and unpacked in between; NEED_INPUT only when the input is used up; after BAD nothing is consumed; the value is valid
 * after each step; codes are ones that may be sent; no more data than input; our own close and pong are frames again.
 */
#include <stdlib.h>

#include "core/check.h"
#include "proto/websocket.h"

enum { EVENTS_MAX = 4096 };

struct seen {
    uint8_t event;
    uint16_t code;
    uint32_t pong_sum;
};

struct trace {
    size_t count;
    struct seen items[EVENTS_MAX];
    size_t data_size;
    uint32_t data_sum;
};

static uint32_t sum_of(uint32_t sum, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
}

static uint32_t take_pong(struct websocket *ws) {
    uint8_t bytes[WEBSOCKET_PONG_SIZE_MAX];
    struct writer w = writer_of(bytes, sizeof(bytes));
    CHECK(websocket_owes_pong(ws));
    websocket_write_pong(&w, ws);
    CHECK(writer_ok(&w) && !websocket_owes_pong(ws) && bytes[0] == 0x8a && bytes + 2 + bytes[1] == w.at);
    return sum_of(2166136261u, bytes, (size_t)(w.at - bytes));
}

static void check_code(uint16_t code) {
    uint8_t bytes[WEBSOCKET_CLOSE_SIZE_MAX];
    struct writer w = writer_of(bytes, sizeof(bytes));
    websocket_write_close(&w, code);
    CHECK(writer_ok(&w) &&
          (code == WEBSOCKET_NO_CODE || (code >= 1000 && code < 5000 && load_be16(bytes + 2) == code)));
}

static void note(struct trace *t, struct websocket *ws, enum websocket_event event, const struct websocket_view *view) {
    if (event == WEBSOCKET_DATA) {
        t->data_size += view->size;
        t->data_sum = sum_of(t->data_sum, view->payload, view->size);
        return;
    }
    struct seen seen = {.event = (uint8_t)event};
    if (event == WEBSOCKET_PING) seen.pong_sum = take_pong(ws);
    if (event != WEBSOCKET_PING) check_code(seen.code = view->code);
    seen.pong_sum ^= t->data_sum;  // and where in the data it stands
    if (t->count < EVENTS_MAX) t->items[t->count++] = seen;
}

/* One input to its end; false when the stream is bad. */
static bool feed(struct websocket *ws, uint8_t *bytes, size_t size, struct trace *t) {
    struct reader in = reader_of(bytes, size);
    struct websocket_view view;
    for (;;) {
        enum websocket_event event = websocket_next(ws, &in, &view);
        CHECK(in.at <= in.end && !in.bad && websocket_is_valid(ws));
        if (event == WEBSOCKET_NEED_INPUT) {
            CHECK(reader_left(&in) == 0);
            return true;
        }
        if (event == WEBSOCKET_DATA) {
            CHECK(view.size > 0 && view.payload >= bytes && view.payload + view.size <= bytes + size);
        }
        note(t, ws, event, &view);
        if (event != WEBSOCKET_BAD) continue;
        const uint8_t *at = in.at;
        CHECK(websocket_next(ws, &in, &view) == WEBSOCKET_BAD && in.at == at);
        return false;
    }
}

static void run(const uint8_t *bytes, size_t size, size_t piece_max, struct trace *t) {
    struct websocket ws;
    websocket_init(&ws);
    *t = (struct trace){.data_sum = 2166136261u};
    bool is_good = true;
    for (size_t at = 0; at < size && is_good;) {
        size_t n = piece_max == 0 ? size : 1 + (at * 7 + 3) % piece_max;
        n = min_of(n, size - at);
        uint8_t *piece = malloc(n);
        CHECK(piece != NULL);
        memcpy(piece, bytes + at, n);
        is_good = feed(&ws, piece, n, t);
        free(piece);
        struct websocket fresh = {0};
#define COPY(type, name, array) memcpy(&fresh.name, &ws.name, sizeof(fresh.name));
        WEBSOCKET_FIELDS(COPY)
        ws = fresh;
        at += n;
    }
    CHECK(t->data_size <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct trace whole, pieces;
    if (size < 1) return 0;
    run(data + 1, size - 1, 0, &whole);
    run(data + 1, size - 1, 1u + data[0], &pieces);
    CHECK(whole.count == pieces.count && whole.data_size == pieces.data_size && whole.data_sum == pieces.data_sum);
    CHECK(memcmp(whole.items, pieces.items, whole.count * sizeof(whole.items[0])) == 0);
    return 0;
}
