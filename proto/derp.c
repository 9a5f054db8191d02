#include "proto/derp.h"

#include "core/check.h"

/* ---- rules ---- */

static enum derp_verdict check_range(uint32_t length, uint32_t min, uint32_t max) {
    if (min == max) return length == min ? DERP_ACCEPT : DERP_REFUSE_WRONG_LENGTH;
    if (length < min) return DERP_REFUSE_TOO_SHORT;
    return length > max ? DERP_REFUSE_TOO_LONG : DERP_ACCEPT;
}

/* For frames whose length is judged before the sender's right to send them. */
static enum derp_verdict check_fixed_then_mesh(enum derp_side side, uint32_t length, uint32_t due) {
    if (length != due) return DERP_REFUSE_WRONG_LENGTH;
    return side == DERP_SERVER_MESH ? DERP_ACCEPT : DERP_REFUSE_NOT_PERMITTED;
}

static enum derp_verdict check_at_server(enum derp_side side, uint8_t type, uint32_t length) {
    switch (type) {
        case DERP_SEND_PACKET: return check_range(length, KEY_SIZE, DERP_SEND_LENGTH_MAX);
        case DERP_FORWARD_PACKET:
            if (side != DERP_SERVER_MESH) return DERP_REFUSE_NOT_PERMITTED;
            return check_range(length, 2 * KEY_SIZE, DERP_FORWARD_LENGTH_MAX);
        case DERP_NOTE_PREFERRED: return check_range(length, DERP_NOTE_PREFERRED_LENGTH, DERP_NOTE_PREFERRED_LENGTH);
        case DERP_PING: return check_range(length, DERP_PING_SIZE, DERP_PING_LENGTH_MAX);
        case DERP_WATCH_CONNS: return check_fixed_then_mesh(side, length, 0);
        case DERP_CLOSE_PEER: return check_fixed_then_mesh(side, length, KEY_SIZE);
        default: return length > DERP_UNKNOWN_LENGTH_MAX ? DERP_REFUSE_TOO_LONG : DERP_SKIP;
    }
}

static enum derp_verdict skip_below(uint32_t length, uint32_t min) { return length < min ? DERP_SKIP : DERP_ACCEPT; }

static enum derp_verdict check_at_client(uint8_t type, uint32_t length) {
    if (length > DERP_CLIENT_LENGTH_MAX) return DERP_REFUSE_TOO_LONG;
    switch (type) {
        case DERP_SERVER_INFO: return length < 24 ? DERP_REFUSE_TOO_SHORT : DERP_ACCEPT;
        case DERP_RECV_PACKET:
        case DERP_PEER_GONE:
        case DERP_PEER_PRESENT: return skip_below(length, KEY_SIZE);
        case DERP_PING:
        case DERP_PONG: return skip_below(length, DERP_PING_SIZE);
        case DERP_RESTARTING: return skip_below(length, DERP_RESTARTING_LENGTH);
        case DERP_KEEP_ALIVE:
        case DERP_HEALTH: return DERP_ACCEPT;
        default: return DERP_SKIP;
    }
}

enum derp_verdict derp_frame_check(enum derp_side side, uint8_t type, uint32_t length) {
    switch (side) {
        case DERP_SERVER_GREETING:
            if (type != DERP_CLIENT_INFO) return DERP_REFUSE_UNEXPECTED;
            return check_range(length, DERP_CLIENT_INFO_LENGTH_MIN, DERP_CLIENT_INFO_LENGTH_MAX);
        case DERP_CLIENT_GREETING:
            if (type != DERP_SERVER_KEY) return DERP_REFUSE_UNEXPECTED;
            return check_range(length, DERP_SERVER_KEY_LENGTH, DERP_GREETING_LENGTH_MAX);
        case DERP_CLIENT: return check_at_client(type, length);
        case DERP_SERVER:
        case DERP_SERVER_MESH:
        default: return check_at_server(side, type, length);
    }
}

const char *derp_frame_type_name(uint8_t type) {
    static const char *const names[] = {
        [DERP_SERVER_KEY] = "ServerKey",
        [DERP_CLIENT_INFO] = "ClientInfo",
        [DERP_SERVER_INFO] = "ServerInfo",
        [DERP_SEND_PACKET] = "SendPacket",
        [DERP_RECV_PACKET] = "RecvPacket",
        [DERP_KEEP_ALIVE] = "KeepAlive",
        [DERP_NOTE_PREFERRED] = "NotePreferred",
        [DERP_PEER_GONE] = "PeerGone",
        [DERP_PEER_PRESENT] = "PeerPresent",
        [DERP_FORWARD_PACKET] = "ForwardPacket",
        [DERP_WATCH_CONNS] = "WatchConns",
        [DERP_CLOSE_PEER] = "ClosePeer",
        [DERP_PING] = "Ping",
        [DERP_PONG] = "Pong",
        [DERP_HEALTH] = "Health",
        [DERP_RESTARTING] = "Restarting",
    };
    return type < array_count(names) && names[type] ? names[type] : "unknown frame";
}

const char *derp_verdict_name(enum derp_verdict verdict) {
    static const char *const names[DERP_VERDICT_COUNT] = {
        [DERP_ACCEPT] = "accept",
        [DERP_SKIP] = "skip",
        [DERP_REFUSE_TOO_SHORT] = "too short",
        [DERP_REFUSE_TOO_LONG] = "too long",
        [DERP_REFUSE_WRONG_LENGTH] = "wrong length",
        [DERP_REFUSE_NOT_PERMITTED] = "not permitted",
        [DERP_REFUSE_UNEXPECTED] = "unexpected frame",
    };
    return (unsigned)verdict < DERP_VERDICT_COUNT ? names[verdict] : "unknown verdict";
}

/* ---- views ---- */

static const struct node_key *take_key(struct reader *r) { return (const struct node_key *)reader_take(r, KEY_SIZE); }

bool derp_read_send(const uint8_t *payload, size_t length, struct derp_send *out) {
    struct reader r = reader_of(payload, length);
    const struct node_key *dst = take_key(&r);
    if (!reader_ok(&r)) return false;
    *out = (struct derp_send){.dst = dst, .data = r.at, .data_size = reader_left(&r)};
    return true;
}

bool derp_read_recv(const uint8_t *payload, size_t length, struct derp_recv *out) {
    struct reader r = reader_of(payload, length);
    const struct node_key *src = take_key(&r);
    if (!reader_ok(&r)) return false;
    *out = (struct derp_recv){.src = src, .data = r.at, .data_size = reader_left(&r)};
    return true;
}

bool derp_read_forward(const uint8_t *payload, size_t length, struct derp_forward *out) {
    struct reader r = reader_of(payload, length);
    const struct node_key *src = take_key(&r);
    const struct node_key *dst = take_key(&r);
    if (!reader_ok(&r)) return false;
    *out = (struct derp_forward){.src = src, .dst = dst, .data = r.at, .data_size = reader_left(&r)};
    return true;
}

bool derp_read_peer_gone(const uint8_t *payload, size_t length, struct derp_peer_gone *out) {
    struct reader r = reader_of(payload, length);
    const struct node_key *key = take_key(&r);
    if (!reader_ok(&r)) return false;
    /* Without a reason byte the cursor yields 0, which is the reason meant. */
    *out = (struct derp_peer_gone){.key = key, .reason = reader_u8(&r)};
    return true;
}

static void read_app_name(struct reader *r, struct derp_peer_present *peer) {
    uint8_t size = reader_u8(r);
    const uint8_t *name = reader_take(r, size);
    if (name == NULL || size == 0) return;
    peer->app_name = (const char *)name;
    peer->app_name_size = size;
}

bool derp_read_peer_present(const uint8_t *payload, size_t length, struct derp_peer_present *out) {
    struct reader r = reader_of(payload, length);
    struct derp_peer_present peer = {.key = take_key(&r)};
    if (!reader_ok(&r)) return false;
    /* From here on a field that is missing, and all behind it, stays zero. The address comes whole or not at all. */
    if (reader_left(&r) >= sizeof(peer.ip) + 2) {
        (void)reader_copy(&r, peer.ip, sizeof(peer.ip));
        peer.port = reader_be16(&r);
        peer.flags = reader_u8(&r);
        read_app_name(&r, &peer);
    }
    *out = peer;
    return true;
}

bool derp_read_ping(const uint8_t *payload, size_t length, const uint8_t **data) {
    if (length < DERP_PING_SIZE) return false;
    *data = payload;
    return true;
}

bool derp_read_restarting(const uint8_t *payload, size_t length, struct derp_restarting *out) {
    struct reader r = reader_of(payload, length);
    struct derp_restarting restarting = {.reconnect_in_ms = reader_be32(&r), .try_for_ms = reader_be32(&r)};
    if (!reader_ok(&r)) return false;
    *out = restarting;
    return true;
}

bool derp_read_note_preferred(const uint8_t *payload, size_t length, bool *is_home) {
    if (length != DERP_NOTE_PREFERRED_LENGTH) return false;
    *is_home = payload[0] != 0;
    return true;
}

bool derp_read_close_peer(const uint8_t *payload, size_t length, const struct node_key **key) {
    if (length != KEY_SIZE) return false;
    *key = (const struct node_key *)payload;
    return true;
}

bool derp_read_server_key(const uint8_t *payload, size_t length, struct node_key *key) {
    struct reader r = reader_of(payload, length);
    const uint8_t *magic = reader_take(&r, DERP_MAGIC_SIZE);
    const struct node_key *server = take_key(&r);
    if (!reader_ok(&r) || length > DERP_GREETING_LENGTH_MAX) return false;
    if (memcmp(magic, DERP_MAGIC, DERP_MAGIC_SIZE) != 0 || key_is_zero(server)) return false;
    *key = *server;
    return true;
}

/* ---- writing ---- */

/* Room for a whole frame, its header filled in; the result wraps the payload, and is bad when there is no room. */
static struct writer begin_frame(struct writer *w, enum derp_frame_type type, size_t length) {
    struct writer payload = {.bad = true};
    uint8_t *room = writer_room(w, DERP_HEADER_SIZE + length);
    if (room == NULL) return payload;
    room[0] = (uint8_t)type;
    store_be32(room + 1, (uint32_t)length);
    return writer_of(room + DERP_HEADER_SIZE, length);
}

static void write_key(struct writer *w, const struct node_key *key) { writer_copy(w, key->bytes, KEY_SIZE); }

void derp_write_header(struct writer *w, enum derp_frame_type type, uint32_t length) {
    uint8_t *room = writer_room(w, DERP_HEADER_SIZE);
    if (room == NULL) return;
    room[0] = (uint8_t)type;
    store_be32(room + 1, length);
}

void derp_write_server_key(struct writer *w, const struct node_key *server) {
    struct writer payload = begin_frame(w, DERP_SERVER_KEY, DERP_SERVER_KEY_LENGTH);
    writer_copy(&payload, DERP_MAGIC, DERP_MAGIC_SIZE);
    write_key(&payload, server);
}

static void write_packet(struct writer *w, enum derp_frame_type type, const struct node_key *key, const void *data,
                         size_t size) {
    CHECK(size <= DERP_PACKET_SIZE_MAX);
    struct writer payload = begin_frame(w, type, KEY_SIZE + size);
    write_key(&payload, key);
    writer_copy(&payload, data, size);
}

void derp_write_recv(struct writer *w, const struct node_key *src, const void *data, size_t size) {
    write_packet(w, DERP_RECV_PACKET, src, data, size);
}

void derp_write_keep_alive(struct writer *w) { (void)begin_frame(w, DERP_KEEP_ALIVE, 0); }

void derp_write_peer_gone(struct writer *w, const struct node_key *key, enum derp_gone_reason reason) {
    struct writer payload = begin_frame(w, DERP_PEER_GONE, DERP_PEER_GONE_LENGTH);
    write_key(&payload, key);
    writer_u8(&payload, (uint8_t)reason);
}

void derp_write_peer_present(struct writer *w, const struct derp_peer_present *peer) {
    CHECK(peer->app_name_size <= DERP_APP_NAME_SIZE_MAX);
    struct writer payload = begin_frame(w, DERP_PEER_PRESENT, DERP_PEER_PRESENT_LENGTH + peer->app_name_size);
    write_key(&payload, peer->key);
    writer_copy(&payload, peer->ip, sizeof(peer->ip));
    writer_be16(&payload, peer->port);
    writer_u8(&payload, peer->flags);
    writer_u8(&payload, peer->app_name_size);
    writer_copy(&payload, peer->app_name, peer->app_name_size);
}

static void write_echo(struct writer *w, enum derp_frame_type type, const uint8_t data[DERP_PING_SIZE]) {
    struct writer payload = begin_frame(w, type, DERP_PING_SIZE);
    writer_copy(&payload, data, DERP_PING_SIZE);
}

void derp_write_ping(struct writer *w, const uint8_t data[DERP_PING_SIZE]) { write_echo(w, DERP_PING, data); }

void derp_write_pong(struct writer *w, const uint8_t data[DERP_PING_SIZE]) { write_echo(w, DERP_PONG, data); }

void derp_write_health(struct writer *w, const char *text, size_t size) {
    CHECK(size <= DERP_CLIENT_LENGTH_MAX);
    struct writer payload = begin_frame(w, DERP_HEALTH, size);
    writer_copy(&payload, text, size);
}

void derp_write_restarting(struct writer *w, uint32_t reconnect_in_ms, uint32_t try_for_ms) {
    struct writer payload = begin_frame(w, DERP_RESTARTING, DERP_RESTARTING_LENGTH);
    writer_be32(&payload, reconnect_in_ms);
    writer_be32(&payload, try_for_ms);
}

void derp_write_send(struct writer *w, const struct node_key *dst, const void *data, size_t size) {
    write_packet(w, DERP_SEND_PACKET, dst, data, size);
}

void derp_write_forward(struct writer *w, const struct node_key *src, const struct node_key *dst, const void *data,
                        size_t size) {
    CHECK(size <= DERP_PACKET_SIZE_MAX);
    struct writer payload = begin_frame(w, DERP_FORWARD_PACKET, 2 * KEY_SIZE + size);
    write_key(&payload, src);
    write_key(&payload, dst);
    writer_copy(&payload, data, size);
}

void derp_write_note_preferred(struct writer *w, bool is_home) {
    struct writer payload = begin_frame(w, DERP_NOTE_PREFERRED, DERP_NOTE_PREFERRED_LENGTH);
    writer_u8(&payload, is_home ? 1 : 0);
}

void derp_write_watch_conns(struct writer *w) { (void)begin_frame(w, DERP_WATCH_CONNS, 0); }

void derp_write_close_peer(struct writer *w, const struct node_key *key) {
    struct writer payload = begin_frame(w, DERP_CLOSE_PEER, KEY_SIZE);
    write_key(&payload, key);
}

/* ---- rewriting ---- */

uint8_t *derp_rewrite_send_to_forward(uint8_t *frame, const struct node_key *src) {
    uint32_t length = load_be32(frame + 1) + KEY_SIZE;
    uint8_t *forward = frame - KEY_SIZE;
    /* The destination already lies where it belongs, directly before the data. */
    memcpy(forward + DERP_HEADER_SIZE, src->bytes, KEY_SIZE);
    forward[0] = DERP_FORWARD_PACKET;
    store_be32(forward + 1, length);
    return forward;
}

uint8_t *derp_rewrite_forward_to_recv(uint8_t *frame) {
    uint32_t length = load_be32(frame + 1) - KEY_SIZE;
    uint8_t *recv = frame + KEY_SIZE;
    /* First the key, then the header: the header comes to lie on the last bytes of the source. */
    memcpy(recv + DERP_HEADER_SIZE, frame + DERP_HEADER_SIZE, KEY_SIZE);
    recv[0] = DERP_RECV_PACKET;
    store_be32(recv + 1, length);
    return recv;
}
