/* probe.h - a client that tries a DERP server out: what `ringrelay probe URL` does.
 *
 * Two clients with fresh keys log in, one by the normal upgrade and one by a fast start; packets of several sizes go
 * both ways and are compared byte for byte; a ping is timed; STUN is asked if wanted. It works against every DERP
 * server, not only ours.
 *
 * Threads: one, blocking, with a deadline for each step: a tool, not part of the relay. Errors: a sentence in `why`
 * that names the step.
 */
#pragma once

#include "core/base.h"
#include "core/rng.h"
#include "proto/key.h"
#include "proto/tls_trust.h"
#include "relay/stun_probe.h"

#define PROBE_WHY_MAX 512

struct probe_options {
    const char *url;      // http(s)://host[:port][/path]; path /derp when there is none
    struct tls_trust *trust;  // for https
    uint64_t timeout_ns;  // per step
    uint16_t stun_port;   // of the same host; 0: STUN is not asked
};

struct probe_report {
    struct node_key server;
    char address[64];           // the server's, as connected
    bool has_metacert;          // TLS: clients learn the server's key from its certificate chain
    uint64_t login_normal_ns;   // from connect to ServerInfo
    uint64_t login_fast_ns;
    uint64_t ping_ns;           // median of several
    uint64_t packet_ns;         // one way through the relay, median of several
    uint32_t packets_count;     // compared
    uint64_t bytes_count;
    struct stun_report stun;
};

must_use bool probe_run(const struct probe_options *options, struct rng *rng, struct probe_report *report, char *why);
