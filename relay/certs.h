/* certs.h - the TLS identity from files: derper's manual mode, with reload (docs/derp.md, "Certificates").
 *
 * Files are <dir>/<base>.crt (PEM chain, leaf first) and <dir>/<base>.key; base is the hostname without any character
 * outside [A-Za-z0-9.-]. When neither exists and the hostname is an IP address, a self-signed certificate for one year
 * is made and written, to be pinned by clients. The meta certificate is appended to the chain.
 *
 * Reload: certs_check is called by the office from time to time. When the files have changed, or the meta certificate
 * is getting old, a new identity is made and handed out; live connections are not touched. A broken new file keeps the
 * old identity in use, and the log says so, once per change.
 *
 * Threads: certs_load by the boot thread, then office only. Errors: a sentence in `why` that names the file.
 */
#pragma once

#include "core/rng.h"
#include "proto/key.h"
#include "proto/tls_identity.h"

#define CERTS_WHY_MAX 1024

enum { CERTS_PATH_MAX = 1024, CERTS_CHECK_EVERY_S = 5, CERTS_METACERT_DAYS = 7 };

/* What a file was when it was read: a change of any of these is a change. */
struct certs_stamp {
    uint64_t modified_ns;
    uint64_t inode;
    uint64_t size;
};

struct certs {
    const char *hostname;
    const char *dir;
    struct node_key server;
    struct rng *rng;
    char chain_path[CERTS_PATH_MAX];
    char key_path[CERTS_PATH_MAX];
    struct certs_stamp chain_stamp, key_stamp;
    uint16_t port;         // where clients connect, for the log; the owner sets it when it is known
    int stun_port;         // the same; -1: no STUN
    uint64_t made_unix_s;  // when the current meta certificate was made
    bool is_self_signed;   // made by us, in this run or an earlier one: the hostname is an IP
};

/* `hostname`, `dir` and `rng` outlive the object. */
must_use bool certs_init(struct certs *certs, const char *hostname, const char *dir, const struct node_key *server,
                         struct rng *rng, char *why);

/* Reads the files, or makes them. NULL with `why`. The caller holds one reference. */
must_use struct tls_identity *certs_load(struct certs *certs, uint64_t unix_s, char *why);

/* A new identity if there is reason for one, else NULL. Logs what it did or why it could not. */
must_use struct tls_identity *certs_check(struct certs *certs, uint64_t unix_s);

/* Logs what clients need: dates, and for an IP hostname the node to paste into a DERP map, with its pin. */
void certs_log(const struct certs *certs, const struct tls_identity *identity);
