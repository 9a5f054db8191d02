/* TLS handshakes in memory: both ends ours, or against a plain wolfSSL client that may do odd things. */
#include "tests/unit/test_tls_bed.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

/* ---- good ones ---- */

static void test_suites(void **state) {
    (void)state;
    for (uint8_t suite = AEAD_AES_128_GCM; suite < AEAD_SUITE_END; suite++) {
        struct tls_trust_options o = {.rule = TLS_TRUST_ANY, .suites = {1, {suite}}};
        struct pair p = pair_of(ec_identity(), trust_of(o), "derp.example");
        run(&p);
        expect_done(&p);
        expect_same_secrets(&p, (enum aead_suite)suite);
        close_pair(&p);
    }
}

static void test_server_orders_suites(void **state) {
    (void)state;
    struct tls_identity_options o = ec_options();
    o.suites = (struct tls_suites){2, {AEAD_CHACHA20_POLY1305, AEAD_AES_256_GCM}};
    struct pair p = pair_of(identity_of(o), trust_any(), "derp.example");
    run(&p);
    expect_done(&p);
    expect_same_secrets(&p, AEAD_CHACHA20_POLY1305);
    close_pair(&p);
}

static void test_no_shared_suite(void **state) {
    (void)state;
    struct tls_identity_options o = ec_options();
    struct tls_trust_options t = {.rule = TLS_TRUST_ANY, .suites = {1, {AEAD_CHACHA20_POLY1305}}};
    o.suites = (struct tls_suites){1, {AEAD_AES_128_GCM}};
    struct pair p = pair_of(identity_of(o), trust_of(t), "derp.example");
    run(&p);
    assert_int_equal(p.server_state, HANDSHAKE_FAILED);
    assert_int_equal(handshake_cause(p.server), HANDSHAKE_FAILURE_NOTHING_SHARED);
    assert_int_equal(handshake_alert(p.server), 40);
    assert_int_equal(p.client_state, HANDSHAKE_FAILED);
    assert_int_equal(handshake_cause(p.client), HANDSHAKE_FAILURE_ALERT);
    assert_int_equal(handshake_alert(p.client), 40);
    close_pair(&p);
}

static void test_rsa(void **state) {
    (void)state;
    struct tls_identity *identity = rsa_identity("rsa.example");
    struct tls_trust *pin = trust_pin(identity);
    assert_true(tls_identity_facts(identity)->is_rsa);
    expect_good(identity, pin, "rsa.example");
    expect_good(rsa_identity("192.0.2.1"), trust_any(), NULL);
}

static void test_ip(void **state) {
    (void)state;
    struct tls_identity *identity = ip_identity();
    struct tls_trust *pin = trust_pin(identity);
    assert_true(tls_identity_facts(identity)->is_ip);
    expect_good(identity, pin, "2001:db8::7");  // no SNI
    expect_good(ip_identity(), trust_any(), "whatever.example");
}

/* However the bytes are cut, on both sides. */
static void test_pieces(void **state) {
    (void)state;
    static const size_t cuts[][2] = {{1, 0}, {0, 1}, {1, 1}, {7, 3}, {1000, 5}};
    for (size_t i = 0; i < array_count(cuts); i++) {
        struct pair p = pair_of(ec_identity(), trust_roots(PEM_ROOT), "derp.example");
        p.in_max = cuts[i][0];
        p.out_max = cuts[i][1];
        run(&p);
        expect_done(&p);
        expect_same_secrets(&p, AEAD_AES_128_GCM);
        close_pair(&p);
    }
}

/* What follows Finished belongs to the record layer, on both sides. */
static void test_rest_stays(void **state) {
    (void)state;
    uint8_t tail[5000];
    memset(tail, 0x17, sizeof(tail));
    struct pair p = pair_of(ec_identity(), trust_any(), "derp.example");
    reset_pipes();
    assert_int_equal(step(p.client, &to_client, &to_server, 0, 0), HANDSHAKE_MORE);
    assert_int_equal(step(p.server, &to_server, &to_client, 0, 0), HANDSHAKE_MORE);
    memcpy(to_client.bytes + to_client.tail, tail, sizeof(tail));
    to_client.tail += sizeof(tail);
    assert_int_equal(step(p.client, &to_client, &to_server, 0, 0), HANDSHAKE_DONE);
    assert_int_equal(to_client.tail - to_client.head, sizeof(tail));
    memcpy(to_server.bytes + to_server.tail, tail, sizeof(tail));
    to_server.tail += sizeof(tail);
    assert_int_equal(step(p.server, &to_server, &to_client, 0, 0), HANDSHAKE_DONE);
    assert_int_equal(to_server.tail - to_server.head, sizeof(tail));
    assert_memory_equal(to_server.bytes + to_server.head, tail, sizeof(tail));
    assert_int_equal(step(p.server, &to_server, &to_client, 0, 0), HANDSHAKE_DONE);  // again the same, nothing consumed
    assert_int_equal(to_server.tail - to_server.head, sizeof(tail));
    close_pair(&p);
}

static void test_no_metacert(void **state) {
    (void)state;
    struct tls_identity_options o = ec_options();
    o.metacert = NULL;
    struct pair p = pair_of(identity_of(o), trust_roots(PEM_ROOT), "derp.example");
    run(&p);
    expect_done(&p);
    struct node_key key;
    uint8_t version;
    assert_false(handshake_peer_metacert(p.client, &key, &version));
    close_pair(&p);
}

static void test_abandoned(void **state) {
    (void)state;
    struct pair p = pair_of(ec_identity(), trust_any(), "derp.example");
    close_pair(&p);
    p = pair_of(ec_identity(), trust_any(), "derp.example");
    reset_pipes();
    assert_int_equal(step(p.client, &to_client, &to_server, 0, 0), HANDSHAKE_MORE);
    assert_int_equal(step(p.server, &to_server, &to_client, 100, 0), HANDSHAKE_MORE);
    close_pair(&p);
    handshake_free(NULL);
    tls_identity_give(NULL);
    tls_trust_give(NULL);
}

/* ---- names ---- */

static void expect_name(const char *name, bool is_good) {
    struct pair p = pair_of(ec_identity(), trust_any(), name);
    run(&p);
    if (is_good) {
        expect_done(&p);
    } else {
        assert_int_equal(p.server_state, HANDSHAKE_FAILED);
        assert_int_equal(handshake_cause(p.server), HANDSHAKE_FAILURE_BAD_NAME);
        assert_int_equal(handshake_alert(p.server), 80);
        assert_int_equal(handshake_cause(p.client), HANDSHAKE_FAILURE_ALERT);
        assert_int_equal(handshake_alert(p.client), 80);
    }
    close_pair(&p);
}

static void test_names(void **state) {
    (void)state;
    expect_name("derp.example", true);
    expect_name("Derp.example", false);  // byte for byte
    expect_name("derp.example.", false);
    expect_name("a.wild.example", false);  // in the certificate, but not the hostname
    expect_name("derp.exampl", false);
    expect_name(NULL, false);
    expect_name("192.0.2.1", false);  // not sent
}

/* ---- a plain wolfSSL client ---- */

struct raw {
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;
};

static int raw_receive(WOLFSSL *ssl, char *to, int size, void *context) {
    (void)ssl;
    (void)context;
    size_t piece = min_of((size_t)size, to_client.tail - to_client.head);
    if (piece == 0) return WOLFSSL_CBIO_ERR_WANT_READ;
    memcpy(to, to_client.bytes + to_client.head, piece);
    to_client.head += piece;
    return (int)piece;
}

static int raw_send(WOLFSSL *ssl, char *from, int size, void *context) {
    (void)ssl;
    (void)context;
    memcpy(to_server.bytes + to_server.tail, from, (size_t)size);
    to_server.tail += (size_t)size;
    return size;
}

static struct raw raw_open(WOLFSSL_METHOD *method) {
    struct raw r = {.ctx = wolfSSL_CTX_new(method)};
    assert_non_null(r.ctx);
    wolfSSL_CTX_SetIORecv(r.ctx, raw_receive);
    wolfSSL_CTX_SetIOSend(r.ctx, raw_send);
    wolfSSL_CTX_set_verify(r.ctx, WOLFSSL_VERIFY_NONE, NULL);
    r.ssl = wolfSSL_new(r.ctx);
    assert_non_null(r.ssl);
    assert_int_equal(wolfSSL_UseSNI(r.ssl, WOLFSSL_SNI_HOST_NAME, "derp.example", 12), WOLFSSL_SUCCESS);
    reset_pipes();
    return r;
}

/* Runs to the end and closes; returns the server, for questions. */
static struct handshake *raw_run(struct raw *r) {
    struct tls_identity *identity = ec_identity();
    struct handshake *server = handshake_server(identity);
    tls_identity_give(identity);
    enum handshake_state state = HANDSHAKE_MORE;
    for (int i = 0; i < 20 && state == HANDSHAKE_MORE; i++) {
        (void)!wolfSSL_connect(r->ssl);
        state = step(server, &to_server, &to_client, 0, 0);
    }
    assert_int_not_equal(state, HANDSHAKE_MORE);
    if (state == HANDSHAKE_DONE) assert_int_equal(wolfSSL_connect(r->ssl), WOLFSSL_SUCCESS);
    return server;
}

static void raw_close(struct raw *r, struct handshake *server) {
    handshake_free(server);
    wolfSSL_free(r->ssl);
    wolfSSL_CTX_free(r->ctx);
}

static void raw_expect(struct raw *r, enum handshake_failure failure, int alert) {
    struct handshake *server = raw_run(r);
    assert_int_equal(handshake_cause(server), failure);
    assert_int_equal(handshake_alert(server), alert);
    const uint8_t *last = to_client.bytes + to_client.tail - 7;
    const uint8_t expected[] = {21, 3, 3, 0, 2, 2, (uint8_t)alert};
    assert_true(to_client.tail >= sizeof(expected));
    if (alert >= 0) assert_memory_equal(last, expected, sizeof(expected));
    raw_close(r, server);
}

static void test_groups(void **state) {
    (void)state;
    static const struct {
        int groups[3], count, share;
        bool is_retried;
    } cases[] = {
        {{WOLFSSL_ECC_X25519}, 1, WOLFSSL_ECC_X25519, false},
        {{WOLFSSL_ECC_SECP256R1}, 1, WOLFSSL_ECC_SECP256R1, false},
        {{WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_X25519}, 2, WOLFSSL_ECC_SECP384R1, true},
        {{WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_SECP256R1}, 2, WOLFSSL_ECC_SECP384R1, true},
    };
    static const uint8_t retry_random[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11};  // of HelloRetryRequest
    for (size_t i = 0; i < array_count(cases); i++) {
        int groups[3];
        memcpy(groups, cases[i].groups, sizeof(groups));
        struct raw r = raw_open(wolfTLSv1_3_client_method());
        assert_int_equal(wolfSSL_set_groups(r.ssl, groups, cases[i].count), WOLFSSL_SUCCESS);
        assert_int_equal(wolfSSL_UseKeyShare(r.ssl, (word16)cases[i].share), WOLFSSL_SUCCESS);
        raw_expect(&r, HANDSHAKE_FAILURE_NONE, -1);
        assert_int_equal(memcmp(to_client.bytes + 11, retry_random, sizeof(retry_random)) == 0, cases[i].is_retried);
    }
}

/* Which alert it is depends on the version of wolfSSL. */
static void test_no_shared_group(void **state) {
    (void)state;
    int groups[] = {WOLFSSL_ECC_SECP384R1};
    struct raw r = raw_open(wolfTLSv1_3_client_method());
    assert_int_equal(wolfSSL_set_groups(r.ssl, groups, 1), WOLFSSL_SUCCESS);
    assert_int_equal(wolfSSL_UseKeyShare(r.ssl, WOLFSSL_ECC_SECP384R1), WOLFSSL_SUCCESS);
    struct handshake *server = raw_run(&r);
    assert_int_equal(handshake_cause(server), HANDSHAKE_FAILURE_NOTHING_SHARED);
    assert_true(handshake_alert(server) == 40 || handshake_alert(server) == 47);
    assert_true(to_client.tail >= 7 && to_client.bytes[to_client.tail - 7] == 21);
    raw_close(&r, server);
}

static void test_alpn(void **state) {
    (void)state;
    static const struct {
        const char *list;
        bool is_good;
    } cases[] = {{"http/1.1", true}, {"h2,http/1.1", true}, {"h2", false}, {"h2,acme-tls/1", false}, {"http/1", false}};
    for (size_t i = 0; i < array_count(cases); i++) {
        char list[32];
        snprintf(list, sizeof(list), "%s", cases[i].list);
        struct raw r = raw_open(wolfTLSv1_3_client_method());
        assert_int_equal(wolfSSL_UseALPN(r.ssl, list, (unsigned)strlen(list), WOLFSSL_ALPN_CONTINUE_ON_MISMATCH),
                         WOLFSSL_SUCCESS);
        if (!cases[i].is_good) {
            raw_expect(&r, HANDSHAKE_FAILURE_BAD_ALPN, 120);
            continue;
        }
        struct handshake *server = raw_run(&r);
        char *name = NULL;
        unsigned short size = 0;
        assert_int_equal(wolfSSL_ALPN_GetProtocol(r.ssl, &name, &size), WOLFSSL_SUCCESS);
        assert_int_equal(size, 8);
        assert_memory_equal(name, "http/1.1", 8);
        raw_close(&r, server);
    }
}

static void test_old_version(void **state) {
    (void)state;
    struct raw r = raw_open(wolfTLSv1_2_client_method());
    raw_expect(&r, HANDSHAKE_FAILURE_OLD_VERSION, 70);
}

/* No ticket, nothing after the handshake: the first record of the server is the application's. */
static void test_no_ticket(void **state) {
    (void)state;
    struct raw r = raw_open(wolfTLSv1_3_client_method());
    struct handshake *server = raw_run(&r);
    assert_int_equal(to_client.head, to_client.tail);
    raw_close(&r, server);
}

/* ---- what is no TLS ---- */

static struct handshake *feed(const void *bytes, size_t size, enum handshake_state expected) {
    struct tls_identity *identity = ec_identity();
    struct handshake *server = handshake_server(identity);
    tls_identity_give(identity);
    reset_pipes();
    memcpy(to_server.bytes, bytes, size);
    to_server.tail = size;
    assert_int_equal(step(server, &to_server, &to_client, 0, 0), expected);
    return server;
}

static void expect_failure(const void *bytes, size_t size, enum handshake_failure failure, int alert) {
    struct handshake *server = feed(bytes, size, HANDSHAKE_FAILED);
    if (handshake_cause(server) != failure) fail_msg("%s", handshake_failure_metric(handshake_cause(server)));
    assert_int_equal(handshake_alert(server), alert);
    assert_int_equal(to_client.tail, alert < 0 ? 0 : 7);
    struct reader in = reader_of("more", 4);
    struct writer out = {0};
    assert_int_equal(handshake_step(server, &in, &out), HANDSHAKE_FAILED);  // sticky
    assert_int_equal(reader_left(&in), 4);
    handshake_free(server);
}

static void test_not_tls(void **state) {
    (void)state;
    expect_failure("GET / HTTP/1.1\r\n\r\n", 18, HANDSHAKE_FAILURE_PLAIN_HTTP, -1);
    expect_failure("HEAD /x HTTP/1.1\r\n\r\n", 20, HANDSHAKE_FAILURE_PLAIN_HTTP, -1);
    expect_failure("OPTIONS * HTTP/1.1\r\n\r\n", 22, HANDSHAKE_FAILURE_PLAIN_HTTP, -1);
    expect_failure("SSH-2.0-OpenSSH\r\n", 17, HANDSHAKE_FAILURE_NOT_TLS, -1);
    expect_failure("\x16\x02\0\0\0\0", 6, HANDSHAKE_FAILURE_NOT_TLS, -1);
    expect_failure("\x80\x2e\x01\x03\x01\0", 6, HANDSHAKE_FAILURE_NOT_TLS, -1);  // SSL 2
    handshake_free(feed("GET", 3, HANDSHAKE_MORE));
    handshake_free(feed("", 0, HANDSHAKE_MORE));
}

static void test_broken(void **state) {
    (void)state;
    expect_failure("\x16\x03\x01\0\x04\x01\0\0\0", 9, HANDSHAKE_FAILURE_PROTOCOL, 50);  // an empty ClientHello
    expect_failure("\x16\x03\x01\0\x04\x02\0\0\0", 9, HANDSHAKE_FAILURE_PROTOCOL, 10);  // a ServerHello
    struct handshake *server = feed("\x15\x03\x01\0\x02\x02\x28", 7, HANDSHAKE_FAILED);  // an alert
    assert_int_equal(handshake_cause(server), HANDSHAKE_FAILURE_ALERT);
    assert_int_equal(handshake_alert(server), 40);
    handshake_free(server);
}

/* However somebody stretches it, no more than HANDSHAKE_IN_MAX bytes are taken. */
static void test_too_large(void **state) {
    (void)state;
    struct tls_identity *identity = ec_identity();
    static const uint8_t starts[][4] = {{1, 0, 0xff, 0xff}, {1, 0, 0x3f, 0xff}, {1, 1, 0xff, 0xff}, {1, 0, 0, 4}};
    for (size_t i = 0; i < array_count(starts); i++) {
        struct handshake *server = handshake_server(identity);
        uint8_t record[5 + 64] = {22, 3, 1, 0, 64};
        memcpy(record + 5, starts[i], 4);
        enum handshake_state result = HANDSHAKE_MORE;
        size_t total = 0;
        while (result == HANDSHAKE_MORE && total < 2 * HANDSHAKE_IN_MAX) {
            struct reader in = reader_of(record, sizeof(record));
            to_client.tail = 0;
            struct writer out = writer_of(to_client.bytes, PIPE_SIZE);
            result = handshake_step(server, &in, &out);
            total += sizeof(record);
            memset(record + 5, 0, 64);
        }
        assert_int_equal(result, HANDSHAKE_FAILED);
        assert_true(total <= HANDSHAKE_IN_MAX + sizeof(record));
        handshake_free(server);
    }
    tls_identity_give(identity);
}

/* A server that is none, seen by our client. */
static void test_client_garbage(void **state) {
    (void)state;
    struct tls_trust *trust = trust_any();
    struct handshake *client = handshake_client(trust, "derp.example", NULL, NOW_S);
    tls_trust_give(trust);
    reset_pipes();
    assert_int_equal(step(client, &to_client, &to_server, 0, 0), HANDSHAKE_MORE);
    memcpy(to_client.bytes, "HTTP/1.1 400 Bad Request\r\n", 26);
    to_client.tail = 26;
    assert_int_equal(step(client, &to_client, &to_server, 0, 0), HANDSHAKE_FAILED);
    assert_int_equal(handshake_cause(client), HANDSHAKE_FAILURE_NOT_TLS);
    handshake_free(client);
}

/* One flipped bit anywhere in the server's flight or the client's ends the handshake, or is in a part that does not
 * matter (the version of a record's header); never a crash, never different secrets. */
static void test_flipped_bits(void **state) {
    (void)state;
    struct tls_identity *identity = ip_identity();
    struct tls_trust *trust = trust_pin(identity);
    for (size_t at = 0; at < 1400; at += 13) {
        struct pair p = {.client = handshake_client(trust, NULL, NULL, NOW_S), .server = handshake_server(identity)};
        reset_pipes();
        assert_int_equal(step(p.client, &to_client, &to_server, 0, 0), HANDSHAKE_MORE);
        assert_int_equal(step(p.server, &to_server, &to_client, 0, 0), HANDSHAKE_MORE);
        if (at < to_client.tail) to_client.bytes[at] ^= (uint8_t)(1u << at % 8);
        p.client_state = step(p.client, &to_client, &to_server, 0, 0);
        p.server_state = step(p.server, &to_server, &to_client, 0, 0);
        if (p.client_state == HANDSHAKE_DONE && p.server_state == HANDSHAKE_DONE)
            expect_same_secrets(&p, AEAD_AES_128_GCM);
        close_pair(&p);
    }
    tls_trust_give(trust);
    tls_identity_give(identity);
}

static void test_texts(void **state) {
    (void)state;
    for (int i = 0; i < HANDSHAKE_FAILURE_COUNT; i++) {
        assert_true(strlen(handshake_failure_metric((enum handshake_failure)i)) > 0);
        assert_true(strlen(handshake_failure_text((enum handshake_failure)i)) > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suites),
        cmocka_unit_test(test_server_orders_suites),
        cmocka_unit_test(test_no_shared_suite),
        cmocka_unit_test(test_rsa),
        cmocka_unit_test(test_ip),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_rest_stays),
        cmocka_unit_test(test_no_metacert),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_no_shared_group),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_old_version),
        cmocka_unit_test(test_no_ticket),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_client_garbage),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, tls_set_up, tls_tear_down);
}
