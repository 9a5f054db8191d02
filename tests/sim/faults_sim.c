#include "tests/sim/faults_sim.h"

#include <stdio.h>

#include "tests/sim/sched_sim.h"

struct faults faults;
struct tally tally;

enum { CONNECTIONS_MAX = 48, PACKET_MEMORY = 16 * 1024 * 1024, PACKET_MEMORY_LITTLE = 4 * 1024 * 1024 };

static void choose_memory(void) {
    faults.is_jam = sim_one_in(4);
    faults.is_memory_little = faults.is_jam || sim_one_in(2);
    if (faults.is_jam) tally_add(TALLY_JAMS, 1);
    if (!faults.is_memory_little) return;
    faults.packet_memory_bytes = PACKET_MEMORY_LITTLE;
    tally_add(TALLY_LITTLE_MEMORY, 1);
}

static void choose_at_the_door(void) {
    if (sim_one_in(4)) faults.accept_error_one_in = 4;
    if (sim_one_in(4)) {
        faults.are_places_few = true;
        faults.connections_max = (uint32_t)sim_between(3, 8);
        tally_add(TALLY_FEW_PLACES, 1);
    }
    if (sim_one_in(4)) {
        faults.are_parcels_few = true;
        faults.parcels = (uint32_t)sim_between(1, 2);
        tally_add(TALLY_FEW_PARCELS, 1);
    }
}

static void choose_shortages(void) {
    if (!sim_one_in(3)) faults.long_hold_ns_max = sim_one_in(2) ? 400 * NS_PER_MS : 20 * NS_PER_MS;
    choose_memory();
    if (!faults.is_jam) choose_at_the_door();
}

/* A limit brakes, and loses nothing: also in gentle runs. */
static void choose_rules(void) {
    if (sim_one_in(4)) {
        faults.rate = rate_limit_of(sim_between(200 * 1000, 20 * 1000 * 1000), sim_below(500 * 1000));
        tally_add(TALLY_RATED, 1);
    }
    if (sim_one_in(5)) {
        faults.disables_fighters = true;
        tally_add(TALLY_FIGHTERS, 1);
    }
}

void faults_choose(void) {
    faults = (struct faults){.style = (enum run_style)sim_below(3),
                             .write_timeout_ns = 2 * NS_PER_S,
                             .packet_memory_bytes = PACKET_MEMORY,
                             .connections_max = CONNECTIONS_MAX,
                             .parcels = LIMIT_PARCELS};
    choose_rules();
    if (faults.style == STYLE_STRESS) choose_shortages();
    tally_add((enum tally_entry)(TALLY_GENTLE + (unsigned)faults.style), 1);
}

uint64_t faults_stuck_ns_min(void) { return faults.write_timeout_ns - 2 * faults.long_hold_ns_max - 100 * NS_PER_MS; }

/* ---- the tally ---- */

#define TALLY_TEXT(name, text) text,
static const char *const texts[TALLY_COUNT] = {TALLIES(TALLY_TEXT)};

static void print_reasons(const char *what, const uint64_t *counts, int count, const char *(*label)(int)) {
    printf("  %s:", what);
    for (int i = 0; i < count; i++) printf(" %s %llu", label(i), (unsigned long long)counts[i]);
    printf("\n");
}

static const char *drop_label(int i) { return drop_reason_label((enum drop_reason)i); }
static const char *close_label(int i) { return close_reason_label((enum close_reason)i); }
static const char *refuse_label(int i) { return refuse_reason_label((enum refuse_reason)i); }

void tally_print(void) {
    printf("sim: exercised:\n");
    for (int i = 0; i < TALLY_COUNT; i++) printf("  %s: %llu\n", texts[i], (unsigned long long)tally.counts[i]);
    print_reasons("drops", tally.drops, DROP_REASON_COUNT, drop_label);
    print_reasons("closes", tally.closes, CLOSE_REASON_COUNT, close_label);
    print_reasons("refusals", tally.refusals, REFUSE_REASON_COUNT, refuse_label);
}
