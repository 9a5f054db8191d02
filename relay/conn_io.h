/* conn_io.h - the two halves of a connection's traffic. Private to conn*.c; relay/conn.h is the manual.
 *
 *   conn_read.c  when the socket is read, and how much at once
 *   conn_in.c    bytes of the socket -> records opened -> frames -> what they ask for
 *   conn_websocket.c  between the two, for a WebSocket: messages -> bytes of frames; and how one ends
 *   conn_out.c   what waits -> records sealed into one chunk -> one send
 */
#pragma once

#include "relay/conn.h"

/* Starts to read. */
void conn_read_start(struct worker *w, struct conn *conn);

/* `size` bytes have been received: before they are handled. */
void conn_read_account(const struct worker *w, struct conn *conn, size_t size);

/* They have been handled. */
void conn_read_on_bytes(struct worker *w, struct conn *conn, size_t size);

/* A pause that was asked for has come. */
void conn_read_on_paused(struct worker *w, struct conn *conn);

/* Bytes as the socket gave them: frames, or records with frames inside. */
void conn_on_bytes(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size);

/* Bytes of frames, opened already. `whole` is NULL, or points at the packet that holds exactly these bytes at
 * ->frame; a frame that is alone in it takes it over, and *whole is NULL then. */
void conn_on_plain(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size, struct packet **whole);

/* As conn_on_plain, but the bytes may be a WebSocket's messages. */
void conn_on_stream(struct worker *w, struct conn *conn, const uint8_t *bytes, size_t size, struct packet **whole);

/* The send in flight has ended. */
void conn_on_sent(struct worker *w, struct conn *conn, const struct ring_event *event);

/* No send in flight: sends what a WebSocket and TLS say when they end. The kernel takes it at once or never. */
void conn_say_goodbye(struct worker *w, struct conn *conn);

/* No send in flight, and a close frame is owed: sends it. */
void conn_send_close(struct worker *w, struct conn *conn);

/* A send is done and the connection is ending. */
void conn_ending_on_sent(struct worker *w, struct conn *conn);

/* Our close frame is out and the client's is waited for. */
static inline bool conn_is_lingering(const struct conn *conn) {
    return conn->r.ending == ENDING_SAID && conn->r.sending == NULL;
}

/* Packets of the chunk in flight count as lost; the chunk goes back. */
void conn_drop_chunk(struct worker *w, struct conn *conn);
