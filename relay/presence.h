/* presence.h - the one stream of "a connection is here" and "a key has left": a log ring that control writes.
 *
 * A reader is a cursor: it reads events in order from where it stands. Who falls more than PRESENCE_EVENTS behind
 * cannot catch up by reading and has to start over from the directory; the log says so. One present is written per
 * connection, one gone per key, after the directory was changed accordingly (docs/derp.md, "Presence"). So who takes a
 * cursor first and looks at the directory then misses nothing, though the first events may repeat what it has seen.
 *
 * Sharing class: published. Writer: the control thread only; it never waits. Readers: any thread, which owns its
 * cursor; they write nothing here, so there may be any number of them. Waking them is not done here: ring_wake.
 * Why it is correct: two counters surround the writing of event n: `begun` is n + 1 before its first word is stored,
 * `ended` is n + 1 after the last. All words are atomic, stored with release and loaded with acquire. A reader of event
 * n has seen ended > n (acquire), so no word it loads is older than event n. If one is newer, it is of an event n + k *
 * PRESENCE_EVENTS, and the acquire load that got it makes the earlier store of that event's `begun` visible: the
 * reader's look at `begun`, which comes after all words, then says LOST. What passes is event n, whole. The order is in
 * the words themselves instead of in fences (as in the textbook's seqlock), because thread sanitizer sees no fences;
 * where it costs anything, it is fourteen words per event. The counters have 64 bits and never wrap.
 * Memory: one fixed array. Errors: none; the oldest events are overwritten.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"
#include "proto/key.h"
#include "relay/directory.h"

enum { PRESENCE_EVENTS = 4096 };  // a power of two

enum presence_kind { PRESENCE_PRESENT = 1, PRESENCE_GONE };

/* What a PeerPresent or PeerGone frame needs. Of a gone only key, where and kind are of use. */
struct presence_event {
    struct node_key key;
    route where;
    uint64_t kind;  // enum presence_kind
    struct present present;
};

enum { PRESENCE_EVENT_WORDS = sizeof(struct presence_event) / sizeof(uint64_t) };
_Static_assert(PRESENCE_EVENT_WORDS * sizeof(uint64_t) == sizeof(struct presence_event), "an event is whole words");

struct presence_place {
    _Atomic uint64_t words[PRESENCE_EVENT_WORDS];
};

/* All zero is empty. */
struct presence {
    cache_aligned _Atomic uint64_t begun;  // events whose writing has begun
    _Atomic uint64_t ended;                // events that may be read, or could be before they were overwritten
    cache_aligned struct presence_place places[PRESENCE_EVENTS];
};

/* ---- control ---- */

void presence_write(struct presence *presence, const struct presence_event *event);

/* ---- readers ---- */

/* The cursor of one who wants all events from now on. */
must_use uint64_t presence_end(const struct presence *presence);

enum presence_result { PRESENCE_EVENT, PRESENCE_NONE, PRESENCE_LOST };

/* The event at *cursor, which moves on. LOST: events were overwritten before they were read, or the one at the cursor
 * is being overwritten now. Unless there is an event neither *cursor nor *ret is touched. */
must_use enum presence_result presence_read(const struct presence *presence, uint64_t *cursor,
                                            struct presence_event *ret);

/* The event at `cursor` was or is being overwritten: who stands there can not go on. Asked after its words were loaded
 * it says whether they are good. */
must_use bool presence_is_lost(const struct presence *presence, uint64_t cursor);
