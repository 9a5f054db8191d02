/* test_tls_bed.h - what the tests of TLS share: identities, trust, two ends in memory that shake hands, and what to
 * expect of them. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// last, as its documentation asks
#include <cmocka.h>

#include <sodium.h>

#include "core/check.h"
#include "proto/handshake.h"
#include "proto/metacert.h"
#include "proto/selfsigned.h"
#include "tests/unit/test_tls_pem.h"

#define NOW_S 1750000000u  // June 2025
#define IN_2020_S 1590000000u
#define PIPE_SIZE (128 * 1024)

static const struct tls_suites all_suites = {3, {AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305}};
static const struct node_key relay_key = {.bytes = {0xde, 0xad, 0xbe, 0xef, [31] = 0x42}};

/* ---- identities and trust ---- */

static uint8_t metacert[METACERT_SIZE_MAX];
static size_t metacert_size;

unused_arg static struct tls_identity_options ec_options(void) {
    return (struct tls_identity_options){
        .hostname = "derp.example",
        .chain_pem = PEM_CHAIN,
        .chain_pem_size = strlen(PEM_CHAIN),
        .key_pem = PEM_KEY,
        .key_pem_size = strlen(PEM_KEY),
        .metacert = metacert,
        .metacert_size = metacert_size,
        .suites = all_suites,
        .unix_s = NOW_S,
    };
}

unused_arg static struct tls_identity *identity_of(struct tls_identity_options options) {
    char why[TLS_WHY_MAX] = "";
    struct tls_identity *identity = tls_identity_make(&options, why);
    if (!identity) fail_msg("%s", why);
    return identity;
}

unused_arg static void expect_refused(struct tls_identity_options options, const char *words) {
    char why[TLS_WHY_MAX] = "";
    assert_null(tls_identity_make(&options, why));
    if (!strstr(why, words)) fail_msg("\"%s\" does not say \"%s\"", why, words);
}

unused_arg static struct tls_identity *ec_identity(void) { return identity_of(ec_options()); }

unused_arg static struct tls_identity *rsa_identity(const char *hostname) {
    struct tls_identity_options o = ec_options();
    o.hostname = hostname;
    o.chain_pem = PEM_RSA_CHAIN;
    o.chain_pem_size = strlen(PEM_RSA_CHAIN);
    o.key_pem = PEM_RSA_KEY;
    o.key_pem_size = strlen(PEM_RSA_KEY);
    return identity_of(o);
}

unused_arg static struct tls_identity *ip_identity(void) {
    struct rng rng;
    struct selfsigned s;
    rng_init_seeded(&rng, 1);
    assert_true(selfsigned_make("2001:db8::7", NOW_S, &rng, &s));
    struct tls_identity_options o = ec_options();
    o.hostname = "2001:db8::7";
    o.chain_pem = s.cert_pem;
    o.chain_pem_size = strlen(s.cert_pem);
    o.key_pem = s.key_pem;
    o.key_pem_size = strlen(s.key_pem);
    return identity_of(o);
}

unused_arg static struct tls_trust *trust_of(struct tls_trust_options options) {
    char why[TLS_WHY_MAX] = "";
    if (options.suites.count == 0) options.suites = all_suites;
    struct tls_trust *trust = tls_trust_make(&options, why);
    if (!trust) fail_msg("%s", why);
    return trust;
}

unused_arg static struct tls_trust *trust_any(void) {
    return trust_of((struct tls_trust_options){.rule = TLS_TRUST_ANY});
}

unused_arg static struct tls_trust *trust_roots(const char *pem) {
    return trust_of((struct tls_trust_options){TLS_TRUST_ROOTS, .roots_pem = pem, .roots_pem_size = strlen(pem)});
}

unused_arg static struct tls_trust *trust_pin(const struct tls_identity *identity) {
    struct tls_trust_options o = {.rule = TLS_TRUST_PIN};
    memcpy(o.pin, tls_identity_facts(identity)->pin, CERT_PIN_SIZE);
    return trust_of(o);
}

/* ---- two ends ---- */

struct pipe {
    uint8_t bytes[PIPE_SIZE];
    size_t head, tail;
};

static struct pipe to_server, to_client;

struct pair {
    struct handshake *client, *server;
    enum handshake_state client_state, server_state;
    size_t in_max, out_max;  // bytes handed over at one time; 0: all
};

/* One step, on at most in_max waiting bytes and with room for at most out_max. */
unused_arg static enum handshake_state step(struct handshake *h, struct pipe *from, struct pipe *to, size_t in_max,
                                            size_t out_max) {
    size_t in_size = from->tail - from->head, out_size = PIPE_SIZE - to->tail;
    if (in_max && in_max < in_size) in_size = in_max;
    if (out_max && out_max < out_size) out_size = out_max;
    struct reader in = reader_of(from->bytes + from->head, in_size);
    struct writer out = writer_of(to->bytes + to->tail, out_size);
    enum handshake_state state = handshake_step(h, &in, &out);
    assert_false(in.bad || out.bad);
    if (state == HANDSHAKE_MORE) assert_true(reader_left(&in) == 0 || writer_left(&out) == 0);
    from->head += in_size - reader_left(&in);
    to->tail += out_size - writer_left(&out);
    return state;
}

unused_arg static void reset_pipes(void) {
    to_server.head = to_server.tail = 0;
    to_client.head = to_client.tail = 0;
}

unused_arg static bool is_over(enum handshake_state state) { return state != HANDSHAKE_MORE; }

/* Until neither end can go on: it is over, or nothing waits for it. */
unused_arg static void run(struct pair *p) {
    reset_pipes();
    for (int i = 0; i < 100000; i++) {
        p->client_state = step(p->client, &to_client, &to_server, p->in_max, p->out_max);
        p->server_state = step(p->server, &to_server, &to_client, p->in_max, p->out_max);
        bool is_client_idle = is_over(p->client_state) || to_client.head == to_client.tail;
        bool is_server_idle = is_over(p->server_state) || to_server.head == to_server.tail;
        if (is_client_idle && is_server_idle && (is_over(p->client_state) || is_over(p->server_state))) return;
    }
    fail_msg("no end");
}

unused_arg static void close_pair(struct pair *p) {
    handshake_free(p->client);
    handshake_free(p->server);
    memset(p, 0, sizeof(*p));
}

/* Gives both away: the handshakes hold their own references. */
unused_arg static struct pair pair_of(struct tls_identity *identity, struct tls_trust *trust, const char *server_name) {
    struct pair p = {.client = handshake_client(trust, server_name, NULL, NOW_S), .server = handshake_server(identity)};
    tls_identity_give(identity);
    tls_trust_give(trust);
    assert_non_null(p.client);
    assert_non_null(p.server);
    return p;
}

unused_arg static void expect_done(struct pair *p) {
    if (p->client_state == HANDSHAKE_DONE && p->server_state == HANDSHAKE_DONE) return;
    fail_msg("client %d: %s; server %d: %s", (int)p->client_state, handshake_failure_text(handshake_cause(p->client)),
             (int)p->server_state, handshake_failure_text(handshake_cause(p->server)));
}

unused_arg static void expect_same_secrets(const struct pair *p, enum aead_suite suite) {
    struct tls_secrets c, s;
    handshake_export(p->client, &c);
    handshake_export(p->server, &s);
    assert_int_equal(c.suite, suite);
    assert_int_equal(s.suite, suite);
    assert_true(c.is_client && !s.is_client);
    assert_int_equal(c.secret_size, suite == AEAD_AES_256_GCM ? 48 : 32);
    assert_int_equal(s.secret_size, c.secret_size);
    assert_memory_equal(c.in_secret, s.out_secret, HANDSHAKE_SECRET_MAX);
    assert_memory_equal(c.out_secret, s.in_secret, HANDSHAKE_SECRET_MAX);
    assert_memory_not_equal(c.out_secret, c.in_secret, 32);
}

unused_arg static void expect_metacert(const struct pair *p) {
    struct node_key key;
    uint8_t version = 0;
    assert_true(handshake_peer_metacert(p->client, &key, &version));
    assert_memory_equal(&key, &relay_key, sizeof(key));
    assert_int_equal(version, METACERT_VERSION);
}

/* A whole handshake that has to succeed. */
unused_arg static void expect_good(struct tls_identity *identity, struct tls_trust *trust, const char *name) {
    struct pair p = pair_of(identity, trust, name);
    run(&p);
    expect_done(&p);
    expect_same_secrets(&p, AEAD_AES_128_GCM);
    expect_metacert(&p);
    assert_int_equal(handshake_cause(p.client), HANDSHAKE_FAILURE_NONE);
    assert_int_equal(handshake_cause(p.server), HANDSHAKE_FAILURE_NONE);
    close_pair(&p);
}

static int tls_set_up(void **state) {
    (void)state;
    static const uint8_t seed[METACERT_SEED_SIZE] = {7};
    char why[TLS_WHY_MAX] = "";
    CHECK(sodium_init() >= 0);
    if (!handshake_init(why)) fail_msg("%s", why);
    metacert_size = metacert_make(&relay_key, NOW_S, seed, metacert);
    return 0;
}

static int tls_tear_down(void **state) {
    (void)state;
    handshake_fini();
    return 0;
}
