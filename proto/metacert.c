#include "proto/metacert.h"

#include <sodium.h>

#include "core/check.h"
#include "proto/cert.h"
#include "proto/der.h"

#define NAME_PREFIX "derpkey"
#define NAME_PREFIX_SIZE (sizeof(NAME_PREFIX) - 1)
#define NAME_SIZE (NAME_PREFIX_SIZE + KEY_HEX_SIZE)
#define DAY_S (24 * 3600ull)

static const uint8_t oid_ed25519[] = {0x2b, 0x65, 0x70};
static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};

static void write_algorithm(struct writer *w) {
    uint8_t *algorithm = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, oid_ed25519, sizeof(oid_ed25519));
    der_end(w, algorithm);
}

static void write_name(struct writer *w, const struct node_key *server) {
    char text[NAME_PREFIX_SIZE + KEY_HEX_TEXT_SIZE] = NAME_PREFIX;
    key_format_hex(server, text + NAME_PREFIX_SIZE);
    uint8_t *name = der_begin(w, DER_SEQUENCE);
    uint8_t *set = der_begin(w, DER_SET);
    uint8_t *pair = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, oid_common_name, sizeof(oid_common_name));
    der_write(w, DER_PRINTABLE_STRING, text, NAME_SIZE);
    der_end(w, pair);
    der_end(w, set);
    der_end(w, name);
}

static void write_validity(struct writer *w, uint64_t unix_s) {
    uint8_t *validity = der_begin(w, DER_SEQUENCE);
    der_write_time(w, unix_s - METACERT_DAYS * DAY_S);
    der_write_time(w, unix_s + METACERT_DAYS * DAY_S);
    der_end(w, validity);
}

static void write_public_key(struct writer *w, const uint8_t *public_key) {
    uint8_t *info = der_begin(w, DER_SEQUENCE);
    write_algorithm(w);
    der_write_bits(w, public_key, crypto_sign_PUBLICKEYBYTES);
    der_end(w, info);
}

/* BasicConstraints, critical, with nothing in it: not an authority. */
static void write_extensions(struct writer *w) {
    static const uint8_t yes = 0xff;
    uint8_t *tagged = der_begin(w, DER_CONTEXT_CONSTRUCTED + 3);
    uint8_t *list = der_begin(w, DER_SEQUENCE);
    uint8_t *extension = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, oid_basic_constraints, sizeof(oid_basic_constraints));
    der_write(w, DER_BOOLEAN, &yes, 1);
    uint8_t *value = der_begin(w, DER_OCTET_STRING);
    der_write(w, DER_SEQUENCE, NULL, 0);
    der_end(w, value);
    der_end(w, extension);
    der_end(w, list);
    der_end(w, tagged);
}

/* What is signed. */
static void write_body(struct writer *w, const struct node_key *server, uint64_t unix_s, const uint8_t *public_key) {
    static const uint8_t x509_v3 = 2, serial = METACERT_VERSION;
    uint8_t *body = der_begin(w, DER_SEQUENCE);
    uint8_t *version = der_begin(w, DER_CONTEXT_CONSTRUCTED + 0);
    der_write_integer(w, &x509_v3, 1);
    der_end(w, version);
    der_write_integer(w, &serial, 1);
    write_algorithm(w);
    write_name(w, server);
    write_validity(w, unix_s);
    write_name(w, server);
    write_public_key(w, public_key);
    write_extensions(w);
    der_end(w, body);
}

size_t metacert_make(const struct node_key *server, uint64_t unix_s, const uint8_t seed[METACERT_SEED_SIZE],
                     uint8_t der[METACERT_SIZE_MAX]) {
    _Static_assert(METACERT_SEED_SIZE == crypto_sign_SEEDBYTES, "the seed is libsodium's");
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret_key[crypto_sign_SECRETKEYBYTES];
    uint8_t signature[crypto_sign_BYTES];
    CHECK(unix_s >= METACERT_DAYS * DAY_S);
    CHECK(crypto_sign_seed_keypair(public_key, secret_key, seed) == 0);

    struct writer w = writer_of(der, METACERT_SIZE_MAX);
    uint8_t *certificate = der_begin(&w, DER_SEQUENCE);
    write_body(&w, server, unix_s, public_key);
    CHECK(writer_ok(&w));
    CHECK(crypto_sign_detached(signature, NULL, certificate, (size_t)(w.at - certificate), secret_key) == 0);
    sodium_memzero(secret_key, sizeof(secret_key));
    write_algorithm(&w);
    der_write_bits(&w, signature, sizeof(signature));
    der_end(&w, certificate);
    CHECK(writer_ok(&w));  // METACERT_SIZE_MAX is the sum of fixed parts
    return (size_t)(w.at - der);
}

static bool is_named(const struct cert *cert) {
    return cert->common_name_size >= NAME_PREFIX_SIZE && memcmp(cert->common_name, NAME_PREFIX, NAME_PREFIX_SIZE) == 0;
}

bool metacert_is_named(const uint8_t *der, size_t size) {
    struct cert cert;
    return cert_read(der, size, &cert) && is_named(&cert);
}

bool metacert_read(const uint8_t *der, size_t size, struct node_key *server, uint8_t *version) {
    struct cert cert;
    memset(server, 0, sizeof(*server));
    if (!cert_read(der, size, &cert) || !is_named(&cert) || cert.serial_size != 1) return false;
    if (key_parse_hex(cert.common_name + NAME_PREFIX_SIZE, cert.common_name_size - NAME_PREFIX_SIZE, server))
        return false;
    *version = cert.serial[0];
    return true;
}
