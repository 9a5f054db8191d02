/* accept_limit.h - how many connections may be accepted: derper's -accept-connection-limit and -burst.
 *
 * A bucket of `burst` tokens that fills up at `per_s`; each connection takes one. Without a whole token it is closed at
 * once: that frees the kernel, and tells the client to come again later. Threads: of whoever accepts. Pure arithmetic.
 */
#pragma once

#include "core/base.h"

struct accept_limit {
    double per_s;
    double burst;
    double tokens;
    uint64_t filled_ns;
    bool is_limited;
};

/* Full. An infinite rate is no limit. */
static inline struct accept_limit accept_limit_of(double per_s, double burst, uint64_t now_ns) {
    return (struct accept_limit){per_s, burst, burst, now_ns, !__builtin_isinf(per_s)};
}

must_use static inline bool accept_limit_take(struct accept_limit *limit, uint64_t now_ns) {
    if (!limit->is_limited) return true;
    double seconds = now_ns > limit->filled_ns ? (double)(now_ns - limit->filled_ns) / (double)NS_PER_S : 0;
    limit->tokens = min_of(limit->burst, limit->tokens + seconds * limit->per_s);
    limit->filled_ns = max_of(limit->filled_ns, now_ns);
    if (limit->tokens < 1) return false;
    limit->tokens -= 1;
    return true;
}
