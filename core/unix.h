/* unix.h - Unix sockets by path: the door for programs of this machine.
 *
 * A listening socket is a file. It stays when its process dies, so a file nobody answers at is replaced; one that is
 * answered at, for a second, is somebody else's and is not touched. Two that start at the same time are kept apart by a
 * lock on the folder, which is held only until the one listens.
 *
 * At start and by tools only. Threads: none of its own. Memory: none. Errors: negative errno, and where an operator
 * reads it a sentence in `why` (SYS_WHY_MAX bytes).
 */
#pragma once

#include "core/sys.h"

/* The longest path a Unix socket can have, without its NUL. */
enum { UNIX_PATH_MAX_SIZE = 107 };

struct unix_listener {
    int fd;
    uint64_t device, number;  // of the file; no other gets them while the fd is open
    char path[UNIX_PATH_MAX_SIZE + 1];
};

/* Listens at `path`, which gets this mode. The folder has to exist. */
must_use int unix_listen(struct unix_listener *ret, const char *path, unsigned mode, char *why);

/* Takes the file away, unless there is another one at the path by now. Before the fd is closed, and not here: a ring
 * may have it. Needs no socket of its own, so that a process that may open none can do it. */
void unix_listener_remove(const struct unix_listener *listener);

/* The fd of a blocking connection to `path`, whose reads and writes give up after `timeout_ns` each. */
must_use int unix_connect(const char *path, uint64_t timeout_ns);

/* The user of the process that connected, as the kernel knows it. */
must_use int unix_peer_user(int fd, uint32_t *ret);
