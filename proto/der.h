/* der.h - writing and reading DER, as much of it as certificates need.
 *
 * Writing nests: der_begin() leaves the length open, der_end() puts it in and moves the content, so that code has the
 * shape of the structure. Reading nests by cursors: der_enter() gives the content of the next element as a reader of
 * its own, which cannot see beyond it. Errors are sticky in both directions, as in core/bytes.h: a parser is a straight
 * line that asks once at the end, and a content that could not be entered is a bad reader.
 *
 * Strict on reading: definite lengths in their shortest form only, up to 64 KiB; tags of one byte.
 * Threads: pure functions. Memory: none.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"

enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_OID = 0x06,
    DER_UTF8_STRING = 0x0c,
    DER_PRINTABLE_STRING = 0x13,
    DER_T61_STRING = 0x14,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT = 0x80,              // + number: [n], its content as it is
    DER_CONTEXT_CONSTRUCTED = 0xa0,  // + number: [n] around further elements
};

/* Opens an element; the result is for der_end. NULL when there is no room. */
must_use uint8_t *der_begin(struct writer *w, uint8_t tag);

/* Closes it. Elements close in the reverse order of opening. */
void der_end(struct writer *w, uint8_t *content);

/* A whole element. */
void der_write(struct writer *w, uint8_t tag, const void *content, size_t size);

/* A non-negative INTEGER from big-endian bytes of any length: leading zeros go, one comes where the sign needs it. */
void der_write_integer(struct writer *w, const uint8_t *bytes, size_t size);

/* A BIT STRING of whole bytes. */
void der_write_bits(struct writer *w, const void *bytes, size_t size);

/* UTCTime until the end of 2049, then GeneralizedTime, as RFC 5280 has it. Before the year 10000. */
void der_write_time(struct writer *w, uint64_t unix_s);

/* Is the next element of this tag? False at the end. */
bool der_is_next(const struct reader *r, uint8_t tag);

/* The content of the next element, which has to be of this tag, and moves behind it. */
must_use struct reader der_enter(struct reader *r, uint8_t tag);

/* Past the next element, whatever it is; returns its content. */
struct reader der_skip(struct reader *r);

/* Either kind of time, in UTC and with seconds, as Unix time; before 1970 is 0. */
must_use uint64_t der_read_time(struct reader *r);

static inline bool der_equals(const struct reader *content, const void *bytes, size_t size) {
    return reader_ok(content) && reader_left(content) == size && (size == 0 || memcmp(content->at, bytes, size) == 0);
}
