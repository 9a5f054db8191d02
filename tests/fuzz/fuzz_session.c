/* Fuzzes a worker with a session after the handshake: relay/conn*.c, forward, peer, queue, packet, on proto/record.
 *
 * Attack surface: everything a client that has logged in over TLS can say. The bytes of the input are the *plaintext*;
 * they are sealed by a real client-side record layer before they are delivered, so that mutation is not wasted on tags.
 * Mocked: the ring (below: events come from a list, sends end as the input says). Everything else is the real thing.
 * Input: byte 0..3 choose how plaintext is cut into records, how records are cut into arrivals, how much of each send
 * the kernel takes, and by bits: 1 the attacker's key has a second connection, 2 it is a WebSocket, and the rest is
 * what it sends, 4 the rest is wrapped in WebSocket messages first, 8 it is a mesh peer; the rest is the stream of
 * frames.
 *
 * Beyond crashes: what reaches the other client, a plain one, are whole frames that a client accepts, with the
 * attacker's key as source, or any but zero by a mesh peer; packets received = sent + dropped when all is quiet; after
 * everybody has left no packet memory, no connection, no watcher and no sender pair is taken.
 */
#include <stdlib.h>

#include "core/check.h"
#include "core/epoch.h"
#include "relay/conn.h"
#include "relay/peer.h"
#include "relay/worker.h"

enum { CONNS = 8, EVENTS = 4096, STREAM_MAX = 1 << 20, MAIL_ITEMS = 64, MEMORY = 4 << 20 };

/* ---- the ring: a list of events ---- */

static struct ring_event pending[EVENTS];
static size_t pending_count;
static uint8_t send_share;  // of 256: how much of a send the kernel takes at once
static struct {
    const uint8_t *bytes;
    size_t size;
} in_flight[CONNS + 1];
static uint8_t *heard;  // what the plain client has received
static size_t heard_size;
static struct ring_socket *listener_socket;  // the plain client's

static void post(const struct ring_event *event) {
    CHECK(pending_count < EVENTS);
    pending[pending_count++] = *event;
}

void ring_socket_init(struct ring_socket *socket, int fd, uint64_t handle) {
    memset(socket, 0, sizeof(*socket));
    socket->fd = fd;
    socket->handle = handle;
}

void ring_receive(struct ring *ring, struct ring_socket *socket, enum ring_receive_mode mode, uint32_t size_max) {
    (void)ring, (void)socket, (void)mode, (void)size_max;
}

void ring_send(struct ring *ring, struct ring_socket *socket, const void *bytes, size_t size) {
    (void)ring;
    CHECK(size > 0 && in_flight[socket->fd].bytes == NULL);
    in_flight[socket->fd].bytes = bytes;
    in_flight[socket->fd].size = size;
    size_t taken = size * ((size_t)send_share + 1) / 256;
    if (taken == 0) taken = 1;
    if (socket == listener_socket) {
        CHECK(heard_size + taken <= STREAM_MAX);
        memcpy(heard + heard_size, bytes, taken);
        heard_size += taken;
    }
    post(&(struct ring_event){.handle = socket->handle, .socket = socket, .result = (int32_t)taken, .op = RING_SENT});
}

void ring_close_socket(struct ring *ring, struct ring_socket *socket, bool reset) {
    (void)ring, (void)reset;
    if (socket->close_state) return;
    socket->close_state = 1;
    for (size_t i = 0; i < pending_count; i++) {
        if (pending[i].socket == socket) pending[i].op = UINT8_MAX;  // swallowed
    }
    in_flight[socket->fd].bytes = NULL;
    post(&(struct ring_event){.handle = socket->handle, .socket = socket, .op = RING_CLOSED});
}

size_t ring_reap(struct ring *ring, struct ring_event *events, size_t count_max) {
    size_t count = 0, at = 0;
    (void)ring;
    for (; at < pending_count && count < count_max; at++) {
        if (pending[at].op == UINT8_MAX) continue;
        if (pending[at].op == RING_SENT) in_flight[pending[at].socket->fd].bytes = NULL;
        events[count++] = pending[at];
    }
    pending_count -= at;
    memmove(pending, pending + at, pending_count * sizeof(*pending));
    return count;
}

void ring_give_back(struct ring *ring, const struct ring_event *event) { (void)ring, (void)event; }
void ring_wake(struct ring *self, struct ring *other) { (void)self, (void)other; }
void ring_close_fd(struct ring *ring, int fd) { (void)ring, (void)fd; }
int64_t ring_unacknowledged(int fd) { return fd; }
int ring_tcp_rtt(int fd, uint32_t *rtt_us) {
    *rtt_us = (uint32_t)fd;
    return 0;
}

void ring_receive_pause(struct ring *ring, struct ring_socket *socket) {
    (void)ring;
    post(&(struct ring_event){.handle = socket->handle, .socket = socket, .op = RING_RECEIVE_PAUSED});
}

/* ---- the house: one worker, and us as front and control ---- */

static struct worker worker;
static struct metrics metrics;
static struct epoch epoch;
static struct directory directory;
static struct presence presence;
static struct arena arena;
static struct rng rng;
static struct parcel *parcels;
static struct lane to_worker, to_control, to_front;
static struct crossing_station station;
static uint64_t now_ns;

static void make_lane(struct lane *lane) {
    void *storage = calloc(1, lane_storage_size(MAIL_ITEMS, sizeof(struct mail)));
    CHECK(storage != NULL);
    lane_init(lane, storage, MAIL_ITEMS, sizeof(struct mail));
}

static void make_house(void) {
    struct worker_options options = {
        .peers_max = CONNS, .conns_max = CONNS, .packet_memory_bytes = MEMORY, .write_timeout_ns = NS_PER_S};
    CHECK(arena_init(&arena, worker_footprint(&options) + directory_footprint(CONNS)) == 0);
    rng_init_seeded(&rng, 1);
    epoch_init(&epoch, 1);
    directory_init(&directory, &arena, CONNS, &epoch, &rng);
    struct worker_links links = {.from_control = &to_worker,
                                 .to_control = &to_control,
                                 .to_front = &to_front,
                                 .parcels = parcels,
                                 .directory = &directory,
                                 .presence = &presence,
                                 .epoch = &epoch,
                                 .stations = &station,
                                 .workers_count = 1};
    memset(&metrics, 0, sizeof(metrics));
    memset(&station, 0, sizeof(station));
    memset(&presence, 0, sizeof(presence));
    worker_init(&worker, &arena, &options, &links, NULL, &metrics, &rng, now_ns);
}

static void mail(const struct mail *item) {
    CHECK(lane_push(&to_worker, item));
    (void)lane_flush(&to_worker);
}

static void step(void) {
    struct mail dropped;
    now_ns += NS_PER_MS;
    (void)worker_step(&worker, now_ns);
    (void)lane_flush(&to_front);
    while (lane_pop(&to_front, &dropped)) {}
}

static void quiet(void) {
    for (int i = 0; i < 8 || pending_count > 0; i++) step();
}

static struct node_key key_of(uint8_t name) {
    struct node_key key;
    memset(key.bytes, name, sizeof(key.bytes));
    return key;
}

/* A login: what front and control do with one. */
static route admit(uint8_t name, uint32_t slot, int fd, const struct record *record, bool is_websocket, bool is_mesh) {
    struct node_key key = key_of(name);
    route where = route_make(0, slot, 1);
    struct conn_value value = {.conn_id = (uint64_t)fd,
                               .fd = fd,
                               .transport = record ? TRANSPORT_TLS : TRANSPORT_PLAIN,
                               .connected_ns = now_ns,
                               .keepalive_period_ns = 3600 * NS_PER_S,
                               .keepalive_due_ns = now_ns + 3600 * NS_PER_S,
                               .not_here_tokens = 3,
                               .not_here_refilled_ns = now_ns,
                               .is_mesh_peer = is_mesh,
                               .stream_side = is_mesh ? DERP_SERVER_MESH : DERP_SERVER,
                               .is_websocket = is_websocket};
    memcpy(value.key, key.bytes, KEY_SIZE);
    if (record) conn_value_from_record(&value, record);
    struct parcel *parcel = &parcels[fd];
    struct writer w = writer_of(parcel->bytes, sizeof(parcel->bytes));
    CHECK(conn_value_pack(&value, &w));
    parcel->size = (uint32_t)(w.at - parcel->bytes);
    mail(&(struct mail){
        .kind = MAIL_ADOPT, .parcel_idx = (uint16_t)fd, .where = where, .conn_id = (uint64_t)fd, .key = key});
    struct presence_event event = {.kind = PRESENCE_PRESENT, .key = key, .where = where};
    conn_value_present(&value, &event.present);
    if (directory_find(&directory, &key) == ROUTE_NONE) directory_publish(&directory, &key, where, &event.present);
    presence_write(&presence, &event);
    mail(&(struct mail){.kind = MAIL_GO, .where = where, .conn_id = (uint64_t)fd});
    step();
    return where;
}

/* ---- the attacker ---- */

static struct record attacker;  // the client's half of its TLS

static uint8_t *seal_all(const uint8_t *plain, size_t size, uint8_t cut, size_t *ret_size) {
    size_t piece = cut == 0 ? RECORD_PLAIN_MAX : (size_t)cut * 3;
    size_t room = size + (size / piece + 2) * (RECORD_OVERHEAD + RECORD_KEY_UPDATE_SIZE);
    uint8_t *sealed = malloc(room), *copy = malloc(size + 1);
    CHECK(sealed && copy);
    if (size) memcpy(copy, plain, size);
    struct writer w = writer_of(sealed, room);
    for (size_t at = 0; at < size; at += piece) {
        CHECK(record_seal(&attacker, &w, copy + at, min_of(piece, size - at)));
    }
    free(copy);
    *ret_size = (size_t)(w.at - sealed);
    return sealed;
}

/* The stream in masked messages of varying sizes. */
static uint8_t *wrap_all(const uint8_t *bytes, size_t size, uint8_t cut, size_t *ret_size) {
    uint8_t *wrapped = malloc(size * 8 + 1);
    CHECK(wrapped != NULL);
    struct writer w = writer_of(wrapped, size * 8 + 1);
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    for (size_t at = 0, n; at < size; at += n) {
        n = min_of(size - at, 1 + (at * 31 + cut * 7u) % 125);
        writer_u8(&w, 0x82);
        writer_u8(&w, (uint8_t)(0x80 | n));
        writer_copy(&w, mask, sizeof(mask));
        for (size_t i = 0; i < n; i++) writer_u8(&w, bytes[at + i] ^ mask[i % 4]);
    }
    CHECK(writer_ok(&w));
    *ret_size = (size_t)(w.at - wrapped);
    return wrapped;
}

static bool is_alive(const struct ring_socket *socket) { return socket->close_state == 0; }

static void deliver(struct ring_socket *socket, const uint8_t *bytes, size_t size, uint8_t cut) {
    size_t piece = cut == 0 ? 32768 : (size_t)cut * 5;
    for (size_t at = 0; at < size && is_alive(socket); at += piece) {
        post(&(struct ring_event){.handle = socket->handle,
                                  .socket = socket,
                                  .bytes = bytes + at,
                                  .result = (int32_t)min_of(piece, size - at),
                                  .op = RING_RECEIVED,
                                  .more = true});
        step();
    }
}

/* ---- what must hold ---- */

static void check_heard(bool is_mesh) {
    struct derp_stream stream;
    struct derp_frame_view frame;
    struct reader in = reader_of(heard, heard_size);
    struct node_key source = key_of('a'), own = key_of('b');
    uint8_t *space = malloc(DERP_CLIENT_LENGTH_MAX);
    CHECK(space != NULL);
    derp_stream_init(&stream, DERP_CLIENT);
    enum derp_stream_event event;
    while ((event = derp_stream_next(&stream, &in, &frame)) != DERP_STREAM_NEED_INPUT) {
        struct derp_recv recv;
        CHECK(event != DERP_STREAM_BAD && event != DERP_STREAM_SKIPPED);
        if (event == DERP_STREAM_NEED_SPACE) derp_stream_give_space(&stream, space);
        if (event != DERP_STREAM_FRAME || frame.type == DERP_PEER_GONE) continue;
        CHECK(frame.type == DERP_RECV_PACKET && derp_read_recv(frame.payload, frame.length, &recv));
        bool is_forwarded = is_mesh && !key_is_zero(recv.src);
        CHECK(key_equal(recv.src, &source) || key_equal(recv.src, &own) || is_forwarded);
    }
    free(space);
}

static uint64_t dropped(void) {
    uint64_t sum = 0;
    for (int reason = 0; reason < DROP_REASON_COUNT; reason++) {
        for (int kind = 0; kind < PACKET_KIND_COUNT; kind++) sum += stat_get(&metrics.packets_dropped[reason][kind]);
    }
    return sum;
}

static void check_sums(void) {
    uint64_t received = stat_get(&metrics.packets_received) + stat_get(&metrics.packets_forwarded_in);
    CHECK(received == stat_get(&metrics.packets_sent) + dropped());
}

static void close_all(void) {
    for (uint32_t slot = 0; slot < CONNS; slot++) {
        struct conn *conn = pool_at(&worker.conns, slot);
        if (conn) conn_close(&worker, conn, CLOSE_EOF);
    }
    quiet();
}

static void check_empty(void) {
    struct mail left;
    (void)lane_flush(&to_control);
    while (lane_pop(&to_control, &left)) CHECK(left.kind == MAIL_LEFT || left.kind == MAIL_WATCH);
    CHECK(worker.watchers == NULL && worker.watchers_count == 0);
    CHECK(pool_used(&worker.conns) == 0 && worker.packets.bytes_taken == 0 && worker.holder_oldest == NULL);
    CHECK(stat_get(&metrics.connections) == 0);
}

static void set_up_once(void) {
    char why[AEAD_WHY_MAX];
    if (heard) return;
    CHECK(sys_init() == 0 && aead_init(NULL, why));
    heard = malloc(STREAM_MAX);
    parcels = calloc(CONNS + 1, sizeof(*parcels));
    CHECK(heard && parcels);
    make_lane(&to_worker);
    make_lane(&to_control);
    make_lane(&to_front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4 || size > 100000) return 0;
    set_up_once();
    now_ns = NS_PER_S;
    heard_size = pending_count = 0;
    memset(in_flight, 0, sizeof(in_flight));
    send_share = 255;
    make_house();
    static const uint8_t secret_in[HKDF_SECRET_MAX] = {1}, secret_out[HKDF_SECRET_MAX] = {2};
    struct record server;
    CHECK(record_init(&server, AEAD_AES_128_GCM, false, secret_in, secret_out));
    CHECK(record_init(&attacker, AEAD_AES_128_GCM, true, secret_out, secret_in));
    bool is_websocket = data[3] & 2, is_wrapped = is_websocket && (data[3] & 4);
    bool is_mesh = data[3] & 8;
    admit('b', 0, 1, NULL, false, false);
    admit('a', 1, 2, &server, is_websocket, is_mesh);
    struct conn *plain = peer_active(&worker.peers[0]), *tls = peer_active(&worker.peers[1]);
    listener_socket = &plain->r.socket;
    if (data[3] & 1) admit('a', 1, 3, NULL, false, is_mesh);
    send_share = data[2];
    size_t sealed_size, wrapped_size = size - 4;
    uint8_t *wrapped = is_wrapped ? wrap_all(data + 4, size - 4, data[0], &wrapped_size) : NULL;
    uint8_t *sealed = seal_all(is_wrapped ? wrapped : data + 4, wrapped_size, data[0], &sealed_size);
    free(wrapped);
    deliver(&tls->r.socket, sealed, sealed_size, data[1]);
    send_share = 255;
    quiet();
    now_ns += 3 * NS_PER_S;  // a WebSocket that broke a rule is waited for
    quiet();
    check_sums();
    check_heard(is_mesh);
    close_all();
    check_empty();
    free(sealed);
    record_fini(&server);
    record_fini(&attacker);
    worker_fini(&worker);
    arena_fini(&arena);
    return 0;
}
