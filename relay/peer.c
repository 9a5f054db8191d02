#include "relay/peer.h"

#include "core/check.h"
#include "relay/conn.h"
#include "relay/worker.h"

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
    CHECK(peer->conns_count == 0 && queue_is_empty(&peer->queue));
    *peer = (struct peer){.where = ROUTE_NONE};
}

static void count_duplicates(struct worker *w, const struct peer *peer, bool is_joining) {
    struct metrics *m = w->metrics;
    if (is_joining && peer->conns_count >= 2) {
        bool is_first = peer->conns_count == 2;
        stat_add(&m->dup_client_keys, is_first ? 1 : 0);
        stat_add(&m->dup_client_conns, is_first ? 2 : 1);
        stat_add(&m->dup_client_conns_total, 1);
    } else if (!is_joining && peer->conns_count >= 1) {
        bool is_last = peer->conns_count == 1;
        stat_sub(&m->dup_client_keys, is_last ? 1 : 0);
        stat_sub(&m->dup_client_conns, is_last ? 2 : 1);
    }
}

void peer_join(struct worker *w, struct peer *peer, struct conn *conn) {
    conn->r.peer = peer;
    conn->r.peer_next = peer->conns;
    peer->conns = conn;
    peer->conns_count++;
    count_duplicates(w, peer, true);
    peer_promote(w, peer, conn);
}

static struct conn *most_recent(struct conn *conns) {
    struct conn *best = conns;
    for (struct conn *conn = conns; conn; conn = conn->r.peer_next) {
        if (conn->v.activity > best->v.activity) best = conn;
    }
    return best;
}

static void drop_all(struct worker *w, struct peer *peer) {
    struct packet *packet;
    while ((packet = queue_pop(&peer->queue)) != NULL) worker_drop(w, packet, DROP_GONE_DISCONNECTED);
}

void peer_leave(struct worker *w, struct peer *peer, struct conn *conn) {
    struct conn **at = &peer->conns;
    while (*at != conn) at = &(*at)->r.peer_next;
    *at = conn->r.peer_next;
    conn->r.peer = NULL;
    peer->conns_count--;
    count_duplicates(w, peer, false);
    if (peer->active == conn) {
        peer->active = most_recent(peer->conns);
        if (peer->active) conn_make_dirty(w, peer->active);
    }
    if (peer->active == NULL) drop_all(w, peer);
}

void peer_promote(struct worker *w, struct peer *peer, struct conn *conn) {
    conn->v.activity = ++w->activity;
    if (peer->active == conn) return;
    peer->active = conn;
    if (!queue_is_empty(&peer->queue)) conn_make_dirty(w, conn);
}

/* 2 MiB fit for one destination of an idle relay; under pressure nobody may hold more than what is left for all, so
 * that n hogs come to rest at 1/(n+1) of the memory each and the last share stays free. */
static size_t queue_bytes_max(const struct worker *w) {
    return min_of((size_t)LIMIT_QUEUE_BYTES_MAX, worker_free_bytes(w));
}

bool peer_drop_oldest(struct worker *w, struct peer *peer) {
    struct packet *oldest = queue_pop(&peer->queue);
    if (oldest) worker_drop(w, oldest, DROP_QUEUE_HEAD);
    return oldest != NULL;
}

void peer_enqueue(struct worker *w, struct peer *peer, struct packet *packet) {
    if (peer->active == NULL) {
        worker_drop(w, packet, DROP_GONE_DISCONNECTED);
        return;
    }
    packet->enqueued_ns = w->now_ns;
    queue_push(&peer->queue, packet);
    struct packet *oldest;
    while ((oldest = queue_pop_excess(&peer->queue, queue_bytes_max(w))) != NULL) {
        worker_drop(w, oldest, DROP_QUEUE_HEAD);
    }
    conn_make_dirty(w, peer->active);
}
