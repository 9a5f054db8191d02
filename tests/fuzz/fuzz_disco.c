/* Fuzzes proto/disco.
 *
 * Attack surface: envelopes come from anybody who knows a VNI, or a node key of the relay; plaintexts from everybody
 * who may ask for an endpoint, and from the clients of one. Texts of keys come from control programs.
 * Input: byte 0 chooses what the rest is:
 *   0  a plaintext, read as it is        1  a plaintext that is sealed first, so that mutation is not wasted on the tag
 *   2  an envelope as it comes           3  the text of a key
 * Beyond crashes: what was understood survives being written and read again; outputs are zero after a failure; sealed
 * and direct way agree; an envelope that was not sealed by us does not open and is left as it was.
 */
#include <sodium.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/disco.h"

static struct disco_key server, client;
static struct box_key shared;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    struct disco_private server_private, client_private;
    (void)argc;
    (void)argv;
    CHECK(sodium_init() >= 0);
    memset(server_private.bytes, 0x11, KEY_SIZE);
    memset(client_private.bytes, 0x22, KEY_SIZE);
    disco_private_public(&server_private, &server);
    disco_private_public(&client_private, &client);
    CHECK(disco_key_share(&shared, &client, &server_private));
    return 0;
}

static bool is_zero(const void *bytes, size_t size) { return sodium_is_zero(bytes, size) == 1; }

/* In a block of exactly that size, so that ASan sees every byte too far. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy != NULL);
    if (size) memcpy(copy, bytes, size);
    return copy;
}

/* Written with version 0, a message is the plaintext it was read from, but for what followed. */
static size_t write_again(const struct disco_message *message, uint8_t *to, size_t size) {
    struct writer w = writer_of(to, size);
    switch (message->type) {
        case DISCO_BIND:
        case DISCO_CHALLENGE:
        case DISCO_ANSWER: disco_bind_write(&w, message->type, &message->bind); break;
        case DISCO_ALLOCATE_REQUEST: disco_request_write(&w, &message->request); break;
        case DISCO_ALLOCATE_RESPONSE:
            if (disco_endpoint_is_usable(&message->response.endpoint)) disco_response_write(&w, &message->response);
            break;
        case DISCO_CALL_ME_MAYBE_VIA:
            if (disco_endpoint_is_usable(&message->via)) disco_via_write(&w, &message->via);
            break;
        default: break;
    }
    CHECK(writer_ok(&w));
    return size - writer_left(&w);
}

static void check_addresses(const struct disco_endpoint *endpoint) {
    for (size_t i = 0; i < endpoint->address_count; i++) {
        uint8_t again[DISCO_ADDRESS_SIZE];
        const uint8_t *entry = endpoint->addresses + i * DISCO_ADDRESS_SIZE;
        struct net_address address = disco_address_read(entry);
        disco_address_write(again, &address);
        CHECK(memcmp(again, entry, sizeof(again)) == 0);
    }
}

static void check_message(const struct disco_message *message, const uint8_t *plain, size_t size) {
    bool is_versioned = message->type >= DISCO_CALL_ME_MAYBE_VIA && message->version != 0;
    CHECK(message->type == plain[0] && message->version == plain[1]);
    if (is_versioned) {
        CHECK(is_zero(&message->response, sizeof(message->response)));
        return;
    }
    if (message->type == DISCO_CALL_ME_MAYBE_VIA) check_addresses(&message->via);
    if (message->type == DISCO_ALLOCATE_RESPONSE) check_addresses(&message->response.endpoint);
    uint8_t *again = malloc(size);
    CHECK(again != NULL);
    size_t written = write_again(message, again, size);
    CHECK(written <= 2 || memcmp(again + 2, plain + 2, written - 2) == 0);
    free(again);
}

static enum disco_error fuzz_plain(const uint8_t *data, size_t size) {
    uint8_t *plain = copy_of(data, size);
    struct disco_message message;
    memset(&message, 0xee, sizeof(message));
    enum disco_error error = disco_message_parse(plain, size, &message);
    if (error) CHECK(is_zero(&message, sizeof(message)));
    else check_message(&message, plain, size);
    free(plain);
    return error;
}

static void fuzz_sealed(const uint8_t *data, size_t size) {
    size_t plain_size = 0, sealed_size = DISCO_OVERHEAD + size;
    uint8_t *bytes = malloc(sealed_size);
    struct rng rng;
    rng_init_seeded(&rng, size);
    CHECK(bytes != NULL);
    struct writer w = writer_of(bytes, sealed_size);
    disco_envelope_seal(&w, &client, &shared, &rng, data, size);
    CHECK(writer_ok(&w) && writer_left(&w) == 0);
    CHECK(disco_key_equal(disco_envelope_sender(bytes, sealed_size), &client));
    size_t at = DISCO_HEAD_SIZE + (size ? data[0] : 0) % (sealed_size - DISCO_HEAD_SIZE);
    bytes[at] ^= 1;
    CHECK(disco_envelope_open(&shared, bytes, sealed_size, &plain_size) == NULL);
    bytes[at] ^= 1;
    const uint8_t *plain = disco_envelope_open(&shared, bytes, sealed_size, &plain_size);
    CHECK(plain != NULL && plain_size == size && memcmp(plain, data, size) == 0);
    CHECK(fuzz_plain(plain, plain_size) == fuzz_plain(data, size));
    free(bytes);
}

static void fuzz_envelope(const uint8_t *data, size_t size) {
    uint8_t *bytes = copy_of(data, size);
    size_t plain_size = 0;
    const struct disco_key *sender = disco_envelope_sender(bytes, size);
    CHECK(sender == NULL || size >= 62);
    const uint8_t *plain = disco_envelope_open(&shared, bytes, size, &plain_size);
    if (plain == NULL) CHECK(size == 0 || memcmp(bytes, data, size) == 0);
    else CHECK(sender != NULL && plain == bytes + DISCO_OVERHEAD && plain_size == size - DISCO_OVERHEAD);
    if (plain != NULL) (void)fuzz_plain(plain, plain_size);
    free(bytes);
}

static void fuzz_text(const uint8_t *data, size_t size) {
    uint8_t *bytes = copy_of(data, size);
    struct disco_key key, again;
    char text[DISCO_KEY_TEXT_SIZE], brief[DISCO_KEY_SHORT_TEXT_SIZE];
    if (disco_key_parse((const char *)bytes, size, &key) == KEY_OK) {
        disco_key_format(&key, text);
        disco_key_format_short(&key, brief);
        CHECK(strlen(text) == size && disco_key_parse(text, size, &again) == KEY_OK);
        CHECK(disco_key_equal(&key, &again));
    } else {
        CHECK(disco_key_is_zero(&key));
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    switch (data[0] % 4) {
        case 0: (void)fuzz_plain(data + 1, size - 1); break;
        case 1: fuzz_sealed(data + 1, size - 1); break;
        case 2: fuzz_envelope(data + 1, size - 1); break;
        default: fuzz_text(data + 1, size - 1);
    }
    return 0;
}
