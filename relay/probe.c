#include "relay/probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/sys.h"
#include "proto/derp_stream.h"
#include "proto/http.h"
#include "proto/login.h"
#include "relay/channel.h"

enum { ROUNDS = 9, BUFFER_SIZE = 256 * 1024 };

static const uint32_t sizes[] = {0, 1, 62, 1400, 16000, 65536};

/* One side of the probe. The buffer holds what has been received and not been used, from `at` on. */
struct prober {
    struct channel channel;
    struct node_private private_key;
    struct node_key key;
    struct node_key server;
    struct box_key shared;
    struct derp_stream stream;
    uint8_t *buffer;
    size_t at, have;
    uint8_t *space;  // for frames that straddle reads
    uint64_t timeout_ns;
    char *why;
};

static bool fail(char *why, const char *format, ...) printf_like(2, 3);

static bool fail(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, PROBE_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- bytes ---- */

static bool write_all(struct prober *p, const uint8_t *bytes, size_t size, const char *step) {
    return channel_write(&p->channel, bytes, size, step);
}

/* Appends to the buffer at least one byte. What was used is removed first, and one record always fits behind the
 * rest. */
static bool read_some(struct prober *p, const char *step) {
    size_t size;
    p->have -= p->at;
    memmove(p->buffer, p->buffer + p->at, p->have);
    p->at = 0;
    if (BUFFER_SIZE - p->have < RECORD_INNER_MAX) return fail(p->why, "%s: the answer is too long", step);
    if (!channel_read(&p->channel, p->buffer + p->have, BUFFER_SIZE - p->have, &size, step)) return false;
    p->have += size;
    return true;
}

/* ---- frames ---- */

/* The next frame that is not one of those a server may send at any time. It is good until the next call. */
static bool read_frame(struct prober *p, struct derp_frame_view *frame, const char *step) {
    for (;;) {
        struct reader in = reader_of(p->buffer + p->at, p->have - p->at);
        enum derp_stream_event event = derp_stream_next(&p->stream, &in, frame);
        p->at = p->have - reader_left(&in);
        if (event == DERP_STREAM_NEED_SPACE) derp_stream_give_space(&p->stream, p->space);
        if (event == DERP_STREAM_BAD) return fail(p->why, "%s: %s", step, derp_verdict_name(frame->verdict));
        if (event == DERP_STREAM_NEED_INPUT && !read_some(p, step)) return false;
        if (event == DERP_STREAM_FRAME && frame->type != DERP_KEEP_ALIVE && frame->type != DERP_HEALTH) return true;
    }
}

static bool expect_frame(struct prober *p, enum derp_frame_type type, struct derp_frame_view *frame, const char *step) {
    if (!read_frame(p, frame, step)) return false;
    if (frame->type == type) return true;
    return fail(p->why, "%s: expected %s, got %s", step, derp_frame_type_name((uint8_t)type),
                derp_frame_type_name(frame->type));
}

/* ---- login ---- */

static bool read_switch(struct prober *p) {
    struct http_scan scan = {0};
    struct http_answer answer;
    enum http_progress progress;
    do {
        if (!read_some(p, "upgrade")) return false;
        progress = http_answer_parse(&scan, p->buffer, p->have, &answer);
    } while (progress == HTTP_MORE);
    if (progress == HTTP_BAD) return fail(p->why, "upgrade: the answer is not HTTP: this is not a DERP server");
    if (answer.status != 101) {
        return fail(p->why, "upgrade: the server answered %u %s: this URL is not a DERP server's", answer.status,
                    http_status_text(answer.status));
    }
    p->at = answer.head_size;
    return true;
}

static bool ask_upgrade(struct prober *p, const struct channel_url *url, bool is_fast) {
    uint8_t head[1024];
    struct writer w = writer_of(head, sizeof(head));
    struct http_derp_request request = {.host = url->authority, .path = url->path, .is_fast_start = is_fast};
    http_write_derp_request(&w, &request);
    if (!writer_ok(&w)) return fail(p->why, "the URL is too long");
    if (!write_all(p, head, (size_t)(w.at - head), "upgrade")) return false;
    return is_fast || read_switch(p);
}

static bool log_in(struct prober *p, struct rng *rng) {
    struct derp_frame_view frame;
    struct client_info info = {.version = DERP_VERSION, .is_prober = true};
    struct server_info server_info;
    uint8_t bytes[LOGIN_CLIENT_INFO_FRAME_SIZE_MAX];
    struct writer w = writer_of(bytes, sizeof(bytes));
    derp_stream_init(&p->stream, DERP_CLIENT_GREETING);
    if (!expect_frame(p, DERP_SERVER_KEY, &frame, "greeting")) return false;
    if (!derp_read_server_key(frame.payload, frame.length, &p->server)) {
        return fail(p->why, "greeting: the ServerKey frame is damaged");
    }
    derp_stream_set_side(&p->stream, DERP_CLIENT);
    if (!login_write_client_info(&w, &p->private_key, &p->server, &info, rng, &p->shared)) {
        return fail(p->why, "login: the server's key cannot be used");
    }
    if (!write_all(p, bytes, (size_t)(w.at - bytes), "login")) return false;
    if (!expect_frame(p, DERP_SERVER_INFO, &frame, "login")) return false;
    if (login_open_server_info(&p->shared, frame.payload, frame.length, &server_info) != LOGIN_OK) {
        return fail(p->why, "login: the ServerInfo does not open with the server's key");
    }
    return true;
}

static bool start(struct prober *p, const struct probe_options *options, const struct channel_url *url, bool is_fast,
                  struct rng *rng, struct probe_report *report, uint64_t *took_ns) {
    key_generate(rng, &p->private_key);
    key_private_public(&p->private_key, &p->key);
    p->buffer = malloc(BUFFER_SIZE);
    p->space = malloc(DERP_CLIENT_LENGTH_MAX);
    if (p->buffer == NULL || p->space == NULL) return fail(p->why, "no memory");
    uint64_t start_ns = sys_clock_ns();
    if (!channel_open(&p->channel, url, options->trust, p->timeout_ns, p->why)) return false;
    memcpy(report->address, p->channel.address, sizeof(report->address));
    report->has_metacert = p->channel.has_metacert;
    if (!ask_upgrade(p, url, is_fast) || !log_in(p, rng)) return false;
    *took_ns = sys_clock_ns() - start_ns;
    return true;
}

static void end(struct prober *p) {
    channel_close(&p->channel);
    box_key_wipe(&p->shared);
    key_private_wipe(&p->private_key);
    free(p->buffer);
    free(p->space);
}

/* ---- the work ---- */

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t count) {
    qsort(values, count, sizeof(*values), compare_u64);
    return values[count / 2];
}

static bool pass_packet(struct prober *from, struct prober *to, uint32_t size, struct rng *rng,
                        struct probe_report *report) {
    static uint8_t data[DERP_PACKET_SIZE_MAX], bytes[DERP_FRAME_SIZE_MAX];  // why: a tool with one thread
    struct derp_frame_view frame;
    struct derp_recv recv;
    struct writer w = writer_of(bytes, sizeof(bytes));
    rng_bytes(rng, data, size);
    derp_write_send(&w, &to->key, data, size);
    if (!write_all(from, bytes, (size_t)(w.at - bytes), "sending")) return false;
    if (!expect_frame(to, DERP_RECV_PACKET, &frame, "receiving")) return false;
    if (!derp_read_recv(frame.payload, frame.length, &recv) || !key_equal(recv.src, &from->key) ||
        recv.data_size != size || memcmp(recv.data, data, size) != 0) {
        return fail(to->why, "receiving: a packet of %u bytes came back changed", size);
    }
    report->packets_count++;
    report->bytes_count += size;
    return true;
}

static bool pass_packets(struct prober *a, struct prober *b, struct rng *rng, struct probe_report *report) {
    uint64_t times_ns[ROUNDS];
    for (size_t i = 0; i < array_count(sizes); i++) {
        if (!pass_packet(a, b, sizes[i], rng, report) || !pass_packet(b, a, sizes[i], rng, report)) return false;
    }
    for (size_t i = 0; i < ROUNDS; i++) {
        uint64_t start_ns = sys_clock_ns();
        if (!pass_packet(a, b, 100, rng, report)) return false;
        times_ns[i] = sys_clock_ns() - start_ns;
    }
    report->packet_ns = median(times_ns, ROUNDS);
    return true;
}

static bool ping(struct prober *p, struct rng *rng, struct probe_report *report) {
    uint64_t times_ns[ROUNDS];
    for (size_t i = 0; i < ROUNDS; i++) {
        uint8_t data[DERP_PING_SIZE], bytes[DERP_HEADER_SIZE + DERP_PING_SIZE];
        struct writer w = writer_of(bytes, sizeof(bytes));
        struct derp_frame_view frame;
        const uint8_t *echo;
        rng_bytes(rng, data, sizeof(data));
        derp_write_ping(&w, data);
        uint64_t start_ns = sys_clock_ns();
        if (!write_all(p, bytes, sizeof(bytes), "ping")) return false;
        if (!expect_frame(p, DERP_PONG, &frame, "ping")) return false;
        times_ns[i] = sys_clock_ns() - start_ns;
        if (!derp_read_ping(frame.payload, frame.length, &echo) || memcmp(echo, data, sizeof(data)) != 0) {
            return fail(p->why, "ping: the pong does not echo it");
        }
    }
    report->ping_ns = median(times_ns, ROUNDS);
    return true;
}

static bool compare_servers(const struct prober *a, const struct prober *b) {
    if (key_equal(&a->server, &b->server)) return true;
    return fail(a->why, "two connections show different server keys: several servers share this name without a mesh");
}

bool probe_run(const struct probe_options *options, struct rng *rng, struct probe_report *report, char *why) {
    struct channel_url url;
    struct prober a = {.channel = {.fd = -1}, .timeout_ns = options->timeout_ns, .why = why};
    struct prober b = a;
    memset(report, 0, sizeof(*report));
    if (!channel_url_parse(&url, options->url, why)) return false;
    bool is_fine = start(&a, options, &url, false, rng, report, &report->login_normal_ns) &&
                   start(&b, options, &url, true, rng, report, &report->login_fast_ns) && compare_servers(&a, &b) &&
                   ping(&a, rng, report) && pass_packets(&a, &b, rng, report);
    is_fine = is_fine && (options->stun_port == 0 ||
                          stun_probe_run(url.host, options->stun_port, options->timeout_ns, rng, &report->stun, why));
    report->server = a.server;
    end(&a);
    end(&b);
    return is_fine;
}
