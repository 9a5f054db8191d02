/* test_allocate_http.c - endpoints by HTTP: every status, and the JSON letter by letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>

#include "proto/gojson.h"
#include "relay/allocate_http.h"

#define KEY_A "discokey:0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
#define KEY_B "discokey:7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14"
#define KEY_S "discokey:7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
#define ZERO "discokey:0000000000000000000000000000000000000000000000000000000000000000"
#define WEAK "discokey:0100000000000000000000000000000000000000000000000000000000000000"
#define KEYS(a, b) "{\"DiscoKeys\":[\"" a "\",\"" b "\"]}"
#define TOKEN "0123456789abcdef"
#define BEARER "Authorization: Bearer " TOKEN "\r\n"

static struct arena arena;
static struct rng rng;
static struct metrics metrics;
static struct allocator *allocator;
static struct tokens *tokens;
static struct allocate_door door;
static struct allocate_reply reply;
static uint64_t now_ns;

static struct net_address address_of(const char *text) {
    struct listen_address listen;
    char why[SYS_WHY_MAX];
    assert_true(listen_address_parse(text, &listen, why));
    return listen.address;
}

static int set_up(void **state) {
    (void)state;
    static const uint8_t secret[TOKENS_SECRET_SIZE] = {9};
    char why[TOKENS_WHY_MAX];
    struct allocator_options options = {.endpoints_max = 16, .unbound_max = 8};
    struct net_address addresses[] = {address_of("192.0.2.1:41641"), address_of("[2001:db8::1]:7")};
    now_ns = 1000 * NS_PER_S;
    metrics = (struct metrics){0};
    rng_init_seeded(&rng, 1);
    if (arena_init(&arena, allocator_footprint(&options)) != 0) return -1;
    allocator = allocator_make(&arena, &options, &rng, now_ns);
    allocator_set_addresses(allocator, addresses, array_count(addresses));
    tokens = tokens_parse(TOKEN "\n", sizeof(TOKEN), "FILE", secret, why);
    door = (struct allocate_door){.allocator = allocator,
                                  .metrics = &metrics,
                                  .tokens = tokens,
                                  .limits = {.requests_per_s = 20, .burst = 100, .endpoints_max = 3}};
    return tokens ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tokens_free(tokens);
    allocator_fini(allocator);
    arena_fini(&arena);
    return 0;
}

/* The status of a whole request; `fields` are lines of its head. */
static int ask(const char *method, const char *fields, const char *body) {
    static struct http_request request;
    char bytes[2048];
    struct http_scan scan = {0};
    const struct token_id *who;
    int size =
        snprintf(bytes, sizeof(bytes), "%s " ALLOCATE_PATH " HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s",
                 method, fields, strlen(body), body);
    memset(&reply, 0x55, sizeof(reply));
    assert_int_equal(http_request_parse(&scan, bytes, (size_t)size, &request), HTTP_DONE);
    if (allocate_http_judge(&door, &request, &who, &reply)) {
        assert_true((who != NULL) == !door.is_trusted);
        allocate_http_serve(&door, who, bytes + request.head_size, (size_t)request.content_length, now_ns, &reply);
    }
    assert_in_range(reply.body_size, 1, sizeof(reply.body));
    assert_int_equal(reply.body[reply.body_size - 1], '\n');
    assert_true(reply.is_json == (reply.status == 200));
    return reply.status;
}

static bool says(const char *text) {
    char body[ALLOCATE_REPLY_MAX + 1] = "";
    memcpy(body, reply.body, reply.body_size);
    return strstr(body, text) != NULL;
}

static const char *field(const char *name) {
    for (size_t i = 0; i < reply.fields_count; i++) {
        if (strcmp(reply.fields[i].name, name) == 0) return reply.fields[i].value;
    }
    return "";
}

static uint64_t refusals(enum udp_refuse_reason reason) { return stat_get(&metrics.udp_refusals[reason]); }

/* ---- who ---- */

static void test_granted(void **state) {
    (void)state;
    assert_int_equal(ask("POST", BEARER, KEYS(KEY_B, KEY_A)), 200);
    assert_true(says("\"ClientDisco\":[\"" KEY_A "\",\"" KEY_B "\"],\"LamportID\":1,"));
    assert_true(says("\"AddrPorts\":[\"192.0.2.1:41641\",\"[2001:db8::1]:7\"],\"VNI\":"));
    assert_false(reply.is_close);
    struct http_response response = allocate_http_response(&reply);
    assert_string_equal(response.content_type, "application/json");
    struct allocate_reply first = reply;
    assert_int_equal(ask("POST", "authorization: bEARER   " TOKEN "\r\n", KEYS(KEY_A, KEY_B)), 200);
    assert_memory_equal(first.body, reply.body, reply.body_size);
    door.is_trusted = true;
    assert_int_equal(ask("POST", "", KEYS(KEY_A, KEY_S)), 200);
    assert_true(says("\"LamportID\":2,"));
}

static void test_strangers(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        int status;
    } rows[] = {
        {"", 401},
        {"Authorization: Basic " TOKEN "\r\n", 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: Bearer" TOKEN "\r\n", 401},
        {"Authorization: " TOKEN "\r\n", 401},
        {"Authorization: Bearer " TOKEN "0\r\n", 403},
        {"Authorization: Bearer 0123456789abcdeF\r\n", 403},
        {"Authorization: Bearer 0123456789abcde\r\n", 403},
        {"Authorization: Bearer " TOKEN ", " TOKEN "\r\n", 403},
        {"Authorization: Bearer x\r\n" BEARER, 403},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        if (ask("POST", rows[i].fields, KEYS(KEY_A, KEY_B)) != rows[i].status) fail_msg("%s", rows[i].fields);
        assert_true(reply.is_close);
        assert_true((rows[i].status == 401) == (*field("WWW-Authenticate") != 0));
        assert_false(says("0123456789abcde"));
    }
    assert_int_equal(refusals(UDP_REFUSE_NOT_ALLOWED), array_count(rows));
    door.tokens = NULL;
    assert_int_equal(ask("POST", BEARER, KEYS(KEY_A, KEY_B)), 403);
    assert_true(says("-relay-token-file"));
}

static void test_methods(void **state) {
    (void)state;
    static const char *const others[] = {"GET", "HEAD", "PUT", "OPTIONS", "post"};
    for (size_t i = 0; i < array_count(others); i++) {
        assert_int_equal(ask(others[i], "", ""), 405);
        assert_string_equal(field("Allow"), "POST");
    }
    door.allocator = NULL;
    assert_int_equal(ask("GET", "", ""), 404);
    assert_int_equal(ask("POST", BEARER, KEYS(KEY_A, KEY_B)), 404);
    assert_true(says("-relay-port"));
}

/* ---- what ---- */

static void test_bodies(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *words;
    } rows[] = {
        {"", 400, "no JSON"},
        {"{", 400, "no JSON"},
        {"[]", 400, "no JSON"},
        {KEYS(KEY_A, KEY_B) "x", 400, "no JSON"},
        {"null", 400, "exactly two"},
        {"{}", 400, "exactly two"},
        {"{\"DiscoKeys\":null}", 400, "exactly two"},
        {"{\"DiscoKeys\":[]}", 400, "exactly two"},
        {"{\"DiscoKeys\":[\"" KEY_A "\"]}", 400, "exactly two"},
        {"{\"DiscoKeys\":[\"" KEY_A "\",\"" KEY_B "\",\"" KEY_B "\"]}", 400, "exactly two"},
        {"{\"DiscoKeys\":\"" KEY_A "\"}", 400, "takes texts"},
        {"{\"DiscoKeys\":[\"" KEY_A "\",7]}", 400, "takes texts"},
        {KEYS(KEY_A, "nodekey:7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14"), 400, "takes texts"},
        {KEYS(KEY_A, KEY_B "0"), 400, "takes texts"},
        {KEYS(KEY_A, KEY_B "\\u0000"), 400, "takes texts"},
        {"{\"DiscoKeys\":[\"x\",\"y\"],\"DiscoKeys\":[\"" KEY_A "\",\"" KEY_B "\"]}", 400, "takes texts"},
        {"{\"DiscoKeys\":[],\"discoKEYS\":[\"" KEY_A "\",\"" KEY_B "\"]}", 200, "VNI"},
        {"{\"DiscoKeys\":[\"" KEY_A "\",\"" KEY_B "\"],\"DiscoKeys\":[]}", 400, "exactly two"},
        {" {\"Other\":[1.5e300,{\"DiscoKeys\":[]}],\"DiscoKeys\":[\"" KEY_A "\",\"" KEY_B "\"]} \n", 200, "VNI"},
        {KEYS(ZERO, KEY_B), 400, "zero"},
        {"{\"DiscoKeys\":[null,\"" KEY_B "\"]}", 400, "zero"},
        {KEYS(KEY_A, WEAK), 400, "low order"},
        {KEYS(KEY_A, KEY_A), 400, "the same"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        if (ask("POST", BEARER, rows[i].body) != rows[i].status || !says(rows[i].words)) {
            fail_msg("%s: %d, %.*s", rows[i].body, reply.status, (int)reply.body_size, reply.body);
        }
    }
    assert_int_equal(refusals(UDP_REFUSE_BAD_REQUEST), 17);
}

static void test_server_key(void **state) {
    (void)state;
    char text[DISCO_KEY_TEXT_SIZE], body[256];
    struct disco_key server = allocator_server(allocator);
    disco_key_format(&server, text);
    snprintf(body, sizeof(body), "{\"DiscoKeys\":[\"" KEY_A "\",\"%s\"]}", text);
    assert_int_equal(ask("POST", BEARER, body), 400);
    assert_true(says("the relay's own"));
}

static void test_sizes(void **state) {
    (void)state;
    char body[ALLOCATE_BODY_MAX + 2];
    memset(body, ' ', sizeof(body));
    memcpy(body, KEYS(KEY_A, KEY_B), sizeof(KEYS(KEY_A, KEY_B)) - 1);
    body[ALLOCATE_BODY_MAX] = 0;
    assert_int_equal(ask("POST", BEARER, body), 200);
    body[ALLOCATE_BODY_MAX] = ' ';
    body[ALLOCATE_BODY_MAX + 1] = 0;
    assert_int_equal(ask("POST", BEARER, body), 400);
    assert_true(says("at most 512"));
    static struct http_request request;
    static const char chunked[] = "POST / HTTP/1.1\r\nHost: x\r\n" BEARER "Transfer-Encoding: chunked\r\n\r\n";
    struct http_scan scan = {0};
    const struct token_id *who;
    assert_int_equal(http_request_parse(&scan, chunked, sizeof(chunked) - 1, &request), HTTP_DONE);
    assert_false(allocate_http_judge(&door, &request, &who, &reply));
    assert_int_equal(reply.status, 400);
    assert_true(says("Content-Length"));
}

/* ---- when ---- */

static void test_not_ready(void **state) {
    (void)state;
    struct net_address none = {.port = 0};
    allocator_set_addresses(allocator, &none, 0);
    assert_int_equal(ask("POST", BEARER, KEYS(KEY_A, KEY_B)), 503);
    assert_string_equal(field("Retry-After"), "3");
    assert_true(says("no address"));
}

static void test_closed(void **state) {
    (void)state;
    allocator_close(allocator);
    assert_int_equal(ask("POST", BEARER, KEYS(KEY_A, KEY_B)), 500);
    assert_string_equal(field("Retry-After"), "");
}

static int ask_nth(unsigned nth) {
    char body[256];
    snprintf(body, sizeof(body), "{\"DiscoKeys\":[\"" KEY_A "\",\"discokey:%064x\"]}", nth + 2);
    return ask("POST", door.is_trusted ? "" : BEARER, body);
}

static void test_quota_and_rate(void **state) {
    (void)state;
    for (unsigned i = 0; i < 3; i++) assert_int_equal(ask_nth(i), 200);
    assert_int_equal(ask_nth(3), 503);
    assert_string_equal(field("Retry-After"), "3");
    assert_true(says("-relay-requester-max"));
    assert_int_equal(ask_nth(0), 200);  // what is there already costs no quota
    for (unsigned i = 0; i < 95; i++) (void)ask_nth(0);
    assert_int_equal(ask_nth(0), 503);
    assert_true(says("-relay-rate"));
    now_ns += NS_PER_S / 10;
    assert_int_equal(ask_nth(0), 200);
    door.is_trusted = true;
    for (unsigned i = 0; i < 5; i++) assert_int_equal(ask_nth(10 + i), 200);
    for (unsigned i = 0; i < 200; i++) assert_int_equal(ask_nth(0), 200);
    assert_int_equal(ask_nth(20), 503);
    assert_true(says("wait for their clients"));
}

/* ---- the JSON ---- */

static const char *json_of(const struct allocator_answer *answer) {
    static char text[ALLOCATE_REPLY_MAX];
    struct writer w = writer_of(text, sizeof(text) - 1);
    allocate_http_write(&w, answer);
    assert_true(writer_ok(&w));
    *w.at = 0;
    return text;
}

static struct disco_key key_of(const char *text) {
    struct disco_key key;
    assert_int_equal(disco_key_parse(text, strlen(text), &key), KEY_OK);
    return key;
}

static void test_json(void **state) {
    (void)state;
    struct allocator_answer answer = {.server = key_of(KEY_S),
                                      .offer = {.vni = (1 << 24) - 1,
                                                .lamport = UINT64_MAX,
                                                .clients = {key_of(KEY_A), key_of(KEY_B)},
                                                .bind_lifetime_ns = 30 * NS_PER_S,
                                                .steady_lifetime_ns = 300 * NS_PER_S},
                                      .addresses = {address_of("[2001:db8::1]:41641"), address_of("192.0.2.9:3478")},
                                      .addresses_count = 2};
    assert_string_equal(json_of(&answer),
                        "{\"ServerDisco\":\"" KEY_S "\",\"ClientDisco\":[\"" KEY_A "\",\"" KEY_B "\"],"
                        "\"LamportID\":18446744073709551615,\"AddrPorts\":[\"[2001:db8::1]:41641\",\"192.0.2.9:3478\"],"
                        "\"VNI\":16777215,\"BindLifetime\":\"30s\",\"SteadyStateLifetime\":\"5m0s\"}");
}

/* The most there can be fits, and into what clients read. */
static void test_longest(void **state) {
    (void)state;
    struct allocator_answer answer = {
        .offer = {.lamport = UINT64_MAX, .bind_lifetime_ns = UINT64_MAX, .steady_lifetime_ns = UINT64_MAX},
        .addresses_count = ALLOCATOR_ADDRESSES_MAX};
    for (size_t i = 0; i < ALLOCATOR_ADDRESSES_MAX; i++) {
        answer.addresses[i] = address_of("[2001:db81:db81:db81:db81:db81:db81:db81]:65535");
    }
    allocate_http_tell(true, &answer, &reply);
    assert_int_equal(reply.status, 200);
    assert_in_range(reply.body_size, 1500, 4096);
    json_t *json = json_loadb(reply.body, reply.body_size, JSON_DECODE_INT_AS_REAL, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "AddrPorts")), ALLOCATOR_ADDRESSES_MAX);
    json_decref(json);
}

/* As Go's Duration.String says them. */
static void test_durations(void **state) {
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {1100, "1.1\u00b5s"},
        {2200 * 1000, "2.2ms"},
        {3300 * 1000 * 1000ull, "3.3s"},
        {30 * NS_PER_S, "30s"},
        {300 * NS_PER_S, "5m0s"},
        {245 * NS_PER_S + 1000000, "4m5.001s"},
        {5 * 3600 * NS_PER_S + 6 * 60 * NS_PER_S + 7001 * NS_PER_MS, "5h6m7.001s"},
        {480 * NS_PER_S + 1, "8m0.000000001s"},
        {3600 * NS_PER_S, "1h0m0s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
    };
    char text[GO_DURATION_TEXT_MAX];
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_string_equal(go_duration_text(rows[i].ns, text), rows[i].text);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    if (sys_init() != 0) return 1;
    gojson_init();
    const struct CMUnitTest tests[] = {
        TEST(test_granted),        TEST(test_strangers), TEST(test_methods),   TEST(test_bodies),
        TEST(test_server_key),     TEST(test_sizes),     TEST(test_not_ready), TEST(test_closed),
        TEST(test_quota_and_rate), TEST(test_json),      TEST(test_longest),   TEST(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
