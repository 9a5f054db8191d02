/* relay/certs: files made, read, reloaded; the meta certificate renewed by age; a broken file changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/aead.h"
#include "core/sys.h"
#include "proto/handshake.h"
#include "relay/certs.h"

enum { DAY_S = 24 * 60 * 60 };

static char dir[64];
static struct rng rng;
static struct node_key server;
static struct certs certs;
static char why[CERTS_WHY_MAX];

static int set_up_all(void **state) {
    char detail[TLS_WHY_MAX];
    (void)state;
    rng_init_seeded(&rng, 7);
    memset(server.bytes, 9, sizeof(server.bytes));
    return sys_init() == 0 && aead_init(NULL, why) && handshake_init(detail) ? 0 : -1;
}

static int tear_down_all(void **state) {
    (void)state;
    handshake_fini();
    return 0;
}

static int set_up(void **state) {
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/ringrelay-certs-XXXXXX");
    if (mkdtemp(dir) == NULL) return -1;
    return certs_init(&certs, "127.0.0.1", dir, &server, &rng, why) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    unlink(certs.chain_path);
    unlink(certs.key_path);
    return rmdir(dir);
}

static struct tls_identity *load_at(uint64_t unix_s) {
    struct tls_identity *identity = certs_load(&certs, unix_s, why);
    if (identity == NULL) print_error("%s\n", why);
    assert_non_null(identity);
    return identity;
}

static void write_text(const char *path, const char *text) {
    assert_int_equal(sys_file_write(path, text, strlen(text), 0644), 0);
}

static void test_a_certificate_is_made_and_then_used(void **state) {
    (void)state;
    uint64_t now = sys_wall_clock_s();
    struct stat key_info, chain_info;
    struct tls_identity *made = load_at(now);
    assert_int_equal(stat(certs.key_path, &key_info), 0);
    assert_int_equal(stat(certs.chain_path, &chain_info), 0);
    assert_int_equal(key_info.st_mode & 0777, 0600);
    assert_int_equal(chain_info.st_mode & 0777, 0644);
    assert_true(tls_identity_facts(made)->is_ip);
    assert_int_equal(tls_identity_facts(made)->certificate_count, 2);
    struct tls_identity *read = load_at(now);
    assert_memory_equal(tls_identity_facts(made)->pin, tls_identity_facts(read)->pin, CERT_PIN_SIZE);
    tls_identity_give(made);
    tls_identity_give(read);
}

static void test_nothing_changed_is_nothing_new(void **state) {
    (void)state;
    uint64_t now = sys_wall_clock_s();
    tls_identity_give(load_at(now));
    assert_null(certs_check(&certs, now));
    assert_null(certs_check(&certs, now + 6 * DAY_S));
}

/* The meta certificate is good for 30 days, so it is made anew long before. */
static void test_the_meta_certificate_is_renewed_by_age(void **state) {
    (void)state;
    uint64_t now = sys_wall_clock_s();
    tls_identity_give(load_at(now));
    struct tls_identity *renewed = certs_check(&certs, now + (CERTS_METACERT_DAYS + 1) * DAY_S);
    assert_non_null(renewed);
    assert_true(CERTS_METACERT_DAYS + 1 < 30);
    assert_null(certs_check(&certs, now + (CERTS_METACERT_DAYS + 2) * DAY_S));
    tls_identity_give(renewed);
}

static void test_changed_files_are_taken(void **state) {
    (void)state;
    uint64_t now = sys_wall_clock_s();
    struct tls_identity *first = load_at(now);
    assert_int_equal(unlink(certs.chain_path), 0);
    assert_int_equal(unlink(certs.key_path), 0);
    struct certs other;
    assert_true(certs_init(&other, "127.0.0.1", dir, &server, &rng, why));
    tls_identity_give(certs_load(&other, now, why));
    struct tls_identity *second = certs_check(&certs, now + 1);
    assert_non_null(second);
    assert_memory_not_equal(tls_identity_facts(first)->pin, tls_identity_facts(second)->pin, CERT_PIN_SIZE);
    tls_identity_give(first);
    tls_identity_give(second);
}

static void test_a_broken_file_changes_nothing(void **state) {
    (void)state;
    uint64_t now = sys_wall_clock_s();
    tls_identity_give(load_at(now));
    write_text(certs.chain_path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_null(certs_check(&certs, now + 1));
    assert_null(certs_check(&certs, now + 2));
    assert_int_equal(unlink(certs.chain_path), 0);
    assert_null(certs_check(&certs, now + 3));
}

static void test_refusals_name_the_file(void **state) {
    (void)state;
    struct certs named;
    assert_true(certs_init(&named, "derp.example", dir, &server, &rng, why));
    assert_null(certs_load(&named, sys_wall_clock_s(), why));
    assert_non_null(strstr(why, "derp.example.crt"));
    assert_false(certs_init(&named, ":::", dir, &server, &rng, why));
    assert_non_null(strstr(why, ":::"));
    assert_false(certs_init(&named, "derp.example", "", &server, &rng, why));
    assert_non_null(strstr(why, "-certdir"));
}

static void test_names_of_files(void **state) {
    (void)state;
    struct certs v6;
    assert_true(certs_init(&v6, "2001:db8::1", "/x", &server, &rng, why));
    assert_string_equal(v6.chain_path, "/x/2001db81.crt");
    assert_string_equal(v6.key_path, "/x/2001db81.key");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_certificate_is_made_and_then_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_changed_is_nothing_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_meta_certificate_is_renewed_by_age, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed_files_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broken_file_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals_name_the_file, set_up, tear_down),
        cmocka_unit_test(test_names_of_files),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
