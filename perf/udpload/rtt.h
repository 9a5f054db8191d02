/* rtt.h - `udpload rtt`: round trips at a low rate, on a schedule.
 *
 * Client A sends a packet to client B through the relay, B sends it back at once, A takes the time. It counts from the
 * moment at which the schedule wanted the packet sent, not from when it was sent: a stall of the relay or of this
 * process is seen by all packets that fell into it (no coordinated omission). For the last 50 us before that moment the
 * loop spins instead of sleeping, so that a slow timer is not taken for a slow relay.
 *
 * Threads: one. Memory: before the load. Errors: false and a sentence in `why` (SWARM_WHY_MAX bytes).
 */
#pragma once

#include "perf/load/histogram.h"
#include "perf/udpload/ground.h"

struct rtt_result {
    struct meter_reading begin, end;
    struct histogram rtt_ns;
    uint64_t sent, verified, lost, reordered;
    uint64_t late;  // left more than 1 ms after their moment
    uint64_t rss_kib;
    struct net_address relay;
};

must_use bool rtt_run(const struct options *o, const struct meter *meter, struct rtt_result *ret, char *why);
