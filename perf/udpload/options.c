#include "perf/udpload/options.h"

#include <stdio.h>

#include "perf/load/contents.h"
#include "proto/geneve.h"

enum { IN_RELAY = 1 << COMMAND_RELAY, IN_RTT = 1 << COMMAND_RTT, IN_BIND = 1 << COMMAND_BIND };
enum { IN_IDLE = 1 << COMMAND_IDLE, IN_FLOWS = IN_RELAY | IN_IDLE, IN_ALL = IN_FLOWS | IN_RTT | IN_BIND };

enum { WINDOW = 256, PAYLOAD_MAX = DATAGRAM_SIZE_MAX - GENEVE_HEADER_SIZE };

static const struct argument table[] = {
#define AT(field) offsetof(struct options, field)
    {"--allocate", IN_ALL, ARGUMENT_TEXT, AT(allocate), 0, 0, "WHERE",
     "where endpoints are asked for: http://HOST[:PORT], https://HOST[:PORT] or unix:PATH"},
    {"--token-file", IN_ALL, ARGUMENT_TEXT, AT(token_path), 0, 0, "FILE", "the bearer token to ask with"},
    {"--family", IN_ALL, ARGUMENT_WORD, AT(family), 0, 0, "any|ipv4|ipv6",
     "the first such address of an endpoint is taken; any"},
    {"--pairs", IN_FLOWS, ARGUMENT_COUNT, AT(pairs), 1, 20000, "N", "flows: senders with a receiver each; 10"},
    {"--flows", IN_RELAY, ARGUMENT_COUNT, AT(flows), 1, 20000, "M",
     "traffic is spread over so many, which take turns: pairs * window packets under way in all"},
    {"--size", IN_FLOWS | IN_RTT, ARGUMENT_COUNT, AT(size), CONTENTS_SIZE_MIN, PAYLOAD_MAX, "BYTES",
     "of a packet behind its Geneve header, 32 or more; 1280, rtt: 64"},
    {"--segments", IN_FLOWS, ARGUMENT_COUNT, AT(segments), 1, SEGMENTS_MAX, "N",
     "packets in a run that is sent as one (UDP_SEGMENT); 1: single datagrams; 32 or what fits"},
    {"--burst", IN_FLOWS, ARGUMENT_COUNT, AT(burst), 1, 1024, "N", "runs of one flow in a row; 1"},
    {"--no-gro", IN_FLOWS, ARGUMENT_FLAG, AT(has_no_gro), 0, 0, "", "receive packet by packet"},
    {"--no-rest", IN_FLOWS, ARGUMENT_FLAG, AT(has_no_rest), 0, 0, "",
     "window mode: wake up for each packet instead of resting up to 0.1 ms while enough is under way"},
    {"--window", IN_FLOWS, ARGUMENT_COUNT, AT(window), 1, 1000000, "N", "packets under way per flow, 256 unless given"},
    {"--rate", IN_FLOWS | IN_RTT, ARGUMENT_COUNT, AT(rate), 1, 100000000, "PPS",
     "packets per second, all flows together, on a schedule; rtt: 500"},
    {"--flood", IN_RELAY, ARGUMENT_FLAG, AT(is_flood), 0, 0, "", "as fast as the kernel takes them"},
    {"--endpoints", IN_IDLE, ARGUMENT_COUNT, AT(endpoints), 1, 10000000, "M", "bound and kept; 1000"},
    {"--active", IN_IDLE, ARGUMENT_COUNT, AT(active), 0, 20000, "N", "of them relay packets, spread over all N; 0"},
    {"--count", IN_BIND, ARGUMENT_COUNT, AT(count), 1, 10000000, "N", "endpoints; 2000"},
    {"--sockets", IN_BIND | IN_IDLE, ARGUMENT_COUNT, AT(sockets), 1, 10000, "N",
     "pairs of sockets that endpoints without packets share; 16"},
    {"--at-once", IN_ALL, ARGUMENT_COUNT, AT(at_once), 1, 1024, "N", "endpoints being bound at one time; 16"},
    {"--seconds", IN_ALL, ARGUMENT_SECONDS, AT(seconds), 0, 0, "S", "measured time; 5 (bind: instead of a count)"},
    {"--warmup", IN_FLOWS | IN_RTT, ARGUMENT_SECONDS, AT(warmup), 0, 0, "S", "the same load before; 1"},
    {"--realtime", IN_RTT, ARGUMENT_FLAG, AT(is_realtime), 0, 0, "", "real-time priority, memory locked"},
    {"--server-pid", IN_ALL, ARGUMENT_INT, AT(server_pid), 1, INT32_MAX, "PID",
     "measures this process' processor time"},
    {"--cpu", IN_ALL, ARGUMENT_INT, AT(cpu), 0, 4095, "N", "pins this process"},
    {"--json", IN_ALL, ARGUMENT_FLAG, AT(wants_json), 0, 0, "", "the result as one JSON object"},
    {"--progress", IN_ALL, ARGUMENT_FLAG, AT(wants_progress), 0, 0, "",
     "a line per second on standard error even when that is no terminal"},
    {"--trust", IN_ALL, ARGUMENT_TRUST, AT(trust), 0, 0, "SPEC", "https: any, pin:HEX|FILE or ca:FILE"},
#undef AT
};

static const struct {
    const char *name;
    const char *help;
} commands[COMMAND_COUNT] = {
    [COMMAND_RELAY] = {"relay", "packets through a relay: rate, loss, and what one costs"},
    [COMMAND_RTT] = {"rtt", "round-trip times of packets, there and back through a relay"},
    [COMMAND_BIND] = {"bind", "endpoints: asked for, bound by both clients, and tried"},
    [COMMAND_IDLE] = {"idle", "many endpoints that stay: their memory, and packets through few of them"},
};

const char *options_command_name(enum udp_command command) { return commands[command].name; }

/* ---- all together ---- */

/* Runs of at most `segments`, if that was given, that fit into what is sent as one. */
static bool finish_runs(struct options *o, char *why) {
    uint64_t fit = max_of((uint64_t)1, DATAGRAM_SIZE_MAX / (o->size + GENEVE_HEADER_SIZE));
    if (o->segments > fit) {
        return arguments_fail(why,
                              "--segments %llu: a run has at most %d bytes with headers, %llu packets of this size",
                              (unsigned long long)o->segments, (int)DATAGRAM_SIZE_MAX, (unsigned long long)fit);
    }
    o->segments = arguments_or_else(o->segments, min_of(fit, (uint64_t)32));
    o->burst = arguments_or_else(o->burst, 1);
    return true;
}

static bool finish_flows(struct options *o, char *why) {
    if ((o->window != 0) + (o->rate != 0) + o->is_flood > 1) {
        return arguments_fail(why, "--window, --rate or --flood: one of them");
    }
    if (!finish_runs(o, why)) return false;
    o->mode = o->is_flood ? COURSE_FLOOD : o->rate ? COURSE_RATE : COURSE_WINDOW;
    o->pairs = arguments_or_else(o->pairs, 10);
    if (o->window && o->window < options_unit(o)) {
        return arguments_fail(why, "--window %llu: less than a run and burst, %llu packets",
                              (unsigned long long)o->window, (unsigned long long)options_unit(o));
    }
    o->window = arguments_or_else(o->window, max_of((uint64_t)WINDOW, options_unit(o)));
    if (o->command != COMMAND_IDLE) return true;
    o->endpoints = arguments_or_else(o->endpoints, 1000);
    if (o->active > o->endpoints) return arguments_fail(why, "--active: more than there are --endpoints");
    o->flows = o->active;
    return true;
}

static bool finish(struct options *o, char *why) {
    if (o->allocate == NULL) {
        return arguments_fail(why, "%s needs --allocate, such as unix:/run/ringrelay/admin.sock",
                              options_command_name(o->command));
    }
    o->at_once = arguments_or_else(o->at_once, 16);
    o->sockets = arguments_or_else(o->sockets, 16);
    o->size = arguments_or_else(o->size, o->command == COMMAND_RTT ? 64 : 1280);
    if (o->command == COMMAND_RTT) o->rate = arguments_or_else(o->rate, 500);
    if (o->command == COMMAND_BIND && o->seconds == 0) o->count = arguments_or_else(o->count, 2000);
    if (o->command == COMMAND_BIND && o->seconds != 0 && o->count) {
        return arguments_fail(why, "--count or --seconds: one of them");
    }
    if (o->command != COMMAND_BIND && o->seconds == 0) {
        return arguments_fail(why, "--seconds 0: nothing would be measured");
    }
    return !(IN_FLOWS & 1 << o->command) || finish_flows(o, why);
}

static struct arguments arguments_of(enum udp_command command, void *to) {
    return (struct arguments){table, array_count(table), command, commands[command].name, to};
}

bool options_parse(struct options *o, int argc, char **argv, char *why) {
    enum udp_command command = o->command;
    *o = (struct options){.command = command, .argc = argc, .argv = argv, .cpu = -1, .warmup = 1};
    o->seconds = command == COMMAND_BIND ? 0 : 5;
    struct arguments arguments = arguments_of(command, o);
    for (int i = 0; i < argc; i++) {
        if (!arguments_take(&arguments, argc, argv, &i, why)) return false;
    }
    return finish(o, why);
}

enum udp_command options_command_by_name(const char *name) {
    unsigned i = 0;
    while (i < COMMAND_COUNT && strcmp(name, commands[i].name) != 0) i++;
    return (enum udp_command)i;
}

/* ---- help ---- */

void options_print_usage(void) {
    printf("usage: udpload COMMAND --allocate WHERE [OPTION...]\n\n"
           "Loads a UDP relay and measures it. Exit status: 0 done and all is right; 1 not; 2 wrong usage.\n\n");
    for (unsigned i = 0; i < COMMAND_COUNT; i++) printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("  %-8s %s\n\n\"udpload COMMAND --help\" lists its options.\n", "version", "print the version");
}

void options_print_help(enum udp_command command) {
    struct arguments arguments = arguments_of(command, NULL);
    printf("usage: udpload %s --allocate WHERE [OPTION...]\n\n%s\n\n", commands[command].name, commands[command].help);
    arguments_print(&arguments);
}
