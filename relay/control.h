/* control.h - the thread that decides who is where: the directory's only writer, registrar, presence.
 *
 * It takes LOGIN and LEFT mail, one at a time, and for each does everything that follows from it in the order that
 * makes the concurrency safe (relay/mail.h). It never blocks and touches no file. It takes an input only while every
 * lane out has room for what the input may cause, so that no mail is ever lost: back-pressure instead.
 *
 * Threads: one; control_init runs on the boot thread before. Memory: one arena of control_footprint bytes.
 */
#pragma once

#include "core/arena.h"
#include "core/epoch.h"
#include "core/lane.h"
#include "core/limits.h"
#include "core/ring.h"
#include "relay/directory.h"
#include "relay/mail.h"
#include "relay/metrics.h"
#include "relay/presence.h"
#include "relay/registrar.h"

struct control_links {
    struct lane *from_main;
    struct lane *from_front;
    struct lane *from_office;
    struct lane *to_front;
    struct lane *from_workers[LIMIT_WORKERS_MAX];
    struct lane *to_workers[LIMIT_WORKERS_MAX];
    struct ring *front_ring;
    struct ring *worker_rings[LIMIT_WORKERS_MAX];
    struct ring *office_ring;
    const struct metrics *worker_metrics[LIMIT_WORKERS_MAX];  // to see how busy they are
    uint32_t workers_count;
};

struct control {
    struct control_links links;
    struct ring *ring;
    struct metrics *metrics;
    struct directory *directory;
    struct registrar registrar;
    struct presence *presence;
    uint64_t load_due_ns;    // when the workers' load is looked at next
    uint64_t load_seen_ns;   // and was looked at last
    uint64_t busy_seen_ns[LIMIT_WORKERS_MAX];
    uint32_t watchers_count[LIMIT_WORKERS_MAX];  // connections of each worker that have begun to watch
    bool has_news;    // the log has grown, or somebody has begun to watch: to be made known
    bool is_waiting;  // for room or readers: mail is left in the lanes on purpose
    bool is_stopped;
};

size_t control_footprint(const struct registrar_options *places);

/* `directory` is initialised by the caller, in the same arena. */
void control_init(struct control *c, struct arena *arena, const struct registrar_options *places,
                  struct directory *directory, const struct control_links *links, struct ring *ring,
                  struct metrics *metrics);

/* One pass; as worker_step. */
must_use uint64_t control_step(struct control *c, uint64_t now_ns);
must_use bool control_may_sleep(struct control *c);
