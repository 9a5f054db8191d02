/* chain_sim.c - the chains' simulated twin (core/chain.h): takes the place of core/chain.c when the simulator is
 * linked.
 *
 * Each verb is a point at which another fiber may go on, before and after what it does becomes visible. One OS thread,
 * so the atomics order nothing here.
 */
#include "core/chain.h"
#include "tests/sim/sched_sim.h"

bool chain_push(struct chain *chain, struct chain_batch *batch) {
    sim_point(POINT_PUSH);
    if (batch->newest == NULL) return false;
    batch->oldest->next = chain->newest;
    chain->newest = batch->newest;
    *batch = (struct chain_batch){0};
    sim_point(POINT_PUSHED);
    return true;
}

struct chain_link *chain_take(struct chain *chain) {
    sim_point(POINT_ARRIVE);
    struct chain_link *link = chain->newest, *oldest = NULL;
    chain->newest = NULL;
    while (link) {
        struct chain_link *next = link->next;
        link->next = oldest;
        oldest = link;
        link = next;
    }
    return oldest;
}

bool chain_has_mail(struct chain *chain) { return chain->newest != NULL; }
