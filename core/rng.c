#include "core/rng.h"

#include <sodium.h>

#include "core/check.h"

_Static_assert(RNG_SEED_SIZE == crypto_stream_chacha20_KEYBYTES, "the seed is the key of the stream");
_Static_assert(sizeof(uint64_t) == crypto_stream_chacha20_NONCEBYTES, "the position is its nonce");

/* Little-endian on every machine, so that a seed replays the same run everywhere. */
static void store_le64(uint8_t *to, uint64_t v) {
    for (unsigned i = 0; i < 8; i++) to[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t load_le64(const uint8_t *from) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) v |= (uint64_t)from[i] << (8 * i);
    return v;
}

void rng_init_system(struct rng *rng) { *rng = (struct rng){.is_seeded = false}; }

void rng_init_seeded(struct rng *rng, uint64_t seed) {
    *rng = (struct rng){.is_seeded = true};
    store_le64(rng->seed, seed);
}

void rng_bytes(struct rng *rng, void *to, size_t size) {
    if (!rng->is_seeded) {
        randombytes_buf(to, size);
        return;
    }
    uint8_t nonce[8];
    store_le64(nonce, rng->position++);
    CHECK(crypto_stream_chacha20(to, size, nonce, rng->seed) == 0);
}

uint64_t rng_u64(struct rng *rng) {
    uint8_t bytes[8];
    rng_bytes(rng, bytes, sizeof(bytes));
    return load_le64(bytes);
}

uint64_t rng_below(struct rng *rng, uint64_t bound) {
    CHECK(bound > 0);
    // why draw again below 2^64 mod bound: what remains is a whole multiple of bound, so every result is equally likely
    uint64_t unfair = (0 - bound) % bound;
    uint64_t drawn;
    do drawn = rng_u64(rng);
    while (drawn < unfair);
    return drawn % bound;
}
