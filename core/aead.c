#include "core/aead.h"

#include <sodium.h>
#include <stdio.h>

#include "core/aead_backend.h"
#include "core/check.h"

/* In order of preference. */
static const struct aead_backend *const backends[] = {
#ifdef HAVE_IPSEC_MB
    &aead_ipsecmb,
#endif
#ifdef HAVE_LIBCRYPTO
    &aead_openssl,
#endif
    &aead_sodium,
};

/* Frozen after aead_init. NULL: nobody does this suite. */
static const struct aead_backend *chosen[AEAD_SUITE_END];

_Static_assert(sizeof(struct aead_key) == 1280, "a key is twenty cache lines, its suite in the last of them");

/* ---- known answers ---- */

enum { KNOWN_SIZE_MAX = 16385, KNOWN_DIGEST_SIZE = 32 };

/* Nothing, around one block, around the strides of the vector code, a packet, the largest record. */
static const uint16_t known_sizes[] = {0, 1, 15, 16, 17, 64, 255, 1400, KNOWN_SIZE_MAX};

/* BLAKE2b-256 over all that is sealed for one suite: ciphertexts and tags of every size, in the order above. */
static const uint8_t known_digests[AEAD_SUITE_END][KNOWN_DIGEST_SIZE] = {
    [AEAD_AES_128_GCM] = {0x7a, 0xc3, 0x10, 0x3d, 0x6c, 0x2e, 0xe5, 0xaf, 0xc3, 0xf6, 0xef,
                          0xc5, 0x91, 0xe0, 0xfe, 0x11, 0x22, 0xf0, 0xfd, 0x96, 0xdc, 0xb6,
                          0x31, 0x58, 0xdd, 0xa1, 0xe5, 0x6d, 0x0f, 0xb4, 0x67, 0xa3},
    [AEAD_AES_256_GCM] = {0x28, 0x79, 0x84, 0x40, 0xae, 0xdd, 0x46, 0xf6, 0x5c, 0x36, 0x10,
                          0x1f, 0x37, 0x17, 0xac, 0x93, 0xd0, 0x2c, 0xf1, 0xbd, 0xfd, 0xc5,
                          0xfb, 0x2a, 0xb7, 0xe6, 0xbb, 0xe7, 0xe5, 0xbc, 0xb4, 0xb9},
    [AEAD_CHACHA20_POLY1305] = {0x7e, 0x8a, 0x89, 0x28, 0x0e, 0xe9, 0x6d, 0xad, 0x9b, 0xb9, 0x36,
                                0xc1, 0xbb, 0x3f, 0x02, 0xb6, 0xc4, 0x9f, 0x76, 0x99, 0xb9, 0x50,
                                0xb1, 0x1a, 0x8d, 0xc6, 0xb8, 0x4e, 0x34, 0xcd, 0xfa, 0xfb},
};

struct known {
    const struct aead_backend *backend;
    enum aead_suite suite;
    struct aead_key *key;
    uint8_t nonce[AEAD_NONCE_SIZE];
    uint8_t aad[5];
    uint8_t plain[KNOWN_SIZE_MAX];
    uint8_t sealed[KNOWN_SIZE_MAX + AEAD_TAG_SIZE];
    uint8_t opened[KNOWN_SIZE_MAX];
};

static bool open_one(struct known *k, size_t size, const uint8_t *in, uint8_t *out) {
    struct aead_message m = {k->nonce, k->aad, sizeof(k->aad), in, out, size};
    return k->backend->open(k->key->state, k->suite, &m, k->sealed + size);
}

/* Seals one message into the digest; is it opened again, out of place and in place, and refused with another tag? */
static bool try_size(struct known *k, size_t size, crypto_generichash_state *digest) {
    uint8_t *tag = k->sealed + size;
    memcpy(k->aad, (uint8_t[]){23, 3, 3, (uint8_t)(size >> 8), (uint8_t)size}, sizeof(k->aad));
    for (size_t i = 0; i < size; i++) k->plain[i] = (uint8_t)(i * 7 + size);
    struct aead_message m = {k->nonce, k->aad, sizeof(k->aad), k->plain, k->sealed, size};
    k->backend->seal(k->key->state, k->suite, &m, tag);
    (void)crypto_generichash_update(digest, k->sealed, size + AEAD_TAG_SIZE);

    tag[size % AEAD_TAG_SIZE] ^= 1;
    if (open_one(k, size, k->sealed, k->opened)) return false;
    tag[size % AEAD_TAG_SIZE] ^= 1;
    if (!open_one(k, size, k->sealed, k->opened) || memcmp(k->opened, k->plain, size) != 0) return false;
    return open_one(k, size, k->sealed, k->sealed) && memcmp(k->sealed, k->plain, size) == 0;
}

static bool try_sizes(struct known *k) {
    uint8_t digest[KNOWN_DIGEST_SIZE];
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, sizeof(digest));
    bool ok = true;
    for (size_t i = 0; ok && i < array_count(known_sizes); i++) ok = try_size(k, known_sizes[i], &state);
    (void)crypto_generichash_final(&state, digest, sizeof(digest));
    return ok && memcmp(digest, known_digests[k->suite], sizeof(digest)) == 0;
}

static bool gives_known_answers(const struct aead_backend *backend, enum aead_suite suite) {
    static struct aead_key key;
    static struct known k;
    k.backend = backend;
    k.suite = suite;
    k.key = &key;
    uint8_t key_bytes[AEAD_KEY_BYTES_MAX];
    for (size_t i = 0; i < sizeof(key_bytes); i++) key_bytes[i] = (uint8_t)(i * 11 + 1);
    for (size_t i = 0; i < sizeof(k.nonce); i++) k.nonce[i] = (uint8_t)(0xa0 + i);
    if (!backend->key_init(key.state, suite, key_bytes)) return false;
    bool ok = try_sizes(&k);
    if (backend->key_fini) backend->key_fini(key.state);
    return ok;
}

/* ---- choosing ---- */

/* Takes the back-end for the suites that have none yet; counts what it got. */
static size_t consider(const struct aead_backend *backend, const char **why) {
    uint32_t offered = backend->start(why);
    size_t count = 0;
    for (enum aead_suite suite = 1; suite < AEAD_SUITE_END; suite++) {
        if (!(offered & AEAD_SUITE_BIT(suite)) || chosen[suite] != NULL) continue;
        if (gives_known_answers(backend, suite)) {
            chosen[suite] = backend;
            count++;
        } else {
            *why = "it gave wrong answers";
        }
    }
    return count;
}

bool aead_init(const char *name, char *why) {
    const char *cause = "not built in";
    size_t count = 0;
    CHECK(sodium_init() >= 0);  // the digests are libsodium's
    memset(chosen, 0, sizeof(chosen));
    for (size_t i = 0; i < array_count(backends); i++)
        if (name == NULL || strcmp(name, backends[i]->name) == 0) count += consider(backends[i], &cause);
    if (count > 0) return true;
    (void)snprintf(why, AEAD_WHY_MAX, "AEAD back-end %s cannot be used: %s", name ? name : "of any kind", cause);
    return false;
}

static bool is_suite(enum aead_suite suite) { return suite >= AEAD_AES_128_GCM && suite < AEAD_SUITE_END; }

bool aead_has_suite(enum aead_suite suite) { return is_suite(suite) && chosen[suite] != NULL; }

const char *aead_suite_backend_name(enum aead_suite suite) {
    return aead_has_suite(suite) ? chosen[suite]->name : NULL;
}

const char *aead_backend_name(void) {
    for (enum aead_suite suite = 1; suite < AEAD_SUITE_END; suite++)
        if (chosen[suite] != NULL) return chosen[suite]->name;
    return "none";
}

const char *aead_suite_name(enum aead_suite suite) {
    switch (suite) {
        case AEAD_AES_128_GCM: return "AES-128-GCM";
        case AEAD_AES_256_GCM: return "AES-256-GCM";
        case AEAD_CHACHA20_POLY1305: return "ChaCha20-Poly1305";
        default: return "none";
    }
}

size_t aead_key_size(enum aead_suite suite) { return suite == AEAD_AES_128_GCM ? 16 : 32; }

/* ---- keys and messages ---- */

bool aead_key_init(struct aead_key *key, enum aead_suite suite, const uint8_t *key_bytes) {
    CHECK(aead_has_suite(suite));
    *key = (struct aead_key){0};
    if (!chosen[suite]->key_init(key->state, suite, key_bytes)) {
        sodium_memzero(key, sizeof(*key));
        return false;
    }
    key->suite = (uint8_t)suite;
    return true;
}

void aead_key_fini(struct aead_key *key) {
    if (key->suite != 0 && chosen[key->suite]->key_fini) chosen[key->suite]->key_fini(key->state);
    sodium_memzero(key, sizeof(*key));
}

void aead_seal(struct aead_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, const uint8_t *plain,
               size_t size, uint8_t *sealed) {
    DCHECK(key->suite != 0);
    struct aead_message m = {nonce, aad, aad_size, plain, sealed, size};
    chosen[key->suite]->seal(key->state, key->suite, &m, sealed + size);
}

bool aead_open(struct aead_key *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, const uint8_t *sealed,
               size_t sealed_size, uint8_t *plain) {
    DCHECK(key->suite != 0 && sealed_size >= AEAD_TAG_SIZE);
    size_t size = sealed_size - AEAD_TAG_SIZE;
    struct aead_message m = {nonce, aad, aad_size, sealed, plain, size};
    if (likely(chosen[key->suite]->open(key->state, key->suite, &m, sealed + size))) return true;
    /* Most libraries decrypt while they authenticate: what stands there is chosen by an attacker. */
    if (size > 0) sodium_memzero(plain, size);
    return false;
}
