/* aead.h - authenticated encryption for TLS 1.3 records: five functions over the fastest library this machine has.
 *
 * Back-ends, in order of preference: libipsec-mb (x86-64 with AES-NI; 0.1 us for a packet of 1400 bytes), libcrypto
 * (everywhere), libsodium (AES-256-GCM with AES-NI only, ChaCha20-Poly1305 everywhere). One is chosen at start by what
 * the CPU has and by known answers: a back-end that gives one wrong byte for any suite is not used for it. A flag can
 * force one. Suites are those of TLS 1.3.
 *
 * Model: a `struct aead_key` is one direction of one connection: the expanded key and nothing else. Nonces and sequence
 * numbers are the record layer's (proto/record.h).
 * Threads: aead_init once at boot, then frozen; keys are thread-local. A key is used by the thread that made it.
 * Memory: a key is one struct, no allocation, except with the libcrypto back-end, whose contexts are made in
 * aead_key_init and freed in aead_key_fini.
 * Errors: aead_open says false when the tag is wrong (compared in constant time); then the output is wiped.
 */
#pragma once

#include "core/base.h"

enum aead_suite {
    AEAD_AES_128_GCM = 1,
    AEAD_AES_256_GCM,
    AEAD_CHACHA20_POLY1305,
    AEAD_SUITE_END,
};

enum { AEAD_NONCE_SIZE = 12, AEAD_TAG_SIZE = 16, AEAD_KEY_BYTES_MAX = 32, AEAD_STATE_SIZE = 1280 };

/* Room for the largest back-end's key schedule, on a cache line of its own. */
struct aead_key {
    cache_aligned uint8_t state[AEAD_STATE_SIZE];
    uint8_t suite;  // 0: not initialised
};

#define AEAD_WHY_MAX 256

/* Chooses the back-end: `name` is "ipsec-mb", "libcrypto" or "sodium", or NULL for the best. False with a sentence in
 * `why` when it is not built in, the CPU lacks what it needs, or a known answer was wrong. */
must_use bool aead_init(const char *name, char *why);

/* The back-end in use, and whether it offers the suite (libsodium on a CPU without AES-NI has no AES). */
const char *aead_backend_name(void);
bool aead_has_suite(enum aead_suite suite);

/* 16 or 32. */
size_t aead_key_size(enum aead_suite suite);

/* Expands `key_bytes`, aead_key_size(suite) of them. False: out of memory (libcrypto only). */
must_use bool aead_key_init(struct aead_key *key, enum aead_suite suite, const uint8_t *key_bytes);

/* Wipes; fine on a zeroed or finished key. */
void aead_key_fini(struct aead_key *key);

/* Seals `size` bytes of `plain` into `sealed` (size + AEAD_TAG_SIZE bytes: ciphertext, tag). The two do not overlap, or
 * are equal. `nonce` is AEAD_NONCE_SIZE bytes that this key has never seen. */
void aead_seal(struct aead_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, const uint8_t *plain,
               size_t size, uint8_t *sealed);

/* Opens `sealed_size` >= AEAD_TAG_SIZE bytes into `plain` (sealed_size - AEAD_TAG_SIZE bytes), as above. */
must_use bool aead_open(struct aead_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_size,
                        const uint8_t *sealed, size_t sealed_size, uint8_t *plain);
