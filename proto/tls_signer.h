/* tls_signer.h - the signature in a server's handshake, made by libcrypto where there is one.
 *
 * What it is: the one piece of a handshake that wolfSSL's callbacks let somebody else compute. The distributions build
 * wolfSSL without assembly: it takes 54 us for an ECDSA signature on P-256 and 1.5 ms for RSA-2048, libcrypto 17 us and
 * 0.22 ms (perf/README.md, "Logins").
 *
 * Model: a key and nothing else, immutable once made; whoever signs makes the context for it, which costs 1.5 us.
 * wolfSSL has its own copy of the key, by which it chooses the algorithm. tls_identity_make() shakes hands with itself,
 * so a signer that does not fit is found before it is used.
 *
 * Threads: any thread may sign, also several at one time. Memory: libcrypto's, about 3 KB; the key is wiped when freed.
 * Errors: NULL when built without libcrypto, or for a key that is neither EC nor RSA: then wolfSSL signs.
 * Not here: verifying, key exchange (wolfSSL 5.5.4 asks nobody for that), choosing the algorithm.
 */
#pragma once

#include "core/base.h"

struct tls_signer;

/* A private key in PEM, without a password. */
must_use struct tls_signer *tls_signer_new(const char *key_pem, size_t key_pem_size);

/* Fine with NULL. */
void tls_signer_free(struct tls_signer *signer);

must_use bool tls_signer_is_rsa(const struct tls_signer *signer);

/* Signs a digest of SHA-256, SHA-384 or SHA-512: ECDSA in DER, or RSA-PSS whose hashes all are the digest's and whose
 * salt is as long as it. `*out_size` is the room before and the size after. False: no memory, no randomness, no room,
 * or a digest of no such size. */
must_use bool tls_signer_sign(const struct tls_signer *signer, const uint8_t *digest, size_t digest_size, uint8_t *out,
                              size_t *out_size);
