#include "core/epoch.h"

#include "core/check.h"

/* why: gcc warns that ThreadSanitizer does not model fences. The fences here order values only (the store of `seen`
 * against later loads); what TSan looks for, a happens-before from a reader's last read to the writer's reuse, is made
 * by the release stores and acquire loads of `seen`. */
#if defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

void epoch_init(struct epoch *epoch, unsigned readers_count) {
    CHECK(readers_count <= EPOCH_READERS_MAX);
    atomic_init(&epoch->global, 1); // 0 means away
    epoch->readers_count = readers_count;
    for (unsigned idx = 0; idx < EPOCH_READERS_MAX; idx++) atomic_init(&epoch->readers[idx].seen, 0);
}

void epoch_enter(struct epoch *epoch, unsigned idx) {
    DCHECK(idx < epoch->readers_count);
    uint64_t global = atomic_load_explicit(&epoch->global, memory_order_acquire);
    // why release: a writer that reads this value has to have the reads of before epoch_leave behind it, too
    atomic_store_explicit(&epoch->readers[idx].seen, global, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); // with the fence of epoch_stamp
}

void epoch_pass(struct epoch *epoch, unsigned idx) {
    DCHECK(idx < epoch->readers_count);
    _Atomic uint64_t *seen = &epoch->readers[idx].seen;
    DCHECK(atomic_load_explicit(seen, memory_order_relaxed) != 0);
    uint64_t global = atomic_load_explicit(&epoch->global, memory_order_acquire);
    // why look first: most passes have nothing new to say, and then the line stays shared
    if (atomic_load_explicit(seen, memory_order_relaxed) == global) return;
    atomic_store_explicit(seen, global, memory_order_release);
}

void epoch_leave(struct epoch *epoch, unsigned idx) {
    DCHECK(idx < epoch->readers_count);
    atomic_store_explicit(&epoch->readers[idx].seen, 0, memory_order_release);
}

uint64_t epoch_stamp(struct epoch *epoch) {
    uint64_t stamp = atomic_fetch_add_explicit(&epoch->global, 1, memory_order_seq_cst) + 1;
    /* A reader that comes back runs: store seen, fence, read. We run: unlink, fence, load seen. Whichever fence is
     * first, one of the two sees the other; a seq_cst increment alone would not promise that for other objects. */
    atomic_thread_fence(memory_order_seq_cst);
    return stamp;
}

bool epoch_is_past(const struct epoch *epoch, uint64_t stamp) {
    for (unsigned idx = 0; idx < epoch->readers_count; idx++) {
        uint64_t seen = atomic_load_explicit(&epoch->readers[idx].seen, memory_order_acquire);
        if (seen != 0 && seen < stamp) return false;
    }
    return true;
}
