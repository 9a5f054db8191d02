/* AEAD: published vectors, random messages and refusals, for every back-end that is built in; they have to agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/aead.h"
#include "core/rng.h"

static const char *const names[] = {"ipsec-mb", "libcrypto", "sodium"};

enum { SIZE_MAX_TRIED = 16385, ROOM = SIZE_MAX_TRIED + AEAD_TAG_SIZE };

static bool use_backend(const char *name) {
    char why[AEAD_WHY_MAX] = "";
    bool ok = aead_init(name, why);
    if (ok) assert_string_equal(aead_backend_name(), name);
    else assert_non_null(strstr(why, name));
    return ok;
}

static size_t from_hex(uint8_t *to, size_t room, const char *hex) {
    size_t size;
    assert_int_equal(sodium_hex2bin(to, room, hex, strlen(hex), NULL, &size, NULL), 0);
    return size;
}

/* Test cases 4 and 16 of the GCM specification; RFC 8439, section 2.8.2. */
static const struct vector {
    enum aead_suite suite;
    const char *key, *nonce, *aad, *plain, *sealed;
} vectors[] = {
    {AEAD_AES_128_GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
     "5bc94fbc3221a5db94fae95ae7121a47"},
    {AEAD_AES_256_GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
     "76fc6ece0f4e1768cddf8853bb2d551b"},
    {AEAD_CHACHA20_POLY1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
     "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c6173"
     "73206f66202739393a204966204920636f756c64206f6666657220796f75206f"
     "6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73"
     "637265656e20776f756c642062652069742e",
     "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
     "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
     "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
     "3ff4def08e4b7a9de576d26586cec64b6116"
     "1ae10b594f09e26a7e902ecbd0600691"},
};

static void check_vector(const struct vector *v) {
    struct aead_key key;
    uint8_t key_bytes[32], nonce[16], aad[32], plain[256], sealed[256], out[256];
    assert_int_equal(from_hex(key_bytes, sizeof(key_bytes), v->key), aead_key_size(v->suite));
    assert_int_equal(from_hex(nonce, sizeof(nonce), v->nonce), AEAD_NONCE_SIZE);
    size_t aad_size = from_hex(aad, sizeof(aad), v->aad), size = from_hex(plain, sizeof(plain), v->plain);
    assert_int_equal(from_hex(sealed, sizeof(sealed), v->sealed), size + AEAD_TAG_SIZE);
    assert_true(aead_key_init(&key, v->suite, key_bytes));
    aead_seal(&key, nonce, aad, aad_size, plain, size, out);
    assert_memory_equal(out, sealed, size + AEAD_TAG_SIZE);
    assert_true(aead_open(&key, nonce, aad, aad_size, sealed, size + AEAD_TAG_SIZE, out));
    assert_memory_equal(out, plain, size);
    aead_key_fini(&key);
}

static void test_vectors(void **state) {
    (void)state;
    for (size_t n = 0; n < array_count(names); n++) {
        if (!use_backend(names[n])) continue;
        for (size_t i = 0; i < array_count(vectors); i++)
            if (aead_has_suite(vectors[i].suite)) check_vector(&vectors[i]);
    }
}

static void test_choice(void **state) {
    (void)state;
    char why[AEAD_WHY_MAX] = "";
    assert_false(aead_init("rot13", why));
    assert_string_equal(why, "AEAD back-end rot13 cannot be used: not built in");
    assert_string_equal(aead_backend_name(), "none");
    assert_false(aead_has_suite(AEAD_CHACHA20_POLY1305));
    assert_null(aead_suite_backend_name(AEAD_AES_128_GCM));
    assert_true(aead_init("sodium", why));
    assert_false(aead_has_suite(AEAD_AES_128_GCM));
    assert_true(aead_has_suite(AEAD_CHACHA20_POLY1305));
    assert_true(aead_init(NULL, why));
    assert_true(aead_has_suite(AEAD_CHACHA20_POLY1305));
    assert_false(aead_has_suite((enum aead_suite)0));
    assert_false(aead_has_suite(AEAD_SUITE_END));
    assert_string_equal(aead_suite_name(AEAD_AES_256_GCM), "AES-256-GCM");
    assert_string_equal(aead_suite_name(AEAD_SUITE_END), "none");
}

/* The same random message for each back-end: sealed out of place and in place, opened out of place and in place. */
struct trial {
    enum aead_suite suite;
    uint8_t key_bytes[32], nonce[AEAD_NONCE_SIZE], aad[20];
    size_t aad_size, size;
    uint8_t plain[ROOM], sealed[ROOM], other[ROOM];
};

static void make_trial(struct trial *t, struct rng *rng, enum aead_suite suite) {
    t->suite = suite;
    rng_bytes(rng, t->key_bytes, sizeof(t->key_bytes));
    rng_bytes(rng, t->nonce, sizeof(t->nonce));
    rng_bytes(rng, t->aad, sizeof(t->aad));
    t->aad_size = rng_below(rng, 4) ? 5 : rng_below(rng, sizeof(t->aad) + 1);
    t->size = rng_below(rng, 3) ? rng_below(rng, 600) : rng_below(rng, SIZE_MAX_TRIED + 1);
    rng_bytes(rng, t->plain, t->size);
}

static void run_trial(struct trial *t, struct aead_key *key, uint8_t *sealed) {
    size_t whole = t->size + AEAD_TAG_SIZE;
    aead_seal(key, t->nonce, t->aad, t->aad_size, t->plain, t->size, sealed);
    memcpy(t->other, t->plain, t->size);
    aead_seal(key, t->nonce, t->aad, t->aad_size, t->other, t->size, t->other);
    assert_memory_equal(t->other, sealed, whole);
    assert_true(aead_open(key, t->nonce, t->aad, t->aad_size, t->other, whole, t->other));
    assert_memory_equal(t->other, t->plain, t->size);
    memset(t->other, 0, t->size);
    assert_true(aead_open(key, t->nonce, t->aad, t->aad_size, sealed, whole, t->other));
    assert_memory_equal(t->other, t->plain, t->size);
}

static void check_trial_everywhere(struct trial *t) {
    static uint8_t here[ROOM];
    bool is_first = true;
    for (size_t n = 0; n < array_count(names); n++) {
        if (!use_backend(names[n]) || !aead_has_suite(t->suite)) continue;
        struct aead_key key;
        assert_true(aead_key_init(&key, t->suite, t->key_bytes));
        run_trial(t, &key, is_first ? t->sealed : here);
        if (!is_first) assert_memory_equal(here, t->sealed, t->size + AEAD_TAG_SIZE);
        is_first = false;
        aead_key_fini(&key);
    }
}

static void test_backends_agree(void **state) {
    (void)state;
    static struct trial t;
    struct rng rng;
    rng_init_seeded(&rng, 1);
    for (int i = 0; i < 60; i++) {
        make_trial(&t, &rng, (enum aead_suite)(1 + i % (AEAD_SUITE_END - 1)));
        check_trial_everywhere(&t);
    }
}

static void check_is_wiped(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) assert_int_equal(bytes[i], 0);
}

/* Every bit of a small message, of its nonce and of its AAD. */
static void check_refusals(enum aead_suite suite) {
    enum { SIZE = 33 };
    struct {
        uint8_t nonce[AEAD_NONCE_SIZE], aad[5], sealed[SIZE + AEAD_TAG_SIZE];
    } m = {{1}, {2}, {0}};
    uint8_t key_bytes[32] = {3}, plain[SIZE], out[SIZE];
    struct aead_key key;
    memset(plain, 0x55, sizeof(plain));
    assert_true(aead_key_init(&key, suite, key_bytes));
    aead_seal(&key, m.nonce, m.aad, sizeof(m.aad), plain, SIZE, m.sealed);
    for (size_t bit = 0; bit < sizeof(m) * 8; bit++) {
        memset(out, 0xee, sizeof(out));
        ((uint8_t *)&m)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(aead_open(&key, m.nonce, m.aad, sizeof(m.aad), m.sealed, sizeof(m.sealed), out));
        check_is_wiped(out, sizeof(out));
        ((uint8_t *)&m)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(aead_open(&key, m.nonce, m.aad, sizeof(m.aad), m.sealed, sizeof(m.sealed), out));
    assert_false(aead_open(&key, m.nonce, m.aad, sizeof(m.aad), m.sealed, AEAD_TAG_SIZE, out));
    aead_key_fini(&key);
    check_is_wiped((const uint8_t *)&key, sizeof(key));
    aead_key_fini(&key);
}

static void test_refusals(void **state) {
    (void)state;
    for (size_t n = 0; n < array_count(names); n++) {
        if (!use_backend(names[n])) continue;
        for (enum aead_suite suite = 1; suite < AEAD_SUITE_END; suite++)
            if (aead_has_suite(suite)) check_refusals(suite);
    }
}

/* Nothing at all: no plaintext, no AAD. And a key that has been moved. */
static void test_empty_and_moved(void **state) {
    (void)state;
    const uint8_t key_bytes[32] = {9}, nonce[AEAD_NONCE_SIZE] = {8};
    for (size_t n = 0; n < array_count(names); n++) {
        if (!use_backend(names[n])) continue;
        struct aead_key key, moved;
        uint8_t tag[AEAD_TAG_SIZE], nothing[1];
        assert_true(aead_key_init(&key, AEAD_CHACHA20_POLY1305, key_bytes));
        aead_seal(&key, nonce, NULL, 0, NULL, 0, tag);
        moved = key;
        key = (struct aead_key){0};
        aead_key_fini(&key);
        assert_true(aead_open(&moved, nonce, NULL, 0, tag, sizeof(tag), nothing));
        tag[15] ^= 0x80;
        assert_false(aead_open(&moved, nonce, NULL, 0, tag, sizeof(tag), nothing));
        aead_key_fini(&moved);
    }
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),   cmocka_unit_test(test_vectors),         cmocka_unit_test(test_backends_agree),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_empty_and_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
