#include "relay/allowlist.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/sys.h"

enum { KEY_TEXT_LENGTH = KEY_PUBLIC_TEXT_SIZE - 1 };

static bool refuse(char *why, const char *format, ...) printf_like(2, 3);

static bool refuse(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, ALLOWLIST_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- lines ---- */

struct line {
    const char *at;
    size_t size;
};

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The line at *at, without white space in front; *at moves behind it. */
static struct line next_line(const char **at, const char *end) {
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    const char *line_end = newline ? newline : end;
    struct line line = {.at = *at};
    while (line.at < line_end && is_blank(*line.at)) line.at++;
    line.size = (size_t)(line_end - line.at);
    *at = newline ? newline + 1 : end;
    return line;
}

static bool has_key(struct line line) { return line.size > 0 && *line.at != '#'; }

/* NULL, or what is wrong with the line. */
static const char *read_key(struct line line, struct node_key *key) {
    bool is_long_enough = line.size >= KEY_TEXT_LENGTH;
    bool is_followed = line.size > KEY_TEXT_LENGTH && !is_blank(line.at[KEY_TEXT_LENGTH]);
    if (!is_long_enough || is_followed || key_parse(line.at, KEY_TEXT_LENGTH, key) != KEY_OK) {
        return "a line is nodekey: and 64 hex digits, as \"tailscale status --json\" shows them under PublicKey, and "
               "then, if you like, white space and a name";
    }
    return key_is_zero(key) ? "this is the zero key, which nobody has" : NULL;
}

static size_t count_keys(const char *text, size_t size) {
    size_t count = 0;
    for (const char *at = text, *end = text + size; at < end;) count += has_key(next_line(&at, end));
    return count;
}

static bool read_keys(const char *text, size_t size, struct allowlist *list, char *why) {
    unsigned number = 1;
    for (const char *at = text, *end = text + size; at < end; number++) {
        struct line line = next_line(&at, end);
        if (!has_key(line)) continue;
        const char *wrong = read_key(line, &list->all[list->count].key);
        if (wrong) return refuse(why, "line %u: %s", number, wrong);
        list->count++;
    }
    return true;
}

/* ---- the list ---- */

static int compare(const void *a, const void *b) {
    const struct allowed *x = a, *y = b;
    return memcmp(x->key.bytes, y->key.bytes, KEY_SIZE);
}

static void sort(struct allowlist *list) {
    uint32_t kept = 0;
    qsort(list->all, list->count, sizeof(*list->all), compare);
    for (uint32_t i = 0; i < list->count; i++) {
        bool is_twice = kept > 0 && key_equal(&list->all[kept - 1].key, &list->all[i].key);
        if (!is_twice) list->all[kept++] = list->all[i];
    }
    list->count = kept;
}

bool allowlist_parse(const char *text, size_t size, struct allowlist **ret, char *why) {
    size_t count = count_keys(text, size);
    if (count > ALLOWLIST_KEYS_MAX) {
        return refuse(why, "line 1 and following: %zu keys are more than the %d that there may be", count,
                      ALLOWLIST_KEYS_MAX);
    }
    struct allowlist *list = calloc(1, sizeof(*list) + count * sizeof(*list->all));
    if (list == NULL) return refuse(why, "line 1 and following: no memory for %zu keys", count);
    if (!read_keys(text, size, list, why)) {
        free(list);
        return false;
    }
    sort(list);
    *ret = list;
    return true;
}

static bool explain_read(const char *path, int error, char *why) {
    if (error == -EFBIG) {
        return refuse(why, "the allow file %s has more than %d MiB: one key and a name on a line take less", path,
                      ALLOWLIST_FILE_MAX / 1024 / 1024);
    }
    return refuse(why,
                  "cannot read the allow file %s: %s; make it readable for this user or name another with "
                  "-relay-allow-file",
                  path, strerror(-error));
}

bool allowlist_load(const char *path, struct allowlist **ret, char *why) {
    char detail[ALLOWLIST_WHY_MAX];
    char *text = malloc(ALLOWLIST_FILE_MAX);
    if (text == NULL) return refuse(why, "no memory to read the allow file %s", path);
    ssize_t size = sys_file_read(path, text, ALLOWLIST_FILE_MAX);
    bool is_fine = size >= 0;
    if (!is_fine) {
        (void)explain_read(path, (int)size, why);
    } else if (!allowlist_parse(text, (size_t)size, ret, detail)) {
        is_fine = refuse(why, "the allow file %.200s, %.250s", path, detail);
    }
    free(text);
    return is_fine;
}

struct allowed *allowlist_find(struct allowlist *list, const struct node_key *key) {
    if (list == NULL) return NULL;
    struct allowed wanted = {.key = *key};
    return bsearch(&wanted, list->all, list->count, sizeof(*list->all), compare);
}

void allowlist_free(struct allowlist *list) { free(list); }
