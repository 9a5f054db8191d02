/* net_sim.h - a virtual TCP network: byte streams with bounded buffers, delay and segmentation by the seed.
 *
 * What it is: the relay's sockets, as numbers that look like file descriptors, and at their other ends "outside"
 * clients that hold a `struct net_end` directly.
 *
 *     outside end  --segments, each with a time of arrival-->  relay's end (fd)
 *                 <--segments-------------------------------
 *
 * Model: each end has one incoming pipe. Written bytes are cut into segments that arrive in order; the writer may have
 * `capacity` bytes that were not read yet, no more. A short write or read is the seed's choice. As in TCP: closing with
 * bytes unread resets, and so does data that arrives at a closed end; a reset throws away what was not read. What is
 * written to somebody who vanished (net_vanish) fills the pipe and no more.
 * Numbers of descriptors are reused at once, lowest first: whoever takes one for an identity is found out.
 *
 * Threads: one (sched_sim.h). Memory: malloc, freed by net_fini. Errors: as the kernel's, negative errno.
 */
#pragma once

#include "core/base.h"
#include "core/sys.h"

struct net_end;

enum { NET_LINKS_MAX = 128, NET_FD_FIRST = 1000 };

/* Forgets everything. */
void net_init(void);
void net_fini(void);

/* Makes what is due arrive; when the next arrival is due (TIME_NEVER: nothing is under way). */
void net_advance(void);
uint64_t net_next_ns(void);

/* ---- outside ---- */

/* What a connection is like; else the seed chooses. */
struct net_hints {
    bool is_narrow;  // the receive buffer outside is small: who does not read is soon noticed
    bool is_near;    // the way is short: much happens in little time
};

/* A connection to the listening fd: may be written to at once, is accepted some time later. */
struct net_end *net_connect(int listen_fd, const struct net_hints *hints);

/* Bytes taken, at least 1, 0 when there is no room, or a negative errno. */
ssize_t net_write(struct net_end *end, const void *bytes, size_t size);
/* Bytes, at least 1; 0 at the end of the stream; -EAGAIN when nothing is there; other negative errno when reset. */
ssize_t net_read(struct net_end *end, void *to, size_t size);
bool net_can_write(const struct net_end *end);
bool net_can_read(const struct net_end *end);
/* FIN: nothing is written any more, reading goes on. */
void net_shutdown(struct net_end *end);
/* The other side does not exist any more: nothing arrives any more in either direction, and nobody is told. Afterwards
 * only net_close, with `reset`: the relay hears of it then, as from a host that has come back. */
void net_vanish(struct net_end *end);
/* With `reset`, or with bytes unread, the other side sees a reset. The end must not be used any more. */
void net_close(struct net_end *end, bool reset);

/* The connection's number, in the order of connecting; and when the relay closed it (TIME_NEVER: not yet). */
uint32_t net_link_of(const struct net_end *end);
uint64_t net_closed_ns(uint32_t link);
bool net_is_timed_out(uint32_t link);

/* ---- the relay's side, by fd ---- */

int net_listen(void);
struct net_end *net_end_of(int fd);
bool net_can_accept(int listen_fd);
/* The new fd; there has to be one (net_can_accept). */
int net_accept(int listen_fd);
void net_close_fd(int fd, bool reset);
must_use int net_peer_address(int fd, struct net_address *ret);

/* Bytes written to the fd that the other side has not read. */
int64_t net_unread(int fd);

/* The relay ends the connection because nothing was taken for the write timeout: fails when that is not so. */
void net_judge_timeout(int fd);
/* How many of those there were. */
uint32_t net_timeouts(void);

/* Descriptors that the relay holds, listeners not counted. */
uint32_t net_fds_open(void);
