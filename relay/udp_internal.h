/* udp_internal.h - what the files of the UDP worker share: udp.c collects and settles, udp_forward.c takes data from
 * arrivals to sends, udp_control.c answers handshakes and STUN. Nobody else includes this, but for tests.
 */
#pragma once

#include <errno.h>

#include "relay/udp.h"

/* ---- udp.c ---- */

static inline void udp_drop(struct udp *u, enum udp_drop_reason reason, uint64_t packets) {
    stat_add(&u->metrics->udp_drops[reason], packets);
}

/* Gives up one reference to a receive buffer. */
void udp_release(struct udp *u, uint16_t buffer);

/* Why the kernel did not take a send. */
static inline enum udp_drop_reason udp_send_failure(int32_t result) {
    bool is_full = result == -EAGAIN || result == -ENOBUFS || result == -ENOMEM;
    return is_full ? UDP_DROP_KERNEL_FULL : UDP_DROP_SEND_ERROR;
}

/* ---- udp_forward.c ---- */

/* All arrivals, as long as there are sends and boxes. */
void udp_forward_arrivals(struct udp *u);

/* Asks the ring for what was made. */
void udp_ask_sends(struct udp *u);

/* A send has ended: its references, its object; or the datagrams once more, singly. */
void udp_on_sent(struct udp *u, struct udp_send *send, int32_t result);

/* ---- udp_control.c ---- */

/* A message with O = 1 that is disco, its Geneve header included; opened in place. */
void udp_on_control(struct udp *u, const struct udp_arrival *arrival, uint32_t vni, uint8_t *bytes, size_t size);

/* On the relay's port something that looks like STUN, on the STUN port anything. */
void udp_on_stun(struct udp *u, const struct udp_arrival *arrival, const uint8_t *bytes, size_t size);

/* An answer to fill and send, of which `reserve` stay free; NULL: none left. */
struct udp_answer *udp_take_answer(struct udp *u, uint32_t reserve);

/* ---- udp_reach.c ---- */

/* Puts the office's questions to STUN servers. */
void udp_ask_servers(struct udp *u);

/* What looks like a STUN server's answer. */
void udp_on_stun_answer(struct udp *u, const struct udp_arrival *arrival, const uint8_t *bytes, size_t size);

void udp_on_answer_sent(struct udp *u, struct udp_answer *answer, int32_t result);
