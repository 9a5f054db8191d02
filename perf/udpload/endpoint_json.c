#include "perf/udpload/endpoint_json.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/check.h"
#include "proto/geneve.h"

static bool fail(char *why, const char *what) {
    snprintf(why, ENDPOINT_WHY_MAX, "the answer to a request for an endpoint is wrong: %s", what);
    return false;
}

/* ---- the request ---- */

size_t endpoint_request(char *text, const char *host, const char *token, const struct disco_pair *pair) {
    char keys[2][DISCO_KEY_TEXT_SIZE], body[256], authorization[320] = "";
    for (unsigned i = 0; i < 2; i++) disco_key_format(&pair->keys[i], keys[i]);
    int body_size = snprintf(body, sizeof(body), "{\"DiscoKeys\":[\"%s\",\"%s\"]}", keys[0], keys[1]);
    if (token) snprintf(authorization, sizeof(authorization), "Authorization: Bearer %.256s\r\n", token);
    int size = snprintf(text, ENDPOINT_REQUEST_MAX,
                        "POST " ENDPOINT_PATH " HTTP/1.1\r\nHost: %.256s\r\n%sContent-Type: application/json\r\n"
                        "Content-Length: %d\r\n\r\n%s",
                        host, authorization, body_size, body);
    CHECK(size > 0 && size < ENDPOINT_REQUEST_MAX);
    return (size_t)size;
}

/* ---- the answer's head ---- */

/* The value of a line "name: value", or NULL. */
static const char *value_of(const char *line, const char *name) {
    size_t size = strlen(name);
    if (strncasecmp(line, name, size) != 0 || line[size] != ':') return NULL;
    return line + size + 1 + strspn(line + size + 1, " \t");
}

static void take_line(struct endpoint_head *ret, const char *line, bool *has_size) {
    const char *value;
    if ((value = value_of(line, "content-length"))) {
        ret->body_size = strtoul(value, NULL, 10);
        *has_size = true;
    } else if ((value = value_of(line, "connection"))) {
        ret->is_last = strncasecmp(value, "close", 5) == 0;
    } else if ((value = value_of(line, "retry-after"))) {
        ret->retry_s = (unsigned)strtoul(value, NULL, 10);
    }
}

int endpoint_head_parse(struct endpoint_head *ret, const char *text, size_t size, char *why) {
    char head[ENDPOINT_ANSWER_MAX + 1];
    bool has_size = false;
    size = min_of(size, sizeof(head) - 1);
    memcpy(head, text, size);
    head[size] = '\0';
    *ret = (struct endpoint_head){0};
    char *end = strstr(head, "\r\n\r\n");
    if (end == NULL) return size == sizeof(head) - 1 ? (int)fail(why, "its head has no end") - 1 : 0;
    ret->head_size = (size_t)(end - head) + 4;
    if (sscanf(head, "HTTP/1.%*1[01] %3u", &ret->status) != 1) return (int)fail(why, "it is no HTTP/1.1") - 1;
    end[2] = '\0';
    for (char *line = strstr(head, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n")) {
        take_line(ret, line + 2, &has_size);
    }
    if (!has_size) return (int)fail(why, "it has no Content-Length") - 1;
    if (ret->head_size + ret->body_size > ENDPOINT_ANSWER_MAX) return (int)fail(why, "it is too long") - 1;
    return 1;
}

/* ---- the answer's body ---- */

static bool parse_key(const json_t *value, struct disco_key *key) {
    const char *text = json_string_value(value);
    return text && disco_key_parse(text, strlen(text), key) == KEY_OK;
}

/* "192.0.2.1:7", "[2001:db8::1]:7" */
static bool parse_address(const char *text, struct net_address *ret) {
    char host[64], *end;
    bool is_v6 = text[0] == '[';
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) return false;
    size_t size = (size_t)(colon - text) - (is_v6 ? 2 : 0);
    if (is_v6 && (colon - text < 2 || colon[-1] != ']')) return false;
    memcpy(host, text + is_v6, size);
    host[size] = '\0';
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port == 0 || port > UINT16_MAX) return false;
    *ret = (struct net_address){.port = (uint16_t)port};
    if (is_v6) return inet_pton(AF_INET6, host, ret->ip) == 1;
    memset(ret->ip + 10, 0xff, 2);
    return inet_pton(AF_INET, host, ret->ip + 12) == 1;
}

static bool parse_addresses(struct endpoint_answer *ret, const json_t *list) {
    size_t idx;
    json_t *item;
    json_array_foreach(list, idx, item) {
        const char *text = json_string_value(item);
        if (text == NULL || ret->addresses_count == ENDPOINT_ADDRESSES_MAX) break;
        if (!parse_address(text, &ret->addresses[ret->addresses_count])) return false;
        ret->addresses_count++;
    }
    return ret->addresses_count > 0;
}

/* Sorted, or at least both of them. */
static bool names_pair(const json_t *list, const struct disco_pair *pair) {
    struct disco_key keys[2];
    if (!parse_key(json_array_get(list, 0), &keys[0]) || !parse_key(json_array_get(list, 1), &keys[1])) return false;
    struct disco_pair named = disco_pair_of(&keys[0], &keys[1]);
    return disco_pair_equal(&named, pair);
}

static bool parse_members(struct endpoint_answer *ret, const json_t *root, const struct disco_pair *pair, char *why) {
    json_int_t vni = json_integer_value(json_object_get(root, "VNI"));
    if (!parse_key(json_object_get(root, "ServerDisco"), &ret->server) || disco_key_is_zero(&ret->server)) {
        return fail(why, "ServerDisco is no key");
    }
    if (!names_pair(json_object_get(root, "ClientDisco"), pair)) {
        return fail(why, "ClientDisco are not the keys that were asked with");
    }
    if (vni < GENEVE_VNI_MIN || vni > GENEVE_VNI_MAX) return fail(why, "VNI is none");
    if (json_integer_value(json_object_get(root, "LamportID")) < 1) return fail(why, "LamportID is none");
    if (!parse_addresses(ret, json_object_get(root, "AddrPorts"))) return fail(why, "AddrPorts are none");
    ret->vni = (uint32_t)vni;
    return true;
}

bool endpoint_parse(struct endpoint_answer *ret, const char *body, size_t size, const struct disco_pair *pair,
                    char *why) {
    *ret = (struct endpoint_answer){0};
    json_t *root = json_loadb(body, size, JSON_DISABLE_EOF_CHECK, NULL);
    bool is_fine = root ? parse_members(ret, root, pair, why) : fail(why, "it is no JSON");
    json_decref(root);
    return is_fine;
}
