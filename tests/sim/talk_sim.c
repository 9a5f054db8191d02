/* talk_sim.c - what a client says: requests, logins, packets and frames of all kinds (tests/sim/client_sim.h). */
#include "core/check.h"
#include "proto/http.h"
#include "proto/login.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/sched_sim.h"
#include "tests/sim/talk_sim.h"

enum { SMALL_MAX = 250, LARGE_MIN = 20000, SMALL_AT_ONCE = 8, PINGS_AT_ONCE = 20 };

static struct writer out_writer(const struct client *client) {
    return writer_of(client->out + client->out_size, CLIENT_BUFFER_SIZE - client->out_size);
}

static void out_keep(struct client *client, const struct writer *w) {
    CHECK(writer_ok(w));
    client->out_size = (size_t)(w->at - client->out);
}

void talk_request(struct client *client) {
    struct writer w = out_writer(client);
    http_write_derp_request(&w, &(struct http_derp_request){.host = "derp.example",
                                                            .path = "/derp",
                                                            .ideal_node = sim_one_in(4) ? "elsewhere" : NULL,
                                                            .is_fast_start = client->plan.is_fast_start});
    out_keep(client, &w);
}

void talk_client_info(struct client *client) {
    struct writer w = out_writer(client);
    struct rng rng;
    rng_init_seeded(&rng, sim_random());
    struct client_info info = {.version = DERP_VERSION, .can_ack_pings = true};
    info.has_mesh_key = client->plan.is_mesh;
    if (info.has_mesh_key) info.mesh_key = client->oracle->house->relay.options.front.mesh_key;
    const struct node_key *server = &client->oracle->house->relay.options.front.public_key;
    CHECK(login_write_client_info(&w, &client->oracle->private_keys[client->plan.key], server, &info, &rng,
                                  &client->shared));
    out_keep(client, &w);
}

void talk_watch(struct client *client) {
    struct writer w = out_writer(client);
    derp_write_watch_conns(&w);
    out_keep(client, &w);
    client->is_watching = true;
    tally_add(TALLY_WATCHES, 1);
}

/* Whose packets a mesh peer forwards: of one who never comes here itself. */
static void forward(struct client *client, uint32_t dst, size_t size, bool is_disco) {
    static uint8_t data[DERP_PACKET_SIZE_MAX];
    struct writer w = out_writer(client);
    const struct oracle *oracle = client->oracle;
    oracle_make_forward(client->oracle, client->idx, dst, size, is_disco, data);
    derp_write_forward(&w, &oracle->public_keys[ORACLE_KEY_AFAR], &oracle->public_keys[dst], data, size);
    out_keep(client, &w);
}

void client_send(struct client *client, uint32_t dst, size_t size, bool is_disco) {
    static uint8_t data[DERP_PACKET_SIZE_MAX];
    struct writer w = out_writer(client);
    oracle_make(client->oracle, client->idx, dst, size, is_disco, data);
    derp_write_send(&w, &client->oracle->public_keys[dst], data, size);
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

static uint32_t some_dst(const struct client *client) {
    if (client->plan.talk == TALK_MIXED && sim_one_in(12)) {
        return ORACLE_KEYS - 1 - (uint32_t)sim_below(ORACLE_KEYS_NOWHERE);
    }
    return client->plan.dst_first + (uint32_t)sim_below(client->plan.dst_count);
}

static void say_packet_of(struct client *client, size_t size) {
    bool is_disco = size >= DERP_DISCO_SIZE_MIN && sim_one_in(3);
    if (client->plan.is_mesh && !sim_one_in(4)) {
        forward(client, some_dst(client), max_of(size, (size_t)ORACLE_HEAD), is_disco);
    } else {
        client_send(client, some_dst(client), size, is_disco);
    }
}

/* Everybody of that key is to be sent away. */
static void say_close_peer(struct client *client) {
    struct writer w = out_writer(client);
    uint32_t key = some_dst(client);
    derp_write_close_peer(&w, &client->oracle->public_keys[key]);
    out_keep(client, &w);
    client->oracle->keys[key].close_peers++;
    client->oracle->has_somebody_left = true;
    tally_add(TALLY_CLOSE_PEERS, 1);
}

static void say_mesh_word(struct client *client) {
    if (client->plan.is_watcher && sim_one_in(2)) {
        talk_watch(client);
    } else if (client->plan.is_closer) {
        say_close_peer(client);
    }
}

void talk_packet(struct client *client) {
    switch (client->plan.talk) {
        case TALK_SMALL: say_packet_of(client, (size_t)sim_between(ORACLE_HEAD, SMALL_MAX)); return;
        case TALK_LARGE: say_packet_of(client, (size_t)sim_between(LARGE_MIN, DERP_PACKET_SIZE_MAX)); return;
        case TALK_MIXED:
        case TALK_PINGS: say_packet_of(client, some_size()); return;
    }
}

/* The packet is begun; the rest of it comes later, or never. */
void talk_held_packet(struct client *client) {
    size_t before = client->out_size;
    say_packet_of(client, (size_t)sim_between(LARGE_MIN, DERP_PACKET_SIZE_MAX));
    client->held_size = (size_t)sim_between(1, client->out_size - before - 1);
    tally_add(TALLY_HALF_FRAMES, 1);
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

static void say_mixture(struct client *client) {
    switch (sim_below(16)) {
        case 0: say_ping(client); return;
        case 1: say_unknown(client); return;
        case 2: say_preferred(client); return;
        case 3:
            if (client->plan.is_mesh) say_mesh_word(client);
            return;
        default: talk_packet(client); client->plan.sends--;
    }
}

static uint32_t at_once(const struct client *client) {
    switch (client->plan.talk) {
        case TALK_SMALL: return (uint32_t)sim_between(1, SMALL_AT_ONCE);
        case TALK_PINGS: return (uint32_t)sim_between(1, PINGS_AT_ONCE);
        case TALK_MIXED:
        case TALK_LARGE: break;
    }
    return 1;
}

void talk_something(struct client *client) {
    if (client->plan.talk == TALK_MIXED) {
        say_mixture(client);
        return;
    }
    for (uint32_t n = at_once(client); n > 0 && client->plan.sends > 0; n--, client->plan.sends--) {
        if (client->plan.talk == TALK_PINGS) {
            say_ping(client);
        } else {
            talk_packet(client);
        }
    }
}

/* The last frame of a client that does not finish it. No record: it is not a packet. */
void talk_half_a_frame(struct client *client) {
    static uint8_t data[2000];
    struct writer w = out_writer(client);
    derp_write_send(&w, &client->oracle->public_keys[0], data, sizeof(data));
    out_keep(client, &w);
    client->out_size -= (size_t)sim_between(1, sizeof(data) + DERP_SEND_HEAD_SIZE - 1);
}

void talk_wrong_length(struct client *client) {
    struct writer w = out_writer(client);
    derp_write_header(&w, DERP_SEND_PACKET, sim_one_in(2) ? 3 : DERP_SEND_LENGTH_MAX + 1);
    out_keep(client, &w);
    client->oracle->misbehaved++;
    tally_add(TALLY_MISBEHAVED, 1);
}

/* Frames that only another server may send. */
void talk_mesh_frame(struct client *client) {
    static const struct {
        enum derp_frame_type type;
        uint32_t length;
    } frames[] = {{DERP_WATCH_CONNS, 0}, {DERP_CLOSE_PEER, KEY_SIZE}, {DERP_FORWARD_PACKET, 2 * KEY_SIZE + 100}};
    size_t which = (size_t)sim_below(array_count(frames));
    struct writer w = out_writer(client);
    derp_write_header(&w, frames[which].type, frames[which].length);
    if (frames[which].length) writer_copy(&w, client->oracle->public_keys, frames[which].length);
    out_keep(client, &w);
    client->oracle->mesh_frames++;
    tally_add(TALLY_MESH_FRAMES, 1);
}
