/* progress.h - a line per second on standard error, for whoever watches. Silent when that is no terminal, unless asked.
 *
 * Threads: one. Memory: a value.
 */
#pragma once

#include "perf/load/meter.h"

struct progress {
    bool is_on;
    const char *tool;  // that writes: "derpload"
    const char *what;  // is counted: "packets"
    const struct meter *meter;
    uint64_t next_ns;
    uint64_t begin_ns;
    uint64_t count;  // at the last line
    struct meter_reading reading;
};

void progress_begin(struct progress *p, bool is_wanted, const char *tool, const char *what, const struct meter *meter,
                    uint64_t now_ns);

/* `count` of what is counted so far. */
void progress_step(struct progress *p, uint64_t now_ns, uint64_t count);
