/* test_admin_query.c - requests on the admin socket: what is understood, and a sentence for everything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/admin_query.h"

static struct admin_query query;
static char why[ADMIN_WHY_MAX];

static bool parse(const char *text) { return admin_query_parse(text, strlen(text), &query, why); }

#define assert_fine(text)                                        \
    do {                                                         \
        if (!parse(text)) fail_msg("%s refused: %s", text, why); \
    } while (0)

#define assert_wrong(text, sentence)                                                               \
    do {                                                                                           \
        if (parse(text)) fail_msg("%s accepted", text);                                            \
        if (strstr(why, sentence) == NULL) fail_msg("\"%s\" is missing in \"%s\"", sentence, why); \
    } while (0)

#define CLIENTS(members) "{\"v\":1,\"cmd\":\"clients\"," members "}"

static void test_commands(void **state) {
    (void)state;
    assert_fine("{\"v\":1,\"cmd\":\"status\"}");
    assert_int_equal(query.command, ADMIN_STATUS);
    assert_fine(" { \"cmd\" : \"clients\" , \"v\" : 1 } \r");
    assert_int_equal(query.command, ADMIN_CLIENTS);
    assert_int_equal(query.sort, ADMIN_SORT_BYTES);
    assert_int_equal(query.limit, 0);
    assert_string_equal(query.key_prefix, "");
    assert_string_equal(query.key_short, "");
    assert_false(query.has_address);
}

#define KEY_A "discokey:0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
#define KEY_B "discokey:7B0D47D93427F8311160781C7C733FD89F88970AEF490D8AA0EE19A4CB8A1B14"
#define ALLOCATE(members) "{\"v\":1,\"cmd\":\"allocate\"" members "}"
#define CLOSE(members) "{\"v\":1,\"cmd\":\"endpoint-close\"" members "}"

static void test_endpoints(void **state) {
    (void)state;
    assert_fine("{\"v\":1,\"cmd\":\"endpoints\"}");
    assert_int_equal(query.command, ADMIN_ENDPOINTS);
    assert_wrong("{\"v\":1,\"cmd\":\"endpoints\",\"limit\":1}", "endpoints takes no \"limit\"");
    assert_fine(ALLOCATE(",\"keys\":[\"" KEY_A "\",\"" KEY_B "\"]"));
    assert_int_equal(query.command, ADMIN_ALLOCATE);
    assert_int_equal(query.disco_keys[0].bytes[0], 0x0f);
    assert_int_equal(query.disco_keys[1].bytes[31], 0x14);
    assert_wrong(ALLOCATE(""), "allocate takes keys");
    assert_wrong(ALLOCATE(",\"keys\":[\"" KEY_A "\"]"), "allocate takes keys");
    assert_wrong(ALLOCATE(",\"keys\":[\"" KEY_A "\",\"" KEY_B "\",\"" KEY_B "\"]"), "allocate takes keys");
    assert_wrong(ALLOCATE(",\"keys\":[\"" KEY_A "\",7]"), "allocate takes keys");
    assert_wrong(ALLOCATE(",\"keys\":[\"" KEY_A "\",\"" KEY_B "0\"]"), "allocate takes keys");
    assert_wrong(ALLOCATE(",\"keys\":[\"" KEY_A "\",\"" KEY_B "\"],\"vni\":1"), "allocate takes keys");
    assert_fine(CLOSE(",\"vni\":16777215"));
    assert_int_equal(query.command, ADMIN_ENDPOINT_CLOSE);
    assert_int_equal(query.vni, 16777215);
    assert_wrong(CLOSE(""), "endpoint-close takes vni");
    assert_wrong(CLOSE(",\"vni\":0"), "endpoint-close takes vni");
    assert_wrong(CLOSE(",\"vni\":16777216"), "endpoint-close takes vni");
    assert_wrong(CLOSE(",\"vni\":-1"), "endpoint-close takes vni");
    assert_wrong(CLOSE(",\"vni\":\"1\""), "endpoint-close takes vni");
    assert_wrong(CLOSE(",\"vni\":4294967297"), "endpoint-close takes vni");
}

static void test_what_is_no_request(void **state) {
    (void)state;
    assert_wrong("", "not a JSON object");
    assert_wrong("status", "not a JSON object");
    assert_wrong("[1]", "another value");
    assert_wrong("{}", "one line of JSON");
    assert_wrong("{\"v\":1}", "one line of JSON");
    assert_wrong("{\"cmd\":\"status\"}", "one line of JSON");
    assert_wrong("{\"v\":\"1\",\"cmd\":\"status\"}", "one line of JSON");
    assert_wrong("{\"v\":1,\"cmd\":7}", "one line of JSON");
    assert_wrong("{\"v\":2,\"cmd\":\"status\"}", "speaks version 1");
    assert_wrong("{\"v\":1,\"cmd\":\"stop\"}", "no command \"stop\"");
    assert_wrong("{\"v\":1,\"cmd\":\"status\"} x", "not a JSON object");
    assert_wrong("{\"v\":1,\"v\":1,\"cmd\":\"status\"}", "not a JSON object");
    assert_wrong("{\"v\":1,\"cmd\":\"status\",\"limit\":1}", "status takes no \"limit\"");
    static const char nul[] = "{\"v\":1,\"cmd\":\"status\"}\0";
    assert_false(admin_query_parse(nul, sizeof(nul), &query, why));
    /* What a stranger wrote must not act on a terminal. */
    assert_wrong("{\"v\":1,\"cmd\":\"\\u001b[2J\\u00e9\"}", "no command \"?[2J??\"");
}

/* Deep nesting must not use up the stack. */
static void test_nesting(void **state) {
    (void)state;
    char deep[ADMIN_REQUEST_MAX];
    memset(deep, '[', sizeof(deep));
    assert_false(admin_query_parse(deep, sizeof(deep), &query, why));
}

static void test_refusal_changes_nothing(void **state) {
    (void)state;
    assert_fine(CLIENTS("\"limit\":3"));
    assert_false(parse(CLIENTS("\"limit\":4,\"sort\":\"x\"")));
    assert_int_equal(query.limit, 3);
}

static void test_limit_and_sort(void **state) {
    (void)state;
    assert_fine(CLIENTS("\"limit\":20,\"sort\":\"queue\""));
    assert_int_equal(query.limit, 20);
    assert_int_equal(query.sort, ADMIN_SORT_QUEUE);
    assert_fine(CLIENTS("\"limit\":4294967295,\"sort\":\"address\""));
    assert_int_equal(query.sort, ADMIN_SORT_ADDRESS);
    assert_wrong(CLIENTS("\"limit\":4294967296"), "whole number");
    assert_wrong(CLIENTS("\"limit\":-1"), "whole number");
    assert_wrong(CLIENTS("\"limit\":1.5"), "whole number");
    assert_wrong(CLIENTS("\"limit\":\"1\""), "whole number");
    assert_wrong(CLIENTS("\"sort\":\"size\""), "bytes, received");
    assert_wrong(CLIENTS("\"sort\":1"), "which are texts");
    assert_wrong(CLIENTS("\"keys\":\"ab\""), "no member \"keys\"");
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_keys(void **state) {
    (void)state;
    assert_fine(CLIENTS("\"key\":\"nodekey:1F\""));
    assert_string_equal(query.key_prefix, "1f");
    assert_fine(CLIENTS("\"key\":\"" HEX64 "\""));
    assert_string_equal(query.key_prefix, HEX64);
    assert_fine(CLIENTS("\"key\":\"\""));
    assert_string_equal(query.key_prefix, "");
    assert_fine(CLIENTS("\"key\":\"[a+/1Z]\""));
    assert_string_equal(query.key_short, "[a+/1Z]");
    assert_wrong(CLIENTS("\"key\":\"" HEX64 "0\""), "first hex digits");
    assert_wrong(CLIENTS("\"key\":\"nodekey:xy\""), "first hex digits");
    assert_wrong(CLIENTS("\"key\":\"[abcd]\""), "short form");
    assert_wrong(CLIENTS("\"key\":\"[abcdef\""), "short form");
    assert_wrong(CLIENTS("\"key\":\"[abcdef]\""), "short form");
}

static void check_address(const char *text, uint8_t first, uint8_t thirteenth, uint32_t bits, uint16_t port) {
    memset(&query, 0, sizeof(query));
    if (!admin_query_address(text, &query)) fail_msg("%s refused", text);
    assert_true(query.has_address);
    assert_int_equal(query.ip[0], first);
    assert_int_equal(query.ip[12], thirteenth);
    assert_int_equal(query.ip_bits, bits);
    assert_int_equal(query.port, port);
}

static void test_addresses(void **state) {
    (void)state;
    check_address("192.0.2.7", 0, 192, 128, 0);
    check_address("192.0.2.0/24", 0, 192, 120, 0);
    check_address("0.0.0.0/0", 0, 0, 96, 0);
    check_address("192.0.2.7/32", 0, 192, 128, 0);
    check_address("192.0.2.7:443", 0, 192, 128, 443);
    check_address("2001:db8::1", 0x20, 0, 128, 0);
    check_address("2001:db8::/32", 0x20, 0, 32, 0);
    check_address("::/0", 0, 0, 0, 0);
    check_address("[2001:db8::1]:443", 0x20, 0, 128, 443);
    static const char *const bad[] = {"",     "x",   "192.0.2",       "192.0.2.7/33",    "192.0.2.7/",   "192.0.2.7/x",
                                      ":443", "[::", "192.0.2.7:0",   "2001:db8::/129",  "192.0.2.7/-1", "0.0.0.0:80",
                                      "/8",   "::g", "192.0.2.7/0x8", "192.0.2.7:443/24"};
    for (size_t i = 0; i < array_count(bad); i++) {
        if (admin_query_address(bad[i], &query)) fail_msg("\"%s\" accepted", bad[i]);
    }
    char giant[512];
    memset(giant, '1', sizeof(giant));
    giant[sizeof(giant) - 1] = 0;
    assert_false(admin_query_address(giant, &query));
    assert_wrong(CLIENTS("\"address\":\"192.0.2.0/33\""), "a network such as");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_what_is_no_request),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_refusal_changes_nothing),
        cmocka_unit_test(test_limit_and_sort),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
