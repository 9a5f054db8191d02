#include "relay/metrics.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const kind_labels[PACKET_KIND_COUNT] = {"disco", "other"};

static void write_line(struct writer *w, const char *format, ...) printf_like(2, 3);

static void write_line(struct writer *w, const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    writer_copy(w, line, min_of((size_t)size, sizeof(line) - 1));
}

static void write_type(struct writer *w, const char *name, const char *type) {
    write_line(w, "# TYPE %s %s\n", name, type);
}

/* Sum of the counter at `offset` in every thread's block. Gauges are sums too: one thread adds, the same subtracts. */
static uint64_t sum_at(const struct metrics *const *blocks, size_t count, size_t offset) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += stat_get((const struct stat_counter *)(const void *)((const char *)blocks[i] + offset));
    }
    return sum;
}

static void write_plain(struct writer *w, const struct metrics *const *blocks, size_t count) {
    static const struct {
        const char *name;
        const char *type;
        size_t offset;
    } rows[] = {
#define ROW(field, name, type) {name, type, offsetof(struct metrics, field)},
        METRICS(ROW)
#undef ROW
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        write_type(w, rows[i].name, rows[i].type);
        write_line(w, "%s %llu\n", rows[i].name, (unsigned long long)sum_at(blocks, count, rows[i].offset));
    }
}

struct metrics_bounds {
    const char *name;
    uint32_t count;
    uint32_t bounds[METRICS_BUCKETS_MAX - 1];
};

static const struct metrics_bounds all_bounds[] = {
#define BOUNDS(field, name, ...) {name, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), {__VA_ARGS__}},
    METRICS_HISTOGRAMS(BOUNDS)
#undef BOUNDS
};

#define INDEX(field, name, ...) HISTOGRAM_##field,
enum { METRICS_HISTOGRAMS(INDEX) };
#undef INDEX

void metrics_observe_frames(struct metrics *metrics, uint32_t frames) {
    const struct metrics_bounds *bounds = &all_bounds[HISTOGRAM_frames_per_send];
    uint32_t idx = 0;
    while (idx < bounds->count && frames > bounds->bounds[idx]) idx++;
    stat_add(&metrics->frames_per_send.buckets[idx], 1);
    stat_add(&metrics->frames_per_send.sum, frames);
}

/* Buckets are cumulative in the exposition and are not in memory. */
static void write_histogram(struct writer *w, const struct metrics *const *blocks, size_t count,
                            const struct metrics_bounds *bounds, size_t offset) {
    uint64_t sum = 0;
    write_type(w, bounds->name, "histogram");
    for (uint32_t i = 0; i <= bounds->count; i++) {
        char le[16] = "+Inf";
        if (i < bounds->count) snprintf(le, sizeof(le), "%u", bounds->bounds[i]);
        sum += sum_at(blocks, count, offset + i * sizeof(struct stat_counter));
        write_line(w, "%s_bucket{le=\"%s\"} %llu\n", bounds->name, le, (unsigned long long)sum);
    }
    offset += offsetof(struct metrics_histogram, sum);
    write_line(w, "%s_sum %llu\n", bounds->name, (unsigned long long)sum_at(blocks, count, offset));
    write_line(w, "%s_count %llu\n", bounds->name, (unsigned long long)sum);
}

static void write_histograms(struct writer *w, const struct metrics *const *blocks, size_t count) {
#define WRITE(field, name, ...) \
    write_histogram(w, blocks, count, &all_bounds[HISTOGRAM_##field], offsetof(struct metrics, field));
    METRICS_HISTOGRAMS(WRITE)
#undef WRITE
}

/* The mean over the threads that have queues; derper's unit. */
static void write_queue_time(struct writer *w, const struct metrics *const *blocks, size_t count) {
    uint64_t sum_ns = 0, threads = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t ns = stat_get(&blocks[i]->queue_time_ns);
        sum_ns += ns;
        threads += ns > 0;
    }
    double mean_ms = threads ? (double)sum_ns / (double)threads / (double)NS_PER_MS : 0;
    write_line(w, "derp_average_queue_duration_ms %g\n", mean_ms);
}

static void write_kinds(struct writer *w, const struct metrics *const *blocks, size_t count) {
    write_type(w, "derp_packets_received_kind", "counter");
    for (size_t kind = 0; kind < PACKET_KIND_COUNT; kind++) {
        size_t offset = offsetof(struct metrics, packets_received_kind) + kind * sizeof(struct stat_counter);
        write_line(w, "derp_packets_received_kind{kind=\"%s\"} %llu\n", kind_labels[kind],
                   (unsigned long long)sum_at(blocks, count, offset));
    }
}

static void write_drops(struct writer *w, const struct metrics *const *blocks, size_t count, const char *name,
                        size_t base_offset) {
    write_type(w, name, "counter");
    for (size_t reason = 0; reason < DROP_REASON_COUNT; reason++) {
        for (size_t kind = 0; kind < PACKET_KIND_COUNT; kind++) {
            size_t offset = base_offset + (reason * PACKET_KIND_COUNT + kind) * sizeof(struct stat_counter);
            write_line(w, "%s{reason=\"%s\",kind=\"%s\"} %llu\n", name, drop_reason_label((enum drop_reason)reason),
                       kind_labels[kind], (unsigned long long)sum_at(blocks, count, offset));
        }
    }
}

static void write_reasons(struct writer *w, const struct metrics *const *blocks, size_t count) {
    write_type(w, "ringrelay_handshake_failures", "counter");
    for (size_t i = 1; i < HANDSHAKE_FAILURE_COUNT; i++) {
        size_t offset = offsetof(struct metrics, handshake_failures) + i * sizeof(struct stat_counter);
        write_line(w, "ringrelay_handshake_failures{reason=\"%s\"} %llu\n",
                   handshake_failure_metric((enum handshake_failure)i),
                   (unsigned long long)sum_at(blocks, count, offset));
    }
    write_type(w, "ringrelay_closes", "counter");
    for (size_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        size_t offset = offsetof(struct metrics, closes) + i * sizeof(struct stat_counter);
        write_line(w, "ringrelay_closes{reason=\"%s\"} %llu\n", close_reason_label((enum close_reason)i),
                   (unsigned long long)sum_at(blocks, count, offset));
    }
    write_type(w, "ringrelay_refusals", "counter");
    for (size_t i = 0; i < REFUSE_REASON_COUNT; i++) {
        size_t offset = offsetof(struct metrics, refusals) + i * sizeof(struct stat_counter);
        write_line(w, "ringrelay_refusals{reason=\"%s\"} %llu\n", refuse_reason_label((enum refuse_reason)i),
                   (unsigned long long)sum_at(blocks, count, offset));
    }
}

static void write_stun(struct writer *w, const struct metrics *const *blocks, size_t count) {
#define LABEL(name, label) label,
    static const char *const dispositions[] = {METRICS_STUN_DISPOSITIONS(LABEL)};
#undef LABEL
    static const char *const families[STUN_FAMILY_COUNT] = {"ipv4", "ipv6"};
    write_type(w, "stun_addrfamily", "counter");
    for (size_t i = 0; i < STUN_FAMILY_COUNT; i++) {
        size_t offset = offsetof(struct metrics, stun_families) + i * sizeof(struct stat_counter);
        write_line(w, "stun_addrfamily{family=\"%s\"} %llu\n", families[i],
                   (unsigned long long)sum_at(blocks, count, offset));
    }
    write_type(w, "stun_no_local_addr", "counter");
    write_line(w, "stun_no_local_addr %llu\n",
               (unsigned long long)sum_at(blocks, count, offsetof(struct metrics, stun_no_local_addr)));
    write_type(w, "stun_requests", "counter");
    for (size_t i = 0; i < STUN_DISPOSITION_COUNT; i++) {
        size_t offset = offsetof(struct metrics, stun_requests) + i * sizeof(struct stat_counter);
        write_line(w, "stun_requests{disposition=\"%s\"} %llu\n", dispositions[i],
                   (unsigned long long)sum_at(blocks, count, offset));
    }
    write_type(w, "ringrelay_stun_dropped", "counter");
    write_line(w, "ringrelay_stun_dropped %llu\n",
               (unsigned long long)sum_at(blocks, count, offsetof(struct metrics, stun_dropped)));
}

/* derper shows these only with -rate-config. */
static void write_rate(struct writer *w, const struct metrics *const *blocks, size_t count,
                       const struct rate_limit *rate) {
    if (rate == NULL) return;
    write_line(w, "derp_rate_limit_per_client_bytes_per_second %llu\n", (unsigned long long)rate->bytes_per_s);
    write_line(w, "derp_rate_limit_per_client_burst_bytes %llu\n", (unsigned long long)rate->burst_bytes);
    write_line(w, "derp_rate_limit_per_client_waited %llu\n",
               (unsigned long long)sum_at(blocks, count, offsetof(struct metrics, rate_waits)));
}

/* Who has how much to do: for placement, and for the operator who wonders whether -workers is right. */
static void write_workers(struct writer *w, const struct metrics *const *workers, size_t count) {
    write_type(w, "ringrelay_worker_connections", "gauge");
    for (size_t i = 0; i < count; i++) {
        write_line(w, "ringrelay_worker_connections{worker=\"%zu\"} %llu\n", i,
                   (unsigned long long)stat_get(&workers[i]->connections));
    }
    write_type(w, "ringrelay_worker_busy_seconds", "counter");
    for (size_t i = 0; i < count; i++) {
        write_line(w, "ringrelay_worker_busy_seconds{worker=\"%zu\"} %.3f\n", i,
                   (double)stat_get(&workers[i]->busy_ns) / (double)NS_PER_S);
    }
}

static void write_process(struct writer *w, const struct metrics_process *process) {
    write_type(w, "derp_current_file_descriptors", "gauge");
    write_line(w, "derp_current_file_descriptors %zu\n", process->open_fds);
    write_type(w, "derp_memstats_sys0", "gauge");
    write_line(w, "derp_memstats_sys0 %llu\n", (unsigned long long)process->memory_bytes);
    write_type(w, "process_open_fds", "gauge");
    write_line(w, "process_open_fds %zu\n", process->open_fds);
    write_type(w, "process_max_fds", "gauge");
    write_line(w, "process_max_fds %zu\n", process->max_fds);
    write_line(w, "process_start_unix_time %llu\n", (unsigned long long)process->start_wall_s);
    write_type(w, "uptime_sec", "counter");
    write_line(w, "uptime_sec %llu\n", (unsigned long long)process->uptime_s);
    write_line(w, "version{version=\"%s\",binary=\"ringrelayd\"} 1\n", process->version);
}

void metrics_write(struct writer *w, const struct metrics *const *blocks, size_t blocks_count,
                   const struct metrics_process *process) {
    write_plain(w, blocks, blocks_count);
    write_histograms(w, blocks, blocks_count);
    write_queue_time(w, blocks, blocks_count);
    write_kinds(w, blocks, blocks_count);
    write_type(w, "derp_tcp_rtt", "counter");  // labelled by bucket as samples come; none are taken yet
    write_drops(w, blocks, blocks_count, "derp_packets_dropped", offsetof(struct metrics, packets_dropped));
    write_drops(w, blocks, blocks_count, "derp_bytes_dropped", offsetof(struct metrics, bytes_dropped));
    write_reasons(w, blocks, blocks_count);
    write_stun(w, blocks, blocks_count);
    write_rate(w, blocks, blocks_count, process->rate);
    write_workers(w, blocks + blocks_count - process->workers_count, process->workers_count);
    write_process(w, process);
}
