#include "relay/nodekeys.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "core/sys.h"
#include "proto/gojson.h"

enum { TEXT_SIZE = 256, TEXT_SIZE_MAX = 64 * 1024 };

/* A disco key's private half has the form of a node's. */
static void disco_from(const struct node_private *key, struct disco_private *ret) {
    _Static_assert(sizeof(*key) == sizeof(*ret), "the same 32 bytes");
    memcpy(ret->bytes, key->bytes, sizeof(ret->bytes));
}

static void add_public(struct nodekeys *keys) {
    key_private_public(&keys->node_private, &keys->node);
    disco_private_public(&keys->disco_private, &keys->disco);
}

void nodekeys_generate(struct rng *rng, struct nodekeys *keys) {
    key_generate(rng, &keys->node_private);
    disco_private_generate(rng, &keys->disco_private);
    add_public(keys);
}

void nodekeys_wipe(struct nodekeys *keys) { sodium_memzero(keys, sizeof(*keys)); }

/* ---- reading ---- */

/* Every occurrence has to be good, the last one counts; null is as if left out. */
static const char *take_member(const char *name, const json_t *value, struct node_private keys[2]) {
    static const char *const names[] = {"NodeKey", "DiscoKey"};
    for (size_t i = 0; i < array_count(names); i++) {
        if (!gojson_name_is(name, names[i]) || json_is_null(value)) continue;
        if (!json_is_string(value)) return "NodeKey and DiscoKey have to be texts";
        if (key_private_parse(json_string_value(value), json_string_length(value), &keys[i]) != KEY_OK) {
            return "NodeKey and DiscoKey have to be \"privkey:\" and 64 hex digits";
        }
    }
    return NULL;
}

static const char *take_members(const struct gojson *doc, struct node_private keys[2]) {
    const char *wrong = NULL;
    for (size_t i = 0; i < doc->count && wrong == NULL; i++) {
        wrong = take_member(gojson_name(doc, i), gojson_value(doc, i), keys);
    }
    bool is_there = !key_private_is_zero(&keys[0]) && !key_private_is_zero(&keys[1]);
    return wrong || is_there ? wrong : "NodeKey or DiscoKey is not in it, or is zero";
}

const char *nodekeys_parse(char *text, size_t size, struct nodekeys *keys) {
    struct gojson doc;
    struct node_private both[2] = {0};
    nodekeys_wipe(keys);
    if (!gojson_open(&doc, text, size)) return "it is not a JSON object";
    const char *wrong = take_members(&doc, both);
    gojson_close(&doc);
    if (wrong == NULL) {
        keys->node_private = both[0];
        disco_from(&both[1], &keys->disco_private);
        add_public(keys);
    }
    sodium_memzero(both, sizeof(both));
    return wrong;
}

/* ---- making ---- */

static size_t format(const struct nodekeys *keys, char text[TEXT_SIZE]) {
    char node[KEY_PRIVATE_TEXT_SIZE], disco[KEY_PRIVATE_TEXT_SIZE];
    struct node_private disco_private;
    memcpy(disco_private.bytes, keys->disco_private.bytes, sizeof(disco_private.bytes));
    key_private_format(&keys->node_private, node);
    key_private_format(&disco_private, disco);
    int size = snprintf(text, TEXT_SIZE, "{\n\t\"NodeKey\": \"%s\",\n\t\"DiscoKey\": \"%s\"\n}\n", node, disco);
    sodium_memzero(node, sizeof(node));
    sodium_memzero(disco, sizeof(disco));
    key_private_wipe(&disco_private);
    return (size_t)size;
}

static bool make(const char *path, struct rng *rng, struct nodekeys *keys, char *why) {
    char text[TEXT_SIZE];
    nodekeys_generate(rng, keys);
    int rc = sys_file_write(path, text, format(keys, text), 0600);
    sodium_memzero(text, sizeof(text));
    if (rc == 0) return true;
    nodekeys_wipe(keys);
    snprintf(why, NODEKEYS_WHY_MAX,
             "cannot write new keys of the UDP relay's node to %s: %s; make the directory writable for this user or "
             "name another file with -relay-node-key-file",
             path, strerror(-rc));
    return false;
}

bool nodekeys_load_or_make(const char *path, struct rng *rng, struct nodekeys *keys, bool *is_new, char *why) {
    static char text[TEXT_SIZE_MAX];  // why: boot only
    nodekeys_wipe(keys);
    ssize_t size = sys_file_read(path, text, sizeof(text));
    *is_new = size == -ENOENT;
    if (*is_new) return make(path, rng, keys, why);
    if (size < 0) {
        sodium_memzero(text, sizeof(text));
        snprintf(why, NODEKEYS_WHY_MAX, "cannot read the node key file %s: %s", path, strerror((int)-size));
        return false;
    }
    const char *wrong = nodekeys_parse(text, (size_t)size, keys);
    sodium_memzero(text, sizeof(text));
    if (wrong) {
        snprintf(why, NODEKEYS_WHY_MAX,
                 "node key file %s: %s; put it right, or move it away to get new keys, which the control plane then "
                 "has to learn",
                 path, wrong);
    }
    return wrong == NULL;
}
