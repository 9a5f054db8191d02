/* course.h - the course of a load: what may be sent when, what is measured, and the judgement.
 *
 * What it is: the part of a load generator that does not know how packets travel. The owner has flows (flow.h), sends
 * what it is granted, and tells what has come:
 *
 *     course_begin(&c, &options, now_ns);
 *     while (!course_is_done(&c)) {
 *         course_step(&c, now_ns);                   // grants by options.grant
 *         ...send: course_leaves for each packet...
 *         ...wait at most course_wait_ns; course_arrived for each packet...
 *     }
 *
 * Modes:
 *   window   N packets under way per flow, sent anew in steps as packets come; or, spread, so many under way in all,
 *            `gather` at a time to the next flow in the plan's order
 *   rate     an open loop: packet i is due at start + i / rate whatever has become of others. Granted in batches of
 *            what fell due in half a millisecond, `gather` at a time; what leaves more than 1 ms late counts as behind
 *   flood    flows are granted one packet each at the start, and that they are always due is the owner's affair
 *
 * Phases: warm up, measure, drain (nothing is sent; until nothing has come for a second), done.
 * Lost are packets that were sent in the measured time and have not come at the end. Figures per packet are over those
 * that came in the measured time.
 *
 * Threads: one. Memory: a value; flows and their order are the owner's. Errors: none.
 */
#pragma once

#include "perf/load/flow.h"
#include "perf/load/meter.h"

enum course_mode { COURSE_WINDOW, COURSE_RATE, COURSE_FLOOD };

/* "window" ... */
const char *course_mode_name(enum course_mode mode);

struct course_options {
    enum course_mode mode;
    uint64_t window;       // per flow
    uint64_t step;         // so many of a window must have come back before more is granted
    uint64_t tokens;       // window mode, if not 0: spread, so many under way in all
    uint64_t gather;       // spread and rate: packets of a flow in a row
    uint64_t rate;
    double warmup, seconds;
    struct flow *flows;
    uint32_t flows_count;
    const uint32_t *order;  // in which flows take turns
    const uint32_t *place;  // of a flow in that order
    const struct meter *meter;
    void (*grant)(void *owner, struct flow *f, uint32_t count);
    void *owner;
};

struct course_result {
    struct meter_reading begin, end;
    uint64_t verified;                       // came in the measured time
    uint64_t sent, lost, reordered, behind;  // of those sent in it
    double min_share, max_share;             // of a flow's verified packets over the mean
    uint64_t rss_kib;
};

enum course_phase { COURSE_WARMUP, COURSE_MEASURE, COURSE_DRAIN, COURSE_DONE };

struct course {
    struct course_options options;
    struct course_result result;
    enum course_phase phase;
    uint64_t phase_end_ns;
    uint64_t next_scan_ns;
    uint64_t verified;   // since the beginning
    uint64_t tokens;     // spread: packets that may be put under way
    uint32_t cursor;     // whose turn it is: spread, rate
    uint64_t start_ns, next_tick_ns;
    uint64_t scheduled;  // packets handed to flows
    uint64_t behind;
    double period_ns;    // between packets
    uint64_t heard_ns;   // drain: when something came last
    uint64_t heard_verified;
    uint32_t quiet_turns;
};

void course_begin(struct course *c, const struct course_options *options, uint64_t now_ns);

/* Once per turn of the loop. */
void course_step(struct course *c, uint64_t now_ns);

/* Until something is due. */
uint64_t course_wait_ns(const struct course *c, uint64_t now_ns);

static inline bool course_is_sending(const struct course *c) { return c->phase < COURSE_DRAIN; }
static inline bool course_is_done(const struct course *c) { return c->phase == COURSE_DONE; }

/* The next packet of a flow leaves. Returns its number. */
uint64_t course_leaves(struct course *c, struct flow *f, uint64_t now_ns);

/* A packet has come whose contents and ends are right. */
must_use enum flow_verdict course_arrived(struct course *c, struct flow *f, uint64_t sequence);
