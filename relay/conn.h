/* conn.h - a live connection on its worker: a socket, the way in (bytes to frames) and the way out (frames to sends).
 *
 * It is a plain value and what can be made anew: `v` holds every field that survives a hand-over (relay/conn_value.h),
 * `r` holds links, timers and operations in flight, which are rebuilt. The assertion under the struct keeps it that
 * way.
 *
 *   adopted --GO--> started --any reason--> closing --RING_CLOSED--> (free; control is told: LEFT)
 *      packets queue   reads and writes        nothing any more
 *
 * The way out: one send in flight; everything else waits as plaintext. When the send completes, what waits is sealed
 * into one chunk, in this order: urgent frames (ServerInfo first, NotHere), a pong, a keep-alive, to a mesh peer that
 * watches who has come and gone (relay/watcher.h: not queued, but read where it lies), packets of the peer's backlog,
 * if this is the peer's active connection, and farewells: PeerGone for keys that have left, each behind the packets
 * that waited when it was made. Each frame is a TLS record of its own (or several); the plain transport's cipher is
 * memcpy.
 *
 * The reading: as much as comes, unless the client may only send so much a second, or takes more than its share of a
 * pass; then a buffer at a time, and not at all while its rate is used up or the worker it sends to is behind. Bytes of
 * a stream are never dropped for it.
 *
 * The way in: a frame that lies whole in the receive buffer is handled there; the copy into its slot is the only one.
 * A frame that straddles buffers is collected in a slot of its own and becomes the packet as it is. With TLS a record
 * is opened into a slot, and a frame that is alone in it is that slot: no further copy. A WebSocket's frames are
 * unmasked where they lie, behind the record layer, so that the same is true of a message that is alone in its record.
 *
 * A WebSocket that breaks a rule, or DERP's, is told so: what it sends is thrown away from then on, the close frame
 * goes out behind the send in flight, and its own close frame, or the end of the stream, is waited for, two seconds at
 * most; a quarter of one when its frames can not be read any more. It has left its peer by then: packets go to another
 * connection of the key, or are dropped, as if it were closed already.
 *
 * Threads: thread-local to a worker. Memory: the worker's pool; packets of the worker's packet pool.
 * Errors: every one ends in conn_close with a reason; the peer of a hostile connection notices nothing else.
 */
#pragma once

#include "core/base.h"
#include "core/ring.h"
#include "core/wheel.h"
#include "proto/derp_stream.h"
#include "proto/websocket.h"
#include "relay/conn_value.h"
#include "relay/directory.h"
#include "relay/duplicates.h"
#include "relay/queue.h"
#include "relay/rate.h"
#include "relay/reason.h"
#include "relay/senders.h"
#include "relay/watcher.h"

struct peer;
struct worker;

enum { CONN_CACHE_ENTRIES = 4 };

/* An answer of the directory, kept by a sender: good while the directory has this generation. */
struct conn_destination {
    struct node_key key;
    route where;
    uint64_t generation;
};

enum conn_timer { CONN_TIMER_KEEPALIVE = 1, CONN_TIMER_WRITE, CONN_TIMER_READ };

/* How the socket is read (conn_read.c). */
enum conn_reading {
    READING_NOT,      // not started
    READING_MANY,     // until further notice
    READING_PAUSING,  // MANY was told to end
    READING_ONCE,     // one buffer at a time
    READING_WAITING,  // not at all until read_timer: the rate, or another worker that is behind
};

/* A WebSocket ends with words (conn_websocket.c). Who is ending is not handed over. */
enum conn_ending {
    ENDING_NOT,
    ENDING_OWED,  // a close frame is to go out, behind the send in flight
    ENDING_SAID,  // it is on its way, or the client's is waited for
};

/* What a hand-over does not carry. */
struct conn_runtime {
    struct ring_socket socket;
    struct peer *peer;
    struct duplicate duplicate;   // among the connections of the key
    struct conn *start_next;      // in the worker's list of those that have had their GO
    struct conn *dirty_next, *dirty_prev;  // in the worker's list of those that have something to send
    struct conn *holder_older, *holder_newer;  // in the worker's list of those that hold something incomplete
    uint64_t holder_since_ns;
    struct packet *partial;       // where the stream collects an incomplete frame
    struct packet *sending;       // the chunk in flight, or the rest of it
    struct queue urgent;          // whole frames that go before all packets
    struct queue farewells;  // PeerGone frames: ->arrival is the backlog's then, ->relayed[0] the flows of the key
    struct derp_stream stream;
    struct record record;         // TLS: keys and the live state of v.record_*
    struct websocket websocket;   // v.is_websocket: the live state of v.websocket_*
    struct packet *raw;           // TLS: a record that has come in part
    struct sender_holder senders;
    struct watcher watcher;
    struct wheel_timer keepalive_timer;
    struct wheel_timer write_timer;
    struct wheel_timer read_timer;
    struct rate_bucket rate;  // what the client may send; made anew, full, after a hand-over
    uint64_t read_pass;  // the pass in which it was last read
    uint32_t read_bytes;  // and what came in it
    uint64_t heard_ns;  // when bytes last came
    uint8_t reading;  // enum conn_reading
    bool is_greedy;  // took more than its share of a pass
    bool is_held;  // the worker of its destination is behind: not read for a moment
    uint64_t source_hash;  // of the key: which flow of a destination's backlog its packets are of
    struct conn_destination destinations[CONN_CACHE_ENTRIES];
    uint16_t parcel_idx;  // adopted: holds v.unopened until GO
    bool has_parcel;
    bool is_holder;
    bool is_dirty;
    bool is_keepalive_due;
    bool is_short;   // the kernel has taken the chunk under way only in part
    bool was_short;  // and so it was with the chunk before: the receiver is slow, the next chunk is small
    uint64_t send_begun_ns;  // of the chunk under way
    int64_t unacknowledged;  // bytes, when the write timer fired last; -1: not since the send was given
    bool is_closing;
    bool is_sealing_broken;  // nothing may be sealed any more, not even an alert
    uint8_t close_alert;  // TLS: what to say when closing, enum record_alert
    uint8_t ending;         // enum conn_ending
    uint8_t ending_reason;  // enum close_reason
    uint16_t ending_code;   // enum websocket_code
};

struct conn {
    struct conn_value v;
    struct conn_runtime r;
};

/* A field added beside the two would be lost at a hand-over, so it does not compile. */
_Static_assert(offsetof(struct conn, r) < sizeof(struct conn_value) + _Alignof(struct conn_runtime) &&
                   sizeof(struct conn) == offsetof(struct conn, r) + sizeof(struct conn_runtime),
               "everything in struct conn is either in the table of conn_value.h or in conn_runtime");

/* The connection in whose runtime `ptr` is the member `field`: a timer, a holder, a duplicate. */
#define conn_of(ptr, field) container_of(ptr, struct conn, r.field)

/* Begins to load what each event and each flush touches, but for the keys. */
static inline void conn_prefetch(const struct conn *conn) {
    const char *parts[][2] = {{(const char *)&conn->r.socket, (const char *)&conn->r.record.in_key},
                              {(const char *)&conn->r.raw, (const char *)(conn + 1)}};
    for (size_t i = 0; i < array_count(parts); i++) {
        for (const char *at = parts[i][0]; at < parts[i][1]; at += CACHE_LINE_SIZE) __builtin_prefetch(at);
    }
}

/* Makes a connection of the parcel and joins it to `peer`; the socket is not read and nothing is written before
 * conn_start. The parcel stays in use until then. NULL when memory is short; nothing has happened then. */
must_use struct conn *conn_adopt(struct worker *w, struct peer *peer, uint16_t parcel_idx);

/* GO: writes what is urgent (ServerInfo), parses what had come behind the login, and starts to read. */
void conn_start(struct worker *w, struct conn *conn);

/* A completion on the connection's socket. Returns received bytes to the ring in every case. */
void conn_on_event(struct worker *w, struct conn *conn, const struct ring_event *event);

void conn_on_keepalive_timer(struct worker *w, struct conn *conn);
void conn_on_write_timer(struct worker *w, struct conn *conn);
void conn_on_read_timer(struct worker *w, struct conn *conn);

/* The limit has changed: a full bucket of the worker's present one. */
void conn_set_rate(struct worker *w, struct conn *conn);

/* There is something to send: it will be flushed at the end of this pass. */
void conn_make_dirty(struct worker *w, struct conn *conn);

/* It will not be flushed: its memory goes. */
void conn_make_clean(struct worker *w, struct conn *conn);

/* What it holds incomplete may be taken from it: a frame always, a record only after a second, because that ends the
 * connection, and a record that is under way will soon be whole. */
bool conn_may_give_up(const struct worker *w, const struct conn *conn);

/* Memory is short: gives up the incomplete frame it collects (the frame is lost, the connection is not), or ends the
 * connection that holds an incomplete record. */
void conn_give_up_incomplete(struct worker *w, struct conn *conn);

/* Seals what waits into one chunk and sends it, unless a send is in flight. Only the worker's flush phase calls it. */
void conn_flush(struct worker *w, struct conn *conn);

/* Ends the connection; calling it again changes nothing. The object lives until RING_CLOSED. */
void conn_close(struct worker *w, struct conn *conn, enum close_reason reason);

/* The same, but a WebSocket ends with `code` and its close handshake, as soon as the send in flight is done. Packets of
 * its key go elsewhere from here on. */
void conn_end(struct worker *w, struct conn *conn, enum close_reason reason, uint16_t code);

/* Sends PeerGone(NotHere) to this connection, after what is urgent already; dropped when too much is. */
void conn_send_not_here(struct worker *w, struct conn *conn, const struct node_key *key);

/* Sends PeerGone(Disconnected): behind the packets that wait now, so that it never overtakes one of that source. Once,
 * also when it is asked for again before it was sent. Dropped when too many wait. A watcher is told by the log of
 * presence alone: two streams would contradict each other when a key comes back. */
void conn_send_farewell(struct worker *w, struct conn *conn, const struct node_key *key);
