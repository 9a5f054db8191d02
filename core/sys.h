/* sys.h - Linux, apart from io_uring: sockets before they meet the ring, addresses, clock, limits of the process.
 *
 * Everything here is called at start, at accept or by a tool, never per packet. Functions that touch a file descriptor
 * of a connection have a twin in the simulator (tests/sim/sys_sim.c), so that the same front and worker run on both.
 * Errors: negative errno, and where an operator will read it a sentence in `why` (SYS_WHY_MAX bytes).
 */
#pragma once

#include "core/base.h"

#define SYS_WHY_MAX 256

/* An IP address and port. IPv4 is v4-mapped (::ffff:a.b.c.d), as DERP's PeerPresent writes it. Network order. */
struct net_address {
    uint8_t ip[16];
    uint16_t port; // host order
};

#define NET_ADDRESS_TEXT_MAX 64

/* "192.0.2.1:443" or "[2001:db8::1]:443". Returns `text`. */
const char *net_address_text(const struct net_address *address, char *text);

/* The address without port. */
const char *net_ip_text(const struct net_address *address, char *text);

/* Between this and the kernel's form. -EAFNOSUPPORT for what is neither IPv4 nor IPv6. `family` is AF_INET (the address
 * has to be IPv4 then) or AF_INET6; returns the size of what was written. */
struct sockaddr_storage;
must_use int net_address_from_kernel(const struct sockaddr_storage *from, struct net_address *ret);
unsigned net_address_to_kernel(const struct net_address *address, int family, struct sockaddr_storage *to);

bool net_address_is_ipv4(const struct net_address *address);

/* fe80::/10: means nothing without its interface. */
static inline bool net_ip_is_link_local(const uint8_t ip[16]) { return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80; }

bool net_address_is_loopback(const struct net_address *address);

/* Where to listen, as derper's -a spells it: ":3340", "127.0.0.1:3340", "[::1]:3340", "localhost:http" are accepted
 * forms in Go; here the host is empty (all addresses, IPv4 and IPv6 on one socket) or an IP literal, the port a number
 * (0: chosen by the kernel) or one of the names http, https. As in Go, 0.0.0.0 and [::] mean all addresses, too.
 * False and a sentence in `why` otherwise; then *ret is untouched. */
struct listen_address {
    struct net_address address;
    bool is_wildcard;  // host was empty, 0.0.0.0 or ::, dual stack
};
must_use bool listen_address_parse(const char *text, struct listen_address *ret, char *why);

/* libsodium, SIGPIPE ignored, file descriptor limit raised to the hard limit. Call first. Negative errno on failure. */
must_use int sys_init(void);

/* Monotonic time in ns: the `now_ns` of every loop pass. */
uint64_t sys_clock_ns(void);

/* Processor time of the calling thread in ns, user and system. A system call. */
uint64_t sys_thread_cpu_ns(void);

/* Seconds since 1970, for logs and metrics. */
uint64_t sys_wall_clock_s(void);

/* CPUs this process may run on, at least 1. A quota of CPU time (cgroup) does not count. */
unsigned sys_cpu_count(void);

/* Largest number of file descriptors this process may have (after sys_init). SIZE_MAX: no limit. */
size_t sys_fd_limit(void);

/* Number of file descriptors open now. */
size_t sys_fd_count(void);

/* What the kernel says of this process, for metrics. What cannot be read is 0. */
struct sys_process_usage {
    double cpu_s;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t virtual_max_bytes;  // UINT64_MAX: no limit
    uint64_t boot_wall_s;  // when the machine started
    uint64_t network_received_bytes;  // of the network namespace, not of the process alone
    uint64_t network_sent_bytes;
};
void sys_process_usage(struct sys_process_usage *ret);

/* Names the calling thread (at most 15 characters) and sets its nice value (0: unchanged). */
void sys_thread_describe(const char *name, int nice_value);

/* The calling thread asks for slices of this length (the kernel takes 0.1 to 100 ms): its share of the processor stays
 * what it was, but when it wakes it runs at once before threads with longer ones, instead of when the slice of one of
 * them ends, which may take until the next tick but one. A wish: kernels before 6.12 do nothing about it. */
void sys_thread_set_slice(uint64_t slice_ns);

/* Options of a DERP listener. They are set on the listening socket; accepted sockets inherit all of them, so that an
 * accept costs no further system call. Times in seconds or ms as named; docs/derp.md, "Timeouts and socket options". */
struct tcp_options {
    int keepalive_idle_s;  // 0: keep-alive off
    int keepalive_interval_s;
    int keepalive_count;
    unsigned user_timeout_ms;  // 0: the kernel's default
    unsigned notsent_lowat;  // bytes the kernel may hold unsent
};

/* A listening TCP socket (no MPTCP, SO_REUSEADDR, backlog somaxconn). *ret_fd is the fd, *ret_bound the address with
 * the real port. Retries a port that is busy for up to one second: a predecessor's ring may still hold it. A wildcard
 * is IPv4 alone on a host without IPv6; a literal IPv6 address is IPv6 alone. */
must_use int sys_listen_tcp(const struct listen_address *where, const struct tcp_options *options, int *ret_fd,
                            struct net_address *ret_bound, char *why);

enum udp_family {
    UDP_ANY_FAMILY,  // as sys_listen_tcp: a wildcard is IPv4 and IPv6 on one socket
    UDP_IPV4,  // a wildcard is 0.0.0.0
    UDP_IPV6,  // a wildcard is ::, and not IPv4
};

struct udp_listen {
    enum udp_family family;
    int kernel_bytes;  // of each direction: what the kernel may hold; beyond net.core.rmem_max only as root
    bool is_shared;  // others of ours may be, or are, bound to the same: the kernel gives each path to one of them
    bool joins;  // is_shared: one of ours is bound to it already; without, nobody may be
    bool has_runs;  // received as the kernel has them, several datagrams at once (ring.h)
};

/* A bound UDP socket whose datagrams tell to which address of this host they came. */
must_use int sys_listen_datagrams(const struct listen_address *where, const struct udp_listen *options, int *ret_fd,
                                  struct net_address *ret_bound, char *why);

/* Datagrams that the kernel has thrown away at this socket for want of room since it was made. Negative errno. */
must_use int sys_udp_overflows(int fd, uint32_t *ret);

/* A bound UDP socket, IPv4 and IPv6 on one for a wildcard as above, whose datagrams tell to which address of this host
 * they came. The kernel may hold `receive_buffer` bytes for it (at most net.core.rmem_max), which bounds bursts. */
must_use int sys_listen_udp(const struct listen_address *where, int receive_buffer, int *ret_fd,
                            struct net_address *ret_bound, char *why);

/* A TCP connection to a listener of this host, without Nagle's delay; `ret_local` is its own address, which the
 * listener sees as the other side's. Waits no longer than `timeout_ns` (on the loopback it does not wait, unless the
 * listener's queue is full). Negative errno on failure; -EINPROGRESS: the time was over. */
must_use int sys_connect_tcp(const struct net_address *to, uint64_t timeout_ns, int *ret_fd,
                             struct net_address *ret_local);

/* Address of the other side of a connected socket. Negative errno on failure. */
must_use int sys_peer_address(int fd, struct net_address *ret);

/* Bytes that were given to a TCP socket and not acknowledged by the other side. Negative errno on failure. */
must_use int64_t sys_tcp_unacknowledged(int fd);

/* Smoothed round-trip time of a TCP connection, by the kernel. Negative errno on failure. */
must_use int sys_tcp_rtt(int fd, uint32_t *ret_us);

/* Closes an fd that no ring knows. */
void sys_close(int fd);

/* Reads at most `size_max` bytes of a file into `to`; returns the size, or a negative errno (-EFBIG when larger). */
must_use ssize_t sys_file_read(const char *path, void *to, size_t size_max);

/* Writes a file atomically (temporary file beside it, fsync, rename) with `mode`; makes missing parent directories
 * (0777 less umask). Negative errno on failure, and then neither the temporary file nor a changed target is left behind
 * (only when the last step, fsync of the directory, fails, the new file is in place but may not survive a crash). */
must_use int sys_file_write(const char *path, const void *bytes, size_t size, unsigned mode);
