/* flow.h - one direction between two clients: numbers sent, numbers seen, and what follows from them.
 *
 * Packets of a flow are numbered from 0. Numbers that come are to rise: a gap counts as lost until the number comes
 * after all, which then counts as reordered; the same number twice, or one that was never sent, is a failure of the
 * relay. The last FLOW_MEMORY numbers are remembered one by one; one that is older cannot be told from a repeated one
 * and is a failure, too.
 *
 * Under way is what was sent and lies above `settled`: above all that has come, and above what was written off because
 * nothing came for long (flow_scan). Of a connection that keeps its order, a later packet proves that an earlier one is
 * lost.
 *
 * Measuring: flow_range_begin and _end mark the packets that are sent in the measured time; how many of those have come
 * is counted by itself, so that what is under way at either end of the time is neither lost nor counted twice.
 *
 * Threads: thread-local. Memory: a value.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"

enum { FLOW_MEMORY = 1024 };

struct flow {
    struct node_key from_key, to_key;
    uint32_t id;
    uint32_t from, to;  // clients, by their number
    uint32_t due;       // packets that may be sent now
    bool is_listed;     // in the list of its sender
    struct flow *next_due;
    uint64_t sent;
    uint64_t next;      // one above the highest number seen
    uint64_t settled;
    uint64_t verified;
    uint64_t reordered;
    uint64_t range_begin, range_end;  // numbers sent in the measured time
    uint64_t range_verified;          // and how many of them have come
    uint64_t verified_before;         // `verified` when that time began
    uint64_t scan_next, scan_sent;    // as of the last scan
    uint32_t scans_quiet;
    uint64_t seen[FLOW_MEMORY / 64];  // a bit for each of the last numbers
};

void flow_init(struct flow *f, uint32_t id, uint32_t from, uint32_t to);

enum flow_verdict {
    FLOW_GOOD,
    FLOW_REPEATED,  // or older than the memory
    FLOW_NEVER_SENT,
};
const char *flow_verdict_text(enum flow_verdict verdict);

/* A packet with this number has come and its contents are right. */
must_use enum flow_verdict flow_receive(struct flow *f, uint64_t sequence);

static inline uint64_t flow_under_way(const struct flow *f) { return f->sent - f->settled; }

/* To be called at even intervals: writes off what is under way when nothing was sent and nothing came in `quiet_max`
 * of them. Returns how much that is. */
uint64_t flow_scan(struct flow *f, uint32_t quiet_max);

void flow_range_start(struct flow *f);
void flow_range_stop(struct flow *f);

/* Of the packets sent in the measured time, those that have not come (yet). */
static inline uint64_t flow_range_sent(const struct flow *f) { return f->range_end - f->range_begin; }
static inline uint64_t flow_range_missing(const struct flow *f) { return flow_range_sent(f) - f->range_verified; }
