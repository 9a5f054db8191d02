/* Fuzzes proto/handshake, the server's side, and the readers of certificates.
 *
 * Attack surface: the first bytes of any connection, from anybody, which wolfSSL parses for us; and, for a client, the
 * certificates that a server presents.
 * Input: byte 0: the lowest bit clear: a connection's bytes, cut into pieces as the upper bits say. Set: the rest is
 * one certificate, DER, and PEM.
 * Beyond crashes: whatever was said, it never becomes a finished handshake, because the fuzzer has no key; input is
 * used up unless the handshake has failed; no more than HANDSHAKE_IN_MAX bytes are taken; failures have a reason, and
 * none is our own memory; the identity serves on.
 */
#include <sodium.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/handshake.h"
#include "proto/metacert.h"
#include "proto/selfsigned.h"

#define NOW_S 1750000000u

static struct tls_identity *identity;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_identity(void) {
    static const uint8_t seed[METACERT_SEED_SIZE] = {1};
    static const struct node_key key = {.bytes = {1}};
    char why[TLS_WHY_MAX];
    uint8_t metacert[METACERT_SIZE_MAX];
    struct rng rng;
    struct selfsigned s;
    rng_init_seeded(&rng, 1);
    CHECK(selfsigned_make("192.0.2.1", NOW_S, &rng, &s));
    struct tls_identity_options options = {
        .hostname = "192.0.2.1",
        .chain_pem = s.cert_pem,
        .chain_pem_size = strlen(s.cert_pem),
        .key_pem = s.key_pem,
        .key_pem_size = strlen(s.key_pem),
        .metacert = metacert,
        .metacert_size = metacert_make(&key, NOW_S, seed, metacert),
        .suites = {3, {AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305}},
        .unix_s = NOW_S,
    };
    identity = tls_identity_make(&options, why);
    CHECK(identity != NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    char why[TLS_WHY_MAX];
    CHECK(sodium_init() >= 0);
    CHECK(handshake_init(why));
    make_identity();
    return 0;
}

static void check_connection(const uint8_t *data, size_t size, size_t piece_max) {
    static uint8_t answer[HANDSHAKE_OUT_MAX];
    struct handshake *h = handshake_server(identity);
    struct reader all = reader_of(data, size);
    enum handshake_state state = HANDSHAKE_MORE;
    size_t taken = 0;
    while (state == HANDSHAKE_MORE && reader_left(&all) > 0) {
        size_t piece = min_of(piece_max, reader_left(&all));
        struct reader in = reader_of(reader_take(&all, piece), piece);
        struct writer out = writer_of(answer, sizeof(answer));
        state = handshake_step(h, &in, &out);
        taken += piece - reader_left(&in);
        CHECK(state != HANDSHAKE_DONE);
        CHECK(state == HANDSHAKE_FAILED || reader_left(&in) == 0);
    }
    CHECK(taken <= HANDSHAKE_IN_MAX + 1);
    CHECK((state == HANDSHAKE_FAILED) == (handshake_cause(h) != HANDSHAKE_FAILURE_NONE));
    CHECK(handshake_cause(h) != HANDSHAKE_FAILURE_NO_MEMORY);
    handshake_free(h);
}

static void check_certificate(const uint8_t *data, size_t size) {
    struct cert cert;
    struct node_key key;
    uint8_t version, der[4096];
    if (cert_read(data, size, &cert)) {
        CHECK(cert.serial_size <= size && cert.common_name_size <= size && cert.alt_names_size <= size);
        (void)cert_is_for(&cert, "derp.example");
        (void)cert_is_for(&cert, "192.0.2.1");
    }
    if (metacert_read(data, size, &key, &version)) CHECK(version != 0 && metacert_is_named(data, size));
    struct reader pem = reader_of(data, size);
    struct writer w = writer_of(der, sizeof(der));
    while (cert_pem_next(&pem, "CERTIFICATE", &w)) w = writer_of(der, sizeof(der));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (data[0] & 1) {
        check_certificate(data + 1, size - 1);
    } else {
        check_connection(data + 1, size - 1, data[0] == 0 ? SIZE_MAX : data[0]);
    }
    return 0;
}
