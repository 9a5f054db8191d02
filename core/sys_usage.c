/* sys_usage.c - what the kernel says of the process (core/sys.h): /proc and a few system calls. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/sys.h"

static double clock_s(clockid_t clock) {
    struct timespec t;
    return clock_gettime(clock, &t) == 0 ? (double)t.tv_sec + (double)t.tv_nsec / (double)NS_PER_S : 0;
}

static void read_memory(struct sys_process_usage *usage) {
    char text[256];
    unsigned long long pages, resident_pages;
    ssize_t size = sys_file_read("/proc/self/statm", text, sizeof(text) - 1);
    if (size <= 0) return;
    text[size] = '\0';
    if (sscanf(text, "%llu %llu", &pages, &resident_pages) != 2) return;
    uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    usage->virtual_bytes = pages * page_size;
    usage->resident_bytes = resident_pages * page_size;
}

/* The number of a column of "IpExt:": the first line has the names, the second the numbers. */
static uint64_t column(const char *names, const char *numbers, const char *wanted) {
    size_t wanted_size = strlen(wanted);
    while (*names && *names != '\n' && *numbers && *numbers != '\n') {
        size_t name = strcspn(names, " \n"), number = strcspn(numbers, " \n");
        if (name == wanted_size && memcmp(names, wanted, name) == 0) return strtoull(numbers, NULL, 10);
        names += name + (names[name] == ' ');
        numbers += number + (numbers[number] == ' ');
    }
    return 0;
}

static void read_network(struct sys_process_usage *usage) {
    static const char label[] = "\nIpExt: ";
    char text[8192];
    ssize_t size = sys_file_read("/proc/self/net/netstat", text, sizeof(text) - 1);
    if (size <= 0) return;
    text[size] = '\0';
    const char *names = strstr(text, label);
    const char *numbers = names ? strstr(names + 1, label) : NULL;
    if (numbers == NULL) return;
    usage->network_received_bytes = column(names + 1, numbers + 1, "InOctets");
    usage->network_sent_bytes = column(names + 1, numbers + 1, "OutOctets");
}

void sys_process_usage(struct sys_process_usage *ret) {
    struct rlimit space = {.rlim_cur = RLIM_INFINITY};
    *ret = (struct sys_process_usage){.cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID)};
    (void)getrlimit(RLIMIT_AS, &space);
    ret->virtual_max_bytes = space.rlim_cur == RLIM_INFINITY ? UINT64_MAX : space.rlim_cur;
    ret->boot_wall_s = (uint64_t)(clock_s(CLOCK_REALTIME) - clock_s(CLOCK_BOOTTIME));
    read_memory(ret);
    read_network(ret);
}
