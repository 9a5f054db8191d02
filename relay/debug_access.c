#include "relay/debug_access.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "proto/http_path.h"

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* ---- networks ---- */

/* 0..`most` without a leading zero. */
static bool parse_bits(const char *text, unsigned most, uint8_t *ret) {
    size_t size = strspn(text, "0123456789");
    if (size == 0 || size > 3 || text[size] || (size > 1 && *text == '0')) return false;
    unsigned bits = (unsigned)strtoul(text, NULL, 10);
    *ret = (uint8_t)bits;
    return bits <= most;
}

bool ip_network_parse(const char *text, struct ip_network *ret) {
    char host[INET6_ADDRSTRLEN + 1];
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof(host)) return false;
    snprintf(host, sizeof(host), "%.*s", (int)(slash - text), text);
    *ret = (struct ip_network){0};
    if (inet_pton(AF_INET, host, ret->ip + sizeof(v4_prefix)) == 1) {
        memcpy(ret->ip, v4_prefix, sizeof(v4_prefix));
        if (!parse_bits(slash + 1, 32, &ret->bits)) return false;
        ret->bits = (uint8_t)(ret->bits + 96);
        return true;
    }
    return inet_pton(AF_INET6, host, ret->ip) == 1 && parse_bits(slash + 1, 128, &ret->bits);
}

/* IPv4 addresses are in IPv4 networks alone: ::/0 has none of them, and neither has ::ffff:0:0/96 in Go. Here the
 * latter, written as IPv6, is the same as 0.0.0.0/0. */
bool ip_network_has(const struct ip_network *network, const struct net_address *address) {
    if (net_address_is_ipv4(address) && network->bits < 96) return false;
    unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->ip, address->ip, whole) != 0) return false;
    return rest == 0 || ((network->ip[whole] ^ address->ip[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

static bool add_network(struct debug_access *access, const char *item, size_t size, char *why) {
    char text[64];
    if (size >= sizeof(text)) size = sizeof(text) - 1;
    snprintf(text, sizeof(text), "%.*s", (int)size, item);
    if (access->networks_count == DEBUG_CIDRS_MAX) {
        snprintf(why, DEBUG_ACCESS_WHY_MAX, "TS_DEBUG_TRUSTED_CIDRS has more than %d networks: join some",
                 DEBUG_CIDRS_MAX);
        return false;
    }
    if (!ip_network_parse(text, &access->networks[access->networks_count])) {
        snprintf(why, DEBUG_ACCESS_WHY_MAX,
                 "TS_DEBUG_TRUSTED_CIDRS: \"%s\" is no network; write it as 10.0.0.0/8 or fd00::/8", text);
        return false;
    }
    access->networks_count++;
    return true;
}

bool debug_access_set_networks(struct debug_access *access, const char *list, char *why) {
    access->networks_count = 0;
    for (const char *at = list; *at;) {
        size_t item = strcspn(at, ","), size = item, skip = 0;
        while (skip < size && isspace((unsigned char)at[skip])) skip++;
        while (size > skip && isspace((unsigned char)at[size - 1])) size--;
        if (size > skip && !add_network(access, at + skip, size - skip, why)) return false;
        at += item + (at[item] == ',');
    }
    return true;
}

/* ---- the environment ---- */

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static void load_key(struct debug_access *access, const char *path) {
    char content[DEBUG_KEY_SIZE_MAX + 64];
    ssize_t size = sys_file_read(path, content, sizeof(content));
    char *start = content, *end = content + max_of(size, 0);
    while (start < end && isspace((unsigned char)*start)) start++;
    while (end > start && isspace((unsigned char)end[-1])) end--;
    if (end > start && end - start <= DEBUG_KEY_SIZE_MAX) {
        memcpy(access->key, start, (size_t)(end - start));
    } else {
        log_line(LOG_WARNING, "TS_DEBUG_KEY_PATH: no key of 1 to %d bytes in %s (%s): ?debugkey= opens nothing",
                 DEBUG_KEY_SIZE_MAX, path, size < 0 ? strerror((int)-size) : "it was read");
    }
    sodium_memzero(content, sizeof(content));
}

bool debug_access_from_env(struct debug_access *access, char *why) {
    *access = (struct debug_access){0};
    const char *ip = variable("TS_ALLOW_DEBUG_IP"), *key_path = variable("TS_DEBUG_KEY_PATH");
    /* Compared letter by letter, so one that is too long is nobody's. */
    if (strlen(ip) < sizeof(access->ip)) snprintf(access->ip, sizeof(access->ip), "%s", ip);
    if (*key_path) load_key(access, key_path);
    return debug_access_set_networks(access, variable("TS_DEBUG_TRUSTED_CIDRS"), why);
}

void debug_access_wipe(struct debug_access *access) { sodium_memzero(access->key, sizeof(access->key)); }

/* ---- who may ---- */

/* In constant time for keys of one length. */
static bool has_key(const struct debug_access *access, const struct http_request *request) {
    char given[DEBUG_KEY_SIZE_MAX + 1] = {0};
    if (*access->key == '\0' || request->method != HTTP_GET) return false;
    if (!http_query_value(request->query, "debugkey", given, sizeof(given))) return false;
    bool is_same = sodium_memcmp(given, access->key, sizeof(given)) == 0;
    sodium_memzero(given, sizeof(given));
    return is_same;
}

/* 100.64.0.0/10 but for ChromeOS's part, and Tailscale's own IPv6 range. */
static bool is_tailscale(const struct net_address *address) {
    static const uint8_t range[6] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
    const uint8_t *ip = address->ip + 12;
    if (!net_address_is_ipv4(address)) return memcmp(address->ip, range, sizeof(range)) == 0;
    return ip[0] == 100 && (ip[1] & 0xc0) == 64 && !(ip[1] == 115 && (ip[2] & 0xfe) == 92);
}

bool debug_access_allows(const struct debug_access *access, const struct net_address *remote,
                         const struct http_request *request) {
    char text[NET_ADDRESS_TEXT_MAX];
    if (has_key(access, request)) return true;
    const struct http_view *forwarded = http_header_find(&request->headers, "X-Forwarded-For");
    if (forwarded && forwarded->size > 0) return false;
    if (is_tailscale(remote) || net_address_is_loopback(remote)) return true;
    if (*access->ip && strcmp(access->ip, net_ip_text(remote, text)) == 0) return true;
    for (uint32_t i = 0; i < access->networks_count; i++) {
        if (ip_network_has(&access->networks[i], remote)) return true;
    }
    return false;
}
