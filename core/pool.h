/* pool.h - a fixed number of equal objects, named by handles that go stale.
 *
 * A handle is {slot, generation}: the generation of a slot changes each time it is given back, so a handle kept too
 * long finds nothing instead of somebody else's object (law L6). Handle 0 names nothing, ever.
 * Order of reuse is last-in first-out (warm memory). Free objects are poisoned under AddressSanitizer.
 * Threads: thread-local. Memory: from an arena, at init. Errors: full is NULL.
 */
#pragma once

#include "core/arena.h"
#include "core/base.h"

/* generation << 32 | slot + 1 (so that no live handle is 0). */
typedef uint64_t pool_handle;

struct pool {
    uint8_t *objects;
    uint32_t *generations;
    uint32_t *free_slots; // stack
    uint8_t *is_taken;
    uint32_t object_size; // rounded up to cache lines
    uint32_t count;
    uint32_t free_count;
};

/* Arena bytes for `count` objects of `object_size`. */
size_t pool_footprint(uint32_t count, size_t object_size);

void pool_init(struct pool *pool, struct arena *arena, uint32_t count, size_t object_size);

/* A zeroed object, or NULL when all are taken. */
must_use void *pool_take(struct pool *pool);

/* Gives an object back; its handle is stale from here on. CHECKs that it was taken. */
void pool_give(struct pool *pool, void *object);

pool_handle pool_handle_of(const struct pool *pool, const void *object);

/* The object, or NULL when the handle is stale or never was one. */
void *pool_find(const struct pool *pool, pool_handle handle);

/* The object in slot `slot` (< count) if it is taken, else NULL: for walking all. */
void *pool_at(const struct pool *pool, uint32_t slot);

static inline uint32_t pool_used(const struct pool *pool) { return pool->count - pool->free_count; }
static inline uint32_t pool_handle_slot(pool_handle handle) { return (uint32_t)handle - 1; }
static inline uint32_t pool_handle_generation(pool_handle handle) { return (uint32_t)(handle >> 32); }
