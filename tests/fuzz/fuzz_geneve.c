/* Fuzzes proto/geneve.
 *
 * Attack surface: every datagram that reaches the port of a UDP relay, from anybody.
 * Input: the datagram.
 * Beyond crashes: the three readers agree where they must. What a client takes for Geneve the relay reads in the same
 * way; a header that the relay has read, written again, is taken by a client, and reads the same; nothing is two kinds
 * that a relay on a shared port would confuse.
 */
#include <stdlib.h>

#include "core/check.h"
#include "proto/disco.h"
#include "proto/geneve.h"
#include "proto/stun.h"

static bool is_equal(const struct geneve_header *a, const struct geneve_header *b) {
    return a->vni == b->vni && a->protocol == b->protocol && a->is_control == b->is_control;
}

static void check_rewritten(const uint8_t *bytes, const struct geneve_header *header) {
    uint8_t again[GENEVE_HEADER_SIZE];
    struct geneve_header read;
    geneve_header_write(again, header);
    CHECK(memcmp(again + 2, bytes + 2, 5) == 0 && again[0] == 0 && again[7] == 0);
    (void)geneve_header_read(again, sizeof(again), &read);
    CHECK(is_equal(&read, header));
    CHECK(geneve_header_read_strict(again, sizeof(again), &read) == (header->protocol == GENEVE_PROTOCOL_WIREGUARD));
}

static void check_relay(const uint8_t *bytes, size_t size, enum geneve_verdict verdict,
                        const struct geneve_header *header) {
    CHECK((verdict == GENEVE_TOO_SHORT) == (size < GENEVE_HEADER_SIZE));
    if (verdict == GENEVE_TOO_SHORT) return;
    CHECK(header->vni <= GENEVE_VNI_MAX);
    CHECK((verdict == GENEVE_DATA) == !header->is_control);
    CHECK((verdict == GENEVE_CONTROL) == (header->is_control && header->protocol == GENEVE_PROTOCOL_DISCO));
    check_rewritten(bytes, header);
}

static void check_kind(const uint8_t *bytes, size_t size, enum geneve_kind kind, const struct geneve_header *header) {
    struct geneve_header strict = {0};
    uint8_t transaction[STUN_TRANSACTION_SIZE];
    bool is_geneve = geneve_header_read_strict(bytes, size, &strict);
    CHECK((kind == GENEVE_KIND_STUN) == geneve_is_stun(bytes, size));
    CHECK(is_geneve == (kind == GENEVE_KIND_DISCO || kind == GENEVE_KIND_WIREGUARD));
    if (is_geneve) CHECK(is_equal(&strict, header));
    if (stun_request_parse(bytes, size, transaction)) CHECK(kind == GENEVE_KIND_STUN);
    if (disco_envelope_sender(bytes, size)) CHECK(kind == GENEVE_KIND_NAKED_DISCO);
    if (size >= GENEVE_HEADER_SIZE && disco_envelope_sender(bytes + GENEVE_HEADER_SIZE, size - GENEVE_HEADER_SIZE))
        CHECK(kind != GENEVE_KIND_WIREGUARD || header->protocol == GENEVE_PROTOCOL_WIREGUARD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* In a block of exactly that size, so that ASan sees every byte too far. */
    uint8_t *bytes = malloc(size ? size : 1);
    struct geneve_header header = {0};
    CHECK(bytes != NULL);
    if (size) memcpy(bytes, data, size);
    check_relay(bytes, size, geneve_header_read(bytes, size, &header), &header);
    check_kind(bytes, size, geneve_kind_of(bytes, size), &header);
    free(bytes);
    return 0;
}
