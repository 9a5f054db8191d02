/* box.h - NaCl boxes: Curve25519, XSalsa20, Poly1305, by libsodium.
 *
 * What it is: sealing and opening of the two messages of a DERP login. A box proves to each side that the other
 * holds the private key of the public key it showed; there is no other proof in the protocol.
 * Why a struct for the shared key: the curve multiplication (40 us) dwarfs everything else, and a login needs it for
 * one open and one seal between the same two keys. So it is derived once, used twice, wiped.
 *
 * Layout (docs/derp.md, "Boxes"):  nonce 24 | tag 16 | ciphertext, as long as the plaintext
 * Nonces are random: 24 bytes make a repetition unthinkable, so nobody keeps a counter.
 *
 * Threads: pure functions. Memory: none kept. The caller wipes keys (box_key_wipe) and plaintexts.
 * Not here: who talks to whom (login.h), keys' text forms (key.h).
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "proto/key.h"

#define BOX_NONCE_SIZE 24
#define BOX_TAG_SIZE 16
/* What a sealed message is longer than its plaintext. */
#define BOX_OVERHEAD (BOX_NONCE_SIZE + BOX_TAG_SIZE)

/* A secret: the key shared by one pair of node keys. The same for both directions. */
struct box_key {
    uint8_t bytes[32];
};

/* From one side's private and the other side's public key. False, and a zeroed key, when either is zero or when
 * `theirs` is a point of low order (the shared key would be known to everybody). */
must_use bool box_key_derive(struct box_key *key, const struct node_key *theirs, const struct node_private *ours);

void box_key_wipe(struct box_key *key);

/* Writes BOX_OVERHEAD + plain_size bytes, or makes `w` bad and writes nothing. `plain` does not overlap the room
 * written to; it may be NULL when plain_size is 0. */
void box_seal(struct writer *w, const struct box_key *key, const uint8_t nonce[BOX_NONCE_SIZE], const void *plain,
              size_t plain_size);

/* Opens `sealed` (nonce, tag, ciphertext) into `plain`, which has room for sealed_size - BOX_OVERHEAD bytes and may
 * be sealed + BOX_OVERHEAD: opening in place. False when sealed_size < BOX_OVERHEAD or the tag is wrong; then
 * nothing was written. */
must_use bool box_open(const struct box_key *key, const uint8_t *sealed, size_t sealed_size, uint8_t *plain);
