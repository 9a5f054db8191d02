#include "relay/watcher.h"

#include "core/check.h"
#include "relay/conn.h"
#include "relay/peer.h"
#include "relay/worker.h"

enum { FRAME_MAX = DERP_HEADER_SIZE + DERP_PEER_PRESENT_LENGTH_MAX };

_Static_assert((int)WATCHER_BATCH_SIZE >= (int)FRAME_MAX, "a batch holds a frame");
_Static_assert((int)WATCHER_BATCH_SIZE + (int)WEBSOCKET_MESSAGE_HEAD_MAX < (int)LIMIT_RECORD_SIZE_MAX,
               "it lies in the scratch");

static bool is_walking(const struct worker *w, const struct watcher *watcher) {
    return watcher->bucket < directory_buckets(w->directory);
}

/* ---- coming and going ---- */

/* From now on the log says who is gone: what waits behind packets would come too late, perhaps after its return. */
static void drop_farewells(struct worker *w, struct conn *conn) {
    struct packet *packet;
    while ((packet = queue_pop(&conn->r.farewells)) != NULL) packet_give(&w->packets, packet);
}

static void join(struct worker *w, struct conn *conn) {
    struct watcher *watcher = &conn->r.watcher;
    drop_farewells(w, conn);
    watcher->is_on = true;
    conn->v.is_watching = true;
    watcher->cursor = presence_end(w->links.presence);  // before the first look at the directory
    watcher->next = w->watchers;
    if (w->watchers) w->watchers->prev = watcher;
    w->watchers = watcher;
    w->watchers_count++;
    stat_add(&w->metrics->watchers, 1);
    if (watcher->has_told) return;
    watcher->has_told = true;
    worker_mail_control(w, &(struct mail){.kind = MAIL_WATCH, .where = conn->r.peer->where});
}

void watcher_start(struct worker *w, struct conn *conn) {
    if (key_equal(&conn->r.peer->key, &w->server_key)) return;
    if (!conn->r.watcher.is_on && w->watchers_count == LIMIT_WATCHERS) {
        conn_end(w, conn, CLOSE_WATCHERS_FULL, WEBSOCKET_NORMAL);
        return;
    }
    if (!conn->r.watcher.is_on) join(w, conn);
    conn->r.watcher.bucket = 0;
    conn_make_dirty(w, conn);
}

void watcher_stop(struct worker *w, struct conn *conn) {
    struct watcher *watcher = &conn->r.watcher;
    if (!watcher->is_on) return;
    if (watcher->next) watcher->next->prev = watcher->prev;
    if (watcher->prev) {
        watcher->prev->next = watcher->next;
    } else {
        w->watchers = watcher->next;
    }
    watcher->next = watcher->prev = NULL;
    watcher->is_on = false;
    w->watchers_count--;
    stat_sub(&w->metrics->watchers, 1);
}

/* ---- telling ---- */

bool watcher_has_news(const struct worker *w, const struct conn *conn) {
    const struct watcher *watcher = &conn->r.watcher;
    return watcher->is_on && (is_walking(w, watcher) || watcher->cursor != presence_end(w->links.presence));
}

size_t watcher_size(const struct worker *w, const struct conn *conn, size_t most) {
    if (!watcher_has_news(w, conn)) return 0;
    uint64_t events = presence_end(w->links.presence) - conn->r.watcher.cursor;
    bool is_much = is_walking(w, &conn->r.watcher) || events > most / FRAME_MAX;
    size_t batches = (is_much ? most : (size_t)events * FRAME_MAX) / WATCHER_BATCH_SIZE + 1;
    return batches * WATCHER_BATCH_SIZE;
}

static void write_present(struct writer *out, const struct node_key *key, const struct present *present) {
    struct derp_peer_present frame = {.key = key,
                                      .port = present->port,
                                      .flags = present->flags,
                                      .app_name = present->app_name,
                                      .app_name_size = present->app_name_size};
    memcpy(frame.ip, present->ip, sizeof(frame.ip));
    derp_write_peer_present(out, &frame);
}

static void write_event(struct worker *w, struct writer *out, const struct presence_event *event) {
    if (event->kind == PRESENCE_PRESENT) {
        write_present(out, &event->key, &event->present);
    } else {
        derp_write_peer_gone(out, &event->key, DERP_GONE_DISCONNECTED);
        stat_add(&w->metrics->peer_gone_disconnected_frames, 1);
    }
}

/* False when the log has gone on without us. */
static bool write_log(struct worker *w, struct watcher *watcher, struct writer *out, uint32_t *count) {
    struct presence_event event;
    while (writer_left(out) >= FRAME_MAX) {
        enum presence_result result = presence_read(w->links.presence, &watcher->cursor, &event);
        if (result != PRESENCE_EVENT) return result == PRESENCE_NONE;
        write_event(w, out, &event);
        ++*count;
    }
    return true;
}

/* A bucket is told at once, since its chain may change before we come back. */
static bool write_bucket(struct worker *w, uint64_t bucket, struct writer *out, uint32_t *count) {
    const struct directory_node *first = directory_first(w->directory, bucket), *node;
    size_t nodes = 0;
    for (node = first; node; node = directory_next(node)) nodes++;
    if (writer_left(out) < nodes * FRAME_MAX) return false;
    for (node = first; node; node = directory_next(node)) {
        write_present(out, &node->key, &node->present);
        ++*count;
    }
    return true;
}

static void write_walk(struct worker *w, struct watcher *watcher, struct writer *out, uint32_t *count) {
    for (uint32_t turns = 0; is_walking(w, watcher) && turns < WATCHER_BUCKETS_MAX; turns++) {
        if (!write_bucket(w, watcher->bucket, out, count)) return;
        watcher->bucket++;
    }
}

/* The hash of the directory is keyed, so a chain of more than a handful does not happen; if it did, and filled a batch
 * of its own, the walk could not pass it. */
static bool is_stuck(const struct worker *w, const struct watcher *watcher, uint64_t bucket_before, uint32_t count) {
    return count == 0 && is_walking(w, watcher) && watcher->bucket == bucket_before;
}

bool watcher_write(struct worker *w, struct conn *conn, struct writer *out) {
    struct watcher *watcher = &conn->r.watcher;
    uint64_t bucket_before = watcher->bucket;
    uint32_t count = 0;
    CHECK(writer_left(out) >= WATCHER_BATCH_SIZE);
    if (!write_log(w, watcher, out, &count)) return false;
    write_walk(w, watcher, out, &count);
    metrics_observe_presence(w->metrics, count);
    return !is_stuck(w, watcher, bucket_before, count);
}

/* ---- once per pass ---- */

void watchers_look(struct worker *w) {
    if (!watchers_have_news(w)) return;
    w->presence_seen = presence_end(w->links.presence);
    struct watcher *next;
    for (struct watcher *watcher = w->watchers; watcher; watcher = next) {
        struct conn *conn = conn_of(watcher, watcher);
        next = watcher->next;
        if (presence_is_lost(w->links.presence, watcher->cursor)) {
            conn_close(w, conn, CLOSE_WATCH_BEHIND);
        } else {
            conn_make_dirty(w, conn);
        }
    }
}

bool watchers_have_news(const struct worker *w) {
    return w->watchers != NULL && presence_end(w->links.presence) != w->presence_seen;
}
