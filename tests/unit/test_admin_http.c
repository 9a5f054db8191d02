/* test_admin_http.c - the UDP relay at the operator's door: its endpoints asked for, listed and ended, by lines and by
 * HTTP. The house is made in process and stepped; its clients stay unbound.
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
#include <unistd.h>

#include "core/unix.h"
#include "proto/gojson.h"
#include "relay/relay.h"

enum { ENDPOINTS_MAX = 8192, MANY = 3000, PASSES_MAX = 100000 };

#define KEY_A "discokey:0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
#define KEY_B "discokey:7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14"
#define BODY "{\"DiscoKeys\":[\"" KEY_A "\",\"" KEY_B "\"]}"
#define POST "POST /v0/relay/endpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 167\r\n\r\n" BODY
#define SESSIONS "GET /localapi/v0/debug-peer-relay-sessions HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\r\n"
#define ENDPOINTS "{\"v\":1,\"cmd\":\"endpoints\"}\n"

_Static_assert(sizeof(BODY) - 1 == 167, "the Content-Length above");

static struct relay relay;  // too large for a stack
static struct relay_part parts[RELAY_THREADS_MAX];
static struct unix_listener listener;
static uint64_t now_ns;
static char folder[64], path[96], answer[4 << 20];

static int make_house(uint32_t endpoints_max) {
    char why[RELAY_WHY_MAX];
    snprintf(folder, sizeof(folder), "/tmp/ringrelay-admin-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/s", folder);
    if (unix_listen(&listener, path, 0600, why) != 0) return -1;
    now_ns = 1000 * NS_PER_S;
    static struct udp_sockets none;
    memset(none.fds, 0xff, sizeof(none.fds));
    struct relay_options options = {
        .limits = {.connections_max = 16,
                   .udp_workers_count = endpoints_max > 0,
                   .workers_count = 1,
                   .packet_memory_bytes = 4 << 20,
                   .endpoints_max = endpoints_max,
                   .unbound_max = endpoints_max},
        .ring_features = RING_FEATURES_ALL,
        .rng_seed = 1,
        .udp = &none,
        .reach = {.fixed = {.addresses = {{.ip = {[10] = 0xff, 0xff, 192, 0, 2, 1}, .port = 7}},
                            .count = endpoints_max > 0},
                  .has_no_discovery = true},
        .addresses = {.relay_port = 41641, .relay_bound = 41641},
        .admin = {.listen_fd = listener.fd, .is_on = true}};
    memset(&relay, 0, sizeof(relay));
    if (!relay_init(&relay, &options, now_ns, why)) fail_msg("%s", why);
    for (uint32_t i = 0; i < relay.threads_count; i++) {
        parts[i] = relay_part_at(&relay, i);
        if (ring_enable(parts[i].ring) != 0) return -1;
    }
    return ring_enable(relay.main_ring);
}

static int set_up(void **state) {
    (void)state;
    return make_house(ENDPOINTS_MAX);
}

static int set_up_without(void **state) {
    (void)state;
    return make_house(0);
}

static int tear_down(void **state) {
    (void)state;
    unix_listener_remove(&listener);
    relay_fini(&relay);
    close(listener.fd);
    return rmdir(folder);
}

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

/* What comes until it ends with `end`; NULL: until the relay closes. */
static size_t get(int fd, const char *end) {
    size_t size = 0;
    for (uint32_t i = 0; i < PASSES_MAX; i++) {
        ssize_t got = recv(fd, answer + size, sizeof(answer) - size - 1, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            if (end) fail_msg("closed behind: %s", answer);
            return size;
        }
        size += got > 0 ? (size_t)got : 0;
        answer[size] = 0;
        size_t wanted = end ? strlen(end) : SIZE_MAX;
        if (size >= wanted && strcmp(answer + size - wanted, end) == 0) return size;
        pass();
    }
    fail_msg("no answer, but: %s", answer);
    return 0;
}

static bool is_open(int fd) {
    char byte;
    passes(20);
    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* The status of one request whose answer ends the connection or with `end`. */
static int status_of(int fd, const char *request, const char *end) {
    put(fd, request);
    (void)get(fd, end);
    assert_memory_equal(answer, "HTTP/1.1 ", 9);
    return (int)strtol(answer + 9, NULL, 10);
}

static int status_and_close(const char *request) {
    int fd = dial();
    int status = status_of(fd, request, NULL);
    close(fd);
    return status;
}

static json_t *body_of_answer(void) {
    const char *body = strstr(answer, "\r\n\r\n");
    json_error_t error;
    json_t *json = json_loads(body ? body : answer, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) fail_msg("%s: %.200s", error.text, answer);
    return json;
}

static void fill(unsigned count) {
    struct rng rng;
    struct metrics metrics = {0};
    rng_init_seeded(&rng, 7);
    for (unsigned i = 0; i < count; i++) {
        struct allocator_request request;
        struct allocator_answer got;
        memset(&request, 0, sizeof(request));
        rng_bytes(&rng, request.clients, sizeof(request.clients));
        assert_true(allocator_allocate(relay.allocator, &request, &metrics, now_ns, &got));
    }
}

/* ---- HTTP ---- */

static void test_post(void **state) {
    (void)state;
    int fd = dial();
    assert_int_equal(status_of(fd, POST, "}\n"), 200);
    assert_non_null(strstr(answer, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(answer, "\"LamportID\":1,\"AddrPorts\":[\"192.0.2.1:7\"],"));
    assert_null(strstr(answer, "Connection: close"));
    assert_int_equal(status_of(fd, POST, "}\n"), 200);  // the connection lives on, and takes lines as well
    put(fd, ENDPOINTS);
    (void)get(fd, "]}\n");
    json_t *json = body_of_answer();
    assert_int_equal(json_integer_value(json_object_get(json, "connecting")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "endpoints")), 1);
    json_decref(json);
    assert_true(is_open(fd));
    close(fd);
}

static void test_pieces(void **state) {
    (void)state;
    int fd = dial();
    for (const char *at = POST; *at; at++) {
        put(fd, (char[]){*at, 0});
        pass();
    }
    (void)get(fd, "}\n");
    assert_non_null(strstr(answer, "200 OK"));
    put(fd, POST POST ENDPOINTS);
    (void)get(fd, "]}]}\n");
    const char *first = strstr(answer, "200 OK"), *second = first ? strstr(first + 1, "200 OK") : NULL;
    assert_non_null(second);
    assert_non_null(strstr(second, "\"ok\":true"));
    close(fd);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *request;
        int status;
        const char *words;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, "debug-peer-relay-sessions"},
        {"POST /v0/relay/endpoint/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, "there are"},
        {"GET /v0/relay/endpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405, "Allow: POST\r\n"},
        {"POST /v0/relay/endpoint HTTP/1.0\r\n\r\n", 400, "no JSON"},
        {"POST /v0/relay/endpoint HTTP/1.0\r\nContent-Length: 513\r\n\r\n{", 400, "at most 512"},
        {"POST /v0/relay/endpoint HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "Content-Length"},
        {"POST /localapi/v0/debug-peer-relay-sessions HTTP/1.1\r\nHost: x\r\n\r\n", 405, "GET required"},
        {"GET /localapi/v0/debug-peer-relay-sessions HTTP/1.1\r\n\r\n", 400, "Bad Request"},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "Bad Request"},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        int status = status_and_close(rows[i].request);
        if (status != rows[i].status || strstr(answer, rows[i].words) == NULL)
            fail_msg("%s: %s", rows[i].request, answer);
    }
}

/* What looks like HTTP only from afar is a line. */
static void test_lines_beside(void **state) {
    (void)state;
    static const char *const lines[] = {"HTTP/1.1\n", "get / HTTP/1.1\n", "GET / HTTP/2\n", "GET /\r\n",
                                        "{ HTTP/1.1\n"};
    int fd = dial();
    for (size_t i = 0; i < array_count(lines); i++) {
        put(fd, lines[i]);
        (void)get(fd, "}\n");
        assert_non_null(strstr(answer, "not a JSON object"));
    }
    close(fd);
}

static void test_long_head(void **state) {
    (void)state;
    static char request[ADMIN_REQUEST_MAX + 256];
    int size = snprintf(request, sizeof(request), "POST /v0/relay/endpoint HTTP/1.1\r\nHost: x\r\nX: ");
    memset(request + size, 'x', sizeof(request) - 1 - (size_t)size);
    assert_int_equal(status_and_close(request), 431);
    /* The head fits, and its body does not. */
    snprintf(request + ADMIN_REQUEST_MAX - 100, 300, "\r\nContent-Length: 167\r\n\r\n%s", BODY);
    assert_int_equal(status_and_close(request), 431);
}

static void test_half_a_request_for_ever(void **state) {
    (void)state;
    int fd = dial();
    put(fd, "POST /v0/relay/endpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 167\r\n\r\n{");
    assert_true(is_open(fd));
    now_ns += (ADMIN_READ_TIMEOUT_S + 1) * NS_PER_S;
    assert_false(is_open(fd));
    close(fd);
}

/* ---- Tailscale's status ---- */

static void test_sessions(void **state) {
    (void)state;
    assert_int_equal(status_and_close(SESSIONS), 200);
    assert_non_null(strstr(answer, "\r\n\r\n{\"UDPPort\":41641,\"Sessions\":[]}"));
    assert_int_equal(status_and_close("POST /v0/relay/endpoint HTTP/1.0\r\nContent-Length: 167\r\n\r\n" BODY), 200);
    assert_int_equal(status_and_close(SESSIONS), 200);
    const char *vni = strstr(answer, "\"VNI\":");
    assert_non_null(vni);
    char wanted[512];
    snprintf(wanted, sizeof(wanted),
             "{\"UDPPort\":41641,\"Sessions\":[{\"VNI\":%ld,\"Client1\":{\"Endpoint\":\"\",\"ShortDisco\":"
             "\"d:0faa684ed28867b9\",\"PacketsTx\":0,\"BytesTx\":0},\"Client2\":{\"Endpoint\":\"\",\"ShortDisco\":"
             "\"d:7b0d47d93427f831\",\"PacketsTx\":0,\"BytesTx\":0}}]}",
             strtol(vni + 6, NULL, 10));
    assert_string_equal(strstr(answer, "\r\n\r\n") + 4, wanted);
}

static void test_many(void **state) {
    (void)state;
    static const char *const members[] = {"Sessions", "endpoints"};
    fill(MANY);
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        put(fd, i ? ENDPOINTS : SESSIONS);
        (void)get(fd, i ? "]}\n" : NULL);
        json_t *json = body_of_answer(), *list = json_object_get(json, members[i]), *one;
        assert_int_equal(json_array_size(list), MANY);
        static bool seen[1 << 24];
        memset(seen, 0, sizeof(seen));
        size_t k;
        json_array_foreach(list, k, one) {
            json_int_t vni = json_integer_value(json_object_get(one, i ? "vni" : "VNI"));
            assert_in_range(vni, 1, (1 << 24) - 1);
            assert_false(seen[vni]);
            seen[vni] = true;
        }
        json_decref(json);
        close(fd);
    }
}

/* Who does not take his list is closed; others are served meanwhile, and a list costs a pass little. */
static void test_slow_reader(void **state) {
    (void)state;
    fill(MANY);
    int slow = dial(), other = dial();
    put(slow, SESSIONS);
    passes(100);
    assert_int_equal(status_of(other, POST, "}\n"), 200);
    now_ns += (ADMIN_SEND_TIMEOUT_S + 1) * NS_PER_S;
    size_t size = 0;
    for (ssize_t got; passes(5), (got = recv(slow, answer, sizeof(answer), MSG_DONTWAIT)) != 0;) {
        assert_true(got > 0 || errno == ECONNRESET);
        if (got < 0) break;
        size += (size_t)got;
    }
    assert_in_range(size, 1, MANY * 150);
    close(slow);
    close(other);
}

static void test_gone_while_walking(void **state) {
    (void)state;
    fill(MANY);
    for (uint32_t i = 0; i < 3 * ADMIN_CLIENTS_MAX; i++) {
        int fd = dial();
        put(fd, i % 2 ? SESSIONS : ENDPOINTS);
        passes(i % 12);
        close(fd);
    }
    assert_int_equal(status_and_close(SESSIONS), 200);
}

/* ---- lines ---- */

static json_t *ask(const char *request) {
    int fd = dial();
    put(fd, request);
    (void)get(fd, "}\n");
    close(fd);
    return body_of_answer();
}

static void test_allocate_and_close(void **state) {
    (void)state;
    char request[128];
    json_t *json = ask("{\"v\":1,\"cmd\":\"allocate\",\"keys\":[\"" KEY_B "\",\"" KEY_A "\"]}\n");
    json_t *endpoint = json_object_get(json, "endpoint");
    assert_string_equal(json_string_value(json_object_get(endpoint, "BindLifetime")), "30s");
    assert_string_equal(json_string_value(json_array_get(json_object_get(endpoint, "ClientDisco"), 0)), KEY_A);
    snprintf(request, sizeof(request), "{\"v\":1,\"cmd\":\"endpoint-close\",\"vni\":%d}\n",
             (int)json_integer_value(json_object_get(endpoint, "VNI")));
    json_decref(json);
    json = ask(request);
    assert_true(json_is_true(json_object_get(json, "ok")));
    json_decref(json);
    json = ask(request);
    assert_non_null(strstr(json_string_value(json_object_get(json, "error")), "no endpoint has the VNI"));
    json_decref(json);
    json = ask("{\"v\":1,\"cmd\":\"allocate\",\"keys\":[\"" KEY_A "\",\"" KEY_A "\"]}\n");
    assert_non_null(strstr(json_string_value(json_object_get(json, "error")), "the same"));
    json_decref(json);
}

static void test_status(void **state) {
    (void)state;
    fill(3);
    json_t *json = ask("{\"v\":1,\"cmd\":\"status\"}\n"), *udp = json_object_get(json, "udp_relay");
    assert_int_equal(json_integer_value(json_object_get(udp, "port")), 41641);
    assert_int_equal(json_integer_value(json_object_get(udp, "connecting")), 3);
    assert_int_equal(json_integer_value(json_object_get(udp, "open")), 0);
    assert_int_equal(json_integer_value(json_object_get(udp, "endpoints_max")), ENDPOINTS_MAX);
    assert_string_equal(json_string_value(json_array_get(json_object_get(udp, "addresses"), 0)), "192.0.2.1:7");
    char key[DISCO_KEY_TEXT_SIZE];
    struct disco_key server = allocator_server(relay.allocator);
    disco_key_format(&server, key);
    assert_string_equal(json_string_value(json_object_get(udp, "server_disco")), key);
    json_decref(json);
}

static void test_without_relay(void **state) {
    (void)state;
    static const char *const requests[] = {ENDPOINTS, "{\"v\":1,\"cmd\":\"endpoint-close\",\"vni\":1}\n",
                                           "{\"v\":1,\"cmd\":\"allocate\",\"keys\":[\"" KEY_B "\",\"" KEY_A "\"]}\n"};
    for (size_t i = 0; i < array_count(requests); i++) {
        json_t *json = ask(requests[i]);
        assert_non_null(strstr(json_string_value(json_object_get(json, "error")), "-relay-port"));
        json_decref(json);
    }
    int fd = dial();
    assert_int_equal(status_of(fd, SESSIONS, "{\"UDPPort\":null,\"Sessions\":null}"), 200);
    assert_int_equal(status_of(fd, "POST /v0/relay/endpoint HTTP/1.0\r\n\r\n", NULL), 404);
    close(fd);
    json_t *json = ask("{\"v\":1,\"cmd\":\"status\"}\n");
    assert_true(json_is_null(json_object_get(json, "udp_relay")));
    json_decref(json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    if (sys_init() != 0) return 1;
    gojson_init();
    const struct CMUnitTest tests[] = {
        TEST(test_post),
        TEST(test_pieces),
        TEST(test_refusals),
        TEST(test_lines_beside),
        TEST(test_long_head),
        TEST(test_half_a_request_for_ever),
        TEST(test_sessions),
        TEST(test_many),
        TEST(test_slow_reader),
        TEST(test_gone_while_walking),
        TEST(test_allocate_and_close),
        TEST(test_status),
        cmocka_unit_test_setup_teardown(test_without_relay, set_up_without, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
