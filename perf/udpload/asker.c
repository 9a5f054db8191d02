#include "perf/udpload/asker.h"

#include <stdio.h>

#include "core/check.h"
#include "core/unix.h"

#define TIMEOUT_NS (10 * NS_PER_S)

#define UNIX_PREFIX "unix:"

bool asker_needs_trust(const char *where) { return strncmp(where, "https:", 6) == 0; }

static bool read_token(struct asker *a, const char *path) {
    ssize_t size = sys_file_read(path, a->token, ASKER_TOKEN_MAX);
    if (size < 0) {
        snprintf(a->why, sizeof(a->why), "--token-file %s: %s", path, strerror((int)-size));
        return false;
    }
    a->token[size] = '\0';
    a->token[strcspn(a->token, " \r\n\t")] = '\0';
    if (a->token[0] == '\0') snprintf(a->why, sizeof(a->why), "--token-file %s: there is no token in it", path);
    return a->token[0] != '\0';
}

bool asker_open(struct asker *a, const char *where, const char *token_path, struct tls_trust *trust) {
    *a = (struct asker){.trust = trust};
    for (unsigned i = 0; i < ASKER_LINES_MAX; i++) a->lines[i].channel.fd = -1;
    if (token_path && !read_token(a, token_path)) return false;
    if (strncmp(where, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        a->unix_path = where + strlen(UNIX_PREFIX);
        return true;
    }
    return channel_url_parse(&a->url, where, a->why);
}

static void close_line(struct asker_line *l) {
    if (l->is_open) channel_close(&l->channel);
    l->is_open = l->is_waiting = l->is_used = false;
    l->in_size = 0;
}

void asker_close(struct asker *a) {
    for (unsigned i = 0; i < ASKER_LINES_MAX; i++) close_line(&a->lines[i]);
}

static bool open_line(struct asker *a, struct asker_line *l) {
    l->is_open = true;
    if (a->unix_path == NULL) return channel_open(&l->channel, &a->url, a->trust, TIMEOUT_NS, a->why);
    int fd = unix_connect(a->unix_path, TIMEOUT_NS);
    l->channel = (struct channel){.fd = fd < 0 ? -1 : fd, .timeout_ns = TIMEOUT_NS, .why = a->why};
    if (fd < 0) snprintf(a->why, sizeof(a->why), "connecting to %s: %s", a->unix_path, strerror(-fd));
    return fd >= 0;
}

static bool write_request(struct asker *a, struct asker_line *l) {
    char text[ENDPOINT_REQUEST_MAX];
    size_t size =
        endpoint_request(text, a->unix_path ? "localhost" : a->url.authority, a->token[0] ? a->token : NULL, &l->pair);
    if (!l->is_open && !open_line(a, l)) return false;
    return channel_write(&l->channel, (const uint8_t *)text, size, "asking for an endpoint");
}

/* A connection that has been used may have been closed meanwhile. */
bool asker_ask(struct asker *a, unsigned line, const struct disco_pair *pair) {
    struct asker_line *l = &a->lines[line];
    CHECK(!l->is_waiting);
    l->pair = *pair;
    bool was_used = l->is_used, is_written = write_request(a, l);
    if (!is_written) close_line(l);
    if (!is_written && was_used) is_written = write_request(a, l);
    l->is_waiting = is_written;
    return is_written;
}

static bool read_more(struct asker_line *l) {
    uint8_t bytes[RECORD_INNER_MAX];
    size_t size;
    if (!channel_read(&l->channel, bytes, sizeof(bytes), &size, "asking for an endpoint")) return false;
    if (size > sizeof(l->in) - l->in_size) {
        snprintf(l->channel.why, CHANNEL_WHY_MAX, "the answer to a request for an endpoint is too long");
        return false;
    }
    memcpy(l->in + l->in_size, bytes, size);
    l->in_size += size;
    return true;
}

static bool read_answer(struct asker *a, struct asker_line *l, struct endpoint_head *head) {
    int rc = 0;
    while (rc == 0 || l->in_size < head->head_size + head->body_size) {
        bool is_first = l->in_size == 0;
        if (!read_more(l)) {
            bool is_stale = l->is_used && is_first;
            if (is_stale) close_line(l);
            if (!is_stale || !write_request(a, l)) return false;
            l->is_waiting = true;
            continue;
        }
        rc = endpoint_head_parse(head, l->in, l->in_size, a->why);
        if (rc < 0) return false;
    }
    return true;
}

static enum asker_result judge(struct asker *a, struct asker_line *l, const struct endpoint_head *head,
                               struct endpoint_answer *ret) {
    const char *body = l->in + head->head_size;
    if (head->status == 200) {
        return endpoint_parse(ret, body, head->body_size, &l->pair, a->why) ? ASKER_GOOD : ASKER_FAILED;
    }
    int shown = (int)min_of(head->body_size, (size_t)200);
    while (shown > 0 && (body[shown - 1] == '\n' || body[shown - 1] == '\r')) shown--;
    snprintf(a->why, sizeof(a->why), "no endpoint: status %u: %.*s", head->status, shown, body);
    return head->retry_s > 0 ? ASKER_LATER : ASKER_REFUSED;
}

enum asker_result asker_answer(struct asker *a, unsigned line, struct endpoint_answer *ret) {
    struct asker_line *l = &a->lines[line];
    struct endpoint_head head = {0};
    CHECK(l->is_waiting);
    if (!read_answer(a, l, &head)) {
        close_line(l);
        return ASKER_FAILED;
    }
    enum asker_result result = judge(a, l, &head, ret);
    l->is_waiting = false;
    l->is_used = true;
    l->in_size = 0;
    if (head.is_last || result == ASKER_FAILED) close_line(l);
    return result;
}
