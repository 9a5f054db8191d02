/* Keys: text forms, key file, mesh key file. Golden values were made with libsodium and compared with Go's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/gojson.h"
#include "proto/key.h"

#define SERVER_PRIVATE "privkey:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f"
#define SERVER_PUBLIC "nodekey:8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
#define CLIENT_PRIVATE "privkey:404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
#define CLIENT_PUBLIC "nodekey:79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a"
#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static void expect_public(const char *private_text, const char *public_text) {
    struct node_private private_key;
    struct node_key key;
    char text[KEY_PUBLIC_TEXT_SIZE];
    assert_int_equal(key_private_parse(private_text, strlen(private_text), &private_key), KEY_OK);
    key_private_public(&private_key, &key);
    key_format(&key, text);
    assert_string_equal(text, public_text);
    char again[KEY_PRIVATE_TEXT_SIZE];
    key_private_format(&private_key, again);
    assert_string_equal(again, private_text);
}

static void test_public_from_private(void **state) {
    (void)state;
    expect_public(SERVER_PRIVATE, SERVER_PUBLIC);
    expect_public(CLIENT_PRIVATE, CLIENT_PUBLIC);
}

static void test_public_text_forms(void **state) {
    (void)state;
    struct node_key key, same;
    char hex[KEY_HEX_TEXT_SIZE], brief[KEY_SHORT_TEXT_SIZE];
    assert_int_equal(key_parse(CLIENT_PUBLIC, strlen(CLIENT_PUBLIC), &key), KEY_OK);
    key_format_hex(&key, hex);
    assert_string_equal(hex, &CLIENT_PUBLIC[8]);
    assert_int_equal(key_parse_hex(hex, strlen(hex), &same), KEY_OK);
    assert_true(key_equal(&key, &same));
    key_format_short(&key, brief);
    assert_string_equal(brief, "[eaYx7]");
    same = (struct node_key){0};
    key_format_short(&same, brief);
    assert_string_equal(brief, "");
    assert_true(key_is_zero(&same));
    assert_false(key_is_zero(&key));
}

static void test_upper_case_is_read(void **state) {
    (void)state;
    struct node_key upper, lower;
    char text[] = HEX64;
    assert_int_equal(key_parse_hex(text, 64, &upper), KEY_OK);
    for (char *p = text; *p; p++) *p = (char)(*p >= 'A' ? *p | 0x20 : *p);
    assert_int_equal(key_parse_hex(text, 64, &lower), KEY_OK);
    assert_true(key_equal(&upper, &lower));
}

static void test_bad_texts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum key_error error;
    } rows[] = {
        {"", KEY_BAD_PREFIX},
        {"nodekey", KEY_BAD_PREFIX},
        {"NODEKEY:" HEX64, KEY_BAD_PREFIX},
        {"privkey:" HEX64, KEY_BAD_PREFIX},
        {" nodekey:" HEX64, KEY_BAD_PREFIX},
        {HEX64, KEY_BAD_PREFIX},
        {"nodekey:", KEY_BAD_LENGTH},
        {"nodekey:" HEX64 "0", KEY_BAD_LENGTH},
        {"nodekey:" HEX64 "\n", KEY_BAD_LENGTH},
        {"nodekey:00112233445566778899aabbccddeeff00112233445566778899aabbccddeef", KEY_BAD_LENGTH},
        {"nodekey:00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg", KEY_BAD_DIGIT},
        {"nodekey:0x112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", KEY_BAD_DIGIT},
        {"nodekey:00112233445566778899aabbccddee ff00112233445566778899aabbccddeef", KEY_BAD_DIGIT},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct node_key key = {{1}};
        assert_int_equal(key_parse(rows[i].text, strlen(rows[i].text), &key), rows[i].error);
        assert_true(key_is_zero(&key));
    }
}

static void test_generate_is_clamped(void **state) {
    (void)state;
    struct rng rng;
    rng_init_seeded(&rng, 1);
    struct node_private a, b;
    key_generate(&rng, &a);
    key_generate(&rng, &b);
    assert_false(key_private_equal(&a, &b));
    assert_int_equal(a.bytes[0] & 7, 0);
    assert_int_equal(a.bytes[31] & 0xc0, 0x40);
    key_private_wipe(&a);
    assert_true(key_private_is_zero(&a));
}

static enum key_error parse_file(const char *text, struct node_private *key) {
    return key_file_parse(text, strlen(text), key);
}

static void test_key_file_round_trip(void **state) {
    (void)state;
    struct node_private key, again;
    char file[KEY_FILE_SIZE + 1];
    assert_int_equal(key_private_parse(SERVER_PRIVATE, strlen(SERVER_PRIVATE), &key), KEY_OK);
    struct writer w = writer_of(file, KEY_FILE_SIZE);
    key_file_write(&w, &key);
    assert_true(writer_ok(&w));
    assert_int_equal(writer_left(&w), 0);
    file[KEY_FILE_SIZE] = '\0';
    assert_string_equal(file, "{\n\t\"PrivateKey\": \"" SERVER_PRIVATE "\"\n}");
    assert_int_equal(parse_file(file, &again), KEY_OK);
    assert_true(key_private_equal(&key, &again));
    w = writer_of(file, KEY_FILE_SIZE - 1);
    key_file_write(&w, &key);
    assert_false(writer_ok(&w));
}

static void test_key_file_rows(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum key_error error;
    } rows[] = {
        {"{\"PrivateKey\":\"" SERVER_PRIVATE "\"}", KEY_OK},
        {"{\"privatekey\":\"" SERVER_PRIVATE "\"}\n", KEY_OK},
        {"{\"PRIVATEKEY\":\"" SERVER_PRIVATE "\",\"Other\":[1,{}]}", KEY_OK},
        {"{\"PrivateKey\":\"" CLIENT_PRIVATE "\",\"PrivateKey\":\"" SERVER_PRIVATE "\"}", KEY_OK},
        {"{\"PrivateKey\":\"" SERVER_PRIVATE "\",\"privateKey\":null}", KEY_OK},
        {"", KEY_FILE_BAD_JSON},
        {"[]", KEY_FILE_BAD_JSON},
        {SERVER_PRIVATE, KEY_FILE_BAD_JSON},
        {"{\"PrivateKey\":5}", KEY_FILE_BAD_JSON},
        {"{\"PrivateKey\":\"" SERVER_PRIVATE "\"} x", KEY_FILE_BAD_JSON},
        {"{}", KEY_FILE_NO_KEY},
        {"null", KEY_FILE_NO_KEY},
        {"{\"PrivateKey\":null}", KEY_FILE_NO_KEY},
        {"{\"PrivateKey\":\"privkey:0000000000000000000000000000000000000000000000000000000000000000\"}",
         KEY_FILE_NO_KEY},
        {"{\"PrivateKey\":\"\"}", KEY_FILE_BAD_KEY},
        {"{\"PrivateKey\":\"" HEX64 "\"}", KEY_FILE_BAD_KEY},
        {"{\"PrivateKey\":\"" SERVER_PRIVATE "0\"}", KEY_FILE_BAD_KEY},
        {"{\"PrivateKey\":\"bad\",\"PrivateKey\":\"" SERVER_PRIVATE "\"}", KEY_FILE_BAD_KEY},
    };
    struct node_private due;
    assert_int_equal(key_private_parse(SERVER_PRIVATE, strlen(SERVER_PRIVATE), &due), KEY_OK);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct node_private key;
        enum key_error error = parse_file(rows[i].text, &key);
        if (error != rows[i].error) fail_msg("row %zu: %s", i, key_error_text(error));
        assert_int_equal(error == KEY_OK, key_private_equal(&key, &due));
        if (error) assert_true(key_private_is_zero(&key));
    }
}

static void test_key_file_too_large(void **state) {
    (void)state;
    struct node_private key;
    char *text = calloc(1, KEY_FILE_SIZE_MAX + 1);
    assert_non_null(text);
    assert_int_equal(key_file_parse(text, KEY_FILE_SIZE_MAX + 1, &key), KEY_FILE_TOO_LARGE);
    assert_int_equal(key_file_parse(text, KEY_FILE_SIZE_MAX, &key), KEY_FILE_BAD_JSON);
    free(text);
}

static void test_mesh_file_rows(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum key_error error;
    } rows[] = {
        {HEX64, KEY_OK},
        {HEX64 "\n", KEY_OK},
        {"\r\n \t\v\f" HEX64 " \n", KEY_OK},
        {"\xe2\x80\x83\xc2\xa0" HEX64 "\xe3\x80\x80", KEY_OK},
        {"", KEY_MESH_EMPTY},
        {"\n", KEY_MESH_BAD},
        {"   ", KEY_MESH_BAD},
        {HEX64 "0", KEY_MESH_BAD},
        {HEX64 " 0", KEY_MESH_BAD},
        {"nodekey:" HEX64, KEY_MESH_BAD},
        {"\xef\xbb\xbf" HEX64, KEY_MESH_BAD},
        {"xx112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", KEY_MESH_BAD},
    };
    struct mesh_key due;
    assert_int_equal(key_mesh_parse(HEX64, 64, &due), KEY_OK);
    for (size_t i = 0; i < array_count(rows); i++) {
        struct mesh_key key;
        assert_int_equal(key_mesh_file_parse(rows[i].text, strlen(rows[i].text), &key), rows[i].error);
        assert_int_equal(rows[i].error == KEY_OK, key_mesh_equal(&key, &due));
        assert_int_equal(rows[i].error != KEY_OK, key_mesh_is_zero(&key));
    }
    char text[KEY_HEX_TEXT_SIZE];
    key_mesh_format(&due, text);
    assert_memory_equal(text, "0011", 4);
    key_mesh_wipe(&due);
    assert_true(key_mesh_is_zero(&due));
}

static void test_every_error_has_a_text(void **state) {
    (void)state;
    for (int e = 0; e < KEY_ERROR_COUNT; e++) assert_true(strlen(key_error_text((enum key_error)e)) > 10);
    assert_non_null(key_error_text((enum key_error)99));
}

int main(void) {
    if (sodium_init() < 0) return 1;
    gojson_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_public_from_private), cmocka_unit_test(test_public_text_forms),
        cmocka_unit_test(test_upper_case_is_read),  cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_generate_is_clamped), cmocka_unit_test(test_key_file_round_trip),
        cmocka_unit_test(test_key_file_rows),       cmocka_unit_test(test_key_file_too_large),
        cmocka_unit_test(test_mesh_file_rows),      cmocka_unit_test(test_every_error_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
