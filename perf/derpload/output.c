#include "perf/derpload/output.h"

#include <stdio.h>

#include "core/aead.h"
#include "perf/load/report.h"

static const char *suite_name(uint8_t suite) {
    switch (suite) {
        case AEAD_AES_128_GCM: return "TLS_AES_128_GCM_SHA256";
        case AEAD_AES_256_GCM: return "TLS_AES_256_GCM_SHA384";
        case AEAD_CHACHA20_POLY1305: return "TLS_CHACHA20_POLY1305_SHA256";
    }
    return NULL;
}

/* What is true for every command. */
static json_t *begin(const struct options *o, uint8_t suite, double seconds) {
    json_t *root = report_begin("derpload", options_command_name(o->command), o->argc, o->argv, seconds);
    report_put_text(root, "url", o->url);
    report_put(root, "tls", json_boolean(suite != 0));
    report_put_text(root, "suite", suite_name(suite));
    return root;
}

static void row_transport(uint8_t suite) { report_row("transport", "%s", suite ? suite_name(suite) : "in the clear"); }

/* ---- relay ---- */

static void put_relay_load(json_t *root, const struct options *o, const struct relay_result *r) {
    report_put_count(root, "pairs", o->pairs);
    report_put_count(root, "size", o->size);
    report_put_text(root, "mode", course_mode_name(o->mode));
    report_put(root, "window", o->mode == COURSE_WINDOW ? json_integer((json_int_t)o->window) : json_null());
    report_put(root, "rate", o->mode == COURSE_RATE ? json_integer((json_int_t)o->rate) : json_null());
    report_put_count(root, "records_per_write", o->records_per_write);
    report_put_count(root, "frames_per_record", o->frames_per_record);
    report_put_text(root, "pattern", r->pattern);
    report_put_count(root, "connections", r->connections);
    report_put_count(root, "gather", o->gather);
}

static bool json_relay(const struct options *o, const struct relay_result *r) {
    json_t *root = begin(o, r->suite, meter_seconds(&r->course.begin, &r->course.end));
    put_relay_load(root, o, r);
    report_put_course(root, &r->course, o->size);
    return report_end(root, report_server_of_course(o->server_pid, &r->course));
}

static bool table_relay(const struct options *o, const struct relay_result *r) {
    row_transport(r->suite);
    report_row("load", "%s, %u clients, packets of %llu bytes, %s", r->pattern, r->connections,
               (unsigned long long)o->size, course_mode_name(o->mode));
    report_row("writes", "%llu records of %llu frames", (unsigned long long)o->records_per_write,
               (unsigned long long)o->frames_per_record);
    report_rows_course("derpload", o->server_pid, &r->course, o->size, o->mode == COURSE_RATE ? o->rate : 0);
    return report_end_table();
}

bool output_relay(const struct options *o, const struct relay_result *r) {
    return o->wants_json ? json_relay(o, r) : table_relay(o, r);
}

/* ---- rtt, echo ---- */

static bool json_rtt(const struct options *o, const struct rtt_result *r) {
    json_t *root = begin(o, r->suite, meter_seconds(&r->begin, &r->end));
    report_put_count(root, "size", o->size);
    report_put_count(root, "rate", o->rate);
    report_put(root, "realtime", json_boolean(o->is_realtime));
    report_put_percentiles(root, "rtt_us", &r->rtt_ns, (double)NS_PER_US);
    report_put_count(root, "samples", r->rtt_ns.count);
    report_put_count(root, "sent", r->sent);
    report_put_count(root, "verified", r->verified);
    report_put_count(root, "lost", r->lost);
    report_put_count(root, "reordered", r->reordered);
    report_put_count(root, "late", r->late);
    report_put_client(root, &r->begin, &r->end);
    return report_end(root, report_server(o->server_pid, &r->begin, &r->end, r->rss_kib));
}

bool output_rtt(const struct options *o, const struct rtt_result *r) {
    if (o->wants_json) return json_rtt(o, r);
    row_transport(r->suite);
    report_row("load", "%llu packets of %llu bytes per second, there and back", (unsigned long long)o->rate,
               (unsigned long long)o->size);
    report_row_percentiles("round trip", &r->rtt_ns, (double)NS_PER_US, "us");
    report_row("samples", "%llu; %llu lost, %llu sent more than 1 ms late", (unsigned long long)r->rtt_ns.count,
               (unsigned long long)r->lost, (unsigned long long)r->late);
    report_rows_cpu("derpload", o->server_pid, &r->begin, &r->end, r->verified, "round trip");
    return report_end_table();
}

/* ---- login ---- */

static bool json_login(const struct options *o, const struct login_result *r) {
    double seconds = meter_seconds(&r->begin, &r->end);
    json_t *root = begin(o, r->suite, seconds);
    report_put_count(root, "at_once", o->at_once);
    report_put_count(root, "logins", r->logins);
    report_put_count(root, "failed", r->failed);
    report_put_real(root, "logins_per_second", report_ratio((double)r->logins, seconds));
    report_put_percentiles(root, "login_ms", &r->login_ns, (double)NS_PER_MS);
    report_put_client(root, &r->begin, &r->end);
    report_put_text(root, "failure", r->failed ? r->why : NULL);
    report_put_real(root, "client_cpu_ms_per_login",
                    report_ratio(meter_client_s(&r->begin, &r->end) * 1e3, (double)r->logins));
    json_t *s = report_server(o->server_pid, &r->begin, &r->end, r->rss_kib);
    if (s)
        report_put_real(s, "cpu_ms_per_login",
                        report_ratio(meter_server_s(&r->begin, &r->end) * 1e3, (double)r->logins));
    return report_end(root, s);
}

bool output_login(const struct options *o, const struct login_result *r) {
    if (o->wants_json) return json_login(o, r);
    row_transport(r->suite);
    report_row("logins", "%llu, %.0f per second, %llu at once", (unsigned long long)r->logins,
               report_ratio((double)r->logins, meter_seconds(&r->begin, &r->end)), (unsigned long long)o->at_once);
    if (r->failed) report_row("failed", "%llu, the last one: %s", (unsigned long long)r->failed, r->why);
    report_row_percentiles("login", &r->login_ns, (double)NS_PER_MS, "ms");
    report_rows_cpu("derpload", o->server_pid, &r->begin, &r->end, r->logins, "login");
    return report_end_table();
}

/* ---- idle ---- */

static double bytes_per_connection(const struct idle_result *r) {
    return report_ratio(((double)r->rss_after_kib - (double)r->rss_before_kib) * 1024, (double)r->connections);
}

static bool json_idle(const struct options *o, const struct idle_result *r) {
    json_t *root = begin(o, r->suite, meter_seconds(&r->begin, &r->end));
    report_put_count(root, "connections", r->connections);
    report_put_real(root, "login_seconds", r->login_s);
    report_put_client(root, &r->begin, &r->end);
    json_t *s = report_server(o->server_pid, &r->begin, &r->end, r->rss_after_kib);
    if (s) {
        report_put_count(s, "rss_before_kib", r->rss_before_kib);
        report_put_count(s, "rss_after_kib", r->rss_after_kib);
        report_put_real(s, "bytes_per_connection", bytes_per_connection(r));
        report_put_real(s, "cpu_share_idle",
                        report_ratio(meter_server_s(&r->begin, &r->end), meter_seconds(&r->begin, &r->end)));
    }
    return report_end(root, s);
}

bool output_idle(const struct options *o, const struct idle_result *r) {
    if (o->wants_json) return json_idle(o, r);
    row_transport(r->suite);
    report_row("connections", "%llu, logged in within %.2f s", (unsigned long long)r->connections, r->login_s);
    if (o->server_pid == 0) return report_end_table();
    report_row("memory", "%llu KiB before, %llu KiB after: %.0f bytes per connection",
               (unsigned long long)r->rss_before_kib, (unsigned long long)r->rss_after_kib, bytes_per_connection(r));
    report_row("server", "%.2f %% of a core in %.1f s",
               100 * report_ratio(meter_server_s(&r->begin, &r->end), meter_seconds(&r->begin, &r->end)),
               meter_seconds(&r->begin, &r->end));
    return report_end_table();
}
