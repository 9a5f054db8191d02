/* keyfile.h - the server's private key on disk: derper's file, read or made (docs/derp.md, "Key file").
 *
 * Threads: boot only. Errors: a sentence in `why` that names the file and says what to do; the key is zero then.
 */
#pragma once

#include "core/rng.h"
#include "proto/key.h"

#define KEYFILE_WHY_MAX 512

/* Reads `path`; when there is no such file, makes a key and writes it (mode 0600, parent directories too).
 * *is_new says which. */
must_use bool keyfile_load_or_make(const char *path, struct rng *rng, struct node_private *key, bool *is_new,
                                   char *why);
