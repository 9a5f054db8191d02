/* bytes.h - bounded cursors over memory, with a sticky error.
 *
 * Every byte that came from, or goes to, a network passes through one of these two cursors, so that no parser does
 * its own arithmetic on lengths. A parser is written as a straight line of takes and asks once at the end:
 *
 *     struct reader r = reader_of(bytes, size);
 *     uint8_t type = reader_u8(&r);
 *     const uint8_t *key = reader_take(&r, 32);
 *     if (!reader_ok(&r)) return false;
 *
 * Model: `at <= end` always. The first take that does not fit makes the cursor bad; a bad cursor stays bad, moves no
 * more, yields zeros and NULL. A bad writer has written nothing of the piece that did not fit.
 * Threads: thread-local values. Memory: the cursor owns nothing.
 * Multi-byte integers are big-endian (network order): that is what `be` in a name says.
 */
#pragma once

#include "core/base.h"

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

struct writer {
    uint8_t *at;
    uint8_t *end;
    bool bad;
};

static inline uint32_t load_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t load_be64(const uint8_t *p) { return (uint64_t)load_be32(p) << 32 | load_be32(p + 4); }

static inline uint16_t load_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline void store_be32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void store_be16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* `bytes` may be NULL when `size` is 0. */
static inline struct reader reader_of(const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    return (struct reader){.at = at, .end = size ? at + size : at, .bad = false};
}

static inline size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->at); }

static inline bool reader_ok(const struct reader *r) { return !r->bad; }

/* Everything was there and nothing is left over. */
static inline bool reader_done(const struct reader *r) { return !r->bad && r->at == r->end; }

/* The next `size` bytes, or NULL (and bad) when there are fewer. The result points into the source. */
static inline const uint8_t *reader_take(struct reader *r, size_t size) {
    if (r->bad || reader_left(r) < size) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    if (size) r->at += size;
    return p;
}

static inline uint8_t reader_u8(struct reader *r) {
    const uint8_t *p = reader_take(r, 1);
    return p ? p[0] : 0;
}

static inline uint16_t reader_be16(struct reader *r) {
    const uint8_t *p = reader_take(r, 2);
    return p ? load_be16(p) : 0;
}

static inline uint32_t reader_be32(struct reader *r) {
    const uint8_t *p = reader_take(r, 4);
    return p ? load_be32(p) : 0;
}

/* Copies `size` bytes to `to`; on failure `to` is zeroed. */
static inline bool reader_copy(struct reader *r, void *to, size_t size) {
    const uint8_t *p = reader_take(r, size);
    if (r->bad) {
        if (size) memset(to, 0, size);
        return false;
    }
    if (size) memcpy(to, p, size);
    return true;
}

static inline struct writer writer_of(void *bytes, size_t size) {
    uint8_t *at = bytes;
    return (struct writer){.at = at, .end = size ? at + size : at, .bad = false};
}

static inline size_t writer_left(const struct writer *w) { return (size_t)(w->end - w->at); }

static inline bool writer_ok(const struct writer *w) { return !w->bad; }

/* Room for `size` bytes, for the caller to fill, or NULL (and bad). */
static inline uint8_t *writer_room(struct writer *w, size_t size) {
    if (w->bad || writer_left(w) < size) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->at;
    if (size) w->at += size;
    return p;
}

static inline void writer_u8(struct writer *w, uint8_t v) {
    uint8_t *p = writer_room(w, 1);
    if (p) *p = v;
}

static inline void writer_be16(struct writer *w, uint16_t v) {
    uint8_t *p = writer_room(w, 2);
    if (p) store_be16(p, v);
}

static inline void writer_be32(struct writer *w, uint32_t v) {
    uint8_t *p = writer_room(w, 4);
    if (p) store_be32(p, v);
}

static inline void writer_copy(struct writer *w, const void *from, size_t size) {
    uint8_t *p = writer_room(w, size);
    if (p && size) memcpy(p, from, size);
}

static inline void writer_text(struct writer *w, const char *text) { writer_copy(w, text, strlen(text)); }
