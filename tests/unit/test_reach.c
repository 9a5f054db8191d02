/* test_reach.c - where the UDP relay can be reached: rounds on a clock of our own, STUN servers that the test plays,
 * and a name server on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bytes.h"
#include "relay/reach.h"

#define T0 (1000 * NS_PER_S)

enum { PORT4 = 4444, PORT6 = 6666 };

static struct arena arena, arena_of_reach;
static struct rng rng;
static struct allocator *allocator;
static struct reach *reach;
static struct reach_options options;
static struct lane to_udp;
static uint8_t to_udp_items[REACH_MAIL_ITEMS * sizeof(struct mail)];
static uint64_t now_ns;
static char why[SYS_WHY_MAX];

/* ---- the host ---- */

static struct reach_link host[4];
static size_t host_count;
static int host_error;

static int scan(struct reach_link *links, size_t *count) {
    memcpy(links, host, host_count * sizeof(*host));
    *count = host_count;
    return host_error;
}

static struct net_address address_of(const char *text) {
    struct listen_address address;
    assert_true(listen_address_parse(text, &address, why));
    return address.address;
}

static void add_link(const char *text) {
    host[host_count++] =
        (struct reach_link){.name = "eth0", .flags = IFF_UP, .address = address_of(text), .prefix = 24};
}

/* ---- STUN servers ---- */

enum { QUESTIONS_MAX = 64 };

static struct reach_mail questions[QUESTIONS_MAX];
static size_t questions_count;

static void take_questions(void) {
    struct mail mail;
    questions_count = 0;
    lane_flush(&to_udp);
    while (lane_pop(&to_udp, &mail)) {
        assert_int_equal(mail.kind, MAIL_STUN_ASK);
        assert_true(questions_count < QUESTIONS_MAX);
        questions[questions_count++] = mail.reach;
    }
}

/* What `server` says to the question it was asked in this step, as a UDP worker passes it on. */
static void says(const char *server, const char *seen) {
    struct net_address from = address_of(server), what = address_of(seen);
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    struct reach_mail mail;
    for (size_t i = 0; i < questions_count; i++) {
        if (!reach_is_same(&questions[i].address, &from)) continue;
        size_t size = stun_answer_write(bytes, questions[i].transaction, &what);
        assert_true(reach_stun_check(reach_stun(reach), bytes, size, &from, &mail));
        reach_on_seen(reach, &mail);
        return;
    }
    fail_msg("%s was not asked", server);
}

/* ---- the bed ---- */

static int set_up(void **state) {
    (void)state;
    struct allocator_options endpoints = {.endpoints_max = 16};
    host_count = 0;
    host_error = 0;
    now_ns = T0;
    if (sys_init() != 0) return -1;
    rng_init_seeded(&rng, 1);
    if (arena_init(&arena, allocator_footprint(&endpoints)) != 0) return -1;
    allocator = allocator_make(&arena, &endpoints, &rng, T0);
    lane_init(&to_udp, to_udp_items, REACH_MAIL_ITEMS, sizeof(struct mail));
    options = (struct reach_options){.ports = {PORT4, PORT6}, .where = {.is_wildcard = true}, .scan = scan};
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    reach_fini(reach);
    reach = NULL;
    allocator_fini(allocator);
    arena_fini(&arena_of_reach);
    arena_fini(&arena);
    return 0;
}

static void begin(const char *servers) {
    struct reach_links links = {.allocator = allocator, .to_udp = &to_udp};
    assert_true(reach_servers_parse(servers, &options.servers, why));
    assert_int_equal(arena_init(&arena_of_reach, reach_footprint()), 0);
    reach = reach_make(&arena_of_reach, &options, &links, &rng, now_ns);
    assert_int_equal(arena_of_reach.used, reach_footprint());
}

static uint64_t step(void) {
    uint64_t next_ns = reach_step(reach, now_ns);
    take_questions();
    return next_ns;
}

/* Until it wants to be called again. */
static void go_on(void) {
    uint64_t next_ns = reach_step(reach, now_ns);
    assert_true(next_ns != TIME_NEVER);
    now_ns = max_of(now_ns, next_ns);
    step();
}

/* To the next round, past what is left of this one: a round begins with the questions that follow a long pause. */
static void to_next_round(void) {
    for (int i = 0; i < 10; i++) {
        uint64_t before_ns = now_ns;
        go_on();
        if (now_ns - before_ns > 1100 * NS_PER_MS) return;
    }
    fail_msg("no round begins");
}

static void assert_told(const char *wanted) {
    struct net_address list[ALLOCATOR_ADDRESSES_MAX];
    char all[2048] = "", text[NET_ADDRESS_TEXT_MAX];
    size_t count = allocator_addresses(allocator, list), at = 0;
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s", i ? " " : "", net_address_text(&list[i], text));
    }
    assert_string_equal(all, wanted);
}

/* ---- what the operator says ---- */

static void test_fixed_addresses_are_told_at_once_and_first(void **state) {
    (void)state;
    assert_true(reach_fixed_parse("198.51.100.1:7,[2001:db8::9]:0", &options.fixed, why));
    add_link("10.0.0.1:0");
    begin("");
    assert_told("198.51.100.1:7 [2001:db8::9]:6666");
    step();
    assert_told("198.51.100.1:7 [2001:db8::9]:6666 10.0.0.1:4444");
}

static void test_without_discovery_nothing_else(void **state) {
    (void)state;
    assert_true(reach_fixed_parse("198.51.100.1:7", &options.fixed, why));
    add_link("10.0.0.1:0");
    options.has_no_discovery = true;
    begin("");
    assert_true(step() == TIME_NEVER);
    assert_told("198.51.100.1:7");
}

static void test_a_bound_address_is_the_only_one(void **state) {
    (void)state;
    add_link("10.0.0.1:0");
    options.where = (struct listen_address){.address = address_of("10.0.0.2:443")};
    options.ports.ipv6 = 0;
    begin("");
    step();
    assert_told("10.0.0.2:4444");
}

/* ---- interfaces ---- */

static void test_rounds_are_20_to_26_seconds_apart(void **state) {
    (void)state;
    begin("");
    assert_true(step() == T0 + 5 * NS_PER_S);
    uint64_t least_ns = TIME_NEVER, most_ns = 0;
    go_on();
    for (int i = 0; i < 200; i++) {
        uint64_t before_ns = now_ns;
        go_on();
        least_ns = min_of(least_ns, now_ns - before_ns);
        most_ns = max_of(most_ns, now_ns - before_ns);
    }
    assert_in_range(least_ns, 20 * NS_PER_S, 21 * NS_PER_S);
    assert_in_range(most_ns, 25 * NS_PER_S, 26 * NS_PER_S);
}

static void test_a_link_goes_down_and_comes_back(void **state) {
    (void)state;
    add_link("10.0.0.1:0");
    begin("");
    step();
    assert_told("10.0.0.1:4444");
    host_count = 0;
    go_on();
    assert_told("10.0.0.1:4444");  // for a moment, perhaps
    go_on();
    assert_told("");
    add_link("10.0.0.1:0");
    go_on();
    assert_told("10.0.0.1:4444");
}

static void test_interfaces_that_cannot_be_read_change_nothing(void **state) {
    (void)state;
    add_link("10.0.0.1:0");
    begin("");
    step();
    host_error = -EPERM;
    for (int i = 0; i < 5; i++) go_on();
    assert_told("10.0.0.1:4444");
    host_error = 0;
    host_count = 0;
    add_link("10.0.0.2:0");
    go_on();
    assert_told("10.0.0.1:4444 10.0.0.2:4444");
    go_on();
    assert_told("10.0.0.2:4444");
}

/* ---- STUN ---- */

static void test_what_a_server_sees_is_told(void **state) {
    (void)state;
    add_link("10.0.0.1:0");
    begin("192.0.2.1:3478,[2001:db8::1]:3479");
    step();
    assert_int_equal(questions_count, 2);
    assert_told("10.0.0.1:4444");
    says("192.0.2.1:3478", "198.51.100.7:1001");
    step();
    assert_told("198.51.100.7:1001 10.0.0.1:4444");  // at once, the first time
    now_ns += NS_PER_S;
    step();
    assert_int_equal(questions_count, 1);  // once more, who has not answered
    says("[2001:db8::1]:3479", "[2001:db8::7]:6666");
    assert_true(step() == T0 + 5 * NS_PER_S);
    assert_told("198.51.100.7:1001 [2001:db8::7]:6666 10.0.0.1:4444");
}

static void test_a_server_is_asked_three_times(void **state) {
    (void)state;
    begin("192.0.2.1:3478");
    for (int i = 0; i < 3; i++) {
        assert_true(step() == now_ns + NS_PER_S);
        assert_int_equal(questions_count, 1);
        now_ns += NS_PER_S;
    }
    assert_true(step() == T0 + 5 * NS_PER_S);
    assert_int_equal(questions_count, 0);
    assert_told("");
}

static void test_silence_takes_nothing_away(void **state) {
    (void)state;
    begin("192.0.2.1:3478");
    step();
    says("192.0.2.1:3478", "198.51.100.7:1001");
    for (int i = 0; i < 5; i++) to_next_round();
    assert_told("198.51.100.7:1001");
    says("192.0.2.1:3478", "198.51.100.8:1001");  // it has moved
    to_next_round();
    assert_told("198.51.100.7:1001 198.51.100.8:1001");
    says("192.0.2.1:3478", "198.51.100.8:1001");
    step();
    assert_told("198.51.100.8:1001");
}

static void test_a_nat_that_maps_by_destination(void **state) {
    (void)state;
    begin("192.0.2.1:3478,192.0.2.2:3478,192.0.2.3:3478");
    step();
    says("192.0.2.1:3478", "198.51.100.7:1001");
    says("192.0.2.2:3478", "198.51.100.7:1002");
    says("192.0.2.3:3478", "198.51.100.7:1003");
    step();
    assert_told("198.51.100.7:1001 198.51.100.7:4444");
    to_next_round();  // answers in another order change nothing
    says("192.0.2.3:3478", "198.51.100.7:1003");
    assert_true(reach_step(reach, now_ns) > now_ns);
    says("192.0.2.1:3478", "198.51.100.7:1001");
    assert_true(reach_step(reach, now_ns) > now_ns);
    says("192.0.2.2:3478", "198.51.100.7:1002");
    step();
    assert_told("198.51.100.7:1001 198.51.100.7:4444");
}

static void test_what_two_servers_see_alike_is_told(void **state) {
    (void)state;
    begin("192.0.2.1:3478,192.0.2.2:3478,192.0.2.3:3478");
    step();
    says("192.0.2.1:3478", "198.51.100.7:1001");
    says("192.0.2.2:3478", "198.51.100.8:1002");
    says("192.0.2.3:3478", "198.51.100.8:1002");
    step();
    assert_told("198.51.100.7:1001 198.51.100.8:1002 198.51.100.7:4444");
}

static void test_no_nat_is_one_address(void **state) {
    (void)state;
    add_link("198.51.100.7:0");
    begin("192.0.2.1:3478,192.0.2.2:3478");
    step();
    says("192.0.2.1:3478", "198.51.100.7:4444");
    says("192.0.2.2:3478", "198.51.100.7:4444");
    step();
    assert_told("198.51.100.7:4444");
}

static void test_nonsense_is_no_answer(void **state) {
    (void)state;
    begin("192.0.2.1:3478");
    step();
    says("192.0.2.1:3478", "127.0.0.1:1001");
    says("192.0.2.1:3478", "198.51.100.7:0");
    says("192.0.2.1:3478", "224.0.0.1:7");
    says("192.0.2.1:3478", "[2001:db8::1]:7");  // of another family than the question
    step();
    assert_told("");
}

/* A UDP worker has let it through before the round was over. */
static void test_an_answer_of_another_round_is_late(void **state) {
    (void)state;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
    struct reach_mail mail;
    begin("192.0.2.1:3478");
    step();
    struct reach_mail first = questions[0];
    struct net_address seen = address_of("198.51.100.7:1001");
    size_t size = stun_answer_write(bytes, first.transaction, &seen);
    assert_true(reach_stun_check(reach_stun(reach), bytes, size, &first.address, &mail));
    to_next_round();
    reach_on_seen(reach, &mail);
    step();
    assert_told("");
    assert_false(reach_stun_check(reach_stun(reach), bytes, size, &first.address, &mail));
}

static void test_no_socket_of_a_family_no_question(void **state) {
    (void)state;
    options.ports.ipv6 = 0;
    begin("[2001:db8::1]:3478");
    assert_true(step() == T0 + 5 * NS_PER_S);
    assert_int_equal(questions_count, 0);
}

/* ---- names ---- */

static int name_fd;
static char name_server[64];
static bool is_name_server_silent;
static uint8_t name_ip[4] = {192, 0, 2, 1};

static int set_up_names(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    name_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (name_fd < 0 || bind(name_fd, (struct sockaddr *)&address, size) != 0) return -1;
    if (getsockname(name_fd, (struct sockaddr *)&address, &size) != 0) return -1;
    snprintf(name_server, sizeof(name_server), "127.0.0.1:%u", ntohs(address.sin_port));
    is_name_server_silent = false;
    int rc = set_up(state);
    options.name_servers = name_server;
    return rc;
}

static int tear_down_names(void **state) {
    close(name_fd);
    return tear_down(state);
}

/* A question for A gets name_ip, others nothing. */
static void answer_name(void) {
    uint8_t packet[512];
    struct sockaddr_in from;
    socklen_t from_size = sizeof(from);
    ssize_t size = recvfrom(name_fd, packet, 400, MSG_DONTWAIT, (struct sockaddr *)&from, &from_size);
    if (size < 17 || is_name_server_silent) return;
    size_t end = 12;
    while (packet[end]) end += packet[end] + 1u;
    bool is_a = load_be16(packet + end + 1) == 1;
    struct writer w = writer_of(packet + end + 5, sizeof(packet) - end - 5);
    packet[2] |= 0x80;
    packet[3] = 0x80;
    memset(packet + 6, 0, 6);
    packet[7] = is_a;
    if (is_a) {
        writer_be16(&w, 0xc00c);
        writer_be32(&w, 0x00010001);
        writer_be32(&w, 60);
        writer_be16(&w, 4);
        writer_copy(&w, name_ip, 4);
    }
    (void)!sendto(name_fd, packet, (size_t)(w.at - packet), 0, (const struct sockaddr *)&from, from_size);
}

/* Until there are questions to STUN servers, or the round is over. */
static void wait_for_names(void) {
    uint64_t deadline_ns = sys_clock_ns() + 20 * NS_PER_S;
    while (sys_clock_ns() < deadline_ns) {
        uint64_t next_ns = step();
        if (questions_count > 0 || next_ns - now_ns > 2 * NS_PER_S) return;
        struct pollfd wait = {.fd = name_fd, .events = POLLIN};
        (void)poll(&wait, 1, 5);
        answer_name();
        now_ns = max_of(now_ns, next_ns);
    }
    fail_msg("names take for ever");
}

static void test_names_are_looked_up_each_round(void **state) {
    (void)state;
    name_ip[3] = 1;
    begin("stun.example:3478");
    wait_for_names();
    assert_int_equal(questions_count, 1);
    says("192.0.2.1:3478", "198.51.100.7:1001");
    name_ip[3] = 2;
    now_ns = step();
    wait_for_names();
    says("192.0.2.2:3478", "198.51.100.7:1001");
    step();
    assert_told("198.51.100.7:1001");
}

static void test_a_silent_name_server_keeps_nobody_waiting(void **state) {
    (void)state;
    name_ip[3] = 1;
    begin("stun.example:3478,192.0.2.9:3478");
    wait_for_names();
    says("192.0.2.9:3478", "198.51.100.7:1001");
    wait_for_names();
    says("192.0.2.1:3478", "198.51.100.7:1001");
    now_ns = step();
    is_name_server_silent = true;
    wait_for_names();
    assert_int_equal(questions_count, 1);  // the one that has no name
    says("192.0.2.9:3478", "198.51.100.7:1001");
    wait_for_names();
    says("192.0.2.1:3478", "198.51.100.7:1001");  // where it was before
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fixed_addresses_are_told_at_once_and_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_discovery_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bound_address_is_the_only_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rounds_are_20_to_26_seconds_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_link_goes_down_and_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_interfaces_that_cannot_be_read_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_server_sees_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_server_is_asked_three_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_silence_takes_nothing_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_nat_that_maps_by_destination, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_two_servers_see_alike_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_nat_is_one_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nonsense_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_answer_of_another_round_is_late, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_socket_of_a_family_no_question, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_are_looked_up_each_round, set_up_names, tear_down_names),
        cmocka_unit_test_setup_teardown(test_a_silent_name_server_keeps_nobody_waiting, set_up_names, tear_down_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
