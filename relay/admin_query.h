/* admin_query.h - what an operator's program asks on the admin socket, read strictly (docs/admin.md).
 *
 *     {"v": 1, "cmd": "clients", "key": "nodekey:1f", "address": "192.0.2.0/24", "sort": "sent", "limit": 20}
 *
 * One JSON object, in one line. `v` and `cmd` have to be there. A member that the command does not know is refused:
 * a filter with a slip in its name would otherwise let everything through.
 *
 * Threads: any; jansson allocates while it parses. Memory: none kept. Errors: false, and a sentence for whoever asked.
 */
#pragma once

#include "proto/disco.h"
#include "proto/key.h"

enum { ADMIN_VERSION = 1, ADMIN_REQUEST_MAX = 4096, ADMIN_WHY_MAX = 256 };

enum admin_command { ADMIN_STATUS = 1, ADMIN_CLIENTS, ADMIN_ENDPOINTS, ADMIN_ALLOCATE, ADMIN_ENDPOINT_CLOSE };

/* What comes first: the most of a counter, the oldest, or by alphabet. */
enum admin_sort {
    ADMIN_SORT_BYTES,  // both ways
    ADMIN_SORT_RECEIVED,
    ADMIN_SORT_SENT,
    ADMIN_SORT_QUEUE,
    ADMIN_SORT_SINCE,
    ADMIN_SORT_IDLE,
    ADMIN_SORT_KEY,
    ADMIN_SORT_ADDRESS,
    ADMIN_SORT_COUNT
};

struct admin_query {
    enum admin_command command;
    /* clients */
    enum admin_sort sort;
    uint32_t limit;                          // 0: all
    char key_prefix[KEY_HEX_TEXT_SIZE];      // lower-case hex digits
    char key_short[KEY_SHORT_TEXT_SIZE];     // "[abcde]", or empty
    bool has_address;
    uint8_t ip[16];     // v4-mapped
    uint32_t ip_bits;   // of them that count
    uint16_t port;      // 0: any
    /* allocate */
    struct disco_key disco_keys[2];
    /* endpoint-close */
    uint32_t vni;  // 1 to 2^24 - 1
};

/* `text` without its newline. *query is set on success only. */
must_use bool admin_query_parse(const char *text, size_t size, struct admin_query *query, char why[ADMIN_WHY_MAX]);

/* "192.0.2.7", "192.0.2.7:443", "192.0.2.0/24", and the same of IPv6, with a port "[2001:db8::1]:443". */
must_use bool admin_query_address(const char *text, struct admin_query *query);
