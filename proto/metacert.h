/* metacert.h - the meta certificate: how a client learns the relay's key before the relay has said a word.
 *
 * What it is: a self-signed X.509 certificate that the server presents as the last one of its TLS 1.3 chain, unrelated
 * to the others. Its common name is "derpkey" and the relay's public key in hex, its serial number is the protocol
 * version. A client that finds it may skip a round trip (fast start). Nobody verifies its signature or its dates, but
 * Go parses it and drops the whole handshake if it is not proper DER.
 *
 * Why by hand: the common name has 71 characters where X.520 allows 64, and certificate libraries refuse or cut it.
 * The layout is fixed, some twenty TLVs (docs/derp.md, "Meta certificate"):
 *
 *     version 3 | serial 2 | Ed25519 | issuer CN | start - 30 days, start + 30 days | subject CN | key
 *     one extension: BasicConstraints, critical, empty | signature
 *
 * Threads: pure functions. Memory: the caller's. sodium_init() has succeeded before.
 * Errors: making has none; reading says false.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"

enum {
    METACERT_SIZE = 359,      // until the dates reach 2050
    METACERT_SIZE_MAX = 363,  // with both dates from 2050 on, which take two digits more each
    METACERT_SEED_SIZE = 32,
    METACERT_VERSION = 2,  // of the DERP protocol
    METACERT_DAYS = 30,    // before and after the start
};

/* Writes the certificate of the relay `server` and returns its size. `seed` is the Ed25519 key: 32 random bytes that
 * are used for this and nothing else; the caller wipes them. The same arguments give the same bytes.
 * `unix_s` is the start: at least METACERT_DAYS after 1970, before 9999. */
must_use size_t metacert_make(const struct node_key *server, uint64_t unix_s, const uint8_t seed[METACERT_SEED_SIZE],
                              uint8_t der[METACERT_SIZE_MAX]);

/* What a client takes from one certificate of a chain: the key and the version. False when it is not a meta
 * certificate: the common name is not "derpkey" and 64 hex digits, or the serial has more than 8 bits or is 0. The
 * signature and the dates do not matter. On failure `server` is zero. */
must_use bool metacert_read(const uint8_t *der, size_t size, struct node_key *server, uint8_t *version);

/* Does the common name begin with "derpkey"? Such certificates do not count when a chain is compared with a pin. */
bool metacert_is_named(const uint8_t *der, size_t size);
