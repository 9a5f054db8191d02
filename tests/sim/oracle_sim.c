#include "tests/sim/oracle_sim.h"

#include "core/check.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/sched_sim.h"

enum { NUMBER_AT = 8, NOISE_STARTS = 4093 };

static uint8_t scratch[DERP_PACKET_SIZE_MAX];
static uint8_t noise[NOISE_STARTS + DERP_PACKET_SIZE_MAX];

void oracle_init(struct oracle *oracle, struct house *house) {
    struct rng rng;
    memset(oracle, 0, sizeof(*oracle));
    oracle->house = house;
    rng_init_seeded(&rng, sim_random());
    rng_bytes(&rng, noise, sizeof(noise));
    for (size_t i = 0; i < ORACLE_KEYS; i++) {
        key_generate(&rng, &oracle->private_keys[i]);
        key_private_public(&oracle->private_keys[i], &oracle->public_keys[i]);
        oracle->keys[i].since_ns = TIME_NEVER;
    }
}

uint32_t oracle_key_idx(const struct oracle *oracle, const struct node_key *key) {
    for (uint32_t i = 0; i < ORACLE_KEYS; i++) {
        if (key_equal(&oracle->public_keys[i], key)) return i;
    }
    sim_fail("a key that nobody has");
}

/* ---- packets ---- */

/* Bytes that follow from the number: a piece of one long noise, that begins somewhere else for each. */
static void fill(uint8_t *data, size_t size, uint32_t number, bool is_disco) {
    memcpy(data, noise + number * 2654435761u % NOISE_STARTS, size);
    if (size == 0) return;
    data[0] = 0;  // no disco by accident
    if (is_disco) memcpy(data, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_SIZE);
    store_be32(data + NUMBER_AT, number);
}

/* The slot that a packet may take in the relay, at most: what counts against its bounds. */
static uint64_t slot_bound(size_t size) {
    static const struct {
        size_t size, slot;
    } classes[] = {{200, 640}, {1500, 2048}, {20000, 25000}};
    for (size_t i = 0; i < array_count(classes); i++) {
        if (size <= classes[i].size) return classes[i].slot;
    }
    return 72000;
}

/* Pages are shared only within a class, connections hold chunks: a quarter of the memory is surely there for all. */
static void note_waiting(struct oracle *oracle, uint32_t dst, size_t size) {
    struct oracle_key *key = &oracle->keys[dst];
    oracle->waiting_bytes += slot_bound(size);
    key->waiting_bytes += slot_bound(size);
    if (oracle->waiting_bytes > faults.packet_memory_bytes / 4) oracle->is_overfull = oracle->was_overfull = true;
    if (key->waiting_bytes > LIMIT_QUEUE_BYTES_MAX) key->is_overfull = oracle->was_key_overfull = true;
}

static void note_arrived(struct oracle *oracle, uint32_t dst, size_t size) {
    oracle->waiting_bytes -= min_of(oracle->waiting_bytes, slot_bound(size));
    oracle->keys[dst].waiting_bytes -= min_of(oracle->keys[dst].waiting_bytes, slot_bound(size));
}

void oracle_make(struct oracle *oracle, uint32_t client, uint32_t dst, size_t size, bool is_disco, uint8_t *data) {
    struct oracle_client *from = &oracle->clients[client];
    oracle->sent++;
    note_waiting(oracle, dst, size);
    if (size == 0) {
        oracle->empty_sent[from->key][dst]++;
        return;
    }
    CHECK(size >= ORACLE_HEAD && oracle->records_count < ORACLE_RECORDS);
    CHECK(!is_disco || size >= DERP_DISCO_SIZE_MIN);
    if (is_disco) from->disco_to[dst]++;
    uint32_t number = oracle->records_count++;
    oracle->records[number] = (struct oracle_record){
        .sent_ns = sim.now_ns, .client = client, .dst = dst, .size = (uint32_t)size, .is_disco = is_disco};
    fill(data, size, number, is_disco);
    sim_note("client sends to", client, dst);
}

void oracle_make_forward(struct oracle *oracle, uint32_t client, uint32_t dst, size_t size, bool is_disco,
                         uint8_t *data) {
    CHECK(size > 0);
    oracle_make(oracle, client, dst, size, is_disco, data);
    oracle->records[oracle->records_count - 1].is_forwarded = true;
    oracle->forwarded++;
    tally_add(TALLY_FORWARDED, 1);
}

static uint32_t source_of(const struct oracle *oracle, const struct oracle_record *record) {
    return record->is_forwarded ? ORACLE_KEY_AFAR : oracle->clients[record->client].key;
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
    if (source_of(oracle, record) != src) sim_fail("packet %u has the wrong source, key %u", number, src);
    if (record->size != recv->data_size) sim_fail("packet %u has %zu bytes", number, recv->data_size);
    fill(scratch, record->size, number, record->is_disco);
    if (memcmp(scratch, recv->data, record->size) != 0) sim_fail("packet %u was altered", number);
    uint32_t *newest = &to->newest_from[record->client][record->is_disco + 2 * record->is_forwarded];
    if (*newest > number) sim_fail("packet %u was overtaken by packet %u", number, *newest - 1);
    *newest = number + 1;
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
    note_arrived(oracle, to->key, recv->data_size);
    to->has_heard[src] = src != ORACLE_KEY_AFAR;
    oracle->delivered++;
    oracle->delivered_bytes += recv->data_size;
    if (route_worker(oracle->keys[src].where) != route_worker(oracle->keys[to->key].where)) oracle->crossed++;
    sim_note("client receives from", client, src);
}

void oracle_on_peer_gone(struct oracle *oracle, uint32_t client, const struct derp_peer_gone *gone) {
    struct oracle_client *to = &oracle->clients[client];
    uint32_t key = oracle_key_idx(oracle, gone->key);
    sim_note("client hears gone", client, key);
    tally_add(gone->reason == DERP_GONE_NOT_HERE ? TALLY_NOT_HERES : TALLY_PEER_GONES, 1);
    if (gone->reason == DERP_GONE_NOT_HERE) {
        if (++to->not_here_from[key] > to->disco_to[key]) sim_fail("client %u: NotHere of key %u unasked", client, key);
        return;
    }
    if (gone->reason != DERP_GONE_DISCONNECTED) sim_fail("client %u: PeerGone with reason %u", client, gone->reason);
    if (!to->has_heard[key]) sim_fail("client %u is told of key %u, from which it heard nothing", client, key);
    to->has_heard[key] = false;
}

/* ---- presence ---- */

bool oracle_is_published(const struct oracle *oracle, uint32_t key) {
    return directory_find(&oracle->house->relay.directory, &oracle->public_keys[key]) != ROUTE_NONE;
}

void oracle_on_server_info(struct oracle *oracle, uint32_t client) {
    uint32_t key = oracle->clients[client].key;
    sim_note("client is logged in", client, key);
    oracle_read_presence(oracle);
    if (++oracle->keys[key].infos > oracle->keys[key].presents)
        sim_fail("client %u has ServerInfo before it is present", client);
}

/* At its place all connections have ended, of which control does not know yet. */
static bool is_deserted(const struct oracle *oracle, route where) {
    const struct peer *peer = &oracle->house->relay.workers[route_worker(where)]->peers[route_slot(where)];
    return peer->conns.count == 0;
}

/* A key that comes back before control knows that it has left is not reported gone, but nobody has received for it. */
static void on_presence(struct oracle *oracle, const struct presence_event *event) {
    uint32_t key = oracle_key_idx(oracle, &event->key);
    sim_note(event->kind == PRESENCE_PRESENT ? "present" : "gone", key, event->present.conn_id);
    struct oracle_key *k = &oracle->keys[key];
    if (event->kind == PRESENCE_PRESENT) {
        if (k->presents_now++ == 0 || is_deserted(oracle, event->where)) k->since_ns = sim.now_ns;
        k->presents++;
        k->where = event->where;
        oracle->presents_all++;
        return;
    }
    if (k->presents_now == 0) sim_fail("key %u is gone without having been present", key);
    k->presents_now = 0;
    k->since_ns = TIME_NEVER;
}

void oracle_read_presence(struct oracle *oracle) {
    const struct presence *presence = oracle->house->relay.control.presence;
    struct presence_event event;
    enum presence_result result;
    oracle->conns_most = max_of(oracle->conns_most, oracle->house->relay.control.registrar.conns_count);
    while ((result = presence_read(presence, &oracle->house->presence_cursor, &event)) == PRESENCE_EVENT) {
        on_presence(oracle, &event);
    }
    CHECK(result == PRESENCE_NONE);
}

/* ---- at rest ---- */

void oracle_check_client(const struct oracle *oracle, uint32_t client) {
    const struct oracle_client *c = &oracle->clients[client];
    const struct house *house = oracle->house;
    uint64_t forgotten = HOUSE_SUM(house, peer_gone_lost) + HOUSE_SUM(house, senders_forgotten);
    if (!oracle_is_published(oracle, c->key))
        sim_fail("client %u is connected and its key is not in the directory", client);
    for (uint32_t key = 0; key < ORACLE_KEYS; key++) {
        if (c->has_heard[key] && !oracle_is_published(oracle, key) && forgotten == 0)
            sim_fail("client %u was not told that key %u left", client, key);
    }
}

/* From then on every packet to the key has to arrive: it is present, and no connection of it has ended since. */
static uint64_t calm_since_ns(const struct oracle *oracle, uint32_t key) {
    uint64_t since_ns = oracle->keys[key].since_ns;
    for (uint32_t i = 0; i < oracle->clients_count; i++) {
        const struct oracle_client *c = &oracle->clients[i];
        if (c->key == key && c->is_closed) since_ns = max_of(since_ns, c->closed_ns);
    }
    return since_ns;
}

/* Connections of one key that take turns in sending get nothing, where that is the rule. */
static bool may_fight(const struct oracle *oracle, uint32_t key) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < oracle->clients_count; i++) count += oracle->clients[i].key == key;
    return faults.disables_fighters && count > 1;
}

/* So long that it may have been too old when its turn came. */
static bool may_be_old(const struct oracle *oracle, const struct oracle_record *record) {
    return oracle->has_slow && sim.now_ns - record->sent_ns > LIMIT_QUEUE_AGE_S * NS_PER_S;
}

static bool has_excuse(const struct oracle *oracle, const struct oracle_record *record) {
    return !oracle->clients[record->client].is_steady || oracle->is_overfull || oracle->keys[record->dst].is_overfull ||
           record->sent_ns <= calm_since_ns(oracle, record->dst) || may_fight(oracle, record->dst) ||
           may_be_old(oracle, record);
}

void oracle_judge_lost(struct oracle *oracle) {
    for (; oracle->records_judged < oracle->records_count; oracle->records_judged++) {
        const struct oracle_record *record = &oracle->records[oracle->records_judged];
        if (record->is_delivered) continue;
        tally_add(TALLY_JUDGED_LOST, 1);
        if (has_excuse(oracle, record)) continue;
        sim_fail("packet %u of client %u to key %u was lost, and nothing has happened to the key",
                 oracle->records_judged, record->client, record->dst);
    }
    oracle->waiting_bytes = 0;
    oracle->is_overfull = false;
    for (uint32_t key = 0; key < ORACLE_KEYS; key++) {
        oracle->keys[key].waiting_bytes = 0;
        oracle->keys[key].is_overfull = false;
    }
}

static void expect_none(const struct house *house, enum drop_reason reason, bool may_be, const char *why) {
    if (may_be || house_dropped(house, reason) == 0) return;
    sim_fail("%llu packets were dropped as %s, %s", (unsigned long long)house_dropped(house, reason),
             drop_reason_label(reason), why);
}

static void check_drops(const struct oracle *oracle) {
    const struct house *house = oracle->house;
    bool is_full = oracle->was_overfull || oracle->was_key_overfull;
    bool has_left = oracle->has_somebody_left || net_timeouts() > 0;
    bool has_many = house->relay.options.limits.workers_count > 1;
    expect_none(house, DROP_UNKNOWN_DEST_ON_FWD, oracle->forwarded > 0, "and nothing was forwarded");
    expect_none(house, DROP_NO_SOURCE, false, "and all have a source");
    expect_none(house, DROP_GONE_DISCONNECTED, has_left, "and nobody has left");
    expect_none(house, DROP_WRITE_ERROR, has_left, "and nobody has left");
    expect_none(house, DROP_QUEUE_HEAD, is_full, "though no queue was full");
    expect_none(house, DROP_QUEUE_TAIL, is_full, "though no queue was full");
    expect_none(house, DROP_POOL_EMPTY, oracle->was_overfull, "though there is memory for all");
    expect_none(house, DROP_LANE_FULL, oracle->was_overfull, "though little is under way");
    expect_none(house, DROP_DUP_CLIENT, faults.disables_fighters, "and fighters are not disabled");
    expect_none(house, DROP_QUEUE_AGE, oracle->has_slow, "and nobody reads slowly");
    /* With one worker the directory and the worker's places never disagree, if mail is made visible in time. */
    expect_none(house, DROP_STALE_ROUTE, has_many && has_left, "and no route has changed");
}

static void expect_at_most(const char *what, const char *label, uint64_t got, uint64_t most) {
    if (got <= most) return;
    sim_fail("%llu connections were %s as %s, and %llu may have been", (unsigned long long)got, what, label,
             (unsigned long long)most);
}

static uint64_t closes_max(const struct oracle *oracle, enum close_reason reason) {
    uint64_t any = oracle->has_somebody_left ? UINT64_MAX : 0;
    switch (reason) {
        case CLOSE_EOF:
        case CLOSE_RECEIVE_ERROR:
        case CLOSE_SEND_ERROR: return any;
        case CLOSE_WRITE_TIMEOUT: return net_timeouts();
        case CLOSE_FRAME_TOO_SHORT:
        case CLOSE_FRAME_TOO_LONG: return oracle->misbehaved;
        case CLOSE_FRAME_FORBIDDEN: return oracle->mesh_frames;
        case CLOSE_CLOSE_PEER: return any;
        case CLOSE_NO_MEMORY: return oracle->was_overfull ? UINT64_MAX : 0;
        default: return 0;
    }
}

static uint64_t refusals_max(const struct oracle *oracle, enum refuse_reason reason) {
    switch (reason) {
        case REFUSE_GONE: return oracle->has_somebody_left ? UINT64_MAX : 0;
        case REFUSE_SESSIONS_FULL: return faults.accept_error_one_in ? UINT64_MAX : 0;
        case REFUSE_TIMEOUT: return oracle->lingered;
        case REFUSE_BUFFERS_FULL: return faults.are_parcels_few ? UINT64_MAX : 0;
        case REFUSE_RELAY_FULL: return oracle->conns_most == faults.connections_max ? UINT64_MAX : 0;
        default: return 0;
    }
}

static void check_ends(const struct oracle *oracle) {
    const struct house *house = oracle->house;
    for (size_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        enum close_reason reason = (enum close_reason)i;
        expect_at_most("closed", close_reason_label(reason), HOUSE_SUM(house, closes[i]), closes_max(oracle, reason));
    }
    for (size_t i = 0; i < REFUSE_REASON_COUNT; i++) {
        enum refuse_reason reason = (enum refuse_reason)i;
        expect_at_most("refused", refuse_reason_label(reason), HOUSE_SUM(house, refusals[i]),
                       refusals_max(oracle, reason));
    }
    if (oracle->conns_most > faults.connections_max) sim_fail("more connections than there may be");
    if (HOUSE_SUM(house, write_timeouts) != net_timeouts()) sim_fail("write timeouts are not counted");
}

static void check_gentle(const struct oracle *oracle) {
    const struct house *house = oracle->house;
    uint64_t received = HOUSE_SUM(house, packets_received) + HOUSE_SUM(house, packets_forwarded_in);
    if (received != oracle->sent) sim_fail("the relay has not received every packet");
    if (oracle->delivered != HOUSE_SUM(house, packets_sent) ||
        oracle->delivered_bytes != HOUSE_SUM(house, bytes_sent)) {
        sim_fail("not everything that counts as sent was delivered");
    }
    for (int reason = 0; reason < DROP_REASON_COUNT; reason++) {
        bool is_unknown = reason == DROP_UNKNOWN_DEST || reason == DROP_UNKNOWN_DEST_ON_FWD;
        expect_none(house, (enum drop_reason)reason, is_unknown, "and nobody has left");
    }
}

void oracle_check_counts(const struct oracle *oracle) {
    const struct house *house = oracle->house;
    uint64_t lost = house_dropped(house, DROP_WRITE_ERROR);
    uint64_t forwarded = HOUSE_SUM(house, packets_forwarded_in);
    if (forwarded > oracle->forwarded || HOUSE_SUM(house, packets_received) + forwarded > oracle->sent) {
        sim_fail("the relay counts more packets than were sent");
    }
    if (oracle->delivered > HOUSE_SUM(house, packets_sent) + lost) {
        sim_fail("more packets were delivered than the relay counts");
    }
    if (HOUSE_SUM(house, logins) != oracle->presents_all + HOUSE_SUM(house, refusals[REFUSE_RELAY_FULL])) {
        sim_fail("not every login became present, or was refused");
    }
    check_drops(oracle);
    check_ends(oracle);
    if (faults.style == STYLE_GENTLE) check_gentle(oracle);
}

void oracle_check_all_gone(const struct oracle *oracle) {
    for (uint32_t key = 0; key < ORACLE_KEYS; key++) {
        if (oracle->keys[key].presents_now) sim_fail("key %u has left and is present", key);
        if (oracle_is_published(oracle, key)) sim_fail("key %u has left and is in the directory", key);
    }
}
