/* rate.h - how much one client may send: a token bucket that may go into debt. Pure arithmetic, no connection in sight.
 *
 * Model. Tokens are bytes. They come in at `bytes_per_s` until the bucket holds `burst_bytes`; it starts full. Each
 * frame that came in is charged, whatever there is, so a bucket may be in debt. Who is in debt is not read from until
 * the debt is paid; nothing is thrown away, the rest of the stream waits in the kernel and in the sender:
 *
 *     received bytes --> each frame: rate_charge(bucket, rate_cost(length), now_ns)
 *                    --> after the receive: rate_wait_ns(bucket, now_ns) > 0: pause reading for that long
 *
 * So in any span of time what is charged stays within the rate, one burst, and what one read charged beyond. The
 * reference (derper) waits in front of the frame that does not fit; here it is let through and the wait comes behind
 * it, because it has been received already and would need memory while it waited.
 *
 * Exact: what has come in is kept to 1/10^9 of a byte, so neither the length of the steps nor their number matters.
 * Any rate and burst up to RATE_MAX, any cost, and any two times work: products have 128 bits, sums saturate. A time
 * before one seen earlier is taken for "no time has passed".
 *
 * Threads: of whoever owns the connection. Memory: plain integers, so that a connection can be handed over; times are
 * those of sys_clock_ns(), the same in all threads and processes of a machine. Errors: none.
 */
#pragma once

#include "core/base.h"
#include "proto/derp.h"

#define RATE_COST_MAX DERP_SEND_LENGTH_MAX  // a full SendPacket; a frame that says it is longer closes the connection
#define RATE_BURST_MIN RATE_COST_MAX  // so that every frame fits into a full bucket
#define RATE_MAX (1ull << 62)  // bytes, and bytes per second

/* What an operator grants to each client. */
struct rate_limit {
    uint64_t bytes_per_s;  // 0: no limit
    uint64_t burst_bytes;  // RATE_BURST_MIN to RATE_MAX; 0 when there is no limit
};

/* All zero: no limit. */
struct rate_bucket {
    uint64_t bytes_per_s;  // 0: no limit, and all the others are 0
    uint64_t burst_bytes;  // what it holds when it is full
    uint64_t missing_bytes;  // what it lacks to be full; more than burst_bytes: it is in debt
    uint64_t fraction;  // of the next byte, in 1/10^9: this much of it has come in
    uint64_t refilled_ns;  // until then what came in is counted
};

/* The limit that is meant by two numbers as they come: without a rate none at all, else the burst raised to
 * RATE_BURST_MIN and both cut to RATE_MAX. */
struct rate_limit rate_limit_of(uint64_t bytes_per_s, uint64_t burst_bytes);

/* A full bucket. `limit` is one that rate_limit_of makes (CHECK). */
void rate_init(struct rate_bucket *bucket, const struct rate_limit *limit, uint64_t now_ns);

/* What a frame costs whose header says `length`. The header itself is free, as with derper. */
static inline uint64_t rate_cost(uint32_t length) { return min_of(length, (uint32_t)RATE_COST_MAX); }

/* Takes `cost` tokens, whether they are there or not. */
void rate_charge(struct rate_bucket *bucket, uint64_t cost, uint64_t now_ns);

/* How long until the debt is paid, to the nanosecond; 0: may read. now_ns + the result is at most TIME_NEVER. */
must_use uint64_t rate_wait_ns(const struct rate_bucket *bucket, uint64_t now_ns);
