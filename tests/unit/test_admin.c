/* test_admin.c - the operator's door: requests and answers, and what unfriendly programs of one's own cannot do there.
 *
 * The house is made in process and its parts are stepped in turn, so that time is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/unix.h"
#include "relay/conn.h"
#include "relay/relay.h"

enum { CONNS = 6000, WORKERS = 2, PASSES_MAX = 100000 };

#define STATUS "{\"v\":1,\"cmd\":\"status\"}\n"
#define CLIENTS "{\"v\":1,\"cmd\":\"clients\"}\n"

static struct relay relay;  // too large for a stack
static struct relay_part parts[RELAY_THREADS_MAX];
static struct unix_listener listener;
static struct peer peers[CONNS];
static uint64_t now_ns;
static char folder[64], path[96], answer[4 << 20];

static int set_up(void **state) {
    (void)state;
    char why[RELAY_WHY_MAX];
    snprintf(folder, sizeof(folder), "/tmp/ringrelay-admin-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/s", folder);
    if (unix_listen(&listener, path, 0600, why) != 0) return -1;
    now_ns = 1000 * NS_PER_S;
    struct relay_options options = {
        .limits = {.connections_max = 2 * CONNS, .workers_count = WORKERS, .packet_memory_bytes = 4 << 20},
        .ring_features = RING_FEATURES_ALL,
        .rng_seed = 1,
        .admin = {.listen_fd = listener.fd, .is_on = true}};
    memset(&relay, 0, sizeof(relay));
    if (!relay_init(&relay, &options, now_ns, why)) fail_msg("%s", why);
    for (uint32_t i = 0; i < relay.threads_count; i++) {
        parts[i] = relay_part_at(&relay, i);
        if (ring_enable(parts[i].ring) != 0) return -1;
    }
    return ring_enable(relay.main_ring);
}

static int tear_down(void **state) {
    (void)state;
    unix_listener_remove(&listener);
    relay_fini(&relay);
    close(listener.fd);
    return rmdir(folder);
}

/* A pass of each thread. */
static void pass(void) {
    for (uint32_t i = 0; i < relay.threads_count; i++) {
        (void)parts[i].step(parts[i].state, now_ns);
        (void)parts[i].may_sleep(parts[i].state);
    }
}

static void passes(uint32_t count) {
    while (count-- > 0) pass();
}

static int dial(void) {
    int fd = unix_connect(path, NS_PER_S);
    assert_true(fd >= 0);
    return fd;
}

static void put(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT), strlen(text));
}

/* What comes up to the newline, and no more; false when the relay closes instead. */
static bool get(int fd) {
    size_t size = 0;
    for (uint32_t i = 0; i < PASSES_MAX; i++) {
        ssize_t got = recv(fd, answer + size, sizeof(answer) - size - 1, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return false;
        size += got > 0 ? (size_t)got : 0;
        answer[size] = 0;
        if (size > 0 && answer[size - 1] == '\n') return true;
        pass();
    }
    fail_msg("no answer, but: %s", answer);
    return false;
}

static json_t *parse_answer(void) {
    json_t *json = json_loads(answer, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL) fail_msg("not JSON: %s", answer);
    return json;
}

static bool is_ok(int fd, const char *request) {
    put(fd, request);
    assert_true(get(fd));
    json_t *json = parse_answer();
    bool is_fine = json_is_true(json_object_get(json, "ok"));
    assert_int_equal(json_integer_value(json_object_get(json, "v")), 1);
    json_decref(json);
    return is_fine;
}

static bool is_open(int fd) {
    char byte;
    passes(20);
    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Connections that only a list sees. */
static void fake_conns(uint32_t count) {
    memset(peers, 0, sizeof(peers));
    for (uint32_t i = 0; i < count; i++) {
        struct conn *conn = pool_take(&relay.workers[i % WORKERS]->conns);
        assert_non_null(conn);
        peers[i].key.bytes[0] = (uint8_t)i;
        conn->v.conn_id = i + 1;
        conn->r.peer = &peers[i];
        duplicates_join(&peers[i].conns, &conn->r.duplicate);
    }
}

/* ---- friendly ---- */

static void test_status(void **state) {
    (void)state;
    int fd = dial();
    assert_true(is_ok(fd, STATUS));
    json_t *json = parse_answer();
    assert_int_equal(json_array_size(json_object_get(json, "workers")), WORKERS);
    assert_int_equal(json_array_size(json_object_get(json, "threads")), THREAD_WORKERS);
    assert_true(json_is_null(json_object_get(json, "stun")));
    assert_int_equal(json_integer_value(json_object_get(json, "pid")), getpid());
    assert_true(json_is_null(json_object_get(json, "tls")));
    assert_true(json_is_null(json_object_get(json, "rate")));
    assert_int_equal(json_object_size(json_object_get(json, "drops")), DROP_REASON_COUNT);
    json_decref(json);
    close(fd);
}

static void test_list(void **state) {
    (void)state;
    fake_conns(CONNS);
    int fd = dial();
    assert_true(is_ok(fd, CLIENTS));
    json_t *json = parse_answer();
    json_t *clients = json_object_get(json, "clients");
    assert_int_equal(json_array_size(clients), CONNS);
    assert_int_equal(json_integer_value(json_object_get(json, "connections")), CONNS);
    static uint8_t seen[CONNS];
    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < CONNS; i++) {
        json_int_t id = json_integer_value(json_object_get(json_array_get(clients, i), "conn_id"));
        assert_in_range(id, 1, CONNS);
        assert_int_equal(seen[id - 1]++, 0);
    }
    json_decref(json);
    assert_true(is_ok(fd, "{\"v\":1,\"cmd\":\"clients\",\"key\":\"07\",\"limit\":5}\n"));
    json = parse_answer();
    assert_int_equal(json_array_size(json_object_get(json, "clients")), 5);
    assert_int_equal(json_integer_value(json_object_get(json, "matching")), (CONNS + 248) / 256);
    json_decref(json);
    close(fd);
}

static void test_no_clients(void **state) {
    (void)state;
    int fd = dial();
    assert_true(is_ok(fd, CLIENTS));
    assert_non_null(strstr(answer, "\"clients\":[]}"));
    close(fd);
}

/* Requests may come in pieces, and several at once. */
static void test_lines(void **state) {
    (void)state;
    int fd = dial();
    for (const char *at = STATUS; *at; at++) {
        put(fd, (char[]){*at, 0});
        pass();
    }
    assert_true(get(fd));
    put(fd, STATUS "nonsense\n" CLIENTS "{\"v\"");
    char all[65536] = "";
    for (size_t size = 0, i = 0; i < PASSES_MAX && strstr(all, "clients\":[]}\n") == NULL; i++) {
        ssize_t got = recv(fd, all + size, sizeof(all) - 1 - size, MSG_DONTWAIT);
        size += got > 0 ? (size_t)got : 0;
        pass();
    }
    const char *error = strstr(all, "not a JSON object");
    assert_true(error && strstr(all, "uptime_ns") < error && strstr(all, "clients\":[]}\n") > error);
    assert_true(is_ok(fd, ":1,\"cmd\":\"status\"}\n"));
    close(fd);
}

/* As from a pipe: the question, the end, and only then the reading of the answer. */
static void test_half_close(void **state) {
    (void)state;
    int fd = dial();
    put(fd, STATUS);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_true(get(fd));
    assert_false(get(fd));
    close(fd);
}

/* ---- unfriendly ---- */

static void test_errors_keep_the_connection(void **state) {
    (void)state;
    int fd = dial();
    assert_false(is_ok(fd, "\n"));
    assert_false(is_ok(fd, "{\"v\":1,\"cmd\":\"\\\"\\\\<\"}\n"));
    assert_true(is_ok(fd, STATUS));
    close(fd);
}

static void test_long_line(void **state) {
    (void)state;
    char giant[64 * 1024];
    memset(giant, 'x', sizeof(giant));
    giant[sizeof(giant) - 1] = 0;
    int fd = dial();
    put(fd, giant);
    assert_true(get(fd));
    assert_non_null(strstr(answer, "at most"));
    assert_false(get(fd));
    close(fd);
}

static void test_half_a_line_for_ever(void **state) {
    (void)state;
    int slow = dial(), other = dial();
    put(slow, "{\"v\":1");
    passes(20);
    for (uint32_t i = 0; i < ADMIN_READ_TIMEOUT_S - 1; i++) {
        now_ns += NS_PER_S;
        put(slow, " ");  // does not make it any younger
        assert_true(is_open(slow));
        assert_true(is_ok(other, STATUS));
    }
    now_ns += 2 * NS_PER_S;
    assert_false(is_open(slow));
    assert_true(is_open(other));
    close(slow);
    close(other);
}

static void test_crowd(void **state) {
    (void)state;
    int fds[3 * ADMIN_PLACES];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < array_count(fds); i++) {
            fds[i] = dial();
            passes(2);
        }
        int fd = dial();
        assert_true(is_ok(fd, STATUS));
        assert_true(is_ok(fd, CLIENTS));
        assert_true(is_open(fds[array_count(fds) - 1]));
        assert_false(is_open(fds[0]));
        close(fd);
        for (size_t i = 0; i < array_count(fds); i++) close(fds[i]);
        passes(20);
    }
}

/* A list is one reader's at a time: who takes nothing gives it up. */
static void test_slow_reader(void **state) {
    (void)state;
    fake_conns(CONNS);
    int slow = dial(), second = dial();
    put(slow, CLIENTS);
    passes(100);
    put(second, CLIENTS);
    passes(100);
    assert_true(is_open(second));
    int third = dial();
    assert_true(is_ok(third, STATUS));
    now_ns += (ADMIN_SEND_TIMEOUT_S + 1) * NS_PER_S;
    assert_true(get(second));
    json_t *json = parse_answer();
    assert_int_equal(json_array_size(json_object_get(json, "clients")), CONNS);
    json_decref(json);
    close(slow);
    close(second);
    close(third);
}

/* Taking a little now and then is not enough either. */
static void test_trickling_reader(void **state) {
    (void)state;
    static char little[64 * 1024];
    uint32_t seconds = 0;
    fake_conns(CONNS);
    int slow = dial(), second = dial();
    put(slow, CLIENTS);
    passes(100);
    put(second, CLIENTS);
    while (relay.admin->holder && seconds < 10 * ADMIN_HOLD_TIMEOUT_S && is_open(second)) {
        (void)recv(slow, little, sizeof(little), MSG_DONTWAIT);
        passes(20);
        now_ns += NS_PER_S;
        seconds++;
    }
    assert_in_range(seconds, ADMIN_HOLD_TIMEOUT_S, ADMIN_HOLD_TIMEOUT_S + ADMIN_SEND_TIMEOUT_S + 1);
    assert_true(get(second));
    close(slow);
    close(second);
}

/* The one whose list is under way goes; the next one gets a list of its own. */
static void test_gone_while_waiting(void **state) {
    (void)state;
    fake_conns(CONNS);
    for (uint32_t i = 0; i < ADMIN_CLIENTS_MAX - 1; i++) {
        int fd = dial();
        put(fd, CLIENTS);
        passes(i);
        close(fd);
    }
    int fd = dial();
    assert_true(is_ok(fd, CLIENTS));
    close(fd);
}

static void test_strangers(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(path, 0666), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setuid(65534) != 0) _exit(2);
        int fd = unix_connect(path, 5 * NS_PER_S);
        bool is_told = fd >= 0 && recv(fd, answer, sizeof(answer) - 1, 0) > 0 && strstr(answer, "only root");
        _exit(is_told && recv(fd, answer, sizeof(answer), 0) == 0 ? 0 : 1);
    }
    int status = -1;
    while (waitpid(child, &status, WNOHANG) == 0) pass();
    assert_int_equal(status, 0);
}

/* Stopping does not wait for anybody. */
static void test_stop(void **state) {
    (void)state;
    fake_conns(CONNS);
    int slow = dial();
    put(slow, CLIENTS);
    passes(3);
    relay_stop_office(&relay);
    pass();
    assert_true(*parts[THREAD_OFFICE].is_stopped);
    close(slow);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_status),
        TEST(test_list),
        TEST(test_no_clients),
        TEST(test_lines),
        TEST(test_half_close),
        TEST(test_errors_keep_the_connection),
        TEST(test_long_line),
        TEST(test_half_a_line_for_ever),
        TEST(test_crowd),
        TEST(test_slow_reader),
        TEST(test_trickling_reader),
        TEST(test_gone_while_waiting),
        TEST(test_strangers),
        TEST(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
