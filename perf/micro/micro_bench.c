/* What do the hot functions cost, one at a time? See bench.h, and perf/README.md for how to read it.
 *
 *     micro_bench [--json] [--runs N] [--run-us N] [--cpu N] [PATTERN...]    cases whose name contains a PATTERN,
 *                                                                            or is NAME for =NAME
 *     micro_bench --list [PATTERN...]                                        their names
 *     micro_bench --count N [PATTERN...]                                     N operations of each, without measuring
 *
 * Exit status: 0, 1 when nothing was measured, 2 for wrong usage. */
#include "perf/micro/bench.h"

#include <linux/perf_event.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/sys.h"

enum { RUNS_MAX = 1001, CALIBRATION_US = 100 };

struct options {
    bool is_json, is_list;
    uint64_t runs, run_us, count, cpu;
    char **patterns;
    int patterns_count;
};

struct figures {
    double ns, ns_best;
    double instructions, cycles;  // negative: no counter
    uint64_t count;
};

/* ---- for cases ---- */

void bench_add(struct bench_list *list, const struct bench_case *template, const char *format, ...) {
    CHECK(list->count < BENCH_CASES_MAX);
    struct bench_case *to = &list->cases[list->count++];
    *to = *template;
    va_list args;
    va_start(args, format);
    int size = vsnprintf(to->name, sizeof(to->name), format, args);
    va_end(args);
    CHECK(size > 0 && (size_t)size < sizeof(to->name));
}

void *bench_alloc(size_t size) {
    size_t rounded = round_up(size, CACHE_LINE_SIZE);
    void *memory = aligned_alloc(CACHE_LINE_SIZE, rounded);
    CHECK(memory != NULL);
    return memset(memory, 0, rounded);
}

/* ---- measuring ---- */

static double now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Of this thread, in user mode; -1 where there is none. */
static int counter_open(uint64_t config) {
    struct perf_event_attr attr = {
        .type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .exclude_kernel = 1, .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static double counter_read(int fd) {
    uint64_t value;
    return fd >= 0 && read(fd, &value, sizeof(value)) == (ssize_t)sizeof(value) ? (double)value : -1;
}

static double per_op(double before, double after, double ops) {
    return before < 0 || after < 0 ? -1 : (after - before) / ops;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Doubles the count until a run is long enough to judge by. */
static uint64_t calibrate(const struct bench_case *c, void *state, uint64_t run_us) {
    for (uint64_t count = 1;; count *= 2) {
        double begin = now_ns();
        c->run(state, count);
        double took_ns = now_ns() - begin;
        if (took_ns < CALIBRATION_US * 1000.0 && count < (1u << 30)) continue;
        return (uint64_t)((double)run_us * 1000.0 / took_ns * (double)count) + 1;
    }
}

static struct figures measure(const struct options *o, const struct bench_case *c, void *state) {
    double runs[RUNS_MAX];
    static int instructions_fd = -2, cycles_fd = -2;
    if (instructions_fd == -2) instructions_fd = counter_open(PERF_COUNT_HW_INSTRUCTIONS);
    if (cycles_fd == -2) cycles_fd = counter_open(PERF_COUNT_HW_CPU_CYCLES);
    struct figures f = {.count = calibrate(c, state, o->run_us)};
    double instructions = counter_read(instructions_fd), cycles = counter_read(cycles_fd);
    for (uint64_t i = 0; i < o->runs; i++) {
        double begin = now_ns();
        c->run(state, f.count);
        runs[i] = (now_ns() - begin) / (double)f.count;
    }
    double ops = (double)f.count * (double)o->runs;
    f.instructions = per_op(instructions, counter_read(instructions_fd), ops);
    f.cycles = per_op(cycles, counter_read(cycles_fd), ops);
    qsort(runs, o->runs, sizeof(runs[0]), compare);
    f.ns = runs[o->runs / 2];
    f.ns_best = runs[0];
    return f;
}

/* ---- showing ---- */

static void print_counted(double value, const char *format, const char *without) {
    if (value < 0) {
        fputs(without, stdout);
    } else {
        printf(format, value);
    }
}

static void print_figures(const struct options *o, const char *name, const struct figures *f, bool is_first) {
    if (!o->is_json) {
        printf("%-40s %9.1f %9.1f ", name, f->ns, f->ns_best);
        print_counted(f->instructions, "%9.1f ", "        - ");
        print_counted(f->cycles, "%9.1f\n", "        -\n");
        return;
    }
    printf("%s\n  {\"name\": \"%s\", \"ns\": %.2f, \"ns_best\": %.2f, \"operations\": %llu, \"instructions\": ",
           is_first ? "" : ",", name, f->ns, f->ns_best, (unsigned long long)f->count);
    print_counted(f->instructions, "%.1f", "null");
    printf(", \"cycles\": ");
    print_counted(f->cycles, "%.1f}", "null}");
}

static void print_begin(const struct options *o) {
    if (o->is_json) {
        printf("{\"tool\": \"micro_bench\", \"version\": \"%s\", \"runs\": %llu, \"cases\": [", RINGRELAY_VERSION,
               (unsigned long long)o->runs);
    } else {
        printf("%-40s %9s %9s %9s %9s\n", "per operation", "ns", "best", "instr.", "cycles");
    }
}

static bool is_wanted(const struct options *o, const char *name) {
    bool is_any = o->patterns_count == 0;
    for (int i = 0; i < o->patterns_count && !is_any; i++) {
        const char *pattern = o->patterns[i];
        is_any = pattern[0] == '=' ? strcmp(name, pattern + 1) == 0 : strstr(name, pattern) != NULL;
    }
    return is_any;
}

/* One case, made and ended. False when it can not be had. */
static bool run_case(const struct options *o, const struct bench_case *c, bool is_first) {
    char why[BENCH_WHY_MAX] = "";
    void *state = c->make(c, why);
    if (state == NULL) {
        fprintf(stderr, "%s: left out: %s\n", c->name, why);
        return false;
    }
    if (o->count) {
        c->run(state, o->count);
    } else {
        struct figures f = measure(o, c, state);
        print_figures(o, c->name, &f, is_first);
        fflush(stdout);
    }
    c->end(state);
    return true;
}

static int run_all(const struct options *o, const struct bench_list *list) {
    size_t done = 0;
    bool is_shown = !o->is_list && !o->count;
    if (is_shown) print_begin(o);
    for (size_t i = 0; i < list->count; i++) {
        const struct bench_case *c = &list->cases[i];
        if (!is_wanted(o, c->name)) continue;
        if (o->is_list) printf("%s\n", c->name);
        if (o->is_list || run_case(o, c, done == 0)) done++;
    }
    if (is_shown && o->is_json) printf("\n]}\n");
    if (done == 0) fprintf(stderr, "micro_bench: nothing to measure (see --list)\n");
    return done == 0;
}

/* ---- options ---- */

static noreturn_fn void usage(const char *what) {
    fprintf(stderr,
            "micro_bench: %s\n"
            "usage: micro_bench [--json] [--runs N] [--run-us N] [--cpu N] [PATTERN...]\n"
            "       micro_bench --list [PATTERN...]\n"
            "       micro_bench --count N [PATTERN...]\n",
            what);
    exit(2);
}

static uint64_t number_of(const char *name, const char *text, uint64_t min, uint64_t max) {
    char *end = NULL, what[128];
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;
    if (end != NULL && end != text && *end == '\0' && text[0] != '-' && value >= min && value <= max) return value;
    snprintf(what, sizeof(what), "%s takes a number from %llu to %llu", name, (unsigned long long)min,
             (unsigned long long)max);
    usage(what);
}

static void parse(struct options *o, int argc, char **argv) {
    static const struct {
        const char *name;
        size_t offset;
        uint64_t min, max;
    } numbers[] = {{"--runs", offsetof(struct options, runs), 1, RUNS_MAX},
                   {"--run-us", offsetof(struct options, run_us), 1, 10 * 1000 * 1000},
                   {"--count", offsetof(struct options, count), 1, 1u << 30},
                   {"--cpu", offsetof(struct options, cpu), 0, CPU_SETSIZE - 1}};
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        bool is_known = true;
        if (strcmp(argv[at], "--json") == 0) {
            o->is_json = true;
        } else if (strcmp(argv[at], "--list") == 0) {
            o->is_list = true;
        } else {
            is_known = false;
        }
        for (size_t i = 0; i < array_count(numbers) && !is_known; i++) {
            if (strcmp(argv[at], numbers[i].name) != 0) continue;
            uint64_t value = number_of(numbers[i].name, argv[at + 1], numbers[i].min, numbers[i].max);
            memcpy((char *)o + numbers[i].offset, &value, sizeof(value));
            at++;
            is_known = true;
        }
        if (!is_known) usage(strcmp(argv[at], "--help") == 0 ? "one function at a time" : "unknown option");
    }
    o->patterns = argv + at;
    o->patterns_count = argc - at;
}

static void pin(uint64_t cpu) {
    cpu_set_t cpus;
    if (cpu == UINT64_MAX) return;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) usage("there is no such CPU");
}

int main(int argc, char **argv) {
    static struct bench_list list;
    struct options o = {.runs = 31, .run_us = 1000, .cpu = UINT64_MAX};
    parse(&o, argc, argv);
    pin(o.cpu);
    if (sys_init() != 0) return 1;
    cases_parser(&list);
    cases_record(&list);
    cases_directory(&list);
    cases_queue(&list);
    cases_crossing(&list);
    cases_wheel(&list);
    cases_vni(&list);
    return run_all(&o, &list);
}
