/* main.c - sim: whole relays under a simulated ring on virtual time, one run per seed (docs in the headers here).
 *
 *   sim --seeds N [--first S]     N seeds from S (1 by default), each run twice: the traces have to be equal
 *   sim --seed S [--verbose]      one seed, with its trace
 *
 * A run: two clients log in one after the other and exchange a packet; then several log in at any time and send to
 * each other; keep-alives come after a minute; all leave, or not; the relay stops. In gentle runs nobody leaves before
 * the end, so that the relay may not lose a single packet whose destination is there. In one of ten runs the relay
 * stops in the middle of it all.
 *
 * Exit status: 0, or death by SIGABRT with a sentence on standard error and the command that shows the run again.
 */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "tests/sim/client_sim.h"
#include "tests/sim/sched_sim.h"

enum {
    TURNS_MAX = 20 * 1000 * 1000,  // a run that takes more goes round in circles
    TIMER_FAR_MS = 200,            // at rest a part may still wait for a timer, if it is at least this far away
};

struct run {
    struct house *house;
    struct oracle oracle;
    struct client clients[ORACLE_CLIENTS];
    uint32_t clients_count;
    bool is_gentle;
};

/* ---- turns ---- */

/* One of those that can run, fiber or client, by the seed's choice; false when nobody can. */
static bool turn(struct run *run) {
    uint32_t ready[SIM_FIBERS_MAX + ORACLE_CLIENTS];
    uint32_t count = 0;
    net_advance();
    for (uint32_t i = 0; i < sim.fibers_count; i++) {
        if (sim_fiber_can_run(sim.fibers[i])) ready[count++] = i;
    }
    for (uint32_t i = 0; i < run->clients_count; i++) {
        if (client_can_run(&run->clients[i])) ready[count++] = SIM_FIBERS_MAX + i;
    }
    if (count == 0) return false;
    uint32_t chosen = ready[sim_below(count)];
    if (chosen < SIM_FIBERS_MAX) {
        sim_fiber_run(sim.fibers[chosen]);
    } else {
        client_run(&run->clients[chosen - SIM_FIBERS_MAX]);
    }
    oracle_read_presence(&run->oracle);
    if (sim.turns > TURNS_MAX) sim_fail("the run does not come to rest");
    return true;
}

static uint64_t outside_next_ns(const struct run *run) {
    uint64_t next_ns = net_next_ns();
    for (uint32_t i = 0; i < run->clients_count; i++) next_ns = min_of(next_ns, client_next_ns(&run->clients[i]));
    return next_ns;
}

static uint64_t fibers_next_ns(void) {
    uint64_t next_ns = TIME_NEVER;
    for (uint32_t i = 0; i < sim.fibers_count; i++) next_ns = min_of(next_ns, sim_fiber_next_ns(sim.fibers[i]));
    return next_ns;
}

/* A turn, or the clock goes on to the next event. False at rest: nothing is under way any more, and the parts wait for
 * nothing but far timers. */
static bool go_on(struct run *run) {
    if (turn(run)) return true;
    uint64_t outside_ns = outside_next_ns(run), fibers_ns = fibers_next_ns();
    bool is_far = fibers_ns >= sim.now_ns + TIMER_FAR_MS * NS_PER_MS;
    if (outside_ns == TIME_NEVER && is_far) return false;
    sim.now_ns = min_of(outside_ns, fibers_ns);
    return true;
}

static void settle(struct run *run) {
    while (go_on(run)) continue;
    sim_note("at rest", sim.turns, 0);
}

static void run_until_rest(struct run *run) {
    settle(run);
    house_check_quiet(run->house);
}

/* At rest, the clock goes on to `until_ns`, past all timers on the way. */
static void run_until(struct run *run, uint64_t until_ns) {
    while (sim.now_ns < until_ns) {
        run_until_rest(run);
        sim.now_ns = max_of(sim.now_ns, min_of(until_ns, fibers_next_ns()));
    }
    run_until_rest(run);
}

/* ---- what clients do ---- */

static struct client *add_client(struct run *run, const struct client_plan *plan) {
    CHECK(run->clients_count < ORACLE_CLIENTS);
    struct client *client = &run->clients[run->clients_count];
    client_init(client, run->clients_count++, plan, &run->oracle);
    return client;
}

static struct client_plan some_plan(uint32_t key) {
    static const uint64_t paces_ns[] = {1000, 100 * NS_PER_US, 5 * NS_PER_MS};
    return (struct client_plan){.key = key,
                                .start_ns = sim.now_ns,
                                .is_fast_start = sim_one_in(2),
                                .is_pipelined = sim_one_in(3),
                                .dst_count = 1,
                                .pace_ns_max = paces_ns[sim_below(array_count(paces_ns))],
                                .read_ns_max = sim_one_in(2) ? 0 : 300 * NS_PER_US,
                                .fate = FATE_STAYS};
}

static void expect_live(const struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) {
        const struct client *client = &run->clients[i];
        if (client->state == CLIENT_DONE) continue;
        if (client->state != CLIENT_LIVE) sim_fail("client %u never got in (state %u)", i, (unsigned)client->state);
        if (client->out_size || client->in_size) sim_fail("client %u: bytes are stuck", i);
        if (client->pings_sent && !client->pongs_number) sim_fail("client %u: no pong", i);
        oracle_check_client(&run->oracle, i);
    }
}

static void first_packet(struct run *run) {
    struct client_plan plan = some_plan(0);
    struct client *a = add_client(run, &plan);
    run_until_rest(run);
    expect_live(run);
    plan = some_plan(1);
    struct client *b = add_client(run, &plan);
    run_until_rest(run);
    expect_live(run);
    client_send(a, 1, 100, false);
    run_until_rest(run);
    if (run->oracle.delivered != 1) sim_fail("the first packet did not arrive");
    client_send(b, 0, DERP_PACKET_SIZE_MAX, false);
    run_until_rest(run);
    if (run->oracle.delivered != 2) sim_fail("the answer did not arrive");
}

static void make_rough(struct client_plan *plan) {
    if (!sim_one_in(3)) plan->fate = (enum client_fate)sim_below(FATE_COUNT);
    plan->is_hasty = sim_one_in(3);
    if (sim_one_in(6)) plan->gives_up_ns = plan->start_ns + 1 + sim_below(60 * NS_PER_MS);
}

/* Gentle: a key each, and they stay. Else keys are shared and come again, and clients leave in all ways. */
static void add_traffic(struct run *run) {
    uint32_t count = (uint32_t)sim_between(3, run->is_gentle ? 7 : 14);
    uint32_t keys = run->is_gentle ? 2 + count : (uint32_t)sim_between(3, 6);
    uint64_t window_ns = sim_one_in(2) ? 2 * NS_PER_MS : 300 * NS_PER_MS;
    for (uint32_t i = 0; i < count; i++) {
        struct client_plan plan = some_plan(run->is_gentle ? 2 + i : (uint32_t)sim_below(keys));
        plan.start_ns = sim.now_ns + sim_below(window_ns);
        plan.sends = (uint32_t)sim_between(10, 60);
        plan.dst_count = keys;
        if (!run->is_gentle) make_rough(&plan);
        (void)add_client(run, &plan);
    }
    if (!run->is_gentle && sim_one_in(2)) client_end(&run->clients[sim_below(2)], FATE_FIN);
}

static void traffic(struct run *run) {
    add_traffic(run);
    run_until_rest(run);
    expect_live(run);
    oracle_check_counts(&run->oracle, run->is_gentle);
}

static void keep_alives(struct run *run) {
    const uint64_t slack_ns = NS_PER_S;
    run_until(run, sim.now_ns + 66 * NS_PER_S);
    for (uint32_t i = 0; i < run->clients_count; i++) {
        const struct client *client = &run->clients[i];
        if (client->state == CLIENT_DONE) continue;
        uint64_t after_ns = client->keep_alive_ns - client->live_ns;
        if (client->keep_alives == 0) sim_fail("client %u: no keep-alive", i);
        if (after_ns < 60 * NS_PER_S - slack_ns || after_ns > 65 * NS_PER_S + slack_ns) {
            sim_fail("client %u: a keep-alive after %llu ms", i, (unsigned long long)(after_ns / NS_PER_MS));
        }
    }
}

static void all_leave(struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) {
        client_end(&run->clients[i], (enum client_fate)sim_between(FATE_FIN, FATE_COUNT - 1));
    }
    run_until_rest(run);
    for (uint32_t i = 0; i < run->clients_count; i++) {
        if (run->clients[i].state != CLIENT_DONE) sim_fail("client %u was not let go", i);
    }
    house_check_empty(run->house);
    oracle_check_all_gone(&run->oracle);
    oracle_check_counts(&run->oracle, run->is_gentle);
}

/* ---- a run ---- */

static void stop(struct run *run) {
    relay_stop(&run->house->relay);
    settle(run);
    if (!house_is_stopped_but_office(run->house)) sim_fail("the relay does not stop");
    relay_stop_office(&run->house->relay);
    settle(run);
    if (!house_is_stopped(run->house)) sim_fail("the office does not stop");
}

/* The relay stops while logins, packets and departures are under way. */
static void stop_in_the_middle(struct run *run) {
    add_traffic(run);
    for (uint64_t turns = sim_below(6000); turns > 0 && go_on(run); turns--) continue;
    stop(run);
}

static void run_open(struct run *run, uint64_t seed, bool is_verbose) {
    sim_init(seed, is_verbose);
    net_init();
    run->clients_count = 0;
    run->is_gentle = sim_one_in(2);
    run->house = house_open();
    oracle_init(&run->oracle, run->house);
}

static void run_close(struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) client_fini(&run->clients[i]);
    house_close(run->house);
    net_fini();
    sim_fini();
}

static uint64_t run_seed(uint64_t seed, bool is_verbose) {
    static struct run run;  // why: too large for a stack
    run_open(&run, seed, is_verbose);
    first_packet(&run);
    if (sim_one_in(10)) {
        stop_in_the_middle(&run);
    } else {
        traffic(&run);
        if (sim_one_in(2)) keep_alives(&run);
        if (!sim_one_in(6)) all_leave(&run);
        stop(&run);
    }
    uint64_t hash = sim.trace_hash;
    if (is_verbose) {
        printf("seed %llu: %s, %u clients, %llu packets, %llu delivered, %llu turns, %.3f s, trace %016llx\n",
               (unsigned long long)seed, run.is_gentle ? "gentle" : "rough", run.clients_count,
               (unsigned long long)run.oracle.sent, (unsigned long long)run.oracle.delivered,
               (unsigned long long)sim.turns, (double)(sim.now_ns - 3600 * NS_PER_S) / 1e9, (unsigned long long)hash);
    }
    run_close(&run);
    return hash;
}

/* ---- the command ---- */

static void on_abort(int number) {
    char text[100];
    int size = snprintf(text, sizeof(text), "sim: seed %llu failed; to see it: scripts/sim %llu\n",
                        (unsigned long long)sim.seed, (unsigned long long)sim.seed);
    (void)!write(STDERR_FILENO, text, (size_t)size);
    (void)number;
}

static int usage(void) {
    fprintf(stderr, "usage: sim --seeds N [--first S] | sim --seed S [--verbose]\n");
    return 2;
}

static void run_seeds(uint64_t first, uint64_t count) {
    for (uint64_t seed = first; seed < first + count; seed++) {
        uint64_t hash = run_seed(seed, false);
        if (run_seed(seed, false) != hash) sim_fail("the same seed gave two different runs");
    }
    printf("sim: %llu seeds from %llu, each twice: fine\n", (unsigned long long)count, (unsigned long long)first);
}

int main(int argc, char **argv) {
    uint64_t seeds = 0, first = 1, one = 0;
    bool has_one = false, is_verbose = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--verbose") == 0) is_verbose = true;
        else if (value == NULL) return usage();
        else if (strcmp(argv[i], "--seeds") == 0) seeds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0) first = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0) one = strtoull(argv[++i], NULL, 10), has_one = true;
        else return usage();
    }
    if (!has_one && seeds == 0) return usage();
    if (sodium_init() < 0) return 1;
    sigaction(SIGABRT, &(struct sigaction){.sa_handler = on_abort}, NULL);
    if (has_one) (void)run_seed(one, is_verbose);
    else run_seeds(first, seeds);
    return 0;
}
