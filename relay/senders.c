#include "relay/senders.h"

#include <sodium.h>

#include "core/check.h"

enum { DRAWS = 8 };

static size_t buckets_for(uint32_t links_max) { return power_of_two_above(links_max); }

size_t senders_footprint(uint32_t links_max) {
    return arena_cost(buckets_for(links_max) * sizeof(struct sender_source *)) +
           arena_cost(buckets_for(links_max) * sizeof(struct sender_link *)) +
           arena_cost(links_max * sizeof(struct sender_source)) + arena_cost(links_max * sizeof(struct sender_link));
}

void senders_init(struct senders *senders, struct arena *arena, uint32_t links_max, struct rng *rng) {
    size_t buckets_count = buckets_for(links_max);
    *senders = (struct senders){.bucket_mask = buckets_count - 1, .salt_next = 1};
    senders->source_buckets = arena_take(arena, buckets_count * sizeof(struct sender_source *));
    senders->link_buckets = arena_take(arena, buckets_count * sizeof(struct sender_link *));
    struct sender_source *sources = arena_take(arena, links_max * sizeof(*sources));
    struct sender_link *links = arena_take(arena, links_max * sizeof(*links));
    senders->all_links = links;
    senders->links_max = links_max;
    senders->draw = rng_u64(rng);
    rng_bytes(rng, senders->hash_secret, sizeof(senders->hash_secret));
    for (uint32_t i = links_max; i-- > 0;) {
        sources[i].hash_next = senders->free_sources;
        senders->free_sources = &sources[i];
        links[i].hash_next = senders->free_links;
        senders->free_links = &links[i];
    }
}

void sender_holder_init(struct senders *senders, struct sender_holder *holder) {
    *holder = (struct sender_holder){.salt = senders->salt_next++};
}

static uint64_t hash_source(const struct senders *senders, const struct node_key *key) {
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, key->bytes, KEY_SIZE, senders->hash_secret);
    return hash;
}

static struct sender_source **source_bucket(struct senders *senders, uint64_t hash) {
    return &senders->source_buckets[hash & senders->bucket_mask];
}

/* The salt is spread by an odd multiplier (2^64 / golden ratio), so that consecutive holders fall far apart. */
static struct sender_link **link_bucket(struct senders *senders, uint64_t hash, const struct sender_holder *holder) {
    uint64_t mixed = (hash ^ holder->salt) * 0x9e3779b97f4a7c15ull;
    return &senders->link_buckets[(mixed >> 20) & senders->bucket_mask];
}

static struct sender_source *find_source(struct senders *senders, uint64_t hash, const struct node_key *key) {
    struct sender_source *source = *source_bucket(senders, hash);
    while (source != NULL && !key_equal(&source->key, key)) source = source->hash_next;
    return source;
}

static struct sender_link *find_link(struct senders *senders, uint64_t hash, const struct sender_holder *holder,
                                     const struct node_key *key) {
    struct sender_link *link = *link_bucket(senders, hash, holder);
    while (link != NULL && (link->holder != holder || !key_equal(&link->source->key, key))) link = link->hash_next;
    return link;
}

static struct sender_source *make_source(struct senders *senders, uint64_t hash, const struct node_key *key) {
    struct sender_source *source = senders->free_sources;
    CHECK(source != NULL);  // there are as many as links, and each has at least one link
    senders->free_sources = source->hash_next;
    struct sender_source **bucket = source_bucket(senders, hash);
    *source = (struct sender_source){.key = *key, .hash_next = *bucket};
    *bucket = source;
    return source;
}

static void free_source(struct senders *senders, struct sender_source *source) {
    struct sender_source **at = source_bucket(senders, hash_source(senders, &source->key));
    while (*at != source) at = &(*at)->hash_next;
    *at = source->hash_next;
    source->hash_next = senders->free_sources;
    senders->free_sources = source;
}

static void link_insert(struct senders *senders, uint64_t hash, struct sender_source *source,
                        struct sender_holder *holder) {
    struct sender_link *link = senders->free_links;
    senders->free_links = link->hash_next;
    struct sender_link **bucket = link_bucket(senders, hash, holder);
    *link = (struct sender_link){.source = source,
                                 .holder = holder,
                                 .hash_next = *bucket,
                                 .source_next = source->links,
                                 .holder_next = holder->links};
    *bucket = link;
    if (source->links) source->links->source_prev = link;
    source->links = link;
    if (holder->links) holder->links->holder_prev = link;
    holder->links = link;
    holder->links_count++;
}

static void unlink_from_lists(struct sender_link *link) {
    if (link->source_prev) {
        link->source_prev->source_next = link->source_next;
    } else {
        link->source->links = link->source_next;
    }
    if (link->source_next) link->source_next->source_prev = link->source_prev;
    if (link->holder_prev) {
        link->holder_prev->holder_next = link->holder_next;
    } else {
        link->holder->links = link->holder_next;
    }
    if (link->holder_next) link->holder_next->holder_prev = link->holder_prev;
}

static void link_remove(struct senders *senders, struct sender_link *link) {
    struct sender_source *source = link->source;
    struct sender_holder *holder = link->holder;
    struct sender_link **at = link_bucket(senders, hash_source(senders, &source->key), holder);
    while (*at != link) at = &(*at)->hash_next;
    *at = link->hash_next;
    unlink_from_lists(link);
    if (holder->has_last && key_equal(&holder->last, &source->key)) holder->has_last = false;
    holder->links_count--;
    link->hash_next = senders->free_links;
    senders->free_links = link;
    if (source->links == NULL) free_source(senders, source);
}

/* All pairs are in use, so any that is drawn is one. */
static void make_room(struct senders *senders, const struct sender_holder *holder) {
    struct sender_link *fattest = NULL;
    for (int draw = 0; draw < DRAWS; draw++) {
        senders->draw = senders->draw * 6364136223846793005ull + 1442695040888963407ull;
        struct sender_link *link = &senders->all_links[(senders->draw >> 32) % senders->links_max];
        if (fattest == NULL || link->holder->links_count > fattest->holder->links_count) fattest = link;
    }
    senders->forgotten++;
    if (fattest->holder->links_count > holder->links_count) link_remove(senders, fattest);
}

bool senders_note(struct senders *senders, struct sender_holder *holder, const struct node_key *source_key) {
    if (holder->has_last && key_equal(&holder->last, source_key)) return false;
    uint64_t hash = hash_source(senders, source_key);
    bool is_new = find_link(senders, hash, holder, source_key) == NULL;
    if (is_new && senders->free_links == NULL) make_room(senders, holder);
    if (is_new && senders->free_links == NULL) return false;
    if (is_new) {
        struct sender_source *source = find_source(senders, hash, source_key);
        if (source == NULL) source = make_source(senders, hash, source_key);
        link_insert(senders, hash, source, holder);
    }
    holder->last = *source_key;
    holder->has_last = true;
    return is_new;
}

void senders_forget(struct senders *senders, struct sender_holder *holder, const struct node_key *source) {
    struct sender_link *link = find_link(senders, hash_source(senders, source), holder, source);
    if (link) link_remove(senders, link);
}

struct sender_holder *senders_take_holder(struct senders *senders, const struct node_key *source_key) {
    struct sender_source *source = find_source(senders, hash_source(senders, source_key), source_key);
    if (source == NULL) return NULL;
    struct sender_holder *holder = source->links->holder;
    link_remove(senders, source->links);
    return holder;
}

void sender_holder_fini(struct senders *senders, struct sender_holder *holder) {
    while (holder->links) link_remove(senders, holder->links);
    holder->has_last = false;
}
