/* meter.h - processor time: the server's and our own.
 *
 * The server's is read from its CPU clock (all threads, user and system, in ns), so that short runs have exact figures;
 * it takes no right but that to see the process. A reading belongs to the counters that are read in the same turn of
 * the loop.
 *
 * Threads: one. Memory: none. Errors: a sentence in `why` (METER_WHY_MAX bytes).
 */
#pragma once

#include <time.h>

#include "core/base.h"

#define METER_WHY_MAX 160

struct meter {
    int pid;  // 0: no server is watched
    clockid_t clock;
};

struct meter_reading {
    uint64_t now_ns;
    uint64_t client_ns;  // of this process
    uint64_t server_ns;
};

must_use bool meter_open(struct meter *m, int pid, char *why);
void meter_read(const struct meter *m, struct meter_reading *ret);

/* Resident memory of the server, in KiB; 0 when it cannot be read. */
uint64_t meter_server_rss_kib(const struct meter *m);

/* Seconds between two readings. */
double meter_seconds(const struct meter_reading *from, const struct meter_reading *to);
double meter_client_s(const struct meter_reading *from, const struct meter_reading *to);
double meter_server_s(const struct meter_reading *from, const struct meter_reading *to);
