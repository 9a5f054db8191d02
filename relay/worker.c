#include "relay/worker.h"

#include <sodium.h>

#include "core/check.h"
#include "relay/conn.h"
#include "relay/forward.h"
#include "relay/trace.h"

/* Packet memory is for packets and for output chunks, and each has a part that the other does not get: when queues have
 * eaten theirs, sending goes on, and when thousands have something to send at once, packets still come in. Large chunks
 * and those for slow receivers, which may stay for seconds, leave some for the others. In eighths. */
enum { EIGHTHS = 8, CHUNK_EIGHTHS = 3, CHUNK_EIGHTHS_SLOW = 2 };

/* Memory is short below this share. */
enum { SHORT_SHARE = 8 };

/* Connections that one need may make give up what they hold: bounds the time of a packet, not the help over a pass. */
enum { GIVE_UP_MAX = 16 };

size_t worker_footprint(const struct worker_options *options) {
    return packet_pool_footprint(options->packet_memory_bytes) +
           pool_footprint(options->conns_max, sizeof(struct conn)) +
           arena_cost(options->peers_max * sizeof(struct peer)) + senders_footprint(options->conns_max * 4);
}

void worker_init(struct worker *w, struct arena *arena, const struct worker_options *options,
                 const struct worker_links *links, struct ring *ring, struct metrics *metrics, struct rng *rng,
                 uint64_t now_ns) {
    memset(w, 0, sizeof(*w));
    w->idx = options->idx;
    w->ring = ring;
    w->rng = rng;
    w->metrics = metrics;
    metrics->worker_idx = options->idx;
    w->links = *links;
    w->directory = links->directory;
    w->write_timeout_ns = options->write_timeout_ns;
    w->duplicates_policy = options->duplicates_policy;
    w->rate = options->rate;
    w->rtt.is_off = options->has_no_rtt;
    packet_pool_init(&w->packets, arena, options->packet_memory_bytes, (uint8_t)options->idx);
    crossing_init(&w->crossing, options->idx, links->workers_count, options->packet_memory_bytes, links->stations, ring,
                  links->worker_rings);
    w->chunk_bytes_max = w->packets.pages_count * PACKET_PAGE_SIZE / EIGHTHS * CHUNK_EIGHTHS;
    pool_init(&w->conns, arena, options->conns_max, sizeof(struct conn));
    w->peers_count = options->peers_max;
    w->peers = arena_take(arena, options->peers_max * sizeof(struct peer));
    senders_init(&w->senders, arena, options->conns_max * 4, rng);
    wheel_init(&w->wheel, now_ns);
    w->server_key = options->server_key;
    memcpy(w->source_secret, options->source_secret, sizeof(w->source_secret));
}

void worker_fini(struct worker *w) {
    for (uint32_t slot = 0; slot < w->conns.count; slot++) {
        struct conn *conn = pool_at(&w->conns, slot);
        if (conn) record_fini(&conn->r.record);
    }
}

uint64_t worker_source_hash(const struct worker *w, const struct node_key *key) {
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, key->bytes, KEY_SIZE, w->source_secret);
    return hash;
}

/* Without what incomplete frames hold. */
static size_t unreserved_bytes(const struct worker *w) {
    size_t free_bytes = packet_pool_free_bytes(&w->packets), reserved = w->chunk_bytes_max - w->chunk_bytes;
    return free_bytes > reserved ? free_bytes - reserved : 0;
}

size_t worker_free_bytes(const struct worker *w) { return unreserved_bytes(w) + w->partial_bytes; }

bool worker_is_short(const struct worker *w) {
    return worker_free_bytes(w) < w->packets.pages_count * PACKET_PAGE_SIZE / SHORT_SHARE;
}

static void holder_remove(struct worker *w, struct conn *conn) {
    struct conn_runtime *r = &conn->r;
    if (r->holder_older) r->holder_older->r.holder_newer = r->holder_newer;
    if (r->holder_newer) r->holder_newer->r.holder_older = r->holder_older;
    if (w->holder_oldest == conn) w->holder_oldest = r->holder_newer;
    if (w->holder_newest == conn) w->holder_newest = r->holder_older;
    r->holder_older = r->holder_newer = NULL;
    r->is_holder = false;
}

static void holder_add(struct worker *w, struct conn *conn) {
    conn->r.is_holder = true;
    conn->r.holder_since_ns = w->now_ns;
    conn->r.holder_older = w->holder_newest;
    if (w->holder_newest) w->holder_newest->r.holder_newer = conn;
    w->holder_newest = conn;
    if (w->holder_oldest == NULL) w->holder_oldest = conn;
}

void worker_note_holder(struct worker *w, struct conn *conn) {
    bool holds = conn->r.partial || conn->r.raw;
    if (holds == conn->r.is_holder) return;
    if (holds) {
        holder_add(w, conn);
    } else {
        holder_remove(w, conn);
    }
}

static struct packet *take_unreserved(struct worker *w, size_t size) {
    struct packet *packet = packet_take_open(&w->packets, size);
    return packet == NULL && unreserved_bytes(w) > 0 ? packet_take(&w->packets, size) : packet;
}

/* Who sends the beginning of something and never the end holds memory for nothing, as long as nobody else needs it. */
struct packet *worker_take_packet(struct worker *w, size_t size) {
    struct packet *packet = take_unreserved(w, size);
    if (likely(packet != NULL)) return packet;
    crossing_collect(&w->crossing, &w->packets);
    packet = take_unreserved(w, size);
    struct conn *holder = w->holder_oldest;
    for (int tries = 0; packet == NULL && holder && tries < GIVE_UP_MAX; tries++) {
        struct conn *next = holder->r.holder_newer;
        if (holder != w->current && conn_may_give_up(w, holder)) conn_give_up_incomplete(w, holder);
        holder = next;
        packet = take_unreserved(w, size);
    }
    return packet;
}

struct packet *worker_take_raw(struct worker *w, size_t size) {
    struct packet *packet = worker_take_packet(w, size);
    size_t reserve = w->chunk_bytes_max / CHUNK_EIGHTHS / 2;  // half an eighth, which slow receivers' chunks do not get
    if (packet || packet_pool_free_bytes(&w->packets) < reserve) return packet;
    return packet_take(&w->packets, size);
}

struct packet *worker_take_chunk(struct worker *w, size_t size, bool is_slow) {
    bool is_long = is_slow || size > LIMIT_CHUNK_SMALL;
    size_t bytes_max = is_long ? w->chunk_bytes_max / CHUNK_EIGHTHS * CHUNK_EIGHTHS_SLOW : w->chunk_bytes_max;
    if (w->chunk_bytes + packet_cost_of(size) > bytes_max) return NULL;
    struct packet *chunk = packet_take(&w->packets, size);
    if (chunk) w->chunk_bytes += packet_cost(chunk);
    return chunk;
}

void worker_give_chunk(struct worker *w, struct packet *chunk) {
    w->chunk_bytes -= packet_cost(chunk);
    packet_give(&w->packets, chunk);
}

void worker_give(struct worker *w, struct packet *packet) {
    if (likely(packet->owner == w->idx)) {
        packet_give(&w->packets, packet);
    } else {
        crossing_send_home(&w->crossing, packet);
    }
}

void worker_drop(struct worker *w, struct packet *packet, enum drop_reason reason) {
    metrics_drop(w->metrics, reason, packet->is_disco, packet->size - DERP_SEND_HEAD_SIZE);
    worker_give(w, packet);
}

/* Lanes out of a worker are as long as what can be under way (relay/mail.h), so a full one is a bug. */
void worker_mail_control(struct worker *w, const struct mail *mail) {
    CHECK(lane_push(w->links.to_control, mail));
    w->has_mail_for_control = true;
}

void worker_mail_front(struct worker *w, const struct mail *mail) {
    CHECK(lane_push(w->links.to_front, mail));
    w->has_mail_for_front = true;
}

/* Without memory for it a connection ends where it would have begun: the socket is closed, the parcel goes back, and
 * control hears that it has left. */
static void refuse_adopt(struct worker *w, const struct mail *mail) {
    parcel_discard(w->ring, &w->links.parcels[mail->parcel_idx]);
    stat_add(&w->metrics->closes[CLOSE_NO_MEMORY], 1);
    trace_close(0, w->idx, CLOSE_NO_MEMORY, 0, 0, 0);
    worker_mail_front(w, &(struct mail){.kind = MAIL_PARCEL_BACK, .parcel_idx = mail->parcel_idx});
    worker_mail_control(w, &(struct mail){.kind = MAIL_LEFT, .where = mail->where, .key = mail->key});
}

static void on_adopt(struct worker *w, const struct mail *mail) {
    struct peer *peer = peer_open(w, mail->where, &mail->key);
    if (conn_adopt(w, peer, mail->parcel_idx) == NULL) refuse_adopt(w, mail);
}

/* The connection of a GO may have ended in between only through a stop, and then nobody cares. */
static void on_go(struct worker *w, const struct mail *mail) {
    struct peer *peer = peer_at(w, mail->where);
    struct conn *conn = peer ? peer_conn(peer, mail->conn_id) : NULL;
    if (conn == NULL || conn->r.is_closing) return;
    conn->r.start_next = w->to_start;
    w->to_start = conn;
}

static void on_release(struct worker *w, const struct mail *mail) {
    struct peer *peer = peer_at(w, mail->where);
    CHECK(peer != NULL);
    peer_release(w, peer);
}

/* Who has had packets of these keys hears that they have left. */
static void tell_gone(struct worker *w, uint32_t count) {
    struct sender_holder *holder;
    for (uint32_t i = 0; i < count; i++) {
        while ((holder = senders_take_holder(&w->senders, &w->gone[i])) != NULL) {
            conn_send_farewell(w, conn_of(holder, senders), &w->gone[i]);
        }
    }
    w->gone_count -= count;
    memmove(w->gone, w->gone + count, w->gone_count * sizeof(w->gone[0]));
}

/* Told later in the pass (phase_gone); early, if there are too many, which may make a packet come behind the news. */
static void on_gone(struct worker *w, const struct mail *mail) {
    if (w->gone_count == WORKER_GONE_MAX) tell_gone(w, w->gone_count);
    w->gone[w->gone_count++] = mail->key;
}

/* Everybody starts over with a full bucket, as with derper. */
static void on_rate(struct worker *w, const struct rate_limit *rate) {
    w->rate = *rate;
    for (uint32_t slot = 0; slot < w->conns.count; slot++) {
        struct conn *conn = pool_at(&w->conns, slot);
        if (conn) conn_set_rate(w, conn);
    }
}

static void on_mail(struct worker *w, const struct mail *mail) {
    switch ((enum mail_kind)mail->kind) {
        case MAIL_ADOPT: on_adopt(w, mail); return;
        case MAIL_GO: on_go(w, mail); return;
        case MAIL_RELEASE: on_release(w, mail); return;
        case MAIL_GONE: on_gone(w, mail); return;
        case MAIL_RATE: on_rate(w, &mail->rate); return;
        case MAIL_DUMP: w->dump = mail->dump; return;
        case MAIL_STOP: w->is_stopped = true; return;
        case MAIL_LOGIN:
        case MAIL_PARCEL_BACK:
        case MAIL_IDENTITY:
        case MAIL_BOOTSTRAP:
        case MAIL_ALLOWED:
        case MAIL_DUMP_BACK:
        case MAIL_STUN_ASK:
        case MAIL_STUN_SEEN:
        case MAIL_TOKENS:
        case MAIL_WATCH:
        case MAIL_LEFT: break;
    }
    BUG("mail that a worker does not get");
}

/* With thousands of connections each one's state is cold: loading it while the one before is served takes a twentieth
 * of the time per packet (10,000 clients, 4 packets to each in a row: 3.19 us without, 3.04 with). */
static void fetch_ahead(const struct ring_event *events, size_t left) {
    if (left > 1 && events[1].op == RING_RECEIVED) record_prefetch_in(&conn_of(events[1].socket, socket)->r.record);
    if (left > 2) conn_prefetch(conn_of(events[2].socket, socket));
}

static void phase_events(struct worker *w) {
    size_t count = ring_reap(w->ring, w->events, LIMIT_EVENTS_PER_PASS);
    for (size_t i = 0; i < count; i++) {
        fetch_ahead(&w->events[i], count - i);
        struct conn *conn = pool_find(&w->conns, w->events[i].handle);
        CHECK(conn != NULL);  // the object lives until RING_CLOSED, the last event of its socket
        w->current = conn;
        conn_on_event(w, conn, &w->events[i]);
        w->current = NULL;
    }
}

/* Only moves values about: nothing here parses packets, so that forwarding one may call it. */
void worker_take_mail(struct worker *w) {
    struct mail mail;
    while (lane_pop(w->links.from_control, &mail)) on_mail(w, &mail);
}

static void phase_arrivals(struct worker *w) {
    struct packet *packet = crossing_take(&w->crossing);
    while (packet) {
        struct packet *next = crossing_next(packet);
        forward_from_worker(w, packet);
        packet = next;
    }
}

/* Behind all that may take mail. Starting parses what came behind the login, whose destinations may bring more to
 * start. */
static void phase_start(struct worker *w) {
    struct conn *conn;
    while ((conn = w->to_start) != NULL) {
        w->to_start = conn->r.start_next;
        w->current = conn;
        conn_start(w, conn);
        w->current = NULL;
    }
}

/* A departed key's worker hands over its packets before it reports the departure: what they crossed into before we read
 * of it is there by now, and goes into backlogs before the news does. */
static void phase_gone(struct worker *w) {
    uint32_t count = w->gone_count;
    if (count == 0) return;
    phase_arrivals(w);
    phase_start(w);
    tell_gone(w, min_of(count, w->gone_count));
}

static void phase_timers(struct worker *w) {
    struct wheel_timer *timer;
    while ((timer = wheel_pop(&w->wheel, w->now_ns)) != NULL) {
        switch ((enum conn_timer)timer->kind) {
            case CONN_TIMER_KEEPALIVE: conn_on_keepalive_timer(w, conn_of(timer, keepalive_timer)); break;
            case CONN_TIMER_WRITE: conn_on_write_timer(w, conn_of(timer, write_timer)); break;
            case CONN_TIMER_READ: conn_on_read_timer(w, conn_of(timer, read_timer)); break;
        }
    }
}

/* Connections that found no chunk stay dirty and are tried again in the next pass. */
static void phase_flush(struct worker *w) {
    struct conn *conn = w->dirty;
    w->dirty = w->dirty_last = NULL;
    while (conn) {
        struct conn *next = conn->r.dirty_next;
        conn->r.is_dirty = false;
        if (next) {
            conn_prefetch(next);
            record_prefetch_out(&next->r.record);
        }
        w->current = conn;
        if (!conn->r.is_closing) conn_flush(w, conn);
        conn = next;
    }
    w->current = NULL;
}

/* A part of the dump that is under way here. There is only one of it, so its lane has room. */
static void phase_dump(struct worker *w) {
    if (likely(w->dump == NULL) || !dump_step(w->dump, w)) return;
    CHECK(lane_push(w->links.to_office, &(struct mail){.kind = MAIL_DUMP_BACK, .dump = w->dump}));
    w->dump = NULL;
    if (lane_flush(w->links.to_office)) ring_wake(w->ring, w->links.office_ring);
}

static void flush_lanes(struct worker *w) {
    if (w->has_mail_for_control && lane_flush(w->links.to_control)) ring_wake(w->ring, w->links.control_ring);
    if (w->has_mail_for_front && lane_flush(w->links.to_front)) ring_wake(w->ring, w->links.front_ring);
    w->has_mail_for_control = w->has_mail_for_front = false;
    if (log_flush()) ring_wake(w->ring, w->links.office_ring);
}

/* A dump goes on at once; who found no chunk tries again soon; packets of ours that are away are looked for now and
 * then. */
static uint64_t next_pass_ns(const struct worker *w) {
    if (w->gone_count || w->dump) return w->now_ns;
    if (w->dirty) return w->now_ns + NS_PER_MS;
    uint64_t next_ns = min_of(wheel_next_ns(&w->wheel), w->rtt_due_ns);
    return w->crossing.away ? min_of(next_ns, w->now_ns + CROSSING_COLLECT_NS) : next_ns;
}

uint64_t worker_step(struct worker *w, uint64_t now_ns) {
    epoch_enter(w->links.epoch, w->links.epoch_idx);
    w->now_ns = now_ns;
    w->pass++;
    crossing_collect(&w->crossing, &w->packets);
    crossing_publish_free(&w->crossing, worker_free_bytes(w));
    phase_events(w);
    worker_take_mail(w);
    phase_arrivals(w);
    phase_start(w);
    phase_gone(w);
    crossing_flush_out(&w->crossing);
    phase_timers(w);
    w->rtt_due_ns = rtt_step(w);
    watchers_look(w);
    phase_flush(w);
    phase_dump(w);
    crossing_flush_home(&w->crossing);
    crossing_publish_free(&w->crossing, worker_free_bytes(w));
    flush_lanes(w);
    stat_add(&w->metrics->passes, 1);
    stat_set(&w->metrics->packet_memory_bytes, w->packets.bytes_taken);
    stat_set(&w->metrics->senders_forgotten, w->senders.forgotten);
    DCHECK(w->to_start == NULL);  // who waits there may be gone in the next pass
    return next_pass_ns(w);
}

bool worker_may_sleep(struct worker *w) {
    epoch_leave(w->links.epoch, w->links.epoch_idx);
    return !lane_has_mail(w->links.from_control) && !crossing_has_mail(&w->crossing) && !watchers_have_news(w);
}
