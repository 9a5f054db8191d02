/* rtt.h - `derpload rtt` and `derpload echo`: round trips at a low rate, on a schedule.
 *
 * rtt: client A sends a packet to client B through the relay, B sends it back at once, A takes the time. echo: a thread
 * of this process at the other end of a TCP connection sends back what comes, so that the result is what the tool and
 * the machine add by themselves.
 * The time counts from the moment at which the schedule wanted the packet sent, not from when it was sent: a stall of
 * the relay or of this process is seen by all packets that fell into it (no coordinated omission). For the last 50 us
 * before that moment the loop spins instead of sleeping, so that a slow timer is not taken for a slow relay.
 *
 * Threads: one, and the echo's. Memory: before the load. Errors: false and a sentence in `why` (CROWD_WHY_MAX bytes).
 */
#pragma once

#include "perf/derpload/crowd.h"
#include "perf/load/histogram.h"
#include "perf/load/meter.h"
#include "perf/derpload/options.h"

struct rtt_result {
    struct meter_reading begin, end;
    struct histogram rtt_ns;
    uint64_t sent, verified, lost, reordered;
    uint64_t late;  // sent more than 1 ms after their time: the tool's own fault
    uint64_t rss_kib;
    uint8_t suite;
};

must_use bool rtt_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
                      struct rtt_result *ret, char *why);
