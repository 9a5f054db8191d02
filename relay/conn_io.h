/* conn_io.h - the two halves of a connection's traffic. Private to conn*.c; relay/conn.h is the manual.
 *
 *   conn_read.c  when the socket is read, and how much at once
 *   conn_in.c    bytes of the socket -> records opened -> frames -> what they ask for
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

/* The send in flight has ended. */
void conn_on_sent(struct worker *w, struct conn *conn, const struct ring_event *event);

/* TLS, and no send in flight: sends the alert that says why the connection ends. The kernel takes it at once or
 * never. */
void conn_send_alert(struct worker *w, struct conn *conn, uint8_t alert);

/* Packets of the chunk in flight count as lost; the chunk goes back. */
void conn_drop_chunk(struct worker *w, struct conn *conn);
