/* reason.h - why something was dropped, closed or refused: one table for the metric, the log line and the probe.
 *
 * Law: every drop, close and refusal has a reason. Nothing else in the house invents words for these events.
 *
 * DROP rows are packets; their label is the value of `reason` in derp_packets_dropped and derp_bytes_dropped. The first
 * seven are derper's own and keep its names and meaning; the rest say what derper cannot.
 * CLOSE rows are connections after login; REFUSE rows are sockets that never got that far.
 * UDP_DROP rows are datagrams of the UDP relay, UDP_REFUSE rows are endpoints that were asked of it and not given.
 */
#pragma once

#include "core/base.h"

#define DROP_REASONS(X)                                                                  \
    X(UNKNOWN_DEST, "unknown_dest", "destination is not connected to this region")       \
    X(UNKNOWN_DEST_ON_FWD, "unknown_dest_on_fwd", "forwarded by a mesh peer, not here")  \
    X(GONE_DISCONNECTED, "gone_disconnected", "destination disconnected with it queued") \
    X(QUEUE_HEAD, "queue_head", "oldest of a full queue, for a newer one")               \
    X(QUEUE_TAIL, "queue_tail", "memory is short, and it is large")                      \
    X(WRITE_ERROR, "write_error", "in a send that failed")                               \
    X(DUP_CLIENT, "dup_client", "several connections of the key, none of them active")   \
    X(POOL_EMPTY, "pool_empty", "no packet memory left on the worker")                   \
    X(LANE_FULL, "lane_full", "the destination's worker does not keep up")               \
    X(STALE_ROUTE, "stale_route", "destination moved while the packet was on its way")   \
    X(QUEUE_AGE, "queue_age", "waited for ten seconds")                                  \
    X(NO_SOURCE, "no_source", "forwarded by a mesh peer with a source key of zero")

#define CLOSE_REASONS(X)                                                                       \
    X(EOF, "eof", "the client closed")                                                         \
    X(RECEIVE_ERROR, "receive_error", "the socket failed while reading")                       \
    X(SEND_ERROR, "send_error", "the socket failed while writing")                             \
    X(WRITE_TIMEOUT, "write_timeout", "the client took nothing for the write timeout")         \
    X(FRAME_TOO_SHORT, "frame_too_short", "frame below the least length of its type")          \
    X(FRAME_TOO_LONG, "frame_too_long", "frame above the greatest length of its type")         \
    X(FRAME_LENGTH, "frame_length", "frame without the one length of its type")                \
    X(FRAME_FORBIDDEN, "frame_forbidden", "mesh frame from a client without the mesh key")     \
    X(TLS_BAD_RECORD, "tls_bad_record", "a TLS record that cannot be one, or does not open")   \
    X(TLS_ALERT, "tls_alert", "the client sent a fatal TLS alert")                             \
    X(WEBSOCKET_PROTOCOL, "websocket_protocol", "a WebSocket frame against the rules")         \
    X(WEBSOCKET_TEXT, "websocket_text", "a WebSocket message of text: DERP is binary")         \
    X(WEBSOCKET_CLOSED, "websocket_closed", "the client closed its WebSocket with an error")   \
    X(NO_MEMORY, "no_memory", "no packet memory for a login or an incomplete TLS record")      \
    X(SLOW, "slow", "a send took longer than the write timeout while packet memory was short") \
    X(WATCH_BEHIND, "watch_behind", "a watching mesh peer fell behind, and has to start over") \
    X(WATCHERS_FULL, "watchers_full", "too many mesh peers watch")                             \
    X(CLOSE_PEER, "close_peer", "a mesh peer asked for it by ClosePeer")

#define REFUSE_REASONS(X)                                                                        \
    X(SESSIONS_FULL, "sessions_full", "too many at the door: the oldest of the largest network") \
    X(TIMEOUT, "timeout", "no complete request or login in time")                                \
    X(GONE, "gone", "the other side closed before a login")                                      \
    X(TLS, "tls", "the TLS handshake failed")                                                    \
    X(TLS_BAD_RECORD, "tls_bad_record", "a TLS record that cannot be one, or does not open")     \
    X(HTTP_BAD, "http_bad", "not a request this server understands")                             \
    X(HTTP_DONE, "http_done", "answered, and the connection was to close")                       \
    X(NOT_CLIENT_INFO, "not_client_info", "first frame is not a ClientInfo of legal length")     \
    X(BOX, "box", "the login box does not open with this server's key")                          \
    X(CLIENT_INFO, "client_info", "the login's JSON is not acceptable")                          \
    X(APP_NAME, "app_name", "the login names an application of -disallow-app-names")             \
    X(ACCEPT_LIMIT, "accept_limit", "faster than -accept-connection-limit allows")               \
    X(WEBSOCKET, "websocket", "a WebSocket frame against the rules, or another subprotocol")     \
    X(BUFFERS_FULL, "buffers_full", "too many large logins or pages at once")                    \
    X(RELAY_FULL, "relay_full", "-max-connections is reached, or 256 by one key")

#define UDP_DROP_REASONS(X)                                                              \
    X(VNI_UNKNOWN, "vni_unknown", "no endpoint has this VNI")                            \
    X(NOT_OPEN, "not_open", "data before both clients have bound")                       \
    X(NOT_BOUND, "not_bound", "data from an address that is not bound")                  \
    X(BUSY, "busy", "another worker is changing the endpoint, and was put aside")        \
    X(SENDER, "sender", "a control message by neither of the two clients")               \
    X(BODY, "body", "a control message that is neither Bind nor Answer")                 \
    X(BODY_VNI, "body_vni", "a control message for another VNI inside than outside")     \
    X(REMOTE_KEY, "remote_key", "a control message that names another remote client")    \
    X(PORT_ZERO, "port_zero", "a control message from port 0, where no answer can go")   \
    X(GENERATION, "generation", "a Bind of generation 0, or an Answer without its Bind") \
    X(CHALLENGE, "challenge", "an Answer with a wrong challenge, or too late")           \
    X(REPLAYED, "replayed", "an Answer that was taken before")                           \
    X(TOO_SHORT, "too_short", "not even a Geneve header")                                \
    X(CUT, "cut", "longer than a receive buffer")                                        \
    X(PROTOCOL, "protocol", "a control message that is not disco")                       \
    X(SIZE, "size", "a control message of a length that no Bind or Answer has")          \
    X(ENVELOPE, "envelope", "a control message without the magic of disco")              \
    X(BOX, "box", "a control message whose box does not open")                           \
    X(ANSWERS_FULL, "answers_full", "more handshakes or STUN in a pass than answers")    \
    X(NO_SOCKET, "no_socket", "to a client of the address family that is not open here") \
    X(KERNEL_FULL, "kernel_full", "the kernel took no more to send")                     \
    X(SEND_ERROR, "send_error", "the kernel refused to send it")                         \
    X(CLOSING, "closing", "the relay is being stopped")

#define UDP_REFUSE_REASONS(X)                                                                      \
    X(CLOSED, "closed", "the relay is being stopped")                                              \
    X(NOT_READY, "not_ready", "no address of the relay is known yet")                              \
    X(SERVER_KEY, "server_key", "one of the disco keys is the relay's own")                        \
    X(ZERO_KEY, "zero_key", "one of the disco keys is zero")                                       \
    X(EQUAL_KEYS, "equal_keys", "both disco keys are the same")                                    \
    X(FULL, "full", "there are as many endpoints as there may be")                                 \
    X(UNBOUND_FULL, "unbound_full", "as many endpoints as may be wait for their clients")          \
    X(WEAK_KEY, "weak_key", "one of the disco keys is a point of low order")                       \
    X(RATE, "rate", "the requester asks faster than -relay-rate allows")                           \
    X(QUOTA, "quota", "the requester has as many endpoints as -relay-requester-max allows")        \
    X(REQUESTERS_FULL, "requesters_full", "too many requesters at one time")                       \
    X(NOT_ALLOWED, "not_allowed", "the requester is not on the allow list, or has no valid token") \
    X(NOT_A_CLIENT, "not_a_client", "the requester's disco key is neither of the two")             \
    X(BAD_REQUEST, "bad_request", "not a request that this relay understands")

#define REASON_DROP_ENUM(name, label, text) DROP_##name,
#define REASON_CLOSE_ENUM(name, label, text) CLOSE_##name,
#define REASON_REFUSE_ENUM(name, label, text) REFUSE_##name,
#define REASON_UDP_DROP_ENUM(name, label, text) UDP_DROP_##name,
#define REASON_UDP_REFUSE_ENUM(name, label, text) UDP_REFUSE_##name,

enum drop_reason { DROP_REASONS(REASON_DROP_ENUM) DROP_REASON_COUNT };
enum close_reason { CLOSE_REASONS(REASON_CLOSE_ENUM) CLOSE_REASON_COUNT };
enum refuse_reason { REFUSE_REASONS(REASON_REFUSE_ENUM) REFUSE_REASON_COUNT };
enum udp_drop_reason { UDP_DROP_REASONS(REASON_UDP_DROP_ENUM) UDP_DROP_REASON_COUNT };
enum udp_refuse_reason { UDP_REFUSE_REASONS(REASON_UDP_REFUSE_ENUM) UDP_REFUSE_REASON_COUNT };

/* Metric label ("queue_head") and sentence of a reason. */
const char *drop_reason_label(enum drop_reason reason);
const char *close_reason_label(enum close_reason reason);
const char *close_reason_text(enum close_reason reason);
const char *refuse_reason_label(enum refuse_reason reason);
const char *refuse_reason_text(enum refuse_reason reason);
const char *udp_drop_reason_label(enum udp_drop_reason reason);
const char *udp_drop_reason_text(enum udp_drop_reason reason);
const char *udp_refuse_reason_label(enum udp_refuse_reason reason);
const char *udp_refuse_reason_text(enum udp_refuse_reason reason);
