/* record.h - TLS 1.3 records after the handshake: open, seal, KeyUpdate, alerts.
 *
 * What it is: everything a connection needs of TLS once both traffic secrets are known (proto/handshake.h exports them
 * and is freed). Bytes in, values out: no sockets, no clock.
 *
 * A record on the wire, RFC 8446 section 5:
 *
 *     type 23 | 03 03 | length u16 | ciphertext of (content | true type | zeros) | tag 16
 *     '------- 5 bytes, also the AAD ------'
 *
 * Opening is out of place, from the receive buffer into memory of the caller's choice; sealing likewise, into the
 * output: the cipher is the only copy. A frame that is alone in its record is opened once and sealed once.
 *
 *     for (;;) {
 *         switch (record_next(bytes, size, &record_size, &alert)) {
 *         case RECORD_MORE:     ...keep the `size` bytes; return;
 *         case RECORD_REFUSED:  ...seal the alert, close; return;
 *         case RECORD_WHOLE:    break;
 *         }
 *         switch (record_open(r, bytes, record_size, plain, &plain_size, &alert)) {
 *         case RECORD_DATA:     ...plain_size bytes of content; it may be 0; break;
 *         case RECORD_HANDLED:  ...nothing to do; record_owes(r) may be true now; break;
 *         case RECORD_CLOSED:   ...no more will come; ours may still go out; return;
 *         case RECORD_ALERTED:  ...the other side gave up, `alert` says why: close without a word; return;
 *         case RECORD_BAD:      ...seal the alert, close; return;
 *         }
 *         bytes += record_size, size -= record_size;
 *     }
 *
 * Model. `struct record` is both directions of one connection, as server or client. RECORD_FIELDS are plain values and
 * what a hand-over carries: only between two records, when no sealed byte is half counted. Key schedules and IVs are
 * derived from them again on arrival (record_rederive), perhaps for another AEAD back-end.
 *
 * Invariants:
 *   - A sequence number is used once, and cannot run out (CHECK). Sealed bytes are sent whole and in order, or the
 *     connection ends.
 *   - A KeyUpdate is sealed with the old key, is the last thing in its record, and several requests owe one answer.
 *   - All or nothing: a function that returns false has sealed nothing, moved no sequence number, and changed no key.
 *
 * KeyUpdate. Inbound is obeyed; one that asks for ours makes us owe one, which goes out before the next data (or at
 * once by record_seal with no data). Ours is sent by itself after `rekey_after` records, far below AES-GCM's bound of
 * 2^24.5 records; with asks_key_update it asks the other side to follow. An inbound one costs 4 us, so they are
 * rationed by tokens: RECORD_UPDATES_BURST at once, one more whenever RECORD_UPDATES_EVERY records were opened under
 * one key; one that we asked for is free. Records in a row without content are rationed as well (RECORD_IDLE_MAX).
 *
 * Alerts. close_notify ends their direction; user_canceled means nothing; all others end the connection. Post-handshake
 * messages other than KeyUpdate are refused; a client skips NewSessionTicket, also when it is cut over records.
 *
 * Threads: thread-local. Memory: the struct (2.7 KB, on cache lines of its own), and what the AEAD back-end allocates.
 * Errors: RECORD_BAD with the alert to send; the connection is over, and nothing of the bad record has left: its
 * plaintext is wiped. The struct is still good for sealing that alert.
 * Not here: the handshake, TLS 1.2, session resumption, early data (never offered).
 */
#pragma once

#include "core/aead.h"
#include "core/base.h"
#include "core/bytes.h"
#include "proto/hkdf.h"

enum {
    RECORD_HEADER_SIZE = 5,
    RECORD_PLAIN_MAX = 16384,                                  // content of one record
    RECORD_INNER_MAX = RECORD_PLAIN_MAX + 1,                   // content, true type, padding: section 5.4
    RECORD_CIPHER_MIN = 1 + AEAD_TAG_SIZE,
    /* Section 5.2 lets any cipher add 256; ours add a tag, so that whatever is longer breaks the bound above. */
    RECORD_CIPHER_MAX = RECORD_INNER_MAX + AEAD_TAG_SIZE,
    RECORD_SIZE_MAX = RECORD_HEADER_SIZE + RECORD_CIPHER_MAX,  // 16406: what a receiver must be able to hold
    RECORD_OVERHEAD = RECORD_HEADER_SIZE + 1 + AEAD_TAG_SIZE,  // 22: header, true type, tag
    RECORD_KEY_UPDATE_SIZE = RECORD_OVERHEAD + 5,              // a sealed KeyUpdate
    RECORD_ALERT_SIZE = RECORD_OVERHEAD + 2,                   // a sealed alert
    RECORD_REKEY_AFTER = 1 << 23,
    RECORD_UPDATES_BURST = 16,
    RECORD_UPDATES_EVERY = 64,
    RECORD_IDLE_MAX = 32,  // records in a row without content; one more is refused
};

enum record_alert {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_USER_CANCELED = 90,
};

/* F(type, name, array suffix) for each field that travels with a packed connection. Secret are the last two.
 *   in_sequence, out_sequence  of the next record, under the current key
 *   rekey_after                records per key outbound: RECORD_REKEY_AFTER, or lower, at least 1 (tests)
 *   suite                      enum aead_suite
 *   is_client                  the handshake's client is we
 *   owes_key_update            the other side asked for one and has not had it
 *   asks_key_update            an option: our own updates ask the other side for one
 *   awaits_key_update          ...and it has not come yet
 *   update_tokens              inbound KeyUpdates that are still accepted
 *   idle_count                 records in a row without content
 *   message_have, message      the first bytes of a handshake message that is cut there (client only)
 *   ticket_left                bytes of a NewSessionTicket still to skip (client only)
 *   in_secret, out_secret      the current traffic secrets, record_secret_size() bytes of each */
#define RECORD_FIELDS(F)                     \
    F(uint64_t, in_sequence, )               \
    F(uint64_t, out_sequence, )              \
    F(uint32_t, rekey_after, )               \
    F(uint8_t, suite, )                      \
    F(uint8_t, is_client, )                  \
    F(uint8_t, owes_key_update, )            \
    F(uint8_t, asks_key_update, )            \
    F(uint8_t, awaits_key_update, )          \
    F(uint8_t, update_tokens, )              \
    F(uint8_t, idle_count, )                 \
    F(uint8_t, message_have, )               \
    F(uint8_t, message, [4])                 \
    F(uint32_t, ticket_left, )               \
    F(uint8_t, in_secret, [HKDF_SECRET_MAX]) \
    F(uint8_t, out_secret, [HKDF_SECRET_MAX])

/* 12 bytes of IV in front of 4 zeros: a nonce is made in one vector register. */
enum { RECORD_IV_SIZE = 16 };

struct record {
    cache_aligned uint8_t in_iv[RECORD_IV_SIZE];  // the ivs and keys are derived
    uint8_t out_iv[RECORD_IV_SIZE];
#define RECORD_DECLARE(type, name, array) type name array;
    RECORD_FIELDS(RECORD_DECLARE)
#undef RECORD_DECLARE
    struct aead_key in_key, out_key;
};

/* 32 or 48: of a traffic secret of the suite. */
size_t record_secret_size(enum aead_suite suite);

/* A connection whose handshake is done: both secrets are record_secret_size() bytes and copied; sequence numbers begin
 * at 0. What *r held is not finished. CHECKs aead_has_suite. False, and a wiped *r: out of memory. */
must_use bool record_init(struct record *r, enum aead_suite suite, bool is_client, const uint8_t *in_secret,
                          const uint8_t *out_secret);

/* After all RECORD_FIELDS were filled in from a packed value: derives the rest. False, and a wiped *r, when the fields
 * make no sense together (they may come from a newer or broken program), this machine lacks the suite, or memory is
 * out. */
must_use bool record_rederive(struct record *r);

/* Wipes everything. Fine on a zeroed struct and twice. */
void record_fini(struct record *r);

enum record_found {
    RECORD_MORE,  // incomplete: come back with more bytes
    RECORD_WHOLE,  // *record_size bytes are one record
    RECORD_REFUSED,  // no record can begin like this; *alert is to be sent
};

/* Is there a record at the start of `bytes`? Judges the five header bytes only: of type 23 (a plaintext alert, a
 * ChangeCipherSpec or a handshake record after the handshake ends the connection) and of a possible length; the version
 * is ignored, as section 5.1 demands. A refusal comes with the fifth byte. For MORE, *record_size is what the whole
 * record will take, or 0 as long as the header is not there; never above RECORD_SIZE_MAX. */
must_use enum record_found record_next(const uint8_t *bytes, size_t size, size_t *record_size,
                                       enum record_alert *alert);

/* How many bytes record_open writes at most: content, true type and padding. At most RECORD_INNER_MAX. */
static inline size_t record_plain_room(size_t record_size) { return record_size - RECORD_HEADER_SIZE - AEAD_TAG_SIZE; }

enum record_opened {
    RECORD_DATA,  // content is in `plain`
    RECORD_HANDLED,  // nothing for the caller: KeyUpdate, a ticket, user_canceled
    RECORD_CLOSED,  // close_notify
    RECORD_ALERTED,  // the other side's fatal alert, in *alert; to be answered by closing only
    RECORD_BAD,  // *alert is to be sent, then closed
};

/* Opens what record_next found WHOLE into `plain`, record_plain_room() bytes, which does not overlap the record or is
 * record + RECORD_HEADER_SIZE. The content lies at the start of `plain`, *plain_size bytes (0 but for DATA); behind it
 * the room holds rubbish (type and padding). Except for DATA the room is wiped as far as it was written. */
must_use enum record_opened record_open(struct record *r, const uint8_t *record, size_t record_size, uint8_t *plain,
                                        size_t *plain_size, enum record_alert *alert);

/* The size of `plain_size` bytes in records, split at RECORD_PLAIN_MAX; 0 for 0. */
static inline size_t record_sealed_size(size_t plain_size) {
    return plain_size + (plain_size + RECORD_PLAIN_MAX - 1) / RECORD_PLAIN_MAX * RECORD_OVERHEAD;
}

/* A KeyUpdate will go out with the next seal because the other side asked. */
static inline bool record_owes(const struct record *r) { return r->owes_key_update; }

/* Exactly what record_seal will write for `plain_size` bytes now, with the KeyUpdate if one is due. Callers who budget
 * without looking add RECORD_KEY_UPDATE_SIZE to record_sealed_size(). */
size_t record_room_needed(const struct record *r, size_t plain_size);

/* Seals `size` bytes as application data into `out`, in as many records as it takes, behind the KeyUpdate that may be
 * due. With size 0: the owed KeyUpdate alone, if any. `plain` does not overlap the room in `out`.
 * The true type has to stand behind the plaintext: plain[size] must be memory that the caller may write (packets have
 * tailroom). That byte, and the one behind each piece of a split, are borrowed: afterwards all is what it was.
 * False: no room (then `out` is bad), or no memory for a new key; nothing has been sealed. */
must_use bool record_seal(struct record *r, struct writer *out, uint8_t *plain, size_t size);

/* Seals one alert, with its level. Nothing may be sealed behind a fatal one or close_notify. An owed KeyUpdate stays
 * owed. False: no room. */
must_use bool record_seal_alert(struct record *r, struct writer *out, enum record_alert alert);

/* Seals a KeyUpdate now, which also pays one that is owed; `asks`: it asks the other side for one. False as above. */
must_use bool record_seal_key_update(struct record *r, struct writer *out, bool asks);

/* For batches: the keys of records that are opened or sealed soon. */
static inline void record_prefetch_in(const struct record *r) { aead_key_prefetch(&r->in_key); }
static inline void record_prefetch_out(const struct record *r) { aead_key_prefetch(&r->out_key); }
