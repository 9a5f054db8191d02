/* login.h - the three messages by which a DERP connection begins.
 *
 *     server                                     client
 *       | ServerKey    magic, server's key  -->    |     derp_write_server_key / derp_read_server_key (derp.h)
 *       |    <--  ClientInfo  key, box of JSON     |     login_write_client_info / login_open_client_info
 *       | ServerInfo   box of JSON          -->    |     login_write_server_info / login_open_server_info
 *
 * What it is: what is inside the boxes, both directions, both sides. The boxes are the only proof of identity that
 * DERP has: who can seal for the server's key with the private half of the key he shows owns that key.
 * Why both sides in one file: a message is reviewed where it is written and read.
 *
 * Model: the server derives the shared key once when it opens ClientInfo and keeps it for ServerInfo (40 us each).
 * The JSON rules are those of Go's encoding/json, see gojson.h and docs/derp.md, "Login"; the table of accepted and
 * refused documents is tests/unit/test_login.c.
 *
 * A zero key, ours or theirs, is refused. So are public keys of low order, which Go lets through: nobody has one.
 * Threads: pure, but jansson allocates: front and control threads only, never a worker.
 * Memory: nothing kept. Plaintexts are wiped here; shared keys and mesh keys are wiped by the caller
 * (box_key_wipe, login_client_info_wipe).
 * Errors: enum login_error, each a reason to close the connection. On failure outputs are zero.
 * Not here: which clients are welcome (relay/admit), whether the mesh key is the right one (key_mesh_equal),
 * frames and lengths on the stream (derp_stream.h), deadlines (relay/front).
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "core/rng.h"
#include "proto/box.h"
#include "proto/derp.h"
#include "proto/key.h"

enum login_error {
    LOGIN_OK = 0,
    LOGIN_BAD_LENGTH,    // shorter than key, nonce and tag, or longer than the limit
    LOGIN_BAD_KEY,       // a zero key or one of low order
    LOGIN_BAD_BOX,       // not sealed by the owner of the key for us
    LOGIN_BAD_JSON,      // not a JSON object, or a member has the wrong type
    LOGIN_BAD_MESH_KEY,  // meshKey is there and is not 64 hex digits
    LOGIN_ERROR_COUNT
};

/* For logs: "bad box". Never NULL. */
const char *login_error_name(enum login_error error);

/* What a client says of itself. */
struct client_info {
    int64_t version;    // its protocol version; nobody checks it
    bool has_mesh_key;  // a mesh key that is not zero was sent; whether it is right is for the caller to say
    bool can_ack_pings;
    bool is_prober;
    /* The app name was longer than the limit, or not printable ASCII; app_name is empty then. derper before 1.104
     * does not look at such names, later ones close the connection: the caller's choice. */
    bool has_bad_app_name;
    struct mesh_key mesh_key;                   // zero unless has_mesh_key
    char app_name[DERP_APP_NAME_SIZE_MAX + 1];  // NUL-terminated; "" when there is none
};

/* What a server says of itself. Zero: not said. */
struct server_info {
    int64_t version;
    int64_t token_bucket_bytes_per_second;
    int64_t token_bucket_bytes_burst;
};

void login_client_info_wipe(struct client_info *info);

/* ---- server ---- */

/* `payload` is a ClientInfo frame's; it is opened in place and wiped: the caller is left with zeros. On success
 * *client is the client's key, *shared the key for login_write_server_info(). */
must_use enum login_error login_open_client_info(const struct node_private *server, uint8_t *payload, size_t length,
                                                 struct node_key *client, struct client_info *info,
                                                 struct box_key *shared);

/* A whole ServerInfo frame, LOGIN_SERVER_INFO_FRAME_SIZE bytes: {"version":2} and nothing else. */
void login_write_server_info(struct writer *w, const struct box_key *shared, struct rng *rng);

#define LOGIN_SERVER_INFO_JSON "{\"version\":2}"
#define LOGIN_SERVER_INFO_FRAME_SIZE (DERP_HEADER_SIZE + BOX_OVERHEAD + sizeof(LOGIN_SERVER_INFO_JSON) - 1)

/* ---- client ---- */

/* A whole ClientInfo frame, at most LOGIN_CLIENT_INFO_FRAME_SIZE_MAX bytes, with the members in the order in which Go
 * writes them. app_name is printable ASCII. False: `server` is zero or of low order, or no room; nothing was written
 * to `w` but it may be bad. On success *shared is the key for login_open_server_info(). */
must_use bool login_write_client_info(struct writer *w, const struct node_private *client,
                                      const struct node_key *server, const struct client_info *info, struct rng *rng,
                                      struct box_key *shared);

/* Longest JSON: {"meshKey":"<64>","version":<20>,"CanAckPings":false,"IsProber":true,"AppName":"<2*32>"} */
#define LOGIN_CLIENT_INFO_JSON_SIZE_MAX 224
#define LOGIN_CLIENT_INFO_FRAME_SIZE_MAX (DERP_HEADER_SIZE + KEY_SIZE + BOX_OVERHEAD + LOGIN_CLIENT_INFO_JSON_SIZE_MAX)

/* `payload` is a ServerInfo frame's; it is opened in place and wiped. */
must_use enum login_error login_open_server_info(const struct box_key *shared, uint8_t *payload, size_t length,
                                                 struct server_info *info);

/* ---- the JSON alone, without its box: for tests and fuzzing. `text` is overwritten. ---- */

must_use enum login_error login_parse_client_info(char *text, size_t size, struct client_info *info);
must_use enum login_error login_parse_server_info(char *text, size_t size, struct server_info *info);
