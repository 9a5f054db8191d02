/* worker.h - the thread that relays: live connections only, its own ring, its own memory.
 *
 * One pass (worker_step): collect completions and handle them, take mail, fire timers, flush what became dirty. It
 * never waits, never allocates, never logs per event, never touches a file. The caller decides how to wait.
 *
 * Packets for peers of other workers leave by relay/crossing.h, and others' arrive by it.
 *
 * Threads: one per worker; worker_init runs on the boot thread before. Everything in struct worker is thread-local
 * except what is marked. Memory: one arena of worker_footprint bytes.
 */
#pragma once

#include "core/arena.h"
#include "core/epoch.h"
#include "core/lane.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/ring.h"
#include "core/rng.h"
#include "core/wheel.h"
#include "relay/crossing.h"
#include "relay/directory.h"
#include "relay/duplicates.h"
#include "relay/mail.h"
#include "relay/metrics.h"
#include "relay/packet.h"
#include "relay/parcel.h"
#include "relay/peer.h"
#include "relay/presence.h"
#include "relay/rate.h"
#include "relay/rtt.h"
#include "relay/senders.h"
#include "relay/watcher.h"

/* What a worker needs to know of the rest of the house; all of it outlives the worker. */
struct worker_links {
    struct lane *from_control;  // lane: we consume
    struct lane *to_control;    // lane: we produce
    struct lane *to_front;      // lane: we produce
    struct lane *to_office;     // lane: we produce
    struct ring *control_ring;
    struct ring *front_ring;
    struct ring *office_ring;
    struct parcel *parcels;     // frozen base of the front's parcels
    const struct directory *directory;
    const struct presence *presence;
    struct epoch *epoch;
    unsigned epoch_idx;
    struct crossing_station *stations;  // of all workers: relay/crossing.h
    struct ring *const *worker_rings;
    uint32_t workers_count;
};

struct worker_options {
    uint32_t idx;
    uint32_t peers_max;
    uint32_t conns_max;
    size_t packet_memory_bytes;
    uint64_t write_timeout_ns;  // without progress; 0: none
    enum duplicates_policy duplicates_policy;
    struct rate_limit rate;
    uint8_t source_secret[16];
    struct node_key server_key;
    bool has_no_rtt;  // no samples of round-trip times
};

enum { WORKER_GONE_MAX = 64 };  // departures handled at once

struct worker {
    uint32_t idx;
    uint64_t now_ns;
    uint64_t pass;              // number of this pass
    uint8_t source_secret[16];  // the same on all workers; hashes sources to flows: clients choose their keys
    struct rate_limit rate;     // what each client may send
    struct metrics *metrics;    // published
    struct ring *ring;
    struct rng *rng;
    struct wheel wheel;
    struct packet_pool packets;
    size_t chunk_bytes;      // in output chunks
    size_t chunk_bytes_max;  // what they may have, and nobody else gets
    size_t partial_bytes;    // where incomplete frames are collected: given up when packets need the room
    struct pool conns;
    struct peer *peers;
    uint32_t peers_count;
    struct senders senders;
    struct crossing crossing;
    struct node_key gone[WORKER_GONE_MAX];  // have left the region: to be told behind what has crossed before
    uint32_t gone_count;
    struct conn *to_start;  // GO has come; started after the mail, so that starting may itself ask for mail
    struct conn *dirty, *dirty_last;  // first in, first out: who found no chunk is tried first
    struct conn *holder_oldest;  // connections with an incomplete frame or record: the first to go when memory is short
    struct conn *holder_newest;
    struct conn *current;  // whose bytes are handled or sealed now: must not be ended by a need for memory
    struct dump *dump;  // under way, or NULL
    struct watcher *watchers;
    uint32_t watchers_count;
    uint64_t presence_seen;  // end of the log of presence when watchers were last made to look
    struct node_key server_key;  // our own
    const struct directory *directory;
    struct worker_links links;
    uint64_t write_timeout_ns;
    enum duplicates_policy duplicates_policy;
    struct rtt_round rtt;
    uint64_t rtt_due_ns;
    bool has_mail_for_control;
    bool has_mail_for_front;
    bool is_stopped;
    uint8_t scratch[LIMIT_RECORD_SIZE_MAX];  // records are opened here when there is no slot for them
    struct ring_event events[LIMIT_EVENTS_PER_PASS];
};

size_t worker_footprint(const struct worker_options *options);

void worker_init(struct worker *w, struct arena *arena, const struct worker_options *options,
                 const struct worker_links *links, struct ring *ring, struct metrics *metrics, struct rng *rng,
                 uint64_t now_ns);

/* After its thread has ended: wipes the keys of its connections. */
void worker_fini(struct worker *w);

/* One pass. Returns the time until which there is nothing to do unless something happens (<= now_ns: call again). */
must_use uint64_t worker_step(struct worker *w, uint64_t now_ns);

/* Between ring_doze and ring_wait: true when it may sleep, and then readers' epochs no longer wait for it. */
must_use bool worker_may_sleep(struct worker *w);

/* ---- for conn, peer and forward ---- */

/* A packet for a frame of `size` bytes, from what is not reserved for chunks. When there is none, the connections that
 * have held an incomplete frame or record for longest give it up. NULL when that does not help. */
must_use struct packet *worker_take_packet(struct worker *w, size_t size);

/* Memory for an output chunk of `size` bytes, also from what is reserved for chunks; NULL when there is none, or chunks
 * have their share: sending then waits for sends under way, while packets still find room. Large chunks, and those for
 * slow receivers, have a smaller share, so that they do not keep all others waiting. */
must_use struct packet *worker_take_chunk(struct worker *w, size_t size, bool is_slow);
void worker_give_chunk(struct worker *w, struct packet *chunk);

/* A packet is done with: back to the pool, or on its way home to the worker it is of. */
void worker_give(struct worker *w, struct packet *packet);

/* Counts a relayed packet as dropped and gives it back. */
void worker_drop(struct worker *w, struct packet *packet, enum drop_reason reason);

/* Less than an eighth of the memory is left for queues: who holds some for long has to give it up. */
bool worker_is_short(const struct worker *w);

/* Bytes that queues may still take: what is free and not reserved for chunks, and what incomplete frames hold. */
size_t worker_free_bytes(const struct worker *w);

/* Memory for the incomplete record of a live connection, which must not end because others have used up theirs: also
 * from what is reserved for chunks, down to half an eighth of all. */
must_use struct packet *worker_take_raw(struct worker *w, size_t size);

/* `conn` holds something incomplete, or no longer does; called after each change. */
void worker_note_holder(struct worker *w, struct conn *conn);

/* Which flows the packets of `key` are of (backlog_flow_of): the same on all workers. */
uint64_t worker_source_hash(const struct worker *w, const struct node_key *key);

/* Takes waiting mail now, in the middle of a pass: a route may be published while its ADOPT still waits in the lane. */
void worker_take_mail(struct worker *w);

void worker_mail_control(struct worker *w, const struct mail *mail);
void worker_mail_front(struct worker *w, const struct mail *mail);
