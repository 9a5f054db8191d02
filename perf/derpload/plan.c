#include "perf/derpload/plan.h"

#include <stdlib.h>

static void count(struct plan *plan, const struct options *o) {
    uint32_t n = (uint32_t)(o->connections ? o->connections : o->pairs);
    plan->name = o->connections ? "spread" : options_pattern_name(o->pattern);
    plan->flows_count = plan->clients = n;
    if (o->connections) return;
    if (o->pattern == PATTERN_ALL) plan->flows_count = n * (n - 1);
    else plan->clients = o->pattern == PATTERN_PAIRS ? 2 * n : n + 1;
}

/* The ends of flow i. */
static void ends_of(const struct plan *plan, const struct options *o, uint32_t i, uint32_t *from, uint32_t *to) {
    uint32_t n = plan->clients;
    if (o->connections) {
        *from = i, *to = (i + n / 2) % n;
        return;
    }
    switch (o->pattern) {
        case PATTERN_FAN_IN: *from = i + 1, *to = 0; return;
        case PATTERN_FAN_OUT: *from = 0, *to = i + 1; return;
        case PATTERN_ALL: *from = i / (n - 1), *to = (*from + 1 + i % (n - 1)) % n; return;
        case PATTERN_PAIRS:
        case PATTERN_COUNT: break;
    }
    *from = 2 * i, *to = 2 * i + 1;
}

static void shuffle(uint32_t *items, uint32_t size, struct rng *rng) {
    for (uint32_t i = size; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(rng, i), item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}

bool plan_make(struct plan *plan, const struct options *o, struct rng *rng) {
    *plan = (struct plan){0};
    count(plan, o);
    plan->flows = calloc(plan->flows_count, sizeof(*plan->flows));
    plan->order = calloc(plan->flows_count, sizeof(*plan->order));
    plan->place = calloc(plan->flows_count, sizeof(*plan->place));
    if (!plan->flows || !plan->order || !plan->place) return false;
    for (uint32_t i = 0; i < plan->flows_count; i++) {
        uint32_t from, to;
        ends_of(plan, o, i, &from, &to);
        flow_init(&plan->flows[i], i, from, to);
        plan->order[i] = i;
    }
    if (o->connections) shuffle(plan->order, plan->flows_count, rng);
    for (uint32_t i = 0; i < plan->flows_count; i++) plan->place[plan->order[i]] = i;
    return true;
}

void plan_free(struct plan *plan) {
    free(plan->flows);
    free(plan->order);
    free(plan->place);
    *plan = (struct plan){0};
}
