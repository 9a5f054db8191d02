/* bootstrap.h - names and their addresses, for clients that cannot resolve names themselves: /bootstrap-dns.
 *
 * A table is made by the office (relay/resolver.h), mailed to the front, and never changed again: whoever has it may
 * read it, and the front frees the one that it replaces. Two lists share one table type: the published names are told
 * to everybody; the unpublished ones only to who asks for one by name, and then only to a percentage of the addresses.
 *
 * Bounds: BOOTSTRAP_NAMES_MAX names per list with BOOTSTRAP_ADDRESSES_MAX addresses each; what is more is refused at
 * the start, or left out and logged. Threads: as above. Memory: one block per table, of the heap, in the budget.
 */
#pragma once

#include "core/bytes.h"
#include "core/rng.h"
#include "core/sys.h"

enum {
    BOOTSTRAP_NAMES_MAX = 64,  // per list
    BOOTSTRAP_NAME_SIZE_MAX = 253,
    BOOTSTRAP_ADDRESSES_MAX = 16,  // per name
    BOOTSTRAP_QUERIES_MAX = 500,   // names asked for that are remembered; then the count starts over, as derper's
    BOOTSTRAP_LISTS_MAX = 2,
};

struct bootstrap_name {
    char name[BOOTSTRAP_NAME_SIZE_MAX + 1];
    struct net_address addresses[BOOTSTRAP_ADDRESSES_MAX];
    uint32_t addresses_count;
    uint8_t percent;
};

struct bootstrap_table {
    bool is_published;
    uint32_t names_count;  // only such that have an address
    struct bootstrap_name names[BOOTSTRAP_NAMES_MAX];
};

/* An item of a list: "name" or "name/txt-name". False when one is longer than a name can be. */
struct bootstrap_item {
    char name[BOOTSTRAP_NAME_SIZE_MAX + 1];
    char percent_name[BOOTSTRAP_NAME_SIZE_MAX + 1];  // "": everybody
};

/* The item at *list, which moves on; false at the end. *is_fine: false for an item that cannot be a name. */
must_use bool bootstrap_take_item(const char **list, struct bootstrap_item *item, bool *is_fine);

/* Can this list be served? A sentence in `why` (SYS_WHY_MAX) otherwise. */
must_use bool bootstrap_list_check(const char *flag, const char *list, char *why);

/* "0" to "100", as Go's Atoi reads it; 0 for anything else. `text` need not be terminated. */
uint8_t bootstrap_percent_parse(const char *text, size_t size, bool *is_percent);

void bootstrap_shuffle(struct bootstrap_table *table, struct rng *rng);

const struct bootstrap_name *bootstrap_find(const struct bootstrap_table *table, const char *name);

/* As Go's json.MarshalIndent with tabs: a map's keys sorted. `only` NULL: all names. */
void bootstrap_write_json(struct writer *w, const struct bootstrap_table *table, const struct bootstrap_name *only);

/* Is the client at this address among the first `percent` of a hundred? The same for each of its requests; for loopback
 * it is chance. */
must_use bool bootstrap_is_chosen(const struct net_address *remote, uint8_t percent, struct rng *rng);

/* The number in [0, 1) by which an address is chosen: Go's PCG, seeded with the address. */
double bootstrap_draw(const struct net_address *remote);

/* ---- distinct names that were asked for ---- */

/* Keyed hashes: who chooses names cannot choose where they go. 0 is free. */
struct bootstrap_queries {
    uint8_t secret[16];
    uint32_t count;
    uint64_t hashes[2 * (BOOTSTRAP_QUERIES_MAX + 12)];
};

void bootstrap_queries_init(struct bootstrap_queries *queries, struct rng *rng);
void bootstrap_queries_note(struct bootstrap_queries *queries, const char *name);
static inline uint32_t bootstrap_queries_count(const struct bootstrap_queries *queries) { return queries->count; }
