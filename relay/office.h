/* office.h - the one thread that may block: whatever has to wait for a disk, a terminal or a name server is done here.
 *
 * Today that is writing the log lines of all threads, looking after certificate files, and resolving the names of
 * /bootstrap-dns. It is spoken to by lanes only, so that nobody ever waits for it: a full lane of lines costs lines,
 * which are counted.
 *
 * Threads: one; it is the last to be told to stop (MAIL_STOP from main, when the others have ended). Memory: none of
 * its own; the lanes are given.
 */
#pragma once

#include "core/limits.h"
#include "core/log.h"
#include "core/ring.h"
#include "relay/certs.h"
#include "relay/resolver.h"

enum { OFFICE_LANES_MAX = LIMIT_WORKERS_MAX + 4 };

struct office {
    struct ring *ring;
    struct lane *from_main;
    struct lane *to_front;
    struct ring *front_ring;
    struct certs *certs;      // NULL: no TLS
    uint64_t certs_due_ns;
    struct resolver *resolver;  // NULL: no names
    struct bootstrap_table *table;  // resolved, and not mailed yet
    bool is_stopped;
    struct log_lane *log_lanes[OFFICE_LANES_MAX];
    uint32_t log_lanes_count;
};

struct office_links {
    struct lane *from_main;
    struct lane *to_front;
    struct ring *front_ring;
    struct certs *certs;  // NULL: no TLS
    struct resolver *resolver;  // NULL: no names; outlives the office
    struct log_lane *const *log_lanes;
    uint32_t log_lanes_count;
};

void office_init(struct office *o, struct ring *ring, const struct office_links *links, uint64_t now_ns);

/* After its thread has ended. */
void office_fini(struct office *o);

/* One pass; as worker_step. */
must_use uint64_t office_step(struct office *o, uint64_t now_ns);
must_use bool office_may_sleep(struct office *o);
