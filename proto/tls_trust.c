#include "proto/tls_trust.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/der.h"
#include "proto/metacert.h"
#include "proto/tls_wolf.h"

/* ---- making ---- */

/* Keeps those that can be read, with their bytes: a bundle of 140 roots may hold one that wolfSSL does not take. */
static bool keep_roots(struct tls_trust *trust, const struct tls_trust_options *o) {
    struct reader pem = reader_of(o->roots_pem, o->roots_pem_size);
    trust->roots = malloc(o->roots_pem_size + 1);
    if (!trust->roots) return false;
    struct writer w = writer_of(trust->roots, o->roots_pem_size);
    for (uint8_t *start = w.at; cert_pem_next(&pem, "CERTIFICATE", &w); start = w.at) {
        struct cert cert;
        if (!cert_read(start, (size_t)(w.at - start), &cert)) w.at = start;
    }
    trust->roots_size = (size_t)(w.at - trust->roots);
    return trust->roots_size > 0;
}

/* wolfSSL itself verifies no chain. As of 5.7.2 it cannot: the meta certificate, which leads nowhere, ends its
 * verification with "out of memory" before a callback is asked. It checks the handshake's signature all the same, and
 * its callback for the leaf, which sees the whole chain, is where tls_trust_judge() is called. */
static bool set_rule(struct tls_trust *trust, const struct tls_trust_options *o, char *why) {
    trust->rule = o->rule;
    memcpy(trust->pin, o->pin, CERT_PIN_SIZE);
    wolfSSL_CTX_set_verify(trust->ctx, WOLFSSL_VERIFY_NONE, handshake_on_certificate);
    if (o->rule != TLS_TRUST_ROOTS || keep_roots(trust, o)) return true;
    snprintf(why, TLS_WHY_MAX, "no root certificate can be read");
    return false;
}

struct tls_trust *tls_trust_make(const struct tls_trust_options *options, char *why) {
    struct tls_trust *trust = calloc(1, sizeof(*trust));
    if (!trust) {
        snprintf(why, TLS_WHY_MAX, "no memory");
        return NULL;
    }
    trust->references = 1;
    trust->ctx = tls_ctx_new(true, &options->suites, why);
    if (trust->ctx && set_rule(trust, options, why)) return trust;
    tls_trust_give(trust);
    return NULL;
}

struct tls_trust *tls_trust_take(struct tls_trust *trust) {
    tls_ref_add(&trust->references);
    return trust;
}

void tls_trust_give(struct tls_trust *trust) {
    if (!trust || !tls_ref_drop(&trust->references)) return;
    wolfSSL_CTX_free(trust->ctx);
    free(trust->roots);
    free(trust);
}

/* ---- judging: the pin ---- */

static bool is_leaf_for(const struct cert *leaf, const char *name) { return !name || cert_is_for(leaf, name); }

/* The pinned certificate is the leaf, whose key signs the handshake; all others are named as meta certificates are. */
static bool is_pinned(const struct tls_trust *trust, struct tls_chain c, const char *name, uint64_t unix_s) {
    struct cert leaf;
    uint8_t pin[CERT_PIN_SIZE];
    for (int i = 1; i < c.count; i++) {
        if (!metacert_is_named(c.items[i].buffer, c.items[i].length)) return false;
    }
    cert_pin(c.items[0].buffer, c.items[0].length, pin);
    return memcmp(pin, trust->pin, sizeof(pin)) == 0 && cert_read(c.items[0].buffer, c.items[0].length, &leaf) &&
           is_leaf_for(&leaf, name) && unix_s >= leaf.not_before_s && unix_s <= leaf.not_after_s;
}

/* ---- judging: the roots ---- */

/* Signed by somebody in `authorities`, and valid now. */
static bool is_signed(WOLFSSL_CERT_MANAGER *authorities, const WOLFSSL_BUFFER_INFO *cert) {
    return wolfSSL_CertManagerVerifyBuffer(authorities, cert->buffer, (long)cert->length, WOLFSSL_FILETYPE_ASN1) ==
           WOLFSSL_SUCCESS;
}

static bool add_authority(WOLFSSL_CERT_MANAGER *authorities, const uint8_t *der, size_t size) {
    return wolfSSL_CertManagerLoadCABuffer(authorities, der, (long)size, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
}

static void add_roots(WOLFSSL_CERT_MANAGER *authorities, const struct tls_trust *trust) {
    struct reader all = reader_of(trust->roots, trust->roots_size);
    while (reader_left(&all) > 0) {
        const uint8_t *start = all.at;
        der_skip(&all);
        if (!reader_ok(&all)) return;
        (void)add_authority(authorities, start, (size_t)(all.at - start));  // an expired one is of no use, and no harm
    }
}

/* wolfSSL takes anything for an authority when asked to: whether it may be one is decided here. */
static bool may_sign(const WOLFSSL_BUFFER_INFO *item) {
    struct cert cert;
    return cert_read(item->buffer, item->length, &cert) && cert.is_authority && cert.is_for_servers;
}

/* Intermediates become authorities when an authority signed them, in whatever order they are presented. */
static void add_intermediates(WOLFSSL_CERT_MANAGER *authorities, struct tls_chain c) {
    bool is_added[TLS_CHAIN_COUNT_MAX] = {false}, is_progress = true;
    while (is_progress) {
        is_progress = false;
        for (int i = 1; i < c.count; i++) {
            const WOLFSSL_BUFFER_INFO *item = &c.items[i];
            if (is_added[i] || !may_sign(item) || !is_signed(authorities, item)) continue;
            is_added[i] = is_progress = add_authority(authorities, item->buffer, item->length);
        }
    }
}

static bool is_rooted(const struct tls_trust *trust, struct tls_chain c, const char *name) {
    struct cert leaf;
    if (c.count > TLS_CHAIN_COUNT_MAX || !cert_read(c.items[0].buffer, c.items[0].length, &leaf)) return false;
    if (!leaf.is_for_servers || !is_leaf_for(&leaf, name)) return false;
    WOLFSSL_CERT_MANAGER *authorities = wolfSSL_CertManagerNew();
    if (!authorities) return false;
    add_roots(authorities, trust);
    add_intermediates(authorities, c);
    bool is_good = is_signed(authorities, &c.items[0]);
    wolfSSL_CertManagerFree(authorities);
    return is_good;
}

bool tls_trust_judge(const struct tls_trust *trust, struct tls_chain chain, const char *name, uint64_t unix_s) {
    if (chain.count < 1) return false;
    switch (trust->rule) {
        case TLS_TRUST_ANY: return true;
        case TLS_TRUST_PIN: return is_pinned(trust, chain, name, unix_s);
        case TLS_TRUST_ROOTS: return is_rooted(trust, chain, name);
    }
    return false;
}
