/* relay.h - `derpload relay`: packets through a relay in flow control, on a schedule, or as a flood.
 *
 * Modes:
 *   window   N packets under way per flow, sent anew in steps of N/4 as packets come. Spread over many connections:
 *            pairs * N under way in all, `gather` at a time to the next flow in a shuffled order
 *   rate     an open loop: packet i is due at start + i / rate whatever has become of others. Sent in batches of what
 *            fell due in half a millisecond; a packet that leaves more than 1 ms late is counted as behind
 *   flood    there is always a write under way on every sender
 *
 * Course: log in, warm up, measure, stop sending, wait for what is under way (until nothing has come for a
 * second), judge.
 * Each packet that comes is verified: contents.h, flow.h, the right client, the right source. One that is wrong
 * ends the run.
 * Lost are packets that were sent in the measured time and have not come at the end. Figures per packet are over those
 * that came in the measured time.
 *
 * Threads: one. Memory: all of it before the load. Errors: false and crowd->why.
 */
#pragma once

#include "perf/derpload/contents.h"
#include "perf/derpload/crowd.h"
#include "perf/derpload/meter.h"
#include "perf/derpload/plan.h"

struct relay_result {
    struct meter_reading begin, end;
    uint64_t verified;  // came in the measured time
    uint64_t sent, lost, reordered, behind;  // of those sent in it
    double min_share, max_share;  // of a flow's verified packets over the mean
    uint64_t rss_kib;
    uint8_t suite;  // enum aead_suite; 0: in the clear
    uint32_t connections;
    const char *pattern;
};

/* `trust` is for https. False: a sentence in `why` (CROWD_WHY_MAX bytes). */
must_use bool relay_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
                        struct relay_result *ret, char *why);
