#include "core/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 16 };

#define BUSY_RETRY_NS NS_PER_S
#define BUSY_PAUSE_NS (100 * NS_PER_MS)  // each look is a connection that waits to be accepted

static int explain(char *why, int error, const char *format, ...) printf_like(3, 4);

static int explain(char *why, int error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, SYS_WHY_MAX, format, args);
    va_end(args);
    return error;
}

static bool address_of(const char *path, struct sockaddr_un *ret) {
    size_t size = strlen(path);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (size == 0 || size > UNIX_PATH_MAX_SIZE) return false;
    memcpy(ret->sun_path, path, size);
    return true;
}

static const struct sockaddr *plain(const struct sockaddr_un *address) { return (const void *)address; }

/* ---- one at a time ---- */

/* The folder's fd, locked; a negative errno. Whoever holds the lock is starting, and done in a moment. */
static int lock_folder(const char *path) {
    char folder[UNIX_PATH_MAX_SIZE + 1] = ".";
    const char *slash = strrchr(path, '/');
    if (slash) snprintf(folder, sizeof(folder), "%.*s", (int)max_of(slash - path, (ptrdiff_t)1), path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    int error = -errno;
    close(fd);
    return error;
}

/* ---- whose file is it? ---- */

enum whose { WHOSE_NOBODYS, WHOSE_OTHERS };

/* Does anybody answer at the path? A negative errno when that cannot be found out. */
static int whose(const struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int error = connect(fd, plain(address), sizeof(*address)) == 0 ? 0 : errno;
    close(fd);
    if (error == 0 || error == EAGAIN) return WHOSE_OTHERS;  // EAGAIN: more have connected than it has accepted
    return error == ECONNREFUSED ? WHOSE_NOBODYS : -error;
}

/* A predecessor that is ending, or was killed, may answer for a moment more: its ring still holds the socket. */
static int whose_at_last(const struct sockaddr_un *address) {
    uint64_t give_up_ns = sys_clock_ns() + BUSY_RETRY_NS;
    for (;;) {
        int owner = whose(address);
        if (owner < 0 || owner == WHOSE_NOBODYS || sys_clock_ns() >= give_up_ns) return owner;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
    }
}

/* 0 when nobody answers at the socket file that is there: then it is taken away. */
static int replace_stale(const struct sockaddr_un *address, char *why) {
    struct stat st;
    const char *path = address->sun_path;
    if (lstat(path, &st) != 0) return errno == ENOENT ? 0 : explain(why, -errno, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode)) {
        return explain(why, -EEXIST, "%s is there and is no socket: remove it, or choose another path", path);
    }
    int owner = whose_at_last(address);
    if (owner == -ENOENT) return 0;  // a predecessor has just taken it away
    if (owner < 0) return explain(why, owner, "%s: %s", path, strerror(-owner));
    if (owner != WHOSE_NOBODYS) {
        return explain(why, -EADDRINUSE, "somebody answers at %s already: stop that relay, or choose another path",
                       path);
    }
    return unlink(path) == 0 || errno == ENOENT
               ? 0
               : explain(why, -errno, "cannot replace the old %s: %s", path, strerror(errno));
}

/* The mode is set before there is a file, so that there never is one that more may open. */
static int bind_and_listen(int fd, const struct sockaddr_un *address, unsigned mode) {
    if (fchmod(fd, mode) != 0 || bind(fd, plain(address), sizeof(*address)) != 0) return -errno;
    return listen(fd, BACKLOG) == 0 ? 0 : -errno;
}

/* A bound socket holds its file's inode, so that the number stays its own even when somebody removes the file. */
static int note_file(struct unix_listener *listener) {
    struct stat st;
    if (lstat(listener->path, &st) != 0) return -errno;
    listener->device = st.st_dev;
    listener->number = st.st_ino;
    return 0;
}

static int listen_locked(struct unix_listener *ret, const struct sockaddr_un *address, unsigned mode, char *why) {
    int error = replace_stale(address, why);
    if (error) return error;
    *ret = (struct unix_listener){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    memcpy(ret->path, address->sun_path, sizeof(ret->path));
    error = ret->fd < 0 ? -errno : bind_and_listen(ret->fd, address, mode);
    if (error == 0) error = note_file(ret);
    if (error == 0) return 0;
    if (ret->fd >= 0) close(ret->fd);
    ret->fd = -1;
    return explain(why, error, "cannot listen at %s: %s", address->sun_path, strerror(-error));
}

int unix_listen(struct unix_listener *ret, const char *path, unsigned mode, char *why) {
    struct sockaddr_un address;
    if (!address_of(path, &address)) {
        return explain(why, -ENAMETOOLONG, "the path of a socket has 1 to %d bytes: choose a shorter one than %.80s",
                       UNIX_PATH_MAX_SIZE, path);
    }
    int lock = lock_folder(path);
    if (lock == -EWOULDBLOCK) return explain(why, lock, "another relay starts at %s at this moment: try again", path);
    if (lock < 0) {
        return explain(why, lock, "cannot listen at %s: its folder: %s; make it, or choose another path", path,
                       strerror(-lock));
    }
    int error = listen_locked(ret, &address, mode, why);
    close(lock);
    return error;
}

void unix_listener_remove(const struct unix_listener *listener) {
    struct stat st;
    if (lstat(listener->path, &st) != 0) return;
    if (st.st_dev != listener->device || st.st_ino != listener->number) return;
    (void)unlink(listener->path);  // why ignored: the next one replaces it
}

/* ---- the other side ---- */

int unix_connect(const char *path, uint64_t timeout_ns) {
    struct sockaddr_un address;
    struct timeval timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                              .tv_usec = (suseconds_t)(timeout_ns % NS_PER_S / NS_PER_US)};
    if (!address_of(path, &address)) return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    bool is_fine = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
                   setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
                   connect(fd, plain(&address), sizeof(address)) == 0;
    if (is_fine) return fd;
    int error = -errno;
    close(fd);
    return error;
}

int unix_peer_user(int fd, uint32_t *ret) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -errno;
    *ret = peer.uid;
    return 0;
}
