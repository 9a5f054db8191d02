/* report.h - results of load generators: members of a JSON object, or rows of a table for people.
 *
 * The same names mean the same thing in all tools and commands (perf/README.md); times and shares are numbers, what was
 * not measured is null.
 *
 *     json_t *root = report_begin("derpload", "relay", argc, argv, seconds);
 *     report_put_...
 *     return report_end(root, report_server(pid, &begin, &end, rss_kib));
 *
 * Threads: one. Memory: jansson's, for a moment. Errors: false when standard output does not take it.
 */
#pragma once

#include <jansson.h>

#include "perf/load/course.h"
#include "perf/load/histogram.h"
#include "perf/load/meter.h"

static inline double report_ratio(double a, double b) { return b > 0 ? a / b : 0; }

/* ---- JSON ---- */

json_t *report_begin(const char *tool, const char *command, int argc, char **argv, double seconds);
void report_put(json_t *root, const char *name, json_t *value);
void report_put_count(json_t *root, const char *name, uint64_t n);
void report_put_real(json_t *root, const char *name, double value);
void report_put_text(json_t *root, const char *name, const char *text);  // NULL: null
void report_put_percentiles(json_t *root, const char *name, const struct histogram *h, double unit_ns);

/* What the load itself used. */
void report_put_client(json_t *root, const struct meter_reading *from, const struct meter_reading *to);

/* The result of a course: from "sent" to "client_cpu_us_per_packet". `size` is that of a packet's data. */
void report_put_course(json_t *root, const struct course_result *r, uint64_t size);

/* What the server used; NULL when none is watched (pid 0). */
json_t *report_server(int pid, const struct meter_reading *from, const struct meter_reading *to, uint64_t rss_kib);

/* The same with CPU per packet of a course. */
json_t *report_server_of_course(int pid, const struct course_result *r);

must_use bool report_end(json_t *root, json_t *server);

/* ---- tables ---- */

void report_row(const char *name, const char *format, ...) printf_like(2, 3);

/* `what` is "packet" or "login". `pid` 0: no server is watched. */
void report_rows_cpu(const char *tool, int pid, const struct meter_reading *from, const struct meter_reading *to,
                     uint64_t count, const char *what);
void report_row_percentiles(const char *name, const struct histogram *h, double unit_ns, const char *unit);

/* From "measured" on; `rate` is the schedule's, 0 when there is none. */
void report_rows_course(const char *tool, int pid, const struct course_result *r, uint64_t size, uint64_t rate);

must_use bool report_end_table(void);
