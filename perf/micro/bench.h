/* bench.h - a small harness for the hot functions: what does one call cost, in ns and in instructions?
 *
 * A case has a name ("directory/hit/1000"), makes its state, runs a given number of operations on it, and ends it. The
 * harness decides how many operations a run has (as many as take --run-us), repeats runs, and reports the median and
 * the best: interruptions show as the difference of the two.
 *
 *     static void cost(void *state, uint64_t count) { while (count--) bench_keep(f(state)); }
 *     bench_add(list, &(struct bench_case){.make = make, .run = cost, .end = end, .param = 1000}, "f/%d", 1000);
 *
 * Instructions and cycles per operation are read from the processor's counters where the kernel offers them; where it
 * does not (most virtual machines) perf/micro/run counts instructions by callgrind: `--count N` runs one case N times
 * and says nothing, and the difference of two N is free of everything but the operation.
 *
 * Threads: one. Memory: malloc; this is no part of the relay. Errors: a case that can not be made here says why, and is
 * left out; one that computes something wrong is a CHECK.
 */
#pragma once

#include "core/base.h"

enum { BENCH_NAME_MAX = 64, BENCH_CASES_MAX = 128, BENCH_WHY_MAX = 512 };

struct bench_case {
    char name[BENCH_NAME_MAX];
    /* The state of a case, warmed up; NULL, with a sentence in `why`, when this machine can not have it. */
    void *(*make)(const struct bench_case *self, char *why);
    /* `count` operations. May be called any number of times. */
    void (*run)(void *state, uint64_t count);
    void (*end)(void *state);
    /* What distinguishes cases of one function; their meaning is the case's. */
    uint32_t param;
    uint32_t variant;
    const char *text;
};

struct bench_list {
    struct bench_case cases[BENCH_CASES_MAX];
    size_t count;
};

/* Adds a copy of `template` under a name. */
void bench_add(struct bench_list *list, const struct bench_case *template, const char *format, ...) printf_like(3, 4);

/* `value` is used: what made it is not optimised away. */
#define bench_keep(value) __asm__ volatile("" : : "r"(value) : "memory")

/* malloc that is zeroed, aligned to cache lines and never fails. */
void *bench_alloc(size_t size);

/* The cases, one function per file. */
void cases_parser(struct bench_list *list);
void cases_record(struct bench_list *list);
void cases_directory(struct bench_list *list);
void cases_queue(struct bench_list *list);
void cases_crossing(struct bench_list *list);
void cases_wheel(struct bench_list *list);
void cases_vni(struct bench_list *list);
