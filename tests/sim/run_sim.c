#include "tests/sim/run_sim.h"

#include "core/check.h"

enum {
    TURNS_MAX = 3 * 1000 * 1000,  // a run that takes more goes round in circles
    TIMER_FAR_MS = 4000,           // at rest a part may still wait for a timer, if it is at least this far away:
    CONTROL_FAR_MS = 100,          // farther than write timeouts; control looks at the load every second
};

void run_open(struct run *run) {
    run->clients_count = 0;
    run->house = house_open();
    oracle_init(&run->oracle, run->house);
}

void run_close(struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) client_fini(&run->clients[i]);
    house_close(run->house);
}

struct client *run_add_client(struct run *run, const struct client_plan *plan) {
    CHECK(run->clients_count < ORACLE_CLIENTS);
    struct client *client = &run->clients[run->clients_count];
    client_init(client, run->clients_count++, plan, &run->oracle);
    return client;
}

/* ---- turns ---- */

/* One of those that can run, fiber or client; false when nobody can. */
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
    house_check_workers_asleep(run->house);
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

static bool are_fibers_far(void) {
    for (uint32_t i = 0; i < sim.fibers_count; i++) {
        uint64_t far_ms = i == THREAD_CONTROL ? CONTROL_FAR_MS : TIMER_FAR_MS;
        bool is_near = sim_fiber_next_ns(sim.fibers[i]) < sim.now_ns + far_ms * NS_PER_MS;
        if (is_near || sim_fiber_is_held(sim.fibers[i])) return false;
    }
    return true;
}

bool run_go_on(struct run *run) {
    if (turn(run)) return true;
    uint64_t outside_ns = outside_next_ns(run);
    house_check_asleep(run->house);
    if (outside_ns == TIME_NEVER && are_fibers_far()) return false;
    sim.now_ns = min_of(outside_ns, fibers_next_ns());
    return true;
}

void run_settle(struct run *run) {
    while (run_go_on(run)) continue;
    sim_note("at rest", sim.turns, 0);
}

/* ---- at rest ---- */

/* Connected, it reads, and the relay has not closed what it does not look at. */
static bool is_attended(const struct client *client) {
    bool is_stalled = client->stall_until_ns > sim.now_ns;
    return client->state == CLIENT_LIVE && !is_stalled && net_closed_ns(client->link) == TIME_NEVER;
}

static void tell_oracle(struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) {
        const struct client *client = &run->clients[i];
        struct oracle_client *c = &run->oracle.clients[i];
        c->is_steady = is_attended(client) && client->out_size == 0;
        c->is_closed = client->is_connected && !is_attended(client);
        if (c->is_closed) c->closed_ns = net_closed_ns(client->link);
    }
}

static void check_attended(const struct run *run, const struct client *client) {
    uint32_t i = client->idx;
    if (client->out_size != client->out_sent + client->held_size || client->in_size) {
        sim_fail("client %u: bytes are stuck", i);
    }
    if (client->out_size == 0 && client->pings_sent && !client->pongs_number) sim_fail("client %u: no pong", i);
    oracle_check_client(&run->oracle, i);
    for (uint32_t key = 0; client->is_watching && key < ORACLE_KEYS; key++) {
        if (client->views[key] != oracle_is_published(&run->oracle, key)) {
            sim_fail("client %u believes that key %u is %s", i, key, client->views[key] ? "here" : "not here");
        }
    }
}

static void check_clients(const struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) {
        const struct client *client = &run->clients[i];
        bool is_on_its_way = client->state > CLIENT_WAITING && client->state < CLIENT_LIVE;
        if (is_on_its_way && !client->plan.lingers) {
            sim_fail("client %u never got in (state %u)", i, (unsigned)client->state);
        }
        if (is_attended(client)) check_attended(run, client);
    }
}

void run_until_rest(struct run *run) {
    run_settle(run);
    house_check_quiet(run->house);
    check_clients(run);
    tell_oracle(run);
    oracle_judge_lost(&run->oracle);
    oracle_check_counts(&run->oracle);
}

void run_until(struct run *run, uint64_t until_ns) {
    while (sim.now_ns < until_ns) {
        run_settle(run);
        house_check_quiet(run->house);
        sim.now_ns = max_of(sim.now_ns, min_of(until_ns, fibers_next_ns()));
    }
    run_until_rest(run);
}

void run_stop(struct run *run) {
    relay_stop(&run->house->relay);
    run_settle(run);
    if (!house_is_stopped_but_office(run->house)) sim_fail("the relay does not stop");
    relay_stop_office(&run->house->relay);
    run_settle(run);
    if (!house_is_stopped(run->house)) sim_fail("the office does not stop");
}
