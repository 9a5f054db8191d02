/* admin_status.h - the answer of "status": what a relay is and how it is doing, as JSON (docs/admin.md).
 *
 * Everything is read where it stands: counters of other threads are published (core/stat.h), the rest was written at
 * boot or is the office's own. No thread is asked, so the answer costs workers nothing.
 *
 * Threads: the office. Memory: jansson's, for as long as the caller keeps the object. Errors: NULL without memory.
 */
#pragma once

#include <jansson.h>

#include "core/limits.h"
#include "core/sys.h"
#include "proto/disco.h"
#include "proto/key.h"
#include "proto/tls_identity.h"
#include "relay/allocator.h"
#include "relay/metrics.h"

enum { ADMIN_LISTENERS_MAX = 4 };

/* Where it can be reached. */
struct admin_addresses {
    struct net_address listening[ADMIN_LISTENERS_MAX];
    uint32_t listening_count;
    struct net_address stun;  // port 0: no STUN
    int32_t relay_port;       // of the UDP relay, as it was asked for; 0: any; not looked at without an allocator
    uint16_t relay_bound;     // and what it became
};

struct admin_facts {
    /* frozen */
    uint64_t start_wall_s, start_ns;
    struct node_key public_key;
    struct admin_addresses addresses;
    const char *hostname;  // of the certificate; NULL: no TLS
    unsigned ring_features;
    struct limits limits;
    uint64_t memory_bytes;  // sum of the budget
    bool has_rate_config;
    bool has_node;  // the UDP relay's own (relay/node.h)
    struct node_key node_key;
    struct disco_key node_disco_key;
    const struct metrics *const *metrics_blocks;  // published; of every thread
    const char *const *thread_names;              // of those in front of the workers
    uint32_t threads_count;                       // behind those workers, then UDP workers
    struct allocator *allocator;                  // of the UDP relay; NULL: there is none
    struct metrics *metrics;                      // of the office
    /* the office's */
    struct rate_limit rate;
    struct tls_identity_facts tls;  // of the certificate for new connections
};

must_use json_t *admin_status(const struct admin_facts *facts, uint64_t now_ns);
