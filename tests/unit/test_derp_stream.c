/* The frame stream: events, refusals, space, and that the cutting of the input does not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rng.h"
#include "proto/derp_stream.h"

static enum derp_stream_event next(struct derp_stream *s, struct reader *in, struct derp_frame_view *out) {
    memset(out, 0xee, sizeof(*out));
    enum derp_stream_event event = derp_stream_next(s, in, out);
    assert_true(derp_stream_is_valid(s));
    return event;
}

static void test_whole_frames_lie_in_the_input(void **state) {
    (void)state;
    uint8_t b[256];
    struct node_key key = {{5}};
    struct writer w = writer_of(b, sizeof(b));
    derp_write_send(&w, &key, "hello", 5);
    derp_write_watch_conns(&w);
    derp_write_note_preferred(&w, true);
    struct derp_stream s;
    struct derp_frame_view f;
    derp_stream_init(&s, DERP_SERVER_MESH);
    struct reader in = reader_of(b, (size_t)(w.at - b));
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
    assert_int_equal(f.type, DERP_SEND_PACKET);
    assert_int_equal(f.length, 37);
    assert_ptr_equal(f.payload, b + 5);
    assert_true(f.is_whole);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
    assert_int_equal(f.type, DERP_WATCH_CONNS);
    assert_int_equal(f.length, 0);
    assert_non_null(f.payload);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
    assert_int_equal(f.type, DERP_NOTE_PREFERRED);
    assert_int_equal(f.payload[0], 1);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
    assert_true(derp_stream_may_end(&s));
}

static void test_header_and_payload_in_two_inputs(void **state) {
    (void)state;
    uint8_t b[64];
    const uint8_t ping[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct writer w = writer_of(b, sizeof(b));
    derp_write_ping(&w, ping);
    struct derp_stream s;
    struct derp_frame_view f;
    derp_stream_init(&s, DERP_SERVER);
    struct reader in = reader_of(b, 5);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
    assert_false(derp_stream_may_end(&s));
    assert_int_equal(derp_stream_type(&s), DERP_PING);
    assert_int_equal(derp_stream_length(&s), 8);
    in = reader_of(NULL, 0);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
    in = reader_of(b + 5, 8);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
    assert_ptr_equal(f.payload, b + 5);
    assert_false(f.is_whole);
}

static void test_straddling_frame_needs_space(void **state) {
    (void)state;
    uint8_t b[64], space[8], other[8];
    const uint8_t ping[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct writer w = writer_of(b, sizeof(b));
    derp_write_ping(&w, ping);
    struct derp_stream s;
    struct derp_frame_view f;
    derp_stream_init(&s, DERP_SERVER);
    struct reader in = reader_of(b, 7);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_SPACE);
    assert_int_equal(f.length, 8);
    assert_int_equal(f.verdict, DERP_ACCEPT);
    assert_null(f.payload);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_SPACE);
    derp_stream_give_space(&s, space);
    assert_ptr_equal(derp_stream_space(&s), space);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
    assert_int_equal(reader_left(&in), 0);
    in = reader_of(b + 7, 2);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);

    /* The connection moves: its value and the collected bytes. */
    struct derp_stream moved = s;
    memcpy(other, space, s.have);
    derp_stream_rehome(&moved, other);
    in = reader_of(b + 9, 4);
    assert_int_equal(next(&moved, &in, &f), DERP_STREAM_FRAME);
    assert_ptr_equal(f.payload, other);
    assert_memory_equal(other, ping, 8);
    assert_null(derp_stream_space(&moved));
}

static void test_discard(void **state) {
    (void)state;
    uint8_t b[64], space[8];
    const uint8_t ping[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct writer w = writer_of(b, sizeof(b));
    derp_write_ping(&w, ping);
    derp_write_note_preferred(&w, true);
    for (int has_space = 0; has_space < 2; has_space++) {
        struct derp_stream s;
        struct derp_frame_view f;
        derp_stream_init(&s, DERP_SERVER);
        struct reader in = reader_of(b, 9);
        assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_SPACE);
        if (has_space) {
            derp_stream_give_space(&s, space);
            assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
        }
        derp_stream_discard(&s);
        assert_null(derp_stream_space(&s));
        assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
        in = reader_of(b + 9, (size_t)(w.at - b) - 9);
        assert_int_equal(next(&s, &in, &f), DERP_STREAM_DISCARDED);
        assert_int_equal(f.type, DERP_PING);
        assert_int_equal(f.length, 8);
        assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
        assert_int_equal(f.type, DERP_NOTE_PREFERRED);
    }
}

static void test_unknown_frames_are_skipped(void **state) {
    (void)state;
    uint8_t b[16] = {0x77, 0, 0, 0, 2, 'x', 'y', 0x78, 0, 0, 0, 0};
    struct derp_stream s;
    struct derp_frame_view f;
    derp_stream_init(&s, DERP_SERVER);
    struct reader in = reader_of(b, 12);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_SKIPPED);
    assert_int_equal(f.type, 0x77);
    assert_int_equal(f.length, 2);
    assert_int_equal(f.verdict, DERP_SKIP);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_SKIPPED);
    assert_int_equal(f.type, 0x78);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
}

/* The longest frame of unknown type, a few bytes at a time: skipping needs no space. */
static void test_long_unknown_frames_are_skipped(void **state) {
    (void)state;
    uint8_t chunk[7] = {0};
    const uint8_t header[5] = {0x77, 0, 1, 0, 32};
    struct derp_stream s;
    struct derp_frame_view f;
    derp_stream_init(&s, DERP_SERVER);
    struct reader in = reader_of(header, 5);
    assert_int_equal(derp_stream_next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
    uint32_t left = DERP_UNKNOWN_LENGTH_MAX;
    while (left > sizeof(chunk)) {
        in = reader_of(chunk, sizeof(chunk));
        assert_int_equal(derp_stream_next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
        left -= (uint32_t)sizeof(chunk);
    }
    in = reader_of(chunk, left);
    assert_int_equal(derp_stream_next(&s, &in, &f), DERP_STREAM_SKIPPED);
    assert_int_equal(reader_left(&in), 0);
}

/* As soon as the fifth byte is there, and for ever. */
static void test_refusals(void **state) {
    (void)state;
    static const struct {
        enum derp_side side;
        uint8_t header[5];
        enum derp_verdict verdict;
    } rows[] = {
        {DERP_SERVER, {DERP_SEND_PACKET, 0, 0, 0, 31}, DERP_REFUSE_TOO_SHORT},
        {DERP_SERVER, {DERP_SEND_PACKET, 0, 1, 0, 33}, DERP_REFUSE_TOO_LONG},
        {DERP_SERVER, {DERP_FORWARD_PACKET, 0, 0, 0, 70}, DERP_REFUSE_NOT_PERMITTED},
        {DERP_SERVER, {DERP_WATCH_CONNS, 0, 0, 0, 1}, DERP_REFUSE_WRONG_LENGTH},
        {DERP_SERVER, {DERP_WATCH_CONNS, 0, 0, 0, 0}, DERP_REFUSE_NOT_PERMITTED},
        {DERP_SERVER_GREETING, {DERP_PING, 0, 0, 0, 8}, DERP_REFUSE_UNEXPECTED},
        {DERP_CLIENT_GREETING, {'H', 'T', 'T', 'P', '/'}, DERP_REFUSE_UNEXPECTED},
        {DERP_CLIENT, {'H', 'T', 'T', 'P', '/'}, DERP_REFUSE_TOO_LONG},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct derp_stream s;
        struct derp_frame_view f;
        derp_stream_init(&s, rows[i].side);
        struct reader in = reader_of(rows[i].header, 4);
        assert_int_equal(next(&s, &in, &f), DERP_STREAM_NEED_INPUT);
        in = reader_of(rows[i].header + 4, 1);
        for (int again = 0; again < 3; again++) {
            assert_int_equal(next(&s, &in, &f), DERP_STREAM_BAD);
            assert_int_equal(f.verdict, rows[i].verdict);
            assert_int_equal(f.type, rows[i].header[0]);
            in = reader_of("\x06\0\0\0\0", 5);
        }
        assert_int_equal(reader_left(&in), 5);
    }
}

/* What a client may send behind its ClientInfo without waiting is judged by the rules after the login. */
static void test_side_changes_after_login(void **state) {
    (void)state;
    uint8_t b[128] = {DERP_CLIENT_INFO, 0, 0, 0, 60, [65] = DERP_WATCH_CONNS};
    struct derp_stream s;
    struct derp_frame_view f;
    derp_stream_init(&s, DERP_SERVER_GREETING);
    struct reader in = reader_of(b, 70);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
    assert_int_equal(f.type, DERP_CLIENT_INFO);
    derp_stream_set_side(&s, DERP_SERVER_MESH);
    assert_int_equal(next(&s, &in, &f), DERP_STREAM_FRAME);
    assert_int_equal(f.type, DERP_WATCH_CONNS);
}

static void test_broken_values_are_not_valid(void **state) {
    (void)state;
    struct derp_stream good;
    struct derp_frame_view f;
    derp_stream_init(&good, DERP_SERVER);
    assert_true(derp_stream_is_valid(&good));
    struct derp_stream s = good;
    s.side = DERP_SIDE_COUNT;
    assert_false(derp_stream_is_valid(&s));
    s = good;
    s.phase = 9;
    assert_false(derp_stream_is_valid(&s));
    s = good;
    s.header_have = 5;
    assert_false(derp_stream_is_valid(&s));
    struct reader in = reader_of("\x12\0\0\0\x08"
                                 "abc",
                                 8);
    assert_int_equal(next(&good, &in, &f), DERP_STREAM_NEED_SPACE);
    s = good;
    s.have = 8;
    assert_false(derp_stream_is_valid(&s));
    s = good;
    s.header[4] = 1;  // a length that would have been refused
    assert_false(derp_stream_is_valid(&s));
    s = good;
    s.phase = DERP_STREAM_DEAD;
    assert_false(derp_stream_is_valid(&s));
}

/* ---- cutting does not matter ---- */

struct trace {
    uint8_t bytes[1 << 17];
    size_t size;
};

static void trace_add(struct trace *t, const void *bytes, size_t size) {
    assert_true(t->size + size <= sizeof(t->bytes));
    memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
}

static void trace_event(struct trace *t, enum derp_stream_event event, const struct derp_frame_view *f) {
    const uint8_t head[3] = {(uint8_t)event, f->type, f->verdict};
    trace_add(t, head, sizeof(head));
    trace_add(t, &f->length, sizeof(f->length));
    if (event == DERP_STREAM_FRAME) trace_add(t, f->payload, f->length);
}

/* Feeds one input to its end; true when the stream is bad. */
static bool feed(struct derp_stream *s, uint8_t *bytes, size_t size, uint8_t *space, struct trace *t) {
    struct reader in = reader_of(bytes, size);
    for (;;) {
        struct derp_frame_view f;
        enum derp_stream_event event = next(s, &in, &f);
        if (event == DERP_STREAM_NEED_INPUT) {
            assert_int_equal(reader_left(&in), 0);
            return false;
        }
        if (event == DERP_STREAM_NEED_SPACE) {
            derp_stream_give_space(s, space);
            continue;
        }
        trace_event(t, event, &f);
        if (event == DERP_STREAM_BAD) return true;
    }
}

static void write_random_frame(struct writer *w, struct rng *rng) {
    uint8_t data[1600];
    struct node_key a = {{1}}, b = {{2}};
    size_t size = (size_t)rng_below(rng, rng_below(rng, 4) ? 40 : sizeof(data));
    rng_bytes(rng, data, size);
    switch (rng_below(rng, 8)) {
        case 0: derp_write_note_preferred(w, true); break;
        case 1: derp_write_watch_conns(w); break;
        case 2: derp_write_forward(w, &a, &b, data, size); break;
        case 3:
            derp_write_header(w, (enum derp_frame_type)(0x70 + rng_below(rng, 9)), (uint32_t)size);
            writer_copy(w, data, size);
            break;
        case 4: derp_write_ping(w, data); break;
        case 5:
            if (rng_below(rng, 12) == 0) derp_write_header(w, DERP_PING, 3);  // refused: the end
            break;
        default: derp_write_send(w, &a, data, size);
    }
}

static void test_cutting_does_not_matter(void **state) {
    (void)state;
    static uint8_t bytes[1 << 16], cut[1 << 16], space[DERP_FRAME_SIZE_MAX];
    static struct trace whole, pieces;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct rng rng;
        rng_init_seeded(&rng, seed);
        struct writer w = writer_of(bytes, sizeof(bytes));
        for (uint64_t n = rng_below(&rng, 30); n > 0; n--) write_random_frame(&w, &rng);
        size_t size = (size_t)(w.at - bytes);

        struct derp_stream s;
        whole.size = pieces.size = 0;
        derp_stream_init(&s, DERP_SERVER_MESH);
        bool is_bad = feed(&s, bytes, size, space, &whole);

        derp_stream_init(&s, DERP_SERVER_MESH);
        uint64_t piece_max = 1 + rng_below(&rng, seed % 2 ? 8 : 600);
        bool is_bad_in_pieces = false;
        for (size_t at = 0; at < size && !is_bad_in_pieces;) {
            size_t n = (size_t)rng_below(&rng, piece_max + 1);
            n = min_of(n, size - at);
            memcpy(cut, bytes + at, n);
            is_bad_in_pieces = feed(&s, cut, n, space, &pieces);
            memset(cut, 0xdd, n);
            at += n;
        }
        if (is_bad != is_bad_in_pieces || whole.size != pieces.size ||
            memcmp(whole.bytes, pieces.bytes, whole.size) != 0)
            fail_msg("seed %llu", (unsigned long long)seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_frames_lie_in_the_input),
        cmocka_unit_test(test_header_and_payload_in_two_inputs),
        cmocka_unit_test(test_straddling_frame_needs_space),
        cmocka_unit_test(test_discard),
        cmocka_unit_test(test_unknown_frames_are_skipped),
        cmocka_unit_test(test_long_unknown_frames_are_skipped),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_side_changes_after_login),
        cmocka_unit_test(test_broken_values_are_not_valid),
        cmocka_unit_test(test_cutting_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
