#include "relay/udp_listen.h"

#include <stdio.h>

#include "core/log.h"

enum { WHY_MAX = 512 };

/* One socket for each worker, all on the port that the first one gets. */
static bool open_place(const struct udp_listen_options *options, enum udp_place place, struct listen_address where,
                       struct udp_sockets *ret, char *detail) {
    static const enum udp_family families[UDP_PLACE_COUNT] = {UDP_IPV4, UDP_IPV6, UDP_ANY_FAMILY};
    struct udp_listen listen = {.family = families[place],
                                .kernel_bytes =
                                    place == UDP_PLACE_STUN ? LIMIT_STUN_KERNEL_BYTES : LIMIT_UDP_KERNEL_BYTES,
                                .is_shared = true,
                                .has_runs = place != UDP_PLACE_STUN};
    for (uint32_t i = 0; i < options->workers_count; i++) {
        int *fd = &ret->fds[i][place];
        if (sys_listen_datagrams(&where, &listen, fd, &ret->bound[place], detail) != 0) return false;
        where.address.port = ret->bound[place].port;
        listen.joins = true;
    }
    return true;
}

static void close_place(enum udp_place place, struct udp_sockets *ret) {
    for (uint32_t i = 0; i < LIMIT_WORKERS_MAX; i++) {
        if (ret->fds[i][place] >= 0) sys_close(ret->fds[i][place]);
        ret->fds[i][place] = -1;
    }
    ret->bound[place] = (struct net_address){.port = 0};
}

static bool open_ipv4(const struct udp_listen_options *options, struct udp_sockets *ret, char *why) {
    char detail[SYS_WHY_MAX];
    if (!options->relay.is_wildcard && !net_address_is_ipv4(&options->relay.address)) return true;
    if (open_place(options, UDP_PLACE_IPV4, options->relay, ret, detail)) return true;
    snprintf(why, WHY_MAX, "UDP relay: %s; choose another port with -relay-port, or run without: -relay-port -1",
             detail);
    return false;
}

/* An address is all there is to listen on; a wildcard has IPv4 already. */
static bool open_ipv6(const struct udp_listen_options *options, struct udp_sockets *ret, char *why) {
    struct listen_address where = options->relay;
    char detail[SYS_WHY_MAX];
    if (!where.is_wildcard && net_address_is_ipv4(&where.address)) return true;
    if (where.is_wildcard) where.address.port = ret->bound[UDP_PLACE_IPV4].port;
    if (open_place(options, UDP_PLACE_IPV6, where, ret, detail)) return true;
    close_place(UDP_PLACE_IPV6, ret);
    if (!where.is_wildcard) {
        snprintf(why, WHY_MAX, "UDP relay: %s; choose another port with -relay-port, or run without: -relay-port -1",
                 detail);
        return false;
    }
    log_line(LOG_WARNING, "UDP relay without IPv6: %s", detail);
    return true;
}

static bool open_stun(const struct udp_listen_options *options, struct udp_sockets *ret, char *why) {
    char detail[SYS_WHY_MAX];
    if (!options->has_stun || open_place(options, UDP_PLACE_STUN, options->stun, ret, detail)) return true;
    snprintf(why, WHY_MAX, "STUN %s; choose another port with -stun-port, or run without STUN: -stun=false", detail);
    return false;
}

bool udp_listen_all(const struct udp_listen_options *options, struct udp_sockets *ret, char *why) {
    *ret = (struct udp_sockets){.bound = {{.port = 0}}};
    memset(ret->fds, 0xff, sizeof(ret->fds));  // -1
    return open_ipv4(options, ret, why) && open_ipv6(options, ret, why) && open_stun(options, ret, why);
}
