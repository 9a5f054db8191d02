/* tokens.h - who may ask for endpoints by HTTPS: the bearer tokens of -relay-token-file.
 *
 *     # one to a line; what follows the token is a note for people
 *     Zk2v0yAq7sPb9wXc  laptop of the lab
 *
 * A token has 16 to 256 letters, digits and -._~+/= (what RFC 6750 lets into an Authorization header). Only a keyed
 * hash of each is kept, so neither the relay's memory nor its dumps give one away, and to compare takes as long
 * whatever was sent. The hash is also the requester's name for quotas; with the same secret a token keeps it when the
 * file is read again.
 *
 * A search costs a hash of at most 256 bytes and a look at each entry: 1 to 10 us, however often somebody guesses.
 *
 * Threads: made by one, frozen, handed to another one. Memory: the heap; tokens_free wipes. Errors: NULL and a sentence
 * in `why`, which never has a token in it. Not here: HTTP (relay/allocate_http.h), quotas (relay/allocator.h).
 */
#pragma once

#include "core/base.h"

enum {
    TOKENS_MAX = 256,
    TOKEN_SIZE_MIN = 16,
    TOKEN_SIZE_MAX = 256,
    TOKENS_SECRET_SIZE = 32,
    TOKEN_ID_SIZE = 32,
    TOKENS_FILE_SIZE_MAX = 128 * 1024,
    TOKENS_WHY_MAX = 512,
};

/* A token's keyed hash. */
struct token_id {
    uint8_t bytes[TOKEN_ID_SIZE];
};

struct tokens;

/* Reads a file that only its owner and group may read. `secret` is random, and the same each time. */
must_use struct tokens *tokens_load(const char *path, const uint8_t secret[TOKENS_SECRET_SIZE], char *why);

/* The same for the text of one; `path` is for the sentence. */
must_use struct tokens *tokens_parse(const char *text, size_t size, const char *path,
                                     const uint8_t secret[TOKENS_SECRET_SIZE], char *why);

/* Wipes it. NULL is fine. */
void tokens_free(struct tokens *tokens);

uint32_t tokens_count(const struct tokens *tokens);

/* Whose token it is; NULL: nobody's. The result lives as long as `tokens`, which may be NULL. */
must_use const struct token_id *tokens_find(const struct tokens *tokens, const char *token, size_t size);
