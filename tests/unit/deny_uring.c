/* deny_uring.c - runs a command with io_uring_setup forbidden, as seccomp profiles of containers do.
 *
 * deny_uring EPERM|ENOSYS COMMAND [ARGUMENT...]: the error is what such a profile answers. For tests/system/refusal.sh.
 * Exit status: the command's; 125 when the filter cannot be set or the command not be run.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_NOT_RUN = 125 };

int main(int argc, char **argv) {
    int error = argc > 2 && strcmp(argv[1], "ENOSYS") == 0 ? ENOSYS : EPERM;
    if (argc < 3 || (error == EPERM && strcmp(argv[1], "EPERM") != 0)) {
        fprintf(stderr, "usage: deny_uring EPERM|ENOSYS COMMAND [ARGUMENT...]\n");
        return EXIT_NOT_RUN;
    }
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL || seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), SCMP_SYS(io_uring_setup), 0) != 0 ||
        seccomp_load(filter) != 0) {
        fprintf(stderr, "deny_uring: cannot set the filter\n");
        return EXIT_NOT_RUN;
    }
    execv(argv[2], argv + 2);
    fprintf(stderr, "deny_uring: cannot run %s: %s\n", argv[2], strerror(errno));
    return EXIT_NOT_RUN;
}
