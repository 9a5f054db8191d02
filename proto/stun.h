/* stun.h - STUN as Tailscale's clients speak it: bytes in, values out (docs/derp.md, "STUN").
 *
 * A client asks "from which address do you see me?" with one datagram and gets it back in one. The server answers only
 * Tailscale's own requests; a stranger's STUN client gets silence, as from derper.
 *
 *     request                                   answer
 *     0001, length, 2112a442, transaction (12)  0101, length, 2112a442, the same transaction
 *     SOFTWARE 8022: "tailnode"                 XOR-MAPPED-ADDRESS 0020: family, port ^ 2112,
 *     FINGERPRINT 8028: CRC32 ^ 5354554e           address ^ cookie, transaction
 *
 * What is judged in a request: the attributes go to the end of the datagram (the header's own length is not looked at,
 * nor is padding), one of them is SOFTWARE "tailnode", the last one is a FINGERPRINT of four bytes that is right.
 * Different from derper, on purpose: there a last FINGERPRINT of another length passes when an earlier one of four
 * bytes happens to be the CRC of the rest. Nobody makes such a request.
 *
 * IPv4 in answers. An IPv4 client is told its address with family 1, whatever kind of socket it came in by, as by
 * derper 1.104. Earlier ones answered from their dual-stack socket with family 2 and the v4-mapped form, which clients
 * take apart again; the reader here takes both.
 *
 * The CRC is 16 constants of our own: it runs over 32 bytes per request, which zlib would not make faster by anything
 * that can be seen, and zlib would be one more library in the process for one function.
 *
 * Threads: pure functions. Memory: the caller's. Errors: false; there is nobody to tell more to.
 */
#pragma once

#include "core/base.h"
#include "core/sys.h"

enum {
    STUN_TRANSACTION_SIZE = 12,
    STUN_REQUEST_SIZE = 40,
    STUN_ANSWER_SIZE_MAX = 44,  // to IPv6; 32 to IPv4
};

/* Is it a request to be answered? Then `transaction` (STUN_TRANSACTION_SIZE bytes) is filled, else untouched. */
must_use bool stun_request_parse(const void *bytes, size_t size, uint8_t *transaction);

/* Writes the answer that names `client`, into STUN_ANSWER_SIZE_MAX bytes. Returns its size. */
size_t stun_answer_write(uint8_t *to, const uint8_t *transaction, const struct net_address *client);

/* The client's side. */

/* Writes a request of STUN_REQUEST_SIZE bytes. `transaction` is to be random: it is what tells an answer from a
 * stranger's guess. */
void stun_request_write(uint8_t *to, const uint8_t *transaction);

/* Is it the answer to the request with this transaction? Then *client is what the server saw. XOR-MAPPED-ADDRESS counts
 * (0020, or 8020 as some servers write it), and if there is none MAPPED-ADDRESS; bytes behind the header's length are
 * ignored. */
must_use bool stun_answer_parse(const void *bytes, size_t size, const uint8_t *transaction, struct net_address *client);
