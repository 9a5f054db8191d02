/* relay.h - the house put together: threads' states, lanes between them, memory, in one object without threads.
 *
 * relay/main.c gives each part a thread and a real ring; the simulator calls the same step functions one after the
 * other on virtual time. Neither knows how the parts are wired: that is here, and only here.
 *
 * Order of life: relay_init, then each part's steps, relay_stop, until all parts but the office say is_stopped,
 * relay_stop_office, until it says so too, then relay_fini.
 *
 * Memory: one arena per thread, sized by the rows of relay_budget, sealed when everything is made.
 */
#pragma once

#include "core/arena.h"
#include "core/epoch.h"
#include "core/lane.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/rng.h"
#include "relay/admin.h"
#include "relay/allocator.h"
#include "relay/control.h"
#include "relay/front.h"
#include "relay/office.h"
#include "relay/reach.h"
#include "relay/stun_server.h"
#include "relay/udp.h"
#include "relay/udp_listen.h"
#include "relay/worker.h"

/* Thread numbers, also in log lanes: front, control, office, STUN, then the workers, then the UDP workers. */
enum relay_thread { THREAD_FRONT, THREAD_CONTROL, THREAD_OFFICE, THREAD_STUN, THREAD_WORKERS };

enum { RELAY_THREADS_MAX = THREAD_WORKERS + 2 * LIMIT_WORKERS_MAX };

_Static_assert((int)RELAY_THREADS_MAX == (int)LIMIT_THREADS_MAX, "said twice");

struct relay_options {
    struct limits limits;
    struct front_options front;
    struct resolver *resolver;  // NULL: no names for /bootstrap-dns; the relay's from relay_init on
    struct certs *certs;  // NULL: no TLS; the office's from relay_init on
    struct stun_options stun;
    const struct udp_sockets *udp;  // of limits.udp_workers_count workers; NULL: there are none
    struct admin_options admin;
    struct admin_addresses addresses;  // for the operator
    unsigned ring_features;
    uint64_t write_timeout_ns;
    enum placement placement;
    bool has_no_rtt;
    bool is_paced;  // workers may rest (core/pacer.h)
    enum duplicates_policy duplicates_policy;
    struct reach_options reach;  // of the UDP relay
    struct rate_limit rate;  // of each client at the start; also in `front`, for the pages
    uint64_t rng_seed;  // for simulation; 0: the system's generator
};

struct relay {
    struct relay_options options;
    uint32_t threads_count;
    struct ring *rings[RELAY_THREADS_MAX];
    struct ring *main_ring;      // only to wake control
    struct arena arenas[RELAY_THREADS_MAX];
    struct arena shared;         // lanes, metrics, log lanes, directory
    struct arena endpoints;      // of the UDP relay
    struct rng rngs[RELAY_THREADS_MAX];
    struct metrics *metrics[RELAY_THREADS_MAX];
    struct log_lane *log_lanes[RELAY_THREADS_MAX];
    struct lane *main_to_control;
    struct lane *main_to_office;
    struct lane *main_to_stun;
    struct lane *main_to_udp[LIMIT_WORKERS_MAX];
    struct lane *office_to_udp;  // to the first
    struct lane *udp_to_office[LIMIT_WORKERS_MAX];
    struct lane *main_to_front;
    struct lane *office_to_front;
    struct lane *office_to_control;
    struct lane *front_to_office;
    struct lane *front_to_control;
    struct lane *control_to_front;
    struct lane *control_to_worker[LIMIT_WORKERS_MAX];
    struct lane *worker_to_control[LIMIT_WORKERS_MAX];
    struct lane *worker_to_front[LIMIT_WORKERS_MAX];
    struct lane *worker_to_office[LIMIT_WORKERS_MAX];
    struct crossing_station *stations;  // of the workers
    uint8_t source_secret[16];          // theirs
    struct epoch epoch;
    struct directory directory;
    struct rng endpoints_rng;     // the allocator's
    struct allocator *allocator;  // NULL: no UDP relay
    struct reach *reach;          // likewise
    struct front front;
    struct control control;
    struct office office;
    struct stun_server stun;
    struct admin *admin;
    struct worker *workers[LIMIT_WORKERS_MAX];
    struct udp_locals *udp_locals;
    struct udp *udp_workers[LIMIT_WORKERS_MAX];
};

/* ---- the budget ---- */

struct budget_row {
    const char *part;       // "worker", "front", ...
    const char *what;
    uint64_t count;
    uint64_t each_bytes;
    uint64_t bytes;         // of all
    const char *derivation;
};

enum { BUDGET_ROWS_MAX = 32 };

/* Where memory goes for these limits. Returns the number of rows. */
size_t relay_budget(const struct limits *limits, struct budget_row rows[BUDGET_ROWS_MAX]);

/* The rows and their sum, to standard output. */
void relay_budget_print(const struct limits *limits);

/* ---- the parts: what a thread, or the simulator, runs ---- */

/* One part's body: `step` until *is_stopped, waiting in between while `may_sleep`. */
struct relay_part {
    char name[16];
    void *state;
    uint64_t (*step)(void *state, uint64_t now_ns);
    bool (*may_sleep)(void *state);
    const bool *is_stopped;
    struct ring *ring;
    struct log_lane *log_lane;
    struct stat_counter *busy_ns;  // whoever runs the part sets the thread's processor time, now and then
    const struct stat_counter *packets;  // a worker that may rest: what it has received; else NULL (core/pacer.h)
    struct stat_counter *rests;
    uint32_t rest_ns;  // how far apart its passes are then
    uint16_t rest_busy_permille;  // from which business on
};

/* ---- the house ---- */

#define RELAY_WHY_MAX 512

/* Makes everything; no thread runs yet. False with a sentence in `why`; relay_fini is to be called in either case, and
 * then the identity and the list of the node's requesters are still the caller's.
 * `relay` is zeroed by the caller and too large for a stack. */
must_use bool relay_init(struct relay *relay, const struct relay_options *options, uint64_t now_ns, char *why);

/* The part with this thread number, idx < threads_count. */
struct relay_part relay_part_at(struct relay *relay, uint32_t thread_idx);

/* From here on each client, also one that is connected, may send so much. By the thread that owns main_ring. False when
 * that cannot be mailed now: control has not taken the last ones. */
must_use bool relay_set_rate(struct relay *relay, const struct rate_limit *rate);

/* From here on the owners of these keys may ask the node of the UDP relay for endpoints; the list is the relay's then.
 * There is a node (options.front.node.is_on). Same thread. False when that cannot be mailed now: it is the caller's. */
must_use bool relay_set_allowed(struct relay *relay, struct allowlist *allowed);
/* From here on these tokens get endpoints by HTTPS. They are the relay's, unless it says false: as relay_set_rate. */
must_use bool relay_set_tokens(struct relay *relay, struct tokens *tokens);

/* Mails STOP to control, which passes it on to front and workers, and to STUN. By the thread that owns main_ring. */
void relay_stop(struct relay *relay);

/* When those have ended: the office writes what is left of the log, and ends. */
void relay_stop_office(struct relay *relay);

/* After all threads have ended. */
void relay_fini(struct relay *relay);
