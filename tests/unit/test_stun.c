/* test_stun.c - requests and answers, against bytes recorded from Tailscale's stun package. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "proto/stun.h"

#define REQUEST "000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f"
#define ANSWER_IPV4 "0101000c2112a4420102030405060708090a0b0c002000080001f523e112a643"
#define ANSWER_MAPPED "010100182112a4420102030405060708090a0b0c002000140002f5232112a442010203040506f8f7c90a090d"

static const uint8_t transaction[STUN_TRANSACTION_SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const struct net_address ipv4 = {.ip = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}, .port = 54321};
static const struct net_address ipv6 = {.ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 0x42}, .port = 3478};

static size_t from_hex(uint8_t *to, size_t room, const char *hex) {
    size_t size;
    assert_int_equal(sodium_hex2bin(to, room, hex, strlen(hex), NULL, &size, NULL), 0);
    return size;
}

/* In a block of exactly that size, so that ASan sees every byte too far. */
static bool is_request(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1), got[STUN_TRANSACTION_SIZE] = {0};
    if (size) memcpy(copy, bytes, size);
    bool yes = stun_request_parse(size ? copy : NULL, size, got);
    free(copy);
    if (yes) assert_memory_equal(got, bytes + 8, sizeof(got));
    else assert_true(sodium_is_zero(got, sizeof(got)));
    return yes;
}

static bool is_answer(const uint8_t *bytes, size_t size, struct net_address *client) {
    uint8_t *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, bytes, size);
    bool yes = stun_answer_parse(copy, size, transaction, client);
    free(copy);
    return yes;
}

static void assert_client(const struct net_address *got, const struct net_address *want) {
    assert_memory_equal(got->ip, want->ip, sizeof(got->ip));
    assert_int_equal(got->port, want->port);
}

/* ---- making requests of other shapes ---- */

static uint32_t crc32_by_bits(const uint8_t *bytes, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

struct shape {
    uint8_t bytes[2048];
    struct writer w;
};

static size_t shape_size(const struct shape *s) { return (size_t)(s->w.at - s->bytes); }

static void shape_start(struct shape *s) {
    memset(s, 0, sizeof(*s));
    s->w = writer_of(s->bytes, sizeof(s->bytes));
    writer_be16(&s->w, 1);
    writer_be16(&s->w, 0xdead);  // the length: nobody looks
    writer_be32(&s->w, 0x2112a442);
    writer_copy(&s->w, transaction, sizeof(transaction));
}

static void shape_attribute(struct shape *s, uint16_t type, const void *bytes, size_t size, uint8_t padding) {
    writer_be16(&s->w, type);
    writer_be16(&s->w, (uint16_t)size);
    writer_copy(&s->w, bytes, size);
    for (; size % 4; size++) writer_u8(&s->w, padding);
}

static void shape_software(struct shape *s) { shape_attribute(s, 0x8022, "tailnode", 8, 0); }

static void shape_fingerprint(struct shape *s) {
    uint32_t value = crc32_by_bits(s->bytes, shape_size(s)) ^ 0x5354554e;
    writer_be16(&s->w, 0x8028);
    writer_be16(&s->w, 4);
    writer_be32(&s->w, value);
}

static bool shape_is_request(const struct shape *s) {
    assert_true(writer_ok(&s->w));
    return is_request(s->bytes, shape_size(s));
}

/* ---- requests ---- */

static void test_request_vector(void **state) {
    (void)state;
    uint8_t want[64], made[STUN_REQUEST_SIZE];
    assert_int_equal(from_hex(want, sizeof(want), REQUEST), STUN_REQUEST_SIZE);
    assert_true(is_request(want, STUN_REQUEST_SIZE));
    stun_request_write(made, transaction);
    assert_memory_equal(made, want, sizeof(made));
}

static void test_request_flipped(void **state) {
    (void)state;
    uint8_t bytes[STUN_REQUEST_SIZE];
    for (size_t at = 0; at < sizeof(bytes); at++) {
        for (unsigned change = 1; change < 256; change++) {
            stun_request_write(bytes, transaction);
            bytes[at] ^= (uint8_t)change;
            assert_false(is_request(bytes, sizeof(bytes)));  // the fingerprint covers all but itself
        }
    }
}

static void test_request_lengths(void **state) {
    (void)state;
    uint8_t bytes[600] = {0};
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        assert_false(is_request(bytes, size));
        stun_request_write(bytes, transaction);
        assert_int_equal(is_request(bytes, size), size == STUN_REQUEST_SIZE);
        memset(bytes, 0, STUN_REQUEST_SIZE);
    }
}

/* The header alone, and each attribute cut at each byte, with a fingerprint over what there is. */
static void test_request_shapes(void **state) {
    (void)state;
    static struct shape s;
    shape_start(&s);
    assert_false(shape_is_request(&s));
    shape_fingerprint(&s);
    assert_false(shape_is_request(&s));  // whose software?
    shape_start(&s);
    shape_software(&s);
    assert_false(shape_is_request(&s));  // no fingerprint
    shape_fingerprint(&s);
    assert_true(shape_is_request(&s));  // whatever length the header tells
    shape_attribute(&s, 0x8028, "", 0, 0);
    assert_false(shape_is_request(&s));  // the last one is to be it
    shape_start(&s);
    shape_software(&s);
    shape_fingerprint(&s);
    shape_software(&s);
    assert_false(shape_is_request(&s));
    shape_fingerprint(&s);
    assert_true(shape_is_request(&s));  // others before do not matter
}

static void test_request_unknown_attributes(void **state) {
    (void)state;
    static struct shape s;
    static const uint8_t junk[513] = {0xff, 1, 2, 3};
    for (size_t size = 0; size <= sizeof(junk); size++) {
        for (uint8_t padding = 0; padding < 2; padding++) {
            shape_start(&s);
            shape_attribute(&s, (uint16_t)size, junk, size, padding);
            shape_software(&s);
            shape_attribute(&s, 0x7fff, junk, size, padding);
            shape_fingerprint(&s);
            assert_true(shape_is_request(&s));
            s.bytes[20]++;  // a bit of the unknown
            assert_false(shape_is_request(&s));
        }
    }
}

static void test_request_other_software(void **state) {
    (void)state;
    static const char *const others[] = {"", "tailnod", "tailnodf", "tailnode2", "Tailnode", "tailnode\0\0\0\0"};
    static struct shape s;
    for (size_t i = 0; i < array_count(others); i++) {
        shape_start(&s);
        shape_attribute(&s, 0x8022, others[i], i + 1 < array_count(others) ? strlen(others[i]) : 12, 0);
        shape_fingerprint(&s);
        assert_false(shape_is_request(&s));
    }
    shape_start(&s);  // one of several is enough
    shape_attribute(&s, 0x8022, "other", 5, 0);
    shape_software(&s);
    shape_attribute(&s, 0x8022, "another", 7, 0);
    shape_fingerprint(&s);
    assert_true(shape_is_request(&s));
}

static void test_request_lying_lengths(void **state) {
    (void)state;
    static struct shape s;
    for (unsigned length = 0; length <= 65535; length += length < 64 ? 1 : 97) {
        shape_start(&s);
        shape_software(&s);
        writer_be16(&s.w, 0x1234);
        writer_be16(&s.w, (uint16_t)length);
        shape_fingerprint(&s);
        // 0: nothing between; 8: the fingerprint is inside of it; all else: does not come out even, or goes beyond
        assert_int_equal(shape_is_request(&s), length == 0);
    }
}

static void test_request_wrong_headers(void **state) {
    (void)state;
    static const uint8_t types[][2] = {{0, 0}, {0, 2}, {1, 1}, {0x40, 1}, {0x80, 1}, {0xc0, 1}, {1, 0}};
    static struct shape s;
    for (size_t i = 0; i < array_count(types); i++) {
        shape_start(&s);
        memcpy(s.bytes, types[i], 2);
        shape_software(&s);
        shape_fingerprint(&s);
        assert_false(shape_is_request(&s));
    }
    shape_start(&s);
    s.bytes[7] ^= 1;  // the cookie
    shape_software(&s);
    shape_fingerprint(&s);
    assert_false(shape_is_request(&s));
}

/* ---- answers ---- */

static void test_answer_vectors(void **state) {
    (void)state;
    uint8_t want[64], made[STUN_ANSWER_SIZE_MAX];
    struct net_address client;
    size_t size = from_hex(want, sizeof(want), ANSWER_IPV4);
    assert_int_equal(stun_answer_write(made, transaction, &ipv4), size);
    assert_memory_equal(made, want, size);
    assert_true(is_answer(want, size, &client));
    assert_client(&client, &ipv4);
    size = from_hex(want, sizeof(want), ANSWER_MAPPED);
    assert_true(is_answer(want, size, &client));
    assert_client(&client, &ipv4);
    assert_int_equal(stun_answer_write(made, transaction, &ipv6), STUN_ANSWER_SIZE_MAX);
    assert_true(is_answer(made, STUN_ANSWER_SIZE_MAX, &client));
    assert_client(&client, &ipv6);
}

static void test_answer_to_somebody_else(void **state) {
    (void)state;
    uint8_t made[STUN_ANSWER_SIZE_MAX];
    struct net_address client;
    for (size_t at = 0; at < STUN_TRANSACTION_SIZE; at++) {
        size_t size = stun_answer_write(made, transaction, &ipv6);
        made[8 + at] ^= 0x10;
        assert_false(is_answer(made, size, &client));
    }
    for (size_t at = 0; at < 8; at++) {
        if (at == 2 || at == 3) continue;
        size_t size = stun_answer_write(made, transaction, &ipv6);
        made[at] ^= 1;  // type and cookie
        assert_false(is_answer(made, size, &client));
    }
}

static void test_answer_lengths(void **state) {
    (void)state;
    uint8_t bytes[600] = {0};
    struct net_address client;
    size_t size = stun_answer_write(bytes, transaction, &ipv4);
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        assert_int_equal(is_answer(bytes, n, &client), n >= size);  // what is behind is ignored
    }
    bytes[3]++;
    assert_false(is_answer(bytes, size, &client));
}

struct attributes {
    uint16_t type;
    const char *hex;
};

static bool answer_of(const struct attributes *list, size_t count, struct net_address *client) {
    static struct shape s;
    uint8_t bytes[64];
    shape_start(&s);
    for (size_t i = 0; i < count; i++) {
        shape_attribute(&s, list[i].type, bytes, from_hex(bytes, sizeof(bytes), list[i].hex), 0);
    }
    store_be16(s.bytes, 0x0101);
    store_be16(s.bytes + 2, (uint16_t)(shape_size(&s) - 20));
    return is_answer(s.bytes, shape_size(&s), client);
}

#define PLAIN {0x0001, "0001d431c0000201"}
#define HIDDEN {0x0020, "0001f523e112a643"}
#define ELSEWHERE {0x0001, "00010001c6336401"}

static void test_answer_attributes(void **state) {
    (void)state;
    static const struct attributes good[][3] = {
        {HIDDEN, {0x1234, "00"}, {0, ""}},
        {PLAIN, {0x1234, "ff"}, {0, ""}},
        {{0x8020, "aa01f523e112a643"}, {0, ""}, {0, ""}},
        {ELSEWHERE, HIDDEN, {0, ""}},
        {HIDDEN, ELSEWHERE, {0, ""}},
        {{0, ""}, {0x8022, "736f6d65"}, {0x0020, "0001f523e112a643ffff"}},
    };
    static const struct attributes bad[] = {
        {0x0020, ""},
        {0x0020, "0001f523"},
        {0x0020, "0003f523e112a643"},
        {0x0020, "0002f523e112a643"},
        {0x0001, "0001"},
        {0x0001, "0001d431c00002"},
        {0x0001, "0000d431c0000201"},
        {0x1234, "0001d431c0000201"},
        {0x0020, "0001f523e112a6"},
    };
    struct net_address client;
    for (size_t i = 0; i < array_count(good); i++) {
        assert_true(answer_of(good[i], 3, &client));
        assert_client(&client, &ipv4);
    }
    for (size_t i = 0; i < array_count(bad); i++) assert_false(answer_of(&bad[i], 1, &client));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_vector),
        cmocka_unit_test(test_request_flipped),
        cmocka_unit_test(test_request_lengths),
        cmocka_unit_test(test_request_shapes),
        cmocka_unit_test(test_request_unknown_attributes),
        cmocka_unit_test(test_request_other_software),
        cmocka_unit_test(test_request_lying_lengths),
        cmocka_unit_test(test_request_wrong_headers),
        cmocka_unit_test(test_answer_vectors),
        cmocka_unit_test(test_answer_to_somebody_else),
        cmocka_unit_test(test_answer_lengths),
        cmocka_unit_test(test_answer_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
