/* nodekeys.h - the keys of the relay's own node (relay/node.h), on disk: read or made.
 *
 *     {
 *         "NodeKey": "privkey:...",
 *         "DiscoKey": "privkey:..."
 *     }
 *
 * The control plane tells clients both public halves, so they have to stay what they are for as long as it does: unlike
 * a client's, the disco key does not change with the process. Names are read in any case and others are ignored, as in
 * the server's key file (docs/derp.md, "Key file").
 *
 * Threads: boot only. Errors: a sentence in `why` that names the file and says what to do; the keys are zero then.
 */
#pragma once

#include "core/rng.h"
#include "proto/disco.h"
#include "proto/key.h"

#define NODEKEYS_WHY_MAX 512

struct nodekeys {
    struct node_private node_private;
    struct disco_private disco_private;
    struct node_key node;
    struct disco_key disco;
};

void nodekeys_generate(struct rng *rng, struct nodekeys *keys);
void nodekeys_wipe(struct nodekeys *keys);

/* Reads `path`; when there is no such file, makes keys and writes it (mode 0600, parent directories too). *is_new says
 * which. */
must_use bool nodekeys_load_or_make(const char *path, struct rng *rng, struct nodekeys *keys, bool *is_new, char *why);

/* The file's content alone: NULL, or what is wrong. `text` is overwritten; the caller wipes it. */
must_use const char *nodekeys_parse(char *text, size_t size, struct nodekeys *keys);
