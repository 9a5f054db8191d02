#include "perf/udpload/output.h"

#include "perf/load/report.h"

/* What is true for every command. */
static json_t *begin(const struct options *o, const struct net_address *relay, double seconds) {
    char text[NET_ADDRESS_TEXT_MAX];
    json_t *root = report_begin("udpload", options_command_name(o->command), o->argc, o->argv, seconds);
    report_put_text(root, "allocate", o->allocate);
    report_put_text(root, "relay", net_address_text(relay, text));
    return root;
}

static void row_relay(const struct net_address *relay) {
    char text[NET_ADDRESS_TEXT_MAX];
    report_row("relay", "%s", net_address_text(relay, text));
}

/* ---- relay ---- */

static void put_traffic(json_t *root, const struct options *o, const struct traffic_result *r) {
    report_put(root, "pairs", r->is_spread ? json_null() : json_integer(r->flows));
    report_put_count(root, "flows", r->flows);
    report_put_text(root, "pattern", r->is_spread ? "spread" : "pairs");
    report_put_count(root, "size", o->size);
    report_put_text(root, "mode", course_mode_name(o->mode));
    report_put(root, "window", o->mode == COURSE_WINDOW ? json_integer((json_int_t)o->window) : json_null());
    report_put(root, "rate", o->mode == COURSE_RATE ? json_integer((json_int_t)o->rate) : json_null());
    report_put_count(root, "segments", o->segments);
    report_put_count(root, "burst", o->burst);
    report_put(root, "gro", json_boolean(!o->has_no_gro));
    report_put_course(root, &r->course, o->size);
}

static void rows_traffic(const struct options *o, const struct traffic_result *r) {
    report_row("load", "%u flows%s, packets of %llu bytes, %s", r->flows, r->is_spread ? " that take turns" : "",
               (unsigned long long)o->size, course_mode_name(o->mode));
    report_row("sends", "%llu in a row, runs of %llu", (unsigned long long)options_unit(o),
               (unsigned long long)o->segments);
    report_rows_course("udpload", o->server_pid, &r->course, o->size, o->mode == COURSE_RATE ? o->rate : 0);
}

bool output_relay(const struct options *o, const struct relay_result *r) {
    const struct course_result *course = &r->traffic.course;
    if (!o->wants_json) {
        row_relay(&r->relay);
        rows_traffic(o, &r->traffic);
        return report_end_table();
    }
    json_t *root = begin(o, &r->relay, meter_seconds(&course->begin, &course->end));
    put_traffic(root, o, &r->traffic);
    return report_end(root, report_server_of_course(o->server_pid, course));
}

/* ---- rtt ---- */

static bool json_rtt(const struct options *o, const struct rtt_result *r) {
    json_t *root = begin(o, &r->relay, meter_seconds(&r->begin, &r->end));
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
    row_relay(&r->relay);
    report_row("load", "%llu packets of %llu bytes per second, there and back", (unsigned long long)o->rate,
               (unsigned long long)o->size);
    report_row_percentiles("round trip", &r->rtt_ns, (double)NS_PER_US, "us");
    report_row("samples", "%llu; %llu lost, %llu sent more than 1 ms late", (unsigned long long)r->rtt_ns.count,
               (unsigned long long)r->lost, (unsigned long long)r->late);
    report_rows_cpu("udpload", o->server_pid, &r->begin, &r->end, r->verified, "round trip");
    return report_end_table();
}

/* ---- bind ---- */

static bool json_bind(const struct options *o, const struct bind_result *r) {
    double seconds = meter_seconds(&r->begin, &r->end), binds = (double)r->binds;
    json_t *root = begin(o, &r->relay, seconds);
    report_put_count(root, "at_once", o->at_once);
    report_put_count(root, "sockets", o->sockets);
    report_put_count(root, "binds", r->binds);
    report_put_count(root, "failed", r->failed);
    report_put_text(root, "failure", r->failed ? r->why : NULL);
    report_put_real(root, "binds_per_second", report_ratio(binds, seconds));
    report_put_percentiles(root, "bind_ms", &r->bind_ns, (double)NS_PER_MS);
    report_put_client(root, &r->begin, &r->end);
    report_put_real(root, "client_cpu_ms_per_bind", report_ratio(meter_client_s(&r->begin, &r->end) * 1e3, binds));
    json_t *server = report_server(o->server_pid, &r->begin, &r->end, r->rss_kib);
    if (server) {
        report_put_real(server, "cpu_ms_per_bind", report_ratio(meter_server_s(&r->begin, &r->end) * 1e3, binds));
    }
    return report_end(root, server);
}

bool output_bind(const struct options *o, const struct bind_result *r) {
    if (o->wants_json) return json_bind(o, r);
    row_relay(&r->relay);
    report_row("endpoints", "%llu, %.0f per second, %llu at once", (unsigned long long)r->binds,
               report_ratio((double)r->binds, meter_seconds(&r->begin, &r->end)), (unsigned long long)o->at_once);
    if (r->failed) report_row("failed", "%llu, the last one: %s", (unsigned long long)r->failed, r->why);
    report_row_percentiles("bound", &r->bind_ns, (double)NS_PER_MS, "ms");
    report_rows_cpu("udpload", o->server_pid, &r->begin, &r->end, r->binds, "endpoint");
    return report_end_table();
}

/* ---- idle ---- */

static double bytes_per_endpoint(const struct options *o, const struct idle_result *r) {
    return report_ratio(((double)r->rss_after_kib - (double)r->rss_before_kib) * 1024, (double)o->endpoints);
}

/* Of the active ones, or of a time in which nothing happened. */
static json_t *server_of_idle(const struct options *o, const struct idle_result *r) {
    json_t *server = o->active ? report_server_of_course(o->server_pid, &r->traffic.course)
                               : report_server(o->server_pid, &r->begin, &r->end, r->rss_after_kib);
    if (server == NULL) return NULL;
    report_put_count(server, "rss_before_kib", r->rss_before_kib);
    report_put_count(server, "rss_after_kib", r->rss_after_kib);
    report_put_real(server, "bytes_per_endpoint", bytes_per_endpoint(o, r));
    if (o->active) return server;
    report_put_real(server, "cpu_share_idle",
                    report_ratio(meter_server_s(&r->begin, &r->end), meter_seconds(&r->begin, &r->end)));
    return server;
}

static bool json_idle(const struct options *o, const struct idle_result *r) {
    const struct course_result *c = &r->traffic.course;
    json_t *root =
        begin(o, &r->relay, o->active ? meter_seconds(&c->begin, &c->end) : meter_seconds(&r->begin, &r->end));
    report_put_count(root, "endpoints", o->endpoints);
    report_put_count(root, "active", o->active);
    report_put_count(root, "sockets", o->sockets);
    report_put_real(root, "bind_seconds", r->bind_s);
    if (o->active) put_traffic(root, o, &r->traffic);
    else report_put_client(root, &r->begin, &r->end);
    return report_end(root, server_of_idle(o, r));
}

bool output_idle(const struct options *o, const struct idle_result *r) {
    if (o->wants_json) return json_idle(o, r);
    row_relay(&r->relay);
    report_row("endpoints", "%llu, bound within %.2f s", (unsigned long long)o->endpoints, r->bind_s);
    if (o->server_pid) {
        report_row("memory", "%llu KiB before, %llu KiB after: %.0f bytes per endpoint",
                   (unsigned long long)r->rss_before_kib, (unsigned long long)r->rss_after_kib,
                   bytes_per_endpoint(o, r));
    }
    if (o->active) {
        rows_traffic(o, &r->traffic);
    } else if (o->server_pid) {
        report_row("server", "%.2f %% of a core in %.1f s",
                   100 * report_ratio(meter_server_s(&r->begin, &r->end), meter_seconds(&r->begin, &r->end)),
                   meter_seconds(&r->begin, &r->end));
    }
    return report_end_table();
}
