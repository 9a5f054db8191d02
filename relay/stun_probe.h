/* stun_probe.h - asks a STUN server as a client of Tailscale does: what `ringrelay probe --stun` adds.
 *
 * Several questions one after the other; a lost one is asked again.
 *
 * Threads: one, blocking, with a deadline: a tool, not part of the relay. Errors: false and a sentence in `why`.
 */
#pragma once

#include "core/rng.h"
#include "core/sys.h"

#define STUN_PROBE_WHY_MAX 512

struct stun_report {
    struct net_address seen;  // us, from there
    uint64_t answer_ns;       // median
};

must_use bool stun_probe_run(const char *host, uint16_t port, uint64_t timeout_ns, struct rng *rng,
                             struct stun_report *report, char *why);
