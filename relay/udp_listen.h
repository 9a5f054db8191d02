/* udp_listen.h - the sockets of all UDP workers, opened at the start (relay/udp.h says what they are for).
 *
 * Each worker has one of IPv4 and one of IPv6 on the relay's port, and one on the STUN port; those of all workers share
 * the port. IPv6 takes the number that IPv4 has got. Without IPv6 on the host, or when somebody else has that port of
 * IPv6, the relay does without it and says so. An address instead of a wildcard leaves one family.
 *
 * Threads: boot only. Errors: false with a sentence for the operator; what was opened then stays open, for a process
 * that ends.
 */
#pragma once

#include "core/limits.h"
#include "core/sys.h"
#include "relay/udp.h"

struct udp_listen_options {
    uint32_t workers_count;
    struct listen_address relay;
    struct listen_address stun;
    bool has_stun;
};

struct udp_sockets {
    int fds[LIMIT_WORKERS_MAX][UDP_PLACE_COUNT];  // -1: none
    struct net_address bound[UDP_PLACE_COUNT];    // port 0: none
};

/* `why`: at least 512 bytes. */
must_use bool udp_listen_all(const struct udp_listen_options *options, struct udp_sockets *ret, char *why);
