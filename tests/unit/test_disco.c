/* test_disco.c - disco by Tailscale's own bytes: keys, envelopes, the length rule of every message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdlib.h>

#include "proto/disco.h"
#include "proto/geneve.h"
#include "tests/golden/disco_vectors.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

/* S is the relay, A and B are its clients; A's key sorts first. */
struct cast {
    struct disco_private s_private, a_private, b_private;
    struct disco_key s, a, b;
    struct box_key as, bs;
};

static void person(uint8_t seed, struct disco_private *private_key, struct disco_key *key) {
    memset(private_key->bytes, seed, KEY_SIZE);
    disco_private_public(private_key, key);
}

static struct cast cast_of_vectors(void) {
    struct cast c;
    person(0x11, &c.s_private, &c.s);
    person(0x22, &c.a_private, &c.a);
    person(0x33, &c.b_private, &c.b);
    assert_true(disco_key_share(&c.as, &c.s, &c.a_private));
    assert_true(disco_key_share(&c.bs, &c.s, &c.b_private));
    return c;
}

static size_t from_hex(uint8_t *to, size_t room, const char *hex) {
    size_t size = 0;
    assert_int_equal(sodium_hex2bin(to, room, hex, strlen(hex), NULL, &size, NULL), 0);
    assert_int_equal(size, strlen(hex) / 2);
    return size;
}

static void assert_hex(const void *bytes, size_t size, const char *hex) {
    uint8_t due[1024];
    assert_int_equal(size, from_hex(due, sizeof(due), hex));
    assert_memory_equal(bytes, due, size);
}

static bool is_zero(const void *bytes, size_t size) { return sodium_is_zero(bytes, size) == 1; }

/* The nonce of all vectors. */
static const uint8_t *vector_nonce(void) {
    static uint8_t nonce[BOX_NONCE_SIZE];
    for (uint8_t i = 0; i < BOX_NONCE_SIZE; i++) nonce[i] = i;
    return nonce;
}

/* In a block of exactly that size, so that ASan sees every byte too far. */
static enum disco_error parse(const uint8_t *plain, size_t size, struct disco_message *message) {
    uint8_t *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    if (size) memcpy(exact, plain, size);
    memset(message, 0xee, sizeof(*message));
    enum disco_error error = disco_message_parse(exact, size, message);
    if (error) assert_true(is_zero(message, sizeof(*message)));
    free(exact);
    return error;
}

/* ---- keys ---- */

static void test_key_vectors(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct box_key ab, ba;
    assert_hex(c.s.bytes, KEY_SIZE, DISCO_VECTOR_S_PUBLIC);
    assert_hex(c.a.bytes, KEY_SIZE, DISCO_VECTOR_A_PUBLIC);
    assert_hex(c.b.bytes, KEY_SIZE, DISCO_VECTOR_B_PUBLIC);
    assert_hex(c.as.bytes, sizeof(c.as), DISCO_VECTOR_AS_SHARED);
    assert_hex(c.bs.bytes, sizeof(c.bs), DISCO_VECTOR_BS_SHARED);
    assert_true(disco_key_share(&ab, &c.b, &c.a_private));
    assert_true(disco_key_share(&ba, &c.a, &c.b_private));
    assert_hex(ab.bytes, sizeof(ab), DISCO_VECTOR_AB_SHARED);
    assert_memory_equal(&ab, &ba, sizeof(ab));
}

static void test_key_text(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct disco_key again;
    char text[DISCO_KEY_TEXT_SIZE], brief[DISCO_KEY_SHORT_TEXT_SIZE];
    disco_key_format(&c.a, text);
    assert_string_equal(text, "discokey:" DISCO_VECTOR_A_PUBLIC);
    assert_int_equal(disco_key_parse(text, strlen(text), &again), KEY_OK);
    assert_true(disco_key_equal(&again, &c.a));
    assert_false(disco_key_equal(&again, &c.b));
    disco_key_format_short(&c.a, brief);
    assert_string_equal(brief, "d:0faa684ed28867b9");
    assert_int_equal(disco_key_parse("discokey:" HEX64, 9 + 64, &again), KEY_OK);
    disco_key_format_short(&again, brief);
    assert_string_equal(brief, "d:0011223344556677");
    disco_key_format_short(&(struct disco_key){{0}}, brief);
    assert_string_equal(brief, "");
}

static void test_bad_key_texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum key_error error;
    } rows[] = {
        {"", KEY_BAD_DISCO_PREFIX},
        {"discokey", KEY_BAD_DISCO_PREFIX},
        {"nodekey:" HEX64, KEY_BAD_DISCO_PREFIX},
        {"DISCOKEY:" HEX64, KEY_BAD_DISCO_PREFIX},
        {" discokey:" HEX64, KEY_BAD_DISCO_PREFIX},
        {HEX64, KEY_BAD_DISCO_PREFIX},
        {"discokey:", KEY_BAD_LENGTH},
        {"discokey:" HEX64 "0", KEY_BAD_LENGTH},
        {"discokey:" HEX64 " ", KEY_BAD_LENGTH},
        {"discokey: " HEX64, KEY_BAD_LENGTH},
        {"discokey:0x" HEX64, KEY_BAD_LENGTH},
        {"discokey:g0112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF", KEY_BAD_DIGIT},
        {"discokey:00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEF:", KEY_BAD_DIGIT},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct disco_key key;
        memset(&key, 0xee, sizeof(key));
        enum key_error error = disco_key_parse(rows[i].text, strlen(rows[i].text), &key);
        if (error != rows[i].error) fail_msg("row %zu: %s", i, key_error_text(error));
        assert_true(disco_key_is_zero(&key));
    }
}

static void test_generated_keys(void **state) {
    (void)state;
    struct rng rng;
    struct disco_private ours, other;
    struct disco_key key;
    rng_init_seeded(&rng, 1);
    for (int i = 0; i < 20; i++) {
        disco_private_generate(&rng, &ours);
        assert_int_equal(ours.bytes[0] & 7, 0);
        assert_int_equal(ours.bytes[31] & 0xc0, 0x40);
        disco_private_public(&ours, &key);
        assert_false(disco_key_is_zero(&key));
    }
    disco_private_generate(&rng, &other);
    assert_memory_not_equal(&ours, &other, sizeof(ours));
    disco_private_wipe(&other);
    assert_true(is_zero(&other, sizeof(other)));
}

/* Every point of low order, in every form that is read as one: the result would be no secret. */
static void test_low_order_and_zero_keys(void **state) {
    (void)state;
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    struct cast c = cast_of_vectors();
    for (size_t i = 0; i < 2 * array_count(points); i++) {
        struct disco_key key;
        struct box_key shared;
        (void)from_hex(key.bytes, KEY_SIZE, points[i / 2]);
        if (i % 2) key.bytes[31] |= 0x80;  // a bit that the curve does not look at
        memset(&shared, 0xee, sizeof(shared));
        assert_false(disco_key_share(&shared, &key, &c.s_private));
        assert_true(is_zero(&shared, sizeof(shared)));
    }
    struct box_key shared;
    assert_false(disco_key_share(&shared, &c.a, &(struct disco_private){{0}}));
    assert_true(is_zero(&shared, sizeof(shared)));
}

static void test_pairs(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct disco_pair ab = disco_pair_of(&c.a, &c.b), ba = disco_pair_of(&c.b, &c.a), as = disco_pair_of(&c.a, &c.s);
    assert_true(disco_pair_equal(&ab, &ba));
    assert_false(disco_pair_equal(&ab, &as));
    assert_false(disco_pair_equal(&(struct disco_pair){{c.a, c.b}}, &(struct disco_pair){{c.b, c.b}}));
    assert_int_equal(disco_pair_leg(&ab, &c.a), 0);
    assert_int_equal(disco_pair_leg(&ab, &c.b), 1);
    assert_int_equal(disco_pair_leg(&ab, &c.s), -1);
    struct disco_pair aa = disco_pair_of(&c.a, &c.a);
    assert_int_equal(disco_pair_leg(&aa, &c.a), 0);
    /* As memory, from the first byte on, without signs. */
    struct disco_key low = {{0x7f, 0xff}}, high = {{0x80}}, last = {{0x80, [31] = 1}};
    struct disco_pair pair = disco_pair_of(&high, &low);
    assert_true(disco_key_equal(&pair.keys[0], &low));
    pair = disco_pair_of(&last, &high);
    assert_true(disco_key_equal(&pair.keys[0], &high));
}

/* ---- envelopes ---- */

static void test_datagram_vectors(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    static const struct {
        const char *hex;
        enum disco_type type;
        bool is_from_server;
    } rows[] = {{DISCO_VECTOR_BIND, DISCO_BIND, false},
                {DISCO_VECTOR_CHALLENGE, DISCO_CHALLENGE, true},
                {DISCO_VECTOR_ANSWER, DISCO_ANSWER, false}};
    for (size_t i = 0; i < array_count(rows); i++) {
        const struct disco_key *sender = rows[i].is_from_server ? &c.s : &c.a;
        struct disco_bind bind = {.vni = 0x010203, .generation = 7, .remote = c.b};
        if (rows[i].type != DISCO_BIND) (void)from_hex(bind.challenge, 32, DISCO_VECTOR_CHALLENGE_MAC);
        uint8_t plain[DISCO_BIND_SIZE], datagram[160];
        struct writer p = writer_of(plain, sizeof(plain));
        struct writer w = writer_of(datagram + GENEVE_HEADER_SIZE, sizeof(datagram) - GENEVE_HEADER_SIZE);
        disco_bind_write(&p, rows[i].type, &bind);
        geneve_header_write(datagram, &(struct geneve_header){0x010203, GENEVE_PROTOCOL_DISCO, true});
        disco_envelope_seal_with(&w, sender, &c.as, vector_nonce(), plain, sizeof(plain));
        assert_true(writer_ok(&p) && writer_ok(&w) && writer_left(&p) == 0 && writer_left(&w) == 0);
        assert_hex(datagram, sizeof(datagram), rows[i].hex);
    }
}

/* The relay's walk: header, sender, box, message. */
static void test_datagram_is_read(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct disco_pair pair = disco_pair_of(&c.b, &c.a);
    uint8_t bytes[160];
    size_t plain_size = 0;
    struct disco_message message;
    (void)from_hex(bytes, sizeof(bytes), DISCO_VECTOR_ANSWER);
    const struct disco_key *sender = disco_envelope_sender(bytes + 8, sizeof(bytes) - 8);
    assert_non_null(sender);
    assert_int_equal(disco_pair_leg(&pair, sender), 0);
    const uint8_t *plain = disco_envelope_open(&c.as, bytes + 8, sizeof(bytes) - 8, &plain_size);
    assert_ptr_equal(plain, bytes + 8 + DISCO_OVERHEAD);
    assert_int_equal(plain_size, DISCO_BIND_SIZE);
    assert_int_equal(parse(plain, plain_size, &message), DISCO_OK);
    assert_int_equal(message.type, DISCO_ANSWER);
    assert_int_equal(message.bind.vni, 0x010203);
    assert_int_equal(message.bind.generation, 7);
    assert_true(disco_key_equal(&message.bind.remote, &c.b));
    assert_hex(message.bind.challenge, 32, DISCO_VECTOR_CHALLENGE_MAC);
}

/* What peers say to each other: known, and not taken apart. */
static void test_peers_vectors(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct box_key ab;
    struct disco_message message;
    assert_true(disco_key_share(&ab, &c.b, &c.a_private));
    static const char *const rows[] = {DISCO_VECTOR_PING, DISCO_VECTOR_PONG};
    for (size_t i = 0; i < array_count(rows); i++) {
        uint8_t bytes[160];
        size_t plain_size, size = from_hex(bytes, sizeof(bytes), rows[i]) - 8;
        assert_null(disco_envelope_open(&c.as, bytes + 8, size, &plain_size));
        const uint8_t *plain = disco_envelope_open(&ab, bytes + 8, size, &plain_size);
        assert_non_null(plain);
        assert_int_equal(plain_size, i == 0 ? 46 : 32);
        assert_int_equal(parse(plain, plain_size, &message), DISCO_OK);
        assert_int_equal(message.type, i == 0 ? DISCO_PING : DISCO_PONG);
    }
}

/* Every flip of every byte is refused, and what was refused is left as it was. */
static void test_every_flipped_byte_is_refused(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    uint8_t whole[160], bytes[152], before[152];
    size_t plain_size;
    (void)from_hex(whole, sizeof(whole), DISCO_VECTOR_BIND);
    struct disco_pair pair = disco_pair_of(&c.a, &c.b);
    for (size_t at = 0; at < sizeof(bytes); at++) {
        for (unsigned change = 1; change < 256; change++) {
            memcpy(bytes, whole + 8, sizeof(bytes));
            bytes[at] ^= (uint8_t)change;
            memcpy(before, bytes, sizeof(bytes));
            const struct disco_key *sender = disco_envelope_sender(bytes, sizeof(bytes));
            bool is_refused = sender == NULL || disco_pair_leg(&pair, sender) < 0 ||
                              disco_envelope_open(&c.as, bytes, sizeof(bytes), &plain_size) == NULL;
            if (!is_refused) fail_msg("byte %zu ^ %02x", at, change);
            assert_int_equal(sender == NULL, at < DISCO_MAGIC_SIZE);
            assert_memory_equal(bytes, before, sizeof(bytes));
        }
    }
    memcpy(bytes, whole + 8, sizeof(bytes));
    assert_null(disco_envelope_open(&c.bs, bytes, sizeof(bytes), &plain_size));
    assert_non_null(disco_envelope_open(&c.as, bytes, sizeof(bytes), &plain_size));
}

static void test_every_shorter_message_is_refused(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    uint8_t whole[160];
    size_t plain_size;
    (void)from_hex(whole, sizeof(whole), DISCO_VECTOR_BIND);
    for (size_t size = 0; size < 152; size++) {
        uint8_t *bytes = malloc(size ? size : 1);
        assert_non_null(bytes);
        memcpy(bytes, whole + 8, size);
        assert_int_equal(disco_envelope_sender(bytes, size) != NULL, size >= 62);
        assert_null(disco_envelope_open(&c.as, bytes, size, &plain_size));
        free(bytes);
    }
    assert_null(disco_envelope_sender(NULL, 0));
}

/* Of any size, nothing included, each with a nonce of its own. */
static void test_seal_and_open(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct rng rng;
    uint8_t plain[300], nonce[BOX_NONCE_SIZE] = {0};
    rng_init_seeded(&rng, 3);
    for (size_t i = 0; i < sizeof(plain); i++) plain[i] = (uint8_t)i;
    for (size_t size = 0; size <= sizeof(plain); size++) {
        uint8_t bytes[DISCO_OVERHEAD + sizeof(plain)];
        size_t opened = 0;
        struct writer w = writer_of(bytes, DISCO_OVERHEAD + size);
        disco_envelope_seal(&w, &c.s, &c.bs, &rng, size ? plain : NULL, size);
        assert_true(writer_ok(&w) && writer_left(&w) == 0);
        assert_memory_not_equal(bytes + DISCO_HEAD_SIZE, nonce, sizeof(nonce));
        memcpy(nonce, bytes + DISCO_HEAD_SIZE, sizeof(nonce));
        assert_true(disco_key_equal(disco_envelope_sender(bytes, DISCO_OVERHEAD + size), &c.s));
        const uint8_t *got = disco_envelope_open(&c.bs, bytes, DISCO_OVERHEAD + size, &opened);
        assert_non_null(got);
        assert_int_equal(opened, size);
        assert_memory_equal(got, plain, size);
    }
}

static void test_no_room_writes_nothing(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct rng rng;
    rng_init_seeded(&rng, 4);
    uint8_t room[DISCO_OVERHEAD + 4] = {0};
    struct writer w = writer_of(room, sizeof(room));
    disco_envelope_seal(&w, &c.s, &c.as, &rng, "hello", 5);
    assert_false(writer_ok(&w));
    assert_true(is_zero(room, sizeof(room)));

    struct disco_bind bind = {.vni = 1, .generation = 1, .remote = c.b};
    for (size_t size = 0; size < DISCO_BIND_SIZE; size++) {
        w = writer_of(room, min_of(size, sizeof(room)));
        disco_bind_write(&w, DISCO_BIND, &bind);
        assert_false(writer_ok(&w));
    }
    w = writer_of(room, DISCO_REQUEST_SIZE - 1);
    disco_request_write(&w, &(struct disco_request){.clients = {c.a, c.b}});
    assert_false(writer_ok(&w));
    assert_true(is_zero(room, sizeof(room)));
}

/* ---- messages ---- */

static const uint8_t *one_address(void) {
    static uint8_t bytes[DISCO_ADDRESS_SIZE];
    struct net_address address = {.ip = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 9}, .port = 3478};
    disco_address_write(bytes, &address);
    return bytes;
}

static struct disco_endpoint endpoint_of(const struct cast *c) {
    return (struct disco_endpoint){.server = c->s,
                                   .clients = {c->a, c->b},
                                   .lamport = 1,
                                   .vni = 0x010203,
                                   .bind_lifetime_ns = 30 * (int64_t)NS_PER_S,
                                   .steady_lifetime_ns = 300 * (int64_t)NS_PER_S,
                                   .addresses = one_address(),
                                   .address_count = 1};
}

static void test_request_vector(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    uint8_t plain[DISCO_REQUEST_SIZE];
    struct writer w = writer_of(plain, sizeof(plain));
    struct disco_message message;
    disco_request_write(&w, &(struct disco_request){.clients = {c.a, c.b}, .generation = 9});
    assert_true(writer_ok(&w));
    assert_hex(plain, sizeof(plain), DISCO_VECTOR_REQUEST_PLAIN);
    assert_int_equal(parse(plain, sizeof(plain), &message), DISCO_OK);
    assert_int_equal(message.type, DISCO_ALLOCATE_REQUEST);
    assert_int_equal(message.request.generation, 9);
    assert_true(disco_key_equal(&message.request.clients[0], &c.a));
    assert_true(disco_key_equal(&message.request.clients[1], &c.b));
}

static void test_bind_vector(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    uint8_t plain[DISCO_BIND_SIZE];
    struct writer w = writer_of(plain, sizeof(plain));
    disco_bind_write(&w, DISCO_BIND, &(struct disco_bind){.vni = 0x010203, .generation = 7, .remote = c.b});
    assert_hex(plain, sizeof(plain), DISCO_VECTOR_BIND_PLAIN);
}

static void assert_endpoint(const struct disco_endpoint *got, const struct disco_endpoint *due) {
    assert_true(disco_key_equal(&got->server, &due->server));
    for (int i = 0; i < 2; i++) assert_true(disco_key_equal(&got->clients[i], &due->clients[i]));
    assert_int_equal(got->lamport, due->lamport);
    assert_int_equal(got->vni, due->vni);
    assert_int_equal(got->bind_lifetime_ns, due->bind_lifetime_ns);
    assert_int_equal(got->steady_lifetime_ns, due->steady_lifetime_ns);
    assert_int_equal(got->address_count, due->address_count);
}

static void test_response_and_via_vectors(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    struct disco_endpoint endpoint = endpoint_of(&c);
    uint8_t plain[DISCO_RESPONSE_SIZE(1)];
    struct disco_message message;
    struct writer w = writer_of(plain, sizeof(plain));
    disco_response_write(&w, &(struct disco_response){.generation = 9, .endpoint = endpoint});
    assert_true(writer_ok(&w));
    assert_hex(plain, sizeof(plain), DISCO_VECTOR_RESPONSE_PLAIN);
    assert_int_equal(disco_message_parse(plain, sizeof(plain), &message), DISCO_OK);
    assert_int_equal(message.response.generation, 9);
    assert_endpoint(&message.response.endpoint, &endpoint);
    assert_memory_equal(message.response.endpoint.addresses, one_address(), DISCO_ADDRESS_SIZE);

    w = writer_of(plain, DISCO_VIA_SIZE(1));
    disco_via_write(&w, &endpoint);
    assert_true(writer_ok(&w) && writer_left(&w) == 0);
    assert_hex(plain, DISCO_VIA_SIZE(1), DISCO_VECTOR_VIA_PLAIN);
    assert_int_equal(disco_message_parse(plain, DISCO_VIA_SIZE(1), &message), DISCO_OK);
    assert_endpoint(&message.via, &endpoint);
}

static void test_many_addresses(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    enum { COUNT = 9 };
    uint8_t addresses[COUNT * DISCO_ADDRESS_SIZE], plain[DISCO_RESPONSE_SIZE(COUNT)];
    for (uint8_t i = 0; i < COUNT; i++) {
        struct net_address address = {.ip = {0x20, 0x01, 0x0d, 0xb8, [15] = i}, .port = (uint16_t)(0xfff0 + i)};
        disco_address_write(addresses + i * DISCO_ADDRESS_SIZE, &address);
    }
    struct disco_response response = {.generation = UINT32_MAX, .endpoint = endpoint_of(&c)};
    response.endpoint.lamport = UINT64_MAX;
    response.endpoint.addresses = addresses;
    response.endpoint.address_count = COUNT;
    struct writer w = writer_of(plain, sizeof(plain));
    struct disco_message message;
    disco_response_write(&w, &response);
    assert_int_equal(disco_message_parse(plain, sizeof(plain), &message), DISCO_OK);
    assert_int_equal(message.response.generation, UINT32_MAX);
    assert_endpoint(&message.response.endpoint, &response.endpoint);
    for (uint8_t i = 0; i < COUNT; i++) {
        const uint8_t *entry = message.response.endpoint.addresses + i * DISCO_ADDRESS_SIZE;
        struct net_address address = disco_address_read(entry);
        assert_int_equal(address.ip[15], i);
        assert_int_equal(address.port, 0xfff0 + i);
    }
}

/* A body of `least` bytes is there, one byte less is not; what follows is ignored or, at `exact`, not. */
static void test_length_rules(void **state) {
    (void)state;
    static const struct {
        uint8_t type;
        size_t least;
        size_t unit;  // 0: anything may follow; else only this, any number of times
    } rows[] = {
        {1, 12, 0}, {2, 30, 0}, {3, 0, 0}, {4, 72, 0}, {5, 72, 0}, {6, 72, 0}, {7, 142, 18}, {8, 68, 0}, {9, 146, 18},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        for (size_t body = 0; body < 400; body++) {
            uint8_t plain[2 + 400] = {rows[i].type, 0};
            struct disco_message message;
            enum disco_error due = DISCO_OK;
            size_t head = rows[i].least - rows[i].unit;
            if (body < head) due = DISCO_TOO_SHORT;
            else if (body < rows[i].least || (rows[i].unit && (body - head) % rows[i].unit)) due = DISCO_WRONG_LENGTH;
            enum disco_error got = parse(plain, 2 + body, &message);
            if (got != due) fail_msg("type %u, %zu bytes: %s", rows[i].type, body, disco_error_name(got));
            if (got == DISCO_OK) assert_int_equal(message.type, rows[i].type);
        }
    }
}

static void test_what_follows_is_ignored(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    uint8_t plain[512];
    struct disco_message message;
    size_t size = from_hex(plain, sizeof(plain), DISCO_VECTOR_BIND_PLAIN);
    memset(plain + size, 0xaa, sizeof(plain) - size);
    assert_int_equal(parse(plain, sizeof(plain), &message), DISCO_OK);
    assert_int_equal(message.bind.generation, 7);
    assert_true(disco_key_equal(&message.bind.remote, &c.b) && is_zero(message.bind.challenge, 32));
    size = from_hex(plain, sizeof(plain), DISCO_VECTOR_REQUEST_PLAIN);
    memset(plain + size, 0xaa, sizeof(plain) - size);
    assert_int_equal(parse(plain, sizeof(plain), &message), DISCO_OK);
    assert_int_equal(message.request.generation, 9);
}

/* 07, 08 and 09 of another version are empty whatever their length; of the others nobody looks at the version. */
static void test_version_rules(void **state) {
    (void)state;
    for (unsigned version = 1; version < 256; version++) {
        for (uint8_t type = 7; type <= 9; type++) {
            for (size_t size = 2; size < 300; size++) {
                uint8_t plain[300];
                struct disco_message message, due;
                memset(plain, 0x77, sizeof(plain));
                plain[0] = type;
                plain[1] = (uint8_t)version;
                memset(&due, 0, sizeof(due));
                due.type = (enum disco_type)type;
                due.version = (uint8_t)version;
                assert_int_equal(disco_message_parse(plain, size, &message), DISCO_OK);
                assert_memory_equal(&message, &due, sizeof(message));
            }
        }
        for (uint8_t type = 4; type <= 6; type++) {
            uint8_t plain[DISCO_BIND_SIZE];
            struct disco_message message;
            (void)from_hex(plain, sizeof(plain), DISCO_VECTOR_BIND_PLAIN);
            plain[0] = type;
            plain[1] = (uint8_t)version;
            assert_int_equal(parse(plain, sizeof(plain), &message), DISCO_OK);
            assert_int_equal(message.version, version);
            assert_int_equal(message.bind.vni, 0x010203);
            assert_int_equal(parse(plain, sizeof(plain) - 1, &message), DISCO_TOO_SHORT);
        }
    }
}

static void test_unknown_types(void **state) {
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        uint8_t plain[400] = {(uint8_t)type, 0};
        struct disco_message message;
        enum disco_error error = parse(plain, 2 + 146, &message);
        assert_int_equal(error == DISCO_UNKNOWN_TYPE, type == 0 || type > 9);
        assert_int_equal(parse(plain, 1, &message), DISCO_TOO_SHORT);
    }
    struct disco_message message;
    assert_int_equal(disco_message_parse(NULL, 0, &message), DISCO_TOO_SHORT);
    for (int e = 0; e < DISCO_ERROR_COUNT; e++) assert_true(strlen(disco_error_name((enum disco_error)e)) > 1);
    assert_non_null(disco_error_name((enum disco_error)99));
}

static void test_usable_endpoints(void **state) {
    (void)state;
    struct cast c = cast_of_vectors();
    const struct disco_endpoint good = endpoint_of(&c);
    assert_true(disco_endpoint_is_usable(&good));
    struct disco_endpoint bad[9];
    for (size_t i = 0; i < array_count(bad); i++) bad[i] = good;
    memset(&bad[0].server, 0, KEY_SIZE);
    memset(&bad[1].clients[0], 0, KEY_SIZE);
    memset(&bad[2].clients[1], 0, KEY_SIZE);
    bad[3].vni = 0;
    bad[4].vni = GENEVE_VNI_MAX + 1;
    bad[5].bind_lifetime_ns = 0;
    bad[6].steady_lifetime_ns = 0;
    bad[7].bind_lifetime_ns = -1;
    bad[8].address_count = 0;
    for (size_t i = 0; i < array_count(bad); i++)
        if (disco_endpoint_is_usable(&bad[i])) fail_msg("endpoint %zu", i);
    struct disco_endpoint last = good;
    last.vni = GENEVE_VNI_MAX;
    assert_true(disco_endpoint_is_usable(&last));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_vectors),
        cmocka_unit_test(test_key_text),
        cmocka_unit_test(test_bad_key_texts),
        cmocka_unit_test(test_generated_keys),
        cmocka_unit_test(test_low_order_and_zero_keys),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_datagram_vectors),
        cmocka_unit_test(test_datagram_is_read),
        cmocka_unit_test(test_peers_vectors),
        cmocka_unit_test(test_every_flipped_byte_is_refused),
        cmocka_unit_test(test_every_shorter_message_is_refused),
        cmocka_unit_test(test_seal_and_open),
        cmocka_unit_test(test_no_room_writes_nothing),
        cmocka_unit_test(test_request_vector),
        cmocka_unit_test(test_bind_vector),
        cmocka_unit_test(test_response_and_via_vectors),
        cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_length_rules),
        cmocka_unit_test(test_what_follows_is_ignored),
        cmocka_unit_test(test_version_rules),
        cmocka_unit_test(test_unknown_types),
        cmocka_unit_test(test_usable_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
