/* Who is trusted and who may be served: identities that are refused, chains, pins, names and dates. */
#include "tests/unit/test_tls_bed.h"

/* ---- trust ---- */

static void expect_distrust(struct tls_identity *identity, struct tls_trust *trust, const char *name) {
    struct pair p = pair_of(identity, trust, name);
    run(&p);
    assert_int_equal(p.client_state, HANDSHAKE_FAILED);
    assert_int_equal(handshake_cause(p.client), HANDSHAKE_FAILURE_BAD_CERTIFICATE);
    assert_int_not_equal(p.server_state, HANDSHAKE_DONE);  // nothing was said that would finish it
    close_pair(&p);
}

static struct tls_identity *expired_identity(void) {
    struct tls_identity_options o = ec_options();
    o.chain_pem = PEM_EXPIRED_CHAIN;
    o.chain_pem_size = strlen(PEM_EXPIRED_CHAIN);
    o.unix_s = IN_2020_S;
    return identity_of(o);
}

static void test_roots(void **state) {
    (void)state;
    expect_good(ec_identity(), trust_roots(PEM_ROOT), "derp.example");
    expect_good(ec_identity(), trust_roots(PEM_OTHER_ROOT PEM_ROOT), "derp.example");
    expect_distrust(ec_identity(), trust_roots(PEM_OTHER_ROOT), "derp.example");
    expect_distrust(expired_identity(), trust_roots(PEM_ROOT), "derp.example");
    expect_distrust(rsa_identity("192.0.2.1"), trust_roots(PEM_ROOT), NULL);
    expect_distrust(ip_identity(), trust_roots(PEM_ROOT), "2001:db8::7");
}

static struct tls_identity *chain_identity(const char *chain, const char *key) {
    struct tls_identity_options o = ec_options();
    o.chain_pem = chain;
    o.chain_pem_size = strlen(chain);
    o.key_pem = key;
    o.key_pem_size = strlen(key);
    return identity_of(o);
}

/* Only authorities may sign, only for servers, and none may be missing; order and surplus do not matter. */
static void test_chains(void **state) {
    (void)state;
    expect_good(chain_identity(PEM_ODD_CHAIN, PEM_KEY), trust_roots(PEM_ROOT), "derp.example");
    expect_distrust(chain_identity(PEM_LEAF, PEM_KEY), trust_roots(PEM_ROOT), "derp.example");
    expect_distrust(chain_identity(PEM_FORGED_CHAIN, PEM_FORGED_KEY), trust_roots(PEM_ROOT), "derp.example");
    expect_distrust(chain_identity(PEM_CLIENT_CHAIN, PEM_KEY), trust_roots(PEM_ROOT), "derp.example");
}

/* The same trust object three times: what was presented teaches it nothing. */
static void test_roots_learn_nothing(void **state) {
    (void)state;
    struct tls_trust *trust = trust_roots(PEM_OTHER_ROOT);
    for (int i = 0; i < 3; i++) expect_distrust(ec_identity(), tls_trust_take(trust), "derp.example");
    tls_trust_give(trust);
}

/* The name to check is not the name to send. */
static void test_cert_name(void **state) {
    (void)state;
    static const char *const names[] = {"x.wild.example", "DERP.example", "wild.example", "ignored.example"};
    for (size_t i = 0; i < array_count(names); i++) {
        struct tls_trust *trust = trust_roots(PEM_ROOT);
        struct tls_identity *identity = ec_identity();
        struct pair p = {.client = handshake_client(trust, "derp.example", names[i], NOW_S),
                         .server = handshake_server(identity)};
        tls_trust_give(trust);
        tls_identity_give(identity);
        run(&p);
        assert_int_equal(p.client_state, i < 2 ? HANDSHAKE_DONE : HANDSHAKE_FAILED);
        close_pair(&p);
    }
}

static void test_pin(void **state) {
    (void)state;
    struct tls_identity *right = ip_identity(), *chained = ec_identity(), *old = expired_identity();
    struct tls_trust *pin = trust_pin(right);
    expect_good(tls_identity_take(right), tls_trust_take(pin), "2001:db8::7");
    expect_good(tls_identity_take(right), tls_trust_take(pin), NULL);
    expect_distrust(tls_identity_take(right), tls_trust_take(pin), "2001:db8::8");  // another name
    expect_distrust(rsa_identity("192.0.2.1"), tls_trust_take(pin), NULL);  // another certificate
    expect_distrust(tls_identity_take(chained), trust_pin(chained), "derp.example");  // more than one certificate
    expect_distrust(tls_identity_take(old), trust_pin(old), "derp.example");
    tls_trust_give(pin);
    tls_identity_give(right);
    tls_identity_give(chained);
    tls_identity_give(old);
}

static void test_pin_dates(void **state) {
    (void)state;
    static const uint32_t days[] = {0, 100, 366};
    for (size_t i = 0; i < array_count(days); i++) {
        struct tls_identity *identity = ip_identity();
        struct tls_trust *pin = trust_pin(identity);
        uint64_t unix_s = NOW_S + days[i] * 86400;
        struct pair p = {.client = handshake_client(pin, NULL, NULL, unix_s), .server = handshake_server(identity)};
        tls_trust_give(pin);
        tls_identity_give(identity);
        run(&p);
        assert_int_equal(p.client_state, days[i] < 365 ? HANDSHAKE_DONE : HANDSHAKE_FAILED);
        close_pair(&p);
    }
}

static void test_trust_refused(void **state) {
    (void)state;
    char why[TLS_WHY_MAX];
    struct tls_trust_options o = {.rule = TLS_TRUST_ROOTS, .suites = all_suites, .roots_pem = "x", .roots_pem_size = 1};
    assert_null(tls_trust_make(&o, why));
    assert_non_null(strstr(why, "no root certificate"));
}

/* ---- identities ---- */

static void test_identity_facts(void **state) {
    (void)state;
    struct tls_identity *identity = ec_identity();
    const struct tls_identity_facts *facts = tls_identity_facts(identity);
    assert_int_equal(facts->certificate_count, 3);
    assert_false(facts->is_ip || facts->is_rsa);
    assert_int_equal(facts->not_before_s, 1577836800);  // 2020-01-01
    assert_int_equal(facts->not_after_s, 4102358400);  // 2099-12-31
    tls_identity_give(identity);
}

static void test_identity_keys(void **state) {
    (void)state;
    struct tls_identity_options o = ec_options();
    o.key_pem = PEM_KEY_PKCS8;
    o.key_pem_size = strlen(PEM_KEY_PKCS8);
    expect_good(identity_of(o), trust_any(), "derp.example");
    o.key_pem =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" PEM_KEY;  // openssl ecparam
    o.key_pem_size = strlen(o.key_pem);
    expect_good(identity_of(o), trust_any(), "derp.example");
    o = ec_options();
    o.chain_pem = "Some words before.\n" PEM_CHAIN "And after.\n";
    o.chain_pem_size = strlen(o.chain_pem);
    expect_good(identity_of(o), trust_any(), "derp.example");
}

static void test_identity_refused(void **state) {
    (void)state;
    struct tls_identity_options o = ec_options();
    o.hostname = "other.example";
    expect_refused(o, "not for \"other.example\"");
    o.hostname = "ignored.example";  // the common name
    expect_refused(o, "not for");
    o = ec_options();
    o.unix_s = 4200000000;
    expect_refused(o, "expired at 2099-12-31");
    o.unix_s = 1500000000;
    expect_refused(o, "only from 2020-01-01");
    o = ec_options();
    o.key_pem = PEM_OTHER_KEY;
    o.key_pem_size = strlen(PEM_OTHER_KEY);
    expect_refused(o, "not the key of the certificate");
    o.key_pem = PEM_RSA_KEY;
    o.key_pem_size = strlen(PEM_RSA_KEY);
    expect_refused(o, "key");
    o.key_pem = "hello";
    o.key_pem_size = 5;
    expect_refused(o, "cannot be read");
}

static void test_identity_chain_refused(void **state) {
    (void)state;
    struct tls_identity_options o = ec_options();
    o.chain_pem = PEM_KEY;
    o.chain_pem_size = strlen(PEM_KEY);
    expect_refused(o, "holds no certificate");
    o.chain_pem = PEM_CHAIN PEM_CHAIN PEM_CHAIN PEM_CHAIN PEM_CHAIN;
    o.chain_pem_size = strlen(o.chain_pem);
    expect_refused(o, "too many");
    o.chain_pem = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    o.chain_pem_size = strlen(o.chain_pem);
    expect_refused(o, "not base64");
    o.chain_pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    o.chain_pem_size = strlen(o.chain_pem);
    expect_refused(o, "not X.509");
    o.chain_pem = PEM_CHAIN;
    o.chain_pem_size = strlen(PEM_CHAIN) - 40;
    expect_refused(o, "not base64");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roots),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_roots_learn_nothing),
        cmocka_unit_test(test_cert_name),
        cmocka_unit_test(test_pin),
        cmocka_unit_test(test_pin_dates),
        cmocka_unit_test(test_trust_refused),
        cmocka_unit_test(test_identity_facts),
        cmocka_unit_test(test_identity_keys),
        cmocka_unit_test(test_identity_refused),
        cmocka_unit_test(test_identity_chain_refused),
    };
    return cmocka_run_group_tests(tests, tls_set_up, tls_tear_down);
}
