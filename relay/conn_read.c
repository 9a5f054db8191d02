#include "core/check.h"
#include "relay/conn_io.h"
#include "relay/peer.h"
#include "relay/worker.h"

/* A receive that goes on by itself has no brake: one busy socket could fill all buffers, pass after pass, and others'
 * bytes would wait behind a megabyte of its own. Who takes more than this share of a pass is read a buffer at a time
 * until a buffer is not full, so that everybody gets one in turn. */
enum { READ_SHARE_MAX = LIMIT_RECEIVE_BUFFERS * LIMIT_RECEIVE_BUFFER_SIZE / 4 };

/* How long a held connection is not read: some passes of the worker that is behind. */
enum { HOLD_NS = 1000 * 1000 };

static bool has_rate(const struct conn *conn) { return conn->r.rate.bytes_per_s != 0; }

static uint64_t wait_ns(struct worker *w, struct conn *conn) {
    uint64_t rate_ns = rate_wait_ns(&conn->r.rate, w->now_ns);
    if (rate_ns > 0) stat_add(&w->metrics->rate_waits, 1);
    if (!conn->r.is_held) return rate_ns;
    stat_add(&w->metrics->reads_held, 1);
    return max_of(rate_ns, (uint64_t)HOLD_NS);
}

/* Nothing is asked for at this moment. */
static void read_next(struct worker *w, struct conn *conn) {
    uint64_t ns = wait_ns(w, conn);
    conn->r.is_held = false;
    if (ns > 0) {
        conn->r.reading = READING_WAITING;
        wheel_arm(&w->wheel, &conn->r.read_timer, w->now_ns + ns);
        return;
    }
    bool is_once = has_rate(conn) || conn->r.is_greedy;
    conn->r.reading = is_once ? READING_ONCE : READING_MANY;
    ring_receive(w->ring, &conn->r.socket, is_once ? RING_RECEIVE_ONCE : RING_RECEIVE_MANY, 0);
}

static void pause(struct worker *w, struct conn *conn) {
    conn->r.reading = READING_PAUSING;
    ring_receive_pause(w->ring, &conn->r.socket);
}

void conn_read_start(struct worker *w, struct conn *conn) { read_next(w, conn); }

void conn_read_account(const struct worker *w, struct conn *conn, size_t size) {
    if (conn->r.read_pass != w->pass) conn->r.read_bytes = 0;
    conn->r.read_pass = w->pass;
    conn->r.heard_ns = w->now_ns;
    conn->r.read_bytes += (uint32_t)size;
}

void conn_read_on_bytes(struct worker *w, struct conn *conn, size_t size) {
    if (conn->r.is_closing) return;
    if (conn->r.reading == READING_ONCE) {
        conn->r.is_greedy = size == LIMIT_RECEIVE_BUFFER_SIZE;
        read_next(w, conn);
    } else if (conn->r.reading == READING_MANY && (conn->r.is_held || conn->r.read_bytes > READ_SHARE_MAX)) {
        conn->r.is_greedy = true;
        stat_add(&w->metrics->reads_braked, 1);
        pause(w, conn);
    }
}

void conn_read_on_paused(struct worker *w, struct conn *conn) {
    if (conn->r.is_closing) return;
    CHECK(conn->r.reading == READING_PAUSING);
    read_next(w, conn);
}

void conn_on_read_timer(struct worker *w, struct conn *conn) { read_next(w, conn); }

void conn_set_rate(struct worker *w, struct conn *conn) {
    static const struct rate_limit none;
    if (conn->r.is_closing) return;
    rate_init(&conn->r.rate, conn->v.is_mesh_peer ? &none : &w->rate, w->now_ns);
    if (conn->r.reading == READING_MANY && has_rate(conn)) pause(w, conn);
    if (conn->r.reading != READING_WAITING) return;
    wheel_disarm(&w->wheel, &conn->r.read_timer);
    read_next(w, conn);
}
