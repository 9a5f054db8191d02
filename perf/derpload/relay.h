/* relay.h - `derpload relay`: packets through a relay in flow control, on a schedule, or as a flood.
 *
 * Modes, phases and what counts as lost are those of perf/load/course.h. A flood always has a write under way on every
 * sender; with --connections the traffic is spread over all of them.
 * Each packet that comes is verified: contents.h, flow.h, the right client, the right source. One that is wrong
 * ends the run.
 *
 * Threads: one. Memory: all of it before the load. Errors: false and crowd->why.
 */
#pragma once

#include "perf/derpload/crowd.h"
#include "perf/derpload/plan.h"
#include "perf/load/course.h"

struct relay_result {
    struct course_result course;
    uint8_t suite;  // enum aead_suite; 0: in the clear
    uint32_t connections;
    const char *pattern;
};

/* `trust` is for https. False: a sentence in `why` (CROWD_WHY_MAX bytes). */
must_use bool relay_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
                        struct relay_result *ret, char *why);
