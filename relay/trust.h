/* trust.h - whom a client's tool believes, from the words of its command line: `ringrelay probe`, `derpload`.
 *
 * Threads: one, before the load. Memory: the heap, for a moment. Errors: NULL and a sentence in `why` (TRUST_WHY_MAX
 * bytes).
 */
#pragma once

#include "proto/cert.h"
#include "proto/tls_trust.h"

#define TRUST_WHY_MAX 512

struct trust_words {
    const char *pin;      // 64 hex digits, with or without "sha256-raw:", or the PEM file of the certificate
    const char *ca_path;  // root certificates; NULL: the distribution's
    bool is_insecure;     // no judgement at all
};

/* "any", "pin:HEX|FILE", "ca:FILE": the same in one word. */
must_use bool trust_parse(struct trust_words *ret, const char *spec);

/* 64 hex digits, with or without "sha256-raw:", or the PEM file of the certificate. */
must_use bool trust_parse_pin(const char *text, uint8_t pin[CERT_PIN_SIZE]);

/* Chooses the AEAD back-ends and starts the TLS library, too. Suites in our order: AES-128-GCM first; the key share
 * that is offered is X25519's. */
must_use struct tls_trust *trust_make(const struct trust_words *words, char *why);
