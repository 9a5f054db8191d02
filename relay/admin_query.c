#include "relay/admin_query.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/sys.h"

static bool refuse(char *why, const char *format, ...) printf_like(2, 3);

/* What a stranger wrote may stand in the sentence: only what a terminal shows as it is. */
static bool refuse(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, ADMIN_WHY_MAX, format, args);
    va_end(args);
    for (; *why; why++) {
        if (*why < ' ' || *why > '~') *why = '?';
    }
    return false;
}

/* ---- addresses ---- */

static bool parse_ip(const char *text, struct admin_query *query) {
    query->ip_bits = 128;
    memcpy(query->ip, (const uint8_t[16]){[10] = 0xff, [11] = 0xff}, sizeof(query->ip));
    return inet_pton(AF_INET, text, query->ip + 12) == 1 || inet_pton(AF_INET6, text, query->ip) == 1;
}

static bool parse_bits(const char *text, struct admin_query *query) {
    struct net_address address = {.port = 0};
    memcpy(address.ip, query->ip, sizeof(address.ip));
    uint32_t most = net_address_is_ipv4(&address) ? 32 : 128;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 3 || text[digits]) return false;
    unsigned long bits = strtoul(text, NULL, 10);
    query->ip_bits = (uint32_t)bits + 128 - most;
    return bits <= most;
}

bool admin_query_address(const char *text, struct admin_query *query) {
    char ip[NET_ADDRESS_TEXT_MAX], why[SYS_WHY_MAX];
    struct listen_address parsed;
    const char *slash = strchr(text, '/');
    size_t size = slash ? (size_t)(slash - text) : strlen(text);
    if (size >= sizeof(ip)) return false;
    memcpy(ip, text, size);
    ip[size] = 0;
    query->has_address = true;
    query->port = 0;
    if (parse_ip(ip, query)) return slash == NULL || parse_bits(slash + 1, query);
    if (slash || !listen_address_parse(text, &parsed, why) || parsed.is_wildcard) return false;
    memcpy(query->ip, parsed.address.ip, sizeof(query->ip));
    query->port = parsed.address.port;
    return query->port != 0;
}

/* ---- members ---- */

static bool parse_key(const char *text, struct admin_query *query) {
    if (*text == '[') {
        snprintf(query->key_short, sizeof(query->key_short), "%s", text);
        return strlen(text) == KEY_SHORT_TEXT_SIZE - 1 && text[KEY_SHORT_TEXT_SIZE - 2] == ']';
    }
    if (strncmp(text, KEY_PUBLIC_PREFIX, strlen(KEY_PUBLIC_PREFIX)) == 0) text += strlen(KEY_PUBLIC_PREFIX);
    size_t size = strlen(text);
    if (size > KEY_HEX_SIZE || strspn(text, "0123456789abcdefABCDEF") != size) return false;
    for (size_t i = 0; i <= size; i++) query->key_prefix[i] = (char)tolower((unsigned char)text[i]);
    return true;
}

static const char *const sort_names[ADMIN_SORT_COUNT] = {"bytes", "received", "sent", "queue",
                                                         "since", "idle",     "key",  "address"};

static bool parse_sort(const char *text, struct admin_query *query) {
    for (unsigned i = 0; i < ADMIN_SORT_COUNT; i++) {
        query->sort = (enum admin_sort)i;
        if (strcmp(text, sort_names[i]) == 0) return true;
    }
    return false;
}

/* A member of "clients" whose value is a text. */
static bool parse_text_member(const char *name, const char *text, struct admin_query *query, char *why) {
    if (strcmp(name, "key") == 0) {
        return parse_key(text, query) ||
               refuse(why,
                      "key \"%.80s\": it takes the first hex digits of a key, with or without nodekey:, or its "
                      "short form [abcde]",
                      text);
    }
    if (strcmp(name, "address") == 0) {
        return admin_query_address(text, query) ||
               refuse(why,
                      "address \"%.80s\": it takes an IP address, also with a port, or a network such as "
                      "192.0.2.0/24",
                      text);
    }
    if (strcmp(name, "sort") == 0) {
        return parse_sort(text, query) || refuse(why,
                                                 "sort \"%.40s\": it takes bytes, received, sent, queue, since, "
                                                 "idle, key or address",
                                                 text);
    }
    return refuse(why, "clients has no member \"%.40s\"; it takes key, address, sort and limit", name);
}

static bool parse_clients_member(const char *name, const json_t *value, struct admin_query *query, char *why) {
    if (strcmp(name, "limit") == 0) {
        bool is_fine =
            json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= UINT32_MAX;
        query->limit = is_fine ? (uint32_t)json_integer_value(value) : 0;
        return is_fine || refuse(why, "limit takes a whole number; 0: all");
    }
    const char *text = json_string_value(value);
    if (text) return parse_text_member(name, text, query, why);
    return refuse(why, "clients takes key, address and sort, which are texts, and limit, a number; not this \"%.40s\"",
                  name);
}

static bool parse_disco_key(const json_t *value, struct disco_key *key) {
    const char *text = json_string_value(value);
    return text && disco_key_parse(text, json_string_length(value), key) == KEY_OK;
}

static bool parse_allocate_member(const char *name, const json_t *value, struct admin_query *query, char *why) {
    bool is_fine = strcmp(name, "keys") == 0 && json_array_size(value) == 2;
    for (size_t i = 0; i < 2 && is_fine; i++)
        is_fine = parse_disco_key(json_array_get(value, i), &query->disco_keys[i]);
    return is_fine || refuse(why, "allocate takes keys, a list of two texts of \"discokey:\" and 64 hex digits");
}

static bool parse_close_member(const char *name, const json_t *value, struct admin_query *query, char *why) {
    json_int_t vni = strcmp(name, "vni") == 0 ? json_integer_value(value) : 0;
    query->vni = vni > 0 && vni < 1 << 24 ? (uint32_t)vni : 0;
    return query->vni || refuse(why, "endpoint-close takes vni, a number from 1 to 16777215");
}

static bool parse_member(const char *name, const json_t *value, struct admin_query *query, char *why) {
    switch (query->command) {
        case ADMIN_STATUS: return refuse(why, "status takes no \"%.40s\"", name);
        case ADMIN_ENDPOINTS: return refuse(why, "endpoints takes no \"%.40s\"", name);
        case ADMIN_CLIENTS: return parse_clients_member(name, value, query, why);
        case ADMIN_ALLOCATE: return parse_allocate_member(name, value, query, why);
        case ADMIN_ENDPOINT_CLOSE: return parse_close_member(name, value, query, why);
    }
    return false;
}

static bool parse_members(json_t *root, struct admin_query *query, char *why) {
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value) {
        if (strcmp(name, "v") == 0 || strcmp(name, "cmd") == 0) continue;
        if (!parse_member(name, value, query, why)) return false;
    }
    if (query->command == ADMIN_ALLOCATE && json_object_get(root, "keys") == NULL) {
        return parse_allocate_member("", NULL, query, why);
    }
    return query->command != ADMIN_ENDPOINT_CLOSE || query->vni || parse_close_member("", NULL, query, why);
}

static bool parse_command(const json_t *root, struct admin_query *query, char *why) {
    const json_t *version = json_object_get(root, "v");
    const char *command = json_string_value(json_object_get(root, "cmd"));
    if (!json_is_integer(version) || command == NULL) {
        return refuse(why, "a request is one line of JSON such as {\"v\":%d,\"cmd\":\"status\"}", ADMIN_VERSION);
    }
    if (json_integer_value(version) != ADMIN_VERSION) {
        return refuse(why, "this relay speaks version %d: use the ringrelay that came with it", ADMIN_VERSION);
    }
    static const char *const names[] = {[ADMIN_STATUS] = "status",
                                        [ADMIN_CLIENTS] = "clients",
                                        [ADMIN_ENDPOINTS] = "endpoints",
                                        [ADMIN_ALLOCATE] = "allocate",
                                        [ADMIN_ENDPOINT_CLOSE] = "endpoint-close"};
    for (unsigned i = ADMIN_STATUS; i < array_count(names); i++) {
        query->command = (enum admin_command)i;
        if (strcmp(command, names[i]) == 0) return true;
    }
    return refuse(why, "no command \"%.40s\"; there are status, clients, endpoints, allocate and endpoint-close",
                  command);
}

bool admin_query_parse(const char *text, size_t size, struct admin_query *query, char why[ADMIN_WHY_MAX]) {
    struct admin_query parsed = {.sort = ADMIN_SORT_BYTES};
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    bool is_fine = json_is_object(root)
                       ? parse_command(root, &parsed, why) && parse_members(root, &parsed, why)
                       : refuse(why, "not a JSON object: %.120s", root ? "it is another value" : error.text);
    json_decref(root);
    if (is_fine) *query = parsed;
    return is_fine;
}
