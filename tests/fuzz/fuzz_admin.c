/* Fuzzes relay/admin_query: a line of the admin socket.
 *
 * Attack surface: small, root and the relay's own user; but broken programs write anything.
 * Input: the line, without its newline.
 * Beyond crashes: a refusal leaves the query alone and says a sentence that a terminal may show; what is accepted keeps
 * to its bounds, and is accepted again with the same result.
 */
#include <stdlib.h>

#include "core/check.h"
#include "relay/admin_query.h"

static void check_query(const struct admin_query *q) {
    CHECK(q->command >= ADMIN_STATUS && q->command <= ADMIN_ENDPOINT_CLOSE);
    CHECK(q->vni < 1 << 24 && (q->vni != 0) == (q->command == ADMIN_ENDPOINT_CLOSE));
    CHECK((unsigned)q->sort < ADMIN_SORT_COUNT);
    CHECK(q->ip_bits <= 128 && (q->has_address || q->ip_bits == 0));
    CHECK(strspn(q->key_prefix, "0123456789abcdef") == strlen(q->key_prefix));
    CHECK(memchr(q->key_short, 0, sizeof(q->key_short)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct admin_query query, before, again;
    char why[ADMIN_WHY_MAX] = "";
    if (size > ADMIN_REQUEST_MAX) return 0;
    char *line = malloc(size ? size : 1);  // a block of its own, so that ASan sees every byte too far
    CHECK(line != NULL);
    if (size) memcpy(line, data, size);
    memset(&query, 0x55, sizeof(query));
    before = query;
    if (admin_query_parse(line, size, &query, why)) {
        check_query(&query);
        CHECK(admin_query_parse(line, size, &again, why));
        CHECK(again.limit == query.limit && again.port == query.port && memcmp(again.ip, query.ip, 16) == 0);
    } else {
        CHECK(memcmp(&query, &before, sizeof(query)) == 0);
        CHECK(*why != 0 && strlen(why) < ADMIN_WHY_MAX);
        for (const char *at = why; *at; at++) CHECK(*at >= ' ' && *at <= '~');
    }
    free(line);
    return 0;
}
