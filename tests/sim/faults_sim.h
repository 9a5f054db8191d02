/* faults_sim.h - what goes wrong in a run, by its seed, and the tally of what all runs together have exercised.
 *
 * Three styles. Gentle: nobody leaves and nothing fails, so nothing may be lost. Rough: clients come and go in all
 * ways. Stress: besides, readers stall, clients vanish, memory and places are short, threads are kept off the
 * processor, senders flood. A fault is also an excuse: what the relay may do to an innocent client follows from the
 * faults of the run (client_sim.c, oracle_sim.c), and from nothing else.
 *
 * The tally exists because a simulator that silently exercises nothing is worthless: `sim --seeds` prints it.
 * Threads: one. Memory: none. The world is global, as in sched_sim.h.
 */
#pragma once

#include "core/base.h"
#include "core/limits.h"
#include "relay/rate.h"
#include "relay/reason.h"

enum run_style { STYLE_GENTLE, STYLE_ROUGH, STYLE_STRESS };

struct faults {
    enum run_style style;
    bool is_on;                    // from the first packet on; before, nothing goes wrong
    uint64_t long_hold_ns_max;     // a thread is kept off the processor for up to so long; 0: never
    uint32_t accept_error_one_in;  // accepting finds no file descriptor once in so many times; 0: never
    uint64_t write_timeout_ns;
    size_t packet_memory_bytes;    // per worker
    uint32_t connections_max;
    uint32_t parcels;
    struct rate_limit rate;        // of each client
    bool disables_fighters;
    bool is_jam;                   // nothing is short but memory, and that for all
    bool is_memory_little;
    bool are_places_few;
    bool are_parcels_few;
};

extern struct faults faults;

/* The style and the shortages of this run. */
void faults_choose(void);

/* A little earlier than the write timeout the relay may find that it has come: it looks at the clock before it works,
 * and may be kept off in between. */
uint64_t faults_stuck_ns_min(void);

/* ---- the tally ---- */

#define TALLIES(X)                                        \
    X(GENTLE, "gentle runs")                              \
    X(ROUGH, "rough runs")                                \
    X(STRESS, "stress runs")                              \
    X(ONE_WORKER, "runs with one worker")                 \
    X(TWO_WORKERS, "with two")                            \
    X(THREE_WORKERS, "with three")                        \
    X(SPREAD, "placed by spreading")                      \
    X(STOPPED_EARLY, "stopped in the middle")             \
    X(CLIENTS, "clients")                                 \
    X(RECONNECTS, "reconnects")                           \
    X(SENT, "packets sent")                               \
    X(DELIVERED, "packets delivered")                     \
    X(CROSSED, "deliveries that crossed workers")         \
    X(JUDGED_LOST, "losses judged")                       \
    X(PEER_GONES, "PeerGones heard")                      \
    X(NOT_HERES, "NotHeres heard")                        \
    X(PONGS, "pongs heard")                               \
    X(LONG_HOLDS, "threads held off for long")            \
    X(ACCEPT_ERRORS, "failed accepts")                    \
    X(STALLS, "readers stalled for a while")              \
    X(NEVER_READ, "readers stopped for ever")             \
    X(SLOW, "slow readers")                               \
    X(VANISHED, "clients vanished")                       \
    X(LINGERED, "clients lingered at the door")           \
    X(HALF_FRAMES, "frames begun and held back")          \
    X(FLOODS, "floods")                                   \
    X(HOPS, "keys gone and come again at once")           \
    X(RATE_CHANGES, "changes of the rate limit")          \
    X(RESETS, "clients reset")                            \
    X(MISBEHAVED, "frames of wrong length")               \
    X(MESH_FRAMES, "mesh frames without permission")      \
    X(WATCHES, "requests to watch")                       \
    X(VIEWS, "arrivals and departures watched")           \
    X(FORWARDED, "packets forwarded by mesh peers")       \
    X(CLOSE_PEERS, "requests to close somebody")          \
    X(RATED, "runs with a rate limit")                    \
    X(FIGHTERS, "runs that disable fighters")             \
    X(JAMS, "jams of memory")                             \
    X(FEW_PLACES, "runs with few places")                 \
    X(FEW_PARCELS, "runs with few parcels")               \
    X(LITTLE_MEMORY, "runs with little memory")           \
    X(READS_BRAKED, "reads braked")                       \
    X(RATE_WAITS, "waits for the rate")                   \
    X(COLLECTED, "frames collected")                      \
    X(LANE_RETRIES, "passes of control that had to wait") \
    X(GONES_LOST, "PeerGones lost or forgotten")

#define TALLY_ENUM(name, text) TALLY_##name,
enum tally_entry { TALLIES(TALLY_ENUM) TALLY_COUNT };

struct tally {
    uint64_t counts[TALLY_COUNT];
    uint64_t drops[DROP_REASON_COUNT];
    uint64_t closes[CLOSE_REASON_COUNT];
    uint64_t refusals[REFUSE_REASON_COUNT];
};

extern struct tally tally;

static inline void tally_add(enum tally_entry entry, uint64_t n) { tally.counts[entry] += n; }

void tally_print(void);
