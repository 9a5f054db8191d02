/* The UDP relay's part of the exposition: tailscaled's names where it has one, ringrelay_udp_ for the rest. Only with
 * -relay-port: derper has none of it. */
#include "relay/metrics_out.h"

enum {
    NAME_ENDPOINTS,
    NAME_ALLOCATIONS,
    NAME_ENDED,
    NAME_REFUSALS,
    NAME_DROPS,
    NAME_PACKETS,
    NAME_BYTES,
    NAME_IGNORED,
    NAME_DROPPED,
    NAME_CONNECTED
};

static const char *const names[] = {
    [NAME_ENDPOINTS] = "tailscaled_peer_relay_endpoints",
    [NAME_ALLOCATIONS] = "ringrelay_udp_allocations",
    [NAME_ENDED] = "ringrelay_udp_endpoints_ended",
    [NAME_REFUSALS] = "ringrelay_udp_refusals",
    [NAME_DROPS] = "ringrelay_udp_drops",
    [NAME_PACKETS] = "tailscaled_peer_relay_forwarded_packets_total",
    [NAME_BYTES] = "tailscaled_peer_relay_forwarded_bytes_total",
    [NAME_IGNORED] = "ringrelay_udp_node_ignored",
    [NAME_DROPPED] = "ringrelay_udp_node_dropped",
    [NAME_CONNECTED] = "ringrelay_udp_node_connected",
};

static uint64_t sum_at(struct metrics_out *o, size_t offset, size_t idx) {
    return metrics_out_sum(o, offset + idx * sizeof(struct stat_counter));
}

static void write_endpoints(struct metrics_out *o) {
    const struct metrics_endpoints *endpoints = o->process->endpoints;
    metrics_out_map_begin(o, names[NAME_ENDPOINTS], "gauge");
    metrics_out_map_item(o, names[NAME_ENDPOINTS], "state", "connecting", endpoints->connecting);
    metrics_out_map_item(o, names[NAME_ENDPOINTS], "state", "open", endpoints->open);
    metrics_out_map_end(o);
}

/* Two counters, told apart by a label. */
static void write_two(struct metrics_out *o, const char *name, const char *label, const char *first, const char *second,
                      size_t offset) {
    metrics_out_map_begin(o, name, "counter");
    metrics_out_map_item(o, name, label, first, sum_at(o, offset, 0));
    metrics_out_map_item(o, name, label, second, sum_at(o, offset, 1));
    metrics_out_map_end(o);
}

static void write_refusals(struct metrics_out *o) {
    metrics_out_map_begin(o, names[NAME_REFUSALS], "counter");
    for (size_t i = 0; i < UDP_REFUSE_REASON_COUNT; i++) {
        metrics_out_map_item(o, names[NAME_REFUSALS], "reason", udp_refuse_reason_label((enum udp_refuse_reason)i),
                             sum_at(o, offsetof(struct metrics, udp_refusals), i));
    }
    metrics_out_map_end(o);
}

static void write_drops(struct metrics_out *o) {
    metrics_out_map_begin(o, names[NAME_DROPS], "counter");
    for (size_t i = 0; i < UDP_DROP_REASON_COUNT; i++) {
        metrics_out_map_item(o, names[NAME_DROPS], "reason", udp_drop_reason_label((enum udp_drop_reason)i),
                             sum_at(o, offsetof(struct metrics, udp_drops), i));
    }
    metrics_out_map_end(o);
}

/* Two labels: only as Prometheus text. */
static void write_forwarded(struct metrics_out *o, const char *name, size_t offset) {
    static const char *const families[UDP_FAMILY_COUNT] = {"udp4", "udp6"};
    if (o->is_json) return;
    metrics_out_begin(o, name, "counter");
    for (size_t i = 0; i < UDP_FAMILY_COUNT * UDP_FAMILY_COUNT; i++) {
        metrics_out_line(o, "%s{transport_in=\"%s\",transport_out=\"%s\"} %llu\n", name, families[i / UDP_FAMILY_COUNT],
                         families[i % UDP_FAMILY_COUNT], (unsigned long long)sum_at(o, offset, i));
    }
}

/* The relay's own DERP client (relay/node.h). */
static void write_node(struct metrics_out *o) {
    metrics_out_number(o, names[NAME_IGNORED], "counter", sum_at(o, offsetof(struct metrics, udp_node_ignored), 0));
    metrics_out_number(o, names[NAME_DROPPED], "counter", sum_at(o, offsetof(struct metrics, udp_node_dropped), 0));
    metrics_out_number(o, names[NAME_CONNECTED], "gauge", sum_at(o, offsetof(struct metrics, udp_node_connected), 0));
}

void metrics_out_udp(struct metrics_out *o) {
    write_forwarded(o, names[NAME_PACKETS], offsetof(struct metrics, udp_forwarded_packets));
    write_forwarded(o, names[NAME_BYTES], offsetof(struct metrics, udp_forwarded_bytes));
    write_endpoints(o);
    write_two(o, names[NAME_ALLOCATIONS], "endpoint", "existing", "new", offsetof(struct metrics, udp_allocations));
    write_two(o, names[NAME_ENDED], "state", "connecting", "open", offsetof(struct metrics, udp_endpoints_ended));
    write_refusals(o);
    write_drops(o);
    write_node(o);
}
