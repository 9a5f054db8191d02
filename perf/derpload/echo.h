/* echo.h - a thread that sends back what comes in by TCP, as plainly as it can be done: for `derpload echo`.
 *
 * Threads: makes one, which ends with its connection. Memory: its stack. Errors: false and a sentence in `why`
 * (ECHO_WHY_MAX bytes).
 */
#pragma once

#include <pthread.h>

#include "core/base.h"

#define ECHO_WHY_MAX 256

struct echo {
    int fd;  // listening
    uint16_t port;
    int cpu;  // -1: not pinned
    bool is_realtime;
    pthread_t thread;
};

/* Listens on a port of 127.0.0.1 that the kernel chooses; takes one connection. */
must_use bool echo_start(struct echo *e, int cpu, bool is_realtime, char *why);

/* After the connection has been closed. */
void echo_join(struct echo *e);
