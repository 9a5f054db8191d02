/* vni_challenge.h - what the UDP relay gives a client to say back: a proof that it receives at its source address.
 *
 * A keyed BLAKE2b-256 over period, VNI, generation, RemoteKey and source address. Nothing is remembered of a challenge
 * that was given: whoever can say it was told, at this address, in this period or the one before.
 * Threads: pure functions; the secret is frozen. Costs about 350 ns, and is for authenticated senders only.
 */
#pragma once

#include "core/base.h"
#include "relay/vni.h"

/* For what `event` asks, at this time. */
void vni_challenge_make(const struct vni_table *table, const struct vni_event *event, uint64_t now_ns,
                        uint8_t to[VNI_CHALLENGE_SIZE]);

/* Whether the event's challenge is the one of now or of the period before. */
must_use bool vni_challenge_is_right(const struct vni_table *table, const struct vni_event *event, uint64_t now_ns);
