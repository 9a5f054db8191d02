#include "proto/http.h"

#include <stdio.h>

#include "core/check.h"

/* ---- characters and views ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

static bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

static bool is_one_of(char c, const char *set) { return c != '\0' && strchr(set, c) != NULL; }

/* RFC 9110 tchar: what methods and header names are made of. */
static bool is_token_char(char c) { return is_letter(c) || is_digit(c) || is_one_of(c, "!#$%&'*+-.^_`|~"); }

/* Go's idea of a Host header, names and addresses with ports. */
static bool is_host_char(char c) { return is_letter(c) || is_digit(c) || is_one_of(c, "!$%&'()*+,-.:;=[]_~"); }

static bool is_value_char(char c) { return c == '\t' || ((uint8_t)c >= 0x20 && (uint8_t)c != 0x7f); }

static bool is_target_char(char c) { return (uint8_t)c > 0x20 && (uint8_t)c != 0x7f; }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool is_all(struct http_view v, bool (*is_char)(char)) {
    for (size_t i = 0; i < v.size; i++)
        if (!is_char(v.at[i])) return false;
    return true;
}

static struct http_view view_of(const char *text) { return (struct http_view){.at = text, .size = strlen(text)}; }

static struct http_view view_from(struct http_view v, size_t offset) {
    return (struct http_view){.at = v.at + offset, .size = v.size - offset};
}

static struct http_view trim(struct http_view v) {
    while (v.size && is_blank(v.at[0])) v = view_from(v, 1);
    while (v.size && is_blank(v.at[v.size - 1])) v.size--;
    return v;
}

/* The index of the first `c`, or the view's size. */
static size_t view_index(struct http_view v, char c) {
    const char *hit = v.size ? memchr(v.at, c, v.size) : NULL;
    return hit ? (size_t)(hit - v.at) : v.size;
}

/* Splits at the first `c`: *head is before it, the result behind it. False: there is none. */
static bool cut(struct http_view v, char c, struct http_view *head, struct http_view *tail) {
    size_t idx = view_index(v, c);
    if (idx == v.size) return false;
    *head = (struct http_view){.at = v.at, .size = idx};
    *tail = view_from(v, idx + 1);
    return true;
}

bool http_view_is(struct http_view v, const char *text) {
    return v.size == strlen(text) && memcmp(v.at, text, v.size) == 0;
}

bool http_view_is_nocase(struct http_view v, const char *text) {
    if (v.size != strlen(text)) return false;
    for (size_t i = 0; i < v.size; i++)
        if (lower(v.at[i]) != lower(text[i])) return false;
    return true;
}

/* ---- the end of a head ---- */

/* The size of the head when its blank line is there, else 0, with scan->offset moved on. */
static size_t find_head_end(struct http_scan *scan, const char *bytes, size_t size) {
    while (scan->offset < size) {
        const char *line_end = memchr(bytes + scan->offset, '\n', size - scan->offset);
        if (line_end == NULL) {
            scan->offset = size;
            return 0;
        }
        scan->offset = (size_t)(line_end - bytes);
        size_t next = scan->offset + 1;
        if (next < size && bytes[next] == '\r') next++;
        if (next >= size) return 0;  // what follows this line end decides
        if (bytes[next] == '\n') return next + 1;
        scan->offset++;
    }
    return 0;
}

/* DONE with *head, or MORE, or BAD because it became too long. */
static enum http_progress find_head(struct http_scan *scan, const char *bytes, size_t size, struct http_view *head) {
    *head = (struct http_view){.at = bytes, .size = find_head_end(scan, bytes, min_of(size, HTTP_HEAD_SIZE_MAX))};
    if (head->size) return HTTP_DONE;
    return size >= HTTP_HEAD_SIZE_MAX ? HTTP_BAD : HTTP_MORE;
}

/* ---- lines and headers: results are status codes, 0 is good ---- */

/* The next line without its end; the head is known to end with a line end. */
static struct http_view take_line(struct http_view *rest) {
    size_t idx = view_index(*rest, '\n');
    struct http_view line = {.at = rest->at, .size = idx};
    *rest = view_from(*rest, min_of(idx + 1, rest->size));
    if (line.size && line.at[line.size - 1] == '\r') line.size--;
    return line;
}

static uint16_t take_header(struct http_view line, struct http_headers *headers) {
    struct http_header header;
    if (headers->count == HTTP_HEADER_COUNT_MAX) return 431;
    if (!cut(line, ':', &header.name, &header.value)) return 400;
    header.value = trim(header.value);
    if (header.name.size == 0 || !is_all(header.name, is_token_char)) return 400;
    if (!is_all(header.value, is_value_char)) return 400;
    headers->items[headers->count++] = header;
    return 0;
}

/* A continuation line starts with a blank, which is no token character: refused like any bad name. */
static uint16_t take_headers(struct http_view rest, struct http_headers *headers) {
    for (;;) {
        struct http_view line = take_line(&rest);
        if (line.size == 0) return 0;
        uint16_t status = take_header(line, headers);
        if (status) return status;
    }
}

/* The index of the next header of this name at or after `idx`, or count. */
static size_t next_header(const struct http_headers *headers, size_t idx, const char *name) {
    while (idx < headers->count && !http_view_is_nocase(headers->items[idx].name, name)) idx++;
    return idx;
}

const struct http_view *http_header_find(const struct http_headers *headers, const char *name) {
    size_t idx = next_header(headers, 0, name);
    return idx < headers->count ? &headers->items[idx].value : NULL;
}

static bool list_find_token(struct http_view list, const char *token, struct http_view *found) {
    for (;;) {
        size_t comma = view_index(list, ',');
        *found = trim((struct http_view){.at = list.at, .size = comma});
        if (http_view_is_nocase(*found, token)) return true;
        if (comma == list.size) return false;
        list = view_from(list, comma + 1);
    }
}

bool http_header_find_token(const struct http_headers *headers, const char *name, const char *token,
                            struct http_view *found) {
    struct http_view item;
    size_t idx = next_header(headers, 0, name);
    for (; idx < headers->count; idx = next_header(headers, idx + 1, name)) {
        if (!list_find_token(headers->items[idx].value, token, &item)) continue;
        *found = item;
        return true;
    }
    return false;
}

bool http_header_has_token(const struct http_headers *headers, const char *name, const char *token) {
    struct http_view found;
    return http_header_find_token(headers, name, token, &found);
}

/* ---- requests ---- */

static enum http_method method_of(struct http_view text) {
    if (http_view_is(text, "GET")) return HTTP_GET;
    if (http_view_is(text, "HEAD")) return HTTP_HEAD;
    if (http_view_is(text, "POST")) return HTTP_POST;
    return http_view_is(text, "OPTIONS") ? HTTP_OPTIONS : HTTP_OTHER;
}

/* "HTTP/d.d" */
static uint16_t parse_version(struct http_view text, uint8_t *minor) {
    if (text.size != 8 || memcmp(text.at, "HTTP/", 5) != 0) return 400;
    if (!is_digit(text.at[5]) || text.at[6] != '.' || !is_digit(text.at[7])) return 400;
    if (text.at[5] != '1') return 505;
    *minor = (uint8_t)(text.at[7] - '0');
    return 0;
}

/* "http://authority/path": the authority, and what is behind it. */
static bool cut_authority(struct http_view target, struct http_view *authority, struct http_view *rest) {
    struct http_view scheme;
    if (!cut(target, ':', &scheme, rest) || scheme.size == 0 || !is_all(scheme, is_letter)) return false;
    if (rest->size < 2 || memcmp(rest->at, "//", 2) != 0) return false;
    *authority = view_from(*rest, 2);
    size_t end = min_of(view_index(*authority, '/'), view_index(*authority, '?'));
    *rest = view_from(*authority, end);
    authority->size = end;
    return authority->size > 0;
}

static uint16_t parse_target(struct http_request *out) {
    struct http_view rest = out->target;
    if (rest.size == 0 || !is_all(rest, is_target_char)) return 400;
    bool is_connect = http_view_is(out->method_text, "CONNECT");
    if (rest.at[0] != '/' && !http_view_is(rest, "*")) {
        if (is_connect) {
            out->host = rest;
            rest = view_from(rest, rest.size);
        } else if (!cut_authority(rest, &out->host, &rest)) {
            return 400;
        }
    }
    if (!cut(rest, '?', &out->path, &out->query)) {
        out->path = rest;
        out->query = view_from(rest, rest.size);
    }
    if (out->path.size == 0 && !is_connect) out->path = view_of("/");
    return 0;
}

/* As Go: the version is all behind the second blank. */
static uint16_t parse_request_line(struct http_view line, struct http_request *out) {
    struct http_view rest, version;
    if (!cut(line, ' ', &out->method_text, &rest) || !cut(rest, ' ', &out->target, &version)) return 400;
    if (out->method_text.size == 0 || !is_all(out->method_text, is_token_char)) return 400;
    out->method = method_of(out->method_text);
    uint16_t status = parse_version(version, &out->minor);
    return status ? status : parse_target(out);
}

/* One Host in HTTP/1.1, none or one in HTTP/1.0. A target with an authority overrides it. */
static uint16_t check_host(struct http_request *out) {
    size_t first = next_header(&out->headers, 0, "Host");
    bool has_host = first < out->headers.count;
    if (!has_host) {
        bool may_lack = out->minor == 0 || http_view_is(out->method_text, "CONNECT");
        return may_lack ? 0 : 400;
    }
    if (next_header(&out->headers, first + 1, "Host") < out->headers.count) return 400;
    struct http_view host = out->headers.items[first].value;
    if (!is_all(host, is_host_char)) return 400;
    if (out->host.size == 0) out->host = host;
    return 0;
}

/* 1..18 digits: enough for any body, too few to overflow. */
static bool parse_length(struct http_view text, uint64_t *length) {
    *length = 0;
    if (text.size == 0 || text.size > 18 || !is_all(text, is_digit)) return false;
    for (size_t i = 0; i < text.size; i++) *length = *length * 10 + (uint64_t)(text.at[i] - '0');
    return true;
}

static uint16_t check_body(struct http_request *out) {
    const struct http_headers *headers = &out->headers;
    size_t first = next_header(headers, 0, "Content-Length");
    for (size_t i = first; i < headers->count; i = next_header(headers, i + 1, "Content-Length")) {
        uint64_t length;
        if (!parse_length(headers->items[i].value, &length)) return 400;
        if (i != first && length != out->content_length) return 400;
        out->content_length = length;
    }
    size_t encoding = next_header(headers, 0, "Transfer-Encoding");
    bool is_encoded = encoding < headers->count;
    out->has_body = is_encoded || out->content_length > 0;
    if (!is_encoded) return 0;
    if (first < headers->count || out->minor == 0) return 400;
    if (next_header(headers, encoding + 1, "Transfer-Encoding") < headers->count) return 501;
    return http_view_is_nocase(headers->items[encoding].value, "chunked") ? 0 : 501;
}

static bool wants_close(const struct http_request *request) {
    if (http_header_has_token(&request->headers, "Connection", "close")) return true;
    return request->minor == 0 && !http_header_has_token(&request->headers, "Connection", "keep-alive");
}

static uint16_t parse_request(struct http_view head, struct http_request *out) {
    uint16_t status = parse_request_line(take_line(&head), out);
    if (!status) status = take_headers(head, &out->headers);
    if (!status) status = check_host(out);
    if (!status) status = check_body(out);
    return status;
}

/* Everything but the headers' table, whose unused part nobody reads: 4 KiB less to clear per call. */
static void clear_request(struct http_request *out) {
    memset(out, 0, offsetof(struct http_request, headers));
    out->headers.count = 0;
    out->method_text = out->target = out->path = out->query = out->host = view_of("");
}

enum http_progress http_request_parse(struct http_scan *scan, const void *bytes, size_t size,
                                      struct http_request *out) {
    clear_request(out);
    if (size == 0) return HTTP_MORE;
    out->status = 400;
    if (!is_token_char(*(const char *)bytes)) return HTTP_BAD;
    struct http_view head;
    enum http_progress progress = find_head(scan, bytes, size, &head);
    out->status = progress == HTTP_BAD ? 431 : 0;
    if (progress != HTTP_DONE) return progress;

    out->status = parse_request(head, out);
    if (out->status) return HTTP_BAD;
    out->head_size = head.size;
    out->wants_close = wants_close(out);
    return HTTP_DONE;
}

/* ---- what a request asks for ---- */

static bool contains(struct http_view v, const char *text) {
    size_t size = strlen(text);
    for (; v.size >= size; v = view_from(v, 1))
        if (memcmp(v.at, text, size) == 0) return true;
    return false;
}

enum http_upgrade http_derp_upgrade(const struct http_request *request) {
    const struct http_view *upgrade = http_header_find(&request->headers, "Upgrade");
    if (upgrade == NULL) return HTTP_UPGRADE_NONE;
    if (http_view_is_nocase(*upgrade, "derp")) return HTTP_UPGRADE_DERP;
    if (!http_view_is_nocase(*upgrade, "websocket")) return HTTP_UPGRADE_NONE;
    const struct http_view *protocol = http_header_find(&request->headers, "Sec-WebSocket-Protocol");
    return protocol && contains(*protocol, "derp") ? HTTP_UPGRADE_WEBSOCKET : HTTP_UPGRADE_DERP;
}

bool http_wants_fast_start(const struct http_request *request) {
    const struct http_view *value = http_header_find(&request->headers, "Derp-Fast-Start");
    return value && http_view_is(*value, "1");
}

/* ---- writing ---- */

const char *http_status_text(uint16_t status) {
    static const struct {
        uint16_t status;
        const char *text;
    } texts[] = {
        {101, "Switching Protocols"},
        {200, "OK"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Request Entity Too Large"},
        {414, "Request URI Too Long"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < array_count(texts); i++)
        if (texts[i].status == status) return texts[i].text;
    return "Unknown";
}

static void write_number(struct writer *w, uint64_t number) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    writer_copy(w, digits + at, sizeof(digits) - at);
}

/* A line end in a name or value would let its author write headers of his own. */
static void write_field(struct writer *w, const char *name, const char *value) {
    CHECK(strpbrk(name, "\r\n") == NULL && strpbrk(value, "\r\n") == NULL);
    writer_text(w, name);
    writer_text(w, ": ");
    writer_text(w, value);
    writer_text(w, "\r\n");
}

static void write_status_line(struct writer *w, uint16_t status) {
    writer_text(w, "HTTP/1.1 ");
    write_number(w, status);
    writer_text(w, " ");
    writer_text(w, http_status_text(status));
    writer_text(w, "\r\n");
}

static void write_date(struct writer *w, uint64_t unix_s) {
    char date[HTTP_DATE_SIZE];
    http_format_date(unix_s, date);
    write_field(w, "Date", date);
}

static bool may_have_body(uint16_t status) { return status >= 200 && status != 204 && status != 304; }

static void write_whole_response(struct writer *w, const struct http_response *r) {
    bool has_body = may_have_body(r->status);
    write_status_line(w, r->status);
    if (r->content_type) write_field(w, "Content-Type", r->content_type);
    for (size_t i = 0; i < r->field_count; i++) write_field(w, r->fields[i].name, r->fields[i].value);
    if (r->unix_s) write_date(w, r->unix_s);
    if (has_body) {
        writer_text(w, "Content-Length: ");
        write_number(w, r->body_size);
        writer_text(w, "\r\n");
    }
    if (r->is_close) write_field(w, "Connection", "close");
    writer_text(w, "\r\n");
    if (has_body && !r->is_head_request) writer_copy(w, r->body, r->body_size);
}

/* All or nothing: the cursor moves only when everything fitted. */
static void commit(struct writer *w, const struct writer *trial) {
    if (trial->bad) w->bad = true;
    else *w = *trial;
}

void http_write_response(struct writer *w, const struct http_response *response) {
    struct writer trial = *w;
    write_whole_response(&trial, response);
    commit(w, &trial);
}

void http_write_error(struct writer *w, uint16_t status, const char *text, uint64_t unix_s) {
    static const struct http_field fields[] = {{"X-Content-Type-Options", "nosniff"}};
    char body[256];
    int size = snprintf(body, sizeof(body), "%s\n", text ? text : http_status_text(status));
    CHECK(size > 0 && (size_t)size < sizeof(body));
    struct http_response response = {
        .status = status,
        .content_type = "text/plain; charset=utf-8",
        .fields = fields,
        .field_count = array_count(fields),
        .body = body,
        .body_size = (size_t)size,
        .unix_s = unix_s,
        .is_close = true,
    };
    http_write_response(w, &response);
}

void http_write_derp_switch(struct writer *w, const struct node_key *server) {
    char hex[KEY_HEX_TEXT_SIZE];
    key_format_hex(server, hex);
    struct writer trial = *w;
    write_status_line(&trial, 101);
    write_field(&trial, "Upgrade", "DERP");
    write_field(&trial, "Connection", "Upgrade");
    write_field(&trial, "Derp-Version", "2");
    write_field(&trial, "Derp-Public-Key", hex);
    writer_text(&trial, "\r\n");
    commit(w, &trial);
}

/* Days since 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day is
 * the last of its year; 719468 days lie between 0000-03-01 and 1970-01-01; an era is 400 years. */
static void civil_date(uint64_t days, unsigned *year, unsigned *month, unsigned *day) {
    uint64_t shifted = days + 719468;
    uint64_t era = shifted / 146097;
    uint64_t day_of_era = shifted % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t march_month = (5 * day_of_year + 2) / 153;
    *day = (unsigned)(day_of_year - (153 * march_month + 2) / 5 + 1);
    *month = (unsigned)(march_month < 10 ? march_month + 3 : march_month - 9);
    *year = (unsigned)(year_of_era + era * 400 + (*month <= 2));
}

void http_format_date(uint64_t unix_s, char text[HTTP_DATE_SIZE]) {
    static const char weekdays[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    uint64_t days = unix_s / 86400;
    unsigned second = (unsigned)(unix_s % 86400);
    unsigned year, month, day;
    civil_date(days, &year, &month, &day);
    /* why %10000: the text has four places for a year; the compiler cannot know that clocks stay below. */
    (void)snprintf(text, HTTP_DATE_SIZE, "%s, %02u %s %04u %02u:%02u:%02u GMT", weekdays[days % 7], day % 100,
                   months[(month - 1) % 12], year % 10000, second / 3600, second / 60 % 60, second % 60);
}

/* ---- client ---- */

void http_write_derp_request(struct writer *w, const struct http_derp_request *request) {
    CHECK(strpbrk(request->path, " \r\n") == NULL);
    struct writer trial = *w;
    writer_text(&trial, "GET ");
    writer_text(&trial, request->path);
    writer_text(&trial, " HTTP/1.1\r\n");
    write_field(&trial, "Host", request->host);
    write_field(&trial, "User-Agent", "ringrelay");
    write_field(&trial, "Connection", "Upgrade");
    if (request->is_fast_start) write_field(&trial, "Derp-Fast-Start", "1");
    if (request->ideal_node) write_field(&trial, "Ideal-Node", request->ideal_node);
    write_field(&trial, "Upgrade", "DERP");
    writer_text(&trial, "\r\n");
    commit(w, &trial);
}

/* "HTTP/1.x ddd" and, perhaps, a blank and a phrase. */
static bool parse_status_line(struct http_view line, struct http_answer *out) {
    struct http_view version, rest;
    if (!cut(line, ' ', &version, &rest) || parse_version(version, &out->minor) != 0) return false;
    if (rest.size < 3 || (rest.size > 3 && rest.at[3] != ' ')) return false;
    if (!is_all(rest, is_value_char)) return false;
    uint64_t status;
    if (!parse_length((struct http_view){.at = rest.at, .size = 3}, &status) || status < 100) return false;
    out->status = (uint16_t)status;
    return true;
}

enum http_progress http_answer_parse(struct http_scan *scan, const void *bytes, size_t size, struct http_answer *out) {
    out->status = 0;
    out->minor = 0;
    out->head_size = 0;
    out->headers.count = 0;
    if (size == 0) return HTTP_MORE;
    if (*(const char *)bytes != 'H') return HTTP_BAD;
    struct http_view head;
    enum http_progress progress = find_head(scan, bytes, size, &head);
    if (progress != HTTP_DONE) return progress;
    if (!parse_status_line(take_line(&head), out) || take_headers(head, &out->headers) != 0) return HTTP_BAD;
    out->head_size = (size_t)(head.at - (const char *)bytes) + head.size;
    return HTTP_DONE;
}
