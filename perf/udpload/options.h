/* options.h - the command line of udpload: one table of options, of which each command takes its own.
 *
 * Threads: one. Memory: none; texts point into argv. Errors: false and a sentence in `why` (ARGUMENTS_WHY_MAX bytes).
 */
#pragma once

#include "perf/load/arguments.h"
#include "perf/load/course.h"
#include "relay/trust.h"

enum udp_command { COMMAND_RELAY, COMMAND_RTT, COMMAND_BIND, COMMAND_IDLE, COMMAND_COUNT };
enum load_family { FAMILY_ANY, FAMILY_IPV4, FAMILY_IPV6 };

/* What fits into one IPv4 datagram, and into what the kernel makes several of. */
enum { DATAGRAM_SIZE_MAX = 65507, SEGMENTS_MAX = 64 };

struct options {
    enum udp_command command;
    int argc;
    char **argv;

    /* common */
    const char *allocate;    // where endpoints are asked for
    const char *token_path;  // of the bearer token; NULL: none
    struct trust_words trust;
    bool wants_json;
    bool wants_progress;
    int cpu;         // -1: not pinned
    int server_pid;  // 0: none
    int family;      // enum load_family: which of an endpoint's addresses
    double seconds, warmup;
    uint64_t at_once;  // endpoints that are being bound at one time

    /* relay, and the active ones of idle */
    uint64_t pairs, flows, window, rate, size, segments, burst;
    bool is_flood;
    bool has_no_gro, has_no_rest;
    enum course_mode mode;

    /* rtt */
    bool is_realtime;

    /* bind, idle */
    uint64_t count, endpoints, active, sockets;
};

must_use bool options_parse(struct options *o, int argc, char **argv, char *why);

const char *options_command_name(enum udp_command command);

/* A command by its name; COMMAND_COUNT: none. */
enum udp_command options_command_by_name(const char *name);

/* The commands, or what one of them takes. */
void options_print_usage(void);
void options_print_help(enum udp_command command);

/* Packets of a flow in a row: its runs, or its bursts. */
static inline uint64_t options_unit(const struct options *o) { return o->segments * o->burst; }
