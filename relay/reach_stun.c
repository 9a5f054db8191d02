#include "relay/reach_stun.h"

#include <sodium.h>

#include "core/bytes.h"
#include "core/check.h"

enum { TRANSACTION_AT = 8, HEADER_SIZE = 20, COUNTER_SIZE = 4, HASH_SIZE = crypto_shorthash_BYTES };

_Static_assert((int)COUNTER_SIZE + (int)HASH_SIZE == (int)STUN_TRANSACTION_SIZE, "a counter and a hash");

void reach_stun_init(struct reach_stun *stun, struct rng *rng) {
    rng_bytes(rng, stun->secret, sizeof(stun->secret));
    reach_stun_open(stun, 0, 0);
}

void reach_stun_open(struct reach_stun *stun, uint32_t first, uint32_t end) {
    stat_set(&stun->round, (uint64_t)first << 32 | end);
}

static bool is_open(const struct reach_stun *stun, uint32_t counter) {
    uint64_t round = stat_get(&stun->round);
    uint32_t first = (uint32_t)(round >> 32), end = (uint32_t)round;
    return counter - first < end - first;
}

void reach_stun_transaction(const struct reach_stun *stun, uint32_t counter, const struct net_address *server,
                            uint8_t *to) {
    uint8_t bytes[COUNTER_SIZE + sizeof(server->ip) + 2];
    struct writer w = writer_of(bytes, sizeof(bytes));
    writer_be32(&w, counter);
    writer_copy(&w, server->ip, sizeof(server->ip));
    writer_be16(&w, server->port);
    CHECK(writer_ok(&w) && writer_left(&w) == 0);
    store_be32(to, counter);
    crypto_shorthash(to + COUNTER_SIZE, bytes, sizeof(bytes), stun->secret);
}

uint32_t reach_stun_counter(const uint8_t *transaction) { return load_be32(transaction); }

bool reach_stun_check(const struct reach_stun *stun, const void *bytes, size_t size, const struct net_address *server,
                      struct reach_mail *ret) {
    if (size < HEADER_SIZE) return false;
    uint32_t counter = reach_stun_counter((const uint8_t *)bytes + TRANSACTION_AT);
    if (!is_open(stun, counter)) return false;
    reach_stun_transaction(stun, counter, server, ret->transaction);
    return stun_answer_parse(bytes, size, ret->transaction, &ret->address);
}
