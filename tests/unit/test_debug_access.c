/* test_debug_access.c - who may see /debug/: networks, addresses, the key, proxies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/debug_access.h"

static struct debug_access access_rules;
static char why[DEBUG_ACCESS_WHY_MAX];

static struct net_address address_of(const char *ip) {
    struct listen_address listen;
    char text[80], detail[SYS_WHY_MAX];
    snprintf(text, sizeof(text), strchr(ip, ':') ? "[%s]:1" : "%s:1", ip);
    assert_true(listen_address_parse(text, &listen, detail));
    return listen.address;
}

/* A request for /debug/ with this query and, unless NULL, this X-Forwarded-For. */
static bool allows(const char *ip, const char *query, const char *forwarded) {
    static struct http_request request;
    char head[512];
    struct http_scan scan = {0};
    struct net_address address = address_of(ip);
    int size = snprintf(head, sizeof(head), "GET /debug/?%s HTTP/1.1\r\nHost: x\r\n%s%s%s\r\n", query,
                        forwarded ? "X-Forwarded-For: " : "", forwarded ? forwarded : "", forwarded ? "\r\n" : "");
    assert_int_equal(http_request_parse(&scan, head, (size_t)size, &request), HTTP_DONE);
    return debug_access_allows(&access_rules, &address, &request);
}

static void test_networks(void **state) {
    (void)state;
    static const struct {
        const char *network;
        const char *in;
        const char *out;
    } rows[] = {
        {"10.0.0.0/8", "10.255.0.1", "11.0.0.1"},
        {"10.1.2.3/8", "10.9.9.9", "11.1.2.3"},
        {"192.0.2.128/25", "192.0.2.129", "192.0.2.127"},
        {"192.0.2.1/32", "192.0.2.1", "192.0.2.2"},
        {"0.0.0.0/0", "203.0.113.9", "2001:db8::1"},
        {"::/0", "2001:db8::1", "203.0.113.9"},
        {"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"},
        {"2001:db8::5/128", "2001:db8::5", "2001:db8::4"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct ip_network network;
        struct net_address in = address_of(rows[i].in), out = address_of(rows[i].out);
        assert_true(ip_network_parse(rows[i].network, &network));
        if (!ip_network_has(&network, &in) || ip_network_has(&network, &out)) fail_msg("%s", rows[i].network);
    }
    static const char *const wrong[] = {
        "",       "10.0.0.0",    "10.0.0.0/",   "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8",
        "::/129", "fe80::%1/64", "10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/+8", "example/8",
        "/8",     "10.0.0.0/8/8"};
    for (size_t i = 0; i < array_count(wrong); i++) {
        struct ip_network network;
        if (ip_network_parse(wrong[i], &network)) fail_msg("\"%s\" is taken", wrong[i]);
    }
}

static void test_lists(void **state) {
    (void)state;
    assert_true(debug_access_set_networks(&access_rules, "", why));
    assert_int_equal(access_rules.networks_count, 0);
    assert_true(debug_access_set_networks(&access_rules, " 10.0.0.0/8 ,, fd00::/8,", why));
    assert_int_equal(access_rules.networks_count, 2);
    assert_false(debug_access_set_networks(&access_rules, "10.0.0.0/8,nonsense", why));
    assert_non_null(strstr(why, "TS_DEBUG_TRUSTED_CIDRS"));
    assert_non_null(strstr(why, "nonsense"));
    char list[(DEBUG_CIDRS_MAX + 1) * 11 + 1] = "";
    for (size_t i = 0; i <= DEBUG_CIDRS_MAX; i++) snprintf(list + i * 11, sizeof(list) - i * 11, "10.0.0.0/8,");
    assert_false(debug_access_set_networks(&access_rules, list, why));
    list[DEBUG_CIDRS_MAX * 11] = '\0';
    assert_true(debug_access_set_networks(&access_rules, list, why));
}

static void test_addresses(void **state) {
    (void)state;
    static const char *const fine[] = {"127.0.0.1",   "127.9.9.9",      "::1",          "100.64.0.1",
                                       "100.127.1.1", "100.115.91.255", "100.115.94.0", "fd7a:115c:a1e0::1",
                                       "192.0.2.7",   "10.1.1.1",       "fd00::1"};
    static const char *const strangers[] = {"100.63.255.255", "100.128.0.1", "100.115.92.1", "100.115.93.255",
                                            "192.0.2.8",      "203.0.113.1", "2001:db8::1",  "fd7a:115c:a1e1::1"};
    access_rules = (struct debug_access){.ip = "192.0.2.7"};
    assert_true(debug_access_set_networks(&access_rules, "10.0.0.0/8,fd00::/16", why));
    for (size_t i = 0; i < array_count(fine); i++) {
        if (!allows(fine[i], "", NULL) || !allows(fine[i], "", "")) fail_msg("%s is kept out", fine[i]);
        if (allows(fine[i], "", "203.0.113.1")) fail_msg("%s may come through a proxy", fine[i]);
    }
    for (size_t i = 0; i < array_count(strangers); i++) {
        if (allows(strangers[i], "", NULL)) fail_msg("%s may", strangers[i]);
    }
}

static void test_the_key(void **state) {
    (void)state;
    char path[] = "/tmp/debug-key-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "\n secret \n", 10) == 10 && close(fd) == 0);
    assert_int_equal(setenv("TS_DEBUG_KEY_PATH", path, 1), 0);
    assert_int_equal(setenv("TS_DEBUG_TRUSTED_CIDRS", "192.0.2.0/24", 1), 0);
    assert_true(debug_access_from_env(&access_rules, why));
    assert_true(allows("203.0.113.1", "debugkey=secret", NULL));
    assert_true(allows("203.0.113.1", "debugkey=secret", "192.0.2.1"));
    assert_true(allows("192.0.2.1", "debugkey=wrong", NULL));
    static const char *const wrong[] = {
        "", "debugkey=", "debugkey=secre", "debugkey=secrets", "debugkey=Secret", "key=secret"};
    for (size_t i = 0; i < array_count(wrong); i++) assert_false(allows("203.0.113.1", wrong[i], NULL));
    debug_access_wipe(&access_rules);
    assert_false(allows("203.0.113.1", "debugkey=secret", NULL));
    assert_false(allows("203.0.113.1", "debugkey=", NULL));
    assert_int_equal(unlink(path), 0);
    assert_true(debug_access_from_env(&access_rules, why));  // no file: nobody has the key
    assert_string_equal(access_rules.key, "");
    assert_int_equal(setenv("TS_DEBUG_TRUSTED_CIDRS", "192.0.2.0", 1), 0);
    assert_false(debug_access_from_env(&access_rules, why));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
