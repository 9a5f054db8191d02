/* key.h - the keys of a relay and their text forms.
 *
 * What it is: three kinds of 32 bytes and the ways people and files write them.
 *   struct node_key      a Curve25519 public key. It is the address of a client, and the name of a server.
 *   struct node_private  the secret half. A relay has one; it lives in the key file.
 *   struct mesh_key      a shared secret between the relays of one region; not a curve point, just 32 bytes.
 * Why three structs of one shape: so that the compiler refuses a secret where an address is wanted.
 *
 * Text forms (docs/derp.md, "Keys"):
 *   public    "nodekey:" + 64 hex digits, or the 64 digits alone ("bare"), or for logs "[" + 5 base64 digits + "]"
 *   private   "privkey:" + 64 hex digits
 *   mesh      64 hex digits
 * Lower case is written, both cases are read, lengths are exact.
 *
 * Invariants: a struct node_key is a value for memcmp and hashing; every bit pattern is representable, also the zero
 * key, which nobody may use and which box.h refuses. Secrets are compared in constant time only.
 * Threads: pure functions on the caller's values. sodium_init() has succeeded before (core/sys.h).
 * Memory: no state; key_file_parse() allocates while it runs (JSON, see gojson.h), so call it where that is allowed.
 * Errors: enum key_error, whose texts tell an operator what to do. On failure the result is all zero.
 * Not here: reading and writing files (relay/config), boxes (box.h), which keys are allowed in (relay/admit).
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "core/rng.h"

#define KEY_SIZE 32
#define KEY_HEX_SIZE (2 * KEY_SIZE)

#define KEY_PUBLIC_PREFIX "nodekey:"
#define KEY_PRIVATE_PREFIX "privkey:"

/* Sizes of the text forms with their terminating NUL. Both prefixes have 8 characters. */
#define KEY_HEX_TEXT_SIZE (KEY_HEX_SIZE + 1)
#define KEY_PUBLIC_TEXT_SIZE (8 + KEY_HEX_TEXT_SIZE)
#define KEY_PRIVATE_TEXT_SIZE (8 + KEY_HEX_TEXT_SIZE)
#define KEY_SHORT_TEXT_SIZE (1 + 5 + 1 + 1)

/* What key_file_write() writes: {\n\t"PrivateKey": "privkey:<64>"\n} - no newline at the end, as Go's MarshalIndent. */
#define KEY_FILE_SIZE (2 + 1 + 14 + 1 + 8 + KEY_HEX_SIZE + 1 + 2)

/* A larger key file is not one: the real thing has 93 bytes. */
#define KEY_FILE_SIZE_MAX (64 * 1024)

struct node_key {
    uint8_t bytes[KEY_SIZE];
};

struct node_private {
    uint8_t bytes[KEY_SIZE];
};

struct mesh_key {
    uint8_t bytes[KEY_SIZE];
};

enum key_error {
    KEY_OK = 0,
    KEY_BAD_PREFIX,  // not "nodekey:" or "privkey:" where one is due
    KEY_BAD_DISCO_PREFIX,  // not "discokey:" where it is due (disco.h)
    KEY_BAD_LENGTH,  // not exactly 64 digits
    KEY_BAD_DIGIT,  // not a hex digit
    KEY_FILE_TOO_LARGE,  // more than KEY_FILE_SIZE_MAX
    KEY_FILE_BAD_JSON,  // not a JSON object, or PrivateKey is not a string
    KEY_FILE_NO_KEY,  // no PrivateKey in it, or the zero key
    KEY_FILE_BAD_KEY,  // PrivateKey is not "privkey:" + 64 hex digits
    KEY_MESH_EMPTY,  // the mesh key file has no bytes: there is no mesh, which is not an error
    KEY_MESH_BAD,  // the mesh key file is not 64 hex digits
    KEY_ERROR_COUNT
};

/* One sentence for an operator: what is wrong and what to do. Never NULL, never part of a key. */
const char *key_error_text(enum key_error error);

/* ---- public keys ---- */

bool key_is_zero(const struct node_key *key);

/* Not constant-time: public keys are addresses. */
static inline bool key_equal(const struct node_key *a, const struct node_key *b) {
    return memcmp(a->bytes, b->bytes, KEY_SIZE) == 0;
}

/* "nodekey:" + hex. `size` is the length of `text`, without a NUL. */
must_use enum key_error key_parse(const char *text, size_t size, struct node_key *key);

/* 64 hex digits and nothing else. */
must_use enum key_error key_parse_hex(const char *text, size_t size, struct node_key *key);

/* These write their whole text with a NUL. */
void key_format(const struct node_key *key, char text[KEY_PUBLIC_TEXT_SIZE]);
void key_format_hex(const struct node_key *key, char text[KEY_HEX_TEXT_SIZE]);

/* "[Oa6AM]", for logs; the zero key gives "". */
void key_format_short(const struct node_key *key, char text[KEY_SHORT_TEXT_SIZE]);

/* ---- private keys ---- */

/* A new key from `rng`, clamped. */
void key_generate(struct rng *rng, struct node_private *key);

/* The three bits that make 32 random bytes a Curve25519 scalar: low 3 off, top off, second highest on. The curve
 * functions clamp for themselves; this is for the form that goes to a file. */
void key_private_clamp(struct node_private *key);

bool key_private_is_zero(const struct node_private *key);
bool key_private_equal(const struct node_private *a, const struct node_private *b);
void key_private_wipe(struct node_private *key);

/* The public half. `private_key` need not be clamped and must not be zero (CHECK). */
void key_private_public(const struct node_private *private_key, struct node_key *key);

/* "privkey:" + hex. */
must_use enum key_error key_private_parse(const char *text, size_t size, struct node_private *key);

/* The caller wipes the text. */
void key_private_format(const struct node_private *key, char text[KEY_PRIVATE_TEXT_SIZE]);

/* ---- the key file: a JSON object with one member that matters (docs/derp.md, "Key file") ---- */

/* `text` is the file's content. Read as Go reads it: the name in any case, every occurrence must be well formed,
 * the last one counts, other members are ignored. Allocates while it runs; every copy it makes is wiped. The caller
 * wipes `text`. Errors: KEY_FILE_*. */
must_use enum key_error key_file_parse(const char *text, size_t size, struct node_private *key);

/* KEY_FILE_SIZE bytes, the same that derper writes. The caller wipes them. */
void key_file_write(struct writer *w, const struct node_private *key);

/* ---- mesh keys ---- */

bool key_mesh_is_zero(const struct mesh_key *key);
bool key_mesh_equal(const struct mesh_key *a, const struct mesh_key *b);
void key_mesh_wipe(struct mesh_key *key);

/* 64 hex digits and nothing else. */
must_use enum key_error key_mesh_parse(const char *text, size_t size, struct mesh_key *key);
void key_mesh_format(const struct mesh_key *key, char text[KEY_HEX_TEXT_SIZE]);

/* A mesh key file's content: white space around the digits is cut off (Unicode's, as Go's TrimSpace). No bytes at
 * all is KEY_MESH_EMPTY; only white space is KEY_MESH_BAD. */
must_use enum key_error key_mesh_file_parse(const char *text, size_t size, struct mesh_key *key);
