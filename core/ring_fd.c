#include "core/ring.h"

int ring_peer_address(int fd, struct net_address *ret) { return sys_peer_address(fd, ret); }

int64_t ring_unacknowledged(int fd) { return sys_tcp_unacknowledged(fd); }

int ring_tcp_rtt(int fd, uint32_t *ret_us) { return sys_tcp_rtt(fd, ret_us); }

void ring_close_fd(struct ring *ring, int fd) {
    (void)ring;
    sys_close(fd);
}
