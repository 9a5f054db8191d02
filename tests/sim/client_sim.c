#include "tests/sim/client_sim.h"

#include <errno.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/http.h"
#include "proto/login.h"
#include "tests/sim/sched_sim.h"

enum { BUFFER_SIZE = 512 * 1024, OUT_FULL = 320 * 1024, FRAME_MAX = DERP_FRAME_SIZE_MAX, PIPELINED_SENDS_MAX = 4 };

void client_init(struct client *client, uint32_t idx, const struct client_plan *plan, struct oracle *oracle) {
    CHECK(idx < ORACLE_CLIENTS && plan->key < ORACLE_KEYS - ORACLE_KEYS_NOWHERE);
    *client = (struct client){.idx = idx, .plan = *plan, .oracle = oracle, .act_ns = plan->start_ns};
    client->in = malloc(BUFFER_SIZE);
    client->out = malloc(BUFFER_SIZE);
    CHECK(client->in != NULL && client->out != NULL);
    oracle->clients[idx].key = plan->key;
}

void client_fini(struct client *client) {
    free(client->in);
    free(client->out);
}

/* ---- what it says ---- */

static struct writer out_writer(const struct client *client) {
    return writer_of(client->out + client->out_size, BUFFER_SIZE - client->out_size);
}

static void out_keep(struct client *client, const struct writer *w) {
    CHECK(writer_ok(w));
    client->out_size = (size_t)(w->at - client->out);
}

static void say_request(struct client *client) {
    struct writer w = out_writer(client);
    http_write_derp_request(&w, &(struct http_derp_request){.host = "derp.example",
                                                            .path = "/derp",
                                                            .ideal_node = sim_one_in(4) ? "elsewhere" : NULL,
                                                            .is_fast_start = client->plan.is_fast_start});
    out_keep(client, &w);
}

static void say_client_info(struct client *client) {
    struct writer w = out_writer(client);
    struct rng rng;
    rng_init_seeded(&rng, sim_random());
    struct client_info info = {.version = DERP_VERSION, .can_ack_pings = true};
    const struct node_key *server = &client->oracle->house->relay.options.front.public_key;
    CHECK(login_write_client_info(&w, &client->oracle->private_keys[client->plan.key], server, &info, &rng,
                                  &client->shared));
    out_keep(client, &w);
}

void client_send(struct client *client, uint32_t dst, size_t size, bool is_disco) {
    static uint8_t data[DERP_PACKET_SIZE_MAX];
    struct writer w = out_writer(client);
    oracle_make(client->oracle, client->idx, dst, size, is_disco, data);
    derp_write_send(&w, &client->oracle->keys[dst], data, size);
    out_keep(client, &w);
}

static size_t some_size(void) {
    switch (sim_below(8)) {
        case 0: return 0;
        case 1: return DERP_PACKET_SIZE_MAX;
        case 2: return (size_t)sim_between(ORACLE_HEAD, DERP_PACKET_SIZE_MAX);
        case 3:
        case 4: return (size_t)sim_between(ORACLE_HEAD, 4000);
        default: return (size_t)sim_between(ORACLE_HEAD, 200);
    }
}

static void say_packet(struct client *client) {
    uint32_t dst = sim_one_in(12) ? ORACLE_KEYS - 1 - (uint32_t)sim_below(ORACLE_KEYS_NOWHERE)
                                  : (uint32_t)sim_below(client->plan.dst_count);
    size_t size = some_size();
    client_send(client, dst, size, size >= DERP_DISCO_SIZE_MIN && sim_one_in(3));
}

/* The number of the ping is in its bytes. */
static void say_ping(struct client *client) {
    uint8_t data[DERP_PING_SIZE] = {0};
    struct writer w = out_writer(client);
    store_be32(data, client->idx);
    store_be32(data + 4, client->pings_sent++);
    derp_write_ping(&w, data);
    out_keep(client, &w);
}

/* A type that nobody knows is to be skipped. */
static void say_unknown(struct client *client) {
    static const uint8_t zeros[100];
    struct writer w = out_writer(client);
    uint32_t length = (uint32_t)sim_below(sizeof(zeros));
    derp_write_header(&w, (enum derp_frame_type)0x70, length);
    writer_copy(&w, zeros, length);
    out_keep(client, &w);
}

static void say_preferred(struct client *client) {
    struct writer w = out_writer(client);
    derp_write_note_preferred(&w, sim_one_in(2));
    out_keep(client, &w);
}

static void say_something(struct client *client) {
    switch (sim_below(16)) {
        case 0: say_ping(client); return;
        case 1: say_unknown(client); return;
        case 2: say_preferred(client); return;
        default: say_packet(client); client->plan.sends--;
    }
}

/* The last frame of a client that does not finish it. No record: it is not a packet. */
static void say_half_a_frame(struct client *client) {
    static uint8_t data[2000];
    struct writer w = out_writer(client);
    derp_write_send(&w, &client->oracle->keys[0], data, sizeof(data));
    out_keep(client, &w);
    client->out_size -= (size_t)sim_between(1, sizeof(data) + DERP_SEND_HEAD_SIZE - 1);
}

static void say_forbidden(struct client *client) {
    struct writer w = out_writer(client);
    derp_write_header(&w, DERP_SEND_PACKET, sim_one_in(2) ? 3 : DERP_SEND_LENGTH_MAX + 1);
    out_keep(client, &w);
}

/* ---- ending ---- */

static void done(struct client *client, bool reset) {
    sim_note("client ends", client->idx, reset);
    net_close(client->end, reset);
    client->end = NULL;
    client->state = CLIENT_DONE;
}

static void fate_step(struct client *client) {
    if (!client->is_ending || client->out_size > 0 || client->state == CLIENT_DONE) return;
    switch (client->plan.fate) {
        case FATE_FIN: net_shutdown(client->end); break;
        case FATE_CLOSES:
        case FATE_MID_FRAME: done(client, false); break;
        default: break;  // the relay ends it
    }
}

void client_end(struct client *client, enum client_fate fate) {
    if (client->state == CLIENT_DONE || client->is_ending) return;
    client->plan.fate = fate;
    client->plan.sends = 0;
    client->is_ending = fate != FATE_STAYS;
    if (fate == FATE_MID_FRAME) say_half_a_frame(client);
    if (fate == FATE_MISBEHAVES) say_forbidden(client);
    if (fate == FATE_RESETS) done(client, true);
    fate_step(client);
}

/* The relay has closed. */
static void on_end(struct client *client, bool was_reset) {
    bool is_expected = client->is_ending && client->plan.fate != FATE_STAYS;
    client->is_ended_by_relay = !is_expected;
    if (!is_expected) sim_fail("client %u: closed by the relay for no reason", client->idx);
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
}

static void on_recv(struct client *client, const uint8_t *payload, size_t length) {
    struct derp_recv recv;
    if (!derp_read_recv(payload, length, &recv)) sim_fail("client %u: a short RecvPacket", client->idx);
    oracle_on_recv(client->oracle, client->idx, &recv);
}

static void on_gone(struct client *client, const uint8_t *payload, size_t length) {
    struct derp_peer_gone gone;
    if (!derp_read_peer_gone(payload, length, &gone)) sim_fail("client %u: a short PeerGone", client->idx);
    oracle_on_peer_gone(client->oracle, client->idx, &gone);
}

static void on_keep_alive(struct client *client) {
    sim_note("client keeps alive", client->idx, 0);
    if (client->keep_alives++ == 0) client->keep_alive_ns = sim.now_ns;
}

static void on_live_frame(struct client *client, uint8_t type, const uint8_t *payload, size_t length) {
    switch (type) {
        case DERP_RECV_PACKET: on_recv(client, payload, length); return;
        case DERP_PEER_GONE: on_gone(client, payload, length); return;
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
    oracle_on_server_info(client->oracle, client->idx);
}

static void on_server_key(struct client *client, const uint8_t *payload, size_t length) {
    struct node_key key;
    if (!derp_read_server_key(payload, length, &key) ||
        !key_equal(&key, &client->oracle->house->relay.options.front.public_key)) {
        sim_fail("client %u: another server's key", client->idx);
    }
    client->state = CLIENT_LOGIN;
    if (!client->plan.is_pipelined) say_client_info(client);
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

static void start(struct client *client) {
    client->end = net_connect(client->oracle->house->listen_fd);
    client->state = client->plan.is_fast_start ? CLIENT_GREETING : CLIENT_HEAD;
    say_request(client);
    if (!client->plan.is_pipelined) return;
    say_client_info(client);
    for (int i = 0; i < PIPELINED_SENDS_MAX && client->plan.sends > 0; i++, client->plan.sends--) say_packet(client);
    if (client->plan.is_hasty) client_end(client, client->plan.fate);
}

static bool can_act(const struct client *client) {
    if (client->state == CLIENT_WAITING) return true;
    return client->state == CLIENT_LIVE && client->out_size < OUT_FULL && !client->is_ending &&
           (client->plan.sends > 0 || client->plan.fate != FATE_STAYS);
}
static bool can_read(const struct client *client) { return client->end && net_can_read(client->end); }
static bool can_write(const struct client *client) {
    return client->end && client->out_size > 0 && net_can_write(client->end);
}

static bool can_give_up(const struct client *client) {
    return client->plan.gives_up_ns && client->state > CLIENT_WAITING && client->state < CLIENT_LIVE;
}

uint64_t client_next_ns(const struct client *client) {
    uint64_t next_ns = TIME_NEVER;
    if (can_give_up(client)) next_ns = client->plan.gives_up_ns;
    if (can_act(client)) next_ns = min_of(next_ns, client->act_ns);
    if (can_read(client)) next_ns = min_of(next_ns, client->read_ns);
    if (can_write(client)) next_ns = min_of(next_ns, client->write_ns);
    return next_ns;
}

bool client_can_run(const struct client *client) { return client_next_ns(client) <= sim.now_ns; }

static void act(struct client *client) {
    client->act_ns = sim.now_ns + sim_below(client->plan.pace_ns_max + 1);
    if (client->state == CLIENT_WAITING) {
        start(client);
    } else if (client->plan.sends > 0) {
        say_something(client);
    } else {
        client_end(client, client->plan.fate);
    }
}

static void read_some(struct client *client) {
    client->read_ns = sim.now_ns + sim_below(client->plan.read_ns_max + 1);
    ssize_t size = net_read(client->end, client->in + client->in_size, BUFFER_SIZE - client->in_size);
    if (size <= 0) {
        CHECK(size != -EAGAIN);
        on_end(client, size < 0);
        return;
    }
    client->in_size += (size_t)size;
    in_step(client);
}

static void write_some(struct client *client) {
    client->write_ns = sim.now_ns + sim_below(client->plan.read_ns_max + 1);
    ssize_t size = net_write(client->end, client->out + client->out_sent, client->out_size - client->out_sent);
    if (size < 0) {
        on_end(client, true);
        return;
    }
    client->out_sent += (size_t)size;
    if (client->out_sent == client->out_size) client->out_sent = client->out_size = 0;
}

void client_run(struct client *client) {
    if (can_give_up(client) && client->plan.gives_up_ns <= sim.now_ns) {
        done(client, sim_one_in(2));
        return;
    }
    if (can_act(client) && client->act_ns <= sim.now_ns) act(client);
    if (can_write(client) && client->write_ns <= sim.now_ns) write_some(client);
    if (can_read(client) && client->read_ns <= sim.now_ns) read_some(client);
    fate_step(client);
}
