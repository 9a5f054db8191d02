#include "relay/crossing.h"

#include "core/check.h"

_Static_assert(LIMIT_WORKERS_MAX <= 64, "one bit per worker");

void crossing_init(struct crossing *crossing, uint32_t self, uint32_t workers_count, size_t pool_bytes,
                   struct crossing_station *stations, struct ring *ring, struct ring *const *rings) {
    *crossing = (struct crossing){.self = self,
                                  .workers_count = workers_count,
                                  .pool_bytes = pool_bytes,
                                  .stations = stations,
                                  .ring = ring,
                                  .rings = rings};
    stat_set(&stations[self].free_bytes, pool_bytes);
}

/* ---- to another worker ---- */

enum crossing_load crossing_load(const struct crossing *crossing, uint32_t worker) {
    uint64_t taken = stat_get(&crossing->stations[worker].taken_bytes[crossing->self]);
    uint64_t under_way = crossing->given_bytes[worker] - taken;
    if (likely(under_way <= crossing->pool_bytes / 16)) return CROSSING_LIGHT;
    if (under_way <= crossing->pool_bytes / 8) return CROSSING_CROWDED;
    return under_way <= crossing->pool_bytes / 4 ? CROSSING_FULL : CROSSING_SHUT;
}

static void push_out(struct crossing *crossing, uint32_t worker) {
    crossing->pending_out &= ~(UINT64_C(1) << worker);
    crossing->out_count[worker] = 0;
    if (!chain_push(&crossing->stations[worker].arrived, &crossing->out[worker])) return;
    ring_wake(crossing->ring, crossing->rings[worker]);
}

void crossing_send(struct crossing *crossing, struct packet *packet, route where, const struct node_key *dst) {
    uint32_t worker = route_worker(where);
    struct crossing_head *head = crossing_head_of(packet);
    CHECK(worker < crossing->workers_count && worker != crossing->self && packet->owner == crossing->self);
    head->where = where;
    head->dst = *dst;
    chain_batch_add(&crossing->out[worker], &head->link);
    crossing->pending_out |= UINT64_C(1) << worker;
    crossing->given_bytes[worker] += packet_cost(packet);
    crossing->away++;
    if (++crossing->out_count[worker] == CROSSING_BATCH_MAX) push_out(crossing, worker);
}

/* ---- from other workers ---- */

struct packet *crossing_take(struct crossing *crossing) {
    struct crossing_station *station = &crossing->stations[crossing->self];
    struct chain_link *oldest = chain_take(&station->arrived);
    for (struct chain_link *link = oldest; link; link = link->next) {
        const struct packet *packet = crossing_packet_of(link);
        stat_add(&station->taken_bytes[packet->owner], packet_cost(packet));
    }
    return oldest ? crossing_packet_of(oldest) : NULL;
}

struct packet *crossing_next(struct packet *packet) {
    struct chain_link *next = crossing_head_of(packet)->link.next;
    return next ? crossing_packet_of(next) : NULL;
}

void crossing_send_home(struct crossing *crossing, struct packet *packet) {
    CHECK(packet->owner < crossing->workers_count && packet->owner != crossing->self && packet->is_taken);
    chain_batch_add(&crossing->home[packet->owner], &crossing_head_of(packet)->link);
    crossing->pending_home |= UINT64_C(1) << packet->owner;
}

size_t crossing_free_bytes(const struct crossing *crossing, uint32_t owner) {
    return (size_t)stat_get(&crossing->stations[owner].free_bytes);
}

/* ---- once per pass ---- */

void crossing_collect(struct crossing *crossing, struct packet_pool *pool) {
    struct chain_link *link = chain_take(&crossing->stations[crossing->self].returned);
    while (link) {
        struct chain_link *next = link->next;
        packet_give(pool, crossing_packet_of(link));
        crossing->away--;
        link = next;
    }
}

void crossing_flush_out(struct crossing *crossing) {
    while (crossing->pending_out) push_out(crossing, (uint32_t)__builtin_ctzll(crossing->pending_out));
}

void crossing_publish_free(struct crossing *crossing, size_t free_bytes) {
    struct stat_counter *published = &crossing->stations[crossing->self].free_bytes;
    if (stat_get(published) != free_bytes) stat_set(published, free_bytes);  // else the readers' line stays shared
}

void crossing_flush_home(struct crossing *crossing) {
    while (crossing->pending_home) {
        uint32_t owner = (uint32_t)__builtin_ctzll(crossing->pending_home);
        crossing->pending_home &= ~(UINT64_C(1) << owner);
        (void)chain_push(&crossing->stations[owner].returned, &crossing->home[owner]);
    }
}

bool crossing_has_mail(struct crossing *crossing) {
    return chain_has_mail(&crossing->stations[crossing->self].arrived);
}
