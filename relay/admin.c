#include "relay/admin.h"

#include <stdio.h>
#include <unistd.h>

#include "core/check.h"
#include "core/unix.h"
#include "relay/admin_list.h"

enum { ACCEPT_PAUSE_S = 1 };

static uint32_t rows_max(const struct limits *limits) { return limits->connections_max; }

size_t admin_footprint(const struct limits *limits) {
    return arena_cost(sizeof(struct admin)) + dump_footprint(rows_max(limits)) +
           arena_cost(rows_max(limits) * sizeof(uint32_t));
}

void admin_init(struct admin *a, struct arena *arena, const struct admin_options *options,
                const struct admin_links *links, const struct admin_facts *facts) {
    a->links = *links;
    a->facts = *facts;
    a->accept_again_ns = options->is_on ? 0 : TIME_NEVER;
    dump_init(&a->dump, arena, rows_max(&facts->limits));
    a->order = arena_take(arena, rows_max(&facts->limits) * sizeof(uint32_t));
    if (options->is_on) ring_socket_init(&a->listener, options->listen_fd, 0);
}

/* ---- one client ---- */

static void enter(struct admin *a, struct admin_client *client, enum admin_state state, uint64_t timeout_s) {
    client->state = state;
    client->deadline_ns = a->now_ns + timeout_s * NS_PER_S;
}

static void close_client(struct admin *a, struct admin_client *client) {
    if (client->state == ADMIN_CLOSING) return;
    if (a->holder == client) a->holder = NULL;
    client->state = ADMIN_CLOSING;
    client->deadline_ns = TIME_NEVER;
    ring_close_socket(a->links.ring, &client->socket, false);
}

static void receive(struct admin *a, struct admin_client *client) {
    if (client->is_receiving) return;
    client->is_receiving = true;
    ring_receive(a->links.ring, &client->socket, RING_RECEIVE_ONCE, (uint32_t)sizeof(client->in) - client->in_size);
}

static void send_more(struct admin *a, struct admin_client *client) {
    enter(a, client, ADMIN_ANSWERING, ADMIN_SEND_TIMEOUT_S);
    ring_send(a->links.ring, &client->socket, client->out + client->out_sent, client->out_size - client->out_sent);
}

static void send_out(struct admin *a, struct admin_client *client, const struct writer *w) {
    CHECK(writer_ok(w));
    client->out_sent = 0;
    client->out_size = (uint32_t)((char *)w->at - client->out);
    send_more(a, client);
}

static struct writer out_of(struct admin_client *client) { return writer_of(client->out, sizeof(client->out)); }

/* The answer as one line; without memory, or room, a short one says so. */
static void answer(struct admin *a, struct admin_client *client, json_t *root) {
    static const char failed[] = "{\"v\":1,\"ok\":false,\"error\":\"no memory for the answer\"}\n";
    struct writer w = out_of(client);
    size_t size =
        root ? json_dumpb(root, client->out, sizeof(client->out) - 1, JSON_COMPACT | JSON_REAL_PRECISION(6)) : 0;
    bool is_whole = size > 0 && size < sizeof(client->out);
    json_decref(root);
    if (is_whole) {
        (void)writer_room(&w, size);
        writer_text(&w, "\n");
    } else {
        writer_text(&w, failed);
    }
    send_out(a, client, &w);
}

static void answer_error(struct admin *a, struct admin_client *client, const char *why) {
    answer(a, client, json_pack("{s:i, s:b, s:s}", "v", ADMIN_VERSION, "ok", 0, "error", why));
}

static void answer_last_error(struct admin *a, struct admin_client *client, const char *why) {
    client->is_last_answer = true;
    answer_error(a, client, why);
}

/* ---- lists ---- */

static void send_dump_on(struct admin *a) {
    a->is_dump_away = true;
    CHECK(lane_push(a->links.to_control, &(struct mail){.kind = MAIL_DUMP, .dump = &a->dump}));  // there is only one
    if (lane_flush(a->links.to_control)) ring_wake(a->links.ring, a->links.control_ring);
}

static void begin_dump(struct admin *a) {
    a->dump_begun_ns = a->now_ns;
    dump_begin(&a->dump);
    send_dump_on(a);
}

/* Whoever has waited longest is next, when nobody else's list is under way. */
static void next_dump(struct admin *a) {
    struct admin_client *next = NULL;
    if (a->holder || a->is_front_holder || a->is_dump_away) return;
    for (size_t i = 0; i < ADMIN_PLACES; i++) {
        struct admin_client *client = &a->clients[i];
        if (client->state == ADMIN_WAITING && (next == NULL || client->turn < next->turn)) next = client;
    }
    a->is_front_holder = a->front_turn && (next == NULL || a->front_turn < next->turn);
    if (a->is_front_holder) {
        a->front_turn = 0;
    } else {
        a->holder = next;
    }
    if (a->is_front_holder || next) begin_dump(a);
}

static void write_rows(struct admin *a, struct writer *w) {
    uint64_t wall_s = sys_wall_clock_s();
    while (a->order_next < a->order_count && writer_left(w) > ADMIN_ROW_MAX) {
        const struct dump_row *row = &a->dump.rows[a->order[a->order_next]];
        if (a->order_next++ > 0) writer_text(w, ",");
        admin_list_write(w, row, wall_s);
    }
    if (a->order_next == a->order_count && writer_left(w) > ADMIN_ROW_MAX) {
        writer_text(w, "]}\n");
        a->holder = NULL;
    }
}

/* All rows are there: from here on the holder takes them at its own pace, for as long as it may. */
static void begin_list(struct admin *a, struct admin_client *client) {
    char head[256];
    struct writer w = out_of(client);
    uint32_t matching = admin_list_sort(&a->dump, &client->query, a->order);
    a->order_next = 0;
    a->order_count = client->query.limit ? min_of(client->query.limit, matching) : matching;
    client->hold_until_ns = a->now_ns + ADMIN_HOLD_TIMEOUT_S * NS_PER_S;
    snprintf(head, sizeof(head),
             "{\"v\":%d,\"ok\":true,\"connections\":%u,\"matching\":%u,\"complete\":%s,\"took_us\":%llu,\"clients\":[",
             ADMIN_VERSION, a->dump.rows_count, matching, a->dump.is_cut ? "false" : "true",
             (unsigned long long)((a->now_ns - a->dump_begun_ns) / NS_PER_US));
    writer_text(&w, head);
    write_rows(a, &w);
    send_out(a, client, &w);
}

static void go_on_with_list(struct admin *a, struct admin_client *client) {
    struct writer w = out_of(client);
    if (a->now_ns > client->hold_until_ns) {
        close_client(a, client);
        return;
    }
    write_rows(a, &w);
    send_out(a, client, &w);
}

/* The last place in the lane is kept for it. */
static void send_dump_to_front(struct admin *a) {
    a->is_dump_away = true;
    CHECK(lane_push(a->links.to_front, &(struct mail){.kind = MAIL_DUMP, .dump = &a->dump}));
    if (lane_flush(a->links.to_front)) ring_wake(a->links.ring, a->links.front_ring);
}

/* Whoever asked may be gone; then the dump stops where it is. */
void admin_on_dump(struct admin *a, uint64_t now_ns) {
    a->now_ns = now_ns;
    a->is_dump_away = false;
    if (a->holder == NULL && !a->is_front_holder) return;
    a->dump.worker++;
    a->dump.next_slot = 0;
    if (a->dump.worker < a->facts.limits.workers_count) {
        send_dump_on(a);
    } else if (a->is_front_holder) {
        send_dump_to_front(a);
    } else {
        begin_list(a, a->holder);
    }
}

void admin_on_front_dump(struct admin *a, uint64_t now_ns) {
    a->now_ns = now_ns;
    a->is_dump_away = a->is_front_holder = false;
}

void admin_on_front_asks(struct admin *a) { a->front_turn = ++a->turns; }

/* ---- endpoints ---- */

/* Sends when there is much, or all: a table with few endpoints goes out at once. */
static void walk_on(struct admin *a, struct admin_client *client) {
    struct writer w = out_of(client);
    w.at += client->out_size;
    admin_walk_write(&client->walk, &w, a->now_ns);
    client->out_size = (uint32_t)((char *)w.at - client->out);
    client->is_walking = !client->walk.is_done;
    if (client->walk.is_done || client->out_size > sizeof(client->out) / 2) send_out(a, client, &w);
}

/* What is in front of the list is written. */
static void begin_walk(struct admin *a, struct admin_client *client, const struct writer *w,
                       enum admin_walk_form form) {
    client->out_size = (uint32_t)((char *)w->at - client->out);
    client->is_walking = true;
    admin_walk_begin(&client->walk, allocator_endpoints(a->facts.allocator), form);
    enter(a, client, ADMIN_WALKING, ADMIN_HOLD_TIMEOUT_S);
    client->hold_until_ns = client->deadline_ns;
}

static void go_on_walking(struct admin_client *client) {
    client->out_size = 0;
    client->state = ADMIN_WALKING;
    client->deadline_ns = client->hold_until_ns;
}

static void begin_endpoints(struct admin *a, struct admin_client *client) {
    struct allocator_figures figures;
    struct writer w = out_of(client);
    char head[256];
    allocator_figures_read(a->facts.allocator, &figures);
    snprintf(head, sizeof(head),
             "{\"v\":%d,\"ok\":true,\"connecting\":%u,\"open\":%u,\"endpoints_max\":%u,\"endpoints\":[", ADMIN_VERSION,
             figures.endpoints - figures.open, figures.open, figures.endpoints_max);
    writer_text(&w, head);
    begin_walk(a, client, &w, ADMIN_WALK_ENDPOINTS);
}

/* The endpoint as HTTP gives it, within an answer of ours. */
static void answer_allocate(struct admin *a, struct admin_client *client) {
    struct allocator_request request = {.clients = {client->query.disco_keys[0], client->query.disco_keys[1]}};
    struct allocator_answer offered;
    struct writer w = out_of(client);
    if (!allocator_allocate(a->facts.allocator, &request, a->facts.metrics, a->now_ns, &offered)) {
        answer_error(a, client, udp_refuse_reason_text(offered.reason));
        return;
    }
    writer_text(&w, "{\"v\":1,\"ok\":true,\"endpoint\":");
    allocate_http_write(&w, &offered);
    writer_text(&w, "}\n");
    send_out(a, client, &w);
}

static void answer_endpoint_close(struct admin *a, struct admin_client *client) {
    char why[ADMIN_WHY_MAX];
    if (allocator_release(a->facts.allocator, client->query.vni, a->facts.metrics)) {
        answer(a, client, json_pack("{s:i, s:b}", "v", ADMIN_VERSION, "ok", 1));
        return;
    }
    snprintf(why, sizeof(why), "no endpoint has the VNI %u, or it is busy this moment", client->query.vni);
    answer_error(a, client, why);
}

static void serve_udp(struct admin *a, struct admin_client *client) {
    if (a->facts.allocator == NULL) {
        answer_error(a, client, "this relay has no UDP relay: it runs without -relay-port");
    } else if (client->query.command == ADMIN_ENDPOINTS) {
        begin_endpoints(a, client);
    } else if (client->query.command == ADMIN_ALLOCATE) {
        answer_allocate(a, client);
    } else {
        answer_endpoint_close(a, client);
    }
}

/* ---- requests ---- */

static void serve(struct admin *a, struct admin_client *client, const char *line, size_t size) {
    char why[ADMIN_WHY_MAX];
    client->turn = ++a->turns;
    if (!admin_query_parse(line, size, &client->query, why)) {
        answer_error(a, client, why);
        return;
    }
    switch (client->query.command) {
        case ADMIN_STATUS: answer(a, client, admin_status(&a->facts, a->now_ns)); return;
        case ADMIN_CLIENTS: enter(a, client, ADMIN_WAITING, ADMIN_WAIT_TIMEOUT_S); return;
        case ADMIN_ENDPOINTS:
        case ADMIN_ALLOCATE:
        case ADMIN_ENDPOINT_CLOSE: serve_udp(a, client); return;
    }
    BUG("a command that the parser knows and nobody serves");
}

static void take_in(struct admin_client *client, size_t size) {
    client->in_size -= (uint32_t)size;
    memmove(client->in, client->in + size, client->in_size);
}

/* Its first line says that it is HTTP. */
static void look_for_http(struct admin *a, struct admin_client *client) {
    struct writer w = out_of(client);
    bool is_full = client->in_size == sizeof(client->in);
    struct admin_http_step step =
        admin_http_serve(&a->http, &a->facts, client->in, client->in_size, is_full, &w, a->now_ns);
    if (step.result == ADMIN_HTTP_MORE) {
        receive(a, client);
        return;
    }
    take_in(client, step.taken);
    client->turn = ++a->turns;
    client->is_last_answer = step.is_close;
    if (step.result == ADMIN_HTTP_SESSIONS) {
        begin_walk(a, client, &w, ADMIN_WALK_SESSIONS);
    } else {
        send_out(a, client, &w);
    }
}

/* READING: serves the first line that is there; reads on if there is none. */
static void look_for_line(struct admin *a, struct admin_client *client) {
    char line[ADMIN_REQUEST_MAX];
    const char *end = memchr(client->in, '\n', client->in_size);
    if (end == NULL && client->in_size == sizeof(client->in)) {
        answer_last_error(a, client, "a request is one line of at most 4095 bytes");
        return;
    }
    if (end == NULL) {
        receive(a, client);
        return;
    }
    size_t size = (size_t)(end - client->in);
    if (admin_http_is(client->in, size)) {
        look_for_http(a, client);
        return;
    }
    memcpy(line, client->in, size);
    take_in(client, size + 1);
    serve(a, client, line, size);
}

static void read_next(struct admin *a, struct admin_client *client) {
    enter(a, client, ADMIN_READING, ADMIN_READ_TIMEOUT_S);
    look_for_line(a, client);
}

static void on_received(struct admin *a, struct admin_client *client, const struct ring_event *event) {
    client->is_receiving = false;
    if (event->result <= 0) {
        close_client(a, client);
        return;
    }
    CHECK((uint32_t)event->result <= sizeof(client->in) - client->in_size);
    memcpy(client->in + client->in_size, event->bytes, (size_t)event->result);
    client->in_size += (uint32_t)event->result;
    look_for_line(a, client);
}

static void on_sent(struct admin *a, struct admin_client *client, const struct ring_event *event) {
    if (event->result <= 0) {
        close_client(a, client);
        return;
    }
    client->out_sent += (uint32_t)event->result;
    if (client->out_sent < client->out_size) {
        send_more(a, client);
    } else if (a->holder == client) {
        go_on_with_list(a, client);
    } else if (client->is_walking) {
        go_on_walking(client);
    } else if (client->is_last_answer) {
        close_client(a, client);
    } else {
        read_next(a, client);
    }
}

/* ---- arriving ---- */

static bool may(int fd) {
    uint32_t user;
    return unix_peer_user(fd, &user) == 0 && (user == 0 || user == geteuid());
}

/* One that is in the middle of an answer is left alone; who only keeps a place gives it up. */
static struct admin_client *oldest_reader(struct admin *a) {
    struct admin_client *oldest = NULL;
    for (size_t i = 0; i < ADMIN_PLACES; i++) {
        struct admin_client *client = &a->clients[i];
        if (client->state == ADMIN_READING && (oldest == NULL || client->turn < oldest->turn)) oldest = client;
    }
    return oldest;
}

static struct admin_client *free_place(struct admin *a) {
    struct admin_client *place = NULL;
    size_t open = 0;
    for (size_t i = 0; i < ADMIN_PLACES; i++) {
        if (a->clients[i].state == ADMIN_FREE) place = &a->clients[i];
        open += a->clients[i].state != ADMIN_FREE && a->clients[i].state != ADMIN_CLOSING;
    }
    if (open < ADMIN_CLIENTS_MAX) return place;
    struct admin_client *oldest = oldest_reader(a);
    if (oldest) close_client(a, oldest);
    return oldest ? place : NULL;
}

static void open_client(struct admin *a, int fd) {
    struct admin_client *client = free_place(a);
    if (client == NULL) {
        ring_close_fd(a->links.ring, fd);
        return;
    }
    ring_socket_init(&client->socket, fd, 0);
    client->is_receiving = client->is_last_answer = client->is_walking = false;
    client->in_size = 0;
    client->turn = ++a->turns;
    if (may(fd)) {
        read_next(a, client);
    } else {
        answer_last_error(a, client, "only root and the user of the relay may ask: try sudo");
    }
}

/* Without file descriptors accepting would fail at once again and again. */
static void on_accepted(struct admin *a, const struct ring_event *event) {
    if (event->result >= 0) {
        open_client(a, event->result);
        return;
    }
    ring_accept_pause(a->links.ring, &a->listener);
    a->is_listening = false;
    a->accept_again_ns = a->now_ns + ACCEPT_PAUSE_S * NS_PER_S;
}

void admin_on_event(struct admin *a, const struct ring_event *event, uint64_t now_ns) {
    a->now_ns = now_ns;
    if (event->op == RING_ACCEPTED) {
        on_accepted(a, event);
        return;
    }
    struct admin_client *client = container_of(event->socket, struct admin_client, socket);
    if (event->op == RING_CLOSED) {
        client->state = ADMIN_FREE;
        return;
    }
    if (client->state != ADMIN_CLOSING && event->op == RING_RECEIVED) on_received(a, client, event);
    if (client->state != ADMIN_CLOSING && event->op == RING_SENT) on_sent(a, client, event);
    if (event->bytes) ring_give_back(a->links.ring, event);
}

/* ---- the pass ---- */

static void on_deadline(struct admin *a, struct admin_client *client) {
    if (client->state == ADMIN_WAITING && a->holder != client) {
        answer_error(a, client, "other lists of clients are under way: try again");
    } else {
        close_client(a, client);
    }
}

static void listen_again(struct admin *a) {
    if (a->is_listening || a->now_ns < a->accept_again_ns) return;
    if (!ring_socket_is_idle(&a->listener)) {
        a->accept_again_ns = a->now_ns + ACCEPT_PAUSE_S * NS_PER_S;
        return;
    }
    ring_accept(a->links.ring, &a->listener);
    a->is_listening = true;
}

uint64_t admin_step(struct admin *a, uint64_t now_ns) {
    a->now_ns = now_ns;
    listen_again(a);
    uint64_t next_ns = a->is_listening ? TIME_NEVER : a->accept_again_ns;
    for (size_t i = 0; i < ADMIN_PLACES; i++) {
        struct admin_client *client = &a->clients[i];
        if (client->state == ADMIN_FREE || client->state == ADMIN_CLOSING) continue;
        if (now_ns >= client->deadline_ns) on_deadline(a, client);
        if (client->state == ADMIN_WALKING) walk_on(a, client);
        next_ns = min_of(next_ns, client->state == ADMIN_WALKING ? now_ns : client->deadline_ns);
    }
    next_dump(a);
    return next_ns;
}
