#include "relay/front_traffic.h"

#include <stdio.h>

#include "core/check.h"
#include "core/sys.h"
#include "relay/page.h"

enum { LINE_MAX_SIZE = 192 };

static uint32_t seen_count_of(const struct limits *limits) {
    return limits->workers_count * limits_connections_per_worker(limits);
}

size_t traffic_footprint(const struct limits *limits) {
    return arena_cost(seen_count_of(limits) * sizeof(struct traffic_seen)) +
           arena_cost(limits->connections_max * sizeof(struct traffic_line));
}

void traffic_init(struct traffic *traffic, struct arena *arena, const struct limits *limits) {
    traffic->places = limits_connections_per_worker(limits);
    traffic->seen_count = seen_count_of(limits);
    traffic->lines_max = limits->connections_max;
    traffic->seen = arena_take(arena, traffic->seen_count * sizeof(*traffic->seen));
    traffic->lines = arena_take(arena, traffic->lines_max * sizeof(*traffic->lines));
}

/* ---- the dump ---- */

static void mail_office(struct front *f, const struct mail *mail) {
    CHECK(lane_push(f->links.to_office, mail));  // one dump: asked for, or given back
    if (lane_flush(f->links.to_office)) ring_wake(f->ring, f->links.office_ring);
}

static void ask(struct front *f) {
    if (f->traffic.is_asked) return;
    f->traffic.is_asked = true;
    mail_office(f, &(struct mail){.kind = MAIL_DUMP});
}

/* Notes the counters; true when they have grown. */
static bool note(struct traffic *traffic, const struct dump_row *row) {
    struct traffic_seen *seen = &traffic->seen[row->worker * traffic->places + row->slot];
    struct traffic_seen before = seen->conn_id == row->conn_id ? *seen : (struct traffic_seen){0};
    *seen = (struct traffic_seen){.conn_id = row->conn_id, .sent = row->bytes_sent, .received = row->bytes_received};
    return before.sent < row->bytes_sent || before.received < row->bytes_received;
}

static void look_through(struct traffic *traffic, const struct dump *dump) {
    traffic->lines_count = traffic->lines_next = 0;
    for (uint32_t i = 0; i < dump->rows_count; i++) {
        const struct dump_row *row = &dump->rows[i];
        if (!note(traffic, row)) continue;
        traffic->lines[traffic->lines_count++] =
            (struct traffic_line){.key = row->key, .sent = row->bytes_sent, .received = row->bytes_received};
    }
}

/* ---- writing ---- */

static void write_line(struct writer *w, const struct traffic_line *line) {
    char key[KEY_PUBLIC_TEXT_SIZE], text[LINE_MAX_SIZE];
    key_format(&line->key, key);
    snprintf(text, sizeof(text), "{\"Sent\":%llu,\"Recv\":%llu,\"Key\":\"%s\"}\n", (unsigned long long)line->sent,
             (unsigned long long)line->received, key);
    writer_text(w, text);
}

/* As much of the round as fits, and the blank line behind it. */
static void write_piece(struct front *f) {
    struct traffic *traffic = &f->traffic;
    struct session *s = traffic->reader;
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    while (traffic->lines_next < traffic->lines_count && writer_left(&w) > LINE_MAX_SIZE) {
        write_line(&w, &traffic->lines[traffic->lines_next++]);
    }
    traffic->is_writing = traffic->lines_next < traffic->lines_count;
    if (!traffic->is_writing) writer_text(&w, "\n");
    s->out = s->own_out;
    s->out_size = (uint32_t)(w.at - s->own_out);
    session_enter(f, s, SESSION_RESPONDING, TRAFFIC_SEND_TIMEOUT_S * NS_PER_S);
    session_send(f, s);
}

void traffic_on_dump(struct front *f, struct dump *dump) {
    struct traffic *traffic = &f->traffic;
    traffic->is_asked = false;
    if (traffic->reader) look_through(traffic, dump);
    mail_office(f, &(struct mail){.kind = MAIL_DUMP_BACK, .dump = dump});
    if (traffic->reader == NULL) return;
    if (traffic->reader->is_sending) {
        traffic->is_writing = true;  // the head is still on its way
    } else {
        write_piece(f);
    }
}

void traffic_on_sent(struct front *f) {
    struct traffic *traffic = &f->traffic;
    if (traffic->is_writing) {
        write_piece(f);
        return;
    }
    session_enter(f, traffic->reader, SESSION_RESPONDING, TRAFFIC_WAIT_TIMEOUT_S * NS_PER_S);
    if (traffic->is_asked) return;
    wheel_arm(&f->wheel, &traffic->timer, max_of(traffic->round_ns + TRAFFIC_EVERY_S * NS_PER_S, f->now_ns));
}

void traffic_on_timer(struct front *f) {
    f->traffic.round_ns = f->now_ns;
    ask(f);
}

/* ---- the reader ---- */

/* The end of the connection is the end of the page, which never comes: no length, and no chunks. */
static void write_head(struct writer *w) {
    char date[HTTP_DATE_SIZE];
    http_format_date(sys_wall_clock_s(), date);
    writer_text(w, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nDate: ");
    writer_text(w, date);
    for (size_t i = 0; i < PAGE_FIELDS_COUNT; i++) {
        writer_text(w, "\r\n");
        writer_text(w, page_debug_fields[i].name);
        writer_text(w, ": ");
        writer_text(w, page_debug_fields[i].value);
    }
    writer_text(w, "\r\nConnection: close\r\n\r\n");
}

void traffic_answer(struct front *f, struct session *s, const struct http_request *request) {
    struct traffic *traffic = &f->traffic;
    if (traffic->reader) {
        page_text(s, request, 503, "somebody reads this page already: try again later");
        return;
    }
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    write_head(&w);
    CHECK(writer_ok(&w));
    s->is_close_after_send = true;
    s->is_drain_after_send = request->has_body;
    s->out = s->own_out;
    s->out_size = (uint32_t)(w.at - s->own_out);
    if (request->method == HTTP_HEAD) return;
    traffic->reader = s;
    traffic->is_writing = false;
    traffic->round_ns = f->now_ns;
    memset(traffic->seen, 0, traffic->seen_count * sizeof(*traffic->seen));
    ask(f);
}

void traffic_on_end(struct front *f, const struct session *s) {
    if (f->traffic.reader != s) return;
    f->traffic.reader = NULL;
    f->traffic.is_writing = false;
    wheel_disarm(&f->wheel, &f->traffic.timer);
}
