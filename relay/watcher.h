/* watcher.h - a mesh peer that wants to know who is here: PeerPresent and PeerGone, all of them, in order.
 *
 * A watcher is no queue. It is two marks of a connection: a cursor in the log of presence (relay/presence.h) and a
 * place in a walk over the directory. Both advance as output room appears, so a watcher holds no more memory than any
 * other connection, however many keys there are and however slowly it reads.
 *
 *   WatchConns --> cursor = end of the log, walk = first bucket
 *   each send  --> what the log has from the cursor on, then keys of the walk, while there is room
 *   cursor falls more than PRESENCE_EVENTS behind --> closed (watch_behind): it starts over by connecting anew
 *
 * Why it is correct in any mixture of the two: control changes the directory before it writes the event. Take the last
 * event of a key behind the first cursor. If there is none, nothing changed, and the walk tells the truth. If there is
 * one, it is told after anything the walk could have said to the contrary: what it undoes was not in the directory any
 * more when it was written. So the last word on each key is right; before it, the flood may repeat what it has said.
 * PeerGone(NotHere), which tells of the same keys, is sealed before presence in the same pass in which the directory
 * did not have the key, so it does not overtake a later PeerPresent.
 *
 * Waking: a worker tells control once per watching connection (MAIL_WATCH; MAIL_LEFT takes it back), and control wakes
 * workers that have watchers after it has written to the log. One notice per worker and pass of control: the worker
 * then sees by the log itself how much there is. A connection that watches hears of departures by the log alone: what
 * PeerGone it would get as a receiver of packets is left out, since two streams would contradict each other.
 *
 * Bounded: LIMIT_WATCHERS per worker; per turn WATCHER_BUCKETS_MAX buckets, since a large table may be empty.
 * Repeating WatchConns begins the walk anew. A connection of the server's own key is told nothing: with derper's way of
 * naming all servers of a region to each of them, it is we ourselves.
 *
 * Threads: thread-local to a worker. Memory: embedded in the connection. Errors: a close_reason.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"

struct conn;
struct worker;

/* Frames are gathered into pieces of this size, each of which is a record. */
enum { WATCHER_BATCH_SIZE = 2048, WATCHER_BUCKETS_MAX = 16384 };

/* Embedded in a connection; all zero: it does not watch. */
struct watcher {
    struct watcher *next, *prev;  // of its worker
    uint64_t cursor;              // in the log
    uint64_t bucket;              // of the walk, the next one; behind the last: the walk is over
    bool is_on;
    bool has_told;  // control knows
};

/* WatchConns. May close the connection. */
void watcher_start(struct worker *w, struct conn *conn);

/* The connection is closing; fine when it does not watch. */
void watcher_stop(struct worker *w, struct conn *conn);

/* There is something to tell. */
bool watcher_has_news(const struct worker *w, const struct conn *conn);

/* Bytes of frames that are to be told, at most, in whole batches; not more than `most`. */
size_t watcher_size(const struct worker *w, const struct conn *conn, size_t most);

/* Writes as many whole frames as there are and fit: `out` has room for a batch. None may be written although there is
 * more to come, by a later turn. False: it has fallen behind. */
must_use bool watcher_write(struct worker *w, struct conn *conn, struct writer *out);

/* Once per pass, before sending: those to whom there is something new to tell have to be flushed; those who have fallen
 * behind are closed. */
void watchers_look(struct worker *w);

/* There are watchers, and the log has grown since watchers_look: the worker must not sleep. */
bool watchers_have_news(const struct worker *w);
