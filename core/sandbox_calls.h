/* sandbox_calls.h - the system calls of a relay that runs: a list of what is allowed (seccomp, by libseccomp).
 *
 * Three answers, and why:
 *   on the list     allowed, some only with certain arguments: files for reading, threads but no processes, memory
 *                   that is not executable, io_uring rings that exist, signals to ourselves.
 *   hostile         the process is killed: calls that this program and its libraries have no way to make, and that an
 *                   intruder begins with (a program, a process, another ring, another process's memory, a mount).
 *   anything else   EPERM, and a line in the kernel's audit log. why not kill: the next version of a library may try a
 *                   new call and has a way back when it is refused; thousands of clients should not pay for that.
 *
 * The operations of an io_uring are no system calls, so no filter sees them. What a ring may do is bounded by its own
 * restrictions (core/ring_setup.c), which are in force when the log's io_uring line names them; another ring cannot be
 * made. The kernel's workers for a ring make no system calls either.
 *
 * Whoever makes the daemon do something new after its start has to add it here; tests and -seccomp=log show what is
 * missing.
 *
 * Threads: the calling one, and those it makes afterwards. Errors: negative errno; then nothing but the absence of
 * clone3 is in force.
 */
#pragma once

#include "core/base.h"

struct sandbox_calls_options {
    bool is_log_only;   // nothing is refused, what would be is in the audit log
    bool opens_sockets; // IPv4 and IPv6 for asking others, as look-ups do; never for listening
    bool reads_interfaces;  // addresses of this host, which the kernel tells by netlink; it takes no privilege
    bool connects_itself; // TCP over IPv4 to a listener of its own; whose it is, no filter can see
    bool removes_files; // a Unix socket's file, at the end. Which one, no filter can see
};

must_use int sandbox_calls_restrict(const struct sandbox_calls_options *options);
