/* Boxes: golden vectors of a login, round trips, everything that must not open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/box.h"

struct pair {
    struct node_private server_private, client_private;
    struct node_key server, client;
};

/* The key pairs of the golden vectors. */
static struct pair golden_pair(void) {
    struct pair p;
    for (uint8_t i = 0; i < KEY_SIZE; i++) {
        p.server_private.bytes[i] = i;
        p.client_private.bytes[i] = (uint8_t)(0x40 + i);
    }
    p.server_private.bytes[31] = 0x5f;
    key_private_public(&p.server_private, &p.server);
    key_private_public(&p.client_private, &p.client);
    return p;
}

static void from_hex(const char *hex, uint8_t *bytes, size_t size) {
    size_t got = 0;
    assert_int_equal(sodium_hex2bin(bytes, size, hex, strlen(hex), NULL, &got, NULL), 0);
    assert_int_equal(got, size);
}

static void test_golden(void **state) {
    (void)state;
    struct pair p = golden_pair();
    struct box_key at_server, at_client;
    assert_true(box_key_derive(&at_server, &p.client, &p.server_private));
    assert_true(box_key_derive(&at_client, &p.server, &p.client_private));
    assert_memory_equal(&at_server, &at_client, sizeof(at_server));

    static const char plain[] = "{\"version\":2,\"CanAckPings\":true}";
    enum { PLAIN_SIZE = sizeof(plain) - 1, SEALED_SIZE = BOX_OVERHEAD + PLAIN_SIZE };
    uint8_t due[SEALED_SIZE], sealed[SEALED_SIZE], opened[PLAIN_SIZE];
    from_hex("a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7"
             "cc4511357f54c6fae50578bf8c881f285bccd5722da5dd895c5058efc77b167abeb3b627e28cc8b2f7b896482591bdff",
             due, SEALED_SIZE);
    struct writer w = writer_of(sealed, sizeof(sealed));
    box_seal(&w, &at_client, due, plain, PLAIN_SIZE);
    assert_true(writer_ok(&w));
    assert_memory_equal(sealed, due, SEALED_SIZE);
    assert_true(box_open(&at_server, sealed, SEALED_SIZE, opened));
    assert_memory_equal(opened, plain, PLAIN_SIZE);
}

static void test_opens_in_place_and_empty(void **state) {
    (void)state;
    struct pair p = golden_pair();
    struct box_key key;
    assert_true(box_key_derive(&key, &p.client, &p.server_private));
    uint8_t nonce[BOX_NONCE_SIZE] = {7}, plain[300], sealed[BOX_OVERHEAD + sizeof(plain)];
    for (size_t i = 0; i < sizeof(plain); i++) plain[i] = (uint8_t)i;
    for (size_t size = 0; size <= sizeof(plain); size++) {
        struct writer w = writer_of(sealed, BOX_OVERHEAD + size);
        box_seal(&w, &key, nonce, size ? plain : NULL, size);
        assert_true(writer_ok(&w));
        assert_true(box_open(&key, sealed, BOX_OVERHEAD + size, sealed + BOX_OVERHEAD));
        assert_memory_equal(sealed + BOX_OVERHEAD, plain, size);
    }
}

static void test_every_flipped_bit_is_seen(void **state) {
    (void)state;
    struct pair p = golden_pair();
    struct box_key key;
    assert_true(box_key_derive(&key, &p.client, &p.server_private));
    uint8_t nonce[BOX_NONCE_SIZE] = {1}, sealed[BOX_OVERHEAD + 5], opened[5];
    struct writer w = writer_of(sealed, sizeof(sealed));
    box_seal(&w, &key, nonce, "hello", 5);
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(box_open(&key, sealed, sizeof(sealed), opened));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < sizeof(sealed); size++) assert_false(box_open(&key, sealed, size, opened));
    assert_true(box_open(&key, sealed, sizeof(sealed), opened));
}

static void test_no_room_writes_nothing(void **state) {
    (void)state;
    struct box_key key = {{1}};
    uint8_t nonce[BOX_NONCE_SIZE] = {1}, room[BOX_OVERHEAD + 4] = {0}, zero[sizeof(room)] = {0};
    struct writer w = writer_of(room, sizeof(room));
    box_seal(&w, &key, nonce, "hello", 5);
    assert_false(writer_ok(&w));
    assert_memory_equal(room, zero, sizeof(room));
}

static void test_bad_keys(void **state) {
    (void)state;
    struct pair p = golden_pair();
    struct box_key key = {{9}}, zero = {{0}};
    const struct node_key no_key = {{0}}, low_order = {{1}};
    const struct node_private no_private = {{0}};
    assert_false(box_key_derive(&key, &no_key, &p.server_private));
    assert_memory_equal(&key, &zero, sizeof(key));
    assert_false(box_key_derive(&key, &low_order, &p.server_private));
    assert_false(box_key_derive(&key, &p.client, &no_private));
    assert_memory_equal(&key, &zero, sizeof(key));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_opens_in_place_and_empty),
        cmocka_unit_test(test_every_flipped_bit_is_seen),
        cmocka_unit_test(test_no_room_writes_nothing),
        cmocka_unit_test(test_bad_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
