/* session.h - one socket at the door, between accept and hand-over. Private to the front (front*.c).
 *
 * Memory: its own input buffer holds a request head or a usual ClientInfo; a large ClientInfo, or a large page, takes one
 * of the front's few large buffers until the session ends.
 */
#pragma once

#include "core/ring.h"
#include "core/sys.h"
#include "core/wheel.h"
#include "proto/http.h"
#include "proto/login.h"
#include "relay/conn_value.h"
#include "relay/reason.h"

struct front;

enum session_phase {
    SESSION_HEAD,        // collecting a request head
    SESSION_RESPONDING,  // an answer is under way; then HEAD again, or close
    SESSION_LOGIN,       // ServerKey is under way or sent; collecting ClientInfo
    SESSION_HANDOVER,    // login accepted; waits only for its own last send
    SESSION_CLOSING,
};

enum {
    SESSION_OUT_SIZE = 4096,
    SESSION_LARGE_SIZE = DERP_HEADER_SIZE + LIMIT_CLIENT_INFO_SIZE_MAX,
};

/* What an accepted ClientInfo leaves behind. */
struct session_login {
    struct node_key key;
    bool can_ack_pings;
    bool is_prober;
    uint8_t server_info[LOGIN_SERVER_INFO_FRAME_SIZE];  // the frame the worker sends first
};

struct session {
    struct ring_socket socket;
    struct wheel_timer timer;  // the deadline of the phase
    struct session *older, *newer;
    struct net_address remote;
    uint64_t accepted_ns;
    enum session_phase phase;
    struct http_scan scan;
    bool is_receiving;
    bool is_close_after_send;
    bool is_not_ideal;
    uint8_t *large;     // the large buffer it holds, or NULL
    uint8_t *in;        // own_in or large
    uint32_t in_size;   // bytes there
    uint32_t in_room;   // bytes that fit
    uint8_t *out;       // own_out or large
    uint32_t out_size;  // bytes to send; 0: nothing
    uint32_t out_sent;
    struct session_login login;
    uint8_t own_in[HTTP_HEAD_SIZE_MAX];
    uint8_t own_out[SESSION_OUT_SIZE];
};

/* Ends the session; counted once. */
void session_refuse(struct front *f, struct session *s, enum refuse_reason reason);

/* Sets the phase and its deadline. */
void session_enter(struct front *f, struct session *s, enum session_phase phase, uint64_t timeout_ns);

/* Starts sending out[0..out_size), out_size > 0. */
void session_send(struct front *f, struct session *s);

/* Makes s->large one of the front's SESSION_LARGE_SIZE buffers; false when none is free. Given back at the end. */
must_use bool session_take_large(struct front *f, struct session *s);

/* Removes the first `size` bytes of the input. */
void session_consume(struct session *s, size_t size);

/* ---- front_pages.c ---- */

/* Answers a request that is not an upgrade: fills s->out and sets s->is_close_after_send. */
void session_answer(struct front *f, struct session *s, const struct http_request *request);

/* ---- front_login.c ---- */

/* A request for /derp: answers 101 and ServerKey, or ServerKey only, or an error; sets the phase. */
void session_upgrade(struct front *f, struct session *s, const struct http_request *request);

/* Phase LOGIN, after bytes have come: true when the ClientInfo was complete and accepted (phase is HANDOVER then), false
 * when more is needed or the session was refused. */
must_use bool session_login_step(struct front *f, struct session *s);

/* The connection that an accepted login becomes, all but its fd. Blobs of *value point into the session. */
void session_value(struct front *f, const struct session *s, uint64_t conn_id, struct conn_value *value);
