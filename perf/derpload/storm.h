/* storm.h - `derpload login` and `derpload idle`: connections by the thousand.
 *
 * login: a number of logins is always under way; each is TCP, TLS, request, box, ServerInfo, and a close. Its time
 * counts from connect to ServerInfo. Every client keeps its key, as clients that come back do. A login that fails is
 * counted; only if the first one does, or all, the run fails.
 * idle: logs in so many clients and keeps them, doing nothing. Memory is read before the first connection and a second
 * after the last.
 *
 * Threads: one. Memory: before the load, and 71 KB for each handshake under way. Errors: false and a sentence in `why`
 * (CROWD_WHY_MAX bytes).
 */
#pragma once

#include "perf/derpload/crowd.h"
#include "perf/load/histogram.h"
#include "perf/load/meter.h"
#include "perf/derpload/options.h"

struct login_result {
    struct meter_reading begin, end;
    struct histogram login_ns;
    uint64_t logins, failed;
    uint64_t rss_kib;
    uint8_t suite;
    char why[CROWD_WHY_MAX];  // the last one failed
};

must_use bool login_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
                        struct login_result *ret, char *why);

struct idle_result {
    struct meter_reading begin, end;  // of the time in which nothing is done
    uint64_t connections;
    uint64_t rss_before_kib, rss_after_kib;
    double login_s;
    uint8_t suite;
};

must_use bool idle_run(const struct options *o, const struct crowd_options *base, const struct meter *meter,
                       struct idle_result *ret, char *why);
