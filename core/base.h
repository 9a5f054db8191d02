/* base.h - the attributes and tiny helpers every file may assume.
 *
 * What is here: fixed-width integers, compiler attributes under readable names, array and alignment arithmetic.
 * What is not: anything with state, anything that allocates, anything that knows a protocol. If a helper needs a
 * paragraph to explain, it deserves a module of its own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* The caller has to look at the result: errors are values here, and a dropped one is a bug. */
#define must_use __attribute__((warn_unused_result))
#define noreturn_fn __attribute__((noreturn))
#define printf_like(fmt_idx, args_idx) __attribute__((format(printf, fmt_idx, args_idx)))
#define unused_arg __attribute__((unused))
#define never_inline __attribute__((noinline))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The unit of false sharing. Fields written by different threads stand on different lines. */
#define CACHE_LINE_SIZE 64
#define cache_aligned __attribute__((aligned(CACHE_LINE_SIZE)))

#define array_count(a) (sizeof(a) / sizeof((a)[0]))

/* From a member back to the struct that embeds it. `ptr` must not be NULL. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define min_of(a, b) ((a) < (b) ? (a) : (b))
#define max_of(a, b) ((a) > (b) ? (a) : (b))

/* Rounds `n` up to a multiple of `unit`, a power of two. */
static inline size_t round_up(size_t n, size_t unit) { return (n + unit - 1) & ~(unit - 1); }

static inline bool is_power_of_two(size_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* The smallest power of two that is not below `n`; n <= 2^63. */
static inline size_t power_of_two_above(size_t n) {
    size_t p = 1;
    while (p < n) p <<= 1;
    return p;
}

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

/* "Never" as an absolute time: later than any clock value. */
#define TIME_NEVER UINT64_MAX
