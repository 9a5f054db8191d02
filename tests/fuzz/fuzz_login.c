/* Fuzzes proto/login and proto/gojson.
 *
 * Attack surface: the ClientInfo frame is the first thing that anybody on the internet may say to the server's own
 * code, and its JSON is the only text format among them. ServerInfo is what a mesh link or a probe reads.
 * Input: byte 0 chooses what the rest is:
 *   0  the JSON of a ClientInfo      1  the JSON of a ServerInfo
 *   2  a plaintext that is sealed with known keys first, so that mutation is not wasted on the MAC
 *   3  a whole payload as it comes
 * Beyond crashes: the sealed way and the direct way agree; what was understood survives being written by our client
 * and read again; outputs are zero after a failure; payloads are wiped, whatever happened.
 */
#include <sodium.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/gojson.h"
#include "proto/login.h"

static struct node_private server_private, client_private;
static struct node_key server_key, client_key;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    CHECK(sodium_init() >= 0);
    gojson_init();
    memset(server_private.bytes, 0x11, KEY_SIZE);
    memset(client_private.bytes, 0x22, KEY_SIZE);
    key_private_public(&server_private, &server_key);
    key_private_public(&client_private, &client_key);
    return 0;
}

static bool is_zero(const void *bytes, size_t size) { return sodium_is_zero(bytes, size) == 1; }

/* Members one by one: padding may differ. */
static void expect_equal(const struct client_info *a, const struct client_info *b) {
    CHECK(a->version == b->version && a->has_mesh_key == b->has_mesh_key);
    CHECK(a->can_ack_pings == b->can_ack_pings && a->is_prober == b->is_prober);
    CHECK(key_mesh_equal(&a->mesh_key, &b->mesh_key) && strcmp(a->app_name, b->app_name) == 0);
}

static enum login_error parse(const uint8_t *data, size_t size, struct client_info *info) {
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    enum login_error error = login_parse_client_info(text, size, info);
    free(text);
    return error;
}

static enum login_error open_payload(const uint8_t *data, size_t size, struct client_info *info) {
    struct node_key client;
    struct box_key shared;
    uint8_t *payload = malloc(size + 1);
    CHECK(payload != NULL);
    memcpy(payload, data, size);
    enum login_error error = login_open_client_info(&server_private, payload, size, &client, info, &shared);
    bool is_read = error != LOGIN_BAD_LENGTH && error != LOGIN_OK;
    CHECK(is_zero(payload, size) || error == LOGIN_BAD_LENGTH);
    if (is_read) CHECK(is_zero(&client, sizeof(client)) && is_zero(&shared, sizeof(shared)));
    free(payload);
    return error;
}

static void write_and_read_again(const struct client_info *info) {
    struct rng rng;
    struct box_key shared;
    uint8_t frame[LOGIN_CLIENT_INFO_FRAME_SIZE_MAX];
    struct client_info again;
    rng_init_seeded(&rng, 1);
    struct writer w = writer_of(frame, sizeof(frame));
    CHECK(login_write_client_info(&w, &client_private, &server_key, info, &rng, &shared));
    size_t length = (size_t)(w.at - frame) - DERP_HEADER_SIZE;
    CHECK(open_payload(frame + DERP_HEADER_SIZE, length, &again) == LOGIN_OK);
    expect_equal(info, &again);
}

static void fuzz_client_json(const uint8_t *data, size_t size) {
    struct client_info info;
    enum login_error error = parse(data, size, &info);
    if (error) {
        CHECK(info.version == 0 && !info.has_mesh_key && key_mesh_is_zero(&info.mesh_key) && !info.app_name[0]);
        return;
    }
    CHECK(info.has_mesh_key == !key_mesh_is_zero(&info.mesh_key));
    CHECK(strlen(info.app_name) <= DERP_APP_NAME_SIZE_MAX && (!info.has_bad_app_name || !info.app_name[0]));
    write_and_read_again(&info);
}

static void fuzz_server_json(const uint8_t *data, size_t size) {
    struct server_info info;
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    enum login_error error = login_parse_server_info(text, size, &info);
    if (error) CHECK(is_zero(&info, sizeof(info)));
    free(text);
}

static void fuzz_sealed(const uint8_t *data, size_t size) {
    size_t length = KEY_SIZE + BOX_OVERHEAD + size;
    uint8_t *payload = malloc(length);
    struct box_key shared;
    uint8_t nonce[BOX_NONCE_SIZE] = {1};
    CHECK(payload != NULL && box_key_derive(&shared, &server_key, &client_private));
    struct writer w = writer_of(payload, length);
    writer_copy(&w, client_key.bytes, KEY_SIZE);
    box_seal(&w, &shared, nonce, data, size);
    struct client_info opened, parsed;
    enum login_error error = open_payload(payload, length, &opened);
    CHECK(error == parse(data, size, &parsed) || length > DERP_CLIENT_INFO_LENGTH_MAX);
    if (error == LOGIN_OK) expect_equal(&opened, &parsed);
    free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct client_info info;
    switch (data[0] % 4) {
        case 0: fuzz_client_json(data + 1, size - 1); break;
        case 1: fuzz_server_json(data + 1, size - 1); break;
        case 2: fuzz_sealed(data + 1, size - 1); break;
        default: (void)open_payload(data + 1, size - 1, &info);
    }
    return 0;
}
