#include "proto/selfsigned.h"

#include <sodium.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>

#include "proto/cert.h"
#include "proto/der.h"

enum { SCALAR_SIZE = 32, POINT_SIZE = 65, SERIAL_SIZE = 16 };
#define DAY_S (24 * 3600ull)

static const uint8_t oid_ec_key[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t oid_p256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t oid_ecdsa_sha256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_key_usage[] = {0x55, 0x1d, 0x0f};
static const uint8_t oid_ext_key_usage[] = {0x55, 0x1d, 0x25};
static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};
static const uint8_t oid_alt_name[] = {0x55, 0x1d, 0x11};

static const uint8_t value_key_usage[] = {0x03, 0x02, 0x05, 0xa0};  // digitalSignature, keyEncipherment
static const uint8_t value_server_auth[] = {0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
static const uint8_t value_no_authority[] = {0x30, 0x00};

/* A key pair and everything that goes into the certificate. */
struct draft {
    const char *ip_text;
    uint8_t ip[16];
    size_t ip_size;
    uint64_t unix_s;
    uint8_t serial[SERIAL_SIZE];
    uint8_t scalar[SCALAR_SIZE];
    uint8_t point[POINT_SIZE];
    ecc_key key;
    WC_RNG nonces;
};

/* ---- the key ---- */

/* 1 to n - 1, uniformly: a draw outside is drawn again, which happens once in 2^32. */
static void draw_scalar(struct rng *rng, uint8_t scalar[SCALAR_SIZE]) {
    static const uint8_t order[SCALAR_SIZE] = {
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    };
    do {
        rng_bytes(rng, scalar, SCALAR_SIZE);
    } while (memcmp(scalar, order, SCALAR_SIZE) >= 0 || sodium_is_zero(scalar, SCALAR_SIZE));
}

static bool make_point(struct draft *d) {
    word32 size = POINT_SIZE;
    return wc_ecc_set_rng(&d->key, &d->nonces) == 0 &&
           wc_ecc_import_private_key_ex(d->scalar, SCALAR_SIZE, NULL, 0, &d->key, ECC_SECP256R1) == 0 &&
           wc_ecc_make_pub_ex(&d->key, NULL, &d->nonces) == 0 && wc_ecc_export_x963(&d->key, d->point, &size) == 0 &&
           size == POINT_SIZE;
}

/* ---- the certificate ---- */

static void write_key_algorithm(struct writer *w) {
    uint8_t *algorithm = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, oid_ec_key, sizeof(oid_ec_key));
    der_write(w, DER_OID, oid_p256, sizeof(oid_p256));
    der_end(w, algorithm);
}

static void write_signature_algorithm(struct writer *w) {
    uint8_t *algorithm = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, oid_ecdsa_sha256, sizeof(oid_ecdsa_sha256));
    der_end(w, algorithm);
}

/* PrintableString has the colon of IPv6, too. */
static void write_name(struct writer *w, const char *text) {
    uint8_t *name = der_begin(w, DER_SEQUENCE);
    uint8_t *set = der_begin(w, DER_SET);
    uint8_t *pair = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, oid_common_name, sizeof(oid_common_name));
    der_write(w, DER_PRINTABLE_STRING, text, strlen(text));
    der_end(w, pair);
    der_end(w, set);
    der_end(w, name);
}

struct extension {
    const uint8_t *oid;  // all of 3 bytes
    bool is_critical;
    const uint8_t *value;
    size_t size;
};

static void write_extension(struct writer *w, struct extension e) {
    static const uint8_t yes = 0xff;
    uint8_t *extension = der_begin(w, DER_SEQUENCE);
    der_write(w, DER_OID, e.oid, 3);
    if (e.is_critical) der_write(w, DER_BOOLEAN, &yes, 1);
    der_write(w, DER_OCTET_STRING, e.value, e.size);
    der_end(w, extension);
}

static void write_extensions(struct writer *w, const struct draft *d) {
    uint8_t names[4 + 16];
    struct writer n = writer_of(names, sizeof(names));
    uint8_t *sequence = der_begin(&n, DER_SEQUENCE);
    der_write(&n, DER_CONTEXT + 7, d->ip, d->ip_size);
    der_end(&n, sequence);

    uint8_t *tagged = der_begin(w, DER_CONTEXT_CONSTRUCTED + 3);
    uint8_t *list = der_begin(w, DER_SEQUENCE);
    write_extension(w, (struct extension){oid_key_usage, true, value_key_usage, sizeof(value_key_usage)});
    write_extension(w, (struct extension){oid_ext_key_usage, false, value_server_auth, sizeof(value_server_auth)});
    write_extension(w, (struct extension){oid_basic_constraints, true, value_no_authority, sizeof(value_no_authority)});
    write_extension(w, (struct extension){oid_alt_name, false, names, sizeof(names) - writer_left(&n)});
    der_end(w, list);
    der_end(w, tagged);
}

static void write_body(struct writer *w, const struct draft *d) {
    static const uint8_t x509_v3 = 2;
    uint8_t *body = der_begin(w, DER_SEQUENCE);
    uint8_t *version = der_begin(w, DER_CONTEXT_CONSTRUCTED + 0);
    der_write_integer(w, &x509_v3, 1);
    der_end(w, version);
    der_write_integer(w, d->serial, SERIAL_SIZE);
    write_signature_algorithm(w);
    write_name(w, d->ip_text);
    uint8_t *validity = der_begin(w, DER_SEQUENCE);
    der_write_time(w, d->unix_s);
    der_write_time(w, d->unix_s + SELFSIGNED_DAYS * DAY_S);
    der_end(w, validity);
    write_name(w, d->ip_text);
    uint8_t *info = der_begin(w, DER_SEQUENCE);
    write_key_algorithm(w);
    der_write_bits(w, d->point, POINT_SIZE);
    der_end(w, info);
    write_extensions(w, d);
    der_end(w, body);
}

static bool write_certificate(struct writer *w, struct draft *d) {
    uint8_t hash[crypto_hash_sha256_BYTES], signature[ECC_MAX_SIG_SIZE];
    word32 signature_size = sizeof(signature);
    uint8_t *certificate = der_begin(w, DER_SEQUENCE);
    write_body(w, d);
    if (!writer_ok(w)) return false;
    crypto_hash_sha256(hash, certificate, (size_t)(w->at - certificate));
    if (wc_ecc_sign_hash(hash, sizeof(hash), signature, &signature_size, &d->nonces, &d->key) != 0) return false;
    write_signature_algorithm(w);
    der_write_bits(w, signature, signature_size);
    der_end(w, certificate);
    return writer_ok(w);
}

/* ---- files ---- */

/* SEC 1: ECPrivateKey with the curve and the public key, as Go writes it. */
static void write_key(struct writer *w, const struct draft *d) {
    static const uint8_t sec1_version = 1;
    uint8_t *key = der_begin(w, DER_SEQUENCE);
    der_write_integer(w, &sec1_version, 1);
    der_write(w, DER_OCTET_STRING, d->scalar, SCALAR_SIZE);
    uint8_t *curve = der_begin(w, DER_CONTEXT_CONSTRUCTED + 0);
    der_write(w, DER_OID, oid_p256, sizeof(oid_p256));
    der_end(w, curve);
    uint8_t *public_key = der_begin(w, DER_CONTEXT_CONSTRUCTED + 1);
    der_write_bits(w, d->point, POINT_SIZE);
    der_end(w, public_key);
    der_end(w, key);
}

static bool write_pem(char *text, size_t text_size, const char *label, const uint8_t *der, size_t size) {
    struct writer w = writer_of(text, text_size);
    cert_pem_write(&w, label, der, size);
    writer_u8(&w, '\0');
    return writer_ok(&w);
}

static bool write_out(struct draft *d, struct selfsigned *out) {
    uint8_t key[128];
    struct writer k = writer_of(key, sizeof(key));
    write_key(&k, d);
    struct writer c = writer_of(out->der, sizeof(out->der));
    bool is_made = write_certificate(&c, d) && writer_ok(&k);
    out->der_size = sizeof(out->der) - writer_left(&c);
    is_made = is_made && write_pem(out->cert_pem, sizeof(out->cert_pem), "CERTIFICATE", out->der, out->der_size) &&
              write_pem(out->key_pem, sizeof(out->key_pem), "EC PRIVATE KEY", key, sizeof(key) - writer_left(&k));
    sodium_memzero(key, sizeof(key));
    return is_made;
}

static bool with_key(struct draft *d, struct selfsigned *out) {
    if (wc_ecc_init(&d->key) != 0) return false;
    bool is_made = make_point(d) && write_out(d, out);
    wc_ecc_free(&d->key);
    return is_made;
}

bool selfsigned_make(const char *ip, uint64_t unix_s, struct rng *rng, struct selfsigned *out) {
    struct draft d = {.ip_text = ip, .unix_s = unix_s};
    memset(out, 0, sizeof(*out));
    d.ip_size = cert_ip_of(ip, d.ip);
    if (d.ip_size == 0 || ip[0] == '[' || wc_InitRng(&d.nonces) != 0) return false;
    rng_bytes(rng, d.serial, SERIAL_SIZE);
    draw_scalar(rng, d.scalar);
    bool is_made = with_key(&d, out);
    wc_FreeRng(&d.nonces);
    sodium_memzero(&d, sizeof(d));
    if (!is_made) selfsigned_wipe(out);
    return is_made;
}

void selfsigned_wipe(struct selfsigned *s) { sodium_memzero(s, sizeof(*s)); }
