/* libipsec-mb by its direct functions, one message a call. Its job interface, which it is known for, gains nothing for
 * GCM: with vector AES one message already fills the pipelines.
 *
 * Threads: the manager is a table of function pointers to us, written once and then only read. The direct functions
 * keep their state in the key and in the context that we hand them. What they share is the library's own error number,
 * which they set to 0 on entry. Nobody reads it; but up to version 1.3 that is a store in every call, and so a cache
 * line that all threads write, where later versions look first. */
#ifdef HAVE_IPSEC_MB

#include "core/aead_backend.h"

#include <stdalign.h>
#include <sodium.h>

#define NO_COMPAT_IMB_API_053  // without its old names, which are everybody's names (AES_BLOCK_SIZE)
#include <intel-ipsec-mb.h>

/* The code relies on a key's alignment; the header declares it since version 3, before only with LINUX defined. Where
 * it does, the size ends in padding that nobody writes. */
enum { KEY_PADDING = alignof(struct gcm_key_data) == CACHE_LINE_SIZE ? 16 : 0 };

_Static_assert(sizeof(struct gcm_key_data) - KEY_PADDING <= AEAD_STATE_SIZE,
               "a key of this libipsec-mb fits the state");
_Static_assert(alignof(struct gcm_key_data) <= CACHE_LINE_SIZE, "a state is aligned for it");
_Static_assert(offsetof(struct aead_key, state) == 0, "a state begins its cache line");

static IMB_MGR *mgr;

static uint32_t ipsecmb_start(const char **why) {
    const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
    if ((imb_get_feature_flags() & needed) != needed) {
        *why = "the CPU has no AES-NI";
        return 0;
    }
    if (mgr == NULL) {
        mgr = alloc_mb_mgr(0);
        if (mgr != NULL) init_mb_mgr_auto(mgr, NULL);
    }
    if (mgr == NULL || imb_get_errno(mgr) != 0) {
        *why = "libipsec-mb did not start";
        return 0;
    }
    return AEAD_SUITES_ALL;
}

static bool ipsecmb_key_init(void *state, enum aead_suite suite, const uint8_t *key_bytes) {
    switch (suite) {
        case AEAD_AES_128_GCM: IMB_AES128_GCM_PRE(mgr, key_bytes, (struct gcm_key_data *)state); break;
        case AEAD_AES_256_GCM: IMB_AES256_GCM_PRE(mgr, key_bytes, (struct gcm_key_data *)state); break;
        default: memcpy(state, key_bytes, aead_key_size(suite)); break;
    }
    return true;
}

static void chacha_seal(const void *key, const struct aead_message *m, uint8_t *tag) {
    struct chacha20_poly1305_context_data ctx;
    IMB_CHACHA20_POLY1305_INIT(mgr, key, &ctx, m->nonce, m->aad, m->aad_size);
    IMB_CHACHA20_POLY1305_ENC_UPDATE(mgr, key, &ctx, m->out, m->in, m->size);
    IMB_CHACHA20_POLY1305_ENC_FINALIZE(mgr, &ctx, tag, AEAD_TAG_SIZE);
}

static void chacha_open(const void *key, const struct aead_message *m, uint8_t *tag) {
    struct chacha20_poly1305_context_data ctx;
    IMB_CHACHA20_POLY1305_INIT(mgr, key, &ctx, m->nonce, m->aad, m->aad_size);
    IMB_CHACHA20_POLY1305_DEC_UPDATE(mgr, key, &ctx, m->out, m->in, m->size);
    IMB_CHACHA20_POLY1305_DEC_FINALIZE(mgr, &ctx, tag, AEAD_TAG_SIZE);
}

static void ipsecmb_seal(void *state, enum aead_suite suite, const struct aead_message *m, uint8_t *tag) {
    struct gcm_context_data ctx;
    switch (suite) {
        case AEAD_AES_128_GCM:
            IMB_AES128_GCM_ENC(mgr, state, &ctx, m->out, m->in, m->size, m->nonce, m->aad, m->aad_size, tag,
                               AEAD_TAG_SIZE);
            break;
        case AEAD_AES_256_GCM:
            IMB_AES256_GCM_ENC(mgr, state, &ctx, m->out, m->in, m->size, m->nonce, m->aad, m->aad_size, tag,
                               AEAD_TAG_SIZE);
            break;
        default: chacha_seal(state, m, tag); break;
    }
}

/* The library says which tag it would have made; comparing is ours to do. */
static bool ipsecmb_open(void *state, enum aead_suite suite, const struct aead_message *m, const uint8_t *tag) {
    struct gcm_context_data ctx;
    uint8_t made[AEAD_TAG_SIZE];
    switch (suite) {
        case AEAD_AES_128_GCM:
            IMB_AES128_GCM_DEC(mgr, state, &ctx, m->out, m->in, m->size, m->nonce, m->aad, m->aad_size, made,
                               AEAD_TAG_SIZE);
            break;
        case AEAD_AES_256_GCM:
            IMB_AES256_GCM_DEC(mgr, state, &ctx, m->out, m->in, m->size, m->nonce, m->aad, m->aad_size, made,
                               AEAD_TAG_SIZE);
            break;
        default: chacha_open(state, m, made); break;
    }
    return crypto_verify_16(made, tag) == 0;
}

const struct aead_backend aead_ipsecmb = {
    .name = "ipsec-mb",
    .start = ipsecmb_start,
    .key_init = ipsecmb_key_init,
    .seal = ipsecmb_seal,
    .open = ipsecmb_open,
};

#else
/* An empty file is no C. */
extern int aead_ipsecmb_is_not_built;
#endif
