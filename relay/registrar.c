#include "relay/registrar.h"

#include "core/check.h"

size_t registrar_footprint(uint32_t workers_count, uint32_t places_count) {
    return workers_count * arena_cost(places_count * sizeof(struct registrar_place));
}

static void worker_books_init(struct registrar_worker *books, struct arena *arena, uint32_t places_count) {
    books->places = arena_take(arena, places_count * sizeof(struct registrar_place));
    for (uint32_t slot = places_count; slot-- > 0;) {
        books->places[slot].free_next = books->free_head;
        books->free_head = slot + 1;
    }
}

void registrar_init(struct registrar *registrar, struct arena *arena, struct directory *directory,
                    const struct registrar_options *options) {
    CHECK(options->workers_count >= 1 && options->workers_count <= LIMIT_WORKERS_MAX);
    memset(registrar, 0, sizeof(*registrar));
    registrar->directory = directory;
    registrar->options = *options;
    for (uint32_t i = 0; i < options->workers_count; i++) {
        worker_books_init(&registrar->workers[i], arena, options->places_count);
    }
}

/* ---- which worker ---- */

void registrar_set_load(struct registrar *registrar, uint32_t worker, uint32_t permille) {
    CHECK(worker < registrar->options.workers_count && permille <= REGISTRAR_PERMILLE_MAX);
    registrar->workers[worker].load_permille = permille;
}

/* For a new key. */
static bool is_full(const struct registrar *registrar, const struct registrar_worker *books) {
    return books->free_head == 0 || books->conns_count == registrar->options.conns_max;
}

static bool has_fewer(const struct registrar_worker *a, const struct registrar_worker *b) {
    return a->conns_count < b->conns_count;
}

static bool has_less_to_do(const struct registrar_worker *a, const struct registrar_worker *b) {
    return a->load_permille == b->load_permille ? has_fewer(a, b) : a->load_permille < b->load_permille;
}

/* The first of the workers that are not full than which none is better. NULL when all are full. */
static struct registrar_worker *best_of(struct registrar *registrar,
                                        bool (*is_better)(const struct registrar_worker *a,
                                                          const struct registrar_worker *b)) {
    struct registrar_worker *best = NULL;
    for (uint32_t i = 0; i < registrar->options.workers_count; i++) {
        struct registrar_worker *books = &registrar->workers[i];
        if (!is_full(registrar, books) && (best == NULL || is_better(books, best))) best = books;
    }
    return best;
}

static struct registrar_worker *choose_filling(struct registrar *registrar) {
    const struct registrar_worker *least_filled = best_of(registrar, has_fewer);
    for (uint32_t i = 0; i < registrar->options.workers_count && least_filled != NULL; i++) {
        struct registrar_worker *books = &registrar->workers[i];
        bool is_busy = books->load_permille > LIMIT_WORKER_BUSY_PERMILLE;
        bool is_ahead = books->conns_count >= least_filled->conns_count + LIMIT_WORKER_STEP;
        if (!is_full(registrar, books) && !is_busy && !is_ahead) return books;
    }
    return best_of(registrar, has_less_to_do);
}

static struct registrar_worker *choose(struct registrar *registrar) {
    if (registrar->options.placement == PLACEMENT_SPREAD) return best_of(registrar, has_fewer);
    return choose_filling(registrar);
}

/* ---- booking ---- */

static void book(struct registrar *registrar, struct registrar_worker *books, struct registrar_place *place) {
    registrar->conns_count++;
    books->conns_count++;
    books->load_permille = min_of(books->load_permille + REGISTRAR_ASSUMED_PERMILLE, REGISTRAR_PERMILLE_MAX);
    place->conns_count++;
}

static struct registrar_place *place_at(struct registrar *registrar, route where) {
    struct registrar_place *place = &registrar->workers[route_worker(where)].places[route_slot(where)];
    CHECK(place->conns_count > 0 && place->generation == route_generation(where));
    return place;
}

static route join_known(struct registrar *registrar, route where) {
    struct registrar_worker *books = &registrar->workers[route_worker(where)];
    struct registrar_place *place = place_at(registrar, where);
    if (books->conns_count == registrar->options.conns_max) return ROUTE_NONE;
    if (place->conns_count == LIMIT_CONNECTIONS_PER_KEY) return ROUTE_NONE;
    book(registrar, books, place);
    return where;
}

static route join_new(struct registrar *registrar, const struct node_key *key) {
    struct registrar_worker *books = choose(registrar);
    if (books == NULL) return ROUTE_NONE;
    uint32_t slot = books->free_head - 1;
    struct registrar_place *place = &books->places[slot];
    books->free_head = place->free_next;
    registrar->keys_count++;
    place->key = *key;
    if (++place->generation == 0) place->generation = 1;
    book(registrar, books, place);
    return route_make((uint32_t)(books - registrar->workers), slot, place->generation);
}

route registrar_join(struct registrar *registrar, const struct node_key *key, bool *is_new_key) {
    route where = directory_find(registrar->directory, key);
    *is_new_key = where == ROUTE_NONE;
    if (registrar->conns_count == registrar->options.conns_total_max) return ROUTE_NONE;
    return *is_new_key ? join_new(registrar, key) : join_known(registrar, where);
}

bool registrar_leave(struct registrar *registrar, route where, struct node_key *key) {
    struct registrar_worker *books = &registrar->workers[route_worker(where)];
    struct registrar_place *place = place_at(registrar, where);
    *key = place->key;
    registrar->conns_count--;
    books->conns_count--;
    if (--place->conns_count > 0) return false;
    registrar->keys_count--;
    place->free_next = books->free_head;
    books->free_head = route_slot(where) + 1;
    return true;
}
