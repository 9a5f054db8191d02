/* reach_pick.h - which addresses of this host's interfaces are worth telling to clients.
 *
 * An address is told when its interface is up and no loopback, and it is not of Tailscale's own ranges: packets of the
 * relay must not go through the tunnel that they carry. Interfaces of ZeroTier ("zt...") are left out for the same
 * reason, as the reference does. Of one subnet of IPv6 two are told: hosts have been seen with thousands. Link-local
 * addresses of IPv4 and unique local ones of IPv6 are told only when there is nothing else, as inside of some clouds;
 * link-local ones of IPv6 never, as they mean nothing without an interface.
 *
 * Order is the kernel's, which lists interfaces as they were made: the machine's own come before bridges of containers.
 * So the first REACH_PICK_PER_FAMILY of each family are kept. A family without a socket has no addresses.
 *
 * Threads: pure functions. Memory: the caller's.
 */
#pragma once

#include "relay/reach_list.h"

enum {
    REACH_PICK_PER_FAMILY = 8,
    REACH_PICK_MAX = 2 * REACH_PICK_PER_FAMILY,
    REACH_PICK_PER_SUBNET = 2,  // IPv6
};

/* One address of an interface. */
struct reach_link {
    char name[16];
    unsigned flags;  // IFF_UP, IFF_LOOPBACK
    struct net_address address;  // port unused
    uint8_t prefix;  // bits of the subnet: of 32 for IPv4, of 128 for IPv6
};

/* Returns how many. */
size_t reach_pick(const struct reach_link *links, size_t count, const struct reach_ports *ports,
                  struct net_address ret[REACH_PICK_MAX]);

/* Of what a STUN server says: could a client anywhere send to it? */
bool reach_is_public_enough(const struct net_address *address);
