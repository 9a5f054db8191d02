/* test_reach_list.c - lists of addresses: what the flags say, and how lists are joined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "relay/reach_list.h"

static struct reach_fixed fixed;
static char why[SYS_WHY_MAX];

static void assert_refused(const char *text) {
    *why = '\0';
    if (reach_fixed_parse(text, &fixed, why)) fail_msg("taken: %s", text);
    if (strstr(why, "-relay-static-endpoints") == NULL) fail_msg("no help: %s", why);
}

static void assert_is(const struct net_address *address, const char *wanted) {
    char text[NET_ADDRESS_TEXT_MAX];
    assert_string_equal(net_address_text(address, text), wanted);
}

/* ---- -relay-static-endpoints ---- */

static void test_fixed_addresses_are_read_in_order(void **state) {
    (void)state;
    assert_true(reach_fixed_parse("192.0.2.1:7777,[2001:db8::1]:0,192.0.2.1:1", &fixed, why));
    assert_int_equal(fixed.count, 3);
    assert_is(&fixed.addresses[0], "192.0.2.1:7777");
    assert_is(&fixed.addresses[1], "[2001:db8::1]:0");
    assert_is(&fixed.addresses[2], "192.0.2.1:1");
    assert_true(reach_fixed_parse("", &fixed, why));
    assert_int_equal(fixed.count, 0);
}

static void test_what_is_no_address_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"192.0.2.1",          "2001:db8::1:7777", ":7777",
                                        "0.0.0.0:7777",       "[::]:7777",        "name:7777",
                                        "192.0.2.1:",         "192.0.2.1:-1",     "192.0.2.1:65536",
                                        "192.0.2.1:7 ",       " 192.0.2.1:7",     "192.0.2.1:7;192.0.2.2:7",
                                        "[fe80::1%eth0]:7777"};
    for (size_t i = 0; i < array_count(wrong); i++) assert_refused(wrong[i]);
    char long_one[400];
    memset(long_one, '1', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = '\0';
    assert_refused(long_one);
}

static void test_there_is_a_most_of_fixed_addresses(void **state) {
    (void)state;
    char text[512] = "";
    for (size_t i = 0, at = 0; i < REACH_FIXED_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s10.0.0.%zu:1", i ? "," : "", i);
    assert_true(reach_fixed_parse(text, &fixed, why));
    assert_int_equal(fixed.count, REACH_FIXED_MAX);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), ",10.0.0.99:1");
    assert_refused(text);
}

/* ---- -relay-stun-servers ---- */

static struct reach_servers servers;

static void test_servers_are_read_in_order(void **state) {
    (void)state;
    struct net_address address;
    assert_true(reach_servers_parse("stun.example.com:3478,192.0.2.1:1,[2001:db8::1]:65535", &servers, why));
    assert_int_equal(servers.count, 3);
    assert_string_equal(servers.servers[0].host, "stun.example.com");
    assert_int_equal(servers.servers[0].port, 3478);
    assert_false(reach_server_address(&servers.servers[0], &address));
    assert_true(reach_server_address(&servers.servers[1], &address));
    assert_is(&address, "192.0.2.1:1");
    assert_true(reach_server_address(&servers.servers[2], &address));
    assert_is(&address, "[2001:db8::1]:65535");
    assert_true(reach_servers_have_names(&servers));
    assert_true(reach_servers_parse("192.0.2.1:1", &servers, why));
    assert_false(reach_servers_have_names(&servers));
    assert_true(reach_servers_parse("", &servers, why));
    assert_int_equal(servers.count, 0);
}

static void test_what_is_no_server_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "stun.example.com", "stun.example.com:", "stun.example.com:0", ":3478",          "a b:3478",
        "2001:db8::1:3478", "[2001:db8::1:3478", "[name]:3478",        "name:65536",     "name:+1",
        "name:3478 ",       "[]:3478",           "[fe80::1%eth0]:7",   "name:3478:3478", "n/x:3478"};
    for (size_t i = 0; i < array_count(wrong); i++) {
        if (reach_servers_parse(wrong[i], &servers, why)) fail_msg("taken: %s", wrong[i]);
        if (strstr(why, "-relay-stun-servers") == NULL) fail_msg("no help: %s", why);
    }
    char long_one[400];
    memset(long_one, 'a', sizeof(long_one));
    memcpy(long_one + 254, ":1", 3);
    assert_false(reach_servers_parse(long_one, &servers, why));
    memcpy(long_one + 253, ":1", 3);
    assert_true(reach_servers_parse(long_one, &servers, why));
    assert_true(reach_servers_parse("a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1", &servers, why));
    assert_false(reach_servers_parse("a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1", &servers, why));
}

/* ---- lists ---- */

static void test_port_zero_is_the_relays_and_others_stay(void **state) {
    (void)state;
    struct net_address list[8];
    size_t count = 0;
    struct reach_ports ports = {.ipv4 = 41641};
    assert_true(reach_fixed_parse("192.0.2.1:0,[2001:db8::1]:0,[2001:db8::1]:5,192.0.2.1:41641", &fixed, why));
    reach_list_add_fixed(list, &count, array_count(list), &fixed, &ports);
    assert_int_equal(count, 2);  // no socket of IPv6, and one that is there already
    assert_is(&list[0], "192.0.2.1:41641");
    assert_is(&list[1], "[2001:db8::1]:5");
}

static void test_a_full_list_takes_no_more(void **state) {
    (void)state;
    struct net_address list[2] = {0};
    size_t count = 0;
    for (uint16_t i = 1; i < 4; i++) reach_list_add(list, &count, 2, &(struct net_address){.port = i});
    assert_int_equal(count, 2);
    assert_int_equal(list[1].port, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_addresses_are_read_in_order),
        cmocka_unit_test(test_what_is_no_address_is_refused),
        cmocka_unit_test(test_there_is_a_most_of_fixed_addresses),
        cmocka_unit_test(test_servers_are_read_in_order),
        cmocka_unit_test(test_what_is_no_server_is_refused),
        cmocka_unit_test(test_port_zero_is_the_relays_and_others_stay),
        cmocka_unit_test(test_a_full_list_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
