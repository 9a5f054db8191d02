/* arena.h - memory that is taken at boot and kept for the life of the process.
 *
 * One arena per thread: zeroed pages straight from the kernel, handed out by a bump pointer, aligned to cache lines.
 * After arena_seal taking more is a bug (law L4: everything has a number before the first packet).
 * Threads: thread-local; filled by the boot thread, then owned by one loop thread. Errors: arena_init returns -ENOMEM;
 * running over the size given there is a CHECK, because that size is a sum in core/limits.h.
 */
#pragma once

#include "core/base.h"

struct arena {
    uint8_t *base;
    size_t size;
    size_t used;
    bool is_sealed;
};

/* Reserves `size` bytes (rounded up to pages) of zeroed memory; pages cost nothing until touched. */
must_use int arena_init(struct arena *arena, size_t size);
void arena_fini(struct arena *arena);

/* `size` zeroed bytes aligned to a cache line. Never NULL. */
void *arena_take(struct arena *arena, size_t size);

/* What arena_take will use for an object of `size` bytes: for sums. */
static inline size_t arena_cost(size_t size) { return round_up(size, CACHE_LINE_SIZE); }

void arena_seal(struct arena *arena);
