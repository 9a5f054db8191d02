/* check.h - what to do when something cannot be.
 *
 * Errors have kinds, and each kind has one answer:
 *   our own bug          CHECK: print where, abort. The process is wrong and must not go on relaying.
 *   our own bug, hot     DCHECK: as CHECK in debug and sanitizer builds, nothing in release builds.
 *   hostile peer         never here: a reason, one close (relay/reason.h).
 *   full                 never here: false, counted.
 *
 * CHECK takes no message: the expression is the message, the comment above it says why it must hold.
 */
#pragma once

#include "core/base.h"

#define CHECK(cond)                                                     \
    do {                                                                \
        if (unlikely(!(cond))) check_failed(#cond, __FILE__, __LINE__); \
    } while (0)

/* A place that cannot be reached; `what` is a string literal that says why one would be surprised. */
#define BUG(what) check_failed(what, __FILE__, __LINE__)

#ifdef RINGRELAY_DEBUG
#define DCHECK(cond) CHECK(cond)
#else
/* The operand is not evaluated, but it is still compiled, so that it cannot rot. */
#define DCHECK(cond)         \
    do {                     \
        if (0) (void)(cond); \
    } while (0)
#endif

/* Prints "CHECK failed: <expr> at <file>:<line>" to standard error and aborts. Async-signal-safe. */
noreturn_fn void check_failed(const char *expr, const char *file, int line);
