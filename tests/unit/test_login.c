/* The login: golden frames, both sides against each other, hostile frames, and the table of JSON documents. The
 * verdicts of the table are those of Go's encoding/json with the struct that derper uses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/gojson.h"
#include "proto/login.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define ZERO64 "0000000000000000000000000000000000000000000000000000000000000000"

struct pair {
    struct node_private server_private, client_private;
    struct node_key server, client;
};

static struct pair golden_pair(void) {
    struct pair p;
    for (uint8_t i = 0; i < KEY_SIZE; i++) {
        p.server_private.bytes[i] = i;
        p.client_private.bytes[i] = (uint8_t)(0x40 + i);
    }
    p.server_private.bytes[31] = 0x5f;
    key_private_public(&p.server_private, &p.server);
    key_private_public(&p.client_private, &p.client);
    return p;
}

static size_t from_hex(const char *hex, uint8_t *bytes, size_t capacity) {
    size_t size = 0;
    assert_int_equal(sodium_hex2bin(bytes, capacity, hex, strlen(hex), " ", &size, NULL), 0);
    return size;
}

/* ---- golden frames ---- */

static void test_golden_client_info(void **state) {
    (void)state;
    struct pair p = golden_pair();
    uint8_t frame[128], zero[128] = {0};
    size_t size = from_hex("0200000068 79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a"
                           "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7 cc4511357f54c6fae50578bf8c881f28"
                           "5bccd5722da5dd895c5058efc77b167abeb3b627e28cc8b2f7b896482591bdff",
                           frame, sizeof(frame));
    assert_int_equal(size, 109);
    struct node_key client;
    struct client_info info;
    struct box_key shared, due;
    size_t length = size - DERP_HEADER_SIZE;
    assert_int_equal(
        login_open_client_info(&p.server_private, frame + DERP_HEADER_SIZE, length, &client, &info, &shared), LOGIN_OK);
    assert_true(key_equal(&client, &p.client));
    assert_int_equal(info.version, 2);
    assert_true(info.can_ack_pings);
    assert_false(info.is_prober || info.has_mesh_key || info.has_bad_app_name);
    assert_string_equal(info.app_name, "");
    assert_true(box_key_derive(&due, &p.server, &p.client_private));
    assert_memory_equal(&shared, &due, sizeof(due));
    assert_memory_equal(frame + DERP_HEADER_SIZE, zero, length);
}

static void test_golden_server_info(void **state) {
    (void)state;
    struct pair p = golden_pair();
    uint8_t frame[64];
    size_t size = from_hex("0300000035 c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7"
                           "edcfb4297b6eaadab5b9837c147df6ba 0253b6c0da24545d34b201b954",
                           frame, sizeof(frame));
    assert_int_equal(size, LOGIN_SERVER_INFO_FRAME_SIZE);
    assert_int_equal(size, 58);
    struct box_key shared;
    struct server_info info;
    assert_true(box_key_derive(&shared, &p.server, &p.client_private));
    assert_int_equal(login_open_server_info(&shared, frame + DERP_HEADER_SIZE, size - DERP_HEADER_SIZE, &info),
                     LOGIN_OK);
    assert_int_equal(info.version, 2);
    assert_int_equal(info.token_bucket_bytes_per_second, 0);
}

/* ---- both sides ---- */

static struct client_info full_info(void) {
    struct client_info info = {.version = INT64_MIN, .has_mesh_key = true, .is_prober = true};
    memset(info.mesh_key.bytes, 0xab, sizeof(info.mesh_key.bytes));
    memset(info.app_name, '"', DERP_APP_NAME_SIZE_MAX);
    info.app_name[1] = '\\';
    return info;
}

static void expect_login(const struct client_info *sent) {
    struct pair p = golden_pair();
    struct rng rng;
    rng_init_seeded(&rng, 5);
    uint8_t b[1024];
    struct writer w = writer_of(b, LOGIN_CLIENT_INFO_FRAME_SIZE_MAX);
    struct box_key at_client, at_server;
    struct node_key client;
    struct client_info got;
    struct server_info server_info;
    assert_true(login_write_client_info(&w, &p.client_private, &p.server, sent, &rng, &at_client));
    size_t length = (size_t)(w.at - b) - DERP_HEADER_SIZE;
    assert_int_equal(b[0], DERP_CLIENT_INFO);
    assert_int_equal(load_be32(b + 1), length);
    assert_int_equal(login_open_client_info(&p.server_private, b + DERP_HEADER_SIZE, length, &client, &got, &at_server),
                     LOGIN_OK);
    assert_true(key_equal(&client, &p.client));
    assert_memory_equal(&got, sent, sizeof(got));

    w = writer_of(b, sizeof(b));
    login_write_server_info(&w, &at_server, &rng);
    assert_int_equal(w.at - b, LOGIN_SERVER_INFO_FRAME_SIZE);
    assert_int_equal(b[0], DERP_SERVER_INFO);
    length = load_be32(b + 1);
    assert_int_equal(login_open_server_info(&at_client, b + DERP_HEADER_SIZE, length, &server_info), LOGIN_OK);
    assert_int_equal(server_info.version, DERP_VERSION);
}

static void test_both_sides(void **state) {
    (void)state;
    struct client_info info;
    memset(&info, 0, sizeof(info));
    expect_login(&info);
    info.version = 2;
    info.can_ack_pings = true;
    memcpy(info.app_name, "derpprobe", 9);
    expect_login(&info);
    struct client_info full;
    memset(&full, 0, sizeof(full));
    full = full_info();
    expect_login(&full);
}

static void test_no_room(void **state) {
    (void)state;
    struct pair p = golden_pair();
    struct rng rng;
    rng_init_seeded(&rng, 5);
    struct client_info info = {.version = 2};
    uint8_t b[80] = {0}, zero[80] = {0};
    struct box_key shared = {{1}}, none = {{0}};
    struct writer w = writer_of(b, sizeof(b));
    assert_false(login_write_client_info(&w, &p.client_private, &p.server, &info, &rng, &shared));
    assert_memory_equal(&shared, &none, sizeof(none));
    w = writer_of(b, LOGIN_SERVER_INFO_FRAME_SIZE - 1);
    login_write_server_info(&w, &shared, &rng);
    assert_false(writer_ok(&w));
    assert_memory_equal(b, zero, sizeof(b));
}

/* ---- hostile frames ---- */

static enum login_error open_as_server(uint8_t *payload, size_t length) {
    struct pair p = golden_pair();
    struct node_key client;
    struct client_info info;
    struct box_key shared, none = {{0}};
    enum login_error error = login_open_client_info(&p.server_private, payload, length, &client, &info, &shared);
    assert_int_equal(error != LOGIN_OK, key_is_zero(&client));
    assert_int_equal(error != LOGIN_OK, memcmp(&shared, &none, sizeof(none)) == 0);
    return error;
}

/* A payload with this plaintext, as the golden client seals it. */
static size_t seal_json(const char *json, uint8_t *payload, size_t capacity) {
    struct pair p = golden_pair();
    struct box_key shared;
    uint8_t nonce[BOX_NONCE_SIZE] = {3};
    assert_true(box_key_derive(&shared, &p.server, &p.client_private));
    struct writer w = writer_of(payload, capacity);
    writer_copy(&w, p.client.bytes, KEY_SIZE);
    box_seal(&w, &shared, nonce, json, strlen(json));
    assert_true(writer_ok(&w));
    return (size_t)(w.at - payload);
}

static void test_hostile_frames(void **state) {
    (void)state;
    uint8_t b[512];
    size_t length = seal_json("{}", b, sizeof(b));
    assert_int_equal(length, 74);
    assert_int_equal(open_as_server(b, length), LOGIN_OK);
    for (size_t cut = 0; cut < 74; cut++) {
        (void)seal_json("{}", b, sizeof(b));
        assert_int_equal(open_as_server(b, cut), cut < 72 ? LOGIN_BAD_LENGTH : LOGIN_BAD_BOX);
    }
    (void)seal_json("{}", b, sizeof(b));
    b[73] ^= 1;
    assert_int_equal(open_as_server(b, 74), LOGIN_BAD_BOX);
    (void)seal_json("{}", b, sizeof(b));
    memset(b, 0, KEY_SIZE);
    assert_int_equal(open_as_server(b, 74), LOGIN_BAD_KEY);
    (void)seal_json("{}", b, sizeof(b));
    memset(b, 0, KEY_SIZE);
    b[0] = 1;
    assert_int_equal(open_as_server(b, 74), LOGIN_BAD_KEY);
    length = seal_json("", b, sizeof(b));
    assert_int_equal(open_as_server(b, length), LOGIN_BAD_JSON);
    length = seal_json("{\"meshKey\":\"\"}", b, sizeof(b));
    assert_int_equal(open_as_server(b, length), LOGIN_BAD_MESH_KEY);
}

static void test_zero_keys_of_our_own(void **state) {
    (void)state;
    struct pair p = golden_pair();
    struct rng rng;
    rng_init_seeded(&rng, 5);
    const struct node_private none = {{0}};
    const struct node_key no_key = {{0}};
    struct client_info info = {.version = 2};
    struct node_key client;
    struct box_key shared;
    uint8_t b[512];
    size_t length = seal_json("{}", b, sizeof(b));
    assert_int_equal(login_open_client_info(&none, b, length, &client, &info, &shared), LOGIN_BAD_KEY);
    struct writer w = writer_of(b, sizeof(b));
    assert_false(login_write_client_info(&w, &none, &p.server, &info, &rng, &shared));
    assert_false(login_write_client_info(&w, &p.client_private, &no_key, &info, &rng, &shared));
    assert_ptr_equal(w.at, b);
}

static void test_server_info_from_a_stranger(void **state) {
    (void)state;
    struct box_key shared = {{7}};
    struct server_info info;
    uint8_t b[100] = {0};
    for (size_t length = 0; length < sizeof(b); length++)
        assert_int_equal(login_open_server_info(&shared, b, length, &info),
                         length < BOX_OVERHEAD ? LOGIN_BAD_LENGTH : LOGIN_BAD_BOX);
}

/* ---- the table of documents ---- */

struct json_row {
    const char *json;
    enum login_error error;
    int64_t version;
    const char *app_name;
    bool can_ack_pings, is_prober, has_mesh_key, has_bad_app_name;
};

static void check_row(const struct json_row *row) {
    char text[1024];
    size_t size = strlen(row->json);
    struct client_info info;
    assert_true(size < sizeof(text));
    memcpy(text, row->json, size);
    enum login_error error = login_parse_client_info(text, size, &info);
    const char *name = row->app_name ? row->app_name : "";
    if (error != row->error || info.version != row->version || info.can_ack_pings != row->can_ack_pings ||
        info.is_prober != row->is_prober || info.has_mesh_key != row->has_mesh_key ||
        info.has_bad_app_name != row->has_bad_app_name || strcmp(info.app_name, name) != 0)
        fail_msg("%s: %s, version %lld, app name \"%s\"", row->json, login_error_name(error), (long long)info.version,
                 info.app_name);
}

static void check_rows(const struct json_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) check_row(&rows[i]);
}

#define OK .error = LOGIN_OK
#define BAD .error = LOGIN_BAD_JSON
#define BAD_MESH .error = LOGIN_BAD_MESH_KEY

static void test_json_documents(void **state) {
    (void)state;
    static const struct json_row rows[] = {
        {"{}", OK},
        {"null", OK},
        {" \t\r\n{} \t\r\n", OK},
        {"null \n", OK},
        {"{\"version\":2,\"CanAckPings\":true}", .version = 2, .can_ack_pings = true},
        {"{\"version\":2,\"CanAckPings\":false,\"IsProber\":true,\"AppName\":\"x\"}", .version = 2, .is_prober = true,
         .app_name = "x"},
        {"", BAD},
        {" ", BAD},
        {"[]", BAD},
        {"[\"version\",2]", BAD},
        {"5", BAD},
        {"\"x\"", BAD},
        {"true", BAD},
        {"nul", BAD},
        {"nulll", BAD},
        {"null x", BAD},
        {"{} x", BAD},
        {"{}{}", BAD},
        {"{}null", BAD},
        {"{", BAD},
        {"}", BAD},
        {"{]", BAD},
        {"{\"version\"}", BAD},
        {"{\"version\":}", BAD},
        {"{\"version\",2}", BAD},
        {"{\"version\":2,}", BAD},
        {"{,}", BAD},
        {"{:}", BAD},
        {"{\"version\":2:\"x\":3}", BAD},
        {"{\"version\":2,\"x\",3}", BAD},
        {"{version:2}", BAD},
        {"{2:2}", BAD},
        {"{null:2}", BAD},
        {"{'version':2}", BAD},
        {"{\"a\":[}", BAD},
        {"{\"a\":{]}", BAD},
        {"{\"a\":1]", BAD},
        {"\xef\xbb\xbf{}", BAD},
        {"/**/{}", BAD},
    };
    check_rows(rows, array_count(rows));
}

static void test_json_members(void **state) {
    (void)state;
    static const struct json_row rows[] = {
        /* names in any case, also Unicode's long s and Kelvin sign, also escaped */
        {"{\"VERSION\":3,\"canackpings\":true,\"ISPROBER\":true,\"appname\":\"y\"}", .version = 3,
         .can_ack_pings = true, .is_prober = true, .app_name = "y"},
        {"{\"ver\xc5\xbfion\":4}", .version = 4},
        {"{\"CanAc\xe2\x84\xaaPings\":true}", .can_ack_pings = true},
        {"{\"\\u0076ersion\":5}", .version = 5},
        {"{\"version \":5,\"versio\":5,\"versionn\":5}", OK},
        /* duplicates: each must be good, the last one counts, null does not */
        {"{\"version\":1,\"version\":2}", .version = 2},
        {"{\"version\":1,\"Version\":2,\"version\":3}", .version = 3},
        {"{\"version\":2,\"version\":null}", .version = 2},
        {"{\"version\":\"x\",\"version\":2}", BAD},
        {"{\"AppName\":\"a\",\"AppName\":\"b\"}", .app_name = "b"},
        {"{\"AppName\":\"\\u0001\",\"AppName\":\"b\"}", .app_name = "b"},
        {"{\"AppName\":\"b\",\"AppName\":\"\\u0001\"}", .has_bad_app_name = true},
        /* null leaves the zero value */
        {"{\"CanAckPings\":null}", OK},
        {"{\"version\":null,\"IsProber\":null,\"AppName\":null}", OK},
        /* wrong types */
        {"{\"version\":\"2\"}", BAD},
        {"{\"version\":true}", BAD},
        {"{\"version\":[]}", BAD},
        {"{\"version\":{}}", BAD},
        {"{\"IsProber\":1}", BAD},
        {"{\"IsProber\":\"true\"}", BAD},
        {"{\"CanAckPings\":0}", BAD},
        {"{\"AppName\":5}", BAD},
        {"{\"AppName\":[\"x\"]}", BAD},
        /* integers */
        {"{\"version\":-1}", .version = -1},
        {"{\"version\":-0}", OK},
        {"{\"version\":9223372036854775807}", .version = INT64_MAX},
        {"{\"version\":-9223372036854775808}", .version = INT64_MIN},
        {"{\"version\":9223372036854775808}", BAD},
        {"{\"version\":-9223372036854775809}", BAD},
        {"{\"version\":99999999999999999999}", BAD},
        {"{\"version\":2.0}", BAD},
        {"{\"version\":2e0}", BAD},
        {"{\"version\":2.}", BAD},
        {"{\"version\":02}", BAD},
        {"{\"version\":+2}", BAD},
        {"{\"version\":-}", BAD},
        {"{\"version\":0x2}", BAD},
        /* app names: 32 bytes of printable ASCII */
        {"{\"AppName\":\"\"}", OK},
        {"{\"AppName\":\"01234567890123456789012345678901\"}", .app_name = "01234567890123456789012345678901"},
        {"{\"AppName\":\"012345678901234567890123456789012\"}", .has_bad_app_name = true},
        {"{\"AppName\":\" ~\"}", .app_name = " ~"},
        {"{\"AppName\":\"a\\u0000b\"}", .has_bad_app_name = true},
        {"{\"AppName\":\"\xc3\xa9\"}", .has_bad_app_name = true},
        {"{\"AppName\":\"\xff\"}", .has_bad_app_name = true},
        {"{\"AppName\":\"\\ud800\"}", .has_bad_app_name = true},
        {"{\"AppName\":\"\x7f\"}", .has_bad_app_name = true},
        {"{\"AppName\":\"\\u0041\\\"\\\\\\/\"}", .app_name = "A\"\\/"},
    };
    check_rows(rows, array_count(rows));
}

static void test_json_mesh_keys(void **state) {
    (void)state;
    static const struct json_row rows[] = {
        {"{\"meshKey\":\"" HEX64 "\"}", .has_mesh_key = true},
        {"{\"MESHKEY\":\"" HEX64 "\"}", .has_mesh_key = true},
        {"{\"meshKey\":\"" ZERO64 "\"}", OK},
        {"{\"meshKey\":\"" HEX64 "\",\"meshKey\":\"" ZERO64 "\"}", OK},
        {"{\"meshKey\":null}", BAD_MESH},
        {"{\"meshKey\":\"\"}", BAD_MESH},
        {"{\"meshKey\":5}", BAD_MESH},
        {"{\"meshKey\":[\"" HEX64 "\"]}", BAD_MESH},
        {"{\"meshKey\":{}}", BAD_MESH},
        {"{\"meshKey\":\"" HEX64 "0\"}", BAD_MESH},
        {"{\"meshKey\":\" " HEX64 "\"}", BAD_MESH},
        {"{\"meshKey\":\"0x112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}", BAD_MESH},
        {"{\"meshKey\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddee\"}", BAD_MESH},
        {"{\"meshKey\":\"bad\",\"meshKey\":\"" HEX64 "\"}", BAD_MESH},
        {"{\"meshKey\":\"" HEX64 "\",\"meshKey\":null}", BAD_MESH},
    };
    check_rows(rows, array_count(rows));
    char text[] = "{\"meshKey\":\"" HEX64 "\"}";
    struct client_info info;
    assert_int_equal(login_parse_client_info(text, sizeof(text) - 1, &info), LOGIN_OK);
    assert_int_equal(info.mesh_key.bytes[1], 0x11);
    assert_int_equal(info.mesh_key.bytes[31], 0xff);
}

/* What Go skips in members it does not know. */
static void test_json_unknown_members(void **state) {
    (void)state;
    static const struct json_row rows[] = {
        {"{\"x\":{\"y\":[1,{\"version\":7},null]},\"version\":2}", .version = 2},
        {"{\"x\":{\"version\":7,\"version\":8}}", OK},
        {"{\"x\":1e999}", OK},
        {"{\"x\":-1.5E-999}", OK},
        {"{\"x\":99999999999999999999999999999999999999}", OK},
        {"{\"x\":[0.5,1e1,-0,-0.0,0e0]}", OK},
        {"{\"x\":01}", BAD},
        {"{\"x\":1.}", BAD},
        {"{\"x\":.5}", BAD},
        {"{\"x\":1e}", BAD},
        {"{\"x\":1e+}", BAD},
        {"{\"x\":1-2}", BAD},
        {"{\"x\":--1}", BAD},
        {"{\"x\":NaN}", BAD},
        {"{\"x\":1e5x}", BAD},
        /* strings: what is not UTF-8 passes, control characters and bad escapes do not */
        {"{\"x\":\"\xff\xfe\x80\xc0\xaf\"}", OK},
        {"{\"x\":\"\xc3\"}", OK},
        {"{\"x\":\"\xed\xa0\x80\"}", OK},
        {"{\"x\":\"\xe0\x9f\xbf\xf0\x8f\xbf\xbf\xf4\x90\x80\x80\"}", OK},
        {"{\"\xff\":1}", OK},
        {"{\"x\":\"\xf0\x9f\x94\x91\"}", OK},
        {"{\"x\":\"\\ud800\"}", OK},
        {"{\"x\":\"\\udc00\\ud800\"}", OK},
        {"{\"x\":\"\\ud83d\\udd11\\ud800\\u0041\"}", OK},
        {"{\"x\":\"\\u0000\"}", OK},
        {"{\"a\\u0000b\":1}", OK},
        {"{\"x\":{\"a\\u0000b\":1}}", OK},
        {"{\"x\":\"\\\"\"}", OK},
        {"{\"x\":\"\\\\\"}", OK},
        {"{\"x\":\"\n\"}", BAD},
        {"{\"x\":\"\x01\"}", BAD},
        {"{\"x\":\"\\x\"}", BAD},
        {"{\"x\":\"\\u12\"}", BAD},
        {"{\"x\":\"\\u12g4\"}", BAD},
        {"{\"x\":\"\\", BAD},
        {"{\"x\":\"\\u", BAD},
        {"{\"x\":\"abc", BAD},
        {"{\"x\":\"abc\\\"}", BAD},
        {"{\"x\":\xff}", BAD},
    };
    check_rows(rows, array_count(rows));
}

static void test_nul_bytes(void **state) {
    (void)state;
    static const char *const texts[] = {"{}\0",           "{\0}",        "\0{}",  "{\"x\0\":1}",
                                        "{\"x\":\"\0\"}", "{\"x\":1\0}", "null\0"};
    static const size_t sizes[] = {3, 3, 3, 8, 9, 8, 5};
    for (size_t i = 0; i < array_count(texts); i++) {
        char text[16];
        struct client_info info;
        memcpy(text, texts[i], sizes[i]);
        assert_int_equal(login_parse_client_info(text, sizes[i], &info), LOGIN_BAD_JSON);
    }
}

/* `count` times `open`, then `close`, as the value of an unknown member. */
static enum login_error parse_repeated(size_t count, char open, char close) {
    char *text = malloc(2 * count + 16);
    assert_non_null(text);
    size_t size = 5;
    memcpy(text, "{\"x\":", size);
    memset(text + size, open, count);
    size += count;
    if (close) {
        memset(text + size, close, count);
        size += count;
    }
    text[size++] = '}';
    struct client_info info;
    enum login_error error = login_parse_client_info(text, size, &info);
    free(text);
    return error;
}

static void test_bounds(void **state) {
    (void)state;
    assert_int_equal(parse_repeated(1000, '[', ']'), LOGIN_OK);
    assert_int_equal(parse_repeated(2047, '[', ']'), LOGIN_OK);
    assert_int_equal(parse_repeated(2048, '[', ']'), LOGIN_BAD_JSON);
    assert_int_equal(parse_repeated(100000, '[', ']'), LOGIN_BAD_JSON);
    assert_int_equal(parse_repeated(200000, '[', 0), LOGIN_BAD_JSON);
    assert_int_equal(parse_repeated(200000, '9', 0), LOGIN_OK);
    assert_int_equal(parse_repeated(200000, '-', 0), LOGIN_BAD_JSON);
    assert_int_equal(parse_repeated(DERP_CLIENT_INFO_LENGTH_MAX, ' ', 0), LOGIN_BAD_LENGTH);
}

/* Many members, with names that a bad hash would put in one bucket: no object is built, so there is no hash. */
static void test_many_members(void **state) {
    (void)state;
    char *text = malloc(DERP_CLIENT_INFO_LENGTH_MAX);
    assert_non_null(text);
    struct writer w = writer_of(text, DERP_CLIENT_INFO_LENGTH_MAX);
    writer_text(&w, "{");
    while (writer_left(&w) > 64) writer_text(&w, "\"a\":0,");
    writer_text(&w, "\"version\":9}");
    struct client_info info;
    size_t size = DERP_CLIENT_INFO_LENGTH_MAX - writer_left(&w);
    assert_int_equal(login_parse_client_info(text, size, &info), LOGIN_OK);
    assert_int_equal(info.version, 9);
    free(text);
}

static void test_server_info_documents(void **state) {
    (void)state;
    struct server_info info;
    char text[] = "{\"version\":2,\"TokenBucketBytesPerSecond\":10,\"tokenbucketbytesburst\":20}";
    assert_int_equal(login_parse_server_info(text, sizeof(text) - 1, &info), LOGIN_OK);
    assert_int_equal(info.version, 2);
    assert_int_equal(info.token_bucket_bytes_per_second, 10);
    assert_int_equal(info.token_bucket_bytes_burst, 20);
    char bad[] = "{\"version\":2,\"TokenBucketBytesPerSecond\":\"10\"}";
    assert_int_equal(login_parse_server_info(bad, sizeof(bad) - 1, &info), LOGIN_BAD_JSON);
    assert_int_equal(info.version, 0);
}

static void test_names(void **state) {
    (void)state;
    for (int e = 0; e < LOGIN_ERROR_COUNT; e++) assert_non_null(login_error_name((enum login_error)e));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    gojson_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_client_info),
        cmocka_unit_test(test_golden_server_info),
        cmocka_unit_test(test_both_sides),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_hostile_frames),
        cmocka_unit_test(test_zero_keys_of_our_own),
        cmocka_unit_test(test_server_info_from_a_stranger),
        cmocka_unit_test(test_json_documents),
        cmocka_unit_test(test_json_members),
        cmocka_unit_test(test_json_mesh_keys),
        cmocka_unit_test(test_json_unknown_members),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_server_info_documents),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
