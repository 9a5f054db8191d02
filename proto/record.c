#include "proto/record.h"

#include <endian.h>
#include <sodium.h>

#include "core/check.h"

/* True types of content; only application data is ever the outer one. */
enum { TYPE_ALERT = 21, TYPE_HANDSHAKE = 22, TYPE_DATA = 23 };

enum { MESSAGE_NEW_SESSION_TICKET = 4, MESSAGE_KEY_UPDATE = 24, MESSAGE_HEADER_SIZE = 4 };

enum { LEVEL_WARNING = 1, LEVEL_FATAL = 2 };

_Static_assert(sizeof(((struct record *)NULL)->message) == MESSAGE_HEADER_SIZE, "the head of a cut message fits");
_Static_assert(offsetof(struct record, ticket_left) == CACHE_LINE_SIZE, "what each record needs is on the first line");
_Static_assert(RECORD_SIZE_MAX == 16406, "as the header says");

/* ---- keys ---- */

/* All that changes with a KeyUpdate. */
struct generation {
    struct aead_key key;
    uint8_t iv[RECORD_IV_SIZE];
    uint8_t secret[HKDF_SECRET_MAX];
};

static enum hkdf_hash hash_of(enum aead_suite suite) { return suite == AEAD_AES_256_GCM ? HKDF_SHA384 : HKDF_SHA256; }

size_t record_secret_size(enum aead_suite suite) { return hash_of(suite); }

/* Key and IV of one direction from its secret. */
static bool derive(enum aead_suite suite, const uint8_t *secret, uint8_t *iv, struct aead_key *key) {
    uint8_t key_bytes[AEAD_KEY_BYTES_MAX];
    enum hkdf_hash hash = hash_of(suite);
    memset(iv, 0, RECORD_IV_SIZE);
    bool ok = hkdf_expand_label(hash, secret, "key", NULL, 0, key_bytes, aead_key_size(suite)) &&
              hkdf_expand_label(hash, secret, "iv", NULL, 0, iv, AEAD_NONCE_SIZE) &&
              aead_key_init(key, suite, key_bytes);
    sodium_memzero(key_bytes, sizeof(key_bytes));
    return ok;
}

/* Made beside the current one, so that running out of memory changes nothing. */
static bool derive_next(enum aead_suite suite, const uint8_t *secret, struct generation *next) {
    *next = (struct generation){0};
    enum hkdf_hash hash = hash_of(suite);
    bool ok = hkdf_expand_label(hash, secret, "traffic upd", NULL, 0, next->secret, (size_t)hash) &&
              derive(suite, next->secret, next->iv, &next->key);
    if (!ok) sodium_memzero(next, sizeof(*next));
    return ok;
}

/* The key moves: what it owns is finished in its new place. */
static void adopt(struct generation *next, struct aead_key *key, uint8_t *iv, uint8_t *secret) {
    aead_key_fini(key);
    *key = next->key;
    memcpy(iv, next->iv, RECORD_IV_SIZE);
    memcpy(secret, next->secret, HKDF_SECRET_MAX);
    sodium_memzero(next, sizeof(*next));
}

static bool are_flags_valid(const struct record *r) {
    return r->is_client <= 1 && r->owes_key_update <= 1 && r->asks_key_update <= 1 && r->awaits_key_update <= 1;
}

static bool is_message_valid(const struct record *r) {
    if (r->message_have == 0 && r->ticket_left == 0) return true;
    bool is_either = r->message_have == 0 || r->ticket_left == 0;
    return r->is_client && is_either && r->message_have < MESSAGE_HEADER_SIZE && r->ticket_left < 1u << 24;
}

/* Half of the numbers there are: more than any connection lives to see. */
static bool are_counts_valid(const struct record *r) {
    return r->in_sequence < UINT64_MAX / 2 && r->out_sequence < UINT64_MAX / 2 && r->rekey_after >= 1 &&
           r->rekey_after <= RECORD_REKEY_AFTER && r->update_tokens <= RECORD_UPDATES_BURST &&
           r->idle_count <= RECORD_IDLE_MAX;
}

bool record_rederive(struct record *r) {
    enum aead_suite suite = r->suite;
    r->in_key.suite = r->out_key.suite = 0;  // an unpacked struct holds rubbish there
    bool ok = aead_has_suite(suite) && are_flags_valid(r) && is_message_valid(r) && are_counts_valid(r) &&
              derive(suite, r->in_secret, r->in_iv, &r->in_key) && derive(suite, r->out_secret, r->out_iv, &r->out_key);
    if (!ok) record_fini(r);
    return ok;
}

bool record_init(struct record *r, enum aead_suite suite, bool is_client, const uint8_t *in_secret,
                 const uint8_t *out_secret) {
    CHECK(aead_has_suite(suite));
    *r = (struct record){
        .suite = (uint8_t)suite,
        .is_client = is_client,
        .rekey_after = RECORD_REKEY_AFTER,
        .update_tokens = RECORD_UPDATES_BURST,
    };
    memcpy(r->in_secret, in_secret, record_secret_size(suite));
    memcpy(r->out_secret, out_secret, record_secret_size(suite));
    return record_rederive(r);
}

void record_fini(struct record *r) {
    aead_key_fini(&r->in_key);
    aead_key_fini(&r->out_key);
    sodium_memzero(r, sizeof(*r));
}

/* Nonce and header are both read by the cipher, in wide loads, right after they were made. So each is made in a vector
 * register and stored at once: a wide load has to wait for several narrow stores, which costs a small packet 15 %. */
#define VECTOR_SIZE 16
#define vector_aligned __attribute__((aligned(VECTOR_SIZE)))

_Static_assert(RECORD_IV_SIZE == VECTOR_SIZE, "an IV is loaded at once");

/* The IV, with the sequence number exclusive-ored big-endian into its last eight bytes. */
static void make_nonce(uint8_t nonce[VECTOR_SIZE], const uint8_t *iv, uint64_t sequence) {
    CHECK(sequence != UINT64_MAX);
    uint32_t __attribute__((vector_size(VECTOR_SIZE))) v;
    memcpy(&v, iv, sizeof(v));
    v ^= (__typeof__(v)){0, htobe32((uint32_t)(sequence >> 32)), htobe32((uint32_t)sequence), 0};
    memcpy(nonce, &v, sizeof(v));
}

/* 23 | 03 03 | length, then rubbish. */
static void make_header(uint8_t header[VECTOR_SIZE], size_t length) {
    const uint64_t type_and_version = TYPE_DATA | 3 << 8 | 3 << 16;
    uint64_t __attribute__((vector_size(VECTOR_SIZE))) v = {
        htole64(type_and_version | (uint64_t)(length >> 8) << 24 | (uint64_t)(length & 0xff) << 32), 0};
    memcpy(header, &v, sizeof(v));
}

/* ---- opening ---- */

enum record_found record_next(const uint8_t *bytes, size_t size, size_t *record_size, enum record_alert *alert) {
    *record_size = 0;
    if (size < RECORD_HEADER_SIZE) return RECORD_MORE;
    size_t length = load_be16(bytes + 3);
    if (bytes[0] != TYPE_DATA) *alert = ALERT_UNEXPECTED_MESSAGE;
    else if (length > RECORD_CIPHER_MAX) *alert = ALERT_RECORD_OVERFLOW;
    else if (length < RECORD_CIPHER_MIN) *alert = ALERT_DECODE_ERROR;
    else {
        *record_size = RECORD_HEADER_SIZE + length;
        return size < *record_size ? RECORD_MORE : RECORD_WHOLE;
    }
    return RECORD_REFUSED;
}

static enum record_opened bad(enum record_alert *alert, enum record_alert why) {
    *alert = why;
    return RECORD_BAD;
}

static bool open_cipher(struct record *r, const uint8_t *record, size_t record_size, uint8_t *plain) {
    uint8_t nonce[VECTOR_SIZE] vector_aligned;
    make_nonce(nonce, r->in_iv, r->in_sequence);
    if (!aead_open(&r->in_key, nonce, record, RECORD_HEADER_SIZE, record + RECORD_HEADER_SIZE,
                   record_size - RECORD_HEADER_SIZE, plain))
        return false;
    r->in_sequence++;
    if (r->in_sequence % RECORD_UPDATES_EVERY == 0 && r->update_tokens < RECORD_UPDATES_BURST) r->update_tokens++;
    return true;
}

/* How much is left of `size` bytes without the zeros at their end; padding may be all of a record, so in wide steps. */
static size_t size_without_zeros(const uint8_t *plain, size_t size) {
    uint64_t word;
    while (size >= sizeof(word)) {
        memcpy(&word, plain + size - sizeof(word), sizeof(word));
        if (word != 0) break;
        size -= sizeof(word);
    }
    while (size > 0 && plain[size - 1] == 0) size--;
    return size;
}

/* One whole KeyUpdate, the last thing in its record. */
static enum record_opened on_key_update(struct record *r, uint8_t request, enum record_alert *alert) {
    struct generation next;
    if (request > 1) return bad(alert, ALERT_ILLEGAL_PARAMETER);
    if (!r->awaits_key_update && r->update_tokens == 0) return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    if (!derive_next(r->suite, r->in_secret, &next)) return bad(alert, ALERT_INTERNAL_ERROR);
    adopt(&next, &r->in_key, r->in_iv, r->in_secret);
    r->in_sequence = 0;
    if (r->awaits_key_update) r->awaits_key_update = false;
    else r->update_tokens--;
    if (request) r->owes_key_update = true;
    return RECORD_HANDLED;
}

/* Completes the four bytes in front of a handshake message; false when the record ends before. */
static bool take_message_header(struct record *r, struct reader *in) {
    size_t n = min_of(reader_left(in), (size_t)(MESSAGE_HEADER_SIZE - r->message_have));
    if (!reader_copy(in, r->message + r->message_have, n)) return false;
    r->message_have = (uint8_t)(r->message_have + n);
    return r->message_have == MESSAGE_HEADER_SIZE;
}

static void skip_ticket(struct record *r, struct reader *in) {
    size_t n = min_of(reader_left(in), (size_t)r->ticket_left);
    (void)reader_take(in, n);
    r->ticket_left -= (uint32_t)n;
}

/* The header of a message is in r->message, the rest in `in`. */
static enum record_opened on_message(struct record *r, struct reader *in, bool is_cut, enum record_alert *alert) {
    uint32_t length = load_be32(r->message) & 0xffffff;
    r->message_have = 0;
    if (r->message[0] == MESSAGE_NEW_SESSION_TICKET && r->is_client) {
        r->ticket_left = length;
        skip_ticket(r, in);
        return RECORD_HANDLED;
    }
    if (r->message[0] != MESSAGE_KEY_UPDATE || is_cut) return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    if (length != 1) return bad(alert, ALERT_DECODE_ERROR);
    if (reader_left(in) != 1) return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    return on_key_update(r, reader_u8(in), alert);
}

/* A client may get tickets, several in a record or one in several; else there is one KeyUpdate and nothing more. */
static enum record_opened on_handshake(struct record *r, const uint8_t *content, size_t size,
                                       enum record_alert *alert) {
    if (size == 0) return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    struct reader in = reader_of(content, size);
    enum record_opened opened = RECORD_HANDLED;
    skip_ticket(r, &in);
    while (opened == RECORD_HANDLED && reader_left(&in) > 0) {
        bool is_cut = r->message_have > 0;
        if (take_message_header(r, &in)) opened = on_message(r, &in, is_cut, alert);
        else if (!r->is_client) opened = bad(alert, ALERT_UNEXPECTED_MESSAGE);
    }
    return opened;
}

static enum record_opened on_alert(const uint8_t *content, size_t size, enum record_alert *alert) {
    if (size == 0) return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    if (size != 2) return bad(alert, ALERT_DECODE_ERROR);
    switch (content[1]) {
        case ALERT_CLOSE_NOTIFY: return RECORD_CLOSED;
        case ALERT_USER_CANCELED: return RECORD_HANDLED;
        default: *alert = content[1]; return RECORD_ALERTED;
    }
}

/* Application data must not come in the middle of a handshake message. */
static enum record_opened on_data(const struct record *r, enum record_alert *alert) {
    if (r->message_have > 0 || r->ticket_left > 0) return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    return RECORD_DATA;
}

static enum record_opened on_content(struct record *r, uint8_t type, const uint8_t *content, size_t size,
                                     enum record_alert *alert) {
    switch (type) {
        case TYPE_DATA: return on_data(r, alert);
        case TYPE_HANDSHAKE: return on_handshake(r, content, size, alert);
        case TYPE_ALERT: return on_alert(content, size, alert);
        default: return bad(alert, ALERT_UNEXPECTED_MESSAGE);
    }
}

/* Content or not: who sends only records without any makes us work for nothing. */
static bool is_idle_too_long(struct record *r, bool has_content) {
    if (likely(has_content)) r->idle_count = 0;
    else if (r->idle_count == RECORD_IDLE_MAX) return true;
    else r->idle_count++;
    return false;
}

enum record_opened record_open(struct record *r, const uint8_t *record, size_t record_size, uint8_t *plain,
                               size_t *plain_size, enum record_alert *alert) {
    CHECK(record_size >= RECORD_HEADER_SIZE + RECORD_CIPHER_MIN && record_size <= RECORD_SIZE_MAX);
    size_t room = record_plain_room(record_size);
    *plain_size = 0;
    if (!open_cipher(r, record, record_size, plain)) return bad(alert, ALERT_BAD_RECORD_MAC);

    enum record_opened opened = RECORD_BAD;
    *alert = ALERT_UNEXPECTED_MESSAGE;
    size_t used = size_without_zeros(plain, room);
    size_t size = used > 0 ? used - 1 : 0;
    uint8_t type = used > 0 ? plain[size] : 0;
    if (!is_idle_too_long(r, type == TYPE_DATA && size > 0)) opened = on_content(r, type, plain, size, alert);
    if (likely(opened == RECORD_DATA)) *plain_size = size;
    else sodium_memzero(plain, room);
    return opened;
}

/* ---- sealing ---- */

/* One record at `at`; plain[size] lends its place to the true type. */
static void seal_one(struct record *r, uint8_t *at, uint8_t *plain, size_t size, uint8_t type) {
    uint8_t nonce[VECTOR_SIZE] vector_aligned, header[VECTOR_SIZE] vector_aligned;
    make_nonce(nonce, r->out_iv, r->out_sequence);
    make_header(header, size + 1 + AEAD_TAG_SIZE);
    memcpy(at, header, RECORD_HEADER_SIZE);

    uint8_t borrowed = plain[size];
    plain[size] = type;
    aead_seal(&r->out_key, nonce, header, RECORD_HEADER_SIZE, plain, size + 1, at + RECORD_HEADER_SIZE);
    plain[size] = borrowed;
    r->out_sequence++;
}

/* Says so in `out` when there is none. */
static bool has_room(struct writer *out, size_t size) {
    if (writer_left(out) < size) out->bad = true;
    return writer_ok(out);
}

static size_t records_of(size_t plain_size) { return (plain_size + RECORD_PLAIN_MAX - 1) / RECORD_PLAIN_MAX; }

/* The key has seen as many records as it may, or would with these. */
static bool is_key_old(const struct record *r, size_t plain_size) {
    return r->out_sequence > 0 && r->out_sequence + records_of(plain_size) > r->rekey_after;
}

size_t record_room_needed(const struct record *r, size_t plain_size) {
    bool has_update = r->owes_key_update || is_key_old(r, plain_size);
    return record_sealed_size(plain_size) + (has_update ? RECORD_KEY_UPDATE_SIZE : 0);
}

bool record_seal_key_update(struct record *r, struct writer *out, bool asks) {
    struct generation next;
    uint8_t message[MESSAGE_HEADER_SIZE + 2] = {MESSAGE_KEY_UPDATE, 0, 0, 1, asks};  // and a place to lend
    if (!has_room(out, RECORD_KEY_UPDATE_SIZE) || !derive_next(r->suite, r->out_secret, &next)) return false;
    seal_one(r, writer_room(out, RECORD_KEY_UPDATE_SIZE), message, sizeof(message) - 1, TYPE_HANDSHAKE);
    adopt(&next, &r->out_key, r->out_iv, r->out_secret);
    r->out_sequence = 0;
    r->owes_key_update = false;
    if (asks) r->awaits_key_update = true;
    return true;
}

/* An answer asks for nothing; nor do we ask again for what is still to come. */
static bool seal_due_update(struct record *r, struct writer *out, size_t plain_size) {
    bool is_old = is_key_old(r, plain_size);
    if (!is_old && !r->owes_key_update) return true;
    return record_seal_key_update(r, out, is_old && r->asks_key_update && !r->awaits_key_update);
}

bool record_seal(struct record *r, struct writer *out, uint8_t *plain, size_t size) {
    if (!has_room(out, record_room_needed(r, size)) || !seal_due_update(r, out, size)) return false;
    while (size > 0) {
        size_t piece = min_of(size, (size_t)RECORD_PLAIN_MAX);
        seal_one(r, writer_room(out, RECORD_OVERHEAD + piece), plain, piece, TYPE_DATA);
        plain += piece;
        size -= piece;
    }
    return true;
}

bool record_seal_alert(struct record *r, struct writer *out, enum record_alert alert) {
    bool is_warning = alert == ALERT_CLOSE_NOTIFY || alert == ALERT_USER_CANCELED;
    uint8_t content[3] = {is_warning ? LEVEL_WARNING : LEVEL_FATAL, (uint8_t)alert};  // and a place to lend
    if (!has_room(out, RECORD_ALERT_SIZE)) return false;
    seal_one(r, writer_room(out, RECORD_ALERT_SIZE), content, 2, TYPE_ALERT);
    return true;
}
