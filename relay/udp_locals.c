#include "relay/udp_locals.h"

#include "core/check.h"

static uint32_t find(const struct udp_locals *locals, const uint64_t words[2], uint32_t from, uint32_t count) {
    for (uint32_t i = from; i < count; i++) {
        if (atomic_load_explicit(&locals->ips[i][0], memory_order_relaxed) == words[0] &&
            atomic_load_explicit(&locals->ips[i][1], memory_order_relaxed) == words[1]) {
            return i + 1;
        }
    }
    return 0;
}

/* With the lock. What others have added meanwhile is looked at first. */
static uint32_t add(struct udp_locals *locals, const uint64_t words[2], uint32_t seen) {
    uint32_t count = atomic_load_explicit(&locals->count, memory_order_relaxed);
    uint32_t number = find(locals, words, seen, count);
    if (number != 0 || count == LIMIT_UDP_LOCALS) return number;
    for (int i = 0; i < 2; i++) atomic_store_explicit(&locals->ips[count][i], words[i], memory_order_relaxed);
    atomic_store_explicit(&locals->count, count + 1, memory_order_release);
    return count + 1;
}

uint16_t udp_locals_number(struct udp_locals *locals, const uint8_t ip[16]) {
    uint64_t words[2];
    memcpy(words, ip, sizeof(words));
    uint32_t count = atomic_load_explicit(&locals->count, memory_order_acquire);
    uint32_t number = find(locals, words, 0, count);
    // why no second try: whoever holds the lock adds an address, most likely this one; the next binding will have it
    if (number != 0 || atomic_exchange_explicit(&locals->lock, 1, memory_order_acquire) != 0) return (uint16_t)number;
    number = add(locals, words, count);
    atomic_store_explicit(&locals->lock, 0, memory_order_release);
    return (uint16_t)number;
}

void udp_locals_ip(const struct udp_locals *locals, uint16_t number, uint8_t ip[16]) {
    DCHECK(number > 0 && number <= atomic_load_explicit(&locals->count, memory_order_acquire));
    uint64_t words[2];
    for (int i = 0; i < 2; i++) words[i] = atomic_load_explicit(&locals->ips[number - 1][i], memory_order_relaxed);
    memcpy(ip, words, sizeof(words));
}
