#include "core/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CONNECTIONS_DEFAULT_MAX = 16384,
    FDS_RESERVED = 128,  // listeners, rings, standard streams, files of the office, and sessions still closing
    UDP_WORKER_FDS = 4,  // a ring, three sockets
    PACKET_MEMORY_DEFAULT = 64 * 1024 * 1024,
    WORKERS_CHOSEN_MAX = 8,  // by itself; an operator may ask for more
    PACKET_MEMORY_MIN = 4 * 1024 * 1024,  // one full queue and the sends of a few dozen connections
};

static bool refuse(char *why, const char *text) {
    snprintf(why, LIMITS_WHY_MAX, "%s", text);
    return false;
}

bool limits_init(struct limits *limits, size_t fd_limit, char *why) {
    size_t reserved = FDS_RESERVED + LIMIT_SESSIONS_ALL + limits->udp_workers_count * UDP_WORKER_FDS;
    size_t fds_left = fd_limit > reserved ? fd_limit - reserved : 0;
    if (limits->workers_count == 0) limits->workers_count = 1;
    if (limits->packet_memory_bytes == 0) limits->packet_memory_bytes = PACKET_MEMORY_DEFAULT;
    if (limits->connections_max == 0) {
        limits->connections_max = (uint32_t)min_of(fds_left, (size_t)CONNECTIONS_DEFAULT_MAX);
    }
    if (limits->workers_count > LIMIT_WORKERS_MAX) return refuse(why, "-workers is at most 64");
    if (limits->udp_workers_count > LIMIT_WORKERS_MAX) return refuse(why, "-relay-workers is at most 64");
    if (limits->packet_memory_bytes < PACKET_MEMORY_MIN) return refuse(why, "-packet-memory is at least 4m");
    if (limits->connections_max == 0 || limits->connections_max > fds_left) {
        snprintf(why, LIMITS_WHY_MAX,
                 "-max-connections %u does not fit the limit of %zu open files (%zu are needed for the relay itself): "
                 "raise it (ulimit -n, LimitNOFILE= in the unit) or lower -max-connections",
                 limits->connections_max, fd_limit, reserved);
        return false;
    }
    return true;
}

uint32_t limits_workers_for(uint32_t cpus) { return cpus <= 2 ? 1 : min_of(cpus - 1, (uint32_t)WORKERS_CHOSEN_MAX); }

uint32_t limits_connections_per_worker(const struct limits *limits) {
    uint32_t fair_share = (limits->connections_max + limits->workers_count - 1) / limits->workers_count;
    return min_of(limits->connections_max, 2 * fair_share + LIMIT_WORKER_STEP);
}

static unsigned unit_shift(char unit) {
    switch (unit) {
        case 'k':
        case 'K': return 10;
        case 'm':
        case 'M': return 20;
        case 'g':
        case 'G': return 30;
        default: return 0;
    }
}

bool limits_parse_size(const char *text, uint64_t *ret) {
    char *end = NULL;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno) return false;
    unsigned shift = *end ? unit_shift(*end) : 0;
    if (*end && (shift == 0 || end[1] != 0)) return false;
    if (n > (UINT64_MAX >> shift)) return false;
    *ret = (uint64_t)n << shift;
    return true;
}
