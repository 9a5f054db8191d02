#include "proto/handshake.h"

#include <sodium.h>
#include <stdlib.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/kdf.h>

#include "core/check.h"
#include "proto/metacert.h"
#include "proto/tls_wolf.h"

enum {
    CONTENT_ALERT = 21,
    CONTENT_HANDSHAKE = 22,
    ALERT_FATAL = 2,
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_DECODE_ERROR = 50,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_NO_APPLICATION_PROTOCOL = 120,
    NAME_ACCEPTED = 0,  // of the SNI callback, as OpenSSL has them
    NAME_REFUSED = 2,
};

/* Whose step runs on this thread: the callback for HKDF labels is told no connection. */
static _Thread_local struct handshake *current;

static void fail(struct handshake *h, enum handshake_failure failure) {
    if (h->failure == HANDSHAKE_FAILURE_NONE) h->failure = failure;  // the first one is the cause
}

/* ---- bytes ---- */

static enum handshake_failure judge_head(const uint8_t *head) {
    static const char http[][TLS_RECORD_HEADER_SIZE + 1] = {"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "CONNE"};
    for (size_t i = 0; i < array_count(http); i++) {
        if (memcmp(head, http[i], TLS_RECORD_HEADER_SIZE) == 0) return HANDSHAKE_FAILURE_PLAIN_HTTP;
    }
    bool is_tls = (head[0] == CONTENT_HANDSHAKE || head[0] == CONTENT_ALERT) && head[1] == 3;
    return is_tls ? HANDSHAKE_FAILURE_NONE : HANDSHAKE_FAILURE_NOT_TLS;
}

/* Collects the first record's header. True when it is there and good. */
static bool take_head(struct handshake *h, struct reader *in) {
    if (h->head_size == TLS_RECORD_HEADER_SIZE) return true;
    while (h->head_size < TLS_RECORD_HEADER_SIZE && reader_left(in) > 0) h->head[h->head_size++] = reader_u8(in);
    if (h->head_size < TLS_RECORD_HEADER_SIZE) return false;
    enum handshake_failure failure = judge_head(h->head);
    if (failure) fail(h, failure);
    return !failure;
}

/* The bytes wolfSSL asks for next: what is left of the head, then the input. */
static size_t take_bytes(struct handshake *h, uint8_t *to, size_t size) {
    size_t head_left = (size_t)(h->head_size - h->head_taken);
    if (head_left > 0) {
        size = min_of(size, head_left);
        memcpy(to, h->head + h->head_taken, size);
        h->head_taken = (uint8_t)(h->head_taken + size);
        return size;
    }
    size = min_of(size, reader_left(h->in));
    reader_copy(h->in, to, size);
    return size;
}

static int on_receive(WOLFSSL *ssl, char *to, int size, void *context) {
    struct handshake *h = context;
    (void)ssl;
    if (!take_head(h, h->in)) return h->failure ? WOLFSSL_CBIO_ERR_GENERAL : WOLFSSL_CBIO_ERR_WANT_READ;
    size_t taken = take_bytes(h, (uint8_t *)to, (size_t)size);
    h->in_size += (uint32_t)taken;
    if (h->in_size > HANDSHAKE_IN_MAX) {
        fail(h, HANDSHAKE_FAILURE_TOO_LARGE);
        return WOLFSSL_CBIO_ERR_GENERAL;
    }
    return taken > 0 ? (int)taken : WOLFSSL_CBIO_ERR_WANT_READ;
}

/* Keeps what did not fit into `out`. */
static bool keep_rest(struct handshake *h, const char *from, size_t size) {
    if (size == 0) return true;
    if (!h->rest) h->rest = malloc(HANDSHAKE_OUT_MAX);
    if (!h->rest || size > HANDSHAKE_OUT_MAX - h->rest_tail) {
        fail(h, HANDSHAKE_FAILURE_NO_MEMORY);
        return false;
    }
    memcpy(h->rest + h->rest_tail, from, size);
    h->rest_tail += size;
    return true;
}

/* Takes everything. wolfSSL must never hear that there is no room: a server (5.5.4) that has to wait while sending its
 * Finished forgets to derive the traffic keys. */
static int on_send(WOLFSSL *ssl, char *from, int size, void *context) {
    struct handshake *h = context;
    (void)ssl;
    size_t piece = h->rest_tail > 0 ? 0 : min_of((size_t)size, writer_left(h->out));
    writer_copy(h->out, from, piece);
    return keep_rest(h, from + piece, (size_t)size - piece) ? size : WOLFSSL_CBIO_ERR_GENERAL;
}

/* Hands out what was kept. True when nothing is left of it. */
static bool drain_rest(struct handshake *h, struct writer *out) {
    size_t piece = min_of(h->rest_tail - h->rest_head, writer_left(out));
    if (piece > 0) writer_copy(out, h->rest + h->rest_head, piece);
    h->rest_head += piece;
    if (h->rest_head < h->rest_tail) return false;
    h->rest_head = h->rest_tail = 0;
    return true;
}

/* ---- secrets ---- */

static bool label_is(const byte *label, word32 size, const char *text) {
    return size == strlen(text) && memcmp(label, text, size) == 0;
}

static void keep(uint8_t *secret, uint8_t *secret_size, const byte *okm, word32 size) {
    CHECK(size <= HANDSHAKE_SECRET_MAX);
    memcpy(secret, okm, size);
    *secret_size = (uint8_t)size;
}

/* Sees every label that wolfSSL expands, computes the two that matter, and leaves the others to wolfSSL. */
static int on_label(byte *okm, word32 okm_size, const byte *prk, word32 prk_size, const byte *protocol,
                    word32 protocol_size, const byte *label, word32 label_size, const byte *info, word32 info_size,
                    int digest, int side) {
    (void)side;
    bool is_client = label_is(label, label_size, "c ap traffic"),
         is_server = label_is(label, label_size, "s ap traffic");
    struct handshake *h = current;
    if (!h) return NOT_COMPILED_IN;
    if (label_is(label, label_size, "s hs traffic")) h->is_encrypted = true;
    if (!is_client && !is_server) return NOT_COMPILED_IN;
    int error = wc_Tls13_HKDF_Expand_Label(okm, okm_size, prk, prk_size, protocol, protocol_size, label, label_size,
                                           info, info_size, digest);
    if (error) return error;
    if (is_client) keep(h->client_secret, &h->client_secret_size, okm, okm_size);
    if (is_server) keep(h->server_secret, &h->server_secret_size, okm, okm_size);
    return 0;
}

void handshake_hook(WOLFSSL_CTX *ctx) {
    wolfSSL_CTX_SetIORecv(ctx, on_receive);
    wolfSSL_CTX_SetIOSend(ctx, on_send);
    wolfSSL_CTX_SetHKDFExpandLabelCb(ctx, on_label);
}

/* ---- the server's signature ---- */

static int sign(const byte *digest, word32 digest_size, byte *out, word32 *out_size) {
    size_t size = *out_size;
    if (!current || !tls_signer_sign(current->identity->signer, digest, digest_size, out, &size)) {
        if (current) fail(current, HANDSHAKE_FAILURE_NO_MEMORY);  // it has signed with this key when it was made
        return MEMORY_E;
    }
    *out_size = (word32)size;
    return 0;
}

static int on_ecdsa(unused_arg WOLFSSL *ssl, const byte *digest, word32 digest_size, byte *out, word32 *out_size,
                    unused_arg const byte *key, unused_arg word32 key_size, unused_arg void *context) {
    return sign(digest, digest_size, out, out_size);
}

static int on_rsa_pss(unused_arg WOLFSSL *ssl, const byte *digest, word32 digest_size, byte *out, word32 *out_size,
                      unused_arg int hash, unused_arg int mask, unused_arg const byte *key, unused_arg word32 key_size,
                      unused_arg void *context) {
    return sign(digest, digest_size, out, out_size);
}

void handshake_hook_signer(WOLFSSL_CTX *ctx, const struct tls_signer *signer) {
    if (tls_signer_is_rsa(signer)) {
        wolfSSL_CTX_SetRsaPssSignCb(ctx, on_rsa_pss);
    } else {
        wolfSSL_CTX_SetEccSignCb(ctx, on_ecdsa);
    }
}

/* ---- the server's rules ---- */

/* Called for each ClientHello, with or without a name in it. */
int handshake_on_name(WOLFSSL *ssl, int *alert, void *arg) {
    const struct tls_identity *identity = arg;
    void *name = NULL;
    size_t size = wolfSSL_SNI_GetRequest(ssl, WOLFSSL_SNI_HOST_NAME, &name);
    if (name && size == strlen(identity->hostname) && memcmp(name, identity->hostname, size) == 0) return NAME_ACCEPTED;
    *alert = ALERT_INTERNAL_ERROR;
    if (current) fail(current, HANDSHAKE_FAILURE_BAD_NAME);
    return NAME_REFUSED;
}

/* ---- the client's rules ---- */

static void find_metacert(struct handshake *h, struct tls_chain c) {
    for (int i = 0; i < c.count && h->peer_version == 0; i++) {
        uint8_t version;
        if (metacert_read(c.items[i].buffer, c.items[i].length, &h->peer_key, &version)) h->peer_version = version;
    }
}

/* Called for the leaf with the whole chain, by some builds for each other certificate before. wolfSSL's own verdict
 * (`is_verified`) was switched off; a refusal here ends the handshake, without an alert. */
int handshake_on_certificate(int is_verified, WOLFSSL_X509_STORE_CTX *store) {
    struct handshake *h = store->userCtx;
    struct tls_chain chain = {.items = store->certs, .count = store->totalCerts};
    (void)is_verified;
    if (store->error_depth > 0) return true;
    h->is_judged = tls_trust_judge(h->trust, chain, h->has_cert_name ? h->cert_name : NULL, h->unix_s);
    if (!h->is_judged) fail(h, HANDSHAKE_FAILURE_BAD_CERTIFICATE);
    if (h->is_judged) find_metacert(h, chain);
    return h->is_judged;
}

/* ---- making ---- */

static bool open_server(struct handshake *h) {
    char protocol[] = "http/1.1";
    h->ssl = wolfSSL_new(h->identity->ctx);
    if (!h->ssl) return false;
    wolfSSL_SetIOReadCtx(h->ssl, h);
    wolfSSL_SetIOWriteCtx(h->ssl, h);
    return wolfSSL_UseALPN(h->ssl, protocol, sizeof(protocol) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH) == WOLFSSL_SUCCESS;
}

static bool open_client(struct handshake *h, const char *server_name) {
    uint8_t ip[16];
    h->ssl = wolfSSL_new(h->trust->ctx);
    if (!h->ssl) return false;
    wolfSSL_SetIOReadCtx(h->ssl, h);
    wolfSSL_SetIOWriteCtx(h->ssl, h);
    wolfSSL_SetCertCbCtx(h->ssl, h);
    if (!server_name || cert_ip_of(server_name, ip)) return true;
    return wolfSSL_UseSNI(h->ssl, WOLFSSL_SNI_HOST_NAME, server_name, (unsigned short)strlen(server_name)) ==
           WOLFSSL_SUCCESS;
}

static struct handshake *make(void) {
    struct handshake *h = calloc(1, sizeof(*h));
    if (h) h->alert = -1;
    return h;
}

struct handshake *handshake_server(struct tls_identity *identity) {
    struct handshake *h = make();
    if (h) h->identity = tls_identity_take(identity);
    return h;
}

struct handshake *handshake_client(struct tls_trust *trust, const char *server_name, const char *cert_name,
                                   uint64_t unix_s) {
    const char *name = cert_name ? cert_name : server_name;
    CHECK(!name || strlen(name) <= TLS_HOSTNAME_MAX);
    CHECK(!server_name || strlen(server_name) <= TLS_HOSTNAME_MAX);
    struct handshake *h = make();
    if (!h) return NULL;
    h->trust = tls_trust_take(trust);
    h->unix_s = unix_s;
    h->has_cert_name = name != NULL;
    if (name) memcpy(h->cert_name, name, strlen(name) + 1);
    if (open_client(h, server_name)) return h;
    handshake_free(h);
    return NULL;
}

void handshake_free(struct handshake *h) {
    if (!h) return;
    wolfSSL_free(h->ssl);
    free(h->rest);
    tls_identity_give(h->identity);
    tls_trust_give(h->trust);
    sodium_memzero(h, sizeof(*h));
    free(h);
}

/* ---- stepping ---- */

/* BAD_FUNC_ARG is what 5.5.4 says when it goes through a client's groups and finds none. */
static enum handshake_failure failure_of(int error) {
    switch (error) {
        case VERSION_ERROR: return HANDSHAKE_FAILURE_OLD_VERSION;
        case MATCH_SUITE_ERROR:
        case UNSUPPORTED_SUITE:
        case BAD_KEY_SHARE_DATA:
        case BAD_FUNC_ARG:
        case ECC_CURVE_ERROR: return HANDSHAKE_FAILURE_NOTHING_SHARED;
        case UNKNOWN_ALPN_PROTOCOL_NAME_E: return HANDSHAKE_FAILURE_BAD_ALPN;
        case MEMORY_E: return HANDSHAKE_FAILURE_NO_MEMORY;
        default: return HANDSHAKE_FAILURE_PROTOCOL;
    }
}

static int alert_of(enum handshake_failure failure) {
    switch (failure) {
        case HANDSHAKE_FAILURE_OLD_VERSION: return ALERT_PROTOCOL_VERSION;
        case HANDSHAKE_FAILURE_NOTHING_SHARED: return ALERT_HANDSHAKE_FAILURE;
        case HANDSHAKE_FAILURE_BAD_ALPN: return ALERT_NO_APPLICATION_PROTOCOL;
        case HANDSHAKE_FAILURE_TOO_LARGE:
        case HANDSHAKE_FAILURE_PROTOCOL: return ALERT_DECODE_ERROR;
        case HANDSHAKE_FAILURE_BAD_NAME:
        case HANDSHAKE_FAILURE_NO_MEMORY: return ALERT_INTERNAL_ERROR;
        default: return -1;
    }
}

/* wolfSSL is silent about some errors. As long as nothing is encrypted, an alert can be said for it. */
static void say_alert(struct handshake *h) {
    int alert = alert_of(h->failure);
    if (alert < 0 || h->is_encrypted || h->alert >= 0) return;
    uint8_t record[] = {CONTENT_ALERT, 3, 3, 0, 2, ALERT_FATAL, (uint8_t)alert};
    if (on_send(h->ssl, (char *)record, sizeof(record), h) > 0) h->alert = alert;
}

/* Which alerts went over the wire, in either direction; one that came is the cause of everything. */
static void look_at_alerts(struct handshake *h) {
    WOLFSSL_ALERT_HISTORY history;
    if (!h->ssl || wolfSSL_get_alert_history(h->ssl, &history) != WOLFSSL_SUCCESS) return;
    if (history.last_tx.code >= 0) h->alert = history.last_tx.code;
    if (history.last_rx.code < 0) return;
    h->alert = history.last_rx.code;
    fail(h, HANDSHAKE_FAILURE_ALERT);
}

static enum handshake_state failed(struct handshake *h, int error) {
    look_at_alerts(h);
    fail(h, failure_of(error));
    say_alert(h);
    wolfSSL_ERR_clear_error();  // a queue per thread that would otherwise grow
    return HANDSHAKE_FAILED;
}

static enum handshake_state advance(struct handshake *h) {
    current = h;
    int result = h->trust ? wolfSSL_connect(h->ssl) : wolfSSL_accept(h->ssl);
    current = NULL;
    if (result == WOLFSSL_SUCCESS) {
        bool is_known = h->client_secret_size > 0 && h->client_secret_size == h->server_secret_size;
        bool is_trusted = !h->trust || h->is_judged;  // never without our judgement, whatever wolfSSL called
        return is_known && is_trusted ? HANDSHAKE_DONE : failed(h, 0);
    }
    int error = wolfSSL_get_error(h->ssl, result);
    if (error == WOLFSSL_ERROR_WANT_READ) return HANDSHAKE_MORE;
    return failed(h, error);
}

/* A server's wolfSSL object, the bulk of the memory, is made only for somebody who begins like TLS. */
static enum handshake_state begin_or_advance(struct handshake *h) {
    if (h->ssl) return advance(h);
    if (!take_head(h, h->in)) return h->failure ? failed(h, 0) : HANDSHAKE_MORE;
    return open_server(h) ? advance(h) : failed(h, MEMORY_E);
}

enum handshake_state handshake_step(struct handshake *h, struct reader *in, struct writer *out) {
    if (!drain_rest(h, out)) return HANDSHAKE_MORE;
    if (h->state != HANDSHAKE_MORE) return h->state;
    h->in = in;
    h->out = out;
    h->state = begin_or_advance(h);
    h->in = NULL;
    h->out = NULL;
    return h->rest_tail > 0 ? HANDSHAKE_MORE : h->state;
}

/* ---- results ---- */

enum handshake_failure handshake_cause(const struct handshake *h) { return h->failure; }

int handshake_alert(const struct handshake *h) { return h->alert; }

const char *handshake_failure_metric(enum handshake_failure failure) {
#define METRIC(NAME, metric, text) metric,
    static const char *const metrics[] = {HANDSHAKE_FAILURES(METRIC)};
#undef METRIC
    CHECK(failure < HANDSHAKE_FAILURE_COUNT);
    return metrics[failure];
}

const char *handshake_failure_text(enum handshake_failure failure) {
#define TEXT(NAME, metric, text) text,
    static const char *const texts[] = {HANDSHAKE_FAILURES(TEXT)};
#undef TEXT
    CHECK(failure < HANDSHAKE_FAILURE_COUNT);
    return texts[failure];
}

static uint8_t suite_of(const struct handshake *h) {
    int id = wolfSSL_get_current_cipher_suite(h->ssl);
    CHECK(id >= 0x1301 && id <= 0x1303);  // no others were offered or accepted
    return (uint8_t)(AEAD_AES_128_GCM + (id - 0x1301));
}

void handshake_export(const struct handshake *h, struct tls_secrets *secrets) {
    CHECK(h->state == HANDSHAKE_DONE);
    bool is_client = h->trust != NULL;
    memset(secrets, 0, sizeof(*secrets));
    secrets->suite = suite_of(h);
    secrets->is_client = is_client;
    secrets->secret_size = h->client_secret_size;
    memcpy(secrets->in_secret, is_client ? h->server_secret : h->client_secret, secrets->secret_size);
    memcpy(secrets->out_secret, is_client ? h->client_secret : h->server_secret, secrets->secret_size);
}

bool handshake_peer_metacert(const struct handshake *h, struct node_key *server, uint8_t *version) {
    CHECK(h->state == HANDSHAKE_DONE);
    if (h->peer_version == 0) return false;
    *server = h->peer_key;
    *version = h->peer_version;
    return true;
}
