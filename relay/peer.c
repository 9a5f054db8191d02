#include "relay/peer.h"

#include "core/check.h"
#include "relay/conn.h"
#include "relay/trace.h"
#include "relay/worker.h"

struct conn *peer_active(const struct peer *peer) {
    return peer->conns.active ? conn_of(peer->conns.active, duplicate) : NULL;
}

struct conn *peer_conn(const struct peer *peer, uint64_t conn_id) {
    for (struct duplicate *member = peer->conns.members; member; member = member->next) {
        if (conn_of(member, duplicate)->v.conn_id == conn_id) return conn_of(member, duplicate);
    }
    return NULL;
}

struct peer *peer_at(struct worker *w, route where) {
    uint32_t slot = route_slot(where);
    if (route_worker(where) != w->idx || slot >= w->peers_count) return NULL;
    struct peer *peer = &w->peers[slot];
    return peer->where == where ? peer : NULL;
}

struct peer *peer_open(struct worker *w, route where, const struct node_key *key) {
    CHECK(route_worker(where) == w->idx && route_slot(where) < w->peers_count);
    struct peer *peer = &w->peers[route_slot(where)];
    if (peer->where == where) {
        CHECK(key_equal(&peer->key, key));
        return peer;
    }
    CHECK(peer->where == ROUTE_NONE);  // RELEASE comes before the next ADOPT of a slot, in one lane
    *peer = (struct peer){.key = *key, .where = where};
    return peer;
}

void peer_release(struct worker *w, struct peer *peer) {
    (void)w;
    CHECK(peer->conns.count == 0 && backlog_is_empty(&peer->backlog));
    *peer = (struct peer){.where = ROUTE_NONE};
}

/* ---- connections of one key ---- */

static void count_duplicates(struct worker *w, const struct peer *peer, bool is_joining) {
    struct metrics *m = w->metrics;
    if (is_joining && peer->conns.count >= 2) {
        bool is_first = peer->conns.count == 2;
        stat_add(&m->dup_client_keys, is_first ? 1 : 0);
        stat_add(&m->dup_client_conns, is_first ? 2 : 1);
        stat_add(&m->dup_client_conns_total, 1);
    } else if (!is_joining && peer->conns.count >= 1) {
        bool is_last = peer->conns.count == 1;
        stat_sub(&m->dup_client_keys, is_last ? 1 : 0);
        stat_sub(&m->dup_client_conns, is_last ? 2 : 1);
    }
}

/* Without connections they have nowhere to go; with connections that fight, to nobody. */
static enum drop_reason reason_without_active(const struct peer *peer) {
    return peer->conns.count >= 2 ? DROP_DUP_CLIENT : DROP_GONE_DISCONNECTED;
}

static void drop_all(struct worker *w, struct peer *peer) {
    struct packet *packet;
    while ((packet = backlog_pop(&peer->backlog)) != NULL) worker_drop(w, packet, reason_without_active(peer));
}

/* After the set has changed: the order of the members is part of each connection's value, and what waits goes to the
 * active one. */
static void settle(struct worker *w, struct peer *peer) {
    for (struct duplicate *member = peer->conns.members; member; member = member->next) {
        struct conn *conn = conn_of(member, duplicate);
        conn->v.activity = member->place;
        conn->v.is_disabled = member->is_disabled;
    }
    struct conn *active = peer_active(peer);
    if (active == NULL) {
        drop_all(w, peer);
    } else if (!backlog_is_empty(&peer->backlog)) {
        conn_make_dirty(w, active);
    }
}

void peer_join(struct worker *w, struct peer *peer, struct conn *conn) {
    conn->r.peer = peer;
    duplicates_join(&peer->conns, &conn->r.duplicate);
    count_duplicates(w, peer, true);
    settle(w, peer);
}

void peer_leave(struct worker *w, struct peer *peer, struct conn *conn) {
    duplicates_leave(&peer->conns, &conn->r.duplicate);
    count_duplicates(w, peer, false);
    settle(w, peer);
}

void peer_note_activity(struct worker *w, struct peer *peer, struct conn *conn) {
    if (likely(peer->conns.count == 1)) return;
    struct conn *before = peer_active(peer);
    duplicates_note(&peer->conns, &conn->r.duplicate, w->duplicates_policy);
    conn->v.activity = conn->r.duplicate.place;
    if (peer_active(peer) != before) settle(w, peer);
}

/* ---- packets ---- */

bool peer_is_too_large(size_t cost, size_t left) { return cost > LIMIT_LONE_SIZE && cost > left / LIMIT_LONE_SHARE; }

/* 2 MiB fit for one destination of an idle relay; under pressure nobody may hold more than what is left for all, so
 * that n hogs come to rest at 1/(n+1) of the memory each and the last share stays free. What is left counts where the
 * packet lies. When that is another worker's memory the newest goes, and not the oldest: that could be anybody's, and
 * nothing would come free where it is short. */
static bool is_refused(const struct worker *w, const struct peer *peer, const struct packet *packet) {
    const struct backlog *backlog = &peer->backlog;
    size_t cost = packet_cost(packet);
    if (!packet->is_foreign) return backlog_is_empty(backlog) && peer_is_too_large(cost, worker_free_bytes(w));
    size_t left = crossing_free_bytes(&w->crossing, packet->owner);
    return peer_is_too_large(cost, left) || (backlog->foreign_bytes > 0 && backlog->foreign_bytes + cost > left);
}

static size_t queue_bytes_max(const struct worker *w, const struct packet *newest) {
    return newest->is_foreign ? LIMIT_QUEUE_BYTES_MAX : min_of((size_t)LIMIT_QUEUE_BYTES_MAX, worker_free_bytes(w));
}

bool peer_drop_oldest(struct worker *w, struct peer *peer) {
    struct packet *oldest = backlog_drop(&peer->backlog);
    if (oldest) worker_drop(w, oldest, DROP_QUEUE_HEAD);
    return oldest != NULL;
}

void peer_drop_aged(struct worker *w, struct peer *peer) {
    uint64_t age_ns = LIMIT_QUEUE_AGE_S * NS_PER_S;
    struct packet *packet;
    while ((packet = backlog_pop_older(&peer->backlog, w->now_ns - min_of(age_ns, w->now_ns))) != NULL) {
        metrics_queue_time(w->metrics, w->now_ns - packet->enqueued_ns);
        worker_drop(w, packet, DROP_QUEUE_AGE);
    }
}

void peer_enqueue(struct worker *w, struct peer *peer, struct packet *packet) {
    struct conn *active = peer_active(peer);
    if (active == NULL) {
        worker_drop(w, packet, reason_without_active(peer));
        return;
    }
    if (is_refused(w, peer, packet)) {
        worker_drop(w, packet, DROP_QUEUE_TAIL);
        return;
    }
    size_t bytes_max = queue_bytes_max(w, packet);
    packet->enqueued_ns = w->now_ns;
    backlog_push(&peer->backlog, packet);
    trace_enqueue(active->v.conn_id, w->idx, packet->size, peer->backlog.bytes, peer->backlog.count);
    struct packet *oldest;
    while ((oldest = backlog_pop_excess(&peer->backlog, bytes_max)) != NULL) worker_drop(w, oldest, DROP_QUEUE_HEAD);
    conn_make_dirty(w, active);
}
