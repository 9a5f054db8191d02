/* test_registrar.c - places: who gets which and where, how many connections each has, when one may be used again. */
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

enum { KEYS = 4096 };

struct fixture {
    struct arena arena;
    struct epoch epoch;
    struct rng rng;
    struct directory directory;
    struct registrar registrar;
};

static struct fixture *make(const struct registrar_options *options, uint64_t seed) {
    static struct fixture f;
    size_t footprint = registrar_footprint(options->workers_count, options->places_count);
    rng_init_seeded(&f.rng, seed);
    epoch_init(&f.epoch, 1);
    assert_int_equal(arena_init(&f.arena, directory_footprint(KEYS) + footprint), 0);
    directory_init(&f.directory, &f.arena, KEYS, &f.epoch, &f.rng);
    size_t before = f.arena.used;
    registrar_init(&f.registrar, &f.arena, &f.directory, options);
    assert_int_equal(f.arena.used - before, footprint);
    return &f;
}

/* Nothing but places and connections of each worker bounds it. */
static struct fixture *make_filling(uint32_t workers_count, uint32_t places_count, uint32_t conns_max, uint64_t seed) {
    return make(&(struct registrar_options){workers_count, places_count, conns_max, UINT32_MAX, PLACEMENT_FILL}, seed);
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
        directory_publish(&f->directory, &key, where, NULL);
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
    struct fixture *f = make_filling(2, 8, 8, 1);
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
    struct fixture *f = make_filling(1, 2, 16, 2);
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

static void test_places_fill_worker_after_worker(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 4, 4, 3);
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
    struct fixture *f = make_filling(2, 4, 3, 4);
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
    struct fixture *f = make_filling(1, 1, 1, 5);
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

/* The relay as a whole is full: also for keys that are here, and one who leaves makes room for any one. */
static void test_the_total_is_a_bound(void **state) {
    (void)state;
    struct fixture *f = make(&(struct registrar_options){2, 8, 8, 5, PLACEMENT_SPREAD}, 6);
    bool is_new;
    route a = join(f, 1, &is_new), b = join(f, 2, &is_new);
    assert_true(join(f, 1, &is_new) == a && join(f, 1, &is_new) == a && join(f, 2, &is_new) == b);
    assert_int_equal(f->registrar.conns_count, 5);
    assert_true(join(f, 1, &is_new) == ROUTE_NONE);
    assert_false(is_new);
    assert_true(join(f, 3, &is_new) == ROUTE_NONE);
    assert_int_equal(f->registrar.conns_count, 5);
    assert_int_equal(f->registrar.keys_count, 2);
    assert_false(leave(f, a, 1));
    assert_true(join(f, 3, &is_new) != ROUTE_NONE && is_new);
    assert_true(join(f, 4, &is_new) == ROUTE_NONE);
    assert_false(leave(f, b, 2));
    assert_true(join(f, 2, &is_new) == b);
    arena_fini(&f->arena);
}

static void test_a_key_has_so_many_connections(void **state) {
    (void)state;
    struct fixture *f = make_filling(1, 4, 1000, 7);
    bool is_new;
    route where = join(f, 1, &is_new);
    for (int i = 1; i < LIMIT_CONNECTIONS_PER_KEY; i++) assert_true(join(f, 1, &is_new) == where);
    assert_true(join(f, 1, &is_new) == ROUTE_NONE);
    assert_int_equal(f->registrar.conns_count, LIMIT_CONNECTIONS_PER_KEY);
    assert_true(join(f, 2, &is_new) != ROUTE_NONE);
    assert_false(leave(f, where, 1));
    assert_true(join(f, 1, &is_new) == where);
    arena_fini(&f->arena);
}

/* ---- placement ---- */

/* The next new keys, `count` of them from `*n` on, go to `worker`. */
static void assert_next_to(struct fixture *f, uint32_t *n, uint32_t count, uint32_t worker) {
    bool is_new;
    for (uint32_t i = 0; i < count; i++) {
        route where = join(f, (*n)++, &is_new);
        assert_true(where != ROUTE_NONE && is_new);
        assert_int_equal(route_worker(where), worker);
    }
}

/* A report of all three workers. */
static void set_loads(struct fixture *f, uint32_t first, uint32_t second, uint32_t third) {
    registrar_set_load(&f->registrar, 0, first);
    registrar_set_load(&f->registrar, 1, second);
    registrar_set_load(&f->registrar, 2, third);
}

static void test_idle_clients_stay_together(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 1000, 1000, 8);
    uint32_t n = 0;
    for (int i = 0; i < LIMIT_WORKER_STEP / 8; i++) {
        set_loads(f, LIMIT_WORKER_BUSY_PERMILLE, 0, 0);  // busy is above, not at
        assert_next_to(f, &n, 1, 0);
        set_loads(f, 0, 0, 0);
        assert_next_to(f, &n, 7, 0);
    }
    arena_fini(&f->arena);
}

static void test_the_busy_get_no_new_keys(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 1000, 1000, 9);
    uint32_t n = 0;
    bool is_new;
    assert_next_to(f, &n, 2, 0);
    set_loads(f, LIMIT_WORKER_BUSY_PERMILLE + 1, 0, 0);
    assert_next_to(f, &n, 3, 1);
    assert_int_equal(route_worker(join(f, 0, &is_new)), 0);  // but what they have stays whole
    set_loads(f, 1000, 1000, 699);
    assert_next_to(f, &n, 2, 2);
    set_loads(f, 1000, 20, 0);
    assert_next_to(f, &n, 5, 1);
    set_loads(f, 0, 20, 0);
    assert_next_to(f, &n, 5, 0);
    arena_fini(&f->arena);
}

/* All at once, before anything could be measured: nobody gets more than a step ahead of the last. */
static void test_a_crowd_is_spread_in_steps(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 2000, 2000, 10);
    uint32_t n = 0;
    for (uint32_t w = 0; w < 2; w++) {
        set_loads(f, 0, 0, 0);
        assert_next_to(f, &n, LIMIT_WORKER_STEP, w);
    }
    for (int i = 0; i < 600; i++) {  // with each one more of the last, the others may have one more too
        set_loads(f, 0, 0, 0);
        assert_next_to(f, &n, 1, 2);
        assert_next_to(f, &n, 1, 0);
        assert_next_to(f, &n, 1, 1);
    }
    arena_fini(&f->arena);
}

static void test_a_crowd_without_reports_is_spread(void **state) {
    (void)state;
    struct fixture *f = make_filling(4, KEYS, KEYS, 11);
    bool is_new;
    for (uint32_t n = 0; n < KEYS; n++) assert_true(join(f, n, &is_new) != ROUTE_NONE);
    for (uint32_t w = 0; w < 4; w++) assert_int_equal(f->registrar.workers[w].conns_count, KEYS / 4);
    arena_fini(&f->arena);
}

/* Full workers are no measure for the others, which go on though those have little. */
static void test_full_workers_hold_nobody_back(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 2000, 2000, 12);
    uint32_t n = 0;
    // no place left on them, and no connection
    f->registrar.workers[1].free_head = f->registrar.workers[2].free_head = 0;
    for (uint32_t i = 0; i < 3 * LIMIT_WORKER_STEP / 8; i++) {
        set_loads(f, 0, 0, 0);
        assert_next_to(f, &n, 8, 0);
    }
    arena_fini(&f->arena);
}

static void test_when_all_are_busy_the_least_busy(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 1000, 1000, 13);
    uint32_t n = 0;
    set_loads(f, 900, 800, 990);
    assert_next_to(f, &n, 20, 1);
    set_loads(f, 900, 899, 897);  // each that comes counts a little until the next report
    assert_next_to(f, &n, 2, 2);  // 900 899 899
    assert_next_to(f, &n, 1, 2);  // 2 connections against 20
    assert_next_to(f, &n, 1, 1);  // 900 899 900
    assert_next_to(f, &n, 1, 0);  // 900 900 900: none against 3 and 21
    assert_next_to(f, &n, 1, 2);  // 901 900 900: 3 against 21
    set_loads(f, 1000, 1000, 1000);
    assert_next_to(f, &n, 3, 0);  // more than all is not possible, so the connections decide: 1 21 4
    assert_next_to(f, &n, 1, 0);  // 4 21 4: the lowest number
    assert_next_to(f, &n, 1, 2);
    arena_fini(&f->arena);
}

/* One is ahead, the other is busy with little: load that was measured is the better reason. */
static void test_measured_load_goes_before_the_step(void **state) {
    (void)state;
    struct fixture *f = make_filling(3, 2000, 2000, 14);
    uint32_t n = 0;
    assert_next_to(f, &n, LIMIT_WORKER_STEP, 0);
    set_loads(f, 10, 900, 1000);
    assert_next_to(f, &n, 5, 0);
    set_loads(f, 10, 20, 1000);
    assert_next_to(f, &n, 5, 1);
    arena_fini(&f->arena);
}

static void test_spread_is_even(void **state) {
    (void)state;
    struct fixture *f = make(&(struct registrar_options){3, 100, 100, UINT32_MAX, PLACEMENT_SPREAD}, 15);
    bool is_new;
    uint32_t n = 0;
    set_loads(f, 1000, 900, 0);  // does not matter here
    for (int i = 0; i < 10; i++) {
        for (uint32_t w = 0; w < 3; w++) assert_next_to(f, &n, 1, w);
    }
    for (int i = 0; i < 5; i++) assert_int_equal(route_worker(join(f, 0, &is_new)), 0);
    for (int i = 0; i < 5; i++) assert_int_equal(route_worker(join(f, 2, &is_new)), 2);
    assert_next_to(f, &n, 5, 1);
    assert_next_to(f, &n, 1, 0);
    assert_next_to(f, &n, 1, 1);
    assert_next_to(f, &n, 1, 2);
    arena_fini(&f->arena);
}

/* ---- against a model: what each key has, where each place is, and the rules of placement in one sentence each ---- */

enum { WORKERS = 3, PLACES = 700, CONNS = 850, CONNS_TOTAL = 2200, MODEL_KEYS = 3000, MODEL_TURNS = 60000 };

struct model {
    struct fixture *f;
    route routes[MODEL_KEYS];
    uint32_t conns[MODEL_KEYS];
    bool is_taken[WORKERS][PLACES];
    uint32_t worker_conns[WORKERS], worker_keys[WORKERS], load[WORKERS];
    uint32_t keys, conns_all;
    uint32_t refused_total, refused_known, refused_new, chosen[WORKERS], chosen_busy;
};

static bool model_is_open(const struct model *m, uint32_t w) {
    return m->worker_conns[w] < CONNS && m->worker_keys[w] < PLACES;
}

/* What is to be smallest. A busy or leading worker is no candidate of filling while there is any other. */
static uint64_t model_cost(const struct model *m, uint32_t w, uint32_t least) {
    if (!model_is_open(m, w)) return UINT64_MAX;
    if (m->f->registrar.options.placement == PLACEMENT_SPREAD) return m->worker_conns[w];
    if (m->load[w] <= 700 && m->worker_conns[w] + 1 - least <= 512) return w;
    return (uint64_t)m->load[w] << 32 | (m->worker_conns[w] + WORKERS);
}

/* WORKERS: nowhere. */
static uint32_t model_place(struct model *m) {
    uint32_t least = UINT32_MAX, best = WORKERS;
    uint64_t cost = UINT64_MAX;
    for (uint32_t w = 0; w < WORKERS; w++) {
        if (model_is_open(m, w)) least = min_of(least, m->worker_conns[w]);
    }
    for (uint32_t w = WORKERS; w-- > 0;) {
        if (model_cost(m, w, least) <= cost && model_is_open(m, w)) {
            cost = model_cost(m, w, least);
            best = w;
        }
    }
    if (best < WORKERS) m->chosen[best]++;
    if (best < WORKERS && m->load[best] > 700) m->chosen_busy++;
    return best;
}

/* Where the next connection of key `n` has to go. */
static uint32_t model_expect(struct model *m, uint32_t n) {
    if (m->conns_all == m->f->registrar.options.conns_total_max) {
        m->refused_total++;
        return WORKERS;
    }
    if (m->conns[n] == 0) {
        uint32_t w = model_place(m);
        m->refused_new += w == WORKERS;
        return w;
    }
    bool has_room = m->worker_conns[route_worker(m->routes[n])] < CONNS && m->conns[n] < LIMIT_CONNECTIONS_PER_KEY;
    m->refused_known += !has_room;
    return has_room ? route_worker(m->routes[n]) : WORKERS;
}

static void model_join(struct model *m, uint32_t n) {
    bool is_new, is_new_wanted = m->conns[n] == 0;
    uint32_t w = model_expect(m, n);
    route where = join(m->f, n, &is_new);
    assert_int_equal(is_new, is_new_wanted);
    assert_int_equal(where == ROUTE_NONE ? (uint32_t)WORKERS : route_worker(where), w);
    if (where == ROUTE_NONE) return;
    if (is_new) {
        assert_in_range(route_slot(where), 0, PLACES - 1);
        assert_false(m->is_taken[w][route_slot(where)]);
        m->is_taken[w][route_slot(where)] = true;
        assert_true(where != m->routes[n]);  // not even when it is the place it had before
        m->routes[n] = where;
        m->worker_keys[w]++;
        m->keys++;
    }
    assert_true(where == m->routes[n]);
    m->conns[n]++;
    m->worker_conns[w]++;
    m->conns_all++;
    m->load[w] = min_of(m->load[w] + 1, 1000u);
}

static void model_leave(struct model *m, uint32_t n) {
    uint32_t w = route_worker(m->routes[n]);
    bool is_last = --m->conns[n] == 0;
    m->worker_conns[w]--;
    m->conns_all--;
    if (is_last) {
        m->is_taken[w][route_slot(m->routes[n])] = false;
        m->worker_keys[w]--;
        m->keys--;
    }
    assert_int_equal(leave(m->f, m->routes[n], n), is_last);
}

static void model_report(struct model *m) {
    for (uint32_t w = 0; w < WORKERS; w++) {
        m->load[w] = (uint32_t)rng_below(&m->f->rng, 3) ? (uint32_t)rng_below(&m->f->rng, 1001) : 0;
        registrar_set_load(&m->f->registrar, w, m->load[w]);
    }
}

static void model_compare(const struct model *m) {
    assert_int_equal(m->f->registrar.keys_count, m->keys);
    assert_int_equal(m->f->registrar.conns_count, m->conns_all);
    for (uint32_t w = 0; w < WORKERS; w++) {
        assert_int_equal(m->f->registrar.workers[w].conns_count, m->worker_conns[w]);
        assert_int_equal(m->f->registrar.workers[w].load_permille, m->load[w]);
    }
}

/* Long tides, mostly coming in and then mostly going out; some keys have many connections. */
static void model_turn(struct model *m, int i) {
    struct rng *rng = &m->f->rng;
    uint32_t n = (uint32_t)rng_below(rng, rng_below(rng, 3) ? MODEL_KEYS : 4);
    bool is_coming_in = i / (MODEL_TURNS / 6) % 2 == 0;
    if (rng_below(rng, 400) == 0) model_report(m);
    if (rng_below(rng, 100) < (is_coming_in ? 70 : 30)) {
        model_join(m, n);
    } else if (m->conns[n]) {
        model_leave(m, n);
    }
    model_compare(m);
}

/* Whatever was given comes back: then all of it can be given again. */
static void model_empty_and_fill(struct model *m) {
    for (uint32_t n = 0; n < MODEL_KEYS; n++) {
        while (m->conns[n]) model_leave(m, n);
    }
    assert_int_equal(m->conns_all, 0);
    for (uint32_t n = 0; n < WORKERS * PLACES; n++) model_join(m, n);
    assert_int_equal(m->keys, WORKERS * PLACES);
    for (uint32_t w = 0; w < WORKERS; w++) assert_null(memchr(m->is_taken[w], false, PLACES));
    model_compare(m);
}

static struct model *run_model(enum placement placement, uint32_t conns_total_max, uint64_t seed) {
    static struct model model;
    struct model *m = &model;
    const struct registrar_options options = {WORKERS, PLACES, CONNS, conns_total_max, placement};
    *m = (struct model){.f = make(&options, seed)};
    for (int i = 0; i < MODEL_TURNS; i++) model_turn(m, i);
    for (uint32_t w = 0; w < WORKERS; w++) assert_true(m->chosen[w] > 100);
    assert_true(m->chosen_busy > 100);
    model_empty_and_fill(m);
    arena_fini(&m->f->arena);
    return m;
}

static void test_like_a_model(void **state) {
    (void)state;
    for (uint64_t seed = 16; seed < 20; seed++) {
        struct model *m = run_model(seed % 2 ? PLACEMENT_SPREAD : PLACEMENT_FILL, UINT32_MAX, seed);
        assert_true(m->refused_known > 100 && m->refused_new > 100);  // the test went where it is full
        assert_int_equal(m->refused_total, 0);
    }
}

static void test_like_a_model_with_a_total(void **state) {
    (void)state;
    for (uint64_t seed = 20; seed < 24; seed++) {
        struct model *m = run_model(seed % 2 ? PLACEMENT_SPREAD : PLACEMENT_FILL, CONNS_TOTAL, seed);
        assert_true(m->refused_total > 100);
    }
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

static void tell_of_no_worker(struct fixture *f) { registrar_set_load(&f->registrar, 1, 0); }

static void tell_of_more_than_all(struct fixture *f) { registrar_set_load(&f->registrar, 0, 1001); }

static void test_misuse_is_a_crash(void **state) {
    (void)state;
    struct fixture *f = make_filling(1, 4, 4, 24);
    assert_true(dies(leave_twice, f));
    assert_true(dies(leave_by_an_old_route, f));
    assert_true(dies(tell_of_no_worker, f));
    assert_true(dies(tell_of_more_than_all, f));
    arena_fini(&f->arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_key_joins_the_same_place),
        cmocka_unit_test(test_a_place_is_used_again_only_after_leave),
        cmocka_unit_test(test_places_fill_worker_after_worker),
        cmocka_unit_test(test_full_books_nothing),
        cmocka_unit_test(test_generations_are_never_zero),
        cmocka_unit_test(test_the_total_is_a_bound),
        cmocka_unit_test(test_a_key_has_so_many_connections),
        cmocka_unit_test(test_idle_clients_stay_together),
        cmocka_unit_test(test_the_busy_get_no_new_keys),
        cmocka_unit_test(test_a_crowd_is_spread_in_steps),
        cmocka_unit_test(test_a_crowd_without_reports_is_spread),
        cmocka_unit_test(test_full_workers_hold_nobody_back),
        cmocka_unit_test(test_when_all_are_busy_the_least_busy),
        cmocka_unit_test(test_measured_load_goes_before_the_step),
        cmocka_unit_test(test_spread_is_even),
        cmocka_unit_test(test_like_a_model),
        cmocka_unit_test(test_like_a_model_with_a_total),
        cmocka_unit_test(test_misuse_is_a_crash),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
