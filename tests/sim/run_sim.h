/* run_sim.h - one run: a house, its clients, and who of them goes on next; rest, and what must be true then.
 *
 * Each turn runs one of the fibers and clients that can run, by the seed's choice. When nobody can, the clock goes on
 * to the next event. At rest nothing is under way any more, and everybody waits for nothing but far timers: then the
 * relay and the oracle's books have to be in order (run_until_rest).
 *
 * Threads: one. Memory: too large for a stack. Errors: sim_fail.
 */
#pragma once

#include "tests/sim/client_sim.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/sched_sim.h"

struct run {
    struct house *house;
    struct oracle oracle;
    struct client clients[ORACLE_CLIENTS];
    uint32_t clients_count;
};

void run_open(struct run *run);

/* The relay has stopped (CHECK). */
void run_close(struct run *run);

/* A turn, or the clock goes on. False at rest. */
bool run_go_on(struct run *run);

/* To rest, without looking at anything. */
void run_settle(struct run *run);

/* To rest, and everything has to be in order: in the house, between clients, in the counts. */
void run_until_rest(struct run *run);

/* At rest, the clock goes on to `until_ns`, past all timers on the way. */
void run_until(struct run *run, uint64_t until_ns);

/* The relay stops, from wherever it is. */
void run_stop(struct run *run);

struct client *run_add_client(struct run *run, const struct client_plan *plan);
