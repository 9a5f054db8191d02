/* parcel.h - the envelopes in which packed connections travel from the front to a worker.
 *
 * A parcel is a piece of memory of the front's, named by a small number that fits in mail. The front takes one, packs a
 * connection into it and mails LOGIN; whoever unpacks it (or refuses it) mails PARCEL_BACK. Between the two mails the
 * holder of the number owns the bytes: the lanes order the accesses.
 *
 * Sharing class: lane (the bytes), thread-local (the free list: front's). Memory: front's arena.
 */
#pragma once

#include "core/arena.h"
#include "core/base.h"
#include "core/limits.h"
#include "core/ring.h"

enum {
    /* The table's fixed part is below 2 KiB; the blobs of a login are what the client sent behind ClientInfo. */
    PARCEL_BYTES_MAX = LIMIT_RECORD_SIZE_MAX + LIMIT_LOGIN_REST_MAX + 2048,
};

struct parcel {
    uint32_t size;
    uint8_t bytes[PARCEL_BYTES_MAX];
};

struct parcel_box {
    struct parcel *parcels;  // frozen base, LIMIT_PARCELS of them
    uint16_t free_idx[LIMIT_PARCELS];
    uint32_t free_count;
};

static inline size_t parcel_box_footprint(void) { return arena_cost(LIMIT_PARCELS * sizeof(struct parcel)); }

static inline void parcel_box_init(struct parcel_box *box, struct arena *arena) {
    box->parcels = arena_take(arena, LIMIT_PARCELS * sizeof(struct parcel));
    for (uint16_t i = 0; i < LIMIT_PARCELS; i++) box->free_idx[i] = (uint16_t)(LIMIT_PARCELS - 1 - i);
    box->free_count = LIMIT_PARCELS;
}

/* False when all are under way. */
must_use static inline bool parcel_take(struct parcel_box *box, uint16_t *ret_idx) {
    if (box->free_count == 0) return false;
    *ret_idx = box->free_idx[--box->free_count];
    return true;
}

/* The packed connection is not to be: closes its fd (no ring has it) and wipes its secrets. The parcel is the
 * caller's. Returns the number that the fd had, for the probes. */
int parcel_discard(struct ring *ring, struct parcel *parcel);

static inline void parcel_give(struct parcel_box *box, uint16_t idx) { box->free_idx[box->free_count++] = idx; }
