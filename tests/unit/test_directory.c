/* test_directory.c - key to route: against a model, in one long chain, with readers in the way, and under four hands.
 * */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/directory.h"

enum { KEYS = 256, READERS = 2 };

struct fixture {
    struct arena arena;
    struct epoch epoch;
    struct directory directory;
    struct rng rng;
};

static void make(struct fixture *f, uint32_t keys_max, uint64_t seed) {
    rng_init_seeded(&f->rng, seed);
    epoch_init(&f->epoch, READERS);
    assert_int_equal(arena_init(&f->arena, directory_footprint(keys_max)), 0);
    directory_init(&f->directory, &f->arena, keys_max, &f->epoch, &f->rng);
}

static struct node_key key_of(uint32_t n) {
    struct node_key key = {{0}};
    for (unsigned i = 0; i < 4; i++) key.bytes[i] = (uint8_t)(n >> (8 * i));
    return key;
}

/* A route from which the key's number can be read: all that a reader may see for that key. */
static route route_of(uint32_t n, uint32_t generation) { return route_make(n & 0xff, n, generation); }

static bool publish(struct fixture *f, uint32_t n, uint32_t generation) {
    struct node_key key = key_of(n);
    if (!directory_has_room(&f->directory)) return false;
    directory_publish(&f->directory, &key, route_of(n, generation), NULL);
    return true;
}

static void unpublish(struct fixture *f, uint32_t n) {
    struct node_key key = key_of(n);
    directory_unpublish(&f->directory, &key);
}

static route find(const struct fixture *f, uint32_t n) {
    struct node_key key = key_of(n);
    return directory_find(&f->directory, &key);
}

/* ---- routes ---- */

static void test_a_route_is_three_numbers(void **state) {
    (void)state;
    const struct {
        uint32_t worker, slot, generation;
    } rows[] = {{0, 0, 1}, {255, 0, 1}, {0, 0xffffff, 1}, {0, 0, UINT32_MAX}, {63, 70000, 12345}, {255, 0xffffff, 1}};
    for (size_t i = 0; i < array_count(rows); i++) {
        route where = route_make(rows[i].worker, rows[i].slot, rows[i].generation);
        assert_int_equal(route_worker(where), rows[i].worker);
        assert_int_equal(route_slot(where), rows[i].slot);
        assert_int_equal(route_generation(where), rows[i].generation);
        assert_true(where != ROUTE_NONE);
    }
}

/* ---- one thread ---- */

static void test_footprint_is_what_init_takes(void **state) {
    (void)state;
    const uint32_t sizes[] = {1, 2, 3, 100, 1024, 1025};
    for (size_t i = 0; i < array_count(sizes); i++) {
        struct fixture f;
        make(&f, sizes[i], 1);
        assert_int_equal(f.arena.used, directory_footprint(sizes[i]));
        for (uint32_t n = 0; n < sizes[i]; n++) assert_true(publish(&f, n, 1));  // as many as were asked for fit
        for (uint32_t n = 0; n < sizes[i]; n++) assert_true(find(&f, n) == route_of(n, 1));
        arena_fini(&f.arena);
    }
}

/* Random publishing and unpublishing; `mask` narrows the table so that chains become long. */
static void run_model(uint64_t mask, uint64_t seed) {
    struct fixture f;
    uint32_t generations[KEYS] = {0};  // 0: not there
    uint32_t generation_next = 1;
    uint32_t count = 0;
    make(&f, KEYS, seed);
    f.directory.bucket_mask &= mask;  // before the first key
    for (int i = 0; i < 10000; i++) {
        uint32_t n = (uint32_t)rng_below(&f.rng, KEYS);
        uint64_t before = directory_generation(&f.directory);
        if (generations[n]) {
            unpublish(&f, n);
            generations[n] = 0;
            count--;
        } else {
            assert_true(publish(&f, n, generation_next));
            generations[n] = generation_next++;
            count++;
        }
        assert_int_equal(f.directory.count, count);
        assert_int_not_equal(directory_generation(&f.directory), before);
        for (uint32_t k = 0; k < KEYS; k += i % 64 ? 37 : 1) {
            assert_true(find(&f, k) == (generations[k] ? route_of(k, generations[k]) : ROUTE_NONE));
        }
        assert_true(find(&f, n) == (generations[n] ? route_of(n, generations[n]) : ROUTE_NONE));
    }
    arena_fini(&f.arena);
}

static void test_like_a_model(void **state) {
    (void)state;
    run_model(UINT64_MAX, 2);
}

static void test_like_a_model_with_few_buckets(void **state) {
    (void)state;
    run_model(0, 3);  // one chain
    run_model(7, 4);
}

static void test_finding_changes_nothing(void **state) {
    (void)state;
    struct fixture f;
    make(&f, KEYS, 5);
    assert_true(publish(&f, 1, 1));
    uint64_t generation = directory_generation(&f.directory);
    assert_true(find(&f, 1) != ROUTE_NONE && find(&f, 2) == ROUTE_NONE);
    assert_true(directory_has_room(&f.directory));
    assert_int_equal(directory_generation(&f.directory), generation);
    arena_fini(&f.arena);
}

/* Clients choose their keys, so where a key falls has to depend on the secret. */
static void test_chains_depend_on_the_secret(void **state) {
    (void)state;
    struct fixture a, b;
    size_t differences = 0;
    make(&a, KEYS, 6);
    make(&b, KEYS, 7);
    for (uint32_t n = 0; n < KEYS; n++) assert_true(publish(&a, n, 1) && publish(&b, n, 1));
    for (size_t i = 0; i <= a.directory.bucket_mask; i++) {
        differences += (atomic_load(&a.directory.buckets[i]) == NULL) != (atomic_load(&b.directory.buckets[i]) == NULL);
    }
    assert_true(differences > KEYS / 8);
    arena_fini(&a.arena);
    arena_fini(&b.arena);
}

/* ---- readers in the way ---- */

/* Publishes keys from `first` on until there is no room; how many were possible. */
static uint32_t fill(struct fixture *f, uint32_t first) {
    uint32_t count = 0;
    while (count < 10 * KEYS && publish(f, first + count, 1)) count++;
    return count;
}

static void test_a_retired_node_waits_for_readers(void **state) {
    (void)state;
    struct fixture f;
    make(&f, KEYS, 8);
    uint32_t all = fill(&f, 0);
    assert_in_range(all, KEYS, 10 * KEYS - 1);
    epoch_enter(&f.epoch, 0);
    unpublish(&f, 3);
    assert_true(find(&f, 3) == ROUTE_NONE);
    assert_false(directory_has_room(&f.directory));  // reader 0 may stand on the node
    epoch_enter(&f.epoch, 1);  // came later: does not matter
    assert_false(directory_has_room(&f.directory));
    epoch_pass(&f.epoch, 0);
    assert_true(directory_has_room(&f.directory));
    assert_true(publish(&f, 3, 2));
    assert_true(find(&f, 3) == route_of(3, 2));

    unpublish(&f, 4);
    unpublish(&f, 5);
    epoch_leave(&f.epoch, 0);
    assert_false(directory_has_room(&f.directory));  // now reader 1 was there before
    epoch_leave(&f.epoch, 1);
    assert_int_equal(fill(&f, 20 * KEYS), 2);  // both are back, and no more than both
    arena_fini(&f.arena);
}

/* A reader that stays for ever stops reuse, not what is there already: nodes in the chain keep leading on. */
static void test_a_reader_on_a_retired_node_goes_on(void **state) {
    (void)state;
    struct fixture f;
    make(&f, KEYS, 9);
    f.directory.bucket_mask = 0;  // one chain, the newest first
    for (uint32_t n = 0; n < 8; n++) assert_true(publish(&f, n, 1));
    epoch_enter(&f.epoch, 0);
    const struct directory_node *node = atomic_load(&f.directory.buckets[0]);
    while (node->key.bytes[0] != 5) node = atomic_load(&node->next);
    unpublish(&f, 5);  // the reader stands here
    unpublish(&f, 4);  // and this was the next
    for (uint32_t n = 100; n < 200; n++) {
        if (!publish(&f, n, 1)) break;
    }
    assert_int_equal(node->key.bytes[0], 5);
    uint32_t seen = 0;
    for (node = atomic_load(&node->next); node != NULL; node = atomic_load(&node->next)) {
        if (node->key.bytes[0] < 4) seen |= 1u << node->key.bytes[0];
    }
    assert_int_equal(seen, 0xf);
    epoch_leave(&f.epoch, 0);
    arena_fini(&f.arena);
}

/* ---- descriptions and walks ---- */

static struct present described(uint64_t conn_id) { return (struct present){.conn_id = conn_id, .port = 4}; }

static void describe(struct fixture *f, uint32_t n, uint64_t conn_id) {
    struct node_key key = key_of(n);
    struct present present = described(conn_id);
    assert_true(directory_has_room(&f->directory));
    directory_describe(&f->directory, &key, &present);
    assert_int_equal(directory_description(&f->directory, &key)->conn_id, conn_id);
}

/* How often the walk shows each of the keys below KEYS; `conn_ids` is what it says of them. */
static void walk(const struct fixture *f, uint32_t *counts, uint64_t *conn_ids) {
    memset(counts, 0, KEYS * sizeof(*counts));
    for (uint64_t bucket = 0; bucket < directory_buckets(&f->directory); bucket++) {
        const struct directory_node *node = directory_first(&f->directory, bucket);
        for (; node; node = directory_next(node)) {
            uint32_t n = node->key.bytes[0] | (uint32_t)node->key.bytes[1] << 8;
            assert_in_range(n, 0, KEYS - 1);
            counts[n]++;
            conn_ids[n] = node->present.conn_id;
        }
    }
}

static void test_a_walk_shows_every_key(void **state) {
    (void)state;
    const uint64_t masks[] = {UINT64_MAX, 3, 0};
    for (size_t i = 0; i < array_count(masks); i++) {
        struct fixture f;
        uint32_t counts[KEYS];
        uint64_t conn_ids[KEYS], wanted[KEYS] = {0};
        make(&f, KEYS, 11);
        f.directory.bucket_mask &= masks[i];
        for (uint32_t n = 0; n < KEYS; n++) assert_true(publish(&f, n, 1));
        for (uint32_t step = 0; step < 5000; step++) {
            uint32_t n = (uint32_t)rng_below(&f.rng, KEYS);
            uint64_t before = directory_generation(&f.directory);
            describe(&f, n, step + 1);
            wanted[n] = step + 1;
            assert_int_equal(directory_generation(&f.directory), before);  // routes are as they were
            assert_true(find(&f, n) == route_of(n, 1));
        }
        for (uint32_t n = 0; n < KEYS; n += 3) unpublish(&f, n);
        assert_int_equal(f.directory.count, KEYS - (KEYS + 2) / 3);
        walk(&f, counts, conn_ids);
        for (uint32_t n = 0; n < KEYS; n++) {
            assert_int_equal(counts[n], n % 3 != 0);
            if (n % 3) assert_int_equal(conn_ids[n], wanted[n]);
        }
        arena_fini(&f.arena);
    }
}

/* A walker stands on a key that is described anew, and whose neighbours leave. */
static void test_a_walker_goes_on(void **state) {
    (void)state;
    struct fixture f;
    make(&f, KEYS, 12);
    f.directory.bucket_mask = 0;
    for (uint32_t n = 0; n < 8; n++) assert_true(publish(&f, n, 1));
    epoch_enter(&f.epoch, 0);
    const struct directory_node *node = directory_first(&f.directory, 0);
    while (node->key.bytes[0] != 5) node = directory_next(node);
    describe(&f, 5, 50);
    describe(&f, 4, 40);
    unpublish(&f, 3);
    for (uint32_t n = 100; n < 200 && publish(&f, n, 1); n++) {}
    assert_int_equal(node->present.conn_id, 0);  // as it was
    node = directory_next(node);
    assert_int_equal(node->key.bytes[0], 4);
    uint32_t seen = 0;
    for (; node; node = directory_next(node)) seen |= 1u << node->key.bytes[0];
    assert_int_equal(seen & ~(1u << 3), 0x17);  // all that are behind it and still here
    epoch_leave(&f.epoch, 0);
    arena_fini(&f.arena);
}

/* ---- misuse ---- */

static void describe_what_is_not_there(struct fixture *f) { describe(f, 1, 1); }

static bool dies(void (*body)(struct fixture *), struct fixture *f) {
    pid_t child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        (void)close(STDERR_FILENO);
        body(f);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void publish_twice(struct fixture *f) {
    if (publish(f, 1, 1)) publish(f, 1, 2);
}

static void publish_no_route(struct fixture *f) {
    struct node_key key = key_of(1);
    directory_publish(&f->directory, &key, ROUTE_NONE, NULL);
}

static void unpublish_what_is_not_there(struct fixture *f) { unpublish(f, 1); }

static void publish_without_room(struct fixture *f) {
    fill(f, 0);
    struct node_key key = key_of(30 * KEYS);
    directory_publish(&f->directory, &key, 1, NULL);
}

static void test_misuse_is_a_crash(void **state) {
    (void)state;
    struct fixture f;
    make(&f, KEYS, 10);
    assert_true(dies(publish_twice, &f));
    assert_true(dies(publish_no_route, &f));
    assert_true(dies(describe_what_is_not_there, &f));
    assert_true(dies(unpublish_what_is_not_there, &f));
    assert_true(dies(publish_without_room, &f));
    arena_fini(&f.arena);
}

/* ---- one writer, two readers: what ThreadSanitizer is for ---- */

enum { STRESS_KEYS = 24, STRESS_CHANGES = 60000 };

struct stress {
    struct fixture f;
    _Atomic bool is_over;
};

struct stress_reader {
    struct stress *stress;
    unsigned idx;
    pthread_t id;
    uint64_t found, absent, wrong;
};

static void read_once(struct stress_reader *r, struct rng *rng) {
    const struct directory *directory = &r->stress->f.directory;
    uint32_t n = (uint32_t)rng_below(rng, STRESS_KEYS);
    struct node_key key = key_of(n);
    route where = directory_find(directory, &key);
    if (where == ROUTE_NONE) {
        r->absent++;
    } else if (route_slot(where) == n && route_worker(where) == (n & 0xff) && route_generation(where) != 0) {
        r->found++;
    } else {
        r->wrong++;
    }
}

static void *reader_main(void *argument) {
    struct stress_reader *r = argument;
    struct epoch *epoch = &r->stress->f.epoch;
    struct rng rng;
    rng_init_seeded(&rng, 100 + r->idx);
    while (!atomic_load_explicit(&r->stress->is_over, memory_order_relaxed)) {
        epoch_enter(epoch, r->idx);
        for (int pass = 0; pass < 4; pass++) {
            for (int i = 0; i < 8; i++) read_once(r, &rng);
            epoch_pass(epoch, r->idx);
        }
        epoch_leave(epoch, r->idx);
    }
    return NULL;
}

static void write_changes(struct fixture *f) {
    bool is_there[STRESS_KEYS] = {false};
    uint32_t generation = 0;
    for (int i = 0; i < STRESS_CHANGES; i++) {
        uint32_t n = (uint32_t)rng_below(&f->rng, STRESS_KEYS);
        if (is_there[n]) {
            unpublish(f, n);
        } else {
            while (!directory_has_room(&f->directory))
                sched_yield();  // why: a reader that was put aside holds all nodes
            assert_true(publish(f, n, ++generation));
        }
        is_there[n] = !is_there[n];
    }
}

static void test_readers_see_the_right_route_or_none(void **state) {
    (void)state;
    static struct stress stress;
    struct stress_reader readers[READERS];
    make(&stress.f, STRESS_KEYS, 11);
    stress.f.directory.bucket_mask &= 3;  // chains of about three, so that removals happen in the middle
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct stress_reader){.stress = &stress, .idx = i};
        assert_int_equal(pthread_create(&readers[i].id, NULL, reader_main, &readers[i]), 0);
    }
    write_changes(&stress.f);
    atomic_store(&stress.is_over, true);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i].id, NULL), 0);
        assert_int_equal(readers[i].wrong, 0);
        assert_true(readers[i].found + readers[i].absent > 0);
    }
    arena_fini(&stress.f.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_route_is_three_numbers),
        cmocka_unit_test(test_footprint_is_what_init_takes),
        cmocka_unit_test(test_like_a_model),
        cmocka_unit_test(test_like_a_model_with_few_buckets),
        cmocka_unit_test(test_finding_changes_nothing),
        cmocka_unit_test(test_chains_depend_on_the_secret),
        cmocka_unit_test(test_a_retired_node_waits_for_readers),
        cmocka_unit_test(test_a_reader_on_a_retired_node_goes_on),
        cmocka_unit_test(test_a_walk_shows_every_key),
        cmocka_unit_test(test_a_walker_goes_on),
        cmocka_unit_test(test_misuse_is_a_crash),
        cmocka_unit_test(test_readers_see_the_right_route_or_none),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
