/* senders.h - who has received packets from whom, so that a departure can be told: the PeerGone memory of one worker.
 *
 * The reference tells a client "peer gone" when a key from which the client has received packets leaves the region.
 * This is that memory: a set of pairs {source key, local connection}, kept on the worker of the receiving side.
 *
 *   sources, hashed by key:   [A] -> links of A: (A,x) (A,y) ...      on departure of A: tell x and y, forget A
 *   pairs, hashed:            (A,x) found in O(1) when A's next packet to x is sealed
 *   holders:                  x -> links of x: (A,x) (B,x) ...        when x closes: forget its pairs
 *
 * The race with departures is closed by order: the worker records the pair first and reads the directory afterwards; if
 * the source is not there any more it is told at once (relay/conn.c). Control un-publishes before it mails GONE.
 *
 * Bounded: when no pair is free one is taken from a holder that has many: the one with most among a few drawn at
 * random, so that nobody can use up what all share. If those have no more than the new one's holder, the new one is not
 * kept. Either is counted in `forgotten`, and that receiver will not hear of that departure, as if it had been told
 * already (clients also notice by silence).
 * Threads: thread-local to a worker. Memory: worker's arena. Nothing is told twice: telling forgets.
 */
#pragma once

#include "core/arena.h"
#include "core/base.h"
#include "core/rng.h"
#include "proto/key.h"

struct sender_link {
    struct sender_source *source;
    struct sender_holder *holder;
    struct sender_link *hash_next;
    struct sender_link *source_next, *source_prev;
    struct sender_link *holder_next, *holder_prev;
};

struct sender_source {
    struct node_key key;
    struct sender_source *hash_next;
    struct sender_link *links;
};

/* Embedded in a connection. */
struct sender_holder {
    struct sender_link *links;
    uint32_t links_count;
    struct node_key last;  // the source seen last: repeats cost one comparison
    bool has_last;
    uint32_t salt;  // makes the pair's hash differ between holders
};

struct senders {
    struct sender_source **source_buckets;
    struct sender_link **link_buckets;
    size_t bucket_mask;
    struct sender_source *free_sources;
    struct sender_link *free_links;
    struct sender_link *all_links;
    uint32_t links_max;
    uint64_t draw;  // state of a small generator, begun with a secret
    uint8_t hash_secret[16];
    uint32_t salt_next;
    uint64_t forgotten;
};

size_t senders_footprint(uint32_t links_max);
void senders_init(struct senders *senders, struct arena *arena, uint32_t links_max, struct rng *rng);

void sender_holder_init(struct senders *senders, struct sender_holder *holder);

/* `holder` receives a packet from `source`. True when the pair is new: then the caller checks the directory. */
bool senders_note(struct senders *senders, struct sender_holder *holder, const struct node_key *source);

/* Forgets one pair; fine when it is not there. */
void senders_forget(struct senders *senders, struct sender_holder *holder, const struct node_key *source);

/* Takes one holder that has to be told that `source` is gone, and forgets the pair; NULL when there are no more. */
must_use struct sender_holder *senders_take_holder(struct senders *senders, const struct node_key *source);

/* The holder closes: all its pairs are forgotten. */
void sender_holder_fini(struct senders *senders, struct sender_holder *holder);
