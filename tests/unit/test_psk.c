/* test_psk.c - where the mesh key comes from, and what is said when there is none to be had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/sys.h"
#include "mesh/psk.h"

#define DIGITS "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static char base[64], keys[128], path[192];
static struct psk psk;
static char why[PSK_WHY_MAX];

static int set_up(void **state) {
    (void)state;
    snprintf(base, sizeof(base), "/tmp/test_psk.XXXXXX");
    if (mkdtemp(base) == NULL) return -1;
    snprintf(keys, sizeof(keys), "%s/keys", base);
    snprintf(path, sizeof(path), "%s/derp-mesh.key", keys);
    unsetenv(PSK_ENVIRONMENT);
    return setenv("HOME", base, 1) || mkdir(keys, 0700);
}

static int tear_down(void **state) {
    (void)state;
    (void)unlink(path);
    (void)rmdir(path);
    return rmdir(keys) || rmdir(base);
}

static void write_key(const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static bool load(const char *at, bool is_dev) {
    memset(&psk, 0xaa, sizeof(psk));
    *why = '\0';
    return psk_load(at, is_dev, &psk, why);
}

static void assert_key(const char *place) {
    char text[KEY_HEX_TEXT_SIZE];
    key_mesh_format(&psk.key, text);
    assert_string_equal(text, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    assert_string_equal(psk.place, place);
}

static void assert_none(void) { assert_true(key_mesh_is_zero(&psk.key)); }

static void test_a_file_that_is_named(void **state) {
    (void)state;
    const char *const good[] = {DIGITS, DIGITS "\n", " \t\r\n" DIGITS "\v\f\n", "\xc2\xa0" DIGITS "\xe2\x80\x83"};
    for (size_t i = 0; i < array_count(good); i++) {
        write_key(good[i]);
        assert_true(load(path, false));
        assert_key(path);
        assert_true(load(path, true));  // -dev, too
        assert_key(path);
    }
    assert_true(load("", false));
    assert_none();
    assert_string_equal(psk.place, "");
}

static void test_no_key_that_is_no_error(void **state) {
    (void)state;
    write_key("");
    assert_true(load(path, false));
    assert_none();
    write_key(ZEROS);
    assert_true(load(path, false));
    assert_none();
    assert_string_equal(psk.place, path);
}

static void test_what_is_no_key(void **state) {
    (void)state;
    static char large[5000];
    memset(large, ' ', sizeof(large) - 1);
    const char *const bad[] = {"\n", DIGITS "0", "0" DIGITS "\n", "x" DIGITS, DIGITS " " DIGITS, "abc", large};
    for (size_t i = 0; i < array_count(bad); i++) {
        write_key(bad[i]);
        assert_false(load(path, false));
        assert_none();
        assert_non_null(strstr(why, path));
        assert_null(strstr(why, "0123456789abcdef"));  // nothing of it in the log
    }
    assert_int_equal(unlink(path), 0);
    assert_false(load(path, false));
    assert_non_null(strstr(why, "No such file"));
    assert_non_null(strstr(why, "-mesh-psk-file="));  // what to do
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(load(path, false));
    memset(large, 'p', sizeof(large) - 1);
    assert_false(load(large, false));
    assert_non_null(strstr(why, "-mesh-psk-file"));
}

static void test_usual_places(void **state) {
    (void)state;
    if (access("/home/derp/keys/derp-mesh.key", F_OK) == 0) skip();  // it comes first
    assert_true(load(NULL, false));
    assert_none();
    assert_string_equal(psk.place, "");
    write_key(DIGITS);
    assert_true(load(NULL, false));
    assert_key(path);
    assert_true(load("", false));  // none, and that is meant
    assert_none();
    write_key("nonsense");
    assert_false(load(NULL, false));
    assert_non_null(strstr(why, path));
    assert_int_equal(unsetenv("HOME"), 0);
    assert_true(load(NULL, false));
    assert_none();
}

static void test_environment(void **state) {
    (void)state;
    write_key(DIGITS);
    assert_true(load(NULL, true));  // no usual places with -dev
    assert_none();
    assert_int_equal(setenv(PSK_ENVIRONMENT, DIGITS "\n", 1), 0);
    assert_true(load(NULL, true));
    assert_key("$" PSK_ENVIRONMENT);
    assert_int_equal(unlink(path), 0);
    assert_true(load(NULL, false));  // and the environment not without
    assert_none();
    assert_true(load("", true));
    assert_none();
    assert_int_equal(setenv(PSK_ENVIRONMENT, "", 1), 0);
    assert_true(load(NULL, true));
    assert_none();
    assert_int_equal(setenv(PSK_ENVIRONMENT, DIGITS "1", 1), 0);
    assert_false(load(NULL, true));
    assert_non_null(strstr(why, PSK_ENVIRONMENT));
    assert_null(strstr(why, "0123456789abcdef"));
}

static void test_wipe(void **state) {
    (void)state;
    write_key(DIGITS);
    assert_true(load(path, false));
    psk_wipe(&psk);
    assert_none();
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_file_that_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_key_that_is_no_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_usual_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_environment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wipe, set_up, tear_down),
    };
    return sys_init() == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
