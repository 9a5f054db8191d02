#include "core/pool.h"

#include "core/asan.h"
#include "core/check.h"

static void *object_in(const struct pool *pool, uint32_t slot) {
    return pool->objects + (size_t)slot * pool->object_size;
}

static uint32_t slot_of(const struct pool *pool, const void *object) {
    uintptr_t offset = (uintptr_t)object - (uintptr_t)pool->objects;
    CHECK(offset < (uintptr_t)pool->count * pool->object_size);
    CHECK(offset % pool->object_size == 0);
    return (uint32_t)(offset / pool->object_size);
}

size_t pool_footprint(uint32_t count, size_t object_size) {
    return arena_cost(count * arena_cost(object_size)) + 2 * arena_cost(count * sizeof(uint32_t)) +
           arena_cost(count * sizeof(uint8_t));
}

void pool_init(struct pool *pool, struct arena *arena, uint32_t count, size_t object_size) {
    // why: slot + 1 has to fit into the low half of a handle
    CHECK(count > 0 && count < UINT32_MAX && object_size > 0);
    CHECK(arena_cost(object_size) <= UINT32_MAX);
    *pool = (struct pool){.object_size = (uint32_t)arena_cost(object_size), .count = count, .free_count = count};
    pool->objects = arena_take(arena, (size_t)count * pool->object_size);
    pool->generations = arena_take(arena, count * sizeof(uint32_t));
    pool->free_slots = arena_take(arena, count * sizeof(uint32_t));
    pool->is_taken = arena_take(arena, count * sizeof(uint8_t));
    for (uint32_t slot = 0; slot < count; slot++) {
        pool->generations[slot] = 1;
        pool->free_slots[slot] = count - 1 - slot; // slot 0 on top of the stack
    }
    asan_poison(pool->objects, (size_t)count * pool->object_size);
}

void *pool_take(struct pool *pool) {
    if (pool->free_count == 0) return NULL;
    uint32_t slot = pool->free_slots[--pool->free_count];
    DCHECK(!pool->is_taken[slot]);
    pool->is_taken[slot] = 1;
    void *object = object_in(pool, slot);
    asan_unpoison(object, pool->object_size);
    memset(object, 0, pool->object_size);
    return object;
}

void pool_give(struct pool *pool, void *object) {
    uint32_t slot = slot_of(pool, object);
    CHECK(pool->is_taken[slot]);
    pool->is_taken[slot] = 0;
    // why skip 0: a generation of 0 would let a handle be mistaken for one of the small numbers that name nothing
    if (++pool->generations[slot] == 0) pool->generations[slot] = 1;
    pool->free_slots[pool->free_count++] = slot;
    asan_poison(object, pool->object_size);
}

pool_handle pool_handle_of(const struct pool *pool, const void *object) {
    uint32_t slot = slot_of(pool, object);
    CHECK(pool->is_taken[slot]);
    return (pool_handle)pool->generations[slot] << 32 | (slot + 1);
}

void *pool_find(const struct pool *pool, pool_handle handle) {
    uint32_t slot = pool_handle_slot(handle); // handle 0: UINT32_MAX, beyond every count
    if (slot >= pool->count || !pool->is_taken[slot]) return NULL;
    if (pool->generations[slot] != pool_handle_generation(handle)) return NULL;
    return object_in(pool, slot);
}

void *pool_at(const struct pool *pool, uint32_t slot) {
    CHECK(slot < pool->count);
    return pool->is_taken[slot] ? object_in(pool, slot) : NULL;
}
