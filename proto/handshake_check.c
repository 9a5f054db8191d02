/* handshake_check.c - handshakes with ourselves: does the installed wolfSSL do what we need, shown at boot for each
 * suite; does a key belong to its certificate. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/kdf.h>

#include "proto/metacert.h"
#include "proto/selfsigned.h"
#include "proto/tls_wolf.h"

enum { NOW_S = 1700000000, KEY_MAX = 32, IV_SIZE = 12, PIPE_SIZE = 16 * 1024, TURNS_MAX = 16 };

/* Two ends in memory, and the bytes between them. */
struct bench {
    struct tls_identity *identity;
    struct tls_trust *trust;
    struct handshake *server, *client;
    uint8_t to_server[PIPE_SIZE], to_client[PIPE_SIZE];
    size_t to_server_size, to_client_size;
};

/* One end reads all that waits for it and writes to the other. */
static enum handshake_state turn(struct handshake *h, const uint8_t *from, size_t *from_size, uint8_t *to,
                                 size_t *to_size) {
    struct reader in = reader_of(from, *from_size);
    struct writer out = writer_of(to, PIPE_SIZE);
    enum handshake_state state = handshake_step(h, &in, &out);
    *from_size = 0;
    *to_size = (size_t)(out.at - to);
    return state;
}

static bool shake(struct bench *b) {
    for (int i = 0; i < TURNS_MAX; i++) {
        enum handshake_state c = turn(b->client, b->to_client, &b->to_client_size, b->to_server, &b->to_server_size);
        enum handshake_state s = turn(b->server, b->to_server, &b->to_server_size, b->to_client, &b->to_client_size);
        if (c == HANDSHAKE_FAILED || s == HANDSHAKE_FAILED) return false;
        if (c == HANDSHAKE_DONE && s == HANDSHAKE_DONE) return true;
    }
    return false;
}

static void close_bench(struct bench *b) {
    handshake_free(b->client);
    handshake_free(b->server);
    tls_trust_give(b->trust);
    tls_identity_give(b->identity);
    sodium_memzero(b, sizeof(*b));
    free(b);
}

/* A client that trusts anybody still wants the handshake signed by the certificate's key. */
bool handshake_proves(struct tls_identity *identity) {
    char why[TLS_WHY_MAX];
    struct tls_trust_options any = {.rule = TLS_TRUST_ANY, .suites = identity->suites};
    struct bench *b = calloc(1, sizeof(*b));
    if (!b) return false;
    b->identity = tls_identity_take(identity);
    b->trust = tls_trust_make(&any, why);
    b->server = handshake_server(identity);
    b->client = b->trust ? handshake_client(b->trust, identity->hostname, NULL, 0) : NULL;
    bool is_proven = b->server && b->client && shake(b);
    close_bench(b);
    return is_proven;
}

static bool expand(const struct tls_secrets *s, const uint8_t *secret, const char *label, uint8_t *to, word32 size) {
    static const byte protocol[] = "tls13 ";
    int digest = s->secret_size == 48 ? WC_SHA384 : WC_SHA256;
    return wc_Tls13_HKDF_Expand_Label(to, size, secret, s->secret_size, protocol, sizeof(protocol) - 1,
                                      (const byte *)label, (word32)strlen(label), NULL, 0, digest) == 0;
}

/* The key and IV that follow from a secret are those that wolfSSL has in use. */
static bool is_derived(const struct tls_secrets *s, const uint8_t *secret, const uint8_t *key, int key_size,
                       const uint8_t *iv) {
    uint8_t our_key[KEY_MAX], our_iv[IV_SIZE];
    bool is_same = key && iv && (key_size == 16 || key_size == 32) &&
                   expand(s, secret, "key", our_key, (word32)key_size) && expand(s, secret, "iv", our_iv, IV_SIZE) &&
                   memcmp(our_key, key, (size_t)key_size) == 0 && memcmp(our_iv, iv, IV_SIZE) == 0;
    sodium_memzero(our_key, sizeof(our_key));
    return is_same;
}

static bool is_consistent(const struct handshake *h) {
    struct tls_secrets s;
    handshake_export(h, &s);
    int key_size = wolfSSL_GetKeySize(h->ssl);
    bool is_good = is_derived(&s, s.is_client ? s.out_secret : s.in_secret, wolfSSL_GetClientWriteKey(h->ssl), key_size,
                              wolfSSL_GetClientWriteIV(h->ssl)) &&
                   is_derived(&s, s.is_client ? s.in_secret : s.out_secret, wolfSSL_GetServerWriteKey(h->ssl), key_size,
                              wolfSSL_GetServerWriteIV(h->ssl));
    sodium_memzero(&s, sizeof(s));
    return is_good;
}

static bool is_same_for_both(const struct bench *b, enum aead_suite suite) {
    struct tls_secrets c, s;
    handshake_export(b->client, &c);
    handshake_export(b->server, &s);
    bool is_same = c.suite == suite && s.suite == suite && c.secret_size == s.secret_size &&
                   memcmp(c.in_secret, s.out_secret, c.secret_size) == 0 &&
                   memcmp(c.out_secret, s.in_secret, c.secret_size) == 0;
    sodium_memzero(&c, sizeof(c));
    sodium_memzero(&s, sizeof(s));
    return is_same;
}

static const char *judge(struct bench *b, enum aead_suite suite) {
    struct node_key key;
    uint8_t version;
    if (!shake(b)) return "a TLS 1.3 handshake in memory fails";
    if (!is_same_for_both(b, suite)) return "both ends export different secrets";
    if (!is_consistent(b->server) || !is_consistent(b->client)) return "keys do not follow from the exported secrets";
    if (!handshake_peer_metacert(b->client, &key, &version)) return "the meta certificate does not reach the client";
    return NULL;
}

static bool open_ends(struct bench *b, enum aead_suite suite, const struct selfsigned *cert, char *why) {
    static const struct node_key key = {.bytes = {1}};
    static const uint8_t seed[METACERT_SEED_SIZE] = {1};
    uint8_t metacert[METACERT_SIZE_MAX];
    struct tls_suites suites = {.count = 1, .items = {(uint8_t)suite}};
    struct tls_identity_options identity = {
        .hostname = "127.0.0.1",
        .chain_pem = cert->cert_pem,
        .chain_pem_size = strlen(cert->cert_pem),
        .key_pem = cert->key_pem,
        .key_pem_size = strlen(cert->key_pem),
        .metacert = metacert,
        .metacert_size = metacert_make(&key, NOW_S, seed, metacert),
        .suites = suites,
        .unix_s = NOW_S,
    };
    struct tls_trust_options trust = {.rule = TLS_TRUST_PIN, .suites = suites};
    cert_pin(cert->der, cert->der_size, trust.pin);
    b->identity = tls_identity_make(&identity, why);
    b->trust = b->identity ? tls_trust_make(&trust, why) : NULL;
    if (!b->trust) return false;
    b->server = handshake_server(b->identity);
    b->client = handshake_client(b->trust, "127.0.0.1", NULL, NOW_S);
    if (!b->server || !b->client)
        snprintf(why, TLS_WHY_MAX, "wolfSSL cannot begin a handshake: no memory or randomness");
    return b->server && b->client;
}

static bool check_suite(enum aead_suite suite, const struct selfsigned *cert, char *why) {
    static const char *const names[] = {"", "AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
    struct bench *b = calloc(1, sizeof(*b));
    if (!b) {
        snprintf(why, TLS_WHY_MAX, "no memory");
        return false;
    }
    bool is_open = open_ends(b, suite, cert, why);
    const char *fault = is_open ? judge(b, suite) : NULL;
    if (fault)
        snprintf(why, TLS_WHY_MAX, "the installed wolfSSL %s does not serve for %s: %s", wolfSSL_lib_version(),
                 names[suite], fault);
    close_bench(b);
    return is_open && !fault;
}

static bool check_all(char *why) {
    struct rng rng;
    struct selfsigned cert;
    rng_init_system(&rng);
    if (!selfsigned_make("127.0.0.1", NOW_S, &rng, &cert)) {
        snprintf(why, TLS_WHY_MAX, "the installed wolfSSL cannot make an ECDSA P-256 key");
        return false;
    }
    bool is_good = true;
    for (uint8_t suite = AEAD_AES_128_GCM; suite < AEAD_SUITE_END && is_good; suite++)
        is_good = check_suite((enum aead_suite)suite, &cert, why);
    selfsigned_wipe(&cert);
    return is_good;
}

bool handshake_init(char *why) {
    if (wolfSSL_Init() != WOLFSSL_SUCCESS) {
        snprintf(why, TLS_WHY_MAX, "wolfSSL does not start: is /dev/urandom there?");
        return false;
    }
    if (check_all(why)) return true;
    handshake_fini();
    return false;
}

void handshake_thread_fini(void) {
#ifdef FP_ECC
    wc_ecc_fp_free();
#endif
}

void handshake_fini(void) {
    handshake_thread_fini();
    wolfSSL_Cleanup();
}
