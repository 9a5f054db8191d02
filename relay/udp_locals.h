/* udp_locals.h - this host's own addresses by which clients of the UDP relay have bound, numbered.
 *
 * What is forwarded to a client has to leave from the address that the client spoke to: everything else its NAT drops.
 * An endpoint has two bytes for that, so addresses are kept here and endpoints have their numbers. They are learnt from
 * Answers that were in a client's box, and there are few: one for each address of the host that is advertised. When
 * there is no room for one more its number is 0, and the kernel chooses.
 *
 * Sharing class: published. Any UDP worker adds, by a lock that is taken only for an address not seen before; numbers
 * and what they stand for never change, so reading needs no lock.
 */
#pragma once

#include <stdatomic.h>

#include "core/base.h"
#include "core/limits.h"

struct udp_locals {
    _Atomic uint32_t lock;
    _Atomic uint32_t count;
    _Atomic uint64_t ips[LIMIT_UDP_LOCALS][2];
};

/* The number of `ip` (v4-mapped), which gets one if it has none; 0 when it cannot have one now. */
uint16_t udp_locals_number(struct udp_locals *locals, const uint8_t ip[16]);

/* The address with this number, which is one that udp_locals_number has given; not 0. */
void udp_locals_ip(const struct udp_locals *locals, uint16_t number, uint8_t ip[16]);
