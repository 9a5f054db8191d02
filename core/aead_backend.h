/* aead_backend.h - what core/aead.c asks of a library. Nobody else includes this.
 *
 * Why a table of functions here, when the house avoids them: the choice is made by the CPU the program finds itself on
 * and by known answers, so no build option can make it; there are several implementations in one program at once (tests
 * and the benchmark compare them); and five functions are the whole conversation.
 *
 * A back-end sees key states as memory of AEAD_STATE_SIZE bytes on a cache line of its own, and only suites that its
 * `start` offered. Wiping the plaintext after a wrong tag is done once, in aead_open.
 */
#pragma once

#include "core/aead.h"

/* A set of suites, as a mask. */
#define AEAD_SUITE_BIT(suite) (1u << (suite))
#define AEAD_SUITES_ALL \
    (AEAD_SUITE_BIT(AEAD_AES_128_GCM) | AEAD_SUITE_BIT(AEAD_AES_256_GCM) | AEAD_SUITE_BIT(AEAD_CHACHA20_POLY1305))

/* One message. `in` and `out` are equal or do not overlap; `size` is that of the plaintext. */
struct aead_message {
    const uint8_t *nonce;
    const uint8_t *aad;
    size_t aad_size;
    const uint8_t *in;
    uint8_t *out;
    size_t size;
};

struct aead_backend {
    const char *name;

    /* Once or more, at boot. The suites it can do on this CPU; 0 with half a sentence in *why. */
    uint32_t (*start)(const char **why);

    bool (*key_init)(void *state, enum aead_suite suite, const uint8_t *key_bytes);
    void (*key_fini)(void *state);  // NULL: nothing to free; aead_key_fini wipes
    void (*seal)(void *state, enum aead_suite suite, const struct aead_message *m, uint8_t *tag);
    bool (*open)(void *state, enum aead_suite suite, const struct aead_message *m, const uint8_t *tag);
};

#ifdef HAVE_IPSEC_MB
extern const struct aead_backend aead_ipsecmb;
#endif
#ifdef HAVE_LIBCRYPTO
extern const struct aead_backend aead_openssl;
#endif
extern const struct aead_backend aead_sodium;
