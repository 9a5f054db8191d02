#include "relay/stun_probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proto/stun.h"

enum { ROUNDS = 5, TRIES = 5 };

static bool fail(char *why, const char *format, ...) printf_like(2, 3);

static bool fail(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, STUN_PROBE_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* Connected: what others send does not get in. */
static int open_socket(const char *host, uint16_t port, char *why) {
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list;
    char service[8];
    int fd = -1;
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) {
        (void)fail(why, "STUN: cannot look up %s: %s", host, gai_strerror(rc));
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) break;
        if (fd >= 0) sys_close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0) (void)fail(why, "STUN: no way to %s, UDP port %u", host, (unsigned)port);
    return fd;
}

/* One question, and whatever comes until its answer. */
static bool ask(int fd, uint64_t patience_ns, struct rng *rng, struct stun_report *report) {
    uint8_t transaction[STUN_TRANSACTION_SIZE], request[STUN_REQUEST_SIZE], answer[2048];
    rng_bytes(rng, transaction, sizeof(transaction));
    stun_request_write(request, transaction);
    uint64_t start_ns = sys_clock_ns();
    (void)!send(fd, request, sizeof(request), 0);  // a refusal is an answer that does not come
    for (uint64_t now_ns = start_ns; now_ns < start_ns + patience_ns; now_ns = sys_clock_ns()) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        (void)poll(&pollfd, 1, (int)((start_ns + patience_ns - now_ns) / NS_PER_MS + 1));
        ssize_t n = recv(fd, answer, sizeof(answer), 0);
        if (n < 0 && errno == ECONNREFUSED) return false;
        if (n < 0 || !stun_answer_parse(answer, (size_t)n, transaction, &report->seen)) continue;
        report->answer_ns = sys_clock_ns() - start_ns;
        return true;
    }
    return false;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool ask_often(int fd, uint64_t timeout_ns, struct rng *rng, struct stun_report *report) {
    uint64_t times_ns[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        bool is_answered = false;
        for (int try = 0; try < TRIES && !is_answered; try++) is_answered = ask(fd, timeout_ns / TRIES, rng, report);
        if (!is_answered) return false;
        times_ns[i] = report->answer_ns;
    }
    qsort(times_ns, ROUNDS, sizeof(times_ns[0]), compare_u64);
    report->answer_ns = times_ns[ROUNDS / 2];
    return true;
}

bool stun_probe_run(const char *host, uint16_t port, uint64_t timeout_ns, struct rng *rng, struct stun_report *report,
                    char *why) {
    int fd = open_socket(host, port, why);
    if (fd < 0) return false;
    bool is_fine = ask_often(fd, timeout_ns, rng, report);
    sys_close(fd);
    if (is_fine) return true;
    return fail(why,
                "STUN: no answer from %s, UDP port %u: does the relay run with -stun, on that -stun-port, and does the "
                "firewall let UDP through?",
                host, (unsigned)port);
}
