/* pacer.h - whether a busy thread does better to rest for a moment between two passes, so that each finds more to do.
 *
 * What it is: the interrupt moderation of a network card, for a loop. When clients write packet by packet, a thread
 * that looks again at once finds one packet, and pays a receive, an acknowledgement and a send for it. Sleeping 0.1 ms
 * lets several come, which then cost little more than one. That helps where packets of one connection come in quick
 * succession, and harms where the other side waits for an answer before it goes on. Nobody can tell beforehand which
 * it is, so it is tried out:
 *
 *            busy for PACER_LOOKS spans       not less done, for clearly less
 *      OFF ----------------------> TRIAL_ON ----------------------> ON ---every RECHECK_NS--> TRIAL_OFF
 *       ^  <------------------------'  else, and longer not again    |  <------------------------'  |
 *       '----------------------------------------------- idle again -'----- more is done without ---'
 *
 * Time goes in spans of PACER_SPAN_NS. "Done" are units of work per time (packets), "for" is processor time per unit;
 * the first span after a change does not count. A trial that fails is repeated after a pause that doubles each time.
 * A thread that is not busy never rests: latency is added only where packets queue anyway, and PACER_REST_NS at most.
 *
 * Figures behind it (perf/README.md, "Resting"): 10 pairs, one packet per write, one core: 5.5 us per packet without,
 * 3.1 with, and more packets.
 *
 * Threads: thread-local. Memory: none but the struct. Errors: none. Times are parameters.
 * Not here: the sleeping (ring_rest), the clocks (core/sys.h).
 */
#pragma once

#include "core/base.h"

enum {
    PACER_REST_NS = 100 * 1000,  // from the begin of one pass to the begin of the next, at least
    PACER_REST_UDP_NS = 200 * 1000,  // of datagrams: those of one pass for one destination leave as one run
    PACER_SPAN_NS = 5 * 1000 * 1000,
    PACER_LOOKS = 3,  // spans that are added up to one figure
    PACER_BUSY_PERMILLE = 700,  // of a processor: from here on resting is tried
    PACER_BUSY_UDP_PERMILLE = 500,
    PACER_IDLE_PERMILLE = 350,  // below it there is nothing to rest from
    PACER_RECHECK_NS = 500 * 1000 * 1000,
    PACER_PAUSE_MIN_NS = 100 * 1000 * 1000,  // after a trial that failed
};
#define PACER_PAUSE_MAX_NS (UINT64_C(4) * 1000 * 1000 * 1000)

enum pacer_state { PACER_OFF, PACER_TRIAL_ON, PACER_ON, PACER_TRIAL_OFF };

/* What was done in some time. */
struct pacer_figure {
    uint64_t wall_ns;
    uint64_t cpu_ns;
    uint64_t units;
};

/* All zero but busy_permille: off, and nothing is known. */
struct pacer {
    uint16_t busy_permille;  // frozen: from here on resting is tried
    uint8_t state;  // enum pacer_state
    bool is_settling;  // the first span of a state: what it brings belongs to the state before
    uint8_t looks;  // spans in `now`
    struct pacer_figure seen;  // totals at the last look; wall_ns is a clock
    struct pacer_figure now;  // this state's, so far
    struct pacer_figure before;  // the state's before a trial
    uint64_t again_ns;  // OFF: no trial before; ON: the next check
    uint64_t pause_ns;  // after the next failure
};

/* Time for a look? */
static inline bool pacer_is_due(const struct pacer *pacer, uint64_t now_ns) {
    return now_ns >= pacer->seen.wall_ns + PACER_SPAN_NS;
}

/* A look: `cpu_ns` and `units` are totals of the thread that only grow. */
void pacer_look(struct pacer *pacer, uint64_t now_ns, uint64_t cpu_ns, uint64_t units);

/* Whether passes are to be apart now. */
static inline bool pacer_rests(const struct pacer *pacer) {
    return pacer->state == PACER_TRIAL_ON || pacer->state == PACER_ON;
}
