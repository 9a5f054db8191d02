#include "perf/load/histogram.h"

#include "core/check.h"

enum { SUB_COUNT = 1 << HISTOGRAM_SUB_BITS };

void histogram_clear(struct histogram *h) {
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

/* Below SUB_COUNT each value has a bucket of its own; then SUB_COUNT buckets for each power of two, by the highest
 * HISTOGRAM_SUB_BITS + 1 bits of the value. */
static size_t bucket_of(uint64_t value) {
    if (value < SUB_COUNT) return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((size_t)shift << HISTOGRAM_SUB_BITS) + (size_t)(value >> shift);
}

static uint64_t middle_of(size_t bucket) {
    if (bucket < 2 * SUB_COUNT) return bucket;
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t low = (uint64_t)(bucket - ((size_t)shift << HISTOGRAM_SUB_BITS)) << shift;
    return low + (UINT64_C(1) << shift) / 2;
}

void histogram_add(struct histogram *h, uint64_t value) {
    uint64_t bounded = min_of(value, (UINT64_C(1) << HISTOGRAM_BITS) - 1);
    h->count++;
    h->min = min_of(h->min, value);
    h->max = max_of(h->max, value);
    h->buckets[bucket_of(bounded)]++;
}

uint64_t histogram_percentile(const struct histogram *h, unsigned permille_of_ten) {
    CHECK(permille_of_ten <= 10000);
    if (h->count == 0) return 0;
    uint64_t wanted = (h->count * permille_of_ten + 9999) / 10000;  // how many are not above it, at least one
    uint64_t so_far = 0;
    if (wanted >= h->count) return h->max;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        so_far += h->buckets[i];
        if (so_far > 0 && so_far >= wanted) return max_of(h->min, min_of(h->max, middle_of(i)));
    }
    return h->max;
}
