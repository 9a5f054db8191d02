#include "core/chain.h"

bool chain_push(struct chain *chain, struct chain_batch *batch) {
    if (batch->newest == NULL) return false;
    struct chain_link *head = atomic_load_explicit(&chain->newest, memory_order_relaxed);
    do {
        batch->oldest->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&chain->newest, &head, batch->newest, memory_order_release,
                                                    memory_order_relaxed));
    *batch = (struct chain_batch){0};
    return true;
}

struct chain_link *chain_take(struct chain *chain) {
    if (!chain_has_mail(chain)) return NULL;
    struct chain_link *link = atomic_exchange_explicit(&chain->newest, NULL, memory_order_acquire);
    struct chain_link *oldest = NULL;
    while (link) {
        struct chain_link *next = link->next;
        link->next = oldest;
        oldest = link;
        link = next;
    }
    return oldest;
}

bool chain_has_mail(struct chain *chain) { return atomic_load_explicit(&chain->newest, memory_order_relaxed) != NULL; }
