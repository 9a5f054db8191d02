/* ring_sim_fd.c - what core/ring_fd.c asks of the kernel, asked of the virtual network. */
#include "core/ring.h"
#include "tests/sim/net_sim.h"

int64_t ring_unacknowledged(int fd) { return net_unread(fd); }
