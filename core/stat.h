/* stat.h - counters and gauges that one thread writes and any thread may read.
 *
 * A counter is a 64-bit relaxed atomic with a single writer, so adding is a plain load, add and store: no lock prefix,
 * no shared line (each thread's block of counters starts on a line of its own; relay/metrics.h holds the list).
 * Readers get a value that was true a moment ago. Sums over threads are made by the reader.
 * Sharing class: published.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

struct stat_counter {
    _Atomic uint64_t value;
};

/* Only by the owning thread. */
static inline void stat_add(struct stat_counter *counter, uint64_t n) {
    uint64_t value = atomic_load_explicit(&counter->value, memory_order_relaxed);
    atomic_store_explicit(&counter->value, value + n, memory_order_relaxed);
}

static inline void stat_sub(struct stat_counter *gauge, uint64_t n) { stat_add(gauge, (uint64_t)0 - n); }

static inline void stat_set(struct stat_counter *gauge, uint64_t value) {
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

/* By any thread. */
static inline uint64_t stat_get(const struct stat_counter *counter) {
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}
