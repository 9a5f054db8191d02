#include "relay/rtt.h"

#include "relay/conn.h"
#include "relay/worker.h"

enum {
    ROUND_S = 10,
    ASKED_PER_TURN = 16,    // about 10 us
    SLOTS_PER_TURN = 4096,  // looked at
};

void rtt_note_start(const struct worker *w, const struct conn *conn) {
    if (conn->v.is_websocket && !w->rtt.is_off) stat_add(&w->metrics->tcp_rtt[RTT_NON_TCP], 1);
}

static void ask(struct worker *w, const struct conn *conn) {
    uint32_t rtt_us;
    w->rtt.asked++;
    if (conn->v.is_websocket) return;
    bool is_known = ring_tcp_rtt(conn->r.socket.fd, &rtt_us) == 0;
    metrics_observe_rtt(w->metrics, is_known ? (int64_t)rtt_us : -1);
}

static void turn(struct worker *w) {
    struct rtt_round *round = &w->rtt;
    uint32_t end = min_of(w->conns.count, round->next_slot + SLOTS_PER_TURN);
    uint32_t most = round->asked + ASKED_PER_TURN;
    for (; round->next_slot < end && round->asked < most; round->next_slot++) {
        const struct conn *conn = pool_at(&w->conns, round->next_slot);
        if (conn && !conn->r.is_closing) ask(w, conn);
    }
}

static void begin(struct rtt_round *round, uint64_t start_ns) {
    *round = (struct rtt_round){.start_ns = start_ns, .due_ns = start_ns};
}

uint64_t rtt_step(struct worker *w) {
    struct rtt_round *round = &w->rtt;
    uint32_t used = pool_used(&w->conns);
    if (round->is_off || used == 0) {
        round->due_ns = 0;
        return TIME_NEVER;
    }
    if (round->due_ns == 0) begin(round, w->now_ns + ROUND_S * NS_PER_S);
    if (w->now_ns < round->due_ns) return round->due_ns;
    turn(w);
    bool is_done = round->next_slot == w->conns.count || round->asked >= used;
    uint32_t turns = (used + ASKED_PER_TURN - 1) / ASKED_PER_TURN;
    if (is_done) {
        begin(round, max_of(round->start_ns + ROUND_S * NS_PER_S, w->now_ns + NS_PER_MS));
    } else {
        round->due_ns = w->now_ns + ROUND_S * NS_PER_S / turns;
    }
    return round->due_ns;
}
