/* udp_reach.c - the relay's own questions to STUN servers, by its own sockets, and what comes back (relay/reach.h). */
#include "core/check.h"
#include "relay/udp_internal.h"

static struct udp_socket *socket_to(struct udp *u, const struct net_address *address) {
    struct udp_socket *socket = &u->sockets[net_address_is_ipv4(address) ? UDP_PLACE_IPV4 : UDP_PLACE_IPV6];
    return socket->is_open && !u->is_closing ? socket : NULL;
}

/* What cannot be sent now is as good as lost: the office asks again. */
static void ask_server(struct udp *u, const struct reach_mail *question) {
    struct udp_socket *socket = socket_to(u, &question->address);
    struct udp_answer *ask = socket ? udp_take_answer(u, 0) : NULL;
    if (ask == NULL) return;
    ask->is_stun = false;
    stun_request_write(ask->bytes, question->transaction);
    ask->datagram.bytes = ask->bytes;
    ask->datagram.size = STUN_REQUEST_SIZE;
    ask->datagram.path = (struct ring_path){.remote = question->address};
    ask->datagram.is_immediate = true;
    ring_send_datagram(u->ring, &socket->ring, &ask->datagram);
}

void udp_ask_servers(struct udp *u) {
    struct mail mail;
    while (u->links.from_office && lane_pop(u->links.from_office, &mail)) {
        CHECK(mail.kind == MAIL_STUN_ASK);
        ask_server(u, &mail.reach);
    }
}

/* A full lane loses answers, as the network does: whoever can make so many of them is the server. */
void udp_on_stun_answer(struct udp *u, const struct udp_arrival *arrival, const uint8_t *bytes, size_t size) {
    struct mail mail = {.kind = MAIL_STUN_SEEN};
    const struct net_address *server = &arrival->ring->path.remote;
    stat_add(&u->metrics->udp_stun_answers, 1);
    if (u->links.stun == NULL || !reach_stun_check(u->links.stun, bytes, size, server, &mail.reach)) return;
    if (lane_push(u->links.to_office, &mail) && lane_flush(u->links.to_office)) {
        ring_wake(u->ring, u->links.office_ring);
    }
}
