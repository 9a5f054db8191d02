#include "relay/reach_pick.h"

#include <net/if.h>

enum { IPV4_AT = 12, MAPPED_BITS = 8 * IPV4_AT };

/* ---- ranges ---- */

struct range {
    uint8_t ip[16];
    unsigned bits;
};

#define IPV4_RANGE(a, b, bits) {{[10] = 0xff, [11] = 0xff, [12] = (a), [13] = (b)}, MAPPED_BITS + (bits)}

static const struct range tailscale4 = IPV4_RANGE(100, 64, 10);
static const struct range tailscale6 = {{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0}, 48};
static const struct range loopback4 = IPV4_RANGE(127, 0, 8);
static const struct range loopback6 = {{[15] = 1}, 128};
static const struct range this_host4 = IPV4_RANGE(0, 0, 8);
static const struct range unspecified6 = {{0}, 128};
static const struct range reserved4 = IPV4_RANGE(224, 0, 3);  // multicast, what is reserved, broadcast
static const struct range multicast6 = {{0xff}, 8};
static const struct range link_local4 = IPV4_RANGE(169, 254, 16);
static const struct range link_local6 = {{0xfe, 0x80}, 10};
static const struct range unique_local6 = {{0xfc}, 7};

static bool is_prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits) {
    uint8_t mask = (uint8_t)(0xff00 >> bits % 8);
    return memcmp(a, b, bits / 8) == 0 && (mask == 0 || ((a[bits / 8] ^ b[bits / 8]) & mask) == 0);
}

static bool is_in(const struct net_address *address, const struct range *range) {
    return is_prefix_equal(address->ip, range->ip, range->bits);
}

static bool is_in_any(const struct net_address *address, const struct range *const *ranges, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (is_in(address, ranges[i])) return true;
    }
    return false;
}

bool reach_is_public_enough(const struct net_address *address) {
    static const struct range *const never[] = {&this_host4, &unspecified6, &reserved4,   &multicast6,
                                                &loopback4,  &loopback6,    &link_local6, &link_local4};
    return address->port != 0 && !is_in_any(address, never, array_count(never));
}

/* ---- interfaces ---- */

static bool is_usable(const struct reach_link *link) {
    static const struct range *const never[] = {&tailscale4,   &tailscale6, &loopback4,  &loopback6,  &this_host4,
                                                &unspecified6, &reserved4,  &multicast6, &link_local6};
    bool is_up = (link->flags & IFF_UP) && !(link->flags & IFF_LOOPBACK) && strncmp(link->name, "zt", 2) != 0;
    return is_up && !is_in_any(&link->address, never, array_count(never));
}

static bool is_last_resort(const struct reach_link *link) {
    return is_in(&link->address, &link_local4) || is_in(&link->address, &unique_local6);
}

/* Usable addresses in front of this one that are of its subnet: on the same interface, by its own prefix. */
static size_t neighbours_before(const struct reach_link *links, size_t idx) {
    const struct reach_link *link = &links[idx];
    size_t count = 0;
    for (size_t i = 0; i < idx; i++) {
        bool is_neighbour = links[i].prefix == link->prefix && strcmp(links[i].name, link->name) == 0 &&
                            !net_address_is_ipv4(&links[i].address) &&
                            is_prefix_equal(links[i].address.ip, link->address.ip, link->prefix);
        count += is_neighbour && is_usable(&links[i]);
    }
    return count;
}

struct picked {
    struct net_address *list;
    size_t count;
    size_t families[2];
};

static void pick_one(struct picked *picked, const struct net_address *ip, const struct reach_ports *ports) {
    struct net_address address = *ip;
    size_t *family = &picked->families[net_address_is_ipv4(ip)];
    size_t before = picked->count;
    address.port = reach_port_for(ports, ip);
    if (address.port == 0 || *family == REACH_PICK_PER_FAMILY) return;
    reach_list_add(picked->list, &picked->count, REACH_PICK_MAX, &address);
    *family += picked->count - before;
}

/* With `is_last_resort_wanted` those addresses, else all others. */
static void pick_all(struct picked *picked, const struct reach_link *links, size_t count,
                     const struct reach_ports *ports, bool is_last_resort_wanted) {
    for (size_t i = 0; i < count; i++) {
        bool is_ipv4 = net_address_is_ipv4(&links[i].address);
        if (!is_usable(&links[i]) || is_last_resort(&links[i]) != is_last_resort_wanted) continue;
        if (is_ipv4 || neighbours_before(links, i) < REACH_PICK_PER_SUBNET) {
            pick_one(picked, &links[i].address, ports);
        }
    }
}

size_t reach_pick(const struct reach_link *links, size_t count, const struct reach_ports *ports,
                  struct net_address ret[REACH_PICK_MAX]) {
    struct picked picked = {.list = ret};
    pick_all(&picked, links, count, ports, false);
    if (picked.count == 0) pick_all(&picked, links, count, ports, true);
    return picked.count;
}
