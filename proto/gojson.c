#include "proto/gojson.h"

#include <malloc.h>
#include <sodium.h>
#include <stdlib.h>

#define DEL 0x7f

/* ---- wiping allocator ---- */

static void wipe_and_free(void *p) {
    if (p) sodium_memzero(p, malloc_usable_size(p));
    free(p);
}

void gojson_init(void) { json_set_alloc_funcs(malloc, wipe_and_free); }

/* ---- editing the text so that jansson takes what Go takes ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The value of 4 hex digits, or -1. */
static int hex4(const char *at, const char *end) {
    if (end - at < 4) return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int lower = c | 0x20;
        if (is_digit(c)) value = value * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f') value = value * 16 + (lower - 'a' + 10);
        else return -1;
    }
    return value;
}

/* `at` is the backslash of an escape; the result is behind it. A whole surrogate pair is one escape. */
static char *soften_escape(char *at, char *end) {
    if (end - at < 2) return end;
    if (at[1] != 'u') return at + 2;
    int unit = hex4(at + 2, end);
    if (unit < 0) return at + 2;
    bool is_high = unit >= 0xd800 && unit <= 0xdbff;
    bool is_low = unit >= 0xdc00 && unit <= 0xdfff;
    if (is_high && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
        int next = hex4(at + 8, end);
        if (next >= 0xdc00 && next <= 0xdfff) return at + 12;
    }
    if (is_high || is_low || unit == 0) memcpy(at + 2, "007f", 4);
    return at + 6;
}

/* The length of the well-formed UTF-8 sequence at `at`, whose first byte is not ASCII; 0 when there is none. */
static size_t utf8_length(const char *at, const char *end) {
    const uint8_t *p = (const uint8_t *)at;
    size_t left = (size_t)(end - at);
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (length == 0 || left < length) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    /* The second byte alone tells overlong forms, surrogates, and what is beyond U+10FFFF. */
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0;
    if (p[0] == 0xed && p[1] > 0x9f) return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0;
    return length;
}

/* `at` is behind the opening quote; the result is behind the closing one, or `end`. */
static char *soften_string(char *at, char *end) {
    while (at < end) {
        if (*at == '"') return at + 1;
        if (*at == '\\') {
            at = soften_escape(at, end);
        } else if ((uint8_t)*at < 0x80) {
            at++;
        } else {
            size_t length = utf8_length(at, end);
            if (length == 0) *at = DEL;
            at += length ? length : 1;
        }
    }
    return end;
}

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && is_digit(*at)) at++;
    return at;
}

/* Is all of [at,end) a JSON number? *is_integer: without fraction and exponent. */
static bool is_number(const char *at, const char *end, bool *is_integer) {
    *is_integer = true;
    if (at < end && *at == '-') at++;
    const char *digits = at;
    at = skip_digits(at, end);
    if (at == digits || (*digits == '0' && at - digits > 1)) return false;
    if (at < end && *at == '.') {
        *is_integer = false;
        const char *fraction = ++at;
        at = skip_digits(at, end);
        if (at == fraction) return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        *is_integer = false;
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        const char *exponent = at;
        at = skip_digits(at, end);
        if (at == exponent) return false;
    }
    return at == end;
}

/* A well-formed integer: is it an int64_t? */
static bool fits_int64(const char *at, const char *end) {
    bool is_negative = *at == '-';
    int64_t value = 0;
    for (at += is_negative; at < end; at++) {
        int digit = is_negative ? '0' - *at : *at - '0';
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value)) return false;
    }
    return true;
}

static bool is_number_char(char c) { return is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'; }

/* `at` is a number's first character; the result is behind its last one. */
static char *soften_number(char *at, char *end) {
    char *start = at;
    while (at < end && is_number_char(*at)) at++;
    bool is_integer;
    if (!is_number(start, at, &is_integer)) return at;
    if (is_integer && fits_int64(start, at)) return at;
    /* The shortest such number has three characters: 1e0. */
    memset(start, ' ', (size_t)(at - start));
    memcpy(start, "0.5", 3);
    return at;
}

/* One punctuation mark outside strings. Depth 1 is the object itself, where colon and comma take turns: after they
 * have become the same, jansson could not tell {"a","b"} from {"a":"b"}. */
static bool soften_mark(char *mark, size_t *depth, size_t *separators) {
    switch (*mark) {
        case '{':
        case '[':
            if ((*depth)++ == 0) *mark = '[';
            return true;
        case '}':
        case ']':
            if (*depth == 0 || (*depth == 1 && *mark == ']')) return false;
            if ((*depth)-- == 1) *mark = ']';
            return true;
        default:
            if (*depth != 1) return true;
            if (*mark != ((*separators)++ % 2 ? ',' : ':')) return false;
            *mark = ',';
            return true;
    }
}

/* Edits an object's text. False: it is none, which need not wait for jansson. */
static bool soften_object(char *at, char *end) {
    size_t depth = 0;
    size_t separators = 0;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            at = soften_string(at + 1, end);
        } else if (c == '-' || is_digit(c)) {
            at = soften_number(at, end);
        } else {
            bool is_mark = c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',';
            if (is_mark && !soften_mark(at, &depth, &separators)) return false;
            at++;
        }
    }
    return true;
}

/* ---- documents ---- */

static bool is_member_list(const json_t *list) {
    size_t size = json_array_size(list);
    if (!json_is_array(list) || size % 2) return false;
    for (size_t i = 0; i < size; i += 2)
        if (!json_is_string(json_array_get(list, i))) return false;
    return true;
}

bool gojson_open(struct gojson *doc, char *text, size_t size) {
    *doc = (struct gojson){0};
    /* jansson overlooks a NUL behind a number or a word; no JSON text has one. */
    if (size == 0 || memchr(text, '\0', size) != NULL) return false;
    char *end = text + size;
    char *at = text;
    while (at < end && is_blank(*at)) at++;
    if (at == end) return false;
    bool is_object = *at == '{';
    if (is_object && !soften_object(at, end)) return false;

    json_t *root = json_loadb(at, (size_t)(end - at), JSON_DECODE_ANY, NULL);
    if (!is_object) {
        bool is_null = json_is_null(root);
        json_decref(root);
        return is_null;
    }
    if (!is_member_list(root)) {
        json_decref(root);
        return false;
    }
    doc->list = root;
    doc->count = json_array_size(root) / 2;
    return true;
}

void gojson_close(struct gojson *doc) {
    json_decref(doc->list);
    *doc = (struct gojson){0};
}

const char *gojson_name(const struct gojson *doc, size_t idx) {
    return json_string_value(json_array_get(doc->list, 2 * idx));
}

const json_t *gojson_value(const struct gojson *doc, size_t idx) { return json_array_get(doc->list, 2 * idx + 1); }

/* ---- names ---- */

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

/* The next character of a name, folded; *name moves behind it. */
static char fold_next(const char **name) {
    const char *p = *name;
    size_t size = 1;
    char c = lower(*p);
    if (strncmp(p, "\xc5\xbf", 2) == 0) {  // U+017F, the long s
        c = 's';
        size = 2;
    } else if (strncmp(p, "\xe2\x84\xaa", 3) == 0) {  // U+212A, the Kelvin sign
        c = 'k';
        size = 3;
    }
    *name = p + size;
    return c;
}

bool gojson_name_is(const char *name, const char *field) {
    for (; *field; field++)
        if (*name == '\0' || fold_next(&name) != lower(*field)) return false;
    return *name == '\0';
}
