/* test_sandbox.c - what a process can and cannot do any more; each question is asked in a child of its own. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/check.h"
#include "core/sandbox.h"

enum { CHILD_GOOD = 0, CHILD_BAD = 1, CHILD_UNFILTERED = 77, CHILD_KILLED = 256 };

/* What the child does; true when it went as it has to. */
typedef bool (*deed_fn)(void);

/* The child's. */
static struct sandbox entered;
static struct io_uring uring;
static bool has_ring;

static void child_main(const struct sandbox_options *options, deed_fn deed) {
    char why[SANDBOX_WHY_MAX];
    struct rlimit none = {0};
    (void)setrlimit(RLIMIT_CORE, &none);  // before: those that are killed leave nothing behind
    has_ring = io_uring_queue_init(4, &uring, IORING_SETUP_R_DISABLED) == 0;
    if (!sandbox_enter(options, &entered, why)) _exit(CHILD_BAD);
    if (entered.filter != options->filter) _exit(CHILD_UNFILTERED);
    _exit(deed() ? CHILD_GOOD : CHILD_BAD);
}

/* The child's exit status, or CHILD_KILLED + the signal. */
static int run_child(const struct sandbox_options *options, deed_fn deed) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child_main(options, deed);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? CHILD_KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct sandbox_options filtered = {.user = "root", .filter = SANDBOX_FILTER_ON};

/* "root" is an order that others cannot follow; they are asked for nothing. */
static struct sandbox_options options_of(enum sandbox_filter filter) {
    struct sandbox_options options = filtered;
    options.filter = filter;
    if (geteuid() != 0) options.user = "";
    return options;
}

static void assert_under(enum sandbox_filter filter, deed_fn deed, int wanted) {
    struct sandbox_options options = options_of(filter);
    int got = run_child(&options, deed);
    if (got == CHILD_UNFILTERED) {
        print_message("no filter of system calls in this build or place\n");
        skip();
    }
    assert_int_equal(got, wanted);
}

static void assert_works(deed_fn deed) { assert_under(SANDBOX_FILTER_ON, deed, CHILD_GOOD); }

/* ---- what stays ---- */

static bool reads_a_file(void) {
    char byte;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, &byte, 1) == 1 && close(fd) == 0;
}

static void *thread_body(void *arg) {
    (void)arg;
    uint32_t policy[12] = {0};  // struct sched_attr
    bool has_policy = syscall(SYS_sched_getattr, 0, policy, sizeof(policy), 0) == 0;
    bool is_set = has_policy && syscall(SYS_sched_setattr, 0, policy, 0) == 0;
    return setpriority(PRIO_PROCESS, 0, 10) == 0 && is_set ? thread_body : NULL;
}

static bool makes_threads(void) {
    pthread_t id;
    void *result = NULL;
    return pthread_create(&id, NULL, thread_body, NULL) == 0 && pthread_join(id, &result) == 0 && result != NULL;
}

static bool allocates(void) {
    for (size_t size = 16; size < (64 << 20); size *= 4) {
        char *memory = malloc(size);
        if (memory == NULL) return false;
        memset(memory, 1, size);
        free(memory);
    }
    return true;
}

static bool aborts(void) { check_failed("a bug", __FILE__, __LINE__); }

static void test_reading_stays(void **state) {
    (void)state;
    assert_works(reads_a_file);
}

static void test_threads_stay(void **state) {
    (void)state;
    assert_works(makes_threads);
}

static void test_memory_stays(void **state) {
    (void)state;
    assert_works(allocates);
}

static void test_a_bug_still_aborts(void **state) {
    (void)state;
    assert_under(SANDBOX_FILTER_ON, aborts, CHILD_KILLED + SIGABRT);
}

/* ---- a ring that there is ---- */

// why: the shared library of liburing 2.3 does not export the function for this
static int enable_ring(void) {
    if (!has_ring) _exit(CHILD_UNFILTERED);  // not allowed here: nothing to be shown
    return io_uring_register((unsigned)uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static bool uses_ring(void) {
    struct io_uring_cqe *cqe;
    if (enable_ring() != 0) return false;
    io_uring_prep_nop(io_uring_get_sqe(&uring));
    return io_uring_submit_and_wait(&uring, 1) == 1 && io_uring_peek_cqe(&uring, &cqe) == 0 && cqe->res == 0;
}

static bool registers_a_file(void) {
    int fd = 0;
    return enable_ring() == 0 && io_uring_register_files(&uring, &fd, 1) == -EPERM;
}

static void test_a_ring_stays(void **state) {
    (void)state;
    assert_works(uses_ring);
    assert_works(registers_a_file);
}

/* ---- what is refused ---- */

static char written[] = "/tmp/test_sandbox.XXXXXX";

static bool is_refused(long result) { return result == -1 && errno == EPERM; }

static bool cannot_open_for_writing(void) {
    return is_refused(open(written, O_WRONLY)) && is_refused(open(written, O_RDWR)) &&
           is_refused(open(written, O_RDONLY | O_TRUNC)) && is_refused(open(written, O_RDONLY | O_CREAT, 0600)) &&
           is_refused(unlink(written)) && is_refused(rename(written, written)) && is_refused(chmod(written, 0777));
}

static bool cannot_open_sockets(void) {
    int pair[2];
    return is_refused(socket(AF_INET, SOCK_STREAM, 0)) && is_refused(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

/* A look-up, and what it is not. */
static bool may_only_ask(void) {
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = 9, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&nobody, sizeof(nobody)) == 0 &&
           sendto(fd, "", 1, 0, NULL, 0) == 1 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
           is_refused(socket(AF_UNIX, SOCK_STREAM, 0)) && is_refused(socket(AF_NETLINK, SOCK_RAW, 0)) &&
           is_refused(socket(AF_PACKET, SOCK_RAW, 0)) && is_refused(listen(fd, 1));
}

/* A listener that was there before. */
static int listener_before;
static struct sockaddr_in listener_name;

static bool may_only_connect(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    return fd >= 0 && connect(fd, (struct sockaddr *)&listener_name, sizeof(listener_name)) == 0 &&
           is_refused(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) &&
           is_refused(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)) && is_refused(socket(AF_UNIX, SOCK_STREAM, 0)) &&
           is_refused(sendto(fd, "", 1, 0, NULL, 0)) && is_refused(listen(fd, 1)) &&
           is_refused(accept4(listener_before, NULL, NULL, 0)) && is_refused(fcntl(fd, F_SETFL, O_NONBLOCK));
}

static bool cannot_make_code(void) {
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || !is_refused(mprotect(memory, 4096, PROT_READ | PROT_EXEC))) return false;
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM;
}

static bool cannot_signal_others(void) {
    return is_refused(kill(getppid(), 0)) && is_refused(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

/* Its flags are where no filter can see them. */
static bool has_no_clone3(void) {
    const uint64_t arguments[8] = {[4] = SIGCHLD};
    return syscall(SYS_clone3, arguments, sizeof(arguments)) == -1 && errno == ENOSYS;
}

static bool cannot_change_user(void) { return is_refused(setresuid(1, 1, 1)) && is_refused(setgroups(0, NULL)); }

static bool cannot_change_itself(void) {
    struct rlimit limit = {.rlim_cur = 10, .rlim_max = 10};
    uint32_t policy[12] = {48};
    if (!is_refused(syscall(SYS_sched_setattr, getppid(), policy, 0))) return false;
    return is_refused(prctl(PR_SET_DUMPABLE, 1)) && is_refused(setrlimit(RLIMIT_NOFILE, &limit)) &&
           is_refused(setpriority(PRIO_PROCESS, (id_t)getppid(), 19));
}

static void test_nothing_is_written(void **state) {
    (void)state;
    int fd = mkstemp(written);
    assert_true(fd >= 0);
    struct sandbox_options options = options_of(SANDBOX_FILTER_ON);
    int got = run_child(&options, cannot_open_for_writing);
    close(fd);
    assert_int_equal(unlink(written), 0);
    if (got == CHILD_UNFILTERED) skip();
    assert_int_equal(got, CHILD_GOOD);
}

static char removed[] = "/tmp/test_sandbox.XXXXXX";

static bool cannot_remove(void) { return is_refused(unlink(removed)) && is_refused(unlinkat(AT_FDCWD, removed, 0)); }

/* Files, no folders; and nothing more may be made or written. */
static bool may_only_remove(void) {
    return is_refused(unlinkat(AT_FDCWD, "/tmp/none", AT_REMOVEDIR)) && is_refused(rmdir("/tmp/none")) &&
           is_refused(rename(removed, "/tmp/none")) && is_refused(open(removed, O_WRONLY)) && unlink(removed) == 0 &&
           unlinkat(AT_FDCWD, removed, 0) == -1 && errno == ENOENT;
}

static void test_files_are_removed_if_asked_for(void **state) {
    (void)state;
    int fd = mkstemp(removed);
    assert_true(fd >= 0);
    close(fd);
    struct sandbox_options options = options_of(SANDBOX_FILTER_ON);
    int refused = run_child(&options, cannot_remove);
    options.removes_files = true;
    int got = run_child(&options, may_only_remove);
    bool is_there = access(removed, F_OK) == 0;
    if (is_there) assert_int_equal(unlink(removed), 0);
    if (got == CHILD_UNFILTERED) skip();
    assert_int_equal(refused, CHILD_GOOD);
    assert_int_equal(got, CHILD_GOOD);
    assert_false(is_there);
}

static void test_no_sockets(void **state) {
    (void)state;
    assert_works(cannot_open_sockets);
}

static void test_sockets_for_look_ups(void **state) {
    (void)state;
    struct sandbox_options options = options_of(SANDBOX_FILTER_ON);
    options.opens_sockets = true;
    int got = run_child(&options, may_only_ask);
    if (got == CHILD_UNFILTERED) skip();
    assert_int_equal(got, CHILD_GOOD);
}

/* getifaddrs, and no socket of another kind. */
static bool may_only_read_interfaces(void) {
    struct ifaddrs *all;
    bool is_fine = getifaddrs(&all) == 0;
    if (is_fine) freeifaddrs(all);
    return is_fine && is_refused(socket(AF_INET, SOCK_DGRAM, 0)) &&
           is_refused(socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)) && is_refused(socket(AF_UNIX, SOCK_STREAM, 0));
}

static bool may_ask_and_read_interfaces(void) {
    struct ifaddrs *all;
    bool is_fine = getifaddrs(&all) == 0;
    if (is_fine) freeifaddrs(all);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return is_fine && fd >= 0 && is_refused(socket(AF_UNIX, SOCK_STREAM, 0));
}

static void test_interfaces_are_read_if_asked_for(void **state) {
    (void)state;
    struct sandbox_options options = options_of(SANDBOX_FILTER_ON);
    options.reads_interfaces = true;
    int got = run_child(&options, may_only_read_interfaces);
    if (got == CHILD_UNFILTERED) skip();
    assert_int_equal(got, CHILD_GOOD);
    options.opens_sockets = true;
    assert_int_equal(run_child(&options, may_ask_and_read_interfaces), CHILD_GOOD);
}

static void test_a_connection_to_itself(void **state) {
    (void)state;
    struct sandbox_options options = options_of(SANDBOX_FILTER_ON);
    socklen_t size = sizeof(listener_name);
    listener_name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    listener_before = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener_before, (struct sockaddr *)&listener_name, size), 0);
    assert_int_equal(listen(listener_before, 1), 0);
    assert_int_equal(getsockname(listener_before, (struct sockaddr *)&listener_name, &size), 0);
    options.connects_itself = true;
    int got = run_child(&options, may_only_connect);
    close(listener_before);
    if (got == CHILD_UNFILTERED) skip();
    assert_int_equal(got, CHILD_GOOD);
}

static void test_no_code(void **state) {
    (void)state;
    assert_works(cannot_make_code);
}

static void test_no_signals(void **state) {
    (void)state;
    assert_works(cannot_signal_others);
}

static void test_no_other_user(void **state) {
    (void)state;
    assert_works(cannot_change_user);
}

static void test_no_other_limits(void **state) {
    (void)state;
    assert_works(cannot_change_itself);
}

/* ---- what kills ---- */

static bool runs_a_program(void) {
    char *words[] = {(char *)(uintptr_t)"true", NULL};
    (void)execv("/bin/true", words);
    return false;
}

static bool makes_a_process(void) { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0; }

static bool makes_a_ring(void) {
    struct io_uring another;
    return io_uring_queue_init(4, &another, 0) == 0;
}

static bool is_traced(void) { return syscall(SYS_ptrace, 0, 0, 0, 0) == 0; }

static void test_what_an_intruder_begins_with_kills(void **state) {
    (void)state;
    const deed_fn deeds[] = {runs_a_program, makes_a_process, makes_a_ring, is_traced};
    for (size_t i = 0; i < array_count(deeds); i++) {
        assert_under(SANDBOX_FILTER_ON, deeds[i], CHILD_KILLED + SIGSYS);
    }
}

static void test_clone3_is_hidden(void **state) {
    (void)state;
    assert_works(has_no_clone3);
}

static void test_log_refuses_nothing(void **state) {
    (void)state;
    assert_under(SANDBOX_FILTER_LOG, makes_a_ring, CHILD_GOOD);
    assert_under(SANDBOX_FILTER_LOG, runs_a_program, CHILD_GOOD);  // of /bin/true
    assert_under(SANDBOX_FILTER_OFF, makes_a_ring, CHILD_GOOD);
}

/* ---- capabilities and users ---- */

static bool status_has(const char *line) {
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t size = read(fd, text, sizeof(text) - 1);
    if (size <= 0) return false;
    text[size] = 0;
    return close(fd) == 0 && strstr(text, line) != NULL;
}

static bool has_no_capabilities(void) {
    return status_has("\nCapPrm:\t0000000000000000\n") && status_has("\nCapEff:\t0000000000000000\n") &&
           status_has("\nCapInh:\t0000000000000000\n") && status_has("\nCapAmb:\t0000000000000000\n") &&
           status_has("\nNoNewPrivs:\t1\n");
}

static bool could_get_none(void) { return has_no_capabilities() && status_has("\nCapBnd:\t0000000000000000\n"); }

static void test_no_capabilities(void **state) {
    (void)state;
    struct sandbox_options options = options_of(SANDBOX_FILTER_OFF);
    assert_int_equal(run_child(&options, geteuid() == 0 ? could_get_none : has_no_capabilities), CHILD_GOOD);
}

static bool is_nobody(void) {
    const struct passwd *nobody = getpwnam("nobody");
    uid_t real, effective, saved;
    gid_t group, effective_group, saved_group;
    if (nobody == NULL || getresuid(&real, &effective, &saved) != 0) return false;
    if (getresgid(&group, &effective_group, &saved_group) != 0) return false;
    bool is_user = real == nobody->pw_uid && effective == nobody->pw_uid && saved == nobody->pw_uid;
    bool is_group = group == nobody->pw_gid && effective_group == nobody->pw_gid && saved_group == nobody->pw_gid;
    return is_user && is_group && setuid(0) != 0;
}

static bool has_only_its_groups(void) {
    gid_t groups[64];
    int count = getgroups(array_count(groups), groups);
    for (int i = 0; i < count; i++) {
        if (groups[i] == 12345) return false;
    }
    return count >= 0 && is_nobody() && could_get_none();
}

static bool leaves_no_core(void) { return !entered.allows_core_dumps; }
static bool may_leave_a_core(void) { return prctl(PR_GET_DUMPABLE) == 1 && entered.allows_core_dumps; }

static void test_core_dumps(void **state) {
    (void)state;
    struct sandbox_options options = options_of(SANDBOX_FILTER_OFF);
    options.allows_core_dumps = true;
    assert_int_equal(run_child(&options, may_leave_a_core), CHILD_GOOD);
    if (geteuid() == 0) options.user = "nobody";  // the kernel switches them off when the user changes
    assert_int_equal(run_child(&options, may_leave_a_core), CHILD_GOOD);
    assert_works(leaves_no_core);
}

static void test_root_becomes_a_user(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    const gid_t group_of_root = 12345;
    struct sandbox_options options = {.user = "nobody", .filter = SANDBOX_FILTER_OFF};
    gid_t before[64];
    int count = getgroups(array_count(before), before);
    assert_true(count >= 0);
    assert_int_equal(setgroups(1, &group_of_root), 0);
    int got = run_child(&options, has_only_its_groups);
    assert_int_equal(setgroups((size_t)count, before), 0);
    assert_int_equal(got, CHILD_GOOD);
}

/* An order that cannot be followed: one sentence, in a child because part of the privileges may go. */
static bool orders_user(const char *user, const char *part) {
    struct sandbox sandbox;
    char why[SANDBOX_WHY_MAX] = "";
    const struct sandbox_options options = {.user = user, .filter = SANDBOX_FILTER_OFF};
    return !sandbox_enter(&options, &sandbox, why) && strstr(why, part) != NULL;
}

static bool nobody_cannot_be_ordered(void) {
    return geteuid() == 0 ? orders_user("no-such-user", "there is no such user")
                          : orders_user("root", "only root can become another user");
}

static bool users_own_name_is_fine(void) {
    struct sandbox sandbox;
    char why[SANDBOX_WHY_MAX] = "";
    const struct passwd *user = getpwuid(geteuid());
    const struct sandbox_options options = {.user = user ? user->pw_name : "", .filter = SANDBOX_FILTER_OFF};
    return sandbox_enter(&options, &sandbox, why);
}

static void test_orders_that_cannot_be_followed(void **state) {
    (void)state;
    struct sandbox_options options = options_of(SANDBOX_FILTER_OFF);
    assert_int_equal(run_child(&options, nobody_cannot_be_ordered), CHILD_GOOD);
    assert_int_equal(run_child(&options, users_own_name_is_fine), CHILD_GOOD);
    options.user = "nobody";
    if (geteuid() == 0) assert_int_equal(run_child(&options, nobody_cannot_be_ordered), CHILD_GOOD);
}

/* ---- the text ---- */

static void test_text(void **state) {
    (void)state;
    char text[SANDBOX_TEXT_MAX];
    struct sandbox sandbox = {.user = "ringrelay", .has_no_new_privileges = true, .filter = SANDBOX_FILTER_ON};
    assert_string_equal(sandbox_text(&sandbox, text),
                        "user ringrelay, no capabilities, no new privileges, no core dumps, seccomp on");
    sandbox = (struct sandbox){
        .user = "0", .has_capabilities = true, .allows_core_dumps = true, .filter_why_off = "instrumented build"};
    assert_string_equal(sandbox_text(&sandbox, text),
                        "user 0, with capabilities, perhaps new privileges, with core dumps, seccomp off "
                        "(instrumented build)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_stays),
        cmocka_unit_test(test_threads_stay),
        cmocka_unit_test(test_memory_stays),
        cmocka_unit_test(test_a_bug_still_aborts),
        cmocka_unit_test(test_a_ring_stays),
        cmocka_unit_test(test_nothing_is_written),
        cmocka_unit_test(test_files_are_removed_if_asked_for),
        cmocka_unit_test(test_no_sockets),
        cmocka_unit_test(test_sockets_for_look_ups),
        cmocka_unit_test(test_interfaces_are_read_if_asked_for),
        cmocka_unit_test(test_a_connection_to_itself),
        cmocka_unit_test(test_no_code),
        cmocka_unit_test(test_no_signals),
        cmocka_unit_test(test_no_other_user),
        cmocka_unit_test(test_no_other_limits),
        cmocka_unit_test(test_what_an_intruder_begins_with_kills),
        cmocka_unit_test(test_clone3_is_hidden),
        cmocka_unit_test(test_log_refuses_nothing),
        cmocka_unit_test(test_no_capabilities),
        cmocka_unit_test(test_core_dumps),
        cmocka_unit_test(test_root_becomes_a_user),
        cmocka_unit_test(test_orders_that_cannot_be_followed),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
