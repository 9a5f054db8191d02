/* reach_stun.h - questions to STUN servers by the UDP relay's own sockets, and which answers are answers.
 *
 * The office asks, a UDP worker sends, and the answer comes to whichever UDP worker the kernel chooses. None of them
 * keeps a list of questions: a transaction proves itself.
 *
 *     counter, 4 bytes | SipHash of (counter, address of the server), 8 bytes
 *
 * The hash is keyed with a secret of this start, so nobody can make one who has not seen one; and it names the server,
 * so one server's question is no licence for another address. Counters outside of the round under way are refused, too:
 * between rounds nothing passes, and an old answer is worth nothing. What is left to a stranger is to see a question on
 * its way and to answer first from a forged address; whoever can do that can drop the answer as well.
 *
 * Sharing class: published. The office opens and closes rounds; any thread checks. Memory: the caller's.
 * Why it is correct: the secret is frozen before threads start, and the bounds of a round are one word.
 */
#pragma once

#include "core/rng.h"
#include "core/stat.h"
#include "core/sys.h"
#include "proto/stun.h"

/* What office and UDP workers tell each other. */
struct reach_mail {
    struct net_address address;
    uint8_t transaction[STUN_TRANSACTION_SIZE];
};

struct reach_stun {
    uint8_t secret[16];  // frozen
    struct stat_counter round;  // counters of the one under way: the first, above the end
};

void reach_stun_init(struct reach_stun *stun, struct rng *rng);

/* The office's: answers to questions with these counters pass from now on, and no others. Equal: none. */
void reach_stun_open(struct reach_stun *stun, uint32_t first, uint32_t end);

/* The transaction of a question to this server, into STUN_TRANSACTION_SIZE bytes. */
void reach_stun_transaction(const struct reach_stun *stun, uint32_t counter, const struct net_address *server,
                            uint8_t *to);

/* Is it the answer to a question that was put to `server`, where it came from? Then *ret has what the server saw. A few
 * compares for what has no counter of this round, one SipHash else. */
must_use bool reach_stun_check(const struct reach_stun *stun, const void *bytes, size_t size,
                               const struct net_address *server, struct reach_mail *ret);

uint32_t reach_stun_counter(const uint8_t *transaction);
