#include "relay/dump.h"

#include "relay/conn.h"
#include "relay/peer.h"
#include "relay/worker.h"

void dump_init(struct dump *dump, struct arena *arena, uint32_t rows_max) {
    *dump = (struct dump){.rows = arena_take(arena, rows_max * sizeof(struct dump_row)), .rows_max = rows_max};
}

void dump_begin(struct dump *dump) {
    dump->rows_count = dump->worker = dump->next_slot = 0;
    dump->is_cut = false;
}

/* Threads read their clocks one after the other: what seems to be in the future is now. */
static uint64_t age(uint64_t then_ns, uint64_t now_ns) { return then_ns < now_ns ? now_ns - then_ns : 0; }

static uint8_t flags_of(const struct conn *conn, const struct peer *peer) {
    return (uint8_t)((conn->v.is_preferred ? DUMP_HOME : 0) | (conn->v.is_prober ? DUMP_PROBER : 0) |
                     (conn->v.is_mesh_peer ? DUMP_MESH : 0) | (conn->v.is_not_ideal ? DUMP_NOT_IDEAL : 0) |
                     (peer_active(peer) == conn ? DUMP_ACTIVE : 0) | (peer->conns.count > 1 ? DUMP_DUPLICATE : 0) |
                     (conn->r.duplicate.is_disabled ? DUMP_DISABLED : 0));
}

/* Packets wait for the key; whoever is active will get them. */
static void write_queue(struct dump_row *row, const struct peer *peer, uint64_t now_ns) {
    row->queue_packets = peer->backlog.count;
    row->queue_bytes = (uint32_t)peer->backlog.bytes;
    if (peer->backlog.count) row->queue_age_ns = age(backlog_oldest_ns(&peer->backlog), now_ns);
}

static void write_row(struct dump_row *row, const struct worker *w, const struct conn *conn, uint32_t slot) {
    const struct conn_value *v = &conn->v;
    const struct peer *peer = conn->r.peer;
    *row = (struct dump_row){.key = peer->key,
                             .conn_id = v->conn_id,
                             .age_ns = age(v->connected_ns, w->now_ns),
                             .idle_ns = age(conn->r.heard_ns, w->now_ns),
                             .packets_received = v->packets_received,
                             .packets_sent = v->packets_sent,
                             .bytes_received = v->bytes_received,
                             .bytes_sent = v->bytes_sent,
                             .unsent_bytes = conn->r.sending ? conn->r.sending->size - conn->r.sending->sent : 0,
                             .remote_port = v->remote_port,
                             .transport = v->transport,
                             .flags = flags_of(conn, peer),
                             .worker = (uint8_t)w->idx,
                             .slot = slot};
    memcpy(row->remote_ip, v->remote_ip, sizeof(row->remote_ip));
    if (row->flags & DUMP_ACTIVE) write_queue(row, peer, w->now_ns);
}

bool dump_step(struct dump *dump, const struct worker *w) {
    uint32_t rows_left = DUMP_ROWS_PER_PASS;
    uint64_t slots_end = min_of((uint64_t)dump->next_slot + DUMP_SLOTS_PER_PASS, (uint64_t)w->conns.count);
    for (; dump->next_slot < slots_end && rows_left > 0; dump->next_slot++) {
        const struct conn *conn = pool_at(&w->conns, dump->next_slot);
        if (conn == NULL || conn->r.is_closing) continue;
        if (dump->rows_count == dump->rows_max) {
            dump->is_cut = true;
            return true;
        }
        write_row(&dump->rows[dump->rows_count++], w, conn, dump->next_slot);
        rows_left--;
    }
    return dump->next_slot >= w->conns.count;
}
