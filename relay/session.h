/* session.h - one socket at the door, between accept and hand-over. Private to the front (front*.c).
 *
 *   front.c         the thread: accepting, phases, mail, timers
 *   front_io.c      bytes of the socket <-> s->in and s->out, in the clear or through TLS
 *   front_login.c   from a request for /derp to a packed connection
 *   front_websocket.c   the same for a WebSocket: its answer, its frames taken apart in s->in
 *   front_pages.c   everything else that HTTP asks for, with front_debug.c, front_bootstrap.c and front_allocate.c
 *                   (relay/page.h)
 *   front_traffic.c the one page that does not end
 *
 * Whatever the transport, phases see plaintext: s->in holds what has been received and not been consumed, s->out what
 * is to be sent. With TLS the bytes of the socket are collected in s->raw, of which whole records are opened into
 * s->in while there is room, and s->out is sealed piece by piece into s->sealed.
 *
 * Memory: the session's own buffers, touched as they are used; a large ClientInfo, or a large page, takes one of the
 * front's few large buffers until the session ends. wolfSSL's objects live from the first byte until the handshake
 * ends.
 */
#pragma once

#include "core/ring.h"
#include "core/sys.h"
#include "core/wheel.h"
#include "proto/handshake.h"
#include "proto/http.h"
#include "proto/login.h"
#include "proto/record.h"
#include "proto/websocket.h"
#include "relay/conn_value.h"
#include "relay/reason.h"

struct front;

enum session_phase {
    SESSION_HANDSHAKE,   // TLS: no plaintext yet
    SESSION_HEAD,        // collecting a request head
    SESSION_RESPONDING,  // an answer is under way; then HEAD again, or close
    SESSION_DRAINING,    // answered; what the client still sends is thrown away, so that it gets to read the answer
    SESSION_RECHECK,     // the books did not agree: looked at once more when the deadline comes
    SESSION_LOGIN,       // ServerKey is under way or sent; collecting ClientInfo
    SESSION_HANDOVER,    // login accepted; waits only for its own last send
    SESSION_CLOSING,
};

/* docs/derp.md, "Timeouts and socket options" */
enum {
    SESSION_HEAD_TIMEOUT_S = 30,   // also for the handshake before it
    SESSION_LOGIN_TIMEOUT_S = 10,  // for the kernel to take ServerKey, and as long again for ClientInfo from then on
};

enum {
    SESSION_OUT_SIZE = 4096,
    SESSION_IN_SIZE = LIMIT_LOGIN_REST_MAX,  // a head that is not complete, and one more record
    SESSION_RAW_SIZE = LIMIT_RECORD_SIZE_MAX,
    SESSION_SEALED_SIZE = HANDSHAKE_OUT_MAX,
    SESSION_LARGE_SIZE = DERP_HEADER_SIZE + LIMIT_CLIENT_INFO_SIZE_MAX + LIMIT_RECORD_SIZE_MAX,
};

/* What an accepted ClientInfo leaves behind. */
struct session_login {
    struct node_key key;
    bool can_ack_pings;
    bool is_prober;
    bool is_mesh_peer;
    char app_name[DERP_APP_NAME_SIZE_MAX + 1];
    uint8_t server_info[LOGIN_SERVER_INFO_FRAME_SIZE];  // the frame the worker sends first
};

struct session {
    struct ring_socket socket;
    struct wheel_timer timer;  // the deadline of the phase
    struct session *older, *newer;
    struct net_address remote;
    uint64_t accepted_ns;
    enum session_phase phase;
    enum conn_transport transport;
    struct http_scan scan;
    bool is_receiving;
    bool is_sending;
    bool is_close_after_send;
    bool is_drain_after_send;     // unread bytes at close would make the kernel reset the connection
    bool is_not_ideal;
    bool is_port80;               // came by the plain listener beside TLS: no DERP here
    bool is_node;                 // the other end is our own (relay/node.h): in the clear beside TLS, too
    bool is_tls_active;           // counted in derper_tls_active_version
    struct {
        uint64_t connections, booked, logins;
    } recheck;                    // RECHECK: what did not agree, and how many had come by then
    bool is_greeted;              // LOGIN: ServerKey has been taken
    bool is_websocket;            // LOGIN, HANDOVER: s->in holds unwrapped bytes, then frames as they came
    bool is_close_said;           // WebSocket: nothing may be sent any more
    enum refuse_reason close_reason;  // of the close after a response
    uint8_t close_alert;          // TLS: enum record_alert; close_notify unless a record was bad
    struct handshake *handshake;  // until it is done or has failed
    struct record record;         // TLS, after the handshake
    uint8_t *large;               // the large buffer it holds, or NULL
    uint8_t *in;                  // own_in or large
    uint32_t in_size;             // bytes there
    uint32_t in_room;             // bytes that fit
    uint32_t request_size;        // HEAD: of a head with a body that is read, when its size is known; else 0
    uint8_t *out;                 // own_out or large; one byte more than out_size may be written
    uint32_t out_size;            // bytes to send; 0: nothing
    uint32_t out_sent;            // TLS: sealed
    uint32_t raw_size;
    uint32_t drained_size;
    uint32_t sealed_size;
    uint32_t sealed_sent;
    struct websocket websocket;
    uint32_t unwrapped;           // WebSocket: so many bytes of s->in are DERP's
    struct session_login login;
    uint8_t own_in[SESSION_IN_SIZE];
    uint8_t own_out[SESSION_OUT_SIZE + 1];
    uint8_t raw[SESSION_RAW_SIZE];
    uint8_t sealed[SESSION_SEALED_SIZE];
};

/* ---- front.c ---- */

/* Ends the session; counted once. */
void session_refuse(struct front *f, struct session *s, enum refuse_reason reason);

/* Sets the phase and its deadline. */
void session_enter(struct front *f, struct session *s, enum session_phase phase, uint64_t timeout_ns);

/* Makes s->large one of the front's SESSION_LARGE_SIZE buffers; false when none is free. Given back at the end. */
must_use bool session_take_large(struct front *f, struct session *s);

/* ---- front_io.c ---- */

/* Asks for more bytes, unless asked already or there is no room for any. */
void session_receive(struct front *f, struct session *s);

/* Received bytes: to s->in, or to s->raw for session_pull. */
void session_take_bytes(struct session *s, const uint8_t *bytes, size_t size);

/* TLS: goes on with the handshake, or opens records into s->in as far as there is room. May change the phase to HEAD,
 * and may refuse the session. Plain: nothing. */
void session_pull(struct front *f, struct session *s);

/* Removes the first `size` bytes of s->in. */
void session_consume(struct session *s, size_t size);

/* Starts sending out[0..out_size), out_size > 0; session_on_sent says when all of it is gone. */
void session_send(struct front *f, struct session *s);

/* Adds to what is being sent, in the session's own output; the caller has bounded it. */
void session_append(struct front *f, struct session *s, const void *bytes, size_t size);

/* A send has ended well. True when nothing is left to send. */
must_use bool session_on_sent(struct front *f, struct session *s, uint32_t size);

/* Just before closing: WebSocket's and TLS's goodbye, if nothing is under way. */
void session_say_goodbye(struct front *f, struct session *s);

/* ---- front_pages.c ---- */

/* Answers a request that is not an upgrade: fills s->out and sets s->is_close_after_send. One whose body is read sets
 * s->request_size, and has answered when that much is there. */
void session_answer(struct front *f, struct session *s, const struct http_request *request);

/* The other half of an answer that waited in RECHECK: fills s->out. */
void session_recheck(struct front *f, struct session *s);

/* Is this the request that makes a DERP connection? */
must_use bool session_wants_derp(const struct front *f, const struct session *s, const struct http_request *request);

/* Answers with a status and a sentence, and closes afterwards. */
void session_answer_error(struct session *s, uint16_t status, const char *text);

/* ---- front_login.c ---- */

/* A request for /derp: answers 101 and ServerKey, or ServerKey only, or an error; sets the phase. */
void session_upgrade(struct front *f, struct session *s, const struct http_request *request);

/* ServerKey is under way, in s->own_out: counts, sets the phase and sends. */
void session_begin_login(struct front *f, struct session *s, const struct http_request *request,
                         const struct writer *out);

/* Phase LOGIN, after bytes have come: true when the ClientInfo was complete and accepted (phase is HANDOVER then),
 * false when more is needed or the session was refused. */
must_use bool session_login_step(struct front *f, struct session *s);

/* ---- front_websocket.c ---- */

/* A request for /derp that asks for a WebSocket: answers; sets the phase. */
void session_upgrade_websocket(struct front *f, struct session *s, const struct http_request *request);

/* Takes the frames in s->in apart, so that it holds DERP only. False when the session ends for what was in them. */
must_use bool session_unwrap(struct front *f, struct session *s);

/* Sends the pong that is owed, if nothing else is under way. */
void session_pay_pong(struct front *f, struct session *s);

/* ---- front_login.c, at the end ---- */

/* The connection that an accepted login becomes, all but its fd. Blobs of *value point into the session. */
void session_value(struct front *f, const struct session *s, uint64_t conn_id, struct conn_value *value);
