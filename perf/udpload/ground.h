/* ground.h - what every command stands on: sockets, connections for requests, endpoints.
 *
 * Threads: one. Memory: before the load. Errors: swarm.is_failed and swarm.why.
 */
#pragma once

#include "perf/load/meter.h"
#include "perf/load/progress.h"
#include "perf/udpload/binder.h"

struct ground {
    const struct options *o;
    const struct meter *meter;
    struct tls_trust *trust;
    struct asker asker;
    struct swarm swarm;
    struct binder binder;
};

struct ground_options {
    uint32_t own;      // endpoints whose clients have sockets of their own; they come first
    uint32_t shared;   // endpoints that share sockets
    void (*on_bound)(void *owner, uint32_t idx);
    void (*on_failed)(void *owner, uint32_t idx);
    void *owner;
};

/* ground_close is to be called in either case. Until somebody else takes datagrams, the binder gets all of them. */
must_use bool ground_open(struct ground *g, const struct options *o, const struct meter *meter,
                          const struct ground_options *options);

/* Copies the sentence of a failure into `why` (SWARM_WHY_MAX bytes). Returns whether there was none. */
bool ground_close(struct ground *g, char *why);

/* Datagrams of size 1 are no error: a sender with a certain kernel bug to avoid ends runs with them. */
static inline bool ground_is_stray(size_t size) { return size == 1; }
