/* traffic.h - packets through bound endpoints: flow i goes from the first to the second client of endpoint i.
 *
 * Modes, phases and what counts as lost are those of perf/load/course.h. Packets of a flow leave in runs: `segments` of
 * them are handed to the kernel as one (UDP_SEGMENT), `burst` runs in a row; then it is the next flow's turn. A run is
 * whole or waits. With one segment a burst is so many single datagrams.
 * Each packet that comes is verified: its Geneve header is the one that was sent, contents.h, flow.h, the right client.
 * One that is wrong ends the run.
 *
 * Threads: one. Memory: before the load. Errors: swarm->is_failed.
 */
#pragma once

#include "perf/load/course.h"
#include "perf/udpload/ground.h"

struct traffic_result {
    struct course_result course;
    uint32_t flows;
    bool is_spread;
};

/* Over the first `flows` endpoints, which are bound and have their own sockets; spread over them (options.h: --flows)
 * or each with a window of its own. */
must_use bool traffic_run(struct ground *g, uint32_t flows, bool is_spread, struct traffic_result *ret);

struct relay_result {
    struct traffic_result traffic;
    struct net_address relay;
};

/* `udpload relay`. False: a sentence in `why` (SWARM_WHY_MAX bytes). */
must_use bool relay_run(const struct options *o, const struct meter *meter, struct relay_result *ret, char *why);
