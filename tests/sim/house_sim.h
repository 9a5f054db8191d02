/* house_sim.h - a whole relay on fibers: what relay/main.c does with threads, done with sched_sim.h.
 *
 * One to three workers, by the seed. Each part's fiber is the loop of main.c's thread, word for word: step, ring_doze,
 * may_sleep, ring_wait. The points in lanes, chains and rings interleave the parts; see sched_sim.h.
 * Threads: one. Memory: malloc and the relay's own arenas. Errors: sim_fail.
 */
#pragma once

#include "relay/relay.h"

struct house_part {
    struct house *house;
    struct relay_part part;
    struct fiber *fiber;
};

struct house {
    struct relay relay;
    struct house_part parts[RELAY_THREADS_MAX];
    int listen_fd;
    uint64_t presence_cursor;
};

/* Opens a relay with a key, options and shortages from the world's seed; its fibers have not run yet. */
struct house *house_open(void);

/* All parts have ended (CHECK). */
void house_close(struct house *house);

/* Ends: STOP to control, then, once the others have ended, to the office. */
bool house_is_stopped_but_office(const struct house *house);
bool house_is_stopped(const struct house *house);

/* No worker has gone to sleep over a connection that waits for its start, or packets that it has not passed on. After
 * every turn. */
void house_check_workers_asleep(const struct house *house);

/* Nobody sleeps over mail. Whenever nobody can go on. */
void house_check_asleep(struct house *house);

/* Everybody sleeps and nothing is under way: nobody may have left mail unread, and no connection something to send. */
void house_check_quiet(struct house *house);

/* No connection is left: all memory is back in its pools, all books are empty. */
void house_check_empty(struct house *house);

/* received = sent + dropped (+ what waits, which is nothing when quiet), in packets and in bytes. */
void house_check_sums(const struct house *house);

/* The reasons that the relay has counted go into the tally. */
void house_tally(const struct house *house);

/* Sum over all threads of the counter at `offset` in struct metrics. */
uint64_t house_sum(const struct house *house, size_t offset);
#define HOUSE_SUM(house, field) house_sum(house, offsetof(struct metrics, field))

/* Packets dropped for a reason, of both kinds, and for all reasons. */
uint64_t house_dropped(const struct house *house, enum drop_reason reason);
uint64_t house_dropped_all(const struct house *house);
