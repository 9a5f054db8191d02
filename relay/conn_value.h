/* conn_value.h - everything a live connection is, as a plain value that can be packed and unpacked.
 *
 * A connection is handed from the thread that shook hands to the worker that relays as one packed value, and later, at
 * an upgrade, from the old program to the new one the same way. So whatever must survive a hand-over is a field of the
 * table below, and the table is the only place: the struct, pack, unpack and the property test are made from it. A
 * field that is not in the table does not exist in `struct conn_value`; and `struct conn` (relay/conn.h) asserts at
 * compile time that it holds this value and otherwise only what can be made anew.
 *
 *   NUMBER(id, type, name)        an unsigned or signed integer, kept little-endian in its own size
 *   BYTES(id, name, size)         exactly `size` bytes
 *   BLOB(id, name, size_max)      `name`.bytes, `name`.size: at most size_max bytes that lie elsewhere
 *
 * Ids are for ever: a number is never given to another field, also when its field is gone. The packed form has the
 * fields in the order of the table.
 *
 * Packed form, little-endian:
 *     "RRcv" | version u16 | fields u16 | total size u32 | then per field: id u16, size u32, bytes
 * Unpacking accepts exactly the fields of its own version, each once; anything else is refused and nothing is written.
 *
 * Threads: plain values. Memory: blobs point into memory of whoever made the value; after unpacking, into the packed
 * bytes. Errors: packing fails when the room is too small, unpacking when a byte is wrong: false.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "core/limits.h"
#include "proto/derp_stream.h"
#include "proto/key.h"
#include "proto/record.h"
#include "proto/websocket.h"
#include "relay/present.h"

#define CONN_VALUE_VERSION 1

enum conn_transport { TRANSPORT_PLAIN = 1, TRANSPORT_TLS };

/* clang-format off */
#define CONN_FIELDS(NUMBER, BYTES, BLOB)                                                                        \
    /* identity */                                                                                              \
    NUMBER(1, uint64_t, conn_id)                        /* unique in the life of the process */                 \
    NUMBER(2, int32_t, fd)                              /* the socket */                                        \
    NUMBER(3, uint8_t, transport)                       /* enum conn_transport */                               \
    BYTES(4, key, KEY_SIZE)                             /* who logged in */                                     \
    BYTES(5, remote_ip, 16)                             /* v4-mapped */                                         \
    NUMBER(6, uint16_t, remote_port)                    /* host order */                                        \
    NUMBER(7, uint64_t, connected_ns)                   /* when accepted */                                     \
    /* what the client said */                                                                                  \
    NUMBER(8, uint8_t, can_ack_pings)                                                                           \
    NUMBER(9, uint8_t, is_prober)                                                                               \
    NUMBER(10, uint8_t, is_mesh_peer)                   /* showed the right mesh key */                         \
    NUMBER(11, uint8_t, is_not_ideal)                   /* sent an Ideal-Node header */                         \
    NUMBER(12, uint8_t, is_preferred)                   /* last NotePreferred */                                \
    NUMBER(63, uint8_t, is_watching)                    /* a mesh peer that sent WatchConns */                  \
    NUMBER(64, uint8_t, app_name_size)                                                                          \
    BYTES(65, app_name, DERP_APP_NAME_SIZE_MAX)         /* zero behind its size */                              \
    /* where it stands */                                                                                       \
    NUMBER(13, uint8_t, is_started)                     /* ServerInfo may be written */                         \
    NUMBER(14, uint64_t, activity)                      /* struct duplicate: place in the history of who sent */\
    NUMBER(52, uint8_t, is_disabled)                    /* struct duplicate */                                  \
    NUMBER(15, uint64_t, keepalive_period_ns)           /* 60 s and a share of jitter of its own */             \
    NUMBER(16, uint64_t, keepalive_due_ns)                                                                      \
    NUMBER(17, uint64_t, write_deadline_ns)             /* while a send is in flight; 0: none */                \
    NUMBER(18, uint8_t, is_pong_owed)                                                                           \
    BYTES(19, pong, 8)                                  /* what the owed pong echoes */                         \
    NUMBER(20, uint32_t, not_here_tokens)               /* limiter of PeerGone(NotHere) */                      \
    NUMBER(21, uint64_t, not_here_refilled_ns)                                                                  \
    /* the streams */                                                                                           \
    NUMBER(22, uint8_t, stream_side)                    /* struct derp_stream, field by field */                \
    NUMBER(23, uint8_t, stream_phase)                                                                           \
    NUMBER(24, uint8_t, stream_verdict)                                                                         \
    NUMBER(25, uint8_t, stream_header_have)                                                                     \
    BYTES(33, stream_header, DERP_HEADER_SIZE)                                                                  \
    NUMBER(34, uint32_t, stream_have)                                                                           \
    BLOB(26, unopened, LIMIT_RECORD_SIZE_MAX)           /* received, not yet opened */                          \
    BLOB(36, opened, LIMIT_LOGIN_REST_MAX)              /* opened, not yet parsed */                            \
    BLOB(27, partial, LIMIT_FRAME_SIZE_MAX)             /* the frame under way, as far as it has come */        \
    BLOB(35, urgent, LIMIT_URGENT_BYTES_MAX)            /* whole frames that go before packets: ServerInfo */   \
    BLOB(28, unsent, LIMIT_CHUNK_MAX)                   /* sealed, not yet taken by the kernel */               \
    /* struct record, field by field; zero for the plain transport */                                           \
    NUMBER(37, uint64_t, record_in_sequence)                                                                    \
    NUMBER(38, uint64_t, record_out_sequence)                                                                   \
    NUMBER(39, uint32_t, record_rekey_after)                                                                    \
    NUMBER(40, uint8_t, record_suite)                                                                           \
    NUMBER(41, uint8_t, record_is_client)                                                                       \
    NUMBER(42, uint8_t, record_owes_key_update)                                                                 \
    NUMBER(43, uint8_t, record_asks_key_update)                                                                 \
    NUMBER(44, uint8_t, record_awaits_key_update)                                                               \
    NUMBER(45, uint8_t, record_update_tokens)                                                                   \
    NUMBER(46, uint8_t, record_idle_count)                                                                      \
    NUMBER(47, uint8_t, record_message_have)                                                                    \
    BYTES(48, record_message, 4)                                                                                \
    NUMBER(49, uint32_t, record_ticket_left)                                                                    \
    BYTES(50, record_in_secret, HKDF_SECRET_MAX)                                                                \
    BYTES(51, record_out_secret, HKDF_SECRET_MAX)                                                               \
    /* struct websocket, field by field; zero without one */                                                    \
    NUMBER(53, uint8_t, is_websocket)                   /* frames travel in WebSocket messages */               \
    NUMBER(54, uint8_t, websocket_phase)                                                                        \
    NUMBER(55, uint8_t, websocket_is_in_message)                                                                \
    NUMBER(56, uint8_t, websocket_owes_pong)                                                                    \
    NUMBER(57, uint8_t, websocket_head_have)                                                                    \
    NUMBER(58, uint8_t, websocket_control_size)                                                                 \
    NUMBER(59, uint16_t, websocket_code)                                                                        \
    NUMBER(60, uint64_t, websocket_left)                                                                        \
    BYTES(61, websocket_head, WEBSOCKET_HEAD_MAX)                                                               \
    BYTES(62, websocket_control, WEBSOCKET_CONTROL_MAX)                                                         \
    /* accounts */                                                                                              \
    NUMBER(29, uint64_t, packets_received)                                                                      \
    NUMBER(30, uint64_t, packets_sent)                                                                          \
    NUMBER(31, uint64_t, bytes_received)                                                                        \
    NUMBER(32, uint64_t, bytes_sent)
/* clang-format on */

struct conn_blob {
    const uint8_t *bytes;
    uint32_t size;
};

#define CONN_FIELD_NUMBER(id, type, name) type name;
#define CONN_FIELD_BYTES(id, name, size) uint8_t name[size];
#define CONN_FIELD_BLOB(id, name, size_max) struct conn_blob name;

struct conn_value {
    CONN_FIELDS(CONN_FIELD_NUMBER, CONN_FIELD_BYTES, CONN_FIELD_BLOB)
};

/* Bytes conn_value_pack will write. */
size_t conn_value_packed_size(const struct conn_value *value);

/* False when it does not fit or a blob is above its bound; then the content of the room is unspecified. */
must_use bool conn_value_pack(const struct conn_value *value, struct writer *w);

/* False when `bytes` is not exactly one packed value of this version; *value is then untouched. Blobs of *value point
 * into `bytes`. */
must_use bool conn_value_unpack(struct conn_value *value, const void *bytes, size_t size);

/* Copies the fields of a record layer to the value and back. The record's keys are derived by record_rederive. */
void conn_value_from_record(struct conn_value *value, const struct record *record);
void conn_value_to_record(const struct conn_value *value, struct record *record);

/* What watchers are told of the connection. */
void conn_value_present(const struct conn_value *value, struct present *present);

/* The same for a WebSocket's place in its frames. */
void conn_value_from_websocket(struct conn_value *value, const struct websocket *websocket);
void conn_value_to_websocket(const struct conn_value *value, struct websocket *websocket);
