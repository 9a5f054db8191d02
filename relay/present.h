/* present.h - what watchers are told of a connection that is here: the content of a PeerPresent frame but for the key.
 *
 * It goes from the front by mail to control, which keeps that of a key's newest connection in the directory (for who
 * begins to watch) and writes that of every connection into the log of presence (for who watches).
 * Threads: a plain value. Memory: one cache line. Errors: none.
 */
#pragma once

#include "core/base.h"
#include "proto/derp.h"

struct present {
    uint64_t conn_id;  // which connection
    uint8_t ip[16];    // its remote address: IPv4 as ::ffff:a.b.c.d; all zero: unknown
    uint16_t port;     // host order; 0: unknown
    uint8_t flags;     // of enum derp_present_flag
    uint8_t app_name_size;
    char app_name[DERP_APP_NAME_SIZE_MAX];  // not terminated
    uint32_t reserved;  // no byte of it is undefined: it travels as words
};

_Static_assert(sizeof(struct present) == CACHE_LINE_SIZE, "it is the second line of a directory_node");
