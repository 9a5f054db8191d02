/* test_resolver.c - names for /bootstrap-dns, against a name server of our own that answers, refuses or is silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sys.h"
#include "relay/resolver.h"

enum { TYPE_A = 1, TYPE_TXT = 16, TYPE_AAAA = 28, NXDOMAIN = 3 };

static int server_fd;
static char server[64];
static unsigned questions;

static int set_up(void **state) {
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    server_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (server_fd < 0 || bind(server_fd, (struct sockaddr *)&address, size) != 0) return -1;
    if (getsockname(server_fd, (struct sockaddr *)&address, &size) != 0) return -1;
    snprintf(server, sizeof(server), "127.0.0.1:%u", ntohs(address.sin_port));
    questions = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return close(server_fd);
}

/* One record behind the question, if `data` is not NULL. */
static void reply(uint8_t *packet, size_t question_end, uint16_t type, const void *data, size_t size, uint8_t rcode,
                  const struct sockaddr_in *to) {
    struct writer w = writer_of(packet + question_end, 512 - question_end);
    packet[2] |= 0x80;
    packet[3] = (uint8_t)(0x80 | rcode);
    memset(packet + 6, 0, 6);
    packet[7] = data != NULL;
    if (data) {
        writer_be16(&w, 0xc00c);
        writer_be16(&w, type);
        writer_be16(&w, 1);
        writer_be32(&w, 60);
        writer_be16(&w, (uint16_t)size);
        writer_copy(&w, data, size);
    }
    size_t all = (size_t)(w.at - packet);
    assert_int_equal(sendto(server_fd, packet, all, 0, (const struct sockaddr *)to, sizeof(*to)), (ssize_t)all);
}

/* "silent..." gets no answer, "none..." no such name, "pN..." the percentage N as TXT, others addresses. */
static void answer_one(void) {
    uint8_t packet[512];
    struct sockaddr_in from;
    socklen_t from_size = sizeof(from);
    ssize_t size = recvfrom(server_fd, packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&from, &from_size);
    if (size < 17) return;
    questions++;
    const char *name = (const char *)packet + 13;
    size_t end = 12;
    while (packet[end]) end += packet[end] + 1u;
    uint16_t type = load_be16(packet + end + 1);
    end += 5;
    if (strncmp(name, "silent", 6) == 0) return;
    uint8_t ipv4[4] = {192, 0, 2, 1}, ipv6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1}, text[4] = {1, packet[14], 0, 0};
    if (strncmp(name, "none", 4) == 0) reply(packet, end, type, NULL, 0, NXDOMAIN, &from);
    else if (type == TYPE_A) reply(packet, end, type, ipv4, 4, 0, &from);
    else if (type == TYPE_AAAA) reply(packet, end, type, ipv6, 16, 0, &from);
    else if (type == TYPE_TXT && *name == 'p') reply(packet, end, type, text, 2, 0, &from);
    else reply(packet, end, type, NULL, 0, 0, &from);
}

/* Goes on until a table is done. Time goes as it says, but for the waiting. */
static struct bootstrap_table *next_table(struct resolver *r, uint64_t *now_ns) {
    struct bootstrap_table *table = NULL;
    uint64_t deadline_ns = sys_clock_ns() + 30 * NS_PER_S;
    while (table == NULL && sys_clock_ns() < deadline_ns) {
        uint64_t next_ns = resolver_step(r, *now_ns, &table);
        if (table) break;
        struct pollfd wait = {.fd = server_fd, .events = POLLIN};
        (void)poll(&wait, 1, next_ns > *now_ns ? 5 : 0);
        answer_one();
        *now_ns = max_of(*now_ns, next_ns);
    }
    assert_non_null(table);
    return table;
}

static struct resolver *resolver_for(const char *published, const char *hidden, struct rng *rng) {
    struct resolver_options options = {.published = published, .hidden = hidden, .servers = server};
    rng_init_seeded(rng, 1);
    return resolver_new(&options, rng, 0);
}

static void test_nothing_to_resolve(void **state) {
    (void)state;
    struct rng rng;
    assert_null(resolver_for(NULL, "", &rng));
    resolver_free(NULL);
}

static void test_both_lists(void **state) {
    (void)state;
    struct rng rng;
    uint64_t now_ns = 0;
    struct resolver *r =
        resolver_for("a.example,none.example,b.example", "c.example/p7.example,d.example,e.example/none.example", &rng);
    struct bootstrap_table *published = next_table(r, &now_ns);
    assert_true(published->is_published);
    assert_int_equal(published->names_count, 2);
    const struct bootstrap_name *a = bootstrap_find(published, "a.example");
    assert_true(a && bootstrap_find(published, "b.example"));
    assert_int_equal(a->addresses_count, 2);
    struct bootstrap_table *hidden = next_table(r, &now_ns);
    assert_false(hidden->is_published);
    assert_int_equal(hidden->names_count, 3);
    assert_int_equal(bootstrap_find(hidden, "c.example")->percent, 7);
    assert_int_equal(bootstrap_find(hidden, "d.example")->percent, 100);
    assert_int_equal(bootstrap_find(hidden, "e.example")->percent, 0);
    free(published);
    free(hidden);
    resolver_free(r);
}

/* The office sleeps until the next round, and asks again then. */
static void test_rounds(void **state) {
    (void)state;
    struct rng rng;
    uint64_t now_ns = 0;
    struct bootstrap_table *table;
    struct resolver *r = resolver_for("a.example", NULL, &rng);
    free(next_table(r, &now_ns));
    uint64_t next_ns = resolver_step(r, now_ns, &table);
    assert_null(table);
    assert_int_equal(next_ns, now_ns + 600 * NS_PER_S);
    unsigned asked = questions;
    now_ns = next_ns;
    free(next_table(r, &now_ns));
    assert_true(questions > asked);
    resolver_free(r);
}

/* A silent server costs each list at most its minute; what was resolved before counts. */
static void test_silence(void **state) {
    (void)state;
    struct rng rng;
    uint64_t now_ns = 0;
    struct resolver *r = resolver_for("a.example,silent.example,silent2.example,b.example", NULL, &rng);
    struct bootstrap_table *table = next_table(r, &now_ns);
    assert_true(now_ns <= 61 * NS_PER_S);
    assert_non_null(bootstrap_find(table, "a.example"));
    assert_null(bootstrap_find(table, "silent.example"));
    free(table);
    resolver_free(r);
}

static void test_an_end_in_the_middle(void **state) {
    (void)state;
    struct rng rng;
    struct bootstrap_table *table;
    struct resolver *r = resolver_for("silent.example", "a.example/silent.example", &rng);
    for (uint64_t now_ns = 0; now_ns < 5; now_ns++) assert_true(resolver_step(r, now_ns, &table) < TIME_NEVER);
    resolver_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_to_resolve, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_both_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_silence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_end_in_the_middle, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
