/* peer.h - a logged-in key on its worker: its connections and the packets that wait for it.
 *
 * A peer has a place, {worker, slot, generation}, which control gives out (relay/registrar.h) and the directory
 * publishes. All connections of one key are this peer's. Packets go to the active one (relay/duplicates.h); the others
 * stay open, are read and get their own control frames (docs/derp.md, "Duplicate connections").
 *
 *    (free) --first ADOPT--> used, 1..n connections --last connection ends--> used, none --RELEASE--> (free)
 *                                      ^------------------ADOPT-----------------'
 *
 * Threads: thread-local to a worker. Memory: an array of the worker's, indexed by slot.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"
#include "relay/backlog.h"
#include "relay/directory.h"
#include "relay/duplicates.h"

struct conn;
struct worker;

struct peer {
    struct node_key key;
    route where;  // ROUTE_NONE: this place is free
    struct backlog backlog;
    struct duplicates conns;
};

/* The peer at `where`, or NULL when that place has another generation or is free. */
struct peer *peer_at(struct worker *w, route where);

/* The place is taken by `key`; or it is already (another connection of the key). */
struct peer *peer_open(struct worker *w, route where, const struct node_key *key);

/* Control has given the place up: no connections are left. */
void peer_release(struct worker *w, struct peer *peer);

/* A connection joins as the newest: it becomes the active one. */
void peer_join(struct worker *w, struct peer *peer, struct conn *conn);

/* A connection leaves; what waits goes to another one. With none left, or none active, it is dropped. conn->r.peer
 * stays: the place is the key's until control has heard of the connection's end. */
void peer_leave(struct worker *w, struct peer *peer, struct conn *conn);

/* `conn` has sent a frame, which may change who is the active one. */
void peer_note_activity(struct worker *w, struct peer *peer, struct conn *conn);

/* The connection of this peer with that number, or NULL. */
struct conn *peer_conn(const struct peer *peer, uint64_t conn_id);

/* The connection that gets the packets; NULL when there is none, or all are disabled. */
struct conn *peer_active(const struct peer *peer);

/* A packet of this cost is too large for what is left: only small ones get the rest. */
bool peer_is_too_large(size_t cost, size_t left);

/* Memory is short: the oldest packet of whoever has most waiting here goes. False when none waits. */
bool peer_drop_oldest(struct worker *w, struct peer *peer);

/* Packets that have waited for LIMIT_QUEUE_AGE_S are dropped. */
void peer_drop_aged(struct worker *w, struct peer *peer);

/* Queues a packet, which is the peer's from here on; the oldest leave when the bound is reached. Its frame is a
 * RecvPacket, its memory any worker's. */
void peer_enqueue(struct worker *w, struct peer *peer, struct packet *packet);
