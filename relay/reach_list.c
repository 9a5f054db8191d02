#include "relay/reach_list.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- flags ---- */

enum { ITEM_SIZE_MAX = REACH_HOST_SIZE_MAX + 16 };  // host, brackets, colon, port, and more: what is cut is no port

/* Takes one item off a list with commas; false at its end. */
static bool take_item(const char **list, char item[ITEM_SIZE_MAX]) {
    while (**list == ',') (*list)++;
    if (**list == '\0') return false;
    size_t size = strcspn(*list, ",");
    snprintf(item, ITEM_SIZE_MAX, "%.*s", (int)min_of(size, (size_t)ITEM_SIZE_MAX), *list);
    *list += size;
    return true;
}

static bool fixed_parse(const char *item, struct net_address *ret, char *why) {
    struct listen_address parsed;
    char detail[SYS_WHY_MAX];
    bool is_fine = listen_address_parse(item, &parsed, detail) && !parsed.is_wildcard;
    if (is_fine) {
        *ret = parsed.address;
        return true;
    }
    snprintf(why, SYS_WHY_MAX,
             "-relay-static-endpoints: \"%.60s\" is no address that clients could send to: write IP:PORT or "
             "[IPV6]:PORT, separated by commas; port 0 is that of the relay",
             item);
    return false;
}

bool reach_fixed_parse(const char *text, struct reach_fixed *ret, char *why) {
    char item[ITEM_SIZE_MAX];
    *ret = (struct reach_fixed){0};
    while (take_item(&text, item)) {
        if (ret->count == REACH_FIXED_MAX) {
            snprintf(why, SYS_WHY_MAX, "-relay-static-endpoints takes at most %d addresses", REACH_FIXED_MAX);
            return false;
        }
        if (!fixed_parse(item, &ret->addresses[ret->count++], why)) return false;
    }
    return true;
}

static bool is_name(const char *host) {
    return *host != '\0' &&
           host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == '\0';
}

/* The host without brackets; false when it is neither a name nor an address. */
static bool host_parse(const char *host, size_t size, char ret[REACH_HOST_SIZE_MAX + 1]) {
    struct in6_addr ipv6;
    bool is_bracketed = size > 2 && host[0] == '[' && host[size - 1] == ']';
    if (is_bracketed) host++, size -= 2;
    if (size > REACH_HOST_SIZE_MAX) return false;
    snprintf(ret, REACH_HOST_SIZE_MAX + 1, "%.*s", (int)size, host);
    return is_bracketed ? inet_pton(AF_INET6, ret, &ipv6) == 1 : is_name(ret);
}

static bool port_parse(const char *text, uint16_t *ret) {
    size_t size = strlen(text);
    unsigned long port = strtoul(text, NULL, 10);
    *ret = (uint16_t)port;
    return size > 0 && size <= 5 && strspn(text, "0123456789") == size && port > 0 && port <= UINT16_MAX;
}

static bool server_parse(const char *item, struct reach_server *ret, char *why) {
    const char *colon = strrchr(item, ':');
    if (colon && host_parse(item, (size_t)(colon - item), ret->host) && port_parse(colon + 1, &ret->port)) return true;
    snprintf(
        why, SYS_WHY_MAX,
        "-relay-stun-servers: \"%.60s\" is no server: write NAME:PORT, IP:PORT or [IPV6]:PORT, separated by commas; "
        "the usual port is 3478",
        item);
    return false;
}

bool reach_servers_parse(const char *text, struct reach_servers *ret, char *why) {
    char item[ITEM_SIZE_MAX];
    *ret = (struct reach_servers){0};
    while (take_item(&text, item)) {
        if (ret->count == REACH_SERVERS_MAX) {
            snprintf(why, SYS_WHY_MAX, "-relay-stun-servers takes at most %d servers", REACH_SERVERS_MAX);
            return false;
        }
        if (!server_parse(item, &ret->servers[ret->count++], why)) return false;
    }
    return true;
}

bool reach_server_address(const struct reach_server *server, struct net_address *ret) {
    *ret = (struct net_address){.ip = {[10] = 0xff, [11] = 0xff}, .port = server->port};
    return inet_pton(AF_INET, server->host, ret->ip + 12) == 1 || inet_pton(AF_INET6, server->host, ret->ip) == 1;
}

bool reach_servers_have_names(const struct reach_servers *servers) {
    struct net_address address;
    for (uint32_t i = 0; i < servers->count; i++) {
        if (!reach_server_address(&servers->servers[i], &address)) return true;
    }
    return false;
}

/* ---- lists ---- */

uint16_t reach_port_for(const struct reach_ports *ports, const struct net_address *address) {
    return net_address_is_ipv4(address) ? ports->ipv4 : ports->ipv6;
}

bool reach_is_same(const struct net_address *a, const struct net_address *b) {
    return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

void reach_list_add(struct net_address *list, size_t *count, size_t max, const struct net_address *address) {
    if (*count == max) return;
    for (size_t i = 0; i < *count; i++) {
        if (reach_is_same(&list[i], address)) return;
    }
    list[(*count)++] = *address;
}

void reach_list_add_fixed(struct net_address *list, size_t *count, size_t max, const struct reach_fixed *fixed,
                          const struct reach_ports *ports) {
    for (uint32_t i = 0; i < fixed->count; i++) {
        struct net_address address = fixed->addresses[i];
        if (address.port == 0) address.port = reach_port_for(ports, &address);
        if (address.port != 0) reach_list_add(list, count, max, &address);
    }
}
