/* allowlist.h - the file of flag -relay-allow-file: the node keys whose owners may ask for endpoints over DERP.
 *
 *     # who may use the UDP relay
 *     nodekey:6bd0e4...42  laptop
 *     nodekey:0f91c3...7a
 *
 * One key on a line; what follows it after white space is for people. Empty lines, and those that begin with #, are
 * none. A key may be there twice. Any other line is an error that names it by its number (and not by its text: it may
 * be a private key in the wrong file), and then there is no list.
 *
 * Sorted, for a binary search: 16 comparisons of keys that an attacker cannot choose. Each key has the time until which
 * its owner has spent what he may ask for (relay/node_desk.h); nobody needs a place beside the list for that.
 *
 * Threads: a list is made by one thread and given to another. Memory: the heap, at most ALLOWLIST_BYTES_MAX for a list
 * and the file for as long as it is read. Errors: a sentence in `why` (ALLOWLIST_WHY_MAX bytes).
 */
#pragma once

#include "proto/key.h"

enum { ALLOWLIST_KEYS_MAX = 65536, ALLOWLIST_FILE_MAX = 16 * 1024 * 1024 };

#define ALLOWLIST_WHY_MAX 512

struct allowed {
    struct node_key key;
    uint64_t spent_until_ns;  // the reader's
};

struct allowlist {
    uint32_t count;
    struct allowed all[];  // sorted by key
};

#define ALLOWLIST_BYTES_MAX (sizeof(struct allowlist) + ALLOWLIST_KEYS_MAX * sizeof(struct allowed))

/* Reads `path` and makes *ret. On failure *ret is untouched. */
must_use bool allowlist_load(const char *path, struct allowlist **ret, char *why);

/* The same of a text; `why` begins with the number of the line. */
must_use bool allowlist_parse(const char *text, size_t size, struct allowlist **ret, char *why);

/* NULL is an empty list, to both. */
struct allowed *allowlist_find(struct allowlist *list, const struct node_key *key);
void allowlist_free(struct allowlist *list);
