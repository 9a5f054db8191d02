#include "proto/der.h"

#include <time.h>

#include "core/check.h"

/* ---- writing ---- */

uint8_t *der_begin(struct writer *w, uint8_t tag) {
    writer_u8(w, tag);
    return writer_ok(w) ? w->at : NULL;
}

void der_end(struct writer *w, uint8_t *content) {
    if (!writer_ok(w)) return;
    size_t size = (size_t)(w->at - content);
    CHECK(size <= UINT16_MAX);
    size_t length_size = size < 0x80 ? 1 : size < 0x100 ? 2 : 3;
    if (!writer_room(w, length_size)) return;
    memmove(content + length_size, content, size);
    if (length_size == 1) {
        content[0] = (uint8_t)size;
    } else if (length_size == 2) {
        content[0] = 0x81;
        content[1] = (uint8_t)size;
    } else {
        content[0] = 0x82;
        store_be16(content + 1, (uint16_t)size);
    }
}

void der_write(struct writer *w, uint8_t tag, const void *content, size_t size) {
    uint8_t *start = der_begin(w, tag);
    writer_copy(w, content, size);
    der_end(w, start);
}

void der_write_integer(struct writer *w, const uint8_t *bytes, size_t size) {
    while (size > 0 && bytes[0] == 0) bytes++, size--;
    uint8_t *start = der_begin(w, DER_INTEGER);
    if (size == 0 || bytes[0] >= 0x80) writer_u8(w, 0);
    writer_copy(w, bytes, size);
    der_end(w, start);
}

void der_write_bits(struct writer *w, const void *bytes, size_t size) {
    uint8_t *start = der_begin(w, DER_BIT_STRING);
    writer_u8(w, 0);  // no unused bits
    writer_copy(w, bytes, size);
    der_end(w, start);
}

static void write_digits(struct writer *w, int value, int digits) {
    uint8_t *to = writer_room(w, (size_t)digits);
    if (!to) return;
    for (int i = digits; i-- > 0; value /= 10) to[i] = (uint8_t)('0' + value % 10);
}

void der_write_time(struct writer *w, uint64_t unix_s) {
    time_t clock = (time_t)unix_s;
    struct tm t;
    CHECK(gmtime_r(&clock, &t) && t.tm_year + 1900 < 10000);
    bool is_short = t.tm_year + 1900 < 2050;
    uint8_t *start = der_begin(w, is_short ? DER_UTC_TIME : DER_GENERALIZED_TIME);
    write_digits(w, t.tm_year + 1900, is_short ? 2 : 4);
    write_digits(w, t.tm_mon + 1, 2);
    write_digits(w, t.tm_mday, 2);
    write_digits(w, t.tm_hour, 2);
    write_digits(w, t.tm_min, 2);
    write_digits(w, t.tm_sec, 2);
    writer_u8(w, 'Z');
    der_end(w, start);
}

/* ---- reading ---- */

static struct reader bad_content(struct reader *r) {
    r->bad = true;
    return (struct reader){.bad = true};
}

bool der_is_next(const struct reader *r, uint8_t tag) { return reader_ok(r) && reader_left(r) > 0 && r->at[0] == tag; }

/* The length octets; a longer form than needed is an error. */
static size_t read_length(struct reader *r) {
    size_t length = reader_u8(r);
    if (length < 0x80) return length;
    size_t shortest = length == 0x81 ? 0x80 : 0x100;
    if (length == 0x81) {
        length = reader_u8(r);
    } else if (length == 0x82) {
        length = reader_be16(r);
    } else {
        r->bad = true;
    }
    if (length < shortest) r->bad = true;
    return length;
}

struct reader der_skip(struct reader *r) {
    uint8_t tag = reader_u8(r);
    size_t size = read_length(r);
    const uint8_t *content = reader_take(r, size);
    if (!reader_ok(r) || (tag & 0x1f) == 0x1f) return bad_content(r);
    return reader_of(content, size);
}

struct reader der_enter(struct reader *r, uint8_t tag) { return der_is_next(r, tag) ? der_skip(r) : bad_content(r); }

static int read_digits(struct reader *r, int digits) {
    int value = 0;
    while (digits-- > 0) {
        uint8_t c = reader_u8(r);
        if (c < '0' || c > '9') r->bad = true;
        value = value * 10 + (c - '0');
    }
    return r->bad ? 0 : value;
}

static uint64_t unix_of(struct reader *text, int year) {
    struct tm t = {.tm_year = year - 1900};
    t.tm_mon = read_digits(text, 2) - 1;
    t.tm_mday = read_digits(text, 2);
    t.tm_hour = read_digits(text, 2);
    t.tm_min = read_digits(text, 2);
    t.tm_sec = read_digits(text, 2);
    if (reader_u8(text) != 'Z' || !reader_done(text)) text->bad = true;
    if (t.tm_mon < 0 || t.tm_mon > 11 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 23 || t.tm_min > 59 ||
        t.tm_sec > 60)
        text->bad = true;
    time_t clock = text->bad ? 0 : timegm(&t);
    return clock > 0 ? (uint64_t)clock : 0;
}

uint64_t der_read_time(struct reader *r) {
    bool is_short = der_is_next(r, DER_UTC_TIME);
    struct reader text = der_enter(r, is_short ? DER_UTC_TIME : DER_GENERALIZED_TIME);
    int year = read_digits(&text, is_short ? 2 : 4);
    if (is_short) year += year < 50 ? 2000 : 1900;
    uint64_t unix_s = unix_of(&text, year);
    if (!reader_ok(&text)) r->bad = true;
    return unix_s;
}
