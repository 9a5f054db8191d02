/* selfsigned.h - a certificate for a relay that has an IP address and no name.
 *
 * What it is: what derper makes when its -hostname is an IP address and no certificate file exists: an ECDSA P-256 key
 * and a self-signed certificate for one year. Clients pin it in the DERP map ("CertName": "sha256-raw:..."), so it is
 * written to files and used until it expires.
 *
 *     subject = issuer = CN of the IP as text; 128-bit random serial; KeyUsage critical: digitalSignature,
 *     keyEncipherment; ExtKeyUsage: serverAuth; BasicConstraints critical: CA false; SubjectAltName: the IP
 *
 * Threads: pure; call it where a few milliseconds do not matter. Memory: the caller's. The key and the serial come from
 * `rng`; the signature's nonce from wolfCrypt's own generator, because it takes no other.
 * Not here: files (the office writes .crt 0644 and .key 0600).
 */
#pragma once

#include "core/base.h"
#include "core/rng.h"

enum { SELFSIGNED_DER_MAX = 640, SELFSIGNED_DAYS = 365 };

struct selfsigned {
    size_t der_size;
    uint8_t der[SELFSIGNED_DER_MAX];
    char cert_pem[1024];  // "CERTIFICATE", terminated
    char key_pem[320];    // "EC PRIVATE KEY" (SEC 1), terminated; secret
};

/* `ip` is an IPv4 or IPv6 literal without brackets. False: it is not one, or wolfCrypt failed. */
must_use bool selfsigned_make(const char *ip, uint64_t unix_s, struct rng *rng, struct selfsigned *out);

/* Wipes the key. */
void selfsigned_wipe(struct selfsigned *s);
