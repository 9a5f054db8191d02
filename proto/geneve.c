#include "proto/geneve.h"

#include "core/check.h"
#include "proto/disco.h"

void geneve_header_write(uint8_t *to, const struct geneve_header *header) {
    DCHECK(header->vni <= GENEVE_VNI_MAX);
    to[0] = 0;
    to[1] = header->is_control ? 0x80 : 0;
    store_be16(to + 2, header->protocol);
    store_be32(to + 4, header->vni << 8);
}

/* A client looks for less than the relay: the nonce may be missing, and then opening fails. */
static bool looks_like_disco(const uint8_t *bytes, size_t size) {
    return size >= DISCO_HEAD_SIZE && memcmp(bytes, DISCO_MAGIC, DISCO_MAGIC_SIZE) == 0;
}

bool geneve_header_read_strict(const uint8_t *bytes, size_t size, struct geneve_header *header) {
    struct geneve_header found;
    if (geneve_header_read(bytes, size, &found) == GENEVE_TOO_SHORT) return false;
    if ((bytes[0] & 0xc0) != 0 || (bytes[1] & 0x3f) != 0 || bytes[7] != 0) return false;
    bool is_ours = found.protocol == GENEVE_PROTOCOL_WIREGUARD ||
                   (found.protocol == GENEVE_PROTOCOL_DISCO &&
                    looks_like_disco(bytes + GENEVE_HEADER_SIZE, size - GENEVE_HEADER_SIZE));
    if (is_ours) *header = found;
    return is_ours;
}

enum geneve_kind geneve_kind_of(const uint8_t *bytes, size_t size) {
    struct geneve_header header;
    if (geneve_is_stun(bytes, size)) return GENEVE_KIND_STUN;
    if (geneve_header_read_strict(bytes, size, &header))
        return header.protocol == GENEVE_PROTOCOL_DISCO ? GENEVE_KIND_DISCO : GENEVE_KIND_WIREGUARD;
    /* Geneve that says disco and is none has no magic at its start either: byte 0 of the magic is no version 0. */
    return looks_like_disco(bytes, size) ? GENEVE_KIND_NAKED_DISCO : GENEVE_KIND_NAKED_WIREGUARD;
}
