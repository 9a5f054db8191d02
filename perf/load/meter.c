#include "perf/load/meter.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/sys.h"

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) return 0;
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

bool meter_open(struct meter *m, int pid, char *why) {
    struct timespec t;
    *m = (struct meter){.pid = pid};
    if (pid == 0 || (clock_getcpuclockid(pid, &m->clock) == 0 && clock_gettime(m->clock, &t) == 0)) return true;
    snprintf(why, METER_WHY_MAX, "--server-pid %d: there is no such process, or it is not ours to see", pid);
    return false;
}

void meter_read(const struct meter *m, struct meter_reading *ret) {
    ret->server_ns = m->pid ? clock_ns(m->clock) : 0;
    ret->client_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    ret->now_ns = sys_clock_ns();
}

uint64_t meter_server_rss_kib(const struct meter *m) {
    char path[64], text[8192];
    if (m->pid == 0) return 0;
    snprintf(path, sizeof(path), "/proc/%d/status", m->pid);
    ssize_t size = sys_file_read(path, text, sizeof(text) - 1);
    if (size <= 0) return 0;
    text[size] = '\0';
    const char *line = strstr(text, "\nVmRSS:");
    return line ? strtoull(line + 7, NULL, 10) : 0;
}

static double seconds(uint64_t from_ns, uint64_t to_ns) { return (double)(to_ns - from_ns) / (double)NS_PER_S; }

double meter_seconds(const struct meter_reading *from, const struct meter_reading *to) {
    return seconds(from->now_ns, to->now_ns);
}

double meter_client_s(const struct meter_reading *from, const struct meter_reading *to) {
    return seconds(from->client_ns, to->client_ns);
}

double meter_server_s(const struct meter_reading *from, const struct meter_reading *to) {
    return seconds(from->server_ns, to->server_ns);
}
