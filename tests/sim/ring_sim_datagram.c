/* ring_sim_datagram.c - the datagram verbs of core/ring.h on a network that has no datagrams yet.
 *
 * The simulated house runs without STUN, so nobody gets here; whoever does has to build it first.
 */
#include "core/check.h"
#include "core/ring.h"

void ring_datagram_socket_init(struct ring_datagram_socket *socket, int fd, uint64_t handle) {
    *socket = (struct ring_datagram_socket){0};
    ring_socket_init(&socket->socket, fd, handle);
}

void ring_receive_datagrams(struct ring *ring, struct ring_datagram_socket *socket) {
    (void)ring;
    (void)socket;
    CHECK(false);
}

void ring_send_datagram(struct ring *ring, struct ring_datagram_socket *socket, struct ring_datagram *datagram) {
    (void)ring;
    (void)socket;
    (void)datagram;
    CHECK(false);
}

size_t ring_flush(struct ring *ring, struct ring_event *events, size_t count_max) {
    (void)ring;
    (void)events;
    (void)count_max;
    CHECK(false);
    return 0;
}

void ring_offer_buffers(struct ring *ring, unsigned count) {
    (void)ring;
    (void)count;
    CHECK(false);
}

const struct ring_arrival *ring_arrival(const struct ring *ring, const struct ring_event *event) {
    (void)ring;
    (void)event;
    CHECK(false);
    return NULL;
}
