#include "relay/relay.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/pacer.h"
#include "relay/conn.h"

enum {
    CONTROL_LANE_ITEMS = 1024,  // control -> worker, control -> front: back-pressure makes any size right
    MAIN_LANE_ITEMS = 4,
    DUMP_LANE_ITEMS = 2,  // there is one dump
    MAIN_RING_ENTRIES = 8,
};

/* ---- lanes: as long as what may be under way at most (relay/mail.h) ---- */

static uint32_t items_for(uint64_t most) { return (uint32_t)power_of_two_above(most); }

/* LEFT, and perhaps WATCH: one of each per connection of the worker. */
static uint32_t left_items(const struct limits *limits) {
    return items_for(2 * (uint64_t)limits_connections_per_worker(limits));
}

static size_t lane_cost(uint32_t items) {
    return arena_cost(sizeof(struct lane)) + arena_cost(lane_storage_size(items, sizeof(struct mail)));
}

static size_t lanes_footprint(const struct limits *limits) {
    size_t per_worker = lane_cost(CONTROL_LANE_ITEMS) + lane_cost(left_items(limits)) + lane_cost(LIMIT_PARCELS) +
                        lane_cost(DUMP_LANE_ITEMS);
    size_t per_udp = lane_cost(MAIN_LANE_ITEMS) + lane_cost(REACH_MAIL_ITEMS);
    size_t udp = limits->udp_workers_count ? lane_cost(REACH_MAIL_ITEMS) + limits->udp_workers_count * per_udp : 0;
    return udp + 5 * lane_cost(MAIN_LANE_ITEMS) + 2 * lane_cost(DUMP_LANE_ITEMS) + lane_cost(LIMIT_PARCELS) +
           lane_cost(CONTROL_LANE_ITEMS) + limits->workers_count * per_worker;
}

static struct lane *make_lane(struct relay *relay, uint32_t items) {
    struct lane *lane = arena_take(&relay->shared, sizeof(*lane));
    void *storage = arena_take(&relay->shared, lane_storage_size(items, sizeof(struct mail)));
    lane_init(lane, storage, items, sizeof(struct mail));
    return lane;
}

static void make_lanes(struct relay *relay) {
    relay->main_to_control = make_lane(relay, MAIN_LANE_ITEMS);
    relay->main_to_office = make_lane(relay, MAIN_LANE_ITEMS);
    relay->main_to_stun = make_lane(relay, MAIN_LANE_ITEMS);
    relay->main_to_front = make_lane(relay, MAIN_LANE_ITEMS);
    relay->office_to_front = make_lane(relay, MAIN_LANE_ITEMS);
    relay->office_to_control = make_lane(relay, DUMP_LANE_ITEMS);
    relay->front_to_office = make_lane(relay, DUMP_LANE_ITEMS);
    relay->front_to_control = make_lane(relay, LIMIT_PARCELS);
    relay->control_to_front = make_lane(relay, CONTROL_LANE_ITEMS);
    for (uint32_t i = 0; i < relay->options.limits.workers_count; i++) {
        relay->control_to_worker[i] = make_lane(relay, CONTROL_LANE_ITEMS);
        relay->worker_to_control[i] = make_lane(relay, left_items(&relay->options.limits));
        relay->worker_to_front[i] = make_lane(relay, LIMIT_PARCELS);
        relay->worker_to_office[i] = make_lane(relay, DUMP_LANE_ITEMS);
    }
    for (uint32_t i = 0; i < relay->options.limits.udp_workers_count; i++) {
        relay->main_to_udp[i] = make_lane(relay, MAIN_LANE_ITEMS);
        relay->udp_to_office[i] = make_lane(relay, REACH_MAIL_ITEMS);
    }
    if (relay->options.limits.udp_workers_count) relay->office_to_udp = make_lane(relay, REACH_MAIL_ITEMS);
}

/* ---- rings ---- */

static uint32_t first_udp(const struct limits *limits) { return THREAD_WORKERS + limits->workers_count; }

static struct ring_options ring_options_of(const struct relay_options *options, uint32_t thread_idx) {
    if (thread_idx >= first_udp(&options->limits)) return udp_ring_options(options->ring_features);
    struct ring_options ring = {
        .features_allowed = options->ring_features, .submissions_max = 64, .completions_max = 1024};
    if (thread_idx == THREAD_OFFICE) {
        ring.receive_buffers = ADMIN_RECEIVE_BUFFERS;
        ring.receive_buffer_size = ADMIN_REQUEST_MAX;
    }
    if (thread_idx == THREAD_FRONT || thread_idx >= THREAD_WORKERS) {
        uint32_t sockets =
            thread_idx == THREAD_FRONT ? LIMIT_SESSIONS_ALL : limits_connections_per_worker(&options->limits);
        ring.submissions_max = LIMIT_SUBMISSIONS;
        /* A receive and a send per socket, and the wake-ups of the other threads. */
        ring.completions_max = (unsigned)power_of_two_above(2 * sockets + 256);
        ring.receive_buffers = LIMIT_RECEIVE_BUFFERS;
        ring.receive_buffer_size = LIMIT_RECEIVE_BUFFER_SIZE;
    }
    if (thread_idx == THREAD_STUN) {
        ring.receive_buffers = LIMIT_STUN_BUFFERS;
        ring.receive_buffer_size = LIMIT_STUN_BUFFER_SIZE;
    }
    return ring;
}

static bool open_rings(struct relay *relay, char *why) {
    struct ring_options main_ring = {.features_allowed = relay->options.ring_features,
                                     .submissions_max = MAIN_RING_ENTRIES,
                                     .completions_max = 2 * MAIN_RING_ENTRIES};
    if (ring_open(&relay->main_ring, &main_ring, why) != 0) return false;
    for (uint32_t i = 0; i < relay->threads_count; i++) {
        struct ring_options options = ring_options_of(&relay->options, i);
        if (ring_open(&relay->rings[i], &options, why) != 0) return false;
    }
    return true;
}

/* ---- the budget ---- */

static struct worker_options worker_options_of(const struct limits *limits, uint32_t idx) {
    return (struct worker_options){.idx = idx,
                                   .peers_max = limits_connections_per_worker(limits),
                                   .conns_max = limits_connections_per_worker(limits),
                                   .packet_memory_bytes = limits->packet_memory_bytes};
}

static struct registrar_options places_of(const struct relay_options *options) {
    uint32_t per_worker = limits_connections_per_worker(&options->limits);
    return (struct registrar_options){.workers_count = options->limits.workers_count,
                                      .places_count = per_worker,
                                      .conns_max = per_worker,
                                      .conns_total_max = options->limits.connections_max,
                                      .placement = options->placement};
}

static struct allocator_options endpoints_of(const struct limits *limits) {
    return (struct allocator_options){.endpoints_max = limits->endpoints_max, .unbound_max = limits->unbound_max};
}

static size_t udp_shared_footprint(const struct limits *limits) {
    if (limits->udp_workers_count == 0) return 0;
    return arena_cost(sizeof(struct udp_locals)) + limits->udp_workers_count * arena_cost(sizeof(struct udp));
}

static size_t shared_footprint(const struct limits *limits) {
    uint32_t threads = first_udp(limits) + limits->udp_workers_count;
    return lanes_footprint(limits) + udp_shared_footprint(limits) + directory_footprint(limits->connections_max) +
           threads * (arena_cost(sizeof(struct metrics)) + arena_cost(sizeof(struct log_lane)) +
                      arena_cost(log_lane_storage_size())) +
           limits->workers_count * arena_cost(sizeof(struct worker)) +
           crossing_stations_footprint(limits->workers_count);
}

static void add_row(struct budget_row *rows, size_t *count, const char *part, const char *what, uint64_t n,
                    uint64_t each, const char *derivation) {
    CHECK(*count < BUDGET_ROWS_MAX);
    rows[(*count)++] = (struct budget_row){part, what, n, each, n * each, derivation};
}

static void add_udp_rows(struct budget_row *rows, size_t *count, const struct relay_options *options) {
    const struct limits *limits = &options->limits;
    struct ring_options ring = ring_options_of(options, first_udp(limits));
    if (limits->udp_workers_count == 0) return;
    struct allocator_options endpoints = endpoints_of(limits);
    add_row(rows, count, "shared", "endpoints of the UDP relay", 1, allocator_footprint(&endpoints),
            "-relay-endpoints-max, rounded up to a power of two");
    if (limits->has_node)
        add_row(rows, count, "heap", "who may ask over DERP", 2, ALLOWLIST_BYTES_MAX,
                "65536 keys; in use and just read, by -relay-allow-file");
    add_row(rows, count, "udp", "arrivals, sends, answers", limits->udp_workers_count, udp_footprint(),
            "512 arrivals, 512 sends of 64 pieces, 256 answers");
    add_row(rows, count, "udp", "ring and receive buffers", limits->udp_workers_count, ring_footprint(&ring),
            "512 buffers of 64 KiB, of which single datagrams touch a page or two");
    add_row(rows, count, "office", "addresses of the UDP relay", 1, reach_footprint(), "16 questions, 32 addresses");
}

size_t relay_budget(const struct limits *limits, struct budget_row rows[BUDGET_ROWS_MAX]) {
    struct relay_options options = {.limits = *limits};
    struct ring_options front_ring = ring_options_of(&options, THREAD_FRONT);
    struct ring_options worker_ring = ring_options_of(&options, THREAD_WORKERS);
    struct ring_options stun_ring = ring_options_of(&options, THREAD_STUN);
    struct ring_options small_ring = ring_options_of(&options, THREAD_CONTROL);
    struct ring_options office_ring = ring_options_of(&options, THREAD_OFFICE);
    struct registrar_options places = places_of(&options);
    uint64_t workers = limits->workers_count, conns = limits_connections_per_worker(limits);
    size_t n = 0;
    add_row(rows, &n, "worker", "packets: queues, chunks", workers, packet_pool_footprint(limits->packet_memory_bytes),
            "-packet-memory per worker");
    add_row(rows, &n, "worker", "connections", workers, pool_footprint((uint32_t)conns, sizeof(struct conn)),
            workers == 1 ? "-max-connections" : "-max-connections: twice a worker's share, and 512");
    add_row(rows, &n, "worker", "peers", workers, arena_cost(conns * sizeof(struct peer)),
            "one per connection at most");
    add_row(rows, &n, "worker", "who received from whom", workers, senders_footprint((uint32_t)conns * 4),
            "4 sources remembered per connection on average");
    add_row(rows, &n, "worker", "ring and receive buffers", workers, ring_footprint(&worker_ring),
            "32 buffers of 32 KiB; 2 completions per connection");
    add_row(rows, &n, "front", "sessions, logins, parcels", 1, front_footprint(limits),
            "512 sessions (and 256 closing), 8 large buffers, 128 parcels, traffic page");
    add_row(rows, &n, "front", "ring and receive buffers", 1, ring_footprint(&front_ring), "as a worker's");
    add_row(rows, &n, "control", "books and presence", 1, control_footprint(&places),
            "one place per connection and worker");
    add_row(rows, &n, "control", "ring", 1, ring_footprint(&small_ring), "wake-ups only");
    add_row(rows, &n, "heap", "names of /bootstrap-dns", 2 * BOOTSTRAP_LISTS_MAX, sizeof(struct bootstrap_table),
            "64 names of 16 addresses per list; 2 lists, in use and in the making");
    add_row(rows, &n, "office", "admin socket, list of clients", 1, admin_footprint(limits),
            "32 places of 68 KiB, a row per connection");
    add_row(rows, &n, "office", "ring and receive buffers", 1, ring_footprint(&office_ring), "32 buffers of 4 KiB");
    add_row(rows, &n, "stun", "answers under way", 1, stun_server_footprint(), "256 answers");
    add_row(rows, &n, "stun", "ring and receive buffers", 1, ring_footprint(&stun_ring), "64 buffers of 2 KiB");
    add_udp_rows(rows, &n, &options);
    add_row(rows, &n, "shared", "directory, lanes, metrics, log", 1, shared_footprint(limits),
            "lanes as long as what may be under way");
    return n;
}

static uint64_t budget_sum(const struct limits *limits) {
    struct budget_row rows[BUDGET_ROWS_MAX];
    uint64_t sum = 0;
    for (size_t i = relay_budget(limits, rows); i-- > 0;) sum += rows[i].bytes;
    return sum;
}

void relay_budget_print(const struct limits *limits) {
    struct budget_row rows[BUDGET_ROWS_MAX];
    size_t count = relay_budget(limits, rows);
    printf("%-8s %-32s %5s %14s %14s  %s\n", "part", "what", "count", "bytes each", "bytes", "from");
    for (size_t i = 0; i < count; i++) {
        printf("%-8s %-32s %5llu %14llu %14llu  %s\n", rows[i].part, rows[i].what, (unsigned long long)rows[i].count,
               (unsigned long long)rows[i].each_bytes, (unsigned long long)rows[i].bytes, rows[i].derivation);
    }
    printf("%-8s %-32s %5s %14s %14llu  reserved at start; pages cost nothing until they are used\n", "sum", "", "", "",
           (unsigned long long)budget_sum(limits));
    printf("and up to %u MiB of heap for wolfSSL while %u handshakes are under way at once\n",
           LIMIT_SESSIONS * (HANDSHAKE_MEMORY_MAX / 1024) / 1024, LIMIT_SESSIONS);
    printf("for %u connections on %u worker(s)\n", limits->connections_max, limits->workers_count);
}

/* ---- making it ---- */

static size_t arena_size_of(const struct relay *relay, uint32_t thread_idx) {
    const struct limits *limits = &relay->options.limits;
    struct worker_options worker = worker_options_of(limits, 0);
    struct registrar_options places = places_of(&relay->options);
    switch (thread_idx) {
        case THREAD_FRONT: return front_footprint(limits);
        case THREAD_CONTROL: return control_footprint(&places);
        case THREAD_OFFICE: return admin_footprint(limits) + (limits->udp_workers_count ? reach_footprint() : 0);
        case THREAD_STUN: return stun_server_footprint();
        default: return thread_idx >= first_udp(limits) ? udp_footprint() : worker_footprint(&worker);
    }
}

static bool make_memory(struct relay *relay, char *why) {
    bool is_fine = arena_init(&relay->shared, shared_footprint(&relay->options.limits)) == 0;
    if (relay->options.limits.udp_workers_count) {
        struct allocator_options endpoints = endpoints_of(&relay->options.limits);
        is_fine = is_fine && arena_init(&relay->endpoints, allocator_footprint(&endpoints)) == 0;
    }
    for (uint32_t i = 0; i < relay->threads_count; i++) {
        is_fine = is_fine && arena_init(&relay->arenas[i], arena_size_of(relay, i)) == 0;
    }
    if (!is_fine) {
        snprintf(why, RELAY_WHY_MAX,
                 "not enough memory: lower -max-connections, -packet-memory or -relay-endpoints-max (see -budget)");
    }
    return is_fine;
}

static void make_thread_states(struct relay *relay) {
    for (uint32_t i = 0; i < relay->threads_count; i++) {
        relay->metrics[i] = arena_take(&relay->shared, sizeof(struct metrics));
        relay->log_lanes[i] = arena_take(&relay->shared, sizeof(struct log_lane));
        log_lane_init(relay->log_lanes[i], arena_take(&relay->shared, log_lane_storage_size()), (uint8_t)i);
        if (relay->options.rng_seed) {
            rng_init_seeded(&relay->rngs[i], relay->options.rng_seed + i);
        } else {
            rng_init_system(&relay->rngs[i]);
        }
    }
}

_Static_assert(sizeof(((struct front_links *)0)->metrics_blocks) / sizeof(struct metrics *) == RELAY_THREADS_MAX,
               "the pages sum over all threads");

static void make_allocator(struct relay *relay, uint64_t now_ns) {
    if (relay->options.limits.udp_workers_count == 0) return;
    struct allocator_options options = endpoints_of(&relay->options.limits);
    if (relay->options.rng_seed) {
        rng_init_seeded(&relay->endpoints_rng, relay->options.rng_seed + RELAY_THREADS_MAX);
    } else {
        rng_init_system(&relay->endpoints_rng);
    }
    relay->allocator = allocator_make(&relay->endpoints, &options, &relay->endpoints_rng, now_ns);
}

static void make_front(struct relay *relay, uint64_t now_ns) {
    struct front_links links = {.to_control = relay->front_to_control,
                                .from_main = relay->main_to_front,
                                .from_control = relay->control_to_front,
                                .from_office = relay->office_to_front,
                                .to_office = relay->front_to_office,
                                .workers_count = relay->options.limits.workers_count,
                                .udp_workers_count = relay->options.limits.udp_workers_count,
                                .control_ring = relay->rings[THREAD_CONTROL],
                                .office_ring = relay->rings[THREAD_OFFICE],
                                .metrics_count = relay->threads_count,
                                .allocator = relay->allocator};
    for (uint32_t i = 0; i < links.workers_count; i++) links.from_workers[i] = relay->worker_to_front[i];
    for (uint32_t i = 0; i < relay->threads_count; i++) links.metrics_blocks[i] = relay->metrics[i];
    front_init(&relay->front, &relay->arenas[THREAD_FRONT], &relay->options.front, &links, relay->rings[THREAD_FRONT],
               relay->metrics[THREAD_FRONT], &relay->rngs[THREAD_FRONT], now_ns);
    relay->options.front.node.desk.allowed = NULL;  // the front's
}

static void make_control(struct relay *relay) {
    const struct limits *limits = &relay->options.limits;
    struct control_links links = {.from_main = relay->main_to_control,
                                  .from_front = relay->front_to_control,
                                  .from_office = relay->office_to_control,
                                  .to_front = relay->control_to_front,
                                  .front_ring = relay->rings[THREAD_FRONT],
                                  .office_ring = relay->rings[THREAD_OFFICE],
                                  .workers_count = limits->workers_count};
    for (uint32_t i = 0; i < limits->workers_count; i++) {
        links.from_workers[i] = relay->worker_to_control[i];
        links.to_workers[i] = relay->control_to_worker[i];
        links.worker_rings[i] = relay->rings[THREAD_WORKERS + i];
        links.worker_metrics[i] = relay->metrics[THREAD_WORKERS + i];
    }
    struct registrar_options places = places_of(&relay->options);
    control_init(&relay->control, &relay->arenas[THREAD_CONTROL], &places, &relay->directory, &links,
                 relay->rings[THREAD_CONTROL], relay->metrics[THREAD_CONTROL]);
}

static void make_admin(struct relay *relay, uint64_t now_ns) {
    static const char *const names[THREAD_WORKERS] = {"front", "control", "office", "stun"};
    const struct relay_options *options = &relay->options;
    struct admin_links links = {.ring = relay->rings[THREAD_OFFICE],
                                .to_control = relay->office_to_control,
                                .to_front = relay->office_to_front,
                                .front_ring = relay->rings[THREAD_FRONT],
                                .control_ring = relay->rings[THREAD_CONTROL]};
    struct admin_facts facts = {.start_wall_s = options->front.start_wall_s,
                                .start_ns = now_ns,
                                .public_key = options->front.public_key,
                                .addresses = options->addresses,
                                .hostname = options->certs ? options->certs->hostname : NULL,
                                .ring_features = ring_features(relay->rings[THREAD_WORKERS]),
                                .limits = options->limits,
                                .memory_bytes = options->front.memory_bytes,
                                .has_rate_config = options->front.has_rate_config,
                                .has_node = options->front.node.is_on,
                                .node_key = options->front.node.desk.keys.node,
                                .node_disco_key = options->front.node.desk.keys.disco,
                                .metrics_blocks = (const struct metrics *const *)relay->metrics,
                                .thread_names = names,
                                .threads_count = relay->threads_count,
                                .allocator = relay->allocator,
                                .metrics = relay->metrics[THREAD_OFFICE],
                                .rate = options->rate};
    if (options->front.identity) facts.tls = *tls_identity_facts(options->front.identity);
    relay->admin = arena_take(&relay->arenas[THREAD_OFFICE], sizeof(struct admin));
    admin_init(relay->admin, &relay->arenas[THREAD_OFFICE], &options->admin, &links, &facts);
}

static void make_reach(struct relay *relay, uint64_t now_ns) {
    if (relay->allocator == NULL) return;
    struct reach_links links = {.allocator = relay->allocator, .to_udp = relay->office_to_udp};
    relay->reach =
        reach_make(&relay->arenas[THREAD_OFFICE], &relay->options.reach, &links, &relay->rngs[THREAD_OFFICE], now_ns);
}

static void make_office(struct relay *relay, uint64_t now_ns) {
    struct office_links links = {.from_main = relay->main_to_office,
                                 .to_front = relay->office_to_front,
                                 .from_front = relay->front_to_office,
                                 .front_ring = relay->rings[THREAD_FRONT],
                                 .from_workers = relay->worker_to_office,
                                 .workers_count = relay->options.limits.workers_count,
                                 .admin = relay->admin,
                                 .certs = relay->options.certs,
                                 .resolver = relay->options.resolver,
                                 .reach = relay->reach,
                                 .to_udp = relay->office_to_udp,
                                 .from_udp = relay->udp_to_office,
                                 .udp_workers_count = relay->options.limits.udp_workers_count,
                                 .log_lanes = relay->log_lanes,
                                 .log_lanes_count = relay->threads_count};
    if (links.to_udp) links.udp_ring = relay->rings[first_udp(&relay->options.limits)];
    office_init(&relay->office, relay->rings[THREAD_OFFICE], &links, now_ns);
}

static void make_stun(struct relay *relay, uint64_t now_ns) {
    struct stun_links links = {.from_main = relay->main_to_stun, .office_ring = relay->rings[THREAD_OFFICE]};
    stun_server_init(&relay->stun, &relay->arenas[THREAD_STUN], &relay->options.stun, &links, relay->rings[THREAD_STUN],
                     relay->metrics[THREAD_STUN], now_ns);
}

static void make_worker(struct relay *relay, uint32_t idx, uint64_t now_ns) {
    uint32_t thread_idx = THREAD_WORKERS + idx;
    struct worker_options options = worker_options_of(&relay->options.limits, idx);
    options.write_timeout_ns = relay->options.write_timeout_ns;
    options.duplicates_policy = relay->options.duplicates_policy;
    options.rate = relay->options.rate;
    memcpy(options.source_secret, relay->source_secret, sizeof(options.source_secret));
    options.server_key = relay->options.front.public_key;
    options.has_no_rtt = relay->options.has_no_rtt;
    struct worker_links links = {.from_control = relay->control_to_worker[idx],
                                 .to_control = relay->worker_to_control[idx],
                                 .to_front = relay->worker_to_front[idx],
                                 .to_office = relay->worker_to_office[idx],
                                 .control_ring = relay->rings[THREAD_CONTROL],
                                 .front_ring = relay->rings[THREAD_FRONT],
                                 .office_ring = relay->rings[THREAD_OFFICE],
                                 .parcels = relay->front.parcels.parcels,
                                 .directory = &relay->directory,
                                 .presence = relay->control.presence,
                                 .epoch = &relay->epoch,
                                 .epoch_idx = idx,
                                 .stations = relay->stations,
                                 .worker_rings = &relay->rings[THREAD_WORKERS],
                                 .workers_count = relay->options.limits.workers_count};
    relay->workers[idx] = arena_take(&relay->shared, sizeof(struct worker));
    worker_init(relay->workers[idx], &relay->arenas[thread_idx], &options, &links, relay->rings[thread_idx],
                relay->metrics[thread_idx], &relay->rngs[thread_idx], now_ns);
}

static void make_udp_worker(struct relay *relay, uint32_t idx, uint64_t now_ns) {
    uint32_t thread_idx = first_udp(&relay->options.limits) + idx;
    struct udp_options options = {.server = allocator_server(relay->allocator)};
    struct udp_links links = {.from_main = relay->main_to_udp[idx],
                              .office_ring = relay->rings[THREAD_OFFICE],
                              .vni = allocator_endpoints(relay->allocator),
                              .locals = relay->udp_locals,
                              .stun = reach_stun(relay->reach),
                              .from_office = idx == 0 ? relay->office_to_udp : NULL,
                              .to_office = relay->udp_to_office[idx]};
    memcpy(options.fds, relay->options.udp->fds[idx], sizeof(options.fds));
    relay->udp_workers[idx] = arena_take(&relay->shared, sizeof(struct udp));
    udp_init(relay->udp_workers[idx], &relay->arenas[thread_idx], &options, &links, relay->rings[thread_idx],
             relay->metrics[thread_idx], &relay->rngs[thread_idx], now_ns);
}

static void make_udp(struct relay *relay, uint64_t now_ns) {
    if (relay->options.limits.udp_workers_count == 0) return;
    relay->udp_locals = arena_take(&relay->shared, sizeof(*relay->udp_locals));
    for (uint32_t i = 0; i < relay->options.limits.udp_workers_count; i++) make_udp_worker(relay, i, now_ns);
}

static void seal_memory(struct relay *relay) {
    arena_seal(&relay->shared);
    if (relay->allocator) arena_seal(&relay->endpoints);
    for (uint32_t i = 0; i < relay->threads_count; i++) arena_seal(&relay->arenas[i]);
}

bool relay_init(struct relay *relay, const struct relay_options *options, uint64_t now_ns, char *why) {
    const struct limits *limits = &options->limits;
    relay->options = *options;
    relay->options.front.memory_bytes = budget_sum(limits);
    relay->options.front.limits = *limits;
    relay->threads_count = first_udp(limits) + limits->udp_workers_count;
    if (!make_memory(relay, why) || !open_rings(relay, why)) return false;
    make_lanes(relay);
    make_thread_states(relay);
    epoch_init(&relay->epoch, limits->workers_count);
    directory_init(&relay->directory, &relay->shared, limits->connections_max, &relay->epoch,
                   &relay->rngs[THREAD_CONTROL]);
    make_allocator(relay, now_ns);
    make_front(relay, now_ns);
    make_control(relay);
    make_admin(relay, now_ns);
    make_reach(relay, now_ns);
    make_office(relay, now_ns);
    rng_bytes(&relay->rngs[THREAD_CONTROL], relay->source_secret, sizeof(relay->source_secret));
    make_stun(relay, now_ns);
    relay->stations = arena_take(&relay->shared, limits->workers_count * sizeof(struct crossing_station));
    for (uint32_t i = 0; i < limits->workers_count; i++) make_worker(relay, i, now_ns);
    make_udp(relay, now_ns);
    seal_memory(relay);
    return true;
}

/* ---- the parts ---- */

static uint64_t step_front(void *state, uint64_t now_ns) { return front_step(state, now_ns); }
static uint64_t step_control(void *state, uint64_t now_ns) { return control_step(state, now_ns); }
static uint64_t step_office(void *state, uint64_t now_ns) { return office_step(state, now_ns); }
static uint64_t step_stun(void *state, uint64_t now_ns) { return stun_server_step(state, now_ns); }
static uint64_t step_udp(void *state, uint64_t now_ns) { return udp_step(state, now_ns); }
static uint64_t step_worker(void *state, uint64_t now_ns) { return worker_step(state, now_ns); }
static bool sleep_front(void *state) { return front_may_sleep(state); }
static bool sleep_control(void *state) { return control_may_sleep(state); }
static bool sleep_office(void *state) { return office_may_sleep(state); }
static bool sleep_stun(void *state) { return stun_server_may_sleep(state); }
static bool sleep_udp(void *state) { return udp_may_sleep(state); }
static bool sleep_worker(void *state) { return worker_may_sleep(state); }

static struct relay_part part_of(struct relay *relay, uint32_t thread_idx, const char *name, void *state,
                                 uint64_t (*step)(void *, uint64_t), bool (*may_sleep)(void *),
                                 const bool *is_stopped) {
    struct relay_part part = {.state = state,
                              .step = step,
                              .may_sleep = may_sleep,
                              .is_stopped = is_stopped,
                              .ring = relay->rings[thread_idx],
                              .log_lane = relay->log_lanes[thread_idx],
                              .busy_ns = &relay->metrics[thread_idx]->busy_ns};
    snprintf(part.name, sizeof(part.name), "%s", name);
    return part;
}

static struct relay_part udp_part(struct relay *relay, uint32_t thread_idx) {
    uint32_t idx = thread_idx - first_udp(&relay->options.limits);
    struct udp *u = relay->udp_workers[idx];
    char name[16];
    snprintf(name, sizeof(name), "udp-%u", idx);
    struct relay_part part = part_of(relay, thread_idx, name, u, step_udp, sleep_udp, &u->is_stopped);
    if (relay->options.is_paced) part.packets = &u->metrics->udp_received;
    part.rest_ns = PACER_REST_UDP_NS;
    part.rest_busy_permille = PACER_BUSY_UDP_PERMILLE;
    part.rests = &u->metrics->rests;
    return part;
}

struct relay_part relay_part_at(struct relay *relay, uint32_t thread_idx) {
    struct front *f = &relay->front;
    struct control *c = &relay->control;
    struct office *o = &relay->office;
    struct stun_server *s = &relay->stun;
    switch (thread_idx) {
        case THREAD_FRONT: return part_of(relay, thread_idx, "front", f, step_front, sleep_front, &f->is_stopped);
        case THREAD_CONTROL:
            return part_of(relay, thread_idx, "control", c, step_control, sleep_control, &c->is_stopped);
        case THREAD_OFFICE: return part_of(relay, thread_idx, "office", o, step_office, sleep_office, &o->is_stopped);
        case THREAD_STUN: return part_of(relay, thread_idx, "stun", s, step_stun, sleep_stun, &s->is_stopped);
        default: break;
    }
    if (thread_idx >= first_udp(&relay->options.limits)) return udp_part(relay, thread_idx);
    struct worker *w = relay->workers[thread_idx - THREAD_WORKERS];
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", w->idx);
    struct relay_part part = part_of(relay, thread_idx, name, w, step_worker, sleep_worker, &w->is_stopped);
    if (relay->options.is_paced) part.packets = &w->metrics->packets_received;
    part.rest_ns = PACER_REST_NS;
    part.rest_busy_permille = PACER_BUSY_PERMILLE;
    part.rests = &w->metrics->rests;
    return part;
}

/* ---- telling control ---- */

static bool mail_from_main(struct relay *relay, struct lane *lane, uint32_t thread, const struct mail *mail) {
    if (!lane_push(lane, mail)) return false;
    lane_flush(lane);
    ring_wake(relay->main_ring, relay->rings[thread]);
    return true;
}

bool relay_set_rate(struct relay *relay, const struct rate_limit *rate) {
    struct mail mail = {.kind = MAIL_RATE, .rate = *rate};
    /* The last places are for STOP. */
    if (lane_room(relay->main_to_control) <= 1 || lane_room(relay->main_to_office) <= 1) return false;
    return mail_from_main(relay, relay->main_to_control, THREAD_CONTROL, &mail) &&
           mail_from_main(relay, relay->main_to_office, THREAD_OFFICE, &mail);
}

bool relay_set_allowed(struct relay *relay, struct allowlist *allowed) {
    struct mail mail = {.kind = MAIL_ALLOWED, .allowed = allowed};
    return mail_from_main(relay, relay->main_to_front, THREAD_FRONT, &mail);
}

bool relay_set_tokens(struct relay *relay, struct tokens *tokens) {
    struct mail mail = {.kind = MAIL_TOKENS, .tokens = tokens};
    return mail_from_main(relay, relay->main_to_front, THREAD_FRONT, &mail);
}

/* A full lane means that it was told already. */
static void mail_stop(struct relay *relay, struct lane *lane, uint32_t thread) {
    (void)mail_from_main(relay, lane, thread, &(struct mail){.kind = MAIL_STOP});
}

void relay_stop(struct relay *relay) {
    mail_stop(relay, relay->main_to_stun, THREAD_STUN);
    for (uint32_t i = 0; i < relay->options.limits.udp_workers_count; i++) {
        mail_stop(relay, relay->main_to_udp[i], first_udp(&relay->options.limits) + i);
    }
    mail_stop(relay, relay->main_to_control, THREAD_CONTROL);
}

void relay_stop_office(struct relay *relay) { mail_stop(relay, relay->main_to_office, THREAD_OFFICE); }

/* What the front has not taken any more. */
static void discard_front_mail(struct relay *relay) {
    struct mail mail;
    while (relay->main_to_front && lane_pop(relay->main_to_front, &mail)) {
        if (mail.kind == MAIL_ALLOWED) allowlist_free(mail.allowed);
        if (mail.kind == MAIL_TOKENS) tokens_free(mail.tokens);
    }
    while (relay->office_to_front && lane_pop(relay->office_to_front, &mail)) {
        if (mail.kind == MAIL_IDENTITY) tls_identity_give(mail.identity);
        if (mail.kind == MAIL_BOOTSTRAP) free(mail.bootstrap);
    }
}

void relay_fini(struct relay *relay) {
    discard_front_mail(relay);
    front_fini(&relay->front);
    office_fini(&relay->office);
    resolver_free(relay->options.resolver);
    reach_fini(relay->reach);
    for (uint32_t i = 0; i < LIMIT_WORKERS_MAX; i++) {
        if (relay->workers[i]) worker_fini(relay->workers[i]);
    }
    key_private_wipe(&relay->options.front.private_key);
    nodekeys_wipe(&relay->options.front.node.desk.keys);
    key_mesh_wipe(&relay->options.front.mesh_key);
    debug_access_wipe(&relay->options.front.debug_access);
    for (uint32_t i = 0; i < relay->threads_count; i++) ring_close(relay->rings[i]);
    ring_close(relay->main_ring);
    for (uint32_t i = 0; i < relay->threads_count; i++) arena_fini(&relay->arenas[i]);
    allocator_fini(relay->allocator);
    arena_fini(&relay->endpoints);
    arena_fini(&relay->shared);
}
