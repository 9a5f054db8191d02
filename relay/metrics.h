/* metrics.h - what the relay counts, in one list, and how it is shown.
 *
 * Each loop thread has a `struct metrics` of its own and adds to it without locks (core/stat.h). Whoever shows figures
 * sums over the threads. Names are derper's (docs/derp.md, "Metrics"), so that dashboards keep working; what derper
 * does not have begins with ringrelay_.
 *
 * The list: X(field, name in the exposition, type). A field that is not in the list does not exist.
 */
#pragma once

#include "core/bytes.h"
#include "core/stat.h"
#include "core/sys.h"
#include "proto/handshake.h"
#include "relay/rate.h"
#include "relay/reason.h"

/* STUN, as derper counts it (docs/derp.md, "Metrics"). */
#define METRICS_STUN_DISPOSITIONS(X) \
    X(READ_ERROR, "read_error")      \
    X(NOT_STUN, "not_stun")          \
    X(WRITE_ERROR, "write_error")    \
    X(SUCCESS, "success")

#define METRICS_STUN_ENUM(name, label) STUN_##name,
enum stun_disposition { METRICS_STUN_DISPOSITIONS(METRICS_STUN_ENUM) STUN_DISPOSITION_COUNT };
enum stun_family { STUN_IPV4, STUN_IPV6, STUN_FAMILY_COUNT };

/* Round-trip times, as derper sorts them; not cumulative. */
enum rtt_bucket {
    RTT_10_MS,
    RTT_20_MS,
    RTT_50_MS,
    RTT_100_MS,
    RTT_150_MS,
    RTT_250_MS,
    RTT_500_MS,
    RTT_LONGER,
    RTT_NON_TCP,
    RTT_ERROR,
    RTT_BUCKET_COUNT
};

/* Of the UDP relay, as its sockets are counted. */
enum { UDP_FAMILY_COUNT = 2 };

enum packet_kind { KIND_DISCO, KIND_OTHER, PACKET_KIND_COUNT };

#define METRICS(X)                                                                     \
    X(accepts, "derp_accepts", "counter")                                              \
    X(bytes_received, "derp_bytes_received", "counter")                                \
    X(bytes_sent, "derp_bytes_sent", "counter")                                        \
    X(packets_received, "derp_packets_received", "counter")                            \
    X(packets_sent, "derp_packets_sent", "counter")                                    \
    X(unknown_frames, "derp_unknown_frames", "counter")                                \
    X(got_ping, "derp_got_ping", "counter")                                            \
    X(sent_pong, "derp_sent_pong", "counter")                                          \
    X(home_moves_in, "derp_home_moves_in", "counter")                                  \
    X(home_moves_out, "derp_home_moves_out", "counter")                                \
    X(peer_gone_disconnected_frames, "derp_peer_gone_disconnected_frames", "counter")  \
    X(peer_gone_not_here_frames, "derp_peer_gone_not_here_frames", "counter")          \
    X(write_timeouts, "derp_sclient_write_timeouts", "counter")                        \
    X(connections, "derp_current_connections", "gauge")                                \
    X(home_connections, "derp_current_home_connections", "gauge")                      \
    X(notideal_connections, "derp_current_notideal_connections", "gauge")              \
    X(clients_local, "derp_clients_local", "gauge")                                    \
    X(clients_total, "derp_clients_total", "gauge")                                    \
    X(dup_client_keys, "derp_current_dup_client_keys", "gauge")                        \
    X(dup_client_conns, "derp_current_dup_client_conns", "gauge")                      \
    X(dup_client_conns_total, "derp_total_dup_client_conns", "counter")                \
    X(clients_remote, "derp_clients_remote", "gauge")                                  \
    X(watchers, "derp_watchers", "gauge")                                              \
    X(packets_forwarded_in, "derp_packets_forwarded_in", "counter")                    \
    X(packets_forwarded_out, "derp_packets_forwarded_out", "counter")                  \
    X(multiforwarder_created, "derp_multiforwarder_created", "counter")                \
    X(multiforwarder_deleted, "derp_multiforwarder_deleted", "counter")                \
    X(forwarder_delete_other, "derp_packet_forwarder_delete_other_value", "counter")   \
    X(websocket_accepts, "derp_websocket_accepts", "counter")                          \
    X(tls_accepted, "tls_listener_accepted_connections", "counter")                    \
    X(tls_rejected, "tls_listener_rejected_connections", "counter")                    \
    X(bootstrap_requests, "bootstrap_dns_requests", "counter")                         \
    X(bootstrap_published_hits, "bootstrap_dns_published_hits", "counter")             \
    X(bootstrap_published_misses, "bootstrap_dns_published_misses", "counter")         \
    X(bootstrap_unpublished_hits, "bootstrap_dns_unpublished_hits", "counter")         \
    X(bootstrap_unpublished_misses, "bootstrap_dns_unpublished_misses", "counter")     \
    X(bootstrap_percent_misses, "bootstrap_dns_unpublished_percent_misses", "counter") \
    X(booked_connections, "ringrelay_booked_connections", "gauge")                     \
    X(published_keys, "ringrelay_published_keys", "gauge")                             \
    X(keep_alives_sent, "ringrelay_sent_keep_alive", "counter")                        \
    X(sessions, "ringrelay_sessions", "gauge")                                         \
    X(http_requests, "ringrelay_http_requests", "counter")                             \
    X(logins, "ringrelay_logins", "counter")                                           \
    X(sends, "ringrelay_sends", "counter")                                             \
    X(records_opened, "ringrelay_records_opened", "counter")                           \
    X(records_sealed, "ringrelay_records_sealed", "counter")                           \
    X(records_straddling, "ringrelay_records_straddling", "counter")                   \
    X(handshakes, "ringrelay_handshakes", "counter")                                   \
    X(frames_copied, "ringrelay_frames_copied", "counter")                             \
    X(frames_collected, "ringrelay_frames_collected", "counter")                       \
    X(packet_memory_bytes, "ringrelay_packet_memory_bytes", "gauge")                   \
    X(peer_gone_lost, "ringrelay_peer_gone_lost", "counter")                           \
    X(senders_forgotten, "ringrelay_senders_forgotten", "gauge")                       \
    X(passes, "ringrelay_loop_passes", "counter")                                      \
    X(lane_retries, "ringrelay_lane_retries", "counter")                               \
    X(packets_crossed, "ringrelay_packets_crossed", "counter")                         \
    X(reads_held, "ringrelay_reads_held", "counter")                                   \
    X(close_peer_lost, "ringrelay_close_peer_lost", "counter")                         \
    X(stun_dropped, "ringrelay_stun_dropped", "counter")                               \
    X(reads_braked, "ringrelay_reads_braked", "counter")                               \
    X(rests, "ringrelay_rests", "counter")                                             \
    X(udp_received, "ringrelay_udp_received_packets", "counter")                       \
    X(udp_sends, "ringrelay_udp_sends", "counter")                                     \
    X(udp_runs_refused, "ringrelay_udp_runs_refused", "counter")                       \
    X(udp_challenges, "ringrelay_udp_challenges", "counter")                           \
    X(udp_bound, "ringrelay_udp_bound", "counter")                                     \
    X(udp_stun_answers, "ringrelay_udp_stun_answers", "counter")                       \
    X(udp_receive_errors, "ringrelay_udp_receive_errors", "counter")                   \
    X(udp_overflows, "ringrelay_udp_overflows", "counter")

/* Histograms: X(field, name, bounds). */
#define METRICS_HISTOGRAMS(X)                                                                               \
    X(frames_per_send, "derp_buffered_write_frames", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50, 100) \
    X(mesh_batch, "derp_mesh_update_batch_size", 0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)               \
    X(mesh_loops, "derp_mesh_update_loop_count", 0, 1, 2, 5, 10, 20, 50, 100)

enum { METRICS_BUCKETS_MAX = 17 };  // bounds of the longest, and one for what is above all

struct metrics_histogram {
    struct stat_counter buckets[METRICS_BUCKETS_MAX];  // not cumulative
    struct stat_counter sum;
};

#define METRICS_HISTOGRAM_FIELD(field, name, ...) struct metrics_histogram field;

#define METRICS_FIELD(field, name, type) struct stat_counter field;

struct metrics {
    cache_aligned struct stat_counter packets_received_kind[PACKET_KIND_COUNT];
    METRICS(METRICS_FIELD)
    METRICS_HISTOGRAMS(METRICS_HISTOGRAM_FIELD)
    struct stat_counter tls_requests;  // HTTP requests over TLS
    struct stat_counter tls_active;    // those under way; a DERP connection is one until it ends
    struct stat_counter tcp_rtt[RTT_BUCKET_COUNT];
    struct stat_counter rate_waits;  // pauses of a connection's reading
    struct stat_counter busy_ns;     // processor time, as of some milliseconds ago
    struct stat_counter queue_time_ns;  // gauge: moving average (1/10 each) over packets taken from queues
    struct stat_counter packets_dropped[DROP_REASON_COUNT][PACKET_KIND_COUNT];
    struct stat_counter bytes_dropped[DROP_REASON_COUNT][PACKET_KIND_COUNT];
    struct stat_counter handshake_failures[HANDSHAKE_FAILURE_COUNT];
    struct stat_counter closes[CLOSE_REASON_COUNT];
    struct stat_counter refusals[REFUSE_REASON_COUNT];
    struct stat_counter stun_requests[STUN_DISPOSITION_COUNT];
    struct stat_counter stun_families[STUN_FAMILY_COUNT];
    struct stat_counter stun_no_local_addr;  // the kernel did not say which of our addresses was asked
    struct stat_counter udp_allocations[2];  // of endpoints: what was there already; new
    struct stat_counter udp_refusals[UDP_REFUSE_REASON_COUNT];
    struct stat_counter udp_endpoints_ended[2];  // that never were open; that were
    struct stat_counter udp_drops[UDP_DROP_REASON_COUNT];
    struct stat_counter udp_forwarded_packets[UDP_FAMILY_COUNT][UDP_FAMILY_COUNT];  // in, out; IPv4 is 0
    struct stat_counter udp_forwarded_bytes[UDP_FAMILY_COUNT][UDP_FAMILY_COUNT];  // with Geneve headers
    struct stat_counter udp_node_ignored;  // packets for the relay's node that are no requests
    struct stat_counter udp_node_dropped;  // and those for whose answer there was no room
    struct stat_counter udp_node_connected;  // gauge
    uint32_t worker_idx;  // frozen; a worker's: which one, for the probe of drops
};

/* `count` packets of `data_bytes` payload bytes altogether are dropped. Every drop passes here. */
void metrics_drop_many(struct metrics *metrics, enum drop_reason reason, enum packet_kind kind, uint32_t count,
                       size_t data_bytes);

/* One packet of `data_size` payload bytes is dropped. */
static inline void metrics_drop(struct metrics *metrics, enum drop_reason reason, bool is_disco, size_t data_size) {
    metrics_drop_many(metrics, reason, is_disco ? KIND_DISCO : KIND_OTHER, 1, data_size);
}

struct metrics_endpoints;

/* What the exposition says about the process as a whole. */
struct metrics_process {
    uint64_t start_wall_s;
    uint64_t uptime_s;
    size_t open_fds;
    size_t max_fds;
    uint64_t memory_bytes;  // reserved at start
    const char *version;
    size_t workers_count;           // so many blocks are workers'
    size_t behind_count;            // so many are behind those
    const struct rate_limit *rate;  // NULL: no -rate-config
    struct sys_process_usage usage;
    uint32_t queried_domains;
    const struct metrics_endpoints *endpoints;  // NULL: no UDP relay
};

/* Of the UDP relay, now. */
struct metrics_endpoints {
    uint32_t connecting;
    uint32_t open;
};

/* Counts one sample of a connection's round-trip time; negative: there is none. */
void metrics_observe_rtt(struct metrics *metrics, int64_t rtt_us);

/* One turn of a watcher tells of this many connections and departures; a send may have several. */
void metrics_observe_presence(struct metrics *metrics, uint32_t events);

/* One send carries this many relayed packets. */
void metrics_observe_frames(struct metrics *metrics, uint32_t frames);

/* A packet has waited this long in its queue. */
static inline void metrics_queue_time(struct metrics *metrics, uint64_t waited_ns) {
    uint64_t average_ns = stat_get(&metrics->queue_time_ns);
    stat_set(&metrics->queue_time_ns, average_ns - average_ns / 10 + waited_ns / 10);
}

/* What derper shows at /debug/vars, in expvar's layout, and our own figures under "ringrelay". */
void metrics_write_json(struct writer *w, const struct metrics *const *blocks, size_t blocks_count,
                        const struct metrics_process *process);

/* Writes the Prometheus text exposition of the sums over `blocks`. The writer goes bad when it does not fit. */
void metrics_write(struct writer *w, const struct metrics *const *blocks, size_t blocks_count,
                   const struct metrics_process *process);
