/* test_reach_stun.c - answers of STUN servers to the relay: which ones are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sys.h"
#include "relay/reach_stun.h"

static struct reach_stun stun;
static const struct net_address server = {.ip = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 9}, .port = 3478};
static const struct net_address seen = {.ip = {[10] = 0xff, [11] = 0xff, 198, 51, 100, 7}, .port = 1234};

static int set_up(void **state) {
    (void)state;
    struct rng rng;
    if (sys_init() != 0) return -1;
    rng_init_seeded(&rng, 1);
    reach_stun_init(&stun, &rng);
    reach_stun_open(&stun, 100, 116);
    return 0;
}

/* What `of` answers to question `counter`; returns the size. */
static size_t answer(uint32_t counter, const struct net_address *of, uint8_t *bytes) {
    uint8_t transaction[STUN_TRANSACTION_SIZE];
    reach_stun_transaction(&stun, counter, of, transaction);
    return stun_answer_write(bytes, transaction, &seen);
}

static bool passes(const uint8_t *bytes, size_t size, const struct net_address *from) {
    struct reach_mail mail;
    return reach_stun_check(&stun, bytes, size, from, &mail);
}

static void test_an_answer_passes_and_says_which(void **state) {
    (void)state;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    struct reach_mail mail;
    size_t size = answer(115, &server, bytes);
    assert_true(reach_stun_check(&stun, bytes, size, &server, &mail));
    assert_int_equal(reach_stun_counter(mail.transaction), 115);
    assert_memory_equal(&mail.address, &seen, sizeof(seen));
}

static void test_an_answer_is_of_its_server(void **state) {
    (void)state;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    size_t size = answer(100, &server, bytes);
    struct net_address other = server;
    assert_true(passes(bytes, size, &server));
    other.port++;
    assert_false(passes(bytes, size, &other));
    other = server;
    other.ip[15] ^= 1;
    assert_false(passes(bytes, size, &other));
}

static void test_no_bit_may_be_guessed(void **state) {
    (void)state;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    size_t size = answer(100, &server, bytes);
    for (size_t bit = 0; bit < 8 * 20; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (passes(bytes, size, &server)) fail_msg("bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) assert_false(passes(bytes, cut, &server));
    assert_true(passes(bytes, size, &server));
}

static void test_nothing_passes_outside_of_its_round(void **state) {
    (void)state;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    size_t size = answer(99, &server, bytes);
    assert_false(passes(bytes, size, &server));
    size = answer(116, &server, bytes);
    assert_false(passes(bytes, size, &server));
    size = answer(100, &server, bytes);
    reach_stun_open(&stun, 0, 0);
    assert_false(passes(bytes, size, &server));
    reach_stun_open(&stun, UINT32_MAX - 1, 2);  // counters wrap
    size = answer(1, &server, bytes);
    assert_true(passes(bytes, size, &server));
    size = answer(2, &server, bytes);
    assert_false(passes(bytes, size, &server));
}

static void test_each_start_has_its_own_secret(void **state) {
    (void)state;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    struct rng rng;
    size_t size = answer(100, &server, bytes);
    rng_init_seeded(&rng, 2);
    reach_stun_init(&stun, &rng);
    assert_false(passes(bytes, size, &server));
    reach_stun_open(&stun, 100, 116);
    assert_false(passes(bytes, size, &server));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_answer_passes_and_says_which, set_up),
        cmocka_unit_test_setup(test_an_answer_is_of_its_server, set_up),
        cmocka_unit_test_setup(test_no_bit_may_be_guessed, set_up),
        cmocka_unit_test_setup(test_nothing_passes_outside_of_its_round, set_up),
        cmocka_unit_test_setup(test_each_start_has_its_own_secret, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
