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

/* Silence for data, an answer for disco: a client that searches a path wants to know that it does not lead here. */
static void refuse_unknown(struct worker *w, struct conn *from, const struct derp_send *send, bool is_disco) {
    metrics_drop(w->metrics, DROP_UNKNOWN_DEST, is_disco, send->data_size);
    if (is_disco && take_not_here_token(w, from)) conn_send_not_here(w, from, send->dst);
}

/* The frame as a packet: the carrier as it is, or a copy of what lies in the receive buffer. `to` may have to lose a
 * packet for it; NULL: it is on another worker. */
static struct packet *make_packet(struct worker *w, struct peer *to, const struct derp_send *send,
                                  struct packet *carrier) {
    if (carrier) return carrier;
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

/* Ready for its queue, here or elsewhere; NULL and counted when there is no memory. `send` is not valid any more. */
static struct packet *prepare(struct worker *w, struct conn *from, struct peer *to, const struct derp_send *send,
                              bool is_disco, struct packet *carrier) {
    struct packet *packet = make_packet(w, to, send, carrier);
    if (packet == NULL) {
        metrics_drop(w->metrics, DROP_POOL_EMPTY, is_disco, send->data_size);
        return NULL;
    }
    packet->is_disco = is_disco;
    packet->flow = backlog_flow_of(from->r.source_hash, is_disco);
    derp_rewrite_send_to_recv(packet->frame, &from->r.peer->key);
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
static void hand_over(struct worker *w, struct conn *from, route where, const struct derp_send *send, bool is_disco,
                      struct packet *carrier) {
    bool is_too_large = peer_is_too_large(packet_cost_of(DERP_SEND_HEAD_SIZE + send->data_size), worker_free_bytes(w));
    if (is_too_large || !may_cross(w, from, route_worker(where))) {
        metrics_drop(w->metrics, is_too_large ? DROP_QUEUE_TAIL : DROP_LANE_FULL, is_disco, send->data_size);
        if (carrier) packet_give(&w->packets, carrier);
        return;
    }
    struct node_key dst = *send->dst;  // the rewrite puts the source in its place
    struct packet *packet = prepare(w, from, NULL, send, is_disco, carrier);
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

/* The place is not the key's any more: it has left, or it has come back elsewhere. */
static enum drop_reason reason_without_peer(route now) {
    return now == ROUTE_NONE ? DROP_GONE_DISCONNECTED : DROP_STALE_ROUTE;
}

static void deliver(struct worker *w, struct conn *from, route where, const struct derp_send *send, bool is_disco,
                    struct packet *carrier) {
    struct peer *to = find_peer(w, where);
    if (to == NULL) {
        metrics_drop(w->metrics, reason_without_peer(directory_find(w->directory, send->dst)), is_disco,
                     send->data_size);
        if (carrier) packet_give(&w->packets, carrier);
        return;
    }
    struct packet *packet = prepare(w, from, to, send, is_disco, carrier);
    if (packet) peer_enqueue(w, to, packet);
}

void forward_from_client(struct worker *w, struct conn *from, const struct derp_send *send, struct packet *carrier) {
    bool is_disco = derp_is_disco(send->data, send->data_size);
    forward_account(w, from, send->data_size, is_disco);
    route where = find_route(w, from, send->dst);
    if (where == ROUTE_NONE) {
        refuse_unknown(w, from, send, is_disco);
        if (carrier) packet_give(&w->packets, carrier);
    } else if (route_worker(where) == w->idx) {
        deliver(w, from, where, send, is_disco, carrier);
    } else {
        hand_over(w, from, where, send, is_disco, carrier);
    }
}

void forward_from_worker(struct worker *w, struct packet *packet) {
    const struct crossing_head *head = crossing_head_of(packet);
    packet->is_foreign = true;
    struct peer *to = find_peer(w, head->where);
    if (unlikely(to == NULL)) {
        route now = directory_find(w->directory, &head->dst);
        to = now != ROUTE_NONE ? find_peer(w, now) : NULL;
        if (to == NULL) {
            worker_drop(w, packet, reason_without_peer(now));
            return;
        }
    }
    peer_enqueue(w, to, packet);
}
