#include "proto/http_path.h"

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte at *idx, unescaped, and *idx moved behind it; -1: a broken escape. */
static int take_byte(struct http_view v, size_t *idx) {
    char c = v.at[(*idx)++];
    if (c != '%') return (uint8_t)c;
    if (v.size - *idx < 2) return -1;
    int high = hex_value(v.at[*idx]), low = hex_value(v.at[*idx + 1]);
    *idx += 2;
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

bool http_path_is_valid(struct http_view path) {
    for (size_t i = 0; i < path.size;) {
        if (take_byte(path, &i) < 0) return false;
    }
    return true;
}

/* ---- clean paths ---- */

/* The next segment: without its slashes, *idx moved behind them. */
static struct http_view take_segment(struct http_view path, size_t *idx) {
    while (*idx < path.size && path.at[*idx] == '/') (*idx)++;
    struct http_view segment = {.at = path.at + *idx, .size = 0};
    while (*idx < path.size && path.at[*idx] != '/') {
        (*idx)++;
        segment.size++;
    }
    return segment;
}

static bool is_dots(struct http_view segment) { return http_view_is(segment, ".") || http_view_is(segment, ".."); }

bool http_path_is_clean(struct http_view path) {
    if (path.size == 0 || path.at[0] != '/') return false;
    for (size_t i = 1; i < path.size; i++) {
        if (path.at[i] == '/' && path.at[i - 1] == '/') return false;
    }
    for (size_t i = 0; i < path.size;) {
        if (is_dots(take_segment(path, &i))) return false;
    }
    return true;
}

/* Takes back the last segment written since `start`. */
static void climb(struct writer *w, const uint8_t *start) {
    while (w->at > start && *--w->at != '/') {}
}

bool http_path_clean(struct http_view path, struct writer *w) {
    const uint8_t *start = w->at;
    for (size_t i = 0; i < path.size;) {
        struct http_view segment = take_segment(path, &i);
        if (http_view_is(segment, "..")) climb(w, start);
        if (segment.size == 0 || is_dots(segment)) continue;
        writer_text(w, "/");
        writer_copy(w, segment.at, segment.size);
    }
    bool has_slash = path.size == 0 || path.at[path.size - 1] == '/';
    if (w->at == start || has_slash) writer_text(w, "/");
    return writer_ok(w);
}

/* ---- matching ---- */

/* How many bytes of the path make up `route`; 0: they differ. */
static size_t match(struct http_view path, const char *route) {
    size_t idx = 0;
    for (; *route; route++) {
        if (idx == path.size) return 0;
        bool is_escaped = path.at[idx] == '%';
        if (take_byte(path, &idx) != (uint8_t)*route || (is_escaped && *route == '/')) return 0;
    }
    return idx;
}

bool http_path_is(struct http_view path, const char *route) {
    size_t size = match(path, route);
    return size > 0 && size == path.size;
}

bool http_path_starts_with(struct http_view path, const char *route) { return match(path, route) > 0; }

/* ---- queries ---- */

static struct http_view take_pair(struct http_view *rest) {
    const char *end = rest->size ? memchr(rest->at, '&', rest->size) : NULL;
    struct http_view pair = {.at = rest->at, .size = end ? (size_t)(end - rest->at) : rest->size};
    size_t taken = pair.size + (end != NULL);
    *rest = (struct http_view){.at = rest->at + taken, .size = rest->size - taken};
    return pair;
}

/* Unescapes into `to`, terminated. False: broken, has a NUL, or no room. */
static bool unescape(struct http_view v, char *to, size_t room) {
    size_t size = 0;
    for (size_t i = 0; i < v.size;) {
        int byte = v.at[i] == '+' ? (i++, ' ') : take_byte(v, &i);
        if (byte <= 0 || size + 1 >= room) return false;
        to[size++] = (char)byte;
    }
    to[size] = '\0';
    return true;
}

bool http_query_value(struct http_view query, const char *name, char *to, size_t room) {
    while (query.size) {
        char key[32];
        struct http_view pair = take_pair(&query);
        if (pair.size == 0 || memchr(pair.at, ';', pair.size)) continue;
        const char *equals = memchr(pair.at, '=', pair.size);
        if (equals == NULL) continue;
        struct http_view left = {.at = pair.at, .size = (size_t)(equals - pair.at)};
        struct http_view right = {.at = equals + 1, .size = pair.size - left.size - 1};
        if (!http_path_is_valid(right) || !unescape(left, key, sizeof(key)) || strcmp(key, name) != 0) continue;
        return unescape(right, to, room) && *to != '\0';
    }
    return false;
}

/* ---- writing ---- */

void http_write_location(struct writer *w, struct http_view text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.at[i];
        if (c > 0x20 && c < 0x7f && c != '"') {
            writer_u8(w, c);
            continue;
        }
        writer_u8(w, '%');
        writer_u8(w, (uint8_t)digits[c >> 4]);
        writer_u8(w, (uint8_t)digits[c & 15]);
    }
}

void http_write_html(struct writer *w, struct http_view text) {
    for (size_t i = 0; i < text.size; i++) {
        switch (text.at[i]) {
            case '&': writer_text(w, "&amp;"); break;
            case '<': writer_text(w, "&lt;"); break;
            case '>': writer_text(w, "&gt;"); break;
            case '"': writer_text(w, "&#34;"); break;
            case '\'': writer_text(w, "&#39;"); break;
            default: writer_u8(w, (uint8_t)text.at[i]);
        }
    }
}
