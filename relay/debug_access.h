/* debug_access.h - who may see the pages under /debug/: derper's rules.
 *
 *   the right ?debugkey= in a GET       yes, whoever asks ($TS_DEBUG_KEY_PATH names the file with the key)
 *   an X-Forwarded-For header           no: behind a proxy everybody looks local
 *   loopback, a Tailscale address       yes
 *   $TS_ALLOW_DEBUG_IP                  yes, if it is that address, letter by letter
 *   $TS_DEBUG_TRUSTED_CIDRS             yes, if it is in one of these networks
 *   anybody else                        no
 *
 * Threads: filled at start, then frozen. Memory: the caller's; it holds a secret: wipe it. Errors: a sentence in `why`
 * that names the variable. The key file is read once, at the start: a front that reads files could be made to wait.
 */
#pragma once

#include "core/sys.h"
#include "proto/http.h"

enum { DEBUG_CIDRS_MAX = 64, DEBUG_KEY_SIZE_MAX = 256 };

/* The first `bits` of a v4-mapped address count; IPv4 networks have 96 bits more. */
struct ip_network {
    uint8_t ip[16];
    uint8_t bits;
};

struct debug_access {
    char key[DEBUG_KEY_SIZE_MAX + 1];  // "": none
    char ip[NET_ADDRESS_TEXT_MAX];     // "": none
    struct ip_network networks[DEBUG_CIDRS_MAX];
    uint32_t networks_count;
};

#define DEBUG_ACCESS_WHY_MAX SYS_WHY_MAX

/* From the environment. A key file that cannot be read is no error: nobody has the key then, and a line is logged. */
must_use bool debug_access_from_env(struct debug_access *access, char *why);

/* "10.0.0.0/8, fd00::/8": blanks around and empty items are fine. */
must_use bool debug_access_set_networks(struct debug_access *access, const char *list, char *why);

/* As netip.ParsePrefix: no zones, no signs, no leading zeros. */
must_use bool ip_network_parse(const char *text, struct ip_network *ret);
must_use bool ip_network_has(const struct ip_network *network, const struct net_address *address);

must_use bool debug_access_allows(const struct debug_access *access, const struct net_address *remote,
                                  const struct http_request *request);

void debug_access_wipe(struct debug_access *access);
