#include "relay/vni_challenge.h"

#include <sodium.h>

#include "core/bytes.h"
#include "core/check.h"

_Static_assert(VNI_CHALLENGE_SIZE == crypto_generichash_BYTES, "BLAKE2b-256");

static uint64_t period_of(uint64_t now_ns) { return now_ns / (VNI_CHALLENGE_PERIOD_S * NS_PER_S); }

static void challenge_of_period(const struct vni_table *table, const struct vni_event *event, uint64_t period,
                                uint8_t to[VNI_CHALLENGE_SIZE]) {
    uint8_t message[8 + 4 + 4 + sizeof(event->remote) + sizeof(event->source.ip) + 2 + 4];
    struct writer w = writer_of(message, sizeof(message));
    writer_be32(&w, (uint32_t)(period >> 32));
    writer_be32(&w, (uint32_t)period);
    writer_be32(&w, event->vni);
    writer_be32(&w, event->generation);
    writer_copy(&w, event->remote.bytes, sizeof(event->remote.bytes));
    writer_copy(&w, event->source.ip, sizeof(event->source.ip));
    writer_be16(&w, event->source.port);
    writer_be32(&w, event->source.scope);
    CHECK(writer_ok(&w) && writer_left(&w) == 0);
    int result = crypto_generichash(to, VNI_CHALLENGE_SIZE, message, sizeof(message), table->challenge_secret,
                                    sizeof(table->challenge_secret));
    CHECK(result == 0);
}

void vni_challenge_make(const struct vni_table *table, const struct vni_event *event, uint64_t now_ns,
                        uint8_t to[VNI_CHALLENGE_SIZE]) {
    challenge_of_period(table, event, period_of(now_ns), to);
}

bool vni_challenge_is_right(const struct vni_table *table, const struct vni_event *event, uint64_t now_ns) {
    uint64_t period = period_of(now_ns);
    uint8_t wanted[VNI_CHALLENGE_SIZE];
    // why at least 1: there is none before the first
    for (uint64_t back = 0; back <= min_of(period, (uint64_t)1); back++) {
        challenge_of_period(table, event, period - back, wanted);
        if (sodium_memcmp(wanted, event->challenge, sizeof(wanted)) == 0) return true;
    }
    return false;
}
