#include "relay/channel.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sys.h"
#include "proto/handshake.h"

enum { RAW_SIZE = 2 * RECORD_SIZE_MAX };

static bool fail(char *why, const char *format, ...) printf_like(2, 3);

static bool fail(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, CHANNEL_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- the URL ---- */

static bool parse_authority(struct channel_url *ret, const char *at, size_t size, char *why) {
    bool is_v6 = size > 0 && *at == '[';
    const char *host_end = is_v6 ? memchr(at, ']', size) : memchr(at, ':', size);
    size_t host_size = host_end ? (size_t)(host_end - at) : size;
    if (is_v6 && host_end == NULL) return fail(why, "the URL's IPv6 address has no closing bracket");
    const char *port = host_end ? host_end + is_v6 : at + size;
    size_t port_size = size - (size_t)(port - at);
    if (host_size - is_v6 == 0 || host_size >= sizeof(ret->host)) return fail(why, "the URL has no usable host");
    if (port_size > 0 && (*port != ':' || port_size == 1 || port_size > 6)) return fail(why, "the URL's port is wrong");
    const char *plain_port = ret->is_tls ? "443" : "80";
    snprintf(ret->host, sizeof(ret->host), "%.*s", (int)(host_size - is_v6), at + is_v6);
    snprintf(ret->port, sizeof(ret->port), "%.*s", port_size ? (int)port_size - 1 : (int)strlen(plain_port),
             port_size ? port + 1 : plain_port);
    snprintf(ret->authority, sizeof(ret->authority), "%.*s", (int)size, at);
    return true;
}

bool channel_url_parse(struct channel_url *ret, const char *url, char *why) {
    static const char *const schemes[] = {"http://", "https://"};
    ret->is_tls = strncmp(url, schemes[1], strlen(schemes[1])) == 0;
    const char *scheme = schemes[ret->is_tls];
    if (strncmp(url, scheme, strlen(scheme)) != 0) {
        return fail(why, "%s: the URL has to begin with https:// or http://", url);
    }
    const char *at = url + strlen(scheme);
    size_t size = strcspn(at, "/?#");
    snprintf(ret->path, sizeof(ret->path), "%s", at[size] == '/' && at[size + 1] ? at + size : "/derp");
    if (strpbrk(ret->path, " \r\n")) return fail(why, "the URL's path has blanks in it");
    return parse_authority(ret, at, size, why);
}

/* ---- the socket ---- */

static bool wait_for(struct channel *c, short events, uint64_t deadline_ns, const char *step) {
    uint64_t now_ns = sys_clock_ns();
    int timeout_ms = deadline_ns > now_ns ? (int)((deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
    struct pollfd pollfd = {.fd = c->fd, .events = events};
    int rc = poll(&pollfd, 1, timeout_ms);
    if (rc > 0 || (rc < 0 && errno == EINTR)) return true;
    return fail(c->why, "%s: nothing happened for %llu ms", step, (unsigned long long)(c->timeout_ns / NS_PER_MS));
}

static bool socket_write(struct channel *c, const uint8_t *bytes, size_t size, const char *step) {
    uint64_t deadline_ns = sys_clock_ns() + c->timeout_ns;
    while (size > 0) {
        ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            if (!wait_for(c, POLLOUT, deadline_ns, step)) return false;
            continue;
        }
        if (n < 0) return fail(c->why, "%s: %s", step, strerror(errno));
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static bool socket_read(struct channel *c, uint8_t *to, size_t room, size_t *ret_size, const char *step) {
    uint64_t deadline_ns = sys_clock_ns() + c->timeout_ns;
    for (;;) {
        if (!wait_for(c, POLLIN, deadline_ns, step)) return false;
        ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);
        *ret_size = n > 0 ? (size_t)n : 0;
        if (n > 0) return true;
        if (n == 0) return fail(c->why, "%s: the server closed the connection", step);
        if (errno != EAGAIN && errno != EINTR) return fail(c->why, "%s: %s", step, strerror(errno));
    }
}

static int connect_one(const struct channel *c, const struct addrinfo *a) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) return -errno;
    struct timeval timeout = {.tv_sec = (time_t)(c->timeout_ns / NS_PER_S),
                              .tv_usec = (suseconds_t)(c->timeout_ns % NS_PER_S / 1000)};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));  // bounds connect as well
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) return fd;
    int error = errno;
    close(fd);
    return -error;
}

static bool socket_open(struct channel *c, const struct channel_url *url) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    char host[48];
    int one = 1;
    int rc = getaddrinfo(url->host, url->port, &hints, &list);
    if (rc != 0) return fail(c->why, "cannot look up %s: %s", url->host, gai_strerror(rc));
    rc = -ENOENT;
    for (struct addrinfo *a = list; a && rc < 0; a = a->ai_next) {
        rc = connect_one(c, a);
        if (rc < 0) continue;
        getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
        snprintf(c->address, sizeof(c->address), "%s port %s", host, url->port);
    }
    freeaddrinfo(list);
    if (rc < 0) return fail(c->why, "cannot connect to %s: %s", url->authority, strerror(-rc));
    c->fd = rc;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return true;
}

/* ---- TLS ---- */

static void consume_raw(struct channel *c, size_t size) {
    c->raw_size -= size;
    memmove(c->raw, c->raw + size, c->raw_size);
}

static bool read_raw(struct channel *c, const char *step) {
    size_t size;
    if (!socket_read(c, c->raw + c->raw_size, RAW_SIZE - c->raw_size, &size, step)) return false;
    c->raw_size += size;
    return true;
}

static bool take_secrets(struct channel *c, struct handshake *h) {
    struct tls_secrets secrets;
    uint8_t version;
    handshake_export(h, &secrets);
    c->has_metacert = handshake_peer_metacert(h, &c->metacert_key, &version);
    bool is_fine = record_init(&c->record, secrets.suite, true, secrets.in_secret, secrets.out_secret);
    sodium_memzero(&secrets, sizeof(secrets));
    return is_fine || fail(c->why, "TLS: no memory");
}

static bool shake_hands(struct channel *c, struct handshake *h) {
    static uint8_t out_bytes[HANDSHAKE_OUT_MAX];  // why: a tool with one thread
    for (;;) {
        struct reader in = reader_of(c->raw, c->raw_size);
        struct writer out = writer_of(out_bytes, sizeof(out_bytes));
        enum handshake_state state = handshake_step(h, &in, &out);
        consume_raw(c, c->raw_size - reader_left(&in));
        if (!socket_write(c, out_bytes, (size_t)(out.at - out_bytes), "TLS")) return false;
        if (state == HANDSHAKE_DONE) return take_secrets(c, h);
        if (state == HANDSHAKE_FAILED) {
            return fail(c->why, "TLS: %s", handshake_failure_text(handshake_cause(h)));
        }
        if (!read_raw(c, "TLS")) return false;
    }
}

static bool tls_open(struct channel *c, const struct channel_url *url, struct tls_trust *trust) {
    struct handshake *h = handshake_client(trust, url->host, NULL, sys_wall_clock_s());
    c->raw = malloc(RAW_SIZE);
    bool is_fine = h && c->raw ? shake_hands(c, h) : fail(c->why, "TLS: no memory");
    handshake_free(h);
    return is_fine;
}

static bool tls_write(struct channel *c, const uint8_t *bytes, size_t size, const char *step) {
    static uint8_t plain[RECORD_PLAIN_MAX + 1];  // why: as above
    static uint8_t sealed[RECORD_SIZE_MAX + RECORD_KEY_UPDATE_SIZE];
    while (size > 0) {
        size_t piece = min_of(size, (size_t)RECORD_PLAIN_MAX);
        struct writer out = writer_of(sealed, sizeof(sealed));
        memcpy(plain, bytes, piece);
        if (!record_seal(&c->record, &out, plain, piece)) return fail(c->why, "%s: cannot seal", step);
        if (!socket_write(c, sealed, (size_t)(out.at - sealed), step)) return false;
        bytes += piece;
        size -= piece;
    }
    return true;
}

static bool tls_open_record(struct channel *c, size_t record_size, uint8_t *to, size_t *ret_size, const char *step) {
    enum record_alert alert;
    enum record_opened opened = record_open(&c->record, c->raw, record_size, to, ret_size, &alert);
    consume_raw(c, record_size);
    switch (opened) {
        case RECORD_DATA:
        case RECORD_HANDLED: return true;
        case RECORD_CLOSED: return fail(c->why, "%s: the server closed the connection", step);
        case RECORD_ALERTED: return fail(c->why, "%s: the server sent TLS alert %d", step, (int)alert);
        case RECORD_BAD: break;
    }
    return fail(c->why, "%s: a TLS record does not open (alert %d)", step, (int)alert);
}

static bool tls_read(struct channel *c, uint8_t *to, size_t *ret_size, const char *step) {
    size_t record_size;
    enum record_alert alert;
    for (*ret_size = 0; *ret_size == 0;) {
        enum record_found found = record_next(c->raw, c->raw_size, &record_size, &alert);
        if (found == RECORD_REFUSED) return fail(c->why, "%s: that is not a TLS record", step);
        bool is_fine = found == RECORD_WHOLE ? tls_open_record(c, record_size, to, ret_size, step) : read_raw(c, step);
        if (!is_fine) return false;
    }
    return true;
}

/* ---- either ---- */

bool channel_open(struct channel *c, const struct channel_url *url, struct tls_trust *trust, uint64_t timeout_ns,
                  char *why) {
    *c = (struct channel){.fd = -1, .is_tls = url->is_tls, .timeout_ns = timeout_ns, .why = why};
    return socket_open(c, url) && (!c->is_tls || tls_open(c, url, trust));
}

void channel_close(struct channel *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    record_fini(&c->record);
    free(c->raw);
    c->raw = NULL;
}

bool channel_write(struct channel *c, const uint8_t *bytes, size_t size, const char *step) {
    return c->is_tls ? tls_write(c, bytes, size, step) : socket_write(c, bytes, size, step);
}

bool channel_read(struct channel *c, uint8_t *to, size_t room, size_t *ret_size, const char *step) {
    return c->is_tls ? tls_read(c, to, ret_size, step) : socket_read(c, to, room, ret_size, step);
}
