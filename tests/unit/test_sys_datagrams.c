/* test_sys_datagrams.c - sockets of datagrams: shared ports, families apart, what the kernel had to drop. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/sys.h"

static int listen_datagrams(const char *text, struct udp_listen wanted, struct net_address *bound) {
    struct listen_address where;
    char why[SYS_WHY_MAX];
    int fd = -1;
    assert_true(listen_address_parse(text, &where, why));
    if (where.address.port == 0) where.address.port = bound->port;
    wanted.kernel_bytes = 1 << 20;
    int error = sys_listen_datagrams(&where, &wanted, &fd, bound, why);
    return error ? error : fd;
}

/* The first has the port to itself, others join; strangers get it neither before nor afterwards. */
static void test_shared_port(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum udp_family family;
        int domain;
    } rows[] = {{"127.0.0.1:0", UDP_IPV4, AF_INET}, {":0", UDP_IPV4, AF_INET}, {":0", UDP_IPV6, AF_INET6}};
    enum { COUNT = 4, SENDERS = 64 };
    for (size_t k = 0; k < array_count(rows); k++) {
        struct udp_listen first = {.family = rows[k].family, .is_shared = true}, next = first;
        struct net_address bound = {.port = 0};
        int fds[COUNT], counts[COUNT] = {0};
        next.joins = true;
        for (size_t i = 0; i < COUNT; i++) {
            fds[i] = listen_datagrams(rows[k].text, i == 0 ? first : next, &bound);
            assert_true(fds[i] >= 0);
        }
        struct net_address again = bound;
        assert_int_equal(listen_datagrams(rows[k].text, first, &again), -EADDRINUSE);
        assert_int_equal(listen_datagrams(rows[k].text, (struct udp_listen){.family = rows[k].family}, &again),
                         -EADDRINUSE);
        struct sockaddr_storage to;
        struct listen_address near;
        char why[SYS_WHY_MAX];
        assert_true(listen_address_parse(rows[k].domain == AF_INET ? "127.0.0.1:0" : "[::1]:0", &near, why));
        near.address.port = bound.port;
        socklen_t size = net_address_to_kernel(&near.address, rows[k].domain, &to);
        for (int i = 0; i < SENDERS; i++) {
            int fd = socket(rows[k].domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
            assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, size), 1);
            close(fd);
        }
        int sum = 0, used = 0;
        for (size_t i = 0; i < COUNT; i++) {
            char byte;
            while (recv(fds[i], &byte, 1, MSG_DONTWAIT) == 1) counts[i]++;
            sum += counts[i];
            used += counts[i] > 0;
            sys_close(fds[i]);
        }
        assert_int_equal(sum, SENDERS);
        assert_true(used > 1);
    }
}

/* Both families of a wildcard can have one port, on sockets of their own. */
static void test_families_apart(void **state) {
    (void)state;
    struct net_address bound = {.port = 0};
    int ipv4 = listen_datagrams(":0", (struct udp_listen){.family = UDP_IPV4}, &bound);
    assert_true(ipv4 >= 0 && net_address_is_ipv4(&bound));
    int ipv6 = listen_datagrams(":0", (struct udp_listen){.family = UDP_IPV6}, &bound);
    assert_true(ipv6 >= 0 && !net_address_is_ipv4(&bound));
    sys_close(ipv4);
    sys_close(ipv6);
}

static void test_udp_overflows(void **state) {
    (void)state;
    struct net_address bound = {.port = 0};
    struct sockaddr_storage to;
    uint32_t before, after;
    int least = 1;
    int fd = listen_datagrams("127.0.0.1:0", (struct udp_listen){.family = UDP_IPV4, .has_runs = true}, &bound);
    int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = net_address_to_kernel(&bound, AF_INET, &to);
    assert_int_equal(sys_udp_overflows(fd, &before), 0);
    assert_int_equal(before, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
    for (int i = 0; i < 50; i++) assert_int_equal(sendto(sender, "x", 1, 0, (struct sockaddr *)&to, size), 1);
    assert_int_equal(sys_udp_overflows(fd, &after), 0);
    assert_in_range(after, 1, 50);
    sys_close(fd);
    sys_close(sender);
    assert_int_equal(sys_udp_overflows(-1, &after), -EBADF);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_port),
        cmocka_unit_test(test_families_apart),
        cmocka_unit_test(test_udp_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
