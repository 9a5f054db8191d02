/* handshake.h - one TLS 1.3 handshake: bytes in, bytes out, and at the end two secrets.
 *
 * What it is: wolfSSL as two byte channels. The owner feeds what arrives and sends what comes out until the handshake
 * is done, exports the traffic secrets for the record layer (proto/record.h) and frees it: a live connection holds no
 * wolfSSL object.
 *
 *     struct handshake *h = handshake_server(identity);
 *     for each arrival:
 *         struct reader in = ...; struct writer out = ...;
 *         enum handshake_state state = handshake_step(h, &in, &out);
 *         send what is in `out`;                                  // in every state
 *         MORE:   read on; or, when `out` was full, send and call again
 *         DONE:   handshake_export(h, &secrets); handshake_free(h); the rest of `in` is application records
 *         FAILED: count handshake_cause(h); handshake_free(h); close
 *
 * Model: wolfSSL takes exactly the records it needs. Bytes behind the other side's Finished stay in `in`. The secrets
 * are seen when wolfSSL expands the labels "c ap traffic" and "s ap traffic" through a callback, which names no
 * connection: a thread-local points at the handshake that is being stepped. handshake_init() proves on this machine's
 * library, for every suite, that these secrets give the keys that wolfSSL itself uses.
 * Invariants: both sequence numbers are 0 at DONE. A server sends no tickets; as client, NewSessionTickets may follow
 * in `in` and are the record layer's. Whoever has not sent five bytes that begin like TLS costs 0.4 KB.
 *
 * Limits: HANDSHAKE_IN_MAX bytes in; HANDSHAKE_MEMORY_MAX bytes of heap while it lives (Debian's wolfSSL, which embeds
 * large numbers in its objects, takes 71 KB), nothing after handshake_free(). A server's handshake costs 0.15 ms of CPU
 * with an ECDSA certificate, 0.35 ms with RSA-2048 (without libcrypto, proto/tls_signer.h: 0.18 and 1.5 ms), nearly all
 * in one step: never on a worker. Time limits are the owner's.
 *
 * Threads: thread-local; a handshake may move to another thread between two steps. wolfSSL opens /dev/urandom for each
 * handshake (a file descriptor and, in a sandbox, the permission).
 * Errors: FAILED with a reason; sticky. An alert is in `out` where TLS has one to say; none for NOT_TLS and PLAIN_HTTP,
 * where the owner may answer in HTTP, and none from a client that distrusts a certificate.
 * Not here: TLS 1.2 (refused with protocol_version), client certificates, resumption, early data.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "proto/key.h"
#include "proto/tls_identity.h"
#include "proto/tls_trust.h"

enum {
    HANDSHAKE_IN_MAX = 64 * 1024,
    /* With this much room `out` is never full: the server's chain and 2 KiB around it. With less, output is kept (in as
     * much memory again) and handed out in pieces. */
    HANDSHAKE_OUT_MAX = TLS_CHAIN_SIZE_MAX + 2048,
    HANDSHAKE_MEMORY_MAX = 96 * 1024,
    HANDSHAKE_SECRET_MAX = 48,  // SHA-384
};

/* H(NAME, "metric name", "what happened") */
#define HANDSHAKE_FAILURES(H)                                                                      \
    H(NONE, "none", "nothing has failed")                                                          \
    H(NOT_TLS, "not_tls", "the first bytes are not TLS")                                           \
    H(PLAIN_HTTP, "plain_http", "an HTTP request came in plain text")                              \
    H(OLD_VERSION, "old_version", "the other side does not speak TLS 1.3")                         \
    H(NOTHING_SHARED, "nothing_shared", "no cipher suite, group or signature algorithm in common") \
    H(BAD_NAME, "bad_name", "the server name (SNI) is missing or not ours")                        \
    H(BAD_ALPN, "bad_alpn", "the client's ALPN list lacks http/1.1")                               \
    H(BAD_CERTIFICATE, "bad_certificate", "the server's certificate is not the one we trust")      \
    H(TOO_LARGE, "too_large", "more handshake bytes than any honest peer sends")                   \
    H(ALERT, "alert", "the other side refused with an alert")                                      \
    H(PROTOCOL, "protocol", "the bytes break the TLS protocol")                                    \
    H(NO_MEMORY, "no_memory", "no memory")

enum handshake_failure {
#define HANDSHAKE_FAILURE_NAME(NAME, metric, text) HANDSHAKE_FAILURE_##NAME,
    HANDSHAKE_FAILURES(HANDSHAKE_FAILURE_NAME)
#undef HANDSHAKE_FAILURE_NAME
        HANDSHAKE_FAILURE_COUNT
};

enum handshake_state {
    HANDSHAKE_MORE,  // `in` is used up, or `out` is full
    HANDSHAKE_DONE,  // export, then free; what is in `out` still has to be sent, before anything else
    HANDSHAKE_FAILED,  // send what is in `out`, then close
};

/* What the record layer needs. "in" is what the other side seals. The owner wipes it. */
struct tls_secrets {
    uint8_t suite;  // enum aead_suite
    bool is_client;
    uint8_t secret_size;  // 32 or 48
    uint8_t in_secret[HANDSHAKE_SECRET_MAX];
    uint8_t out_secret[HANDSHAKE_SECRET_MAX];
};

struct handshake;

/* Once, at boot, before any thread and any identity; takes about 10 ms. Shakes hands with itself in memory for each
 * suite and compares the exported secrets with the keys that wolfSSL derived. False with a sentence in `why`
 * (TLS_WHY_MAX bytes): the installed wolfSSL cannot do what the relay needs. */
must_use bool handshake_init(char *why);
void handshake_fini(void);

/* At the end of each thread that made identities or shook hands: frees wolfSSL's cache of curve points, which is the
 * thread's own (up to 1 MB for each certificate key it has used). */
void handshake_thread_fini(void);

/* A server's handshake. Takes a reference of its own. NULL: no memory. (wolfSSL's part is made by the step that sees
 * the first five bytes; there, no memory or no /dev/urandom is FAILED with NO_MEMORY.) */
must_use struct handshake *handshake_server(struct tls_identity *identity);

/* A client's. Takes a reference of its own. `server_name` is sent as SNI unless it is NULL or an IP literal;
 * `cert_name` is what the certificate has to be for, by the rules of `trust`; NULL: as server_name. Both are copied and
 * have at most TLS_HOSTNAME_MAX characters (CHECK). `unix_s` is now, for the dates of a pinned certificate; a chain
 * (ROOTS) is judged by wolfSSL with the system's clock. NULL: no memory. */
must_use struct handshake *handshake_client(struct tls_trust *trust, const char *server_name, const char *cert_name,
                                            uint64_t unix_s);

/* Wipes and frees; fine with NULL and in every state. */
void handshake_free(struct handshake *h);

/* Goes on as far as the bytes reach. A client's first step needs no input. After FAILED or DONE: the same answer again,
 * nothing consumed. */
must_use enum handshake_state handshake_step(struct handshake *h, struct reader *in, struct writer *out);

/* Why it FAILED. */
enum handshake_failure handshake_cause(const struct handshake *h);

/* The alert that came from the other side (FAILURE_ALERT) or went to it; -1: none. For logs. */
int handshake_alert(const struct handshake *h);

const char *handshake_failure_metric(enum handshake_failure failure);
const char *handshake_failure_text(enum handshake_failure failure);

/* After DONE only (CHECK). */
void handshake_export(const struct handshake *h, struct tls_secrets *secrets);

/* Client, after DONE: the server's key and protocol version by its meta certificate, the first that is one. False:
 * none, so no fast start. */
must_use bool handshake_peer_metacert(const struct handshake *h, struct node_key *server, uint8_t *version);
