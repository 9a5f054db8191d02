#include "tests/sim/client_sim.h"

#include <errno.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/http.h"
#include "proto/login.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/sched_sim.h"
#include "tests/sim/talk_sim.h"

enum { OUT_FULL = 320 * 1024, FRAME_MAX = DERP_FRAME_SIZE_MAX, PIPELINED_SENDS_MAX = 4 };

void client_init(struct client *client, uint32_t idx, const struct client_plan *plan, struct oracle *oracle) {
    CHECK(idx < ORACLE_CLIENTS && plan->key < ORACLE_KEYS - ORACLE_KEYS_NOWHERE);
    *client = (struct client){.idx = idx, .plan = *plan, .oracle = oracle, .act_ns = plan->start_ns};
    client->in = malloc(CLIENT_BUFFER_SIZE);
    client->out = malloc(CLIENT_BUFFER_SIZE);
    CHECK(client->in != NULL && client->out != NULL);
    oracle->clients[idx].key = plan->key;
    oracle->clients_count = max_of(oracle->clients_count, idx + 1);
    if (plan->stall_ns || plan->read_size_max || plan->talk == TALK_LARGE) oracle->has_slow = true;
    tally_add(TALLY_CLIENTS, 1);
}

void client_fini(struct client *client) {
    free(client->in);
    free(client->out);
}

/* ---- ending ---- */

static void done(struct client *client, bool reset) {
    sim_note("client ends", client->idx, reset);
    client->is_watching = false;
    if (client->end) net_close(client->end, reset);
    client->end = NULL;
    client->state = CLIENT_DONE;
}

static void fate_step(struct client *client) {
    if (!client->is_ending || client->out_size > 0 || client_is_over(client)) return;
    switch (client->plan.fate) {
        case FATE_FIN: net_shutdown(client->end); break;
        case FATE_CLOSES:
        case FATE_MID_FRAME: done(client, false); break;
        default: break;  // the relay ends it
    }
}

static void vanish(struct client *client) {
    net_vanish(client->end);
    client->out_size = client->out_sent = 0;
    client->state = CLIENT_VANISHED;
    tally_add(TALLY_VANISHED, 1);
}

static void begin_fate(struct client *client) {
    switch (client->plan.fate) {
        case FATE_MID_FRAME: talk_half_a_frame(client); break;
        case FATE_MISBEHAVES: talk_wrong_length(client); break;
        case FATE_MESH: talk_mesh_frame(client); break;
        case FATE_RESETS:
            tally_add(TALLY_RESETS, 1);
            done(client, true);
            break;
        case FATE_VANISHES: vanish(client); break;
        default: break;
    }
}

void client_end(struct client *client, enum client_fate fate) {
    if (client->state == CLIENT_DONE) return;
    if (client->state == CLIENT_WAITING || client->state == CLIENT_VANISHED) {
        done(client, true);
        return;
    }
    client->stall_until_ns = client->held_size = 0;
    if (client->is_ending) return;
    /* Who has not said a word yet talks to the door, where nothing but requests are known. */
    client->plan.fate = client->plan.lingers && fate > FATE_CLOSES ? FATE_CLOSES : fate;
    client->plan.sends = 0;
    client->is_ending = fate != FATE_STAYS;
    client->oracle->has_somebody_left = true;
    begin_fate(client);
    fate_step(client);
}

/* Why the relay may send somebody away that has done nothing wrong: before the login because something was short in
 * this run, afterwards because the client did not read. */
static bool has_excuse(const struct client *client) {
    if (client->is_ending && client->plan.fate != FATE_STAYS) return true;
    if (client->oracle->keys[client->plan.key].close_peers > 0) return true;
    if (client->state == CLIENT_LIVE) return net_is_timed_out(client->link);
    bool is_short = faults.are_places_few || faults.are_parcels_few || client->oracle->was_overfull;
    return is_short || faults.accept_error_one_in || client->plan.lingers;
}

/* The relay has closed. */
static void on_end(struct client *client, bool was_reset) {
    if (!has_excuse(client)) sim_fail("client %u: closed by the relay for no reason", client->idx);
    client->oracle->has_somebody_left = true;
    done(client, was_reset);
}

/* ---- what it hears ---- */

static void on_pong(struct client *client, const uint8_t *payload, size_t length) {
    const uint8_t *data;
    if (!derp_read_ping(payload, length, &data)) sim_fail("client %u: a short pong", client->idx);
    uint32_t number = load_be32(data + 4);
    if (load_be32(data) != client->idx || number >= client->pings_sent || number < client->pongs_number) {
        sim_fail("client %u: a pong to no ping of its own", client->idx);
    }
    client->pongs_number = number + 1;
    tally_add(TALLY_PONGS, 1);
}

static void on_recv(struct client *client, const uint8_t *payload, size_t length) {
    struct derp_recv recv;
    if (!derp_read_recv(payload, length, &recv)) sim_fail("client %u: a short RecvPacket", client->idx);
    oracle_on_recv(client->oracle, client->idx, &recv);
    /* Who watches is told of departures by what it watches, which may be ahead of packets. */
    uint32_t src = oracle_key_idx(client->oracle, recv.src);
    if (client->is_watching) client->oracle->clients[client->idx].has_heard[src] = false;
}

static void on_gone(struct client *client, const uint8_t *payload, size_t length) {
    struct derp_peer_gone gone;
    if (!derp_read_peer_gone(payload, length, &gone)) sim_fail("client %u: a short PeerGone", client->idx);
    if (client->is_watching && gone.reason == DERP_GONE_DISCONNECTED) {
        client->views[oracle_key_idx(client->oracle, gone.key)] = false;
        tally_add(TALLY_VIEWS, 1);
        return;
    }
    oracle_on_peer_gone(client->oracle, client->idx, &gone);
}

static void on_present(struct client *client, const uint8_t *payload, size_t length) {
    struct derp_peer_present present;
    if (!client->is_watching) sim_fail("client %u: PeerPresent, and it does not watch", client->idx);
    if (!derp_read_peer_present(payload, length, &present) || length != DERP_PEER_PRESENT_LENGTH) {
        sim_fail("client %u: a PeerPresent of %zu bytes", client->idx, length);
    }
    client->views[oracle_key_idx(client->oracle, present.key)] = true;
    tally_add(TALLY_VIEWS, 1);
}

static void on_keep_alive(struct client *client) {
    sim_note("client keeps alive", client->idx, 0);
    if (client->keep_alives++ == 0) client->keep_alive_ns = sim.now_ns;
}

static void on_live_frame(struct client *client, uint8_t type, const uint8_t *payload, size_t length) {
    switch (type) {
        case DERP_RECV_PACKET: on_recv(client, payload, length); return;
        case DERP_PEER_GONE: on_gone(client, payload, length); return;
        case DERP_PEER_PRESENT: on_present(client, payload, length); return;
        case DERP_PONG: on_pong(client, payload, length); return;
        case DERP_KEEP_ALIVE: on_keep_alive(client); return;
        default: sim_fail("client %u: a frame of type %u", client->idx, type);
    }
}

static void on_server_info(struct client *client, uint8_t *payload, size_t length) {
    struct server_info info;
    if (login_open_server_info(&client->shared, payload, length, &info) != LOGIN_OK) {
        sim_fail("client %u: a ServerInfo that does not open", client->idx);
    }
    client->state = CLIENT_LIVE;
    client->live_ns = sim.now_ns;
    if (client->plan.stall_ns) {
        client->stall_from_ns = sim.now_ns + client->plan.stall_after_ns;
        bool is_for_ever = client->plan.stall_ns == TIME_NEVER;
        client->stall_until_ns = is_for_ever ? TIME_NEVER : client->stall_from_ns + client->plan.stall_ns;
    }
    oracle_on_server_info(client->oracle, client->idx);
    if (client->plan.is_watcher && !client->is_watching && !client->is_ending) talk_watch(client);
}

static void on_server_key(struct client *client, const uint8_t *payload, size_t length) {
    struct node_key key;
    if (!derp_read_server_key(payload, length, &key) ||
        !key_equal(&key, &client->oracle->house->relay.options.front.public_key)) {
        sim_fail("client %u: another server's key", client->idx);
    }
    client->state = CLIENT_LOGIN;
    if (!client->plan.is_pipelined) talk_client_info(client);
}

static void on_frame(struct client *client, uint8_t type, uint8_t *payload, size_t length) {
    if (client->state == CLIENT_LIVE) {
        on_live_frame(client, type, payload, length);
    } else if (client->state == CLIENT_GREETING && type == DERP_SERVER_KEY) {
        on_server_key(client, payload, length);
    } else if (client->state == CLIENT_LOGIN && type == DERP_SERVER_INFO) {
        on_server_info(client, payload, length);
    } else {
        sim_fail("client %u: frame type %u in state %u", client->idx, type, (unsigned)client->state);
    }
}

/* Bytes of one message at `at`, taken; 0: not complete. */
static size_t head_step(struct client *client, const uint8_t *at, size_t size) {
    static struct http_answer answer;
    struct http_scan scan = {0};
    enum http_progress progress = http_answer_parse(&scan, at, size, &answer);
    if (progress == HTTP_MORE) return 0;
    if (progress != HTTP_DONE || answer.status != 101) sim_fail("client %u: no 101", client->idx);
    client->state = CLIENT_GREETING;
    return answer.head_size;
}

static size_t frame_step(struct client *client, uint8_t *at, size_t size) {
    if (size < DERP_HEADER_SIZE) return 0;
    size_t length = load_be32(at + 1);
    if (length > FRAME_MAX) sim_fail("client %u: a frame of %zu bytes", client->idx, length);
    if (size < DERP_HEADER_SIZE + length) return 0;
    on_frame(client, at[0], at + DERP_HEADER_SIZE, length);
    return DERP_HEADER_SIZE + length;
}

static void in_step(struct client *client) {
    size_t at = 0, taken;
    do {
        uint8_t *from = client->in + at;
        size_t left = client->in_size - at;
        taken = client->state == CLIENT_HEAD ? head_step(client, from, left) : frame_step(client, from, left);
        at += taken;
    } while (taken > 0);
    client->in_size -= at;
    if (at > 0) memmove(client->in, client->in + at, client->in_size);
}

/* ---- turns ---- */

bool client_is_over(const struct client *client) {
    return client->state == CLIENT_DONE || client->state == CLIENT_VANISHED;
}

static void start(struct client *client) {
    client->end = net_connect(client->oracle->house->listen_fd, &client->plan.hints);
    client->link = net_link_of(client->end);
    client->is_connected = true;
    client->state = client->plan.is_fast_start ? CLIENT_GREETING : CLIENT_HEAD;
    if (client->plan.after) tally_add(TALLY_RECONNECTS, 1);
    if (client->plan.lingers) {
        client->oracle->lingered++;
        tally_add(TALLY_LINGERED, 1);
        return;
    }
    talk_request(client);
    if (!client->plan.is_pipelined) return;
    talk_client_info(client);
    if (client->plan.is_watcher) talk_watch(client);
    for (int i = 0; i < PIPELINED_SENDS_MAX && client->plan.sends > 0; i++, client->plan.sends--) talk_packet(client);
    if (client->plan.is_hasty) client_end(client, client->plan.fate);
}

static size_t to_write(const struct client *client) { return client->out_size - client->out_sent - client->held_size; }

static bool wants_hold(const struct client *client) { return client->plan.hold_ns > 0; }

static bool can_act(const struct client *client) {
    if (client->state == CLIENT_WAITING) return client->plan.after == NULL || client_is_over(client->plan.after);
    return client->state == CLIENT_LIVE && client->out_size < OUT_FULL && !client->is_ending && !client->held_size &&
           (client->plan.sends > 0 || wants_hold(client) || client->plan.fate != FATE_STAYS);
}

static bool can_read(const struct client *client) {
    return client->end && client->state != CLIENT_VANISHED && net_can_read(client->end);
}

static bool can_write(const struct client *client) {
    return client->end && client->state != CLIENT_VANISHED && to_write(client) > 0 && net_can_write(client->end);
}

static bool can_give_up(const struct client *client) {
    return client->plan.gives_up_ns && client->state > CLIENT_WAITING && client->state < CLIENT_LIVE;
}

static uint64_t next_read_ns(const struct client *client) {
    bool is_stalled = client->stall_from_ns <= sim.now_ns && sim.now_ns < client->stall_until_ns;
    return is_stalled ? max_of(client->read_ns, client->stall_until_ns) : client->read_ns;
}

static bool is_held(const struct client *client) { return client->held_size && !client_is_over(client); }

uint64_t client_next_ns(const struct client *client) {
    uint64_t next_ns = TIME_NEVER;
    if (can_give_up(client)) next_ns = client->plan.gives_up_ns;
    if (can_act(client)) next_ns = min_of(next_ns, client->act_ns);
    if (can_read(client)) next_ns = min_of(next_ns, next_read_ns(client));
    if (can_write(client)) next_ns = min_of(next_ns, client->write_ns);
    if (is_held(client)) next_ns = min_of(next_ns, client->held_until_ns);
    return next_ns;
}

bool client_can_run(const struct client *client) { return client_next_ns(client) <= sim.now_ns; }

static void hold_back(struct client *client) {
    talk_held_packet(client);
    client->held_until_ns = client->plan.hold_ns == TIME_NEVER ? TIME_NEVER : sim.now_ns + client->plan.hold_ns;
    client->plan.hold_ns = 0;
}

static void act(struct client *client) {
    client->act_ns = sim.now_ns + sim_below(client->plan.pace_ns_max + 1);
    if (client->state == CLIENT_WAITING) {
        start(client);
    } else if (client->plan.sends > 0) {
        talk_something(client);
    } else if (wants_hold(client)) {
        hold_back(client);
    } else {
        client_end(client, client->plan.fate);
    }
}

static void read_some(struct client *client) {
    client->read_ns = sim.now_ns + sim_below(client->plan.read_ns_max + 1);
    size_t size_max = CLIENT_BUFFER_SIZE - client->in_size;
    if (client->plan.read_size_max) size_max = min_of(size_max, client->plan.read_size_max);
    ssize_t size = net_read(client->end, client->in + client->in_size, size_max);
    if (size <= 0) {
        CHECK(size != -EAGAIN);
        on_end(client, size < 0);
        return;
    }
    client->in_size += (size_t)size;
    in_step(client);
}

static void write_some(struct client *client) {
    client->write_ns = sim.now_ns + sim_below(client->plan.write_ns_max + 1);
    ssize_t size = net_write(client->end, client->out + client->out_sent, to_write(client));
    if (size < 0) {
        on_end(client, true);
        return;
    }
    client->out_sent += (size_t)size;
    if (client->out_sent == client->out_size) client->out_sent = client->out_size = 0;
}

void client_run(struct client *client) {
    if (can_give_up(client) && client->plan.gives_up_ns <= sim.now_ns) {
        client->oracle->has_somebody_left = true;
        done(client, sim_one_in(2));
        return;
    }
    if (is_held(client) && client->held_until_ns <= sim.now_ns) client->held_size = 0;
    if (can_act(client) && client->act_ns <= sim.now_ns) act(client);
    if (can_write(client) && client->write_ns <= sim.now_ns) write_some(client);
    if (can_read(client) && next_read_ns(client) <= sim.now_ns) read_some(client);
    fate_step(client);
}
