#include "perf/load/place.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { REALTIME_PRIORITY = 10 };

bool place_pin(int cpu, char *why) {
    cpu_set_t set;
    if (cpu < 0) return true;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) == 0) return true;
    snprintf(why, PLACE_WHY_MAX, "--cpu %d: %s", cpu, strerror(errno));
    return false;
}

/* The timers of a realtime thread are exact by themselves. */
bool place_realtime(char *why) {
    struct sched_param param = {.sched_priority = REALTIME_PRIORITY};
    if (sched_setscheduler(0, SCHED_FIFO, &param) != 0) {
        snprintf(why, PLACE_WHY_MAX, "--realtime: %s; it takes root or CAP_SYS_NICE", strerror(errno));
        return false;
    }
    (void)!mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);  // may be refused; then only the priority counts
    return true;
}
