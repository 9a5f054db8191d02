/* Records: RFC 8448's, pairs of a server and a client, key updates, every refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/rng.h"
#include "proto/record.h"

enum { DATA = 23, HANDSHAKE = 22, ALERT = 21, CHANGE_CIPHER_SPEC = 20 };
enum { CARRY_MAX = 5 * RECORD_PLAIN_MAX };

/* ---- the bed ---- */

struct pair {
    struct record server, client;
};

static struct pair p;
static struct rng rng;
static uint8_t wire[CARRY_MAX + 16 * RECORD_OVERHEAD], plain[CARRY_MAX + 1], opened[CARRY_MAX + RECORD_INNER_MAX];

static void begin(enum aead_suite suite) {
    uint8_t up[HKDF_SECRET_MAX], down[HKDF_SECRET_MAX];
    rng_bytes(&rng, up, sizeof(up));
    rng_bytes(&rng, down, sizeof(down));
    assert_true(record_init(&p.server, suite, false, up, down));
    assert_true(record_init(&p.client, suite, true, down, up));
}

static void end(void) {
    record_fini(&p.server);
    record_fini(&p.client);
}

static int setup(void **state) {
    (void)state;
    begin(aead_has_suite(AEAD_AES_128_GCM) ? AEAD_AES_128_GCM : AEAD_CHACHA20_POLY1305);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    end();
    return 0;
}

struct result {
    enum record_opened opened;
    enum record_alert alert;
    size_t size;
};

static bool is_wiped(const uint8_t *bytes, size_t size) {
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++) sum |= bytes[i];
    return sum == 0;
}

/* One whole record. What is not data leaves nothing behind. */
static struct result open_record(struct record *r, const uint8_t *bytes, size_t size) {
    struct result got = {.alert = 255};
    size_t record_size;
    assert_int_equal(record_next(bytes, size, &record_size, &got.alert), RECORD_WHOLE);
    assert_int_equal(record_size, size);
    size_t room = record_plain_room(size);
    memset(opened, 0xee, room + 1);
    got.opened = record_open(r, bytes, size, opened, &got.size, &got.alert);
    assert_int_equal(opened[room], 0xee);
    if (got.opened != RECORD_DATA) assert_true(got.size == 0 && is_wiped(opened, room));
    return got;
}

/* Any inner plaintext as one record of `from`; the nonce is made here once more, byte by byte. */
static size_t seal_inner(struct record *from, const uint8_t *inner, size_t size) {
    uint8_t nonce[AEAD_NONCE_SIZE];
    memcpy(nonce, from->out_iv, sizeof(nonce));
    for (int i = 0; i < 8; i++) nonce[4 + i] ^= (uint8_t)(from->out_sequence >> (56 - 8 * i));
    from->out_sequence++;
    size_t length = size + AEAD_TAG_SIZE;
    memcpy(wire, (uint8_t[]){DATA, 3, 3, (uint8_t)(length >> 8), (uint8_t)length}, RECORD_HEADER_SIZE);
    aead_seal(&from->out_key, nonce, wire, RECORD_HEADER_SIZE, inner, size, wire + RECORD_HEADER_SIZE);
    return RECORD_HEADER_SIZE + length;
}

static size_t seal_typed(struct record *from, uint8_t type, const void *content, size_t size, size_t padding) {
    static uint8_t inner[RECORD_INNER_MAX + 1];
    if (size) memcpy(inner, content, size);
    inner[size] = type;
    memset(inner + size + 1, 0, padding);
    return seal_inner(from, inner, size + 1 + padding);
}

static struct result send_typed(struct record *from, struct record *to, uint8_t type, const void *content,
                                size_t size) {
    return open_record(to, wire, seal_typed(from, type, content, size, 0));
}

static void expect_bad(struct result got, enum record_alert alert) {
    assert_int_equal(got.opened, RECORD_BAD);
    assert_int_equal(got.alert, alert);
}

/* A fresh pair refuses a record of the client that way. */
static void server_refuses(uint8_t type, const void *content, size_t size, enum record_alert alert) {
    end();
    setup(NULL);
    expect_bad(send_typed(&p.client, &p.server, type, content, size), alert);
}

static void client_refuses(uint8_t type, const void *content, size_t size, enum record_alert alert) {
    end();
    setup(NULL);
    expect_bad(send_typed(&p.server, &p.client, type, content, size), alert);
}

/* Opens all records in `size` bytes of wire; the data comes out in one piece in `opened`. */
static size_t open_all(struct record *to, size_t size, size_t *count) {
    size_t at = 0, total = 0;
    for (*count = 0; at < size; ++*count) {
        size_t record_size, plain_size;
        enum record_alert alert;
        assert_int_equal(record_next(wire + at, size - at, &record_size, &alert), RECORD_WHOLE);
        enum record_opened o = record_open(to, wire + at, record_size, opened + total, &plain_size, &alert);
        assert_true(o == RECORD_DATA || o == RECORD_HANDLED);
        total += plain_size;
        at += record_size;
    }
    return total;
}

/* `size` random bytes from one to the other; how many records it took. */
static size_t carry(struct record *from, struct record *to, size_t size) {
    rng_bytes(&rng, plain, size);
    uint8_t behind = plain[size] = (uint8_t)rng_below(&rng, 256);
    size_t needed = record_room_needed(from, size), count;
    struct writer w = writer_of(wire, needed);
    static uint8_t before[CARRY_MAX + 1];
    memcpy(before, plain, size);
    assert_true(record_seal(from, &w, plain, size));
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(plain, before, size);
    assert_int_equal(plain[size], behind);
    assert_int_equal(open_all(to, needed, &count), size);
    assert_memory_equal(opened, plain, size);
    return count;
}

/* ---- what should work ---- */

static size_t from_hex(uint8_t *to, size_t room, const char *hex) {
    size_t size;
    assert_int_equal(sodium_hex2bin(to, room, hex, strlen(hex), NULL, &size, NULL), 0);
    return size;
}

#define RFC_CLIENT_DATA                                                \
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f" \
    "2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae6" \
    "3aeebb21694915e4"
#define RFC_CLIENT_CLOSE "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"
#define RFC_SERVER_TICKET                                              \
    "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d4" \
    "1d6af8f6b580dcf3d11d63c758db289a015940252f55713e061dc13e078891a3" \
    "8efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e0" \
    "9c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406" \
    "f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c8651" \
    "9d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74" \
    "bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf159" \
    "85684f"
#define RFC_SERVER_DATA                                                \
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36" \
    "e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf33254" \
    "0dd032e167c2955d"
#define RFC_SERVER_CLOSE "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"

static void expect_data_and_close(struct record *from, struct record *to, const char *data_hex, const char *close_hex) {
    uint8_t want[128], counting[51];
    size_t size = from_hex(want, sizeof(want), data_hex);
    for (size_t i = 0; i < sizeof(counting); i++) counting[i] = (uint8_t)i;
    struct writer w = writer_of(wire, sizeof(wire));
    assert_true(record_seal(from, &w, counting, 50));
    assert_int_equal(w.at - wire, size);
    assert_memory_equal(wire, want, size);
    struct result got = open_record(to, want, size);
    assert_true(got.opened == RECORD_DATA && got.size == 50);
    assert_memory_equal(opened, counting, 50);

    size = from_hex(want, sizeof(want), close_hex);
    w = writer_of(wire, RECORD_ALERT_SIZE);
    assert_true(record_seal_alert(from, &w, ALERT_CLOSE_NOTIFY));
    assert_memory_equal(wire, want, size);
    assert_int_equal(open_record(to, want, size).opened, RECORD_CLOSED);
}

static void test_rfc8448(void **state) {
    (void)state;
    if (!aead_has_suite(AEAD_AES_128_GCM)) skip();
    uint8_t up[32], down[32], ticket[256];
    from_hex(up, sizeof(up), "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    from_hex(down, sizeof(down), "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    end();
    assert_true(record_init(&p.server, AEAD_AES_128_GCM, false, up, down));
    assert_true(record_init(&p.client, AEAD_AES_128_GCM, true, down, up));
    size_t size = from_hex(ticket, sizeof(ticket), RFC_SERVER_TICKET);
    assert_int_equal(open_record(&p.client, ticket, size).opened, RECORD_HANDLED);
    p.server.out_sequence = 1;  // it was this server who sent the ticket
    expect_data_and_close(&p.server, &p.client, RFC_SERVER_DATA, RFC_SERVER_CLOSE);
    expect_data_and_close(&p.client, &p.server, RFC_CLIENT_DATA, RFC_CLIENT_CLOSE);
}

static void carry_all_sizes(void) {
    static const size_t sizes[] = {1,
                                   2,
                                   15,
                                   16,
                                   1400,
                                   RECORD_PLAIN_MAX - 1,
                                   RECORD_PLAIN_MAX,
                                   RECORD_PLAIN_MAX + 1,
                                   2 * RECORD_PLAIN_MAX,
                                   CARRY_MAX - 3};
    for (size_t i = 0; i < array_count(sizes); i++) {
        size_t records = (sizes[i] + RECORD_PLAIN_MAX - 1) / RECORD_PLAIN_MAX;
        assert_int_equal(record_sealed_size(sizes[i]), sizes[i] + records * RECORD_OVERHEAD);
        assert_int_equal(carry(&p.client, &p.server, sizes[i]), records);
        assert_int_equal(carry(&p.server, &p.client, sizes[i]), records);
    }
    for (int i = 0; i < 100; i++) (void)carry(&p.client, &p.server, rng_below(&rng, 3000));
    struct writer w = writer_of(wire, sizeof(wire));
    assert_true(record_seal_key_update(&p.server, &w, true));
    assert_int_equal(open_record(&p.client, wire, RECORD_KEY_UPDATE_SIZE).opened, RECORD_HANDLED);
    assert_true(record_owes(&p.client));
    assert_int_equal(carry(&p.client, &p.server, 100), 2);
    assert_int_equal(carry(&p.server, &p.client, 100), 1);
}

static void test_sizes_in_all_suites_of_all_backends(void **state) {
    (void)state;
    static const char *const names[] = {"ipsec-mb", "libcrypto", "sodium"};
    char why[AEAD_WHY_MAX];
    end();
    for (size_t n = 0; n < array_count(names); n++) {
        if (!aead_init(names[n], why)) continue;
        for (enum aead_suite suite = 1; suite < AEAD_SUITE_END; suite++) {
            if (!aead_has_suite(suite)) continue;
            begin(suite);
            carry_all_sizes();
            end();
        }
    }
    assert_true(aead_init(NULL, why));
}

static void test_padding_is_stripped(void **state) {
    (void)state;
    for (size_t padding = 0; padding < 70; padding++) {
        struct result got =
            open_record(&p.server, wire, seal_typed(&p.client, DATA, "ends in\0zeros\0\0", 15, padding));
        assert_true(got.opened == RECORD_DATA && got.size == 15);
        assert_memory_equal(opened, "ends in\0zeros\0\0", 15);
    }
    size_t size = seal_typed(&p.client, DATA, "a", 1, RECORD_PLAIN_MAX - 1);
    assert_int_equal(size, RECORD_SIZE_MAX);
    struct result got = open_record(&p.server, wire, size);
    assert_true(got.opened == RECORD_DATA && got.size == 1 && opened[0] == 'a');
}

/* The nonce has all 64 bits of the number: sealed by the module, opened by the module, and against the plain form. */
static void test_high_sequence_numbers(void **state) {
    (void)state;
    static const uint64_t sequences[] = {0xff, 0x100, 0xffffffff, 0x100000000, 0x123456789abcdef0};
    for (size_t i = 0; i < array_count(sequences); i++) {
        p.client.rekey_after = UINT32_MAX;
        p.client.out_sequence = p.server.in_sequence = sequences[i];
        assert_int_equal(send_typed(&p.client, &p.server, DATA, "plain form", 10).opened, RECORD_DATA);
        assert_int_equal(p.server.in_sequence, sequences[i] + 1);
        p.client.out_sequence = p.server.in_sequence = 0xfffffffe;
        assert_int_equal(carry(&p.client, &p.server, 10), 1);
    }
}

static void test_in_place_is_the_same(void **state) {
    (void)state;
    size_t size = seal_typed(&p.client, DATA, "in place", 8, 3), plain_size;
    enum record_alert alert;
    assert_int_equal(record_open(&p.server, wire, size, wire + RECORD_HEADER_SIZE, &plain_size, &alert), RECORD_DATA);
    assert_int_equal(plain_size, 8);
    assert_memory_equal(wire + RECORD_HEADER_SIZE, "in place", 8);
}

static void test_no_room_seals_nothing(void **state) {
    (void)state;
    uint8_t data[101] = {1};
    p.server.owes_key_update = true;
    size_t needed = record_room_needed(&p.server, 100);
    assert_int_equal(needed, record_sealed_size(100) + RECORD_KEY_UPDATE_SIZE);
    struct record before = p.server;
    for (size_t room = 0; room < needed; room++) {
        struct writer w = writer_of(wire, room);
        assert_false(record_seal(&p.server, &w, data, 100));
        assert_true(w.bad && w.at == wire);
    }
    struct writer w = writer_of(wire, RECORD_KEY_UPDATE_SIZE - 1);
    assert_false(record_seal_key_update(&p.server, &w, false));
    w = writer_of(wire, RECORD_ALERT_SIZE - 1);
    assert_false(record_seal_alert(&p.server, &w, ALERT_CLOSE_NOTIFY));
    assert_false(record_seal_alert(&p.server, &w, ALERT_CLOSE_NOTIFY));  // a bad writer stays bad
    assert_memory_equal(&p.server, &before, offsetof(struct record, in_key));
    assert_int_equal(carry(&p.server, &p.client, 100), 2);
}

static void test_sealing_nothing_pays_what_is_owed(void **state) {
    (void)state;
    struct writer w = writer_of(wire, sizeof(wire));
    assert_true(record_seal(&p.server, &w, NULL, 0));
    assert_ptr_equal(w.at, wire);
    p.server.owes_key_update = true;
    assert_true(record_seal(&p.server, &w, NULL, 0));
    assert_int_equal(w.at - wire, RECORD_KEY_UPDATE_SIZE);
    assert_false(record_owes(&p.server));
    assert_int_equal(open_record(&p.client, wire, RECORD_KEY_UPDATE_SIZE).opened, RECORD_HANDLED);
    assert_false(record_owes(&p.client));
}

/* ---- key updates ---- */

static void test_updates_cross(void **state) {
    (void)state;
    static uint8_t up[RECORD_KEY_UPDATE_SIZE];
    for (int i = 0; i < 50; i++) {
        struct writer w = writer_of(up, sizeof(up));
        assert_true(record_seal_key_update(&p.client, &w, true));
        w = writer_of(wire, sizeof(wire));
        assert_true(record_seal_key_update(&p.server, &w, true));
        assert_int_equal(open_record(&p.client, wire, RECORD_KEY_UPDATE_SIZE).opened, RECORD_HANDLED);
        assert_int_equal(open_record(&p.server, up, sizeof(up)).opened, RECORD_HANDLED);
        /* Both asked and got one before they answered: now both owe one more, to be taken from the ration. */
        for (int n = 0; n < RECORD_UPDATES_EVERY + 1; n++) {
            assert_int_equal(carry(&p.client, &p.server, 10), n == 0 ? 2 : 1);
            assert_int_equal(carry(&p.server, &p.client, 10), n == 0 ? 2 : 1);
        }
    }
}

static void test_several_requests_owe_one_answer(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct writer w = writer_of(wire, sizeof(wire));
        assert_true(record_seal_key_update(&p.client, &w, true));
        assert_int_equal(open_record(&p.server, wire, RECORD_KEY_UPDATE_SIZE).opened, RECORD_HANDLED);
    }
    assert_int_equal(carry(&p.server, &p.client, 5), 2);
    assert_int_equal(carry(&p.server, &p.client, 5), 1);
}

/* Else two sides that both like to ask would answer each other for ever. */
static void test_an_answer_asks_for_nothing(void **state) {
    (void)state;
    p.server.asks_key_update = p.client.asks_key_update = true;
    struct writer w = writer_of(wire, sizeof(wire));
    assert_true(record_seal_key_update(&p.client, &w, true));
    assert_int_equal(open_record(&p.server, wire, RECORD_KEY_UPDATE_SIZE).opened, RECORD_HANDLED);
    assert_int_equal(carry(&p.server, &p.client, 5), 2);
    assert_false(p.server.awaits_key_update || p.client.awaits_key_update || record_owes(&p.client));
    /* And nobody asks again before the answer has come. */
    p.server.rekey_after = 1;
    (void)carry(&p.server, &p.client, 5);
    assert_true(p.server.awaits_key_update && record_owes(&p.client));
    p.client.owes_key_update = false;
    (void)carry(&p.server, &p.client, 5);
    assert_false(record_owes(&p.client));
}

/* A thousand updates in each direction; the server's ask for the client's. */
static void test_own_updates(void **state) {
    (void)state;
    size_t updates = 0, answers = 0;
    p.server.rekey_after = 100;
    p.server.asks_key_update = true;
    for (int i = 0; i < 100 * 1000 + 1; i++) {
        updates += carry(&p.server, &p.client, 1) - 1;
        assert_true(p.server.out_sequence <= 100);
        if (i % 60 == 0) answers += carry(&p.client, &p.server, 1) - 1;
    }
    assert_int_equal(updates, 1000);
    assert_in_range(answers, 990, 1000);
    assert_int_equal(p.server.update_tokens, RECORD_UPDATES_BURST);      // asked for
    assert_int_equal(p.client.update_tokens, RECORD_UPDATES_BURST - 1);  // the last one is not made up for yet
    /* A split that would cross the bound waits for the new key. */
    p.client.rekey_after = 3;
    assert_true(p.client.out_sequence > 0);
    assert_int_equal(carry(&p.client, &p.server, RECORD_PLAIN_MAX * 2 + 1), 4);
    assert_int_equal(p.client.out_sequence, 3);
}

static struct result update_server(void) {
    struct writer w = writer_of(wire, sizeof(wire));
    assert_true(record_seal_key_update(&p.client, &w, false));
    return open_record(&p.server, wire, RECORD_KEY_UPDATE_SIZE);
}

static void test_updates_are_rationed(void **state) {
    (void)state;
    for (int i = 0; i < RECORD_UPDATES_BURST; i++) assert_int_equal(update_server().opened, RECORD_HANDLED);
    for (int i = 0; i < RECORD_UPDATES_EVERY; i++) (void)carry(&p.client, &p.server, 1);
    assert_int_equal(update_server().opened, RECORD_HANDLED);
    for (int i = 0; i < RECORD_UPDATES_EVERY - 2; i++) (void)carry(&p.client, &p.server, 1);
    p.server.awaits_key_update = true;
    assert_int_equal(update_server().opened, RECORD_HANDLED);  // asked for, so free
    expect_bad(update_server(), ALERT_UNEXPECTED_MESSAGE);
}

/* ---- what comes in between ---- */

static void test_idle_records_are_rationed(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < RECORD_IDLE_MAX; i++) {
            bool is_empty = i % 2;
            struct result got = is_empty ? send_typed(&p.client, &p.server, DATA, "", 0)
                                         : send_typed(&p.client, &p.server, ALERT, "\1\x5a", 2);
            assert_int_equal(got.opened, is_empty ? RECORD_DATA : RECORD_HANDLED);
            assert_int_equal(got.size, 0);
        }
        (void)carry(&p.client, &p.server, 1);
    }
    for (int i = 0; i < RECORD_IDLE_MAX; i++)
        assert_int_equal(send_typed(&p.client, &p.server, DATA, "", 0).opened, RECORD_DATA);
    expect_bad(send_typed(&p.client, &p.server, DATA, "", 0), ALERT_UNEXPECTED_MESSAGE);
}

static void test_alerts(void **state) {
    (void)state;
    static const uint8_t fatal[] = {10, 20, 22, 40, 42, 48, 50, 80, 86, 109, 255};
    for (size_t i = 0; i < sizeof(fatal); i++) {
        struct result got = send_typed(&p.client, &p.server, ALERT, (uint8_t[]){2, fatal[i]}, 2);
        assert_true(got.opened == RECORD_ALERTED && got.alert == fatal[i]);
        got = send_typed(&p.client, &p.server, ALERT, (uint8_t[]){1, fatal[i]}, 2);  // the level means nothing
        assert_true(got.opened == RECORD_ALERTED && got.alert == fatal[i]);
    }
    assert_int_equal(send_typed(&p.client, &p.server, ALERT, "\1\x5a", 2).opened, RECORD_HANDLED);
    assert_int_equal(send_typed(&p.client, &p.server, ALERT, "\1\0", 2).opened, RECORD_CLOSED);
    assert_int_equal(send_typed(&p.client, &p.server, ALERT, "\2\0", 2).opened, RECORD_CLOSED);
    server_refuses(ALERT, "", 0, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(ALERT, "\1", 1, ALERT_DECODE_ERROR);
    server_refuses(ALERT, "\1\0\1\0", 4, ALERT_DECODE_ERROR);
}

static void test_sealed_alerts(void **state) {
    (void)state;
    static const enum record_alert alerts[] = {ALERT_UNEXPECTED_MESSAGE, ALERT_BAD_RECORD_MAC, ALERT_INTERNAL_ERROR};
    for (size_t i = 0; i < array_count(alerts); i++) {
        struct writer w = writer_of(wire, RECORD_ALERT_SIZE);
        p.server.owes_key_update = true;
        assert_true(record_seal_alert(&p.server, &w, alerts[i]));
        struct result got = open_record(&p.client, wire, RECORD_ALERT_SIZE);
        assert_true(got.opened == RECORD_ALERTED && got.alert == alerts[i]);
        assert_true(record_owes(&p.server));
    }
    struct writer w = writer_of(wire, RECORD_ALERT_SIZE);
    assert_true(record_seal_alert(&p.server, &w, ALERT_CLOSE_NOTIFY));
    assert_int_equal(open_record(&p.client, wire, RECORD_ALERT_SIZE).opened, RECORD_CLOSED);
}

static void test_bad_handshake_messages(void **state) {
    (void)state;
    static const uint8_t update[] = {24, 0, 0, 1, 0, 0};
    server_refuses(HANDSHAKE, "", 0, ALERT_UNEXPECTED_MESSAGE);
    for (size_t size = 1; size < 5; size++) server_refuses(HANDSHAKE, update, size, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(HANDSHAKE, update, 6, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(HANDSHAKE, "\x18\0\0\1\0\x18\0\0\1\0", 10, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(HANDSHAKE, "\x18\0\0\1\2", 5, ALERT_ILLEGAL_PARAMETER);
    server_refuses(HANDSHAKE, "\x18\0\0\1\xff", 5, ALERT_ILLEGAL_PARAMETER);
    server_refuses(HANDSHAKE, "\x18\0\0\0", 4, ALERT_DECODE_ERROR);
    server_refuses(HANDSHAKE, "\x18\0\0\2\0\0", 6, ALERT_DECODE_ERROR);
    server_refuses(HANDSHAKE, "\x18\1\0\1\0", 5, ALERT_DECODE_ERROR);
    server_refuses(HANDSHAKE, "\1\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(HANDSHAKE, "\4\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE);  // a ticket from a client
    client_refuses(HANDSHAKE, "\x0d\0\0\1\0", 5, ALERT_UNEXPECTED_MESSAGE);
    client_refuses(HANDSHAKE, update, 4, ALERT_UNEXPECTED_MESSAGE);
    client_refuses(HANDSHAKE, "", 0, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(CHANGE_CIPHER_SPEC, "\1", 1, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(24, "\1", 1, ALERT_UNEXPECTED_MESSAGE);
    server_refuses(255, "\1", 1, ALERT_UNEXPECTED_MESSAGE);
}

static void test_client_skips_tickets(void **state) {
    (void)state;
    /* Three tickets, of 5, 0 and 300 bytes, and a KeyUpdate behind them. */
    uint8_t bytes[4 + 5 + 4 + 4 + 300 + 5] = {4, 0, 0, 5, 24, 24, 24, 24, 24, 4, 0, 0, 0, 4, 0, 1, 44};
    memset(bytes + 17, 24, 300);
    memcpy(bytes + 317, "\x18\0\0\1\1", 5);
    for (size_t piece = 322; piece > 0; piece = piece == 322 ? 100 : piece / 2) {
        end();
        setup(NULL);
        bool has_update = piece >= 100;  // else it would be cut
        size_t size = has_update ? sizeof(bytes) : 317;
        for (size_t at = 0; at < size; at += piece) {
            size_t n = min_of(piece, size - at);
            p.client.idle_count = 0;  // that is another test
            assert_int_equal(send_typed(&p.server, &p.client, HANDSHAKE, bytes + at, n).opened, RECORD_HANDLED);
        }
        assert_int_equal(p.client.ticket_left, 0);
        assert_int_equal(p.client.message_have, 0);
        assert_true(record_owes(&p.client) == has_update);
    }
    (void)carry(&p.server, &p.client, 10);
}

static void test_nothing_between_pieces_of_a_ticket(void **state) {
    (void)state;
    for (size_t cut = 1; cut < 8; cut++) {
        end();
        setup(NULL);
        assert_int_equal(send_typed(&p.server, &p.client, HANDSHAKE, "\4\0\0\5abcde", cut).opened, RECORD_HANDLED);
        expect_bad(send_typed(&p.server, &p.client, DATA, "x", 1), ALERT_UNEXPECTED_MESSAGE);
    }
    /* A KeyUpdate that is cut is refused, wherever it is cut. */
    for (size_t cut = 1; cut < 5; cut++) {
        end();
        setup(NULL);
        struct result got = send_typed(&p.server, &p.client, HANDSHAKE, "\x18\0\0\1\0", cut);
        if (got.opened == RECORD_HANDLED)
            got = send_typed(&p.server, &p.client, HANDSHAKE, &"\x18\0\0\1\0"[cut], 5 - cut);
        expect_bad(got, ALERT_UNEXPECTED_MESSAGE);
    }
}

/* ---- refusals of whole records ---- */

static void test_headers(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[5];
        enum record_found found;
        size_t size;
        enum record_alert alert;
    } cases[] = {
        {{23, 3, 3, 0, 17}, RECORD_MORE, 22, 255},
        {{23, 3, 1, 0, 17}, RECORD_MORE, 22, 255},
        {{23, 0, 0, 0x40, 0x11}, RECORD_MORE, RECORD_SIZE_MAX, 255},
        {{23, 3, 3, 0x40, 0x12}, RECORD_REFUSED, 0, ALERT_RECORD_OVERFLOW},
        {{23, 3, 3, 0x41, 0}, RECORD_REFUSED, 0, ALERT_RECORD_OVERFLOW},
        {{23, 3, 3, 0xff, 0xff}, RECORD_REFUSED, 0, ALERT_RECORD_OVERFLOW},
        {{23, 3, 3, 0, 16}, RECORD_REFUSED, 0, ALERT_DECODE_ERROR},
        {{23, 3, 3, 0, 0}, RECORD_REFUSED, 0, ALERT_DECODE_ERROR},
        {{20, 3, 3, 0, 1}, RECORD_REFUSED, 0, ALERT_UNEXPECTED_MESSAGE},
        {{21, 3, 3, 0, 2}, RECORD_REFUSED, 0, ALERT_UNEXPECTED_MESSAGE},
        {{22, 3, 3, 0, 5}, RECORD_REFUSED, 0, ALERT_UNEXPECTED_MESSAGE},
        {{'G', 'E', 'T', ' ', '/'}, RECORD_REFUSED, 0, ALERT_UNEXPECTED_MESSAGE},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        size_t size = 99;
        enum record_alert alert = 255;
        for (size_t have = 0; have < RECORD_HEADER_SIZE; have++) {
            assert_int_equal(record_next(cases[i].bytes, have, &size, &alert), RECORD_MORE);
            assert_int_equal(size, 0);
        }
        assert_int_equal(record_next(cases[i].bytes, 5, &size, &alert), cases[i].found);
        assert_int_equal(size, cases[i].size);
        assert_int_equal(alert, cases[i].alert);
    }
}

static void test_no_true_type(void **state) {
    (void)state;
    static const uint8_t zeros[RECORD_INNER_MAX];
    static const size_t sizes[] = {1, 2, 8, 9, 300, RECORD_INNER_MAX};
    for (size_t i = 0; i < array_count(sizes); i++) {
        end();
        setup(NULL);
        expect_bad(open_record(&p.server, wire, seal_inner(&p.client, zeros, sizes[i])), ALERT_UNEXPECTED_MESSAGE);
    }
}

/* A record that does not decrypt moves nothing; so the good one can be opened afterwards, in this test. */
static void test_every_flipped_bit_is_refused(void **state) {
    (void)state;
    size_t size = seal_typed(&p.client, DATA, "forty bytes of something worth guarding.", 40, 3);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bool is_length = bit / 8 == 3 || bit / 8 == 4, is_type = bit / 8 == 0;
        if (is_length || is_type) continue;  // judged by record_next, or of another size: below
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        expect_bad(open_record(&p.server, wire, size), ALERT_BAD_RECORD_MAC);
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(p.server.in_sequence, 0);
    assert_int_equal(open_record(&p.server, wire, size).opened, RECORD_DATA);
}

static void test_truncations_and_replays(void **state) {
    (void)state;
    size_t size = seal_typed(&p.client, DATA, "not shorter, not longer", 23, 0), record_size;
    enum record_alert alert;
    for (size_t have = 0; have < size; have++)
        assert_int_equal(record_next(wire, have, &record_size, &alert), RECORD_MORE);
    for (size_t shorter = RECORD_HEADER_SIZE + RECORD_CIPHER_MIN; shorter < size + 20; shorter++) {
        if (shorter == size) continue;
        wire[4] = (uint8_t)(shorter - RECORD_HEADER_SIZE);
        expect_bad(open_record(&p.server, wire, shorter), ALERT_BAD_RECORD_MAC);
    }
    wire[4] = (uint8_t)(size - RECORD_HEADER_SIZE);
    assert_int_equal(open_record(&p.server, wire, size).opened, RECORD_DATA);
    expect_bad(open_record(&p.server, wire, size), ALERT_BAD_RECORD_MAC);
}

/* ---- the hand-over ---- */

static void copy_fields(struct record *to, const struct record *from) {
    memset(to, 0xa5, sizeof(*to));
#define COPY(type, name, array) memcpy(&to->name, &from->name, sizeof(to->name));
    RECORD_FIELDS(COPY)
#undef COPY
}

static void test_fields_are_all_it_takes(void **state) {
    (void)state;
    static struct record moved;
    p.server.rekey_after = 7;
    for (int i = 0; i < 40; i++) {
        (void)carry(&p.client, &p.server, 30);
        (void)carry(&p.server, &p.client, 30);
        copy_fields(&moved, &p.server);
        record_fini(&p.server);
        assert_true(record_rederive(&moved));
        p.server = moved;
    }
}

static void test_fields_that_make_no_sense(void **state) {
    (void)state;
    static struct record r;
#define REFUSED(assignment)                                    \
    do {                                                       \
        copy_fields(&r, &p.server);                            \
        r.assignment;                                          \
        assert_false(record_rederive(&r));                     \
        assert_true(is_wiped((const uint8_t *)&r, sizeof(r))); \
    } while (0)
    REFUSED(suite = 0);
    REFUSED(suite = AEAD_SUITE_END);
    REFUSED(suite = 255);
    REFUSED(is_client = 2);
    REFUSED(owes_key_update = 2);
    REFUSED(asks_key_update = 3);
    REFUSED(awaits_key_update = 4);
    REFUSED(update_tokens = RECORD_UPDATES_BURST + 1);
    REFUSED(idle_count = RECORD_IDLE_MAX + 1);
    REFUSED(rekey_after = 0);
    REFUSED(rekey_after = RECORD_REKEY_AFTER + 1);
    REFUSED(in_sequence = UINT64_MAX);
    REFUSED(out_sequence = UINT64_MAX);
    REFUSED(ticket_left = 1);
    REFUSED(message_have = 1);
    copy_fields(&r, &p.client);
    r.message_have = 4;
    assert_false(record_rederive(&r));
    copy_fields(&r, &p.client);
    r.ticket_left = 1;
    r.message_have = 1;
    assert_false(record_rederive(&r));
}

static void test_fini_wipes(void **state) {
    (void)state;
    record_fini(&p.server);
    assert_true(is_wiped((const uint8_t *)&p.server, sizeof(p.server)));
    record_fini(&p.server);
}

int main(void) {
    char why[AEAD_WHY_MAX];
    if (sodium_init() < 0 || !aead_init(NULL, why)) return 1;
    rng_init_seeded(&rng, 8446);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_rfc8448),
        TEST(test_sizes_in_all_suites_of_all_backends),
        TEST(test_padding_is_stripped),
        TEST(test_high_sequence_numbers),
        TEST(test_in_place_is_the_same),
        TEST(test_no_room_seals_nothing),
        TEST(test_sealing_nothing_pays_what_is_owed),
        TEST(test_updates_cross),
        TEST(test_several_requests_owe_one_answer),
        TEST(test_an_answer_asks_for_nothing),
        TEST(test_own_updates),
        TEST(test_updates_are_rationed),
        TEST(test_idle_records_are_rationed),
        TEST(test_alerts),
        TEST(test_sealed_alerts),
        TEST(test_bad_handshake_messages),
        TEST(test_client_skips_tickets),
        TEST(test_nothing_between_pieces_of_a_ticket),
        TEST(test_headers),
        TEST(test_no_true_type),
        TEST(test_every_flipped_bit_is_refused),
        TEST(test_truncations_and_replays),
        TEST(test_fields_are_all_it_takes),
        TEST(test_fields_that_make_no_sense),
        TEST(test_fini_wipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
