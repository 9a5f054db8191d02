#include "proto/tls_signer.h"

#ifdef HAVE_LIBCRYPTO

#include <limits.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

struct tls_signer {
    EVP_PKEY *key;
    bool is_rsa;
};

/* Without it libcrypto would ask at the terminal. */
static int no_password(unused_arg char *to, unused_arg int size, unused_arg int is_writing, unused_arg void *context) {
    return -1;
}

static EVP_PKEY *read_key(const char *pem, size_t size) {
    BIO *bio = size <= INT_MAX ? BIO_new_mem_buf(pem, (int)size) : NULL;
    if (bio == NULL) return NULL;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    return key;
}

struct tls_signer *tls_signer_new(const char *key_pem, size_t key_pem_size) {
    EVP_PKEY *key = read_key(key_pem, key_pem_size);
    bool is_rsa = key != NULL && EVP_PKEY_is_a(key, "RSA");
    bool is_fit = is_rsa || (key != NULL && EVP_PKEY_is_a(key, "EC"));
    struct tls_signer *signer = is_fit ? malloc(sizeof(*signer)) : NULL;
    if (signer != NULL) *signer = (struct tls_signer){.key = key, .is_rsa = is_rsa};
    if (signer == NULL) EVP_PKEY_free(key);
    ERR_clear_error();  // a queue per thread
    return signer;
}

void tls_signer_free(struct tls_signer *signer) {
    if (signer == NULL) return;
    EVP_PKEY_free(signer->key);
    free(signer);
}

bool tls_signer_is_rsa(const struct tls_signer *signer) { return signer->is_rsa; }

static const EVP_MD *hash_of(size_t digest_size) {
    switch (digest_size) {
        case 32: return EVP_sha256();
        case 48: return EVP_sha384();
        case 64: return EVP_sha512();
        default: return NULL;
    }
}

static bool set_up(EVP_PKEY_CTX *ctx, bool is_rsa, size_t digest_size) {
    const EVP_MD *hash = hash_of(digest_size);
    if (hash == NULL || EVP_PKEY_sign_init(ctx) != 1) return false;
    return !is_rsa || (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                       EVP_PKEY_CTX_set_signature_md(ctx, hash) == 1 &&
                       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

bool tls_signer_sign(const struct tls_signer *signer, const uint8_t *digest, size_t digest_size, uint8_t *out,
                     size_t *out_size) {
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, signer->key, NULL);
    bool is_signed = ctx != NULL && set_up(ctx, signer->is_rsa, digest_size) &&
                     EVP_PKEY_sign(ctx, out, out_size, digest, digest_size) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (!is_signed) ERR_clear_error();
    return is_signed;
}

#else

struct tls_signer *tls_signer_new(unused_arg const char *key_pem, unused_arg size_t key_pem_size) { return NULL; }

void tls_signer_free(unused_arg struct tls_signer *signer) {}

bool tls_signer_is_rsa(unused_arg const struct tls_signer *signer) { return false; }

bool tls_signer_sign(unused_arg const struct tls_signer *signer, unused_arg const uint8_t *digest,
                     unused_arg size_t digest_size, unused_arg uint8_t *out, unused_arg size_t *out_size) {
    return false;
}

#endif
