/* main.c - sim: whole relays under a simulated ring on virtual time, one run per seed (docs in the headers here).
 *
 *   sim --seeds N [--first S]     N seeds from S (1 by default), each run twice: the traces have to be equal
 *   sim --seed S [--verbose]      one seed, with its trace
 *
 * A run: two clients log in one after the other and exchange a packet; then several log in at any time and send to
 * each other, in one of three styles (faults_sim.h); keep-alives come after a minute; all leave, or not; the relay
 * stops. In one of ten runs the relay stops in the middle of it all.
 *
 * Exit status: 0, or death by SIGABRT with a sentence on standard error and the command that shows the run again.
 */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "tests/sim/scenes_sim.h"

/* ---- a run ---- */

static void play(struct run *run) {
    scene_first_packet(run);
    if (sim_one_in(10)) {
        scene_stop_in_the_middle(run);
        return;
    }
    scene_traffic(run);
    if (sim_one_in(3)) scene_keep_alives(run);
    if (sim_one_in(6)) return;
    scene_all_leave(run);
    if (faults.style != STYLE_GENTLE) scene_last_guests(run);
}

static void run_tally(const struct run *run) {
    tally_add(TALLY_SENT, run->oracle.sent);
    tally_add(TALLY_DELIVERED, run->oracle.delivered);
    tally_add(TALLY_CROSSED, run->oracle.crossed);
    house_tally(run->house);
}

static void run_print(const struct run *run) {
    static const char *const styles[] = {"gentle", "rough", "stress"};
    printf("seed %llu: %s, %u workers, %u clients, %llu packets, %llu delivered, %llu of them to another worker, "
           "%llu turns, %.3f s, trace %016llx\n",
           (unsigned long long)sim.seed, styles[faults.style], run->house->relay.options.limits.workers_count,
           run->clients_count, (unsigned long long)run->oracle.sent, (unsigned long long)run->oracle.delivered,
           (unsigned long long)run->oracle.crossed, (unsigned long long)sim.turns,
           (double)(sim.now_ns - 3600 * NS_PER_S) / 1e9, (unsigned long long)sim.trace_hash);
}

static uint64_t run_seed(uint64_t seed, bool is_verbose) {
    static struct run run;  // why: too large for a stack
    sim_init(seed, is_verbose);
    net_init();
    faults_choose();
    run_open(&run);
    play(&run);
    run_stop(&run);
    uint64_t hash = sim.trace_hash;
    run_tally(&run);
    if (is_verbose) run_print(&run);
    run_close(&run);
    net_fini();
    sim_fini();
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
        struct tally before = tally;
        uint64_t hash = run_seed(seed, false);
        tally = before;  // what is done twice counts once
        if (run_seed(seed, false) != hash) sim_fail("the same seed gave two different runs");
    }
    tally_print();
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
    if (!is_verbose) log_set_level(LOG_ERROR);
    sigaction(SIGABRT, &(struct sigaction){.sa_handler = on_abort}, NULL);
    if (has_one) (void)run_seed(one, is_verbose);
    else run_seeds(first, seeds);
    return 0;
}
