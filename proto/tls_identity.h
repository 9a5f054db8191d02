/* tls_identity.h - who we are towards clients: a certificate chain, its key, and the rules of the TLS server.
 *
 * What it is: everything that all server handshakes share, made once from PEM text and then used by many
 * (proto/handshake.h). The rules are derper's in manual mode, without TLS 1.2:
 *   version   1.3 only; no tickets, no early data, no session cache
 *   suites    in the order given
 *   groups    X25519, then P-256; HelloRetryRequest when the client sent no share of either
 *   chain     as given, then the meta certificate (proto/metacert.h) as the last one
 *   SNI       a DNS hostname must be named, byte for byte, else the alert is internal_error; with an IP address as
 *             hostname any SNI and none will do
 *   ALPN      http/1.1 when the client offers it; no ALPN is fine; a list without it is refused
 *
 * What is refused at the start, with a sentence for the operator: an unreadable chain or key, a key that is not the
 * leaf's, a leaf that is not for the hostname (SubjectAltName only), a leaf that has expired or is not valid yet.
 *
 * Making one ends with a handshake against itself: wolfSSL's own check takes any EC key for any EC certificate.
 *
 * Model: immutable once made, counted. A reload makes a new one and lets go of the old; handshakes under way keep
 * theirs. Threads: any thread may take and let go (the count is atomic); everything else in it is frozen.
 * Memory: the heap; about 12 KB and the chain, and once per thread up to some MB for wolfSSL's cache of curve points.
 * Errors: NULL and `why`. Costs 2 ms: for the office or a start, not for a loop.
 * Not here: files, reloading, ACME, choosing between several identities by SNI.
 */
#pragma once

#include "core/aead.h"
#include "core/base.h"
#include "proto/cert.h"

#define TLS_WHY_MAX 256

enum {
    TLS_CHAIN_COUNT_MAX = 8,           // certificates, with the meta certificate
    TLS_CHAIN_SIZE_MAX = 16 * 1024,    // bytes of DER, all together
    TLS_HOSTNAME_MAX = 253,
};

/* Suites in order of preference: enum aead_suite. Those that the AEAD of this machine has, fastest first. */
struct tls_suites {
    uint8_t count;
    uint8_t items[AEAD_SUITE_END - 1];
};

/* AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305, as far as aead_has_suite() says yes. After aead_init(). */
struct tls_suites tls_suites_of_aead(void);

struct tls_identity;

struct tls_identity_options {
    const char *hostname;   // a DNS name or an IP literal
    const char *chain_pem;  // leaf first; other blocks in it are ignored
    size_t chain_pem_size;
    const char *key_pem;  // PKCS#8, SEC 1 or PKCS#1; the caller wipes it
    size_t key_pem_size;
    const uint8_t *metacert;  // DER, or NULL for none
    size_t metacert_size;
    struct tls_suites suites;  // at least one
    uint64_t unix_s;           // now, for the dates
};

/* For the operator's log. */
struct tls_identity_facts {
    uint64_t not_before_s, not_after_s;  // of the leaf
    uint8_t pin[CERT_PIN_SIZE];          // of the leaf
    uint8_t certificate_count;           // with the meta certificate
    bool is_ip;                          // the hostname is an IP address
    bool is_rsa;                         // handshakes are several times as expensive as with ECDSA
};

/* handshake_init() has succeeded before. NULL with a sentence in `why` (TLS_WHY_MAX bytes). The caller holds one
 * reference. */
must_use struct tls_identity *tls_identity_make(const struct tls_identity_options *options, char *why);

/* One more reference; returns its argument. */
struct tls_identity *tls_identity_take(struct tls_identity *identity);

/* One less; the last one wipes the key and frees. Fine with NULL. */
void tls_identity_give(struct tls_identity *identity);

const struct tls_identity_facts *tls_identity_facts(const struct tls_identity *identity);
