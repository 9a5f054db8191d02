#include "relay/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct tokens {
    uint8_t secret[TOKENS_SECRET_SIZE];
    uint32_t count;
    struct token_id ids[TOKENS_MAX];
};

_Static_assert(TOKENS_SECRET_SIZE >= crypto_generichash_KEYBYTES_MIN, "a key of the hash");

static struct tokens *refuse(struct tokens *tokens, char *why, const char *format, ...) printf_like(3, 4);

static struct tokens *refuse(struct tokens *tokens, char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, TOKENS_WHY_MAX, format, args);
    va_end(args);
    tokens_free(tokens);
    return NULL;
}

void tokens_free(struct tokens *tokens) {
    if (tokens == NULL) return;
    sodium_memzero(tokens, sizeof(*tokens));
    free(tokens);
}

uint32_t tokens_count(const struct tokens *tokens) { return tokens ? tokens->count : 0; }

/* ---- one token ---- */

static bool is_token_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~+/=", c));
}

static bool is_token(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (!is_token_char(text[i])) return false;
    }
    return size >= TOKEN_SIZE_MIN && size <= TOKEN_SIZE_MAX;
}

static void hash(const struct tokens *tokens, const char *token, size_t size, struct token_id *ret) {
    (void)crypto_generichash(ret->bytes, sizeof(ret->bytes), (const unsigned char *)token, size, tokens->secret,
                             sizeof(tokens->secret));
}

const struct token_id *tokens_find(const struct tokens *tokens, const char *token, size_t size) {
    const struct token_id *found = NULL;
    struct token_id id;
    if (tokens == NULL || size > TOKEN_SIZE_MAX) return NULL;
    hash(tokens, token, size, &id);
    for (uint32_t i = 0; i < tokens->count; i++) {
        if (sodium_memcmp(&tokens->ids[i], &id, sizeof(id)) == 0) found = &tokens->ids[i];
    }
    sodium_memzero(&id, sizeof(id));
    return found;
}

/* ---- a file ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* One line, without its end. False: it is neither empty, nor a note, nor a token that there is room for. */
static bool take_line(struct tokens *tokens, const char *line, size_t size) {
    size_t token_size = 0;
    while (size > 0 && is_blank(*line)) line++, size--;
    if (size == 0 || *line == '#') return true;
    while (token_size < size && !is_blank(line[token_size])) token_size++;
    if (!is_token(line, token_size) || tokens->count == TOKENS_MAX) return false;
    hash(tokens, line, token_size, &tokens->ids[tokens->count++]);
    return true;
}

struct tokens *tokens_parse(const char *text, size_t size, const char *path, const uint8_t secret[TOKENS_SECRET_SIZE],
                            char *why) {
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    if (tokens == NULL) return refuse(NULL, why, "no memory for the tokens of %s", path);
    memcpy(tokens->secret, secret, sizeof(tokens->secret));
    for (unsigned number = 1; size > 0; number++) {
        const char *end = memchr(text, '\n', size);
        size_t line_size = end ? (size_t)(end - text) : size;
        if (!take_line(tokens, text, line_size)) {
            return refuse(
                tokens, why,
                "the token file %s, line %u: write a token of %d to %d letters, digits and -._~+/= first, then "
                "what you like, or # for a comment; at most %d tokens",
                path, number, TOKEN_SIZE_MIN, TOKEN_SIZE_MAX, TOKENS_MAX);
        }
        size_t taken = line_size + (end != NULL);
        text += taken;
        size -= taken;
    }
    return tokens;
}

/* The size, or a negative errno; -EPERM: others may read it. */
static ssize_t read_file(const char *path, char *to, size_t room) {
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return -errno;
    ssize_t size = fstat(fd, &stat) == 0 ? 0 : -errno;
    if (size == 0 && !S_ISREG(stat.st_mode)) size = -EINVAL;
    if (size == 0 && (stat.st_mode & (S_IROTH | S_IWOTH))) size = -EPERM;
    for (ssize_t got = 1; size >= 0 && got != 0;) {
        if ((size_t)size == room) {
            got = 0;
            size = -EFBIG;
            continue;
        }
        got = read(fd, to + size, room - (size_t)size);
        if (got < 0 && errno != EINTR) size = -errno;
        if (got > 0) size += got;
    }
    (void)close(fd);
    return size;
}

struct tokens *tokens_load(const char *path, const uint8_t secret[TOKENS_SECRET_SIZE], char *why) {
    static char text[TOKENS_FILE_SIZE_MAX];  // why: too large for a small stack, and one thread at a time
    ssize_t size = read_file(path, text, sizeof(text));
    if (size < 0) sodium_memzero(text, sizeof(text));  // what was read of a file that is too long, say
    if (size == -EPERM) {
        return refuse(NULL, why, "everybody may read or write the token file %s: chmod o-rw it, and change its tokens",
                      path);
    }
    if (size < 0) {
        return refuse(NULL, why,
                      "cannot read the token file %s: %s; name a file of at most %d KiB that this user may read with "
                      "-relay-token-file",
                      path, strerror((int)-size), TOKENS_FILE_SIZE_MAX / 1024);
    }
    struct tokens *tokens = tokens_parse(text, (size_t)size, path, secret, why);
    sodium_memzero(text, sizeof(text));
    return tokens;
}
