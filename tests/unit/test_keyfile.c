/* test_keyfile.c - the key on disk: made once with its directories, read ever after, errors that name the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/keyfile.h"

enum { PATH_SIZE = 256, NOBODY = 65534 };

#define KEY_TEXT                      \
    "{\n\t\"PrivateKey\": \"privkey:" \
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f\"\n}"

static char base[PATH_SIZE];
static struct rng rng;

static int remove_tree(const char *path) {
    char command[PATH_SIZE + 16];
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    return system(command);  // why: a test that clears its own temporary folder
}

static int set_up(void **state) {
    (void)state;
    snprintf(base, sizeof(base), "/tmp/test_keyfile.XXXXXX");
    rng_init_seeded(&rng, 1);
    return mkdtemp(base) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    return remove_tree(base);
}

static const char *path_of(const char *name) {
    static char path[2 * PATH_SIZE];
    snprintf(path, sizeof(path), "%s/%s", base, name);
    return path;
}

static void write_file(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static bool is_zero(const struct node_private *key) {
    static const struct node_private zero;
    return memcmp(key, &zero, sizeof(zero)) == 0;
}

/* Loading has to fail, with a sentence that has the path and `word` in it. */
static void assert_refused(const char *path, const char *word) {
    char why[KEYFILE_WHY_MAX] = "";
    struct node_private key;
    bool is_new;
    assert_false(keyfile_load_or_make(path, &rng, &key, &is_new, why));
    if (strstr(why, path) == NULL || strstr(why, word) == NULL) {
        fail_msg("\"%s\" or \"%s\" is missing in \"%s\"", path, word, why);
    }
}

static size_t count_entries(const char *path) {
    size_t count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void test_made_once_and_read_ever_after(void **state) {
    (void)state;
    const char *path = path_of("a/b/derper.key");
    char why[KEYFILE_WHY_MAX];
    struct node_private made, read, other;
    struct stat info;
    bool is_new = false;
    assert_true(keyfile_load_or_make(path, &rng, &made, &is_new, why));
    assert_true(is_new);
    assert_false(is_zero(&made));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(info.st_size, KEY_FILE_SIZE);
    for (int i = 0; i < 2; i++) {
        assert_true(keyfile_load_or_make(path, &rng, &read, &is_new, why));
        assert_false(is_new);
        assert_memory_equal(&made, &read, sizeof(made));
    }
    assert_int_equal(count_entries(path_of("a/b")), 1);  // no temporary file stays
    assert_true(keyfile_load_or_make(path_of("other.key"), &rng, &other, &is_new, why));
    assert_true(is_new);
    assert_memory_not_equal(&made, &other, sizeof(made));
}

/* The mode must not depend on the caller's umask: neither wider nor narrower. */
static void test_the_mode_is_0600_under_every_umask(void **state) {
    (void)state;
    const mode_t masks[] = {0, 022, 077};
    for (size_t i = 0; i < array_count(masks); i++) {
        char name[32], why[KEYFILE_WHY_MAX];
        struct node_private key;
        struct stat info;
        bool is_new;
        snprintf(name, sizeof(name), "%zu.key", i);
        mode_t before = umask(masks[i]);
        bool is_made = keyfile_load_or_make(path_of(name), &rng, &key, &is_new, why);
        umask(before);
        assert_true(is_made);
        assert_int_equal(stat(path_of(name), &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
    }
}

static void test_derpers_file_is_read(void **state) {
    (void)state;
    const char *path = path_of("derper.key");
    char why[KEYFILE_WHY_MAX];
    struct node_private key;
    bool is_new = true;
    write_file(path, KEY_TEXT, strlen(KEY_TEXT));
    assert_true(keyfile_load_or_make(path, &rng, &key, &is_new, why));
    assert_false(is_new);
    for (unsigned i = 0; i < 31; i++) assert_int_equal(key.bytes[i], i);
    assert_int_equal(key.bytes[31], 0x5f);
}

/* What is there is never overwritten, however wrong it is. */
static void test_a_wrong_file_is_refused_and_kept(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{}", "hello", "{\"PrivateKey\": \"privkey:00\"}",
                                        ("{\"PrivateKey\": \"nodekey:000102030405060708090a0b0c0d0e0f"
                                         "101112131415161718191a1b1c1d1e5f\"}")};
    const char *path = path_of("wrong.key");
    for (size_t i = 0; i < array_count(texts); i++) {
        struct stat info;
        write_file(path, texts[i], strlen(texts[i]));
        assert_refused(path, "key file");
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, strlen(texts[i]));
    }
}

static void test_a_large_file_is_refused(void **state) {
    (void)state;
    static char bytes[100 * 1024];
    memset(bytes, ' ', sizeof(bytes));
    memcpy(bytes, KEY_TEXT, strlen(KEY_TEXT));
    const char *path = path_of("large.key");
    write_file(path, bytes, sizeof(bytes));
    assert_refused(path, "cannot read");
}

static void test_paths_that_cannot_be(void **state) {
    (void)state;
    assert_refused(base, "directory");  // a directory is no file
    write_file(path_of("file"), "x", 1);
    assert_refused(path_of("file/derper.key"), "cannot");
    assert_refused("/proc/nobody-can-make-this/derper.key", "-c");
}

/* Whatever fails: not written, not parsed, not read, too large. A caller that goes on must not go on with a key. */
static void test_no_key_is_left_behind(void **state) {
    (void)state;
    static char paths[4][PATH_SIZE], bytes[100 * 1024];
    snprintf(paths[0], sizeof(paths[0]), "/proc/nobody-can-make-this/derper.key");
    snprintf(paths[1], sizeof(paths[1]), "%.200s/wrong.key", base);
    snprintf(paths[2], sizeof(paths[2]), "%.200s", base);
    snprintf(paths[3], sizeof(paths[3]), "%.200s/large.key", base);
    write_file(paths[1], "{}", 2);
    write_file(paths[3], bytes, sizeof(bytes));
    for (size_t i = 0; i < array_count(paths); i++) {
        char why[KEYFILE_WHY_MAX];
        struct node_private key;
        bool is_new;
        memset(&key, 0x5a, sizeof(key));
        assert_false(keyfile_load_or_make(paths[i], &rng, &key, &is_new, why));
        if (!is_zero(&key)) fail_msg("a key after: %s", why);
    }
}

/* ---- without rights: in a child that gives up being root, if it was ---- */

/* True when `path` is refused in a child without rights, as assert_refused wants it. */
static bool is_refused_without_rights(const char *path) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char why[KEYFILE_WHY_MAX] = "";
        struct node_private key;
        bool is_new, has_no_rights = geteuid() != 0 || (setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
        bool is_loaded = has_no_rights && keyfile_load_or_make(path, &rng, &key, &is_new, why);
        bool is_named = strstr(why, path) != NULL && strstr(why, "Permission denied") != NULL;
        _exit(!is_loaded && is_named ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_unreadable_places(void **state) {
    (void)state;
    assert_int_equal(chmod(base, 0755), 0);
    write_file(path_of("secret.key"), KEY_TEXT, strlen(KEY_TEXT));
    assert_int_equal(chmod(path_of("secret.key"), 0), 0);
    assert_true(is_refused_without_rights(path_of("secret.key")));
    assert_int_equal(mkdir(path_of("closed"), 0), 0);
    assert_true(is_refused_without_rights(path_of("closed/derper.key")));
    assert_int_equal(mkdir(path_of("readonly"), 0555), 0);
    assert_true(is_refused_without_rights(path_of("readonly/derper.key")));
    assert_int_equal(count_entries(path_of("readonly")), 0);
    assert_int_equal(chmod(path_of("closed"), 0700), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_once_and_read_ever_after, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_mode_is_0600_under_every_umask, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_derpers_file_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_wrong_file_is_refused_and_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paths_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_key_is_left_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unreadable_places, set_up, tear_down),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
