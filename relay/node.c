#include "relay/node.h"

#include <stdio.h>

#include "core/check.h"
#include "proto/http.h"
#include "proto/login.h"

/* Only a listener whose queue is full makes it wait; the front must not. */
#define CONNECT_TIMEOUT_NS (5 * NS_PER_MS)
#define FIRST_CONNECT_TIMEOUT_NS NS_PER_S

/* Whatever is written at one time: an answer, or what a login needs. */
enum { ROOM_FOR_ANSWER = DERP_SEND_HEAD_SIZE + NODE_DESK_ANSWER_MAX };

_Static_assert((int)ROOM_FOR_ANSWER <= (int)NODE_OUT_SIZE, "an answer fits");
_Static_assert(DERP_HEADER_SIZE + KEY_SIZE + (int)NODE_DESK_REQUEST_MAX <= (int)NODE_FRAME_MAX, "a request fits");

/* ---- at boot ---- */

bool node_open(struct node_options *options, char *why) {
    static const struct listen_address where = {
        .address = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, .port = 0}};
    const struct tcp_options tcp = {.notsent_lowat = LIMIT_NOTSENT_LOWAT};
    char detail[SYS_WHY_MAX];
    int rc = sys_listen_tcp(&where, &tcp, &options->listen_fd, &options->listening, detail);
    if (rc == 0) {
        rc = sys_connect_tcp(&options->listening, FIRST_CONNECT_TIMEOUT_NS, &options->fd, &options->local);
        if (rc == 0) return true;
        snprintf(detail, sizeof(detail), "cannot connect to 127.0.0.1: %s", strerror(-rc));
        sys_close(options->listen_fd);
    }
    snprintf(why, NODE_WHY_MAX,
             "the UDP relay's node connects to this daemon over the loopback, and that does not work: %s; bring the "
             "interface up (ip link set lo up) and let TCP pass on it, or leave out -relay-port",
             detail);
    return false;
}

/* ---- sending ---- */

static void send_some(struct node *n) {
    if (n->is_sending || n->out_size == 0) return;
    n->is_sending = true;
    ring_send(n->ring, &n->socket, n->out, n->out_size);
}

static struct writer out_of(struct node *n) { return writer_of(n->out + n->out_size, sizeof(n->out) - n->out_size); }

/* What was written by a writer of out_of. False: no room, and nothing was. */
static bool send_written(struct node *n, const struct writer *w) {
    if (!writer_ok(w)) return false;
    n->out_size = (uint32_t)(w->at - n->out);
    return true;
}

/* ---- life ---- */

static void lose(struct node *n, const char *why) {
    uint32_t suppressed;
    if (n->state == NODE_DOWN || n->state == NODE_CLOSING) return;
    if (log_limit_allows(&n->lost_log, n->now_ns, &suppressed)) {
        log_line(LOG_WARNING, "UDP relay: the node's DERP connection is gone: %s; it comes back in %llu s", why,
                 (unsigned long long)(n->pause_ns / NS_PER_S));
    }
    stat_set(&n->metrics->udp_node_connected, 0);
    box_key_wipe(&n->shared);
    n->state = NODE_CLOSING;
    n->due_ns = TIME_NEVER;
    ring_close_socket(n->ring, &n->socket, false);
}

static void go_down(struct node *n) {
    n->state = NODE_DOWN;
    n->due_ns = n->now_ns + n->pause_ns;
    n->pause_ns = min_of(2 * n->pause_ns, NODE_PAUSE_MAX_S * NS_PER_S);
}

/* Our end is connected: the kernel holds what we say until the front has the other one. */
static void greet(struct node *n, int fd, const struct net_address *local) {
    struct writer w;
    ring_socket_init(&n->socket, fd, NODE_HANDLE);
    derp_stream_init(&n->stream, DERP_CLIENT_GREETING);
    n->local = *local;
    n->state = NODE_GREETING;
    n->due_ns = n->now_ns + NODE_LOGIN_TIMEOUT_S * NS_PER_S;
    n->is_met = n->is_sending = false;
    n->out_size = 0;
    w = out_of(n);
    const struct http_derp_request request = {.host = "127.0.0.1", .path = "/derp", .is_fast_start = true};
    http_write_derp_request(&w, &request);
    CHECK(send_written(n, &w));
    send_some(n);
    ring_receive(n->ring, &n->socket, RING_RECEIVE_ONCE, NODE_READ_SIZE);
}

static void connect_again(struct node *n) {
    struct net_address local;
    uint32_t suppressed;
    int fd, rc = sys_connect_tcp(&n->options.listening, CONNECT_TIMEOUT_NS, &fd, &local);
    if (rc == 0) {
        greet(n, fd, &local);
        return;
    }
    if (log_limit_allows(&n->lost_log, n->now_ns, &suppressed)) {
        log_line(LOG_WARNING, "UDP relay: the node cannot connect to 127.0.0.1: %s; the next try is in %llu s",
                 strerror(-rc), (unsigned long long)(n->pause_ns / NS_PER_S));
    }
    go_down(n);
}

/* ---- frames ---- */

static const char *on_server_key(struct node *n, const struct derp_frame_view *frame) {
    struct node_key server;
    struct client_info info = {.version = DERP_VERSION, .can_ack_pings = true, .app_name = NODE_APP_NAME};
    if (!derp_read_server_key(frame->payload, frame->length, &server) || !key_equal(&server, &n->server)) {
        return "that was not this daemon's ServerKey";
    }
    struct writer w = out_of(n);
    derp_stream_set_side(&n->stream, DERP_CLIENT);
    CHECK(login_write_client_info(&w, &n->desk.options.keys.node_private, &server, &info, n->rng, &n->shared));
    CHECK(send_written(n, &w));
    n->state = NODE_LOGIN;
    return NULL;
}

static const char *on_server_info(struct node *n, const struct derp_frame_view *frame) {
    struct server_info info;
    if (login_open_server_info(&n->shared, frame->payload, frame->length, &info) != LOGIN_OK) {
        return "the ServerInfo does not open";
    }
    box_key_wipe(&n->shared);
    n->state = NODE_UP;
    n->pause_ns = NODE_PAUSE_MIN_S * NS_PER_S;
    stat_set(&n->metrics->udp_node_connected, 1);
    log_line(LOG_INFO, "UDP relay: the node is connected");
    return NULL;
}

/* why room is asked for first: what could not be answered should not be allocated. */
static void on_packet(struct node *n, const struct derp_frame_view *frame) {
    struct derp_recv packet;
    uint8_t answer[NODE_DESK_ANSWER_MAX];
    if (!derp_read_recv(frame->payload, frame->length, &packet)) return;
    if (sizeof(n->out) - n->out_size < ROOM_FOR_ANSWER) {
        stat_add(&n->metrics->udp_node_dropped, 1);
        return;
    }
    size_t size = node_desk_answer(&n->desk, packet.src, packet.data, packet.data_size, n->now_ns, answer);
    if (size == 0) return;
    struct writer w = out_of(n);
    derp_write_send(&w, packet.src, answer, size);
    CHECK(send_written(n, &w));
}

static void on_ping(struct node *n, const struct derp_frame_view *frame) {
    const uint8_t *data;
    struct writer w = out_of(n);
    if (!derp_read_ping(frame->payload, frame->length, &data)) return;
    derp_write_pong(&w, data);
    if (!send_written(n, &w)) stat_add(&n->metrics->udp_node_dropped, 1);
}

/* NULL, or why the connection has to end. What a client has no use for it skips. */
static const char *on_frame(struct node *n, const struct derp_frame_view *frame) {
    if (n->state == NODE_GREETING) return on_server_key(n, frame);  // no other passes
    if (n->state == NODE_LOGIN && frame->type == DERP_SERVER_INFO) return on_server_info(n, frame);
    if (n->state == NODE_UP && frame->type == DERP_RECV_PACKET) on_packet(n, frame);
    if (frame->type == DERP_PING) on_ping(n, frame);
    return NULL;
}

static const char *take_bytes(struct node *n, const uint8_t *bytes, size_t size) {
    struct reader in = reader_of(bytes, size);
    struct derp_frame_view frame;
    for (const char *why = NULL;;) {
        enum derp_stream_event event = derp_stream_next(&n->stream, &in, &frame);
        if (event == DERP_STREAM_NEED_INPUT) return NULL;
        if (event == DERP_STREAM_BAD) return derp_verdict_name(frame.verdict);
        if (event == DERP_STREAM_NEED_SPACE && frame.length <= sizeof(n->space)) {
            derp_stream_give_space(&n->stream, n->space);
        } else if (event == DERP_STREAM_NEED_SPACE) {
            derp_stream_discard(&n->stream);
        }
        if (event == DERP_STREAM_FRAME && (why = on_frame(n, &frame)) != NULL) return why;
    }
}

/* ---- events ---- */

static void on_received(struct node *n, const struct ring_event *event) {
    if (event->result <= 0) {
        lose(n, event->result == 0 ? "closed by the relay" : strerror(-event->result));
        return;
    }
    const char *why = take_bytes(n, event->bytes, (size_t)event->result);
    if (why != NULL) {
        lose(n, why);
        return;
    }
    if (n->state == NODE_UP) n->due_ns = n->now_ns + NODE_SILENCE_S * NS_PER_S;
    send_some(n);
    ring_receive(n->ring, &n->socket, RING_RECEIVE_ONCE, NODE_READ_SIZE);
}

static void on_sent(struct node *n, const struct ring_event *event) {
    n->is_sending = false;
    if (event->result <= 0) {
        lose(n, strerror(-event->result));
        return;
    }
    n->out_size -= (uint32_t)event->result;
    memmove(n->out, n->out + event->result, n->out_size);
    send_some(n);
}

/* The other end of our connection, or a stranger of this host, who is closed. */
static int on_accepted(struct node *n, const struct ring_event *event) {
    struct net_address remote;
    if (event->result < 0) {  // no descriptors: once more when the node tries again
        n->is_listening = false;
        ring_accept_pause(n->ring, &n->listener);
        if (n->state == NODE_GREETING && !n->is_met) lose(n, strerror(-event->result));
        return -1;
    }
    bool is_ours = n->state == NODE_GREETING && !n->is_met && ring_peer_address(event->result, &remote) == 0 &&
                   memcmp(remote.ip, n->local.ip, sizeof(remote.ip)) == 0 && remote.port == n->local.port;
    if (is_ours) {
        n->is_met = true;
        return event->result;
    }
    ring_close_fd(n->ring, event->result);
    return -1;
}

int node_on_event(struct node *n, const struct ring_event *event, uint64_t now_ns) {
    n->now_ns = now_ns;
    if (event->op == RING_ACCEPTED) return on_accepted(n, event);
    if (event->socket == &n->listener) return -1;
    if (event->op == RING_CLOSED) {
        go_down(n);
    } else if (n->state != NODE_CLOSING && event->op == RING_RECEIVED) {
        on_received(n, event);
    } else if (n->state != NODE_CLOSING && event->op == RING_SENT) {
        on_sent(n, event);
    }
    if (event->op == RING_RECEIVED && event->bytes) ring_give_back(n->ring, event);
    return -1;
}

/* ---- the whole ---- */

size_t node_footprint(void) { return arena_cost(sizeof(struct node)); }

struct node *node_make(struct arena *arena, const struct node_options *options, const struct node_key *server,
                       struct allocator *allocator, struct ring *ring, struct metrics *metrics, struct rng *rng,
                       uint64_t now_ns) {
    struct node *n = arena_take(arena, sizeof(*n));
    memset(n, 0, sizeof(*n));
    n->ring = ring;
    n->rng = rng;
    n->metrics = metrics;
    n->options = *options;
    nodekeys_wipe(&n->options.desk.keys);  // the desk has them
    n->server = *server;
    n->local = options->local;
    n->now_ns = now_ns;
    n->lost_log = (struct log_limit)LOG_LIMIT(3, 6);
    n->pause_ns = NODE_PAUSE_MIN_S * NS_PER_S;
    node_desk_init(&n->desk, &options->desk, allocator, metrics, rng);
    ring_socket_init(&n->listener, options->listen_fd, NODE_HANDLE);
    return n;
}

void node_fini(struct node *n) {
    if (n == NULL) return;
    box_key_wipe(&n->shared);
    node_desk_fini(&n->desk);
}

static void listen_again(struct node *n) {
    if (n->is_listening || !ring_socket_is_idle(&n->listener)) return;
    n->is_listening = true;
    ring_accept(n->ring, &n->listener);
}

uint64_t node_step(struct node *n, uint64_t now_ns) {
    n->now_ns = now_ns;
    if (n->options.fd >= 0) {
        int fd = n->options.fd;
        n->options.fd = -1;
        listen_again(n);
        greet(n, fd, &n->local);
    }
    if (now_ns < n->due_ns) return n->due_ns;
    if (n->state == NODE_DOWN) {
        listen_again(n);
        connect_again(n);
    } else {
        lose(n, n->state == NODE_UP ? "silence" : "the login took too long");
    }
    return n->due_ns;
}
