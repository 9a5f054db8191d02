#include "core/sys.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

#define BUSY_RETRY_NS NS_PER_S
#define BUSY_PAUSE_NS (20 * NS_PER_MS)

static void explain(char *why, const char *format, ...) printf_like(2, 3);

static void explain(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, SYS_WHY_MAX, format, args);
    va_end(args);
}

/* ---- addresses ---- */

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool net_address_is_ipv4(const struct net_address *address) {
    return memcmp(address->ip, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

bool net_address_is_loopback(const struct net_address *address) {
    if (net_address_is_ipv4(address)) return address->ip[12] == 127;
    return memcmp(address->ip, &in6addr_loopback, sizeof(address->ip)) == 0;
}

const char *net_ip_text(const struct net_address *address, char *text) {
    bool is_ipv4 = net_address_is_ipv4(address);
    const uint8_t *ip = address->ip + (is_ipv4 ? sizeof(mapped_prefix) : 0);
    const char *done = inet_ntop(is_ipv4 ? AF_INET : AF_INET6, ip, text, NET_ADDRESS_TEXT_MAX);
    CHECK(done != NULL);
    return text;
}

const char *net_address_text(const struct net_address *address, char *text) {
    char ip[NET_ADDRESS_TEXT_MAX];
    const char *format = net_address_is_ipv4(address) ? "%.46s:%u" : "[%.46s]:%u";
    (void)snprintf(text, NET_ADDRESS_TEXT_MAX, format, net_ip_text(address, ip), (unsigned)address->port);
    return text;
}

static void address_set_ipv4(struct net_address *address, const void *ipv4) {
    memcpy(address->ip, mapped_prefix, sizeof(mapped_prefix));
    memcpy(address->ip + sizeof(mapped_prefix), ipv4, 4);
}

int net_address_from_kernel(const struct sockaddr_storage *from, struct net_address *ret) {
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)from;
        address_set_ipv4(ret, &in->sin_addr);
        ret->port = ntohs(in->sin_port);
        return 0;
    }
    if (from->ss_family != AF_INET6) return -EAFNOSUPPORT;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)from;
    memcpy(ret->ip, &in6->sin6_addr, sizeof(ret->ip));
    ret->port = ntohs(in6->sin6_port);
    return 0;
}

unsigned net_address_to_kernel(const struct net_address *address, int family, struct sockaddr_storage *to) {
    memset(to, 0, sizeof(*to));
    to->ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)to;
        memcpy(&in->sin_addr, address->ip + sizeof(mapped_prefix), sizeof(in->sin_addr));
        in->sin_port = htons(address->port);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)to;
    memcpy(&in6->sin6_addr, address->ip, sizeof(address->ip));
    in6->sin6_port = htons(address->port);
    return sizeof(*in6);
}

/* ---- where to listen ---- */

/* The colon in front of the port, or NULL when there is none (those inside of brackets are the address's). */
static const char *port_colon(const char *text) {
    if (text[0] != '[') return strrchr(text, ':');
    const char *bracket = strchr(text, ']');
    return bracket != NULL && bracket[1] == ':' ? bracket + 1 : NULL;
}

static bool port_parse(const char *text, uint16_t *ret_port) {
    if (strcmp(text, "http") == 0 || strcmp(text, "https") == 0) {
        *ret_port = text[4] == 's' ? 443 : 80;
        return true;
    }
    size_t size = strlen(text);
    if (size == 0 || size > 5 || strspn(text, "0123456789") != size) return false;
    unsigned long port = strtoul(text, NULL, 10);
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

/* An IP literal, IPv6 with or without its brackets taken off. */
static bool ip_parse(const char *text, struct net_address *address) {
    struct in_addr ipv4;
    if (inet_pton(AF_INET, text, &ipv4) == 1) {
        address_set_ipv4(address, &ipv4);
        return true;
    }
    return inet_pton(AF_INET6, text, address->ip) == 1;
}

static bool ip_is_unspecified(const struct net_address *address) {
    static const uint8_t zeros[16];
    size_t skip = net_address_is_ipv4(address) ? sizeof(mapped_prefix) : 0;
    return memcmp(address->ip + skip, zeros, sizeof(zeros) - skip) == 0;
}

/* `host` is what stands in front of the port, not empty. */
static bool host_parse(const char *host, size_t size, struct net_address *address, char *why) {
    bool is_bracketed = host[0] == '[' && host[size - 1] == ']';
    char ip[NET_ADDRESS_TEXT_MAX];
    size_t ip_size = is_bracketed ? size - 2 : size;
    int shown = (int)min_of(size, (size_t)80);
    if (!is_bracketed && memchr(host, ':', size) != NULL) {
        explain(why, "\"%.*s\" is not a host: write an IPv6 address in brackets, as in [::1]:3340", shown, host);
        return false;
    }
    if (memchr(host, '%', size) != NULL) {
        explain(why, "\"%.*s\" names an interface, which is not supported: listen on all addresses, as in :3340", shown,
                host);
        return false;
    }
    if (ip_size < sizeof(ip)) {
        memcpy(ip, host + is_bracketed, ip_size);
        ip[ip_size] = 0;
        if (ip_parse(ip, address)) return true;
    }
    explain(
        why,
        "\"%.*s\" is not an IP address, and names are not looked up: write 127.0.0.1:3340, [::1]:3340, or :3340 for "
        "all addresses",
        shown, host);
    return false;
}

bool listen_address_parse(const char *text, struct listen_address *ret, char *why) {
    struct listen_address parsed = {.is_wildcard = true};
    const char *colon = port_colon(text);
    if (colon == NULL) {
        explain(why, "\"%.80s\" has no port: write :3340 for all addresses, or 127.0.0.1:3340 for one", text);
        return false;
    }
    if (!port_parse(colon + 1, &parsed.address.port)) {
        explain(why, "\"%.80s\" is not a port: write a number from 0 to 65535 (0: chosen by the kernel), http or https",
                colon + 1);
        return false;
    }
    if (colon != text) {
        if (!host_parse(text, (size_t)(colon - text), &parsed.address, why)) return false;
        parsed.is_wildcard = ip_is_unspecified(&parsed.address);
    }
    if (parsed.is_wildcard) memset(parsed.address.ip, 0, sizeof(parsed.address.ip));
    *ret = parsed;
    return true;
}

/* ---- the process ---- */

int sys_init(void) {
    if (sodium_init() < 0) return -EIO;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) != 0) return -errno;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return -errno;
    files.rlim_cur = files.rlim_max;
    // why ignored: the kernel refuses a hard limit above fs.nr_open; the soft limit serves, and sys_fd_limit tells it
    (void)setrlimit(RLIMIT_NOFILE, &files);
    return 0;
}

uint64_t sys_clock_ns(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t sys_thread_cpu_ns(void) {
    struct timespec used;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

uint64_t sys_wall_clock_s(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec;
}

unsigned sys_cpu_count(void) {
    cpu_set_t allowed;  // why: a container or taskset may leave us fewer than the machine has
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return (unsigned)CPU_COUNT(&allowed);
    long online = sysconf(_SC_NPROCESSORS_ONLN);  // more CPUs than a cpu_set_t has bits
    return online > 0 ? (unsigned)online : 1;
}

size_t sys_fd_limit(void) {
    struct rlimit files;
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    return files.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)files.rlim_cur;
}

/* Newer kernels (6.2) tell the number as the directory's size; walking 10,000 entries would take 13 ms of a thread that
 * has clients to see to. */
size_t sys_fd_count(void) {
    struct stat about;
    if (stat("/proc/self/fd", &about) == 0 && about.st_size > 0) return (size_t)about.st_size;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) return 0;
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count - 1;  // the one we looked through
}

void sys_thread_describe(const char *name, int nice_value) {
    char cut[16];
    (void)snprintf(cut, sizeof(cut), "%s", name);
    (void)pthread_setname_np(pthread_self(), cut);
    // why ignored: raising priority needs a privilege, and the relay works without it. On Linux 0 is this thread alone
    if (nice_value != 0) (void)setpriority(PRIO_PROCESS, 0, nice_value);
    // Sleeps are short and meant (core/pacer.h); the kernel's own slack is half of one. why ignored: it is a wish
    (void)prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
}

/* The kernel's struct sched_attr, in its first size; glibc has it since 2.41. */
struct thread_policy {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice_value;
    uint32_t priority;
    uint64_t runtime_ns;  // policies with fair shares: the slice
    uint64_t deadline_ns;
    uint64_t period_ns;
};

void sys_thread_set_slice(uint64_t slice_ns) {
    struct thread_policy policy = {0};
    if (syscall(SYS_sched_getattr, 0, &policy, sizeof(policy), 0) != 0) return;
    if (policy.policy != SCHED_OTHER && policy.policy != SCHED_BATCH) return;  // the operator knows better
    policy.runtime_ns = slice_ns;
    (void)syscall(SYS_sched_setattr, 0, &policy, 0);  // why ignored: it is a wish
}

/* ---- sockets ---- */

struct socket_option {
    int level;
    int name;
    int value;
    bool is_wanted;
};

static int tcp_options_set(int fd, const struct tcp_options *options) {
    bool has_keepalive = options->keepalive_idle_s > 0;
    const struct socket_option wanted[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1, true},
        {SOL_SOCKET, SO_KEEPALIVE, has_keepalive, true},
        {IPPROTO_TCP, TCP_KEEPIDLE, options->keepalive_idle_s, has_keepalive},
        {IPPROTO_TCP, TCP_KEEPINTVL, options->keepalive_interval_s, has_keepalive},
        {IPPROTO_TCP, TCP_KEEPCNT, options->keepalive_count, has_keepalive},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (int)options->user_timeout_ms, options->user_timeout_ms > 0},
        {IPPROTO_TCP, TCP_NODELAY, 1, true},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)options->notsent_lowat, options->notsent_lowat > 0},
    };
    for (size_t i = 0; i < array_count(wanted); i++) {
        const struct socket_option *option = &wanted[i];
        if (!option->is_wanted) continue;
        if (setsockopt(fd, option->level, option->name, &option->value, sizeof(option->value)) != 0) return -errno;
    }
    return 0;
}

/* A listener is of one of two kinds. */
struct transport {
    const struct tcp_options *tcp;
    const struct udp_listen *udp;  // one of both
};

/* Only root may have more than net.core.rmem_max and wmem_max. */
static int buffer_size_set(int fd, int forced, int plain, int bytes) {
    if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) == 0) return 0;
    return setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof(bytes)) != 0 ? -errno : 0;
}

static int udp_options_set(int fd, int family, const struct udp_listen *udp) {
    int yes = 1;
    int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    int name = family == AF_INET ? IP_PKTINFO : IPV6_RECVPKTINFO;
    // No SO_REUSEADDR: with it, two processes could have the same port, each without knowing of the other.
    if (setsockopt(fd, level, name, &yes, sizeof(yes)) != 0) return -errno;
    if (udp->joins && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) != 0) return -errno;
    if (udp->has_runs) (void)setsockopt(fd, SOL_UDP, UDP_GRO, &yes, sizeof(yes));  // without, they come singly
    if (udp->has_runs) (void)buffer_size_set(fd, SO_SNDBUFFORCE, SO_SNDBUF, udp->kernel_bytes);
    int forced = udp->is_shared ? SO_RCVBUFFORCE : SO_RCVBUF;
    return buffer_size_set(fd, forced, SO_RCVBUF, udp->kernel_bytes);
}

/* why after bind: bound without, the socket has the port to itself, or nobody has it. */
static int udp_share(int fd, const struct udp_listen *udp) {
    int yes = 1;
    if (!udp->is_shared || udp->joins) return 0;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) != 0 ? -errno : 0;
}

static int socket_name(int fd, struct net_address *ret) {
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) return -errno;
    return net_address_from_kernel(&name, ret);
}

static int socket_listen(int fd, int family, const struct listen_address *where, const struct transport *transport) {
    int error = transport->tcp ? tcp_options_set(fd, transport->tcp) : udp_options_set(fd, family, transport->udp);
    if (error) return error;
    if (family == AF_INET6) {
        int is_v6only = !where->is_wildcard || (transport->udp && transport->udp->family == UDP_IPV6);
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &is_v6only, sizeof(is_v6only)) != 0) return -errno;
    }
    struct sockaddr_storage name = {0};
    socklen_t size = net_address_to_kernel(&where->address, family, &name);
    if (bind(fd, (const struct sockaddr *)&name, size) != 0) return -errno;
    if (!transport->tcp) return udp_share(fd, transport->udp);
    return listen(fd, INT_MAX) != 0 ? -errno : 0;  // the kernel cuts this to net.core.somaxconn
}

/* One try with one family: the fd, or a negative errno. */
static int listen_once(const struct listen_address *where, int family, const struct transport *transport,
                       struct net_address *ret_bound) {
    // why named: with 0 some systems make it MPTCP, which lacks TCP_USER_TIMEOUT
    int fd = transport->tcp ? socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP)
                            : socket(family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0) return -errno;
    int error = socket_listen(fd, family, where, transport);
    if (!error) error = socket_name(fd, ret_bound);
    if (!error) return fd;
    sys_close(fd);
    return error;
}

/* Without IPv6 on the host (ipv6.disable=1, or a container without it) all addresses are those of IPv4. */
static int listen_any_family(const struct listen_address *where, const struct transport *transport,
                             struct net_address *ret_bound) {
    enum udp_family family = transport->udp ? transport->udp->family : UDP_ANY_FAMILY;
    if (family != UDP_ANY_FAMILY)
        return listen_once(where, family == UDP_IPV4 ? AF_INET : AF_INET6, transport, ret_bound);
    bool is_ipv4 = !where->is_wildcard && net_address_is_ipv4(&where->address);
    int fd = listen_once(where, is_ipv4 ? AF_INET : AF_INET6, transport, ret_bound);
    bool is_without_ipv6 = fd == -EAFNOSUPPORT || fd == -EPROTONOSUPPORT || fd == -EADDRNOTAVAIL;
    if (where->is_wildcard && is_without_ipv6) return listen_once(where, AF_INET, transport, ret_bound);
    return fd;
}

static int listen_with_retry(const struct listen_address *where, const struct transport *transport,
                             struct net_address *ret_bound) {
    uint64_t give_up_ns = sys_clock_ns() + BUSY_RETRY_NS;
    for (;;) {
        int fd = listen_any_family(where, transport, ret_bound);
        if (fd != -EADDRINUSE || sys_clock_ns() >= give_up_ns) return fd;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
    }
}

static const char *listen_remedy(int error) {
    switch (-error) {
        case EACCES:
            return "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE (systemd: "
                   "AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a higher port with -a";
        case EADDRINUSE: return "address in use: another process listens there; stop it or choose another port with -a";
        case EADDRNOTAVAIL: return "this host does not have that address; \"ip address\" lists those it has";
        case EAFNOSUPPORT: return "this host has no IPv6; choose an IPv4 address with -a";
        case EMFILE: return "too many open files; raise the limit (systemd: LimitNOFILE=)";
        default: return strerror(-error);
    }
}

/* ":port" for a wildcard. */
static const char *where_text(const struct listen_address *where, char *text) {
    if (!where->is_wildcard) return net_address_text(&where->address, text);
    (void)snprintf(text, NET_ADDRESS_TEXT_MAX, ":%u", (unsigned)where->address.port);
    return text;
}

int sys_listen_tcp(const struct listen_address *where, const struct tcp_options *options, int *ret_fd,
                   struct net_address *ret_bound, char *why) {
    struct net_address bound;
    int fd = listen_with_retry(where, &(struct transport){.tcp = options}, &bound);
    if (fd < 0) {
        char text[NET_ADDRESS_TEXT_MAX];
        explain(why, "cannot listen on %s: %s", where_text(where, text), listen_remedy(fd));
        return fd;
    }
    *ret_fd = fd;
    *ret_bound = bound;
    return 0;
}

int sys_listen_udp(const struct listen_address *where, int receive_buffer, int *ret_fd, struct net_address *ret_bound,
                   char *why) {
    return sys_listen_datagrams(where, &(struct udp_listen){.kernel_bytes = receive_buffer}, ret_fd, ret_bound, why);
}

int sys_udp_overflows(int fd, uint32_t *ret) {
    uint32_t figures[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(figures);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, figures, &size) != 0) return -errno;
    *ret = figures[SK_MEMINFO_DROPS];
    return 0;
}

int sys_listen_datagrams(const struct listen_address *where, const struct udp_listen *options, int *ret_fd,
                         struct net_address *ret_bound, char *why) {
    struct net_address bound;
    int fd = listen_with_retry(where, &(struct transport){.udp = options}, &bound);
    if (fd < 0) {
        char text[NET_ADDRESS_TEXT_MAX];
        explain(why, "cannot have UDP %s: %s", where_text(where, text),
                fd == -EADDRINUSE ? "another process has it" : strerror(-fd));
        return fd;
    }
    *ret_fd = fd;
    *ret_bound = bound;
    return 0;
}

/* SO_SNDTIMEO bounds connect, too; afterwards sends are nobody's to bound but their owner's. */
static int socket_connect(int fd, int family, const struct net_address *to, uint64_t timeout_ns) {
    struct timeval timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                              .tv_usec = (suseconds_t)(timeout_ns % NS_PER_S / NS_PER_US)};
    const struct timeval never = {0};
    struct sockaddr_storage name = {0};
    socklen_t size = net_address_to_kernel(to, family, &name);
    int yes = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) != 0 ||
        connect(fd, (const struct sockaddr *)&name, size) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof(never)) != 0) {
        return -errno;
    }
    return 0;
}

int sys_connect_tcp(const struct net_address *to, uint64_t timeout_ns, int *ret_fd, struct net_address *ret_local) {
    int family = net_address_is_ipv4(to) ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) return -errno;
    int error = socket_connect(fd, family, to, timeout_ns);
    if (!error) error = socket_name(fd, ret_local);
    if (!error) {
        *ret_fd = fd;
        return 0;
    }
    sys_close(fd);
    return error;
}

int sys_peer_address(int fd, struct net_address *ret) {
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    if (getpeername(fd, (struct sockaddr *)&name, &size) != 0) return -errno;
    return net_address_from_kernel(&name, ret);
}

int64_t sys_tcp_unacknowledged(int fd) {
    int bytes;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -errno;
}

int sys_tcp_rtt(int fd, uint32_t *ret_us) {
    struct tcp_info info;
    socklen_t size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -errno;
    *ret_us = info.tcpi_rtt;
    return 0;
}

void sys_close(int fd) {
    // why no retry: on Linux the fd is free even when close was interrupted, and may be somebody else's by now
    int error = close(fd) == 0 ? 0 : errno;
    CHECK(error != EBADF);
}

/* ---- files ---- */

/* Reads until `size` bytes are there or the file ends. */
static ssize_t read_fully(int fd, uint8_t *to, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, to + done, size - done);
        if (n == 0) break;
        if (n > 0) done += (size_t)n;
        if (n < 0 && errno != EINTR) return -errno;
    }
    return (ssize_t)done;
}

static int write_fully(int fd, const uint8_t *from, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, from, size);
        if (n < 0 && errno != EINTR) return -errno;
        if (n > 0) {
            from += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

ssize_t sys_file_read(const char *path, void *to, size_t size_max) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return -errno;
    ssize_t size = read_fully(fd, to, size_max);
    if (size == (ssize_t)size_max) {
        uint8_t beyond;
        ssize_t more = read_fully(fd, &beyond, 1);
        if (more != 0) size = more < 0 ? more : -EFBIG;
    }
    sys_close(fd);
    return size;
}

/* Makes the directories of `path` that are missing, the last component too. `path` is changed and restored. */
static int directories_make(char *path) {
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at != 0) continue;
        char end = *at;
        *at = 0;
        int error = mkdir(path, 0777) != 0 && errno != EEXIST ? -errno : 0;
        *at = end;
        if (error || end == 0) return error;
    }
}

static int directory_open(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* Opens the directory that `path` lies in, its first `parent_size` bytes, making it when missing. */
static int parent_open(const char *path, size_t parent_size) {
    if (parent_size == 0) return directory_open(path[0] == '/' ? "/" : ".");
    char parent[PATH_MAX];
    if (parent_size >= sizeof(parent)) return -ENAMETOOLONG;
    memcpy(parent, path, parent_size);
    parent[parent_size] = 0;
    int fd = directory_open(parent);
    if (fd != -ENOENT) return fd;
    int error = directories_make(parent);
    return error ? error : directory_open(parent);
}

/* Fills the new file `fd`. Mode last: until then nobody else may read it, and umask has no say. */
static int file_fill(int fd, const void *bytes, size_t size, unsigned mode) {
    int error = write_fully(fd, bytes, size);
    if (!error && fchmod(fd, (mode_t)mode) != 0) error = -errno;
    if (!error && fsync(fd) != 0) error = -errno;
    return error;
}

static int directory_sync(int dir_fd) {
    if (fsync(dir_fd) == 0) return 0;
    return errno == EINVAL ? 0 : -errno;  // why: some file systems cannot sync a directory and need not
}

/* Writes the file `name` of a directory under an unguessable name first, so that nobody can prepare a link there. */
static int file_replace(int dir_fd, const char *name, const void *bytes, size_t size, unsigned mode) {
    uint64_t random;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) return -EIO;
    char temporary[48];
    (void)snprintf(temporary, sizeof(temporary), ".ringrelay-%016llx.tmp", (unsigned long long)random);
    int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    int error = file_fill(fd, bytes, size, mode);
    // why looked at: a network file system may report a failed write only here
    if (close(fd) != 0 && errno != EINTR && !error) error = -errno;
    if (!error && renameat(dir_fd, temporary, dir_fd, name) != 0) error = -errno;
    if (!error) return directory_sync(dir_fd);
    (void)unlinkat(dir_fd, temporary, 0);
    return error;
}

int sys_file_write(const char *path, const void *bytes, size_t size, unsigned mode) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (name[0] == 0) return -EINVAL;
    int dir_fd = parent_open(path, slash != NULL ? (size_t)(slash - path) : 0);
    if (dir_fd < 0) return dir_fd;
    int error = file_replace(dir_fd, name, bytes, size, mode);
    sys_close(dir_fd);
    return error;
}
