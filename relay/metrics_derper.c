/* metrics_derper.c - derper's figures under derper's names, in derper's order (relay/metrics_out.h). */
#include <stdio.h>

#include "relay/metrics_out.h"

#define AT(field) offsetof(struct metrics, field)

/* ---- figures that are not one counter ---- */

/* The mean over the threads that have queues; derper's unit. */
static void queue_time(struct metrics_out *o) {
    uint64_t sum_ns = 0, threads = 0;
    for (size_t i = 0; i < o->blocks_count; i++) {
        uint64_t ns = stat_get(&o->blocks[i]->queue_time_ns);
        sum_ns += ns;
        threads += ns > 0;
    }
    double mean_ms = threads ? (double)sum_ns / (double)threads / (double)NS_PER_MS : 0;
    metrics_out_float(o, "average_queue_duration_ms", NULL, mean_ms);
}

static void received_kinds(struct metrics_out *o) {
    static const char name[] = "counter_packets_received_kind";
    size_t offset = AT(packets_received_kind);
    metrics_out_map_begin(o, name, NULL);
    metrics_out_map_item(o, name, "kind", "disco", metrics_out_sum(o, offset));
    metrics_out_map_item(o, name, "kind", "other", metrics_out_sum(o, offset + sizeof(struct stat_counter)));
    metrics_out_map_end(o);
}

static void tcp_rtt(struct metrics_out *o) {
    static const char *const labels[RTT_BUCKET_COUNT] = {
        [RTT_10_MS] = "10ms",   [RTT_20_MS] = "20ms",     [RTT_50_MS] = "50ms",   [RTT_100_MS] = "100ms",
        [RTT_150_MS] = "150ms", [RTT_250_MS] = "250ms",   [RTT_500_MS] = "500ms", [RTT_LONGER] = "inf",
        [RTT_ERROR] = "error",  [RTT_NON_TCP] = "non-tcp"};
    metrics_out_map_begin(o, "counter_tcp_rtt", NULL);
    for (size_t i = 0; i < RTT_BUCKET_COUNT; i++) {
        metrics_out_map_item(o, "counter_tcp_rtt", "le", labels[i],
                             metrics_out_sum(o, AT(tcp_rtt) + i * sizeof(struct stat_counter)));
    }
    metrics_out_map_end(o);
}

static void file_descriptors(struct metrics_out *o) {
    metrics_out_number(o, "gauge_current_file_descriptors", NULL, o->process->open_fds);
}

static void reserved_memory(struct metrics_out *o) {
    metrics_out_number(o, "gauge_memstats_sys0", NULL, o->process->memory_bytes);
}

/* derper shows these only with -rate-config. */
static void rate_limits(struct metrics_out *o) {
    const struct rate_limit *rate = o->process->rate;
    if (rate == NULL) return;
    metrics_out_number(o, "rate_limit_per_client_burst_bytes", NULL, rate->burst_bytes);
    metrics_out_number(o, "rate_limit_per_client_bytes_per_second", NULL, rate->bytes_per_s);
    metrics_out_number(o, "rate_limit_per_client_waited", NULL, metrics_out_sum(o, AT(rate_waits)));
}

static void version_text(struct metrics_out *o) {
    if (o->is_json) metrics_out_line(o, "%s\"version\": \"%s\"", o->has_item ? ", " : "", o->process->version);
}

/* ---- the object derp ---- */

struct row {
    const char *name;
    const char *bare;  // type when the name has no prefix; NULL: none
    size_t offset;
    void (*write)(struct metrics_out *);  // NULL: the counter at `offset`
};

#define COUNTER(name, field) {name, "counter", AT(field), NULL}
#define GAUGE(name, field) {"gauge_" name, NULL, AT(field), NULL}
#define BY(function) {NULL, NULL, 0, function}

#define INDEX(field, name, ...) HISTOGRAM_##field,
enum { METRICS_HISTOGRAMS(INDEX) };
#undef INDEX

#define HISTOGRAM(field, name, ...) \
    static void write_##field(struct metrics_out *o) { histogram(o, HISTOGRAM_##field, AT(field)); }

struct bounds {
    const char *name;
    uint32_t count;
    uint32_t bounds[METRICS_BUCKETS_MAX - 1];
};

static const struct bounds all_bounds[] = {
#define BOUNDS(field, name, ...) {name, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), {__VA_ARGS__}},
    METRICS_HISTOGRAMS(BOUNDS)
#undef BOUNDS
};

static void observe(struct metrics_histogram *histogram, const struct bounds *bounds, uint32_t value) {
    uint32_t idx = 0;
    while (idx < bounds->count && value > bounds->bounds[idx]) idx++;
    stat_add(&histogram->buckets[idx], 1);
    stat_add(&histogram->sum, value);
}

void metrics_observe_frames(struct metrics *metrics, uint32_t frames) {
    observe(&metrics->frames_per_send, &all_bounds[HISTOGRAM_frames_per_send], frames);
}

/* derper's loop ends when nothing new has come while it wrote; ours is one turn. */
void metrics_observe_presence(struct metrics *metrics, uint32_t events) {
    if (events == 0) return;
    observe(&metrics->mesh_batch, &all_bounds[HISTOGRAM_mesh_batch], events);
    observe(&metrics->mesh_loops, &all_bounds[HISTOGRAM_mesh_loops], 1);
}

static void histogram_bucket(struct metrics_out *o, const char *name, const char *le, uint64_t n) {
    if (o->is_json) {
        metrics_out_line(o, "\"%s\": %llu,", le, (unsigned long long)n);
    } else {
        metrics_out_line(o, "%s_bucket{le=\"%s\"} %llu\n", name, le, (unsigned long long)n);
    }
}

/* Buckets are cumulative where they are shown and are not in memory. */
static void histogram(struct metrics_out *o, size_t idx, size_t offset) {
    const struct bounds *bounds = &all_bounds[idx];
    uint64_t n = 0, sum = metrics_out_sum(o, offset + offsetof(struct metrics_histogram, sum));
    if (o->is_json) {
        metrics_out_line(o, "%s\"counter_%s\": {", o->has_item ? ", " : "", bounds->name + strlen("derp_"));
        o->has_item = true;
    } else {
        metrics_out_line(o, "# TYPE %s histogram\n", bounds->name);
    }
    for (uint32_t i = 0; i <= bounds->count; i++) {
        char le[16] = "+Inf";
        if (i < bounds->count) snprintf(le, sizeof(le), "%u", bounds->bounds[i]);
        n += metrics_out_sum(o, offset + i * sizeof(struct stat_counter));
        histogram_bucket(o, bounds->name, le, n);
    }
    if (o->is_json) {
        metrics_out_line(o, "\"sum\": %llu,\"count\": %llu}", (unsigned long long)sum, (unsigned long long)n);
    } else {
        metrics_out_line(o, "%s_sum %llu\n", bounds->name, (unsigned long long)sum);
        metrics_out_line(o, "%s_count %llu\n", bounds->name, (unsigned long long)n);
    }
}

METRICS_HISTOGRAMS(HISTOGRAM)

static const struct row derp_rows[] = {
    COUNTER("accepts", accepts),
    BY(queue_time),
    COUNTER("bytes_received", bytes_received),
    COUNTER("bytes_sent", bytes_sent),
    BY(write_frames_per_send),
    BY(write_mesh_batch),
    BY(write_mesh_loops),
    BY(received_kinds),
    BY(tcp_rtt),
    {"counter_total_dup_client_conns", NULL, AT(dup_client_conns_total), NULL},
    GAUGE("clients_local", clients_local),
    GAUGE("clients_remote", clients_remote),
    GAUGE("clients_total", clients_total),
    GAUGE("current_connections", connections),
    GAUGE("current_dup_client_conns", dup_client_conns),
    GAUGE("current_dup_client_keys", dup_client_keys),
    BY(file_descriptors),
    GAUGE("current_home_connections", home_connections),
    GAUGE("current_notideal_connections", notideal_connections),
    BY(reserved_memory),
    GAUGE("watchers", watchers),
    COUNTER("got_ping", got_ping),
    COUNTER("home_moves_in", home_moves_in),
    COUNTER("home_moves_out", home_moves_out),
    COUNTER("multiforwarder_created", multiforwarder_created),
    COUNTER("multiforwarder_deleted", multiforwarder_deleted),
    COUNTER("packet_forwarder_delete_other_value", forwarder_delete_other),
    COUNTER("packets_forwarded_in", packets_forwarded_in),
    COUNTER("packets_forwarded_out", packets_forwarded_out),
    COUNTER("packets_received", packets_received),
    COUNTER("packets_sent", packets_sent),
    COUNTER("peer_gone_disconnected_frames", peer_gone_disconnected_frames),
    COUNTER("peer_gone_not_here_frames", peer_gone_not_here_frames),
    BY(rate_limits),
    COUNTER("sclient_write_timeouts", write_timeouts),
    COUNTER("sent_pong", sent_pong),
    COUNTER("unknown_frames", unknown_frames),
    BY(version_text),
};

static void write_rows(struct metrics_out *o, const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (rows[i].write) {
            rows[i].write(o);
        } else {
            metrics_out_number(o, rows[i].name, rows[i].bare, metrics_out_sum(o, rows[i].offset));
        }
    }
}

static void begin_object(struct metrics_out *o, const char *name) {
    if (o->is_json) metrics_out_line(o, "%s\"%s\": {", o->has_item ? ",\n" : "", name);
    o->object = name;
    o->has_item = false;
}

static void end_object(struct metrics_out *o) {
    if (o->is_json) metrics_out_line(o, "}");
    o->object = NULL;
    o->has_item = true;
}

static void derp(struct metrics_out *o) {
    begin_object(o, "derp");
    write_rows(o, derp_rows, array_count(derp_rows));
    end_object(o);
}

/* ---- beside it ---- */

/* The reason behind `last` by the alphabet; DROP_REASON_COUNT is before the first and behind the last. */
static enum drop_reason next_reason(enum drop_reason last) {
    unsigned next = DROP_REASON_COUNT;
    for (unsigned i = 0; i < DROP_REASON_COUNT; i++) {
        const char *label = drop_reason_label((enum drop_reason)i);
        bool is_done = last != DROP_REASON_COUNT && strcmp(label, drop_reason_label(last)) <= 0;
        if (is_done) continue;
        if (next == DROP_REASON_COUNT || strcmp(label, drop_reason_label((enum drop_reason)next)) < 0) next = i;
    }
    return (enum drop_reason)next;
}

static void drops(struct metrics_out *o, const char *name, size_t base_offset) {
    static const char *const kinds[PACKET_KIND_COUNT] = {"disco", "other"};
    metrics_out_begin(o, name, "counter");
    if (o->is_json) {
        metrics_out_line(o, "\"MultiLabelMap\"");  // as derper: the labels are in the other form only
        return;
    }
    enum drop_reason reason = DROP_REASON_COUNT;
    for (size_t n = 0; n < (size_t)DROP_REASON_COUNT * PACKET_KIND_COUNT; n++) {
        size_t kind = n % PACKET_KIND_COUNT;
        if (kind == 0) reason = next_reason(reason);
        size_t i = (size_t)reason * PACKET_KIND_COUNT + kind;
        metrics_out_line(o, "%s{reason=\"%s\",kind=\"%s\"} %llu\n", name, drop_reason_label(reason), kinds[kind],
                         (unsigned long long)metrics_out_sum(o, base_offset + i * sizeof(struct stat_counter)));
    }
}

static void bytes_dropped(struct metrics_out *o) { drops(o, "derp_bytes_dropped", AT(bytes_dropped)); }
static void packets_dropped(struct metrics_out *o) { drops(o, "derp_packets_dropped", AT(packets_dropped)); }

static void tls_version(struct metrics_out *o, const char *name, size_t offset) {
    metrics_out_map_begin(o, name, NULL);
    metrics_out_map_item(o, name, "version", "1.3", metrics_out_sum(o, offset));
    metrics_out_map_end(o);
}

static void tls_active(struct metrics_out *o) { tls_version(o, "gauge_derper_tls_active_version", AT(tls_active)); }
static void tls_requests(struct metrics_out *o) { tls_version(o, "derper_tls_request_version", AT(tls_requests)); }

static void queried_domains(struct metrics_out *o) {
    metrics_out_number(o, "counter_bootstrap_dns_queried_domains", NULL, o->process->queried_domains);
}

static void boot_time(struct metrics_out *o) {
    metrics_out_number(o, "node_boot_time_seconds", NULL, o->process->usage.boot_wall_s);
}

static void start_time(struct metrics_out *o) {
    metrics_out_number(o, "process_start_unix_time", NULL, o->process->start_wall_s);
}

static void stun(struct metrics_out *o) {
    static const char *const families[STUN_FAMILY_COUNT] = {"ipv4", "ipv6"};
    static const char by_family[] = "counter_addrfamily", requests[] = "counter_requests";
    static const struct {
        const char *label;
        size_t offset;
    } dispositions[] = {{"not_stun", AT(stun_requests[STUN_NOT_STUN])},
                        {"read_error", AT(stun_requests[STUN_READ_ERROR])},
                        {"success", AT(stun_requests[STUN_SUCCESS])},
                        {"write_error", AT(stun_requests[STUN_WRITE_ERROR])}};
    begin_object(o, "stun");
    metrics_out_map_begin(o, by_family, NULL);
    for (size_t i = 0; i < array_count(families); i++) {
        size_t offset = AT(stun_families) + i * sizeof(struct stat_counter);
        metrics_out_map_item(o, by_family, "family", families[i], metrics_out_sum(o, offset));
    }
    metrics_out_map_end(o);
    metrics_out_number(o, "counter_no_local_addr", NULL, metrics_out_sum(o, AT(stun_no_local_addr)));
    metrics_out_map_begin(o, requests, NULL);
    for (size_t i = 0; i < array_count(dispositions); i++) {
        metrics_out_map_item(o, requests, "disposition", dispositions[i].label,
                             metrics_out_sum(o, dispositions[i].offset));
    }
    metrics_out_map_end(o);
    end_object(o);
}

static void tls_listener(struct metrics_out *o) {
    begin_object(o, "tls_listener");
    metrics_out_number(o, "counter_accepted_connections", NULL, metrics_out_sum(o, AT(tls_accepted)));
    metrics_out_number(o, "counter_rejected_connections", NULL, metrics_out_sum(o, AT(tls_rejected)));
    end_object(o);
}

static void uptime(struct metrics_out *o) { metrics_out_number(o, "counter_uptime_sec", NULL, o->process->uptime_s); }

static void version(struct metrics_out *o) {
    if (o->is_json) {
        metrics_out_line(o, ",\n\"version\": \"%s\"", o->process->version);
    } else {
        metrics_out_line(o, "version{version=\"%s\",binary=\"ringrelayd\"} 1\n", o->process->version);
    }
}

static const struct row rows[] = {
    {"counter_bootstrap_dns_published_hits", NULL, AT(bootstrap_published_hits), NULL},
    {"counter_bootstrap_dns_published_misses", NULL, AT(bootstrap_published_misses), NULL},
    BY(queried_domains),
    {"counter_bootstrap_dns_requests", NULL, AT(bootstrap_requests), NULL},
    {"counter_bootstrap_dns_unpublished_hits", NULL, AT(bootstrap_unpublished_hits), NULL},
    {"counter_bootstrap_dns_unpublished_misses", NULL, AT(bootstrap_unpublished_misses), NULL},
    {"counter_bootstrap_dns_unpublished_percent_misses", NULL, AT(bootstrap_percent_misses), NULL},
    BY(derp),
    BY(bytes_dropped),
    BY(packets_dropped),
    COUNTER("derp_websocket_accepts", websocket_accepts),
    BY(tls_active),
    BY(tls_requests),
    BY(boot_time),
    BY(start_time),
    BY(stun),
    BY(tls_listener),
    BY(uptime),
    BY(version),
};

/* What Prometheus's own collector says of a process; it is not in the JSON. */
static void process(struct metrics_out *o) {
    const struct metrics_process *p = o->process;
    if (o->is_json) return;
    metrics_out_float(o, "process_cpu_seconds_total", "counter", p->usage.cpu_s);
    metrics_out_number(o, "process_max_fds", "gauge", p->max_fds);
    metrics_out_number(o, "process_network_receive_bytes_total", "counter", p->usage.network_received_bytes);
    metrics_out_number(o, "process_network_transmit_bytes_total", "counter", p->usage.network_sent_bytes);
    metrics_out_number(o, "process_open_fds", "gauge", p->open_fds);
    metrics_out_number(o, "process_resident_memory_bytes", "gauge", p->usage.resident_bytes);
    metrics_out_number(o, "process_start_time_seconds", "gauge", p->start_wall_s);
    metrics_out_number(o, "process_virtual_memory_bytes", "gauge", p->usage.virtual_bytes);
    metrics_out_number(o, "process_virtual_memory_max_bytes", "gauge", p->usage.virtual_max_bytes);
}

void metrics_out_derper(struct metrics_out *o) {
    process(o);
    write_rows(o, rows, array_count(rows));
}
