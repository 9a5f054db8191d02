/* aead.h - authenticated encryption for TLS 1.3 records: five functions over the fastest library this machine has.
 *
 * Back-ends, in order of preference:
 *
 *     ipsec-mb    libipsec-mb: x86-64 with AES-NI. All suites; a packet of 1400 bytes takes 0.1 us (ChaCha20: 0.6)
 *     libcrypto   OpenSSL 3: everywhere. All suites; 0.2 to 0.5 us (ChaCha20: 1.3)
 *     sodium      libsodium: ChaCha20-Poly1305 everywhere, AES-256-GCM on x86-64 with AES-NI only; 0.8 to 1.5 us
 *
 * The first two are options of the build. For each suite the first back-end that is built in, runs on this CPU and
 * gives the known answers is taken: one that gives one wrong byte for a suite is not used for that suite. A flag can
 * force one, which then stands alone.
 *
 * Model: a `struct aead_key` is one direction of one connection: the expanded key and nothing else. Nonces and sequence
 * numbers are the record layer's (proto/record.h). It may be moved by plain assignment; the old place is then to be
 * zeroed, not finished.
 * Threads: aead_init at boot, then frozen; keys are thread-local. A key may go from one thread to another between two
 * calls. Nothing is shared between keys but constants.
 * Memory: a key is one struct, no allocation, except with libcrypto, whose contexts are made in aead_key_init and freed
 * in aead_key_fini.
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

enum {
    AEAD_NONCE_SIZE = 12,
    AEAD_TAG_SIZE = 16,
    AEAD_KEY_BYTES_MAX = 32,
    AEAD_STATE_SIZE = 1264,  // the largest key schedule, libipsec-mb 2's: 15 round keys, 64 powers of the hash key
};

struct aead_key {
    cache_aligned uint8_t state[AEAD_STATE_SIZE];
    uint8_t suite;  // enum aead_suite; 0: not initialised
};

#define AEAD_WHY_MAX 256

/* Chooses the back-ends: `name` is "ipsec-mb", "libcrypto" or "sodium" to use that one alone, or NULL for the best of
 * each suite. False with a sentence in `why` (AEAD_WHY_MAX bytes) when it is not built in, the CPU lacks what it needs,
 * or no suite gave the known answers. At boot, before other threads; again only while no key is alive (tests). */
must_use bool aead_init(const char *name, char *why);

/* The back-end of AES-128-GCM, or of the first suite there is: what to write in the log. "none" before aead_init. */
const char *aead_backend_name(void);

/* The back-end of one suite, or NULL when none offers it: libsodium has no AES-128, and no AES without AES-NI. */
const char *aead_suite_backend_name(enum aead_suite suite);
bool aead_has_suite(enum aead_suite suite);

/* "AES-128-GCM" and so on, for logs and metrics. */
const char *aead_suite_name(enum aead_suite suite);

/* 16 or 32. */
size_t aead_key_size(enum aead_suite suite);

/* Expands `key_bytes`, aead_key_size(suite) of them; CHECKs aead_has_suite. What `key` held before is not finished.
 * False, and a zeroed key: out of memory (libcrypto only). */
must_use bool aead_key_init(struct aead_key *key, enum aead_suite suite, const uint8_t *key_bytes);

/* Wipes; fine on a zeroed or finished key. */
void aead_key_fini(struct aead_key *key);

/* Seals `size` bytes of `plain` into `sealed` (size + AEAD_TAG_SIZE bytes: ciphertext, tag). The two do not overlap, or
 * are equal. `nonce` is AEAD_NONCE_SIZE bytes that this key has never seen; it is read fastest when it was written by
 * one store of 16 bytes. `plain` may be NULL when size is 0. */
void aead_seal(struct aead_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, const uint8_t *plain,
               size_t size, uint8_t *sealed);

/* Opens `sealed_size` >= AEAD_TAG_SIZE bytes into `plain` (sealed_size - AEAD_TAG_SIZE bytes), as above. */
must_use bool aead_open(struct aead_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_size,
                        const uint8_t *sealed, size_t sealed_size, uint8_t *plain);

/* Begins to load a key that is used soon: with thousands of connections each one's key is cold, and its 20 cache lines
 * cost more than the cipher. */
static inline void aead_key_prefetch(const struct aead_key *key) {
    for (size_t at = 0; at < sizeof(*key); at += CACHE_LINE_SIZE) __builtin_prefetch((const uint8_t *)key + at);
}
