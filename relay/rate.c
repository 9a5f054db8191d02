#include "relay/rate.h"

#include "core/check.h"

/* Bytes in 1/10^9: a time in ns times a rate, without loss. */
typedef unsigned __int128 nano_bytes;

struct rate_limit rate_limit_of(uint64_t bytes_per_s, uint64_t burst_bytes) {
    if (bytes_per_s == 0) return (struct rate_limit){0};
    return (struct rate_limit){
        .bytes_per_s = min_of(bytes_per_s, RATE_MAX),
        .burst_bytes = min_of(max_of(burst_bytes, (uint64_t)RATE_BURST_MIN), RATE_MAX),
    };
}

void rate_init(struct rate_bucket *bucket, const struct rate_limit *limit, uint64_t now_ns) {
    *bucket = (struct rate_bucket){0};
    if (limit->bytes_per_s == 0) return;
    CHECK(limit->bytes_per_s <= RATE_MAX);
    CHECK(limit->burst_bytes >= RATE_BURST_MIN && limit->burst_bytes <= RATE_MAX);
    bucket->bytes_per_s = limit->bytes_per_s;
    bucket->burst_bytes = limit->burst_bytes;
    bucket->refilled_ns = now_ns;
}

/* Counts what has come in since the last time. */
static void refill(struct rate_bucket *bucket, uint64_t now_ns) {
    if (now_ns <= bucket->refilled_ns) return;
    nano_bytes gained = (nano_bytes)(now_ns - bucket->refilled_ns) * bucket->bytes_per_s + bucket->fraction;
    bucket->refilled_ns = now_ns;
    if (gained >= (nano_bytes)bucket->missing_bytes * NS_PER_S) {
        bucket->missing_bytes = bucket->fraction = 0;  // what a full bucket is given runs over
        return;
    }
    bucket->missing_bytes -= (uint64_t)(gained / NS_PER_S);
    bucket->fraction = (uint64_t)(gained % NS_PER_S);
}

void rate_charge(struct rate_bucket *bucket, uint64_t cost, uint64_t now_ns) {
    if (bucket->bytes_per_s == 0) return;
    refill(bucket, now_ns);
    if (__builtin_add_overflow(bucket->missing_bytes, cost, &bucket->missing_bytes)) bucket->missing_bytes = UINT64_MAX;
}

uint64_t rate_wait_ns(const struct rate_bucket *bucket, uint64_t now_ns) {
    if (bucket->bytes_per_s == 0 || bucket->missing_bytes <= bucket->burst_bytes) return 0;
    nano_bytes debt = (nano_bytes)(bucket->missing_bytes - bucket->burst_bytes) * NS_PER_S - bucket->fraction;
    /* Rounded up: at that very nanosecond the debt is paid. */
    nano_bytes paid_ns = bucket->refilled_ns + (debt + bucket->bytes_per_s - 1) / bucket->bytes_per_s;
    if (paid_ns <= now_ns) return 0;
    return (uint64_t)min_of(paid_ns, (nano_bytes)TIME_NEVER) - now_ns;
}
