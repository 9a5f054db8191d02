/* crossing.h - packets on their way between workers: handed over in the sender's memory, which then comes home.
 *
 *   worker 1: packet of its pool --crossing_send--> batch --flush--> [arrived of 2] --> worker 2: queue, seal
 *   worker 1: pool <--crossing_collect-- [returned of 1] <--flush-- batch <--crossing_send_home-- done with it
 *
 * A packet is never copied: it stays in the memory of the worker that received it, and belongs to the worker that has
 * it. Where it goes and where it came from stand in its headroom while it is on its way (struct crossing_head).
 * Both ways are chains (core/chain.h), which can not be full: what bounds them is the memory of the packets. How much a
 * worker may have under way to another (given and not yet taken) is bounded here, because a worker that does not keep
 * up must not draw in all memory of the others: crossing_load, by which relay/forward.c first stops reading those who
 * send most, then drops their packets, and last everybody's (lane_full). What the other worker has taken and queued is
 * bounded by its queues, which look at the free memory of the packet's owner: crossing_free_bytes.
 *
 * Order: what one worker hands to another arrives in the order of crossing_send.
 * Waking: the receiver is woken for arrivals. Nobody is woken for returns: a worker takes them when it runs, and asks
 * for a pass within CROSSING_COLLECT_NS while packets of its own are away.
 *
 * Sharing class: stations are shared: their chains as core/chain.h says, their figures published with one writer each.
 * struct crossing is thread-local to its worker.
 * Why the figures are enough: both are only hints about memory. `taken_bytes` lags behind, so a sender believes more to
 * be under way than is; `free_bytes` is of the end of the owner's last pass, so queues elsewhere may grow past a
 * share by what was taken since, and the pool is still what says no.
 * Memory: stations in the shared arena. Errors: none.
 */
#pragma once

#include "core/arena.h"
#include "core/chain.h"
#include "core/limits.h"
#include "core/ring.h"
#include "core/stat.h"
#include "relay/directory.h"
#include "relay/packet.h"

enum {
    CROSSING_BATCH_MAX = 32,  // packets after which a batch goes at once: the receiver may begin while we go on
    CROSSING_COLLECT_NS = 100 * 1000 * 1000,
};

/* In the headroom of a packet on its way. */
struct crossing_head {
    struct chain_link link;
    route where;          // of the destination, as the sender found it
    struct node_key dst;  // to look it up once more when that route is stale
};

_Static_assert(sizeof(struct crossing_head) <= PACKET_HEADROOM, "it lies in the headroom");
_Static_assert(sizeof(struct packet) % _Alignof(struct crossing_head) == 0, "it lies behind struct packet");

static inline struct crossing_head *crossing_head_of(struct packet *packet) { return (void *)(packet + 1); }
static inline struct packet *crossing_packet_of(struct chain_link *link) {
    return (struct packet *)(void *)container_of(link, struct crossing_head, link) - 1;
}

/* One per worker, read and written by all. */
struct crossing_station {
    struct chain arrived;   // for its peers
    struct chain returned;  // its own packets
    cache_aligned struct stat_counter free_bytes;  // writer: its worker
    struct stat_counter taken_bytes[LIMIT_WORKERS_MAX];  // ever, by sender; writer: its worker
};

/* What one worker knows. */
struct crossing {
    uint32_t self;
    uint32_t workers_count;
    size_t pool_bytes;                  // of our own pool: what may be under way is a share of it
    struct crossing_station *stations;  // of all workers
    struct ring *ring;                  // our own
    struct ring *const *rings;          // of all workers
    uint64_t pending_out;               // bits of workers with a batch
    uint64_t pending_home;
    struct chain_batch out[LIMIT_WORKERS_MAX];
    uint32_t out_count[LIMIT_WORKERS_MAX];
    struct chain_batch home[LIMIT_WORKERS_MAX];
    uint64_t given_bytes[LIMIT_WORKERS_MAX];  // ever
    uint64_t away;                            // packets of our own that are not back
};

static inline size_t crossing_stations_footprint(uint32_t workers_count) {
    return arena_cost(workers_count * sizeof(struct crossing_station));
}

/* `stations` and `rings` are workers_count long and outlive it; `pool_bytes` is the size of a worker's pool. */
void crossing_init(struct crossing *crossing, uint32_t self, uint32_t workers_count, size_t pool_bytes,
                   struct crossing_station *stations, struct ring *ring, struct ring *const *rings);

/* ---- to another worker ---- */

/* How much is under way to one worker, in shares of a pool. Reading stops long before dropping begins, because what one
 * pass brings can be several times its bytes when packets are small. */
enum crossing_load {
    CROSSING_LIGHT,  // up to a sixteenth
    CROSSING_CROWDED,  // up to an eighth: who sends much should not be read on for a while
    CROSSING_FULL,  // up to a quarter: only packets of those who do not
    CROSSING_SHUT,  // none
};

enum crossing_load crossing_load(const struct crossing *crossing, uint32_t worker);

/* Hands `packet`, of our own pool and with its frame complete, to the worker of the route. */
void crossing_send(struct crossing *crossing, struct packet *packet, route where, const struct node_key *dst);

/* ---- from other workers ---- */

/* All that has arrived, oldest first: go on with crossing_next before the packet is touched. NULL when nothing has. */
must_use struct packet *crossing_take(struct crossing *crossing);
struct packet *crossing_next(struct packet *packet);

/* A packet of another worker's is done with. */
void crossing_send_home(struct crossing *crossing, struct packet *packet);

/* Packet memory that the worker `owner` has left, as of its last pass. */
size_t crossing_free_bytes(const struct crossing *crossing, uint32_t owner);

/* ---- once per pass ---- */

/* Takes back our own packets that have come home. */
void crossing_collect(struct crossing *crossing, struct packet_pool *pool);

/* What was sent leaves now, and the receivers are woken. */
void crossing_flush_out(struct crossing *crossing);

/* What goes home leaves now. */
void crossing_flush_home(struct crossing *crossing);

/* Tells the others how much of our packet memory queues may still take: behind crossing_collect, before anything is
 * sent in the pass (what was true before a sleep would make others drop), and at the end. */
void crossing_publish_free(struct crossing *crossing, size_t free_bytes);

/* Between ring_doze and ring_wait. */
bool crossing_has_mail(struct crossing *crossing);
