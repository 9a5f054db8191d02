#include "proto/stun.h"

#include "core/bytes.h"
#include "core/check.h"

enum {
    HEADER_SIZE = 20,
    TYPE_REQUEST = 0x0001,
    TYPE_ANSWER = 0x0101,
    ATTRIBUTE_MAPPED = 0x0001,
    ATTRIBUTE_XOR_MAPPED = 0x0020,
    ATTRIBUTE_XOR_MAPPED_OPTIONAL = 0x8020,
    ATTRIBUTE_SOFTWARE = 0x8022,
    ATTRIBUTE_FINGERPRINT = 0x8028,
    FINGERPRINT_SIZE = 8,  // with its header
    FAMILY_IPV4 = 1,
    FAMILY_IPV6 = 2,
    IPV4_AT = 12,  // in a v4-mapped address
};

#define COOKIE UINT32_C(0x2112a442)
#define FINGERPRINT_XOR UINT32_C(0x5354554e)

static const char software[] = "tailnode";

/* ---- the fingerprint ---- */

/* CRC-32 of Ethernet and zlib, four bits at a time: entry i is what the remainder i becomes. */
static uint32_t crc32_of(const uint8_t *bytes, size_t size) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* Of a message whose last attribute is the fingerprint. */
static uint32_t fingerprint_of(const uint8_t *bytes, size_t size) {
    return crc32_of(bytes, size - FINGERPRINT_SIZE) ^ FINGERPRINT_XOR;
}

/* ---- messages ---- */

struct attribute {
    uint16_t type;
    uint16_t size;
    const uint8_t *bytes;
};

/* False at the end of the attributes, and when the next one does not fit: then the reader is bad. */
static bool attribute_next(struct reader *r, struct attribute *a) {
    if (r->bad || reader_left(r) == 0) return false;
    a->type = reader_be16(r);
    a->size = reader_be16(r);
    a->bytes = reader_take(r, round_up(a->size, 4));
    return reader_ok(r);
}

/* The reader stands behind the header then. */
static bool header_is(struct reader *r, uint16_t type, uint16_t *length, const uint8_t **transaction) {
    bool is_type = reader_be16(r) == type;
    *length = reader_be16(r);
    bool is_stun = reader_be32(r) == COOKIE;
    *transaction = reader_take(r, STUN_TRANSACTION_SIZE);
    return reader_ok(r) && is_type && is_stun;
}

static void header_write(struct writer *w, uint16_t type, uint16_t length, const uint8_t *transaction) {
    writer_be16(w, type);
    writer_be16(w, length);
    writer_be32(w, COOKIE);
    writer_copy(w, transaction, STUN_TRANSACTION_SIZE);
}

/* ---- requests ---- */

static bool is_our_software(const struct attribute *a) {
    return a->type == ATTRIBUTE_SOFTWARE && a->size == sizeof(software) - 1 &&
           memcmp(a->bytes, software, sizeof(software) - 1) == 0;
}

bool stun_request_parse(const void *bytes, size_t size, uint8_t *transaction) {
    struct reader r = reader_of(bytes, size);
    struct attribute a = {0};
    const uint8_t *asked;
    uint16_t length;
    bool is_ours = false;
    if (!header_is(&r, TYPE_REQUEST, &length, &asked)) return false;
    while (attribute_next(&r, &a)) is_ours = is_ours || is_our_software(&a);
    bool is_printed = reader_ok(&r) && a.type == ATTRIBUTE_FINGERPRINT && a.size == 4;
    if (!is_ours || !is_printed || load_be32(a.bytes) != fingerprint_of(bytes, size)) return false;
    memcpy(transaction, asked, STUN_TRANSACTION_SIZE);
    return true;
}

void stun_request_write(uint8_t *to, const uint8_t *transaction) {
    struct writer w = writer_of(to, STUN_REQUEST_SIZE);
    header_write(&w, TYPE_REQUEST, STUN_REQUEST_SIZE - HEADER_SIZE, transaction);
    writer_be16(&w, ATTRIBUTE_SOFTWARE);
    writer_be16(&w, sizeof(software) - 1);
    writer_copy(&w, software, sizeof(software) - 1);
    writer_be16(&w, ATTRIBUTE_FINGERPRINT);
    writer_be16(&w, 4);
    writer_be32(&w, fingerprint_of(to, STUN_REQUEST_SIZE));
    CHECK(writer_ok(&w) && writer_left(&w) == 0);
}

/* ---- answers ---- */

/* An address is hidden from routers that rewrite what looks like one: XOR with cookie and transaction. */
static void ip_xor(uint8_t *to, const uint8_t *from, size_t size, const uint8_t *transaction) {
    uint8_t mask[4 + STUN_TRANSACTION_SIZE];
    store_be32(mask, COOKIE);
    memcpy(mask + 4, transaction, STUN_TRANSACTION_SIZE);
    for (size_t i = 0; i < size; i++) to[i] = from[i] ^ mask[i];
}

size_t stun_answer_write(uint8_t *to, const uint8_t *transaction, const struct net_address *client) {
    struct writer w = writer_of(to, STUN_ANSWER_SIZE_MAX);
    size_t skip = net_address_is_ipv4(client) ? IPV4_AT : 0;
    size_t ip_size = sizeof(client->ip) - skip;
    header_write(&w, TYPE_ANSWER, (uint16_t)(8 + ip_size), transaction);
    writer_be16(&w, ATTRIBUTE_XOR_MAPPED);
    writer_be16(&w, (uint16_t)(4 + ip_size));
    writer_be16(&w, skip ? FAMILY_IPV4 : FAMILY_IPV6);
    writer_be16(&w, client->port ^ (uint16_t)(COOKIE >> 16));
    ip_xor(writer_room(&w, ip_size), client->ip + skip, ip_size, transaction);
    CHECK(writer_ok(&w));
    return STUN_ANSWER_SIZE_MAX - writer_left(&w);
}

/* `transaction` NULL: as it is, without XOR. */
static bool address_parse(const struct attribute *a, const uint8_t *transaction, struct net_address *address) {
    struct reader r = reader_of(a->bytes, a->size);
    uint8_t family = (uint8_t)reader_be16(&r);  // the byte before it means nothing
    uint16_t port = reader_be16(&r);
    size_t skip = family == FAMILY_IPV4 ? IPV4_AT : 0;
    const uint8_t *ip = reader_take(&r, sizeof(address->ip) - skip);
    if (!reader_ok(&r) || (family != FAMILY_IPV4 && family != FAMILY_IPV6)) return false;
    *address = (struct net_address){.ip = {[10] = 0xff, [11] = 0xff}, .port = port};
    memcpy(address->ip + skip, ip, sizeof(address->ip) - skip);
    if (transaction == NULL) return true;
    ip_xor(address->ip + skip, ip, sizeof(address->ip) - skip, transaction);
    address->port = port ^ (uint16_t)(COOKIE >> 16);
    return true;
}

static bool is_xor_mapped(const struct attribute *a) {
    return a->type == ATTRIBUTE_XOR_MAPPED || a->type == ATTRIBUTE_XOR_MAPPED_OPTIONAL;
}

bool stun_answer_parse(const void *bytes, size_t size, const uint8_t *transaction, struct net_address *client) {
    struct reader r = reader_of(bytes, size);
    struct net_address hidden, plain;
    struct attribute a;
    const uint8_t *answered;
    uint16_t length;
    bool has_hidden = false, has_plain = false;
    if (!header_is(&r, TYPE_ANSWER, &length, &answered)) return false;
    if (memcmp(answered, transaction, STUN_TRANSACTION_SIZE) != 0) return false;
    const uint8_t *attributes = reader_take(&r, length);
    if (attributes == NULL) return false;
    r = reader_of(attributes, length);
    while (attribute_next(&r, &a)) {
        if (is_xor_mapped(&a)) {
            if (!address_parse(&a, transaction, &hidden)) return false;
            has_hidden = true;
        } else if (a.type == ATTRIBUTE_MAPPED) {
            if (!address_parse(&a, NULL, &plain)) return false;
            has_plain = true;
        }
    }
    if (!reader_ok(&r) || (!has_hidden && !has_plain)) return false;
    *client = has_hidden ? hidden : plain;
    return true;
}
