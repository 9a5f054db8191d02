#include "relay/trust.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/aead.h"
#include "core/sys.h"
#include "proto/cert.h"
#include "proto/handshake.h"

static struct tls_trust *fail(char *why, const char *subject, const char *detail) {
    snprintf(why, TRUST_WHY_MAX, "%s: %s", subject, detail);
    return NULL;
}

bool trust_parse(struct trust_words *ret, const char *spec) {
    if (strcmp(spec, "any") == 0) ret->is_insecure = true;
    else if (strncmp(spec, "pin:", 4) == 0) ret->pin = spec + 4;
    else if (strncmp(spec, "ca:", 3) == 0) ret->ca_path = spec + 3;
    else return false;
    return true;
}

/* The hash of the first certificate of a PEM file. */
static bool pin_of_file(const char *path, uint8_t pin[CERT_PIN_SIZE]) {
    static char pem[256 * 1024];  // why: a tool with one thread
    static uint8_t der_bytes[64 * 1024];
    ssize_t size = sys_file_read(path, pem, sizeof(pem));
    struct reader r = reader_of(pem, size > 0 ? (size_t)size : 0);
    struct writer der = writer_of(der_bytes, sizeof(der_bytes));
    if (!cert_pem_next(&r, "CERTIFICATE", &der)) return false;
    cert_pin(der_bytes, (size_t)(der.at - der_bytes), pin);
    return true;
}

bool trust_parse_pin(const char *text, uint8_t pin[CERT_PIN_SIZE]) {
    const char *hex = strncmp(text, "sha256-raw:", 11) == 0 ? text + 11 : text;
    return cert_pin_parse(hex, pin) || pin_of_file(text, pin);
}

static struct tls_trust *trust_roots(struct tls_trust_options *options, const char *path, char *why) {
    enum { ROOTS_SIZE_MAX = 4 * 1024 * 1024 };
    char detail[TLS_WHY_MAX];
    char *pem = malloc(ROOTS_SIZE_MAX);
    if (pem == NULL) return fail(why, path, "no memory");
    ssize_t size = sys_file_read(path, pem, ROOTS_SIZE_MAX);
    struct tls_trust *trust = NULL;
    if (size >= 0) {
        options->roots_pem = pem;
        options->roots_pem_size = (size_t)size;
        trust = tls_trust_make(options, detail);
    }
    if (trust == NULL) (void)fail(why, path, size < 0 ? strerror((int)-size) : detail);
    free(pem);
    return trust;
}

struct tls_trust *trust_make(const struct trust_words *words, char *why) {
    char detail[TLS_WHY_MAX];
    if (!aead_init(NULL, why)) return NULL;
    if (!handshake_init(detail)) return fail(why, "TLS", detail);
    struct tls_trust_options options = {.rule = TLS_TRUST_ROOTS, .suites = tls_suites_of_aead()};
    if (words->pin && !trust_parse_pin(words->pin, options.pin)) {
        return fail(why, "--pin", "it takes 64 hex digits or a certificate file");
    }
    if (!words->pin && !words->is_insecure) {
        return trust_roots(&options, words->ca_path ? words->ca_path : "/etc/ssl/certs/ca-certificates.crt", why);
    }
    options.rule = words->pin ? TLS_TRUST_PIN : TLS_TRUST_ANY;
    struct tls_trust *trust = tls_trust_make(&options, detail);
    return trust ? trust : fail(why, "TLS", detail);
}
