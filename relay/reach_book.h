/* reach_book.h - what was found out about the relay's addresses, and how long it is believed.
 *
 * Two sources, each with rounds of its own: what the interfaces say, and what STUN servers say. An address is in the
 * book from the first round that finds it until its source has had REACH_BOOK_MISSES rounds in a row without it: one
 * lost datagram, or an interface that is down for a moment, makes no client's endpoint worse. A round that failed -
 * nobody could be asked, or nobody answered - says nothing, so it takes nothing away, however often: a stale address
 * costs clients a datagram, a missing one the relay. (The reference drops everything after one failed round.)
 *
 * Order: by source, then as they were found. So what clients are told does not change from round to round.
 *
 * Threads: one. Memory: the caller's. Errors: a full book takes no more.
 */
#pragma once

#include "relay/reach_list.h"

enum {
    REACH_BOOK_SIZE = 32,
    REACH_BOOK_MISSES = 2,
};

enum reach_source { REACH_BY_STUN, REACH_BY_INTERFACE, REACH_SOURCE_COUNT };

struct reach_entry {
    struct net_address address;
    uint8_t source;
    uint8_t missed;  // rounds in a row
    bool is_confirmed;  // in the round under way
};

struct reach_book {
    struct reach_entry entries[REACH_BOOK_SIZE];
    uint32_t count;
};

/* In the round under way of this source. */
void reach_book_confirm(struct reach_book *book, enum reach_source source, const struct net_address *address);

/* The round of this source is over. */
void reach_book_end_round(struct reach_book *book, enum reach_source source, bool has_failed);

bool reach_book_has(const struct reach_book *book, enum reach_source source);

/* Appends all, those of STUN first: they are few, and worth most. */
void reach_book_list(const struct reach_book *book, struct net_address *list, size_t *count, size_t max);
