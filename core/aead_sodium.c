/* libsodium: slower than the others, but always there. */
#include "core/aead_backend.h"

#include <stdalign.h>
#include <sodium.h>

_Static_assert(sizeof(crypto_aead_aes256gcm_state) <= AEAD_STATE_SIZE, "a key schedule of libsodium fits the state");
_Static_assert(alignof(crypto_aead_aes256gcm_state) <= CACHE_LINE_SIZE, "a key state is aligned for it");

static uint32_t sodium_start(const char **why) {
    if (sodium_init() < 0) {
        *why = "libsodium did not start";
        return 0;
    }
    uint32_t suites = AEAD_SUITE_BIT(AEAD_CHACHA20_POLY1305);
    if (crypto_aead_aes256gcm_is_available()) suites |= AEAD_SUITE_BIT(AEAD_AES_256_GCM);
    return suites;
}

static bool sodium_key_init(void *state, enum aead_suite suite, const uint8_t *key_bytes) {
    if (suite == AEAD_AES_256_GCM) return crypto_aead_aes256gcm_beforenm(state, key_bytes) == 0;
    memcpy(state, key_bytes, crypto_aead_chacha20poly1305_ietf_KEYBYTES);
    return true;
}

static void sodium_seal(void *state, enum aead_suite suite, const struct aead_message *m, uint8_t *tag) {
    /* Both fail only for sizes that no record has. */
    if (suite == AEAD_AES_256_GCM)
        (void)crypto_aead_aes256gcm_encrypt_detached_afternm(m->out, tag, NULL, m->in, m->size, m->aad, m->aad_size,
                                                             NULL, m->nonce, state);
    else
        (void)crypto_aead_chacha20poly1305_ietf_encrypt_detached(m->out, tag, NULL, m->in, m->size, m->aad, m->aad_size,
                                                                 NULL, m->nonce, state);
}

static bool sodium_open(void *state, enum aead_suite suite, const struct aead_message *m, const uint8_t *tag) {
    if (suite == AEAD_AES_256_GCM)
        return crypto_aead_aes256gcm_decrypt_detached_afternm(m->out, NULL, m->in, m->size, tag, m->aad, m->aad_size,
                                                              m->nonce, state) == 0;
    return crypto_aead_chacha20poly1305_ietf_decrypt_detached(m->out, NULL, m->in, m->size, tag, m->aad, m->aad_size,
                                                              m->nonce, state) == 0;
}

const struct aead_backend aead_sodium = {
    .name = "sodium",
    .start = sodium_start,
    .key_init = sodium_key_init,
    .seal = sodium_seal,
    .open = sodium_open,
};
