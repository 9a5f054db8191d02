/* test_stun_server.c - the part that answers STUN, step by step on a real ring and the loopback. */
#include "test_ring_bed.h"

#include "core/arena.h"
#include "core/lane.h"
#include "proto/stun.h"
#include "relay/stun_server.h"

struct house {
    struct ring *ring, *office_ring;
    struct arena arena;
    struct lane from_main;
    void *storage;
    struct metrics metrics;
    struct stun_server server;
    struct net_address address;
    int client;
};

static struct house house;  // large

static void house_open(bool is_on, unsigned features) {
    memset(&house, 0, sizeof(house));
    house.ring = bed_ring_open(features, 64, 1024, LIMIT_STUN_BUFFERS, LIMIT_STUN_BUFFER_SIZE);
    house.office_ring = bed_ring_open(features, 8, 16, 0, 0);
    assert_int_equal(ring_enable(house.ring), 0);
    assert_int_equal(arena_init(&house.arena, stun_server_footprint()), 0);
    house.storage = aligned_alloc(CACHE_LINE_SIZE, round_up(lane_storage_size(4, sizeof(struct mail)), 64));
    lane_init(&house.from_main, house.storage, 4, sizeof(struct mail));
    struct stun_options options = {.is_on = is_on};
    struct stun_links links = {.from_main = &house.from_main, .office_ring = house.office_ring};
    if (is_on) {
        struct listen_address where;
        char why[SYS_WHY_MAX];
        assert_true(listen_address_parse("127.0.0.1:0", &where, why));
        assert_int_equal(sys_listen_udp(&where, 1 << 20, &options.fd, &house.address, why), 0);
        house.client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_storage name;
        socklen_t size = net_address_to_kernel(&house.address, AF_INET, &name);
        assert_int_equal(connect(house.client, (struct sockaddr *)&name, size), 0);
    }
    stun_server_init(&house.server, &house.arena, &options, &links, house.ring, &house.metrics, 5);
}

static void house_close(void) {
    ring_close(house.ring);
    ring_close(house.office_ring);
    arena_fini(&house.arena);
    free(house.storage);
    if (house.address.port) close(house.client);
}

static uint64_t counted(enum stun_disposition disposition) {
    return stat_get(&house.metrics.stun_requests[disposition]);
}

/* Steps until `counter` has reached `value`. */
static void step_until(const struct stat_counter *counter, uint64_t value) {
    uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
    while (stat_get(counter) < value) {
        if (bed_now_ns() > deadline_ns) fail_msg("%d instead of %d", (int)stat_get(counter), (int)value);
        (void)!stun_server_step(&house.server, 10);
        ring_wait(house.ring, NS_PER_MS);
    }
}

static void mail_stop(void) {
    assert_true(lane_push(&house.from_main, &(struct mail){.kind = MAIL_STOP}));
    lane_flush(&house.from_main);
}

static void ask(uint8_t first) {
    uint8_t transaction[STUN_TRANSACTION_SIZE] = {first}, request[STUN_REQUEST_SIZE];
    stun_request_write(request, transaction);
    assert_int_equal(send(house.client, request, sizeof(request), 0), sizeof(request));
}

static void expect_answer(uint8_t first) {
    uint8_t transaction[STUN_TRANSACTION_SIZE] = {first}, bytes[64];
    struct net_address seen;
    ssize_t n = recv(house.client, bytes, sizeof(bytes), MSG_DONTWAIT);
    assert_int_equal(n, 32);
    assert_true(stun_answer_parse(bytes, (size_t)n, transaction, &seen));
    assert_true(net_address_is_loopback(&seen));
}

static void test_answers(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(bed_masks); i++) {
        house_open(true, bed_masks[i].features);
        assert_int_equal(stun_server_step(&house.server, 5), TIME_NEVER);
        for (uint8_t k = 1; k < 100; k++) {
            ask(k);
            step_until(&house.metrics.stun_requests[STUN_SUCCESS], k);
            expect_answer(k);
        }
        static const uint8_t junk[LIMIT_STUN_BUFFER_SIZE] = {0};
        const size_t sizes[] = {0, 1, 40, LIMIT_STUN_DATAGRAM, LIMIT_STUN_DATAGRAM + 1, sizeof(junk)};
        for (size_t k = 0; k < array_count(sizes); k++) assert_true(send(house.client, junk, sizes[k], 0) >= 0);
        step_until(&house.metrics.stun_requests[STUN_NOT_STUN], array_count(sizes));
        assert_int_equal(counted(STUN_SUCCESS), 99);
        assert_int_equal(stat_get(&house.metrics.stun_families[STUN_IPV4]), 99);
        mail_stop();
        assert_false(stun_server_may_sleep(&house.server));
        uint64_t deadline_ns = bed_now_ns() + BED_DEADLINE_NS;
        while (!house.server.is_stopped && bed_now_ns() < deadline_ns) {
            (void)!stun_server_step(&house.server, 10);
            ring_wait(house.ring, NS_PER_MS);
        }
        assert_true(house.server.is_stopped);
        assert_int_equal(house.server.socket.socket.fd, -1);
        house_close();
    }
}

static void test_off(void **state) {
    (void)state;
    house_open(false, RING_FEATURES_ALL);
    assert_int_equal(stun_server_step(&house.server, 5), TIME_NEVER);
    assert_true(house.server.is_stopped);
    mail_stop();
    assert_int_equal(stun_server_step(&house.server, 5), TIME_NEVER);
    house_close();
}

/* All answers taken away: requests are dropped and counted, and answered again afterwards. */
static void test_no_answer_free(void **state) {
    (void)state;
    house_open(true, RING_FEATURES_ALL);
    (void)!stun_server_step(&house.server, 5);
    struct stun_answer *free_ones = house.server.first_free;
    house.server.first_free = NULL;
    for (uint8_t k = 0; k < 3; k++) ask(k);
    step_until(&house.metrics.stun_dropped, 3);
    assert_int_equal(counted(STUN_SUCCESS), 0);
    house.server.first_free = free_ones;
    ask(7);
    step_until(&house.metrics.stun_requests[STUN_SUCCESS], 1);
    expect_answer(7);
    size_t count = 0;
    for (struct stun_answer *a = house.server.first_free; a != NULL; a = a->next_free) count++;
    assert_int_equal(count, LIMIT_STUN_ANSWERS);
    house_close();
}

/* A burst larger than buffers and answers: each is answered, and each object comes back. */
static void test_burst(void **state) {
    (void)state;
    house_open(true, RING_FEATURES_ALL);
    for (int i = 0; i < 200; i++) ask((uint8_t)i);
    step_until(&house.metrics.stun_requests[STUN_SUCCESS], 200);
    for (int i = 0; i < 200; i++) expect_answer((uint8_t)i);
    assert_int_equal(stat_get(&house.metrics.stun_dropped), 0);
    house_close();
}

/* The error of a receive, made by a peer that is not there any more: a second of rest, then it goes on. */
static void test_receive_error(void **state) {
    (void)state;
    struct sockaddr_in own, server;
    socklen_t size = sizeof(own);
    house_open(true, RING_FEATURES_ALL);
    assert_int_equal(getsockname(house.client, (struct sockaddr *)(void *)&own, &size), 0);
    assert_int_equal(getpeername(house.client, (struct sockaddr *)(void *)&server, &size), 0);
    assert_int_equal(stun_server_step(&house.server, 5), TIME_NEVER);
    int fd = house.server.socket.socket.fd;
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&own, size), 0);
    close(house.client);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    step_until(&house.metrics.stun_requests[STUN_READ_ERROR], 1);
    assert_int_equal(stun_server_step(&house.server, NS_PER_S), NS_PER_S + 10);  // step_until says that it is 10
    assert_true(ring_socket_is_idle(&house.server.socket.socket));
    house.client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(house.client, (struct sockaddr *)(void *)&own, size), 0);
    assert_int_equal(connect(house.client, (struct sockaddr *)(void *)&server, size), 0);
    assert_int_equal(stun_server_step(&house.server, NS_PER_S + 10), TIME_NEVER);
    ask(1);
    step_until(&house.metrics.stun_requests[STUN_SUCCESS], 1);
    expect_answer(1);
    assert_int_equal(counted(STUN_READ_ERROR), 1);
    house_close();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers), cmocka_unit_test(test_off),           cmocka_unit_test(test_no_answer_free),
        cmocka_unit_test(test_burst),   cmocka_unit_test(test_receive_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
