/* plan.h - who sends to whom.
 *
 *     pairs     2N clients, N flows: 0 to 1, 2 to 3, ...
 *     fan-in    N senders, one receiver
 *     fan-out   one sender, N receivers
 *     all       N clients, each to each other one
 *     spread    (--connections M) M clients, M flows: i to i + M/2, in a shuffled order, again and again
 *
 * Threads: one. Memory: the heap, once. Errors: false: no memory.
 */
#pragma once

#include "core/rng.h"
#include "perf/load/flow.h"
#include "perf/derpload/options.h"

struct plan {
    uint32_t clients;
    uint32_t flows_count;
    struct flow *flows;
    uint32_t *order;     // in which flows take turns
    uint32_t *place;     // of a flow in that order
    const char *name;    // "pairs" ...
};

must_use bool plan_make(struct plan *plan, const struct options *o, struct rng *rng);
void plan_free(struct plan *plan);
