/* reach.h - where the UDP relay can be reached: what clients of an endpoint are told (docs/udp-relay.md, "Addresses").
 *
 * Three sources: what the operator has named (-relay-static-endpoints), the addresses of the host's interfaces, and
 * what STUN servers (-relay-stun-servers) say that they see. The last is asked from a socket of the relay itself,
 * because a NAT gives each socket an address of its own: the office writes which server to ask, UDP worker 0 sends,
 * whichever UDP worker gets the answer judges it without any list (relay/reach_stun.h) and mails it back.
 *
 * Rounds: at the start, five seconds later, and then every 20 to 26 seconds at random, as NATs forget a mapping after
 * 30. In a round the interfaces are read, and each server is asked up to three times, a second apart, at its first
 * address of each family that the relay has a socket of. Names are looked up anew each round; one that cannot be looked
 * up is asked where it was before. What is believed for how long: relay/reach_book.h.
 *
 * Of one family's answers in a round: the first server's, in the order of the flag, and what two or more servers saw
 * alike. Others are the work of a NAT that maps by destination, and of no use to clients. When IPv4 answers differ, the
 * public address with the relay's own port is told, too: whoever has such a NAT has perhaps forwarded that port.
 *
 * What clients are told: the operator's in his order, then STUN's, then the interfaces', each as found, without
 * repetition; at most ALLOCATOR_ADDRESSES_MAX. One line of log when it changes. A socket that is bound to one address
 * of this host has no other: then interfaces are not read.
 *
 * Threads: the office's, but for reach_stun. Memory: reach_footprint, from an arena; look-ups take some of the heap.
 * Errors: logged, at a limited rate; what was known stays. Nothing here waits but for netlink.
 */
#pragma once

#include "core/arena.h"
#include "core/lane.h"
#include "relay/allocator.h"
#include "relay/mail.h"
#include "relay/reach_list.h"
#include "relay/reach_pick.h"
#include "relay/reach_stun.h"

enum { REACH_MAIL_ITEMS = 32 };  // of its lanes: a round's questions, and as many answers

struct reach_options {
    struct reach_fixed fixed;
    struct reach_servers servers;
    struct reach_ports ports;     // as bound
    struct listen_address where;  // to what the relay's sockets are bound
    bool has_no_discovery;        // only `fixed`
    const char *name_servers;     // "127.0.0.1:5353", for tests; NULL: the system's
    int (*scan)(struct reach_link *links, size_t *count);  // for tests; NULL: reach_scan
};

struct reach_links {
    struct allocator *allocator;
    struct lane *to_udp;  // to UDP worker 0; whoever calls reach_step flushes it. NULL: no STUN servers are asked
};

struct reach;

size_t reach_footprint(void);

/* Tells the allocator what the operator has named; the rest comes with the first step. `rng` is the office's. */
struct reach *reach_make(struct arena *arena, const struct reach_options *options, const struct reach_links *links,
                         struct rng *rng, uint64_t now_ns);

/* NULL is fine. */
void reach_fini(struct reach *reach);

/* For UDP workers: what is an answer. */
const struct reach_stun *reach_stun(const struct reach *reach);

/* Goes on; returns when to come again. */
must_use uint64_t reach_step(struct reach *reach, uint64_t now_ns);

/* An answer, from a UDP worker (MAIL_STUN_SEEN). Then call reach_step. */
void reach_on_seen(struct reach *reach, const struct reach_mail *mail);
