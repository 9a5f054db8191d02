#include "core/sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the list ---- */

/* What the relay lives on goes first in the filter. */
static const int hot_calls[] = {SCMP_SYS(io_uring_enter), SCMP_SYS(futex)};

static const int allowed_calls[] = {
    // waiting, waking, time
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(sched_yield),
    SCMP_SYS(poll),  // a log line and a terminal or pipe that takes none
    SCMP_SYS(ppoll),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn),
    // memory; mmap and mprotect are below
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(mremap),
    SCMP_SYS(munmap),
    // threads and their end
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    // files of the office and of wolfSSL, for reading; openat is below. Log lines.
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(readv),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(stat),
    SCMP_SYS(fstat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    // sockets that there are
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    // facts
    SCMP_SYS(getrandom),
    SCMP_SYS(getrlimit),
    SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
};

/* For options.opens_sockets; socket, fcntl and ioctl are below. */
static const int asking_calls[] = {
    SCMP_SYS(connect), SCMP_SYS(bind),    SCMP_SYS(sendto),   SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(sendmmsg),
};

static const int hostile_calls[] = {
    SCMP_SYS(execve),         SCMP_SYS(execveat),
    SCMP_SYS(fork),           SCMP_SYS(vfork),
    SCMP_SYS(ptrace),         SCMP_SYS(process_vm_readv),
    SCMP_SYS(pidfd_getfd),    SCMP_SYS(process_vm_writev),
    SCMP_SYS(io_uring_setup), SCMP_SYS(bpf),
    SCMP_SYS(userfaultfd),    SCMP_SYS(perf_event_open),
    SCMP_SYS(mount),          SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),     SCMP_SYS(chroot),
    SCMP_SYS(unshare),        SCMP_SYS(setns),
    SCMP_SYS(init_module),    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),     SCMP_SYS(kexec_file_load),
    SCMP_SYS(delete_module),  SCMP_SYS(open_by_handle_at),
    SCMP_SYS(add_key),        SCMP_SYS(keyctl),
    SCMP_SYS(request_key),    SCMP_SYS(reboot),
};

/* ---- rules; after an error nothing more is added ---- */

struct rules {
    scmp_filter_ctx filter;
    int error;
};

static void allow(struct rules *rules, int call) {
    if (rules->error == 0) rules->error = seccomp_rule_add(rules->filter, SCMP_ACT_ALLOW, call, 0);
}

static void allow_if(struct rules *rules, int call, struct scmp_arg_cmp a) {
    if (rules->error == 0) rules->error = seccomp_rule_add_array(rules->filter, SCMP_ACT_ALLOW, call, 1, &a);
}

static void answer(struct rules *rules, uint32_t action, int call) {
    if (rules->error == 0) rules->error = seccomp_rule_add(rules->filter, action, call, 0);
}

/* Of argument `idx` the bits in `mask` are `value`. */
static struct scmp_arg_cmp masked(unsigned idx, uint64_t mask, uint64_t value) {
    return (struct scmp_arg_cmp){.arg = idx, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

static struct scmp_arg_cmp without(unsigned idx, uint64_t bits) { return masked(idx, bits, 0); }

/* An int: what is above its 32 bits is not the kernel's business. */
static struct scmp_arg_cmp equals(unsigned idx, uint32_t value) { return masked(idx, UINT32_MAX, value); }

static void rules_threads(struct rules *rules, uint32_t hostile) {
    const uint64_t thread = CLONE_THREAD;
    allow(rules, SCMP_SYS(clone3));  // hidden by a filter of its own, below
    allow_if(rules, SCMP_SYS(clone), masked(0, thread, thread));
    if (rules->error == 0 && hostile != 0) {
        rules->error = seccomp_rule_add(rules->filter, hostile, SCMP_SYS(clone), 1, without(0, thread));
    }
    if (rules->error == 0) {  // the front's niceness: of the calling thread
        rules->error = seccomp_rule_add(rules->filter, SCMP_ACT_ALLOW, SCMP_SYS(setpriority), 2,
                                        equals(0, PRIO_PROCESS), equals(1, 0));
    }
    allow_if(rules, SCMP_SYS(sched_getattr), equals(0, 0));  // slices: likewise
    allow_if(rules, SCMP_SYS(sched_setattr), equals(0, 0));
    allow_if(rules, SCMP_SYS(prctl), equals(0, PR_SET_NAME));
    allow_if(rules, SCMP_SYS(prctl), equals(0, PR_SET_TIMERSLACK));
    allow_if(rules, SCMP_SYS(tgkill), equals(0, (uint32_t)getpid()));  // abort
}

static void rules_arguments(struct rules *rules) {
    allow_if(rules, SCMP_SYS(openat), without(2, O_ACCMODE | O_CREAT | O_TRUNC));
    allow_if(rules, SCMP_SYS(open), without(1, O_ACCMODE | O_CREAT | O_TRUNC));
    allow_if(rules, SCMP_SYS(mmap), without(2, PROT_EXEC));
    allow_if(rules, SCMP_SYS(mprotect), without(2, PROT_EXEC));
    allow_if(rules, SCMP_SYS(fcntl), equals(1, F_GETFL));
    allow_if(rules, SCMP_SYS(fcntl), equals(1, F_GETFD));
    allow_if(rules, SCMP_SYS(ioctl), equals(1, SIOCOUTQ));  // what a slow client has not acknowledged
    allow_if(rules, SCMP_SYS(prlimit64), masked(2, UINT64_MAX, 0));  // asks, sets nothing
    allow_if(rules, SCMP_SYS(io_uring_register), equals(1, IORING_REGISTER_ENABLE_RINGS));
}

static void rules_sockets(struct rules *rules) {
    for (size_t i = 0; i < array_count(asking_calls); i++) allow(rules, asking_calls[i]);
    allow_if(rules, SCMP_SYS(socket), equals(0, AF_INET));
    allow_if(rules, SCMP_SYS(socket), equals(0, AF_INET6));
    allow_if(rules, SCMP_SYS(fcntl), equals(1, F_SETFL));
    allow_if(rules, SCMP_SYS(fcntl), equals(1, F_SETFD));
    allow_if(rules, SCMP_SYS(ioctl), equals(1, FIONBIO));
}

/* getifaddrs. What else this kind of netlink does takes a capability, and there is none. */
static void rules_netlink(struct rules *rules, bool has_asking_calls) {
    static const int calls[] = {SCMP_SYS(bind), SCMP_SYS(sendto), SCMP_SYS(recvmsg)};
    for (size_t i = 0; i < array_count(calls) && !has_asking_calls; i++) allow(rules, calls[i]);
    if (rules->error == 0) {
        rules->error = seccomp_rule_add(rules->filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, equals(0, AF_NETLINK),
                                        equals(2, NETLINK_ROUTE));
    }
}

/* For a connection to this very process (relay/node.h): its listener stays open, so that neither bind nor listen nor
 * accept is needed, and sends and receives are the ring's. */
static void rules_connection(struct rules *rules) {
    allow(rules, SCMP_SYS(connect));
    if (rules->error == 0) {
        rules->error = seccomp_rule_add(rules->filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, equals(0, AF_INET),
                                        equals(1, SOCK_STREAM | SOCK_CLOEXEC));
    }
}

static void rules_files(struct rules *rules) {
    allow(rules, SCMP_SYS(unlink));
    allow_if(rules, SCMP_SYS(unlinkat), equals(2, 0));  // no folders
}

static void rules_add(struct rules *rules, const struct sandbox_calls_options *options) {
    uint32_t hostile = options->is_log_only ? 0 : SCMP_ACT_KILL_PROCESS;
    for (size_t i = 0; i < array_count(hot_calls); i++) {
        allow(rules, hot_calls[i]);
        if (rules->error == 0) rules->error = seccomp_syscall_priority(rules->filter, hot_calls[i], UINT8_MAX);
    }
    for (size_t i = 0; i < array_count(allowed_calls); i++) allow(rules, allowed_calls[i]);
    rules_arguments(rules);
    if (options->opens_sockets) rules_sockets(rules);
    if (options->reads_interfaces) rules_netlink(rules, options->opens_sockets);
    if (options->connects_itself && !options->opens_sockets) rules_connection(rules);
    if (options->removes_files) rules_files(rules);
    rules_threads(rules, hostile);
    for (size_t i = 0; hostile != 0 && i < array_count(hostile_calls); i++) answer(rules, hostile, hostile_calls[i]);
}

/* why ignored: refusals that are not logged refuse all the same, and a kernel that cannot log them can still refuse. */
static void attributes_set(scmp_filter_ctx filter, bool is_log_only) {
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
    (void)seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, is_log_only ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
}

/* clone3 has its flags in memory, where no filter can read them; where it does not exist, glibc takes clone. why a
 * filter of its own: this answer is part of every start and does not belong into the audit log. */
static int clone3_hide(void) {
    struct rules rules = {.filter = seccomp_init(SCMP_ACT_ALLOW)};
    if (rules.filter == NULL) return -ENOSYS;
    (void)seccomp_attr_set(rules.filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);  // the other one's to judge
    answer(&rules, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
    if (rules.error == 0) rules.error = seccomp_load(rules.filter);
    seccomp_release(rules.filter);
    return rules.error;
}

int sandbox_calls_restrict(const struct sandbox_calls_options *options) {
    struct rules rules = {.filter = seccomp_init(options->is_log_only ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(EPERM))};
    if (rules.filter == NULL) return -ENOSYS;
    attributes_set(rules.filter, options->is_log_only);
    rules_add(&rules, options);
    if (rules.error == 0) rules.error = clone3_hide();
    if (rules.error == 0) rules.error = seccomp_load(rules.filter);
    seccomp_release(rules.filter);
    return rules.error;
}
