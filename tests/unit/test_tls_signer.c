/* test_tls_signer.c - signatures for handshakes, verified by libcrypto itself; test_handshake.c lets clients verify. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/tls_signer.h"
#include "tests/unit/test_tls_pem.h"

/* Its password is "secret". */
static const char encrypted[] = "-----BEGIN EC PRIVATE KEY-----\n"
                                "Proc-Type: 4,ENCRYPTED\n"
                                "DEK-Info: AES-128-CBC,91ED51919ABA69F1DD5DDA8CDCC3E2B2\n"
                                "\n"
                                "2nLneh1GvEdh6aMUGKh2Fc+A5vFgmT1+2VZOC9m8zuFaTY0TfX33D9BAFn7TDe/T\n"
                                "ezzZCsoJZuoskiF3oXTRvOdaBhSicwNwnGJuRiKrnok0FMv8/lIRpoXQokwBv8q5\n"
                                "Z57ywq1xbJ59zfbyLBI8xpfdAfUk8xCoznyAxyk6nvU=\n"
                                "-----END EC PRIVATE KEY-----\n";

#ifdef HAVE_LIBCRYPTO

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

static struct tls_signer *signer_of(const char *pem) { return tls_signer_new(pem, strlen(pem)); }

static bool verifies(const char *pem, const EVP_MD *pss, const uint8_t *digest, size_t digest_size, const uint8_t *sig,
                     size_t sig_size) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    assert_non_null(key);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
    if (pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, pss), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, (int)digest_size), 1);
    }
    bool is_good = EVP_PKEY_verify(ctx, sig, sig_size, digest, digest_size) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return is_good;
}

static void expect_signs(const char *pem, bool is_rsa) {
    const EVP_MD *hashes[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    uint8_t digest[64], out[512];
    struct tls_signer *signer = signer_of(pem);
    assert_non_null(signer);
    assert_int_equal(tls_signer_is_rsa(signer), is_rsa);
    for (size_t i = 0; i < array_count(hashes); i++) {
        size_t digest_size = (size_t)EVP_MD_get_size(hashes[i]), size = sizeof(out);
        memset(digest, (int)i + 1, sizeof(digest));
        assert_true(tls_signer_sign(signer, digest, digest_size, out, &size));
        const EVP_MD *pss = is_rsa ? hashes[i] : NULL;
        assert_true(verifies(pem, pss, digest, digest_size, out, size));
        digest[3] ^= 1;
        assert_false(verifies(pem, pss, digest, digest_size, out, size));
    }
    tls_signer_free(signer);
}

static void test_signs(void **state) {
    (void)state;
    expect_signs(PEM_KEY, false);
    expect_signs(PEM_KEY_PKCS8, false);
    expect_signs(PEM_RSA_KEY, true);
}

/* Two signatures of one digest differ: nonces and salts are random. */
static void test_is_random(void **state) {
    (void)state;
    static const char *const keys[] = {PEM_KEY, PEM_RSA_KEY};
    uint8_t digest[32] = {1}, one[512] = {0}, other[512] = {0};
    for (size_t i = 0; i < array_count(keys); i++) {
        struct tls_signer *signer = signer_of(keys[i]);
        size_t one_size = sizeof(one), other_size = sizeof(other);
        assert_true(tls_signer_sign(signer, digest, sizeof(digest), one, &one_size));
        assert_true(tls_signer_sign(signer, digest, sizeof(digest), other, &other_size));
        assert_memory_not_equal(one, other, one_size);
        tls_signer_free(signer);
    }
}

static void test_refuses(void **state) {
    (void)state;
    static const char *const keys[] = {PEM_KEY, PEM_RSA_KEY};
    uint8_t digest[33] = {1}, out[512];
    for (size_t i = 0; i < array_count(keys); i++) {
        struct tls_signer *signer = signer_of(keys[i]);
        size_t size = sizeof(out);
        assert_false(tls_signer_sign(signer, digest, 33, out, &size));
        size = 16;
        memset(out, 0xaa, sizeof(out));
        assert_false(tls_signer_sign(signer, digest, 32, out, &size));
        assert_int_equal(out[16], 0xaa);
        size = sizeof(out);
        assert_true(tls_signer_sign(signer, digest, 32, out, &size));  // a failure leaves nothing behind
        tls_signer_free(signer);
    }
}

#else

static void test_signs(void **state) {
    (void)state;
    assert_null(tls_signer_new(PEM_KEY, strlen(PEM_KEY)));  // wolfSSL does
}

static void test_is_random(void **state) {
    (void)state;
    skip();
}

static void test_refuses(void **state) {
    (void)state;
    skip();
}

#endif

/* Nor is anybody asked for a password. */
static void test_no_key(void **state) {
    (void)state;
    assert_null(tls_signer_new("", 0));
    assert_null(tls_signer_new("hello", 5));
    assert_null(tls_signer_new(PEM_LEAF, strlen(PEM_LEAF)));
    assert_null(tls_signer_new(PEM_KEY, strlen(PEM_KEY) / 2));
    assert_null(tls_signer_new(encrypted, strlen(encrypted)));
    tls_signer_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs),
        cmocka_unit_test(test_is_random),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
