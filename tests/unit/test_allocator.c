/* test_allocator.c - who gets an endpoint: rates, quotas, keys, addresses, and what is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/sys.h"
#include "relay/allocator.h"

#define T0 (1000 * NS_PER_S)

struct bed {
    struct arena arena;
    struct rng rng;
    struct allocator *allocator;
    struct metrics *metrics;
};

static const struct net_address somewhere = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, .port = 7777};

static void bed_make(struct bed *bed, uint32_t endpoints_max) {
    struct allocator_options options = {.endpoints_max = endpoints_max};
    rng_init_seeded(&bed->rng, 1);
    assert_int_equal(arena_init(&bed->arena, allocator_footprint(&options)), 0);
    bed->allocator = allocator_make(&bed->arena, &options, &bed->rng, T0);
    bed->metrics = calloc(1, sizeof(*bed->metrics));
    allocator_set_addresses(bed->allocator, &somewhere, 1);
    assert_int_equal(bed->arena.used, allocator_footprint(&options));
}

static void bed_end(struct bed *bed) {
    allocator_fini(bed->allocator);
    arena_fini(&bed->arena);
    free(bed->metrics);
}

/* A real key: the nth. */
static struct disco_key key_of(uint32_t n) {
    struct disco_private private = {{8, (uint8_t)n, (uint8_t)(n >> 8), 1}};  // what clamping leaves alone
    struct disco_key key;
    disco_private_public(&private, &key);
    return key;
}

static struct allocator_request request_of(const char *requester, uint32_t a, uint32_t b) {
    return (struct allocator_request){
        .requester = requester, .requester_size = requester ? strlen(requester) : 0, .clients = {key_of(a), key_of(b)}};
}

static void refused(struct bed *bed, const struct allocator_request *request, uint64_t now_ns,
                    enum udp_refuse_reason reason) {
    struct allocator_answer answer;
    uint64_t before = stat_get(&bed->metrics->udp_refusals[reason]);
    assert_false(allocator_allocate(bed->allocator, request, bed->metrics, now_ns, &answer));
    assert_string_equal(udp_refuse_reason_label(answer.reason), udp_refuse_reason_label(reason));
    assert_int_equal(stat_get(&bed->metrics->udp_refusals[reason]), before + 1);
}

static uint32_t granted(struct bed *bed, const struct allocator_request *request, uint64_t now_ns) {
    struct allocator_answer answer;
    assert_true(allocator_allocate(bed->allocator, request, bed->metrics, now_ns, &answer));
    return answer.offer.vni;
}

static void test_an_answer_says_everything(void **state) {
    (void)state;
    struct bed bed;
    struct allocator_answer answer;
    bed_make(&bed, 16);
    struct allocator_request request = request_of(NULL, 1, 2);
    assert_true(allocator_allocate(bed.allocator, &request, bed.metrics, T0, &answer));
    struct disco_key server = allocator_server(bed.allocator);
    assert_memory_equal(&answer.server, &server, sizeof(server));
    assert_false(disco_key_is_zero(&server));
    assert_int_equal(answer.addresses_count, 1);
    assert_memory_equal(&answer.addresses[0], &somewhere, sizeof(somewhere));
    assert_int_equal(answer.offer.bind_lifetime_ns, 30 * NS_PER_S);
    assert_int_equal(answer.offer.steady_lifetime_ns, 300 * NS_PER_S);
    assert_int_equal(answer.offer.lamport, 1);
    assert_true(memcmp(&answer.offer.clients[0], &answer.offer.clients[1], KEY_SIZE) < 0);
    assert_int_equal(vni_state(allocator_endpoints(bed.allocator), answer.offer.vni), VNI_CONNECTING);
    struct allocator_request turned = request_of("another", 2, 1);
    assert_int_equal(granted(&bed, &turned, T0), answer.offer.vni);
    assert_int_equal(stat_get(&bed.metrics->udp_allocations[0]), 1);
    assert_int_equal(stat_get(&bed.metrics->udp_allocations[1]), 1);
    bed_end(&bed);
}

/* What a worker needs to talk to the client is the box key of client and relay. */
static void test_shared_keys_are_those_of_the_boxes(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    for (uint32_t i = 0; i < 2; i++) {
        struct allocator_request request = request_of(NULL, 1 + i, 2 - i);
        uint32_t vni = granted(&bed, &request, T0);
        struct disco_private private = {{8, 1, 0, 1}};
        struct disco_key server = allocator_server(bed.allocator), client = key_of(1);
        struct box_key shared;
        struct vni_sender sender;
        assert_true(disco_key_share(&shared, &server, &private));
        assert_true(vni_sender(allocator_endpoints(bed.allocator), vni, &client, &sender));
        assert_memory_equal(sender.shared_key, &shared, sizeof(shared));
    }
    bed_end(&bed);
}

static void test_bad_keys_are_refused(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct allocator_request zero = request_of(NULL, 1, 2), own = zero, equal = request_of(NULL, 3, 3), weak = zero;
    zero.clients[1] = (struct disco_key){{0}};
    own.clients[0] = allocator_server(bed.allocator);
    weak.clients[0] = (struct disco_key){{1}};
    refused(&bed, &zero, T0, UDP_REFUSE_ZERO_KEY);
    refused(&bed, &own, T0, UDP_REFUSE_SERVER_KEY);
    refused(&bed, &equal, T0, UDP_REFUSE_EQUAL_KEYS);
    refused(&bed, &weak, T0, UDP_REFUSE_WEAK_KEY);
    struct allocator_figures figures;
    allocator_figures_read(bed.allocator, &figures);
    assert_int_equal(figures.endpoints, 0);
    bed_end(&bed);
}

static void test_without_addresses_it_is_not_ready(void **state) {
    (void)state;
    struct bed bed;
    struct allocator_answer answer;
    bed_make(&bed, 16);
    allocator_set_addresses(bed.allocator, NULL, 0);
    struct allocator_request request = request_of(NULL, 1, 2);
    assert_false(allocator_allocate(bed.allocator, &request, bed.metrics, T0, &answer));
    assert_int_equal(answer.reason, UDP_REFUSE_NOT_READY);
    assert_int_equal(answer.retry_after_s, 3);
    struct net_address two[2] = {somewhere, somewhere}, copy[ALLOCATOR_ADDRESSES_MAX];
    two[1].port = 8888;
    allocator_set_addresses(bed.allocator, two, 2);
    (void)granted(&bed, &request, T0);
    assert_int_equal(allocator_addresses(bed.allocator, copy), 2);
    assert_memory_equal(copy, two, sizeof(two));
    allocator_close(bed.allocator);
    assert_false(allocator_allocate(bed.allocator, &request, bed.metrics, T0, &answer));
    assert_int_equal(answer.reason, UDP_REFUSE_CLOSED);
    assert_int_equal(answer.retry_after_s, 0);
    bed_end(&bed);
}

static void test_a_requester_has_a_rate(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct allocator_request request = request_of("a", 1, 2), other = request_of("b", 1, 2), trusted = other;
    request.limits = other.limits = (struct allocator_limits){.requests_per_s = 2, .burst = 3};
    trusted.requester = NULL;
    for (int i = 0; i < 3; i++) (void)granted(&bed, &request, T0);
    refused(&bed, &request, T0, UDP_REFUSE_RATE);
    (void)granted(&bed, &other, T0);
    for (int i = 0; i < 10; i++) (void)granted(&bed, &trusted, T0);
    refused(&bed, &request, T0 + 499 * NS_PER_MS, UDP_REFUSE_RATE);
    (void)granted(&bed, &request, T0 + 500 * NS_PER_MS);
    refused(&bed, &request, T0 + 500 * NS_PER_MS, UDP_REFUSE_RATE);
    for (int i = 0; i < 3; i++) (void)granted(&bed, &request, T0 + 100 * NS_PER_S);
    refused(&bed, &request, T0 + 100 * NS_PER_S, UDP_REFUSE_RATE);
    bed_end(&bed);
}

static void test_a_refused_request_costs_a_token_too(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct allocator_request request = request_of("a", 3, 3);
    request.limits = (struct allocator_limits){.requests_per_s = 1, .burst = 2};
    refused(&bed, &request, T0, UDP_REFUSE_EQUAL_KEYS);
    refused(&bed, &request, T0, UDP_REFUSE_EQUAL_KEYS);
    refused(&bed, &request, T0, UDP_REFUSE_RATE);
    bed_end(&bed);
}

static void test_a_requester_has_a_quota(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct allocator_limits limits = {.endpoints_max = 2};
    struct allocator_request requests[4];
    for (uint32_t i = 0; i < 4; i++) {
        requests[i] = request_of(i < 3 ? "a" : "b", 1, 2 + i);
        requests[i].limits = limits;
    }
    (void)granted(&bed, &requests[0], T0);
    (void)granted(&bed, &requests[1], T0);
    refused(&bed, &requests[2], T0, UDP_REFUSE_QUOTA);
    (void)granted(&bed, &requests[0], T0);  // what is there is no new one
    uint32_t vni = granted(&bed, &requests[3], T0);
    assert_true(allocator_release(bed.allocator, vni, bed.metrics));
    assert_false(allocator_release(bed.allocator, vni, bed.metrics));
    refused(&bed, &requests[2], T0, UDP_REFUSE_QUOTA);  // it was another's
    assert_true(allocator_step(bed.allocator, bed.metrics, T0 + 36 * NS_PER_S) > T0 + 36 * NS_PER_S);
    assert_int_equal(stat_get(&bed.metrics->udp_endpoints_ended[0]), 3);
    (void)granted(&bed, &requests[2], T0 + 36 * NS_PER_S);
    (void)granted(&bed, &requests[1], T0 + 36 * NS_PER_S);
    refused(&bed, &requests[0], T0 + 36 * NS_PER_S, UDP_REFUSE_QUOTA);
    bed_end(&bed);
}

/* Strangers are not let in; should a thousand keys of one organisation ask at once, those who hold endpoints are kept
 * and those who are idle make room. */
static void test_idle_requesters_are_forgotten(void **state) {
    (void)state;
    struct bed bed;
    struct allocator_answer answer;
    bed_make(&bed, 16);
    struct allocator_request holder = request_of("holder", 1, 2);
    holder.limits = (struct allocator_limits){.requests_per_s = 1, .burst = 1, .endpoints_max = 1};
    (void)granted(&bed, &holder, T0);
    uint32_t full = 0;
    for (uint32_t i = 0; i < 4 * ALLOCATOR_REQUESTERS; i++) {
        struct allocator_request request = request_of(NULL, 1, 2);
        request.requester = &i;
        request.requester_size = sizeof(i);
        request.limits = holder.limits;
        bool is_fine = allocator_allocate(bed.allocator, &request, bed.metrics, T0, &answer);
        full += !is_fine && answer.reason == UDP_REFUSE_REQUESTERS_FULL;
    }
    assert_true(full > 2 * ALLOCATOR_REQUESTERS);  // all have an empty bucket, so none is forgotten
    uint32_t late = 0;
    struct allocator_request request = request_of(NULL, 1, 2);
    request.requester = &late;
    request.requester_size = sizeof(late);
    request.limits = holder.limits;
    for (late = 1000000; late < 1000100; late++) (void)granted(&bed, &request, T0 + 2 * NS_PER_S);
    struct allocator_request second = request_of("holder", 1, 3);
    second.limits = holder.limits;
    refused(&bed, &second, T0 + 3 * NS_PER_S, UDP_REFUSE_QUOTA);
    struct allocator_figures figures;
    allocator_figures_read(bed.allocator, &figures);
    assert_int_equal(figures.requesters, 1);
    bed_end(&bed);
}

static void test_clocks_of_threads_may_differ(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, 16);
    struct allocator_request request = request_of("a", 1, 2);
    request.limits = (struct allocator_limits){.requests_per_s = 1, .burst = 1};
    (void)granted(&bed, &request, T0 + 10 * NS_PER_S);
    refused(&bed, &request, T0, UDP_REFUSE_RATE);
    assert_true(allocator_step(bed.allocator, bed.metrics, T0) > T0);
    (void)granted(&bed, &request, T0 + 11 * NS_PER_S);
    bed_end(&bed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_says_everything),    cmocka_unit_test(test_shared_keys_are_those_of_the_boxes),
        cmocka_unit_test(test_bad_keys_are_refused),         cmocka_unit_test(test_without_addresses_it_is_not_ready),
        cmocka_unit_test(test_a_requester_has_a_rate),       cmocka_unit_test(test_a_refused_request_costs_a_token_too),
        cmocka_unit_test(test_a_requester_has_a_quota),      cmocka_unit_test(test_idle_requesters_are_forgotten),
        cmocka_unit_test(test_clocks_of_threads_may_differ),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
