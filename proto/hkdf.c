#include "proto/hkdf.h"

#include <sodium.h>
#include <wolfssl/options.h>  // first: it says how the library was built
#include <wolfssl/wolfcrypt/kdf.h>

_Static_assert((int)HKDF_SHA256 == (int)WC_SHA256_DIGEST_SIZE && (int)HKDF_SHA384 == (int)WC_SHA384_DIGEST_SIZE,
               "a hash is named by its size");

static const char protocol[] = "tls13 ";

bool hkdf_expand_label(enum hkdf_hash hash, const uint8_t *secret, const char *label, const uint8_t *context,
                       size_t context_size, uint8_t *out, size_t out_size) {
    size_t label_size = strlen(label);
    bool ok = label_size <= HKDF_LABEL_MAX && context_size <= HKDF_CONTEXT_MAX && out_size <= HKDF_OUT_MAX;
    ok = ok && wc_Tls13_HKDF_Expand_Label(out, (word32)out_size, secret, (word32)hash, (const byte *)protocol,
                                          sizeof(protocol) - 1, (const byte *)label, (word32)label_size, context,
                                          (word32)context_size, hash == HKDF_SHA256 ? WC_SHA256 : WC_SHA384) == 0;
    if (!ok) sodium_memzero(out, out_size);
    return ok;
}
