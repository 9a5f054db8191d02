/* peer.h - a logged-in key on its worker: its connections and the packets that wait for it.
 *
 * A peer has a place, {worker, slot, generation}, which control gives out (relay/registrar.h) and the directory
 * publishes. All connections of one key are this peer's. Packets go to the active one, which is the one that wrote
 * last; the others stay open, are read and get their own control frames (docs/derp.md, "Duplicate connections").
 *
 *    (free) --first ADOPT--> used, 1..n connections --last connection ends--> used, none --RELEASE--> (free)
 *                                      ^------------------ADOPT-----------------'
 *
 * Threads: thread-local to a worker. Memory: an array of the worker's, indexed by slot.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"
#include "relay/directory.h"
#include "relay/queue.h"

struct conn;
struct worker;

struct peer {
    struct node_key key;
    route where;  // ROUTE_NONE: this place is free
    struct queue queue;
    struct conn *active;  // NULL: no connections
    struct conn *conns;   // through conn->peer_next
    uint32_t conns_count;
};

/* The peer at `where`, or NULL when that place has another generation or is free. */
struct peer *peer_at(struct worker *w, route where);

/* The place is taken by `key`; or it is already (another connection of the key). */
struct peer *peer_open(struct worker *w, route where, const struct node_key *key);

/* Control has given the place up: no connections are left. */
void peer_release(struct worker *w, struct peer *peer);

/* A connection joins as the newest: it becomes the active one. */
void peer_join(struct worker *w, struct peer *peer, struct conn *conn);

/* A connection leaves. The most recently active of the rest takes over; with none left, what waits is dropped. */
void peer_leave(struct worker *w, struct peer *peer, struct conn *conn);

/* `conn` has written: it is the active one from here on. */
void peer_promote(struct worker *w, struct peer *peer, struct conn *conn);

/* Memory is short: the oldest of this peer's packets goes. False when none waits. */
bool peer_drop_oldest(struct worker *w, struct peer *peer);

/* Queues a packet, which is the peer's from here on; the oldest leave when the bound is reached. */
void peer_enqueue(struct worker *w, struct peer *peer, struct packet *packet);
