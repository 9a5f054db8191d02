/* The meta certificate: exact bytes, its parts, dates beyond 2049, and what a client accepts as one; DER and PEM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// last, as its documentation asks
#include <cmocka.h>

#include <sodium.h>

#include "core/check.h"
#include "proto/cert.h"
#include "proto/der.h"
#include "proto/metacert.h"
#include "tests/unit/test_tls_pem.h"

#define NOW_S 1750000000u  // 2025-06-15 15:06:40 UTC
#define DAY_S 86400u

static const uint8_t seed[METACERT_SEED_SIZE] = {1, 2, 3, [31] = 9};
static struct node_key server;

/* Checked once with Go's crypto/x509 and openssl verify -check_ss_sig. */
static const char golden[] =
    "3082016330820115a003020102020102300506032b657030523150304e06035504031347646572706b657930313038306631"
    "3631643234326233323339343034373465353535633633366137313738376638363864393439626132613962306237626563"
    "35636364336461301e170d3235303531363135303634305a170d3235303731353135303634305a30523150304e0603550403"
    "1347646572706b65793031303830663136316432343262333233393430343734653535356336333661373137383766383638"
    "6439343962613261396230623762656335636364336461302a300506032b6570032100e6d6ee2d2ea5fcd7b7f4468bae02a5"
    "102d3ad827547c08cd1829b6c96a351f2ba310300e300c0603551d130101ff04023000300506032b65700341002ac3e45d02"
    "fde6d0b6c37cd2497fbd81b009390413102777a5f28290cf258aa88ce4bedb85114e85ef266a2fb3ee5c3f6855f5f51aa8ac"
    "df94af7436d3aeb701";

static void test_golden(void **state) {
    (void)state;
    uint8_t der[METACERT_SIZE_MAX];
    char hex[2 * METACERT_SIZE + 1];
    assert_int_equal(metacert_make(&server, NOW_S, seed, der), METACERT_SIZE);
    sodium_bin2hex(hex, sizeof(hex), der, METACERT_SIZE);
    assert_string_equal(hex, golden);
}

static void test_parts(void **state) {
    (void)state;
    uint8_t der[METACERT_SIZE_MAX];
    struct cert cert;
    size_t size = metacert_make(&server, NOW_S, seed, der);
    assert_true(cert_read(der, size, &cert));
    assert_int_equal(cert.serial_size, 1);
    assert_int_equal(cert.serial[0], 2);
    assert_int_equal(cert.not_before_s, NOW_S - 30 * DAY_S);
    assert_int_equal(cert.not_after_s, NOW_S + 30 * DAY_S);
    assert_int_equal(cert.common_name_size, 71);
    assert_memory_equal(cert.common_name, "derpkey", 7);
    assert_null(cert.alt_names);
    assert_false(cert.is_rsa);
}

/* The body, without the outer SEQUENCE, is what the key signs. */
static void test_signature(void **state) {
    (void)state;
    uint8_t der[METACERT_SIZE_MAX], public_key[32], secret_key[64];
    size_t size = metacert_make(&server, NOW_S, seed, der);
    assert_int_equal(crypto_sign_seed_keypair(public_key, secret_key, seed), 0);
    struct reader all = reader_of(der, size);
    struct reader whole = der_enter(&all, DER_SEQUENCE);
    const uint8_t *body = whole.at;
    der_skip(&whole);
    size_t body_size = (size_t)(whole.at - body);
    der_skip(&whole);
    struct reader signature = der_enter(&whole, DER_BIT_STRING);
    assert_int_equal(reader_u8(&signature), 0);
    assert_int_equal(reader_left(&signature), 64);
    assert_int_equal(crypto_sign_verify_detached(signature.at, body, body_size, public_key), 0);
}

static void test_read(void **state) {
    (void)state;
    uint8_t der[METACERT_SIZE_MAX], version = 0;
    struct node_key key;
    size_t size = metacert_make(&server, NOW_S, seed, der);
    assert_true(metacert_read(der, size, &key, &version));
    assert_true(key_equal(&key, &server));
    assert_int_equal(version, METACERT_VERSION);
    assert_true(metacert_is_named(der, size));
    for (size_t cut = 0; cut < size; cut++) assert_false(metacert_read(der, cut, &key, &version));
    assert_true(key_is_zero(&key));
}

static uint8_t *find(uint8_t *der, size_t size, const char *text) {
    uint8_t *last = NULL;
    for (size_t i = 0; i + strlen(text) <= size; i++) {
        if (memcmp(der + i, text, strlen(text)) == 0) last = der + i;
    }
    assert_non_null(last);
    return last;  // the subject's; the issuer's comes first
}

static void test_not_one(void **state) {
    (void)state;
    uint8_t der[METACERT_SIZE_MAX], version;
    struct node_key key;
    size_t size = metacert_make(&server, NOW_S, seed, der);
    uint8_t *name = find(der, size, "derpkey");
    name[7] = 'x';  // no hex digit
    assert_false(metacert_read(der, size, &key, &version));
    assert_true(metacert_is_named(der, size));
    name[0] = 'D';
    assert_false(metacert_is_named(der, size));
    size = metacert_make(&server, NOW_S, seed, der);
    uint8_t *serial = der + 4 + 4 + 5;
    assert_int_equal(serial[0], DER_INTEGER);
    serial[2] = 0;
    assert_false(metacert_read(der, size, &key, &version));
    serial[2] = 77;
    assert_true(metacert_read(der, size, &key, &version));
    assert_int_equal(version, 77);
}

/* Until the end of 2049 UTCTime, then GeneralizedTime; the limit is each date's own. */
static void test_2050(void **state) {
    (void)state;
    static const uint32_t year_2050 = 2524608000u;
    static const struct {
        int days;
        size_t size;
    } cases[] = {{-31, 359}, {-30, 361}, {0, 361}, {29, 361}, {30, 363}, {3000, 363}};
    for (size_t i = 0; i < array_count(cases); i++) {
        uint8_t der[METACERT_SIZE_MAX];
        struct cert cert;
        uint64_t now_s = year_2050 + (uint64_t)((int64_t)cases[i].days * DAY_S);
        size_t size = metacert_make(&server, now_s, seed, der);
        assert_int_equal(size, cases[i].size);
        assert_true(cert_read(der, size, &cert));
        assert_int_equal(cert.not_before_s, now_s - 30 * DAY_S);
        assert_int_equal(cert.not_after_s, now_s + 30 * DAY_S);
    }
}

/* ---- names ---- */

static void der_of(const char *text, uint8_t *der, size_t *size) {
    struct reader pem = reader_of(text, strlen(text));
    struct writer w = writer_of(der, 4096);
    assert_true(cert_pem_next(&pem, "CERTIFICATE", &w));
    *size = (size_t)(w.at - der);
}

static void test_names(void **state) {
    (void)state;
    uint8_t der[4096];
    size_t size;
    struct cert cert;
    der_of(PEM_CHAIN, der, &size);
    assert_true(cert_read(der, size, &cert));
    static const char *const good[] = {"derp.example", "DERP.Example", "derp.example.", "a.wild.example",
                                       "A.WILD.example."};
    static const char *const bad[] = {
        "example", "xderp.example", "wild.example",   ".wild.example", "a.b.wild.example", "",
        ".",       "192.0.2.1",     "ignored.example"};
    for (size_t i = 0; i < array_count(good); i++) assert_true(cert_is_for(&cert, good[i]));
    for (size_t i = 0; i < array_count(bad); i++) assert_false(cert_is_for(&cert, bad[i]));
}

static void test_addresses(void **state) {
    (void)state;
    uint8_t der[4096];
    size_t size;
    struct cert cert;
    der_of(PEM_RSA_CHAIN, der, &size);
    assert_true(cert_read(der, size, &cert));
    assert_true(cert.is_rsa);
    static const char *const good[] = {"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "[2001:db8::1]",
                                       "2001:DB8:0::1"};
    static const char *const bad[] = {"192.0.2.2", "192.0.2.1.", "2001:db8::2", "::192.0.2.1", "192.0.2.01"};
    for (size_t i = 0; i < array_count(good); i++) assert_true(cert_is_for(&cert, good[i]));
    for (size_t i = 0; i < array_count(bad); i++) assert_false(cert_is_for(&cert, bad[i]));
}

/* ---- PEM, pins, DER ---- */

static void test_pem(void **state) {
    (void)state;
    for (size_t size = 1; size < 200; size++) {
        uint8_t bytes[200], back[200], text[CERT_PEM_MAX(200)];
        memset(bytes, (int)size, size);
        struct writer w = writer_of(text, sizeof(text));
        cert_pem_write(&w, "CERTIFICATE", bytes, size);
        assert_true(writer_ok(&w));
        assert_true((size_t)(w.at - text) <= CERT_PEM_MAX(size));
        struct reader r = reader_of(text, (size_t)(w.at - text));
        struct writer b = writer_of(back, sizeof(back));
        assert_true(cert_pem_next(&r, "CERTIFICATE", &b));
        assert_int_equal(b.at - back, size);
        assert_memory_equal(back, bytes, size);
        assert_false(cert_pem_next(&r, "CERTIFICATE", &b));
        assert_true(reader_ok(&r));
        struct reader again = reader_of(text, (size_t)(w.at - text));
        struct writer small = writer_of(back, size - 1);
        assert_false(cert_pem_next(&again, "CERTIFICATE", &small));
        assert_false(reader_ok(&again));
    }
}

static void test_pin(void **state) {
    (void)state;
    uint8_t pin[CERT_PIN_SIZE], back[CERT_PIN_SIZE];
    char text[CERT_PIN_TEXT_SIZE];
    cert_pin((const uint8_t *)"abc", 3, pin);
    cert_pin_format(pin, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(cert_pin_parse(text, back));
    assert_memory_equal(pin, back, sizeof(pin));
    text[5] = 'g';
    assert_false(cert_pin_parse(text, back));
    assert_false(cert_pin_parse("ba78", back));
}

static void test_der(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"\x30", 1},
               {"\x30\x01", 2},
               {"\x30\x80\0\0", 4},
               {"\x30\x81\x01\0", 4},
               {"\x30\x82\0\x01\0", 5},
               {"\x30\x83\0\0\x01\0", 6},
               {"\x1f\x81\x01\x01\0", 5},
               {"\x31\x01\0", 3}};
    for (size_t i = 0; i < array_count(bad); i++) {
        struct reader r = reader_of(bad[i].bytes, bad[i].size);
        struct reader content = der_enter(&r, DER_SEQUENCE);
        assert_false(reader_ok(&r) || reader_ok(&content));
    }
    static const size_t sizes[] = {0, 127, 128, 255, 256, 3000};
    for (size_t i = 0; i < array_count(sizes); i++) {
        uint8_t content[3000] = {7}, bytes[3004];
        struct writer w = writer_of(bytes, sizeof(bytes));
        der_write(&w, DER_OCTET_STRING, content, sizes[i]);
        assert_true(writer_ok(&w));
        struct reader r = reader_of(bytes, sizeof(bytes) - writer_left(&w));
        struct reader back = der_enter(&r, DER_OCTET_STRING);
        assert_true(reader_done(&r));
        assert_true(der_equals(&back, content, sizes[i]));
    }
}

static void test_der_times(void **state) {
    (void)state;
    static const uint64_t times[] = {0, 951782400, NOW_S, 2524607999, 2524608000, 253402300799};
    for (size_t i = 0; i < array_count(times); i++) {
        uint8_t bytes[20];
        struct writer w = writer_of(bytes, sizeof(bytes));
        der_write_time(&w, times[i]);
        struct reader r = reader_of(bytes, sizeof(bytes) - writer_left(&w));
        assert_int_equal(der_read_time(&r), times[i]);
        assert_true(reader_done(&r));
    }
    static const char *const bad[] = {"\x17\x0d"
                                      "2502301312606",
                                      "\x17\x0b"
                                      "2502301312Z",
                                      "\x17\x0d"
                                      "251301131260Z",
                                      "\x18\x0d"
                                      "250230131260Z"};
    for (size_t i = 0; i < array_count(bad); i++) {
        struct reader r = reader_of(bad[i], strlen(bad[i]));
        (void)!der_read_time(&r);
        assert_false(reader_ok(&r));
    }
}

int main(void) {
    CHECK(sodium_init() >= 0);
    for (size_t i = 0; i < KEY_SIZE; i++) server.bytes[i] = (uint8_t)(i * 7 + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_parts),     cmocka_unit_test(test_signature),
        cmocka_unit_test(test_read),   cmocka_unit_test(test_not_one),   cmocka_unit_test(test_2050),
        cmocka_unit_test(test_names),  cmocka_unit_test(test_addresses), cmocka_unit_test(test_pem),
        cmocka_unit_test(test_pin),    cmocka_unit_test(test_der),       cmocka_unit_test(test_der_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
