/* WebSocket: the handshake's rules, frames in under every cutting, against a second reader, and messages out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "core/sys.h"
#include "proto/websocket.h"

/* ---- what happened ---- */

enum { EVENTS_MAX = 256, DATA_MAX = 1 << 18 };

struct happened {
    uint8_t event;
    uint16_t code;        // CLOSE, BAD
    size_t data_before;   // bytes of data reported before it
    uint8_t pong[WEBSOCKET_PONG_SIZE_MAX];
    size_t pong_size;     // PING
};

struct story {
    size_t count;
    struct happened items[EVENTS_MAX];
    size_t data_size;
    uint8_t data[DATA_MAX];
};

static struct happened *add(struct story *story, enum websocket_event event) {
    assert_true(story->count < EVENTS_MAX);
    struct happened *item = &story->items[story->count++];
    *item = (struct happened){.event = (uint8_t)event, .data_before = story->data_size};
    return item;
}

static void assert_same(const struct story *a, const struct story *b) {
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->data_size, b->data_size);
    assert_memory_equal(a->data, b->data, a->data_size);
    for (size_t i = 0; i < a->count; i++) {
        const struct happened *x = &a->items[i], *y = &b->items[i];
        assert_int_equal(x->event, y->event);
        assert_int_equal(x->code, y->code);
        assert_int_equal(x->data_before, y->data_before);
        assert_int_equal(x->pong_size, y->pong_size);
        assert_memory_equal(x->pong, y->pong, x->pong_size);
    }
}

/* ---- the decoder's story ---- */

/* Handed over between two inputs: only the fields survive. */
static void hand_over(struct websocket *ws) {
    struct websocket fresh;
    memset(&fresh, 0x5a, sizeof(fresh));
#define COPY(type, name, array) memcpy(&fresh.name, &ws->name, sizeof(fresh.name));
    WEBSOCKET_FIELDS(COPY)
    *ws = fresh;
    assert_true(websocket_is_valid(ws));
}

/* One input, in a block of its own; pongs are taken at once. False after BAD. */
static bool feed(struct websocket *ws, const uint8_t *bytes, size_t size, struct story *story) {
    uint8_t *own = malloc(size + 1);
    assert_non_null(own);
    memcpy(own, bytes, size);
    struct reader in = reader_of(own, size);
    struct websocket_view view;
    bool is_good = true;
    for (;;) {
        enum websocket_event event = websocket_next(ws, &in, &view);
        assert_true(websocket_is_valid(ws));
        if (event == WEBSOCKET_NEED_INPUT) {
            assert_int_equal(reader_left(&in), 0);
            break;
        }
        if (event == WEBSOCKET_DATA) {
            assert_in_range(view.size, 1, size);
            assert_true(view.payload >= own && view.payload + view.size <= own + size);
            assert_true(story->data_size + view.size <= DATA_MAX);
            memcpy(story->data + story->data_size, view.payload, view.size);
            story->data_size += view.size;
            continue;
        }
        struct happened *item = add(story, event);
        if (event == WEBSOCKET_PING) {
            struct writer w = writer_of(item->pong, sizeof(item->pong));
            assert_true(websocket_owes_pong(ws));
            websocket_write_pong(&w, ws);
            assert_false(websocket_owes_pong(ws));
            item->pong_size = (size_t)(w.at - item->pong);
            continue;
        }
        item->code = view.code;
        if (event != WEBSOCKET_BAD) continue;
        size_t left = reader_left(&in);
        assert_int_equal(websocket_next(ws, &in, &view), WEBSOCKET_BAD);
        assert_int_equal(reader_left(&in), left);
        is_good = false;
        break;
    }
    free(own);
    return is_good;
}

/* Pieces of random sizes up to piece_max; 0: all at once. */
static void decode(const uint8_t *bytes, size_t size, struct rng *rng, size_t piece_max, struct story *story) {
    struct websocket ws;
    websocket_init(&ws);
    story->count = story->data_size = 0;
    for (size_t at = 0; at < size;) {
        size_t n = piece_max ? 1 + rng_below(rng, piece_max) : size;
        n = min_of(n, size - at);
        if (!feed(&ws, bytes + at, n, story)) return;
        hand_over(&ws);
        at += n;
    }
}

/* ---- a second reader: whole frames, section 5.2 word by word, no state but its place ---- */

static bool model_code_is_fine(unsigned code) {
    static const unsigned fine[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014};
    for (size_t i = 0; i < array_count(fine); i++)
        if (fine[i] == code) return true;
    return code / 1000 == 3 || code / 1000 == 4;
}

static void model_bad(struct story *story, uint16_t code) { add(story, WEBSOCKET_BAD)->code = code; }

static void model(const uint8_t *b, size_t size, struct story *story) {
    bool is_open = false;  // a message without its last frame
    story->count = story->data_size = 0;
    for (size_t at = 0; size - at >= 2;) {
        bool fin = b[at] >> 7, masked = b[at + 1] >> 7;
        unsigned reserved = (b[at] >> 4) % 8, op = b[at] % 16, small = b[at + 1] % 128;
        bool is_control = op == 8 || op == 9 || op == 10;
        bool is_data = op == 0 || op == 1 || op == 2;
        if (reserved != 0 || !masked || (!is_control && !is_data)) return model_bad(story, 1002);
        if (is_control && (!fin || small > 125)) return model_bad(story, 1002);
        if (is_data && (op == 0) != is_open) return model_bad(story, 1002);
        if (op == 1) return model_bad(story, 1003);
        size_t extra = small == 127 ? 8 : small == 126 ? 2 : 0;
        if (size - at < 2 + extra + 4) return;
        uint64_t length = extra ? 0 : small;
        for (size_t i = 0; i < extra; i++) length = length * 256 + b[at + 2 + i];
        if ((extra == 2 && length < 126) || (extra == 8 && (length < 65536 || length >> 63))) {
            return model_bad(story, 1002);
        }
        const uint8_t *mask = b + at + 2 + extra;
        at += 2 + extra + 4;
        uint64_t there = min_of(length, (uint64_t)(size - at));
        uint8_t *clear = malloc((size_t)there + 1);
        assert_non_null(clear);
        for (size_t i = 0; i < there; i++) clear[i] = b[at + i] ^ mask[i % 4];
        at += (size_t)there;
        if (is_data) {
            memcpy(story->data + story->data_size, clear, (size_t)there);
            story->data_size += (size_t)there;
            is_open = !fin;
        } else if (there == length && op == 9) {
            struct happened *item = add(story, WEBSOCKET_PING);
            item->pong[0] = 0x8a;
            item->pong[1] = (uint8_t)length;
            memcpy(item->pong + 2, clear, (size_t)length);
            item->pong_size = 2 + (size_t)length;
        } else if (there == length && op == 8) {
            unsigned code = length >= 2 ? clear[0] * 256u + clear[1] : 0;
            if (length > 0 && !model_code_is_fine(code)) {
                model_bad(story, 1002);
            } else {
                add(story, WEBSOCKET_CLOSE)->code = (uint16_t)(length ? code : 1005);
            }
            at = size;
        }
        free(clear);
    }
}

/* ---- frames as a client writes them ---- */

struct stream {
    size_t size;
    uint8_t bytes[DATA_MAX];
};

/* `form` 0: the shortest; else how many bytes of length. */
static void put(struct stream *s, unsigned first, bool masked, const void *payload, uint64_t claimed, size_t size,
                size_t form, struct rng *rng) {
    uint8_t *at = s->bytes + s->size;
    uint8_t mask[4] = {0};
    assert_true(s->size + size + 14 <= DATA_MAX);
    if (form == 0) form = claimed < 126 ? 1 : claimed < 65536 ? 2 : 8;
    *at++ = (uint8_t)first;
    *at++ = (uint8_t)((masked ? 0x80 : 0) | (form == 1 ? (unsigned)claimed : form == 2 ? 126 : 127));
    for (size_t i = form == 1 ? 0 : form; i-- > 0;) *at++ = (uint8_t)(claimed >> (8 * i));
    if (masked) {
        rng_bytes(rng, mask, sizeof(mask));
        memcpy(at, mask, 4);
        at += 4;
    }
    for (size_t i = 0; i < size; i++) *at++ = ((const uint8_t *)payload)[i] ^ mask[i % 4];
    s->size = (size_t)(at - s->bytes);
}

static void put_good(struct stream *s, unsigned first, const void *payload, size_t size, struct rng *rng) {
    put(s, first, true, payload, size, size, 0, rng);
}

static struct stream stream;
static struct story stories[3];

static void check_all_cuttings(struct rng *rng) {
    model(stream.bytes, stream.size, &stories[0]);
    decode(stream.bytes, stream.size, rng, 0, &stories[1]);
    assert_same(&stories[0], &stories[1]);
    for (size_t piece = 1; piece < 4096; piece = piece * 3 + 1) {
        decode(stream.bytes, stream.size, rng, piece, &stories[2]);
        assert_same(&stories[0], &stories[2]);
    }
}

/* Each of these is one stream, with the close code it must end in (0: none). */
static void test_every_rule(void **state) {
    (void)state;
    static const struct {
        unsigned first, second;  // of two frames; second 0: none
        size_t size, form;
        bool is_unmasked;
        uint16_t code;
    } cases[] = {
        {0x82, 0, 0, 0, false, 0},       {0x82, 0x82, 1, 0, false, 0},     {0x82, 0, 125, 0, false, 0},
        {0x82, 0, 126, 0, false, 0},     {0x82, 0, 65535, 0, false, 0},    {0x82, 0, 65536, 0, false, 0},
        {0x02, 0x80, 9, 0, false, 0},    {0x02, 0x00, 9, 0, false, 0},     {0x8a, 0x82, 125, 0, false, 0},
        {0x02, 0x8a, 9, 0, false, 0},    {0x02, 0x89, 9, 0, false, 0},     {0x89, 0x89, 125, 0, false, 0},
        {0x82, 0, 5, 0, true, 1002},     {0x89, 0, 5, 0, true, 1002},      {0xc2, 0, 5, 0, false, 1002},
        {0xa2, 0, 5, 0, false, 1002},    {0x92, 0, 5, 0, false, 1002},     {0x83, 0, 5, 0, false, 1002},
        {0x87, 0, 5, 0, false, 1002},    {0x8b, 0, 5, 0, false, 1002},     {0x8f, 0, 5, 0, false, 1002},
        {0x09, 0, 5, 0, false, 1002},    {0x08, 0, 0, 0, false, 1002},     {0x0a, 0, 5, 0, false, 1002},
        {0x89, 0, 126, 0, false, 1002},  {0x8a, 0, 126, 0, false, 1002},   {0x88, 0, 126, 0, false, 1002},
        {0x89, 0, 5, 2, false, 1002},    {0x80, 0, 5, 0, false, 1002},     {0x00, 0, 5, 0, false, 1002},
        {0x02, 0x82, 5, 0, false, 1002}, {0x02, 0x81, 5, 0, false, 1002},  {0x81, 0, 5, 0, false, 1003},
        {0x01, 0, 5, 0, false, 1003},    {0x82, 0x81, 5, 0, false, 1003},  {0x82, 0, 125, 2, false, 1002},
        {0x82, 0, 0, 2, false, 1002},    {0x82, 0, 65535, 8, false, 1002}, {0x82, 0, 0, 8, false, 1002},
        {0x88, 0, 1, 0, false, 1002},
    };
    static uint8_t payload[65536];
    struct rng rng;
    rng_init_seeded(&rng, 1);
    rng_bytes(&rng, payload, sizeof(payload));
    for (size_t i = 0; i < array_count(cases); i++) {
        stream.size = 0;
        bool masked = !cases[i].is_unmasked;
        put(&stream, cases[i].first, masked, payload, cases[i].size, cases[i].size, cases[i].form, &rng);
        if (cases[i].second) put(&stream, cases[i].second, true, payload, cases[i].size, cases[i].size, 0, &rng);
        check_all_cuttings(&rng);
        const struct story *story = &stories[1];
        const struct happened *last = story->count ? &story->items[story->count - 1] : NULL;
        bool is_bad = last && last->event == WEBSOCKET_BAD;
        if (is_bad != (cases[i].code != 0) || (is_bad && last->code != cases[i].code)) {
            fail_msg("case %zu: %s with %u, want %u", i, is_bad ? "refused" : "accepted", is_bad ? last->code : 0,
                     cases[i].code);
        }
    }
}

static void test_close_codes(void **state) {
    (void)state;
    struct rng rng;
    rng_init_seeded(&rng, 2);
    for (unsigned code = 0; code < 65536; code += code < 5100 ? 1 : 997) {
        uint8_t payload[10] = {(uint8_t)(code >> 8), (uint8_t)code, 'b', 'y', 'e'};
        bool is_fine = (code >= 1000 && code < 1004) || (code > 1006 && code < 1015) || (code >= 3000 && code < 5000);
        stream.size = 0;
        put_good(&stream, 0x88, payload, code % 2 ? 2 : 5, &rng);
        put_good(&stream, 0x81, "thrown away", 11, &rng);
        check_all_cuttings(&rng);
        assert_int_equal(stories[1].count, 1);
        assert_int_equal(stories[1].items[0].event, is_fine ? WEBSOCKET_CLOSE : WEBSOCKET_BAD);
        assert_int_equal(stories[1].items[0].code, is_fine ? code : 1002);
    }
    stream.size = 0;
    put_good(&stream, 0x88, "", 0, &rng);
    check_all_cuttings(&rng);
    assert_int_equal(stories[1].items[0].code, WEBSOCKET_NO_CODE);
}

/* A length nobody can send: what there is of it is data. The top bit ends it. */
static void test_huge_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {65536, 1u << 31, UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX};
    struct rng rng;
    rng_init_seeded(&rng, 3);
    for (size_t i = 0; i < array_count(lengths); i++) {
        stream.size = 0;
        put(&stream, 0x82, true, "the first bytes of many", lengths[i], 23, 8, &rng);
        check_all_cuttings(&rng);
        bool is_good = lengths[i] <= INT64_MAX;
        assert_int_equal(stories[1].data_size, is_good ? 23 : 0);
        assert_int_equal(stories[1].count, is_good ? 0 : 1);
    }
}

/* Streams that are mostly right: fragments with control frames between them, all sizes, now and then a rule broken. */
static void random_stream(struct rng *rng) {
    static uint8_t payload[70000];
    static const size_t corners[] = {0, 1, 125, 126, 127, 65535, 65536};
    bool is_open = false;
    rng_bytes(rng, payload, 256);
    stream.size = 0;
    for (unsigned i = 0, count = 1 + (unsigned)rng_below(rng, 12); i < count; i++) {
        bool is_corner = rng_below(rng, 6) == 0, is_control = rng_below(rng, 3) == 0;
        size_t size = is_corner ? corners[rng_below(rng, array_count(corners))] : (size_t)rng_below(rng, 400);
        if (stream.size + size > DATA_MAX / 2) size = 3;
        unsigned first;
        if (is_control) {
            first = 0x89 + (unsigned)rng_below(rng, 2);
            size = min_of(size, (size_t)125);
        } else {
            bool fin = rng_below(rng, 2);
            first = (fin ? 0x80u : 0) | (is_open ? 0 : 2);
            is_open = !fin;
        }
        if (rng_below(rng, 60) == 0) first = (unsigned)rng_below(rng, 256);
        if (rng_below(rng, 60) == 0) first = 0x88;
        bool masked = rng_below(rng, 60) != 0;
        put(&stream, first, masked, payload, size, size, 0, rng);
    }
    if (rng_below(rng, 4) == 0) stream.bytes[rng_below(rng, stream.size)] ^= (uint8_t)(1 << rng_below(rng, 8));
    if (rng_below(rng, 4) == 0) stream.size -= rng_below(rng, stream.size);
}

static void test_random_streams(void **state) {
    (void)state;
    struct rng rng;
    rng_init_seeded(&rng, 4);
    for (int round = 0; round < 3000; round++) {
        random_stream(&rng);
        model(stream.bytes, stream.size, &stories[0]);
        decode(stream.bytes, stream.size, &rng, 0, &stories[1]);
        assert_same(&stories[0], &stories[1]);
        decode(stream.bytes, stream.size, &rng, 1 + (size_t)rng_below(&rng, 300), &stories[2]);
        assert_same(&stories[0], &stories[2]);
    }
}

/* Two pings, and the first is not answered in time: only the second is. */
static void test_one_pong_is_owed(void **state) {
    (void)state;
    struct rng rng;
    struct websocket ws;
    struct websocket_view view;
    rng_init_seeded(&rng, 5);
    stream.size = 0;
    put_good(&stream, 0x89, "first", 5, &rng);
    put_good(&stream, 0x8a, "a pong in between changes nothing", 33, &rng);
    size_t second_at = stream.size;
    put_good(&stream, 0x89, "2nd", 3, &rng);
    websocket_init(&ws);
    struct reader in = reader_of(stream.bytes, second_at);
    assert_int_equal(websocket_next(&ws, &in, &view), WEBSOCKET_PING);
    assert_int_equal(websocket_next(&ws, &in, &view), WEBSOCKET_NEED_INPUT);
    assert_true(websocket_owes_pong(&ws));
    uint8_t bytes[WEBSOCKET_PONG_SIZE_MAX];
    struct writer w = writer_of(bytes, 6);  // no room
    websocket_write_pong(&w, &ws);
    assert_false(writer_ok(&w));
    assert_true(websocket_owes_pong(&ws));
    in = reader_of(stream.bytes + second_at, stream.size - second_at);
    assert_int_equal(websocket_next(&ws, &in, &view), WEBSOCKET_PING);
    w = writer_of(bytes, sizeof(bytes));
    websocket_write_pong(&w, &ws);
    assert_int_equal(w.at - bytes, 5);
    assert_memory_equal(bytes,
                        "\x8a\x03"
                        "2nd",
                        5);
    websocket_write_pong(&w, &ws);
    assert_int_equal(w.at - bytes, 5);
}

/* Section 5.7's examples, by hand. */
static void test_known_bytes(void **state) {
    (void)state;
    uint8_t hello[] = {0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    struct websocket ws;
    struct websocket_view view;
    websocket_init(&ws);
    struct reader in = reader_of(hello, sizeof(hello));
    assert_int_equal(websocket_next(&ws, &in, &view), WEBSOCKET_DATA);
    assert_int_equal(view.size, 5);
    assert_memory_equal(view.payload, "Hello", 5);
    assert_ptr_equal(view.payload, hello + 6);
}

static void test_messages_out(void **state) {
    (void)state;
    static uint8_t room[WEBSOCKET_MESSAGE_MAX + 8];
    static const size_t sizes[] = {0, 1, 125, 126, 256, 32763, WEBSOCKET_MESSAGE_MAX};
    for (size_t i = 0; i < array_count(sizes); i++) {
        size_t head_size = websocket_head_size(sizes[i]);
        memset(room, 0x5a, sizeof(room));
        assert_ptr_equal(websocket_put_head(room + 8, sizes[i]), room + 8 - head_size);
        assert_int_equal(room[8 - head_size], 0x82);
        assert_int_equal(head_size, sizes[i] < 126 ? 2 : 4);
        assert_int_equal(head_size == 2 ? room[7] : room[6] * 256 + room[7], sizes[i]);
        if (head_size == 4) assert_int_equal(room[5], 126);
        assert_int_equal(room[8 - head_size - 1], 0x5a);
        assert_int_equal(room[8], 0x5a);
    }
    assert_int_equal(websocket_heads_size(0), 0);
    assert_int_equal(websocket_heads_size(125), 2);
    assert_int_equal(websocket_heads_size(WEBSOCKET_MESSAGE_MAX), 4);
    assert_int_equal(websocket_heads_size(WEBSOCKET_MESSAGE_MAX + 1), 6);
    assert_int_equal(websocket_heads_size(2 * WEBSOCKET_MESSAGE_MAX + 126), 12);
    assert_int_equal(websocket_messages(0), 0);
    assert_int_equal(websocket_messages(WEBSOCKET_MESSAGE_MAX), 1);
    assert_int_equal(websocket_messages(WEBSOCKET_MESSAGE_MAX + 1), 2);
}

static void test_close_out(void **state) {
    (void)state;
    uint8_t room[WEBSOCKET_CLOSE_SIZE_MAX];
    struct writer w = writer_of(room, sizeof(room));
    websocket_write_close(&w, WEBSOCKET_NORMAL);
    assert_memory_equal(room, "\x88\x02\x03\xe8", 4);
    w = writer_of(room, 2);
    websocket_write_close(&w, WEBSOCKET_NO_CODE);
    assert_true(writer_ok(&w));
    assert_memory_equal(room, "\x88\x00", 2);
    w = writer_of(room, 3);
    websocket_write_close(&w, WEBSOCKET_NORMAL);
    assert_false(writer_ok(&w));
}

/* ---- the handshake ---- */

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define CONNECTION "Connection: keep-alive, upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define DERP "Sec-WebSocket-Protocol: derp\r\n"

static struct http_request request;

static void judge(const char *line, const char *headers, struct websocket_offer *offer) {
    static char head[1024];
    struct http_scan scan = {0};
    int size = snprintf(head, sizeof(head), "%s\r\nHost: x\r\nUpgrade: websocket\r\n%s\r\n", line, headers);
    assert_int_equal(http_request_parse(&scan, head, (size_t)size, &request), HTTP_DONE);
    websocket_judge(&request, offer);
}

static void test_handshake_rules(void **state) {
    (void)state;
    static const struct {
        const char *line, *headers;
        uint16_t status;
    } cases[] = {
        {"GET /derp HTTP/1.1", CONNECTION VERSION KEY DERP, 0},
        {"GET /derp HTTP/1.1", CONNECTION VERSION KEY, 0},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP "Sec-WebSocket-Key:   AAAAAAAAAAAAAAAAAAAAAz==  \r\n", 0},
        {"GET /derp HTTP/1.0", CONNECTION VERSION KEY DERP, 426},
        {"GET /derp HTTP/1.1", VERSION KEY DERP, 426},
        {"GET /derp HTTP/1.1", "Connection: close\r\n" VERSION KEY DERP, 426},
        {"HEAD /derp HTTP/1.1", CONNECTION VERSION KEY DERP, 405},
        {"POST /derp HTTP/1.1", CONNECTION VERSION KEY DERP, 405},
        {"GET /derp HTTP/1.1", CONNECTION KEY DERP, 400},
        {"GET /derp HTTP/1.1", CONNECTION "Sec-WebSocket-Version: 8\r\n" KEY DERP, 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP, 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION KEY KEY DERP, 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP "Sec-WebSocket-Key:\r\n", 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n", 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ!=\r\n", 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP "Sec-WebSocket-Key: dGhlIHNhbXBsZSB-b25jZQ==\r\n", 400},
        {"GET /derp HTTP/1.1", CONNECTION VERSION DERP "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEy\r\n", 400},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct websocket_offer offer;
        judge(cases[i].line, cases[i].headers, &offer);
        if (offer.status != cases[i].status) fail_msg("case %zu: %u, want %u", i, offer.status, cases[i].status);
        if (offer.status == 0) continue;
        uint8_t answer[1024];
        struct writer w = writer_of(answer, sizeof(answer));
        websocket_write_refusal(&w, &offer, 0);
        assert_true(writer_ok(&w));
        assert_memory_equal(answer, "HTTP/1.1 4", 10);
    }
}

static void test_protocols(void **state) {
    (void)state;
    static const struct {
        const char *value, *echo;
        bool is_derp;
    } cases[] = {
        {"derp", "derp", true},         {"a, derp ,b", "derp", true},  {"xderp", "", false},
        {"Derp, xderp", "Derp", false}, {"xderp, derp", "derp", true}, {"DERP, derp", "DERP", false},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        char headers[512];
        struct websocket_offer offer;
        snprintf(headers, sizeof(headers), CONNECTION VERSION KEY "Sec-WebSocket-Protocol: %s\r\n", cases[i].value);
        judge("GET /derp HTTP/1.1", headers, &offer);
        assert_int_equal(offer.status, 0);
        assert_true(http_view_is(offer.protocol, cases[i].echo));
        assert_int_equal(offer.is_derp, cases[i].is_derp);
    }
}

/* Section 1.3's example of an accept text. */
static void test_the_answer(void **state) {
    (void)state;
    static const char wanted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    uint8_t answer[512];
    struct websocket_offer offer;
    judge("GET /derp HTTP/1.1", CONNECTION VERSION KEY DERP, &offer);
    struct writer w = writer_of(answer, sizeof(answer));
    websocket_write_switch(&w, &offer);
    writer_u8(&w, 0);
    assert_true(writer_ok(&w));
    assert_memory_equal(answer, wanted, sizeof(wanted) - 1);
    assert_string_equal((char *)answer + sizeof(wanted) - 1, "Sec-WebSocket-Protocol: derp\r\n\r\n");
    judge("GET /derp HTTP/1.1", CONNECTION VERSION KEY, &offer);
    w = writer_of(answer, sizeof(answer));
    websocket_write_switch(&w, &offer);
    writer_u8(&w, 0);
    assert_string_equal((char *)answer + sizeof(wanted) - 1, "\r\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_rule),       cmocka_unit_test(test_close_codes),
        cmocka_unit_test(test_huge_lengths),     cmocka_unit_test(test_random_streams),
        cmocka_unit_test(test_one_pong_is_owed), cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_messages_out),     cmocka_unit_test(test_close_out),
        cmocka_unit_test(test_handshake_rules),  cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_the_answer),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
