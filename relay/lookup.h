/* lookup.h - what the office's look-ups of names have in common: a channel of c-ares that nobody waits for.
 *
 * Why c-ares: relay/resolver.h. A channel reads /etc/resolv.conf and /etc/hosts when it is opened, so open one per
 * round of look-ups. Questions are asked with c-ares's own functions; answers come from inside of those, or of
 * lookup_process, which has to be called twenty times a second while there are questions.
 *
 * Threads: the office's. Memory: c-ares's heap. Errors: c-ares's status.
 */
#pragma once

#include <ares.h>

#include "core/base.h"
#include "core/sys.h"

enum { LOOKUP_POLL_MS = 50 };

/* `servers`: "127.0.0.1:5353", for tests; NULL: the system's. ARES_SUCCESS, or why not: then nothing is open. */
must_use int lookup_open(ares_channel *ret, const char *servers);

/* Looks at what has come, and at what is late. Never waits. */
void lookup_process(ares_channel channel);

/* Of an answer. */
struct net_address lookup_address(const struct sockaddr *from);
