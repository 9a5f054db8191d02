#include "relay/keyfile.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "core/sys.h"

static bool make(const char *path, struct rng *rng, struct node_private *key, char *why) {
    uint8_t text[KEY_FILE_SIZE];
    struct writer w = writer_of(text, sizeof(text));
    key_generate(rng, key);
    key_file_write(&w, key);
    int rc = sys_file_write(path, text, sizeof(text), 0600);
    sodium_memzero(text, sizeof(text));
    if (rc == 0) return true;
    key_private_wipe(key);
    snprintf(why, KEYFILE_WHY_MAX,
             "cannot write a new key to %s: %s; make the directory writable for this user or name "
             "another file with -c",
             path, strerror(-rc));
    return false;
}

bool keyfile_load_or_make(const char *path, struct rng *rng, struct node_private *key, bool *is_new, char *why) {
    static char text[KEY_FILE_SIZE_MAX];  // why: boot only
    *is_new = false;
    *key = (struct node_private){{0}};
    ssize_t size = sys_file_read(path, text, sizeof(text));
    if (size == -ENOENT) {
        *is_new = true;
        return make(path, rng, key, why);
    }
    if (size < 0) {
        snprintf(why, KEYFILE_WHY_MAX, "cannot read the key file %s: %s", path, strerror((int)-size));
        return false;
    }
    enum key_error error = key_file_parse(text, (size_t)size, key);
    sodium_memzero(text, sizeof(text));
    if (error != KEY_OK) snprintf(why, KEYFILE_WHY_MAX, "key file %s: %s", path, key_error_text(error));
    return error == KEY_OK;
}
