/* Fuzzes proto/derp_stream and the views of proto/derp.
 *
 * Attack surface: every byte that a logged-in client or mesh peer sends, and, for a mesh link or a probe, every byte
 * that a server sends. No mocks.
 * Input: byte 0 chooses the side, byte 1 how the rest is cut into pieces, the rest is the stream.
 * Beyond crashes: the same events whether the bytes come at once, in pieces, or in pieces with frames discarded for
 * want of space; NEED_INPUT only when the input is used up; after BAD nothing is consumed; the value is valid after
 * each step; an accepted frame always has a view; a rewritten packet frame reads back with the same data.
 */
#include <stdlib.h>

#include "core/check.h"
#include "proto/derp_stream.h"

#define EVENTS_MAX 4096

struct seen {
    uint8_t event, type, verdict;
    uint32_t length, sum;
};

struct trace {
    size_t count;
    struct seen items[EVENTS_MAX];
};

enum policy { KEEP, DISCARD };

static uint32_t sum_of(const uint8_t *bytes, size_t size) {
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
}

/* Each accepted type has a view, because the length was checked. */
static void check_view(enum derp_side side, const struct derp_frame_view *f) {
    union {
        struct derp_send send;
        struct derp_recv recv;
        struct derp_forward forward;
        struct derp_peer_gone gone;
        struct derp_peer_present present;
        struct derp_restarting restarting;
        const uint8_t *ping;
        const struct node_key *key;
        bool is_home;
    } v;
    switch (f->type) {
        case DERP_SEND_PACKET:
            CHECK(derp_read_send(f->payload, f->length, &v.send) && v.send.data_size == f->length - KEY_SIZE);
            (void)derp_is_disco(v.send.data, v.send.data_size);
            break;
        case DERP_RECV_PACKET: CHECK(derp_read_recv(f->payload, f->length, &v.recv)); break;
        case DERP_FORWARD_PACKET:
            CHECK(side == DERP_SERVER_MESH && derp_read_forward(f->payload, f->length, &v.forward));
            break;
        case DERP_NOTE_PREFERRED: CHECK(derp_read_note_preferred(f->payload, f->length, &v.is_home)); break;
        case DERP_PEER_GONE: CHECK(derp_read_peer_gone(f->payload, f->length, &v.gone)); break;
        case DERP_PEER_PRESENT:
            CHECK(derp_read_peer_present(f->payload, f->length, &v.present));
            (void)sum_of((const uint8_t *)v.present.app_name, v.present.app_name_size);
            break;
        case DERP_CLOSE_PEER: CHECK(derp_read_close_peer(f->payload, f->length, &v.key)); break;
        case DERP_PING:
        case DERP_PONG: CHECK(derp_read_ping(f->payload, f->length, &v.ping)); break;
        case DERP_RESTARTING: CHECK(derp_read_restarting(f->payload, f->length, &v.restarting)); break;
        default: break;
    }
}

/* SendPacket to ForwardPacket to RecvPacket, in place: the data stays what it was. */
static void check_rewrites(const struct derp_frame_view *f) {
    if (f->type != DERP_SEND_PACKET) return;
    struct node_key src = {{0x5a}};
    size_t size = KEY_SIZE + DERP_HEADER_SIZE + f->length;
    uint8_t *room = malloc(size);
    CHECK(room != NULL);
    struct writer w = writer_of(room + KEY_SIZE, size - KEY_SIZE);
    derp_write_header(&w, DERP_SEND_PACKET, f->length);
    writer_copy(&w, f->payload, f->length);
    uint8_t *frame = derp_rewrite_forward_to_recv(derp_rewrite_send_to_forward(room + KEY_SIZE, &src));
    struct derp_recv recv;
    CHECK(frame[0] == DERP_RECV_PACKET && load_be32(frame + 1) == f->length);
    CHECK(derp_read_recv(frame + DERP_HEADER_SIZE, f->length, &recv) && key_equal(recv.src, &src));
    CHECK(recv.data_size == 0 || memcmp(recv.data, f->payload + KEY_SIZE, recv.data_size) == 0);
    free(room);
}

static void note(struct trace *t, enum derp_stream_event event, const struct derp_frame_view *f) {
    if (t->count == EVENTS_MAX) return;
    bool is_frame = event == DERP_STREAM_FRAME;
    t->items[t->count++] = (struct seen){.event = (uint8_t)event,
                                         .type = f->type,
                                         .verdict = f->verdict,
                                         .length = f->length,
                                         .sum = is_frame ? sum_of(f->payload, f->length) : 0};
}

/* One input to its end; false when the stream is bad. */
static bool feed(struct derp_stream *s, uint8_t *bytes, size_t size, enum policy policy, struct trace *t) {
    struct reader in = reader_of(bytes, size);
    for (;;) {
        struct derp_frame_view f;
        enum derp_stream_event event = derp_stream_next(s, &in, &f);
        CHECK(in.at <= in.end && !in.bad && derp_stream_is_valid(s));
        if (event == DERP_STREAM_NEED_INPUT) {
            CHECK(reader_left(&in) == 0);
            return true;
        }
        if (event == DERP_STREAM_NEED_SPACE) {
            CHECK(f.length > reader_left(&in) && reader_left(&in) > 0);
            uint8_t *space = policy == KEEP ? malloc(f.length) : NULL;
            if (space) derp_stream_give_space(s, space);
            else derp_stream_discard(s);
            continue;
        }
        note(t, event, &f);
        if (event == DERP_STREAM_BAD) {
            const uint8_t *at = in.at;
            CHECK(derp_stream_next(s, &in, &f) == DERP_STREAM_BAD && in.at == at);
            return false;
        }
        if (event != DERP_STREAM_FRAME) continue;
        check_view(s->side, &f);
        check_rewrites(&f);
        bool is_in_input = f.payload >= bytes && f.payload <= bytes + size;
        if (!is_in_input) free(f.payload);
    }
}

/* Pieces of 1 to `piece_max` bytes, each in a block of its own, so that ASan sees every byte too far. */
static void run(enum derp_side side, const uint8_t *bytes, size_t size, size_t piece_max, enum policy policy,
                struct trace *t) {
    struct derp_stream s;
    derp_stream_init(&s, side);
    t->count = 0;
    bool is_good = true;
    for (size_t at = 0; at < size && is_good;) {
        size_t n = piece_max == 0 ? size : 1 + (at * 7 + 3) % piece_max;
        n = min_of(n, size - at);
        uint8_t *piece = malloc(n);
        CHECK(piece != NULL);
        memcpy(piece, bytes + at, n);
        is_good = feed(&s, piece, n, policy, t);
        free(piece);
        at += n;
    }
    free(derp_stream_space(&s));
}

/* The same, but for the payloads of frames that were discarded. */
static void compare(const struct trace *a, const struct trace *b) {
    CHECK(a->count == b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct seen *x = &a->items[i], *y = &b->items[i];
        CHECK(x->type == y->type && x->verdict == y->verdict && x->length == y->length);
        if (y->event == DERP_STREAM_DISCARDED)
            CHECK(x->event == DERP_STREAM_FRAME || x->event == DERP_STREAM_DISCARDED);
        else CHECK(x->event == y->event && x->sum == y->sum);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct trace whole, pieces, discarding;
    if (size < 2) return 0;
    enum derp_side side = (enum derp_side)(data[0] % DERP_SIDE_COUNT);
    size_t piece_max = 1u + data[1];
    run(side, data + 2, size - 2, 0, KEEP, &whole);
    run(side, data + 2, size - 2, piece_max, KEEP, &pieces);
    run(side, data + 2, size - 2, piece_max, DISCARD, &discarding);
    compare(&whole, &pieces);
    compare(&whole, &discarding);
    return 0;
}
