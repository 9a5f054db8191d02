/* The load generator's judgement: what it calls right, lost, reordered and wrong, and how exact its percentiles are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/sys.h"
#include "perf/derpload/send_frame.h"
#include "perf/load/histogram.h"
#include "perf/derpload/options.h"
#include "perf/derpload/plan.h"

/* ---- histogram ---- */

static void assert_near(uint64_t value, uint64_t wanted) {
    uint64_t slack = wanted / 100;
    assert_in_range(value, wanted - slack, wanted + slack);
}

static void test_percentiles_are_within_one_percent(void **state) {
    (void)state;
    static struct histogram h;
    static const uint64_t scales[] = {1, 7, 1000, 999983, 123456789};
    for (size_t s = 0; s < array_count(scales); s++) {
        histogram_clear(&h);
        for (uint64_t i = 1; i <= 10000; i++) histogram_add(&h, (i * 7919 % 10000 + 1) * scales[s]);
        assert_int_equal(h.count, 10000);
        assert_int_equal(h.min, scales[s]);
        assert_int_equal(h.max, 10000 * scales[s]);
        assert_near(histogram_percentile(&h, 5000), 5000 * scales[s]);
        assert_near(histogram_percentile(&h, 9000), 9000 * scales[s]);
        assert_near(histogram_percentile(&h, 9900), 9900 * scales[s]);
        assert_near(histogram_percentile(&h, 9990), 9990 * scales[s]);
        assert_int_equal(histogram_percentile(&h, 10000), 10000 * scales[s]);
        assert_near(histogram_percentile(&h, 0), scales[s]);
    }
}

/* One outlier of 1000 is beyond p99 and is p99.9's next neighbour. */
static void test_a_tail_is_seen(void **state) {
    (void)state;
    static struct histogram h;
    histogram_clear(&h);
    for (unsigned i = 0; i < 999; i++) histogram_add(&h, 100 * 1000);
    histogram_add(&h, 50 * 1000 * 1000);
    assert_near(histogram_percentile(&h, 9900), 100 * 1000);
    assert_near(histogram_percentile(&h, 9990), 100 * 1000);
    assert_int_equal(histogram_percentile(&h, 9991), 50 * 1000 * 1000);
}

static void test_every_bucket_boundary_keeps_its_value(void **state) {
    (void)state;
    static struct histogram h;
    for (unsigned bit = 0; bit < HISTOGRAM_BITS; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)off;
            histogram_clear(&h);
            histogram_add(&h, value);
            histogram_add(&h, value);
            histogram_add(&h, value * 4);
            assert_near(histogram_percentile(&h, 5000), value);
        }
    }
}

static void test_the_ends_of_a_histogram(void **state) {
    (void)state;
    static struct histogram h;
    histogram_clear(&h);
    assert_int_equal(histogram_percentile(&h, 5000), 0);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(histogram_percentile(&h, 5000), UINT64_MAX);
    assert_int_equal(h.max, UINT64_MAX);
}

/* ---- contents ---- */

static void make(struct contents *c, uint32_t size) {
    struct rng rng;
    rng_init_seeded(&rng, size);
    assert_true(send_frames_init(c, size, &rng));
}

static const struct node_key somebody = {{1, 2, 3}};

static void test_frames_are_packets_that_pass(void **state) {
    (void)state;
    static const uint32_t sizes[] = {CONTENTS_SIZE_MIN, 33, 64, 1400, 16000, 65535, 65536};
    for (size_t s = 0; s < array_count(sizes); s++) {
        struct contents c;
        struct contents_stamp stamp;
        struct derp_send send;
        make(&c, sizes[s]);
        for (uint64_t i = 0; i < 200; i++) {
            struct flow f = {.id = (uint32_t)(i % 7), .sent = i, .to_key = somebody};
            uint8_t *frame = send_frame(&c, &f, 5 * i);
            assert_int_equal(frame[0], DERP_SEND_PACKET);
            assert_int_equal(load_be32(frame + 1), KEY_SIZE + sizes[s]);
            assert_true(derp_read_send(frame + DERP_HEADER_SIZE, load_be32(frame + 1), &send));
            assert_true(key_equal(send.dst, &somebody));
            assert_int_equal(contents_check(&c, send.data, send.data_size, &stamp), CONTENTS_GOOD);
            assert_int_equal(stamp.flow, i % 7);
            assert_int_equal(stamp.sequence, i);
            assert_int_equal(stamp.sent_ns, 5 * i);
        }
        contents_fini(&c);
    }
}

/* Each single bit of a packet. */
static void test_a_wrong_bit_is_noticed(void **state) {
    (void)state;
    static const uint32_t sizes[] = {CONTENTS_SIZE_MIN, 64, 1400};
    for (size_t s = 0; s < array_count(sizes); s++) {
        struct contents c;
        struct contents_stamp stamp;
        make(&c, sizes[s]);
        uint8_t *data = malloc(sizes[s]);
        assert_non_null(data);
        memcpy(data, contents_frame(&c, 3, 12345, 678) + DERP_SEND_HEAD_SIZE, sizes[s]);
        for (uint32_t bit = 0; bit < 8 * sizes[s]; bit++) {
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(contents_check(&c, data, sizes[s], &stamp), CONTENTS_GOOD);
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(contents_check(&c, data, sizes[s], &stamp), CONTENTS_GOOD);
        free(data);
        contents_fini(&c);
    }
}

/* A stamp with another packet's body, as a relay that mixes up its buffers would give. */
static void test_a_neighbours_body_is_noticed(void **state) {
    (void)state;
    struct contents c;
    struct contents_stamp stamp;
    uint8_t data[1400];
    make(&c, sizeof(data));
    for (uint64_t next = 1; next <= 8; next++) {
        memcpy(data, contents_frame(&c, 2, 100 + next, 9) + DERP_SEND_HEAD_SIZE, sizeof(data));
        memcpy(data, contents_frame(&c, 2, 100, 9) + DERP_SEND_HEAD_SIZE, sizeof(stamp));
        assert_int_equal(contents_check(&c, data, sizeof(data), &stamp), CONTENTS_WRONG_BODY);
        memcpy(data, contents_frame(&c, 2 + (uint32_t)next, 100, 9) + DERP_SEND_HEAD_SIZE, sizeof(data));
        memcpy(data, contents_frame(&c, 2, 100, 9) + DERP_SEND_HEAD_SIZE, sizeof(stamp));
        assert_int_equal(contents_check(&c, data, sizeof(data), &stamp), CONTENTS_WRONG_BODY);
    }
    contents_fini(&c);
}

static void test_other_packets_do_not_pass(void **state) {
    (void)state;
    struct contents c, other;
    struct contents_stamp stamp;
    make(&c, 100);
    make(&other, 101);
    const uint8_t *data = contents_frame(&c, 1, 1, 1) + DERP_SEND_HEAD_SIZE;
    assert_int_equal(contents_check(&c, data, 99, &stamp), CONTENTS_WRONG_SIZE);
    assert_int_equal(contents_check(&c, data, 0, &stamp), CONTENTS_WRONG_SIZE);
    assert_int_equal(contents_check(&other, data, 101, &stamp), CONTENTS_WRONG_STAMP);
    contents_fini(&other);
    make(&other, 100);
    other.secret++;  // another run
    assert_int_equal(contents_check(&other, data, 100, &stamp), CONTENTS_WRONG_STAMP);
    contents_fini(&other);
    contents_fini(&c);
}

/* ---- flow ---- */

static void test_numbers_that_rise_are_good(void **state) {
    (void)state;
    struct flow f;
    flow_init(&f, 0, 1, 2);
    for (uint64_t i = 0; i < 5000; i++) {
        f.sent++;
        assert_int_equal(flow_under_way(&f), 1);
        assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
        assert_int_equal(flow_under_way(&f), 0);
    }
    assert_int_equal(f.verified, 5000);
    assert_int_equal(f.reordered, 0);
}

static void test_a_repeated_number_is_a_failure(void **state) {
    (void)state;
    struct flow f;
    flow_init(&f, 0, 1, 2);
    f.sent = 5000;
    for (uint64_t i = 0; i < 3000; i++) {
        assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
        assert_int_equal(flow_receive(&f, i), FLOW_REPEATED);
        if (i > 10) assert_int_equal(flow_receive(&f, i - 10), FLOW_REPEATED);
    }
    assert_int_equal(flow_receive(&f, 0), FLOW_REPEATED);
    assert_int_equal(f.verified, 3000);
}

static void test_a_number_that_was_never_sent_is_a_failure(void **state) {
    (void)state;
    struct flow f;
    flow_init(&f, 0, 1, 2);
    f.sent = 10;
    assert_int_equal(flow_receive(&f, 10), FLOW_NEVER_SENT);
    assert_int_equal(flow_receive(&f, UINT64_MAX), FLOW_NEVER_SENT);
    assert_int_equal(flow_receive(&f, 9), FLOW_GOOD);
}

/* Every second number is late by seven; all are counted once. */
static void test_lower_numbers_are_reordered(void **state) {
    (void)state;
    struct flow f;
    flow_init(&f, 0, 1, 2);
    f.sent = 4000;
    flow_range_start(&f);
    f.range_begin = 0;
    for (uint64_t i = 0; i < 4000; i += 2) {
        assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
        if (i >= 8) assert_int_equal(flow_receive(&f, i - 7), FLOW_GOOD);
        if (i >= 8) assert_int_equal(flow_receive(&f, i - 7), FLOW_REPEATED);
    }
    flow_range_stop(&f);
    assert_int_equal(f.reordered, 1996);
    assert_int_equal(flow_range_missing(&f), 4);
}

static void test_gaps_are_remembered(void **state) {
    (void)state;
    static const uint64_t gaps[] = {1, 63, 64, 65, 1000, FLOW_MEMORY - 1, FLOW_MEMORY, FLOW_MEMORY + 1, 100000};
    for (size_t g = 0; g < array_count(gaps); g++) {
        struct flow f;
        flow_init(&f, 0, 1, 2);
        f.sent = 1000000;
        for (uint64_t i = 0; i < 2000; i++) assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
        uint64_t beyond = 2000 + gaps[g];
        assert_int_equal(flow_receive(&f, beyond), FLOW_GOOD);
        // What was jumped over is no repetition as long as it is remembered; beyond that nobody can tell.
        for (uint64_t i = 2000; i < beyond; i++) {
            enum flow_verdict wanted = beyond + 1 - i <= FLOW_MEMORY ? FLOW_GOOD : FLOW_REPEATED;
            assert_int_equal(flow_receive(&f, i), wanted);
        }
        assert_int_equal(flow_receive(&f, 1999), FLOW_REPEATED);
        assert_int_equal(flow_receive(&f, beyond), FLOW_REPEATED);
    }
}

static void test_what_does_not_come_is_written_off(void **state) {
    (void)state;
    struct flow f;
    flow_init(&f, 0, 1, 2);
    f.sent = 32;
    for (uint64_t i = 0; i < 20; i++) assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
    assert_int_equal(flow_scan(&f, 3), 0);  // something has come since the last
    assert_int_equal(flow_scan(&f, 3), 0);
    assert_int_equal(flow_scan(&f, 3), 0);
    assert_int_equal(flow_scan(&f, 3), 12);
    assert_int_equal(flow_under_way(&f), 0);
    assert_int_equal(flow_scan(&f, 3), 0);
    assert_int_equal(flow_receive(&f, 25), FLOW_GOOD);  // late, not wrong; its credit came back before
    assert_int_equal(flow_under_way(&f), 0);
    f.sent++;
    assert_int_equal(flow_under_way(&f), 1);
    assert_int_equal(flow_receive(&f, 32), FLOW_GOOD);
    assert_int_equal(flow_under_way(&f), 0);
}

/* Packets that are under way at either end of the measured time belong to where they were sent. */
static void test_a_range_counts_what_was_sent_in_it(void **state) {
    (void)state;
    struct flow f;
    flow_init(&f, 0, 1, 2);
    f.sent = 10;
    for (uint64_t i = 0; i < 5; i++) assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
    flow_range_start(&f);
    f.sent = 20;
    for (uint64_t i = 5; i < 12; i++) assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
    flow_range_stop(&f);
    f.sent = 25;
    assert_int_equal(flow_range_sent(&f), 10);
    assert_int_equal(flow_range_missing(&f), 8);
    for (uint64_t i = 13; i < 25; i++) assert_int_equal(flow_receive(&f, i), FLOW_GOOD);
    assert_int_equal(flow_range_missing(&f), 1);
}

/* ---- plan ---- */

static void plan(struct plan *p, const char *pattern, const char *count_option, const char *n) {
    struct options o = {.command = COMMAND_RELAY};
    char *argv[] = {(char *)(uintptr_t)"http://x", (char *)(uintptr_t)"--pattern", (char *)(uintptr_t)pattern,
                    (char *)(uintptr_t)count_option, (char *)(uintptr_t)n};
    char why[OPTIONS_WHY_MAX];
    struct rng rng;
    rng_init_seeded(&rng, 1);
    assert_true(options_parse(&o, array_count(argv), argv, why));
    assert_true(plan_make(p, &o, &rng));
}

/* No flow to oneself, none twice; every client has its part. */
static void judge_plan(struct plan *p, uint32_t clients, uint32_t flows) {
    uint8_t *seen = calloc((size_t)clients * clients, 1), *has_part = calloc(clients, 1);
    assert_non_null(seen);
    assert_non_null(has_part);
    assert_int_equal(p->clients, clients);
    assert_int_equal(p->flows_count, flows);
    for (uint32_t i = 0; i < flows; i++) {
        const struct flow *f = &p->flows[p->order[i]];
        assert_true(f->from < clients && f->to < clients && f->from != f->to);
        assert_int_equal(seen[f->from * clients + f->to]++, 0);
        assert_int_equal(p->place[f->id], i);
        has_part[f->from] = has_part[f->to] = 1;
    }
    for (uint32_t i = 0; i < clients; i++) assert_int_equal(has_part[i], 1);
    free(seen);
    free(has_part);
    plan_free(p);
}

static void test_plans(void **state) {
    (void)state;
    struct plan p;
    plan(&p, "pairs", "--pairs", "10");
    judge_plan(&p, 20, 10);
    plan(&p, "fan-in", "--pairs", "9");
    assert_int_equal(p.flows[3].to, p.flows[8].to);
    judge_plan(&p, 10, 9);
    plan(&p, "fan-out", "--pairs", "9");
    assert_int_equal(p.flows[3].from, p.flows[8].from);
    judge_plan(&p, 10, 9);
    plan(&p, "all", "--pairs", "7");
    judge_plan(&p, 7, 42);
    plan(&p, "pairs", "--connections", "101");
    assert_string_equal(p.name, "spread");
    judge_plan(&p, 101, 101);
}

/* ---- options ---- */

static bool parse(struct options *o, enum load_command command, const char *line, char *why) {
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
    char why[OPTIONS_WHY_MAX];
    assert_true(parse(&o, COMMAND_RELAY, "https://x", why));
    assert_int_equal(o.pairs, 10);
    assert_int_equal(o.size, 1400);
    assert_int_equal(o.window, 32);
    assert_int_equal(o.records_per_write, 8);
    assert_int_equal(o.mode, COURSE_WINDOW);
    assert_int_equal(o.cpu, -1);
    assert_true(parse(&o, COMMAND_RELAY, "--rate=5000 https://x --cpu 0 --server-pid 7 --write-size 6000 --json", why));
    assert_int_equal(o.mode, COURSE_RATE);
    assert_int_equal(o.rate, 5000);
    assert_int_equal(o.cpu, 0);
    assert_int_equal(o.server_pid, 7);
    assert_int_equal(o.records_per_write, 4);  // of 1459 bytes
    assert_true(o.wants_json);
    assert_true(parse(&o, COMMAND_RELAY, "https://x --pattern fan-in --pairs 8", why));
    assert_int_equal(o.window, 4);  // 32 to one destination
    assert_true(parse(&o, COMMAND_RTT, "https://x --trust pin:abc", why));
    assert_int_equal(o.size, 64);
    assert_int_equal(o.rate, 500);
    assert_string_equal(o.trust.pin, "abc");
    assert_true(parse(&o, COMMAND_LOGIN, "https://x --seconds 2", why));
    assert_int_equal(o.count, 0);
    assert_true(parse(&o, COMMAND_ECHO, "", why));
}

static void test_command_lines_that_are_wrong(void **state) {
    (void)state;
    static const char *const lines[] = {
        "",
        "https://x https://y",
        "https://x --pairs",
        "https://x --pairs 0",
        "https://x --pairs 1x",
        "https://x --size 31",
        "https://x --size 65537",
        "https://x --rate 5 --flood",
        "https://x --rate 5 --window 2",
        "https://x --realtime",
        "https://x --count 5",
        "https://x --frames-per-record 12",
        "https://x --seconds 0",
        "https://x --seconds -1",
        "https://x --seconds nan",
        "https://x --gather 4",
        "https://x --json=1",
        "https://x --connections 10 --pattern all",
        "https://x --pattern ring",
        "https://x --trust",
        "https://x --trust x",
        "https://x --write-size 1000 --records-per-write 2",
        "https://x --pairsx 4",
        "https://x --server-pid -3",
    };
    for (size_t i = 0; i < array_count(lines); i++) {
        struct options o;
        char why[OPTIONS_WHY_MAX] = "";
        assert_false(parse(&o, COMMAND_RELAY, lines[i], why));
        assert_true(strlen(why) > 10);
    }
}

static int set_up(void **state) {
    (void)state;
    return sys_init();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles_are_within_one_percent),
        cmocka_unit_test(test_a_tail_is_seen),
        cmocka_unit_test(test_every_bucket_boundary_keeps_its_value),
        cmocka_unit_test(test_the_ends_of_a_histogram),
        cmocka_unit_test(test_frames_are_packets_that_pass),
        cmocka_unit_test(test_a_wrong_bit_is_noticed),
        cmocka_unit_test(test_a_neighbours_body_is_noticed),
        cmocka_unit_test(test_other_packets_do_not_pass),
        cmocka_unit_test(test_numbers_that_rise_are_good),
        cmocka_unit_test(test_a_repeated_number_is_a_failure),
        cmocka_unit_test(test_a_number_that_was_never_sent_is_a_failure),
        cmocka_unit_test(test_lower_numbers_are_reordered),
        cmocka_unit_test(test_gaps_are_remembered),
        cmocka_unit_test(test_what_does_not_come_is_written_off),
        cmocka_unit_test(test_a_range_counts_what_was_sent_in_it),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_command_lines),
        cmocka_unit_test(test_command_lines_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
