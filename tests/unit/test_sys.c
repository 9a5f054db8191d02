/* test_sys.c - addresses and their texts, the listening socket and what accepted ones inherit, files, the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys.h"

#define EXIT_SKIP 77

/* Runs `body` in a child process, because it changes the process, and returns its exit status. */
static int in_child(int (*body)(void)) {
    pid_t child = fork();
    if (child == 0) _exit(body());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- addresses ---- */

struct text_case {
    uint8_t ip[16];
    uint16_t port;
    const char *text;
    const char *ip_text;
    bool is_ipv4;
    bool is_loopback;
};

static void test_address_text(void **state) {
    (void)state;
    const struct text_case cases[] = {
        {{[10] = 0xff, 0xff, 192, 0, 2, 1}, 443, "192.0.2.1:443", "192.0.2.1", true, false},
        {{[10] = 0xff, 0xff, 127, 9, 9, 9}, 0, "127.9.9.9:0", "127.9.9.9", true, true},
        {{[10] = 0xff, 0xff, 255, 255, 255, 255}, 65535, "255.255.255.255:65535", "255.255.255.255", true, false},
        {{0x20, 0x01, 0x0d, 0xb8, [15] = 1}, 443, "[2001:db8::1]:443", "2001:db8::1", false, false},
        {{[15] = 1}, 80, "[::1]:80", "::1", false, true},
        {{0}, 80, "[::]:80", "::", false, false},
        {{[10] = 0xff, 0xfe, 127, 0, 0, 1}, 1, "[::fffe:7f00:1]:1", "::fffe:7f00:1", false, false},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        const struct text_case *c = &cases[i];
        struct net_address address = {.port = c->port};
        char text[NET_ADDRESS_TEXT_MAX];
        memcpy(address.ip, c->ip, sizeof(address.ip));
        assert_string_equal(net_address_text(&address, text), c->text);
        assert_string_equal(net_ip_text(&address, text), c->ip_text);
        assert_int_equal(net_address_is_ipv4(&address), c->is_ipv4);
        assert_int_equal(net_address_is_loopback(&address), c->is_loopback);
    }
}

static void test_longest_address_fits(void **state) {
    (void)state;
    struct net_address address = {.port = 65535};
    char text[NET_ADDRESS_TEXT_MAX];
    memset(address.ip, 0xfe, sizeof(address.ip));
    assert_string_equal(net_address_text(&address, text), "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:65535");
}

struct listen_case {
    const char *text;
    const char *wanted;  // the address, or what `why` has to contain
    bool is_wildcard;
};

static void test_listen_address_forms(void **state) {
    (void)state;
    const struct listen_case cases[] = {
        {":3340", "[::]:3340", true},
        {":0", "[::]:0", true},
        {":65535", "[::]:65535", true},
        {":https", "[::]:443", true},
        {":http", "[::]:80", true},
        {"[::]:443", "[::]:443", true},
        {"0.0.0.0:443", "[::]:443", true},
        {"127.0.0.1:3340", "127.0.0.1:3340", false},
        {"192.0.2.7:http", "192.0.2.7:80", false},
        {"[::1]:3340", "[::1]:3340", false},
        {"[2001:db8:0:0::5]:https", "[2001:db8::5]:443", false},
        {"[::ffff:192.0.2.7]:1", "192.0.2.7:1", false},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct listen_address got;
        char why[SYS_WHY_MAX] = "", text[NET_ADDRESS_TEXT_MAX];
        assert_true(listen_address_parse(cases[i].text, &got, why));
        assert_string_equal(net_address_text(&got.address, text), cases[i].wanted);
        assert_int_equal(got.is_wildcard, cases[i].is_wildcard);
        assert_string_equal(why, "");
    }
}

static void test_listen_address_refusals(void **state) {
    (void)state;
    const struct listen_case cases[] = {
        {"", "has no port: write :3340", false},
        {"3340", "has no port", false},
        {"127.0.0.1", "has no port", false},
        {"[::1]", "has no port", false},
        {"[::1]3340", "has no port", false},
        {"[::1", "has no port", false},
        {":", "is not a port: write a number from 0 to 65535", false},
        {":65536", "is not a port", false},
        {":99999999999999999999", "is not a port", false},
        {":-1", "is not a port", false},
        {":+1", "is not a port", false},
        {": 1", "is not a port", false},
        {":1x", "is not a port", false},
        {":ssh", "is not a port", false},
        {"::1:3340", "write an IPv6 address in brackets", false},
        {"1:2:3", "write an IPv6 address in brackets", false},
        {"localhost:80", "names are not looked up: write 127.0.0.1:3340", false},
        {"localhost:http", "names are not looked up", false},
        {"[fe80::1%eth0]:80", "names an interface", false},
        {"[]:80", "is not an IP address", false},
        {"[localhost]:80", "is not an IP address", false},
        {"1.2.3:80", "is not an IP address", false},
        {"1.2.3.256:80", "is not an IP address", false},
        {" :80", "is not an IP address", false},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct listen_address got, before;
        char why[SYS_WHY_MAX] = "";
        memset(&got, 0x55, sizeof(got));
        memcpy(&before, &got, sizeof(got));
        assert_false(listen_address_parse(cases[i].text, &got, why));
        assert_memory_equal(&got, &before, sizeof(got));
        if (strstr(why, cases[i].wanted) == NULL) fail_msg("%s: %s", cases[i].text, why);
    }
}

static void test_listen_address_long_text_keeps_the_remedy(void **state) {
    (void)state;
    char text[1024], why[SYS_WHY_MAX];
    struct listen_address got;
    memset(text, 'x', sizeof(text));
    memcpy(text + sizeof(text) - 4, ":80", 4);
    assert_false(listen_address_parse(text, &got, why));
    assert_non_null(strstr(why, "or :3340 for all addresses"));
}

/* ---- sockets ---- */

static const struct tcp_options options = {
    .keepalive_idle_s = 611,
    .keepalive_interval_s = 17,
    .keepalive_count = 7,
    .user_timeout_ms = 15123,
    .notsent_lowat = 131072,
};

static struct listen_address where(const char *text) {
    struct listen_address address;
    char why[SYS_WHY_MAX];
    assert_true(listen_address_parse(text, &address, why));
    return address;
}

static int listen_on(const char *text, struct net_address *bound) {
    struct listen_address address = where(text);
    char why[SYS_WHY_MAX] = "";
    int fd = -1;
    if (sys_listen_tcp(&address, &options, &fd, bound, why) != 0) fail_msg("%s", why);
    return fd;
}

static bool has_ipv6(void) {
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0;
    if (fd >= 0) sys_close(fd);
    return has;
}

/* A client connected to a port of this host, or -1. */
static int connect_to(int family, uint16_t port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int error = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                                  : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    if (error == 0) return fd;
    sys_close(fd);
    return -1;
}

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void check_options(int fd) {
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);  // not MPTCP
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), options.keepalive_idle_s);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), options.keepalive_interval_s);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), options.keepalive_count);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), options.user_timeout_ms);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), options.notsent_lowat);
}

/* Connects and accepts with `family`; checks what the accepted socket inherited and says about its peer. */
static void check_accepted(int listener, int family, uint16_t port, const char *peer_ip) {
    int client = connect_to(family, port);
    assert_true(client >= 0);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    check_options(fd);
    struct net_address peer, client_name;
    char text[NET_ADDRESS_TEXT_MAX];
    assert_int_equal(sys_peer_address(fd, &peer), 0);
    assert_int_equal(sys_peer_address(client, &client_name), 0);
    uint32_t rtt_us = UINT32_MAX;
    assert_int_equal(sys_tcp_rtt(fd, &rtt_us), 0);
    assert_true(rtt_us < 1000000);
    assert_string_equal(net_ip_text(&peer, text), peer_ip);
    assert_true(net_address_is_loopback(&peer));
    assert_int_equal(client_name.port, port);
    sys_close(fd);
    sys_close(client);
}

static void test_accepted_sockets_inherit_options(void **state) {
    (void)state;
    struct net_address bound;
    int fd = listen_on("127.0.0.1:0", &bound);
    char text[NET_ADDRESS_TEXT_MAX];
    assert_string_equal(net_ip_text(&bound, text), "127.0.0.1");
    assert_int_not_equal(bound.port, 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    check_options(fd);
    check_accepted(fd, AF_INET, bound.port, "127.0.0.1");
    sys_close(fd);
}

static void test_options_may_be_off(void **state) {
    (void)state;
    struct tcp_options none = {0};
    struct listen_address address = where("127.0.0.1:0");
    struct net_address bound;
    char why[SYS_WHY_MAX];
    int fd;
    assert_int_equal(sys_listen_tcp(&address, &none, &fd, &bound, why), 0);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    sys_close(fd);
}

static void test_wildcard_is_dual_stack(void **state) {
    (void)state;
    struct net_address bound;
    int fd = listen_on(":0", &bound);
    check_accepted(fd, AF_INET, bound.port, "127.0.0.1");
    if (has_ipv6()) check_accepted(fd, AF_INET6, bound.port, "::1");
    sys_close(fd);
}

static void test_literal_ipv6_is_ipv6_alone(void **state) {
    (void)state;
    if (!has_ipv6()) skip();
    struct net_address bound;
    int fd = listen_on("[::1]:0", &bound);
    assert_int_equal(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    check_accepted(fd, AF_INET6, bound.port, "::1");
    sys_close(fd);
}

/* Makes socket(AF_INET6, …) fail from here on, as on a host that was booted without IPv6. */
static bool forbid_ipv6(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = array_count(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int listen_without_ipv6(void) {
    if (!forbid_ipv6()) return EXIT_SKIP;
    struct listen_address address = where(":0"), literal = where("[::1]:0");
    struct net_address bound;
    char why[SYS_WHY_MAX] = "";
    int fd;
    if (sys_listen_tcp(&address, &options, &fd, &bound, why) != 0) return 1;
    if (!net_address_is_ipv4(&bound) || bound.port == 0) return 2;
    if (option_of(fd, SOL_SOCKET, SO_DOMAIN) != AF_INET) return 3;
    if (connect_to(AF_INET, bound.port) < 0) return 4;
    if (sys_listen_tcp(&literal, &options, &fd, &bound, why) != -EAFNOSUPPORT) return 5;
    return strstr(why, "cannot listen on [::1]:0: this host has no IPv6") != NULL ? 0 : 6;
}

static void test_wildcard_without_ipv6(void **state) {
    (void)state;
    int status = in_child(listen_without_ipv6);
    if (status == EXIT_SKIP) skip();
    assert_int_equal(status, 0);
}

static void test_busy_port_is_explained(void **state) {
    (void)state;
    struct net_address bound, untouched = {.port = 7};
    int fd = listen_on("127.0.0.1:0", &bound), other = -7;
    char why[SYS_WHY_MAX] = "", wanted[SYS_WHY_MAX], text[NET_ADDRESS_TEXT_MAX];
    struct listen_address same = {.address = bound};
    assert_int_equal(sys_listen_tcp(&same, &options, &other, &untouched, why), -EADDRINUSE);
    (void)snprintf(wanted, sizeof(wanted),
                   "cannot listen on %s: address in use: another process listens there; "
                   "stop it or choose another port with -a",
                   net_address_text(&bound, text));
    assert_string_equal(why, wanted);
    assert_int_equal(other, -7);
    assert_int_equal(untouched.port, 7);
    sys_close(fd);
}

static void *listen_on_busy(void *argument) {
    const struct net_address *bound = argument;
    struct listen_address same = {.address = *bound};
    struct net_address again;
    char why[SYS_WHY_MAX];
    int fd = -1;
    return sys_listen_tcp(&same, &options, &fd, &again, why) == 0 ? (void *)(intptr_t)fd : NULL;
}

static void test_busy_port_that_gets_free_is_taken(void **state) {
    (void)state;
    struct net_address bound;
    int fd = listen_on("127.0.0.1:0", &bound);
    pthread_t waiter;
    void *other;
    assert_int_equal(pthread_create(&waiter, NULL, listen_on_busy, &bound), 0);
    sys_close(fd);
    assert_int_equal(pthread_join(waiter, &other), 0);
    assert_non_null(other);
    sys_close((int)(intptr_t)other);
}

static void test_foreign_address_is_explained(void **state) {
    (void)state;
    struct listen_address address = where("192.0.2.77:0");
    struct net_address bound;
    char why[SYS_WHY_MAX] = "";
    int fd, error = sys_listen_tcp(&address, &options, &fd, &bound, why);
    if (error == 0) {  // net.ipv4.ip_nonlocal_bind
        sys_close(fd);
        skip();
    }
    assert_int_equal(error, -EADDRNOTAVAIL);
    assert_non_null(strstr(why, "cannot listen on 192.0.2.77:0: this host does not have that address"));
}

static int listen_on_low_port(void) {
    if (geteuid() == 0 && setuid(65534) != 0) return EXIT_SKIP;
    struct listen_address address = where("127.0.0.1:80");
    struct net_address bound;
    char why[SYS_WHY_MAX] = "";
    int fd;
    if (sys_listen_tcp(&address, &options, &fd, &bound, why) != -EACCES)
        return EXIT_SKIP;  // ip_unprivileged_port_start
    return strstr(why,
                  "cannot listen on 127.0.0.1:80: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE") !=
                   NULL
               ? 0
               : 1;
}

static void test_low_port_is_explained(void **state) {
    (void)state;
    int status = in_child(listen_on_low_port);
    if (status == EXIT_SKIP) skip();
    assert_int_equal(status, 0);
}

static void test_failures_leak_no_descriptor(void **state) {
    (void)state;
    struct listen_address address = where("192.0.2.77:0");
    struct net_address bound;
    char why[SYS_WHY_MAX];
    size_t before = sys_fd_count();
    int fd = -1;
    if (sys_listen_tcp(&address, &options, &fd, &bound, why) == 0) sys_close(fd);
    assert_int_equal(sys_fd_count(), before);
}

static void test_peer_of_no_connection(void **state) {
    (void)state;
    struct net_address bound, peer;
    int fd = listen_on("127.0.0.1:0", &bound), pair[2];
    assert_int_equal(sys_peer_address(fd, &peer), -ENOTCONN);
    sys_close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    uint32_t rtt_us;
    assert_true(sys_tcp_rtt(pair[0], &rtt_us) < 0);
    assert_int_equal(sys_peer_address(pair[0], &peer), -EAFNOSUPPORT);
    sys_close(pair[0]);
    sys_close(pair[1]);
}

/* ---- files ---- */

static char directory[64];
static char path_buffer[512];

static int make_directory(void **state) {
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/ringrelay-test-XXXXXX");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static const char *path_of(const char *name) {
    (void)snprintf(path_buffer, sizeof(path_buffer), "%s/%s", directory, name);
    return path_buffer;
}

/* Entries of the directory; with `and_remove` it is emptied, one level deep. */
static size_t entries(bool and_remove) {
    size_t count = 0;
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        count++;
        if (and_remove) (void)remove(path_of(entry->d_name));
    }
    (void)closedir(dir);
    return count;
}

static int remove_directory(void **state) {
    (void)state;
    (void)entries(true);
    return rmdir(directory);
}

static unsigned mode_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void check_file(const char *name, const char *wanted, unsigned mode) {
    char bytes[64];
    ssize_t size = sys_file_read(path_of(name), bytes, sizeof(bytes));
    assert_int_equal(size, (ssize_t)strlen(wanted));
    assert_memory_equal(bytes, wanted, strlen(wanted));
    assert_int_equal(mode_of(path_of(name)), mode);
}

static void test_file_write_and_replace(void **state) {
    (void)state;
    assert_int_equal(sys_file_write(path_of("f"), "secret", 6, 0600), 0);
    check_file("f", "secret", 0600);
    mode_t umask_before = umask(0077);
    assert_int_equal(sys_file_write(path_of("f"), "new", 3, 0644), 0);
    check_file("f", "new", 0644);  // exactly, whatever umask says
    (void)umask(umask_before);
    assert_int_equal(sys_file_write(path_of("f"), "", 0, 0400), 0);
    check_file("f", "", 0400);
    assert_int_equal(entries(false), 1);
}

static void test_file_write_replaces_a_link_itself(void **state) {
    (void)state;
    assert_int_equal(sys_file_write(path_of("target"), "old", 3, 0600), 0);
    assert_int_equal(symlink("target", path_of("link")), 0);
    assert_int_equal(sys_file_write(path_of("link"), "new", 3, 0600), 0);
    check_file("target", "old", 0600);
    check_file("link", "new", 0600);
}

static void test_file_write_makes_parents(void **state) {
    (void)state;
    assert_int_equal(sys_file_write(path_of("a//b/c"), "x", 1, 0600), 0);
    check_file("a/b/c", "x", 0600);
    mode_t mask = umask(0);
    (void)umask(mask);
    assert_int_equal(mode_of(path_of("a")), 0777 & ~mask);
    assert_int_equal(unlink(path_of("a/b/c")), 0);
    assert_int_equal(rmdir(path_of("a/b")), 0);
}

static void test_file_write_without_directory_part(void **state) {
    (void)state;
    char before[512];
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(directory), 0);
    assert_int_equal(sys_file_write("plain", "x", 1, 0600), 0);
    assert_int_equal(chdir(before), 0);
    check_file("plain", "x", 0600);
}

static void test_file_write_failure_leaves_nothing(void **state) {
    (void)state;
    assert_int_equal(mkdir(path_of("d"), 0700), 0);
    assert_int_equal(sys_file_write(path_of("d"), "x", 1, 0600), -EISDIR);
    assert_int_equal(sys_file_write(path_of("d/"), "x", 1, 0600), -EINVAL);
    assert_int_equal(sys_file_write("", "x", 1, 0600), -EINVAL);
    assert_int_equal(entries(false), 1);
    assert_int_equal(sys_file_write(path_of("f"), "x", 1, 0600), 0);
    size_t fds = sys_fd_count();
    assert_int_equal(sys_file_write(path_of("f/below"), "x", 1, 0600), -ENOTDIR);
    assert_int_equal(sys_file_write(path_of("f/far/below"), "x", 1, 0600), -ENOTDIR);
    check_file("f", "x", 0600);
    assert_int_equal(entries(false), 2);
    assert_int_equal(sys_fd_count(), fds);
}

/* A disk that is full, in the shape of a limit of the process. */
static int write_beyond_the_limit(void) {
    static const uint8_t bytes[8192];
    if (sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL) != 0) return EXIT_SKIP;
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 4096, .rlim_max = 4096}) != 0) return EXIT_SKIP;
    return sys_file_write(path_of("f"), bytes, sizeof(bytes), 0600) == -EFBIG ? 0 : 1;
}

static void test_file_write_to_a_full_disk(void **state) {
    (void)state;
    assert_int_equal(sys_file_write(path_of("f"), "old", 3, 0600), 0);
    int status = in_child(write_beyond_the_limit);
    if (status == EXIT_SKIP) skip();
    assert_int_equal(status, 0);
    check_file("f", "old", 0600);
    assert_int_equal(entries(false), 1);
}

static void test_file_read_sizes(void **state) {
    (void)state;
    char bytes[8];
    assert_int_equal(sys_file_write(path_of("f"), "12345678", 8, 0600), 0);
    assert_int_equal(sys_file_read(path_of("f"), bytes, 8), 8);
    assert_int_equal(sys_file_read(path_of("f"), bytes, 7), -EFBIG);
    assert_int_equal(sys_file_read(path_of("f"), bytes, 0), -EFBIG);
    assert_int_equal(sys_file_read(path_of("none"), bytes, 8), -ENOENT);
    assert_int_equal(sys_file_read(directory, bytes, 8), -EISDIR);
}

/* ---- the process ---- */

static int raise_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_max <= 100) return EXIT_SKIP;
    rlim_t hard = files.rlim_max;
    files.rlim_cur = 100;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || sys_fd_limit() != 100) return 1;
    if (sys_init() != 0) return 2;
    size_t wanted = hard == RLIM_INFINITY ? SIZE_MAX : (size_t)hard;
    if (sys_fd_limit() != wanted) return 3;
    struct sigaction action;
    return sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN ? 0 : 4;
}

static void test_init_raises_the_limit_and_ignores_sigpipe(void **state) {
    (void)state;
    int status = in_child(raise_limit);
    if (status == EXIT_SKIP) skip();
    assert_int_equal(status, 0);
}

static void test_fd_count(void **state) {
    (void)state;
    size_t before = sys_fd_count();
    assert_true(before >= 1);
    int fd = dup(STDERR_FILENO);
    assert_int_equal(sys_fd_count(), before + 1);
    sys_close(fd);
    assert_int_equal(sys_fd_count(), before);
}

static void test_clocks_and_cpus(void **state) {
    (void)state;
    uint64_t first_ns = sys_clock_ns();
    assert_true(first_ns > 0);
    assert_true(sys_clock_ns() >= first_ns);
    assert_true(sys_wall_clock_s() > 1700000000);
    assert_in_range(sys_cpu_count(), 1, 100000);
}

static void *describe(void *argument) {
    sys_thread_describe("a name that is too long", 5);
    (void)pthread_getname_np(pthread_self(), argument, 16);
    return (void *)(intptr_t)getpriority(PRIO_PROCESS, 0);
}

static void test_thread_describe_is_for_one_thread(void **state) {
    (void)state;
    int own_nice = getpriority(PRIO_PROCESS, 0);
    if (own_nice > 5) skip();
    pthread_t thread;
    char name[16];
    void *nice_value;
    assert_int_equal(pthread_create(&thread, NULL, describe, name), 0);
    assert_int_equal(pthread_join(thread, &nice_value), 0);
    assert_string_equal(name, "a name that is ");
    assert_int_equal((intptr_t)nice_value, 5);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own_nice);
}

/* As the kernel's struct sched_attr has them; runtime_ns is 0 where it does not know slices. */
struct policy {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice_value;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static struct policy own_policy(void) {
    struct policy policy = {0};
    assert_int_equal(syscall(SYS_sched_getattr, 0, &policy, sizeof(policy), 0), 0);
    return policy;
}

static void *slice(void *ret) {
    sys_thread_describe("brief", 5);
    sys_thread_set_slice(300 * NS_PER_US);
    *(struct policy *)ret = own_policy();
    return NULL;
}

static void test_thread_slice_is_for_one_thread(void **state) {
    (void)state;
    struct policy before = own_policy(), theirs;
    if (before.policy != 0 || before.nice_value > 5) skip();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, slice, &theirs), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(theirs.policy, before.policy);
    assert_int_equal(theirs.nice_value, 5);
    if (before.runtime_ns > 0) assert_int_equal(theirs.runtime_ns, 300 * NS_PER_US);
    assert_int_equal(own_policy().runtime_ns, before.runtime_ns);
}

static void test_process_usage(void **state) {
    (void)state;
    struct sys_process_usage first, second;
    sys_process_usage(&first);
    sys_process_usage(&second);
    assert_true(second.cpu_s >= first.cpu_s && second.cpu_s < 3600);
    assert_true(first.resident_bytes > 0 && first.resident_bytes <= first.virtual_bytes);
    assert_true(first.virtual_bytes <= first.virtual_max_bytes);
    assert_true(first.boot_wall_s <= sys_wall_clock_s() && second.boot_wall_s - first.boot_wall_s <= 1);
    assert_true(second.network_received_bytes >= first.network_received_bytes);
}

#define WITH_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

/* Each end sees the other's name; a listener whose queue is full is waited for no longer than was said. */
static void test_connect_tcp(void **state) {
    (void)state;
    struct listen_address where = {.address = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}};
    struct net_address bound, local, remote;
    char why[SYS_WHY_MAX];
    int listener, fd, fds[8];
    struct timeval timeout;
    socklen_t size = sizeof(timeout);
    assert_int_equal(sys_listen_tcp(&where, &(struct tcp_options){0}, &listener, &bound, why), 0);
    assert_int_equal(sys_connect_tcp(&bound, NS_PER_S, &fd, &local), 0);
    int accepted = accept(listener, NULL, NULL);
    assert_int_equal(sys_peer_address(accepted, &remote), 0);
    assert_memory_equal(&remote, &local, sizeof(local));
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &size), 0);
    assert_true(timeout.tv_sec == 0 && timeout.tv_usec == 0);
    close(accepted);
    close(fd);
    assert_int_equal(listen(listener, 0), 0);
    uint64_t begun_ns = sys_clock_ns();
    int rc = 0;
    size_t opened = 0;
    while (opened < array_count(fds) && (rc = sys_connect_tcp(&bound, 5 * NS_PER_MS, &fds[opened], &local)) == 0) {
        opened++;
    }
    assert_int_equal(rc, -EINPROGRESS);
    assert_true(sys_clock_ns() - begun_ns < NS_PER_S);
    while (opened > 0) close(fds[--opened]);
    close(listener);
    assert_int_equal(sys_connect_tcp(&bound, NS_PER_S, &fd, &local), -ECONNREFUSED);
}

int main(void) {
    if (sys_init() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_text),
        cmocka_unit_test(test_connect_tcp),
        cmocka_unit_test(test_process_usage),
        cmocka_unit_test(test_longest_address_fits),
        cmocka_unit_test(test_listen_address_forms),
        cmocka_unit_test(test_listen_address_refusals),
        cmocka_unit_test(test_listen_address_long_text_keeps_the_remedy),
        cmocka_unit_test(test_accepted_sockets_inherit_options),
        cmocka_unit_test(test_options_may_be_off),
        cmocka_unit_test(test_wildcard_is_dual_stack),
        cmocka_unit_test(test_literal_ipv6_is_ipv6_alone),
        cmocka_unit_test(test_wildcard_without_ipv6),
        cmocka_unit_test(test_busy_port_is_explained),
        cmocka_unit_test(test_busy_port_that_gets_free_is_taken),
        cmocka_unit_test(test_foreign_address_is_explained),
        cmocka_unit_test(test_low_port_is_explained),
        cmocka_unit_test(test_failures_leak_no_descriptor),
        cmocka_unit_test(test_peer_of_no_connection),
        WITH_DIRECTORY(test_file_write_and_replace),
        WITH_DIRECTORY(test_file_write_replaces_a_link_itself),
        WITH_DIRECTORY(test_file_write_makes_parents),
        WITH_DIRECTORY(test_file_write_without_directory_part),
        WITH_DIRECTORY(test_file_write_failure_leaves_nothing),
        WITH_DIRECTORY(test_file_write_to_a_full_disk),
        WITH_DIRECTORY(test_file_read_sizes),
        cmocka_unit_test(test_init_raises_the_limit_and_ignores_sigpipe),
        cmocka_unit_test(test_fd_count),
        cmocka_unit_test(test_clocks_and_cpus),
        cmocka_unit_test(test_thread_describe_is_for_one_thread),
        cmocka_unit_test(test_thread_slice_is_for_one_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
