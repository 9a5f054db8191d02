/* admin_endpoints.h - the endpoints of the UDP relay, one after the other, as JSON: for "endpoints" of the admin socket
 * and for Tailscale's debug-peer-relay-sessions.
 *
 * A walk goes over the table's slots, ADMIN_WALK_SLOTS at a time, so that a table of a million of them does not keep
 * the office from its other work: 0.1 ms for each piece, and what is written goes out in between. Nobody is kept
 * waiting and nothing is copied; each endpoint is as it was when the walk came by, and one that came or went meanwhile
 * may be missing. They come in no order.
 *
 * Threads: the office (vni_list is for anybody). Memory: the walk, which the caller has. Errors: none.
 */
#pragma once

#include "core/bytes.h"
#include "relay/vni.h"

enum {
    ADMIN_WALK_SLOTS = 1024,  // looked at in one piece
    ADMIN_ENDPOINT_MAX = 1024,  // room for one endpoint, and for the end
};

enum admin_walk_form {
    ADMIN_WALK_ENDPOINTS,  // docs/admin.md, "endpoints"
    ADMIN_WALK_SESSIONS,  // as Tailscale's ServerStatus
};

struct admin_walk {
    const struct vni_table *table;
    enum admin_walk_form form;
    uint32_t next_slot;
    uint64_t written;  // endpoints
    bool is_done;
};

void admin_walk_begin(struct admin_walk *walk, const struct vni_table *table, enum admin_walk_form form);

/* Goes on with the list and its end, for one piece or until less than ADMIN_ENDPOINT_MAX bytes are left. */
void admin_walk_write(struct admin_walk *walk, struct writer *w, uint64_t now_ns);
