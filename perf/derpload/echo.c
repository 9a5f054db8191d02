#include "perf/derpload/echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "perf/load/place.h"

static void echo_all(int fd) {
    uint8_t bytes[64 * 1024];
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (;;) {
        ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
        for (ssize_t at = 0; at < size;) {
            ssize_t n = send(fd, bytes + at, (size_t)(size - at), MSG_NOSIGNAL);
            if (n < 0) return;
            at += n;
        }
        if (size == 0 || (size < 0 && errno != EINTR)) return;
    }
}

static void *echo_thread(void *arg) {
    struct echo *e = arg;
    char why[PLACE_WHY_MAX];
    (void)(place_pin(e->cpu, why) && (!e->is_realtime || place_realtime(why)));  // it was possible a moment ago
    int fd = accept4(e->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return NULL;
    echo_all(fd);
    close(fd);
    return NULL;
}

bool echo_start(struct echo *e, int cpu, bool is_realtime, char *why) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    *e = (struct echo){.cpu = cpu, .is_realtime = is_realtime};
    e->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_listening = e->fd >= 0 && bind(e->fd, (struct sockaddr *)&name, sizeof(name)) == 0 &&
                        listen(e->fd, 1) == 0 && getsockname(e->fd, (struct sockaddr *)&name, &size) == 0;
    int error = is_listening ? pthread_create(&e->thread, NULL, echo_thread, e) : errno;
    if (error != 0) {
        snprintf(why, ECHO_WHY_MAX, "the echo does not start: %s", strerror(error));
        if (e->fd >= 0) close(e->fd);
        return false;
    }
    e->port = ntohs(name.sin_port);
    return true;
}

void echo_join(struct echo *e) {
    shutdown(e->fd, SHUT_RDWR);  // an accept that nobody has come for ends, too
    pthread_join(e->thread, NULL);
    close(e->fd);
}
