/* udp_control.c - what the UDP worker answers: handshakes and STUN. At once, on the thread that has the datagram. */
#include <errno.h>

#include <sodium.h>

#include "core/check.h"
#include "relay/udp_internal.h"

enum {
    CONTROL_SIZE_MIN = GENEVE_HEADER_SIZE + DISCO_OVERHEAD + DISCO_BIND_SIZE,
    CONTROL_SIZE_MAX = CONTROL_SIZE_MIN + 96,  // clients may add to a message what we do not know: not much
    NONCE_AT = DISCO_HEAD_SIZE,
};

/* ---- answers ---- */

struct udp_answer *udp_take_answer(struct udp *u, uint32_t reserve) {
    struct udp_answer *answer = u->answers_free;
    if (u->answers_free_count <= reserve) return NULL;
    u->answers_free = answer->next_free;
    u->answers_free_count--;
    return answer;
}

static void send_answer(struct udp *u, const struct udp_arrival *arrival, struct udp_answer *answer, size_t size) {
    answer->datagram.bytes = answer->bytes;
    answer->datagram.size = size;
    answer->datagram.path = arrival->ring->path;
    answer->datagram.is_immediate = true;
    ring_send_datagram(u->ring, &arrival->socket->ring, &answer->datagram);
}

void udp_on_answer_sent(struct udp *u, struct udp_answer *answer, int32_t result) {
    if (answer->is_stun) {
        stat_add(&u->metrics->stun_requests[result < 0 ? STUN_WRITE_ERROR : STUN_SUCCESS], 1);
    } else if (result < 0) {
        udp_drop(u, udp_send_failure(result), 1);
    }
}

/* ---- STUN ---- */

static void answer_stun(struct udp *u, const struct udp_arrival *arrival, const uint8_t *transaction) {
    const struct ring_path *path = &arrival->ring->path;
    struct udp_answer *answer = udp_take_answer(u, LIMIT_UDP_ANSWERS_RESERVED);
    if (answer == NULL) {
        stat_add(&u->metrics->stun_dropped, 1);
        return;
    }
    bool is_ipv6 = !net_address_is_ipv4(&path->remote);
    stat_add(&u->metrics->stun_families[is_ipv6 ? STUN_IPV6 : STUN_IPV4], 1);
    if (!path->has_local) stat_add(&u->metrics->stun_no_local_addr, 1);
    answer->is_stun = true;
    send_answer(u, arrival, answer, stun_answer_write(answer->bytes, transaction, &path->remote));
}

void udp_on_stun(struct udp *u, const struct udp_arrival *arrival, const uint8_t *bytes, size_t size) {
    uint8_t transaction[STUN_TRANSACTION_SIZE];
    if (size <= LIMIT_STUN_DATAGRAM && stun_request_parse(bytes, size, transaction)) {
        answer_stun(u, arrival, transaction);
    } else if (arrival->socket->place != UDP_PLACE_STUN && bytes[0] == 0x01) {
        udp_on_stun_answer(u, arrival, bytes, size);
    } else {
        stat_add(&u->metrics->stun_requests[STUN_NOT_STUN], 1);
    }
}

/* ---- handshakes ---- */

/* why several at once: drawing costs a system call. */
static const uint8_t *next_nonce(struct udp *u) {
    if (u->nonces_left == 0) {
        rng_bytes(u->rng, u->nonces, sizeof(u->nonces));
        u->nonces_left = UDP_NONCES;
    }
    return u->nonces[--u->nonces_left];
}

static void challenge(struct udp *u, const struct udp_arrival *arrival, const struct vni_sender *sender,
                      const struct vni_event *event, const struct vni_outcome *outcome) {
    struct udp_answer *answer = udp_take_answer(u, 0);
    if (answer == NULL) {
        udp_drop(u, UDP_DROP_ANSWERS_FULL, 1);
        return;
    }
    struct disco_bind bind = {.vni = event->vni, .generation = event->generation, .remote = event->remote};
    struct box_key key;
    uint8_t plain[DISCO_BIND_SIZE];
    struct writer inner = writer_of(plain, sizeof(plain));
    memcpy(bind.challenge, outcome->challenge, sizeof(bind.challenge));
    disco_bind_write(&inner, DISCO_CHALLENGE, &bind);
    memcpy(key.bytes, sender->shared_key, sizeof(key.bytes));
    struct writer w = writer_of(answer->bytes + GENEVE_HEADER_SIZE, sizeof(answer->bytes) - GENEVE_HEADER_SIZE);
    geneve_header_write(answer->bytes, &(struct geneve_header){
                                           .vni = sender->vni, .protocol = GENEVE_PROTOCOL_DISCO, .is_control = true});
    disco_envelope_seal_with(&w, &u->server, &key, next_nonce(u), plain, sizeof(plain));
    CHECK(writer_ok(&inner) && writer_ok(&w) && writer_left(&w) == 0);
    box_key_wipe(&key);
    answer->is_stun = false;
    send_answer(u, arrival, answer, sizeof(answer->bytes));
    stat_add(&u->metrics->udp_challenges, 1);
}

static enum vni_event_kind kind_of(const struct disco_message *message) {
    switch (message->type) {
        case DISCO_BIND: return VNI_BIND;
        case DISCO_ANSWER: return VNI_ANSWER;
        default: return VNI_OTHER;
    }
}

static struct vni_event event_of(struct udp *u, const struct udp_arrival *arrival, const struct disco_message *message,
                                 const uint8_t *envelope) {
    struct vni_event event = {.kind = kind_of(message), .source = arrival->source};
    const struct ring_path *path = &arrival->ring->path;
    if (event.kind == VNI_OTHER) return event;
    event.vni = message->bind.vni;
    event.generation = message->bind.generation;
    event.remote = message->bind.remote;
    memcpy(event.challenge, message->bind.challenge, sizeof(event.challenge));
    memcpy(&event.nonce_mark, envelope + NONCE_AT, sizeof(event.nonce_mark));
    if (event.kind == VNI_ANSWER && path->has_local) {
        event.source.local = udp_locals_number(u->links.locals, path->local_ip);
    }
    return event;
}

static void on_message(struct udp *u, const struct udp_arrival *arrival, const struct vni_sender *sender,
                       const struct vni_event *event) {
    struct vni_outcome outcome;
    switch (vni_handshake(u->links.vni, sender, event, u->now_ns, &outcome)) {
        case VNI_DROP: udp_drop(u, outcome.reason, 1); return;
        case VNI_CHALLENGE: challenge(u, arrival, sender, event, &outcome); return;
        case VNI_BOUND: stat_add(&u->metrics->udp_bound, 1); return;
    }
}

/* An envelope of a client of this endpoint, or so it says. */
static void open_envelope(struct udp *u, const struct udp_arrival *arrival, const struct vni_sender *sender,
                          uint8_t *envelope, size_t size) {
    struct box_key key;
    size_t plain_size;
    struct disco_message message;
    memcpy(key.bytes, sender->shared_key, sizeof(key.bytes));
    const uint8_t *plain = disco_envelope_open(&key, envelope, size, &plain_size);
    box_key_wipe(&key);
    if (plain == NULL) {
        udp_drop(u, UDP_DROP_BOX, 1);
        return;
    }
    // what is no message has the type DISCO_NONE, which is neither of the two
    (void)!disco_message_parse(plain, plain_size, &message);
    struct vni_event event = event_of(u, arrival, &message, envelope);
    on_message(u, arrival, sender, &event);
}

void udp_on_control(struct udp *u, const struct udp_arrival *arrival, uint32_t vni, uint8_t *bytes, size_t size) {
    struct vni_sender sender;
    uint8_t *envelope = bytes + GENEVE_HEADER_SIZE;
    if (size < CONTROL_SIZE_MIN || size > CONTROL_SIZE_MAX) {
        udp_drop(u, UDP_DROP_SIZE, 1);
        return;
    }
    const struct disco_key *client = disco_envelope_sender(envelope, size - GENEVE_HEADER_SIZE);
    if (client == NULL) {
        udp_drop(u, UDP_DROP_ENVELOPE, 1);
        return;
    }
    if (vni_sender(u->links.vni, vni, client, &sender)) {
        u->boxes_left--;  // the caller has seen to it that there is one
        open_envelope(u, arrival, &sender, envelope, size - GENEVE_HEADER_SIZE);
    } else {
        udp_drop(u, sender.reason, 1);
    }
    sodium_memzero(&sender, sizeof(sender));
}
