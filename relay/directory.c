#include "relay/directory.h"

#include <sodium.h>

#include "core/check.h"

static uint64_t hash_key(const struct directory *directory, const struct node_key *key) {
    uint64_t hash;
    _Static_assert(crypto_shorthash_BYTES == sizeof(hash), "SipHash gives 64 bits");
    _Static_assert(crypto_shorthash_KEYBYTES == sizeof(directory->hash_secret), "SipHash takes 128 bits of key");
    crypto_shorthash((unsigned char *)&hash, key->bytes, KEY_SIZE, directory->hash_secret);
    return hash;
}

/* One bucket per key at most: chains of one or two. */
static size_t buckets_for(uint32_t keys_max) { return power_of_two_above(keys_max); }

/* Nodes that wait for readers are not free yet: a quarter more covers the logouts of a pass or two. */
static size_t nodes_for(uint32_t keys_max) { return (size_t)keys_max + keys_max / 4 + 64; }

size_t directory_footprint(uint32_t keys_max) {
    return arena_cost(buckets_for(keys_max) * sizeof(_Atomic(struct directory_node *))) +
           arena_cost(nodes_for(keys_max) * sizeof(struct directory_node));
}

void directory_init(struct directory *directory, struct arena *arena, uint32_t keys_max, struct epoch *epoch,
                    struct rng *rng) {
    size_t buckets_count = buckets_for(keys_max);
    *directory = (struct directory){.bucket_mask = buckets_count - 1, .epoch = epoch};
    rng_bytes(rng, directory->hash_secret, sizeof(directory->hash_secret));
    directory->buckets = arena_take(arena, buckets_count * sizeof(*directory->buckets));
    struct directory_node *nodes = arena_take(arena, nodes_for(keys_max) * sizeof(*nodes));
    for (size_t i = nodes_for(keys_max); i-- > 0;) {
        nodes[i].retired_next = directory->free_nodes;
        directory->free_nodes = &nodes[i];
    }
}

static _Atomic(struct directory_node *) *bucket_of(const struct directory *directory, const struct node_key *key) {
    return &directory->buckets[hash_key(directory, key) & directory->bucket_mask];
}

route directory_find(const struct directory *directory, const struct node_key *key) {
    const struct directory_node *node = atomic_load_explicit(bucket_of(directory, key), memory_order_acquire);
    while (node != NULL && !key_equal(&node->key, key)) {
        node = atomic_load_explicit(&node->next, memory_order_acquire);
    }
    return node ? atomic_load_explicit(&node->place, memory_order_relaxed) : ROUTE_NONE;
}

route directory_find_local(const struct directory *directory, const struct node_key *key) {
    return directory_find(directory, key);
}

const struct directory_node *directory_first(const struct directory *directory, uint64_t bucket) {
    CHECK(bucket <= directory->bucket_mask);
    return atomic_load_explicit(&directory->buckets[bucket], memory_order_acquire);
}

const struct directory_node *directory_next(const struct directory_node *node) {
    return atomic_load_explicit(&node->next, memory_order_acquire);
}

/* Retired nodes come back in the order they left, as soon as every reader has passed their stamp. */
static void reclaim(struct directory *directory) {
    struct directory_node *node;
    while ((node = directory->retired_head) != NULL && epoch_is_past(directory->epoch, node->retired_stamp)) {
        directory->retired_head = node->retired_next;
        if (directory->retired_head == NULL) directory->retired_tail = NULL;
        node->retired_next = directory->free_nodes;
        directory->free_nodes = node;
    }
}

static void retire(struct directory *directory, struct directory_node *node) {
    node->retired_stamp = epoch_stamp(directory->epoch);
    node->retired_next = NULL;
    if (directory->retired_tail) {
        directory->retired_tail->retired_next = node;
    } else {
        directory->retired_head = node;
    }
    directory->retired_tail = node;
}

static void bump_generation(struct directory *directory) {
    uint64_t generation = atomic_load_explicit(&directory->generation, memory_order_relaxed);
    atomic_store_explicit(&directory->generation, generation + 1, memory_order_release);
}

bool directory_has_room(struct directory *directory) {
    reclaim(directory);
    return directory->free_nodes != NULL;
}

static struct directory_node *take_node(struct directory *directory, const struct node_key *key, route where,
                                        const struct present *present) {
    struct directory_node *node = directory->free_nodes;
    CHECK(node != NULL);
    directory->free_nodes = node->retired_next;
    node->key = *key;
    node->present = present ? *present : (struct present){0};
    atomic_store_explicit(&node->place, where, memory_order_relaxed);
    return node;
}

void directory_publish(struct directory *directory, const struct node_key *key, route where,
                       const struct present *present) {
    CHECK(where != ROUTE_NONE && directory_find(directory, key) == ROUTE_NONE);
    struct directory_node *node = take_node(directory, key, where, present);
    _Atomic(struct directory_node *) *bucket = bucket_of(directory, key);
    struct directory_node *first = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(&node->next, first, memory_order_relaxed);
    atomic_store_explicit(bucket, node, memory_order_release);
    directory->count++;
    bump_generation(directory);
}

/* The link that leads to the key's node, which has to be there. Control's. */
static _Atomic(struct directory_node *) *link_to(const struct directory *directory, const struct node_key *key) {
    _Atomic(struct directory_node *) *link = bucket_of(directory, key);
    struct directory_node *node;
    while ((node = atomic_load_explicit(link, memory_order_relaxed)) != NULL && !key_equal(&node->key, key)) {
        link = &node->next;
    }
    CHECK(node != NULL);
    return link;
}

/* A reader that stands on the old node goes on from there as if nothing had happened. */
void directory_describe(struct directory *directory, const struct node_key *key, const struct present *present) {
    _Atomic(struct directory_node *) *link = link_to(directory, key);
    struct directory_node *old = atomic_load_explicit(link, memory_order_relaxed);
    route where = atomic_load_explicit(&old->place, memory_order_relaxed);
    struct directory_node *node = take_node(directory, key, where, present);
    struct directory_node *next = atomic_load_explicit(&old->next, memory_order_relaxed);
    atomic_store_explicit(&node->next, next, memory_order_relaxed);
    atomic_store_explicit(link, node, memory_order_release);
    retire(directory, old);
}

const struct present *directory_description(const struct directory *directory, const struct node_key *key) {
    return &atomic_load_explicit(link_to(directory, key), memory_order_relaxed)->present;
}

void directory_unpublish(struct directory *directory, const struct node_key *key) {
    _Atomic(struct directory_node *) *link = link_to(directory, key);
    struct directory_node *node = atomic_load_explicit(link, memory_order_relaxed);
    struct directory_node *next = atomic_load_explicit(&node->next, memory_order_relaxed);
    atomic_store_explicit(link, next, memory_order_release);
    directory->count--;
    bump_generation(directory);
    retire(directory, node);
}
