/* reach_scan.h - the addresses of this host's interfaces, as the kernel has them now.
 *
 * Threads: may wait for the kernel's answer (netlink); the office's. Memory: the caller's, and for a moment the heap's.
 */
#pragma once

#include "relay/reach_pick.h"

enum { REACH_LINKS_MAX = 256 };

/* In the kernel's order; what is beyond REACH_LINKS_MAX is left out. Negative errno when it cannot be had. */
must_use int reach_scan(struct reach_link links[REACH_LINKS_MAX], size_t *count);
