/* node_start.h - what the relay's own node needs from flags, files and the kernel, before there are threads.
 *
 * Threads: boot, but for node_start_load_allowed, which the thread that takes signals calls again. Memory: keys and
 * list in *node; the caller frees and wipes them when the front did not get them. Errors: a sentence.
 */
#pragma once

#include "relay/config.h"
#include "relay/node.h"

/* Does this configuration have a node? There is none without DERP. */
static inline bool node_start_is_wanted(const struct config *config) {
    return config->relay_port >= 0 && config->is_derp;
}

/* Keys, list, listener and first connection; logs the public keys. Nothing when none is wanted. `why` has NODE_WHY_MAX
 * bytes. */
must_use bool node_start_prepare(const struct config *config, struct node_options *node, char *why);

/* The list of -relay-allow-file, NULL when there is no such flag; logs how many are on it. On failure *ret is
 * untouched. `why` has ALLOWLIST_WHY_MAX bytes. */
must_use bool node_start_load_allowed(const struct config *config, struct allowlist **ret, char *why);
