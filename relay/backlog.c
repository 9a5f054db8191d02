#include "relay/backlog.h"

#include "core/check.h"
#include "core/limits.h"

_Static_assert(BACKLOG_FLOWS <= 32, "a bit per flow in backlog->waiting");

/* Arrival numbers wrap: the older of two is less than 2^31 behind. */
static bool is_older(const struct backlog_flow *flow, const struct backlog_flow *than) {
    return (int32_t)(flow->head->arrival - than->head->arrival) < 0;
}

static bool is_behind(const struct backlog_flow *flow, const struct backlog_flow *than) {
    if (flow->virtual_time != than->virtual_time) return flow->virtual_time < than->virtual_time;
    return is_older(flow, than);
}

static bool is_fatter(const struct backlog_flow *flow, const struct backlog_flow *than) {
    if (flow->bytes != than->bytes) return flow->bytes > than->bytes;
    return is_older(flow, than);
}

/* The best of the waiting flows, of which there is one at least. Most often there is just one: then nothing is read. */
static unsigned choose(const struct backlog *backlog,
                       bool (*is_better)(const struct backlog_flow *flow, const struct backlog_flow *than)) {
    unsigned best = (unsigned)__builtin_ctz(backlog->waiting);
    for (uint32_t rest = backlog->waiting & (backlog->waiting - 1); rest != 0; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctz(rest);
        if (is_better(&backlog->flows[i], &backlog->flows[best])) best = i;
    }
    return best;
}

static unsigned choose_next(const struct backlog *backlog) {
    return choose(backlog, backlog->bytes <= LIMIT_FAIR_BYTES ? is_older : is_behind);
}

bool backlog_holds_before(const struct backlog *backlog, uint32_t flows, uint32_t arrival) {
    for (uint32_t rest = backlog->waiting & flows; rest != 0; rest &= rest - 1) {
        if ((int32_t)(backlog->flows[__builtin_ctz(rest)].head->arrival - arrival) < 0) return true;
    }
    return false;
}

void backlog_push(struct backlog *backlog, struct packet *packet) {
    CHECK(packet->flow < BACKLOG_FLOWS);
    struct backlog_flow *flow = &backlog->flows[packet->flow];
    packet->arrival = backlog->arrivals++;
    packet->next = NULL;
    if (flow->head) {
        flow->tail->next = packet;
    } else {
        flow->head = packet;
        // idle time is no credit: a flow that was ahead stays there, one that was behind starts at the present
        flow->virtual_time = max_of(flow->virtual_time, backlog->virtual_now);
        backlog->waiting |= 1u << packet->flow;
    }
    flow->tail = packet;
    flow->bytes += packet_cost(packet);
    backlog->bytes += packet_cost(packet);
    backlog->frame_bytes += packet->size;
    if (packet->is_foreign) backlog->foreign_bytes += packet_cost(packet);
    backlog->count++;
}

static struct packet *take_head(struct backlog *backlog, unsigned flow_idx) {
    struct backlog_flow *flow = &backlog->flows[flow_idx];
    struct packet *packet = flow->head;
    DCHECK(packet != NULL && flow->bytes >= packet_cost(packet));
    flow->head = packet->next;
    flow->bytes -= packet_cost(packet);
    if (flow->head == NULL) {
        flow->tail = NULL;
        backlog->waiting &= ~(1u << flow_idx);
    }
    backlog->bytes -= packet_cost(packet);
    backlog->frame_bytes -= packet->size;
    if (packet->is_foreign) backlog->foreign_bytes -= packet_cost(packet);
    backlog->count--;
    // nothing waits, nobody was kept waiting: who comes next finds all flows equal, as if all times were reset
    if (backlog->count == 0) backlog->virtual_now = backlog->virtual_end;
    packet->next = NULL;
    return packet;
}

/* In fair order the flow with least time is at the present or ahead of it, and the present follows it. First-in
 * first-out serves flows that are ahead, too, and leaves others behind the present: those are moved up when their turn
 * comes, because what they did not ask for while there was enough for all is no credit for later. So at all times a
 * flow is ahead of the present by one packet at most, and one behind it passes the others with one packet at most. */
static void advance(struct backlog *backlog, struct backlog_flow *flow) {
    backlog->virtual_now = max_of(flow->virtual_time, backlog->virtual_now);
    flow->virtual_time = backlog->virtual_now + flow->head->size;
    backlog->virtual_end = max_of(backlog->virtual_end, flow->virtual_time);
}

struct packet *backlog_next(const struct backlog *backlog) {
    return backlog->waiting == 0 ? NULL : backlog->flows[choose_next(backlog)].head;
}

struct packet *backlog_pop(struct backlog *backlog) {
    if (backlog->waiting == 0) return NULL;
    unsigned flow_idx = choose_next(backlog);
    advance(backlog, &backlog->flows[flow_idx]);
    return take_head(backlog, flow_idx);
}

/* Times stay: what is dropped was not served. */
struct packet *backlog_drop(struct backlog *backlog) {
    return backlog->waiting == 0 ? NULL : take_head(backlog, choose(backlog, is_fatter));
}

/* Times do not go back, so what arrived first has waited longest. */
struct packet *backlog_pop_older(struct backlog *backlog, uint64_t before_ns) {
    if (backlog->waiting == 0) return NULL;
    unsigned oldest = choose(backlog, is_older);
    return backlog->flows[oldest].head->enqueued_ns < before_ns ? take_head(backlog, oldest) : NULL;
}

struct packet *backlog_pop_excess(struct backlog *backlog, size_t bytes_max) {
    if (backlog->bytes <= bytes_max || backlog->count <= 1) return NULL;
    return backlog_drop(backlog);
}

uint64_t backlog_oldest_ns(const struct backlog *backlog) {
    CHECK(backlog->waiting != 0);
    return backlog->flows[choose(backlog, is_older)].head->enqueued_ns;
}
