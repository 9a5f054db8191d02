/* test_registrar.c - places: who gets which, how many connections each has, and when one may be used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/registrar.h"

enum { KEYS = 64 };

struct fixture {
    struct arena arena;
    struct epoch epoch;
    struct rng rng;
    struct directory directory;
    struct registrar registrar;
};

static struct fixture *make(uint32_t workers_count, uint32_t places_count, uint32_t conns_max, uint64_t seed) {
    static struct fixture f;
    size_t before;
    rng_init_seeded(&f.rng, seed);
    epoch_init(&f.epoch, 1);
    assert_int_equal(arena_init(&f.arena, directory_footprint(KEYS) + registrar_footprint(workers_count, places_count)),
                     0);
    directory_init(&f.directory, &f.arena, KEYS, &f.epoch, &f.rng);
    before = f.arena.used;
    registrar_init(&f.registrar, &f.arena, &f.directory, workers_count, places_count, conns_max);
    assert_int_equal(f.arena.used - before, registrar_footprint(workers_count, places_count));
    return &f;
}

static struct node_key key_of(uint32_t n) {
    struct node_key key = {{0}};
    key.bytes[3] = (uint8_t)n;
    key.bytes[9] = (uint8_t)(n >> 8);
    return key;
}

/* Joins and does control's part: a new key is published. */
static route join(struct fixture *f, uint32_t n, bool *is_new) {
    struct node_key key = key_of(n);
    route where = registrar_join(&f->registrar, &key, is_new);
    if (where != ROUTE_NONE && *is_new) {
        assert_true(directory_has_room(&f->directory));
        directory_publish(&f->directory, &key, where);
    }
    return where;
}

/* Leaves and does control's part. True when the key has left with it. */
static bool leave(struct fixture *f, route where, uint32_t n) {
    struct node_key key, wanted = key_of(n);
    bool is_last = registrar_leave(&f->registrar, where, &key);
    assert_true(key_equal(&key, &wanted));
    if (is_last) directory_unpublish(&f->directory, &key);
    return is_last;
}

static void test_the_same_key_joins_the_same_place(void **state) {
    (void)state;
    struct fixture *f = make(2, 8, 8, 1);
    bool is_new;
    route a = join(f, 1, &is_new);
    assert_true(a != ROUTE_NONE && is_new);
    route b = join(f, 2, &is_new);
    assert_true(b != ROUTE_NONE && b != a && is_new);
    assert_true(join(f, 1, &is_new) == a);
    assert_false(is_new);
    assert_true(join(f, 1, &is_new) == a);
    assert_int_equal(f->registrar.keys_count, 2);
    assert_int_equal(f->registrar.workers[0].conns_count, 4);
    // only the last of the three takes the key with it
    assert_false(leave(f, a, 1));
    assert_false(leave(f, a, 1));
    assert_int_equal(f->registrar.keys_count, 2);
    assert_true(leave(f, a, 1));
    assert_int_equal(f->registrar.keys_count, 1);
    assert_int_equal(f->registrar.workers[0].conns_count, 1);
    assert_true(leave(f, b, 2));
    assert_int_equal(f->registrar.keys_count, 0);
    arena_fini(&f->arena);
}

static void test_a_place_is_used_again_only_after_leave(void **state) {
    (void)state;
    struct fixture *f = make(1, 2, 16, 2);
    bool is_new;
    route a = join(f, 1, &is_new), b = join(f, 2, &is_new);
    assert_int_not_equal(route_slot(a), route_slot(b));
    assert_true(join(f, 3, &is_new) == ROUTE_NONE);
    assert_true(join(f, 1, &is_new) == a);
    assert_false(leave(f, a, 1));
    assert_true(join(f, 3, &is_new) == ROUTE_NONE);  // one connection of key 1 is still there
    assert_true(leave(f, a, 1));
    route c = join(f, 3, &is_new);
    assert_int_equal(route_slot(c), route_slot(a));
    assert_true(c != a);  // a route kept too long must not find somebody else
    assert_int_not_equal(route_generation(c), route_generation(a));
    arena_fini(&f->arena);
}

static void test_logins_fill_worker_after_worker(void **state) {
    (void)state;
    struct fixture *f = make(3, 4, 4, 3);
    bool is_new;
    for (uint32_t n = 0; n < 12; n++) {
        route where = join(f, n, &is_new);
        assert_int_equal(route_worker(where), n / 4);
        assert_int_equal(route_slot(where), n % 4);
        assert_int_equal(route_generation(where), 1);
    }
    assert_true(join(f, 12, &is_new) == ROUTE_NONE);
    assert_int_equal(f->registrar.keys_count, 12);
    arena_fini(&f->arena);
}

/* Connections are bounded by worker, not only places: a key with many connections uses up its worker. */
static void test_full_books_nothing(void **state) {
    (void)state;
    struct fixture *f = make(2, 4, 3, 4);
    bool is_new;
    route a = join(f, 1, &is_new);
    assert_true(join(f, 1, &is_new) == a && join(f, 1, &is_new) == a);
    assert_true(join(f, 1, &is_new) == ROUTE_NONE);  // its worker is full, and a key cannot be on two
    assert_int_equal(f->registrar.workers[0].conns_count, 3);
    route b = join(f, 2, &is_new);  // others go to the next
    assert_int_equal(route_worker(b), 1);
    assert_true(join(f, 2, &is_new) == b && join(f, 3, &is_new) != ROUTE_NONE);
    assert_true(join(f, 4, &is_new) == ROUTE_NONE);
    assert_int_equal(f->registrar.keys_count, 3);
    assert_int_equal(f->registrar.workers[1].conns_count, 3);
    // the refused connection of key 1 was not booked: two leaves are not the last, the third is
    assert_false(leave(f, a, 1));
    assert_false(leave(f, a, 1));
    assert_true(leave(f, a, 1));
    assert_int_equal(f->registrar.workers[0].conns_count, 0);
    arena_fini(&f->arena);
}

static void test_generations_are_never_zero(void **state) {
    (void)state;
    struct fixture *f = make(1, 1, 1, 5);
    bool is_new;
    route where = join(f, 1, &is_new);
    assert_true(leave(f, where, 1));
    f->registrar.workers[0].places[0].generation = UINT32_MAX - 1;
    where = join(f, 1, &is_new);
    assert_int_equal(route_generation(where), UINT32_MAX);
    assert_true(leave(f, where, 1));
    where = join(f, 2, &is_new);
    assert_int_equal(route_generation(where), 1);
    assert_true(where != ROUTE_NONE);  // worker 0, slot 0: only the generation tells it from no route
    arena_fini(&f->arena);
}

/* ---- against a model: what each key has ---- */

static void test_like_a_model(void **state) {
    (void)state;
    enum { WORKERS = 3, PLACES = 10, CONNS = 14 };
    struct fixture *f = make(WORKERS, PLACES, CONNS, 6);
    route routes[KEYS] = {0};
    uint32_t conns[KEYS] = {0}, worker_conns[WORKERS] = {0}, worker_keys[WORKERS] = {0}, keys = 0;
    uint32_t refusals = 0;
    for (int i = 0; i < 20000; i++) {
        uint32_t n = (uint32_t)rng_below(&f->rng, KEYS);
        bool joins = rng_below(&f->rng, 100) < (i / 500 % 2 ? 70u : 40u);
        if (joins) {
            bool is_new;
            route where = join(f, n, &is_new);
            bool has_room = false;
            for (uint32_t w = 0; w < WORKERS; w++) {
                bool may = conns[n] == 0 || route_worker(routes[n]) == w;
                has_room = has_room || (may && worker_conns[w] < CONNS && (conns[n] || worker_keys[w] < PLACES));
            }
            assert_int_equal(where != ROUTE_NONE, has_room);
            assert_int_equal(is_new, conns[n] == 0);
            refusals += where == ROUTE_NONE;
            if (where == ROUTE_NONE) continue;
            if (conns[n]) assert_true(where == routes[n]);
            for (uint32_t k = 0; k < KEYS && !conns[n]; k++) {
                if (conns[k]) assert_true((routes[k] & UINT32_MAX) != (where & UINT32_MAX));  // worker and slot
            }
            worker_keys[route_worker(where)] += conns[n] == 0;
            keys += conns[n]++ == 0;
            worker_conns[route_worker(where)]++;
            routes[n] = where;
        } else if (conns[n]) {
            bool is_last = --conns[n] == 0;
            worker_conns[route_worker(routes[n])]--;
            worker_keys[route_worker(routes[n])] -= is_last;
            keys -= is_last;
            assert_int_equal(leave(f, routes[n], n), is_last);
        }
        assert_int_equal(f->registrar.keys_count, keys);
        for (uint32_t w = 0; w < WORKERS; w++) {
            assert_int_equal(f->registrar.workers[w].conns_count, worker_conns[w]);
        }
    }
    assert_true(refusals > 100);  // the test went where it is full
    arena_fini(&f->arena);
}

/* ---- misuse ---- */

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

static void leave_twice(struct fixture *f) {
    bool is_new;
    route where = join(f, 1, &is_new);
    leave(f, where, 1);
    leave(f, where, 1);
}

static void leave_by_an_old_route(struct fixture *f) {
    bool is_new;
    route where = join(f, 1, &is_new);
    leave(f, where, 1);
    if (join(f, 1, &is_new) == where) _exit(1);
    leave(f, where, 1);
}

static void test_misuse_is_a_crash(void **state) {
    (void)state;
    struct fixture *f = make(1, 4, 4, 7);
    assert_true(dies(leave_twice, f));
    assert_true(dies(leave_by_an_old_route, f));
    arena_fini(&f->arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_key_joins_the_same_place),
        cmocka_unit_test(test_a_place_is_used_again_only_after_leave),
        cmocka_unit_test(test_logins_fill_worker_after_worker),
        cmocka_unit_test(test_full_books_nothing),
        cmocka_unit_test(test_generations_are_never_zero),
        cmocka_unit_test(test_like_a_model),
        cmocka_unit_test(test_misuse_is_a_crash),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
