/* front.h - the thread at the door: accepts, HTTP, DERP login, and all pages. Afterwards the connection is a worker's.
 *
 * A socket at the door is a session:
 *
 *   accept --> HANDSHAKE (TLS only, 30 s)
 *                |
 *                v
 *               HEAD ----complete----> /derp? --no--> RESPONDING --keep-alive--> HEAD
 *               30 s                    |                `--close
 *                                       `--yes--> LOGIN: ServerKey out, ClientInfo in (10 s)
 *                                                   `--box opens, JSON fits--> HANDOVER: packed, mailed to control
 *
 * Everything here is unauthenticated and bounded: sessions in number (the oldest unfinished one goes for a new one),
 * each phase in time, each buffer in size, large logins in number. The thread runs at a lower priority than workers,
 * and those ask for the shortest slices (sys_thread_set_slice), so that they run at once while it shakes hands: a storm
 * of logins cannot slow live packets. It reads single-shot, so that nothing is in flight at the
 * hand-over.
 *
 * Threads: one; front_init runs on the boot thread before. Memory: one arena of front_footprint bytes; JSON parsing
 * allocates and frees within a call. Errors: a refuse_reason, counted; the other side sees a close or an HTTP status.
 */
#pragma once

#include "core/arena.h"
#include "core/lane.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/ring.h"
#include "core/rng.h"
#include "core/sys.h"
#include "core/wheel.h"
#include "proto/http.h"
#include "proto/key.h"
#include "relay/accept_limit.h"
#include "relay/allocator.h"
#include "relay/bootstrap.h"
#include "relay/debug_access.h"
#include "relay/front_traffic.h"
#include "relay/mail.h"
#include "relay/metrics.h"
#include "relay/node.h"
#include "relay/parcel.h"
#include "relay/tokens.h"

enum { FRONT_LISTENERS_MAX = 4 };

struct front_links {
    struct lane *to_control;
    struct lane *from_main;
    struct lane *from_control;
    struct lane *from_workers[LIMIT_WORKERS_MAX];
    struct lane *from_office;
    struct lane *to_office;
    uint32_t workers_count;
    uint32_t udp_workers_count;
    struct ring *control_ring;
    struct ring *office_ring;
    const struct metrics *metrics_blocks[LIMIT_THREADS_MAX];  // of every thread, for the pages
    size_t metrics_count;
    struct allocator *allocator;  // of the UDP relay, whose endpoints the front ends in time; NULL: there is none
};

/* What a listener is for. */
enum front_door {
    DOOR_MAIN,    // DERP and all pages; TLS when there is an identity
    DOOR_PORT80,  // plain HTTP beside TLS: redirects, /generate_204, /debug/
    DOOR_NODE,    // the UDP relay's own node (relay/node.h): in the clear, and DERP
};

/* Accepted, and no place yet. */
struct front_waiting {
    int fd;
    enum front_door door;
};

struct front_options {
    struct node_private private_key;
    struct node_key public_key;
    struct mesh_key mesh_key;  // who shows it is a mesh peer; zero: there are none
    int listen_fds[FRONT_LISTENERS_MAX];
    uint8_t doors[FRONT_LISTENERS_MAX];  // enum front_door
    unsigned listeners_count;
    struct tls_identity *identity;  // NULL: plain HTTP; the front takes over the reference
    uint32_t rekey_after;           // records per key, for tests; 0: the record layer's own number
    uint64_t start_wall_s;
    bool has_rate_config;    // then the pages tell the limit
    struct rate_limit rate;
    const char *home;                 // "" or NULL: our own page; "blank"; or where to redirect to
    const char *hostname;             // for /debug/
    const char *machine;              // for /debug/
    const char *disallowed_app_names; // separated by commas; NULL or "": none
    struct debug_access debug_access;
    struct tokens *tokens;            // who gets endpoints of the UDP relay by HTTPS; NULL: nobody. The front's
    struct allocator_limits relay_limits;  // of each requester
    double accept_per_s;              // with TLS only; 0 with a burst of 0: no limit
    double accept_burst;
    struct node_options node;         // of the UDP relay, which there is then; the front's from here on
    bool is_derp_off;
    bool is_dev;
    uint64_t memory_bytes;  // sum of the budget, for the pages
    struct limits limits;
};

struct front_listener {
    struct ring_socket socket;
    struct wheel_timer resume_timer;  // after running out of file descriptors
};

struct front {
    uint64_t now_ns;
    struct ring *ring;
    struct rng *rng;
    struct metrics *metrics;
    struct front_links links;
    struct front_options options;
    struct wheel wheel;
    struct pool sessions;
    struct pool large_buffers;
    struct parcel_box parcels;
    struct traffic traffic;
    struct session *oldest;  // list of unfinished sessions by age
    struct session *newest;
    uint32_t open_count;     // in that list
    struct front_listener listeners[FRONT_LISTENERS_MAX];
    struct accept_limit accept_limit;
    struct bootstrap_table *bootstrap_published;  // the office's last, or NULL
    struct bootstrap_table *bootstrap_hidden;
    struct bootstrap_queries bootstrap_queries;
    uint64_t conn_id_last;
    struct log_limit accept_log;
    struct front_waiting waiting[LIMIT_ACCEPTS_WAITING];  // first in, first out; places come as sessions get closed
    uint32_t waiting_first;
    uint32_t waiting_count;
    uint64_t start_ns;
    uint64_t endpoints_due_ns;
    struct node *node;  // NULL: there is none
    bool has_mail_for_control;
    bool is_listening;
    bool is_stopped;
    struct http_request request;  // scratch: 4 KiB, used within one event
    struct ring_event events[LIMIT_EVENTS_PER_PASS];
};

size_t front_footprint(const struct limits *limits);

void front_init(struct front *f, struct arena *arena, const struct front_options *options,
                const struct front_links *links, struct ring *ring, struct metrics *metrics, struct rng *rng,
                uint64_t now_ns);

/* After its thread has ended: frees what sessions hold outside the arena, and wipes all secrets. */
void front_fini(struct front *f);

/* One pass; as worker_step. */
must_use uint64_t front_step(struct front *f, uint64_t now_ns);
must_use bool front_may_sleep(struct front *f);
