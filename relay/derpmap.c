#include "relay/derpmap.h"

#include <jansson.h>
#include <stdio.h>

static json_t *make_node(const struct derpmap_node *node) {
    char pin[CERT_PIN_TEXT_SIZE], name[16 + CERT_PIN_TEXT_SIZE];
    uint8_t ip[16];
    size_t ip_size = cert_ip_of(node->hostname, ip);
    json_t *json =
        json_pack("{s:s, s:i, s:s}", "Name", "custom", "RegionID", node->region_id, "HostName", node->hostname);
    if (json == NULL) return NULL;
    if (ip_size > 0) json_object_set_new(json, ip_size == 4 ? "IPv4" : "IPv6", json_string(node->hostname));
    if (node->port != 443) json_object_set_new(json, "DERPPort", json_integer(node->port));
    if (node->stun_port != 3478) json_object_set_new(json, "STUNPort", json_integer(node->stun_port));
    if (!node->has_pin) return json;
    cert_pin_format(node->pin, pin);
    snprintf(name, sizeof(name), "sha256-raw:%s", pin);
    json_object_set_new(json, "CertName", json_string(name));
    return json;
}

char *derpmap_node_text(const struct derpmap_node *node) {
    json_t *json = make_node(node);
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(json);
    return text;
}

char *derpmap_text(const struct derpmap_node *node) {
    char id[16];
    snprintf(id, sizeof(id), "%d", node->region_id);
    json_t *json = json_pack("{s:{s:{s:i, s:s, s:s, s:[o]}}}", "Regions", id, "RegionID", node->region_id, "RegionCode",
                             "custom", "RegionName", "Custom relay", "Nodes", make_node(node));
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(json);
    return text;
}
