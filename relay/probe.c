#include "relay/probe.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sys.h"
#include "proto/derp_stream.h"
#include "proto/http.h"
#include "proto/login.h"

enum { ROUNDS = 9, BUFFER_SIZE = 256 * 1024 };

static const uint32_t sizes[] = {0, 1, 62, 1400, 16000, 65536};

/* One side of the probe. The buffer holds what has been received and not been used, from `at` on. */
struct prober {
    int fd;
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

/* ---- the URL ---- */

struct probe_url {
    char host[256];
    char port[8];
    char authority[272];
    char path[256];
};

static bool parse_authority(struct probe_url *ret, const char *at, size_t size, char *why) {
    bool is_v6 = size > 0 && *at == '[';
    const char *host_end = is_v6 ? memchr(at, ']', size) : memchr(at, ':', size);
    size_t host_size = host_end ? (size_t)(host_end - at) : size;
    if (is_v6 && host_end == NULL) return fail(why, "the URL's IPv6 address has no closing bracket");
    const char *port = host_end ? host_end + is_v6 : at + size;
    size_t port_size = size - (size_t)(port - at);
    if (host_size - is_v6 == 0 || host_size >= sizeof(ret->host)) return fail(why, "the URL has no usable host");
    if (port_size > 0 && (*port != ':' || port_size == 1 || port_size > 6)) return fail(why, "the URL's port is wrong");
    snprintf(ret->host, sizeof(ret->host), "%.*s", (int)(host_size - is_v6), at + is_v6);
    snprintf(ret->port, sizeof(ret->port), "%.*s", port_size ? (int)port_size - 1 : 2, port_size ? port + 1 : "80");
    snprintf(ret->authority, sizeof(ret->authority), "%.*s", (int)size, at);
    return true;
}

static bool parse_url(struct probe_url *ret, const char *url, char *why) {
    static const char scheme[] = "http://";
    if (strncmp(url, "https://", 8) == 0) {
        return fail(why, "https is not supported yet; probe a server that runs with -dev by an http:// URL");
    }
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0) return fail(why, "%s: the URL has to begin with http://", url);
    const char *at = url + sizeof(scheme) - 1;
    size_t size = strcspn(at, "/?#");
    snprintf(ret->path, sizeof(ret->path), "%s", at[size] == '/' && at[size + 1] ? at + size : "/derp");
    if (strpbrk(ret->path, " \r\n")) return fail(why, "the URL's path has blanks in it");
    return parse_authority(ret, at, size, why);
}

/* ---- bytes ---- */

static bool wait_for(struct prober *p, short events, uint64_t deadline_ns, const char *step) {
    uint64_t now_ns = sys_clock_ns();
    int timeout_ms = deadline_ns > now_ns ? (int)((deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
    struct pollfd pollfd = {.fd = p->fd, .events = events};
    int rc = poll(&pollfd, 1, timeout_ms);
    if (rc < 0 && errno == EINTR) return true;
    if (rc > 0) return true;
    return fail(p->why, "%s: nothing happened for %llu ms", step, (unsigned long long)(p->timeout_ns / NS_PER_MS));
}

static bool write_all(struct prober *p, const uint8_t *bytes, size_t size, const char *step) {
    uint64_t deadline_ns = sys_clock_ns() + p->timeout_ns;
    while (size > 0) {
        ssize_t n = send(p->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            if (!wait_for(p, POLLOUT, deadline_ns, step)) return false;
            continue;
        }
        if (n < 0) return fail(p->why, "%s: %s", step, strerror(errno));
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* Appends to the buffer at least one byte. */
static bool read_some(struct prober *p, uint64_t deadline_ns, const char *step) {
    if (p->at > 0) {
        memmove(p->buffer, p->buffer + p->at, p->have - p->at);
        p->have -= p->at;
        p->at = 0;
    }
    for (;;) {
        if (!wait_for(p, POLLIN, deadline_ns, step)) return false;
        ssize_t n = recv(p->fd, p->buffer + p->have, BUFFER_SIZE - p->have, MSG_DONTWAIT);
        if (n > 0) {
            p->have += (size_t)n;
            return true;
        }
        if (n == 0) return fail(p->why, "%s: the server closed the connection", step);
        if (errno != EAGAIN && errno != EINTR) return fail(p->why, "%s: %s", step, strerror(errno));
    }
}

/* ---- frames ---- */

/* The next frame that is not one of those a server may send at any time. It is good until the next call. */
static bool read_frame(struct prober *p, struct derp_frame_view *frame, const char *step) {
    uint64_t deadline_ns = sys_clock_ns() + p->timeout_ns;
    for (;;) {
        struct reader in = reader_of(p->buffer + p->at, p->have - p->at);
        enum derp_stream_event event = derp_stream_next(&p->stream, &in, frame);
        p->at = p->have - reader_left(&in);
        if (event == DERP_STREAM_NEED_SPACE) derp_stream_give_space(&p->stream, p->space);
        if (event == DERP_STREAM_BAD) return fail(p->why, "%s: %s", step, derp_verdict_name(frame->verdict));
        if (event == DERP_STREAM_NEED_INPUT && !read_some(p, deadline_ns, step)) return false;
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

static bool connect_to(struct prober *p, const struct probe_url *url, char *address_text, size_t address_size) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int rc = getaddrinfo(url->host, url->port, &hints, &list);
    if (rc != 0) return fail(p->why, "cannot look up %s: %s", url->host, gai_strerror(rc));
    int error = 0;
    p->fd = -1;
    for (struct addrinfo *a = list; a && p->fd < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, IPPROTO_TCP);
        struct timeval timeout = {.tv_sec = (time_t)(p->timeout_ns / NS_PER_S),
                                  .tv_usec = (suseconds_t)(p->timeout_ns % NS_PER_S / 1000)};
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));  // bounds connect as well
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            char host[48];
            getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
            snprintf(address_text, address_size, "%s port %s", host, url->port);
            p->fd = fd;
            continue;
        }
        error = errno;
        if (fd >= 0) close(fd);
    }
    freeaddrinfo(list);
    if (p->fd < 0) return fail(p->why, "cannot connect to %s: %s", url->authority, strerror(error));
    int one = 1;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return true;
}

static bool read_switch(struct prober *p) {
    struct http_scan scan = {0};
    struct http_answer answer;
    uint64_t deadline_ns = sys_clock_ns() + p->timeout_ns;
    enum http_progress progress;
    do {
        if (!read_some(p, deadline_ns, "upgrade")) return false;
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

static bool ask_upgrade(struct prober *p, const struct probe_url *url, bool is_fast) {
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

static bool start(struct prober *p, const struct probe_url *url, bool is_fast, struct rng *rng,
                  struct probe_report *report, uint64_t *took_ns) {
    key_generate(rng, &p->private_key);
    key_private_public(&p->private_key, &p->key);
    p->buffer = malloc(BUFFER_SIZE);
    p->space = malloc(DERP_CLIENT_LENGTH_MAX);
    if (p->buffer == NULL || p->space == NULL) return fail(p->why, "no memory");
    uint64_t start_ns = sys_clock_ns();
    if (!connect_to(p, url, report->address, sizeof(report->address))) return false;
    if (!ask_upgrade(p, url, is_fast) || !log_in(p, rng)) return false;
    *took_ns = sys_clock_ns() - start_ns;
    return true;
}

static void end(struct prober *p) {
    if (p->fd >= 0) close(p->fd);
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
    struct probe_url url;
    struct prober a = {.fd = -1, .timeout_ns = options->timeout_ns, .why = why};
    struct prober b = a;
    memset(report, 0, sizeof(*report));
    if (!parse_url(&url, options->url, why)) return false;
    bool is_fine = start(&a, &url, false, rng, report, &report->login_normal_ns) &&
                   start(&b, &url, true, rng, report, &report->login_fast_ns) && compare_servers(&a, &b) &&
                   ping(&a, rng, report) && pass_packets(&a, &b, rng, report);
    report->server = a.server;
    end(&a);
    end(&b);
    return is_fine;
}
