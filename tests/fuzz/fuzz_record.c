/* Fuzzes proto/record.
 *
 * Attack surface: everything behind the handshake. Anybody on the path chooses the bytes of records; a peer who holds
 * the keys chooses what is in them. No mocks; the AEAD is the machine's best.
 * Input: byte 0 chooses the suite, whether we are server or client, and one of two ways to go on:
 *   raw      the rest is bytes from the network.
 *   sealed   the rest is a script of steps: {step, size u8, bytes}. The peer seals what the script says, so that
 *            mutation is not wasted on the MAC: inner plaintexts of any type, with padding; data; key updates; also
 *            damage, a hand-over, and our own sealing in between.
 * Beyond crashes: sizes are in their bounds and no byte outside the room is touched; what is not data is wiped; the
 * plain fields are valid after each step; damage is always bad_record_mac and moves nothing; as long as nothing is bad,
 * both sides can talk to each other, whatever was said before.
 */
#include <stdlib.h>

#include "core/check.h"
#include "proto/record.h"

enum { ROOM = RECORD_SIZE_MAX + RECORD_KEY_UPDATE_SIZE };

enum step { INNER, TYPED, PADDED, DATA, UPDATE, DAMAGE, HAND_OVER, OUR_DATA, OUR_UPDATE, STEP_COUNT };

static struct record us, peer;

static void copy_fields(struct record *to, const struct record *from) {
    memset(to, 0xa5, sizeof(*to));
#define COPY(type, name, array) memcpy(&to->name, &from->name, sizeof(to->name));
    RECORD_FIELDS(COPY)
#undef COPY
}

/* Through plain fields, as at a hand-over. */
static void renew(struct record *r) {
    static struct record moved;
    copy_fields(&moved, r);
    record_fini(r);
    CHECK(record_rederive(&moved));
    *r = moved;
}

static bool is_wiped(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return false;
    return true;
}

/* Opens into memory of exactly the promised size. */
static enum record_opened open_one(struct record *r, const uint8_t *record, size_t record_size, uint8_t **plain,
                                   size_t *size, enum record_alert *alert) {
    size_t room = record_plain_room(record_size);
    CHECK(room >= 1 && room <= RECORD_INNER_MAX);
    *plain = malloc(room);
    CHECK(*plain != NULL);
    memset(*plain, 0xee, room);
    enum record_opened opened = record_open(r, record, record_size, *plain, size, alert);
    if (opened == RECORD_DATA) CHECK(*size < room && *size <= RECORD_PLAIN_MAX);
    else CHECK(*size == 0 && is_wiped(*plain, room));
    if (opened == RECORD_BAD) CHECK(*alert != ALERT_CLOSE_NOTIFY && *alert != ALERT_INTERNAL_ERROR);
    return opened;
}

/* ---- raw ---- */

static void run_raw(const uint8_t *bytes, size_t size) {
    while (size > 0) {
        size_t record_size, plain_size;
        enum record_alert alert;
        enum record_found found = record_next(bytes, size, &record_size, &alert);
        CHECK(record_size <= RECORD_SIZE_MAX && (found != RECORD_WHOLE || record_size <= size));
        CHECK(found != RECORD_MORE || record_size == 0 || record_size > size);
        if (found != RECORD_WHOLE) return;
        uint8_t *plain;
        enum record_opened opened = open_one(&us, bytes, record_size, &plain, &plain_size, &alert);
        free(plain);
        if (opened != RECORD_DATA && opened != RECORD_HANDLED) return;
        bytes += record_size;
        size -= record_size;
    }
}

/* ---- sealed ---- */

/* Any inner plaintext; the nonce is made here once more, byte by byte. */
static size_t seal_inner(uint8_t *wire, const uint8_t *inner, size_t size) {
    uint8_t nonce[AEAD_NONCE_SIZE];
    memcpy(nonce, peer.out_iv, sizeof(nonce));
    for (int i = 0; i < 8; i++) nonce[4 + i] ^= (uint8_t)(peer.out_sequence >> (56 - 8 * i));
    peer.out_sequence++;
    size_t length = size + AEAD_TAG_SIZE;
    memcpy(wire, (uint8_t[]){23, 3, 3, (uint8_t)(length >> 8), (uint8_t)length}, RECORD_HEADER_SIZE);
    aead_seal(&peer.out_key, nonce, wire, RECORD_HEADER_SIZE, inner, size, wire + RECORD_HEADER_SIZE);
    return RECORD_HEADER_SIZE + length;
}

/* What the peer says in this step; the size of the record, which has RECORD_OVERHEAD bytes at least. */
static size_t peer_says(enum step step, const uint8_t *bytes, size_t size, uint8_t *wire) {
    static const uint8_t types[] = {21, 22, 22, 23};
    static uint8_t inner[RECORD_INNER_MAX];
    memset(inner, 0, sizeof(inner));
    if (size > 0) memcpy(inner, bytes, size);
    switch (step) {
        case INNER: return seal_inner(wire, inner, max_of(size, (size_t)1));
        case TYPED: inner[size] = types[size > 0 ? bytes[size - 1] % 4 : 3]; return seal_inner(wire, inner, size + 1);
        case PADDED: inner[size] = 22; return seal_inner(wire, inner, size + 1 + size * 63);
        default: inner[size] = 23; return seal_inner(wire, inner, size + 1);
    }
}

/* Both sides have the same keys again when the script's own KeyUpdate was obeyed. */
static void follow_update(void) {
    memcpy(peer.out_secret, us.in_secret, sizeof(peer.out_secret));
    peer.out_sequence = 0;
    renew(&peer);
}

static bool hear(enum step step, const uint8_t *bytes, size_t size) {
    static uint8_t wire[ROOM];
    size_t record_size = peer_says(step, bytes, size, wire), found_size, plain_size;
    enum record_alert alert;
    CHECK(record_next(wire, record_size, &found_size, &alert) == RECORD_WHOLE && found_size == record_size);
    uint8_t *plain;
    enum record_opened opened = open_one(&us, wire, record_size, &plain, &plain_size, &alert);
    if (opened == RECORD_HANDLED && us.in_sequence == 0) follow_update();
    if (opened == RECORD_DATA && step == DATA) CHECK(plain_size == size && memcmp(plain, bytes, size) == 0);
    free(plain);
    return opened == RECORD_DATA || opened == RECORD_HANDLED;
}

static bool hear_damaged(const uint8_t *bytes, size_t size) {
    static uint8_t wire[ROOM];
    size_t record_size = peer_says(TYPED, bytes, size, wire), plain_size;
    size_t at = RECORD_HEADER_SIZE + (size > 0 ? bytes[0] : 0u) % (record_size - RECORD_HEADER_SIZE);
    wire[at] ^= (uint8_t)(1u << (size > 1 ? bytes[1] % 8 : 0));
    uint64_t sequence = us.in_sequence;
    enum record_alert alert;
    uint8_t *plain;
    CHECK(open_one(&us, wire, record_size, &plain, &plain_size, &alert) == RECORD_BAD);
    CHECK(alert == ALERT_BAD_RECORD_MAC && us.in_sequence == sequence);
    free(plain);
    peer.out_sequence--;  // as if it had never been
    return true;
}

static bool open_all(struct record *to, const uint8_t *wire, size_t size, const uint8_t *want, size_t want_size) {
    while (size > 0) {
        size_t record_size, plain_size;
        enum record_alert alert;
        uint8_t *plain;
        CHECK(record_next(wire, size, &record_size, &alert) == RECORD_WHOLE);
        enum record_opened opened = open_one(to, wire, record_size, &plain, &plain_size, &alert);
        bool is_good = opened == RECORD_DATA || opened == RECORD_HANDLED;
        if (is_good && plain_size > 0) {
            CHECK(plain_size <= want_size && memcmp(plain, want, plain_size) == 0);
            want += plain_size;
            want_size -= plain_size;
        }
        free(plain);
        if (!is_good) return false;
        wire += record_size;
        size -= record_size;
    }
    CHECK(want_size == 0);
    return true;
}

/* From `from` to `to` by the module alone. Only a ration may make it bad. */
static bool say(struct record *from, struct record *to, bool is_update, const uint8_t *bytes, size_t size) {
    static uint8_t wire[ROOM], plain[256];
    size_t needed = is_update ? RECORD_KEY_UPDATE_SIZE : record_room_needed(from, size);
    struct writer w = writer_of(wire, needed);
    if (size > 0) memcpy(plain, bytes, size);
    bool is_sealed =
        is_update ? record_seal_key_update(from, &w, size > 0 && bytes[0] & 1) : record_seal(from, &w, plain, size);
    CHECK(is_sealed && writer_left(&w) == 0);
    bool may_be_bad =
        to->update_tokens == 0 || to->idle_count == RECORD_IDLE_MAX || to->ticket_left > 0 || to->message_have > 0;
    /* What a script left unfinished swallows the next message, so that one side changes its keys and the other does
     * not. */
    bool is_swallowed = to->ticket_left > 0 || to->message_have > 0;
    bool is_good = open_all(to, wire, needed, bytes, is_update ? 0 : size);
    CHECK(is_good || may_be_bad);
    return is_good && !is_swallowed;
}

static bool take_step(enum step step, const uint8_t *bytes, size_t size) {
    switch (step) {
        case UPDATE: return say(&peer, &us, true, bytes, size);
        case DAMAGE: return hear_damaged(bytes, size);
        case HAND_OVER: renew(&us); return true;
        case OUR_DATA: return say(&us, &peer, false, bytes, size);
        case OUR_UPDATE: return say(&us, &peer, true, bytes, size);
        default: return hear(step, bytes, size);
    }
}

static void run_script(const uint8_t *bytes, size_t size) {
    struct reader in = reader_of(bytes, size);
    while (reader_left(&in) >= 2) {
        enum step step = (enum step)(reader_u8(&in) % STEP_COUNT);
        size_t n = reader_u8(&in);
        n = min_of(n, reader_left(&in));
        if (!take_step(step, reader_take(&in, n), n)) return;
    }
    renew(&us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool is_ready;
    char why[AEAD_WHY_MAX];
    const uint8_t up[HKDF_SECRET_MAX] = {1}, down[HKDF_SECRET_MAX] = {2};
    if (!is_ready) CHECK(aead_init(NULL, why));
    is_ready = true;
    if (size < 1) return 0;

    enum aead_suite suite = (enum aead_suite)(1 + (data[0] >> 2) % (AEAD_SUITE_END - 1));
    if (!aead_has_suite(suite)) suite = AEAD_CHACHA20_POLY1305;
    bool is_client = data[0] & 1;
    CHECK(record_init(&us, suite, is_client, up, down) && record_init(&peer, suite, !is_client, down, up));
    us.rekey_after = peer.rekey_after = 8;
    if (data[0] & 2) run_script(data + 1, size - 1);
    else run_raw(data + 1, size - 1);
    record_fini(&us);
    record_fini(&peer);
    return 0;
}
