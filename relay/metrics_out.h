/* metrics_out.h - writing figures, as Prometheus text or as expvar's JSON. Private to metrics*.c.
 *
 * A name is given as derper's expvar has it: "gauge_x", "counter_x" or "x". The prefix is the type in Prometheus text
 * and not part of the name there; in JSON it is part of the name. Within an object the name gets the object's before it
 * in Prometheus text: "derp_x".
 */
#pragma once

#include "relay/metrics.h"

struct metrics_out {
    struct writer *w;
    const struct metrics *const *blocks;
    size_t blocks_count;
    const struct metrics_process *process;
    bool is_json;
    const char *object;  // "derp": inside this object; NULL: in none
    bool has_item;   // JSON: something is before this in the object
};

void metrics_out_line(struct metrics_out *o, const char *format, ...) printf_like(2, 3);

/* Sum of the counter at `offset` in every thread's block. Gauges are sums too: one thread adds, the same subtracts. */
uint64_t metrics_out_sum(const struct metrics_out *o, size_t offset);

/* The name as it is shown, and in Prometheus text the type line: "counter" or "gauge" by the prefix, `bare` when there
 * is none and it is not NULL. */
void metrics_out_begin(struct metrics_out *o, const char *name, const char *bare);

/* One whole figure. */
void metrics_out_number(struct metrics_out *o, const char *name, const char *bare, uint64_t value);
void metrics_out_float(struct metrics_out *o, const char *name, const char *bare, double value);

/* A map: begin, labels, end. `label` is the label's name. */
void metrics_out_map_begin(struct metrics_out *o, const char *name, const char *bare);
void metrics_out_map_item(struct metrics_out *o, const char *name, const char *label, const char *value, uint64_t n);
void metrics_out_map_end(struct metrics_out *o);

/* metrics_derper.c: all that derper shows, in its order. */
void metrics_out_derper(struct metrics_out *o);

/* metrics_udp.c: the UDP relay's; there has to be one (process->endpoints). */
void metrics_out_udp(struct metrics_out *o);
