/* output.h - results as one JSON object or as a table for people. The members are described in perf/README.md.
 *
 * Threads: one. Memory: jansson's, for a moment. Errors: false when standard output does not take it.
 */
#pragma once

#include "perf/udpload/rtt.h"
#include "perf/udpload/storm.h"

must_use bool output_relay(const struct options *o, const struct relay_result *r);
must_use bool output_rtt(const struct options *o, const struct rtt_result *r);
must_use bool output_bind(const struct options *o, const struct bind_result *r);
must_use bool output_idle(const struct options *o, const struct idle_result *r);
