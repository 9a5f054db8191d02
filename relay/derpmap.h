/* derpmap.h - what clients need to know of this relay, as the JSON that Tailscale and headscale take.
 *
 * Threads: any; jansson allocates. Memory: the text is the caller's to free(). Errors: NULL when there is no memory.
 */
#pragma once

#include "core/base.h"
#include "proto/cert.h"

struct derpmap_node {
    const char *hostname;  // a name or an IP literal
    uint16_t port;
    int stun_port;         // -1: no STUN
    bool has_pin;          // the certificate is pinned by its hash, not checked against roots
    uint8_t pin[CERT_PIN_SIZE];
    int region_id;         // 900 to 999 are for private use
};

/* One node, on one line. */
char *derpmap_node_text(const struct derpmap_node *node);

/* A whole map with one region and this node, indented. */
char *derpmap_text(const struct derpmap_node *node);
