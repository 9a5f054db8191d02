#include "perf/load/report.h"

#include <stdarg.h>
#include <stdio.h>

/* From here on the load's own core is the limit, not the server. */
#define FULL_SHARE 0.95

/* ---- JSON ---- */

void report_put(json_t *root, const char *name, json_t *value) { (void)json_object_set_new(root, name, value); }

void report_put_count(json_t *root, const char *name, uint64_t n) {
    report_put(root, name, json_integer((json_int_t)n));
}

void report_put_real(json_t *root, const char *name, double value) { report_put(root, name, json_real(value)); }

void report_put_text(json_t *root, const char *name, const char *text) {
    report_put(root, name, text ? json_string(text) : json_null());
}

json_t *report_begin(const char *tool, const char *command, int argc, char **argv, double seconds) {
    json_t *root = json_object(), *words = json_array();
    for (int i = 0; i < argc; i++) (void)json_array_append_new(words, json_string(argv[i]));
    report_put_text(root, "tool", tool);
    report_put_text(root, "version", RINGRELAY_VERSION);
    report_put_text(root, "command", command);
    report_put(root, "arguments", words);
    report_put_real(root, "seconds", seconds);
    return root;
}

void report_put_client(json_t *root, const struct meter_reading *from, const struct meter_reading *to) {
    double share = report_ratio(meter_client_s(from, to), meter_seconds(from, to));
    report_put_real(root, "client_cpu_s", meter_client_s(from, to));
    report_put_real(root, "client_cpu_share", share);
    report_put(root, "load_is_full", json_boolean(share > FULL_SHARE));
}

json_t *report_server(int pid, const struct meter_reading *from, const struct meter_reading *to, uint64_t rss_kib) {
    if (pid == 0) return NULL;
    json_t *root = json_object();
    report_put_count(root, "pid", (uint64_t)pid);
    report_put_real(root, "cpu_s", meter_server_s(from, to));
    report_put_real(root, "cpu_share", report_ratio(meter_server_s(from, to), meter_seconds(from, to)));
    if (rss_kib) report_put_count(root, "rss_kib", rss_kib);
    return root;
}

void report_put_percentiles(json_t *root, const char *name, const struct histogram *h, double unit_ns) {
    json_t *list = json_object();
    report_put_real(list, "min", h->count ? (double)h->min / unit_ns : 0);
    report_put_real(list, "p50", (double)histogram_percentile(h, 5000) / unit_ns);
    report_put_real(list, "p90", (double)histogram_percentile(h, 9000) / unit_ns);
    report_put_real(list, "p99", (double)histogram_percentile(h, 9900) / unit_ns);
    report_put_real(list, "p99_9", (double)histogram_percentile(h, 9990) / unit_ns);
    report_put_real(list, "max", (double)h->max / unit_ns);
    report_put(root, name, list);
}

static double us_per_packet(double seconds, const struct course_result *r) {
    return report_ratio(seconds * 1e6, (double)r->verified);
}

void report_put_course(json_t *root, const struct course_result *r, uint64_t size) {
    double seconds = meter_seconds(&r->begin, &r->end);
    report_put_count(root, "sent", r->sent);
    report_put_count(root, "verified", r->verified);
    report_put_count(root, "lost", r->lost);
    report_put_count(root, "reordered", r->reordered);
    report_put_real(root, "loss", report_ratio((double)r->lost, (double)r->sent));
    report_put_real(root, "packets_per_second", report_ratio((double)r->verified, seconds));
    report_put_real(root, "bytes_per_second", report_ratio((double)(r->verified * size), seconds));
    report_put(root, "fairness", json_pack("{s:f, s:f}", "min_share", r->min_share, "max_share", r->max_share));
    report_put_real(root, "behind", report_ratio((double)r->behind, (double)r->sent));
    report_put_client(root, &r->begin, &r->end);
    report_put_real(root, "client_cpu_us_per_packet", us_per_packet(meter_client_s(&r->begin, &r->end), r));
}

json_t *report_server_of_course(int pid, const struct course_result *r) {
    json_t *root = report_server(pid, &r->begin, &r->end, r->rss_kib);
    if (root) report_put_real(root, "cpu_us_per_packet", us_per_packet(meter_server_s(&r->begin, &r->end), r));
    return root;
}

bool report_end(json_t *root, json_t *server) {
    report_put(root, "server", server ? server : json_null());
    bool is_written = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return is_written && fflush(stdout) == 0;
}

/* ---- tables ---- */

void report_row(const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("%-12s ", name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void report_rows_cpu(const char *tool, int pid, const struct meter_reading *from, const struct meter_reading *to,
                     uint64_t count, const char *what) {
    double seconds = meter_seconds(from, to), client_s = meter_client_s(from, to), server_s = meter_server_s(from, to);
    if (pid) {
        report_row("server", "%.3f us per %s, %.0f %% of a core", report_ratio(server_s * 1e6, (double)count), what,
                   100 * report_ratio(server_s, seconds));
    }
    report_row(tool, "%.3f us per %s, %.0f %% of a core%s", report_ratio(client_s * 1e6, (double)count), what,
               100 * report_ratio(client_s, seconds),
               report_ratio(client_s, seconds) > FULL_SHARE ? ": full, the server could do more" : "");
}

void report_row_percentiles(const char *name, const struct histogram *h, double unit_ns, const char *unit) {
    report_row(name, "%s: min %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f", unit,
               h->count ? (double)h->min / unit_ns : 0.0, (double)histogram_percentile(h, 5000) / unit_ns,
               (double)histogram_percentile(h, 9000) / unit_ns, (double)histogram_percentile(h, 9900) / unit_ns,
               (double)histogram_percentile(h, 9990) / unit_ns, (double)h->max / unit_ns);
}

void report_rows_course(const char *tool, int pid, const struct course_result *r, uint64_t size, uint64_t rate) {
    double seconds = meter_seconds(&r->begin, &r->end), per_second = report_ratio((double)r->verified, seconds);
    report_row("measured", "%.2f s", seconds);
    report_row("verified", "%llu packets: %.0f per second, %.1f MB/s", (unsigned long long)r->verified, per_second,
               per_second * (double)size / 1e6);
    report_row("lost", "%llu of %llu sent (%.4f %%), %llu reordered", (unsigned long long)r->lost,
               (unsigned long long)r->sent, 100 * report_ratio((double)r->lost, (double)r->sent),
               (unsigned long long)r->reordered);
    report_row("fairness", "flows had %.2f to %.2f of the mean", r->min_share, r->max_share);
    if (rate) {
        report_row("schedule", "%llu per second; %.3f %% left more than 1 ms late", (unsigned long long)rate,
                   100 * report_ratio((double)r->behind, (double)r->sent));
    }
    report_rows_cpu(tool, pid, &r->begin, &r->end, r->verified, "packet");
}

bool report_end_table(void) { return fflush(stdout) == 0; }
