/* vni_endpoint.h - one slot of the table of endpoints, and how it is read and changed: for relay/vni*.c alone.
 *
 *     line 0      life, sequence, both bound addresses: all that a packet reads
 *     line 1, 2   what a packet writes: counters of leg 0, of leg 1
 *     line 3      the handshake: lock, generations, Answers taken
 *     line 4, 5   keys: written before `life`, then read
 *     line 6      the owner's
 *
 * Who writes what:
 *     life, keys, shared keys   the owner. life is set after them and cleared before them.
 *     lock                      whoever takes it
 *     sequence, bound, line 3   whoever holds the lock
 *     counters                  any worker, by atomic adds; the owner clears them while life is 0
 *
 * Why reading is correct. All words are atomic, stored with release and loaded with acquire (as in relay/presence.h:
 * the order is in the words, not in fences). Keys: who loads life = L (acquire) sees no word older than L. If a word is
 * newer, its load makes the clearing of life visible, which came before it, and the second look at life finds another
 * value; L never comes back. The pair: the same with `sequence`, odd while it is being written. The second look at life
 * behind the pair says whose pair it was.
 * Why the lock suffices against the owner: it clears life while it holds the lock, and whoever takes the lock looks at
 * life before anything else. So nobody binds a leg of an endpoint that is gone, or of the next one in its slot.
 * What is not prevented: a worker that is put aside between vni_far_end and vni_count for longer than an endpoint takes
 * to end and its slot to be used again counts a run for the new one.
 */
#pragma once

#include <sched.h>
#include <stdatomic.h>

#include "core/base.h"
#include "relay/vni.h"

enum {
    VNI_BITS = 24,
    VNI_MASK = (1 << VNI_BITS) - 1,
    VNI_ADDRESS_WORDS = sizeof(struct vni_address) / sizeof(uint64_t),
    VNI_PAIR_WORDS = 2 * VNI_ADDRESS_WORDS,
    VNI_KEY_WORDS = sizeof(struct disco_key) / sizeof(uint64_t),
    VNI_ANSWERS_KEPT = 3,
    VNI_SPINS = 100,    // about 5 us: far longer than anybody who runs needs
    VNI_YIELDS = 1000,  // then the processor is offered to whoever was put aside in the middle; some 0.3 ms alone
};

_Static_assert(VNI_ADDRESS_WORDS * sizeof(uint64_t) == sizeof(struct vni_address), "an address is whole words");
_Static_assert(VNI_SHARED_KEY_SIZE == sizeof(struct disco_key), "keys have one size");

struct vni_leg {
    cache_aligned _Atomic uint64_t packets;
    _Atomic uint64_t bytes;
    _Atomic uint64_t last_seen_ns;
};

struct vni_endpoint {
    cache_aligned _Atomic uint64_t life;  // Lamport id << 24 | VNI; 0: free
    _Atomic uint64_t sequence;            // of the pair
    _Atomic uint64_t bound[VNI_PAIR_WORDS];

    struct vni_leg legs[2];

    cache_aligned _Atomic uint32_t lock;
    _Atomic uint32_t in_progress[2];  // generation of the handshake; 0: none
    bool is_replaced;  // the owner's: no pair has it any more
    uint64_t answers[2][VNI_ANSWERS_KEPT];  // nonce marks, the newest first

    cache_aligned _Atomic uint64_t keys[2][VNI_KEY_WORDS];
    _Atomic uint64_t shared_keys[2][VNI_KEY_WORDS];

    cache_aligned struct wheel_timer timer;
    uint64_t promised_ns;  // not before this
    uint64_t tag;
    uint64_t allocated_ns;
    uint32_t lives;      // of the slot, so far
    uint32_t pair_next;  // slot + 1
};

_Static_assert(sizeof(struct vni_endpoint) == 7 * CACHE_LINE_SIZE, "said in vni.h");

static inline uint64_t vni_life_of(uint64_t lamport, uint32_t vni) { return lamport << VNI_BITS | vni; }
static inline uint32_t vni_life_vni(uint64_t life) { return (uint32_t)life & VNI_MASK; }
static inline uint64_t vni_life_lamport(uint64_t life) { return life >> VNI_BITS; }

static inline uint64_t vni_life(const struct vni_endpoint *endpoint) {
    return atomic_load_explicit(&endpoint->life, memory_order_acquire);
}

/* The second look, after words were loaded. */
static inline bool vni_still_lives(const struct vni_endpoint *endpoint, uint64_t life) {
    return atomic_load_explicit(&endpoint->life, memory_order_relaxed) == life;
}

/* The endpoint with this VNI and its life, or NULL. */
static inline struct vni_endpoint *vni_lookup(const struct vni_table *table, uint32_t vni, uint64_t *ret_life) {
    struct vni_endpoint *endpoint = &table->slots[vni & table->slot_mask];
    *ret_life = vni_life(endpoint);
    return vni != 0 && vni_life_vni(*ret_life) == vni ? endpoint : NULL;
}

static inline void vni_words_load(const _Atomic uint64_t *from, uint64_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = atomic_load_explicit(&from[i], memory_order_acquire);
}

static inline void vni_words_store(_Atomic uint64_t *to, const uint64_t *from, size_t count) {
    for (size_t i = 0; i < count; i++) atomic_store_explicit(&to[i], from[i], memory_order_release);
}

static inline void vni_key_load(const _Atomic uint64_t *from, void *to) {
    uint64_t words[VNI_KEY_WORDS];
    vni_words_load(from, words, VNI_KEY_WORDS);
    memcpy(to, words, sizeof(words));
}

static inline void vni_key_store(_Atomic uint64_t *to, const void *from) {
    uint64_t words[VNI_KEY_WORDS];
    memcpy(words, from, sizeof(words));
    vni_words_store(to, words, VNI_KEY_WORDS);
}

static inline void vni_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Between two tries. why it may yield: two workers may share a processor, and then the one that waits keeps the other
 * from finishing. An Answer that is dropped for that is not sent again by its client. */
static inline void vni_wait(int tries) {
    if (tries < VNI_SPINS) vni_pause();
    else sched_yield();
}

/* A whole pair, of which life is for the caller to ask. False: it was being written all the time. */
static inline bool vni_pair_load(const struct vni_endpoint *endpoint, struct vni_address pair[2]) {
    for (int i = 0; i < VNI_SPINS + VNI_YIELDS; i++) {
        uint64_t words[VNI_PAIR_WORDS];
        uint64_t sequence = atomic_load_explicit(&endpoint->sequence, memory_order_acquire);
        vni_words_load(endpoint->bound, words, VNI_PAIR_WORDS);
        bool is_whole = atomic_load_explicit(&endpoint->sequence, memory_order_relaxed) == sequence;
        if (likely(is_whole && !(sequence & 1))) {
            memcpy(pair, words, sizeof(words));
            return true;
        }
        vni_wait(i);
    }
    return false;
}

/* With the lock. */
static inline void vni_pair_store(struct vni_endpoint *endpoint, const struct vni_address pair[2]) {
    uint64_t words[VNI_PAIR_WORDS];
    uint64_t sequence = atomic_load_explicit(&endpoint->sequence, memory_order_relaxed);
    memcpy(words, pair, sizeof(words));
    atomic_store_explicit(&endpoint->sequence, sequence + 1, memory_order_relaxed);
    vni_words_store(endpoint->bound, words, VNI_PAIR_WORDS);
    atomic_store_explicit(&endpoint->sequence, sequence + 2, memory_order_release);
}

static inline bool vni_pair_is_open(const struct vni_address pair[2]) { return pair[0].port && pair[1].port; }

must_use static inline bool vni_lock(struct vni_endpoint *endpoint) {
    for (int i = 0; i < VNI_SPINS + VNI_YIELDS; i++) {
        uint32_t is_free = 0;
        if (atomic_compare_exchange_weak_explicit(&endpoint->lock, &is_free, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return true;
        }
        vni_wait(i);
    }
    return false;
}

static inline void vni_unlock(struct vni_endpoint *endpoint) {
    atomic_store_explicit(&endpoint->lock, 0, memory_order_release);
}
