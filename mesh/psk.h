/* psk.h - the mesh key: where it comes from (docs/config.md, "Mesh").
 *
 * The servers of a region share one key of 32 bytes; who shows it at login is a mesh peer (relay/front_login.c). It is
 * in a file, as derper's; with -dev it may be in the environment instead.
 *
 *   -mesh-psk-file FILE   that file; FILE empty: none
 *   without the flag      the first that is there of /home/derp/keys/derp-mesh.key and $HOME/keys/derp-mesh.key
 *   without it, -dev      $TAILSCALE_DERPER_MESH_KEY, and no file
 *
 * Threads: boot only. Memory: none kept; the file's text is wiped. Errors: a sentence in `why` that names the place and
 * says what to do, and never a part of the key; the key is zero then.
 */
#pragma once

#include "proto/key.h"

#define PSK_WHY_MAX 512
#define PSK_PLACE_MAX 1024

#define PSK_ENVIRONMENT "TAILSCALE_DERPER_MESH_KEY"

struct psk {
    struct mesh_key key;        // zero: there is no mesh
    char place[PSK_PLACE_MAX];  // where it was looked for: for the log; "" when there was no place to look
};

/* `path` is NULL without the flag. False: there is a place, and no key to be had from it. */
must_use bool psk_load(const char *path, bool is_dev, struct psk *psk, char *why);

void psk_wipe(struct psk *psk);
