/* Bytes to frames (proto/derp_stream), and a frame from SendPacket to RecvPacket. One operation is one frame.
 *
 *   parse/stream/SIZE   a buffer full of frames, as the plain transport brings them
 *   parse/record/SIZE   one frame alone in its input, as a TLS record brings it
 *   parse/split/SIZE    one frame in two inputs: space is given, and the payload copied there
 *   rewrite/send-to-recv */
#include <stdlib.h>

#include "core/check.h"
#include "core/limits.h"
#include "perf/micro/bench.h"
#include "proto/derp_stream.h"

enum { BUFFER_SIZE = 64 * 1024, CUT = 700 };

struct parsing {
    struct derp_stream stream;
    size_t used;     // of bytes: whole frames
    size_t frames;
    uint8_t bytes[BUFFER_SIZE];
    uint8_t space[BUFFER_SIZE];
};

static void *make(const struct bench_case *self, char *why) {
    (void)why;
    struct parsing *p = bench_alloc(sizeof(*p));
    struct writer w = writer_of(p->bytes, sizeof(p->bytes));
    struct node_key dst = {{7}};
    derp_stream_init(&p->stream, DERP_SERVER);
    while (writer_left(&w) >= DERP_SEND_HEAD_SIZE + self->param) {
        derp_write_send(&w, &dst, p->space, self->param);
        p->frames++;
    }
    p->used = (size_t)(w.at - p->bytes);
    return p;
}

/* What a frame is read for. */
static void take(const struct derp_frame_view *frame) {
    struct derp_send send;
    CHECK(frame->type == DERP_SEND_PACKET && derp_read_send(frame->payload, frame->length, &send));
    bench_keep(send.data);
}

static void run_stream(void *state, uint64_t count) {
    struct parsing *p = state;
    struct derp_frame_view frame;
    while (count > 0) {
        struct reader in = reader_of(p->bytes, p->used);
        for (; count > 0 && derp_stream_next(&p->stream, &in, &frame) == DERP_STREAM_FRAME; count--) take(&frame);
    }
    CHECK(p->stream.phase == DERP_STREAM_HEADER && p->stream.header_have == 0);
}

static void run_record(void *state, uint64_t count) {
    struct parsing *p = state;
    struct derp_frame_view frame;
    size_t size = p->used / p->frames;
    for (size_t at = 0; count > 0; count--) {
        struct reader in = reader_of(p->bytes + at, size);
        CHECK(derp_stream_next(&p->stream, &in, &frame) == DERP_STREAM_FRAME);
        take(&frame);
        CHECK(derp_stream_next(&p->stream, &in, &frame) == DERP_STREAM_NEED_INPUT);
        at = at + size < p->used ? at + size : 0;
    }
}

static void run_split(void *state, uint64_t count) {
    struct parsing *p = state;
    struct derp_frame_view frame;
    size_t size = p->used / p->frames;
    for (; count > 0; count--) {
        struct reader in = reader_of(p->bytes, CUT), rest = reader_of(p->bytes + CUT, size - CUT);
        CHECK(derp_stream_next(&p->stream, &in, &frame) == DERP_STREAM_NEED_SPACE);
        derp_stream_give_space(&p->stream, p->space);
        CHECK(derp_stream_next(&p->stream, &in, &frame) == DERP_STREAM_NEED_INPUT);
        CHECK(derp_stream_next(&p->stream, &rest, &frame) == DERP_STREAM_FRAME);
        take(&frame);
    }
}

/* Frames lie in 64 places, so that stores do not wait for each other. */
static void run_rewrite(void *state, uint64_t count) {
    struct parsing *p = state;
    struct node_key src = {{9}};
    for (; count > 0; count--) {
        uint8_t *frame = p->bytes + count % 64 * 1024;
        derp_rewrite_send_to_recv(frame, &src);
        bench_keep(frame);
    }
}

void cases_parser(struct bench_list *list) {
    static const uint32_t sizes[] = {64, 1400, 16000};
    struct bench_case c = {.make = make, .end = free};
    for (size_t i = 0; i < array_count(sizes); i++) {
        c.param = sizes[i];
        c.run = run_stream;
        bench_add(list, &c, "parse/stream/%u", c.param);
        c.run = run_record;
        bench_add(list, &c, "parse/record/%u", c.param);
    }
    c.param = 1400;
    c.run = run_split;
    bench_add(list, &c, "parse/split/1400");
    c.run = run_rewrite;
    bench_add(list, &c, "rewrite/send-to-recv");
}
