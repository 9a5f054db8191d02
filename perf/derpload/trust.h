/* trust.h - whom to believe, from the words of the command line: as `ringrelay probe` takes them.
 *
 * Threads: one, before the load. Memory: the heap, for a moment. Errors: NULL and a sentence in `why` (TRUST_WHY_MAX
 * bytes).
 */
#pragma once

#include "proto/tls_trust.h"

#define TRUST_WHY_MAX 512

struct trust_words {
    const char *pin;      // 64 hex digits, with or without "sha256-raw:", or the PEM file of the certificate
    const char *ca_path;  // root certificates; NULL: the distribution's
    bool is_insecure;     // no judgement at all
};

/* "any", "pin:HEX|FILE", "ca:FILE": the same in one word. */
must_use bool trust_parse(struct trust_words *ret, const char *spec);

/* Chooses the AEAD back-ends and starts the TLS library, too. Suites in our order: AES-128-GCM first; the key share
 * that is offered is X25519's. */
must_use struct tls_trust *trust_make(const struct trust_words *words, char *why);
