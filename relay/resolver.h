/* resolver.h - the office's look-ups for /bootstrap-dns: two lists of names, at the start and every ten minutes.
 *
 * Why c-ares: it is the asynchronous resolver of the distributions. getaddrinfo would stop the office, and with it all
 * log lines, for as long as a name server is silent; getaddrinfo_a starts threads of its own and knows no TXT records.
 * c-ares asks without waiting: resolver_step looks at its sockets and goes on. It reads /etc/resolv.conf and
 * /etc/hosts anew for each round. nsswitch.conf's other sources are not asked.
 *
 * Model: one list after the other, one name after the other, at most a minute per list; a name that does not resolve
 * is left out (and logged), one whose percentage does not is told to nobody. Each finished list is a new table, which
 * becomes the caller's. While look-ups are under way the office looks twenty times a second, otherwise it sleeps.
 *
 * Threads: the office's. Memory: c-ares's heap and one table per list in the making. Errors: logged; the last table
 * stays in use when a whole round cannot begin.
 */
#pragma once

#include "relay/bootstrap.h"

struct resolver;

struct resolver_options {
    const char *published;  // the lists, as the flags have them; NULL or "": none. They outlive the resolver.
    const char *hidden;
    const char *servers;    // "127.0.0.1:5353", for tests; NULL: the system's
};

/* NULL when there is nothing to resolve. For the thread that starts the house; the heap's. */
must_use struct resolver *resolver_new(const struct resolver_options *options, struct rng *rng, uint64_t now_ns);

/* Goes on. Returns when to come again; *ret is a finished table, for the caller to free, or NULL. */
must_use uint64_t resolver_step(struct resolver *r, uint64_t now_ns, struct bootstrap_table **ret);

/* `r` may be NULL. */
void resolver_free(struct resolver *r);
