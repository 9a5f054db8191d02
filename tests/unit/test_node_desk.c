/* test_node_desk.c - requests over DERP: a packet in, an answer out, or silence and a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/sys.h"
#include "relay/node_desk.h"

#define T0 (1000 * NS_PER_S)

enum { ENDPOINTS = 64 };

struct bed {
    struct arena arena;
    struct rng rng, theirs;
    struct allocator *allocator;
    struct metrics *metrics;
    struct node_desk desk;
    uint8_t answer[NODE_DESK_ANSWER_MAX];
};

/* One who may ask. */
struct client {
    struct node_key node;
    struct disco_private disco_private;
    struct disco_key disco;
};

static const struct net_address addresses[] = {
    {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, .port = 7777},
    {.ip = {0x20, 1, 0xd, 0xb8, [15] = 9}, .port = 41641},
};

static struct client client_of(uint8_t n) {
    struct client c = {.node = {{n, 1, 2}}, .disco_private = {{8, n, 7, 1}}};
    disco_private_public(&c.disco_private, &c.disco);
    return c;
}

/* Clients 1 to `count` may ask. */
static struct allowlist *list_of(uint32_t count) {
    struct allowlist *list = calloc(1, sizeof(*list) + count * sizeof(*list->all));
    assert_non_null(list);
    list->count = count;
    for (uint32_t i = 0; i < count; i++) list->all[i].key = client_of((uint8_t)(i + 1)).node;
    return list;
}

static void bed_make(struct bed *bed, struct allocator_limits limits) {
    struct allocator_options options = {.endpoints_max = ENDPOINTS};
    struct node_desk_options desk = {.limits = limits, .allowed = list_of(3)};
    rng_init_seeded(&bed->rng, 1);
    rng_init_seeded(&bed->theirs, 2);
    nodekeys_generate(&bed->rng, &desk.keys);
    assert_int_equal(arena_init(&bed->arena, allocator_footprint(&options)), 0);
    bed->allocator = allocator_make(&bed->arena, &options, &bed->rng, T0);
    bed->metrics = calloc(1, sizeof(*bed->metrics));
    assert_non_null(bed->metrics);
    allocator_set_addresses(bed->allocator, addresses, array_count(addresses));
    node_desk_init(&bed->desk, &desk, bed->allocator, bed->metrics, &bed->rng);
}

static void bed_end(struct bed *bed) {
    static const struct nodekeys none;
    static const struct node_desk_key no_key;
    node_desk_fini(&bed->desk);
    assert_memory_equal(&bed->desk.options.keys, &none, sizeof(none));
    for (size_t i = 0; i < NODE_DESK_KEYS; i++) assert_memory_equal(&bed->desk.shared_keys[i], &no_key, sizeof(no_key));
    allocator_fini(bed->allocator);
    arena_fini(&bed->arena);
    free(bed->metrics);
}

/* ---- what is sent ---- */

static struct box_key shared_of(const struct bed *bed, const struct client *c) {
    struct box_key shared;
    assert_true(disco_key_share(&shared, &bed->desk.options.keys.disco, &c->disco_private));
    return shared;
}

static size_t seal(struct bed *bed, const struct client *c, const uint8_t *plain, size_t size, uint8_t *to) {
    struct box_key shared = shared_of(bed, c);
    struct writer w = writer_of(to, NODE_DESK_REQUEST_MAX + 64);
    disco_envelope_seal(&w, &c->disco, &shared, &bed->theirs, plain, size);
    assert_true(writer_ok(&w));
    return (size_t)(w.at - to);
}

static size_t request(struct bed *bed, const struct client *c, const struct disco_key *peer, uint32_t generation,
                      uint8_t *to) {
    uint8_t plain[DISCO_REQUEST_SIZE];
    struct writer w = writer_of(plain, sizeof(plain));
    disco_request_write(&w, &(struct disco_request){.clients = {*peer, c->disco}, .generation = generation});
    return seal(bed, c, plain, sizeof(plain), to);
}

static size_t give(struct bed *bed, const struct client *c, const uint8_t *data, size_t size, uint64_t now_ns) {
    return node_desk_answer(&bed->desk, &c->node, data, size, now_ns, bed->answer);
}

static size_t ask(struct bed *bed, const struct client *c, uint8_t peer, uint64_t now_ns) {
    uint8_t data[NODE_DESK_REQUEST_MAX + 64];
    struct disco_key key = client_of(peer).disco;
    return give(bed, c, data, request(bed, c, &key, 5, data), now_ns);
}

#define assert_refused(bed, reason, gave)                                              \
    do {                                                                               \
        uint64_t before = stat_get(&(bed)->metrics->udp_refusals[reason]);             \
        assert_int_equal(gave, 0);                                                     \
        assert_int_equal(stat_get(&(bed)->metrics->udp_refusals[reason]), before + 1); \
    } while (0)

#define assert_ignored(bed, gave)                                                  \
    do {                                                                           \
        uint64_t before = stat_get(&(bed)->metrics->udp_node_ignored);             \
        assert_int_equal(gave, 0);                                                 \
        assert_int_equal(stat_get(&(bed)->metrics->udp_node_ignored), before + 1); \
    } while (0)

/* ---- tests ---- */

static void test_an_answer(void **state) {
    (void)state;
    struct bed bed;
    uint8_t data[NODE_DESK_REQUEST_MAX + 64], kept[sizeof(data)];
    bed_make(&bed, (struct allocator_limits){0});
    struct client c = client_of(1), peer = client_of(200);
    size_t size = request(&bed, &c, &peer.disco, 0x01020304, data);
    assert_int_equal(size, 148);
    memcpy(kept, data, size);
    for (int i = 0; i < 2; i++) {  // the second one with a shared key that is known
        size_t answer_size = give(&bed, &c, data, size, T0), plain_size;
        assert_memory_equal(data, kept, size);
        assert_int_equal(answer_size, 208 + 18 * array_count(addresses));
        const struct disco_key *sender = disco_envelope_sender(bed.answer, answer_size);
        assert_true(disco_key_equal(sender, &bed.desk.options.keys.disco));
        struct box_key shared = shared_of(&bed, &c);
        struct disco_message m;
        const uint8_t *plain = disco_envelope_open(&shared, bed.answer, answer_size, &plain_size);
        assert_non_null(plain);
        assert_int_equal(disco_message_parse(plain, plain_size, &m), DISCO_OK);
        assert_int_equal(m.type, DISCO_ALLOCATE_RESPONSE);
        assert_int_equal(m.response.generation, 0x01020304);
        struct disco_key server = allocator_server(bed.allocator);
        struct disco_pair pair = disco_pair_of(&c.disco, &peer.disco);
        assert_true(disco_key_equal(&m.response.endpoint.server, &server));
        assert_memory_equal(m.response.endpoint.clients, pair.keys, sizeof(pair.keys));
        assert_int_equal(m.response.endpoint.lamport, 1);
        assert_in_range(m.response.endpoint.vni, 1, 0xffffff);
        assert_int_equal(m.response.endpoint.bind_lifetime_ns, 30 * NS_PER_S);
        assert_int_equal(m.response.endpoint.address_count, array_count(addresses));
        struct net_address last = disco_address_read(m.response.endpoint.addresses + DISCO_ADDRESS_SIZE);
        assert_memory_equal(&last, &addresses[1], sizeof(last));
    }
    bed_end(&bed);
}

/* The longest answer there can be. */
static void test_as_many_addresses_as_may_be(void **state) {
    (void)state;
    struct bed bed;
    struct net_address all[ALLOCATOR_ADDRESSES_MAX];
    bed_make(&bed, (struct allocator_limits){0});
    struct client c = client_of(1);
    for (size_t i = 0; i < array_count(all); i++) all[i] = addresses[i % 2];
    allocator_set_addresses(bed.allocator, all, array_count(all));
    assert_int_equal(ask(&bed, &c, 200, T0), NODE_DESK_ANSWER_MAX);
    allocator_set_addresses(bed.allocator, all, 0);
    assert_refused(&bed, UDP_REFUSE_NOT_READY, ask(&bed, &c, 200, T0));
    bed_end(&bed);
}

static void test_who_may_not(void **state) {
    (void)state;
    struct bed bed;
    uint8_t data[NODE_DESK_REQUEST_MAX + 64];
    bed_make(&bed, (struct allocator_limits){0});
    struct client c = client_of(1), stranger = client_of(9), masked = client_of(9), peer = client_of(200);
    masked.disco = c.disco;
    assert_refused(&bed, UDP_REFUSE_NOT_ALLOWED, ask(&bed, &stranger, 200, T0));
    size_t size = request(&bed, &c, &peer.disco, 1, data);
    assert_refused(&bed, UDP_REFUSE_NOT_ALLOWED, give(&bed, &stranger, data, size, T0));
    assert_refused(&bed, UDP_REFUSE_BAD_REQUEST, (masked.node = c.node, ask(&bed, &masked, 200, T0)));
    masked = stranger;
    masked.node = c.node;  // an allowed node key with another disco key: his business
    assert_true(ask(&bed, &masked, 200, T0) > 0);
    uint8_t plain[DISCO_REQUEST_SIZE];
    struct writer w = writer_of(plain, sizeof(plain));
    disco_request_write(&w, &(struct disco_request){.clients = {peer.disco, stranger.disco}});
    size = seal(&bed, &c, plain, sizeof(plain), data);
    assert_refused(&bed, UDP_REFUSE_NOT_A_CLIENT, give(&bed, &c, data, size, T0));
    assert_refused(&bed, UDP_REFUSE_EQUAL_KEYS, ask(&bed, &c, 1, T0));
    bed_end(&bed);
}

static void test_what_is_wrong_inside(void **state) {
    (void)state;
    struct bed bed;
    uint8_t data[NODE_DESK_REQUEST_MAX + 64], plain[400] = {DISCO_ALLOCATE_REQUEST, 1};
    bed_make(&bed, (struct allocator_limits){0});
    struct client c = client_of(2), peer = client_of(200);
    assert_refused(&bed, UDP_REFUSE_BAD_REQUEST, give(&bed, &c, data, seal(&bed, &c, plain, 70, data), T0));
    plain[0] = 0x0a;  // a type that nobody knows
    assert_refused(&bed, UDP_REFUSE_BAD_REQUEST, give(&bed, &c, data, seal(&bed, &c, plain, 70, data), T0));
    size_t size = request(&bed, &c, &peer.disco, 1, data);
    for (size_t at = DISCO_MAGIC_SIZE; at < size; at += 7) {
        data[at] ^= 0x10;
        assert_refused(&bed, UDP_REFUSE_BAD_REQUEST, give(&bed, &c, data, size, T0));
        data[at] ^= 0x10;
    }
    memset(data + DISCO_MAGIC_SIZE, 0, KEY_SIZE);  // a key of low order
    assert_refused(&bed, UDP_REFUSE_BAD_REQUEST, give(&bed, &c, data, size, T0));
    assert_true(ask(&bed, &c, 200, T0) > 0);  // none of these keys was remembered for his
    bed_end(&bed);
}

/* What peers say to peers is neither answered nor a refusal; what is too short or long is not even opened. */
static void test_what_is_not_for_us(void **state) {
    (void)state;
    struct bed bed;
    uint8_t data[NODE_DESK_REQUEST_MAX + 64] = {0}, plain[NODE_DESK_REQUEST_MAX] = {DISCO_PING, 0};
    bed_make(&bed, (struct allocator_limits){0});
    struct client c = client_of(2), stranger = client_of(9), peer = client_of(200);
    for (size_t size = 0; size < sizeof(data); size++) assert_ignored(&bed, give(&bed, &stranger, data, size, T0));
    for (uint8_t type = DISCO_PING; type <= DISCO_ALLOCATE_RESPONSE; type++) {
        plain[0] = type;
        size_t plain_size = type == DISCO_CALL_ME_MAYBE_VIA ? DISCO_VIA_SIZE(1) : DISCO_RESPONSE_SIZE(1);
        if (type == DISCO_ALLOCATE_REQUEST) continue;
        assert_ignored(&bed, give(&bed, &c, data, seal(&bed, &c, plain, plain_size, data), T0));
    }
    size_t size = request(&bed, &c, &peer.disco, 1, data);
    for (size_t less = 0; less < size; less++) assert_ignored(&bed, give(&bed, &c, data, less, T0));
    /* Bytes behind a request are not looked at, up to a length. */
    struct writer w = writer_of(plain, DISCO_REQUEST_SIZE);
    disco_request_write(&w, &(struct disco_request){.clients = {peer.disco, c.disco}});
    size = seal(&bed, &c, plain, NODE_DESK_REQUEST_MAX - DISCO_OVERHEAD, data);
    assert_true(give(&bed, &c, data, size, T0) > 0);
    size = seal(&bed, &c, plain, NODE_DESK_REQUEST_MAX - DISCO_OVERHEAD + 1, data);
    assert_ignored(&bed, give(&bed, &c, data, size, T0));
    bed_end(&bed);
}

/* Boxes are opened at the rate and no faster, whatever is in them; others have their own. */
static void test_rate(void **state) {
    (void)state;
    struct bed bed;
    uint8_t data[NODE_DESK_REQUEST_MAX + 64], plain[400] = {0xff};
    bed_make(&bed, (struct allocator_limits){.requests_per_s = 20, .burst = 100});
    struct client c = client_of(1), other = client_of(3);
    size_t size = seal(&bed, &c, plain, 200, data);
    for (int i = 0; i < 100; i++) assert_refused(&bed, UDP_REFUSE_BAD_REQUEST, give(&bed, &c, data, size, T0));
    for (int i = 0; i < 100; i++) assert_refused(&bed, UDP_REFUSE_RATE, give(&bed, &c, data, size, T0));
    assert_true(ask(&bed, &other, 200, T0) > 0);
    uint64_t now_ns = T0 + NS_PER_S / 20 - 1;
    assert_refused(&bed, UDP_REFUSE_RATE, ask(&bed, &c, 200, now_ns));
    assert_true(ask(&bed, &c, 200, now_ns + 1) > 0);
    assert_refused(&bed, UDP_REFUSE_RATE, ask(&bed, &c, 200, now_ns + 1));
    now_ns += 3600 * NS_PER_S;  // a full bucket again, and no more than that
    for (int i = 0; i < 100; i++) assert_true(ask(&bed, &c, 200, now_ns) > 0);
    assert_refused(&bed, UDP_REFUSE_RATE, ask(&bed, &c, 200, now_ns));
    bed_end(&bed);
}

static void test_quota(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, (struct allocator_limits){.endpoints_max = 2});
    struct client c = client_of(1);
    assert_true(ask(&bed, &c, 100, T0) > 0);
    assert_true(ask(&bed, &c, 101, T0) > 0);
    assert_refused(&bed, UDP_REFUSE_QUOTA, ask(&bed, &c, 102, T0));
    assert_true(ask(&bed, &c, 100, T0) > 0);
    bed_end(&bed);
}

static void test_another_list(void **state) {
    (void)state;
    struct bed bed;
    bed_make(&bed, (struct allocator_limits){.requests_per_s = 1, .burst = 1});
    struct client first = client_of(1), third = client_of(3);
    assert_true(ask(&bed, &first, 200, T0) > 0);
    assert_true(ask(&bed, &third, 201, T0) > 0);
    node_desk_set_allowed(&bed.desk, list_of(1));
    assert_refused(&bed, UDP_REFUSE_NOT_ALLOWED, ask(&bed, &third, 201, T0 + NS_PER_S));
    assert_true(ask(&bed, &first, 200, T0 + NS_PER_S) > 0);
    node_desk_set_allowed(&bed.desk, NULL);
    assert_refused(&bed, UDP_REFUSE_NOT_ALLOWED, ask(&bed, &first, 200, T0 + 2 * NS_PER_S));
    bed_end(&bed);
}

/* Rates at the ends of what the flag takes. */
static void test_extreme_rates(void **state) {
    (void)state;
    const double rates[] = {0.001, 1e6};
    for (size_t i = 0; i < array_count(rates); i++) {
        struct bed bed;
        bed_make(&bed, (struct allocator_limits){.requests_per_s = rates[i], .burst = max_of(rates[i] * 5, 1.0)});
        struct client c = client_of(1);
        assert_true(ask(&bed, &c, 200, T0) > 0);
        if (i == 0) assert_refused(&bed, UDP_REFUSE_RATE, ask(&bed, &c, 200, T0 + 999 * NS_PER_S));
        assert_true(ask(&bed, &c, 200, T0 + 1000 * NS_PER_S) > 0);
        bed_end(&bed);
    }
}

static int set_up(void **state) {
    (void)state;
    log_set_level(LOG_WARNING);
    return sys_init();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_as_many_addresses_as_may_be),
        cmocka_unit_test(test_who_may_not),
        cmocka_unit_test(test_what_is_wrong_inside),
        cmocka_unit_test(test_what_is_not_for_us),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_another_list),
        cmocka_unit_test(test_extreme_rates),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
