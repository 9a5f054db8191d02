/* registrar.h - control's books: which key has which place on which worker, and how many connections.
 *
 * A place is {worker, slot, generation}: control alone gives places out and takes them back, workers only use them. The
 * directory is the published part of the same truth; the books say what it does not: how many connections a key has,
 * which places are free, how many connections a worker holds.
 *
 * Placement: where a new key goes. Never to a worker that is full; further connections of a key always go to its
 * worker.
 *
 *   PLACEMENT_FILL    To the first worker, by number, that is neither busy nor a step ahead of the least filled one.
 *                     Waking another thread costs more than relaying ten packets, so few clients stay on one worker,
 *                     and more workers join as load asks for them. But connections do not move later, and a crowd that
 *                     logs in at once, as all do after a restart, comes before there is any load to measure: the step
 *                     spreads it. Where no worker qualifies: to the least busy one, then the one with fewest
 *                     connections.
 *   PLACEMENT_SPREAD  To the worker with the fewest connections: for tests, and for those who know that their clients
 *                     are all busy.
 *
 * Load is what control last told (registrar_set_load) plus REGISTRAR_ASSUMED_PERMILLE for each connection booked since.
 * Without that, all logins between two reports would go to the worker that was least busy in the first of them. The
 * guess is more than nearly every client takes, so it errs towards spreading, until the next report puts it right.
 * Connections that leave are not taken off: what they took is unknown, and the next report knows it.
 *
 * Threads: thread-local to control. Memory: control's arena. Errors: full is ROUTE_NONE.
 */
#pragma once

#include "core/arena.h"
#include "core/limits.h"
#include "relay/directory.h"

enum {
    REGISTRAR_PERMILLE_MAX = 1000,
    REGISTRAR_ASSUMED_PERMILLE = 1,
};

enum placement { PLACEMENT_FILL, PLACEMENT_SPREAD };

struct registrar_options {
    uint32_t workers_count;
    uint32_t places_count;     // per worker
    uint32_t conns_max;        // per worker
    uint32_t conns_total_max;  // all workers together
    enum placement placement;
};

/* One place. */
struct registrar_place {
    struct node_key key;
    uint32_t generation;   // of the current or last use
    uint32_t conns_count;  // 0: free
    uint32_t free_next;    // slot + 1
};

struct registrar_worker {
    struct registrar_place *places;
    uint32_t free_head;  // slot + 1; 0: none
    uint32_t conns_count;
    uint32_t load_permille;  // told, and assumed since
};

struct registrar {
    struct directory *directory;
    struct registrar_options options;
    struct registrar_worker workers[LIMIT_WORKERS_MAX];
    uint32_t keys_count;
    uint32_t conns_count;
};

size_t registrar_footprint(uint32_t workers_count, uint32_t places_count);
void registrar_init(struct registrar *registrar, struct arena *arena, struct directory *directory,
                    const struct registrar_options *options);

/* How busy the worker was lately: `permille` <= 1000. To be told at regular intervals, about once a second: what is
 * assumed in between only grows. */
void registrar_set_load(struct registrar *registrar, uint32_t worker, uint32_t permille);

/* Books one more connection of `key`. *is_new_key: the key was not here, and is still to be published at the route.
 * ROUTE_NONE when the relay, the worker the key is bound to, or the key itself (LIMIT_CONNECTIONS_PER_KEY) is full;
 * then nothing was booked. */
must_use route registrar_join(struct registrar *registrar, const struct node_key *key, bool *is_new_key);

/* One connection of the place has ended. True when it was the last: the place is free again for registrar_join, so the
 * caller un-publishes and mails RELEASE before it takes the next login. *key is the key of the place. */
must_use bool registrar_leave(struct registrar *registrar, route where, struct node_key *key);
