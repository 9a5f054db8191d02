#include "proto/key.h"

#include <sodium.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/gojson.h"

static const char *const error_texts[KEY_ERROR_COUNT] = {
    [KEY_OK] = "the key is good",
    [KEY_BAD_PREFIX] = "the key has the wrong prefix: a public key starts with nodekey:, a private one with privkey:",
    [KEY_BAD_DISCO_PREFIX] = "the key has the wrong prefix: a disco key starts with discokey:",
    [KEY_BAD_LENGTH] = "the key has the wrong length: it must be exactly 64 hex digits",
    [KEY_BAD_DIGIT] = "the key holds a character that is not a hex digit",
    [KEY_FILE_TOO_LARGE] = "the key file is too large to be one: check the path",
    [KEY_FILE_BAD_JSON] =
        "the key file is not a JSON object with a text member PrivateKey: restore it from a backup, or move it away "
        "to have a new key made (clients keep working, but the server's public key changes)",
    [KEY_FILE_NO_KEY] =
        "the key file holds no PrivateKey, or the zero key: restore it from a backup, or move it away to have a new "
        "key made",
    [KEY_FILE_BAD_KEY] =
        "PrivateKey in the key file is not privkey: and exactly 64 hex digits: restore it from a backup, or move it "
        "away to have a new key made",
    [KEY_MESH_EMPTY] = "the mesh key file is empty: this server is in no mesh",
    [KEY_MESH_BAD] =
        "the mesh key is not exactly 64 hex digits: make one with `openssl rand -hex 32` and give the same to every "
        "server of the region",
};

const char *key_error_text(enum key_error error) {
    return (unsigned)error < KEY_ERROR_COUNT ? error_texts[error] : "unknown key error";
}

/* ---- hex ---- */

/* libsodium's converter does not branch on secret digits. On failure `bytes` is zero. */
static enum key_error parse_hex(const char *text, size_t size, uint8_t bytes[KEY_SIZE]) {
    memset(bytes, 0, KEY_SIZE);
    if (size != KEY_HEX_SIZE) return KEY_BAD_LENGTH;
    size_t parsed = 0;
    if (sodium_hex2bin(bytes, KEY_SIZE, text, size, NULL, &parsed, NULL) != 0 || parsed != KEY_SIZE) {
        sodium_memzero(bytes, KEY_SIZE);
        return KEY_BAD_DIGIT;
    }
    return KEY_OK;
}

static enum key_error parse_prefixed(const char *text, size_t size, const char *prefix, uint8_t bytes[KEY_SIZE]) {
    size_t prefix_size = strlen(prefix);
    memset(bytes, 0, KEY_SIZE);
    if (size < prefix_size || memcmp(text, prefix, prefix_size) != 0) return KEY_BAD_PREFIX;
    return parse_hex(text + prefix_size, size - prefix_size, bytes);
}

static void format_prefixed(const char *prefix, const uint8_t bytes[KEY_SIZE], char *text) {
    size_t prefix_size = strlen(prefix);
    memcpy(text, prefix, prefix_size);
    sodium_bin2hex(text + prefix_size, KEY_HEX_TEXT_SIZE, bytes, KEY_SIZE);
}

/* ---- public keys ---- */

bool key_is_zero(const struct node_key *key) { return sodium_is_zero(key->bytes, KEY_SIZE) == 1; }

enum key_error key_parse(const char *text, size_t size, struct node_key *key) {
    return parse_prefixed(text, size, KEY_PUBLIC_PREFIX, key->bytes);
}

enum key_error key_parse_hex(const char *text, size_t size, struct node_key *key) {
    return parse_hex(text, size, key->bytes);
}

void key_format(const struct node_key *key, char text[KEY_PUBLIC_TEXT_SIZE]) {
    format_prefixed(KEY_PUBLIC_PREFIX, key->bytes, text);
}

void key_format_hex(const struct node_key *key, char text[KEY_HEX_TEXT_SIZE]) { format_prefixed("", key->bytes, text); }

void key_format_short(const struct node_key *key, char text[KEY_SHORT_TEXT_SIZE]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text[0] = '\0';
    if (key_is_zero(key)) return;
    uint32_t bits = load_be32(key->bytes);
    text[0] = '[';
    for (int i = 0; i < 5; i++) text[1 + i] = digits[bits >> (26 - 6 * i) & 63];
    text[6] = ']';
    text[7] = '\0';
}

/* ---- private keys ---- */

void key_generate(struct rng *rng, struct node_private *key) {
    rng_bytes(rng, key->bytes, KEY_SIZE);
    key_private_clamp(key);
}

void key_private_clamp(struct node_private *key) {
    key->bytes[0] &= 248;
    key->bytes[31] = (uint8_t)((key->bytes[31] & 127) | 64);
}

bool key_private_is_zero(const struct node_private *key) { return sodium_is_zero(key->bytes, KEY_SIZE) == 1; }

bool key_private_equal(const struct node_private *a, const struct node_private *b) {
    return sodium_memcmp(a->bytes, b->bytes, KEY_SIZE) == 0;
}

void key_private_wipe(struct node_private *key) { sodium_memzero(key, sizeof(*key)); }

void key_private_public(const struct node_private *private_key, struct node_key *key) {
    CHECK(!key_private_is_zero(private_key));
    CHECK(crypto_scalarmult_base(key->bytes, private_key->bytes) == 0);
}

enum key_error key_private_parse(const char *text, size_t size, struct node_private *key) {
    return parse_prefixed(text, size, KEY_PRIVATE_PREFIX, key->bytes);
}

void key_private_format(const struct node_private *key, char text[KEY_PRIVATE_TEXT_SIZE]) {
    format_prefixed(KEY_PRIVATE_PREFIX, key->bytes, text);
}

/* ---- the key file ---- */

/* One member of the file. null leaves the key as it is, as in Go. */
static enum key_error take_member(const char *name, const json_t *value, struct node_private *key) {
    if (!gojson_name_is(name, "PrivateKey") || json_is_null(value)) return KEY_OK;
    if (!json_is_string(value)) return KEY_FILE_BAD_JSON;
    enum key_error error = key_private_parse(json_string_value(value), json_string_length(value), key);
    return error ? KEY_FILE_BAD_KEY : KEY_OK;
}

static enum key_error take_document(char *text, size_t size, struct node_private *key) {
    struct gojson doc;
    if (!gojson_open(&doc, text, size)) return KEY_FILE_BAD_JSON;
    enum key_error error = KEY_OK;
    for (size_t i = 0; i < doc.count && error == KEY_OK; i++)
        error = take_member(gojson_name(&doc, i), gojson_value(&doc, i), key);
    gojson_close(&doc);
    if (error == KEY_OK && key_private_is_zero(key)) error = KEY_FILE_NO_KEY;
    return error;
}

enum key_error key_file_parse(const char *text, size_t size, struct node_private *key) {
    memset(key, 0, sizeof(*key));
    if (size > KEY_FILE_SIZE_MAX) return KEY_FILE_TOO_LARGE;
    /* The JSON reader edits what it reads. */
    char *copy = malloc(size + 1);
    if (copy == NULL) return KEY_FILE_BAD_JSON;
    if (size) memcpy(copy, text, size);
    enum key_error error = take_document(copy, size, key);
    sodium_memzero(copy, size);
    free(copy);
    if (error) key_private_wipe(key);
    return error;
}

void key_file_write(struct writer *w, const struct node_private *key) {
    char *at = (char *)writer_room(w, KEY_FILE_SIZE);
    if (at == NULL) return;
    static const char head[] = "{\n\t\"PrivateKey\": \"";
    char text[KEY_PRIVATE_TEXT_SIZE];
    key_private_format(key, text);
    memcpy(at, head, sizeof(head) - 1);
    at += sizeof(head) - 1;
    memcpy(at, text, sizeof(text) - 1);
    memcpy(at + sizeof(text) - 1, "\"\n}", 3);
    sodium_memzero(text, sizeof(text));
}

/* ---- mesh keys ---- */

bool key_mesh_is_zero(const struct mesh_key *key) { return sodium_is_zero(key->bytes, KEY_SIZE) == 1; }

bool key_mesh_equal(const struct mesh_key *a, const struct mesh_key *b) {
    return sodium_memcmp(a->bytes, b->bytes, KEY_SIZE) == 0;
}

void key_mesh_wipe(struct mesh_key *key) { sodium_memzero(key, sizeof(*key)); }

enum key_error key_mesh_parse(const char *text, size_t size, struct mesh_key *key) {
    return parse_hex(text, size, key->bytes);
}

void key_mesh_format(const struct mesh_key *key, char text[KEY_HEX_TEXT_SIZE]) {
    format_prefixed("", key->bytes, text);
}

/* Unicode's White_Space, as UTF-8. */
static const char *const spaces[] = {
    "\t",           "\n",           "\v",           "\f",           "\r",           " ",
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82",
    "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88",
    "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f",
    "\xe3\x80\x80",
};

/* The size of the white space character that begins, or ends, the text; 0 when there is none. */
static size_t space_size(const char *text, size_t size, bool is_at_end) {
    for (size_t i = 0; i < array_count(spaces); i++) {
        size_t n = strlen(spaces[i]);
        if (n <= size && memcmp(is_at_end ? text + size - n : text, spaces[i], n) == 0) return n;
    }
    return 0;
}

enum key_error key_mesh_file_parse(const char *text, size_t size, struct mesh_key *key) {
    memset(key, 0, sizeof(*key));
    if (size == 0) return KEY_MESH_EMPTY;
    for (size_t n; (n = space_size(text, size, false)) > 0;) {
        text += n;
        size -= n;
    }
    for (size_t n; (n = space_size(text, size, true)) > 0;) size -= n;
    return key_mesh_parse(text, size, key) ? KEY_MESH_BAD : KEY_OK;
}
