#include "relay/reach_scan.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static bool address_of(const struct sockaddr *from, struct net_address *ret) {
    struct sockaddr_storage storage = {0};
    if (from == NULL || (from->sa_family != AF_INET && from->sa_family != AF_INET6)) return false;
    memcpy(&storage, from, from->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    return net_address_from_kernel(&storage, ret) == 0;
}

/* Bits of a mask, of its own family. */
static uint8_t prefix_of(const struct sockaddr *from) {
    struct net_address mask;
    unsigned bits = 0;
    if (!address_of(from, &mask)) return 128;
    for (size_t i = from->sa_family == AF_INET ? 12 : 0; i < sizeof(mask.ip); i++) {
        bits += (unsigned)__builtin_popcount(mask.ip[i]);
    }
    return (uint8_t)bits;
}

int reach_scan(struct reach_link links[REACH_LINKS_MAX], size_t *count) {
    struct ifaddrs *all;
    *count = 0;
    if (getifaddrs(&all) != 0) return -errno;
    for (const struct ifaddrs *at = all; at && *count < REACH_LINKS_MAX; at = at->ifa_next) {
        struct reach_link *link = &links[*count];
        if (!address_of(at->ifa_addr, &link->address)) continue;
        snprintf(link->name, sizeof(link->name), "%s", at->ifa_name);
        link->flags = at->ifa_flags;
        link->address.port = 0;
        link->prefix = prefix_of(at->ifa_netmask);
        (*count)++;
    }
    freeifaddrs(all);
    return 0;
}
