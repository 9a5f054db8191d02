#include "relay/certs.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/sys.h"
#include "proto/metacert.h"
#include "proto/selfsigned.h"
#include "relay/derpmap.h"

enum { FILE_SIZE_MAX = 256 * 1024, DAY_S = 24 * 60 * 60 };

static bool fail(char *why, const char *format, ...) printf_like(2, 3);

static bool fail(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, CERTS_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- names ---- */

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

/* derper's rule; for an IPv6 address the colons vanish. */
static void base_name(const char *hostname, char *base, size_t size) {
    size_t at = 0;
    for (; *hostname && at + 1 < size; hostname++) {
        if (is_name_char(*hostname)) base[at++] = *hostname;
    }
    base[at] = 0;
}

bool certs_init(struct certs *certs, const char *hostname, const char *dir, const struct node_key *server,
                struct rng *rng, char *why) {
    char base[TLS_HOSTNAME_MAX + 1];
    *certs = (struct certs){.hostname = hostname, .dir = dir, .server = *server, .rng = rng};
    base_name(hostname, base, sizeof(base));
    if (*base == 0) return fail(why, "-hostname \"%s\" has no character that a file name can have", hostname);
    if (*dir == 0) return fail(why, "-certdir is empty: name the directory that holds %s.crt and %s.key", base, base);
    int size = snprintf(certs->chain_path, sizeof(certs->chain_path), "%s/%s.crt", dir, base);
    if (size < 0 || (size_t)size >= sizeof(certs->chain_path)) return fail(why, "-certdir is too long");
    snprintf(certs->key_path, sizeof(certs->key_path), "%.*s.key", size - 4, certs->chain_path);
    return true;
}

/* ---- files ---- */

static struct certs_stamp stamp_of(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return (struct certs_stamp){0};
    return (struct certs_stamp){
        .modified_ns = (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec,
        .inode = st.st_ino,
        .size = (uint64_t)st.st_size,
    };
}

static bool stamp_equal(const struct certs_stamp *a, const struct certs_stamp *b) {
    return a->modified_ns == b->modified_ns && a->inode == b->inode && a->size == b->size;
}

static bool exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 || errno != ENOENT;
}

static bool read_file(const char *path, char *to, size_t *size, char *why) {
    ssize_t n = sys_file_read(path, to, FILE_SIZE_MAX);
    if (n < 0) {
        return fail(why, "cannot read %s: %s; put the certificate chain and its key there, or name another -certdir",
                    path, strerror((int)-n));
    }
    *size = (size_t)n;
    return true;
}

static bool write_file(const char *path, const char *text, unsigned mode, char *why) {
    int rc = sys_file_write(path, text, strlen(text), mode);
    return rc == 0 || fail(why, "cannot write %s: %s", path, strerror(-rc));
}

/* derper's directory is private; so are the parents that have to be made for it. */
static bool make_dir(const char *dir, char *why) {
    char path[CERTS_PATH_MAX];
    snprintf(path, sizeof(path), "%s/", dir);
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return fail(why, "cannot make the directory %s: %s", path, strerror(errno));
        }
        *at = '/';
    }
    return true;
}

static bool make_self_signed(struct certs *certs, uint64_t unix_s, char *why) {
    struct selfsigned fresh;
    if (!selfsigned_make(certs->hostname, unix_s, certs->rng, &fresh)) {
        return fail(why, "cannot make a self-signed certificate for %s", certs->hostname);
    }
    bool is_fine = make_dir(certs->dir, why) && write_file(certs->key_path, fresh.key_pem, 0600, why) &&
                   write_file(certs->chain_path, fresh.cert_pem, 0644, why);
    selfsigned_wipe(&fresh);
    if (is_fine) log_line(LOG_INFO, "made a self-signed certificate for %s in %s", certs->hostname, certs->chain_path);
    return is_fine;
}

static bool is_ip(const char *hostname) {
    uint8_t ip[16];
    return cert_ip_of(hostname, ip) > 0;
}

/* ---- identities ---- */

static struct tls_identity *make_identity(struct certs *certs, const char *chain, size_t chain_size, const char *key,
                                          size_t key_size, uint64_t unix_s, char *why) {
    uint8_t seed[METACERT_SEED_SIZE], metacert[METACERT_SIZE_MAX];
    char detail[TLS_WHY_MAX];
    rng_bytes(certs->rng, seed, sizeof(seed));
    size_t metacert_size = metacert_make(&certs->server, unix_s, seed, metacert);
    sodium_memzero(seed, sizeof(seed));
    struct tls_identity_options options = {.hostname = certs->hostname,
                                           .chain_pem = chain,
                                           .chain_pem_size = chain_size,
                                           .key_pem = key,
                                           .key_pem_size = key_size,
                                           .metacert = metacert,
                                           .metacert_size = metacert_size,
                                           .suites = tls_suites_of_aead(),
                                           .unix_s = unix_s};
    struct tls_identity *identity = tls_identity_make(&options, detail);
    if (identity == NULL) (void)fail(why, "%s and %s: %s", certs->chain_path, certs->key_path, detail);
    return identity;
}

static struct tls_identity *load_files(struct certs *certs, char *chain, char *key, uint64_t unix_s, char *why) {
    size_t chain_size = 0, key_size = 0;
    certs->chain_stamp = stamp_of(certs->chain_path);
    certs->key_stamp = stamp_of(certs->key_path);
    if (!read_file(certs->chain_path, chain, &chain_size, why) || !read_file(certs->key_path, key, &key_size, why)) {
        return NULL;
    }
    struct tls_identity *identity = make_identity(certs, chain, chain_size, key, key_size, unix_s, why);
    if (identity) certs->made_unix_s = unix_s;
    return identity;
}

static struct tls_identity *load(struct certs *certs, uint64_t unix_s, char *why) {
    char *chain = malloc(FILE_SIZE_MAX), *key = malloc(FILE_SIZE_MAX);
    struct tls_identity *identity = NULL;
    if (chain == NULL || key == NULL) {
        (void)fail(why, "no memory to read certificates");
    } else {
        identity = load_files(certs, chain, key, unix_s, why);
        sodium_memzero(key, FILE_SIZE_MAX);
    }
    free(chain);
    free(key);
    return identity;
}

struct tls_identity *certs_load(struct certs *certs, uint64_t unix_s, char *why) {
    certs->is_self_signed = is_ip(certs->hostname);
    bool is_missing = !exists(certs->chain_path) && !exists(certs->key_path);
    if (is_missing && certs->is_self_signed && !make_self_signed(certs, unix_s, why)) return NULL;
    return load(certs, unix_s, why);
}

static bool has_changed(const struct certs *certs) {
    struct certs_stamp chain = stamp_of(certs->chain_path), key = stamp_of(certs->key_path);
    return !stamp_equal(&chain, &certs->chain_stamp) || !stamp_equal(&key, &certs->key_stamp);
}

struct tls_identity *certs_check(struct certs *certs, uint64_t unix_s) {
    char why[CERTS_WHY_MAX];
    bool is_changed = has_changed(certs);
    bool is_old = unix_s - certs->made_unix_s > (uint64_t)CERTS_METACERT_DAYS * DAY_S;
    if (!is_changed && !is_old) return NULL;
    struct tls_identity *identity = load(certs, unix_s, why);
    if (identity == NULL) {
        certs->made_unix_s += is_old ? DAY_S : 0;  // the next try for age alone is tomorrow's
        log_line(LOG_ERROR, "the certificate in use stays: %s", why);
        return NULL;
    }
    if (is_changed) log_line(LOG_INFO, "new certificate from %s is in use for new connections", certs->chain_path);
    certs_log(certs, identity);
    return identity;
}

/* ---- for the operator ---- */

static void log_node(const struct certs *certs, const struct tls_identity_facts *facts) {
    struct derpmap_node node = {.hostname = certs->hostname,
                                .port = certs->port,
                                .stun_port = certs->stun_port,
                                .has_pin = true,
                                .region_id = 900};
    memcpy(node.pin, facts->pin, sizeof(node.pin));
    char *text = derpmap_node_text(&node);
    if (text) {
        log_line(LOG_INFO, "certificate for the IP address %s; node for the DERP map:", certs->hostname);
        log_line(LOG_INFO, "%s", text);
    }
    free(text);
}

void certs_log(const struct certs *certs, const struct tls_identity *identity) {
    const struct tls_identity_facts *facts = tls_identity_facts(identity);
    long long days = ((long long)facts->not_after_s - (long long)sys_wall_clock_s()) / DAY_S;
    log_line(days < 7 ? LOG_WARNING : LOG_INFO, "certificate %s is valid for %lld more days%s", certs->chain_path, days,
             facts->is_rsa ? "; it is RSA, and ECDSA makes handshakes several times cheaper" : "");
    if (facts->is_ip) log_node(certs, facts);
}
