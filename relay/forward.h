/* forward.h - the hot path: a packet from a client finds its destination and is queued there.
 *
 *     SendPacket frame --> account --> where is the key? --> one copy into a slot, key overwritten --> queue
 *                                          |   |
 *                                          |   `--> on another worker: handed over --> that worker: queue
 *                                          `--> nowhere: drop, and PeerGone(NotHere) for disco, limited
 *
 * A route names a place {worker, slot, generation}. Whether it is still that key's is known only where the place is, so
 * a worker that gets a packet for a place that has another generation by now looks the key up once more, and drops what
 * does not live with it any more. A packet is never handed on twice.
 *
 * A mesh peer's ForwardPacket is a function of its own that looks up local keys only, so that "one hop" is structure
 * and not a flag. Its frame is a key longer than what it becomes: alone in its slot it is moved on by 32 bytes, and
 * is not copied either. Whose packet it is, the mesh peer says, and is trusted with that.
 */
#pragma once

#include "core/base.h"
#include "proto/derp.h"
#include "relay/packet.h"

struct conn;
struct worker;

/* Counts one packet of `data_size` bytes as received. */
void forward_account(struct worker *w, struct conn *from, size_t data_size, bool is_disco);

/* `send` was read from a frame of `from`. When the frame was collected in a slot, `carrier` is that slot, with ->frame
 * and ->size set, and `send` points into it: it becomes the packet and is the function's. Otherwise `carrier` is NULL
 * and `send` points into the receive buffer. */
void forward_from_client(struct worker *w, struct conn *from, const struct derp_send *send, struct packet *carrier);

/* Counts one packet of `data_size` bytes as forwarded by a mesh peer. */
void forward_account_mesh(struct worker *w, struct conn *from, size_t data_size);

/* `forward` was read from a frame of `from`, a mesh peer: to a client of this relay, or nowhere. Otherwise as
 * forward_from_client. */
void forward_from_mesh(struct worker *w, struct conn *from, const struct derp_forward *forward, struct packet *carrier);

/* Closes all connections of a key that is here: now, or in a moment by its worker (a word on the packets' way; lost and
 * counted when there is no memory). */
void forward_close_peer(struct worker *w, const struct node_key *key);

/* A packet that another worker handed over (relay/crossing.h); it is the function's. */
void forward_from_worker(struct worker *w, struct packet *packet);
