/* options.h - the command line of derpload: one table of options, of which each command takes its own.
 *
 * Threads: one. Memory: none; texts point into argv. Errors: false and a sentence in `why` (OPTIONS_WHY_MAX bytes).
 */
#pragma once

#include "perf/load/arguments.h"
#include "perf/load/course.h"
#include "relay/trust.h"

#define OPTIONS_WHY_MAX ARGUMENTS_WHY_MAX

enum load_command { COMMAND_RELAY, COMMAND_RTT, COMMAND_LOGIN, COMMAND_IDLE, COMMAND_ECHO, COMMAND_COUNT };
enum load_pattern { PATTERN_PAIRS, PATTERN_FAN_IN, PATTERN_FAN_OUT, PATTERN_ALL, PATTERN_COUNT };

struct options {
    enum load_command command;
    const char *url;
    int argc;
    char **argv;

    /* common */
    bool wants_json;
    bool wants_progress;
    int cpu;  // -1: not pinned
    int server_pid;  // 0: none
    struct trust_words trust;
    double seconds, warmup;
    uint64_t rate;  // packets per second; 0: not given
    uint64_t size;
    bool is_realtime;

    /* relay */
    uint64_t pairs, window, records_per_write, frames_per_record, connections, gather, write_size;
    bool is_flood;
    enum course_mode mode;
    enum load_pattern pattern;

    /* login, idle, echo */
    uint64_t count, at_once;
    int echo_cpu;
};

must_use bool options_parse(struct options *o, int argc, char **argv, char *why);

const char *options_command_name(enum load_command command);
const char *options_pattern_name(enum load_pattern pattern);

/* The commands, or what one of them takes. */
void options_print_usage(void);
void options_print_help(enum load_command command);

/* A command by its name; COMMAND_COUNT: none. */
enum load_command options_command_by_name(const char *name);
