/* storm.h - `udpload bind` and `udpload idle`: endpoints by the thousand.
 *
 * bind: a number of endpoints is always being bound; each is a request, two handshakes, and one packet that has to come
 * through. Its time counts from the request to that packet. They are all left to the relay. One that is refused or
 * never bound is counted; only if the first one is, or all, the run fails.
 * idle: binds so many and keeps them. Memory is read before the first one and a second after the last. Then nothing is
 * done for a while, or the first `active` of them relay packets.
 *
 * Threads: one. Memory: before the load. Errors: false and a sentence in `why` (SWARM_WHY_MAX bytes).
 */
#pragma once

#include "perf/load/histogram.h"
#include "perf/udpload/traffic.h"

struct bind_result {
    struct meter_reading begin, end;
    struct histogram bind_ns;
    uint64_t binds, failed;
    uint64_t rss_kib;
    struct net_address relay;
    char why[SWARM_WHY_MAX];  // the last one failed
};

must_use bool bind_run(const struct options *o, const struct meter *meter, struct bind_result *ret, char *why);

struct idle_result {
    struct meter_reading begin, end;  // of the time in which nothing is done
    struct traffic_result traffic;    // of the active ones
    uint64_t rss_before_kib, rss_after_kib;
    double bind_s;
    struct net_address relay;
};

must_use bool idle_run(const struct options *o, const struct meter *meter, struct idle_result *ret, char *why);
