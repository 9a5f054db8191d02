#include "relay/metrics.h"

#include <stdarg.h>
#include <stdio.h>

#include "relay/metrics_out.h"
#include "relay/trace.h"

/* ---- counting ---- */

void metrics_drop_many(struct metrics *metrics, enum drop_reason reason, enum packet_kind kind, uint32_t count,
                       size_t data_bytes) {
    stat_add(&metrics->packets_dropped[reason][kind], count);
    stat_add(&metrics->bytes_dropped[reason][kind], data_bytes);
    trace_drop(metrics->worker_idx, reason, kind == KIND_DISCO, count, data_bytes);
}

/* ---- writing (relay/metrics_out.h) ---- */

void metrics_out_line(struct metrics_out *o, const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    writer_copy(o->w, line, min_of((size_t)size, sizeof(line) - 1));
}

uint64_t metrics_out_sum(const struct metrics_out *o, size_t offset) {
    uint64_t sum = 0;
    for (size_t i = 0; i < o->blocks_count; i++) {
        sum += stat_get((const struct stat_counter *)(const void *)((const char *)o->blocks[i] + offset));
    }
    return sum;
}

/* The prefix's type, or NULL. *bare_name is behind it. */
static const char *type_of(const char *name, const char **bare_name) {
    static const char *const types[] = {"counter", "gauge"};
    *bare_name = name;
    for (size_t i = 0; i < array_count(types); i++) {
        size_t size = strlen(types[i]);
        if (strncmp(name, types[i], size) != 0 || name[size] != '_') continue;
        *bare_name = name + size + 1;
        return types[i];
    }
    return NULL;
}

static const char *object_of(const struct metrics_out *o) { return o->object ? o->object : ""; }
static const char *after_object(const struct metrics_out *o) { return o->object ? "_" : ""; }

void metrics_out_begin(struct metrics_out *o, const char *name, const char *bare) {
    const char *shown;
    const char *type = type_of(name, &shown);
    if (o->is_json) {
        const char *separator = o->object ? ", " : ",\n";
        metrics_out_line(o, "%s\"%s\": ", o->has_item ? separator : "", name);
        o->has_item = true;
    } else if (type || bare) {
        metrics_out_line(o, "# TYPE %s%s%s %s\n", object_of(o), after_object(o), shown, type ? type : bare);
    }
}

/* Behind metrics_out_begin, in Prometheus text. */
static void write_name(struct metrics_out *o, const char *name) {
    const char *shown;
    (void)type_of(name, &shown);
    if (!o->is_json) metrics_out_line(o, "%s%s%s", object_of(o), after_object(o), shown);
}

void metrics_out_number(struct metrics_out *o, const char *name, const char *bare, uint64_t value) {
    metrics_out_begin(o, name, bare);
    write_name(o, name);
    metrics_out_line(o, o->is_json ? "%llu" : " %llu\n", (unsigned long long)value);
}

void metrics_out_float(struct metrics_out *o, const char *name, const char *bare, double value) {
    metrics_out_begin(o, name, bare);
    write_name(o, name);
    metrics_out_line(o, o->is_json ? "%g" : " %g\n", value);
}

void metrics_out_map_begin(struct metrics_out *o, const char *name, const char *bare) {
    metrics_out_begin(o, name, bare);
    if (o->is_json) metrics_out_line(o, "{");
    o->has_item = false;
}

void metrics_out_map_item(struct metrics_out *o, const char *name, const char *label, const char *value, uint64_t n) {
    if (o->is_json) {
        metrics_out_line(o, "%s\"%s\": %llu", o->has_item ? ", " : "", value, (unsigned long long)n);
        o->has_item = true;
        return;
    }
    write_name(o, name);
    metrics_out_line(o, "{%s=\"%s\"} %llu\n", label, value, (unsigned long long)n);
}

void metrics_out_map_end(struct metrics_out *o) {
    if (o->is_json) metrics_out_line(o, "}");
    o->has_item = true;
}

/* ---- our own ---- */

static bool is_ours(const char *name) { return strncmp(name, "ringrelay_", 10) == 0; }

/* derper's names are in its own order in metrics_derper.c. */
static void write_plain(struct metrics_out *o) {
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
        if (!is_ours(rows[i].name)) continue;
        metrics_out_number(o, rows[i].name, rows[i].type, metrics_out_sum(o, rows[i].offset));
    }
}

static void write_reason(struct metrics_out *o, const char *name, size_t base_offset, size_t idx, const char *label) {
    metrics_out_map_item(o, name, "reason", label, metrics_out_sum(o, base_offset + idx * sizeof(struct stat_counter)));
}

static void write_reasons(struct metrics_out *o) {
    static const char *const names[] = {"ringrelay_handshake_failures", "ringrelay_closes", "ringrelay_refusals"};
    metrics_out_map_begin(o, names[0], "counter");
    for (size_t i = 1; i < HANDSHAKE_FAILURE_COUNT; i++) {
        write_reason(o, names[0], offsetof(struct metrics, handshake_failures), i,
                     handshake_failure_metric((enum handshake_failure)i));
    }
    metrics_out_map_end(o);
    metrics_out_map_begin(o, names[1], "counter");
    for (size_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        write_reason(o, names[1], offsetof(struct metrics, closes), i, close_reason_label((enum close_reason)i));
    }
    metrics_out_map_end(o);
    metrics_out_map_begin(o, names[2], "counter");
    for (size_t i = 0; i < REFUSE_REASON_COUNT; i++) {
        write_reason(o, names[2], offsetof(struct metrics, refusals), i, refuse_reason_label((enum refuse_reason)i));
    }
    metrics_out_map_end(o);
}

/* Who has how much to do: for placement, and for the operator who wonders whether -workers is right. */
static void write_workers(struct metrics_out *o) {
    size_t count = o->process->workers_count;
    const struct metrics *const *workers = o->blocks + o->blocks_count - o->process->behind_count - count;
    char label[24];
    metrics_out_map_begin(o, "ringrelay_worker_connections", "gauge");
    for (size_t i = 0; i < count; i++) {
        snprintf(label, sizeof(label), "%zu", i);
        metrics_out_map_item(o, "ringrelay_worker_connections", "worker", label, stat_get(&workers[i]->connections));
    }
    metrics_out_map_end(o);
    if (o->is_json) return;
    metrics_out_begin(o, "ringrelay_worker_busy_seconds", "counter");
    for (size_t i = 0; i < count; i++) {
        metrics_out_line(o, "ringrelay_worker_busy_seconds{worker=\"%zu\"} %.3f\n", i,
                         (double)stat_get(&workers[i]->busy_ns) / (double)NS_PER_S);
    }
}

static void write_all(struct metrics_out *o) {
    metrics_out_derper(o);
    write_plain(o);
    write_reasons(o);
    write_workers(o);
    if (o->process->endpoints) metrics_out_udp(o);
}

void metrics_write(struct writer *w, const struct metrics *const *blocks, size_t blocks_count,
                   const struct metrics_process *process) {
    write_all(&(struct metrics_out){.w = w, .blocks = blocks, .blocks_count = blocks_count, .process = process});
}

void metrics_write_json(struct writer *w, const struct metrics *const *blocks, size_t blocks_count,
                        const struct metrics_process *process) {
    struct metrics_out o = {
        .w = w, .blocks = blocks, .blocks_count = blocks_count, .process = process, .is_json = true};
    metrics_out_line(&o, "{\n");
    write_all(&o);
    metrics_out_line(&o, "\n}\n");
}

/* ---- counting ---- */

void metrics_observe_rtt(struct metrics *metrics, int64_t rtt_us) {
    static const int64_t bounds_ms[] = {10, 20, 50, 100, 150, 250, 500};
    size_t bucket = 0;
    while (bucket < array_count(bounds_ms) && rtt_us > bounds_ms[bucket] * 1000) bucket++;
    stat_add(&metrics->tcp_rtt[rtt_us < 0 ? RTT_ERROR : bucket], 1);
}
