/* reach_list.h - addresses where the UDP relay can be reached, as lists: what the flags say, and how lists are joined.
 *
 * Threads: pure functions. Memory: the caller's. Errors: false and a sentence that says what to do.
 */
#pragma once

#include "core/base.h"
#include "core/sys.h"

enum {
    REACH_FIXED_MAX = 16,   // -relay-static-endpoints
    REACH_SERVERS_MAX = 8,  // -relay-stun-servers
    REACH_HOST_SIZE_MAX = 253,
};

/* What an operator says: told to clients as it is, and first. A port of 0 is that of the relay. */
struct reach_fixed {
    struct net_address addresses[REACH_FIXED_MAX];
    uint32_t count;
};

/* STUN servers to ask. */
struct reach_server {
    char host[REACH_HOST_SIZE_MAX + 1];  // a name, or an IP address without brackets
    uint16_t port;
};

struct reach_servers {
    struct reach_server servers[REACH_SERVERS_MAX];
    uint32_t count;
};

/* The relay's own ports, by family. 0: no socket of that family. */
struct reach_ports {
    uint16_t ipv4;
    uint16_t ipv6;
};

/* "192.0.2.1:7777,[2001:db8::1]:0", or empty. `why` has SYS_WHY_MAX bytes. */
must_use bool reach_fixed_parse(const char *text, struct reach_fixed *ret, char *why);

/* "stun.example.com:3478,[2001:db8::1]:3478", or empty. `why` has SYS_WHY_MAX bytes. */
must_use bool reach_servers_parse(const char *text, struct reach_servers *ret, char *why);

/* The server's address, if that is what it is named by. */
must_use bool reach_server_address(const struct reach_server *server, struct net_address *ret);

/* One of them has to be looked up. */
bool reach_servers_have_names(const struct reach_servers *servers);

bool reach_is_same(const struct net_address *a, const struct net_address *b);

uint16_t reach_port_for(const struct reach_ports *ports, const struct net_address *address);

/* Appends an address that is not in the list yet, while there are fewer than `max`. */
void reach_list_add(struct net_address *list, size_t *count, size_t max, const struct net_address *address);

/* The same for each that an operator has named. One whose port is the relay's is left out when there is no socket of
 * its family. */
void reach_list_add_fixed(struct net_address *list, size_t *count, size_t max, const struct reach_fixed *fixed,
                          const struct reach_ports *ports);
