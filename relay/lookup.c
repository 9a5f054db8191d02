#include "relay/lookup.h"

#include <netinet/in.h>
#include <poll.h>

enum {
    TRY_TIMEOUT_MS = 2000,  // of the first try; it doubles
    TRIES = 3,
};

int lookup_open(ares_channel *ret, const char *servers) {
    struct ares_options options = {.timeout = TRY_TIMEOUT_MS, .tries = TRIES};
    int status = ares_init_options(ret, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS || servers == NULL) return status;
    status = ares_set_servers_ports_csv(*ret, servers);
    if (status != ARES_SUCCESS) ares_destroy(*ret);
    return status;
}

void lookup_process(ares_channel channel) {
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd polls[ARES_GETSOCK_MAXNUM];
    nfds_t count = 0;
    int wanted = ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool reads = ARES_GETSOCK_READABLE(wanted, i), writes = ARES_GETSOCK_WRITABLE(wanted, i);
        if (!reads && !writes) break;
        polls[count++] =
            (struct pollfd){.fd = sockets[i], .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0))};
    }
    if (count > 0) (void)poll(polls, count, 0);
    for (nfds_t i = 0; i < count; i++) {
        bool reads = polls[i].revents & (POLLIN | POLLERR | POLLHUP), writes = polls[i].revents & POLLOUT;
        ares_process_fd(channel, reads ? polls[i].fd : ARES_SOCKET_BAD, writes ? polls[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // timeouts
}

struct net_address lookup_address(const struct sockaddr *from) {
    struct net_address to = {0};
    if (from->sa_family == AF_INET6) {
        memcpy(to.ip, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
        return to;
    }
    to.ip[10] = to.ip[11] = 0xff;
    memcpy(to.ip + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    return to;
}
