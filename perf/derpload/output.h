/* output.h - results as one JSON object or as a table for people.
 *
 * The same names mean the same thing in all commands; times and shares are numbers, what was not measured is null. The
 * members are described in perf/README.md.
 *
 * Threads: one. Memory: jansson's, for a moment. Errors: false when standard output does not take it.
 */
#pragma once

#include "perf/derpload/relay.h"
#include "perf/derpload/storm.h"
#include "perf/derpload/rtt.h"

must_use bool output_relay(const struct options *o, const struct relay_result *r);
must_use bool output_rtt(const struct options *o, const struct rtt_result *r);
must_use bool output_login(const struct options *o, const struct login_result *r);
must_use bool output_idle(const struct options *o, const struct idle_result *r);
