/* test_unix.c - Unix sockets by path: whose file it is, who may, and what stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/unix.h"

static char folder[64], path[96], why[SYS_WHY_MAX];
static struct unix_listener listener;

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/ringrelay-unix-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/s", folder);
    memset(&listener, 0, sizeof(listener));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static bool exists(void) {
    struct stat st;
    return lstat(path, &st) == 0;
}

#define assert_says(text)                                                                  \
    do {                                                                                   \
        if (strstr(why, text) == NULL) fail_msg("\"%s\" is missing in \"%s\"", text, why); \
    } while (0)

static void test_mode_and_removal(void **state) {
    (void)state;
    struct stat st;
    mode_t before = umask(0);
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    umask(before);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    unix_listener_remove(&listener);
    assert_false(exists());
    unix_listener_remove(&listener);
    close(listener.fd);
}

static void test_who_answers_stays(void **state) {
    (void)state;
    struct unix_listener second;
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    assert_int_equal(unix_listen(&second, path, 0600, why), -EADDRINUSE);
    assert_says("somebody answers at");
    int fd = unix_connect(path, NS_PER_S);
    assert_true(fd >= 0);
    close(fd);
    unix_listener_remove(&listener);
    close(listener.fd);
}

/* A backlog that is full is an answer, too. */
static void test_who_is_busy_stays(void **state) {
    (void)state;
    int fds[64], count = 0;
    struct unix_listener second;
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    while (count < 64 && (fds[count] = unix_connect(path, 10 * NS_PER_MS)) >= 0) count++;
    assert_in_range(count, 1, 63);
    assert_int_equal(unix_listen(&second, path, 0600, why), -EADDRINUSE);
    while (count > 0) close(fds[--count]);
    unix_listener_remove(&listener);
    close(listener.fd);
}

static void test_the_dead_are_replaced(void **state) {
    (void)state;
    struct unix_listener second;
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    close(listener.fd);
    assert_true(exists());
    assert_int_equal(unix_connect(path, NS_PER_S), -ECONNREFUSED);
    assert_int_equal(unix_listen(&second, path, 0600, why), 0);
    unix_listener_remove(&second);
    close(second.fd);
    assert_int_equal(unix_connect(path, NS_PER_S), -ENOENT);
}

/* Who is killed may answer for a moment more. */
static void test_the_dying_are_replaced(void **state) {
    (void)state;
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool is_fine = unix_listen(&listener, path, 0600, why) == 0 && write(ready[1], "", 1) == 1;
        struct timespec moment = {.tv_nsec = 200 * 1000 * 1000};
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);  // why: that it takes a while is what is tested
        _exit(is_fine ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
    close(listener.fd);
}

/* Whoever has taken the place of one whose file was removed keeps it. */
static void test_others_stay(void **state) {
    (void)state;
    int ready[2], end[2];
    char byte = 0;
    assert_true(pipe(ready) == 0 && pipe(end) == 0);
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    assert_int_equal(unlink(path), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct unix_listener second;
        close(end[1]);
        bool is_fine = unix_listen(&second, path, 0600, why) == 0 && write(ready[1], "", 1) == 1;
        _exit(is_fine && read(end[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    unix_listener_remove(&listener);
    assert_true(exists());
    close(listener.fd);
    close(end[1]);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(end[0]);
}

static void test_other_files_stay(void **state) {
    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(unix_listen(&listener, path, 0600, why), -EEXIST);
    assert_says("is no socket");
    assert_true(exists());
}

static void test_paths(void **state) {
    (void)state;
    char deep[200];
    memset(deep, 'x', sizeof(deep));
    deep[sizeof(deep) - 1] = 0;
    assert_int_equal(unix_listen(&listener, deep, 0600, why), -ENAMETOOLONG);
    assert_says("shorter");
    assert_int_equal(unix_listen(&listener, "", 0600, why), -ENAMETOOLONG);
    snprintf(deep, sizeof(deep), "%s/none/s", folder);
    assert_int_equal(unix_listen(&listener, deep, 0600, why), -ENOENT);
    assert_says("its folder");
    assert_int_equal(unix_connect(deep, NS_PER_S), -ENOENT);
}

static void test_one_starts_at_a_time(void **state) {
    (void)state;
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    assert_int_equal(unix_listen(&listener, path, 0600, why), -EWOULDBLOCK);
    assert_says("try again");
    close(fd);
    assert_int_equal(unix_listen(&listener, path, 0600, why), 0);
    close(listener.fd);
}

static void test_who_has_connected(void **state) {
    (void)state;
    int pair[2];
    uint32_t user = 12345;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(unix_peer_user(pair[0], &user), 0);
    assert_int_equal(user, geteuid());
    close(pair[0]);
    close(pair[1]);
    assert_true(unix_peer_user(pair[0], &user) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_mode_and_removal),       TEST(test_who_answers_stays),
        TEST(test_who_is_busy_stays),      TEST(test_the_dead_are_replaced),
        TEST(test_the_dying_are_replaced), TEST(test_others_stay),
        TEST(test_other_files_stay),       TEST(test_paths),
        TEST(test_one_starts_at_a_time),   TEST(test_who_has_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
