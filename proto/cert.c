#include "proto/cert.h"

#include <arpa/inet.h>
#include <sodium.h>

#include "proto/der.h"

static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_alt_name[] = {0x55, 0x1d, 0x11};
static const uint8_t oid_key_usage[] = {0x55, 0x1d, 0x0f};
static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};
static const uint8_t oid_ext_key_usage[] = {0x55, 0x1d, 0x25};
static const uint8_t oid_any_usage[] = {0x55, 0x1d, 0x25, 0x00};
static const uint8_t oid_server_auth[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
static const uint8_t oid_rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01};

/* ---- reading ---- */

static void read_serial(struct reader *body, struct cert *out) {
    struct reader serial = der_enter(body, DER_INTEGER);
    while (reader_left(&serial) > 0 && serial.at[0] == 0) serial.at++;
    out->serial = serial.at;
    out->serial_size = reader_left(&serial);
}

static bool is_text(uint8_t tag) {
    return tag == DER_PRINTABLE_STRING || tag == DER_UTF8_STRING || tag == DER_T61_STRING || tag == DER_IA5_STRING;
}

static void read_attribute(struct reader *set, struct cert *out) {
    struct reader pair = der_enter(set, DER_SEQUENCE);
    struct reader oid = der_enter(&pair, DER_OID);
    uint8_t tag = reader_left(&pair) > 0 ? pair.at[0] : 0;
    struct reader value = der_skip(&pair);
    if (!reader_ok(&pair)) {
        set->bad = true;
    } else if (is_text(tag) && der_equals(&oid, oid_common_name, sizeof(oid_common_name))) {
        out->common_name = (const char *)value.at;
        out->common_name_size = reader_left(&value);
    }
}

static void read_subject(struct reader *body, struct cert *out) {
    struct reader name = der_enter(body, DER_SEQUENCE);
    while (reader_ok(&name) && reader_left(&name) > 0) {
        struct reader set = der_enter(&name, DER_SET);
        while (reader_ok(&set) && reader_left(&set) > 0) read_attribute(&set, out);
        if (!reader_ok(&set)) name.bad = true;
    }
    if (!reader_ok(&name)) body->bad = true;
}

static void read_validity(struct reader *body, struct cert *out) {
    struct reader validity = der_enter(body, DER_SEQUENCE);
    out->not_before_s = der_read_time(&validity);
    out->not_after_s = der_read_time(&validity);
    if (!reader_ok(&validity)) body->bad = true;
}

static void read_key(struct reader *body, struct cert *out) {
    struct reader info = der_enter(body, DER_SEQUENCE);
    struct reader algorithm = der_enter(&info, DER_SEQUENCE);
    struct reader oid = der_enter(&algorithm, DER_OID);
    out->is_rsa = der_equals(&oid, oid_rsa, sizeof(oid_rsa));
    if (!reader_ok(&oid)) body->bad = true;
}

/* ---- extensions ---- */

static void read_alt_names(struct reader *value, struct cert *out) {
    struct reader names = der_enter(value, DER_SEQUENCE);
    out->alt_names = names.at;
    out->alt_names_size = reader_left(&names);
}

static void read_basic_constraints(struct reader *value, struct cert *out) {
    static const uint8_t yes = 0xff;
    struct reader fields = der_enter(value, DER_SEQUENCE);
    if (!der_is_next(&fields, DER_BOOLEAN)) return;
    struct reader flag = der_enter(&fields, DER_BOOLEAN);
    out->is_authority = der_equals(&flag, &yes, 1);
}

/* The bit keyCertSign. Seen before or after BasicConstraints, hence its own place until the end. */
static void read_key_usage(struct reader *value, bool *may_sign) {
    struct reader bits = der_enter(value, DER_BIT_STRING);
    (void)reader_u8(&bits);  // how many bits at the end are unused
    *may_sign = reader_left(&bits) > 0 && (reader_u8(&bits) & 0x04) != 0;
}

static void read_ext_key_usage(struct reader *value, struct cert *out) {
    struct reader list = der_enter(value, DER_SEQUENCE);
    out->is_for_servers = false;
    while (reader_ok(&list) && reader_left(&list) > 0) {
        struct reader oid = der_enter(&list, DER_OID);
        if (der_equals(&oid, oid_server_auth, sizeof(oid_server_auth)) ||
            der_equals(&oid, oid_any_usage, sizeof(oid_any_usage)))
            out->is_for_servers = true;
    }
    if (!reader_ok(&list)) value->bad = true;
}

static void read_extension(struct reader *list, struct cert *out, bool *may_sign) {
    struct reader extension = der_enter(list, DER_SEQUENCE);
    struct reader oid = der_enter(&extension, DER_OID);
    if (der_is_next(&extension, DER_BOOLEAN)) der_skip(&extension);
    struct reader value = der_enter(&extension, DER_OCTET_STRING);
    if (der_equals(&oid, oid_alt_name, sizeof(oid_alt_name))) read_alt_names(&value, out);
    if (der_equals(&oid, oid_basic_constraints, sizeof(oid_basic_constraints))) read_basic_constraints(&value, out);
    if (der_equals(&oid, oid_key_usage, sizeof(oid_key_usage))) read_key_usage(&value, may_sign);
    if (der_equals(&oid, oid_ext_key_usage, sizeof(oid_ext_key_usage))) read_ext_key_usage(&value, out);
    if (!reader_ok(&extension) || !reader_ok(&value)) list->bad = true;
}

static void read_extensions(struct reader *body, struct cert *out) {
    for (uint8_t id = 1; id <= 2; id++) {  // unique identifiers, of old
        if (der_is_next(body, (uint8_t)(DER_CONTEXT + id))) der_skip(body);
    }
    if (!der_is_next(body, DER_CONTEXT_CONSTRUCTED + 3)) return;
    struct reader tagged = der_enter(body, DER_CONTEXT_CONSTRUCTED + 3);
    struct reader list = der_enter(&tagged, DER_SEQUENCE);
    bool may_sign = true;
    while (reader_ok(&list) && reader_left(&list) > 0) read_extension(&list, out, &may_sign);
    if (!may_sign) out->is_authority = false;
    if (!reader_ok(&list)) body->bad = true;
}

bool cert_read(const uint8_t *der, size_t size, struct cert *out) {
    struct cert cert = {.is_for_servers = true};
    struct reader all = reader_of(der, size);
    struct reader whole = der_enter(&all, DER_SEQUENCE);
    struct reader body = der_enter(&whole, DER_SEQUENCE);
    if (der_is_next(&body, DER_CONTEXT_CONSTRUCTED + 0)) der_skip(&body);  // version
    read_serial(&body, &cert);
    der_skip(&body);  // algorithm
    der_skip(&body);  // issuer
    read_validity(&body, &cert);
    read_subject(&body, &cert);
    read_key(&body, &cert);
    read_extensions(&body, &cert);
    if (!reader_done(&all) || !reader_done(&body)) return false;
    *out = cert;
    return true;
}

/* ---- names ---- */

/* An IPv4 address in IPv6 clothes is the IPv4 address, as in Go. */
static size_t unmap_ip(uint8_t ip[16], size_t size) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (size != 16 || memcmp(ip, mapped, sizeof(mapped)) != 0) return size;
    memmove(ip, ip + 12, 4);
    return 4;
}

size_t cert_ip_of(const char *text, uint8_t ip[16]) {
    char bare[INET6_ADDRSTRLEN];
    size_t size = strlen(text);
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') text++, size -= 2;
    if (size >= sizeof(bare)) return 0;
    memcpy(bare, text, size);
    bare[size] = '\0';
    if (inet_pton(AF_INET, bare, ip) == 1) return 4;
    if (inet_pton(AF_INET6, bare, ip) == 1) return unmap_ip(ip, 16);
    return 0;
}

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c; }

static bool equals_nocase(const uint8_t *a, const uint8_t *b, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (lower(a[i]) != lower(b[i])) return false;
    }
    return true;
}

/* "*.rest" matches when the name is one non-empty label and ".rest". */
static bool dns_matches(const struct reader *pattern, const uint8_t *name, size_t size) {
    const uint8_t *at = pattern->at;
    size_t left = reader_left(pattern);
    if (left > 2 && at[0] == '*' && at[1] == '.') {
        const uint8_t *dot = memchr(name, '.', size);
        if (!dot || dot == name) return false;
        at++, left--;
        size -= (size_t)(dot - name);
        name = dot;
    }
    return left > 0 && left == size && equals_nocase(at, name, size);
}

static bool ip_matches(const struct reader *entry, const uint8_t *ip, size_t size) {
    uint8_t theirs[16];
    size_t their_size = reader_left(entry);
    if (their_size != 4 && their_size != 16) return false;
    memcpy(theirs, entry->at, their_size);
    their_size = unmap_ip(theirs, their_size);
    return their_size == size && memcmp(theirs, ip, size) == 0;
}

bool cert_is_for(const struct cert *cert, const char *name) {
    uint8_t ip[16];
    size_t ip_size = cert_ip_of(name, ip), size = strlen(name);
    if (size > 0 && name[size - 1] == '.') size--;
    struct reader names = reader_of(cert->alt_names, cert->alt_names_size);
    while (reader_ok(&names) && reader_left(&names) > 0) {
        uint8_t tag = names.at[0];
        struct reader entry = der_skip(&names);
        if (!reader_ok(&entry)) return false;
        if (ip_size ? tag == DER_CONTEXT + 7 && ip_matches(&entry, ip, ip_size)
                    : tag == DER_CONTEXT + 2 && dns_matches(&entry, (const uint8_t *)name, size))
            return true;
    }
    return false;
}

/* ---- pins ---- */

void cert_pin(const uint8_t *der, size_t size, uint8_t pin[CERT_PIN_SIZE]) {
    _Static_assert(CERT_PIN_SIZE == crypto_hash_sha256_BYTES, "a pin is a SHA-256");
    crypto_hash_sha256(pin, der, size);
}

void cert_pin_format(const uint8_t pin[CERT_PIN_SIZE], char text[CERT_PIN_TEXT_SIZE]) {
    sodium_bin2hex(text, CERT_PIN_TEXT_SIZE, pin, CERT_PIN_SIZE);
}

bool cert_pin_parse(const char *text, uint8_t pin[CERT_PIN_SIZE]) {
    size_t size = 0;
    const char *end = NULL;
    return strlen(text) == 2 * CERT_PIN_SIZE &&
           sodium_hex2bin(pin, CERT_PIN_SIZE, text, 2 * CERT_PIN_SIZE, NULL, &size, &end) == 0 &&
           size == CERT_PIN_SIZE && end == text + 2 * CERT_PIN_SIZE;
}

/* ---- PEM ---- */

#define PEM_LINE_BYTES 48  // 64 characters

/* Moves behind the next "-----BEGIN label-----" or "-----END label-----"; returns where it began, or NULL. */
static const uint8_t *find_line(struct reader *pem, const char *kind, const char *label) {
    char line[64];
    struct writer w = writer_of(line, sizeof(line));
    writer_text(&w, kind);
    writer_text(&w, label);
    writer_text(&w, "-----");
    if (!writer_ok(&w) || !reader_ok(pem) || reader_left(pem) == 0) return NULL;
    size_t size = sizeof(line) - writer_left(&w);
    const uint8_t *found = memmem(pem->at, reader_left(pem), line, size);
    if (found) pem->at = found + size;
    return found;
}

bool cert_pem_next(struct reader *pem, const char *label, struct writer *der) {
    if (!find_line(pem, "-----BEGIN ", label)) return false;
    const char *text = (const char *)pem->at, *end = NULL;
    const uint8_t *stop = find_line(pem, "-----END ", label);
    size_t size = 0;
    pem->bad = true;
    if (!stop || sodium_base642bin(der->at, writer_left(der), text, (size_t)((const char *)stop - text), " \t\r\n",
                                   &size, &end, sodium_base64_VARIANT_ORIGINAL))
        return false;
    if (end != (const char *)stop || size == 0 || !writer_room(der, size)) return false;
    pem->bad = false;
    return true;
}

static void write_line(struct writer *pem, const char *kind, const char *label) {
    writer_text(pem, kind);
    writer_text(pem, label);
    writer_text(pem, "-----\n");
}

void cert_pem_write(struct writer *pem, const char *label, const uint8_t *der, size_t size) {
    write_line(pem, "-----BEGIN ", label);
    while (size > 0) {
        char text[sodium_base64_ENCODED_LEN(PEM_LINE_BYTES, sodium_base64_VARIANT_ORIGINAL)];
        size_t piece = min_of(size, (size_t)PEM_LINE_BYTES);
        sodium_bin2base64(text, sizeof(text), der, piece, sodium_base64_VARIANT_ORIGINAL);
        writer_text(pem, text);
        writer_u8(pem, '\n');
        sodium_memzero(text, sizeof(text));  // may be of a key
        der += piece;
        size -= piece;
    }
    write_line(pem, "-----END ", label);
}
