/* main.c - udpload: loads a UDP relay and measures it. The commands are in options.c; each has a file of its own.
 *
 * Exit status: 0 done, and all that came was right; 1 it did not work, with a sentence on standard error;
 * 2 wrong usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "core/sys.h"
#include "perf/load/place.h"
#include "perf/udpload/output.h"

enum { EXIT_WRONG = 1, EXIT_USAGE = 2, WHY_MAX = 512 };

static int refuse(const char *why) {
    fprintf(stderr, "udpload: %s\nRun \"udpload help\".\n", why);
    return EXIT_USAGE;
}

static int failed(const char *why) {
    fprintf(stderr, "udpload: %s\n", why);
    return EXIT_WRONG;
}

static bool run(const struct options *o, const struct meter *meter, char *why) {
    static struct rtt_result rtt;  // why: histograms are large
    static struct bind_result bind;
    struct relay_result relay;
    struct idle_result idle;
    switch (o->command) {
        case COMMAND_RELAY: return relay_run(o, meter, &relay, why) && output_relay(o, &relay);
        case COMMAND_RTT: return rtt_run(o, meter, &rtt, why) && output_rtt(o, &rtt);
        case COMMAND_BIND: return bind_run(o, meter, &bind, why) && output_bind(o, &bind);
        case COMMAND_IDLE: return idle_run(o, meter, &idle, why) && output_idle(o, &idle);
        case COMMAND_COUNT: break;
    }
    return false;
}

static int run_command(const struct options *o) {
    char why[WHY_MAX] = "standard output does not take the result";
    struct meter meter;
    if (sys_init() < 0) return failed("libsodium does not start");
    if (!place_pin(o->cpu, why) || (o->is_realtime && !place_realtime(why))) return failed(why);
    if (!meter_open(&meter, o->server_pid, why)) return failed(why);
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    return run(o, &meter, why) ? EXIT_SUCCESS : failed(why);
}

static bool asks_for_help(const char *word) {
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int argc, char **argv) {
    struct options options;
    char why[ARGUMENTS_WHY_MAX];
    if (argc < 2 || asks_for_help(argv[1])) {
        options_print_usage();
        return argc < 2 ? EXIT_USAGE : EXIT_SUCCESS;
    }
    if (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0) {
        printf("%s\n", RINGRELAY_VERSION);
        return EXIT_SUCCESS;
    }
    options.command = options_command_by_name(argv[1]);
    if (options.command == COMMAND_COUNT) return refuse("there is no such command");
    if (argc > 2 && asks_for_help(argv[2])) {
        options_print_help(options.command);
        return EXIT_SUCCESS;
    }
    return options_parse(&options, argc - 2, argv + 2, why) ? run_command(&options) : refuse(why);
}
