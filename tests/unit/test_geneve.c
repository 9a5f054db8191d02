/* test_geneve.c - the header, by Tailscale's datagrams and by every bit of it; the kinds of datagram on one port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdlib.h>

#include "proto/geneve.h"
#include "proto/stun.h"
#include "tests/golden/disco_vectors.h"

#define DISCO_HEAD_38 "5453f09f92ac0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
#define STUN_REQUEST "000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f"
#define STUN_ANSWER "0101000c2112a4420102030405060708090a0b0c00200008000183bbe112a643"

struct datagram {
    uint8_t *bytes;  // a block of exactly that size, so that ASan sees every byte too far
    size_t size;
};

static struct datagram datagram_of(const char *hex) {
    struct datagram d = {.size = strlen(hex) / 2};
    size_t got = 0;
    d.bytes = malloc(d.size ? d.size : 1);
    assert_non_null(d.bytes);
    assert_int_equal(sodium_hex2bin(d.bytes, d.size, hex, strlen(hex), NULL, &got, NULL), 0);
    assert_int_equal(got, d.size);
    return d;
}

static enum geneve_verdict verdict_of(const char *hex, struct geneve_header *header) {
    struct datagram d = datagram_of(hex);
    enum geneve_verdict verdict = geneve_header_read(d.bytes, d.size, header);
    free(d.bytes);
    return verdict;
}

static bool is_strict(const char *hex, struct geneve_header *header) {
    struct datagram d = datagram_of(hex);
    bool yes = geneve_header_read_strict(d.bytes, d.size, header);
    free(d.bytes);
    return yes;
}

static enum geneve_kind kind_of(const char *hex) {
    struct datagram d = datagram_of(hex);
    enum geneve_kind kind = geneve_kind_of(d.bytes, d.size);
    free(d.bytes);
    return kind;
}

static void assert_header(const struct geneve_header *header, uint32_t vni, uint16_t protocol, bool is_control) {
    assert_int_equal(header->vni, vni);
    assert_int_equal(header->protocol, protocol);
    assert_int_equal(header->is_control, is_control);
}

/* ---- the relay's reader ---- */

static void test_vectors(void **state) {
    (void)state;
    static const struct {
        const char *hex;
        enum geneve_verdict verdict;
    } rows[] = {
        {DISCO_VECTOR_BIND, GENEVE_CONTROL},   {DISCO_VECTOR_CHALLENGE, GENEVE_CONTROL},
        {DISCO_VECTOR_ANSWER, GENEVE_CONTROL}, {DISCO_VECTOR_PING, GENEVE_DATA},
        {DISCO_VECTOR_PONG, GENEVE_DATA},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct geneve_header header, strict;
        uint8_t made[GENEVE_HEADER_SIZE];
        struct datagram d = datagram_of(rows[i].hex);
        assert_int_equal(geneve_header_read(d.bytes, d.size, &header), rows[i].verdict);
        assert_header(&header, 0x010203, GENEVE_PROTOCOL_DISCO, rows[i].verdict == GENEVE_CONTROL);
        geneve_header_write(made, &header);
        assert_memory_equal(made, d.bytes, sizeof(made));
        assert_true(geneve_header_read_strict(d.bytes, d.size, &strict));
        assert_header(&strict, header.vni, header.protocol, header.is_control);
        assert_int_equal(geneve_kind_of(d.bytes, d.size), GENEVE_KIND_DISCO);
        free(d.bytes);
    }
}

static void test_too_short(void **state) {
    (void)state;
    struct datagram d = datagram_of("00807a1101020300");
    for (size_t size = 0; size < GENEVE_HEADER_SIZE; size++) {
        uint8_t *exact = malloc(size ? size : 1);
        struct geneve_header header = {.vni = 77};
        assert_non_null(exact);
        memcpy(exact, d.bytes, size);
        assert_int_equal(geneve_header_read(exact, size, &header), GENEVE_TOO_SHORT);
        assert_int_equal(header.vni, 77);
        assert_false(geneve_header_read_strict(exact, size, &header));
        assert_int_equal(geneve_kind_of(exact, size), GENEVE_KIND_NAKED_WIREGUARD);
        free(exact);
    }
    struct geneve_header header;
    assert_int_equal(geneve_header_read(NULL, 0, &header), GENEVE_TOO_SHORT);
    assert_int_equal(geneve_kind_of(NULL, 0), GENEVE_KIND_NAKED_WIREGUARD);
    assert_int_equal(verdict_of("00807a1101020300", &header), GENEVE_CONTROL);  // exactly the header, no payload
    assert_int_equal(verdict_of("0000000001020300", &header), GENEVE_DATA);
    free(d.bytes);
}

static void test_data_of_any_protocol(void **state) {
    (void)state;
    for (uint32_t protocol = 0; protocol <= 0xffff; protocol++) {
        uint8_t bytes[GENEVE_HEADER_SIZE] = {0, 0, (uint8_t)(protocol >> 8), (uint8_t)protocol, 1, 2, 3, 0};
        struct geneve_header header;
        assert_int_equal(geneve_header_read(bytes, sizeof(bytes), &header), GENEVE_DATA);
        assert_header(&header, 0x010203, (uint16_t)protocol, false);
        bytes[1] = 0x80;
        enum geneve_verdict due = protocol == GENEVE_PROTOCOL_DISCO ? GENEVE_CONTROL : GENEVE_BAD_CONTROL;
        assert_int_equal(geneve_header_read(bytes, sizeof(bytes), &header), due);
        assert_header(&header, 0x010203, (uint16_t)protocol, true);
    }
}

/* Version, option length, C, the reserved bits and the last byte: nobody looks. */
static void test_odd_bits_are_ignored(void **state) {
    (void)state;
    struct geneve_header header;
    assert_int_equal(verdict_of("ffff7a11010203ff", &header), GENEVE_CONTROL);
    assert_header(&header, 0x010203, GENEVE_PROTOCOL_DISCO, true);
    assert_int_equal(verdict_of("ff7f7a12010203ff", &header), GENEVE_DATA);
    assert_header(&header, 0x010203, GENEVE_PROTOCOL_WIREGUARD, false);
    for (unsigned odd = 0; odd < 256; odd++) {
        uint8_t bytes[GENEVE_HEADER_SIZE] = {(uint8_t)odd, (uint8_t)(odd & 0x7f), 0x65, 0x58, 1, 2, 3, (uint8_t)odd};
        assert_int_equal(geneve_header_read(bytes, sizeof(bytes), &header), GENEVE_DATA);
        assert_header(&header, 0x010203, 0x6558, false);
        bytes[1] |= 0x80;
        assert_int_equal(geneve_header_read(bytes, sizeof(bytes), &header), GENEVE_BAD_CONTROL);
    }
}

static void test_vni_round_trip(void **state) {
    (void)state;
    static const uint32_t vnis[] = {0, 1, 0xff, 0x100, 0xffff, 0x10000, 0x2112a4, 0xfffffe, GENEVE_VNI_MAX};
    for (size_t i = 0; i < array_count(vnis); i++) {
        struct geneve_header header = {.vni = vnis[i], .protocol = GENEVE_PROTOCOL_WIREGUARD}, again;
        uint8_t bytes[GENEVE_HEADER_SIZE];
        memset(bytes, 0xee, sizeof(bytes));
        geneve_header_write(bytes, &header);
        assert_true(geneve_header_read_strict(bytes, sizeof(bytes), &again));
        assert_header(&again, vnis[i], GENEVE_PROTOCOL_WIREGUARD, false);
        assert_int_equal(geneve_kind_of(bytes, sizeof(bytes)), GENEVE_KIND_WIREGUARD);
    }
}

/* ---- a client's reader ---- */

/* Of the first two bytes and the last one, a client accepts these bits and no others. */
static void test_strict_bits(void **state) {
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        struct geneve_header header = {.vni = 77};
        uint8_t bytes[GENEVE_HEADER_SIZE] = {0, 0, 0x7a, 0x12, 1, 2, 3, 0};
        bytes[0] = (uint8_t)value;
        assert_int_equal(geneve_header_read_strict(bytes, sizeof(bytes), &header), value < 0x40);
        bytes[0] = 0;
        bytes[1] = (uint8_t)value;
        assert_int_equal(geneve_header_read_strict(bytes, sizeof(bytes), &header), (value & 0x3f) == 0);
        bytes[1] = 0;
        bytes[7] = (uint8_t)value;
        header.vni = 77;
        assert_int_equal(geneve_header_read_strict(bytes, sizeof(bytes), &header), value == 0);
        assert_int_equal(header.vni, value == 0 ? 0x010203 : 77);
    }
}

static void test_strict_protocols(void **state) {
    (void)state;
    struct geneve_header header;
    for (uint32_t protocol = 0; protocol <= 0xffff; protocol++) {
        uint8_t bytes[GENEVE_HEADER_SIZE] = {0, 0, (uint8_t)(protocol >> 8), (uint8_t)protocol, 1, 2, 3, 0};
        bool due = protocol == GENEVE_PROTOCOL_WIREGUARD;  // disco has nothing behind the header here
        assert_int_equal(geneve_header_read_strict(bytes, sizeof(bytes), &header), due);
    }
    assert_true(is_strict("00807a11010203"
                          "00" DISCO_HEAD_38,
                          &header));
    assert_header(&header, 0x010203, GENEVE_PROTOCOL_DISCO, true);
}

static void test_strict_disco_head(void **state) {
    (void)state;
    struct geneve_header header;
    struct datagram d = datagram_of("00007a1101020300" DISCO_HEAD_38);
    for (size_t size = 0; size < d.size; size++) {
        assert_false(geneve_header_read_strict(d.bytes, size, &header));
        assert_int_equal(geneve_kind_of(d.bytes, size), GENEVE_KIND_NAKED_WIREGUARD);
    }
    assert_true(geneve_header_read_strict(d.bytes, d.size, &header));
    for (size_t at = 8; at < 14; at++) {
        d.bytes[at] ^= 1;
        assert_false(geneve_header_read_strict(d.bytes, d.size, &header));
        d.bytes[at] ^= 1;
    }
    free(d.bytes);
}

/* ---- kinds ---- */

static void test_kinds(void **state) {
    (void)state;
    static const struct {
        const char *hex;
        enum geneve_kind kind;
    } rows[] = {
        {STUN_REQUEST, GENEVE_KIND_STUN},
        {STUN_ANSWER, GENEVE_KIND_STUN},
        {"000100002112a442"
         "000000000000000000000000",
         GENEVE_KIND_STUN},           // a bare header
        {"000100002112a442"
         "0000000000000000000000",
         GENEVE_KIND_NAKED_WIREGUARD},  // one byte less
        {"3f0100002112a442"
         "000000000000000000000000",
         GENEVE_KIND_STUN},
        {"400100002112a442"
         "000000000000000000000000",
         GENEVE_KIND_NAKED_WIREGUARD},
        {"000200002112a442"
         "000000000000000000000000",
         GENEVE_KIND_NAKED_WIREGUARD},  // not method binding
        {"000100002112a443"
         "000000000000000000000000",
         GENEVE_KIND_NAKED_WIREGUARD},
        {DISCO_HEAD_38, GENEVE_KIND_NAKED_DISCO},
        {"00007a1201020300", GENEVE_KIND_WIREGUARD},
        {"00807a1201020300", GENEVE_KIND_WIREGUARD},
        {"00007a122112a400"
         "010000000000000000000000",
         GENEVE_KIND_WIREGUARD},  // the VNI that begins like the cookie
        {"00007a1101020300", GENEVE_KIND_NAKED_WIREGUARD},  // says disco, is none
        {"0000655801020300", GENEVE_KIND_NAKED_WIREGUARD},
        {"0000655801020300" DISCO_HEAD_38, GENEVE_KIND_NAKED_WIREGUARD},
        {"0100000001020300", GENEVE_KIND_NAKED_WIREGUARD},  // WireGuard's initiation begins like this
        {"07", GENEVE_KIND_NAKED_WIREGUARD},
        {"", GENEVE_KIND_NAKED_WIREGUARD},
    };
    for (size_t i = 0; i < array_count(rows); i++)
        if (kind_of(rows[i].hex) != rows[i].kind) fail_msg("row %zu", i);
}

static void test_naked_disco_edge(void **state) {
    (void)state;
    struct datagram d = datagram_of(DISCO_HEAD_38);
    for (size_t size = 0; size < d.size; size++)
        assert_int_equal(geneve_kind_of(d.bytes, size), GENEVE_KIND_NAKED_WIREGUARD);
    for (size_t at = 0; at < 6; at++) {
        d.bytes[at] ^= 0x80;
        assert_int_equal(geneve_kind_of(d.bytes, d.size), GENEVE_KIND_NAKED_WIREGUARD);
        d.bytes[at] ^= 0x80;
    }
    assert_int_equal(geneve_kind_of(d.bytes, d.size), GENEVE_KIND_NAKED_DISCO);
    free(d.bytes);
}

/* What proto/stun.h answers is what is sent there. */
static void test_stun_requests_are_stun(void **state) {
    (void)state;
    uint8_t request[STUN_REQUEST_SIZE], transaction[STUN_TRANSACTION_SIZE] = {1};
    stun_request_write(request, transaction);
    assert_true(geneve_is_stun(request, sizeof(request)));
    for (size_t size = 0; size < 20; size++) assert_false(geneve_is_stun(request, size));
    assert_true(geneve_is_stun(request, 20));
    assert_false(geneve_is_stun(NULL, 0));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_too_short),
        cmocka_unit_test(test_data_of_any_protocol),
        cmocka_unit_test(test_odd_bits_are_ignored),
        cmocka_unit_test(test_vni_round_trip),
        cmocka_unit_test(test_strict_bits),
        cmocka_unit_test(test_strict_protocols),
        cmocka_unit_test(test_strict_disco_head),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_naked_disco_edge),
        cmocka_unit_test(test_stun_requests_are_stun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
