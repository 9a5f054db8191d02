/* The look-up of a key (relay/directory). Keys are random, and asked for in another order than they came.
 *
 *   directory/hit/KEYS, directory/miss/KEYS */
#include <stdlib.h>

#include "core/check.h"
#include "perf/micro/bench.h"
#include "relay/directory.h"

/* So many different keys are asked for, one after the other: their own memory is read ahead, the table's is not. */
enum { ASKED_MAX = 64 * 1024 };

struct asking {
    struct arena arena;
    struct epoch epoch;
    struct directory directory;
    struct rng rng;
    uint32_t asked, at;
    bool is_hit;
    struct node_key keys[ASKED_MAX];
};

static struct node_key key_of(uint64_t seed, uint64_t number) {
    struct node_key key;
    struct rng rng;
    rng_init_seeded(&rng, seed ^ number << 1);
    rng_bytes(&rng, key.bytes, sizeof(key.bytes));
    return key;
}

static void *make(const struct bench_case *self, char *why) {
    (void)why;
    struct asking *a = bench_alloc(sizeof(*a));
    uint32_t keys = self->param;
    a->is_hit = self->variant;
    a->asked = min_of(keys, (uint32_t)ASKED_MAX);
    rng_init_seeded(&a->rng, 1);
    epoch_init(&a->epoch, 1);
    CHECK(arena_init(&a->arena, directory_footprint(keys)) == 0);
    directory_init(&a->directory, &a->arena, keys, &a->epoch, &a->rng);
    for (uint32_t i = 0; i < keys; i++) {
        struct node_key key = key_of(0, i);
        CHECK(directory_has_room(&a->directory));
        directory_publish(&a->directory, &key, route_make(0, i, 1), NULL);
    }
    uint64_t seed = a->is_hit ? 0 : 1;
    for (uint32_t i = 0; i < a->asked; i++) a->keys[i] = key_of(seed, rng_below(&a->rng, keys));
    epoch_enter(&a->epoch, 0);
    return a;
}

static void end(void *state) {
    struct asking *a = state;
    epoch_leave(&a->epoch, 0);
    arena_fini(&a->arena);
    free(a);
}

static void run(void *state, uint64_t count) {
    struct asking *a = state;
    for (; count > 0; count--) {
        CHECK((directory_find(&a->directory, &a->keys[a->at]) != ROUTE_NONE) == a->is_hit);
        if (++a->at == a->asked) a->at = 0;
    }
}

void cases_directory(struct bench_list *list) {
    static const uint32_t keys[] = {10, 1000, 10000, 100000};
    struct bench_case c = {.make = make, .run = run, .end = end};
    for (uint32_t hit = 0; hit < 2; hit++) {
        for (size_t i = 0; i < array_count(keys); i++) {
            c.param = keys[i];
            c.variant = 1 - hit;
            bench_add(list, &c, "directory/%s/%u", c.variant ? "hit" : "miss", c.param);
        }
    }
}
