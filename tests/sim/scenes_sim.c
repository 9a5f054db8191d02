#include "tests/sim/scenes_sim.h"

#include "core/check.h"

enum {
    KEYS = ORACLE_KEYS - ORACLE_KEYS_NOWHERE,
    FLOOD_PACKETS_MAX = 50,
    KEYS_READING = KEYS - 3,
    ACT_CLIENTS_MAX = 32
};

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

/* Another server, or somebody who monitors. */
static void make_mesh(struct client_plan *plan, bool is_gentle) {
    plan->is_mesh = true;
    plan->is_watcher = !sim_one_in(3);
    plan->is_closer = !is_gentle && sim_one_in(8);
    if (plan->fate == FATE_MESH) plan->fate = FATE_RESETS;
}

/* ---- one packet each ---- */

static struct client *guest(struct run *run, uint32_t key) {
    struct client_plan plan = some_plan(key);
    struct client *client = run_add_client(run, &plan);
    run_until_rest(run);
    if (client->state != CLIENT_LIVE) sim_fail("client %u did not get in", client->idx);
    return client;
}

static void exchange(struct run *run, struct client *a, struct client *b) {
    uint64_t before = run->oracle.delivered;
    client_send(a, b->plan.key, 100, false);
    run_until_rest(run);
    if (run->oracle.delivered != before + 1) sim_fail("the first packet did not arrive");
    client_send(b, a->plan.key, DERP_PACKET_SIZE_MAX, false);
    run_until_rest(run);
    if (run->oracle.delivered != before + 2) sim_fail("the answer did not arrive");
}

void scene_first_packet(struct run *run) {
    struct client *a = guest(run, 0);
    exchange(run, a, guest(run, 1));
    faults.is_on = true;
}

/* ---- traffic ---- */

static void make_rough(struct client_plan *plan) {
    if (!sim_one_in(3)) plan->fate = (enum client_fate)sim_below(FATE_COUNT);
    plan->is_hasty = sim_one_in(3);
    if (sim_one_in(6)) plan->gives_up_ns = plan->start_ns + 1 + sim_below(60 * NS_PER_MS);
}

/* The same key comes again, as soon as its last client is over. */
static void come_again(struct run *run, const struct client *before) {
    struct client_plan plan = some_plan(before->plan.key);
    plan.after = before;
    plan.sends = (uint32_t)sim_between(1, 20);
    plan.dst_count = before->plan.dst_count;
    if (before->plan.is_mesh) make_mesh(&plan, false);
    (void)run_add_client(run, &plan);
}

static void add_crowd(struct run *run, uint32_t count, uint32_t keys) {
    bool is_gentle = faults.style == STYLE_GENTLE;
    uint64_t window_ns = sim_one_in(2) ? 2 * NS_PER_MS : 300 * NS_PER_MS;
    for (uint32_t i = 0; i < count; i++) {
        struct client_plan plan = some_plan(is_gentle ? 2 + i : (uint32_t)sim_below(keys));
        plan.start_ns = sim.now_ns + sim_below(window_ns);
        plan.sends = (uint32_t)sim_between(10, 60);
        plan.dst_count = keys;
        if (!is_gentle) make_rough(&plan);
        if (sim_one_in(4)) make_mesh(&plan, is_gentle);
        const struct client *client = run_add_client(run, &plan);
        if (!is_gentle && sim_one_in(3)) come_again(run, client);
    }
    if (!is_gentle && sim_one_in(2)) client_end(&run->clients[sim_below(2)], FATE_FIN);
}

/* ---- acts of stress ---- */

/* Reads slowly, or not at all for a while, or never again. */
static void make_odd_reader(struct client_plan *plan) {
    switch (sim_below(5)) {
        case 0:
        case 4:
            plan->hints.is_narrow = true;
            plan->read_size_max = (size_t)sim_between(200, 4000);
            plan->read_ns_max = sim_between(1, 60) * NS_PER_MS;
            tally_add(TALLY_SLOW, 1);
            return;
        case 1:
            plan->stall_ns = TIME_NEVER;
            tally_add(TALLY_NEVER_READ, 1);
            break;
        case 2: plan->stall_ns = sim_between(1, 1500) * NS_PER_MS; break;
        default: plan->stall_ns = sim_between(1500, 15000) * NS_PER_MS; break;
    }
    plan->stall_after_ns = sim_below(50 * NS_PER_MS);
    plan->hints.is_narrow = sim_one_in(2);
    if (plan->stall_ns != TIME_NEVER) tally_add(TALLY_STALLS, 1);
}

static void add_reader(struct run *run, uint32_t key, bool is_odd) {
    struct client_plan plan = some_plan(key);
    plan.dst_count = KEYS;
    if (is_odd) make_odd_reader(&plan);
    (void)run_add_client(run, &plan);
}

/* Most often the destination is there before the first packet. From a key of its own: who writes
 * with the reader's key would take its place. */
static void add_flooder(struct run *run, uint32_t dst, enum client_talk talk, uint32_t sends, uint64_t start_ns) {
    struct client_plan plan = some_plan((uint32_t)sim_between(KEYS_READING, KEYS - 1));
    plan.start_ns = start_ns + sim_below(5 * NS_PER_MS);
    plan.talk = talk;
    plan.sends = sends;
    plan.dst_first = dst;
    plan.pace_ns_max = 2000;
    (void)run_add_client(run, &plan);
    tally_add(TALLY_FLOODS, 1);
}

/* Many senders, large or small packets, one destination, which reads as it likes. */
static void act_flood(struct run *run) {
    uint32_t senders = (uint32_t)sim_between(1, 6), dst = (uint32_t)sim_below(KEYS_READING);
    bool is_small = sim_one_in(2);
    add_reader(run, dst, !sim_one_in(4));
    for (uint32_t i = 0; i < senders; i++) {
        uint32_t sends = (uint32_t)(is_small ? sim_between(100, 1500) : sim_between(10, FLOOD_PACKETS_MAX));
        uint64_t start_ns = sim.now_ns + sim_below(300 * NS_PER_MS);
        add_flooder(run, dst, is_small ? TALK_SMALL : TALK_LARGE, sends, start_ns);
    }
}

/* Several who do not read, each with a flood of its own: they share what memory there is. */
static void act_hogs(struct run *run) {
    uint32_t hogs = (uint32_t)sim_between(2, 4);
    for (uint32_t i = 0; i < hogs; i++) {
        add_reader(run, i, true);
        add_flooder(run, i, TALK_LARGE, (uint32_t)sim_between(20, FLOOD_PACKETS_MAX), sim.now_ns + 200 * NS_PER_MS);
    }
}

/* The beginning of a large frame, and its end much later: each holds memory meanwhile. */
static void act_half_frames(struct run *run) {
    for (uint64_t n = sim_between(2, 8); n > 0; n--) {
        struct client_plan plan = some_plan((uint32_t)sim_below(KEYS));
        plan.dst_count = KEYS;
        plan.sends = (uint32_t)sim_below(3);
        plan.hold_ns = sim_one_in(2) ? TIME_NEVER : sim_between(1, 3000) * NS_PER_MS;
        (void)run_add_client(run, &plan);
    }
}

/* Memory runs out: chunks of many who do not read, queues, incomplete frames of all who send, all at once; and then
 * some more log in. */
static void act_jam(struct run *run) {
    uint32_t hogs = KEYS_READING;
    uint64_t flood_ns = sim.now_ns + 300 * NS_PER_MS;
    for (uint32_t i = 0; i < hogs; i++) {
        struct client_plan plan = some_plan(i);
        plan.dst_count = KEYS;
        plan.stall_ns = sim_between(1500, 6000) * NS_PER_MS;
        plan.hints.is_narrow = true;
        (void)run_add_client(run, &plan);
        add_flooder(run, i, sim_one_in(4) ? TALK_SMALL : TALK_LARGE, (uint32_t)sim_between(60, 120), flood_ns);
        tally_add(TALLY_STALLS, 1);
    }
    act_half_frames(run);
    for (uint64_t n = sim_between(1, 3); n > 0; n--) {
        struct client_plan late = some_plan((uint32_t)sim_below(KEYS));
        late.start_ns = flood_ns + sim_below(1500 * NS_PER_MS);
        late.dst_count = KEYS;
        late.sends = 20;
        (void)run_add_client(run, &late);
    }
}

/* Two keys, of which now one and now the other is there, and others who send to both all the while: routes are stale,
 * and the place of the one is given to the other. */
static void act_hop(struct run *run) {
    uint32_t first = (uint32_t)sim_below(KEYS - 1);
    const struct client *before = NULL;
    for (uint64_t n = sim_between(4, 12); n > 0; n--) {
        struct client_plan plan = some_plan(first + (uint32_t)(n % 3 > 0));
        plan.hints.is_near = plan.is_fast_start = plan.is_pipelined = true;
        plan.pace_ns_max = 20 * NS_PER_US;
        plan.after = before;
        plan.dst_count = KEYS;
        plan.sends = (uint32_t)sim_below(12);
        plan.fate = n > 1 ? (enum client_fate)sim_between(FATE_FIN, FATE_COUNT - 1) : FATE_STAYS;
        before = run_add_client(run, &plan);
        if (plan.after) tally_add(TALLY_HOPS, 1);
    }
    for (uint64_t n = sim_between(2, 4); n > 0; n--) {
        struct client_plan plan = some_plan((first + 2 + (uint32_t)sim_below(KEYS - 2)) % KEYS);
        plan.hints.is_near = true;
        plan.talk = TALK_SMALL;
        plan.dst_first = first;
        plan.dst_count = 2;
        plan.sends = (uint32_t)sim_between(400, 1500);
        plan.pace_ns_max = sim_one_in(2) ? 50 * NS_PER_US : 300 * NS_PER_US;
        (void)run_add_client(run, &plan);
    }
}

static void act_vanish(struct run *run) {
    for (uint64_t n = sim_between(1, 3); n > 0; n--) {
        struct client_plan plan = some_plan((uint32_t)sim_below(KEYS));
        plan.dst_count = KEYS;
        plan.sends = (uint32_t)sim_below(20);
        plan.fate = FATE_VANISHES;
        const struct client *client = run_add_client(run, &plan);
        if (sim_one_in(2)) come_again(run, client);
    }
}

static void act_pings(struct run *run) {
    struct client_plan plan = some_plan((uint32_t)sim_below(KEYS));
    plan.talk = TALK_PINGS;
    plan.sends = (uint32_t)sim_between(100, 2000);
    plan.pace_ns_max = 2000;
    (void)run_add_client(run, &plan);
}

/* Misbehaves, and comes again at once. */
static void act_rude(struct run *run) {
    for (uint64_t n = sim_between(1, 3); n > 0; n--) {
        struct client_plan plan = some_plan((uint32_t)sim_below(KEYS));
        plan.dst_count = KEYS;
        plan.sends = (uint32_t)sim_below(20);
        plan.fate = sim_one_in(2) ? FATE_MISBEHAVES : FATE_MESH;
        come_again(run, run_add_client(run, &plan));
    }
}

static void act_linger(struct run *run) {
    for (uint64_t n = sim_between(1, 4); n > 0; n--) {
        struct client_plan plan = some_plan((uint32_t)sim_below(KEYS));
        plan.lingers = true;
        (void)run_add_client(run, &plan);
    }
}

static void add_stress(struct run *run) {
    static void (*const acts[])(struct run *) = {act_flood,  act_hogs, act_half_frames, act_hop,   act_hop,
                                                 act_vanish, act_rude, act_pings,       act_linger};
    if (faults.is_jam) {
        act_jam(run);
        return;
    }
    add_crowd(run, (uint32_t)sim_between(2, 6), KEYS);
    for (uint64_t n = sim_between(1, 3); n > 0; n--) {
        if (run->clients_count + ACT_CLIENTS_MAX <= ORACLE_CLIENTS) acts[sim_below(array_count(acts))](run);
    }
}

static void add_traffic(struct run *run) {
    switch (faults.style) {
        case STYLE_GENTLE: {
            uint32_t count = (uint32_t)sim_between(3, 7);
            add_crowd(run, count, 2 + count);
            return;
        }
        case STYLE_ROUGH:
            add_crowd(run, (uint32_t)sim_between(3, 12), (uint32_t)sim_between(3, 6));
            if (sim_one_in(3)) act_hop(run);
            return;
        case STYLE_STRESS: add_stress(run); return;
    }
}

/* In the midst of it the operator thinks of another limit, or of none. */
static void change_rate(struct run *run) {
    for (uint64_t turns = sim_below(4000); turns > 0 && run_go_on(run); turns--) continue;
    struct rate_limit none = {0}, other = rate_limit_of(sim_between(500 * 1000, 20 * 1000 * 1000), 0);
    if (!relay_set_rate(&run->house->relay, sim_one_in(3) ? &none : &other)) sim_fail("the rate cannot be mailed");
    tally_add(TALLY_RATE_CHANGES, 1);
}

void scene_traffic(struct run *run) {
    add_traffic(run);
    if (sim_one_in(6)) change_rate(run);
    run_until_rest(run);
}

void scene_stop_in_the_middle(struct run *run) {
    add_traffic(run);
    for (uint64_t turns = sim_below(6000); turns > 0 && run_go_on(run); turns--) continue;
    tally_add(TALLY_STOPPED_EARLY, 1);
}

/* ---- the rest of a run ---- */

static void check_keep_alive(const struct client *client) {
    const uint64_t slack_ns = NS_PER_S;
    uint64_t after_ns = client->keep_alive_ns - client->live_ns;
    if (client->keep_alives == 0) sim_fail("client %u: no keep-alive", client->idx);
    if (after_ns < 60 * NS_PER_S - slack_ns || after_ns > 65 * NS_PER_S + slack_ns) {
        sim_fail("client %u: a keep-alive after %llu ms", client->idx, (unsigned long long)(after_ns / NS_PER_MS));
    }
}

/* Who reads at its own pace gets them at its own pace. */
void scene_keep_alives(struct run *run) {
    run_until(run, sim.now_ns + 66 * NS_PER_S);
    for (uint32_t i = 0; i < run->clients_count; i++) {
        const struct client *client = &run->clients[i];
        bool is_odd = client->plan.stall_ns || client->plan.read_size_max;
        if (client->state == CLIENT_LIVE && !is_odd) check_keep_alive(client);
    }
}

void scene_all_leave(struct run *run) {
    for (uint32_t i = 0; i < run->clients_count; i++) {
        bool is_mesh = run->clients[i].plan.is_mesh;  // it may send what others may not
        uint64_t last = is_mesh ? FATE_MISBEHAVES : FATE_COUNT - 1;
        client_end(&run->clients[i], (enum client_fate)sim_between(FATE_FIN, last));
    }
    run_until_rest(run);
    for (uint32_t i = 0; i < run->clients_count; i++) {
        if (run->clients[i].state != CLIENT_DONE) sim_fail("client %u was not let go", i);
    }
    house_check_empty(run->house);
    oracle_check_all_gone(&run->oracle);
}

void scene_last_guests(struct run *run) {
    faults.is_on = false;
    struct client *a = guest(run, 2);
    exchange(run, a, guest(run, 0));
    scene_all_leave(run);
}
