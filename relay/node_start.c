#include "relay/node_start.h"

#include <stdio.h>

#include "core/log.h"

enum { PATH_SIZE = 4096 };

/* Beside the server's key, or "". */
static const char *key_path_of(const struct config *config, char path[PATH_SIZE]) {
    const char *slash = strrchr(config->key_path, '/');
    int folder = slash ? (int)(slash - config->key_path) + 1 : 0;
    if (*config->relay_node_key_file) return config->relay_node_key_file;
    if (*config->key_path == 0) return "";
    int size = snprintf(path, PATH_SIZE, "%.*srelay-node.key", folder, config->key_path);
    return size < PATH_SIZE ? path : "";
}

static bool make_keys(const struct config *config, struct nodekeys *keys, char *why) {
    char folder_path[PATH_SIZE], node[KEY_PUBLIC_TEXT_SIZE], disco[DISCO_KEY_TEXT_SIZE];
    const char *path = key_path_of(config, folder_path);
    struct rng rng;
    bool is_new = true;
    rng_init_system(&rng);
    if (*path == 0) {
        nodekeys_generate(&rng, keys);
        log_line(LOG_INFO,
                 "UDP relay: using throw-away keys for its node: the control plane has to learn new ones after "
                 "each start; -relay-node-key-file FILE keeps them");
    } else {
        if (!nodekeys_load_or_make(path, &rng, keys, &is_new, why)) return false;
        if (is_new) log_line(LOG_INFO, "UDP relay: made new keys for its node in %s", path);
    }
    key_format(&keys->node, node);
    disco_key_format(&keys->disco, disco);
    log_line(LOG_INFO, "UDP relay: for the control plane: node %s disco %s", node, disco);
    return true;
}

bool node_start_load_allowed(const struct config *config, struct allowlist **ret, char *why) {
    if (*config->relay_allow_file == 0) {
        log_line(LOG_INFO, "UDP relay: nobody may ask for endpoints over DERP; -relay-allow-file FILE names who may");
        *ret = NULL;
        return true;
    }
    if (!allowlist_load(config->relay_allow_file, ret, why)) return false;
    log_line(LOG_INFO, "UDP relay: %u node keys may ask for endpoints over DERP (%s)", (*ret)->count,
             config->relay_allow_file);
    return true;
}

bool node_start_prepare(const struct config *config, struct node_options *node, char *why) {
    struct node_desk_options *desk = &node->desk;
    if (!node_start_is_wanted(config)) return true;
    desk->limits = allocator_limits_of(config->relay_rate, (uint32_t)config->relay_requester_max);
    node->is_on = make_keys(config, &desk->keys, why) && node_start_load_allowed(config, &desk->allowed, why) &&
                  node_open(node, why);
    return node->is_on;
}
