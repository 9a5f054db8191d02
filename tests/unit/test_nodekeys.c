/* test_nodekeys.c - the node's keys on disk: made once, read ever after, errors that name the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/nodekeys.h"

#define DIGITS "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e5f"
#define PRIVATE "privkey:" DIGITS
#define ZERO "privkey:0000000000000000000000000000000000000000000000000000000000000000"

static const struct nodekeys none;
static struct rng rng;

static const char *parse(const char *document, struct nodekeys *keys) {
    static char text[512];
    snprintf(text, sizeof(text), "%s", document);
    memset(keys, 0x5a, sizeof(*keys));
    return nodekeys_parse(text, strlen(text), keys);
}

static void test_a_good_file(void **state) {
    (void)state;
    struct nodekeys keys;
    struct node_key node;
    assert_null(parse(
        "{\"Other\": [1], \"discokey\": \"" PRIVATE "\", \"NODEKEY\": null, \"NodeKey\": \"" PRIVATE "\"}", &keys));
    assert_int_equal(keys.node_private.bytes[0], 0x20);
    assert_int_equal(keys.disco_private.bytes[31], 0x5f);
    key_private_public(&keys.node_private, &node);
    assert_memory_equal(&node, &keys.node, sizeof(node));
    assert_memory_equal(&node, &keys.disco, sizeof(node));  // the same private halves, so the same public ones
}

static void test_wrong_files(void **state) {
    (void)state;
    struct nodekeys keys;
    const char *const documents[] = {
        "",
        "[]",
        "{}",
        "null",
        "{\"NodeKey\": \"" PRIVATE "\"}",
        "{\"DiscoKey\": \"" PRIVATE "\"}",
        "{\"NodeKey\": \"" PRIVATE "\", \"DiscoKey\": \"" ZERO "\"}",
        "{\"NodeKey\": \"" PRIVATE "\", \"DiscoKey\": 1}",
        "{\"NodeKey\": \"" PRIVATE "\", \"DiscoKey\": \"" DIGITS "\"}",
        "{\"NodeKey\": \"" PRIVATE "0\", \"DiscoKey\": \"" PRIVATE "\"}",
        "{\"PrivateKey\": \"" PRIVATE "\"}",
        "{\"NodeKey\": \"x\", \"NodeKey\": \"" PRIVATE "\", \"DiscoKey\": \"" PRIVATE "\"}",
        "{\"NodeKey\": \"" PRIVATE "\", \"DiscoKey\": \"" PRIVATE "\"",
    };
    for (size_t i = 0; i < array_count(documents); i++) {
        if (parse(documents[i], &keys) == NULL) fail_msg("taken: %s", documents[i]);
        assert_memory_equal(&keys, &none, sizeof(keys));
    }
}

static void test_made_once(void **state) {
    (void)state;
    char folder[] = "/tmp/test_nodekeys.XXXXXX", path[64], command[64], why[NODEKEYS_WHY_MAX];
    struct nodekeys made, read;
    struct stat info;
    bool is_new = false;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/a/node.key", folder);
    if (!nodekeys_load_or_make(path, &rng, &made, &is_new, why)) fail_msg("%s", why);
    assert_true(is_new);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    if (!nodekeys_load_or_make(path, &rng, &read, &is_new, why)) fail_msg("%s", why);
    assert_false(is_new);
    assert_memory_equal(&made, &read, sizeof(made));
    assert_memory_not_equal(&made.node, &made.disco, KEY_SIZE);

    assert_int_equal(truncate(path, info.st_size - 3), 0);
    assert_false(nodekeys_load_or_make(path, &rng, &read, &is_new, why));
    assert_non_null(strstr(why, path));
    assert_memory_equal(&read, &none, sizeof(read));
    assert_int_equal(stat(path, &info), 0);  // and it is left as it is
    assert_false(nodekeys_load_or_make(folder, &rng, &read, &is_new, why));
    assert_non_null(strstr(why, folder));
    assert_false(nodekeys_load_or_make("/proc/nobody-can/node.key", &rng, &read, &is_new, why));
    assert_non_null(strstr(why, "-relay-node-key-file"));
    assert_memory_equal(&read, &none, sizeof(read));
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);  // why: a test that clears its own temporary folder
}

static int set_up(void **state) {
    (void)state;
    rng_init_seeded(&rng, 1);
    return sys_init();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_file),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_made_once),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
