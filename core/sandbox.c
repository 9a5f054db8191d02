#include "core/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/asan.h"
#include "core/check.h"
#include "core/sandbox_calls.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#endif

#if defined(HAS_ASAN) || defined(HAS_TSAN)
static const bool is_sanitized = true;
#else
static const bool is_sanitized = false;
#endif

static void warn(struct sandbox *sandbox, const char *format, ...) printf_like(2, 3);

static void warn(struct sandbox *sandbox, const char *format, ...) {
    va_list args;
    CHECK(sandbox->warnings_count < SANDBOX_WARNINGS_MAX);
    va_start(args, format);
    vsnprintf(sandbox->warnings[sandbox->warnings_count++], SANDBOX_WHY_MAX, format, args);
    va_end(args);
}

/* ---- the user ---- */

static void user_note(struct sandbox *sandbox) {
    const struct passwd *user = getpwuid(geteuid());
    if (user != NULL) {
        snprintf(sandbox->user, sizeof(sandbox->user), "%s", user->pw_name);
    } else {
        snprintf(sandbox->user, sizeof(sandbox->user), "%u", (unsigned)geteuid());
    }
}

/* All or nothing is decided by setresuid, the last one: before it root is still root. */
static int user_become(const struct passwd *user) {
    if (initgroups(user->pw_name, user->pw_gid) != 0) return -errno;
    if (setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0) return -errno;
    if (setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0) return -errno;
    CHECK(user->pw_uid == 0 || setresuid(0, 0, 0) != 0);  // there is no way back
    return 0;
}

static bool user_is_same(const char *name) {
    const struct passwd *user = getpwnam(name);
    return user != NULL && user->pw_uid == geteuid();
}

static bool user_switch_by_order(const char *name, char *why) {
    if (user_is_same(name)) return true;
    if (geteuid() != 0) {
        snprintf(why, SANDBOX_WHY_MAX,
                 "-user %s: only root can become another user; start as root or as that user, or leave -user out",
                 name);
        return false;
    }
    const struct passwd *user = getpwnam(name);
    if (user == NULL) {
        snprintf(why, SANDBOX_WHY_MAX,
                 "-user %s: there is no such user; make it (useradd --system --shell /usr/sbin/nologin %s), or name "
                 "another",
                 name, name);
        return false;
    }
    int error = user_become(user);
    if (error == 0) return true;
    snprintf(
        why, SANDBOX_WHY_MAX,
        "-user %s: cannot become that user: %s; a container needs the capabilities SETUID and SETGID for it, or is "
        "to be started as that user",
        name, strerror(-error));
    return false;
}

static void user_switch_by_default(struct sandbox *sandbox) {
    if (geteuid() != 0) return;
    const struct passwd *user = getpwnam(SANDBOX_USER_DEFAULT);
    int error = user ? user_become(user) : 0;
    if (user == NULL) {
        warn(sandbox, "running as root, without capabilities: there is no user " SANDBOX_USER_DEFAULT
                      " to change to; make one (useradd --system --shell /usr/sbin/nologin " SANDBOX_USER_DEFAULT
                      "), name another with -user, or say -user root if this is meant");
    } else if (error != 0) {
        warn(sandbox, "running as root, without capabilities: cannot become " SANDBOX_USER_DEFAULT ": %s",
             strerror(-error));
    }
}

/* ---- capabilities; two system calls, for which a library is not worth it ---- */

/* What programs that are run could get: nothing. Only whoever has CAP_SETPCAP can and needs to say so: for others
 * no-new-privileges means the same. */
static void capabilities_unbind(void) {
    for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) (void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
}

static bool capabilities_exist(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &header, sets) != 0) return true;  // unknown: say the worse
    return sets[0].permitted || sets[1].permitted;
}

/* Effective, permitted and inheritable ones; with them the ambient ones go, which cannot outlive them. */
static void capabilities_drop(struct sandbox *sandbox) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    int error = syscall(SYS_capset, &header, none) == 0 ? 0 : errno;
    sandbox->has_capabilities = capabilities_exist();
    if (!sandbox->has_capabilities) return;
    warn(sandbox, "cannot give up capabilities: %s; a filter of system calls around the relay forbids it: allow capset",
         strerror(error));
}

/* ---- the process ---- */

/* A change of user has switched core dumps off, whatever was before. */
static void process_close(const struct sandbox_options *options, struct sandbox *sandbox) {
    sandbox->allows_core_dumps = options->allows_core_dumps || is_sanitized;
    (void)prctl(PR_SET_DUMPABLE, sandbox->allows_core_dumps ? 1 : 0, 0, 0, 0);
    sandbox->allows_core_dumps = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0;
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sandbox->has_no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    if (!sandbox->has_no_new_privileges) warn(sandbox, "cannot set no-new-privileges: %s", strerror(errno));
}

static void calls_restrict(const struct sandbox_options *options, struct sandbox *sandbox) {
    sandbox->filter = SANDBOX_FILTER_OFF;
    if (options->filter == SANDBOX_FILTER_OFF) return;
    if (is_sanitized) {
        sandbox->filter_why_off = "instrumented build";
        return;
    }
    const struct sandbox_calls_options calls = {.is_log_only = options->filter == SANDBOX_FILTER_LOG,
                                                .opens_sockets = options->opens_sockets,
                                                .reads_interfaces = options->reads_interfaces,
                                                .connects_itself = options->connects_itself,
                                                .removes_files = options->removes_files};
    int error = sandbox_calls_restrict(&calls);
    if (error == 0) {
        sandbox->filter = options->filter;
        return;
    }
    sandbox->filter_why_off = "not possible here";
    warn(
        sandbox,
        "system calls are not filtered: %s; the kernel or the container does not allow seccomp (-seccomp=off says that "
        "this is known)",
        strerror(-error));
}

bool sandbox_enter(const struct sandbox_options *options, struct sandbox *ret, char *why) {
    *ret = (struct sandbox){0};
    capabilities_unbind();  // first: it takes a capability
    if (*options->user == 0) {
        user_switch_by_default(ret);
    } else if (!user_switch_by_order(options->user, why)) {
        return false;
    }
    user_note(ret);
    capabilities_drop(ret);
    process_close(options, ret);
    calls_restrict(options, ret);
    return true;
}

const char *sandbox_text(const struct sandbox *sandbox, char *text) {
    static const char *const filters[] = {"off", "log", "on"};
    const char *why_off = sandbox->filter_why_off;
    snprintf(text, SANDBOX_TEXT_MAX, "user %s, %scapabilities, %snew privileges, %score dumps, seccomp %s%s%s%s",
             sandbox->user, sandbox->has_capabilities ? "with " : "no ",
             sandbox->has_no_new_privileges ? "no " : "perhaps ", sandbox->allows_core_dumps ? "with " : "no ",
             filters[sandbox->filter], why_off ? " (" : "", why_off ? why_off : "", why_off ? ")" : "");
    return text;
}
