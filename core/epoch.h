/* epoch.h - when may memory that lock-free readers could still see be used again?
 *
 * Quiescent-state reclamation. Readers are loop threads: between two passes a thread holds no reference into published
 * structures. Each reader says so once per pass (epoch_pass) and when it goes to sleep or wakes (epoch_leave,
 * epoch_enter). The one writer takes a stamp after it has unlinked something and may reuse the memory when every
 * reader has passed, or was away, since the stamp.
 *
 * Sharing class: published. `global` is written by the writer thread only, each `seen` by its reader only.
 * Why it is correct: the writer unlinks, then increments `global` (seq_cst) and takes the new value as stamp. A reader
 * that stored seen >= stamp loaded `global` after the increment, and so every later read of it sees the unlinking. A
 * reader that is away stored 0 with release after its last read; on coming back it stores seen and fences (seq_cst)
 * before its first read, so it either is seen by the writer or sees the unlinking.
 * Readers never wait. The writer never waits either: it asks again later.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

#define EPOCH_READERS_MAX 72

struct epoch_reader {
    cache_aligned _Atomic uint64_t seen; // 0: away
};

struct epoch {
    cache_aligned _Atomic uint64_t global;
    unsigned readers_count; // frozen
    struct epoch_reader readers[EPOCH_READERS_MAX];
};

/* All readers start away. readers_count <= EPOCH_READERS_MAX. */
void epoch_init(struct epoch *epoch, unsigned readers_count);

/* ---- reader `idx` ---- */
void epoch_enter(struct epoch *epoch, unsigned idx);
void epoch_pass(struct epoch *epoch, unsigned idx);
void epoch_leave(struct epoch *epoch, unsigned idx);

/* ---- writer ---- */

/* To be called after unlinking; what was unlinked may be reused once epoch_is_past(stamp). */
must_use uint64_t epoch_stamp(struct epoch *epoch);
must_use bool epoch_is_past(const struct epoch *epoch, uint64_t stamp);
