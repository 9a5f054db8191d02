#include "core/check.h"
#include "relay/conn_io.h"
#include "relay/peer.h"
#include "relay/trace.h"
#include "relay/worker.h"

/* Looks per write timeout: the kernel tells of a finished send only when half of what it may hold unsent has gone
 * (TCP_NOTSENT_LOWAT), which takes a slow link seconds, so the progress in between is looked for. */
enum { WRITE_LOOKS = 4 };

/* Mesh peers have their own, whatever the others have; 0: none. */
static uint64_t write_timeout_ns(const struct worker *w, const struct conn *conn) {
    return conn->v.is_mesh_peer ? LIMIT_MESH_WRITE_TIMEOUT_S * NS_PER_S : w->write_timeout_ns;
}

static void arm_write_timer(struct worker *w, struct conn *conn) {
    uint64_t timeout_ns = write_timeout_ns(w, conn);
    if (timeout_ns == 0) return;
    conn->r.unacknowledged = -1;
    conn->v.write_deadline_ns = w->now_ns + timeout_ns;
    wheel_arm(&w->wheel, &conn->r.write_timer, w->now_ns + timeout_ns / WRITE_LOOKS);
}

void conn_on_write_timer(struct worker *w, struct conn *conn) {
    if (conn_is_lingering(conn)) {
        conn_close(w, conn, CLOSE_EOF);
        return;
    }
    uint64_t timeout_ns = write_timeout_ns(w, conn);
    int64_t now_left = ring_unacknowledged(conn->r.socket.fd);
    if (now_left >= 0 && now_left < conn->r.unacknowledged) {
        conn->v.write_deadline_ns = w->now_ns + timeout_ns;
    }
    conn->r.unacknowledged = now_left;
    if (w->now_ns >= conn->v.write_deadline_ns) {
        conn_close(w, conn, CLOSE_WRITE_TIMEOUT);
        return;
    }
    if (w->now_ns >= conn->r.send_begun_ns + timeout_ns && worker_is_short(w)) {
        conn_close(w, conn, CLOSE_SLOW);  // it moves, but what it holds is needed
        return;
    }
    peer_drop_aged(w, conn->r.peer);
    uint64_t next_ns = w->now_ns + timeout_ns / WRITE_LOOKS;
    wheel_arm(&w->wheel, &conn->r.write_timer, min_of(next_ns, conn->v.write_deadline_ns));
}

/* Two callers and a probe, which is to be in one place (relay/trace.h). */
static never_inline void send_rest(struct worker *w, struct conn *conn) {
    struct packet *chunk = conn->r.sending;
    trace_send(conn->v.conn_id, w->idx, chunk->size - chunk->sent, chunk->sent, chunk->relayed[KIND_OTHER],
               chunk->relayed[KIND_DISCO]);
    ring_send(w->ring, &conn->r.socket, chunk->frame + chunk->sent, chunk->size - chunk->sent);
    stat_add(&w->metrics->sends, 1);
}

void conn_make_dirty(struct worker *w, struct conn *conn) {
    if (conn->r.is_dirty || conn->r.is_closing) return;
    conn->r.is_dirty = true;
    conn->r.dirty_next = NULL;
    conn->r.dirty_prev = w->dirty_last;
    if (w->dirty_last) {
        w->dirty_last->r.dirty_next = conn;
    } else {
        w->dirty = conn;
    }
    w->dirty_last = conn;
}

void conn_make_clean(struct worker *w, struct conn *conn) {
    if (!conn->r.is_dirty) return;
    struct conn *next = conn->r.dirty_next, *prev = conn->r.dirty_prev;
    CHECK((prev || w->dirty == conn) && (next || w->dirty_last == conn));
    conn->r.is_dirty = false;
    if (next) {
        next->r.dirty_prev = prev;
    } else {
        w->dirty_last = prev;
    }
    if (prev) {
        prev->r.dirty_next = next;
    } else {
        w->dirty = next;
    }
}

/* ---- sealing: the only copy on the way out ---- */

static bool is_tls(const struct conn *conn) { return conn->v.transport == TRANSPORT_TLS; }

static bool is_active(const struct conn *conn) { return conn->r.peer->conns.active == &conn->r.duplicate; }

/* Packets that this connection would send. */
static const struct backlog *backlog_of(const struct conn *conn) {
    static const struct backlog none;
    return is_active(conn) ? &conn->r.peer->backlog : &none;
}

/* Bytes that `size` bytes of frames become, heads of messages included. */
static size_t wire_size(const struct conn *conn, size_t size) {
    return conn->v.is_websocket ? size + websocket_heads_size(size) : size;
}

/* Then heads cost no record, and record_room_needed of the sum is right for the parts. */
_Static_assert((int)WEBSOCKET_MESSAGE_MAX + (int)WEBSOCKET_MESSAGE_HEAD_MAX == 2 * (int)RECORD_PLAIN_MAX,
               "a message that is full is two full records");

/* Each message is sealed by itself, and may have to change the key. */
static size_t updates_size(const struct conn *conn, size_t size) {
    size_t messages = conn->v.is_websocket ? websocket_messages(size) : 1;
    return messages * RECORD_KEY_UPDATE_SIZE;
}

static bool fits(const struct conn *conn, const struct writer *room, size_t size) {
    size_t wire = wire_size(conn, size);
    if (!is_tls(conn)) return wire <= writer_left(room);
    size_t more_updates = updates_size(conn, max_of(size, (size_t)1)) - RECORD_KEY_UPDATE_SIZE;
    return record_room_needed(&conn->r.record, wire) + more_updates <= writer_left(room);
}

/* Bytes that fit. bytes[size] has to be writable (a TLS record ends with its type). False when there was no memory
 * for a new key: the connection has ended, and nothing further may be sealed. */
static bool seal_wire(struct worker *w, struct conn *conn, struct writer *room, uint8_t *bytes, size_t size) {
    if (!is_tls(conn)) {
        writer_copy(room, bytes, size);
        return true;
    }
    stat_add(&w->metrics->records_sealed, (size + RECORD_PLAIN_MAX - 1) / RECORD_PLAIN_MAX);
    if (record_seal(&conn->r.record, room, bytes, size)) return true;
    conn->r.is_sealing_broken = true;
    conn_close(w, conn, CLOSE_NO_MEMORY);
    return false;
}

/* Each head is written in front of its piece: over the headroom, and over the end of the piece before, which is sealed
 * already. */
static bool seal_messages(struct worker *w, struct conn *conn, struct writer *room, uint8_t *bytes, size_t size) {
    bool is_fine = true;
    while (is_fine && size > 0) {
        size_t piece = min_of(size, (size_t)WEBSOCKET_MESSAGE_MAX);
        uint8_t *message = websocket_put_head(bytes, piece);
        is_fine = seal_wire(w, conn, room, message, websocket_head_size(piece) + piece);
        bytes += piece;
        size -= piece;
    }
    return is_fine;
}

/* As seal_wire, of frames: in front of `bytes` there has to be room for a head of a message. */
static bool seal(struct worker *w, struct conn *conn, struct writer *room, uint8_t *bytes, size_t size) {
    return conn->v.is_websocket ? seal_messages(w, conn, room, bytes, size) : seal_wire(w, conn, room, bytes, size);
}

/* A close frame, unless it was said before: then sealing may go on. */
static void seal_close(struct worker *w, struct conn *conn, struct writer *room, uint16_t code) {
    uint8_t bytes[WEBSOCKET_CLOSE_SIZE_MAX + 1];
    struct writer frame = writer_of(bytes, WEBSOCKET_CLOSE_SIZE_MAX);
    websocket_write_close(&frame, code);
    (void)seal_wire(w, conn, room, bytes, (size_t)(frame.at - bytes));  // why: a failure closes, and says so itself
}

enum { GOODBYE_SIZE_MAX = WEBSOCKET_CLOSE_SIZE_MAX + RECORD_OVERHEAD + RECORD_KEY_UPDATE_SIZE + RECORD_ALERT_SIZE };

static void send_words(struct worker *w, struct conn *conn, struct packet *packet, const struct writer *room) {
    packet->size = (uint32_t)(room->at - packet->frame);
    conn->r.sending = packet;
    if (packet->size == 0) {
        conn_drop_chunk(w, conn);
        return;
    }
    ring_send(w->ring, &conn->r.socket, packet->frame, packet->size);
}

void conn_say_goodbye(struct worker *w, struct conn *conn) {
    enum record_alert alert = (enum record_alert)conn->r.close_alert;
    struct packet *packet = worker_take_chunk(w, GOODBYE_SIZE_MAX, false);
    if (packet == NULL) return;
    struct writer room = writer_of(packet->frame, GOODBYE_SIZE_MAX);
    bool is_polite = !is_tls(conn) || alert == ALERT_CLOSE_NOTIFY;
    uint16_t code = conn->r.ending == ENDING_OWED ? conn->r.ending_code : WEBSOCKET_NORMAL;
    if (conn->v.is_websocket && conn->r.ending != ENDING_SAID && is_polite) seal_close(w, conn, &room, code);
    if (is_tls(conn) && !conn->r.is_sealing_broken) CHECK(record_seal_alert(&conn->r.record, &room, alert));
    send_words(w, conn, packet, &room);
}

void conn_send_close(struct worker *w, struct conn *conn) {
    struct packet *packet = worker_take_chunk(w, GOODBYE_SIZE_MAX, false);
    if (packet == NULL) {
        conn_make_dirty(w, conn);
        return;
    }
    struct writer room = writer_of(packet->frame, GOODBYE_SIZE_MAX);
    conn->r.ending = ENDING_SAID;
    seal_close(w, conn, &room, conn->r.ending_code);
    conn->r.send_begun_ns = w->now_ns;
    if (!conn->r.is_closing) arm_write_timer(w, conn);
    send_words(w, conn, packet, &room);
}

static void seal_urgent(struct worker *w, struct conn *conn, struct writer *room) {
    bool is_fine = true;
    while (is_fine && !queue_is_empty(&conn->r.urgent) && fits(conn, room, conn->r.urgent.head->size)) {
        struct packet *packet = queue_pop(&conn->r.urgent);
        is_fine = seal(w, conn, room, packet->frame, packet->size);
        packet_give(&w->packets, packet);
    }
}

/* A pong and a keep-alive, and the type byte of their record. */
enum { SMALL_SIZE = 2 * DERP_HEADER_SIZE + DERP_PING_SIZE + 1 };

static void seal_websocket_pong(struct worker *w, struct conn *conn, struct writer *room) {
    uint8_t bytes[WEBSOCKET_PONG_SIZE_MAX + 1];
    struct writer pong = writer_of(bytes, WEBSOCKET_PONG_SIZE_MAX);
    if (conn->r.is_closing || !websocket_owes_pong(&conn->r.websocket) || !fits(conn, room, sizeof(bytes))) return;
    websocket_write_pong(&pong, &conn->r.websocket);
    (void)seal_wire(w, conn, room, bytes, (size_t)(pong.at - bytes));  // why: conn_flush asks is_closing
}

/* A pong and a keep-alive share a record. */
static void seal_small(struct worker *w, struct conn *conn, struct writer *room) {
    uint8_t memory[WEBSOCKET_MESSAGE_HEAD_MAX + SMALL_SIZE];
    uint8_t *bytes = memory + WEBSOCKET_MESSAGE_HEAD_MAX;
    struct writer small = writer_of(bytes, SMALL_SIZE - 1);
    if (conn->r.is_closing || !fits(conn, room, SMALL_SIZE)) return;
    if (conn->v.is_pong_owed) {
        derp_write_pong(&small, conn->v.pong);
        conn->v.is_pong_owed = false;
        stat_add(&w->metrics->sent_pong, 1);
    }
    if (conn->r.is_keepalive_due) {
        derp_write_keep_alive(&small);
        conn->r.is_keepalive_due = false;
        stat_add(&w->metrics->keep_alives_sent, 1);
    }
    size_t size = (size_t)(small.at - bytes);
    bool is_update_owed = is_tls(conn) && record_owes(&conn->r.record);
    if (size > 0) {
        (void)seal(w, conn, room, bytes, size);  // why: conn_flush asks is_closing
    } else if (is_update_owed) {
        (void)seal_wire(w, conn, room, bytes, 0);  // why: likewise
    }
}

/* Who has come and gone, in batches that share a record. */
static void seal_presence(struct worker *w, struct conn *conn, struct writer *room) {
    while (!conn->r.is_closing && watcher_has_news(w, conn) && fits(conn, room, WATCHER_BATCH_SIZE)) {
        uint8_t *bytes = w->scratch + WEBSOCKET_MESSAGE_HEAD_MAX;
        struct writer batch = writer_of(bytes, WATCHER_BATCH_SIZE);
        if (!watcher_write(w, conn, &batch)) {
            conn_close(w, conn, CLOSE_WATCH_BEHIND);
            return;
        }
        size_t size = (size_t)(batch.at - bytes);
        if (size == 0) return;
        (void)seal(w, conn, room, bytes, size);  // why: is_closing is asked for
    }
}

/* The first packet of a source makes the connection a holder of it. If the source left between its packet and now, its
 * GONE has passed already, so the directory is asked (after the pair is noted: relay/senders.h). Of a source that
 * another server vouches for we may know nothing at all: it is told of when it has been in our directory and leaves. */
static void note_sender(struct worker *w, struct conn *conn, const struct packet *packet) {
    struct node_key src;
    memcpy(src.bytes, packet->frame + DERP_HEADER_SIZE, KEY_SIZE);
    if (!senders_note(&w->senders, &conn->r.senders, &src)) return;
    if (packet->is_forwarded || directory_find(w->directory, &src) != ROUTE_NONE) return;
    senders_forget(&w->senders, &conn->r.senders, &src);
    conn_send_farewell(w, conn, &src);
}

static void seal_packet(struct worker *w, struct conn *conn, struct packet *chunk, struct writer *room,
                        struct packet *packet) {
    enum packet_kind kind = packet->is_disco ? KIND_DISCO : KIND_OTHER;
    metrics_queue_time(w->metrics, w->now_ns - packet->enqueued_ns);
    if (!seal(w, conn, room, packet->frame, packet->size)) {
        worker_drop(w, packet, DROP_WRITE_ERROR);
        return;
    }
    chunk->relayed[kind]++;
    chunk->relayed_bytes[kind] += packet->size - DERP_SEND_HEAD_SIZE;
    note_sender(w, conn, packet);
    worker_give(w, packet);
}

/* Says each farewell whose source has nothing left that waited when it was made. It comes right before newer packets of
 * the key, which may be here again, and after it the client has had nothing of the key that is not taken back. */
static bool seal_farewells(struct worker *w, struct conn *conn, struct writer *room) {
    struct queue *queue = &conn->r.farewells;
    struct packet *before = NULL, *packet = queue->head;
    for (; packet && !conn->r.is_closing; packet = before ? before->next : queue->head) {
        if (backlog_holds_before(backlog_of(conn), packet->relayed[0], packet->arrival)) {
            before = packet;
            continue;
        }
        if (!fits(conn, room, packet->size)) return false;
        struct node_key key;
        memcpy(key.bytes, packet->frame + DERP_HEADER_SIZE, KEY_SIZE);
        senders_forget(&w->senders, &conn->r.senders, &key);
        (void)seal(w, conn, room, packet->frame, packet->size);  // why: is_closing is asked for
        packet_give(&w->packets, queue_take_behind(queue, before));
    }
    return !conn->r.is_closing;
}

static void seal_packets(struct worker *w, struct conn *conn, struct packet *chunk, struct writer *room) {
    struct backlog *backlog = &conn->r.peer->backlog;
    const struct packet *next;
    while (!conn->r.is_closing && (next = backlog_next(backlog)) != NULL && fits(conn, room, next->size)) {
        if (!queue_is_empty(&conn->r.farewells) && !seal_farewells(w, conn, room)) break;
        if (!fits(conn, room, next->size)) break;
        seal_packet(w, conn, chunk, room, backlog_pop(backlog));
    }
    metrics_observe_frames(w->metrics, chunk->relayed[KIND_DISCO] + chunk->relayed[KIND_OTHER]);
}

static void account_sent(struct worker *w, struct conn *conn, const struct packet *chunk) {
    uint32_t count = chunk->relayed[KIND_DISCO] + chunk->relayed[KIND_OTHER];
    uint32_t bytes = chunk->relayed_bytes[KIND_DISCO] + chunk->relayed_bytes[KIND_OTHER];
    stat_add(&w->metrics->packets_sent, count);
    stat_add(&w->metrics->bytes_sent, bytes);
    conn->v.packets_sent += count;
    conn->v.bytes_sent += bytes;
}

void conn_on_sent(struct worker *w, struct conn *conn, const struct ring_event *event) {
    struct packet *chunk = conn->r.sending;
    if (event->result <= 0) {
        conn_close(w, conn, CLOSE_SEND_ERROR);
        return;
    }
    chunk->sent += (uint32_t)event->result;
    if (chunk->sent < chunk->size) {
        conn->r.is_short = true;
        arm_write_timer(w, conn);
        send_rest(w, conn);
        return;
    }
    account_sent(w, conn, chunk);
    wheel_disarm(&w->wheel, &conn->r.write_timer);
    conn->v.write_deadline_ns = 0;
    conn->r.sending = NULL;
    conn->r.was_short = conn->r.is_short;
    conn->r.is_short = false;
    worker_give_chunk(w, chunk);
    conn_make_dirty(w, conn);
    if (conn->r.ending) conn_ending_on_sent(w, conn);
}

static bool has_work(const struct worker *w, const struct conn *conn) {
    return !queue_is_empty(&conn->r.urgent) || !queue_is_empty(&conn->r.farewells) || conn->v.is_pong_owed ||
           conn->r.is_keepalive_due || websocket_owes_pong(&conn->r.websocket) ||
           (is_tls(conn) && record_owes(&conn->r.record)) || !backlog_is_empty(backlog_of(conn)) ||
           watcher_has_news(w, conn);
}

/* Heads of `frames` frames with `bytes` bytes at most, and a pong, whose head fits() counts as well. */
static size_t websocket_size_of_all(size_t frames, size_t bytes) {
    size_t messages = frames + bytes / WEBSOCKET_MESSAGE_MAX;
    return (messages + 1) * WEBSOCKET_MESSAGE_HEAD_MAX + WEBSOCKET_PONG_SIZE_MAX + 1;
}

/* What all that waits will take at most when it is sealed. */
static size_t sealed_size_of_all(const struct worker *w, const struct conn *conn) {
    const struct backlog *backlog = backlog_of(conn);
    const struct queue *urgent = &conn->r.urgent, *farewells = &conn->r.farewells;
    size_t news = watcher_size(w, conn, LIMIT_CHUNK_MAX);
    size_t frames = urgent->count + farewells->count + backlog->count + 1 + news / WATCHER_BATCH_SIZE;
    size_t bytes = urgent->frame_bytes + farewells->frame_bytes + backlog->frame_bytes + SMALL_SIZE + news;
    size_t wire = conn->v.is_websocket ? bytes + websocket_size_of_all(frames, bytes) : bytes;
    if (!is_tls(conn)) return wire;
    size_t records = frames + conn->v.is_websocket + wire / RECORD_PLAIN_MAX;  // a WebSocket's pong has its own
    return wire + records * RECORD_OVERHEAD + updates_size(conn, bytes);
}

/* As large as what waits, so that news for thousands costs thousands of small slots; bounded by a gathered send, or,
 * when more waits and the receiver is not slow, by the greatest slot. The first packet always fits. */
static struct packet *take_chunk(struct worker *w, const struct conn *conn) {
    const struct packet *next = backlog_next(backlog_of(conn));
    size_t waiting = sealed_size_of_all(w, conn);
    bool is_large = waiting > LIMIT_CHUNK_SMALL && !conn->r.was_short;
    size_t size = min_of(waiting, (size_t)(is_large ? LIMIT_CHUNK_MAX : LIMIT_CHUNK_SMALL));
    size_t first = next ? next->size : 0;
    size_t wire = wire_size(conn, first);
    size_t first_sealed = is_tls(conn) ? record_sealed_size(wire) + updates_size(conn, first) : wire;
    struct packet *chunk = worker_take_chunk(w, max_of(size, first_sealed), conn->r.was_short);
    if (chunk || size <= LIMIT_CHUNK_SMALL) return chunk;
    return worker_take_chunk(w, max_of((size_t)LIMIT_CHUNK_SMALL, first_sealed), conn->r.was_short);
}

void conn_flush(struct worker *w, struct conn *conn) {
    if (!conn->v.is_started || conn->r.sending) return;
    if (conn->r.ending == ENDING_OWED) conn_send_close(w, conn);
    if (conn->r.ending) return;
    if (is_active(conn)) peer_drop_aged(w, conn->r.peer);  // first: what is left decides how large the chunk is
    if (!has_work(w, conn)) return;
    struct packet *chunk = take_chunk(w, conn);
    if (chunk == NULL) {
        conn_make_dirty(w, conn);
        return;
    }
    struct writer room = writer_of(chunk->frame, packet_capacity(chunk));
    seal_urgent(w, conn, &room);
    seal_websocket_pong(w, conn, &room);
    seal_small(w, conn, &room);
    seal_presence(w, conn, &room);
    if (is_active(conn)) seal_packets(w, conn, chunk, &room);
    (void)seal_farewells(w, conn, &room);  // why: what does not fit goes with the next send
    chunk->size = packet_capacity(chunk) - (uint32_t)writer_left(&room);
    CHECK(writer_ok(&room));
    conn->r.sending = chunk;
    if (conn->r.is_closing || chunk->size == 0) {
        conn_drop_chunk(w, conn);
        if (watcher_has_news(w, conn)) conn_make_dirty(w, conn);  // it has only passed empty buckets
        return;
    }
    conn->r.send_begun_ns = w->now_ns;
    arm_write_timer(w, conn);
    send_rest(w, conn);
}

/* A PeerGone frame for `queue`; NULL when too many wait there, or memory is short. */
static struct packet *make_peer_gone(struct worker *w, const struct conn *conn, const struct queue *queue,
                                     const struct node_key *key, enum derp_gone_reason reason) {
    size_t size = DERP_HEADER_SIZE + DERP_PEER_GONE_LENGTH;
    if (conn->r.is_closing || conn->r.ending) return NULL;
    struct packet *packet = queue->bytes < LIMIT_URGENT_BYTES_MAX ? worker_take_packet(w, size) : NULL;
    if (packet == NULL) {
        stat_add(&w->metrics->peer_gone_lost, 1);
        return NULL;
    }
    struct writer frame = writer_of(packet->frame, size);
    derp_write_peer_gone(&frame, key, reason);
    packet->size = (uint32_t)size;
    return packet;
}

void conn_send_not_here(struct worker *w, struct conn *conn, const struct node_key *key) {
    struct packet *packet = make_peer_gone(w, conn, &conn->r.urgent, key, DERP_GONE_NOT_HERE);
    if (packet == NULL) return;
    queue_push(&conn->r.urgent, packet);
    stat_add(&w->metrics->peer_gone_not_here_frames, 1);
    conn_make_dirty(w, conn);
}

/* The same news waits already, and will go out behind the packets that are being sealed now. */
static bool is_farewell_waiting(const struct conn *conn, const struct node_key *key) {
    for (const struct packet *packet = conn->r.farewells.head; packet; packet = packet->next) {
        if (memcmp(packet->frame + DERP_HEADER_SIZE, key->bytes, KEY_SIZE) == 0) return true;
    }
    return false;
}

void conn_send_farewell(struct worker *w, struct conn *conn, const struct node_key *key) {
    if (conn->r.watcher.is_on || is_farewell_waiting(conn, key)) return;
    struct packet *packet = make_peer_gone(w, conn, &conn->r.farewells, key, DERP_GONE_DISCONNECTED);
    if (packet == NULL) return;
    uint64_t hash = worker_source_hash(w, key);
    packet->arrival = conn->r.peer->backlog.arrivals;
    packet->relayed[0] = 1u << backlog_flow_of(hash, false) | 1u << backlog_flow_of(hash, true);
    queue_push(&conn->r.farewells, packet);
    stat_add(&w->metrics->peer_gone_disconnected_frames, 1);
    conn_make_dirty(w, conn);
}

/* Which packets of an unfinished chunk were delivered only the other side knows: all of them count as lost. */
void conn_drop_chunk(struct worker *w, struct conn *conn) {
    struct packet *chunk = conn->r.sending;
    if (chunk == NULL) return;
    conn->r.sending = NULL;
    for (int kind = 0; kind < PACKET_KIND_COUNT; kind++) {
        if (chunk->relayed[kind] == 0) continue;
        metrics_drop_many(w->metrics, DROP_WRITE_ERROR, (enum packet_kind)kind, chunk->relayed[kind],
                          chunk->relayed_bytes[kind]);
    }
    worker_give_chunk(w, chunk);
}
