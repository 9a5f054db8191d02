/* tls_wolf.h - the inside of tls_identity, tls_trust and handshake: the only places that see wolfSSL.
 *
 * Nobody else includes this. wolfSSL is configured for two roles by one function, so that what must hold for both (TLS
 * 1.3 only, the three suites, the two groups, the callbacks) cannot drift apart.
 */
#pragma once

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "proto/handshake.h"
#include "proto/tls_signer.h"

struct tls_identity {
    WOLFSSL_CTX *ctx;
    struct tls_signer *signer;  // NULL: wolfSSL signs
    unsigned references;
    struct tls_identity_facts facts;
    struct tls_suites suites;
    char hostname[TLS_HOSTNAME_MAX + 1];
};

struct tls_trust {
    WOLFSSL_CTX *ctx;
    unsigned references;
    enum tls_trust_rule rule;
    uint8_t pin[CERT_PIN_SIZE];
    uint8_t *roots;  // ROOTS: certificates in DER, one behind the other
    size_t roots_size;
};

/* What a server presented, in order, the leaf first. */
struct tls_chain {
    const WOLFSSL_BUFFER_INFO *items;
    int count;
};

/* Is the chain good by the rule? `name` is what the leaf has to be for; NULL: any. */
must_use bool tls_trust_judge(const struct tls_trust *trust, struct tls_chain chain, const char *name, uint64_t unix_s);

#define TLS_RECORD_HEADER_SIZE 5

struct handshake {
    WOLFSSL *ssl;  // server: made when the first record's header is there
    struct tls_identity *identity;
    struct tls_trust *trust;  // client; exactly one of the two is set
    enum handshake_state state;  // of wolfSSL; what the owner sees is MORE as long as there is a rest
    enum handshake_failure failure;
    int alert;

    /* while a step runs */
    struct reader *in;
    struct writer *out;

    uint8_t *rest;  // output for which there was no room: HANDSHAKE_OUT_MAX bytes, made when needed
    size_t rest_head, rest_tail;

    uint8_t head[TLS_RECORD_HEADER_SIZE];  // of the first record that comes in: is it TLS at all?
    uint8_t head_size, head_taken;
    uint32_t in_size;   // all bytes so far
    bool is_encrypted;  // handshake keys exist, so alerts are wolfSSL's alone

    uint8_t client_secret[HANDSHAKE_SECRET_MAX], server_secret[HANDSHAKE_SECRET_MAX];
    uint8_t client_secret_size, server_secret_size;  // 0: not seen yet

    /* client */
    char cert_name[TLS_HOSTNAME_MAX + 1];
    bool has_cert_name;
    bool is_judged;  // the certificates were seen and found good
    uint64_t unix_s;
    struct node_key peer_key;
    uint8_t peer_version;  // 0: no meta certificate
};

/* A context for either side, without certificates. NULL with a sentence in `why`. */
must_use WOLFSSL_CTX *tls_ctx_new(bool is_client, const struct tls_suites *suites, char *why);

/* References, for both kinds of owner. tls_ref_drop says whether it was the last. */
void tls_ref_add(unsigned *references);
bool tls_ref_drop(unsigned *references);

/* Callbacks of handshake.c that contexts carry. */
void handshake_hook(WOLFSSL_CTX *ctx);
void handshake_hook_signer(WOLFSSL_CTX *ctx, const struct tls_signer *signer);
int handshake_on_name(WOLFSSL *ssl, int *alert, void *identity);
int handshake_on_certificate(int is_verified, WOLFSSL_X509_STORE_CTX *store);

/* Shakes hands with itself in memory: false when no client will accept what the identity signs. */
must_use bool handshake_proves(struct tls_identity *identity);
