#include "proto/derp_stream.h"

#include "core/check.h"

void derp_stream_init(struct derp_stream *s, enum derp_side side) {
    *s = (struct derp_stream){.side = (uint8_t)side, .phase = DERP_STREAM_HEADER};
}

void derp_stream_set_side(struct derp_stream *s, enum derp_side side) {
    CHECK(s->phase == DERP_STREAM_HEADER);
    s->side = (uint8_t)side;
}

static void begin_next_frame(struct derp_stream *s) {
    s->phase = DERP_STREAM_HEADER;
    s->header_have = 0;
    s->have = 0;
    s->space = NULL;
}

static void describe(const struct derp_stream *s, struct derp_frame_view *out) {
    *out =
        (struct derp_frame_view){.type = derp_stream_type(s), .verdict = s->verdict, .length = derp_stream_length(s)};
}

/* Takes header bytes; true when all five are there, judged, and the phase has moved on. */
static bool take_header(struct derp_stream *s, struct reader *in) {
    size_t n = min_of(reader_left(in), (size_t)(DERP_HEADER_SIZE - s->header_have));
    if (!reader_copy(in, s->header + s->header_have, n)) return false;
    s->header_have = (uint8_t)(s->header_have + n);
    if (s->header_have < DERP_HEADER_SIZE) return false;

    enum derp_verdict verdict = derp_frame_check(s->side, derp_stream_type(s), derp_stream_length(s));
    s->verdict = (uint8_t)verdict;
    s->phase = verdict == DERP_ACCEPT ? DERP_STREAM_PAYLOAD
               : verdict == DERP_SKIP ? DERP_STREAM_SKIPPING
                                      : DERP_STREAM_DEAD;
    return true;
}

/* Nothing of the payload has been consumed. */
static enum derp_stream_event find_payload(struct derp_stream *s, struct reader *in, struct derp_frame_view *out) {
    uint32_t length = derp_stream_length(s);
    size_t left = reader_left(in);
    if (left < length && left == 0) return DERP_STREAM_NEED_INPUT;
    describe(s, out);
    if (left < length) return DERP_STREAM_NEED_SPACE;
    out->payload = (uint8_t *)reader_take(in, length);
    begin_next_frame(s);
    return DERP_STREAM_FRAME;
}

/* Moves on by what the input has, at most to the frame's end; true at the end. *at is where the bytes lie. */
static bool advance(struct derp_stream *s, struct reader *in, const uint8_t **at, size_t *size) {
    *size = min_of(reader_left(in), (size_t)(derp_stream_length(s) - s->have));
    *at = reader_take(in, *size);
    s->have += (uint32_t)*size;
    return s->have == derp_stream_length(s);
}

static enum derp_stream_event fill(struct derp_stream *s, struct reader *in, struct derp_frame_view *out) {
    uint8_t *to = s->space + s->have;
    const uint8_t *from;
    size_t size;
    bool is_end = advance(s, in, &from, &size);
    if (size) memcpy(to, from, size);
    if (!is_end) return DERP_STREAM_NEED_INPUT;
    describe(s, out);
    out->payload = s->space;
    begin_next_frame(s);
    return DERP_STREAM_FRAME;
}

static enum derp_stream_event skip(struct derp_stream *s, struct reader *in, struct derp_frame_view *out) {
    const uint8_t *at;
    size_t size;
    if (!advance(s, in, &at, &size)) return DERP_STREAM_NEED_INPUT;
    describe(s, out);
    begin_next_frame(s);
    return out->verdict == DERP_SKIP ? DERP_STREAM_SKIPPED : DERP_STREAM_DISCARDED;
}

enum derp_stream_event derp_stream_next(struct derp_stream *s, struct reader *in, struct derp_frame_view *out) {
    bool is_whole = false;
    if (s->phase == DERP_STREAM_HEADER) {
        is_whole = s->header_have == 0;
        if (!take_header(s, in)) return DERP_STREAM_NEED_INPUT;
    }
    enum derp_stream_event event;
    switch (s->phase) {
        case DERP_STREAM_PAYLOAD:
            event = find_payload(s, in, out);
            if (event == DERP_STREAM_FRAME) out->is_whole = is_whole;
            return event;
        case DERP_STREAM_FILLING: return fill(s, in, out);
        case DERP_STREAM_SKIPPING: return skip(s, in, out);
        default: describe(s, out); return DERP_STREAM_BAD;
    }
}

void derp_stream_give_space(struct derp_stream *s, uint8_t *space) {
    CHECK(s->phase == DERP_STREAM_PAYLOAD && space != NULL);
    s->phase = DERP_STREAM_FILLING;
    s->space = space;
}

void derp_stream_discard(struct derp_stream *s) {
    CHECK(s->phase == DERP_STREAM_PAYLOAD || s->phase == DERP_STREAM_FILLING);
    s->phase = DERP_STREAM_SKIPPING;
    s->space = NULL;
}

void derp_stream_rehome(struct derp_stream *s, uint8_t *space) {
    CHECK(s->phase == DERP_STREAM_FILLING && space != NULL);
    s->space = space;
}

bool derp_stream_is_valid(const struct derp_stream *s) {
    if (s->side >= DERP_SIDE_COUNT || s->phase > DERP_STREAM_DEAD || s->header_have > DERP_HEADER_SIZE) return false;
    if (s->phase == DERP_STREAM_HEADER) return s->header_have < DERP_HEADER_SIZE && s->have == 0;
    if (s->header_have != DERP_HEADER_SIZE) return false;
    enum derp_verdict verdict = derp_frame_check(s->side, derp_stream_type(s), derp_stream_length(s));
    bool has_more = s->have < derp_stream_length(s);
    if (s->verdict != verdict) return false;
    switch (s->phase) {
        case DERP_STREAM_PAYLOAD: return verdict == DERP_ACCEPT && has_more && s->have == 0;
        case DERP_STREAM_FILLING: return verdict == DERP_ACCEPT && has_more;
        case DERP_STREAM_SKIPPING: return !derp_is_refusal(verdict) && has_more;
        default: return derp_is_refusal(verdict) && s->have == 0;
    }
}
