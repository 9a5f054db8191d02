/* office.h - the one thread that may block: whatever has to wait for a disk, a terminal or a name server is done here.
 *
 * That is writing the log lines of all threads, looking after certificate files, resolving the names of
 * /bootstrap-dns, finding out where the UDP relay can be reached (relay/reach.h), and answering operators
 * (relay/admin.h). It is spoken to by lanes, so that nobody ever waits for it: a full lane of lines costs lines, which
 * are counted. The admin socket is the only one in its ring, so that lines do not wait for a slow operator; sockets of
 * look-ups are the resolver's.
 *
 * Threads: one; it is the last to be told to stop (MAIL_STOP from main, when the others have ended). Memory: that
 * of the admin socket, in an arena; the lanes are given.
 */
#pragma once

#include "core/limits.h"
#include "core/log.h"
#include "core/ring.h"
#include "relay/admin.h"
#include "relay/certs.h"
#include "relay/reach.h"
#include "relay/resolver.h"

enum { OFFICE_LANES_MAX = LIMIT_THREADS_MAX };

struct office {
    struct ring *ring;
    struct lane *from_main;
    struct lane *to_front;
    struct lane *from_front;
    struct ring *front_ring;
    struct lane *from_workers[LIMIT_WORKERS_MAX];
    uint32_t workers_count;
    struct admin *admin;
    struct certs *certs;      // NULL: no TLS
    uint64_t certs_due_ns;
    struct resolver *resolver;  // NULL: no names
    struct reach *reach;  // NULL: no UDP relay
    struct lane *to_udp;
    struct ring *udp_ring;
    struct lane *from_udp[LIMIT_WORKERS_MAX];
    uint32_t udp_workers_count;
    struct bootstrap_table *table;  // resolved, and not mailed yet
    bool is_stopped;
    struct log_lane *log_lanes[OFFICE_LANES_MAX];
    uint32_t log_lanes_count;
};

struct office_links {
    struct lane *from_main;
    struct lane *to_front;
    struct lane *from_front;
    struct ring *front_ring;
    struct lane *const *from_workers;
    uint32_t workers_count;
    struct admin *admin;  // initialised
    struct certs *certs;  // NULL: no TLS
    struct resolver *resolver;  // NULL: no names; outlives the office
    struct reach *reach;        // NULL: no UDP relay
    struct lane *to_udp;        // to UDP worker 0; NULL: none
    struct ring *udp_ring;      // its ring
    struct lane *const *from_udp;
    uint32_t udp_workers_count;
    struct log_lane *const *log_lanes;
    uint32_t log_lanes_count;
};

void office_init(struct office *o, struct ring *ring, const struct office_links *links, uint64_t now_ns);

/* After its thread has ended. */
void office_fini(struct office *o);

/* One pass; as worker_step. */
must_use uint64_t office_step(struct office *o, uint64_t now_ns);
must_use bool office_may_sleep(struct office *o);
