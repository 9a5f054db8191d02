#include "tests/sim/oracle_sim.h"

#include "core/check.h"
#include "tests/sim/sched_sim.h"

enum { NUMBER_AT = 8, FRAME_DATA_MAX = DERP_PACKET_SIZE_MAX };

static uint8_t scratch[FRAME_DATA_MAX];

void oracle_init(struct oracle *oracle, struct house *house) {
    struct rng rng;
    memset(oracle, 0, sizeof(*oracle));
    oracle->house = house;
    rng_init_seeded(&rng, sim_random());
    for (size_t i = 0; i < ORACLE_KEYS; i++) {
        key_generate(&rng, &oracle->private_keys[i]);
        key_private_public(&oracle->private_keys[i], &oracle->keys[i]);
    }
}

uint32_t oracle_key_idx(const struct oracle *oracle, const struct node_key *key) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        if (key_equal(&oracle->keys[i], key)) return i;
    }
    sim_fail("a key that nobody has");
}

/* ---- packets ---- */

/* Bytes that follow from the number. */
static void fill(uint8_t *data, size_t size, uint32_t number, bool is_disco) {
    uint32_t state = number * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
    if (size == 0) return;
    data[0] = 0;  // no disco by accident
    if (is_disco) memcpy(data, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_SIZE);
    store_be32(data + NUMBER_AT, number);
}

void oracle_make(struct oracle *oracle, uint32_t client, uint32_t dst, size_t size, bool is_disco, uint8_t *data) {
    struct oracle_client *from = &oracle->clients[client];
    oracle->sent++;
    if (size == 0) {
        oracle->empty_sent[from->key][dst]++;
        return;
    }
    CHECK(size >= ORACLE_HEAD && oracle->records_count < ORACLE_RECORDS);
    CHECK(!is_disco || size >= DERP_DISCO_SIZE_MIN);
    if (is_disco) from->disco_to[dst]++;
    uint32_t number = oracle->records_count++;
    oracle->records[number] = (struct oracle_record){client, dst, (uint32_t)size, is_disco, false};
    fill(data, size, number, is_disco);
    sim_note("client sends to", client, dst);
}

static void on_empty(struct oracle *oracle, uint32_t src, uint32_t dst) {
    if (++oracle->empty_delivered[src][dst] > oracle->empty_sent[src][dst]) {
        sim_fail("an empty packet from key %u to key %u was never sent", src, dst);
    }
}

static void judge(struct oracle *oracle, uint32_t client, uint32_t src, const struct derp_recv *recv) {
    struct oracle_client *to = &oracle->clients[client];
    if (recv->data_size < ORACLE_HEAD) sim_fail("client %u got a packet of %zu bytes", client, recv->data_size);
    uint32_t number = load_be32(recv->data + NUMBER_AT);
    if (number >= oracle->records_count) sim_fail("client %u got packet %u, which was never sent", client, number);
    struct oracle_record *record = &oracle->records[number];
    if (record->is_delivered) sim_fail("packet %u was delivered twice", number);
    if (record->dst != to->key) sim_fail("packet %u for key %u went to key %u", number, record->dst, to->key);
    if (oracle->clients[record->client].key != src) sim_fail("packet %u has the wrong source, key %u", number, src);
    if (record->size != recv->data_size) sim_fail("packet %u has %zu bytes", number, recv->data_size);
    fill(scratch, record->size, number, record->is_disco);
    if (memcmp(scratch, recv->data, record->size) != 0) sim_fail("packet %u was altered", number);
    if (to->newest_from[record->client][record->is_disco] > number) sim_fail("packet %u was overtaken", number);
    to->newest_from[record->client][record->is_disco] = number + 1;
    record->is_delivered = true;
}

void oracle_on_recv(struct oracle *oracle, uint32_t client, const struct derp_recv *recv) {
    struct oracle_client *to = &oracle->clients[client];
    uint32_t src = oracle_key_idx(oracle, recv->src);
    if (recv->data_size == 0) {
        on_empty(oracle, src, to->key);
    } else {
        judge(oracle, client, src, recv);
    }
    to->has_heard[src] = true;
    to->heard_all[src]++;
    oracle->delivered++;
    oracle->delivered_bytes += recv->data_size;
    sim_note("client receives from", client, src);
}

void oracle_on_peer_gone(struct oracle *oracle, uint32_t client, const struct derp_peer_gone *gone) {
    struct oracle_client *to = &oracle->clients[client];
    uint32_t key = oracle_key_idx(oracle, gone->key);
    sim_note("client hears gone", client, key);
    if (gone->reason == DERP_GONE_NOT_HERE) {
        if (++to->not_here_from[key] > to->disco_to[key]) sim_fail("client %u: NotHere of key %u unasked", client, key);
        return;
    }
    if (gone->reason != DERP_GONE_DISCONNECTED) sim_fail("client %u: PeerGone with reason %u", client, gone->reason);
    bool is_due = to->has_heard[key] || (!ORACLE_TOLD_ONCE && to->told_all[key] < to->heard_all[key]);
    if (!is_due) sim_fail("client %u is told of key %u, from which it heard nothing", client, key);
    to->told_all[key]++;
    to->has_heard[key] = false;
}

/* ---- presence ---- */

static bool is_published(const struct oracle *oracle, uint32_t key) {
    return directory_find(&oracle->house->relay.directory, &oracle->keys[key]) != ROUTE_NONE;
}

void oracle_on_server_info(struct oracle *oracle, uint32_t client) {
    uint32_t key = oracle->clients[client].key;
    sim_note("client is logged in", client, key);
    oracle_read_presence(oracle);
    if (++oracle->infos[key] > oracle->presents[key]) sim_fail("client %u has ServerInfo before it is present", client);
}

static void on_presence(struct oracle *oracle, const struct presence_event *event) {
    uint32_t key = oracle_key_idx(oracle, &event->key);
    sim_note(event->kind == PRESENCE_PRESENT ? "present" : "gone", key, event->conn_id);
    if (event->kind == PRESENCE_PRESENT) {
        oracle->presents[key]++;
        oracle->presents_now[key]++;
        oracle->presents_all++;
        return;
    }
    if (oracle->presents_now[key] == 0) sim_fail("key %u is gone without having been present", key);
    oracle->presents_now[key] = 0;
}

void oracle_read_presence(struct oracle *oracle) {
    const struct presence *presence = oracle->house->relay.control.presence;
    struct presence_event event;
    enum presence_result result;
    while ((result = presence_read(presence, &oracle->house->presence_cursor, &event)) == PRESENCE_EVENT) {
        on_presence(oracle, &event);
    }
    CHECK(result == PRESENCE_NONE);
}

/* ---- at rest ---- */

void oracle_check_client(const struct oracle *oracle, uint32_t client) {
    const struct oracle_client *c = &oracle->clients[client];
    if (!is_published(oracle, c->key)) sim_fail("client %u is connected and its key is not in the directory", client);
    for (uint32_t key = 0; key < ORACLE_KEYS; key++) {
        if (c->has_heard[key] && !is_published(oracle, key))
            sim_fail("client %u was not told that key %u left", client, key);
    }
}

void oracle_check_counts(const struct oracle *oracle, bool is_gentle) {
    const struct house *house = oracle->house;
    uint64_t received = HOUSE_SUM(house, packets_received), sent = HOUSE_SUM(house, packets_sent);
    uint64_t lost = house_dropped(house, DROP_WRITE_ERROR);
    if (received > oracle->sent) sim_fail("the relay counts more packets than were sent");
    if (oracle->delivered > sent + lost) sim_fail("more packets were delivered than the relay counts");
    if (house_dropped(house, DROP_POOL_EMPTY)) sim_fail("packets were dropped though there is memory for all");
    /* With one worker the directory and the worker's places never disagree, if mail is made visible in time. */
    if (house_dropped(house, DROP_STALE_ROUTE)) sim_fail("a route that is published leads nowhere");
    if (house_dropped(house, DROP_DUP_CLIENT)) sim_fail("packets were dropped for a reason that does not exist yet");
    if (HOUSE_SUM(house, logins) != oracle->presents_all) sim_fail("not every login became present");
    if (!is_gentle) return;
    if (received != oracle->sent) sim_fail("the relay has not received every packet");
    if (oracle->delivered != sent || oracle->delivered_bytes != HOUSE_SUM(house, bytes_sent)) {
        sim_fail("not everything that counts as sent was delivered");
    }
    if (house_dropped_all(house) != house_dropped(house, DROP_UNKNOWN_DEST)) {
        sim_fail("nobody left, and packets were dropped: %llu stale_route, %llu gone_disconnected, %llu write_error",
                 (unsigned long long)house_dropped(house, DROP_STALE_ROUTE),
                 (unsigned long long)house_dropped(house, DROP_GONE_DISCONNECTED), (unsigned long long)lost);
    }
}

void oracle_check_all_gone(const struct oracle *oracle) {
    for (uint32_t key = 0; key < ORACLE_KEYS; key++) {
        if (oracle->presents_now[key]) sim_fail("key %u has left and is present", key);
        if (is_published(oracle, key)) sim_fail("key %u has left and is in the directory", key);
    }
}
