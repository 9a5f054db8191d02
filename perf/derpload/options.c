#include "perf/derpload/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/limits.h"
#include "perf/derpload/contents.h"

enum { IN_RELAY = 1 << COMMAND_RELAY, IN_RTT = 1 << COMMAND_RTT, IN_LOGIN = 1 << COMMAND_LOGIN };
enum { IN_IDLE = 1 << COMMAND_IDLE, IN_ECHO = 1 << COMMAND_ECHO };
enum { IN_ALL = IN_RELAY | IN_RTT | IN_LOGIN | IN_IDLE | IN_ECHO, IN_SERVED = IN_ALL & ~IN_ECHO };

/* Packets under way to one destination: derper drops what comes when 32 wait for a client. */
enum { WINDOW = 32 };

enum kind { KIND_COUNT, KIND_SECONDS, KIND_FLAG, KIND_INT, KIND_TEXT, KIND_TRUST, KIND_PATTERN };

/* What values mean, and where they go. `min` and `max` are for counts and ints. */
static const struct option {
    const char *name;
    uint8_t commands;
    enum kind kind;
    size_t at;
    int64_t min, max;
    const char *argument;
    const char *help;
} table[] = {
#define AT(field) offsetof(struct options, field)
    {"--pairs", IN_RELAY, KIND_COUNT, AT(pairs), 1, 20000, "N", "flows: senders with a receiver each; 10"},
    {"--pattern", IN_RELAY, KIND_PATTERN, AT(pattern), 0, 0, "P",
     "pairs, fan-in, fan-out, or all (N clients to each other)"},
    {"--size", IN_RELAY | IN_RTT | IN_ECHO, KIND_COUNT, AT(size), CONTENTS_SIZE_MIN, DERP_PACKET_SIZE_MAX, "BYTES",
     "of a packet's data, 32 or more; relay: 1400, rtt and echo: 64"},
    {"--window", IN_RELAY, KIND_COUNT, AT(window), 1, 1000000, "N", "packets under way per flow, 32 unless given"},
    {"--rate", IN_RELAY | IN_RTT | IN_ECHO, KIND_COUNT, AT(rate), 1, 100000000, "PPS",
     "packets per second, all flows together, on a schedule; rtt and echo: 500"},
    {"--flood", IN_RELAY, KIND_FLAG, AT(is_flood), 0, 0, "", "as fast as TCP takes them"},
    {"--seconds", IN_ALL, KIND_SECONDS, AT(seconds), 0, 0, "S", "measured time; 5 (login: instead of a count)"},
    {"--warmup", IN_RELAY | IN_RTT | IN_ECHO, KIND_SECONDS, AT(warmup), 0, 0, "S", "the same load before; 1"},
    {"--records-per-write", IN_RELAY, KIND_COUNT, AT(records_per_write), 1, 1024, "N",
     "TLS records in one write of a client; 8"},
    {"--frames-per-record", IN_RELAY, KIND_COUNT, AT(frames_per_record), 1, 256, "N", "frames in one TLS record; 1"},
    {"--write-size", IN_RELAY, KIND_COUNT, AT(write_size), 64, 4 << 20, "BYTES",
     "instead of --records-per-write: as many as fit, at least one"},
    {"--connections", IN_RELAY | IN_IDLE, KIND_COUNT, AT(connections), 2, 50000, "M",
     "clients; relay: traffic spread over all, pairs * window packets under way; idle: 1000"},
    {"--gather", IN_RELAY, KIND_COUNT, AT(gather), 1, 1024, "N",
     "with --connections: packets to one destination in a row; 4"},
    {"--count", IN_LOGIN, KIND_COUNT, AT(count), 1, 10000000, "N", "logins; 1500"},
    {"--at-once", IN_SERVED, KIND_COUNT, AT(at_once), 1, 10000, "N", "logins under way at one time; 16"},
    {"--realtime", IN_RTT | IN_ECHO, KIND_FLAG, AT(is_realtime), 0, 0, "", "real-time priority, memory locked"},
    {"--echo-cpu", IN_ECHO, KIND_INT, AT(echo_cpu), 0, 4095, "N", "pins the echoing thread"},
    {"--server-pid", IN_SERVED, KIND_INT, AT(server_pid), 1, INT32_MAX, "PID", "measures this process' processor time"},
    {"--cpu", IN_ALL, KIND_INT, AT(cpu), 0, 4095, "N", "pins this process"},
    {"--json", IN_ALL, KIND_FLAG, AT(wants_json), 0, 0, "", "the result as one JSON object"},
    {"--progress", IN_ALL, KIND_FLAG, AT(wants_progress), 0, 0, "",
     "a line per second on standard error even when that is no terminal"},
    {"--trust", IN_SERVED, KIND_TRUST, AT(trust), 0, 0, "SPEC", "https: any, pin:HEX|FILE or ca:FILE"},
    {"--pin", IN_SERVED, KIND_TEXT, AT(trust.pin), 0, 0, "HEX|FILE",
     "https: the certificate is the one with this SHA-256, or of this file"},
    {"--ca", IN_SERVED, KIND_TEXT, AT(trust.ca_path), 0, 0, "FILE",
     "https: it leads to one of these root certificates"},
    {"--insecure", IN_SERVED, KIND_FLAG, AT(trust.is_insecure), 0, 0, "", "https: it is not judged"},
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

static const char *const mode_names[] = {"window", "rate", "flood"};
static const char *const pattern_names[] = {"pairs", "fan-in", "fan-out", "all"};

const char *options_command_name(enum load_command command) { return commands[command].name; }
const char *options_mode_name(enum load_mode mode) { return mode_names[mode]; }
const char *options_pattern_name(enum load_pattern pattern) { return pattern_names[pattern]; }

static bool fail(char *why, const char *format, ...) printf_like(2, 3);

static bool fail(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, OPTIONS_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- values ---- */

static bool parse_count(const struct option *option, const char *text, int64_t *ret) {
    char *end;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || value < option->min || value > option->max) return false;
    *ret = value;
    return true;
}

static bool parse_seconds(const char *text, double *ret) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0) || value > 86400) return false;
    *ret = value;
    return true;
}

static bool parse_pattern(const char *text, enum load_pattern *ret) {
    for (unsigned i = 0; i < PATTERN_COUNT; i++) {
        if (strcmp(text, pattern_names[i]) != 0) continue;
        *ret = (enum load_pattern)i;
        return true;
    }
    return false;
}

static bool take_value(struct options *o, const struct option *option, const char *text) {
    uint8_t *at = (uint8_t *)o + option->at;
    int64_t number;
    switch (option->kind) {
        case KIND_COUNT:
            if (!parse_count(option, text, &number)) return false;
            *(uint64_t *)(void *)at = (uint64_t)number;
            return true;
        case KIND_INT:
            if (!parse_count(option, text, &number)) return false;
            *(int *)(void *)at = (int)number;
            return true;
        case KIND_SECONDS: return parse_seconds(text, (double *)(void *)at);
        case KIND_TEXT: *(const char **)(void *)at = text; return true;
        case KIND_TRUST: return trust_parse(&o->trust, text);
        case KIND_PATTERN: return parse_pattern(text, &o->pattern);
        case KIND_FLAG: break;
    }
    return false;
}

static bool refuse_value(const struct option *option, const char *text, char *why) {
    if (option->kind != KIND_COUNT && option->kind != KIND_INT) {
        return fail(why, "%s %s: it takes %s", option->name, text, option->help);
    }
    return fail(why, "%s %s: it takes a number from %lld to %lld", option->name, text, (long long)option->min,
                (long long)option->max);
}

/* ---- words ---- */

static const struct option *find_option(const char *word, const char **value) {
    for (size_t i = 0; i < array_count(table); i++) {
        size_t size = strlen(table[i].name);
        if (strncmp(word, table[i].name, size) != 0 || (word[size] != '\0' && word[size] != '=')) continue;
        *value = word[size] == '=' ? word + size + 1 : NULL;
        return &table[i];
    }
    return NULL;
}

static bool parse_word(struct options *o, int argc, char **argv, int *idx, char *why) {
    const char *word = argv[*idx], *value;
    const struct option *option = find_option(word, &value);
    if (word[0] != '-' && o->url == NULL && o->command != COMMAND_ECHO) {
        o->url = word;
        return true;
    }
    if (option == NULL || !(option->commands & 1 << o->command)) {
        return fail(why, "%s has no use for %s", options_command_name(o->command), word);
    }
    if (option->kind == KIND_FLAG) {
        *(bool *)(void *)((uint8_t *)o + option->at) = true;
        return value == NULL || fail(why, "%s takes no value", option->name);
    }
    if (value == NULL && *idx + 1 < argc) value = argv[++*idx];
    if (value == NULL) return fail(why, "%s needs a value", option->name);
    return take_value(o, option, value) || refuse_value(option, value, why);
}

/* ---- all together ---- */

static uint64_t or_else(uint64_t value, uint64_t standard) { return value ? value : standard; }

static bool finish_relay(struct options *o, char *why) {
    uint64_t frame = DERP_SEND_HEAD_SIZE + o->size;
    if ((o->window != 0) + (o->rate != 0) + o->is_flood > 1)
        return fail(why, "--window, --rate or --flood: one of them");
    if (o->write_size && o->records_per_write) return fail(why, "--write-size or --records-per-write: one of them");
    o->mode = o->is_flood ? MODE_FLOOD : o->rate ? MODE_RATE : MODE_WINDOW;
    o->pairs = or_else(o->pairs, 10);
    o->frames_per_record = or_else(o->frames_per_record, 1);
    if (o->frames_per_record > 1 && frame * o->frames_per_record > 16384) {
        return fail(why, "--frames-per-record %llu: more bytes than a TLS record takes, 16384",
                    (unsigned long long)o->frames_per_record);
    }
    uint64_t record = frame * o->frames_per_record + 22;
    if (o->write_size) o->records_per_write = min_of((uint64_t)1024, max_of((uint64_t)1, o->write_size / record));
    o->records_per_write = or_else(o->records_per_write, 8);
    if (o->connections && o->pattern != PATTERN_PAIRS) return fail(why, "--connections is a pattern of its own");
    if (o->gather && !o->connections) return fail(why, "--gather needs --connections");
    if (o->pattern == PATTERN_ALL && (o->pairs < 2 || o->pairs > 200)) {
        return fail(why, "--pattern all takes 2 to 200 clients (--pairs)");
    }
    o->gather = or_else(o->gather, o->connections ? 4 : 1);
    uint64_t sources = o->pattern == PATTERN_FAN_IN ? o->pairs : o->pattern == PATTERN_ALL ? o->pairs - 1 : 1;
    o->window = or_else(o->window, max_of((uint64_t)1, WINDOW / sources));
    return true;
}

static bool finish(struct options *o, char *why) {
    if (o->url == NULL && o->command != COMMAND_ECHO) {
        return fail(why, "%s needs a URL, such as https://derp.example/derp", options_command_name(o->command));
    }
    bool is_probe = o->command == COMMAND_RTT || o->command == COMMAND_ECHO;
    o->at_once = or_else(o->at_once, 16);
    o->size = or_else(o->size, is_probe ? 64 : 1400);
    if (is_probe) o->rate = or_else(o->rate, 500);
    if (o->command == COMMAND_IDLE) o->connections = or_else(o->connections, 1000);
    if (o->command == COMMAND_LOGIN && o->seconds == 0) o->count = or_else(o->count, 1500);
    if (o->command == COMMAND_LOGIN && o->seconds != 0 && o->count)
        return fail(why, "--count or --seconds: one of them");
    if (o->command == COMMAND_RELAY && !finish_relay(o, why)) return false;
    if (o->command != COMMAND_LOGIN && o->seconds == 0) return fail(why, "--seconds 0: nothing would be measured");
    return true;
}

bool options_parse(struct options *o, int argc, char **argv, char *why) {
    enum load_command command = o->command;
    *o = (struct options){.command = command, .argc = argc, .argv = argv, .cpu = -1, .echo_cpu = -1, .warmup = 1};
    o->seconds = command == COMMAND_LOGIN ? 0 : 5;
    for (int i = 0; i < argc; i++) {
        if (!parse_word(o, argc, argv, &i, why)) return false;
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
    for (size_t i = 0; i < array_count(table); i++) {
        char name[64];
        if (!(table[i].commands & 1 << command)) continue;
        snprintf(name, sizeof(name), "%s %s", table[i].name, table[i].argument);
        printf("  %-24s %s\n", name, table[i].help);
    }
}
