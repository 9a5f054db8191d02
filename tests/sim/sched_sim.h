/* sched_sim.h - one OS thread that plays many: virtual time, seeded choices, fibers, and the trace of a run.
 *
 * What it is: the parts of a relay (front, control, office, workers) each run as a fiber, a stack of its own that
 * gives up the processor only at a sim_point, or when it blocks. Which fiber goes on is the seed's choice, so one seed
 * is one interleaving, for ever. Points stand where threads meet: in the simulated lanes (lane_sim.c) and in the
 * simulated ring (ring_sim.c). Between two points a fiber is atomic: what happens there only the thread sanitizer sees.
 *
 * Time moves by a little with each turn, and jumps to the next event when nothing can run. A fiber that was stopped at
 * a point may be kept off for a while, as an operating system does: shortly at any point, and, where the run's faults
 * say so, for long now and then.
 *
 * The trace: everything worth telling goes through sim_note, which feeds a hash, and prints when the run is verbose.
 * Equal seeds have to give equal hashes: whatever breaks that (the clock, an address, memory of an earlier run) is a
 * bug.
 *
 * Some bugs need one fiber to stand still at one place while others do a lot. So many seeds have a focus: one kind of
 * point at which fibers are kept off often.
 *
 * Threads: one. Memory: stacks by malloc. Errors: sim_fail prints and aborts. The world is a global, because ring_open
 * has no parameter for it.
 */
#pragma once

#include "core/base.h"
#include "core/log.h"

struct fiber;

enum { SIM_FIBERS_MAX = 8 };  // front, control, office, workers

/* Where threads meet. */
enum sim_point_kind {
    POINT_PUSH,    // before mail is visible,
    POINT_PUSHED,  // and after
    POINT_TAKE,    // before mail is looked for in a lane,
    POINT_ARRIVE,  // or in a chain
    POINT_REAP,
    POINT_SLEEP,
    POINT_WAKE,
    POINT_COUNT
};

struct sim {
    uint64_t seed;
    uint64_t now_ns;
    uint64_t random;        // state of the generator
    uint64_t trace_hash;
    uint64_t turns;
    uint64_t notes;
    bool is_verbose;
    uint32_t point_one_in;  // a point yields once in so many times; 0: never
    enum sim_point_kind focus;  // points of this kind yield often, and for longer; POINT_COUNT: none
    uint64_t hold_ns_max;   // how long a fiber may be kept off after a yield
    uint64_t long_hold_next_ns;  // not before: the next long hold (faults_sim.h)
    struct fiber *fibers[SIM_FIBERS_MAX];
    uint32_t fibers_count;
    struct fiber *current;  // NULL: the scheduler itself
};

extern struct sim sim;

/* A new world: no fibers, time at one hour, generator and interleaving from the seed. */
void sim_init(uint64_t seed, bool is_verbose);

/* All fibers have ended (CHECK). */
void sim_fini(void);

/* ---- choices ---- */

uint64_t sim_random(void);
/* In [0, bound); bound > 0. */
uint64_t sim_below(uint64_t bound);
/* In [low, high]. */
uint64_t sim_between(uint64_t low, uint64_t high);
bool sim_one_in(uint64_t n);

/* ---- telling ---- */

/* `what` and both numbers go into the hash. */
void sim_note(const char *what, uint64_t a, uint64_t b);

/* The run has shown a bug: prints, aborts. */
noreturn_fn void sim_fail(const char *format, ...) printf_like(1, 2);

/* ---- fibers ---- */

/* `log_lane` is the lane of log lines while the fiber runs. */
struct fiber *sim_spawn(const char *name, void (*main)(void *arg), void *arg, struct log_lane *log_lane);
bool sim_fiber_is_done(const struct fiber *fiber);

/* Another fiber may run here. Nothing outside a fiber. */
void sim_point(enum sim_point_kind kind);

/* Others run before this one goes on, if they can. In a fiber only. */
void sim_yield(void);

/* Sleeps until `is_ready(arg)` or the time has come. In a fiber only. */
void sim_block(uint64_t until_ns, bool (*is_ready)(const void *arg), const void *arg);

/* ---- the scheduler's side ---- */

bool sim_fiber_can_run(const struct fiber *fiber);
/* It would go on, and is kept off. */
bool sim_fiber_is_held(const struct fiber *fiber);
/* It has gone to sleep, nothing that it waits for has happened, and its time has not come. */
bool sim_fiber_is_asleep(const struct fiber *fiber);
/* When it can run by the clock alone; TIME_NEVER when only an event helps. */
uint64_t sim_fiber_next_ns(const struct fiber *fiber);
/* Runs it until it gives up the processor. */
void sim_fiber_run(struct fiber *fiber);
