#include "tests/sim/house_sim.h"

#include <stdlib.h>

#include "core/check.h"
#include "relay/conn.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/ring_sim.h"
#include "tests/sim/sched_sim.h"

enum { WORKERS_MAX = 3 };
_Static_assert(THREAD_WORKERS + WORKERS_MAX <= SIM_FIBERS_MAX, "a fiber for each part");

static uint64_t time_until(uint64_t until_ns) {
    if (until_ns == TIME_NEVER) return TIME_NEVER;
    return until_ns > sim.now_ns ? until_ns - sim.now_ns : 0;
}

/* As thread_main of relay/main.c; the extra point stands where a thread can be interrupted before it goes to sleep. */
static void part_main(void *arg) {
    const struct relay_part *part = &((const struct house_part *)arg)->part;
    CHECK(ring_enable(part->ring) == 0);
    for (;;) {
        uint64_t now_ns = sim.now_ns;
        uint64_t until_ns = part->step(part->state, now_ns);
        if (*part->is_stopped) break;
        ring_doze(part->ring);
        stat_add(part->busy_ns, sim.now_ns - now_ns);
        uint64_t timeout_ns = part->may_sleep(part->state) ? time_until(until_ns) : 0;
        sim_point(POINT_SLEEP);
        ring_wait(part->ring, timeout_ns);
    }
    sim_note("part ends", 0, 0);
}

/* With one worker there is nothing to choose; filling puts as few clients as here are on the first, unless it is
 * busy. */
static void choose_workers(struct relay_options *options) {
    options->limits.workers_count = (uint32_t)sim_between(1, WORKERS_MAX);
    options->placement = sim_one_in(5) ? PLACEMENT_FILL : PLACEMENT_SPREAD;
    tally_add((enum tally_entry)(TALLY_ONE_WORKER + options->limits.workers_count - 1), 1);
    if (options->limits.workers_count > 1 && options->placement == PLACEMENT_SPREAD) tally_add(TALLY_SPREAD, 1);
}

static void relay_open(struct house *house, struct rng *rng) {
    struct relay_options options = {
        .limits = {.connections_max = faults.connections_max, .packet_memory_bytes = faults.packet_memory_bytes},
        .ring_features = RING_FEATURES_ALL,
        .write_timeout_ns = faults.write_timeout_ns,
        .rng_seed = sim_random() | 1,
        .front = {.start_wall_s = 1, .listen_fds = {house->listen_fd}, .listeners_count = 1},
    };
    char why[RELAY_WHY_MAX];
    choose_workers(&options);
    options.duplicates_policy = faults.disables_fighters ? DUPLICATES_DISABLE_FIGHTERS : DUPLICATES_LAST_WRITER;
    options.rate = faults.rate;
    key_generate(rng, &options.front.private_key);
    key_private_public(&options.front.private_key, &options.front.public_key);
    rng_bytes(rng, options.front.mesh_key.bytes, KEY_SIZE);
    if (!limits_init(&options.limits, 65536, why) || !relay_init(&house->relay, &options, sim.now_ns, why)) {
        sim_fail("the relay does not start: %s", why);
    }
    house->relay.front.parcels.free_count = faults.parcels;  // the others are under way for ever, as it were
}

struct house *house_open(void) {
    static const unsigned buffers[] = {2, 8, 64};
    static const unsigned buffer_sizes[] = {512, 2048, 16384, 32768};
    struct house *house = aligned_alloc(CACHE_LINE_SIZE, round_up(sizeof(*house), CACHE_LINE_SIZE));
    CHECK(house != NULL);
    memset(house, 0, sizeof(*house));
    struct rng rng;
    rng_init_seeded(&rng, sim_random());
    ring_sim_scarcity(buffers[sim_below(array_count(buffers))], buffer_sizes[sim_below(array_count(buffer_sizes))]);
    house->listen_fd = net_listen();
    relay_open(house, &rng);
    for (uint32_t i = 0; i < house->relay.threads_count; i++) {
        struct house_part *p = &house->parts[i];
        *p = (struct house_part){.house = house, .part = relay_part_at(&house->relay, i)};
        p->fiber = sim_spawn(p->part.name, part_main, p, p->part.log_lane);
    }
    CHECK(ring_enable(house->relay.main_ring) == 0);
    return house;
}

bool house_is_stopped_but_office(const struct house *house) {
    for (uint32_t i = 0; i < house->relay.threads_count; i++) {
        if (i != THREAD_OFFICE && !sim_fiber_is_done(house->parts[i].fiber)) return false;
    }
    return true;
}

bool house_is_stopped(const struct house *house) {
    return house_is_stopped_but_office(house) && sim_fiber_is_done(house->parts[THREAD_OFFICE].fiber);
}

void house_close(struct house *house) {
    CHECK(house_is_stopped(house));
    relay_fini(&house->relay);
    free(house);
}

/* ---- sums ---- */

uint64_t house_sum(const struct house *house, size_t offset) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < house->relay.threads_count; i++) {
        sum += stat_get((const struct stat_counter *)(const void *)((const char *)house->relay.metrics[i] + offset));
    }
    return sum;
}

uint64_t house_dropped(const struct house *house, enum drop_reason reason) {
    return HOUSE_SUM(house, packets_dropped[reason][KIND_DISCO]) +
           HOUSE_SUM(house, packets_dropped[reason][KIND_OTHER]);
}

uint64_t house_dropped_all(const struct house *house) {
    uint64_t sum = 0;
    for (int reason = 0; reason < DROP_REASON_COUNT; reason++) sum += house_dropped(house, (enum drop_reason)reason);
    return sum;
}

static uint64_t bytes_dropped_all(const struct house *house) {
    uint64_t sum = 0;
    for (size_t reason = 0; reason < DROP_REASON_COUNT; reason++) {
        sum +=
            HOUSE_SUM(house, bytes_dropped[reason][KIND_DISCO]) + HOUSE_SUM(house, bytes_dropped[reason][KIND_OTHER]);
    }
    return sum;
}

void house_tally(const struct house *house) {
    for (int i = 0; i < DROP_REASON_COUNT; i++) tally.drops[i] += house_dropped(house, (enum drop_reason)i);
    for (size_t i = 0; i < CLOSE_REASON_COUNT; i++) tally.closes[i] += HOUSE_SUM(house, closes[i]);
    tally_add(TALLY_READS_BRAKED, HOUSE_SUM(house, reads_braked));
    tally_add(TALLY_RATE_WAITS, HOUSE_SUM(house, rate_waits));
    tally_add(TALLY_COLLECTED, HOUSE_SUM(house, frames_collected));
    tally_add(TALLY_LANE_RETRIES, HOUSE_SUM(house, lane_retries));
    tally_add(TALLY_GONES_LOST, HOUSE_SUM(house, peer_gone_lost) + HOUSE_SUM(house, senders_forgotten));
    for (size_t i = 0; i < REFUSE_REASON_COUNT; i++) tally.refusals[i] += HOUSE_SUM(house, refusals[i]);
}

static void expect_equal(const char *what, uint64_t got, uint64_t want) {
    if (got != want) sim_fail("%s: %llu, not %llu", what, (unsigned long long)got, (unsigned long long)want);
}

void house_check_sums(const struct house *house) {
    uint64_t forwarded = HOUSE_SUM(house, packets_forwarded_in);
    uint64_t bytes_out = HOUSE_SUM(house, bytes_sent) + bytes_dropped_all(house);
    expect_equal("packets sent and dropped, against received",
                 HOUSE_SUM(house, packets_sent) + house_dropped_all(house),
                 HOUSE_SUM(house, packets_received) + forwarded);
    /* As derper's, the total of bytes received leaves out what mesh peers forward. */
    if (forwarded == 0) {
        expect_equal("bytes sent and dropped, against received", bytes_out, HOUSE_SUM(house, bytes_received));
    }
    expect_equal("packets received by kind",
                 HOUSE_SUM(house, packets_received_kind[KIND_DISCO]) +
                     HOUSE_SUM(house, packets_received_kind[KIND_OTHER]),
                 HOUSE_SUM(house, packets_received));
}

/* ---- at rest ---- */

static uint32_t partial_bytes(const struct conn *conn) {
    return (conn->r.partial ? packet_cost(conn->r.partial) : 0) + (conn->r.raw ? packet_cost(conn->r.raw) : 0);
}

static void check_conn_at_rest(const struct worker *w, const struct conn *conn, uint32_t slot) {
    if (conn->r.is_closing) sim_fail("connection %u is closing for ever", slot);
    if (!conn->v.is_started) sim_fail("connection %u was adopted and not started", slot);
    if (conn->r.has_parcel) sim_fail("connection %u keeps its parcel", slot);
    if (conn->r.sending || conn->r.urgent.count || conn->r.is_dirty) sim_fail("connection %u does not send", slot);
    if (conn->r.socket.in_flight != 1) sim_fail("connection %u does not only read", slot);
    if (conn->r.watcher.is_on && (conn->r.watcher.bucket < directory_buckets(w->directory) ||
                                  conn->r.watcher.cursor != presence_end(w->links.presence))) {
        sim_fail("connection %u watches and is not told", slot);
    }
    if (conn->r.peer->backlog.count) sim_fail("connection %u: packets wait for nothing", slot);
}

/* At rest nothing but incomplete frames is held, and all packets are at home again. */
static void check_worker_at_rest(const struct worker *w) {
    uint64_t held_bytes = 0;
    for (uint32_t slot = 0; slot < w->conns.count; slot++) {
        const struct conn *conn = pool_at(&w->conns, slot);
        if (conn == NULL) continue;
        check_conn_at_rest(w, conn, slot);
        held_bytes += partial_bytes(conn);
    }
    expect_equal("packets away from home", w->crossing.away, 0);
    expect_equal("bytes of packet memory taken, against incomplete frames", w->packets.bytes_taken, held_bytes);
}

/* Who is kept off may be about to wake others. */
static bool may_wake_come(const struct house *house) {
    for (uint32_t i = 0; i < house->relay.threads_count; i++) {
        if (sim_fiber_is_held(house->parts[i].fiber)) return true;
    }
    return false;
}

void house_check_workers_asleep(const struct house *house) {
    for (uint32_t i = 0; i < house->relay.options.limits.workers_count; i++) {
        const struct worker *w = house->relay.workers[i];
        if (!sim_fiber_is_asleep(house->parts[THREAD_WORKERS + i].fiber)) continue;
        if (w->to_start) sim_fail("worker %u sleeps, and a connection waits for its start", i);
        if (w->crossing.pending_out || w->crossing.pending_home) sim_fail("worker %u sleeps over others' packets", i);
    }
}

/* Looked at from outside: what a part's own may_sleep overlooks is overlooked here otherwise. */
static bool has_mail(struct relay *relay, uint32_t thread_idx) {
    bool has_any = false;
    uint32_t workers = relay->options.limits.workers_count, i = thread_idx - THREAD_WORKERS;
    switch (thread_idx) {
        case THREAD_OFFICE: return lane_has_mail(relay->main_to_office);
        case THREAD_CONTROL:
            for (uint32_t w = 0; w < workers; w++) has_any |= lane_has_mail(relay->worker_to_control[w]);
            return has_any || lane_has_mail(relay->front_to_control) || lane_has_mail(relay->main_to_control);
        case THREAD_FRONT:
            for (uint32_t w = 0; w < workers; w++) has_any |= lane_has_mail(relay->worker_to_front[w]);
            return has_any || lane_has_mail(relay->control_to_front) || lane_has_mail(relay->office_to_front);
        default: return lane_has_mail(relay->control_to_worker[i]) || chain_has_mail(&relay->stations[i].arrived);
    }
}

void house_check_asleep(struct house *house) {
    if (may_wake_come(house)) return;
    for (uint32_t i = 0; i < house->relay.threads_count; i++) {
        if (!sim_fiber_is_asleep(house->parts[i].fiber) || !has_mail(&house->relay, i)) continue;
        sim_fail("%s sleeps over mail: a wake-up was lost", house->parts[i].part.name);
    }
}

void house_check_quiet(struct house *house) {
    house_check_asleep(house);
    for (uint32_t i = 0; i < house->relay.options.limits.workers_count; i++) {
        check_worker_at_rest(house->relay.workers[i]);
    }
    expect_equal("parcels in the front's box", house->relay.front.parcels.free_count, faults.parcels);
    house_check_sums(house);
}

static void check_worker_empty(const struct house *house, const struct worker *w) {
    expect_equal("connections", pool_used(&w->conns), 0);
    expect_equal("bytes of packet memory taken", w->packets.bytes_taken, 0);
    expect_equal("free pages", w->packets.pages_free, w->packets.pages_count);
    expect_equal("armed timers of a worker", w->wheel.armed_count, 0);
    for (uint32_t i = 0; i < w->peers_count; i++) expect_equal("a peer's place", w->peers[i].where, ROUTE_NONE);
    uint32_t links = 0;
    for (const struct sender_link *link = w->senders.free_links; link; link = link->hash_next) links++;
    expect_equal("free pairs of senders", links, w->conns.count * 4);
    if (!ring_sim_is_clean(house->relay.rings[THREAD_WORKERS + w->idx], 0)) sim_fail("a worker's ring is not clean");
}

static void check_gauges_zero(const struct house *house) {
    expect_equal("gauge connections", HOUSE_SUM(house, connections), 0);
    expect_equal("gauge home_connections", HOUSE_SUM(house, home_connections), 0);
    expect_equal("gauge notideal_connections", HOUSE_SUM(house, notideal_connections), 0);
    expect_equal("gauge dup_client_keys", HOUSE_SUM(house, dup_client_keys), 0);
    expect_equal("gauge dup_client_conns", HOUSE_SUM(house, dup_client_conns), 0);
    expect_equal("gauge clients_local", HOUSE_SUM(house, clients_local), 0);
    expect_equal("gauge watchers", HOUSE_SUM(house, watchers), 0);
    for (uint32_t i = 0; i < LIMIT_WORKERS_MAX; i++) {
        expect_equal("watchers in control's books", house->relay.control.watchers_count[i], 0);
    }
    expect_equal("gauge sessions", HOUSE_SUM(house, sessions), 0);
    expect_equal("gauge packet_memory_bytes", HOUSE_SUM(house, packet_memory_bytes), 0);
}

void house_check_empty(struct house *house) {
    const struct relay *relay = &house->relay;
    for (uint32_t i = 0; i < relay->options.limits.workers_count; i++) check_worker_empty(house, relay->workers[i]);
    expect_equal("sessions", pool_used(&relay->front.sessions), 0);
    expect_equal("large buffers", pool_used(&relay->front.large_buffers), 0);
    expect_equal("armed timers of the front", relay->front.wheel.armed_count, 0);
    if (!ring_sim_is_clean(relay->rings[THREAD_FRONT], 1)) sim_fail("the front's ring is not clean");
    expect_equal("keys in the books", relay->control.registrar.keys_count, 0);
    expect_equal("keys in the directory", relay->directory.count, 0);
    expect_equal("descriptors", net_fds_open(), 0);
    check_gauges_zero(house);
}
