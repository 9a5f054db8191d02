/* geneve.h - the eight bytes in front of everything that a UDP relay forwards, and what kinds of datagram there are.
 *
 *     byte 0        1            2..3       4..6   7             docs/udp-relay.md, "Header"
 *     ver 2 | len 6 O C rsvd 6 | protocol | VNI  | reserved
 *
 * What it is: RFC 8926 without options, as Tailscale's peers use it. The VNI, 24 bits, names an endpoint of the relay;
 * O marks the handshake with the relay itself. Everything else belongs to the peers.
 *
 * Model: three readers, who differ on purpose.
 *   the relay    geneve_header_read: eight bytes suffice. Version, option length, C and everything reserved are not
 *                looked at, nor is the protocol of data: what peers will send one day is forwarded as it is.
 *   a client     geneve_header_read_strict: what is not exactly what the relay sends is no Geneve to it.
 *   a shared port  geneve_kind_of: STUN, Geneve, disco and WireGuard in the order in which clients tell them apart.
 *                A relay that answers STUN on its own port asks geneve_is_stun first: the kinds can not be confused,
 *                because byte 1 of a client's Geneve is 00 or 80 and byte 7 is 00, where STUN has 01 and 42. With odd
 *                bits set a datagram may be both; then it is STUN, as for everybody.
 *
 * Threads: pure functions; those for the hot path are inline. Memory: the caller's. Errors: a verdict, a bool.
 * Not here: which VNIs exist (an unknown one is a silent drop), what is inside (disco.h), addresses.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"

#define GENEVE_HEADER_SIZE 8

#define GENEVE_PROTOCOL_DISCO 0x7a11
#define GENEVE_PROTOCOL_WIREGUARD 0x7a12

/* 0 is nobody's. */
#define GENEVE_VNI_MIN 1u
#define GENEVE_VNI_MAX 0xffffffu

struct geneve_header {
    uint32_t vni;       // at most GENEVE_VNI_MAX
    uint16_t protocol;  // GENEVE_PROTOCOL_... or anything else
    bool is_control;    // O: for the relay itself, or from it
};

/* GENEVE_HEADER_SIZE bytes: version 0, no options, reserved bits off. vni <= GENEVE_VNI_MAX. */
void geneve_header_write(uint8_t *to, const struct geneve_header *header);

/* ---- the relay ---- */

enum geneve_verdict {
    GENEVE_DATA,         // to be forwarded, unchanged, if the VNI and the source say so; the payload may be empty
    GENEVE_CONTROL,      // to be read by the relay, if the VNI exists
    GENEVE_TOO_SHORT,    // from here on: a silent drop
    GENEVE_BAD_CONTROL,  // O, but not disco
};

/* The relay's rule for a datagram. *header is filled unless it is GENEVE_TOO_SHORT; then it is untouched. */
static inline enum geneve_verdict geneve_header_read(const uint8_t *bytes, size_t size, struct geneve_header *header) {
    if (unlikely(size < GENEVE_HEADER_SIZE)) return GENEVE_TOO_SHORT;
    header->is_control = bytes[1] & 0x80;
    header->protocol = load_be16(bytes + 2);
    header->vni = load_be32(bytes + 4) >> 8;
    if (likely(!header->is_control)) return GENEVE_DATA;
    return header->protocol == GENEVE_PROTOCOL_DISCO ? GENEVE_CONTROL : GENEVE_BAD_CONTROL;
}

/* STUN, method binding: request or answer, of anybody. Whether it is one to be answered says proto/stun.h. */
static inline bool geneve_is_stun(const uint8_t *bytes, size_t size) {
    return size >= 20 && (bytes[0] & 0xc0) == 0 && bytes[1] == 0x01 && load_be32(bytes + 4) == UINT32_C(0x2112a442);
}

/* ---- a client ---- */

/* Version 0, reserved bits off, disco or WireGuard; C and the option length are not looked at. Disco has magic and
 * sender behind the header. False: no Geneve to a client; *header is untouched. */
must_use bool geneve_header_read_strict(const uint8_t *bytes, size_t size, struct geneve_header *header);

enum geneve_kind {
    GENEVE_KIND_STUN,
    GENEVE_KIND_DISCO,            // in Geneve
    GENEVE_KIND_WIREGUARD,        // in Geneve
    GENEVE_KIND_NAKED_DISCO,
    GENEVE_KIND_NAKED_WIREGUARD,  // and everything that is nothing else
};

/* What a datagram is to a client. */
enum geneve_kind geneve_kind_of(const uint8_t *bytes, size_t size);
