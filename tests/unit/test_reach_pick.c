/* test_reach_pick.c - which interface addresses clients are told, and how long what was found is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <net/if.h>
#include <stdio.h>

#include "relay/reach_book.h"
#include "relay/reach_pick.h"
#include "relay/reach_scan.h"

enum { LINKS_MAX = 64 };

static struct reach_link links[LINKS_MAX];
static size_t links_count;
static struct reach_ports ports;
static struct net_address picked[REACH_PICK_MAX];
static size_t picked_count;

static int set_up(void **state) {
    (void)state;
    links_count = 0;
    ports = (struct reach_ports){.ipv4 = 4, .ipv6 = 6};
    return 0;
}

static struct net_address address_of(const char *ip) {
    struct reach_server server;
    struct net_address address;
    snprintf(server.host, sizeof(server.host), "%s", ip);
    server.port = 0;
    assert_true(reach_server_address(&server, &address));
    return address;
}

static void add(const char *name, unsigned flags, const char *ip, uint8_t prefix) {
    assert_true(links_count < LINKS_MAX);
    struct reach_link *link = &links[links_count++];
    *link = (struct reach_link){.flags = flags, .address = address_of(ip), .prefix = prefix};
    snprintf(link->name, sizeof(link->name), "%s", name);
}

static void up(const char *name, const char *ip, uint8_t prefix) { add(name, IFF_UP, ip, prefix); }

/* All that is picked, one after the other. */
static const char *pick(void) {
    static char all[2048];
    char text[NET_ADDRESS_TEXT_MAX];
    size_t at = 0;
    *all = '\0';
    picked_count = reach_pick(links, links_count, &ports, picked);
    for (size_t i = 0; i < picked_count; i++) {
        at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s", i ? " " : "", net_address_text(&picked[i], text));
    }
    return all;
}

/* ---- interfaces ---- */

static void test_addresses_of_interfaces_that_are_up(void **state) {
    (void)state;
    add("lo", IFF_UP | IFF_LOOPBACK, "127.0.0.1", 8);
    add("lo", IFF_UP | IFF_LOOPBACK, "192.0.2.200", 32);
    add("lo", IFF_UP | IFF_LOOPBACK, "::1", 128);
    up("odd", "127.0.0.2", 8);
    up("eth0", "192.0.2.1", 24);
    add("eth1", 0, "192.0.2.2", 24);
    up("eth0", "2001:db8::1", 64);
    up("eth0", "fe80::1", 64);
    up("zt0", "192.0.2.3", 24);
    up("any", "0.0.0.0", 0);
    up("any", "::", 0);
    up("odd", "224.0.0.1", 4);
    up("odd", "ff02::1", 16);
    assert_string_equal(pick(), "192.0.2.1:4 [2001:db8::1]:6");
}

static void test_tailscales_own_ranges_are_left_out(void **state) {
    (void)state;
    up("a", "100.64.0.1", 32);
    up("a", "100.127.255.255", 32);
    up("a", "100.63.255.255", 32);
    up("a", "100.128.0.0", 32);
    up("a", "fd7a:115c:a1e0::1", 128);
    up("a", "fd7a:115c:a1e0:ffff::1", 128);
    up("a", "2001:db8::1", 64);
    assert_string_equal(pick(), "100.63.255.255:4 100.128.0.0:4 [2001:db8::1]:6");
}

static void test_two_of_a_subnet_of_ipv6(void **state) {
    (void)state;
    up("eth0", "2001:db8::1", 64);
    up("eth0", "2001:db8::2", 64);
    up("eth0", "2001:db8::3", 64);
    up("eth0", "2001:db8:0:1::1", 64);
    up("eth1", "2001:db8::4", 64);
    up("eth0", "2001:db8::5", 128);
    up("eth0", "192.0.2.1", 24);
    up("eth0", "192.0.2.2", 24);
    up("eth0", "192.0.2.3", 24);
    assert_string_equal(pick(), "[2001:db8::1]:6 [2001:db8::2]:6 [2001:db8:0:1::1]:6 [2001:db8::4]:6 [2001:db8::5]:6 "
                                "192.0.2.1:4 192.0.2.2:4 192.0.2.3:4");
}

static void test_prefixes_within_a_byte(void **state) {
    (void)state;
    up("eth0", "2001:db8:0:0::1", 63);
    up("eth0", "2001:db8:0:1::1", 63);
    up("eth0", "2001:db8:0:1::2", 63);
    up("eth0", "2001:db8:0:2::1", 63);
    assert_string_equal(pick(), "[2001:db8::1]:6 [2001:db8:0:1::1]:6 [2001:db8:0:2::1]:6");
}

static void test_the_last_resort(void **state) {
    (void)state;
    up("eth0", "169.254.1.1", 16);
    up("eth0", "fd00::1", 64);
    up("eth0", "fe80::1", 64);
    up("ts0", "100.64.0.1", 32);
    assert_string_equal(pick(), "169.254.1.1:4 [fd00::1]:6");
    up("eth0", "10.0.0.1", 8);
    assert_string_equal(pick(), "10.0.0.1:4");
}

static void test_a_family_without_a_socket(void **state) {
    (void)state;
    up("eth0", "192.0.2.1", 24);
    up("eth0", "2001:db8::1", 64);
    ports.ipv6 = 0;
    assert_string_equal(pick(), "192.0.2.1:4");
    ports = (struct reach_ports){.ipv6 = 6};
    assert_string_equal(pick(), "[2001:db8::1]:6");
}

static void test_many_addresses(void **state) {
    (void)state;
    char ip[64];
    for (unsigned i = 0; i < 20; i++) {
        snprintf(ip, sizeof(ip), "10.0.0.%u", i + 1);
        up("eth0", ip, 24);
        up("eth0", ip, 24);  // twice is once
        snprintf(ip, sizeof(ip), "2001:db8:0:%x::1", i);
        up("eth0", ip, 64);
    }
    pick();
    assert_int_equal(picked_count, REACH_PICK_MAX);
    assert_memory_equal(picked[0].ip + 12, ((uint8_t[]){10, 0, 0, 1}), 4);
    assert_true(net_address_is_ipv4(&picked[REACH_PICK_MAX - 2]));
}

static void test_what_stun_may_say(void **state) {
    (void)state;
    static const char *const never[] = {"0.0.0.0",         "::",          "127.0.0.1", "::1", "224.0.0.1", "ff02::1",
                                        "255.255.255.255", "169.254.0.1", "fe80::1"};
    for (size_t i = 0; i < array_count(never); i++) {
        struct net_address address = address_of(never[i]);
        address.port = 1;
        if (reach_is_public_enough(&address)) fail_msg("%s", never[i]);
    }
    struct net_address address = address_of("198.51.100.1");
    assert_false(reach_is_public_enough(&address));  // port 0
    address.port = 1;
    assert_true(reach_is_public_enough(&address));
}

/* The real ones: the loopback is there, wherever this runs. */
static void test_the_kernel_tells_its_interfaces(void **state) {
    (void)state;
    static struct reach_link all[REACH_LINKS_MAX];
    size_t count;
    bool has_loopback = false;
    struct net_address loopback = address_of("127.0.0.1");
    assert_int_equal(reach_scan(all, &count), 0);
    for (size_t i = 0; i < count; i++) {
        if (!reach_is_same(&all[i].address, &loopback)) continue;
        has_loopback = true;
        assert_string_equal(all[i].name, "lo");
        assert_int_equal(all[i].prefix, 8);
        assert_true(all[i].flags & IFF_LOOPBACK);
    }
    assert_true(has_loopback);
}

/* ---- the book ---- */

static struct reach_book book;

static const char *believed(void) {
    static char all[2048];
    char text[NET_ADDRESS_TEXT_MAX];
    struct net_address list[8];
    size_t count = 0, at = 0;
    *all = '\0';
    reach_book_list(&book, list, &count, array_count(list));
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s", i ? " " : "", net_ip_text(&list[i], text));
    }
    return all;
}

static void found(enum reach_source source, const char *ip) {
    struct net_address address = address_of(ip);
    reach_book_confirm(&book, source, &address);
}

static void test_order_stays(void **state) {
    (void)state;
    book = (struct reach_book){0};
    found(REACH_BY_INTERFACE, "10.0.0.2");
    found(REACH_BY_INTERFACE, "10.0.0.1");
    found(REACH_BY_STUN, "198.51.100.1");
    found(REACH_BY_STUN, "10.0.0.1");
    found(REACH_BY_STUN, "198.51.100.1");
    assert_string_equal(believed(), "198.51.100.1 10.0.0.1 10.0.0.2");
    reach_book_end_round(&book, REACH_BY_STUN, false);
    reach_book_end_round(&book, REACH_BY_INTERFACE, false);
    found(REACH_BY_INTERFACE, "10.0.0.1");
    found(REACH_BY_INTERFACE, "10.0.0.2");
    assert_string_equal(believed(), "198.51.100.1 10.0.0.1 10.0.0.2");
}

static void test_two_rounds_without_it_end_an_address(void **state) {
    (void)state;
    book = (struct reach_book){0};
    found(REACH_BY_STUN, "198.51.100.1");
    found(REACH_BY_INTERFACE, "10.0.0.1");
    found(REACH_BY_INTERFACE, "10.0.0.2");
    reach_book_end_round(&book, REACH_BY_INTERFACE, false);
    found(REACH_BY_INTERFACE, "10.0.0.2");
    reach_book_end_round(&book, REACH_BY_INTERFACE, false);
    assert_string_equal(believed(), "198.51.100.1 10.0.0.1 10.0.0.2");
    found(REACH_BY_INTERFACE, "10.0.0.1");  // in time
    reach_book_end_round(&book, REACH_BY_INTERFACE, false);
    reach_book_end_round(&book, REACH_BY_INTERFACE, false);
    assert_string_equal(believed(), "198.51.100.1 10.0.0.1");
    reach_book_end_round(&book, REACH_BY_INTERFACE, false);
    assert_string_equal(believed(), "198.51.100.1");
    assert_false(reach_book_has(&book, REACH_BY_INTERFACE));
    assert_true(reach_book_has(&book, REACH_BY_STUN));
}

static void test_failed_rounds_take_nothing_away(void **state) {
    (void)state;
    book = (struct reach_book){0};
    found(REACH_BY_STUN, "198.51.100.1");
    for (int i = 0; i < 10; i++) reach_book_end_round(&book, REACH_BY_STUN, true);
    assert_string_equal(believed(), "198.51.100.1");
    found(REACH_BY_STUN, "198.51.100.2");
    reach_book_end_round(&book, REACH_BY_STUN, false);
    assert_string_equal(believed(), "198.51.100.1 198.51.100.2");
}

static void test_a_full_book_takes_no_more(void **state) {
    (void)state;
    char ip[64];
    book = (struct reach_book){0};
    for (unsigned i = 0; i < REACH_BOOK_SIZE + 3; i++) {
        snprintf(ip, sizeof(ip), "10.0.0.%u", i);
        found(REACH_BY_INTERFACE, ip);
    }
    assert_int_equal(book.count, REACH_BOOK_SIZE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_addresses_of_interfaces_that_are_up, set_up),
        cmocka_unit_test_setup(test_tailscales_own_ranges_are_left_out, set_up),
        cmocka_unit_test_setup(test_two_of_a_subnet_of_ipv6, set_up),
        cmocka_unit_test_setup(test_prefixes_within_a_byte, set_up),
        cmocka_unit_test_setup(test_the_last_resort, set_up),
        cmocka_unit_test_setup(test_a_family_without_a_socket, set_up),
        cmocka_unit_test_setup(test_many_addresses, set_up),
        cmocka_unit_test(test_what_stun_may_say),
        cmocka_unit_test(test_the_kernel_tells_its_interfaces),
        cmocka_unit_test(test_order_stays),
        cmocka_unit_test(test_two_rounds_without_it_end_an_address),
        cmocka_unit_test(test_failed_rounds_take_nothing_away),
        cmocka_unit_test(test_a_full_book_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
