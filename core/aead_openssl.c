/* libcrypto by EVP. One context per key and never more: making one costs more than many packets. */
#ifdef HAVE_LIBCRYPTO

#include "core/aead_backend.h"

#include <limits.h>
#include <openssl/evp.h>

#include "core/check.h"

struct openssl_state {
    EVP_CIPHER_CTX *ctx;
};

_Static_assert(sizeof(struct openssl_state) <= AEAD_STATE_SIZE, "a context's pointer fits the state");

/* Fetched once: by name it is a search under a lock. */
static EVP_CIPHER *ciphers[AEAD_SUITE_END];

static uint32_t openssl_start(const char **why) {
    static const char *const names[AEAD_SUITE_END] = {
        [AEAD_AES_128_GCM] = "AES-128-GCM",
        [AEAD_AES_256_GCM] = "AES-256-GCM",
        [AEAD_CHACHA20_POLY1305] = "ChaCha20-Poly1305",
    };
    uint32_t suites = 0;
    for (size_t i = 1; i < AEAD_SUITE_END; i++) {
        if (ciphers[i] == NULL) ciphers[i] = EVP_CIPHER_fetch(NULL, names[i], NULL);
        if (ciphers[i] != NULL) suites |= AEAD_SUITE_BIT(i);
    }
    if (suites == 0) *why = "libcrypto has no provider for its ciphers";
    return suites;
}

/* As an encryptor; the direction is said again with every nonce, the key schedule is the same. */
static bool openssl_key_init(void *state, enum aead_suite suite, const uint8_t *key_bytes) {
    struct openssl_state *s = state;
    s->ctx = EVP_CIPHER_CTX_new();
    if (s->ctx != NULL && EVP_EncryptInit_ex(s->ctx, ciphers[suite], NULL, key_bytes, NULL) == 1) return true;
    EVP_CIPHER_CTX_free(s->ctx);
    return false;
}

static void openssl_key_fini(void *state) {
    struct openssl_state *s = state;
    EVP_CIPHER_CTX_free(s->ctx);
}

/* Everything but the tag. */
static bool run(EVP_CIPHER_CTX *ctx, const struct aead_message *m) {
    int done;
    bool ok = m->aad_size == 0 || EVP_CipherUpdate(ctx, NULL, &done, m->aad, (int)m->aad_size) == 1;
    return ok && (m->size == 0 || EVP_CipherUpdate(ctx, m->out, &done, m->in, (int)m->size) == 1);
}

/* Sealing with a good key cannot fail, and there is no way to go on if it did: bytes without a cipher would leave. */
static void openssl_seal(void *state, unused_arg enum aead_suite suite, const struct aead_message *m, uint8_t *tag) {
    EVP_CIPHER_CTX *ctx = ((struct openssl_state *)state)->ctx;
    uint8_t nothing[AEAD_TAG_SIZE];
    int done;
    CHECK(m->size <= INT_MAX && m->aad_size <= INT_MAX);
    CHECK(EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, m->nonce) == 1 && run(ctx, m));
    CHECK(EVP_EncryptFinal_ex(ctx, nothing, &done) == 1);
    CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, tag) == 1);
}

static bool openssl_open(void *state, unused_arg enum aead_suite suite, const struct aead_message *m,
                         const uint8_t *tag) {
    EVP_CIPHER_CTX *ctx = ((struct openssl_state *)state)->ctx;
    uint8_t nothing[AEAD_TAG_SIZE];
    int done;
    CHECK(m->size <= INT_MAX && m->aad_size <= INT_MAX);
    return EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, m->nonce) == 1 && run(ctx, m) &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, (void *)(uintptr_t)tag) == 1 &&
           EVP_DecryptFinal_ex(ctx, nothing, &done) == 1;
}

const struct aead_backend aead_openssl = {
    .name = "libcrypto",
    .start = openssl_start,
    .key_init = openssl_key_init,
    .key_fini = openssl_key_fini,
    .seal = openssl_seal,
    .open = openssl_open,
};

#else
/* An empty file is no C. */
extern int aead_openssl_is_not_built;
#endif
