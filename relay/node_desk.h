/* node_desk.h - requests for endpoints that come over DERP: who may ask, and what is answered.
 *
 * A request is a disco message of type 08, the data of a DERP packet, sealed for the disco key of the relay's own node
 * (relay/node.h); the answer is one of type 09 (docs/udp-relay.md, "Asking over DERP"). DERP has proven whose packet it
 * is: the source is the key that the sender logged in with.
 *
 *     disco, and long enough? --no--> ignored: pings, CallMeMaybe, WireGuard, whatever is sent to a peer
 *     on the allow list?      --no--> NOT_ALLOWED      a search in a sorted list
 *     not too fast?           --no--> RATE             a comparison
 *     shared key known?       --no--> curve, 40 us
 *     box opens, type 08, version 0? -> BAD_REQUEST    (other types that are known are ignored)
 *     sender one of the two?  --no--> NOT_A_CLIENT
 *     allocator               --no--> its reason
 *     answer
 *
 * The order is that of cost: a stranger's packet costs its search and nothing of the curve, and one who may ask has
 * only so many boxes opened in a second, also when they are nonsense. The allocator has the same rate once more, over
 * all ways of asking.
 *
 * Every refusal is silence on the wire, as in the reference, and is counted; one of somebody on the list is worth a
 * line in the log now and then, because he is meant to get answers.
 *
 * Threads: one. Memory: none but the object, 20 KiB; it owns the list. Shared keys of the last requesters are kept, one
 * for each place that entries of the list fall on, and wiped. Errors: none.
 */
#pragma once

#include "core/log.h"
#include "core/rng.h"
#include "relay/allocator.h"
#include "relay/allowlist.h"
#include "relay/nodekeys.h"

enum {
    NODE_DESK_KEYS = 256,
    NODE_DESK_REQUEST_MAX = 1024,  // a request has 148 bytes; what follows its body is ignored
    NODE_DESK_ANSWER_MAX = DISCO_OVERHEAD + DISCO_RESPONSE_SIZE(ALLOCATOR_ADDRESSES_MAX),
};

struct node_desk_options {
    struct nodekeys keys;
    struct allocator_limits limits;  // of each requester
    struct allowlist *allowed;       // the desk's from init on; NULL: nobody
};

/* Of the requester that was last at this place. */
struct node_desk_key {
    bool is_set;
    struct disco_key theirs;
    struct box_key shared;
};

struct node_desk {
    struct node_desk_options options;
    struct allocator *allocator;
    struct metrics *metrics;
    struct rng *rng;
    uint64_t interval_ns;  // between two requests of one requester, in the long run; 0: no limit
    uint64_t slack_ns;     // how far ahead of that he may be
    struct log_limit refusal_log;
    struct node_desk_key shared_keys[NODE_DESK_KEYS];
};

void node_desk_init(struct node_desk *d, const struct node_desk_options *options, struct allocator *allocator,
                    struct metrics *metrics, struct rng *rng);

/* Wipes keys, frees the list. */
void node_desk_fini(struct node_desk *d);

/* From here on these may ask; the desk's from here on. Everybody starts with a full bucket. */
void node_desk_set_allowed(struct node_desk *d, struct allowlist *allowed);

/* A packet has come for the node: returns the size of the answer for its source, 0 for none. `data` stays as it is. */
must_use size_t node_desk_answer(struct node_desk *d, const struct node_key *from, const uint8_t *data, size_t size,
                                 uint64_t now_ns, uint8_t answer[NODE_DESK_ANSWER_MAX]);
