/* sandbox.h - the end of privileges: what a process can still do once everything it needs is open.
 *
 * sandbox_enter, in this order: another user, when started as root; no capabilities, neither in use nor to be had by a
 * program that is run; no core dumps; a filter of system calls (sandbox_calls.h). Afterwards files can be read as far
 * as the user may, and nothing else: no file written, made or removed (but with removes_files), no program run, no
 * process made, no socket opened (but with opens_sockets, reads_interfaces or connects_itself), no memory made
 * executable. What needs  * more has to be done before.
 *
 * Which user. A name that is given is an order: if it cannot be obeyed, the process is not to run. None given: the user
 * SANDBOX_USER_DEFAULT if the system has one, else root goes on as root, and a warning says so. why not refuse: units
 * and containers of derper run as root on hosts without such a user, and have to work when the program's name is
 * exchanged; root without capabilities, kept from writing by the filter, is not far from a user of its own. The user's
 * groups are those of the system's list, so that membership of a group can grant it files; root's own are dropped.
 *
 * Core dumps are off because they would hold the server's key and the traffic secrets, and with them attaching by other
 * processes of the same user. Root can still attach, profile (perf) and dump (gcore). -dev leaves them on.
 *
 * What the host does not allow (a container's filter, a kernel without seccomp) is left out and becomes a warning:
 * a relay that runs is worth more than one that does not. What is in force is in *ret, for one line of the log.
 *
 * Sanitizers attach to their own process and make system calls of their own: with them there is no filter, and core
 * dumps stay allowed.
 *
 * Threads: before any other thread is made: all of them inherit. Memory: boot only. Errors: false and a sentence.
 */
#pragma once

#include "core/base.h"

#define SANDBOX_USER_DEFAULT "ringrelay"
#define SANDBOX_WHY_MAX 512
#define SANDBOX_USER_MAX 64
#define SANDBOX_TEXT_MAX 256

enum { SANDBOX_WARNINGS_MAX = 4 };

enum sandbox_filter {
    SANDBOX_FILTER_OFF,
    SANDBOX_FILTER_LOG,  // nothing is refused; what would be is in the audit log
    SANDBOX_FILTER_ON,
};

struct sandbox_options {
    const char *user;  // "": see above
    enum sandbox_filter filter;
    bool allows_core_dumps;
    bool opens_sockets;  // after the start, to ask others: for flags that look names up
    bool reads_interfaces;  // after the start: addresses of this host
    bool connects_itself;  // after the start, over IPv4 to a listener of its own
    bool removes_files;  // at the end: for a Unix socket's file, as far as the user may
};

/* What is in force. */
struct sandbox {
    char user[SANDBOX_USER_MAX];  // name, or number where there is none
    bool has_capabilities;
    bool has_no_new_privileges;
    bool allows_core_dumps;
    enum sandbox_filter filter;
    const char *filter_why_off;  // when off though another was asked for; else NULL
    char warnings[SANDBOX_WARNINGS_MAX][SANDBOX_WHY_MAX];
    uint32_t warnings_count;
};

/* False: the user asked for cannot be had, and `why` (SANDBOX_WHY_MAX bytes) says what to do. Part of the privileges
 * may be gone then: do not go on. */
must_use bool sandbox_enter(const struct sandbox_options *options, struct sandbox *ret, char *why);

/* "user ringrelay, no capabilities, no new privileges, no core dumps, seccomp on". Returns `text`, which has
 * SANDBOX_TEXT_MAX bytes. */
const char *sandbox_text(const struct sandbox *sandbox, char *text);
