/* chain.h - things that change hands between threads, linked through themselves: many producers, one consumer.
 *
 * What it is for: packets that cross from one worker to another, and their memory on its way home. Unlike a lane it
 * copies nothing and can never be full, because what travels brings its own link; who bounds how much may be under way
 * is the caller. A producer gathers a batch privately and hands it over with one atomic operation; the consumer takes
 * all that has come with another. Waking the consumer is not done here: ring_wake.
 *
 *     producer:  batch  [c]->[b]->[a]  --chain_push--> newest ->[c]->[b]->[a]->(what was there)
 *     consumer:  chain_take: everything, oldest first; what one producer pushed comes in the order of its pushing
 *
 * Sharing class: chain (many producers, one consumer; a thing in a chain belongs to nobody, then to the consumer).
 * Why it is correct: `newest` is the only shared word. A push writes the oldest link's `next` and then installs the
 * batch with a compare-and-swap of release order; a take empties the word with an exchange of acquire order, so it sees
 * everything that was written to the things before they were pushed. That holds for all of them, not only for those of
 * the last push: every push is a read-modify-write, so it continues the release sequences of the pushes it covers.
 * Nothing is ever removed from the middle, and a producer never looks behind the head: all it needs is that the word it
 * replaces is the one its oldest link points to, and the compare-and-swap says just that. Whether the same thing was
 * taken and pushed again in between makes no difference; the ABA problem is of those who pop one.
 * A push is retried only when another thread has changed the word, a producer or the consumer, or when the machine
 * fails a compare-and-swap for no reason, as some do: somebody always gets on (lock-free).
 * A take gives nothing back to producers: it is an acquire only. What travels home needs a chain of its own.
 * chain_has_mail is relaxed and entitles nobody to read anything. As the re-check before sleeping it is good because of
 * the fences in ring_doze and ring_wake.
 *
 * Memory: of what travels, which has to stay mapped as long as producers run (pools do). All zero is empty.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

/* Embedded in what travels. */
struct chain_link {
    struct chain_link *next;  // the one that was pushed before
};

struct chain {
    cache_aligned _Atomic(struct chain_link *) newest;
};

/* What a producer has gathered for one chain. All zero is empty. */
struct chain_batch {
    struct chain_link *newest;
    struct chain_link *oldest;
};

/* ---- producers ---- */

static inline void chain_batch_add(struct chain_batch *batch, struct chain_link *link) {
    link->next = batch->newest;
    batch->newest = link;
    if (batch->oldest == NULL) batch->oldest = link;
}

/* Hands the batch over, and empties it. True when there was something: then ring_wake the consumer, if it should look
 * soon. */
bool chain_push(struct chain *chain, struct chain_batch *batch);

/* ---- consumer ---- */

/* Everything that has come, oldest first and linked through `next`; NULL when nothing has. */
must_use struct chain_link *chain_take(struct chain *chain);

/* There is something to take. Usable as the re-check between ring_doze and ring_wait. */
bool chain_has_mail(struct chain *chain);
