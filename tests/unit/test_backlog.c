/* test_backlog.c - what waits for one destination: first in, first out while it is little, fair shares when it is much,
 * and that a flood costs itself alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/limits.h"
#include "core/rng.h"
#include "core/sys.h"
#include "relay/backlog.h"

enum {
    COUNT = 4096,
    LARGE = LIMIT_FRAME_SIZE_MAX,
    SMALL = 200,
    SURROUNDINGS = 200,  // about what a slot has beside the frame
    DISCO = BACKLOG_DATA_FLOWS,
};

static struct packet packets[COUNT];
static struct packet *free_packets[COUNT];
static size_t free_count;
static struct backlog backlog;

static int set_up(void **state) {
    (void)state;
    free_count = 0;
    memset(&backlog, 0, sizeof(backlog));
    for (size_t i = COUNT; i-- > 0;) free_packets[free_count++] = &packets[i];
    return 0;
}

static struct packet *put(unsigned flow, uint32_t size) {
    assert_true(free_count > 0);
    struct packet *packet = free_packets[--free_count];
    // what an earlier life left must not matter
    *packet = (struct packet){
        .next = &packets[0], .arrival = 77, .size = size, .slot_size = size + SURROUNDINGS, .flow = (uint8_t)flow};
    backlog_push(&backlog, packet);
    return packet;
}

static void put_many(unsigned flow, uint32_t size, unsigned count) {
    for (unsigned i = 0; i < count; i++) (void)put(flow, size);
}

static void assert_left(struct packet *packet) {
    assert_non_null(packet);
    assert_null(packet->next);
    free_packets[free_count++] = packet;  // it stays readable: nothing is put before the caller has looked
}

static struct packet *pop(void) {
    struct packet *next = backlog_next(&backlog);
    struct packet *packet = backlog_pop(&backlog);
    assert_ptr_equal(packet, next);
    assert_left(packet);
    return packet;
}

static struct packet *drop(void) {
    struct packet *packet = backlog_drop(&backlog);
    assert_left(packet);
    return packet;
}

static void pop_all(void) {
    while (!backlog_is_empty(&backlog)) (void)pop();
}

/* ---- one queue ---- */

static void test_an_empty_backlog_has_nothing(void **state) {
    (void)state;
    assert_true(backlog_is_empty(&backlog));
    assert_null(backlog_next(&backlog));
    assert_null(backlog_pop(&backlog));
    assert_null(backlog_drop(&backlog));
    assert_null(backlog_pop_excess(&backlog, 0));
}

static void test_little_is_first_in_first_out_over_all_flows(void **state) {
    (void)state;
    struct packet *in[LIMIT_FAIR_BYTES / (SMALL + SURROUNDINGS)];
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < array_count(in); i++) in[i] = put((i * 7 + i / 3 + round) % BACKLOG_FLOWS, SMALL);
        assert_true(backlog.bytes <= LIMIT_FAIR_BYTES);
        assert_true(backlog.bytes + SMALL + SURROUNDINGS > LIMIT_FAIR_BYTES);
        for (unsigned i = 0; i < array_count(in); i++) assert_ptr_equal(pop(), in[i]);
        assert_true(backlog_is_empty(&backlog));
    }
}

/* The last byte decides: at the threshold the older packet goes, one byte above it the one whose flow has had less. */
static void test_the_threshold(void **state) {
    (void)state;
    uint32_t quarter = LIMIT_FAIR_BYTES / 4 - SURROUNDINGS;
    for (uint32_t above = 0; above < 2; above++) {
        set_up(NULL);
        (void)put(2, LARGE);
        (void)put(0, LARGE);
        (void)put(2, quarter);
        assert_int_equal(pop()->flow, 2);
        assert_int_equal(pop()->flow, 0);  // now flows 0 and 2 are ahead by a large packet, and flow 1 is not
        struct packet *older = put(0, quarter);
        struct packet *newer = put(1, LIMIT_FAIR_BYTES / 2 - SURROUNDINGS + above);
        assert_int_equal(backlog.bytes, LIMIT_FAIR_BYTES + above);
        if (above == 0) assert_int_equal(pop()->flow, 2);
        assert_ptr_equal(pop(), above == 0 ? older : newer);
    }
}

static void test_one_flow_is_one_queue_however_much_it_is(void **state) {
    (void)state;
    struct packet *in[64];
    for (unsigned i = 0; i < array_count(in); i++) in[i] = put(5, i % 3 == 0 ? LARGE : SMALL);
    for (unsigned i = 0; i < array_count(in); i++) assert_ptr_equal(pop(), in[i]);
}

static void test_arrivals_wrap(void **state) {
    (void)state;
    struct packet *in[16];
    for (uint32_t start = UINT32_MAX - 15; start != 1; start++) {
        backlog.arrivals = start;
        for (unsigned i = 0; i < array_count(in); i++) in[i] = put(i * 5 % BACKLOG_FLOWS, SMALL);
        for (unsigned i = 0; i < array_count(in); i++) assert_ptr_equal(pop(), in[i]);
        // and where times and bytes are equal the older one goes, too
        for (unsigned i = 0; i < array_count(in); i++) in[i] = put(i * 5 % BACKLOG_FLOWS, LARGE);
        for (unsigned i = 0; i < 8; i++) assert_ptr_equal(drop(), in[i]);
        for (unsigned i = 8; i < 16; i++) assert_ptr_equal(pop(), in[i]);
    }
}

/* ---- shares ---- */

/* What each flow has got since the watch began. */
struct watch {
    uint64_t bytes[BACKLOG_FLOWS];
    uint64_t count[BACKLOG_FLOWS];
};

/* A source: its packets, and how many of them always wait. */
struct source {
    unsigned flow;
    uint32_t size;
    unsigned waits;
};

static unsigned waiting_in(unsigned flow) {
    unsigned count = 0;
    for (const struct packet *packet = backlog.flows[flow].head; packet != NULL; packet = packet->next) count++;
    return count;
}

static void fill(const struct source *sources, size_t count) {
    for (size_t i = 0; i < count; i++) {
        unsigned waits = waiting_in(sources[i].flow);
        if (waits < sources[i].waits) put_many(sources[i].flow, sources[i].size, sources[i].waits - waits);
    }
}

static void pop_watched(struct watch *watch) {
    const struct packet *packet = pop();
    watch->bytes[packet->flow] += packet->size;
    watch->count[packet->flow]++;
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

/* Of flows that always wait none may be ahead of another by more than a packet of each. */
static void assert_even(const struct watch *watch, const struct source *sources, size_t count) {
    for (size_t i = 1; i < count; i++) {
        uint64_t apart = distance(watch->bytes[sources[0].flow], watch->bytes[sources[i].flow]);
        assert_true(apart <= (uint64_t)sources[0].size + sources[i].size);
    }
}

static void share(struct watch *watch, const struct source *sources, size_t count, unsigned pops) {
    for (unsigned i = 0; i < pops; i++) {
        fill(sources, count);
        pop_watched(watch);
        assert_even(watch, sources, count);
    }
}

static void test_two_equal_floods_share(void **state) {
    (void)state;
    static const struct source sources[] = {{3, LARGE, 10}, {9, LARGE, 10}};
    struct watch watch = {0};
    share(&watch, sources, 2, 2000);
    assert_int_equal(watch.count[3], 1000);
    assert_int_equal(watch.count[9], 1000);
}

static void test_shares_are_in_bytes(void **state) {
    (void)state;
    static const struct source sources[] = {{0, LARGE, 30}, {1, SMALL, 100}};
    struct watch watch = {0};
    share(&watch, sources, 2, 20000);
    assert_true(watch.count[1] > (watch.count[0] - 1) * (LARGE / SMALL - 1));
    assert_true(watch.count[0] > 10000 * SMALL / LARGE);
}

static void test_all_flows_share(void **state) {
    (void)state;
    struct source sources[BACKLOG_FLOWS];
    struct watch watch = {0};
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) sources[i] = (struct source){i, 300 + 1111 * i, 1 + i % 5};
    share(&watch, sources, BACKLOG_FLOWS, 10000);
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) assert_true(watch.count[i] > 10);
}

/* Whoever takes less than its share waits for nobody but the packet that is on its way. */
static void test_a_light_source_passes_a_flood_at_once(void **state) {
    (void)state;
    static const struct source flood[] = {{2, LARGE, 32}};
    fill(flood, 1);
    (void)pop();
    for (unsigned i = 0; i < 500; i++) {
        fill(flood, 1);
        struct packet *packet = put(7, SMALL);
        assert_ptr_equal(pop(), packet);
        assert_int_equal(pop()->flow, 2);
    }
}

/* A request of several packets passes as well, as long as it is smaller than one of the flood's. */
static void test_a_burst_passes_a_flood(void **state) {
    (void)state;
    static const struct source flood[] = {{2, LARGE, 32}};
    struct packet *burst[10];
    fill(flood, 1);
    (void)pop();
    for (unsigned i = 0; i < array_count(burst); i++) burst[i] = put(7, 1400);
    for (unsigned i = 0; i < array_count(burst); i++) assert_ptr_equal(pop(), burst[i]);
    assert_int_equal(pop()->flow, 2);
}

/* ---- coming and going ---- */

static void test_idle_time_is_no_credit(void **state) {
    (void)state;
    static const struct source both[] = {{0, 1400, 40}, {1, 1400, 40}};
    struct watch watch = {0};
    share(&watch, both, 2, 100);
    while (waiting_in(1) > 0) (void)pop();
    for (unsigned i = 0; i < 1000; i++) {
        fill(both, 1);
        (void)pop();
    }
    watch = (struct watch){0};
    share(&watch, both, 2, 1000);
}

/* What a source got while it was alone is not held against it. */
static void test_time_alone_is_no_penalty(void **state) {
    (void)state;
    static const struct source both[] = {{0, 1400, 40}, {1, 1400, 40}};
    struct watch watch = {0};
    for (unsigned i = 0; i < 1000; i++) {
        fill(both, 1);
        (void)pop();
    }
    share(&watch, both, 2, 1000);
}

/* A source that has just sent a large packet, and all is delivered: who comes next, comes even. */
static void test_an_emptied_backlog_is_new(void **state) {
    (void)state;
    (void)put(4, LARGE);
    (void)put(5, SMALL);
    pop_all();
    for (unsigned i = 0; i < 100; i++) {
        struct packet *first = put(4, LARGE);
        struct packet *second = put(5, LARGE);
        assert_ptr_equal(pop(), first);
        assert_ptr_equal(pop(), second);
    }
    (void)put(4, LARGE);
    (void)drop();  // emptied without a service
    struct packet *first = put(4, LARGE);
    (void)put(5, LARGE);
    assert_ptr_equal(pop(), first);
}

/* In one queue a source may get ten times another's bytes, and both may always wait. When the two are to share, neither
 * what the one has had nor what the other has not asked for counts for more than a packet of each. */
static void test_first_in_first_out_leaves_no_debt(void **state) {
    (void)state;
    static const struct source floods[] = {{0, 1400, 40}, {1, 1400, 40}};
    struct watch watch = {0};
    (void)put(1, 140);
    for (unsigned i = 0; i < 3000; i++) {
        (void)put(0, 1400);
        (void)put(1, 140);
        pop_watched(&watch);
        pop_watched(&watch);
        assert_int_equal(waiting_in(0) + waiting_in(1), 1);
    }
    for (unsigned i = 0; i < 3000; i++) {  // and with both waiting at all times
        while (waiting_in(0) < 2) (void)put(0, 1400);
        while (waiting_in(1) < 2) (void)put(1, 140);
        assert_true(backlog.bytes <= LIMIT_FAIR_BYTES);
        pop_watched(&watch);
    }
    assert_true(watch.bytes[0] > 8 * watch.bytes[1]);
    watch = (struct watch){0};
    for (unsigned i = 0; i < 1000; i++) {
        fill(floods, 2);
        pop_watched(&watch);
        assert_true(distance(watch.bytes[0], watch.bytes[1]) <= 3 * 1400);
    }
}

/* ---- disco ---- */

static void test_flows_of_sources(void **state) {
    (void)state;
    struct rng rng;
    unsigned counts[BACKLOG_FLOWS] = {0};
    rng_init_seeded(&rng, 11);
    for (unsigned i = 0; i < 12000; i++) {
        uint64_t hash = rng_u64(&rng);
        uint8_t data = backlog_flow_of(hash, false), disco = backlog_flow_of(hash, true);
        assert_true(data < BACKLOG_DATA_FLOWS && disco >= DISCO && disco < BACKLOG_FLOWS);
        counts[data]++;
        counts[disco]++;
    }
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) {
        assert_in_range(counts[i], i < DISCO ? 850 : 2700, i < DISCO ? 1150 : 3300);
    }
    assert_in_range(backlog_flow_of(UINT64_MAX, false), 0, DISCO - 1);
    assert_in_range(backlog_flow_of(UINT64_MAX, true), DISCO, BACKLOG_FLOWS - 1);
}

static void test_disco_does_not_wait_behind_its_sources_data(void **state) {
    (void)state;
    struct source data = {backlog_flow_of(12345, false), 1400, 1500};
    fill(&data, 1);
    (void)pop();
    struct packet *packet = put(backlog_flow_of(12345, true), SMALL);
    assert_ptr_equal(pop(), packet);
}

/* A source that calls all its packets disco has one flow more, and no more than that flow's share. */
static void test_a_disco_flood_has_a_flows_share(void **state) {
    (void)state;
    static const struct source sources[] = {{DISCO + 1, SMALL, 1000}, {0, 1400, 20}, {1, 1400, 20}, {2, LARGE, 20}};
    struct watch watch = {0};
    share(&watch, sources, array_count(sources), 20000);
}

static void test_all_disco_has_the_share_of_its_flows(void **state) {
    (void)state;
    struct source sources[BACKLOG_FLOWS];
    struct watch watch = {0};
    uint64_t disco = 0, all = 0;
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) sources[i] = (struct source){i, i < DISCO ? 1400 : SMALL, 20};
    share(&watch, sources, BACKLOG_FLOWS, 20000);
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) {
        all += watch.bytes[i];
        if (i >= DISCO) disco += watch.bytes[i];
    }
    assert_true(distance(disco * BACKLOG_FLOWS, all * BACKLOG_DISCO_FLOWS) < (uint64_t)1400 * 16 * 16);
}

/* ---- too much ---- */

static void test_drop_takes_the_oldest_of_the_fattest(void **state) {
    (void)state;
    struct packet *of_0 = put(0, 1000);
    struct packet *of_1 = put(1, 600);
    struct packet *also_of_1 = put(1, 300);
    put_many(2, SMALL, 2);
    assert_ptr_equal(drop(), of_1);  // 600 and 300 with their surroundings are more than 1000
    assert_ptr_equal(drop(), of_0);
    assert_int_equal(drop()->flow, 2);  // two of 200 are more than one of 300
    assert_ptr_equal(drop(), also_of_1);
    assert_int_equal(drop()->flow, 2);
    assert_true(backlog_is_empty(&backlog));
    assert_int_equal(backlog.bytes, 0);
    assert_int_equal(backlog.waiting, 0);
}

static void test_excess(void **state) {
    (void)state;
    struct packet *first = put(0, 1000);
    assert_null(backlog_pop_excess(&backlog, 0));  // a single packet stays, however large
    struct packet *second = put(1, 1000);
    size_t bytes = backlog.bytes;
    assert_null(backlog_pop_excess(&backlog, bytes));  // full is not too full
    assert_left(backlog_pop_excess(&backlog, bytes - 1));
    assert_null(backlog_pop_excess(&backlog, 0));
    assert_ptr_equal(free_packets[free_count - 1], first);
    assert_ptr_equal(pop(), second);
}

/* Ten others have little each; a flood pushes a hundred times the bound. All that leaves unserved is the flood's. */
static void test_a_flood_evicts_itself(void **state) {
    (void)state;
    unsigned others = 0;
    for (unsigned i = 0; i < 3000; i++) {
        if (i < 100) (void)put(1 + i % 10, 1400);
        (void)put(0, LARGE);
        for (struct packet *packet; (packet = backlog_pop_excess(&backlog, LIMIT_QUEUE_BYTES_MAX)) != NULL;) {
            assert_left(packet);
            assert_int_equal(packet->flow, 0);
        }
        assert_true(backlog.bytes <= LIMIT_QUEUE_BYTES_MAX);
    }
    while (!backlog_is_empty(&backlog)) others += pop()->flow != 0;
    assert_int_equal(others, 100);
}

/* ---- beside a model ---- */

enum { MODEL_WAITING_MAX = 200 };

/* All that waits in one row by arrival, and the times by the book: nothing is kept that can be counted. */
struct model {
    struct packet *row[COUNT];
    size_t count;
    uint64_t now;
    uint64_t times[BACKLOG_FLOWS];
};

static size_t model_first_of(const struct model *model, unsigned flow) {
    size_t i = 0;
    while (i < model->count && model->row[i]->flow != flow) i++;
    return i;
}

static size_t model_bytes(const struct model *model, unsigned flow) {
    size_t bytes = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->row[i]->flow == flow) bytes += packet_cost(model->row[i]);
    }
    return bytes;
}

static size_t model_bytes_of_all(const struct model *model) {
    size_t bytes = 0;
    for (size_t i = 0; i < model->count; i++) bytes += packet_cost(model->row[i]);
    return bytes;
}

static void model_push(struct model *model, struct packet *packet) {
    uint64_t *time = &model->times[packet->flow];
    if (model_first_of(model, packet->flow) == model->count && *time < model->now) *time = model->now;
    model->row[model->count++] = packet;
}

static struct packet *model_remove(struct model *model, size_t at) {
    struct packet *packet = model->row[at];
    memmove(&model->row[at], &model->row[at + 1], (--model->count - at) * sizeof(model->row[0]));
    if (model->count > 0) return packet;
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) model->times[i] = 0;  // the module does not: it comes to the same
    model->now = 0;
    return packet;
}

static struct packet *model_pop(struct model *model) {
    size_t best = 0;
    if (model->count == 0) return NULL;
    for (size_t i = 1; i < model->count && model_bytes_of_all(model) > LIMIT_FAIR_BYTES; i++) {
        if (model->times[model->row[i]->flow] < model->times[model->row[best]->flow]) best = i;
    }
    uint64_t *time = &model->times[model->row[best]->flow];
    if (*time > model->now) model->now = *time;
    *time = model->now + model->row[best]->size;
    return model_remove(model, best);
}

static struct packet *model_drop(struct model *model) {
    size_t best = 0;
    if (model->count == 0) return NULL;
    for (size_t i = 1; i < model->count; i++) {
        if (model_bytes(model, model->row[i]->flow) > model_bytes(model, model->row[best]->flow)) best = i;
    }
    return model_remove(model, best);
}

static void assert_like(const struct model *model) {
    size_t bytes[BACKLOG_FLOWS] = {0};
    uint32_t waiting = 0;
    for (size_t i = 0; i < model->count; i++) {
        bytes[model->row[i]->flow] += packet_cost(model->row[i]);
        waiting |= 1u << model->row[i]->flow;
    }
    for (unsigned i = 0; i < BACKLOG_FLOWS; i++) {
        assert_int_equal(backlog.flows[i].bytes, bytes[i]);
        assert_int_equal(backlog.flows[i].head == NULL, bytes[i] == 0);
        assert_int_equal(backlog.flows[i].tail == NULL, bytes[i] == 0);
    }
    assert_int_equal(backlog.bytes, model_bytes_of_all(model));
    assert_int_equal(backlog.count, model->count);
    assert_int_equal(backlog.waiting, waiting);
    assert_int_equal(backlog_is_empty(&backlog), model->count == 0);
}

static uint32_t random_size(struct rng *rng) {
    static const uint32_t sizes_max[] = {100, 300, 1500, 1500, 20000, LARGE};
    return 40 + (uint32_t)rng_below(rng, sizes_max[rng_below(rng, array_count(sizes_max))] - 39);
}

static struct packet *leave_both(struct model *model, uint64_t chance) {
    if (chance == 0) {
        struct packet *packet = backlog_drop(&backlog);
        assert_ptr_equal(packet, model_drop(model));
        return packet;
    }
    if (chance == 1) {
        bool is_excess = model_bytes_of_all(model) > 100000 && model->count > 1;
        struct packet *packet = backlog_pop_excess(&backlog, 100000);
        assert_ptr_equal(packet, is_excess ? model_drop(model) : NULL);
        return packet;
    }
    struct packet *next = backlog_next(&backlog);
    struct packet *packet = backlog_pop(&backlog);
    assert_ptr_equal(packet, next);
    assert_ptr_equal(packet, model_pop(model));
    return packet;
}

/* Phases that fill, that drain, and that hover about the threshold; few flows in some, all in others. */
static void compare(uint64_t seed) {
    static struct model model;
    struct rng rng;
    uint64_t pushed = 0, left = 0;
    set_up(NULL);
    model = (struct model){0};
    rng_init_seeded(&rng, seed);
    backlog.arrivals = (uint32_t)(0 - rng_below(&rng, 5000));
    for (int i = 0; i < 20000; i++) {
        int phase = i / 500 % 4;
        uint64_t flows = i / 2000 % 2 == 0 ? 3 : BACKLOG_FLOWS;
        bool hovers = phase >= 2;
        uint64_t growth = hovers ? (backlog.bytes < LIMIT_FAIR_BYTES ? 60 : 40) : (phase == 0 ? 65 : 35);
        if (rng_below(&rng, 100) < growth && model.count < MODEL_WAITING_MAX) {
            unsigned flow = (unsigned)rng_below(&rng, flows);
            model_push(&model, put(flow, hovers ? 100 + (uint32_t)rng_below(&rng, 1400) : random_size(&rng)));
            pushed++;
        } else {
            struct packet *packet = leave_both(&model, rng_below(&rng, 20));
            if (packet != NULL) assert_left(packet);
            left += packet != NULL;
        }
        assert_like(&model);
    }
    while (!backlog_is_empty(&backlog)) {
        assert_left(leave_both(&model, 2));
        left++;
    }
    assert_int_equal(left, pushed);
    assert_int_equal(free_count, COUNT);
}

static void test_random_traffic(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) compare(seed);
}

/* Each packet that was pushed leaves once, and those of one flow in the order in which they came. */
static void test_all_leave_once_and_in_order_within_a_flow(void **state) {
    (void)state;
    struct rng rng;
    uint64_t in[BACKLOG_FLOWS] = {0}, out[BACKLOG_FLOWS] = {0};
    rng_init_seeded(&rng, 5);
    for (unsigned i = 0; i < 60000; i++) {
        bool is_growing = i / 1500 % 2 == 0;
        if (free_count > 0 && rng_below(&rng, 100) < (is_growing ? 70 : 20)) {
            unsigned flow = (unsigned)rng_below(&rng, BACKLOG_FLOWS);
            put(flow, random_size(&rng))->enqueued_ns = ++in[flow];
        } else if (!backlog_is_empty(&backlog)) {
            struct packet *packet = rng_below(&rng, 10) == 0 ? drop() : pop();
            assert_int_equal(packet->enqueued_ns, ++out[packet->flow]);
        }
    }
    while (!backlog_is_empty(&backlog)) {
        struct packet *packet = pop();
        assert_int_equal(packet->enqueued_ns, ++out[packet->flow]);
    }
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(free_count, COUNT);
}

/* ---- misuse ---- */

static void test_a_flow_that_is_none_is_a_crash(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        (void)close(STDERR_FILENO);
        (void)put(BACKLOG_FLOWS, SMALL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* What waits longest may be in any flow. */
static void test_what_is_older_than(void **state) {
    (void)state;
    static const uint8_t flows[] = {5, 2, 2, 9, 5};
    assert_null(backlog_pop_older(&backlog, UINT64_MAX));
    for (unsigned i = 0; i < array_count(flows); i++) put(flows[i], SMALL)->enqueued_ns = 10ull * i;
    for (unsigned i = 0; i < array_count(flows); i++) {
        assert_false(backlog_holds_before(&backlog, UINT32_MAX, i));
        assert_true(backlog_holds_before(&backlog, UINT32_MAX, i + 1));
        assert_true(backlog_holds_before(&backlog, 1u << flows[i], i + 1));
        assert_false(backlog_holds_before(&backlog, ~(1u << flows[i]), i + 1));
        assert_null(backlog_pop_older(&backlog, 10ull * i));
        struct packet *packet = backlog_pop_older(&backlog, 10ull * i + 1);
        assert_left(packet);
        assert_int_equal(packet->enqueued_ns, 10ull * i);
    }
    assert_int_equal(backlog.count + backlog.bytes + backlog.frame_bytes + backlog.waiting, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_empty_backlog_has_nothing, set_up),
        cmocka_unit_test_setup(test_little_is_first_in_first_out_over_all_flows, set_up),
        cmocka_unit_test_setup(test_the_threshold, set_up),
        cmocka_unit_test_setup(test_what_is_older_than, set_up),
        cmocka_unit_test_setup(test_one_flow_is_one_queue_however_much_it_is, set_up),
        cmocka_unit_test_setup(test_arrivals_wrap, set_up),
        cmocka_unit_test_setup(test_two_equal_floods_share, set_up),
        cmocka_unit_test_setup(test_shares_are_in_bytes, set_up),
        cmocka_unit_test_setup(test_all_flows_share, set_up),
        cmocka_unit_test_setup(test_a_light_source_passes_a_flood_at_once, set_up),
        cmocka_unit_test_setup(test_a_burst_passes_a_flood, set_up),
        cmocka_unit_test_setup(test_idle_time_is_no_credit, set_up),
        cmocka_unit_test_setup(test_time_alone_is_no_penalty, set_up),
        cmocka_unit_test_setup(test_an_emptied_backlog_is_new, set_up),
        cmocka_unit_test_setup(test_first_in_first_out_leaves_no_debt, set_up),
        cmocka_unit_test_setup(test_flows_of_sources, set_up),
        cmocka_unit_test_setup(test_disco_does_not_wait_behind_its_sources_data, set_up),
        cmocka_unit_test_setup(test_a_disco_flood_has_a_flows_share, set_up),
        cmocka_unit_test_setup(test_all_disco_has_the_share_of_its_flows, set_up),
        cmocka_unit_test_setup(test_drop_takes_the_oldest_of_the_fattest, set_up),
        cmocka_unit_test_setup(test_excess, set_up),
        cmocka_unit_test_setup(test_a_flood_evicts_itself, set_up),
        cmocka_unit_test(test_random_traffic),
        cmocka_unit_test_setup(test_all_leave_once_and_in_order_within_a_flow, set_up),
        cmocka_unit_test_setup(test_a_flow_that_is_none_is_a_crash, set_up),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
