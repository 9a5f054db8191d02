#include "core/pacer.h"

/* Not less than 98 % as much, for 95 % of the processor time or less: noise alone rarely says so, and if it does, the
 * next check says otherwise. */
static bool is_worth_it(const struct pacer_figure *with, const struct pacer_figure *without) {
    double rate_with = (double)with->units / (double)with->wall_ns;
    double rate_without = (double)without->units / (double)without->wall_ns;
    double cost_with = (double)with->cpu_ns / (double)max_of(with->units, UINT64_C(1));
    double cost_without = (double)without->cpu_ns / (double)max_of(without->units, UINT64_C(1));
    return rate_with >= 0.98 * rate_without && cost_with <= 0.95 * cost_without;
}

static uint64_t permille(const struct pacer_figure *figure) { return figure->cpu_ns * 1000 / figure->wall_ns; }

static void enter(struct pacer *pacer, enum pacer_state state) {
    pacer->state = (uint8_t)state;
    pacer->is_settling = true;
    pacer->looks = 0;
    pacer->now = (struct pacer_figure){0};
}

static void fail(struct pacer *pacer, uint64_t now_ns) {
    pacer->pause_ns = pacer->pause_ns == 0 ? PACER_PAUSE_MIN_NS : min_of(2 * pacer->pause_ns, PACER_PAUSE_MAX_NS);
    pacer->again_ns = now_ns + pacer->pause_ns;
    enter(pacer, PACER_OFF);
}

static void succeed(struct pacer *pacer, uint64_t now_ns) {
    pacer->pause_ns = 0;
    pacer->again_ns = now_ns + PACER_RECHECK_NS;
    enter(pacer, PACER_ON);
}

static void begin_trial(struct pacer *pacer, enum pacer_state trial) {
    pacer->before = pacer->now;
    enter(pacer, trial);
}

/* PACER_LOOKS spans of one state are together. */
static void judge(struct pacer *pacer, uint64_t now_ns) {
    uint64_t busy = permille(&pacer->now);
    switch ((enum pacer_state)pacer->state) {
        case PACER_OFF:
            if (busy >= pacer->busy_permille && now_ns >= pacer->again_ns) begin_trial(pacer, PACER_TRIAL_ON);
            break;
        case PACER_ON:
            if (busy < PACER_IDLE_PERMILLE) enter(pacer, PACER_OFF);
            else if (now_ns >= pacer->again_ns) begin_trial(pacer, PACER_TRIAL_OFF);
            break;
        case PACER_TRIAL_ON:
            if (is_worth_it(&pacer->now, &pacer->before)) succeed(pacer, now_ns);
            else fail(pacer, now_ns);
            break;
        case PACER_TRIAL_OFF:
            if (is_worth_it(&pacer->before, &pacer->now)) succeed(pacer, now_ns);
            else fail(pacer, now_ns);
            break;
    }
    pacer->looks = 0;
    pacer->now = (struct pacer_figure){0};
}

void pacer_look(struct pacer *pacer, uint64_t now_ns, uint64_t cpu_ns, uint64_t units) {
    struct pacer_figure span = {now_ns - pacer->seen.wall_ns, cpu_ns - pacer->seen.cpu_ns, units - pacer->seen.units};
    bool is_long = span.wall_ns > 4 * (uint64_t)PACER_SPAN_NS;
    pacer->seen = (struct pacer_figure){now_ns, cpu_ns, units};
    if (is_long) {  // it has slept, or stood still: no figure, and nothing to rest from
        enter(pacer, PACER_OFF);
        return;
    }
    if (pacer->is_settling) {
        pacer->is_settling = false;
        return;
    }
    pacer->now.wall_ns += span.wall_ns;
    pacer->now.cpu_ns += span.cpu_ns;
    pacer->now.units += span.units;
    if (++pacer->looks == PACER_LOOKS) judge(pacer, now_ns);
}
