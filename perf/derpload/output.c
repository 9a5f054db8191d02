#include "perf/derpload/output.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/aead.h"

/* From here on the load's own core is the limit, not the server. */
#define FULL_SHARE 0.95

static const char *suite_name(uint8_t suite) {
    switch (suite) {
        case AEAD_AES_128_GCM: return "TLS_AES_128_GCM_SHA256";
        case AEAD_AES_256_GCM: return "TLS_AES_256_GCM_SHA384";
        case AEAD_CHACHA20_POLY1305: return "TLS_CHACHA20_POLY1305_SHA256";
    }
    return NULL;
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

/* ---- JSON ---- */

static void put(json_t *root, const char *name, json_t *value) { (void)json_object_set_new(root, name, value); }
static void put_count(json_t *root, const char *name, uint64_t n) { put(root, name, json_integer((json_int_t)n)); }
static void put_real(json_t *root, const char *name, double value) { put(root, name, json_real(value)); }
static void put_text(json_t *root, const char *name, const char *text) {
    put(root, name, text ? json_string(text) : json_null());
}

static json_t *words(const struct options *o) {
    json_t *list = json_array();
    for (int i = 0; i < o->argc; i++) (void)json_array_append_new(list, json_string(o->argv[i]));
    return list;
}

/* What is true for every command. */
static json_t *begin(const struct options *o, uint8_t suite, double seconds) {
    json_t *root = json_object();
    put_text(root, "tool", "derpload");
    put_text(root, "version", RINGRELAY_VERSION);
    put_text(root, "command", options_command_name(o->command));
    put_text(root, "url", o->url);
    put(root, "arguments", words(o));
    put(root, "tls", json_boolean(suite != 0));
    put_text(root, "suite", suite_name(suite));
    put_real(root, "seconds", seconds);
    return root;
}

static void put_client(json_t *root, const struct meter_reading *from, const struct meter_reading *to) {
    double share = ratio(meter_client_s(from, to), meter_seconds(from, to));
    put_real(root, "client_cpu_s", meter_client_s(from, to));
    put_real(root, "client_cpu_share", share);
    put(root, "load_is_full", json_boolean(share > FULL_SHARE));
}

/* NULL when no server is watched. */
static json_t *server(const struct options *o, const struct meter_reading *from, const struct meter_reading *to,
                      uint64_t rss_kib) {
    if (o->server_pid == 0) return NULL;
    json_t *root = json_object();
    put_count(root, "pid", (uint64_t)o->server_pid);
    put_real(root, "cpu_s", meter_server_s(from, to));
    put_real(root, "cpu_share", ratio(meter_server_s(from, to), meter_seconds(from, to)));
    if (rss_kib) put_count(root, "rss_kib", rss_kib);
    return root;
}

static bool end(json_t *root, json_t *server_json) {
    put(root, "server", server_json ? server_json : json_null());
    bool is_written = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 && putchar('\n') != EOF;
    json_decref(root);
    return is_written && fflush(stdout) == 0;
}

/* ---- tables ---- */

static void row(const char *name, const char *format, ...) printf_like(2, 3);

static void row(const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("%-12s ", name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

static void row_transport(uint8_t suite) { row("transport", "%s", suite ? suite_name(suite) : "in the clear"); }

/* `what` is "packet" or "login". */
static void rows_cpu(const struct options *o, const struct meter_reading *from, const struct meter_reading *to,
                     uint64_t count, const char *what) {
    double seconds = meter_seconds(from, to), client_s = meter_client_s(from, to), server_s = meter_server_s(from, to);
    if (o->server_pid) {
        row("server", "%.3f us per %s, %.0f %% of a core", ratio(server_s * 1e6, (double)count), what,
            100 * ratio(server_s, seconds));
    }
    row("derpload", "%.3f us per %s, %.0f %% of a core%s", ratio(client_s * 1e6, (double)count), what,
        100 * ratio(client_s, seconds),
        ratio(client_s, seconds) > FULL_SHARE ? ": full, the server could do more" : "");
}

static void rows_percentiles(const char *name, const struct histogram *h, double unit_ns, const char *unit) {
    row(name, "%s: min %.1f  p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f", unit,
        h->count ? (double)h->min / unit_ns : 0.0, (double)histogram_percentile(h, 5000) / unit_ns,
        (double)histogram_percentile(h, 9000) / unit_ns, (double)histogram_percentile(h, 9900) / unit_ns,
        (double)histogram_percentile(h, 9990) / unit_ns, (double)h->max / unit_ns);
}

static bool end_table(void) { return fflush(stdout) == 0; }

/* ---- relay ---- */

static void put_relay_load(json_t *root, const struct options *o, const struct relay_result *r) {
    put_count(root, "pairs", o->pairs);
    put_count(root, "size", o->size);
    put_text(root, "mode", options_mode_name(o->mode));
    put(root, "window", o->mode == MODE_WINDOW ? json_integer((json_int_t)o->window) : json_null());
    put(root, "rate", o->mode == MODE_RATE ? json_integer((json_int_t)o->rate) : json_null());
    put_count(root, "records_per_write", o->records_per_write);
    put_count(root, "frames_per_record", o->frames_per_record);
    put_text(root, "pattern", r->pattern);
    put_count(root, "connections", r->connections);
    put_count(root, "gather", o->gather);
}

static bool json_relay(const struct options *o, const struct relay_result *r) {
    double seconds = meter_seconds(&r->begin, &r->end);
    json_t *root = begin(o, r->suite, seconds);
    put_relay_load(root, o, r);
    put_count(root, "sent", r->sent);
    put_count(root, "verified", r->verified);
    put_count(root, "lost", r->lost);
    put_count(root, "reordered", r->reordered);
    put_real(root, "loss", ratio((double)r->lost, (double)r->sent));
    put_real(root, "packets_per_second", ratio((double)r->verified, seconds));
    put_real(root, "bytes_per_second", ratio((double)(r->verified * o->size), seconds));
    put(root, "fairness", json_pack("{s:f, s:f}", "min_share", r->min_share, "max_share", r->max_share));
    put_real(root, "behind", ratio((double)r->behind, (double)r->sent));
    put_client(root, &r->begin, &r->end);
    put_real(root, "client_cpu_us_per_packet", ratio(meter_client_s(&r->begin, &r->end) * 1e6, (double)r->verified));
    json_t *s = server(o, &r->begin, &r->end, r->rss_kib);
    if (s) {
        put_real(s, "cpu_us_per_packet", ratio(meter_server_s(&r->begin, &r->end) * 1e6, (double)r->verified));
    }
    return end(root, s);
}

static bool table_relay(const struct options *o, const struct relay_result *r) {
    double seconds = meter_seconds(&r->begin, &r->end), rate = ratio((double)r->verified, seconds);
    row_transport(r->suite);
    row("load", "%s, %u clients, packets of %llu bytes, %s", r->pattern, r->connections, (unsigned long long)o->size,
        options_mode_name(o->mode));
    row("writes", "%llu records of %llu frames", (unsigned long long)o->records_per_write,
        (unsigned long long)o->frames_per_record);
    row("measured", "%.2f s", seconds);
    row("verified", "%llu packets: %.0f per second, %.1f MB/s", (unsigned long long)r->verified, rate,
        rate * (double)o->size / 1e6);
    row("lost", "%llu of %llu sent (%.4f %%), %llu reordered", (unsigned long long)r->lost, (unsigned long long)r->sent,
        100 * ratio((double)r->lost, (double)r->sent), (unsigned long long)r->reordered);
    row("fairness", "flows had %.2f to %.2f of the mean", r->min_share, r->max_share);
    if (o->mode == MODE_RATE) {
        row("schedule", "%llu per second; %.3f %% left more than 1 ms late", (unsigned long long)o->rate,
            100 * ratio((double)r->behind, (double)r->sent));
    }
    rows_cpu(o, &r->begin, &r->end, r->verified, "packet");
    return end_table();
}

bool output_relay(const struct options *o, const struct relay_result *r) {
    return o->wants_json ? json_relay(o, r) : table_relay(o, r);
}

/* ---- rtt, echo ---- */

static void put_percentiles(json_t *root, const char *name, const struct histogram *h, double unit_ns) {
    json_t *list = json_object();
    put_real(list, "min", h->count ? (double)h->min / unit_ns : 0);
    put_real(list, "p50", (double)histogram_percentile(h, 5000) / unit_ns);
    put_real(list, "p90", (double)histogram_percentile(h, 9000) / unit_ns);
    put_real(list, "p99", (double)histogram_percentile(h, 9900) / unit_ns);
    put_real(list, "p99_9", (double)histogram_percentile(h, 9990) / unit_ns);
    put_real(list, "max", (double)h->max / unit_ns);
    put(root, name, list);
}

static bool json_rtt(const struct options *o, const struct rtt_result *r) {
    json_t *root = begin(o, r->suite, meter_seconds(&r->begin, &r->end));
    put_count(root, "size", o->size);
    put_count(root, "rate", o->rate);
    put(root, "realtime", json_boolean(o->is_realtime));
    put_percentiles(root, "rtt_us", &r->rtt_ns, (double)NS_PER_US);
    put_count(root, "samples", r->rtt_ns.count);
    put_count(root, "sent", r->sent);
    put_count(root, "verified", r->verified);
    put_count(root, "lost", r->lost);
    put_count(root, "reordered", r->reordered);
    put_count(root, "late", r->late);
    put_client(root, &r->begin, &r->end);
    return end(root, server(o, &r->begin, &r->end, r->rss_kib));
}

bool output_rtt(const struct options *o, const struct rtt_result *r) {
    if (o->wants_json) return json_rtt(o, r);
    row_transport(r->suite);
    row("load", "%llu packets of %llu bytes per second, there and back", (unsigned long long)o->rate,
        (unsigned long long)o->size);
    rows_percentiles("round trip", &r->rtt_ns, (double)NS_PER_US, "us");
    row("samples", "%llu; %llu lost, %llu sent more than 1 ms late", (unsigned long long)r->rtt_ns.count,
        (unsigned long long)r->lost, (unsigned long long)r->late);
    rows_cpu(o, &r->begin, &r->end, r->verified, "round trip");
    return end_table();
}

/* ---- login ---- */

static bool json_login(const struct options *o, const struct login_result *r) {
    double seconds = meter_seconds(&r->begin, &r->end);
    json_t *root = begin(o, r->suite, seconds);
    put_count(root, "at_once", o->at_once);
    put_count(root, "logins", r->logins);
    put_count(root, "failed", r->failed);
    put_real(root, "logins_per_second", ratio((double)r->logins, seconds));
    put_percentiles(root, "login_ms", &r->login_ns, (double)NS_PER_MS);
    put_client(root, &r->begin, &r->end);
    put_text(root, "failure", r->failed ? r->why : NULL);
    put_real(root, "client_cpu_ms_per_login", ratio(meter_client_s(&r->begin, &r->end) * 1e3, (double)r->logins));
    json_t *s = server(o, &r->begin, &r->end, r->rss_kib);
    if (s) put_real(s, "cpu_ms_per_login", ratio(meter_server_s(&r->begin, &r->end) * 1e3, (double)r->logins));
    return end(root, s);
}

bool output_login(const struct options *o, const struct login_result *r) {
    if (o->wants_json) return json_login(o, r);
    row_transport(r->suite);
    row("logins", "%llu, %.0f per second, %llu at once", (unsigned long long)r->logins,
        ratio((double)r->logins, meter_seconds(&r->begin, &r->end)), (unsigned long long)o->at_once);
    if (r->failed) row("failed", "%llu, the last one: %s", (unsigned long long)r->failed, r->why);
    rows_percentiles("login", &r->login_ns, (double)NS_PER_MS, "ms");
    rows_cpu(o, &r->begin, &r->end, r->logins, "login");
    return end_table();
}

/* ---- idle ---- */

static double bytes_per_connection(const struct idle_result *r) {
    return ratio(((double)r->rss_after_kib - (double)r->rss_before_kib) * 1024, (double)r->connections);
}

static bool json_idle(const struct options *o, const struct idle_result *r) {
    json_t *root = begin(o, r->suite, meter_seconds(&r->begin, &r->end));
    put_count(root, "connections", r->connections);
    put_real(root, "login_seconds", r->login_s);
    put_client(root, &r->begin, &r->end);
    json_t *s = server(o, &r->begin, &r->end, r->rss_after_kib);
    if (s) {
        put_count(s, "rss_before_kib", r->rss_before_kib);
        put_count(s, "rss_after_kib", r->rss_after_kib);
        put_real(s, "bytes_per_connection", bytes_per_connection(r));
        put_real(s, "cpu_share_idle", ratio(meter_server_s(&r->begin, &r->end), meter_seconds(&r->begin, &r->end)));
    }
    return end(root, s);
}

bool output_idle(const struct options *o, const struct idle_result *r) {
    if (o->wants_json) return json_idle(o, r);
    row_transport(r->suite);
    row("connections", "%llu, logged in within %.2f s", (unsigned long long)r->connections, r->login_s);
    if (o->server_pid == 0) return end_table();
    row("memory", "%llu KiB before, %llu KiB after: %.0f bytes per connection", (unsigned long long)r->rss_before_kib,
        (unsigned long long)r->rss_after_kib, bytes_per_connection(r));
    row("server", "%.2f %% of a core in %.1f s",
        100 * ratio(meter_server_s(&r->begin, &r->end), meter_seconds(&r->begin, &r->end)),
        meter_seconds(&r->begin, &r->end));
    return end_table();
}
