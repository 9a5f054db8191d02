#include "perf/load/flow.h"

void flow_init(struct flow *f, uint32_t id, uint32_t from, uint32_t to) {
    *f = (struct flow){.id = id, .from = from, .to = to, .range_begin = UINT64_MAX, .range_end = UINT64_MAX};
}

static uint64_t *word_of(struct flow *f, uint64_t sequence) { return &f->seen[sequence % FLOW_MEMORY / 64]; }
static uint64_t bit_of(uint64_t sequence) { return UINT64_C(1) << sequence % 64; }

/* Numbers that were jumped over have not been seen. */
static void forget_gap(struct flow *f, uint64_t end) {
    if (end - f->next >= FLOW_MEMORY) {
        memset(f->seen, 0, sizeof(f->seen));
        return;
    }
    for (uint64_t i = f->next; i < end; i++) *word_of(f, i) &= ~bit_of(i);
}

static bool is_news(struct flow *f, uint64_t sequence) {
    if (sequence >= f->next) {
        forget_gap(f, sequence);
        f->next = sequence + 1;
        f->settled = max_of(f->settled, f->next);
        return true;
    }
    if (f->next - sequence > FLOW_MEMORY || (*word_of(f, sequence) & bit_of(sequence)) != 0) return false;
    f->reordered++;
    return true;
}

enum flow_verdict flow_receive(struct flow *f, uint64_t sequence) {
    if (unlikely(sequence >= f->sent)) return FLOW_NEVER_SENT;
    if (unlikely(!is_news(f, sequence))) return FLOW_REPEATED;
    *word_of(f, sequence) |= bit_of(sequence);
    f->verified++;
    if (sequence >= f->range_begin && sequence < f->range_end) f->range_verified++;
    return FLOW_GOOD;
}

const char *flow_verdict_text(enum flow_verdict verdict) {
    switch (verdict) {
        case FLOW_GOOD: return "good";
        case FLOW_REPEATED: return "it came before";
        case FLOW_NEVER_SENT: return "it was never sent";
    }
    return "?";
}

uint64_t flow_scan(struct flow *f, uint32_t quiet_max) {
    bool is_quiet = f->scan_next == f->next && f->scan_sent == f->sent && f->sent > f->settled;
    f->scan_next = f->next;
    f->scan_sent = f->sent;
    f->scans_quiet = is_quiet ? f->scans_quiet + 1 : 0;
    if (f->scans_quiet < quiet_max) return 0;
    uint64_t written_off = flow_under_way(f);
    f->settled = f->sent;
    return written_off;
}

void flow_range_start(struct flow *f) {
    f->range_begin = f->sent;
    f->range_verified = 0;
    f->verified_before = f->verified;
    f->reordered = 0;
}

void flow_range_stop(struct flow *f) { f->range_end = f->sent; }
