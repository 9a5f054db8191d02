/* tls_trust.h - how we judge a server when we are the client: mesh links, probes, tests.
 *
 * What it is: the client's counterpart of tls_identity.h: suites, groups and the rule by which a certificate chain is
 * accepted. Same TLS: 1.3 only, no tickets, no early data; no ALPN is offered, as DERP clients do.
 *
 * Rules, as a DERP map's CertName gives them (docs/derp.md, "Meta certificate"):
 *   TLS_TRUST_ROOTS   the chain leads to one of the given root certificates, dates are valid, the leaf is for the name;
 *                     further presented certificates are intermediates only
 *   TLS_TRUST_PIN     not counting certificates whose common name begins with "derpkey", exactly one is presented, as
 *                     the leaf; the SHA-256 of its DER is the pin; it is for the name unless that is NULL; dates are
 *                     valid
 *   TLS_TRUST_ANY     no check at all (InsecureForTests)
 *
 * A chain (ROOTS) has at most TLS_CHAIN_COUNT_MAX certificates; wolfSSL judges its dates, with the system's clock.
 * A verdict takes 0.3 ms and 0.04 ms for each root. A client that refuses closes without an alert.
 *
 * Model: immutable once made, counted, like tls_identity. The name to check and the SNI belong to the single handshake.
 * Threads, memory, errors: as tls_identity.h.
 */
#pragma once

#include "core/base.h"
#include "proto/tls_identity.h"

enum tls_trust_rule { TLS_TRUST_ROOTS, TLS_TRUST_PIN, TLS_TRUST_ANY };

struct tls_trust;

struct tls_trust_options {
    enum tls_trust_rule rule;
    const char *roots_pem;  // ROOTS: certificate authorities
    size_t roots_pem_size;
    uint8_t pin[CERT_PIN_SIZE];  // PIN
    struct tls_suites suites;    // at least one
};

/* handshake_init() has succeeded before. NULL with a sentence in `why` (TLS_WHY_MAX bytes). */
must_use struct tls_trust *tls_trust_make(const struct tls_trust_options *options, char *why);

/* One more reference; returns its argument. */
struct tls_trust *tls_trust_take(struct tls_trust *trust);

/* One less. Fine with NULL. */
void tls_trust_give(struct tls_trust *trust);
