#include "perf/derpload/options.h"

#include <stdio.h>

#include "core/limits.h"
#include "perf/load/arguments.h"
#include "perf/load/contents.h"
#include "proto/derp.h"

enum { IN_RELAY = 1 << COMMAND_RELAY, IN_RTT = 1 << COMMAND_RTT, IN_LOGIN = 1 << COMMAND_LOGIN };
enum { IN_IDLE = 1 << COMMAND_IDLE, IN_ECHO = 1 << COMMAND_ECHO };
enum { IN_ALL = IN_RELAY | IN_RTT | IN_LOGIN | IN_IDLE | IN_ECHO, IN_SERVED = IN_ALL & ~IN_ECHO };

/* Packets under way to one destination: derper drops what comes when 32 wait for a client. */
enum { WINDOW = 32 };

static const char *const pattern_names[] = {"pairs", "fan-in", "fan-out", "all"};

static const struct argument table[] = {
#define AT(field) offsetof(struct options, field)
    {"--pairs", IN_RELAY, ARGUMENT_COUNT, AT(pairs), 1, 20000, "N", "flows: senders with a receiver each; 10"},
    {"--pattern", IN_RELAY, ARGUMENT_WORD, AT(pattern), 0, 0, "pairs|fan-in|fan-out|all",
     "who sends to whom; all: N clients to each other"},
    {"--size", IN_RELAY | IN_RTT | IN_ECHO, ARGUMENT_COUNT, AT(size), CONTENTS_SIZE_MIN, DERP_PACKET_SIZE_MAX, "BYTES",
     "of a packet's data, 32 or more; relay: 1400, rtt and echo: 64"},
    {"--window", IN_RELAY, ARGUMENT_COUNT, AT(window), 1, 1000000, "N", "packets under way per flow, 32 unless given"},
    {"--rate", IN_RELAY | IN_RTT | IN_ECHO, ARGUMENT_COUNT, AT(rate), 1, 100000000, "PPS",
     "packets per second, all flows together, on a schedule; rtt and echo: 500"},
    {"--flood", IN_RELAY, ARGUMENT_FLAG, AT(is_flood), 0, 0, "", "as fast as TCP takes them"},
    {"--seconds", IN_ALL, ARGUMENT_SECONDS, AT(seconds), 0, 0, "S", "measured time; 5 (login: instead of a count)"},
    {"--warmup", IN_RELAY | IN_RTT | IN_ECHO, ARGUMENT_SECONDS, AT(warmup), 0, 0, "S", "the same load before; 1"},
    {"--records-per-write", IN_RELAY, ARGUMENT_COUNT, AT(records_per_write), 1, 1024, "N",
     "TLS records in one write of a client; 8"},
    {"--frames-per-record", IN_RELAY, ARGUMENT_COUNT, AT(frames_per_record), 1, 256, "N",
     "frames in one TLS record; 1"},
    {"--write-size", IN_RELAY, ARGUMENT_COUNT, AT(write_size), 64, 4 << 20, "BYTES",
     "instead of --records-per-write: as many as fit, at least one"},
    {"--connections", IN_RELAY | IN_IDLE, ARGUMENT_COUNT, AT(connections), 2, 50000, "M",
     "clients; relay: traffic spread over all, pairs * window packets under way; idle: 1000"},
    {"--gather", IN_RELAY, ARGUMENT_COUNT, AT(gather), 1, 1024, "N",
     "with --connections: packets to one destination in a row; 4"},
    {"--count", IN_LOGIN, ARGUMENT_COUNT, AT(count), 1, 10000000, "N", "logins; 1500"},
    {"--at-once", IN_SERVED, ARGUMENT_COUNT, AT(at_once), 1, 10000, "N", "logins under way at one time; 16"},
    {"--realtime", IN_RTT | IN_ECHO, ARGUMENT_FLAG, AT(is_realtime), 0, 0, "", "real-time priority, memory locked"},
    {"--echo-cpu", IN_ECHO, ARGUMENT_INT, AT(echo_cpu), 0, 4095, "N", "pins the echoing thread"},
    {"--server-pid", IN_SERVED, ARGUMENT_INT, AT(server_pid), 1, INT32_MAX, "PID",
     "measures this process' processor time"},
    {"--cpu", IN_ALL, ARGUMENT_INT, AT(cpu), 0, 4095, "N", "pins this process"},
    {"--json", IN_ALL, ARGUMENT_FLAG, AT(wants_json), 0, 0, "", "the result as one JSON object"},
    {"--progress", IN_ALL, ARGUMENT_FLAG, AT(wants_progress), 0, 0, "",
     "a line per second on standard error even when that is no terminal"},
    {"--trust", IN_SERVED, ARGUMENT_TRUST, AT(trust), 0, 0, "SPEC", "https: any, pin:HEX|FILE or ca:FILE"},
    {"--pin", IN_SERVED, ARGUMENT_TEXT, AT(trust.pin), 0, 0, "HEX|FILE",
     "https: the certificate is the one with this SHA-256, or of this file"},
    {"--ca", IN_SERVED, ARGUMENT_TEXT, AT(trust.ca_path), 0, 0, "FILE",
     "https: it leads to one of these root certificates"},
    {"--insecure", IN_SERVED, ARGUMENT_FLAG, AT(trust.is_insecure), 0, 0, "", "https: it is not judged"},
#undef AT
};

static const struct {
    const char *name;
    const char *help;
} commands[COMMAND_COUNT] = {
    [COMMAND_RELAY] = {"relay", "packets through a relay: rate, loss, and what one costs"},
    [COMMAND_RTT] = {"rtt", "round-trip times of packets, there and back through a relay"},
    [COMMAND_LOGIN] = {"login", "logins, one after the other and many at once"},
    [COMMAND_IDLE] = {"idle", "memory of connections that do nothing"},
    [COMMAND_ECHO] = {"echo", "the tool's own latencies: rtt with a bare TCP echo instead of a server"},
};

const char *options_command_name(enum load_command command) { return commands[command].name; }
const char *options_pattern_name(enum load_pattern pattern) { return pattern_names[pattern]; }

/* ---- all together ---- */

static bool finish_relay(struct options *o, char *why) {
    uint64_t frame = DERP_SEND_HEAD_SIZE + o->size;
    if ((o->window != 0) + (o->rate != 0) + o->is_flood > 1)
        return arguments_fail(why, "--window, --rate or --flood: one of them");
    if (o->write_size && o->records_per_write)
        return arguments_fail(why, "--write-size or --records-per-write: one of them");
    o->mode = o->is_flood ? COURSE_FLOOD : o->rate ? COURSE_RATE : COURSE_WINDOW;
    o->pairs = arguments_or_else(o->pairs, 10);
    o->frames_per_record = arguments_or_else(o->frames_per_record, 1);
    if (o->frames_per_record > 1 && frame * o->frames_per_record > 16384) {
        return arguments_fail(why, "--frames-per-record %llu: more bytes than a TLS record takes, 16384",
                              (unsigned long long)o->frames_per_record);
    }
    uint64_t record = frame * o->frames_per_record + 22;
    if (o->write_size) o->records_per_write = min_of((uint64_t)1024, max_of((uint64_t)1, o->write_size / record));
    o->records_per_write = arguments_or_else(o->records_per_write, 8);
    if (o->connections && o->pattern != PATTERN_PAIRS)
        return arguments_fail(why, "--connections is a pattern of its own");
    if (o->gather && !o->connections) return arguments_fail(why, "--gather needs --connections");
    if (o->pattern == PATTERN_ALL && (o->pairs < 2 || o->pairs > 200)) {
        return arguments_fail(why, "--pattern all takes 2 to 200 clients (--pairs)");
    }
    o->gather = arguments_or_else(o->gather, o->connections ? 4 : 1);
    uint64_t sources = o->pattern == PATTERN_FAN_IN ? o->pairs : o->pattern == PATTERN_ALL ? o->pairs - 1 : 1;
    o->window = arguments_or_else(o->window, max_of((uint64_t)1, WINDOW / sources));
    return true;
}

static bool finish(struct options *o, char *why) {
    if (o->url == NULL && o->command != COMMAND_ECHO) {
        return arguments_fail(why, "%s needs a URL, such as https://derp.example/derp",
                              options_command_name(o->command));
    }
    bool is_probe = o->command == COMMAND_RTT || o->command == COMMAND_ECHO;
    o->at_once = arguments_or_else(o->at_once, 16);
    o->size = arguments_or_else(o->size, is_probe ? 64 : 1400);
    if (is_probe) o->rate = arguments_or_else(o->rate, 500);
    if (o->command == COMMAND_IDLE) o->connections = arguments_or_else(o->connections, 1000);
    if (o->command == COMMAND_LOGIN && o->seconds == 0) o->count = arguments_or_else(o->count, 1500);
    if (o->command == COMMAND_LOGIN && o->seconds != 0 && o->count)
        return arguments_fail(why, "--count or --seconds: one of them");
    if (o->command == COMMAND_RELAY && !finish_relay(o, why)) return false;
    if (o->command != COMMAND_LOGIN && o->seconds == 0)
        return arguments_fail(why, "--seconds 0: nothing would be measured");
    return true;
}

static struct arguments arguments_of(enum load_command command, void *to) {
    return (struct arguments){table, array_count(table), command, commands[command].name, to};
}

bool options_parse(struct options *o, int argc, char **argv, char *why) {
    enum load_command command = o->command;
    *o = (struct options){.command = command, .argc = argc, .argv = argv, .cpu = -1, .echo_cpu = -1, .warmup = 1};
    o->seconds = command == COMMAND_LOGIN ? 0 : 5;
    struct arguments arguments = arguments_of(command, o);
    for (int i = 0; i < argc; i++) {
        bool is_url = argv[i][0] != '-' && o->url == NULL && command != COMMAND_ECHO;
        if (is_url) o->url = argv[i];
        else if (!arguments_take(&arguments, argc, argv, &i, why)) return false;
    }
    return finish(o, why);
}

enum load_command options_command_by_name(const char *name) {
    unsigned i = 0;
    while (i < COMMAND_COUNT && strcmp(name, commands[i].name) != 0) i++;
    return (enum load_command)i;
}

/* ---- help ---- */

void options_print_usage(void) {
    printf("usage: derpload COMMAND [URL] [OPTION...]\n\n"
           "Loads a DERP server and measures it. Exit status: 0 done and all is right; 1 not; 2 wrong usage.\n\n");
    for (unsigned i = 0; i < COMMAND_COUNT; i++) printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("  %-8s %s\n\n\"derpload COMMAND --help\" lists its options.\n", "version", "print the version");
}

void options_print_help(enum load_command command) {
    printf("usage: derpload %s%s [OPTION...]\n\n%s\n\n", commands[command].name, command == COMMAND_ECHO ? "" : " URL",
           commands[command].help);
    struct arguments arguments = arguments_of(command, NULL);
    arguments_print(&arguments);
}
