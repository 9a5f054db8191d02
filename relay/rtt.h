/* rtt.h - samples of the round-trip times of a worker's connections, for derp_tcp_rtt.
 *
 * Each connection is asked about once in ten seconds, as in derper. The kernel is asked by a system call per
 * connection, so they are spread: a few in a pass, and a pass each so often that all get their turn. A worker without
 * connections does not wake for it. A WebSocket is not asked about: as in derper, which does not look for the TCP
 * connection below it, it counts as `non-tcp`, once, when it starts.
 *
 * Threads: the worker's. Memory: in struct worker. Errors: a connection that the kernel knows nothing of is counted as
 * such.
 */
#pragma once

#include "core/base.h"

struct conn;
struct worker;

struct rtt_round {
    bool is_off;
    uint32_t next_slot;  // of the worker's connections
    uint32_t asked;      // in this round
    uint64_t start_ns;
    uint64_t due_ns;     // of the next few; 0: no round
};

/* A connection starts. */
void rtt_note_start(const struct worker *w, const struct conn *conn);

/* One turn, if it is time. Returns when to come again; TIME_NEVER while there are no connections. */
must_use uint64_t rtt_step(struct worker *w);
