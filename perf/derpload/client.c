#include "perf/derpload/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/sys.h"
#include "perf/derpload/crowd.h"
#include "proto/http.h"
#include "proto/login.h"

/* During a login the crowd may go on without this client. */
static void fail(struct client *c, const char *step, const char *what) {
    struct crowd *crowd = c->crowd;
    if (c->state == CLIENT_READY || crowd->options.callbacks.on_failed == NULL) {
        crowd_fail(crowd, "client %u, %s: %s", c->idx, step, what);
    } else if (!c->has_failed) {
        c->has_failed = true;
        snprintf(crowd->login_why, sizeof(crowd->login_why), "client %u, %s: %s", c->idx, step, what);
    }
}

static bool is_over(const struct client *c) {
    return c->state == CLIENT_CLOSING || c->has_failed || c->crowd->is_failed;
}

static const char *step_of(const struct client *c) {
    switch ((enum client_state)c->state) {
        case CLIENT_SHAKING: return "TLS handshake";
        case CLIENT_GREETING: return "greeting";
        case CLIENT_INFO: return "login";
        case CLIENT_READY: return "relaying";
        case CLIENT_NONE:
        case CLIENT_CLOSING: break;
    }
    return "closing";
}

/* What a connection that never was says, says it here. */
static void fail_by_error(struct client *c, int error) {
    bool is_connect = error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == ETIMEDOUT;
    char step[320];
    snprintf(step, sizeof(step), "connecting to %s", c->crowd->options.url.authority);
    fail(c, is_connect ? step : step_of(c), strerror(error));
}

/* ---- writing ---- */

static void send_out(struct client *c) {
    ring_send(c->crowd->ring, &c->socket, c->out + c->out_sent, c->out_size - c->out_sent);
}

void client_write_begin(struct client *c) {
    DCHECK(c->out == NULL);
    c->out = crowd_take_out(c->crowd);
    c->w = writer_of(c->out, c->crowd->out_room);
    c->gathered = c->gathered_count = 0;
}

static void seal(struct client *c, uint8_t *plain, size_t size) {
    if (!c->is_tls) writer_copy(&c->w, plain, size);
    // The buffer has room for all that may be asked of one write; the rest is out of memory at a KeyUpdate.
    else if (!record_seal(&c->record, &c->w, plain, size)) fail(c, step_of(c), "cannot seal a record");
}

static void seal_gathered(struct client *c) {
    if (c->gathered > 0) seal(c, c->crowd->scratch, c->gathered);
    c->gathered = c->gathered_count = 0;
}

void client_write_frame(struct client *c, uint8_t *frame, size_t size) {
    uint32_t per_record = c->crowd->options.frames_per_record;
    if (per_record <= 1 || !c->is_tls) {
        seal(c, frame, size);
        return;
    }
    memcpy(c->crowd->scratch + c->gathered, frame, size);
    c->gathered += size;
    if (++c->gathered_count == per_record) seal_gathered(c);
}

void client_write_end(struct client *c) {
    seal_gathered(c);
    c->out_size = (size_t)(c->w.at - c->out);
    c->out_sent = 0;
    CHECK(writer_ok(&c->w));
    if (c->out_size > 0) {
        send_out(c);
        return;
    }
    crowd_give_out(c->crowd, c->out);
    c->out = NULL;
}

/* Login's own messages: short, one at a time. What cannot be sent now is the other side's fault: nobody but us is
 * due to talk. */
static void write_message(struct client *c, const uint8_t *bytes, size_t size, bool is_sealed) {
    static uint8_t plain[4096];  // why: a tool with one thread; a record needs a byte behind its text
    if (c->out != NULL || size >= sizeof(plain)) {
        fail(c, step_of(c), "the server speaks out of turn");
        return;
    }
    memcpy(plain, bytes, size);
    client_write_begin(c);
    if (is_sealed) seal(c, plain, size);
    else writer_copy(&c->w, plain, size);
    client_write_end(c);
}

/* The other side has asked for new keys and nothing is being sent that would carry them. */
static void pay_key_update(struct client *c) {
    if (!record_owes(&c->record) || c->out != NULL || is_over(c)) return;
    client_write_begin(c);
    seal(c, c->crowd->scratch, 0);
    client_write_end(c);
}

/* ---- login ---- */

static void become_ready(struct client *c) {
    c->state = CLIENT_READY;
    c->crowd->ready_count++;
    box_key_wipe(&c->shared);
    if (c->crowd->options.callbacks.on_ready) c->crowd->options.callbacks.on_ready(c->crowd->options.owner, c);
}

static size_t write_request(struct client *c, uint8_t *to, size_t room) {
    struct writer w = writer_of(to, room);
    const struct channel_url *url = &c->crowd->options.url;
    struct http_derp_request request = {.host = url->authority, .path = url->path, .is_fast_start = true};
    http_write_derp_request(&w, &request);
    if (!writer_ok(&w)) fail(c, "upgrade", "the URL is too long");
    return writer_ok(&w) ? (size_t)(w.at - to) : 0;
}

static void await_greeting(struct client *c) {
    c->state = CLIENT_GREETING;
    derp_stream_init(&c->stream, DERP_CLIENT_GREETING);
}

/* The request goes out with the last flight of the handshake. */
static void finish_handshake(struct client *c, struct writer *out) {
    uint8_t request[1024];
    struct tls_secrets secrets;
    handshake_export(c->handshake, &secrets);
    handshake_free(c->handshake);
    c->handshake = NULL;
    bool is_fine = record_init(&c->record, secrets.suite, true, secrets.in_secret, secrets.out_secret);
    c->crowd->suite = secrets.suite;
    sodium_memzero(&secrets, sizeof(secrets));
    size_t size = write_request(c, request, sizeof(request) - 1);
    await_greeting(c);
    if (!is_fine || !record_seal(&c->record, out, request, size)) fail(c, "TLS handshake", "no memory");
}

/* Takes what belongs to the handshake; the rest is left in *in. */
static void shake_hands(struct client *c, struct reader *in) {
    static uint8_t flight[HANDSHAKE_OUT_MAX];  // why: a tool with one thread
    struct writer out = writer_of(flight, sizeof(flight));
    enum handshake_state state = handshake_step(c->handshake, in, &out);
    if (state == HANDSHAKE_FAILED) {
        fail(c, "TLS handshake", handshake_failure_text(handshake_cause(c->handshake)));
        return;
    }
    if (state == HANDSHAKE_DONE) finish_handshake(c, &out);
    size_t size = (size_t)(out.at - flight);
    if (size > 0 && !is_over(c)) write_message(c, flight, size, false);
}

static void on_server_key(struct client *c, const struct derp_frame_view *frame) {
    uint8_t bytes[LOGIN_CLIENT_INFO_FRAME_SIZE_MAX];
    struct writer w = writer_of(bytes, sizeof(bytes));
    struct client_info info = {.version = DERP_VERSION, .is_prober = true};
    struct node_key server;
    if (!derp_read_server_key(frame->payload, frame->length, &server) ||
        !login_write_client_info(&w, &c->private_key, &server, &info, &c->crowd->rng, &c->shared)) {
        fail(c, "greeting", "the server's key cannot be used");
        return;
    }
    derp_stream_set_side(&c->stream, DERP_CLIENT);
    c->state = CLIENT_INFO;
    write_message(c, bytes, (size_t)(w.at - bytes), true);
}

static void on_login_frame(struct client *c, const struct derp_frame_view *frame) {
    struct server_info info;
    if (c->state == CLIENT_GREETING) {
        on_server_key(c, frame);
    } else if (frame->type == DERP_SERVER_INFO) {
        if (login_open_server_info(&c->shared, frame->payload, frame->length, &info) == LOGIN_OK) become_ready(c);
        else fail(c, "login", "the ServerInfo does not open with the server's key");
    }
}

/* ---- reading ---- */

static void on_frame(struct client *c, const struct derp_frame_view *frame) {
    struct derp_recv packet;
    if (unlikely(c->state != CLIENT_READY)) {
        on_login_frame(c, frame);
    } else if (likely(frame->type == DERP_RECV_PACKET) && derp_read_recv(frame->payload, frame->length, &packet)) {
        c->crowd->options.callbacks.on_packet(c->crowd->options.owner, c, &packet);
    }
}

static void on_bad_frame(struct client *c, const struct derp_frame_view *frame) {
    if (c->state == CLIENT_GREETING) fail(c, "greeting", "what answers is not a DERP server");
    else fail(c, "broken stream", derp_verdict_name(frame->verdict));
}

static void on_plain(struct client *c, uint8_t *bytes, size_t size) {
    struct reader in = reader_of(bytes, size);
    struct derp_frame_view frame;
    while (!is_over(c)) {
        switch (derp_stream_next(&c->stream, &in, &frame)) {
            case DERP_STREAM_FRAME: on_frame(c, &frame); break;
            case DERP_STREAM_NEED_INPUT: return;
            case DERP_STREAM_NEED_SPACE:
                if (frame.length <= DERP_RECV_LENGTH_MAX) derp_stream_give_space(&c->stream, c->space);
                else derp_stream_discard(&c->stream);
                break;
            case DERP_STREAM_SKIPPED:
            case DERP_STREAM_DISCARDED: break;
            case DERP_STREAM_BAD: on_bad_frame(c, &frame); return;
        }
    }
}

static void open_record(struct client *c, const uint8_t *record, size_t record_size) {
    size_t size;
    enum record_alert alert;
    uint8_t *plain = c->crowd->plain;
    switch (record_open(&c->record, record, record_size, plain, &size, &alert)) {
        case RECORD_DATA: on_plain(c, plain, size); return;
        case RECORD_HANDLED: pay_key_update(c); return;
        case RECORD_CLOSED: fail(c, step_of(c), "the server closed the connection"); return;
        case RECORD_ALERTED: fail(c, step_of(c), "the server sent a TLS alert"); return;
        case RECORD_BAD: fail(c, "broken stream", "a TLS record does not open"); return;
    }
}

/* Goes on with the record that began in an earlier buffer. Returns how many bytes of this one it took. */
static size_t complete_record(struct client *c, const uint8_t *bytes, size_t size) {
    size_t taken = 0, record_size;
    enum record_alert alert;
    while (taken < size) {
        if (record_next(c->raw, c->raw_have, &record_size, &alert) == RECORD_REFUSED) break;
        size_t wanted = record_size > 0 ? record_size : RECORD_HEADER_SIZE;
        size_t piece = min_of(wanted - c->raw_have, size - taken);
        memcpy(c->raw + c->raw_have, bytes + taken, piece);
        c->raw_have += piece;
        taken += piece;
        if (record_size == 0 || c->raw_have < record_size) continue;
        c->raw_have = 0;
        open_record(c, c->raw, record_size);
        break;
    }
    return taken;
}

static void on_records(struct client *c, const uint8_t *bytes, size_t size) {
    size_t at = c->raw_have > 0 ? complete_record(c, bytes, size) : 0;
    size_t record_size;
    enum record_alert alert;
    while (at < size && !is_over(c)) {
        enum record_found found = record_next(bytes + at, size - at, &record_size, &alert);
        if (found == RECORD_REFUSED) {
            fail(c, "broken stream", "that is not a TLS record");
        } else if (found == RECORD_MORE) {
            c->raw_have = size - at;
            memcpy(c->raw, bytes + at, c->raw_have);
            return;
        } else {
            open_record(c, bytes + at, record_size);
            at += record_size;
        }
    }
}

static void on_bytes(struct client *c, const uint8_t *bytes, size_t size) {
    struct reader in = reader_of(bytes, size);
    if (c->state == CLIENT_SHAKING) shake_hands(c, &in);
    size_t left = reader_left(&in);
    if (left == 0 || is_over(c)) return;
    if (c->is_tls) on_records(c, in.at, left);
    // why: a ring's buffer is ours to change until it is given back; derp_stream wants memory that may be written.
    else on_plain(c, (uint8_t *)(uintptr_t)in.at, left);
}

/* ---- events ---- */

static void on_sent(struct client *c, int32_t result) {
    if (result < 0) {
        fail_by_error(c, -result);
        return;
    }
    c->out_sent += (size_t)result;
    if (c->out_sent < c->out_size) {
        send_out(c);
        return;
    }
    crowd_give_out(c->crowd, c->out);
    c->out = NULL;
    if (c->state != CLIENT_READY) return;
    if (c->is_tls) pay_key_update(c);
    if (c->out == NULL && c->crowd->options.callbacks.on_sendable)
        c->crowd->options.callbacks.on_sendable(c->crowd->options.owner, c);
}

static void on_received(struct client *c, const struct ring_event *event) {
    if (event->result > 0) {
        if (c->state != CLIENT_CLOSING) on_bytes(c, event->bytes, (size_t)event->result);
        ring_give_back(c->crowd->ring, event);
    } else if (c->state != CLIENT_CLOSING && event->result == 0) {
        fail(c, step_of(c), "the server closed the connection");
    } else if (c->state != CLIENT_CLOSING) {
        fail_by_error(c, -event->result);
    }
}

static void on_closed(struct client *c) {
    if (c->out) crowd_give_out(c->crowd, c->out);
    c->out = NULL;
    c->state = CLIENT_NONE;
    c->socket.fd = -1;
    if (c->crowd->options.callbacks.on_closed) c->crowd->options.callbacks.on_closed(c->crowd->options.owner, c);
}

/* Not where it happens, but when nothing looks at the client any more. */
static void leave_if_failed(struct client *c) {
    if (!c->has_failed || c->state == CLIENT_CLOSING || c->state == CLIENT_NONE) return;
    client_close(c);
    c->crowd->options.callbacks.on_failed(c->crowd->options.owner, c);
}

static void on_event(struct client *c, const struct ring_event *event) {
    switch ((enum ring_op)event->op) {
        case RING_RECEIVED: on_received(c, event); return;
        case RING_SENT:
            if (c->state != CLIENT_CLOSING) on_sent(c, event->result);
            return;
        case RING_CLOSED: on_closed(c); return;
        case RING_ACCEPTED:
        case RING_RECEIVE_PAUSED:
        case RING_DATAGRAM_SENT: break;
    }
    BUG("an event that was not asked for");
}

void client_on_event(struct client *c, const struct ring_event *event) {
    on_event(c, event);
    leave_if_failed(c);
}

/* ---- beginning and end ---- */

/* Without waiting: what is sent goes out when the connection is there, and an error shows as the result of that. The
 * ring wants sockets that may wait. */
static int connect_socket(const struct crowd *crowd) {
    int one = 1;
    int fd = socket(crowd->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0) return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    int rc = connect(fd, (const struct sockaddr *)&crowd->address, crowd->address_size);
    if ((rc == 0 || errno == EINPROGRESS) && fcntl(fd, F_SETFL, 0) == 0) return fd;
    rc = -errno;
    close(fd);
    return rc;
}

static void begin_tls(struct client *c) {
    struct reader none = reader_of(NULL, 0);
    c->state = CLIENT_SHAKING;
    c->handshake = handshake_client(c->crowd->options.trust, c->crowd->options.url.host, NULL, sys_wall_clock_s());
    if (c->handshake) shake_hands(c, &none);
    else fail(c, "TLS handshake", "no memory");
}

static void begin_plain(struct client *c) {
    uint8_t request[1024];
    size_t size = write_request(c, request, sizeof(request));
    await_greeting(c);
    if (size > 0) write_message(c, request, size, false);
}

void client_start(struct client *c, uint64_t now_ns) {
    CHECK(c->state == CLIENT_NONE && c->out == NULL);
    int fd = connect_socket(c->crowd);
    if (fd < 0) {
        crowd_fail(c->crowd, "cannot connect to %s: %s", c->crowd->options.url.authority, strerror(-fd));
        return;
    }
    if (key_is_zero(&c->key)) {
        key_generate(&c->crowd->rng, &c->private_key);
        key_private_public(&c->private_key, &c->key);
    }
    ring_socket_init(&c->socket, fd, c->idx);
    c->started_ns = now_ns;
    c->raw_have = 0;
    c->has_failed = false;
    if (c->crowd->options.is_bare) {
        derp_stream_init(&c->stream, DERP_CLIENT);
        become_ready(c);
    } else if (c->is_tls) {
        begin_tls(c);
    } else {
        begin_plain(c);
    }
    if (!is_over(c)) ring_receive(c->crowd->ring, &c->socket, RING_RECEIVE_MANY, 0);
    leave_if_failed(c);
}

void client_close(struct client *c) {
    if (c->state == CLIENT_READY) c->crowd->ready_count--;
    c->state = CLIENT_CLOSING;
    handshake_free(c->handshake);
    c->handshake = NULL;
    record_fini(&c->record);
    ring_close_socket(c->crowd->ring, &c->socket, false);
}
