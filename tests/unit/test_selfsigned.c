/* The self-signed certificate of a relay without a name: what is in it, and that wolfSSL believes its signature. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// last, as its documentation asks
#include <cmocka.h>

#include <sodium.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "core/check.h"
#include "proto/cert.h"
#include "proto/selfsigned.h"

#define NOW_S 1750000000u
#define DAY_S 86400u

static bool make(const char *ip, uint64_t seed, struct selfsigned *out) {
    struct rng rng;
    rng_init_seeded(&rng, seed);
    return selfsigned_make(ip, NOW_S, &rng, out);
}

static void test_contents(void **state) {
    (void)state;
    static const char *const ips[] = {"192.0.2.7", "2001:db8::7"};
    for (size_t i = 0; i < array_count(ips); i++) {
        struct selfsigned s;
        struct cert cert;
        assert_true(make(ips[i], i, &s));
        assert_true(cert_read(s.der, s.der_size, &cert));
        assert_int_equal(cert.common_name_size, strlen(ips[i]));
        assert_memory_equal(cert.common_name, ips[i], cert.common_name_size);
        assert_int_equal(cert.not_before_s, NOW_S);
        assert_int_equal(cert.not_after_s, NOW_S + 365 * DAY_S);
        assert_true(cert.serial_size >= 14 && cert.serial_size <= 16);
        assert_true(cert_is_for(&cert, ips[i]));
        assert_false(cert_is_for(&cert, "192.0.2.8"));
        assert_false(cert.is_rsa);
        selfsigned_wipe(&s);
    }
}

static void test_pem(void **state) {
    (void)state;
    struct selfsigned s;
    uint8_t der[SELFSIGNED_DER_MAX];
    assert_true(make("192.0.2.7", 3, &s));
    struct reader pem = reader_of(s.cert_pem, strlen(s.cert_pem));
    struct writer w = writer_of(der, sizeof(der));
    assert_true(cert_pem_next(&pem, "CERTIFICATE", &w));
    assert_int_equal(w.at - der, s.der_size);
    assert_memory_equal(der, s.der, s.der_size);
    pem = reader_of(s.key_pem, strlen(s.key_pem));
    w = writer_of(der, sizeof(der));
    assert_true(cert_pem_next(&pem, "EC PRIVATE KEY", &w));
    assert_int_equal(w.at - der, 121);
    selfsigned_wipe(&s);
    assert_true(sodium_is_zero((const uint8_t *)&s, sizeof(s)));
}

/* Signed with the key that it shows, as an independent parser sees it; the signature differs in length from one to the
 * next, hence several. */
static void test_signature(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct selfsigned s;
        assert_true(make("198.51.100.200", seed, &s));
        const unsigned char *at = s.der;
        WOLFSSL_X509 *x509 = wolfSSL_d2i_X509(NULL, &at, (int)s.der_size);
        assert_non_null(x509);
        WOLFSSL_EVP_PKEY *key = wolfSSL_X509_get_pubkey(x509);
        assert_non_null(key);
        assert_int_equal(wolfSSL_X509_verify(x509, key), WOLFSSL_SUCCESS);
        assert_int_equal(wolfSSL_X509_get_isCA(x509), 0);
        wolfSSL_EVP_PKEY_free(key);
        wolfSSL_X509_free(x509);
    }
}

static void test_different(void **state) {
    (void)state;
    struct selfsigned a, b, c;
    assert_true(make("192.0.2.7", 1, &a));
    assert_true(make("192.0.2.7", 1, &b));
    assert_true(make("192.0.2.7", 2, &c));
    assert_string_equal(a.key_pem, b.key_pem);  // all but the signature comes from the generator given
    assert_string_not_equal(a.key_pem, c.key_pem);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "derp.example", "192.0.2", "[2001:db8::7]", "192.0.2.7 ", "2001:db8::7%eth0"};
    for (size_t i = 0; i < array_count(bad); i++) {
        struct selfsigned s;
        assert_false(make(bad[i], 1, &s));
        assert_true(sodium_is_zero((const uint8_t *)&s, sizeof(s)));
    }
}

int main(void) {
    CHECK(sodium_init() >= 0);
    CHECK(wolfSSL_Init() == WOLFSSL_SUCCESS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),  cmocka_unit_test(test_pem),     cmocka_unit_test(test_signature),
        cmocka_unit_test(test_different), cmocka_unit_test(test_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    wolfSSL_Cleanup();
    return failed;
}
