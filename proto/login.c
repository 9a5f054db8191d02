#include "proto/login.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "core/check.h"
#include "proto/gojson.h"

const char *login_error_name(enum login_error error) {
    static const char *const names[LOGIN_ERROR_COUNT] = {
        [LOGIN_OK] = "ok",           [LOGIN_BAD_LENGTH] = "bad length", [LOGIN_BAD_KEY] = "bad key",
        [LOGIN_BAD_BOX] = "bad box", [LOGIN_BAD_JSON] = "bad JSON",     [LOGIN_BAD_MESH_KEY] = "bad mesh key",
    };
    return (unsigned)error < LOGIN_ERROR_COUNT ? names[error] : "unknown login error";
}

void login_client_info_wipe(struct client_info *info) { sodium_memzero(info, sizeof(*info)); }

/* ---- JSON members to struct members ---- */

typedef enum login_error (*member_take_fn)(const json_t *value, void *to);

struct member {
    const char *name;
    member_take_fn take;
    size_t offset;  // in the struct that is filled
};

/* null leaves any member as it was, except a mesh key. */

static enum login_error take_int(const json_t *value, void *to) {
    if (json_is_null(value)) return LOGIN_OK;
    if (!json_is_integer(value)) return LOGIN_BAD_JSON;
    int64_t number = json_integer_value(value);
    memcpy(to, &number, sizeof(number));
    return LOGIN_OK;
}

static enum login_error take_bool(const json_t *value, void *to) {
    if (json_is_null(value)) return LOGIN_OK;
    if (!json_is_boolean(value)) return LOGIN_BAD_JSON;
    bool flag = json_is_true(value);
    memcpy(to, &flag, sizeof(flag));
    return LOGIN_OK;
}

static enum login_error take_mesh_key(const json_t *value, void *to) {
    if (!json_is_string(value)) return LOGIN_BAD_MESH_KEY;
    enum key_error error = key_mesh_parse(json_string_value(value), json_string_length(value), to);
    return error ? LOGIN_BAD_MESH_KEY : LOGIN_OK;
}

static bool is_app_name(const char *text, size_t size) {
    if (size > DERP_APP_NAME_SIZE_MAX) return false;
    for (size_t i = 0; i < size; i++)
        if (text[i] < ' ' || text[i] > '~') return false;
    return true;
}

/* Fills two members, hence takes the whole struct. */
static enum login_error take_app_name(const json_t *value, void *to) {
    struct client_info *info = to;
    if (json_is_null(value)) return LOGIN_OK;
    if (!json_is_string(value)) return LOGIN_BAD_JSON;
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    info->has_bad_app_name = !is_app_name(text, size);
    memset(info->app_name, 0, sizeof(info->app_name));
    if (!info->has_bad_app_name) memcpy(info->app_name, text, size);
    return LOGIN_OK;
}

/* Every occurrence has to be good; the last one counts. */
static enum login_error take_members(const struct gojson *doc, const struct member *members, size_t member_count,
                                     void *to) {
    for (size_t i = 0; i < doc->count; i++) {
        for (size_t m = 0; m < member_count; m++) {
            if (!gojson_name_is(gojson_name(doc, i), members[m].name)) continue;
            enum login_error error = members[m].take(gojson_value(doc, i), (char *)to + members[m].offset);
            if (error) return error;
        }
    }
    return LOGIN_OK;
}

static enum login_error parse_members(char *text, size_t size, const struct member *members, size_t member_count,
                                      void *to) {
    struct gojson doc;
    if (!gojson_open(&doc, text, size)) return LOGIN_BAD_JSON;
    enum login_error error = take_members(&doc, members, member_count, to);
    gojson_close(&doc);
    return error;
}

enum login_error login_parse_client_info(char *text, size_t size, struct client_info *info) {
    static const struct member members[] = {
        {"meshKey", take_mesh_key, offsetof(struct client_info, mesh_key)},
        {"version", take_int, offsetof(struct client_info, version)},
        {"CanAckPings", take_bool, offsetof(struct client_info, can_ack_pings)},
        {"IsProber", take_bool, offsetof(struct client_info, is_prober)},
        {"AppName", take_app_name, 0},
    };
    *info = (struct client_info){0};
    if (size > DERP_CLIENT_INFO_LENGTH_MAX) return LOGIN_BAD_LENGTH;
    enum login_error error = parse_members(text, size, members, array_count(members), info);
    if (error) login_client_info_wipe(info);
    info->has_mesh_key = !key_mesh_is_zero(&info->mesh_key);
    return error;
}

enum login_error login_parse_server_info(char *text, size_t size, struct server_info *info) {
    static const struct member members[] = {
        {"version", take_int, offsetof(struct server_info, version)},
        {"TokenBucketBytesPerSecond", take_int, offsetof(struct server_info, token_bucket_bytes_per_second)},
        {"TokenBucketBytesBurst", take_int, offsetof(struct server_info, token_bucket_bytes_burst)},
    };
    *info = (struct server_info){0};
    if (size > DERP_CLIENT_LENGTH_MAX) return LOGIN_BAD_LENGTH;
    enum login_error error = parse_members(text, size, members, array_count(members), info);
    if (error) *info = (struct server_info){0};
    return error;
}

/* ---- server ---- */

/* The box is opened over itself. On success the plaintext is payload[KEY_SIZE + BOX_OVERHEAD, length). */
static enum login_error open_client_box(const struct node_private *server, uint8_t *payload, size_t length,
                                        struct node_key *client, struct box_key *shared) {
    if (length < KEY_SIZE + BOX_OVERHEAD || length > DERP_CLIENT_INFO_LENGTH_MAX) return LOGIN_BAD_LENGTH;
    memcpy(client->bytes, payload, KEY_SIZE);
    if (!box_key_derive(shared, client, server)) return LOGIN_BAD_KEY;
    uint8_t *sealed = payload + KEY_SIZE;
    return box_open(shared, sealed, length - KEY_SIZE, sealed + BOX_OVERHEAD) ? LOGIN_OK : LOGIN_BAD_BOX;
}

enum login_error login_open_client_info(const struct node_private *server, uint8_t *payload, size_t length,
                                        struct node_key *client, struct client_info *info, struct box_key *shared) {
    *client = (struct node_key){0};
    *info = (struct client_info){0};
    *shared = (struct box_key){0};
    enum login_error error = open_client_box(server, payload, length, client, shared);
    if (!error) {
        size_t head_size = KEY_SIZE + BOX_OVERHEAD;
        error = login_parse_client_info((char *)payload + head_size, length - head_size, info);
    }
    sodium_memzero(payload, length);
    if (error) {
        *client = (struct node_key){0};
        box_key_wipe(shared);
    }
    return error;
}

static void seal(struct writer *w, const struct box_key *shared, struct rng *rng, const char *json, size_t size) {
    uint8_t nonce[BOX_NONCE_SIZE];
    rng_bytes(rng, nonce, sizeof(nonce));
    box_seal(w, shared, nonce, json, size);
}

void login_write_server_info(struct writer *w, const struct box_key *shared, struct rng *rng) {
    static const char json[] = LOGIN_SERVER_INFO_JSON;
    uint8_t *room = writer_room(w, LOGIN_SERVER_INFO_FRAME_SIZE);
    if (room == NULL) return;
    struct writer frame = writer_of(room, LOGIN_SERVER_INFO_FRAME_SIZE);
    derp_write_header(&frame, DERP_SERVER_INFO, BOX_OVERHEAD + sizeof(json) - 1);
    seal(&frame, shared, rng, json, sizeof(json) - 1);
}

/* ---- client ---- */

static void write_app_name(struct writer *w, const char *name) {
    writer_text(w, ",\"AppName\":\"");
    for (const char *p = name; *p; p++) {
        if (*p == '"' || *p == '\\') writer_u8(w, '\\');
        writer_u8(w, (uint8_t)*p);
    }
    writer_text(w, "\"");
}

/* Members that Go omits when they are zero are omitted. */
static void write_client_json(struct writer *w, const struct client_info *info) {
    writer_text(w, "{");
    if (info->has_mesh_key) {
        char hex[KEY_HEX_TEXT_SIZE];
        key_mesh_format(&info->mesh_key, hex);
        writer_text(w, "\"meshKey\":\"");
        writer_text(w, hex);
        writer_text(w, "\",");
        sodium_memzero(hex, sizeof(hex));
    }
    if (info->version != 0) {
        char version[48];
        (void)snprintf(version, sizeof(version), "\"version\":%" PRId64 ",", info->version);
        writer_text(w, version);
    }
    writer_text(w, info->can_ack_pings ? "\"CanAckPings\":true" : "\"CanAckPings\":false");
    if (info->is_prober) writer_text(w, ",\"IsProber\":true");
    if (info->app_name[0]) write_app_name(w, info->app_name);
    writer_text(w, "}");
}

bool login_write_client_info(struct writer *w, const struct node_private *client, const struct node_key *server,
                             const struct client_info *info, struct rng *rng, struct box_key *shared) {
    if (!box_key_derive(shared, server, client)) return false;
    char json[LOGIN_CLIENT_INFO_JSON_SIZE_MAX];
    struct writer text = writer_of(json, sizeof(json));
    write_client_json(&text, info);
    CHECK(writer_ok(&text));
    size_t json_size = sizeof(json) - writer_left(&text);

    size_t length = KEY_SIZE + BOX_OVERHEAD + json_size;
    uint8_t *room = writer_room(w, DERP_HEADER_SIZE + length);
    if (room != NULL) {
        struct writer frame = writer_of(room, DERP_HEADER_SIZE + length);
        struct node_key own;
        key_private_public(client, &own);
        derp_write_header(&frame, DERP_CLIENT_INFO, (uint32_t)length);
        writer_copy(&frame, own.bytes, KEY_SIZE);
        seal(&frame, shared, rng, json, json_size);
    } else {
        box_key_wipe(shared);
    }
    sodium_memzero(json, sizeof(json));
    return room != NULL;
}

enum login_error login_open_server_info(const struct box_key *shared, uint8_t *payload, size_t length,
                                        struct server_info *info) {
    *info = (struct server_info){0};
    if (length < BOX_OVERHEAD || length > DERP_CLIENT_LENGTH_MAX) return LOGIN_BAD_LENGTH;
    enum login_error error = LOGIN_BAD_BOX;
    uint8_t *plain = payload + BOX_OVERHEAD;
    if (box_open(shared, payload, length, plain))
        error = login_parse_server_info((char *)plain, length - BOX_OVERHEAD, info);
    sodium_memzero(payload, length);
    return error;
}
