/* directory.h - which worker serves a key: written by control, read by every loop thread without waiting.
 *
 * The directory names peers, not connections: key -> route {worker, slot, generation}. All connections of a key live on
 * that one peer, so who of them is active never shows here.
 *
 * Model: a hash table of chains with a fixed number of nodes. The hash is keyed (SipHash with a boot secret), because
 * clients choose their keys. `generation` counts removals and additions, so that a reader may keep a small cache of
 * answers and knows when to ask again.
 *
 * Sharing class: published. Writer: the control thread only. Readers: threads registered with the epoch; a reader calls
 * directory_find between epoch_enter and epoch_leave and keeps no pointer, only the route by value.
 * Why it is correct: a node is filled before a release store links it, its key never changes while linked, its route is
 * one atomic word, and an unlinked node keeps its `next` until every reader has passed (core/epoch.h).
 * Memory: from control's arena at init. Errors: full is false at insertion; control bounds the number of keys before.
 */
#pragma once

#include <stdatomic.h>

#include "core/arena.h"
#include "core/epoch.h"
#include "core/rng.h"
#include "proto/key.h"
#include "relay/present.h"

/* A peer's place. 0 is no route; generations start at 1. */
typedef uint64_t route;

#define ROUTE_NONE ((route)0)

/* worker < 256, slot < 2^24, generation a 32-bit counter that skips 0. */
static inline route route_make(uint32_t worker, uint32_t slot, uint32_t generation) {
    return (route)generation << 32 | (route)(slot & 0xffffff) << 8 | (worker & 0xff);
}
static inline uint32_t route_worker(route r) { return (uint32_t)(r & 0xff); }
static inline uint32_t route_slot(route r) { return (uint32_t)(r >> 8) & 0xffffff; }
static inline uint32_t route_generation(route r) { return (uint32_t)(r >> 32); }

struct directory_node {
    struct node_key key;
    _Atomic uint64_t place;                   // a route
    _Atomic(struct directory_node *) next;
    struct directory_node *retired_next;      // control's
    uint64_t retired_stamp;
    struct present present;                   // of the key's newest connection: not on a look-up's cache line
};

struct directory {
    /* frozen */
    _Atomic(struct directory_node *) *buckets;
    uint64_t bucket_mask;
    uint8_t hash_secret[16];
    struct epoch *epoch;
    /* published */
    cache_aligned _Atomic uint64_t generation;
    /* control's */
    cache_aligned struct directory_node *free_nodes;
    struct directory_node *retired_head;
    struct directory_node *retired_tail;
    uint32_t count;
};

size_t directory_footprint(uint32_t keys_max);
void directory_init(struct directory *directory, struct arena *arena, uint32_t keys_max, struct epoch *epoch,
                    struct rng *rng);

/* ---- readers ---- */

/* The route of `key`, or ROUTE_NONE. */
route directory_find(const struct directory *directory, const struct node_key *key);

/* As directory_find, but of a key that is connected to this relay itself: what a mesh peer forwards may go there and
 * nowhere else. Today these are all keys; it is a function of its own so that it stays true when the directory also
 * knows by which other relay a key is reached. */
route directory_find_local(const struct directory *directory, const struct node_key *key);

/* A walk over all keys, bucket by bucket: a key that is there from before the walk to its end is seen, once or (when it
 * is described anew meanwhile) twice. A bucket has to be walked to its end before epoch_leave; the next one may come
 * much later. Keys of other relays are not shown. NULL: no more. */
static inline uint64_t directory_buckets(const struct directory *directory) { return directory->bucket_mask + 1; }
const struct directory_node *directory_first(const struct directory *directory, uint64_t bucket);
const struct directory_node *directory_next(const struct directory_node *node);

/* Answers of directory_find stay true while this stays the same. */
static inline uint64_t directory_generation(const struct directory *directory) {
    return atomic_load_explicit(&directory->generation, memory_order_acquire);
}

/* ---- control ---- */

/* There is a node for directory_publish; false when every one is taken or waits for readers: ask again later. */
must_use bool directory_has_room(struct directory *directory);

/* Publishes a key that is not there (CHECK). There has to be room (CHECK). `present`: NULL is all zero. */
void directory_publish(struct directory *directory, const struct node_key *key, route where,
                       const struct present *present);

/* A key that is there (CHECK) is described anew, by replacing its node; its route stays. There has to be room (CHECK).
 */
void directory_describe(struct directory *directory, const struct node_key *key, const struct present *present);

/* What was last said of a key that is there (CHECK). Of use until the next change. */
const struct present *directory_description(const struct directory *directory, const struct node_key *key);

/* Removes a key that is there (CHECK). When it returns no reader that starts anew finds it. */
void directory_unpublish(struct directory *directory, const struct node_key *key);
