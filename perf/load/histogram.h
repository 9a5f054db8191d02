/* histogram.h - latencies in buckets of equal relative width.
 *
 * Log-linear: 128 buckets for each power of two, so a bucket is at most 1/128 (0.8 %) wide, and the middle of it is
 * reported. Values up to 2^HISTOGRAM_BITS ns (73 minutes); larger ones count as that. Minimum and maximum are exact.
 * Adding is two shifts and an increment; nothing is allocated.
 *
 * Threads: a value of its owner. Memory: 34 KB. Errors: none.
 */
#pragma once

#include "core/base.h"

enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_BITS = 42,
    HISTOGRAM_BUCKETS = (HISTOGRAM_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
    uint64_t count;
    uint64_t min, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);

/* The value that `permille_of_ten` / 10000 of all are not above: 5000 is the median, 9990 is p99.9. 0 when empty. Never
 * outside of [min, max]. */
must_use uint64_t histogram_percentile(const struct histogram *h, unsigned permille_of_ten);
