#include "proto/box.h"

#include <sodium.h>

_Static_assert(BOX_NONCE_SIZE == crypto_box_NONCEBYTES, "a nonce is a NaCl box's");
_Static_assert(BOX_TAG_SIZE == crypto_box_MACBYTES, "a tag is a NaCl box's");
_Static_assert(sizeof(struct box_key) == crypto_box_BEFORENMBYTES, "a box key is libsodium's precomputed one");

bool box_key_derive(struct box_key *key, const struct node_key *theirs, const struct node_private *ours) {
    bool ok = !key_is_zero(theirs) && !key_private_is_zero(ours) &&
              crypto_box_beforenm(key->bytes, theirs->bytes, ours->bytes) == 0;
    if (!ok) box_key_wipe(key);
    return ok;
}

void box_key_wipe(struct box_key *key) { sodium_memzero(key, sizeof(*key)); }

void box_seal(struct writer *w, const struct box_key *key, const uint8_t nonce[BOX_NONCE_SIZE], const void *plain,
              size_t plain_size) {
    uint8_t *room = writer_room(w, BOX_OVERHEAD + plain_size);
    if (room == NULL) return;
    memcpy(room, nonce, BOX_NONCE_SIZE);
    /* Fails only for messages longer than XSalsa20 can count. */
    (void)crypto_box_easy_afternm(room + BOX_NONCE_SIZE, plain, plain_size, nonce, key->bytes);
}

bool box_open(const struct box_key *key, const uint8_t *sealed, size_t sealed_size, uint8_t *plain) {
    if (sealed_size < BOX_OVERHEAD) return false;
    return crypto_box_open_easy_afternm(plain, sealed + BOX_NONCE_SIZE, sealed_size - BOX_NONCE_SIZE, sealed,
                                        key->bytes) == 0;
}
