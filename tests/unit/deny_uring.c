/* deny_uring.c - runs a command with a system call forbidden, as seccomp profiles of containers and units do.
 *
 * deny_uring EPERM|ENOSYS[:CALL] COMMAND [ARGUMENT...]: the error is what such a profile answers; the call is
 * io_uring_setup unless it is named. "seccomp" means filters at all. For tests/system/refusal.sh and privileges.sh.
 * Exit status: the command's; 125 when the filter cannot be set or the command not be run.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EXIT_NOT_RUN = 125 };

/* 0: neither of the two. */
static int error_of(const char *word, size_t size) {
    if (size == 5 && memcmp(word, "EPERM", size) == 0) return EPERM;
    return size == 6 && memcmp(word, "ENOSYS", size) == 0 ? ENOSYS : 0;
}

static int deny(int error, const char *name) {
    unsigned action = SCMP_ACT_ERRNO((unsigned)error);
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int call = seccomp_syscall_resolve_name(name);
    if (filter == NULL || call == __NR_SCMP_ERROR || seccomp_rule_add(filter, action, call, 0) != 0) return -1;
    const struct scmp_arg_cmp mode = {.op = SCMP_CMP_EQ, .datum_a = PR_SET_SECCOMP, .datum_b = 0};
    if (strcmp(name, "seccomp") == 0 && seccomp_rule_add_array(filter, action, SCMP_SYS(prctl), 1, &mode) != 0) {
        return -1;
    }
    return seccomp_load(filter);
}

int main(int argc, char **argv) {
    size_t size = argc > 2 ? strcspn(argv[1], ":") : 0;
    int error = size ? error_of(argv[1], size) : 0;
    if (error == 0) {
        fprintf(stderr, "usage: deny_uring EPERM|ENOSYS[:CALL] COMMAND [ARGUMENT...]\n");
        return EXIT_NOT_RUN;
    }
    if (deny(error, argv[1][size] ? argv[1] + size + 1 : "io_uring_setup") != 0) {
        fprintf(stderr, "deny_uring: cannot set the filter\n");
        return EXIT_NOT_RUN;
    }
    execv(argv[2], argv + 2);
    fprintf(stderr, "deny_uring: cannot run %s: %s\n", argv[2], strerror(errno));
    return EXIT_NOT_RUN;
}
