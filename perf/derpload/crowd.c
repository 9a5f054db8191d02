#include "perf/derpload/crowd.h"

#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/check.h"
#include "core/limits.h"
#include "core/sys.h"

enum { EVENTS_MAX = 256, LOGIN_S_MAX = 10, ANSWER_S = 3, OUT_ROOM_MIN = 4096 };

void crowd_fail(struct crowd *crowd, const char *format, ...) {
    va_list args;
    if (crowd->is_failed) return;
    crowd->is_failed = true;
    va_start(args, format);
    vsnprintf(crowd->why, sizeof(crowd->why), format, args);
    va_end(args);
}

/* ---- memory ---- */

uint8_t *crowd_take_out(struct crowd *crowd) {
    CHECK(crowd->outs_count > 0);
    return crowd->outs[--crowd->outs_count];
}

void crowd_give_out(struct crowd *crowd, uint8_t *out) { crowd->outs[crowd->outs_count++] = out; }

static size_t out_room(const struct crowd_options *o) {
    size_t record = record_sealed_size((size_t)o->frame_size * o->frames_per_record);
    return round_up(max_of((size_t)OUT_ROOM_MIN, record * o->records_per_write + RECORD_KEY_UPDATE_SIZE),
                    CACHE_LINE_SIZE);
}

enum { RAW_ROOM = RECORD_SIZE_MAX / 4096 * 4096 + 4096, SPACE_ROOM = DERP_RECV_LENGTH_MAX / 4096 * 4096 + 4096 };

static uint8_t *take(uint8_t **at, size_t size) {
    uint8_t *bytes = *at;
    *at += round_up(size, CACHE_LINE_SIZE);
    return bytes;
}

/* One mapping, of which most pages are never touched. */
static bool take_memory(struct crowd *crowd) {
    size_t count = crowd->options.clients;
    size_t scratch_size = (size_t)crowd->options.frame_size * crowd->options.frames_per_record + 1;
    size_t each = sizeof(struct client) + sizeof(uint8_t *) + RAW_ROOM + SPACE_ROOM + crowd->out_room;
    crowd->memory_size = count * each + scratch_size + RECORD_INNER_MAX + 8 * (size_t)CACHE_LINE_SIZE;
    void *memory =
        mmap(NULL, crowd->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    uint8_t *at = crowd->memory = memory;
    crowd->clients = (struct client *)(void *)take(&at, count * sizeof(struct client));
    crowd->outs = (uint8_t **)(void *)take(&at, count * sizeof(uint8_t *));
    crowd->scratch = take(&at, scratch_size);
    crowd->plain = take(&at, RECORD_INNER_MAX);
    uint8_t *raws = take(&at, count * RAW_ROOM), *spaces = take(&at, count * SPACE_ROOM);
    for (uint32_t i = 0; i < count; i++) {
        crowd->clients[i] = (struct client){.crowd = crowd, .idx = i, .is_tls = crowd->options.url.is_tls};
        crowd->clients[i].raw = raws + (size_t)i * RAW_ROOM;
        crowd->clients[i].space = spaces + (size_t)i * SPACE_ROOM;
        crowd->clients[i].socket.fd = -1;
        crowd_give_out(crowd, at + (count - 1 - i) * crowd->out_room);
    }
    return true;
}

/* The receive buffers are a worker's: few enough to stay in a cache. */
static bool open_ring(struct crowd *crowd) {
    size_t count = crowd->options.clients;
    struct ring_options options = {
        .features_allowed = RING_FEATURES_ALL,
        .submissions_max = 512,
        .completions_max = (unsigned)min_of((size_t)65536, power_of_two_above(4 * count + 512)),
        .receive_buffers = LIMIT_RECEIVE_BUFFERS,
        .receive_buffer_size = LIMIT_RECEIVE_BUFFER_SIZE,
    };
    char why[RING_WHY_MAX] = "the ring cannot be enabled";
    if (ring_open(&crowd->ring, &options, why) == 0 && ring_enable(crowd->ring) == 0) return true;
    crowd_fail(crowd, "io_uring: %s", why);
    return false;
}

/* ---- beginning and end ---- */

/* A name with several addresses: one of them may be of a family that leads nowhere. The first one if none answers. */
static const struct addrinfo *first_that_answers(const struct addrinfo *list) {
    struct timeval timeout = {.tv_sec = ANSWER_S};
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, IPPROTO_TCP);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));  // bounds connect
        int rc = connect(fd, a->ai_addr, a->ai_addrlen);
        close(fd);
        if (rc == 0) return a;
    }
    return list;
}

static bool look_up(struct crowd *crowd) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    const struct channel_url *url = &crowd->options.url;
    int rc = getaddrinfo(url->host, url->port, &hints, &list);
    if (rc != 0) {
        crowd_fail(crowd, "cannot look up %s: %s", url->host, gai_strerror(rc));
        return false;
    }
    const struct addrinfo *best = list->ai_next ? first_that_answers(list) : list;
    memcpy(&crowd->address, best->ai_addr, best->ai_addrlen);
    crowd->address_size = best->ai_addrlen;
    freeaddrinfo(list);
    return true;
}

bool crowd_open(struct crowd *crowd, const struct crowd_options *options) {
    *crowd = (struct crowd){.options = *options};
    rng_init_system(&crowd->rng);
    crowd->now_ns = sys_clock_ns();
    crowd->out_room = out_room(options);
    if (sys_fd_limit() < (size_t)options->clients + 32) {
        crowd_fail(crowd, "%u connections need more file descriptors than this process may have: ulimit -n %u",
                   options->clients, options->clients + 32);
        return false;
    }
    if (!take_memory(crowd)) {
        crowd_fail(crowd, "no memory for %u connections", options->clients);
        return false;
    }
    return look_up(crowd) && open_ring(crowd);
}

static bool close_all(struct crowd *crowd) {
    bool is_empty = true;
    for (uint32_t i = 0; i < crowd->options.clients; i++) {
        struct client *c = &crowd->clients[i];
        is_empty = is_empty && c->state == CLIENT_NONE;
        if (c->state != CLIENT_NONE && c->state != CLIENT_CLOSING) client_close(c);
    }
    return is_empty;
}

/* why: sockets that are not closed within a second are closed by the kernel when the process ends. */
void crowd_close(struct crowd *crowd) {
    uint64_t deadline_ns = sys_clock_ns() + NS_PER_S;
    while (crowd->ring && crowd->clients && !close_all(crowd) && sys_clock_ns() < deadline_ns)
        crowd_turn(crowd, 10 * NS_PER_MS);
    ring_close(crowd->ring);
    crowd->ring = NULL;
    if (crowd->memory) munmap(crowd->memory, crowd->memory_size);
    crowd->memory = NULL;
    crowd->clients = NULL;
}

/* ---- the loop ---- */

void crowd_turn(struct crowd *crowd, uint64_t wait_ns) {
    static struct ring_event events[EVENTS_MAX];  // why: a tool with one thread
    ring_wait(crowd->ring, wait_ns);
    crowd->now_ns = sys_clock_ns();
    size_t count = ring_reap(crowd->ring, events, EVENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        client_on_event(container_of(events[i].socket, struct client, socket), &events[i]);
    }
}

bool crowd_log_in(struct crowd *crowd, uint32_t at_once) {
    uint32_t count = crowd->options.clients, started = 0;
    uint64_t progress_ns = crowd->now_ns;
    while (crowd->ready_count < count && !crowd->is_failed) {
        uint32_t ready_before = crowd->ready_count;
        while (started < count && started - crowd->ready_count < at_once && !crowd->is_failed) {
            client_start(&crowd->clients[started++], crowd->now_ns);
        }
        crowd_turn(crowd, 100 * NS_PER_MS);
        if (crowd->ready_count != ready_before) progress_ns = crowd->now_ns;
        if (crowd->now_ns - progress_ns > LOGIN_S_MAX * NS_PER_S) {
            crowd_fail(crowd, "login: no client got through for %d s (%u of %u are logged in)", (int)LOGIN_S_MAX,
                       crowd->ready_count, count);
        }
    }
    return !crowd->is_failed;
}
