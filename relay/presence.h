/* presence.h - the one stream of "a connection is here" and "a key has left": a log ring that control writes.
 *
 * A reader is a cursor: it reads events in order from where it stands. Who falls more than PRESENCE_EVENTS behind
 * cannot catch up by reading and has to start over from the directory; the log says so. One present is written per
 * connection, one gone per key, after the directory was changed accordingly (docs/derp.md, "Presence").
 *
 * Threads: thread-local to control. Memory: one fixed array. Errors: none; the oldest events are overwritten.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"
#include "relay/directory.h"

enum { PRESENCE_EVENTS = 4096 };  // a power of two

enum presence_kind { PRESENCE_PRESENT = 1, PRESENCE_GONE };

struct presence_event {
    struct node_key key;
    route where;
    uint64_t conn_id;  // present: which connection
    uint8_t kind;
};

struct presence {
    uint64_t written;  // events ever written
    struct presence_event events[PRESENCE_EVENTS];
};

void presence_write(struct presence *presence, const struct presence_event *event);

enum presence_result { PRESENCE_EVENT, PRESENCE_NONE, PRESENCE_LOST };

/* The event at *cursor, which moves on. A cursor starts as presence->written. LOST: events were overwritten before
 * they were read; the cursor is not moved. */
must_use enum presence_result presence_read(const struct presence *presence, uint64_t *cursor,
                                            struct presence_event *ret);
