/* record.h - TLS 1.3 records after the handshake: open, seal, KeyUpdate, alerts.
 *
 * What it is: everything a connection needs of TLS once both traffic secrets are known (proto/handshake.h exports them
 * and is freed). Bytes in, values out: no sockets, no clock, no allocation.
 *
 * A record on the wire, RFC 8446 section 5:
 *
 *     type 23 | 03 03 | length u16 | ciphertext of (content | true type | zeros) | tag 16
 *     '------- 5 bytes, also the AAD ------'
 *
 * Opening is out of place, from the receive buffer into memory of the caller's choice; sealing likewise: the cipher is
 * the only copy. A frame that is alone in its record is opened once and sealed once.
 *
 * Model. `struct record` is both directions of one connection, as server or client. The plain values in it (secrets,
 * sequence numbers, what is owed) are what a hand-over carries (record_pack_... below); key schedules are derived again on arrival.
 *   in:   record_next finds the record at the start of some bytes; record_open opens it and acts on what is not data
 *   out:  record_seal seals data; before it, if one is owed, a KeyUpdate (record_owes)
 * Invariants: a sequence number is used once; sealed bytes are to be sent whole and in order, or the connection ends;
 * a KeyUpdate is sealed with the old key and is the last thing in its record; several requests owe one answer.
 *
 * Limits: our own key is updated before RECORD_REKEY_AFTER records (AES-GCM's bound is 2^24.5); an inbound KeyUpdate costs 4 us, so
 * at most RECORD_UPDATES_BURST at once and one per RECORD_UPDATES_EVERY records opened are accepted.
 *
 * Threads: thread-local. Memory: none but the struct. Errors: RECORD_BAD with the alert to send; the connection is over,
 * and nothing of the bad record has left (its plaintext is wiped).
 * Not here: the handshake, TLS 1.2, session tickets (as client they are skipped), early data (never offered).
 */
#pragma once

#include "core/aead.h"
#include "core/base.h"
#include "core/bytes.h"

enum {
    RECORD_HEADER_SIZE = 5,
    RECORD_PLAIN_MAX = 16384,                                            // content of one record
    RECORD_CIPHER_MAX = RECORD_PLAIN_MAX + 256,                          // the length field's bound
    RECORD_SIZE_MAX = RECORD_HEADER_SIZE + RECORD_CIPHER_MAX,
    RECORD_OVERHEAD = RECORD_HEADER_SIZE + 1 + AEAD_TAG_SIZE,            // header, true type, tag
    RECORD_SECRET_MAX = 48,                                              // SHA-384
    RECORD_REKEY_AFTER = 1 << 23,
    RECORD_UPDATES_BURST = 16,
    RECORD_UPDATES_EVERY = 64,
    RECORD_KEY_UPDATE_SIZE = RECORD_OVERHEAD + 5,                        // a sealed KeyUpdate
    RECORD_ALERT_SIZE = RECORD_OVERHEAD + 2,                             // a sealed alert
};

enum record_alert {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_INTERNAL_ERROR = 80,
};

/* One direction, as a plain value. */
struct record_half {
    uint8_t secret[RECORD_SECRET_MAX];  // the current traffic secret
    uint64_t sequence;                  // of the next record
};

struct record {
    struct record_half in, out;
    uint8_t suite;            // enum aead_suite
    bool is_client;
    bool owes_key_update;     // the other side asked for one and has not had it
    bool asks_key_update;     // ours asks the other side for one too
    uint32_t update_tokens;   // inbound KeyUpdates that are still accepted
    uint32_t rekey_after;     // records per key outbound; RECORD_REKEY_AFTER, lower in tests
    /* derived */
    uint8_t in_iv[AEAD_NONCE_SIZE], out_iv[AEAD_NONCE_SIZE];
    struct aead_key in_key, out_key;
};
