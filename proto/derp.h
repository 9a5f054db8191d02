/* derp.h - the frames of DERP: numbers, sizes, rules, writing and reading.
 *
 * What it is: everything about one frame that does not depend on how its bytes arrive. A frame is
 *
 *     type u8 | length u32 be | payload, `length` bytes           (docs/derp.md, "Frames")
 *
 * Three things are here for each type: the rule that says whether a reader accepts it (derp_frame_check, to be asked
 * once, when the five header bytes are there), a writer, and a view for the reader (derp_read_..., of a payload whose
 * header was accepted). A view points into the payload and lives as long as it does.
 * Besides, the in-place rewrites by which a relay turns a received packet frame into the one it sends: SendPacket and
 * RecvPacket have the same size, ForwardPacket is one key longer in front.
 *
 * Model: two sides. A server reads what clients and mesh peers send; a client (a mesh link, a probe, a load
 * generator) reads what servers send. Servers are strict: a wrong length ends the connection. Clients are tolerant:
 * what they cannot use they skip, so that servers may grow. Both follow the Go implementation.
 * Threads: pure functions. Memory: none. Errors: a verdict, a bool, a bad writer.
 * Not here: bytes to frames (derp_stream.h), what is inside the boxes of a login (login.h).
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "proto/key.h"

/* ---- numbers ---- */

#define DERP_VERSION 2

/* "DERP" and U+1F511, a key: the first bytes of a ServerKey payload. */
#define DERP_MAGIC "\x44\x45\x52\x50\xf0\x9f\x94\x91"
#define DERP_MAGIC_SIZE 8

#define DERP_HEADER_SIZE 5  // type u8, length u32

/* The data of one packet, without keys and header. */
#define DERP_PACKET_SIZE_MAX 65536

/* Payload lengths that follow from the above. */
#define DERP_SERVER_KEY_LENGTH (DERP_MAGIC_SIZE + KEY_SIZE)
#define DERP_SEND_LENGTH_MAX (KEY_SIZE + DERP_PACKET_SIZE_MAX)          // key of the destination, data
#define DERP_RECV_LENGTH_MAX DERP_SEND_LENGTH_MAX                       // key of the source, data
#define DERP_FORWARD_LENGTH_MAX (2 * KEY_SIZE + DERP_PACKET_SIZE_MAX)   // source, destination, data
#define DERP_PEER_GONE_LENGTH (KEY_SIZE + 1)                            // key, reason
#define DERP_PEER_PRESENT_LENGTH (KEY_SIZE + 16 + 2 + 1 + 1)            // key, ip, port, flags, size of an app name
#define DERP_PEER_PRESENT_LENGTH_MAX (DERP_PEER_PRESENT_LENGTH + DERP_APP_NAME_SIZE_MAX)
#define DERP_PING_SIZE 8
#define DERP_PING_LENGTH_MAX 1000  // what a server accepts; the first 8 bytes are echoed
#define DERP_RESTARTING_LENGTH 8
#define DERP_NOTE_PREFERRED_LENGTH 1

#define DERP_CLIENT_INFO_LENGTH_MIN (KEY_SIZE + 24)  // key and nonce
#define DERP_CLIENT_INFO_LENGTH_MAX (256 * 1024)
#define DERP_UNKNOWN_LENGTH_MAX DERP_SEND_LENGTH_MAX  // a server skips no more of what it does not know
#define DERP_GREETING_LENGTH_MAX 1024                // the first frame a client reads
#define DERP_CLIENT_LENGTH_MAX (1024 * 1024)         // any later frame a client reads

/* An app name is at most this much printable ASCII; a longer one is not passed on. */
#define DERP_APP_NAME_SIZE_MAX 32

/* Whole frames: the largest that a server keeps while it is incomplete, and the one that most packets become. */
#define DERP_FRAME_SIZE_MAX (DERP_HEADER_SIZE + DERP_FORWARD_LENGTH_MAX)
#define DERP_SEND_HEAD_SIZE (DERP_HEADER_SIZE + KEY_SIZE)         // 37, as RecvPacket's
#define DERP_FORWARD_HEAD_SIZE (DERP_HEADER_SIZE + 2 * KEY_SIZE)  // 69

/* A payload that looks like a disco message: magic 6, key 32, nonce 24. */
#define DERP_DISCO_MAGIC "\x54\x53\xf0\x9f\x92\xac"
#define DERP_DISCO_MAGIC_SIZE 6
#define DERP_DISCO_SIZE_MIN (DERP_DISCO_MAGIC_SIZE + 32 + 24)

enum derp_frame_type {
    DERP_SERVER_KEY = 0x01,      // S->C  magic 8, key, room for the future
    DERP_CLIENT_INFO = 0x02,     // C->S  key, nonce 24, box of JSON
    DERP_SERVER_INFO = 0x03,     // S->C  nonce 24, box of JSON
    DERP_SEND_PACKET = 0x04,     // C->S  destination, data
    DERP_RECV_PACKET = 0x05,     // S->C  source, data
    DERP_KEEP_ALIVE = 0x06,      // S->C  nothing
    DERP_NOTE_PREFERRED = 0x07,  // C->S  one byte: is this the client's home?
    DERP_PEER_GONE = 0x08,       // S->C  key, reason
    DERP_PEER_PRESENT = 0x09,    // S->mesh  key, ip 16, port u16, flags, app name
    DERP_FORWARD_PACKET = 0x0a,  // mesh->S  source, destination, data
    DERP_WATCH_CONNS = 0x10,     // mesh->S  nothing
    DERP_CLOSE_PEER = 0x11,      // mesh->S  key
    DERP_PING = 0x12,            // both  8 bytes or more
    DERP_PONG = 0x13,            // both  the 8 bytes
    DERP_HEALTH = 0x14,          // S->C  text of a problem; empty: healthy again
    DERP_RESTARTING = 0x15,      // S->C  reconnect in u32 ms, try for u32 ms
};

enum derp_gone_reason {
    DERP_GONE_DISCONNECTED = 0x00,
    DERP_GONE_NOT_HERE = 0x01,
    DERP_GONE_MESH_CONN_BROKE = 0xf0,  // never on the wire: a link says it to its own node
};

/* Bits of PeerPresent. IS_REGULAR is set only when no other bit is (derp_present_flags). */
enum derp_present_flag {
    DERP_PRESENT_IS_REGULAR = 0x01,
    DERP_PRESENT_IS_MESH_PEER = 0x02,
    DERP_PRESENT_IS_PROBER = 0x04,
    DERP_PRESENT_NOT_IDEAL = 0x08,
};

static inline uint8_t derp_present_flags(bool is_mesh_peer, bool is_prober, bool is_not_ideal) {
    int flags = (is_mesh_peer ? DERP_PRESENT_IS_MESH_PEER : 0) | (is_prober ? DERP_PRESENT_IS_PROBER : 0) |
                (is_not_ideal ? DERP_PRESENT_NOT_IDEAL : 0);
    return (uint8_t)(flags ? flags : DERP_PRESENT_IS_REGULAR);
}

/* ---- who may send what, and how long ---- */

/* Who is reading, and in which phase. A fresh connection starts in a greeting side and is switched by its owner when
 * the login is done; a mesh peer is a client that showed the right mesh key. */
enum derp_side {
    DERP_SERVER_GREETING,  // a server before login: ClientInfo and nothing else
    DERP_SERVER,           // a server, reading a regular client
    DERP_SERVER_MESH,      // a server, reading a mesh peer
    DERP_CLIENT_GREETING,  // a client before it knows the server's key: ServerKey and nothing else
    DERP_CLIENT,           // a client from then on; with a fast start, from the first byte
    DERP_SIDE_COUNT
};

enum derp_verdict {
    DERP_ACCEPT,
    DERP_SKIP,                  // read and throw away: unknown here, or (client) useless
    DERP_REFUSE_TOO_SHORT,      // from here on: close the connection
    DERP_REFUSE_TOO_LONG,
    DERP_REFUSE_WRONG_LENGTH,   // a fixed length was due
    DERP_REFUSE_NOT_PERMITTED,  // for mesh peers only
    DERP_REFUSE_UNEXPECTED,     // a greeting was due
    DERP_VERDICT_COUNT
};

static inline bool derp_is_refusal(enum derp_verdict v) { return v >= DERP_REFUSE_TOO_SHORT; }

/* The rule for a frame with this header. Refusals are known before the payload is read, and Go closes at that point
 * too. Order where two rules are broken: WatchConns and ClosePeer look at the length first, ForwardPacket at the
 * permission. See docs/derp.md, "Frame types". */
enum derp_verdict derp_frame_check(enum derp_side side, uint8_t type, uint32_t length);

/* Names for logs and tests: "SendPacket", "too long". Never NULL. */
const char *derp_frame_type_name(uint8_t type);
const char *derp_verdict_name(enum derp_verdict verdict);

/* Does the data of a packet look like a disco message? Anyone can make it look so: a hint, not a proof. */
static inline bool derp_is_disco(const uint8_t *data, size_t size) {
    return size >= DERP_DISCO_SIZE_MIN && memcmp(data, DERP_DISCO_MAGIC, DERP_DISCO_MAGIC_SIZE) == 0;
}

/* ---- views: payload to values ----
 * `payload` holds `length` bytes of a frame whose header was accepted. False: too short for its type; nothing was
 * written to `out`. Keys and data point into the payload. */

struct derp_send {
    const struct node_key *dst;
    const uint8_t *data;
    size_t data_size;
};

struct derp_recv {
    const struct node_key *src;
    const uint8_t *data;
    size_t data_size;
};

struct derp_forward {
    const struct node_key *src;
    const struct node_key *dst;
    const uint8_t *data;
    size_t data_size;
};

struct derp_peer_gone {
    const struct node_key *key;
    uint8_t reason;  // enum derp_gone_reason or a newer one
};

struct derp_peer_present {
    const struct node_key *key;
    uint8_t ip[16];        // IPv4 as ::ffff:a.b.c.d; all zero: unknown
    uint16_t port;         // 0: unknown
    uint8_t flags;         // enum derp_present_flag; 0: from an old server
    const char *app_name;  // not terminated; NULL when app_name_size is 0
    uint8_t app_name_size;
};

struct derp_restarting {
    uint32_t reconnect_in_ms;
    uint32_t try_for_ms;
};

must_use bool derp_read_send(const uint8_t *payload, size_t length, struct derp_send *out);
must_use bool derp_read_recv(const uint8_t *payload, size_t length, struct derp_recv *out);
must_use bool derp_read_forward(const uint8_t *payload, size_t length, struct derp_forward *out);

/* At least a key; no reason byte means DERP_GONE_DISCONNECTED; more bytes are ignored. */
must_use bool derp_read_peer_gone(const uint8_t *payload, size_t length, struct derp_peer_gone *out);

/* At least a key. The address counts when all 18 bytes are there, flags when there is one byte more, the app name
 * when there is a length byte and as many bytes behind it; what is missing is zero, what is left over is ignored. */
must_use bool derp_read_peer_present(const uint8_t *payload, size_t length, struct derp_peer_present *out);

/* At least 8 bytes; *data points at the 8 that count. For Ping and Pong. */
must_use bool derp_read_ping(const uint8_t *payload, size_t length, const uint8_t **data);

/* At least 8 bytes. */
must_use bool derp_read_restarting(const uint8_t *payload, size_t length, struct derp_restarting *out);

/* Exactly one byte. */
must_use bool derp_read_note_preferred(const uint8_t *payload, size_t length, bool *is_home);

/* Exactly a key. */
must_use bool derp_read_close_peer(const uint8_t *payload, size_t length, const struct node_key **key);

/* At least magic and key, at most DERP_GREETING_LENGTH_MAX; the magic is right, the key is not zero. */
must_use bool derp_read_server_key(const uint8_t *payload, size_t length, struct node_key *key);

/* ---- writing ----
 * Each writes one whole frame. Without room the writer is bad and nothing of the frame was written. */

/* Only type and length: the payload follows by other means. */
void derp_write_header(struct writer *w, enum derp_frame_type type, uint32_t length);

/* server to client */
void derp_write_server_key(struct writer *w, const struct node_key *server);
void derp_write_recv(struct writer *w, const struct node_key *src, const void *data, size_t size);
void derp_write_keep_alive(struct writer *w);
void derp_write_peer_gone(struct writer *w, const struct node_key *key, enum derp_gone_reason reason);
void derp_write_peer_present(struct writer *w,
                             const struct derp_peer_present *peer);  // payload of 52 bytes and the app name
void derp_write_pong(struct writer *w, const uint8_t data[DERP_PING_SIZE]);
void derp_write_health(struct writer *w, const char *text, size_t size);  // size <= DERP_CLIENT_LENGTH_MAX
void derp_write_restarting(struct writer *w, uint32_t reconnect_in_ms, uint32_t try_for_ms);

/* client to server; sizes are at most DERP_PACKET_SIZE_MAX (CHECK) */
void derp_write_send(struct writer *w, const struct node_key *dst, const void *data, size_t size);
void derp_write_forward(struct writer *w, const struct node_key *src, const struct node_key *dst, const void *data,
                        size_t size);
void derp_write_note_preferred(struct writer *w, bool is_home);
void derp_write_watch_conns(struct writer *w);
void derp_write_close_peer(struct writer *w, const struct node_key *key);
void derp_write_ping(struct writer *w, const uint8_t data[DERP_PING_SIZE]);  // both directions

/* ---- rewriting a packet frame where it lies ----
 *
 *     SendPacket       | 04 | length    | dst 32 | data
 *     RecvPacket       | 05 | length    | src 32 | data           the same bytes
 *     ForwardPacket    | 0a | length+32 | src 32 | dst 32 | data  32 bytes earlier
 *
 * `frame` is the type byte of a whole frame that was accepted. `src` does not point into it. */

/* Type and key change; length and data stay. The destination is overwritten: read it before. */
static inline void derp_rewrite_send_to_recv(uint8_t *frame, const struct node_key *src) {
    frame[0] = DERP_RECV_PACKET;
    memcpy(frame + DERP_HEADER_SIZE, src->bytes, KEY_SIZE);
}

/* Needs KEY_SIZE bytes of headroom before `frame`. The result, frame - KEY_SIZE, is where the ForwardPacket begins. */
uint8_t *derp_rewrite_send_to_forward(uint8_t *frame, const struct node_key *src);

/* The result, frame + KEY_SIZE, is where the RecvPacket begins. The destination is overwritten: read it before. */
uint8_t *derp_rewrite_forward_to_recv(uint8_t *frame);
