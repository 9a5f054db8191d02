/* hkdf.h - HKDF-Expand-Label of TLS 1.3, on wolfCrypt.
 *
 * RFC 8446 section 7.1:
 *
 *     HKDF-Expand-Label(secret, label, context, n) = HKDF-Expand(secret, info, n)
 *     info = n u16 | size u8, "tls13 " label | size u8, context
 *
 * It turns a traffic secret into a key ("key"), an IV ("iv") and the next secret ("traffic upd"). The hash is that of
 * the cipher suite; a secret is as long as its hash. One call costs about 1.5 us.
 *
 * Threads: pure functions. Memory: none kept; wolfCrypt works on the stack. Secrets are the caller's to wipe.
 * Not here: HKDF-Extract and transcript hashes, which end with the handshake.
 */
#pragma once

#include "core/base.h"

/* The value is the size of a secret. */
enum hkdf_hash { HKDF_SHA256 = 32, HKDF_SHA384 = 48 };

#define HKDF_SECRET_MAX 48
#define HKDF_LABEL_MAX 12     // "traffic upd" has 11; RFC 8446's longest has 12
#define HKDF_CONTEXT_MAX 48   // a transcript hash, or nothing
#define HKDF_OUT_MAX 48       // a secret

/* Writes `out_size` bytes, which do not overlap `secret`; `context` may be NULL when its size is 0. False, and zeroed
 * output, when a size is above its bound or wolfCrypt fails, which it does only for want of memory. */
must_use bool hkdf_expand_label(enum hkdf_hash hash, const uint8_t *secret, const char *label, const uint8_t *context,
                                size_t context_size, uint8_t *out, size_t out_size);
