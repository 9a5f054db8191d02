/* privileges.h - what the relay keeps of its starter's rights once keys are read, sockets bound and certificates open.
 *
 * core/sandbox.h by the flags -user and -seccomp; then everything that is read again while the relay runs (certificate
 * files, the rate file) is opened as who we are from now on. What cannot be is a warning with a remedy and not a
 * refusal: the relay works until the file changes, derper too needed a restart for that, and a unit taken over from
 * derper often has certificates that root alone may read.
 *
 * Threads: boot thread, before all others. Errors: a sentence in `why` (PRIVILEGES_WHY_MAX bytes).
 */
#pragma once

#include "core/sandbox.h"
#include "relay/certs.h"
#include "relay/config.h"

#define PRIVILEGES_WHY_MAX SANDBOX_WHY_MAX

/* `certs` is NULL without TLS; the file of an admin socket is to be removed at the end. Logs what is in force and what
 * is not. False: the relay is not to run. */
must_use bool privileges_give_up(const struct config *config, const struct certs *certs, bool has_admin_socket,
                                 char *why);
