#include "proto/tls_identity.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/check.h"
#include "proto/tls_wolf.h"

/* The chain, taken apart. */
struct chain {
    uint8_t *bytes;  // TLS_CHAIN_SIZE_MAX: all certificates, one behind the other
    size_t offsets[TLS_CHAIN_COUNT_MAX + 1];
    size_t count;
};

static const uint8_t *chain_der(const struct chain *c, size_t idx) { return c->bytes + c->offsets[idx]; }

static size_t chain_size(const struct chain *c, size_t idx) { return c->offsets[idx + 1] - c->offsets[idx]; }

static bool chain_add(struct chain *c, struct writer *w) {
    if (c->count == TLS_CHAIN_COUNT_MAX) return false;
    c->offsets[++c->count] = (size_t)(w->at - c->bytes);
    return true;
}

static const char *read_chain(struct chain *c, const struct tls_identity_options *o) {
    struct reader pem = reader_of(o->chain_pem, o->chain_pem_size);
    struct writer w = writer_of(c->bytes, TLS_CHAIN_SIZE_MAX);
    while (cert_pem_next(&pem, "CERTIFICATE", &w)) {
        if (!chain_add(c, &w)) return "holds too many certificates";
    }
    if (!reader_ok(&pem)) return "has a block that is not base64, or is too large";
    if (c->count == 0) return "holds no certificate (a PEM block \"CERTIFICATE\")";
    if (!o->metacert) return NULL;
    writer_copy(&w, o->metacert, o->metacert_size);
    return writer_ok(&w) && chain_add(c, &w) ? NULL : "leaves no room for the meta certificate";
}

static void format_date(uint64_t unix_s, char text[32]) {
    time_t clock = (time_t)unix_s;
    struct tm t = {0};
    gmtime_r(&clock, &t);
    if (strftime(text, 32, "%Y-%m-%d %H:%M UTC", &t) == 0) text[0] = '\0';
}

static bool is_dated(const struct cert *leaf, uint64_t unix_s, char *why) {
    char date[32];
    if (unix_s > leaf->not_after_s) {
        format_date(leaf->not_after_s, date);
        snprintf(why, TLS_WHY_MAX, "the certificate expired at %s: renew it, or set the clock", date);
    } else if (unix_s < leaf->not_before_s) {
        format_date(leaf->not_before_s, date);
        snprintf(why, TLS_WHY_MAX, "the certificate is valid only from %s on: is the clock right?", date);
    } else {
        return true;
    }
    return false;
}

static bool is_leaf_good(const struct chain *c, const struct tls_identity_options *o, struct tls_identity_facts *facts,
                         char *why) {
    struct cert leaf;
    uint8_t ip[16];
    if (!cert_read(chain_der(c, 0), chain_size(c, 0), &leaf)) {
        snprintf(why, TLS_WHY_MAX, "the first certificate of the chain is not X.509");
        return false;
    }
    facts->not_before_s = leaf.not_before_s;
    facts->not_after_s = leaf.not_after_s;
    facts->is_rsa = leaf.is_rsa;
    facts->is_ip = cert_ip_of(o->hostname, ip) > 0;
    facts->certificate_count = (uint8_t)c->count;
    cert_pin(chain_der(c, 0), chain_size(c, 0), facts->pin);
    if (cert_is_for(&leaf, o->hostname)) return is_dated(&leaf, o->unix_s, why);
    snprintf(why, TLS_WHY_MAX,
             "the certificate is not for \"%.100s\": its SubjectAltName does not say so (the common "
             "name does not count)",
             o->hostname);
    return false;
}

/* wolfSSL takes a chain as PEM: the given certificates and the meta certificate, in order. */
static bool use_chain(WOLFSSL_CTX *ctx, const struct chain *c) {
    enum { PEM_MAX = CERT_PEM_MAX(TLS_CHAIN_SIZE_MAX) + TLS_CHAIN_COUNT_MAX * CERT_PEM_MAX(3) };
    uint8_t *pem = malloc(PEM_MAX);
    if (!pem) return false;
    struct writer w = writer_of(pem, PEM_MAX);
    for (size_t i = 0; i < c->count; i++) cert_pem_write(&w, "CERTIFICATE", chain_der(c, i), chain_size(c, i));
    CHECK(writer_ok(&w));
    bool is_used = wolfSSL_CTX_use_certificate_chain_buffer(ctx, pem, (long)(w.at - pem)) == WOLFSSL_SUCCESS;
    free(pem);
    return is_used;
}

static bool use_identity(struct tls_identity *identity, const struct chain *c, const struct tls_identity_options *o,
                         char *why) {
    WOLFSSL_CTX *ctx = identity->ctx;
    const unsigned char *key = (const unsigned char *)o->key_pem;
    if (!use_chain(ctx, c)) {
        snprintf(why, TLS_WHY_MAX, "wolfSSL does not take the certificate chain: is each certificate whole?");
    } else if (wolfSSL_CTX_use_PrivateKey_buffer(ctx, key, (long)o->key_pem_size, WOLFSSL_FILETYPE_PEM) !=
               WOLFSSL_SUCCESS) {
        snprintf(why, TLS_WHY_MAX, "the private key cannot be read: PEM without a password, PKCS#8, SEC 1 or PKCS#1");
    } else {
        identity->signer = tls_signer_new(o->key_pem, o->key_pem_size);
        if (identity->signer) handshake_hook_signer(ctx, identity->signer);
        if (!identity->facts.is_ip) {
            wolfSSL_CTX_set_servername_callback(ctx, handshake_on_name);
            wolfSSL_CTX_set_servername_arg(ctx, identity);
        }
        /* wolfSSL_CTX_check_private_key of 5.5.4 takes any EC key for any EC certificate, hence the proof. */
        if (handshake_proves(identity)) return true;
        snprintf(why, TLS_WHY_MAX, "the private key is not the key of the certificate");
    }
    return false;
}

static struct tls_identity *identity_of(const struct chain *c, const struct tls_identity_options *o, char *why) {
    struct tls_identity_facts facts = {0};
    if (!is_leaf_good(c, o, &facts, why)) return NULL;
    struct tls_identity *identity = calloc(1, sizeof(*identity));
    if (!identity) {
        snprintf(why, TLS_WHY_MAX, "no memory");
        return NULL;
    }
    identity->references = 1;
    identity->facts = facts;
    identity->suites = o->suites;
    memcpy(identity->hostname, o->hostname, strlen(o->hostname) + 1);
    identity->ctx = tls_ctx_new(false, &o->suites, why);
    if (identity->ctx && use_identity(identity, c, o, why)) return identity;
    tls_identity_give(identity);
    return NULL;
}

struct tls_identity *tls_identity_make(const struct tls_identity_options *options, char *why) {
    if (strlen(options->hostname) > TLS_HOSTNAME_MAX) {
        snprintf(why, TLS_WHY_MAX, "the hostname is longer than %d characters", TLS_HOSTNAME_MAX);
        return NULL;
    }
    struct chain chain = {.bytes = malloc(TLS_CHAIN_SIZE_MAX)};
    if (!chain.bytes) {
        snprintf(why, TLS_WHY_MAX, "no memory");
        return NULL;
    }
    struct tls_identity *identity = NULL;
    const char *fault = read_chain(&chain, options);
    if (fault) {
        snprintf(why, TLS_WHY_MAX, "the certificate file %s", fault);
    } else {
        identity = identity_of(&chain, options, why);
    }
    free(chain.bytes);
    return identity;
}

struct tls_identity *tls_identity_take(struct tls_identity *identity) {
    tls_ref_add(&identity->references);
    return identity;
}

/* The key is wiped by wolfSSL, whose buffers of private keys are zeroed when freed, and by the signer. */
void tls_identity_give(struct tls_identity *identity) {
    if (!identity || !tls_ref_drop(&identity->references)) return;
    wolfSSL_CTX_free(identity->ctx);
    tls_signer_free(identity->signer);
    free(identity);
}

const struct tls_identity_facts *tls_identity_facts(const struct tls_identity *identity) { return &identity->facts; }
