#include "relay/presence.h"

#include "core/check.h"

void presence_write(struct presence *presence, const struct presence_event *event) {
    uint64_t n = atomic_load_explicit(&presence->ended, memory_order_relaxed);
    _Atomic uint64_t *to = presence->places[n % PRESENCE_EVENTS].words;
    uint64_t words[PRESENCE_EVENT_WORDS];
    memcpy(words, event, sizeof(words));
    // Relaxed: the words, stored with release behind it, carry it to whoever sees one of them.
    atomic_store_explicit(&presence->begun, n + 1, memory_order_relaxed);
    for (size_t i = 0; i < PRESENCE_EVENT_WORDS; i++) atomic_store_explicit(&to[i], words[i], memory_order_release);
    atomic_store_explicit(&presence->ended, n + 1, memory_order_release);
}

uint64_t presence_end(const struct presence *presence) {
    return atomic_load_explicit(&presence->ended, memory_order_acquire);
}

bool presence_is_lost(const struct presence *presence, uint64_t cursor) {
    return atomic_load_explicit(&presence->begun, memory_order_relaxed) - cursor > PRESENCE_EVENTS;
}

enum presence_result presence_read(const struct presence *presence, uint64_t *cursor, struct presence_event *ret) {
    const _Atomic uint64_t *from = presence->places[*cursor % PRESENCE_EVENTS].words;
    uint64_t words[PRESENCE_EVENT_WORDS], end = presence_end(presence);
    CHECK(*cursor <= end);
    if (*cursor == end) return PRESENCE_NONE;
    for (size_t i = 0; i < PRESENCE_EVENT_WORDS; i++) words[i] = atomic_load_explicit(&from[i], memory_order_acquire);
    if (presence_is_lost(presence, *cursor)) return PRESENCE_LOST;
    memcpy(ret, words, sizeof(words));
    (*cursor)++;
    return PRESENCE_EVENT;
}
