/* DERP frames: every length rule for every reader, golden bytes, views, rewrites. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/derp.h"

#define ACC DERP_ACCEPT
#define SKP DERP_SKIP
#define SHORT DERP_REFUSE_TOO_SHORT
#define LONG DERP_REFUSE_TOO_LONG
#define WRONG DERP_REFUSE_WRONG_LENGTH
#define PERM DERP_REFUSE_NOT_PERMITTED
#define UNEXP DERP_REFUSE_UNEXPECTED

struct rule_row {
    uint8_t type;
    uint32_t length;
    enum derp_verdict client, mesh;  // a server's verdict on a regular client, on a mesh peer
};

static void test_server_rules(void **state) {
    (void)state;
    static const struct rule_row rows[] = {
        {DERP_SEND_PACKET, 0, SHORT, SHORT},
        {DERP_SEND_PACKET, 31, SHORT, SHORT},
        {DERP_SEND_PACKET, 32, ACC, ACC},
        {DERP_SEND_PACKET, 32 + 65536, ACC, ACC},
        {DERP_SEND_PACKET, 32 + 65537, LONG, LONG},
        {DERP_SEND_PACKET, UINT32_MAX, LONG, LONG},
        {DERP_NOTE_PREFERRED, 0, WRONG, WRONG},
        {DERP_NOTE_PREFERRED, 1, ACC, ACC},
        {DERP_NOTE_PREFERRED, 2, WRONG, WRONG},
        {DERP_FORWARD_PACKET, 0, PERM, SHORT},
        {DERP_FORWARD_PACKET, 63, PERM, SHORT},
        {DERP_FORWARD_PACKET, 64, PERM, ACC},
        {DERP_FORWARD_PACKET, 64 + 65536, PERM, ACC},
        {DERP_FORWARD_PACKET, 64 + 65537, PERM, LONG},
        {DERP_WATCH_CONNS, 0, PERM, ACC},
        {DERP_WATCH_CONNS, 1, WRONG, WRONG},
        {DERP_CLOSE_PEER, 31, WRONG, WRONG},
        {DERP_CLOSE_PEER, 32, PERM, ACC},
        {DERP_CLOSE_PEER, 33, WRONG, WRONG},
        {DERP_PING, 0, SHORT, SHORT},
        {DERP_PING, 7, SHORT, SHORT},
        {DERP_PING, 8, ACC, ACC},
        {DERP_PING, 1000, ACC, ACC},
        {DERP_PING, 1001, LONG, LONG},
        {DERP_SERVER_KEY, 40, SKP, SKP},
        {DERP_CLIENT_INFO, 100, SKP, SKP},
        {DERP_CLIENT_INFO, UINT32_MAX, LONG, LONG},
        {DERP_SERVER_INFO, 60, SKP, SKP},
        {DERP_RECV_PACKET, 5, SKP, SKP},
        {DERP_KEEP_ALIVE, 0, SKP, SKP},
        {DERP_PEER_GONE, 33, SKP, SKP},
        {DERP_PEER_PRESENT, 51, SKP, SKP},
        {DERP_PONG, 8, SKP, SKP},
        {DERP_HEALTH, 1, SKP, SKP},
        {DERP_RESTARTING, 8, SKP, SKP},
        {0x00, 0, SKP, SKP},
        {0x0b, UINT32_MAX, LONG, LONG},
        {0x0b, 65568, SKP, SKP},
        {0x0b, 65569, LONG, LONG},
        {0x48, 0x5454502f, LONG, LONG},
        {0xff, 1, SKP, SKP},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        assert_int_equal(derp_frame_check(DERP_SERVER, rows[i].type, rows[i].length), rows[i].client);
        assert_int_equal(derp_frame_check(DERP_SERVER_MESH, rows[i].type, rows[i].length), rows[i].mesh);
    }
}

static void test_client_rules(void **state) {
    (void)state;
    static const struct {
        uint8_t type;
        uint32_t length;
        enum derp_verdict verdict;
    } rows[] = {
        {DERP_SERVER_KEY, 40, SKP},
        {DERP_SERVER_INFO, 23, SHORT},
        {DERP_SERVER_INFO, 24, ACC},
        {DERP_SERVER_INFO, 1 << 20, ACC},
        {DERP_RECV_PACKET, 31, SKP},
        {DERP_RECV_PACKET, 32, ACC},
        {DERP_RECV_PACKET, 1 << 20, ACC},
        {DERP_KEEP_ALIVE, 0, ACC},
        {DERP_KEEP_ALIVE, 9, ACC},
        {DERP_PEER_GONE, 31, SKP},
        {DERP_PEER_GONE, 32, ACC},
        {DERP_PEER_GONE, 99, ACC},
        {DERP_PEER_PRESENT, 31, SKP},
        {DERP_PEER_PRESENT, 32, ACC},
        {DERP_PING, 7, SKP},
        {DERP_PING, 8, ACC},
        {DERP_PING, 2000, ACC},
        {DERP_PONG, 7, SKP},
        {DERP_PONG, 8, ACC},
        {DERP_HEALTH, 0, ACC},
        {DERP_RESTARTING, 7, SKP},
        {DERP_RESTARTING, 8, ACC},
        {DERP_SEND_PACKET, 40, SKP},
        {0x77, 5, SKP},
        {0x77, 1 << 20, SKP},
        {0x77, (1 << 20) + 1, LONG},
        {DERP_RECV_PACKET, (1 << 20) + 1, LONG},
        {DERP_KEEP_ALIVE, UINT32_MAX, LONG},
        {0x48, 0x5454502f, LONG},  // "HTTP/": an HTTP answer where frames were due
    };
    for (size_t i = 0; i < array_count(rows); i++)
        assert_int_equal(derp_frame_check(DERP_CLIENT, rows[i].type, rows[i].length), rows[i].verdict);
}

static void test_greeting_rules(void **state) {
    (void)state;
    static const struct {
        enum derp_side side;
        uint8_t type;
        uint32_t length;
        enum derp_verdict verdict;
    } rows[] = {
        {DERP_SERVER_GREETING, DERP_CLIENT_INFO, 55, SHORT},
        {DERP_SERVER_GREETING, DERP_CLIENT_INFO, 56, ACC},
        {DERP_SERVER_GREETING, DERP_CLIENT_INFO, 262144, ACC},
        {DERP_SERVER_GREETING, DERP_CLIENT_INFO, 262145, LONG},
        {DERP_SERVER_GREETING, DERP_SEND_PACKET, 40, UNEXP},
        {DERP_SERVER_GREETING, DERP_PING, 8, UNEXP},
        {DERP_SERVER_GREETING, 0x77, 0, UNEXP},
        {DERP_CLIENT_GREETING, DERP_SERVER_KEY, 39, SHORT},
        {DERP_CLIENT_GREETING, DERP_SERVER_KEY, 40, ACC},
        {DERP_CLIENT_GREETING, DERP_SERVER_KEY, 1024, ACC},
        {DERP_CLIENT_GREETING, DERP_SERVER_KEY, 1025, LONG},
        {DERP_CLIENT_GREETING, DERP_SERVER_INFO, 53, UNEXP},
        {DERP_CLIENT_GREETING, DERP_KEEP_ALIVE, 0, UNEXP},
    };
    for (size_t i = 0; i < array_count(rows); i++)
        assert_int_equal(derp_frame_check(rows[i].side, rows[i].type, rows[i].length), rows[i].verdict);
}

/* What w wrote into `bytes`, against hex digits. */
static void expect_bytes(const uint8_t *bytes, const struct writer *w, const char *hex) {
    uint8_t due[256];
    size_t due_size = 0;
    assert_true(writer_ok(w));
    assert_int_equal(sodium_hex2bin(due, sizeof(due), hex, strlen(hex), " ", &due_size, NULL), 0);
    assert_int_equal((size_t)(w->at - bytes), due_size);
    assert_memory_equal(bytes, due, due_size);
}

#define KEY11 "1111111111111111111111111111111111111111111111111111111111111111"
#define KEY22 "2222222222222222222222222222222222222222222222222222222222222222"

static struct node_key key_of(uint8_t byte) {
    struct node_key key;
    memset(key.bytes, byte, sizeof(key.bytes));
    return key;
}

static void test_golden_frames(void **state) {
    (void)state;
    struct node_key k11 = key_of(0x11), k22 = key_of(0x22), server;
    const uint8_t ping[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const char *hex = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";
    assert_int_equal(key_parse_hex(hex, 64, &server), KEY_OK);
    uint8_t b[256];
    struct writer w;
#define EXPECT(call, bytes)          \
    do {                             \
        w = writer_of(b, sizeof(b)); \
        call;                        \
        expect_bytes(b, &w, bytes);  \
    } while (0)
    EXPECT(derp_write_server_key(&w, &server),
           "0100000028 44455250f09f9491 8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
    struct derp_peer_present peer = {
        .key = &k11, .ip = {[10] = 0xff, 0xff, 192, 0, 2, 1}, .port = 54321, .flags = DERP_PRESENT_IS_REGULAR};
    EXPECT(derp_write_peer_present(&w, &peer), "0900000034" KEY11 "00000000000000000000ffffc0000201 d431 01 00");
    peer.app_name = "abc";
    peer.app_name_size = 3;
    EXPECT(derp_write_peer_present(&w, &peer), "0900000037" KEY11 "00000000000000000000ffffc0000201 d431 01 03 616263");
    EXPECT(derp_write_keep_alive(&w), "0600000000");
    EXPECT(derp_write_ping(&w, ping), "1200000008 0102030405060708");
    EXPECT(derp_write_pong(&w, ping), "1300000008 0102030405060708");
    EXPECT(derp_write_peer_gone(&w, &k11, DERP_GONE_NOT_HERE), "0800000021" KEY11 "01");
    EXPECT(derp_write_recv(&w, &k11, "ab", 2), "0500000022" KEY11 "6162");
    EXPECT(derp_write_recv(&w, &k11, NULL, 0), "0500000020" KEY11);
    EXPECT(derp_write_send(&w, &k22, "ab", 2), "0400000022" KEY22 "6162");
    EXPECT(derp_write_forward(&w, &k11, &k22, "ab", 2), "0a00000042" KEY11 KEY22 "6162");
    EXPECT(derp_write_note_preferred(&w, true), "0700000001 01");
    EXPECT(derp_write_note_preferred(&w, false), "0700000001 00");
    EXPECT(derp_write_watch_conns(&w), "1000000000");
    EXPECT(derp_write_close_peer(&w, &k22), "1100000020" KEY22);
    EXPECT(derp_write_health(&w, "dup", 3), "1400000003 647570");
    EXPECT(derp_write_health(&w, NULL, 0), "1400000000");
    EXPECT(derp_write_restarting(&w, 1000, 0x10203), "1500000008 000003e8 00010203");
    EXPECT(derp_write_header(&w, DERP_SEND_PACKET, 0x01020304), "0401020304");
}

static void test_no_room_writes_nothing(void **state) {
    (void)state;
    struct node_key key = key_of(0x33);
    for (size_t size = 0; size < DERP_HEADER_SIZE + KEY_SIZE + 2; size++) {
        uint8_t b[64] = {0}, zero[64] = {0};
        struct writer w = writer_of(b, size);
        derp_write_recv(&w, &key, "ab", 2);
        assert_false(writer_ok(&w));
        assert_memory_equal(b, zero, sizeof(b));
    }
}

static void test_packet_views(void **state) {
    (void)state;
    uint8_t p[70];
    memset(p, 0x11, 32);
    memset(p + 32, 0x22, 32);
    memset(p + 64, 0x33, 6);
    struct derp_send send;
    struct derp_recv recv;
    struct derp_forward forward;
    assert_true(derp_read_send(p, 70, &send));
    assert_ptr_equal(send.dst, p);
    assert_ptr_equal(send.data, p + 32);
    assert_int_equal(send.data_size, 38);
    assert_true(derp_read_send(p, 32, &send));
    assert_int_equal(send.data_size, 0);
    assert_false(derp_read_send(p, 31, &send));
    assert_true(derp_read_recv(p, 33, &recv));
    assert_ptr_equal(recv.src, p);
    assert_int_equal(recv.data_size, 1);
    assert_false(derp_read_recv(p, 31, &recv));
    assert_true(derp_read_forward(p, 70, &forward));
    assert_ptr_equal(forward.src, p);
    assert_ptr_equal(forward.dst, p + 32);
    assert_ptr_equal(forward.data, p + 64);
    assert_int_equal(forward.data_size, 6);
    assert_false(derp_read_forward(p, 63, &forward));
}

static void test_peer_gone_is_tolerant(void **state) {
    (void)state;
    uint8_t p[40];
    memset(p, 0x11, sizeof(p));
    struct derp_peer_gone gone;
    assert_false(derp_read_peer_gone(p, 31, &gone));
    assert_true(derp_read_peer_gone(p, 32, &gone));
    assert_int_equal(gone.reason, DERP_GONE_DISCONNECTED);
    assert_true(derp_read_peer_gone(p, 33, &gone));
    assert_int_equal(gone.reason, 0x11);
    assert_true(derp_read_peer_gone(p, 40, &gone));
    assert_ptr_equal(gone.key, p);
}

static void test_peer_present_is_tolerant(void **state) {
    (void)state;
    struct node_key key = key_of(0x11);
    struct derp_peer_present in = {
        .key = &key, .ip = {[15] = 1}, .port = 7, .flags = 2, .app_name = "abc", .app_name_size = 3};
    uint8_t b[80] = {0};
    struct writer w = writer_of(b, sizeof(b));
    derp_write_peer_present(&w, &in);
    const uint8_t *p = b + DERP_HEADER_SIZE;
    for (size_t length = 0; length <= 60; length++) {
        struct derp_peer_present out;
        assert_int_equal(derp_read_peer_present(p, length, &out), length >= 32);
        if (length < 32) continue;
        assert_true(key_equal(out.key, &key));
        assert_int_equal(out.ip[15], length >= 50 ? 1 : 0);
        assert_int_equal(out.port, length >= 50 ? 7 : 0);
        assert_int_equal(out.flags, length >= 51 ? 2 : 0);
        assert_int_equal(out.app_name_size, length >= 55 ? 3 : 0);
        if (out.app_name_size) assert_memory_equal(out.app_name, "abc", 3);
    }
}

static void test_small_views(void **state) {
    (void)state;
    uint8_t p[64] = {0, 0, 3, 0xe8, 0, 1, 2, 3, 9};
    const uint8_t *data;
    struct derp_restarting restarting;
    const struct node_key *key;
    bool is_home;
    assert_false(derp_read_ping(p, 7, &data));
    assert_true(derp_read_ping(p, 9, &data));
    assert_ptr_equal(data, p);
    assert_false(derp_read_restarting(p, 7, &restarting));
    assert_true(derp_read_restarting(p, 9, &restarting));
    assert_int_equal(restarting.reconnect_in_ms, 1000);
    assert_int_equal(restarting.try_for_ms, 0x10203);
    assert_false(derp_read_note_preferred(p, 0, &is_home));
    assert_false(derp_read_note_preferred(p, 2, &is_home));
    assert_true(derp_read_note_preferred(p, 1, &is_home) && !is_home);
    assert_true(derp_read_note_preferred(p + 3, 1, &is_home) && is_home);
    assert_false(derp_read_close_peer(p, 31, &key));
    assert_false(derp_read_close_peer(p, 33, &key));
    assert_true(derp_read_close_peer(p, 32, &key));
}

static void test_server_key_view(void **state) {
    (void)state;
    uint8_t b[2048] = {0};
    struct node_key key = key_of(0x55), out;
    struct writer w = writer_of(b, sizeof(b));
    derp_write_server_key(&w, &key);
    uint8_t *p = b + DERP_HEADER_SIZE;
    assert_true(derp_read_server_key(p, 40, &out));
    assert_true(key_equal(&out, &key));
    assert_true(derp_read_server_key(p, 1024, &out));
    assert_false(derp_read_server_key(p, 1025, &out));
    assert_false(derp_read_server_key(p, 39, &out));
    p[7] ^= 1;
    assert_false(derp_read_server_key(p, 40, &out));
    p[7] ^= 1;
    memset(p + 8, 0, 32);
    assert_false(derp_read_server_key(p, 40, &out));
}

static void test_disco(void **state) {
    (void)state;
    uint8_t p[64] = "\x54\x53\xf0\x9f\x92\xac";
    assert_true(derp_is_disco(p, 62));
    assert_true(derp_is_disco(p, 64));
    assert_false(derp_is_disco(p, 61));
    assert_false(derp_is_disco(NULL, 0));
    p[5]++;
    assert_false(derp_is_disco(p, 62));
}

static void test_present_flags(void **state) {
    (void)state;
    assert_int_equal(derp_present_flags(false, false, false), 1);
    assert_int_equal(derp_present_flags(true, false, false), 2);
    assert_int_equal(derp_present_flags(false, true, false), 4);
    assert_int_equal(derp_present_flags(false, false, true), 8);
    assert_int_equal(derp_present_flags(true, true, true), 14);
}

/* Each rewrite gives the bytes that a fresh encoding gives. */
static void test_rewrites(void **state) {
    (void)state;
    struct node_key src = key_of(0xaa), dst = key_of(0xbb);
    uint8_t data[1500];
    for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 7);
    for (size_t size = 0; size <= sizeof(data); size += 50) {
        uint8_t room[KEY_SIZE + 2000], due[2000];
        struct writer w = writer_of(room + KEY_SIZE, 2000), d = writer_of(due, sizeof(due));
        derp_write_send(&w, &dst, data, size);
        derp_write_forward(&d, &src, &dst, data, size);
        uint8_t *frame = derp_rewrite_send_to_forward(room + KEY_SIZE, &src);
        assert_ptr_equal(frame, room);
        assert_memory_equal(frame, due, DERP_FORWARD_HEAD_SIZE + size);

        d = writer_of(due, sizeof(due));
        derp_write_recv(&d, &src, data, size);
        frame = derp_rewrite_forward_to_recv(frame);
        assert_ptr_equal(frame, room + KEY_SIZE);
        assert_memory_equal(frame, due, DERP_SEND_HEAD_SIZE + size);

        w = writer_of(room, 2000);
        derp_write_send(&w, &dst, data, size);
        derp_rewrite_send_to_recv(room, &src);
        assert_memory_equal(room, due, DERP_SEND_HEAD_SIZE + size);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(derp_frame_type_name(DERP_SEND_PACKET), "SendPacket");
    assert_string_equal(derp_frame_type_name(0x0b), "unknown frame");
    assert_string_equal(derp_frame_type_name(0xff), "unknown frame");
    for (int v = 0; v < DERP_VERDICT_COUNT; v++) assert_non_null(derp_verdict_name((enum derp_verdict)v));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_rules),
        cmocka_unit_test(test_client_rules),
        cmocka_unit_test(test_greeting_rules),
        cmocka_unit_test(test_golden_frames),
        cmocka_unit_test(test_no_room_writes_nothing),
        cmocka_unit_test(test_packet_views),
        cmocka_unit_test(test_peer_gone_is_tolerant),
        cmocka_unit_test(test_peer_present_is_tolerant),
        cmocka_unit_test(test_small_views),
        cmocka_unit_test(test_server_key_view),
        cmocka_unit_test(test_disco),
        cmocka_unit_test(test_present_flags),
        cmocka_unit_test(test_rewrites),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
