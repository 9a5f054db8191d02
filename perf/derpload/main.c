/* main.c - derpload: loads a DERP server and measures it. The commands are in options.c; each has a file of its own.
 *
 * Exit status: 0 done, and all that came was right; 1 it did not work, with a sentence on standard error;
 * 2 wrong usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "core/sys.h"
#include "perf/derpload/echo.h"
#include "perf/derpload/output.h"
#include "perf/load/place.h"

enum { EXIT_WRONG = 1, EXIT_USAGE = 2, WHY_MAX = 512 };

static int refuse(const char *why) {
    fprintf(stderr, "derpload: %s\nRun \"derpload help\".\n", why);
    return EXIT_USAGE;
}

static int failed(const char *why) {
    fprintf(stderr, "derpload: %s\n", why);
    return EXIT_WRONG;
}

static bool run(const struct options *o, const struct crowd_options *base, const struct meter *meter, char *why) {
    static struct rtt_result rtt;  // why: histograms are large
    static struct login_result login;
    struct relay_result relay;
    struct idle_result idle;
    switch (o->command) {
        case COMMAND_RELAY: return relay_run(o, base, meter, &relay, why) && output_relay(o, &relay);
        case COMMAND_LOGIN: return login_run(o, base, meter, &login, why) && output_login(o, &login);
        case COMMAND_IDLE: return idle_run(o, base, meter, &idle, why) && output_idle(o, &idle);
        case COMMAND_RTT:
        case COMMAND_ECHO: return rtt_run(o, base, meter, &rtt, why) && output_rtt(o, &rtt);
        case COMMAND_COUNT: break;
    }
    return false;
}

static bool run_against_echo(const struct options *o, const struct meter *meter, char *why) {
    struct crowd_options base = {.is_bare = true, .url = {.host = "127.0.0.1", .authority = "the echo"}};
    struct echo echo;
    if (!echo_start(&echo, o->echo_cpu, o->is_realtime, why)) return false;
    snprintf(base.url.port, sizeof(base.url.port), "%u", echo.port);
    bool is_fine = run(o, &base, meter, why);
    echo_join(&echo);
    return is_fine;
}

static bool run_against_server(const struct options *o, const struct meter *meter, char *why) {
    struct crowd_options base = {0};
    if (!channel_url_parse(&base.url, o->url, why)) return false;
    if (base.url.is_tls && (base.trust = trust_make(&o->trust, why)) == NULL) return false;
    bool is_fine = run(o, &base, meter, why);
    tls_trust_give(base.trust);
    return is_fine;
}

static int run_command(const struct options *o) {
    char why[WHY_MAX] = "standard output does not take the result";
    struct meter meter;
    if (sys_init() < 0) return failed("libsodium does not start");
    if (!place_pin(o->cpu, why) || (o->is_realtime && !place_realtime(why))) return failed(why);
    if (!meter_open(&meter, o->server_pid, why)) return failed(why);
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    bool is_fine = o->command == COMMAND_ECHO ? run_against_echo(o, &meter, why) : run_against_server(o, &meter, why);
    return is_fine ? EXIT_SUCCESS : failed(why);
}

static bool asks_for_help(const char *word) {
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int argc, char **argv) {
    struct options options;
    char why[OPTIONS_WHY_MAX];
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
