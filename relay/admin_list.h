/* admin_list.h - from the rows of a dump to the answer of "clients": which, in which order, and as JSON.
 *
 * Threads: the office. Memory: the numbers of the rows in their order, four bytes for each, are the caller's.
 * Not here: the rows (relay/dump.h), and who asks (relay/admin.h).
 */
#pragma once

#include "core/bytes.h"
#include "relay/admin_query.h"
#include "relay/dump.h"

/* Room for one row of the answer, with its comma. */
enum { ADMIN_ROW_MAX = 1024 };

bool admin_list_matches(const struct dump_row *row, const struct admin_query *query);

/* Writes the numbers of the rows that are asked for to `order` (rows_count places) as they are sorted; how many. The
 * limit is not applied. */
uint32_t admin_list_sort(const struct dump *dump, const struct admin_query *query, uint32_t *order);

/* One row as a JSON object. `wall_s`: now. The writer goes bad when it does not fit. */
void admin_list_write(struct writer *w, const struct dump_row *row, uint64_t wall_s);
