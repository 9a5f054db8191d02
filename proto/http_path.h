/* http_path.h - the target of a request as Go's mux and net/url understand it: clean paths, escapes, queries.
 *
 * A path is matched in its escaped form, segment by segment: "%65" is an "e", but "%2F" is a slash inside a segment and
 * never one between two. A path that is not clean (double slashes, "." and "..") is not matched at all: its asker is
 * sent to the clean one. Escapes do not count for that: "%2e%2e" climbs nowhere.
 * A query is pairs between '&', '+' is a blank; a pair with a ';' or a broken escape does not exist.
 *
 * Threads: pure functions. Memory: the caller's. Errors: false; outputs are bounded by their rooms.
 * Not here: which paths there are (relay/front_pages.c).
 */
#pragma once

#include "proto/http.h"

/* Each '%' is followed by two hex digits. Go answers 400 to others. */
must_use bool http_path_is_valid(struct http_view path);

/* No empty segment but a last one, no "." and no "..", and a slash at the start. */
must_use bool http_path_is_clean(struct http_view path);

/* Writes the clean form, which has no more than path.size + 1 bytes. False: no room. */
must_use bool http_path_clean(struct http_view path, struct writer *w);

/* Is `path` that of `route`, or does it start with it? `route` is plain text. */
must_use bool http_path_is(struct http_view path, const char *route);
must_use bool http_path_starts_with(struct http_view path, const char *route);

/* The first value of `name` in a query, unescaped and terminated, into `to`. False: there is none, it is empty, it has
 * a NUL, or it does not fit. */
must_use bool http_query_value(struct http_view query, const char *name, char *to, size_t room);

/* Text for a Location header: bytes that may not stand in one are escaped. */
void http_write_location(struct writer *w, struct http_view text);

/* Text for HTML, between tags or in a quoted attribute. */
void http_write_html(struct writer *w, struct http_view text);
