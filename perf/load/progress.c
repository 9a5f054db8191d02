#include "perf/load/progress.h"

#include <stdio.h>
#include <unistd.h>

void progress_begin(struct progress *p, bool is_wanted, const char *tool, const char *what, const struct meter *meter,
                    uint64_t now_ns) {
    *p = (struct progress){.is_on = is_wanted || isatty(STDERR_FILENO), .meter = meter, .begin_ns = now_ns};
    p->next_ns = now_ns + NS_PER_S;
    p->tool = tool;
    p->what = what;
    meter_read(meter, &p->reading);
}

void progress_step(struct progress *p, uint64_t now_ns, uint64_t count) {
    struct meter_reading reading;
    if (!p->is_on || now_ns < p->next_ns) return;
    p->next_ns = now_ns + NS_PER_S;
    meter_read(p->meter, &reading);
    double seconds = meter_seconds(&p->reading, &reading);
    fprintf(stderr, "%4.0f s  %9.0f %s/s  %s %3.0f %%", (double)(now_ns - p->begin_ns) / (double)NS_PER_S,
            (double)(count - p->count) / seconds, p->what, p->tool,
            100 * meter_client_s(&p->reading, &reading) / seconds);
    if (p->meter->pid) fprintf(stderr, "  server %3.0f %%", 100 * meter_server_s(&p->reading, &reading) / seconds);
    fprintf(stderr, "\n");
    p->count = count;
    p->reading = reading;
}
