/* registrar.h - control's books: which key has which place on which worker, and how many connections.
 *
 * A place is {worker, slot, generation}: control alone gives places out and takes them back, workers only use them. The
 * directory is the published part of the same truth; the books say what it does not: how many connections a key has,
 * which places are free, how many connections a worker holds.
 *
 * Placement: logins fill worker 0 until its connections reach their share, then the next (one worker to begin with).
 * Threads: thread-local to control. Memory: control's arena. Errors: full is ROUTE_NONE.
 */
#pragma once

#include "core/arena.h"
#include "core/limits.h"
#include "relay/directory.h"

/* One place. */
struct registrar_place {
    struct node_key key;
    uint32_t generation;   // of the current or last use
    uint32_t conns_count;  // 0: free
    uint32_t free_next;    // slot + 1
};

struct registrar_worker {
    struct registrar_place *places;
    uint32_t free_head;    // slot + 1; 0: none
    uint32_t conns_count;
};

struct registrar {
    struct directory *directory;
    struct registrar_worker workers[LIMIT_WORKERS_MAX];
    uint32_t workers_count;
    uint32_t places_count;  // per worker
    uint32_t conns_max;     // per worker
    uint32_t keys_count;
};

size_t registrar_footprint(uint32_t workers_count, uint32_t places_count);
void registrar_init(struct registrar *registrar, struct arena *arena, struct directory *directory,
                    uint32_t workers_count, uint32_t places_count, uint32_t conns_max);

/* Books one more connection of `key`. *is_new_key: the key was not here, and is still to be published at the route.
 * ROUTE_NONE when the relay, the worker the key is bound to, or the key itself (LIMIT_CONNECTIONS_PER_KEY) is full;
 * then nothing was booked. */
must_use route registrar_join(struct registrar *registrar, const struct node_key *key, bool *is_new_key);

/* One connection of the place has ended. True when it was the last: the place is free again for registrar_join, so the
 * caller un-publishes and mails RELEASE before it takes the next login. *key is the key of the place. */
must_use bool registrar_leave(struct registrar *registrar, route where, struct node_key *key);
