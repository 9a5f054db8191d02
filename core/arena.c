#include "core/arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/asan.h"
#include "core/check.h"

int arena_init(struct arena *arena, size_t size) {
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    if (size > SIZE_MAX - page_size) return -ENOMEM;
    size_t mapped = round_up(max_of(size, (size_t)1), page_size);
    // why NORESERVE: sizes are worst cases; most of the pages are never touched
    void *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return -errno;
    *arena = (struct arena){.base = base, .size = mapped};
    return 0;
}

void arena_fini(struct arena *arena) {
    if (arena->base == NULL) return;
    // why: pools poison what lies here, and a later mapping at the same address would inherit that
    asan_unpoison(arena->base, arena->size);
    CHECK(munmap(arena->base, arena->size) == 0);
    *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, size_t size) {
    CHECK(!arena->is_sealed);
    size_t left = arena->size - arena->used;
    CHECK(size <= left && arena_cost(size) <= left);
    void *object = arena->base + arena->used;
    arena->used += arena_cost(size);
    return object;
}

void arena_seal(struct arena *arena) { arena->is_sealed = true; }
