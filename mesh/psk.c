#include "mesh/psk.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/sys.h"

enum { TEXT_MAX = 4096 };  // 64 digits, and white space

/* No bytes are no key, and no mistake: derper takes it so. */
static bool parse(const char *text, size_t size, struct psk *psk, char *why) {
    enum key_error error = key_mesh_file_parse(text, size, &psk->key);
    if (error == KEY_OK || error == KEY_MESH_EMPTY) return true;
    snprintf(why, PSK_WHY_MAX, "mesh key in %.200s: %s", psk->place, key_error_text(error));
    return false;
}

static bool read_file(struct psk *psk, char *why) {
    char text[TEXT_MAX];
    ssize_t size = sys_file_read(psk->place, text, sizeof(text));
    if (size < 0) {
        snprintf(
            why, PSK_WHY_MAX,
            "cannot read the mesh key in %.200s: %s; name another file with -mesh-psk-file, or run without a mesh: "
            "-mesh-psk-file=",
            psk->place, strerror((int)-size));
        return false;
    }
    bool is_fine = parse(text, (size_t)size, psk, why);
    sodium_memzero(text, sizeof(text));
    return is_fine;
}

static bool read_environment(struct psk *psk, char *why) {
    const char *text = getenv(PSK_ENVIRONMENT);
    if (text == NULL || *text == '\0') return true;
    snprintf(psk->place, sizeof(psk->place), "$" PSK_ENVIRONMENT);
    return parse(text, strlen(text), psk, why);
}

static bool take_place(struct psk *psk, const char *folder, const char *name) {
    int size = snprintf(psk->place, sizeof(psk->place), "%s%s", folder, name);
    return size > 0 && (size_t)size < sizeof(psk->place) && access(psk->place, F_OK) == 0;
}

static bool find_file(struct psk *psk) {
    const char *home = getenv("HOME");
    if (take_place(psk, "/home/derp", "/keys/derp-mesh.key")) return true;
    if (home && *home && take_place(psk, home, "/keys/derp-mesh.key")) return true;
    psk->place[0] = '\0';
    return false;
}

bool psk_load(const char *path, bool is_dev, struct psk *psk, char *why) {
    *psk = (struct psk){0};
    if (path == NULL && is_dev) return read_environment(psk, why);
    if (path == NULL) return !find_file(psk) || read_file(psk, why);
    if (*path == '\0') return true;
    if ((size_t)snprintf(psk->place, sizeof(psk->place), "%s", path) < sizeof(psk->place)) return read_file(psk, why);
    snprintf(why, PSK_WHY_MAX, "-mesh-psk-file: a path has at most %d characters", PSK_PLACE_MAX - 1);
    return false;
}

void psk_wipe(struct psk *psk) { key_mesh_wipe(&psk->key); }
