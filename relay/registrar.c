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
                    uint32_t workers_count, uint32_t places_count, uint32_t conns_max) {
    memset(registrar, 0, sizeof(*registrar));
    registrar->directory = directory;
    registrar->workers_count = workers_count;
    registrar->places_count = places_count;
    registrar->conns_max = conns_max;
    for (uint32_t i = 0; i < workers_count; i++) worker_books_init(&registrar->workers[i], arena, places_count);
}

static struct registrar_place *place_at(struct registrar *registrar, route where) {
    struct registrar_place *place = &registrar->workers[route_worker(where)].places[route_slot(where)];
    CHECK(place->conns_count > 0 && place->generation == route_generation(where));
    return place;
}

static route join_known(struct registrar *registrar, route where) {
    struct registrar_worker *books = &registrar->workers[route_worker(where)];
    struct registrar_place *place = place_at(registrar, where);
    if (books->conns_count == registrar->conns_max) return ROUTE_NONE;
    if (place->conns_count == LIMIT_CONNECTIONS_PER_KEY) return ROUTE_NONE;
    books->conns_count++;
    place->conns_count++;
    return where;
}

static route take_place(struct registrar *registrar, uint32_t worker, const struct node_key *key) {
    struct registrar_worker *books = &registrar->workers[worker];
    if (books->free_head == 0 || books->conns_count == registrar->conns_max) return ROUTE_NONE;
    uint32_t slot = books->free_head - 1;
    struct registrar_place *place = &books->places[slot];
    books->free_head = place->free_next;
    books->conns_count++;
    registrar->keys_count++;
    place->key = *key;
    place->conns_count = 1;
    if (++place->generation == 0) place->generation = 1;
    return route_make(worker, slot, place->generation);
}

route registrar_join(struct registrar *registrar, const struct node_key *key, bool *is_new_key) {
    route where = directory_find(registrar->directory, key);
    *is_new_key = where == ROUTE_NONE;
    if (!*is_new_key) return join_known(registrar, where);
    for (uint32_t worker = 0; worker < registrar->workers_count && where == ROUTE_NONE; worker++) {
        where = take_place(registrar, worker, key);
    }
    return where;
}

bool registrar_leave(struct registrar *registrar, route where, struct node_key *key) {
    struct registrar_worker *books = &registrar->workers[route_worker(where)];
    struct registrar_place *place = place_at(registrar, where);
    *key = place->key;
    books->conns_count--;
    if (--place->conns_count > 0) return false;
    registrar->keys_count--;
    place->free_next = books->free_head;
    books->free_head = route_slot(where) + 1;
    return true;
}
