/* test_udp_locals.c - numbers of this host's addresses, given by several threads at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "relay/udp_locals.h"

enum { THREADS = 4, ROUNDS = 2000 };

static struct udp_locals locals;

static void ip_of(uint32_t n, uint8_t ip[16]) {
    memset(ip, 0, 16);
    memcpy(ip + 12, &n, sizeof(n));
    ip[0] = (uint8_t)(n * 7);
}

static void test_numbers_stay(void **state) {
    (void)state;
    uint8_t ip[16], got[16];
    memset(&locals, 0, sizeof(locals));
    for (int round = 0; round < 2; round++) {
        for (uint32_t n = 0; n < LIMIT_UDP_LOCALS; n++) {
            ip_of(n, ip);
            assert_int_equal(udp_locals_number(&locals, ip), n + 1);
            udp_locals_ip(&locals, (uint16_t)(n + 1), got);
            assert_memory_equal(ip, got, sizeof(ip));
        }
    }
    ip_of(LIMIT_UDP_LOCALS, ip);
    assert_int_equal(udp_locals_number(&locals, ip), 0);  // there are no more
}

static void *number_many(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint8_t ip[16], got[16];
        seed = seed * 1664525u + 1013904223u;
        ip_of(seed >> 24, ip);
        uint16_t number = udp_locals_number(&locals, ip);
        if (number == 0) continue;  // somebody adds one, or it is full
        udp_locals_ip(&locals, number, got);
        if (memcmp(ip, got, sizeof(ip)) != 0) return "wrong";
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    memset(&locals, 0, sizeof(locals));
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, number_many, (void *)(i + 1)), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    uint32_t count = atomic_load(&locals.count);
    for (uint32_t i = 0; i < count; i++) {  // none has two numbers
        uint8_t ip[16];
        udp_locals_ip(&locals, (uint16_t)(i + 1), ip);
        assert_int_equal(udp_locals_number(&locals, ip), i + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers_stay), cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
