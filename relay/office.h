/* office.h - the one thread that may block: whatever has to wait for a disk, a terminal or a name server is done here.
 *
 * Today that is writing the log lines of all threads. It is spoken to by lanes only, so that nobody ever waits for it:
 * a full lane of lines costs lines, which are counted.
 *
 * Threads: one; it is the last to be told to stop (MAIL_STOP from main, when the others have ended). Memory: none of its
 * own; the lanes are given.
 */
#pragma once

#include "core/limits.h"
#include "core/log.h"
#include "core/ring.h"

enum { OFFICE_LANES_MAX = LIMIT_WORKERS_MAX + 4 };

struct office {
    struct ring *ring;
    struct lane *from_main;
    bool is_stopped;
    struct log_lane *log_lanes[OFFICE_LANES_MAX];
    uint32_t log_lanes_count;
};

void office_init(struct office *o, struct ring *ring, struct lane *from_main, struct log_lane *const *log_lanes,
                 uint32_t log_lanes_count);

/* One pass; as worker_step. */
must_use uint64_t office_step(struct office *o, uint64_t now_ns);
must_use bool office_may_sleep(struct office *o);
