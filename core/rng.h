/* rng.h - where randomness comes from.
 *
 * Randomness is a parameter (law L5): code that needs it takes a `struct rng *`. In the daemon it is libsodium's
 * system generator; in tests and in the simulator it is a stream derived from a seed, so that a run replays exactly.
 * Threads: one struct rng per thread. Errors: none; the system generator aborts when the kernel refuses.
 */
#pragma once

#include "core/base.h"

#define RNG_SEED_SIZE 32

struct rng {
    bool is_seeded;
    uint8_t seed[RNG_SEED_SIZE];
    uint64_t position; // seeded: number of draws so far, the nonce of the next
};

/* The system generator. sodium_init() must have succeeded before (sys_init does it). */
void rng_init_system(struct rng *rng);

/* A reproducible stream: equal seeds and equal calls give equal bytes. Never for keys that leave a test. */
void rng_init_seeded(struct rng *rng, uint64_t seed);

void rng_bytes(struct rng *rng, void *to, size_t size);

uint64_t rng_u64(struct rng *rng);

/* Uniform in [0, bound); bound > 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);
