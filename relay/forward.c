#include "relay/forward.h"

#include "core/check.h"
#include "relay/conn.h"
#include "relay/peer.h"
#include "relay/worker.h"

void forward_account(struct worker *w, struct conn *from, size_t data_size, bool is_disco) {
    stat_add(&w->metrics->packets_received, 1);
    stat_add(&w->metrics->bytes_received, data_size);
    stat_add(&w->metrics->packets_received_kind[is_disco ? KIND_DISCO : KIND_OTHER], 1);
    from->v.packets_received++;
    from->v.bytes_received += data_size;
}

/* derper's totals leave out what comes by the mesh: it was received elsewhere in the region. */
void forward_account_mesh(struct worker *w, struct conn *from, size_t data_size) {
    stat_add(&w->metrics->packets_forwarded_in, 1);
    from->v.packets_received++;
    from->v.bytes_received += data_size;
}

/* A packet on its way through here. */
struct transit {
    struct conn *from;           // on whose connection it came
    const struct node_key *src;  // whose it is; not in the frame
    uint64_t source_hash;        // of src
    struct derp_send send;       // in the receive buffer, or in `carrier`
    struct packet *carrier;  // the slot that holds the frame as a SendPacket or RecvPacket; NULL: it has to be copied
    bool is_disco;
    bool is_forwarded;  // by a mesh peer
};

static void drop(struct worker *w, const struct transit *transit, enum drop_reason reason) {
    metrics_drop(w->metrics, reason, transit->is_disco, transit->send.data_size);
    if (transit->carrier) packet_give(&w->packets, transit->carrier);
}

/* The directory's answer, by way of the sender's small cache. */
static route find_route(struct worker *w, struct conn *from, const struct node_key *dst) {
    struct conn_destination *cached = &from->r.destinations[dst->bytes[0] % CONN_CACHE_ENTRIES];
    uint64_t generation = directory_generation(w->directory);
    if (cached->generation == generation && key_equal(&cached->key, dst)) return cached->where;
    route where = directory_find(w->directory, dst);
    if (where != ROUTE_NONE) *cached = (struct conn_destination){.key = *dst, .where = where, .generation = generation};
    return where;
}

/* The bucket refills by one each second and never holds more than LIMIT_NOT_HERE_BURST. */
static bool take_not_here_token(struct worker *w, struct conn *from) {
    uint64_t since_ns = w->now_ns - min_of(w->now_ns, from->v.not_here_refilled_ns);  // the front's clock may be ahead
    uint64_t whole_seconds = since_ns / NS_PER_S;
    if (whole_seconds > 0) {
        uint64_t tokens = from->v.not_here_tokens + whole_seconds;
        from->v.not_here_tokens = (uint32_t)min_of(tokens, (uint64_t)LIMIT_NOT_HERE_BURST);
        from->v.not_here_refilled_ns += whole_seconds * NS_PER_S;
    }
    if (from->v.not_here_tokens == 0) return false;
    from->v.not_here_tokens--;
    return true;
}

/* Silence for data, an answer for disco: a client that searches a path wants to know that it does not lead here, and a
 * mesh peer that its route is out of date. */
static void refuse_unknown(struct worker *w, const struct transit *transit, enum drop_reason reason) {
    if (transit->is_disco && take_not_here_token(w, transit->from)) {
        conn_send_not_here(w, transit->from, transit->send.dst);
    }
    drop(w, transit, reason);
}

/* The frame as a packet: the carrier as it is, or a copy of what lies in the receive buffer. `to` may have to lose a
 * packet for it; NULL: it is on another worker. */
static struct packet *make_packet(struct worker *w, struct peer *to, const struct transit *transit) {
    const struct derp_send *send = &transit->send;
    if (transit->carrier) return transit->carrier;
    size_t size = DERP_SEND_HEAD_SIZE + send->data_size;
    struct packet *packet = worker_take_packet(w, size);
    if (packet == NULL && to && peer_drop_oldest(w, to)) packet = worker_take_packet(w, size);
    if (packet == NULL) return NULL;
    packet->size = (uint32_t)size;
    memcpy(packet->frame + DERP_SEND_HEAD_SIZE, send->data, send->data_size);
    struct writer head = writer_of(packet->frame, DERP_HEADER_SIZE);
    derp_write_header(&head, DERP_RECV_PACKET, (uint32_t)(KEY_SIZE + send->data_size));
    return packet;
}

/* Ready for its queue, here or elsewhere; NULL and counted when there is no memory. transit->send is not valid any
 * more. */
static struct packet *prepare(struct worker *w, struct peer *to, const struct transit *transit) {
    struct packet *packet = make_packet(w, to, transit);
    if (packet == NULL) {
        drop(w, transit, DROP_POOL_EMPTY);
        return NULL;
    }
    packet->is_disco = transit->is_disco;
    packet->is_forwarded = transit->is_forwarded;
    packet->flow = backlog_flow_of(transit->source_hash, transit->is_disco);
    derp_rewrite_send_to_recv(packet->frame, transit->src);
    return packet;
}

/* May a packet of `from` cross now? Who has sent much in this pass makes room for the others: it is not read on while
 * the other worker is behind, as it would not be on a single worker that is behind, and loses packets first. */
static bool may_cross(struct worker *w, struct conn *from, uint32_t worker) {
    enum crossing_load load = crossing_load(&w->crossing, worker);
    if (likely(load == CROSSING_LIGHT)) return true;
    bool is_heavy = from->r.read_bytes > LIMIT_READ_HEAVY;
    if (is_heavy) from->r.is_held = true;
    return load == CROSSING_CROWDED || (load == CROSSING_FULL && !is_heavy);
}

/* The destination lives with another worker. */
static void hand_over(struct worker *w, const struct transit *transit, route where) {
    const struct derp_send *send = &transit->send;
    bool is_too_large = peer_is_too_large(packet_cost_of(DERP_SEND_HEAD_SIZE + send->data_size), worker_free_bytes(w));
    if (is_too_large || !may_cross(w, transit->from, route_worker(where))) {
        drop(w, transit, is_too_large ? DROP_QUEUE_TAIL : DROP_LANE_FULL);
        return;
    }
    struct node_key dst = *send->dst;  // the rewrite puts the source in its place
    struct packet *packet = prepare(w, NULL, transit);
    if (packet == NULL) return;
    stat_add(&w->metrics->packets_crossed, 1);
    crossing_send(&w->crossing, packet, where, &dst);
}

/* The peer at a route that was just found. The ADOPT of its first connection, or of the next one when all have left,
 * may still wait in our lane: control mails it before it publishes. */
static struct peer *find_peer(struct worker *w, route where) {
    struct peer *peer = peer_at(w, where);
    if (likely(peer != NULL && peer->conns.count > 0)) return peer;
    worker_take_mail(w);
    return peer_at(w, where);
}

/* The peer that a packet for `dst` is for. When it has left the place at `where` meanwhile it is looked for once more:
 * it may have come back, here. NULL when it has not, and *now says where it is. */
static struct peer *find_destination(struct worker *w, route where, const struct node_key *dst, route *now) {
    struct peer *peer = find_peer(w, where);
    *now = where;
    if (likely(peer != NULL)) return peer;
    *now = directory_find_local(w->directory, dst);
    return *now != ROUTE_NONE ? find_peer(w, *now) : NULL;
}

/* The place is not the key's any more: it has left, or it has come back elsewhere. */
static enum drop_reason reason_without_peer(route now) {
    return now == ROUTE_NONE ? DROP_GONE_DISCONNECTED : DROP_STALE_ROUTE;
}

/* To a place that a client is at, here or with another worker. */
static void deliver(struct worker *w, const struct transit *transit, route where) {
    if (route_worker(where) != w->idx) {
        hand_over(w, transit, where);
        return;
    }
    route now;
    struct peer *to = find_destination(w, where, transit->send.dst, &now);
    if (to == NULL) {
        drop(w, transit, reason_without_peer(now));
        return;
    }
    struct packet *packet = prepare(w, to, transit);
    if (packet) peer_enqueue(w, to, packet);
}

void forward_from_client(struct worker *w, struct conn *from, const struct derp_send *send, struct packet *carrier) {
    struct transit transit = {.from = from,
                              .src = &from->r.peer->key,
                              .source_hash = from->r.source_hash,
                              .send = *send,
                              .carrier = carrier,
                              .is_disco = derp_is_disco(send->data, send->data_size)};
    forward_account(w, from, send->data_size, transit.is_disco);
    route where = find_route(w, from, send->dst);
    if (where == ROUTE_NONE) {
        refuse_unknown(w, &transit, DROP_UNKNOWN_DEST);
    } else {
        deliver(w, &transit, where);
    }
}

/* The frame in a slot of its own becomes a RecvPacket, which is a key shorter. */
static void shorten(struct packet *carrier) {
    carrier->frame = derp_rewrite_forward_to_recv(carrier->frame);
    carrier->size -= KEY_SIZE;
}

/* Not by find_route: its small cache is for those who talk with a few, and its answers need not be local. */
void forward_from_mesh(struct worker *w, struct conn *from, const struct derp_forward *forward,
                       struct packet *carrier) {
    struct node_key src = *forward->src, dst = *forward->dst;  // the rewrite moves one over the other
    struct transit transit = {.from = from,
                              .src = &src,
                              .source_hash = worker_source_hash(w, &src),
                              .send = {.dst = &dst, .data = forward->data, .data_size = forward->data_size},
                              .carrier = carrier,
                              .is_disco = derp_is_disco(forward->data, forward->data_size),
                              .is_forwarded = true};
    forward_account_mesh(w, from, forward->data_size);
    if (carrier) shorten(carrier);
    route where = directory_find_local(w->directory, &dst);
    if (key_is_zero(&src)) {
        drop(w, &transit, DROP_NO_SOURCE);
    } else if (where == ROUTE_NONE) {
        refuse_unknown(w, &transit, DROP_UNKNOWN_DEST_ON_FWD);
    } else {
        deliver(w, &transit, where);
    }
}

/* ---- ClosePeer ---- */

static void close_all(struct worker *w, const struct peer *peer) {
    for (const struct duplicate *member = peer->conns.members; member; member = member->next) {
        conn_close(w, conn_of(member, duplicate), CLOSE_CLOSE_PEER);
    }
}

/* The word to another worker goes the packets' way, which can not be full; the frame itself says what it is. */
static void mail_close_peer(struct worker *w, route where, const struct node_key *key) {
    bool is_shut = crossing_load(&w->crossing, route_worker(where)) == CROSSING_SHUT;
    size_t size = DERP_HEADER_SIZE + KEY_SIZE;
    struct packet *word = is_shut ? NULL : worker_take_packet(w, size);
    if (word == NULL) {
        stat_add(&w->metrics->close_peer_lost, 1);
        return;
    }
    struct writer frame = writer_of(word->frame, size);
    derp_write_close_peer(&frame, key);
    word->size = (uint32_t)size;
    word->is_close_peer = true;
    crossing_send(&w->crossing, word, where, key);
}

void forward_close_peer(struct worker *w, const struct node_key *key) {
    route where = directory_find_local(w->directory, key);
    if (where == ROUTE_NONE) return;
    if (route_worker(where) != w->idx) {
        mail_close_peer(w, where, key);
        return;
    }
    const struct peer *peer = find_peer(w, where);
    if (peer) close_all(w, peer);
}

/* ---- from another worker ---- */

void forward_from_worker(struct worker *w, struct packet *packet) {
    const struct crossing_head *head = crossing_head_of(packet);
    route now;
    packet->is_foreign = true;
    struct peer *to = find_destination(w, head->where, &head->dst, &now);
    if (unlikely(packet->is_close_peer)) {
        if (to) close_all(w, to);
        worker_give(w, packet);
    } else if (unlikely(to == NULL)) {
        worker_drop(w, packet, reason_without_peer(now));
    } else {
        peer_enqueue(w, to, packet);
    }
}
