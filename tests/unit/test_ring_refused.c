/* test_ring_refused.c - where io_uring is forbidden, the operator must read why and what to do.
 *
 * Each case is a child process that forbids io_uring to itself, the way a container does, opens a ring and prints what
 * ring_open says; the parent reads it.
 */
#include "test_ring_bed.h"

#include <seccomp.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void try_to_open(char *why, int *error) {
    struct ring_options options = {.features_allowed = RING_FEATURES_ALL,
                                   .submissions_max = 8,
                                   .completions_max = 16,
                                   .receive_buffers = 2,
                                   .receive_buffer_size = 64};
    struct ring *ring = NULL;
    *error = ring_open(&ring, &options, why);
    if (*error == 0) ring_close(ring);
}

static bool forbid(int syscall_number, int error) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    bool done = filter != NULL && seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), syscall_number, 0) == 0 &&
                seccomp_load(filter) == 0;
    if (filter != NULL) seccomp_release(filter);
    return done;
}

struct answer {
    int error;
    char why[RING_WHY_MAX];
};

/* Runs `prepare` and ring_open in a child. */
static struct answer ask_child(bool (*prepare)(void)) {
    struct answer answer = {.error = 1};
    int pipe_fds[2], status = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (prepare()) try_to_open(answer.why, &answer.error);
        _exit(write(pipe_fds[1], &answer, sizeof(answer)) == sizeof(answer) ? 0 : 1);
    }
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &answer, sizeof(answer)), sizeof(answer));
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    if (answer.error != 0) printf("    %s\n", answer.why);
    return answer;
}

static void assert_says(const struct answer *answer, const char *text) {
    if (strstr(answer->why, text) == NULL) fail_msg("\"%s\" is missing in \"%s\"", text, answer->why);
}

static bool sysctl_allows(void) {
    char value = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return true;  // a kernel before 6.6
    if (read(fd, &value, 1) != 1) value = '0';
    close(fd);
    return value == '0';
}

static bool setup_is_forbidden(void) { return forbid(SCMP_SYS(io_uring_setup), EPERM); }
static bool setup_is_unknown(void) { return forbid(SCMP_SYS(io_uring_setup), ENOSYS); }
static bool setup_is_denied(void) { return forbid(SCMP_SYS(io_uring_setup), EACCES); }
static bool setup_is_old(void) { return forbid(SCMP_SYS(io_uring_setup), EINVAL); }
static bool setup_has_no_memory(void) { return forbid(SCMP_SYS(io_uring_setup), ENOMEM); }
static bool register_is_old(void) { return forbid(SCMP_SYS(io_uring_register), EINVAL); }
static bool register_is_forbidden(void) { return forbid(SCMP_SYS(io_uring_register), EPERM); }

static bool fds_are_used_up(void) {
    int next_fd = dup(STDOUT_FILENO);
    struct rlimit limit = {.rlim_cur = (rlim_t)next_fd, .rlim_max = (rlim_t)next_fd};
    close(next_fd);
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static void forbidden_by_seccomp(void **state) {
    (void)state;
    if (!sysctl_allows()) skip();
    struct answer answer = ask_child(setup_is_forbidden);
    assert_int_equal(answer.error, -EPERM);
    assert_says(&answer, "seccomp");
    assert_says(&answer, "io_uring_setup, io_uring_enter and io_uring_register");
    assert_says(&answer, "--security-opt");
    assert_says(&answer, "SystemCallFilter");
}

static void hidden_by_seccomp(void **state) {
    (void)state;
    struct answer answer = ask_child(setup_is_unknown);
    assert_int_equal(answer.error, -ENOSYS);
    assert_says(&answer, "seccomp");
    assert_says(&answer, "ENOSYS");
}

static void register_forbidden_by_seccomp(void **state) {
    (void)state;
    if (!sysctl_allows()) skip();
    struct answer answer = ask_child(register_is_forbidden);
    assert_int_equal(answer.error, -EPERM);
    assert_says(&answer, "io_uring_register");
}

static void denied_by_a_security_module(void **state) {
    (void)state;
    struct answer answer = ask_child(setup_is_denied);
    assert_int_equal(answer.error, -EACCES);
    assert_says(&answer, "SELinux");
}

static void too_old_a_kernel(void **state) {
    (void)state;
    struct answer answer = ask_child(setup_is_old);
    assert_int_equal(answer.error, -EINVAL);
    assert_says(&answer, "needs Linux 5.19");
    answer = ask_child(register_is_old);  // io_uring is there, buffer rings are not
    assert_int_equal(answer.error, -EINVAL);
    assert_says(&answer, "registering receive buffers");
    assert_says(&answer, "needs Linux 5.19");
}

static void no_memory(void **state) {
    (void)state;
    struct answer answer = ask_child(setup_has_no_memory);
    assert_int_equal(answer.error, -ENOMEM);
    assert_says(&answer, "RLIMIT_MEMLOCK");
    assert_says(&answer, "MemoryMax");
}

static void no_descriptors(void **state) {
    (void)state;
    struct answer answer = ask_child(fds_are_used_up);
    assert_int_equal(answer.error, -EMFILE);
    assert_says(&answer, "RLIMIT_NOFILE");
}

static bool nothing_is_forbidden(void) { return true; }

static void allowed(void **state) {
    (void)state;
    assert_int_equal(ask_child(nothing_is_forbidden).error, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed),
        cmocka_unit_test(forbidden_by_seccomp),
        cmocka_unit_test(hidden_by_seccomp),
        cmocka_unit_test(register_forbidden_by_seccomp),
        cmocka_unit_test(denied_by_a_security_module),
        cmocka_unit_test(too_old_a_kernel),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
