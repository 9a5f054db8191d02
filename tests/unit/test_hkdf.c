/* HKDF-Expand-Label: the examples of RFC 8448 and, for SHA-384, values made by another implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/hkdf.h"

static size_t from_hex(uint8_t *to, size_t room, const char *hex) {
    size_t size;
    assert_int_equal(sodium_hex2bin(to, room, hex, strlen(hex), NULL, &size, NULL), 0);
    return size;
}

static void expect(enum hkdf_hash hash, const char *secret_hex, const char *label, const char *context_hex,
                   const char *want_hex) {
    uint8_t secret[HKDF_SECRET_MAX], context[HKDF_CONTEXT_MAX], want[HKDF_OUT_MAX], got[HKDF_OUT_MAX];
    assert_int_equal(from_hex(secret, sizeof(secret), secret_hex), hash);
    size_t context_size = from_hex(context, sizeof(context), context_hex);
    size_t size = from_hex(want, sizeof(want), want_hex);
    assert_true(hkdf_expand_label(hash, secret, label, context_size ? context : NULL, context_size, got, size));
    assert_memory_equal(got, want, size);
}

#define CLIENT_SECRET "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
#define SERVER_SECRET "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
#define RESUMPTION_SECRET "7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c"
#define SECRET_384                                     \
    "000102030405060708090a0b0c0d0e0f1011121314151617" \
    "18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"

static void test_sha256(void **state) {
    (void)state;
    expect(HKDF_SHA256, CLIENT_SECRET, "key", "", "17422dda596ed5d9acd890e3c63f5051");
    expect(HKDF_SHA256, CLIENT_SECRET, "iv", "", "5b78923dee08579033e523d9");
    expect(HKDF_SHA256, SERVER_SECRET, "key", "", "9f02283b6c9c07efc26bb9f2ac92e356");
    expect(HKDF_SHA256, SERVER_SECRET, "iv", "", "cf782b88dd83549aadf1e984");
    expect(HKDF_SHA256, RESUMPTION_SECRET, "resumption", "0000",
           "4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3");
    expect(HKDF_SHA256, CLIENT_SECRET, "traffic upd", "",
           "fcdfcc72725aaee48bf64e4fd8b749cdbdbab39d90da0b26e2245ca6ea167207");
}

static void test_sha384(void **state) {
    (void)state;
    expect(HKDF_SHA384, SECRET_384, "key", "", "6877d022f1c61d24ebb7487c16752d9a4798e40431c75b39320e537c90e23225");
    expect(HKDF_SHA384, SECRET_384, "iv", "", "42822531a0fe88648fc09e9f");
    expect(HKDF_SHA384, SECRET_384, "traffic upd", "",
           "401331b63e9d59f202e8f041042d9516f4cd7fa2e2ee14631d3b49fc340d7af37fc2c0c9f252d8036f81ec5b85cbe5db");
}

static void test_bounds(void **state) {
    (void)state;
    uint8_t secret[32] = {1}, context[HKDF_CONTEXT_MAX + 1] = {2}, out[HKDF_OUT_MAX + 1], zero[sizeof(out)] = {0};
    memset(out, 0xee, sizeof(out));
    assert_false(hkdf_expand_label(HKDF_SHA256, secret, "thirteen-long", NULL, 0, out, 16));
    assert_memory_equal(out, zero, 16);
    assert_int_equal(out[16], 0xee);
    assert_false(hkdf_expand_label(HKDF_SHA256, secret, "key", context, sizeof(context), out, 16));
    assert_false(hkdf_expand_label(HKDF_SHA256, secret, "key", NULL, 0, out, sizeof(out)));
    assert_memory_equal(out, zero, sizeof(out));
    assert_true(hkdf_expand_label(HKDF_SHA256, secret, "twelve-chars", context, HKDF_CONTEXT_MAX, out, HKDF_OUT_MAX));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_sha384),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
