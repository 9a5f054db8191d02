/* gojson.h - small JSON objects, read as Go's encoding/json reads them into a struct.
 *
 * What it is: the thin layer between jansson, which parses, and the two places that read JSON written by Go
 * programs: the login (login.h) and the key file (key.h). It exists because "as Go reads it" is visible on the wire:
 * what Go accepts, old clients may send.
 *
 * Model: a document is a list of members in the order in which they were written, duplicates included. The reader
 * walks the list, compares each name (gojson_name_is ignores case as Go does), checks each value, and lets the last
 * one win. `null` as a whole document is an empty list.
 *
 *     struct gojson doc;
 *     if (!gojson_open(&doc, text, size)) return BAD_JSON;
 *     for (size_t i = 0; i < doc.count; i++) ... gojson_name(&doc, i) ... gojson_value(&doc, i) ...
 *     gojson_close(&doc);
 *
 * How: jansson keeps one value per name, and refuses some texts that Go accepts. So the text is edited in place
 * before jansson sees it, byte for byte, never growing:
 *   - the outermost {"a":1,"b":2} becomes ["a",1,"b",2], which keeps order and duplicates;
 *   - in strings, invalid UTF-8 becomes DEL, as do \u0000 and lone surrogates (\u007f): all are legal in Go, none can
 *     occur in a name or value that we compare, so only that they are not understood matters;
 *   - well-formed numbers that are not 64-bit integers become 0.5: fractions, exponents, giants. No member we know
 *     takes one, and in unknown members jansson would refuse the giants.
 * A NUL byte is refused at once. Everything else, including every syntax error, is left to jansson to judge.
 *
 * What remains different from Go:
 *   - nesting deeper than 2048 is refused (Go: 10000);
 *   - a JSON null leaves a member as it is, which our callers do by themselves for each kind;
 *   - replaced characters read back as DEL, not as U+FFFD.
 *
 * Bounds: time and memory are linear in `size`; a hostile 256 KiB makes jansson allocate 20 MB for some 30 ms.
 * Threads: any, one document each; jansson allocates, so never on a worker (law L2).
 * Memory: freed by gojson_close(). Documents hold secrets: gojson_init() makes jansson wipe what it frees.
 * Errors: false, nothing to close. Not here: writing JSON (a printf does), large or streamed documents.
 */
#pragma once

#include <jansson.h>

#include "core/base.h"

struct gojson {
    json_t *list;  // name, value, name, value, ...; NULL for an empty document
    size_t count;  // of members
};

/* Once, before the first document and before other threads exist: installs jansson's allocator, for the process.
 * Without it documents work, but freed copies of secrets stay in the heap. */
void gojson_init(void);

/* Parses `text`, which is overwritten. False: not a JSON object or null, or no memory. */
must_use bool gojson_open(struct gojson *doc, char *text, size_t size);

void gojson_close(struct gojson *doc);

/* idx < count. The name is NUL-terminated UTF-8 without a NUL inside. Both live until gojson_close(). */
const char *gojson_name(const struct gojson *doc, size_t idx);
const json_t *gojson_value(const struct gojson *doc, size_t idx);

/* Does Go take `name` for the struct field `field`, which is plain ASCII? Letters in any case; and, since Go folds
 * Unicode, the long s (U+017F) for s and the Kelvin sign (U+212A) for k. */
bool gojson_name_is(const char *name, const char *field);
