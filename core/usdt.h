/* usdt.h - places in the code that perf and bpftrace can watch in a running process (user statically defined tracing).
 *
 * What it is: USDT2(send, id, bytes) becomes one nop, and a note in the ELF section .note.stapsdt that says where the
 * nop is and in which registers or memory its arguments lie. While nobody watches, the nop is the cost. Who watches has
 * the kernel put a breakpoint there; the process is not told and takes no part in it.
 *
 * Arguments are integers and pointers that lie at hand: an expression that has to be computed is computed always. The
 * note says how wide each is and whether it is signed, so a uint16_t is one for the tool, too.
 * A probe should be in one place of the program: perf (6.1) refuses those that several places share. An inline
 * function with more than one caller, or a macro, makes several of one.
 *
 * The header of SystemTap is used as it is (Debian, Ubuntu: systemtap-sdt-dev); nothing is linked. Without it
 * (HAVE_SYS_SDT is not defined) all of this is nothing at all. No semaphores: they would be a load and a branch.
 * Threads: any. Not here: which probes there are (relay/trace.h).
 */
#pragma once

#include "core/base.h"

#ifdef HAVE_SYS_SDT

/* clang takes memory where registers are allowed as well, and would store each argument for the probe's sake. */
#if defined(__clang__) && !defined(STAP_SDT_ARG_CONSTRAINT)
#define STAP_SDT_ARG_CONSTRAINT nr
#endif
#include <sys/sdt.h>

#define USDT3(name, a, b, c) DTRACE_PROBE3(ringrelay, name, a, b, c)
#define USDT4(name, a, b, c, d) DTRACE_PROBE4(ringrelay, name, a, b, c, d)
#define USDT5(name, a, b, c, d, e) DTRACE_PROBE5(ringrelay, name, a, b, c, d, e)
#define USDT6(name, a, b, c, d, e, f) DTRACE_PROBE6(ringrelay, name, a, b, c, d, e, f)

#else

/* Not evaluated, and yet used. */
#define USDT_UNUSED(x) ((void)sizeof(x))
#define USDT3(name, a, b, c) (USDT_UNUSED(a), USDT_UNUSED(b), USDT_UNUSED(c))
#define USDT4(name, a, b, c, d) (USDT3(name, a, b, c), USDT_UNUSED(d))
#define USDT5(name, a, b, c, d, e) (USDT4(name, a, b, c, d), USDT_UNUSED(e))
#define USDT6(name, a, b, c, d, e, f) (USDT5(name, a, b, c, d, e), USDT_UNUSED(f))

#endif
