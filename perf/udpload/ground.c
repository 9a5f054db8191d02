#include "perf/udpload/ground.h"

#include <stdio.h>

/* While endpoints are bound nothing else is under way. */
static void on_datagram(void *owner, struct wire *w, uint8_t *bytes, size_t size) {
    struct ground *g = owner;
    if (!binder_take(&g->binder, w, bytes, size) && !ground_is_stray(size)) {
        swarm_fail(&g->swarm, "client %u got a datagram of %zu bytes that nobody has sent", w->idx, size);
    }
}

bool ground_open(struct ground *g, const struct options *o, const struct meter *meter,
                 const struct ground_options *options) {
    uint32_t wires = binder_own_wires(options->own) + (options->shared ? 2 * (uint32_t)o->sockets : 0);
    struct binder_options binder = {.swarm = &g->swarm,
                                    .asker = &g->asker,
                                    .family = o->family,
                                    .at_once = (uint32_t)o->at_once,
                                    .endpoints_max = options->own + options->shared,
                                    .parties_max = 2 * options->own +
                                                   (options->shared ? binder_shared_parties(options->shared) : 0),
                                    .on_bound = options->on_bound,
                                    .on_failed = options->on_failed,
                                    .owner = options->owner};
    *g = (struct ground){.o = o, .meter = meter, .asker.unix_path = NULL};
    if (!swarm_open(&g->swarm, wires, !o->has_no_gro)) return false;
    g->swarm.on_datagram = on_datagram;
    g->swarm.owner = g;
    if (asker_needs_trust(o->allocate) && (g->trust = trust_make(&o->trust, g->swarm.why)) == NULL) {
        g->swarm.is_failed = true;
        return false;
    }
    if (!asker_open(&g->asker, o->allocate, o->token_path, g->trust)) {
        swarm_fail(&g->swarm, "%s", g->asker.why);
        return false;
    }
    if (!binder_open(&g->binder, &binder)) return false;
    if (options->own) binder_own(&g->binder, options->own);
    if (options->shared) binder_shared(&g->binder, options->shared, (uint32_t)o->sockets);
    return true;
}

bool ground_close(struct ground *g, char *why) {
    bool is_fine = !g->swarm.is_failed;
    if (!is_fine) snprintf(why, SWARM_WHY_MAX, "%s", g->swarm.why);
    binder_close(&g->binder);
    asker_close(&g->asker);
    swarm_close(&g->swarm);
    tls_trust_give(g->trust);
    return is_fine;
}
