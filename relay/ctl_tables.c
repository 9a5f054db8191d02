/* ctl_tables.c - answers of a relay as tables of 80 columns. A member that is missing reads as 0 or nothing: the relay
 * may be older or newer than this program.
 */
#include <stdio.h>
#include <time.h>

#include "proto/disco.h"
#include "proto/key.h"
#include "relay/ctl_commands.h"

enum { COLUMNS = 80, LABEL = 9, UNIT_TEXT_MAX = 32 };

typedef unsigned long long number;

static number number_of(const json_t *object, const char *name) {
    return (number)json_integer_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* ---- units ---- */

/* "0", "999", "1.5K", "23M": at most five characters. */
static const char *bytes_text(number bytes, char *text) {
    static const char units[] = "KMGTPE";
    double amount = (double)bytes;
    int unit = -1;
    for (; amount >= 999.5 && unit < 5; unit++) amount /= 1024;
    if (unit < 0) {
        snprintf(text, UNIT_TEXT_MAX, "%llu", bytes);
    } else {
        snprintf(text, UNIT_TEXT_MAX, "%.*f%c", amount < 99.95 ? 1 : 0, amount, units[unit]);
    }
    return text;
}

/* "250ms", "59s", "3m20s", "4h05m", "12d3h": at most six characters, up to three years. */
static const char *span_text(number ms, char *text) {
    number s = ms / 1000;
    if (ms < 1000) {
        snprintf(text, UNIT_TEXT_MAX, "%llums", ms);
    } else if (s < 60) {
        snprintf(text, UNIT_TEXT_MAX, "%llus", s);
    } else if (s < 3600) {
        snprintf(text, UNIT_TEXT_MAX, "%llum%02llus", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(text, UNIT_TEXT_MAX, "%lluh%02llum", s / 3600, s / 60 % 60);
    } else if (s < 100 * 86400ull) {
        snprintf(text, UNIT_TEXT_MAX, "%llud%lluh", s / 86400, s / 3600 % 24);
    } else {
        snprintf(text, UNIT_TEXT_MAX, "%llud", s / 86400);
    }
    return text;
}

static const char *date_text(number unix_s, char *text) {
    time_t when = (time_t)unix_s;
    struct tm parts;
    if (gmtime_r(&when, &parts) == NULL || strftime(text, UNIT_TEXT_MAX, "%Y-%m-%d", &parts) == 0) *text = 0;
    return text;
}

/* A label, and words that are broken at the end of the line. */
static void print_words(const char *label, const char *words) {
    int column = printf("%-*s", LABEL - 1, label);
    for (size_t size; (size = strcspn(words, " ")) > 0; words += size + strspn(words + size, " ")) {
        if (column + 1 + (int)size > COLUMNS) column = printf("\n%-*s", LABEL - 1, "") - 1;
        column += printf(" %.*s", (int)size, words);
    }
    printf("\n");
}

/* ---- status ---- */

static void print_tls(const json_t *status) {
    const json_t *tls = json_object_get(status, "tls");
    char until[UNIT_TEXT_MAX], line[512];
    if (!json_is_object(tls)) {
        print_words("tls", "none: plain HTTP");
        return;
    }
    number start_s = number_of(status, "start") + number_of(status, "uptime_ns") / NS_PER_S;
    long long days = ((long long)number_of(tls, "not_after") - (long long)start_s) / 86400;
    snprintf(line, sizeof(line), "%.253s, %s, valid until %s (%lld days), records by %s", text_of(tls, "hostname"),
             text_of(tls, "key"), date_text(number_of(tls, "not_after"), until), days, text_of(tls, "records_by"));
    print_words("tls", line);
}

static void print_limits(const json_t *status) {
    const json_t *limits = json_object_get(status, "limits"), *rate = json_object_get(status, "rate");
    char each[UNIT_TEXT_MAX], all[UNIT_TEXT_MAX], line[256];
    snprintf(line, sizeof(line), "%llu connections, %llu worker%s, %s packet memory each, %s memory in all",
             number_of(limits, "connections"), number_of(limits, "workers"),
             number_of(limits, "workers") == 1 ? "" : "s",
             bytes_text(number_of(limits, "packet_memory_bytes_per_worker"), each),
             bytes_text(number_of(limits, "memory_bytes"), all));
    print_words("limits", line);
    snprintf(line, sizeof(line), "no limit");
    if (number_of(rate, "bytes_per_s") > 0) {
        snprintf(line, sizeof(line), "%sB/s from each client, %sB at once",
                 bytes_text(number_of(rate, "bytes_per_s"), each), bytes_text(number_of(rate, "burst_bytes"), all));
    }
    print_words("rate", line);
}

static void print_listening(const json_t *status) {
    size_t i;
    const json_t *address;
    json_array_foreach(json_object_get(status, "listening"), i, address) {
        print_words(i ? "" : "listens", json_string_value(address) ? json_string_value(address) : "");
    }
    const char *stun = json_string_value(json_object_get(status, "stun"));
    print_words("stun", stun ? stun : "off");
}

static void print_udp_relay(const json_t *status) {
    const json_t *relay = json_object_get(status, "udp_relay"), *address;
    char line[256];
    size_t i;
    if (!json_is_object(relay)) {
        print_words("relay", "off");
        return;
    }
    const char *key = text_of(relay, "server_disco");
    if (strncmp(key, DISCO_KEY_PREFIX, strlen(DISCO_KEY_PREFIX)) == 0) key += strlen(DISCO_KEY_PREFIX);
    snprintf(line, sizeof(line), "UDP port %llu, d:%.16s, %llu endpoints connecting, %llu open, at most %llu",
             number_of(relay, "port"), key, number_of(relay, "connecting"), number_of(relay, "open"),
             number_of(relay, "endpoints_max"));
    print_words("relay", line);
    json_array_foreach(json_object_get(relay, "addresses"), i, address) {
        print_words("", json_string_value(address) ? json_string_value(address) : "");
    }
    if (i == 0) print_words("", "no address is known yet: clients are told to come again");
}

/* Share of the time between two answers, in percent. */
static double busy(const json_t *thread, const json_t *before, number span_ns) {
    number busy_ns = number_of(thread, "busy_ns"), before_ns = number_of(before, "busy_ns");
    return span_ns && busy_ns >= before_ns ? (double)(busy_ns - before_ns) * 100 / (double)span_ns : 0;
}

static void print_threads(const json_t *status, const json_t *before, const char *kind) {
    number span_ns = number_of(status, "uptime_ns") - number_of(before, "uptime_ns");
    size_t i;
    const json_t *thread;
    json_array_foreach(json_object_get(status, kind), i, thread) {
        char memory[UNIT_TEXT_MAX];
        const json_t *then = json_array_get(json_object_get(before, kind), i);
        printf("%-10s %5.1f%%", text_of(thread, "name"), busy(thread, then, span_ns));
        if (json_object_get(thread, "connections")) {
            printf(" %12llu %14s", number_of(thread, "connections"),
                   bytes_text(number_of(thread, "packet_memory_bytes"), memory));
        }
        printf("\n");
    }
}

static void print_drops(const json_t *status) {
    const char *reason;
    json_t *drop;
    const char *label = "dropped";
    json_object_foreach(json_object_get(status, "drops"), reason, drop) {
        char bytes[UNIT_TEXT_MAX];
        if (number_of(drop, "packets") == 0) continue;
        printf("%-*s%-20s %12llu packets %8s\n", LABEL, label, reason, number_of(drop, "packets"),
               bytes_text(number_of(drop, "bytes"), bytes));
        label = "";
    }
    if (*label) printf("%-*snothing\n", LABEL, label);
}

/* Reasons that have occurred. */
static void print_counts(const json_t *status, const char *member, const char *label) {
    char line[1024] = "", *at = line;
    const char *reason;
    json_t *count;
    json_object_foreach(json_object_get(status, member), reason, count) {
        size_t left = sizeof(line) - (size_t)(at - line);
        if (json_integer_value(count) == 0) continue;
        int size = snprintf(at, left, "%s=%lld ", reason, (long long)json_integer_value(count));
        at += min_of((size_t)size, left - 1);
    }
    print_words(label, *line ? line : "nothing");
}

static void print_totals(const json_t *status) {
    const json_t *totals = json_object_get(status, "totals");
    char received[UNIT_TEXT_MAX], sent[UNIT_TEXT_MAX];
    printf("%-*s%-20s %12llu packets %8s\n", LABEL, "total", "received", number_of(totals, "packets_received"),
           bytes_text(number_of(totals, "bytes_received"), received));
    printf("%-*s%-20s %12llu packets %8s\n", LABEL, "", "sent", number_of(totals, "packets_sent"),
           bytes_text(number_of(totals, "bytes_sent"), sent));
}

/* The UDP relay's own: what goes into the control plane. */
static void print_node(const json_t *status) {
    const json_t *node = json_object_get(status, "udp_node");
    if (!json_is_object(node)) return;
    printf("%-*s%s\n", LABEL, "node", text_of(node, "node_key"));
    printf("%-*s%s\n", LABEL, "", text_of(node, "disco_key"));
    if (!json_is_true(json_object_get(node, "connected"))) print_words("", "its connection is gone; it will come back");
}

void ctl_print_status(const json_t *status, const json_t *before) {
    char up[UNIT_TEXT_MAX];
    printf("ringrelayd %s, process %llu, up %s\n%s\n\n", text_of(status, "version"), number_of(status, "pid"),
           span_text(number_of(status, "uptime_ns") / NS_PER_MS, up), text_of(status, "public_key"));
    print_listening(status);
    print_udp_relay(status);
    print_tls(status);
    print_words("io_uring", text_of(status, "io_uring"));
    print_limits(status);
    print_node(status);
    printf("%-*s%llu of %llu keys, %llu at home here; %llu at the door\n\n", LABEL, "clients",
           number_of(status, "connections"), number_of(status, "keys"), number_of(status, "home_connections"),
           number_of(status, "at_the_door"));
    printf("%-10s %6s %12s %14s\n", "thread", "busy", "connections", "packet memory");
    print_threads(status, before, "workers");
    print_threads(status, before, "udp_workers");
    print_threads(status, before, "threads");
    printf("\n");
    print_totals(status);
    print_drops(status);
    print_counts(status, "closes", "closed");
    print_counts(status, "refusals", "refused");
}

/* ---- clients ---- */

static const char *flags_text(const json_t *client, char *text) {
    static const struct {
        const char *name;
        char letter;
    } flags[] = {{"home", 'h'},      {"prober", 'p'},    {"mesh", 'm'},
                 {"not_ideal", 'n'}, {"duplicate", 'd'}, {"disabled", 'x'}};
    char *at = text;
    for (size_t i = 0; i < array_count(flags); i++) {
        bool is_passive = flags[i].letter == 'd' && json_is_true(json_object_get(client, "active"));
        if (!json_is_true(json_object_get(client, flags[i].name))) continue;
        *at++ = is_passive ? 'D' : flags[i].letter;
    }
    if (strcmp(text_of(client, "transport"), "tls") != 0) *at++ = 'c';
    if (at == text) *at++ = '-';
    *at = 0;
    return text;
}

/* The address comes last: an IPv6 one may be long, and then only its line is. */
static void print_client(const json_t *client, number now_s) {
    enum { KEY_DIGITS = 12 };
    char since[UNIT_TEXT_MAX], idle[UNIT_TEXT_MAX], in[UNIT_TEXT_MAX], out[UNIT_TEXT_MAX], queue[UNIT_TEXT_MAX],
        flags[8];
    const char *key = text_of(client, "key");
    if (strncmp(key, KEY_PUBLIC_PREFIX, strlen(KEY_PUBLIC_PREFIX)) == 0) key += strlen(KEY_PUBLIC_PREFIX);
    number since_s = number_of(client, "since");
    printf("%-12.*s %2llu %6s %6s %6s %6s %6s %-5s %s\n", KEY_DIGITS, key, number_of(client, "worker"),
           span_text(now_s > since_s ? (now_s - since_s) * 1000 : 0, since),
           span_text(number_of(client, "idle_ms"), idle), bytes_text(number_of(client, "bytes_received"), in),
           bytes_text(number_of(client, "bytes_sent"), out), bytes_text(number_of(client, "queue_bytes"), queue),
           flags_text(client, flags), text_of(client, "address"));
}

void ctl_print_clients(const json_t *answer) {
    const json_t *clients = json_object_get(answer, "clients"), *client;
    number now_s = (number)time(NULL);
    size_t i;
    printf("%-12s %2s %6s %6s %6s %6s %6s %-5s %s\n", "key", "w", "since", "idle", "from", "to", "queue", "flags",
           "address");
    json_array_foreach(clients, i, client) print_client(client, now_s);
    printf("%zu shown, %llu matching, %llu connections in all%s\n", json_array_size(clients),
           number_of(answer, "matching"), number_of(answer, "connections"),
           json_is_true(json_object_get(answer, "complete")) ? "" : "; more than the list has room for");
}

/* ---- endpoints ---- */

static void print_leg(const json_t *client) {
    char packets[UNIT_TEXT_MAX], bytes[UNIT_TEXT_MAX], idle[UNIT_TEXT_MAX] = "-";
    const char *key = text_of(client, "key"), *address = text_of(client, "address");
    if (strncmp(key, DISCO_KEY_PREFIX, strlen(DISCO_KEY_PREFIX)) == 0) key += strlen(DISCO_KEY_PREFIX);
    if (json_is_integer(json_object_get(client, "idle_ms"))) span_text(number_of(client, "idle_ms"), idle);
    snprintf(packets, sizeof(packets), "%llu", number_of(client, "packets"));
    printf("d:%-16.16s %10s %6s %6s %s\n", key, packets, bytes_text(number_of(client, "bytes"), bytes), idle,
           *address ? address : "-");
}

/* Two lines each: what came from either client. */
static void print_endpoint(const json_t *endpoint) {
    const json_t *clients = json_object_get(endpoint, "clients");
    bool is_open = strcmp(text_of(endpoint, "state"), "open") == 0;
    printf("%8llu %-4s ", number_of(endpoint, "vni"), is_open ? "open" : "conn");
    print_leg(json_array_get(clients, 0));
    printf("%8s %-4s ", "", "");
    print_leg(json_array_get(clients, 1));
}

void ctl_print_endpoints(const json_t *answer, size_t matching) {
    const json_t *endpoints = json_object_get(answer, "endpoints"), *endpoint;
    size_t i;
    printf("%8s %-4s %-18s %10s %6s %6s %s\n", "vni", "", "client", "packets", "bytes", "idle", "address");
    json_array_foreach(endpoints, i, endpoint) print_endpoint(endpoint);
    printf("%zu shown of %zu, %llu connecting, %llu open, at most %llu\n", json_array_size(endpoints), matching,
           number_of(answer, "connecting"), number_of(answer, "open"), number_of(answer, "endpoints_max"));
}
