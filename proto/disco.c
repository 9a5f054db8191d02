#include "proto/disco.h"

#include <sodium.h>

#include "core/check.h"
#include "proto/geneve.h"

_Static_assert(DISCO_OVERHEAD == 78, "what an envelope adds");
_Static_assert(DISCO_BIND_SIZE == 74 && DISCO_REQUEST_SIZE == 70, "as in docs/udp-relay.md");
_Static_assert(DISCO_VIA_SIZE(1) == 144 && DISCO_RESPONSE_SIZE(1) == 148, "as in docs/udp-relay.md");

enum {
    PING_BODY_SIZE_MIN = 12,
    PONG_BODY_SIZE_MIN = 12 + DISCO_ADDRESS_SIZE,
};

/* ---- keys ---- */

bool disco_key_is_zero(const struct disco_key *key) { return sodium_is_zero(key->bytes, KEY_SIZE) == 1; }

enum key_error disco_key_parse(const char *text, size_t size, struct disco_key *key) {
    size_t prefix_size = strlen(DISCO_KEY_PREFIX);
    struct node_key parsed;
    memset(key, 0, sizeof(*key));
    if (size < prefix_size || memcmp(text, DISCO_KEY_PREFIX, prefix_size) != 0) return KEY_BAD_DISCO_PREFIX;
    enum key_error error = key_parse_hex(text + prefix_size, size - prefix_size, &parsed);
    memcpy(key->bytes, parsed.bytes, KEY_SIZE);  // zero after an error
    return error;
}

void disco_key_format(const struct disco_key *key, char text[DISCO_KEY_TEXT_SIZE]) {
    size_t prefix_size = strlen(DISCO_KEY_PREFIX);
    memcpy(text, DISCO_KEY_PREFIX, prefix_size);
    sodium_bin2hex(text + prefix_size, KEY_HEX_TEXT_SIZE, key->bytes, KEY_SIZE);
}

void disco_key_format_short(const struct disco_key *key, char text[DISCO_KEY_SHORT_TEXT_SIZE]) {
    text[0] = '\0';
    if (disco_key_is_zero(key)) return;
    memcpy(text, "d:", 2);
    sodium_bin2hex(text + 2, DISCO_KEY_SHORT_TEXT_SIZE - 2, key->bytes, 8);
}

/* The curve does not know what a key is for. The caller wipes the copy. */
static struct node_private curve_private(const struct disco_private *key) {
    struct node_private copy;
    memcpy(copy.bytes, key->bytes, KEY_SIZE);
    return copy;
}

void disco_private_generate(struct rng *rng, struct disco_private *key) {
    struct node_private made;
    key_generate(rng, &made);
    memcpy(key->bytes, made.bytes, KEY_SIZE);
    key_private_wipe(&made);
}

void disco_private_public(const struct disco_private *ours, struct disco_key *key) {
    struct node_private private_key = curve_private(ours);
    struct node_key public_key;
    key_private_public(&private_key, &public_key);
    memcpy(key->bytes, public_key.bytes, KEY_SIZE);
    key_private_wipe(&private_key);
}

void disco_private_wipe(struct disco_private *key) { sodium_memzero(key, sizeof(*key)); }

bool disco_key_share(struct box_key *shared, const struct disco_key *theirs, const struct disco_private *ours) {
    struct node_private private_key = curve_private(ours);
    struct node_key public_key;
    memcpy(public_key.bytes, theirs->bytes, KEY_SIZE);
    bool ok = box_key_derive(shared, &public_key, &private_key);
    key_private_wipe(&private_key);
    return ok;
}

struct disco_pair disco_pair_of(const struct disco_key *a, const struct disco_key *b) {
    bool is_sorted = memcmp(a->bytes, b->bytes, KEY_SIZE) <= 0;
    return (struct disco_pair){{is_sorted ? *a : *b, is_sorted ? *b : *a}};
}

int disco_pair_leg(const struct disco_pair *pair, const struct disco_key *key) {
    if (disco_key_equal(&pair->keys[0], key)) return 0;
    return disco_key_equal(&pair->keys[1], key) ? 1 : -1;
}

/* ---- the envelope ---- */

const struct disco_key *disco_envelope_sender(const uint8_t *bytes, size_t size) {
    return derp_is_disco(bytes, size) ? (const struct disco_key *)(bytes + DISCO_MAGIC_SIZE) : NULL;
}

const uint8_t *disco_envelope_open(const struct box_key *shared, uint8_t *bytes, size_t size, size_t *plain_size) {
    if (disco_envelope_sender(bytes, size) == NULL) return NULL;
    uint8_t *plain = bytes + DISCO_OVERHEAD;
    if (!box_open(shared, bytes + DISCO_HEAD_SIZE, size - DISCO_HEAD_SIZE, plain)) return NULL;
    *plain_size = size - DISCO_OVERHEAD;
    return plain;
}

void disco_envelope_seal(struct writer *w, const struct disco_key *sender, const struct box_key *shared,
                         struct rng *rng, const void *plain, size_t plain_size) {
    uint8_t nonce[BOX_NONCE_SIZE];
    rng_bytes(rng, nonce, sizeof(nonce));
    disco_envelope_seal_with(w, sender, shared, nonce, plain, plain_size);
}

void disco_envelope_seal_with(struct writer *w, const struct disco_key *sender, const struct box_key *shared,
                              const uint8_t nonce[BOX_NONCE_SIZE], const void *plain, size_t plain_size) {
    uint8_t *room = writer_room(w, DISCO_OVERHEAD + plain_size);
    if (room == NULL) return;
    struct writer inner = writer_of(room, DISCO_OVERHEAD + plain_size);
    writer_copy(&inner, DISCO_MAGIC, DISCO_MAGIC_SIZE);
    writer_copy(&inner, sender->bytes, KEY_SIZE);
    box_seal(&inner, shared, nonce, plain, plain_size);
}

/* ---- reading messages ---- */

const char *disco_error_name(enum disco_error error) {
    static const char *const names[DISCO_ERROR_COUNT] = {
        [DISCO_OK] = "ok",
        [DISCO_TOO_SHORT] = "too short",
        [DISCO_WRONG_LENGTH] = "wrong length",
        [DISCO_UNKNOWN_TYPE] = "unknown type",
    };
    return (unsigned)error < DISCO_ERROR_COUNT ? names[error] : "unknown error";
}

static uint64_t read_be64(struct reader *r) {
    uint64_t high = reader_be32(r);
    return high << 32 | reader_be32(r);
}

static void read_key(struct reader *r, struct disco_key *key) { reader_copy(r, key->bytes, KEY_SIZE); }

static enum disco_error skip_at_least(struct reader *r, size_t size) {
    return reader_take(r, size) ? DISCO_OK : DISCO_TOO_SHORT;
}

static enum disco_error read_bind(struct reader *r, struct disco_bind *bind) {
    bind->vni = reader_be32(r);
    bind->generation = reader_be32(r);
    read_key(r, &bind->remote);
    reader_copy(r, bind->challenge, DISCO_CHALLENGE_SIZE);
    return reader_ok(r) ? DISCO_OK : DISCO_TOO_SHORT;
}

static enum disco_error read_request(struct reader *r, struct disco_request *request) {
    for (int i = 0; i < 2; i++) read_key(r, &request->clients[i]);
    request->generation = reader_be32(r);
    return reader_ok(r) ? DISCO_OK : DISCO_TOO_SHORT;
}

/* To the end of the message, exactly. */
static enum disco_error read_endpoint(struct reader *r, struct disco_endpoint *endpoint) {
    read_key(r, &endpoint->server);
    for (int i = 0; i < 2; i++) read_key(r, &endpoint->clients[i]);
    endpoint->lamport = read_be64(r);
    endpoint->vni = reader_be32(r);
    endpoint->bind_lifetime_ns = (int64_t)read_be64(r);
    endpoint->steady_lifetime_ns = (int64_t)read_be64(r);
    if (!reader_ok(r)) return DISCO_TOO_SHORT;
    size_t left = reader_left(r);
    if (left == 0 || left % DISCO_ADDRESS_SIZE != 0) return DISCO_WRONG_LENGTH;
    endpoint->address_count = left / DISCO_ADDRESS_SIZE;
    endpoint->addresses = reader_take(r, left);
    return DISCO_OK;
}

static enum disco_error read_response(struct reader *r, struct disco_response *response) {
    response->generation = reader_be32(r);
    return read_endpoint(r, &response->endpoint);
}

static enum disco_error read_body(struct reader *r, struct disco_message *message) {
    bool is_ours = message->version == 0;
    switch (message->type) {
        case DISCO_PING: return skip_at_least(r, PING_BODY_SIZE_MIN);
        case DISCO_PONG: return skip_at_least(r, PONG_BODY_SIZE_MIN);
        case DISCO_CALL_ME_MAYBE: return DISCO_OK;  // of a wrong length it is an empty list
        case DISCO_BIND:
        case DISCO_CHALLENGE:
        case DISCO_ANSWER: return read_bind(r, &message->bind);
        case DISCO_CALL_ME_MAYBE_VIA: return is_ours ? read_endpoint(r, &message->via) : DISCO_OK;
        case DISCO_ALLOCATE_REQUEST: return is_ours ? read_request(r, &message->request) : DISCO_OK;
        case DISCO_ALLOCATE_RESPONSE: return is_ours ? read_response(r, &message->response) : DISCO_OK;
        case DISCO_NONE: break;
    }
    return DISCO_UNKNOWN_TYPE;
}

enum disco_error disco_message_parse(const uint8_t *plain, size_t size, struct disco_message *message) {
    struct reader r = reader_of(plain, size);
    memset(message, 0, sizeof(*message));
    uint8_t type = reader_u8(&r), version = reader_u8(&r);
    if (!reader_ok(&r)) return DISCO_TOO_SHORT;
    message->type = (enum disco_type)type;
    message->version = version;
    enum disco_error error = read_body(&r, message);
    if (error) memset(message, 0, sizeof(*message));
    return error;
}

/* ---- writing messages ---- */

/* Room for a whole message, whose type and version are written. On failure it is a writer of nothing. */
static struct writer message_start(struct writer *w, enum disco_type type, size_t size) {
    uint8_t *room = writer_room(w, size);
    struct writer message = writer_of(room, room ? size : 0);
    writer_u8(&message, (uint8_t)type);
    writer_u8(&message, 0);
    return message;
}

static void write_be64(struct writer *w, uint64_t v) {
    writer_be32(w, (uint32_t)(v >> 32));
    writer_be32(w, (uint32_t)v);
}

static void write_key(struct writer *w, const struct disco_key *key) { writer_copy(w, key->bytes, KEY_SIZE); }

void disco_bind_write(struct writer *w, enum disco_type type, const struct disco_bind *bind) {
    CHECK(type == DISCO_BIND || type == DISCO_CHALLENGE || type == DISCO_ANSWER);
    struct writer message = message_start(w, type, DISCO_BIND_SIZE);
    writer_be32(&message, bind->vni);
    writer_be32(&message, bind->generation);
    write_key(&message, &bind->remote);
    writer_copy(&message, bind->challenge, DISCO_CHALLENGE_SIZE);
}

void disco_request_write(struct writer *w, const struct disco_request *request) {
    struct writer message = message_start(w, DISCO_ALLOCATE_REQUEST, DISCO_REQUEST_SIZE);
    for (int i = 0; i < 2; i++) write_key(&message, &request->clients[i]);
    writer_be32(&message, request->generation);
}

bool disco_endpoint_is_usable(const struct disco_endpoint *endpoint) {
    return !disco_key_is_zero(&endpoint->server) && !disco_key_is_zero(&endpoint->clients[0]) &&
           !disco_key_is_zero(&endpoint->clients[1]) && endpoint->vni >= GENEVE_VNI_MIN &&
           endpoint->vni <= GENEVE_VNI_MAX && endpoint->bind_lifetime_ns > 0 && endpoint->steady_lifetime_ns > 0 &&
           endpoint->address_count > 0;
}

static void write_endpoint(struct writer *w, const struct disco_endpoint *endpoint) {
    CHECK(disco_endpoint_is_usable(endpoint));
    write_key(w, &endpoint->server);
    for (int i = 0; i < 2; i++) write_key(w, &endpoint->clients[i]);
    write_be64(w, endpoint->lamport);
    writer_be32(w, endpoint->vni);
    write_be64(w, (uint64_t)endpoint->bind_lifetime_ns);
    write_be64(w, (uint64_t)endpoint->steady_lifetime_ns);
    writer_copy(w, endpoint->addresses, endpoint->address_count * DISCO_ADDRESS_SIZE);
}

void disco_response_write(struct writer *w, const struct disco_response *response) {
    size_t size = DISCO_RESPONSE_SIZE(response->endpoint.address_count);
    struct writer message = message_start(w, DISCO_ALLOCATE_RESPONSE, size);
    writer_be32(&message, response->generation);
    write_endpoint(&message, &response->endpoint);
}

void disco_via_write(struct writer *w, const struct disco_endpoint *endpoint) {
    struct writer message = message_start(w, DISCO_CALL_ME_MAYBE_VIA, DISCO_VIA_SIZE(endpoint->address_count));
    write_endpoint(&message, endpoint);
}

void disco_address_write(uint8_t to[DISCO_ADDRESS_SIZE], const struct net_address *address) {
    memcpy(to, address->ip, sizeof(address->ip));
    store_be16(to + sizeof(address->ip), address->port);
}

struct net_address disco_address_read(const uint8_t from[DISCO_ADDRESS_SIZE]) {
    struct net_address address;
    memcpy(address.ip, from, sizeof(address.ip));
    address.port = load_be16(from + sizeof(address.ip));
    return address;
}
