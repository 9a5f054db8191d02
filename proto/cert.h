/* cert.h - reading certificates: names, dates, pins; and the PEM armour around them.
 *
 * What it is: the questions that a relay asks about an X.509 certificate without trusting it: for which names is it,
 * until when, who does it claim to be, what is its hash. Chains and signatures are wolfSSL's business
 * (proto/tls_trust.h); these questions are answered here because the answers have to be Go's: the common name is not
 * looked at, an IP address matches only an IP entry, a wildcard stands for one whole leftmost label.
 *
 * Model: a `struct cert` is views into the DER bytes, good while these stay. Parsing looks only at the fields below,
 * with bounded cursors; a certificate that is broken elsewhere may pass, which is fine for a view.
 * Threads: pure functions. Memory: the caller's. Errors: false, nothing written.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"

struct cert {
    const uint8_t *serial;  // big-endian, leading zeros removed: zero is no bytes at all
    size_t serial_size;
    const char *common_name;  // of the subject, the last one if several; not terminated; NULL if there is none
    size_t common_name_size;
    uint64_t not_before_s, not_after_s;  // Unix time
    const uint8_t *alt_names;            // the content of the SubjectAltName sequence, or NULL
    size_t alt_names_size;
    bool is_rsa;                   // the key
    bool is_authority;  // BasicConstraints say CA, and KeyUsage, if there is one, allows to sign certificates
    bool is_for_servers;  // ExtKeyUsage, if there is one, allows TLS servers
};

/* `der` is exactly one certificate. */
must_use bool cert_read(const uint8_t *der, size_t size, struct cert *out);

/* Is the certificate for this name, by its SubjectAltName? An IP literal (without or with brackets) matches an equal
 * address; a DNS name matches without case, a dot at its end is ignored, "*.example" matches one label. */
bool cert_is_for(const struct cert *cert, const char *name);

/* Is the text an IPv4 or IPv6 literal? Writes its 4 or 16 bytes and returns their number, or 0. */
size_t cert_ip_of(const char *text, uint8_t ip[16]);

#define CERT_PIN_SIZE 32
#define CERT_PIN_TEXT_SIZE (2 * CERT_PIN_SIZE + 1)

/* SHA-256 of the DER bytes; as text in lower-case hex with a NUL: what stands behind "sha256-raw:" in a DERP map. */
void cert_pin(const uint8_t *der, size_t size, uint8_t pin[CERT_PIN_SIZE]);
void cert_pin_format(const uint8_t pin[CERT_PIN_SIZE], char text[CERT_PIN_TEXT_SIZE]);
must_use bool cert_pin_parse(const char *text, uint8_t pin[CERT_PIN_SIZE]);

/* ---- PEM ---- */

/* The next block of the label ("CERTIFICATE") in `pem`: decodes it into `der` and moves `pem` behind it. Blocks of
 * other labels and text between them are skipped. False: none left; or, and then `pem` is bad, not base64 or no room in
 * `der`. */
must_use bool cert_pem_next(struct reader *pem, const char *label, struct writer *der);

/* One block: lines of 64 characters, as every tool writes them. Without room the writer is bad. */
void cert_pem_write(struct writer *pem, const char *label, const uint8_t *der, size_t size);

/* Upper bound of what cert_pem_write writes for `size` bytes and a label of up to 16 characters. */
#define CERT_PEM_MAX(size) (((size) + 2) / 3 * 4 + ((size) + 47) / 48 + 2 * (11 + 16 + 6))
