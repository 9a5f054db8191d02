#include "core/ring.h"

int ring_peer_address(int fd, struct net_address *ret) { return sys_peer_address(fd, ret); }

void ring_close_fd(struct ring *ring, int fd) {
    (void)ring;
    sys_close(fd);
}
