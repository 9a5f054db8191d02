/* swarm.h - UDP sockets of many clients, and what is bound to them.
 *
 * What it is: sockets, runs of datagrams out of them and into callbacks, and one failure for all:
 *
 *     swarm_open(&swarm, sockets_max, has_gro, why);
 *     w = swarm_add(&swarm);  swarm_connect(&swarm, w, &address);
 *     while (!swarm.is_failed) swarm_turn(&swarm, wait_ns);   // callbacks.on_datagram for each that has come
 *
 * Model: a *wire* is a socket, connected to the relay, so that the kernel looks up the way once and nobody else is
 * heard. It belongs to one client with one active flow, or is shared by clients of endpoints that carry no load. What
 * the kernel hands up in one piece (UDP_GRO) is taken apart here.
 * Threads: one. Memory: 2 MiB of receive buffers, wires in one array; all before the load.
 * Errors: swarm.is_failed and a sentence in swarm.why; everything stops then. A queue of the kernel that is full is no
 * error: wire_send says how much went.
 */
#pragma once

#include <sys/socket.h>

#include "core/sys.h"

enum { SWARM_WHY_MAX = 512 };

struct wire {
    int fd;
    uint32_t idx;
    uint32_t side;  // 0 or 1: which client of its endpoints
    uint32_t flow;  // that comes in here; WIRE_NO_FLOW
    bool is_connected;
};

enum { WIRE_NO_FLOW = UINT32_MAX };

/* The bytes may be changed. */
typedef void swarm_on_datagram(void *owner, struct wire *w, uint8_t *bytes, size_t size);

struct swarm_batch;

struct swarm {
    struct wire *wires;
    uint32_t count, count_max;
    int epoll_fd;
    bool has_gro;
    uint64_t now_ns;
    swarm_on_datagram *on_datagram;
    void *owner;
    struct swarm_batch *batch;
    bool is_failed;
    char why[SWARM_WHY_MAX];
};

/* False: a sentence in swarm->why. swarm_close is to be called in either case. */
must_use bool swarm_open(struct swarm *s, uint32_t wires_max, bool has_gro);
void swarm_close(struct swarm *s);

/* A socket for a client that speaks to `relay`. NULL after a failure. */
struct wire *swarm_add(struct swarm *s, uint32_t side);
must_use bool swarm_connect(struct swarm *s, struct wire *w, const struct net_address *relay);

/* Waits at most `wait_ns` for datagrams, reads the clock, hands over what has come. */
void swarm_turn(struct swarm *s, uint64_t wait_ns);

/* One datagram; one that is not taken is lost. */
void wire_send(struct swarm *s, struct wire *w, const void *bytes, size_t size);

/* `count` datagrams of `size` bytes each, in runs of at most `segments`. Returns how many the kernel has taken. */
uint32_t wire_send_runs(struct swarm *s, struct wire *w, uint8_t *const *frames, uint32_t count, uint32_t size,
                        uint32_t segments);

enum { WIRE_RUNS_PACKETS_MAX = 128 };

void swarm_fail(struct swarm *s, const char *format, ...) printf_like(2, 3);
