#include "perf/load/contents.h"

#include <stdlib.h>

#include "core/check.h"

/* So many bytes of bodies: they stay in a second-level cache. The count is odd and so has no factor in common with the
 * step from flow to flow. */
enum { BODIES_SIZE = 128 * 1024, BODIES_MIN = 3, BODIES_MAX = 67, FLOW_STEP = 16 };

bool contents_init(struct contents *c, uint32_t size, const void *head, uint32_t head_size, struct rng *rng) {
    CHECK(size >= CONTENTS_SIZE_MIN && size <= CONTENTS_SIZE_MAX && head_size <= CONTENTS_HEAD_MAX);
    c->size = size;
    c->head_size = head_size;
    c->frame_size = head_size + size;
    c->stride = (uint32_t)round_up(c->frame_size + 1, CACHE_LINE_SIZE);
    c->count = max_of((uint32_t)BODIES_MIN, min_of((uint32_t)BODIES_MAX, BODIES_SIZE / c->stride | 1));
    c->secret = rng_u64(rng);
    c->frames = aligned_alloc(CACHE_LINE_SIZE, (size_t)c->count * c->stride);
    if (c->frames == NULL) return false;
    rng_bytes(rng, c->frames, (size_t)c->count * c->stride);
    for (uint32_t i = 0; i < c->count; i++) memcpy(c->frames + (size_t)i * c->stride, head, head_size);
    return true;
}

void contents_fini(struct contents *c) {
    free(c->frames);
    c->frames = NULL;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t x = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

static uint64_t sum_of(const struct contents *c, const struct contents_stamp *stamp) {
    uint64_t who = (uint64_t)stamp->flow << 32 | stamp->size;
    return mix(mix(mix(c->secret, stamp->sequence), stamp->sent_ns), who);
}

static uint8_t *frame_of(const struct contents *c, uint32_t flow, uint64_t sequence) {
    return c->frames + ((uint64_t)flow * FLOW_STEP + sequence) % c->count * c->stride;
}

uint8_t *contents_frame(struct contents *c, uint32_t flow, uint64_t sequence, uint64_t sent_ns) {
    struct contents_stamp stamp = {.sequence = sequence, .sent_ns = sent_ns, .flow = flow, .size = c->size};
    uint8_t *frame = frame_of(c, flow, sequence);
    stamp.sum = sum_of(c, &stamp);
    memcpy(frame + c->head_size, &stamp, sizeof(stamp));
    return frame;
}

enum contents_verdict contents_check(const struct contents *c, const uint8_t *data, size_t size,
                                     struct contents_stamp *stamp) {
    if (size != c->size) return CONTENTS_WRONG_SIZE;
    memcpy(stamp, data, sizeof(*stamp));
    if (stamp->sum != sum_of(c, stamp) || stamp->size != size) return CONTENTS_WRONG_STAMP;
    const uint8_t *body = frame_of(c, stamp->flow, stamp->sequence) + c->head_size + sizeof(*stamp);
    bool is_equal = memcmp(data + sizeof(*stamp), body, size - sizeof(*stamp)) == 0;
    return is_equal ? CONTENTS_GOOD : CONTENTS_WRONG_BODY;
}

const char *contents_verdict_text(enum contents_verdict verdict) {
    switch (verdict) {
        case CONTENTS_GOOD: return "good";
        case CONTENTS_WRONG_SIZE: return "it has another size than all that were sent";
        case CONTENTS_WRONG_STAMP: return "its first bytes were changed, or it is of another run";
        case CONTENTS_WRONG_BODY: return "its bytes were changed";
    }
    return "?";
}
