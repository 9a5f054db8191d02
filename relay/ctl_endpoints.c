/* ctl_endpoints.c - "ringrelay endpoints", "allocate" and "endpoint-close": the UDP relay of a running ringrelayd.
 *
 * The relay lists endpoints in no order, straight out of its table; they are put in order here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "relay/ctl_commands.h"

enum endpoint_sort { SORT_BYTES, SORT_PACKETS, SORT_IDLE, SORT_VNI, SORT_COUNT };

struct endpoint_arguments {
    struct ctl_admin_arguments admin;
    enum endpoint_sort sort;
    size_t limit;  // 0: all
};

/* ---- order ---- */

struct ranked {
    unsigned long long rank;  // the greatest first
    json_t *endpoint;
};

static unsigned long long number_of(const json_t *object, const char *name) {
    return (unsigned long long)json_integer_value(json_object_get(object, name));
}

/* A client that was never seen is the most idle one. */
static unsigned long long idle_of(const json_t *client) {
    const json_t *idle = json_object_get(client, "idle_ms");
    return json_is_integer(idle) ? (unsigned long long)json_integer_value(idle) : UINT64_MAX;
}

static unsigned long long rank_of(const json_t *endpoint, enum endpoint_sort sort) {
    const json_t *clients = json_object_get(endpoint, "clients");
    const json_t *a = json_array_get(clients, 0), *b = json_array_get(clients, 1);
    switch (sort) {
        case SORT_BYTES: return number_of(a, "bytes") + number_of(b, "bytes");
        case SORT_PACKETS: return number_of(a, "packets") + number_of(b, "packets");
        case SORT_IDLE: return max_of(idle_of(a), idle_of(b));
        case SORT_VNI:
        case SORT_COUNT: break;
    }
    return 0;
}

static int compare(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    if (a->rank != b->rank) return a->rank > b->rank ? -1 : 1;
    unsigned long long x = number_of(a->endpoint, "vni"), y = number_of(b->endpoint, "vni");
    return (x > y) - (x < y);
}

/* The answer's list becomes the first of it in order. False: no memory. */
static bool put_in_order(json_t *answer, const struct endpoint_arguments *a) {
    json_t *endpoints = json_object_get(answer, "endpoints"), *ordered = json_array(), *endpoint;
    size_t count = json_array_size(endpoints), i;
    struct ranked *all = calloc(count + 1, sizeof(*all));
    bool is_fine = all != NULL && ordered != NULL;
    if (all != NULL) {
        json_array_foreach(endpoints, i, endpoint) all[i] = (struct ranked){rank_of(endpoint, a->sort), endpoint};
        qsort(all, count, sizeof(*all), compare);
    }
    size_t wanted = a->limit ? min_of(a->limit, count) : count;
    for (i = 0; i < wanted && is_fine; i++) is_fine = json_array_append(ordered, all[i].endpoint) == 0;
    free(all);
    return json_object_set_new(answer, "endpoints", ordered) == 0 && is_fine;
}

/* ---- endpoints ---- */

static bool take_sort(struct endpoint_arguments *a, const char *text) {
    static const char *const names[SORT_COUNT] = {"bytes", "packets", "idle", "vni"};
    for (unsigned i = 0; i < SORT_COUNT; i++) {
        a->sort = (enum endpoint_sort)i;
        if (strcmp(text, names[i]) == 0) return true;
    }
    return false;
}

static bool take_number(const char *text, unsigned long long most, unsigned long long *ret) {
    char *end;
    *ret = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0 && *ret <= most;
}

static bool take_option(struct endpoint_arguments *a, int argc, char **argv, int *idx) {
    const char *value = "";
    unsigned long long number = 0;
    if (ctl_take_common(&a->admin, argc, argv, idx)) return true;
    if (ctl_take_option("--sort", argc, argv, idx, &value)) return take_sort(a, value);
    if (!ctl_take_option("--limit", argc, argv, idx, &value) || !take_number(value, UINT32_MAX, &number)) return false;
    a->limit = (size_t)number;
    return true;
}

static int run_endpoints(const struct endpoint_arguments *a) {
    json_t *answer = ctl_ask_once(&a->admin);
    size_t count = json_array_size(json_object_get(answer, "endpoints"));
    int status = EXIT_FAILED;
    if (answer && !put_in_order(answer, a)) {
        fprintf(stderr, "ringrelay: no memory for %zu endpoints\n", count);
    } else if (answer && a->admin.wants_json) {
        status = ctl_print_json(answer);
    } else if (answer) {
        ctl_print_endpoints(answer, count);
        status = EXIT_SUCCESS;
    }
    json_decref(answer);
    return status;
}

int ctl_endpoints(int argc, char **argv) {
    struct endpoint_arguments a = {.admin = ctl_admin_arguments_for("endpoints")};
    int status = EXIT_SUCCESS;
    for (int i = 0; i < argc && status == EXIT_SUCCESS; i++) {
        if (take_option(&a, argc, argv, &i)) continue;
        status = ctl_usage_error("endpoints takes --sort bytes|packets|idle|vni, --limit N, --json and --socket PATH");
    }
    if (status == EXIT_SUCCESS) status = run_endpoints(&a);
    json_decref(a.admin.request);
    return status;
}

/* ---- one endpoint ---- */

static int run_allocate(const struct ctl_admin_arguments *a) {
    json_t *answer = ctl_ask_once(a);
    int status = answer ? ctl_print_json(json_object_get(answer, "endpoint")) : EXIT_FAILED;
    json_decref(answer);
    return status;
}

int ctl_allocate(int argc, char **argv) {
    struct ctl_admin_arguments a = ctl_admin_arguments_for("allocate");
    json_t *keys = json_array();
    int status = EXIT_SUCCESS;
    json_object_set_new(a.request, "keys", keys);
    for (int i = 0; i < argc; i++) {
        if (!ctl_take_common(&a, argc, argv, &i)) json_array_append_new(keys, json_string(argv[i]));
    }
    if (json_array_size(keys) != 2) {
        status = ctl_usage_error("allocate takes two disco keys, discokey: and 64 hex digits, and --socket PATH");
    }
    if (status == EXIT_SUCCESS) status = run_allocate(&a);
    json_decref(a.request);
    return status;
}

static int run_close(const struct ctl_admin_arguments *a) {
    json_t *answer = ctl_ask_once(a);
    int status = answer ? EXIT_SUCCESS : EXIT_FAILED;
    if (answer && a->wants_json) status = ctl_print_json(answer);
    json_decref(answer);
    return status;
}

int ctl_endpoint_close(int argc, char **argv) {
    struct ctl_admin_arguments a = ctl_admin_arguments_for("endpoint-close");
    unsigned long long vni = 0;
    int status = EXIT_SUCCESS, words = 0;
    for (int i = 0; i < argc && status == EXIT_SUCCESS; i++) {
        if (ctl_take_common(&a, argc, argv, &i)) continue;
        if (words++ > 0 || !take_number(argv[i], (1 << 24) - 1, &vni)) status = EXIT_USAGE;
    }
    if (status != EXIT_SUCCESS || vni == 0) {
        status = ctl_usage_error("endpoint-close takes one VNI, as ringrelay endpoints shows it, and --socket PATH");
    }
    if (status == EXIT_SUCCESS) json_object_set_new(a.request, "vni", json_integer((json_int_t)vni));
    if (status == EXIT_SUCCESS) status = run_close(&a);
    json_decref(a.request);
    return status;
}
