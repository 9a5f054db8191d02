#include "proto/tls_wolf.h"

#include <stdio.h>

#include "core/check.h"

static const char *const suite_names[AEAD_SUITE_END] = {
    [AEAD_AES_128_GCM] = "TLS13-AES128-GCM-SHA256",
    [AEAD_AES_256_GCM] = "TLS13-AES256-GCM-SHA384",
    [AEAD_CHACHA20_POLY1305] = "TLS13-CHACHA20-POLY1305-SHA256",
};

static bool set_suites(WOLFSSL_CTX *ctx, const struct tls_suites *suites) {
    char list[128];
    struct writer w = writer_of(list, sizeof(list));
    CHECK(suites->count > 0 && suites->count <= array_count(suites->items));
    for (size_t i = 0; i < suites->count; i++) {
        CHECK(suites->items[i] > 0 && suites->items[i] < AEAD_SUITE_END);
        if (i > 0) writer_u8(&w, ':');
        writer_text(&w, suite_names[suites->items[i]]);
    }
    writer_u8(&w, '\0');
    CHECK(writer_ok(&w));
    return wolfSSL_CTX_set_cipher_list(ctx, list) == WOLFSSL_SUCCESS;
}

static bool set_rules(WOLFSSL_CTX *ctx, bool is_client, const struct tls_suites *suites) {
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1};
    if (!set_suites(ctx, suites)) return false;
    if (wolfSSL_CTX_set_groups(ctx, groups, (int)array_count(groups)) != WOLFSSL_SUCCESS) return false;
    if (!is_client && wolfSSL_CTX_no_ticket_TLSv13(ctx) != 0) return false;
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    handshake_hook(ctx);
    return true;
}

WOLFSSL_CTX *tls_ctx_new(bool is_client, const struct tls_suites *suites, char *why) {
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(is_client ? wolfTLSv1_3_client_method() : wolfTLSv1_3_server_method());
    if (!ctx) {
        snprintf(why, TLS_WHY_MAX, "wolfSSL has no memory for a TLS 1.3 context");
        return NULL;
    }
    if (set_rules(ctx, is_client, suites)) return ctx;
    snprintf(why, TLS_WHY_MAX, "the installed wolfSSL refuses our TLS 1.3 suites, groups or options");
    wolfSSL_CTX_free(ctx);
    return NULL;
}

struct tls_suites tls_suites_of_aead(void) {
    struct tls_suites suites = {0};
    for (uint8_t suite = AEAD_AES_128_GCM; suite < AEAD_SUITE_END; suite++) {
        if (aead_has_suite((enum aead_suite)suite)) suites.items[suites.count++] = suite;
    }
    return suites;
}

/* why: an identity is shared by the fronts and replaced by a reload, whose last user is not known beforehand; a count
 * of references is all that crosses threads here, the rest was written before it was handed out. */
void tls_ref_add(unsigned *references) { __atomic_add_fetch(references, 1, __ATOMIC_RELAXED); }

/* why: as above; acquire and release, so that the last one sees everything done with it. */
bool tls_ref_drop(unsigned *references) { return __atomic_sub_fetch(references, 1, __ATOMIC_ACQ_REL) == 0; }
