/* The UDP load generator: its command line, what it makes of answers to requests, and how its clients bind to a relay
 * that is lossy, late or lying. The relay is a thread of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "perf/load/course.h"
#include "perf/udpload/storm.h"
#include "proto/geneve.h"

/* ---- options ---- */

static bool parse(struct options *o, enum udp_command command, const char *line, char *why) {
    static char words[256];
    static char *argv[32];
    int argc = 0;
    snprintf(words, sizeof(words), "%s", line);
    for (char *at = words; *at; argc++) {
        argv[argc] = at;
        at += strcspn(at, " ");
        if (*at) *at++ = '\0';
    }
    o->command = command;
    return options_parse(o, argc, argv, why);
}

static void test_command_lines(void **state) {
    (void)state;
    struct options o;
    char why[ARGUMENTS_WHY_MAX];
    assert_true(parse(&o, COMMAND_RELAY, "--allocate unix:/x", why));
    assert_int_equal(o.pairs, 10);
    assert_int_equal(o.size, 1280);
    assert_int_equal(o.segments, 32);
    assert_int_equal(o.burst, 1);
    assert_int_equal(o.window, 256);
    assert_int_equal(o.mode, COURSE_WINDOW);
    assert_int_equal(o.family, FAMILY_ANY);
    assert_true(parse(&o, COMMAND_RELAY, "--allocate=http://x --segments 1 --burst 8 --flows 64 --family ipv6", why));
    assert_int_equal(options_unit(&o), 8);
    assert_int_equal(o.flows, 64);
    assert_int_equal(o.family, FAMILY_IPV6);
    assert_true(parse(&o, COMMAND_RELAY, "--allocate unix:/x --size 16000", why));
    assert_int_equal(o.segments, 4);  // what fits into one run
    assert_true(parse(&o, COMMAND_RELAY, "--allocate unix:/x --segments 64 --burst 8 --size 64", why));
    assert_int_equal(o.window, 512);  // at least what goes in a row
    assert_true(parse(&o, COMMAND_RTT, "--allocate unix:/x", why));
    assert_int_equal(o.size, 64);
    assert_int_equal(o.rate, 500);
    assert_true(parse(&o, COMMAND_BIND, "--allocate unix:/x --seconds 2", why));
    assert_int_equal(o.count, 0);
    assert_true(parse(&o, COMMAND_IDLE, "--allocate unix:/x --endpoints 100 --active 10 --rate 5", why));
    assert_int_equal(o.flows, 10);
    assert_int_equal(o.mode, COURSE_RATE);
}

static void test_wrong_command_lines(void **state) {
    (void)state;
    static const struct {
        enum udp_command command;
        const char *line;
        const char *why;
    } cases[] = {
        {COMMAND_RELAY, "", "relay needs --allocate"},
        {COMMAND_RELAY, "unix:/x", "has no use for unix:/x"},
        {COMMAND_RELAY, "--allocate unix:/x --rate 5 --window 64", "one of them"},
        {COMMAND_RELAY, "--allocate unix:/x --segments 65", "--segments 65"},
        {COMMAND_RELAY, "--allocate unix:/x --segments 64 --size 1280", "a run has at most 65507 bytes"},
        {COMMAND_RELAY, "--allocate unix:/x --window 31", "less than a run"},
        {COMMAND_RELAY, "--allocate unix:/x --size 31", "from 32 to 65499"},
        {COMMAND_RELAY, "--allocate unix:/x --family ipv5", "any|ipv4|ipv6"},
        {COMMAND_RELAY, "--allocate unix:/x --family ipv", "any|ipv4|ipv6"},
        {COMMAND_RELAY, "--allocate unix:/x --seconds 0", "nothing would be measured"},
        {COMMAND_RTT, "--allocate unix:/x --segments 2", "rtt has no use for --segments"},
        {COMMAND_BIND, "--allocate unix:/x --count 5 --seconds 5", "one of them"},
        {COMMAND_IDLE, "--allocate unix:/x --endpoints 5 --active 6", "more than there are"},
        {COMMAND_IDLE, "--allocate", "--allocate needs a value"},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct options o;
        char why[ARGUMENTS_WHY_MAX] = "";
        assert_false(parse(&o, cases[i].command, cases[i].line, why));
        if (!strstr(why, cases[i].why)) fail_msg("\"%s\": %s", cases[i].line, why);
    }
}

/* ---- requests and answers ---- */

#define KEY_11 "discokey:1111111111111111111111111111111111111111111111111111111111111111"
#define KEY_22 "discokey:2222222222222222222222222222222222222222222222222222222222222222"
#define KEY_33 "discokey:3333333333333333333333333333333333333333333333333333333333333333"

static struct disco_key key_of(uint8_t byte) {
    struct disco_key key;
    memset(key.bytes, byte, sizeof(key.bytes));
    return key;
}

static struct disco_pair some_pair(void) {
    struct disco_key a = key_of(0x22), b = key_of(0x11);
    return disco_pair_of(&a, &b);
}

static void test_a_request(void **state) {
    (void)state;
    char text[ENDPOINT_REQUEST_MAX];
    struct disco_pair pair = some_pair();
    size_t size = endpoint_request(text, "localhost", "secret", &pair);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(text, "POST /v0/relay/endpoint HTTP/1.1\r\nHost: localhost\r\n", 51);
    assert_non_null(strstr(text, "\r\nAuthorization: Bearer secret\r\n"));
    const char *body = strstr(text, "\r\n\r\n") + 4, *length = strstr(text, "Content-Length: ");
    assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body));
    assert_string_equal(body, "{\"DiscoKeys\":[\"" KEY_11 "\",\"" KEY_22 "\"]}");
    size = endpoint_request(text, "x", NULL, &pair);
    assert_null(strstr(text, "Authorization"));
    assert_true(size < ENDPOINT_REQUEST_MAX);
}

/* The longest of everything still fits. */
static void test_a_long_request(void **state) {
    (void)state;
    char text[ENDPOINT_REQUEST_MAX], host[300], token[300];
    struct disco_pair pair = some_pair();
    memset(host, 'h', sizeof(host));
    memset(token, 't', sizeof(token));
    host[299] = token[299] = '\0';
    assert_true(endpoint_request(text, host, token, &pair) < ENDPOINT_REQUEST_MAX);
    assert_non_null(strstr(text, KEY_22 "\"]}"));
}

static void test_heads(void **state) {
    (void)state;
    struct endpoint_head head;
    char why[ENDPOINT_WHY_MAX];
    static const char good[] = "HTTP/1.1 200 OK\r\ncontent-length:  5\r\nX: y\r\n\r\nhello";
    for (size_t size = 0; size < sizeof(good) - 1 - 5; size++) {
        assert_int_equal(endpoint_head_parse(&head, good, size, why), 0);
    }
    assert_int_equal(endpoint_head_parse(&head, good, sizeof(good) - 1, why), 1);
    assert_int_equal(head.status, 200);
    assert_int_equal(head.head_size, sizeof(good) - 1 - 5);
    assert_int_equal(head.body_size, 5);
    assert_false(head.is_last);
    static const char later[] = "HTTP/1.1 503 No\r\nRetry-After: 3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(endpoint_head_parse(&head, later, sizeof(later) - 1, why), 1);
    assert_int_equal(head.status, 503);
    assert_int_equal(head.retry_s, 3);
    assert_true(head.is_last);
    static const char *const bad[] = {
        "SMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        "HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
    };
    for (size_t i = 0; i < array_count(bad); i++) {
        assert_int_equal(endpoint_head_parse(&head, bad[i], strlen(bad[i]), why), -1);
    }
}

#define MEMBERS(server, clients, lamport, addresses, vni)                                  \
    "{\"ServerDisco\":\"" server "\",\"ClientDisco\":[" clients "],\"LamportID\":" lamport \
    ",\"AddrPorts\":[" addresses "],\"VNI\":" vni ",\"BindLifetime\":\"30s\",\"SteadyStateLifetime\":\"5m0s\"}\n"
#define CLIENTS "\"" KEY_11 "\",\"" KEY_22 "\""

static void test_an_endpoint(void **state) {
    (void)state;
    struct endpoint_answer answer;
    char why[ENDPOINT_WHY_MAX], text[NET_ADDRESS_TEXT_MAX];
    struct disco_pair pair = some_pair();
    static const char body[] = MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1:7\",\"[2001:db8::1]:40000\"", "16777215");
    assert_true(endpoint_parse(&answer, body, sizeof(body) - 1, &pair, why));
    assert_int_equal(answer.vni, 16777215);
    assert_int_equal(answer.addresses_count, 2);
    assert_string_equal(net_address_text(&answer.addresses[0], text), "192.0.2.1:7");
    assert_string_equal(net_address_text(&answer.addresses[1], text), "[2001:db8::1]:40000");
    struct disco_key server = key_of(0x33);
    assert_true(disco_key_equal(&answer.server, &server));
}

static void test_what_is_no_endpoint(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "",
        "[]",
        "nonsense",
        MEMBERS("discokey:33", CLIENTS, "1", "\"192.0.2.1:7\"", "1"),
        MEMBERS("discokey:0000000000000000000000000000000000000000000000000000000000000000", CLIENTS, "1",
                "\"192.0.2.1:7\"", "1"),
        MEMBERS(KEY_33, "\"" KEY_11 "\"", "1", "\"192.0.2.1:7\"", "1"),
        MEMBERS(KEY_33, "\"" KEY_11 "\",\"" KEY_33 "\"", "1", "\"192.0.2.1:7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "0", "\"192.0.2.1:7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1:0\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1:65536\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"2001:db8::1:7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"[2001:db8::1:7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"]:7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"[:7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\":7\"", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "7", "1"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1:7\"", "0"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1:7\"", "16777216"),
        MEMBERS(KEY_33, CLIENTS, "1", "\"192.0.2.1:7\"", "\"1\""),
    };
    struct disco_pair pair = some_pair();
    for (size_t i = 0; i < array_count(bodies); i++) {
        struct endpoint_answer answer;
        char why[ENDPOINT_WHY_MAX] = "";
        if (endpoint_parse(&answer, bodies[i], strlen(bodies[i]), &pair, why)) fail_msg("taken: %s", bodies[i]);
        assert_non_null(strstr(why, "is wrong: "));
    }
}

/* ---- a relay ---- */

enum deed {
    HONEST,
    LOSE_FIRST,      // of the datagrams of each kind
    LOSE_TRIAL,      // the first one
    NEVER_ANSWER,
    NOT_READY,       // at first
    REFUSE,
    CLOSE_EACH,      // connection after its answer
    WRONG_VNI,       // in the challenge
    WRONG_REMOTE,
    WRONG_SERVER,    // sender of the challenge
    WRONG_SIZE,
    WRONG_BOX,
    WRONG_CLIENT,    // gets the challenge
    REFLECT,         // packets go back to who sent them
    STRANGE,         // datagrams that are nobody's
};

/* One endpoint after the other, each with the two keys of its request. */
struct relay {
    enum deed deed;
    struct sockaddr_un name;
    int listener, udp;
    _Atomic bool is_ending;
    pthread_t thread;
    struct rng rng;
    struct disco_private ours;
    struct disco_key key;
    struct net_address address;
    unsigned requests, binds, answers, packets;
    struct {
        struct disco_pair pair;
        struct sockaddr_in from[2];
        bool is_bound[2];
    } endpoints[64];
    unsigned count;  // VNI - 1
};

static void answer_request(struct relay *r, int fd, const char *text) {
    char keys[3][DISCO_KEY_TEXT_SIZE], body[512], answer[1024];
    struct disco_key a, b;
    const char *at = strstr(text, "[\"") + 2;
    assert_int_equal(disco_key_parse(at, DISCO_KEY_TEXT_SIZE - 1, &a), KEY_OK);
    assert_int_equal(disco_key_parse(at + DISCO_KEY_TEXT_SIZE - 1 + 3, DISCO_KEY_TEXT_SIZE - 1, &b), KEY_OK);
    r->requests++;
    bool is_late = r->deed == NOT_READY && r->requests == 1;
    if (is_late || r->deed == REFUSE) {
        snprintf(answer, sizeof(answer), "HTTP/1.1 %s\r\n%sContent-Length: 4\r\n\r\nno!\n",
                 is_late ? "503 Not Yet" : "403 Forbidden", is_late ? "Retry-After: 1\r\n" : "");
    } else {
        assert_true(r->count < array_count(r->endpoints));
        r->endpoints[r->count++].pair = disco_pair_of(&a, &b);
        disco_key_format(&r->key, keys[0]);
        disco_key_format(&a, keys[1]);
        disco_key_format(&b, keys[2]);
        int size = snprintf(body, sizeof(body), MEMBERS("%s", "\"%s\",\"%s\"", "1", "\"127.0.0.1:%u\"", "%u"), keys[0],
                            keys[1], keys[2], r->address.port, r->count);
        snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s",
                 r->deed == CLOSE_EACH ? "Connection: close\r\n" : "", size, body);
    }
    // Cut in two, as TCP may. Who has given up meanwhile has closed: that is no failure, and here is another thread.
    (void)!send(fd, answer, 20, MSG_NOSIGNAL);
    (void)!send(fd, answer + 20, strlen(answer) - 20, MSG_NOSIGNAL);
}

static void send_challenge(struct relay *r, unsigned vni, int leg, const struct disco_bind *request,
                           const struct sockaddr_in *to) {
    uint8_t bytes[256] = {0}, plain[DISCO_BIND_SIZE];
    struct disco_private liar;
    struct box_key shared;
    struct disco_bind bind = *request;
    struct disco_key sender = r->key;
    struct geneve_header header = {.vni = vni, .protocol = GENEVE_PROTOCOL_DISCO, .is_control = true};
    const struct disco_private *ours = &r->ours;
    memset(bind.challenge, 0xc0 + leg, sizeof(bind.challenge));
    if (r->deed == WRONG_VNI) bind.vni++;
    if (r->deed == WRONG_REMOTE) bind.remote.bytes[0] ^= 1;
    if (r->deed == WRONG_SERVER) {
        disco_private_generate(&r->rng, &liar);
        disco_private_public(&liar, &sender);
        ours = &liar;
    }
    assert_true(disco_key_share(&shared, &r->endpoints[vni - 1].pair.keys[leg], ours));
    struct writer w = writer_of(plain, sizeof(plain));
    disco_bind_write(&w, DISCO_CHALLENGE, &bind);
    geneve_header_write(bytes, &header);
    w = writer_of(bytes + GENEVE_HEADER_SIZE, sizeof(bytes) - GENEVE_HEADER_SIZE);
    disco_envelope_seal(&w, &sender, &shared, &r->rng, plain, sizeof(plain));
    if (r->deed == WRONG_BOX) bytes[159] ^= 1;
    size_t size = r->deed == WRONG_SIZE ? 161 : 160;
    assert_int_equal(sendto(r->udp, bytes, size, 0, (const struct sockaddr *)to, sizeof(*to)), (ssize_t)size);
}

static void take_handshake(struct relay *r, unsigned vni, uint8_t *bytes, size_t size, const struct sockaddr_in *from) {
    struct disco_message message;
    struct box_key shared;
    size_t plain_size;
    const struct disco_pair *pair = &r->endpoints[vni - 1].pair;
    const struct disco_key *sender = disco_envelope_sender(bytes, size);
    assert_non_null(sender);
    int leg = disco_pair_leg(pair, sender);
    assert_true(leg >= 0);
    assert_true(disco_key_share(&shared, sender, &r->ours));
    const uint8_t *plain = disco_envelope_open(&shared, bytes, size, &plain_size);
    assert_non_null(plain);
    assert_int_equal(disco_message_parse(plain, plain_size, &message), DISCO_OK);
    assert_int_equal(message.bind.vni, vni);
    assert_int_not_equal(message.bind.generation, 0);
    assert_true(disco_key_equal(&message.bind.remote, &pair->keys[1 - leg]));
    if (message.type == DISCO_BIND) {
        bool is_lost = r->binds++ == 0 && r->deed == LOSE_FIRST;
        if (is_lost || r->deed == NEVER_ANSWER) return;
        struct sockaddr_in to = *from;
        if (r->deed == WRONG_CLIENT && r->endpoints[vni - 1].from[0].sin_port) to = r->endpoints[vni - 1].from[0];
        if (r->deed == WRONG_CLIENT) r->endpoints[vni - 1].from[0] = *from;
        send_challenge(r, vni, leg, &message.bind, &to);
        return;
    }
    assert_int_equal(message.type, DISCO_ANSWER);
    assert_int_equal(message.bind.challenge[7], 0xc0 + leg);
    if (r->answers++ == 0 && r->deed == LOSE_FIRST) return;
    r->endpoints[vni - 1].from[leg] = *from;
    r->endpoints[vni - 1].is_bound[leg] = true;
}

static void forward(struct relay *r, unsigned vni, const uint8_t *bytes, size_t size, const struct sockaddr_in *from) {
    const struct sockaddr_in *ends = r->endpoints[vni - 1].from;
    if (!r->endpoints[vni - 1].is_bound[0] || !r->endpoints[vni - 1].is_bound[1]) return;
    if (r->packets++ == 0 && r->deed == LOSE_TRIAL) return;
    bool is_first = ends[0].sin_port == from->sin_port;
    if (r->deed == REFLECT) is_first = !is_first;
    (void)!sendto(r->udp, bytes, size, 0, (const struct sockaddr *)&ends[is_first], sizeof(ends[0]));
}

static void take_datagram(struct relay *r) {
    uint8_t bytes[2048];
    struct sockaddr_in from;
    struct geneve_header header;
    socklen_t from_size = sizeof(from);
    ssize_t size = recvfrom(r->udp, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &from_size);
    assert_true(size >= GENEVE_HEADER_SIZE);
    assert_true(geneve_header_read_strict(bytes, (size_t)size, &header));
    assert_true(header.vni >= 1 && header.vni <= r->count);
    if (r->deed == STRANGE) {
        (void)!sendto(r->udp, "\a", 1, 0, (struct sockaddr *)&from, from_size);  // is to be borne
        if (r->packets) (void)!sendto(r->udp, "\a\a", 2, 0, (struct sockaddr *)&from, from_size);
    }
    if (header.is_control) take_handshake(r, header.vni, bytes + 8, (size_t)size - 8, &from);
    else forward(r, header.vni, bytes, (size_t)size, &from);
}

static void *relay_thread(void *arg) {
    struct relay *r = arg;
    struct pollfd fds[1 + 1 + ASKER_LINES_MAX] = {{.fd = r->udp, .events = POLLIN},
                                                  {.fd = r->listener, .events = POLLIN}};
    nfds_t count = 2;
    while (!r->is_ending) {
        char text[2048];
        if (poll(fds, count, 20) <= 0) continue;
        if (fds[0].revents) take_datagram(r);
        for (nfds_t i = 2; i < count; i++) {
            if (!fds[i].revents) continue;
            ssize_t size = recv(fds[i].fd, text, sizeof(text) - 1, 0);
            text[max_of(size, 0)] = '\0';
            if (size > 0) answer_request(r, fds[i].fd, text);
            if (size > 0 && r->deed != CLOSE_EACH) continue;
            close(fds[i].fd);
            fds[i--] = fds[--count];
        }
        if (fds[1].revents && count < array_count(fds)) {
            fds[count] = (struct pollfd){.fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC), .events = POLLIN};
            count++;
        }
    }
    for (nfds_t i = 2; i < count; i++) close(fds[i].fd);
    return NULL;
}

static void relay_start(struct relay *r, enum deed deed) {
    struct sockaddr_in udp = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(udp);
    memset(r, 0, sizeof(*r));
    r->deed = deed;
    rng_init_system(&r->rng);
    disco_private_generate(&r->rng, &r->ours);
    disco_private_public(&r->ours, &r->key);
    r->name.sun_family = AF_UNIX;
    snprintf(r->name.sun_path, sizeof(r->name.sun_path), "/tmp/test_udpload.%d.sock", (int)getpid());
    unlink(r->name.sun_path);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&r->name, sizeof(r->name)), 0);
    assert_int_equal(listen(r->listener, 16), 0);
    r->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->udp, (struct sockaddr *)&udp, sizeof(udp)), 0);
    assert_int_equal(getsockname(r->udp, (struct sockaddr *)&udp, &size), 0);
    r->address.port = ntohs(udp.sin_port);
    assert_int_equal(pthread_create(&r->thread, NULL, relay_thread, r), 0);
}

static void relay_stop(struct relay *r) {
    r->is_ending = true;
    pthread_join(r->thread, NULL);
    close(r->listener);
    close(r->udp);
    unlink(r->name.sun_path);
}

/* ---- binding ---- */

static unsigned failures;
static void count_failure(void *owner, uint32_t idx) {
    (void)owner;
    (void)idx;
    failures++;
}

/* `own` and `shared` endpoints through a relay with that habit; the sentence of a failure, or "". */
static const char *bind_them(struct relay *r, enum deed deed, uint32_t own, uint32_t shared) {
    static char why[SWARM_WHY_MAX], where[128];
    struct options o = {.at_once = 4, .sockets = 2, .allocate = where};
    struct ground_options options = {.own = own, .shared = shared};
    struct meter meter = {0};
    struct ground g;
    relay_start(r, deed);
    snprintf(where, sizeof(where), "unix:%s", r->name.sun_path);
    why[0] = '\0';
    assert_true(ground_open(&g, &o, &meter, &options));
    (void)!binder_run(&g.binder, 0, own + shared);
    uint64_t bound = g.binder.bound;
    if (ground_close(&g, why)) assert_int_equal(bound, own + shared);
    relay_stop(r);
    return why;
}

static void test_an_honest_relay(void **state) {
    (void)state;
    static struct relay r;
    assert_string_equal(bind_them(&r, HONEST, 3, 40), "");
    assert_int_equal(r.requests, 43);
    assert_int_equal(r.packets, 43);
    assert_string_equal(bind_them(&r, CLOSE_EACH, 1, 20), "");
    assert_int_equal(r.requests, 21);
}

static void test_what_is_lost_is_sent_again(void **state) {
    (void)state;
    static struct relay r;
    assert_string_equal(bind_them(&r, LOSE_FIRST, 1, 0), "");
    assert_true(r.binds >= 3 && r.answers >= 3);
    assert_string_equal(bind_them(&r, LOSE_TRIAL, 1, 0), "");
    assert_true(r.packets >= 2);
}

static void test_a_relay_that_is_not_ready(void **state) {
    (void)state;
    static struct relay r;
    assert_string_equal(bind_them(&r, NOT_READY, 1, 0), "");
    assert_int_equal(r.requests, 2);
}

static void test_a_relay_that_does_not_answer(void **state) {
    (void)state;
    static struct relay r;
    assert_non_null(strstr(bind_them(&r, NEVER_ANSWER, 1, 0), "a Bind is not answered"));
    assert_int_equal(r.binds, 2 * 7);
    assert_non_null(strstr(bind_them(&r, REFLECT, 1, 0), "came to another client"));
    assert_non_null(strstr(bind_them(&r, REFUSE, 1, 0), "status 403: no!"));
}

static void test_a_lying_relay(void **state) {
    (void)state;
    static struct relay r;
    static const struct {
        enum deed deed;
        const char *why;
    } cases[] = {
        {WRONG_VNI, "no challenge of this endpoint"},
        {WRONG_REMOTE, "no challenge of this endpoint"},
        {WRONG_SERVER, "the relay's key"},
        {WRONG_SIZE, "its size"},
        {WRONG_BOX, "it does not open"},
        {WRONG_CLIENT, "it does not open"},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        const char *why = bind_them(&r, cases[i].deed, 1, 0);
        if (!strstr(why, cases[i].why)) fail_msg("%d: %s", (int)cases[i].deed, why);
    }
}

/* One byte is nothing, two are an error. */
static void test_datagrams_of_nobody(void **state) {
    (void)state;
    static struct relay r;
    assert_string_equal(bind_them(&r, STRANGE, 1, 0), "");
    assert_non_null(strstr(bind_them(&r, STRANGE, 2, 20), "2 bytes that nobody has sent"));
}

/* With somebody who counts, an endpoint that fails does not end the run. */
static void test_failures_are_counted(void **state) {
    (void)state;
    static struct relay r;
    char why[SWARM_WHY_MAX] = "", where[128];
    struct options o = {.at_once = 2, .sockets = 1, .allocate = where};
    struct ground_options options = {.shared = 3, .on_failed = count_failure};
    struct meter meter = {0};
    struct ground g;
    relay_start(&r, REFUSE);
    snprintf(where, sizeof(where), "unix:%s", r.name.sun_path);
    failures = 0;
    assert_true(ground_open(&g, &o, &meter, &options));
    for (uint32_t i = 0; failures < 3 && !g.swarm.is_failed;) {
        while (i < 3 && binder_may_start(&g.binder)) binder_start(&g.binder, i++);
        binder_turn(&g.binder, NS_PER_MS);
    }
    assert_true(ground_close(&g, why));
    relay_stop(&r);
    assert_int_equal(r.requests, 3);
}

/* ---- course ---- */

static uint32_t granted[4];
static void count_grant(void *owner, struct flow *f, uint32_t count) {
    (void)owner;
    f->due += count;
    granted[f->id] += count;
}

static void begin_course(struct course *c, struct flow *flows, struct course_options options, uint64_t now_ns) {
    static const uint32_t order[] = {0, 1, 2, 3};
    static const struct meter none = {0};
    memset(granted, 0, sizeof(granted));
    for (uint32_t i = 0; i < 4; i++) flow_init(&flows[i], i, 2 * i, 2 * i + 1);
    options.flows = flows;
    options.flows_count = 4;
    options.order = options.place = order;
    options.meter = &none;
    options.grant = count_grant;
    course_begin(c, &options, now_ns);
}

static void send_all(struct course *c, struct flow *f, uint64_t now_ns) {
    for (; f->due > 0; f->due--) (void)course_leaves(c, f, now_ns);
}

static void test_a_window_is_refilled_in_steps(void **state) {
    (void)state;
    struct course c;
    struct flow flows[4];
    struct course_options options = {.mode = COURSE_WINDOW, .window = 8, .step = 4, .warmup = 1, .seconds = 1};
    begin_course(&c, flows, options, NS_PER_S);
    for (unsigned i = 0; i < 4; i++) assert_int_equal(granted[i], 8);
    send_all(&c, &flows[0], NS_PER_S);
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(course_arrived(&c, &flows[0], i), FLOW_GOOD);
    assert_int_equal(granted[0], 8);
    assert_int_equal(course_arrived(&c, &flows[0], 3), FLOW_GOOD);
    assert_int_equal(granted[0], 12);
}

static void test_tokens_go_round(void **state) {
    (void)state;
    struct course c;
    struct flow flows[4];
    struct course_options options = {
        .mode = COURSE_WINDOW, .window = 1, .tokens = 12, .gather = 4, .warmup = 1, .seconds = 1};
    begin_course(&c, flows, options, NS_PER_S);
    course_step(&c, NS_PER_S);
    static const uint32_t wanted[] = {4, 4, 4, 0};
    for (unsigned i = 0; i < 4; i++) assert_int_equal(granted[i], wanted[i]);
    send_all(&c, &flows[1], NS_PER_S);
    for (uint64_t i = 0; i < 4; i++) assert_int_equal(course_arrived(&c, &flows[1], i), FLOW_GOOD);
    course_step(&c, NS_PER_S);
    assert_int_equal(granted[3], 4);
}

/* 4000 per second, two at a time: in 10 ms 40 are due, whatever came of them; what leaves 2 ms late is behind. */
static void test_a_schedule_waits_for_nobody(void **state) {
    (void)state;
    struct course c;
    struct flow flows[4];
    struct course_options options = {.mode = COURSE_RATE, .rate = 4000, .gather = 2, .warmup = 100, .seconds = 1};
    begin_course(&c, flows, options, NS_PER_S);
    for (uint64_t ms = 0; ms <= 10; ms++) course_step(&c, NS_PER_S + ms * NS_PER_MS);
    for (unsigned i = 0; i < 4; i++) assert_int_equal(granted[i], 10);
    (void)course_leaves(&c, &flows[0], NS_PER_S + NS_PER_MS);
    assert_int_equal(c.behind, 0);
    (void)course_leaves(&c, &flows[0], NS_PER_S + 3 * NS_PER_MS);
    assert_int_equal(c.behind, 1);
}

static int start(void **state) {
    (void)state;
    return sys_init();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_lines),
        cmocka_unit_test(test_wrong_command_lines),
        cmocka_unit_test(test_a_request),
        cmocka_unit_test(test_a_long_request),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_an_endpoint),
        cmocka_unit_test(test_what_is_no_endpoint),
        cmocka_unit_test(test_an_honest_relay),
        cmocka_unit_test(test_what_is_lost_is_sent_again),
        cmocka_unit_test(test_a_relay_that_is_not_ready),
        cmocka_unit_test(test_a_relay_that_does_not_answer),
        cmocka_unit_test(test_a_lying_relay),
        cmocka_unit_test(test_datagrams_of_nobody),
        cmocka_unit_test(test_failures_are_counted),
        cmocka_unit_test(test_a_window_is_refilled_in_steps),
        cmocka_unit_test(test_tokens_go_round),
        cmocka_unit_test(test_a_schedule_waits_for_nobody),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
