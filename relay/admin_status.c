#include "relay/admin_status.h"

#include <stdio.h>
#include <unistd.h>

#include "core/aead.h"
#include "core/ring.h"
#include "relay/admin_query.h"

static json_t *number(uint64_t n) { return json_integer((json_int_t)n); }

/* A reference that is given away; what cannot be made is left out, and the answer as a whole fails below. */
static void put(json_t *object, const char *name, json_t *value, bool *is_fine) {
    if (json_object_set_new(object, name, value) != 0) *is_fine = false;
}

/* ---- sums over threads ---- */

static uint64_t sum_at(const struct admin_facts *f, size_t offset) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < f->threads_count; i++) {
        sum += stat_get((const struct stat_counter *)(const void *)((const char *)f->metrics_blocks[i] + offset));
    }
    return sum;
}

#define SUM(field) number(sum_at(f, offsetof(struct metrics, field)))
#define SUM_OF(array, idx) sum_at(f, offsetof(struct metrics, array) + (idx) * sizeof(struct stat_counter))

static json_t *totals(const struct admin_facts *f, bool *is_fine) {
    json_t *all = json_object();
    put(all, "packets_received", SUM(packets_received), is_fine);
    put(all, "bytes_received", SUM(bytes_received), is_fine);
    put(all, "packets_sent", SUM(packets_sent), is_fine);
    put(all, "bytes_sent", SUM(bytes_sent), is_fine);
    put(all, "logins", SUM(logins), is_fine);
    put(all, "accepts", SUM(accepts), is_fine);
    put(all, "handshakes", SUM(handshakes), is_fine);
    return all;
}

/* Every reason is there, also with zeros: a program need not know which there are. */
static json_t *drops(const struct admin_facts *f, bool *is_fine) {
    json_t *all = json_object();
    for (size_t i = 0; i < DROP_REASON_COUNT; i++) {
        uint64_t packets = 0, bytes = 0;
        for (size_t kind = 0; kind < PACKET_KIND_COUNT; kind++) {
            packets += SUM_OF(packets_dropped, i * PACKET_KIND_COUNT + kind);
            bytes += SUM_OF(bytes_dropped, i * PACKET_KIND_COUNT + kind);
        }
        put(all, drop_reason_label((enum drop_reason)i),
            json_pack("{s:I, s:I}", "packets", (json_int_t)packets, "bytes", (json_int_t)bytes), is_fine);
    }
    return all;
}

static json_t *closes(const struct admin_facts *f, bool *is_fine) {
    json_t *all = json_object();
    for (size_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        put(all, close_reason_label((enum close_reason)i), number(SUM_OF(closes, i)), is_fine);
    }
    return all;
}

static json_t *refusals(const struct admin_facts *f, bool *is_fine) {
    json_t *all = json_object();
    for (size_t i = 0; i < REFUSE_REASON_COUNT; i++) {
        put(all, refuse_reason_label((enum refuse_reason)i), number(SUM_OF(refusals, i)), is_fine);
    }
    return all;
}

/* ---- threads ---- */

/* Those with names of their own. */
static uint32_t others_of(const struct admin_facts *f) {
    return f->threads_count - f->limits.workers_count - f->limits.udp_workers_count;
}

static json_t *thread(const struct admin_facts *f, uint32_t idx, uint64_t uptime_ns, bool *is_fine) {
    const struct metrics *m = f->metrics_blocks[idx];
    uint32_t others = others_of(f);
    bool is_udp = idx >= others + f->limits.workers_count;
    char name[16];
    json_t *one = json_object();
    snprintf(name, sizeof(name), is_udp ? "udp-%u" : "worker-%u",
             idx - others - (is_udp ? f->limits.workers_count : 0));
    put(one, "name", json_string(idx < others ? f->thread_names[idx] : name), is_fine);
    put(one, "busy_ns", number(stat_get(&m->busy_ns)), is_fine);
    put(one, "busy_percent", json_real((double)stat_get(&m->busy_ns) * 100 / (double)max_of(uptime_ns, 1ull)), is_fine);
    put(one, "passes", number(stat_get(&m->passes)), is_fine);
    if (idx < others || is_udp) return one;
    put(one, "connections", number(stat_get(&m->connections)), is_fine);
    put(one, "packet_memory_bytes", number(stat_get(&m->packet_memory_bytes)), is_fine);
    return one;
}

/* Threads `from` to `to`. */
static json_t *threads(const struct admin_facts *f, uint32_t from, uint32_t to, uint64_t uptime_ns, bool *is_fine) {
    json_t *all = json_array();
    for (uint32_t i = from; i < to; i++) {
        if (json_array_append_new(all, thread(f, i, uptime_ns, is_fine)) != 0) *is_fine = false;
    }
    return all;
}

/* ---- what it is ---- */

static json_t *listening(const struct admin_facts *f, bool *is_fine) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < f->addresses.listening_count; i++) {
        char text[NET_ADDRESS_TEXT_MAX];
        if (json_array_append_new(all, json_string(net_address_text(&f->addresses.listening[i], text))) != 0)
            *is_fine = false;
    }
    return all;
}

static json_t *stun(const struct admin_facts *f) {
    char text[NET_ADDRESS_TEXT_MAX];
    return f->addresses.stun.port ? json_string(net_address_text(&f->addresses.stun, text)) : json_null();
}

static json_t *tls(const struct admin_facts *f) {
    char pin[2 * CERT_PIN_SIZE + 1];
    if (f->hostname == NULL) return json_null();
    for (size_t i = 0; i < CERT_PIN_SIZE; i++) snprintf(pin + 2 * i, 3, "%02x", f->tls.pin[i]);
    return json_pack("{s:s, s:I, s:I, s:s, s:s, s:s}", "hostname", f->hostname, "not_before",
                     (json_int_t)f->tls.not_before_s, "not_after", (json_int_t)f->tls.not_after_s, "key",
                     f->tls.is_rsa ? "rsa" : "ecdsa", "pin", pin, "records_by", aead_backend_name());
}

static json_t *limits(const struct admin_facts *f) {
    return json_pack("{s:I, s:I, s:I, s:I}", "connections", (json_int_t)f->limits.connections_max, "workers",
                     (json_int_t)f->limits.workers_count, "packet_memory_bytes_per_worker",
                     (json_int_t)f->limits.packet_memory_bytes, "memory_bytes", (json_int_t)f->memory_bytes);
}

static json_t *rate(const struct admin_facts *f) {
    if (!f->has_rate_config) return json_null();
    return json_pack("{s:I, s:I}", "bytes_per_s", (json_int_t)f->rate.bytes_per_s, "burst_bytes",
                     (json_int_t)f->rate.burst_bytes);
}

/* What the control plane has to know of the UDP relay's own node. */
static json_t *udp_node(const struct admin_facts *f) {
    char key[KEY_PUBLIC_TEXT_SIZE], disco[DISCO_KEY_TEXT_SIZE];
    if (!f->has_node) return json_null();
    key_format(&f->node_key, key);
    disco_key_format(&f->node_disco_key, disco);
    bool is_connected = sum_at(f, offsetof(struct metrics, udp_node_connected)) > 0;
    return json_pack("{s:s, s:s, s:b}", "node_key", key, "disco_key", disco, "connected", (int)is_connected);
}

static json_t *relay_addresses(const struct admin_facts *f, bool *is_fine) {
    struct net_address addresses[ALLOCATOR_ADDRESSES_MAX];
    size_t count = allocator_addresses(f->allocator, addresses);
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        char text[NET_ADDRESS_TEXT_MAX];
        if (json_array_append_new(all, json_string(net_address_text(&addresses[i], text))) != 0) *is_fine = false;
    }
    return all;
}

static json_t *udp_relay(const struct admin_facts *f, bool *is_fine) {
    struct allocator_figures figures;
    char key[DISCO_KEY_TEXT_SIZE];
    if (f->allocator == NULL) return json_null();
    allocator_figures_read(f->allocator, &figures);
    struct disco_key server = allocator_server(f->allocator);
    disco_key_format(&server, key);
    json_t *all = json_object();
    put(all, "port", number(f->addresses.relay_bound), is_fine);
    put(all, "server_disco", json_string(key), is_fine);
    put(all, "addresses", relay_addresses(f, is_fine), is_fine);
    put(all, "connecting", number(figures.endpoints - figures.open), is_fine);
    put(all, "open", number(figures.open), is_fine);
    put(all, "endpoints_max", number(figures.endpoints_max), is_fine);
    put(all, "requesters", number(figures.requesters), is_fine);
    return all;
}

static void put_identity(json_t *root, const struct admin_facts *f, uint64_t uptime_ns, bool *is_fine) {
    char key[KEY_PUBLIC_TEXT_SIZE], features[RING_FEATURES_TEXT_MAX];
    key_format(&f->public_key, key);
    put(root, "v", number(ADMIN_VERSION), is_fine);
    put(root, "ok", json_true(), is_fine);
    put(root, "version", json_string(RINGRELAY_VERSION), is_fine);
    put(root, "pid", number((uint64_t)getpid()), is_fine);
    put(root, "start", number(f->start_wall_s), is_fine);
    put(root, "uptime_ns", number(uptime_ns), is_fine);
    put(root, "public_key", json_string(key), is_fine);
    put(root, "listening", listening(f, is_fine), is_fine);
    put(root, "stun", stun(f), is_fine);
    put(root, "tls", tls(f), is_fine);
    put(root, "udp_relay", udp_relay(f, is_fine), is_fine);
    put(root, "io_uring", json_string(ring_features_text(f->ring_features, features)), is_fine);
    put(root, "limits", limits(f), is_fine);
    put(root, "rate", rate(f), is_fine);
    put(root, "udp_node", udp_node(f), is_fine);
}

json_t *admin_status(const struct admin_facts *f, uint64_t now_ns) {
    bool is_fine = true;
    uint64_t uptime_ns = now_ns - f->start_ns;
    uint32_t others = others_of(f), udp = others + f->limits.workers_count;
    json_t *root = json_object();
    put_identity(root, f, uptime_ns, &is_fine);
    put(root, "connections", SUM(connections), &is_fine);
    put(root, "home_connections", SUM(home_connections), &is_fine);
    put(root, "keys", SUM(clients_local), &is_fine);
    put(root, "at_the_door", SUM(sessions), &is_fine);
    put(root, "workers", threads(f, others, udp, uptime_ns, &is_fine), &is_fine);
    if (udp < f->threads_count)
        put(root, "udp_workers", threads(f, udp, f->threads_count, uptime_ns, &is_fine), &is_fine);
    put(root, "threads", threads(f, 0, others, uptime_ns, &is_fine), &is_fine);
    put(root, "totals", totals(f, &is_fine), &is_fine);
    put(root, "drops", drops(f, &is_fine), &is_fine);
    put(root, "closes", closes(f, &is_fine), &is_fine);
    put(root, "refusals", refusals(f, &is_fine), &is_fine);
    if (is_fine) return root;
    json_decref(root);
    return NULL;
}
