/* test_metrics.c - the exposition: well-formed, complete, and the sum over the threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/metrics.h"

enum { BLOCKS = 3, TEXT_SIZE = 64 * 1024 };

static struct metrics blocks[BLOCKS];
static const struct metrics *const pointers[BLOCKS] = {&blocks[0], &blocks[1], &blocks[2]};
static const struct metrics_process process = {
    .start_wall_s = 1700000000, .uptime_s = 61, .open_fds = 17, .max_fds = 4096, .version = "9.8.7"};
static char text[TEXT_SIZE + 1];

static int set_up(void **state) {
    (void)state;
    memset(blocks, 0, sizeof(blocks));
    return 0;
}

/* Writes the exposition of the first `count` blocks into `text`. */
static void expose(size_t count) {
    struct writer w = writer_of(text, TEXT_SIZE);
    metrics_write(&w, pointers, count, &process);
    assert_true(writer_ok(&w));
    *w.at = 0;
}

/* The line that begins with `name` and a blank, or NULL. */
static const char *find_line(const char *name) {
    char start[256];
    snprintf(start, sizeof(start), "\n%s ", name);
    const char *found = strncmp(text, start + 1, strlen(start + 1)) == 0 ? text : strstr(text, start);
    if (found != NULL && strstr(found + 1, start) != NULL) fail_msg("%s is there twice", name);
    return found == NULL || found == text ? found : found + 1;
}

static void assert_line(const char *name, uint64_t value) {
    char wanted[256];
    const char *line = find_line(name);
    if (line == NULL) fail_msg("%s is missing", name);
    snprintf(wanted, sizeof(wanted), "%s %llu\n", name, (unsigned long long)value);
    assert_memory_equal(line, wanted, strlen(wanted));
}

/* ---- form ---- */

static size_t name_size(const char *at) {
    return strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789");
}

/* name[{label="value",...}] number */
static void assert_sample(const char *line) {
    const char *at = line + name_size(line);
    assert_true(at > line && !(line[0] >= '0' && line[0] <= '9'));
    if (*at == '{') {
        do {
            at++;
            assert_true(name_size(at) > 0);
            at += name_size(at);
            assert_memory_equal(at, "=\"", 2);
            at += 2 + strcspn(at + 2, "\"\\\n");
            assert_int_equal(*at, '"');
            at++;
        } while (*at == ',');
        assert_int_equal(*at, '}');
        at++;
    }
    char *end;
    assert_int_equal(*at, ' ');
    assert_true(at[1] >= '0' && at[1] <= '9');
    (void)strtod(at + 1, &end);
    if (*end != '\n') fail_msg("not a number: %.60s", line);
}

/* # TYPE name counter|gauge|histogram, and no name has two. */
static void assert_type(const char *line) {
    char name[128], type[16], start[160];
    assert_int_equal(sscanf(line, "# TYPE %127s %15[a-z]", name, type), 2);
    assert_int_equal(name_size(name), strlen(name));
    assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 || strcmp(type, "histogram") == 0);
    snprintf(start, sizeof(start), "# TYPE %s ", name);
    if (strstr(strstr(text, start) + 1, start) != NULL) fail_msg("%s has two types", name);
}

static void test_every_line_is_well_formed(void **state) {
    (void)state;
    expose(BLOCKS);
    size_t size = strlen(text);
    assert_true(size > 0 && text[size - 1] == '\n');
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        if (*line == '#') {
            assert_type(line);
        } else {
            assert_sample(line);
        }
    }
}

static void test_no_sample_is_there_twice(void **state) {
    (void)state;
    expose(BLOCKS);
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        char name[256];
        if (*line == '#') continue;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(line, " "), line);
        assert_ptr_equal(find_line(name), line);
    }
}

static void test_every_metric_of_the_list_has_its_type_above_it(void **state) {
    (void)state;
    expose(BLOCKS);
#define CHECK_TYPE(field, name, type) \
    assert_line(name, 0);             \
    assert_non_null(strstr(text, "# TYPE " name " " type "\n" name " 0\n"));
    METRICS(CHECK_TYPE)
}

/* Those with labels: the type stands once, above the first of the name. */
static void test_every_family_has_its_type_above_it(void **state) {
    (void)state;
    static const char *const names[] = {
        "derp_packets_received_kind", "derp_packets_dropped", "derp_bytes_dropped", "ringrelay_closes",
        "ringrelay_refusals",         "stun_requests",        "stun_addrfamily"};
    expose(BLOCKS);
    for (size_t i = 0; i < array_count(names); i++) {
        char wanted[256];
        snprintf(wanted, sizeof(wanted), "# TYPE %s counter\n%s{", names[i], names[i]);
        if (strstr(text, wanted) == NULL) fail_msg("\"%s\" is missing", wanted);
    }
}

/* ---- what derper's dashboards need ---- */

static void test_every_drop_pair_of_derper_is_there_at_zero(void **state) {
    (void)state;
    static const char *const reasons[] = {"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected", "queue_head",
                                          "queue_tail",   "write_error",         "dup_client"};
    static const char *const kinds[] = {"disco", "other"};
    static const char *const names[] = {"derp_packets_dropped", "derp_bytes_dropped"};
    expose(1);
    for (size_t n = 0; n < array_count(names); n++) {
        for (size_t r = 0; r < array_count(reasons); r++) {
            for (size_t k = 0; k < array_count(kinds); k++) {
                char name[128];
                snprintf(name, sizeof(name), "%s{reason=\"%s\",kind=\"%s\"}", names[n], reasons[r], kinds[k]);
                assert_line(name, 0);
            }
        }
    }
    assert_line("derp_packets_received_kind{kind=\"disco\"}", 0);
    assert_line("derp_packets_received_kind{kind=\"other\"}", 0);
}

static void test_every_reason_is_there(void **state) {
    (void)state;
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) stat_add(&blocks[0].closes[i], 100 + i);
    for (unsigned i = 0; i < REFUSE_REASON_COUNT; i++) stat_add(&blocks[0].refusals[i], 200 + i);
    expose(1);
    for (unsigned i = 0; i < CLOSE_REASON_COUNT; i++) {
        char name[128];
        snprintf(name, sizeof(name), "ringrelay_closes{reason=\"%s\"}", close_reason_label((enum close_reason)i));
        assert_line(name, 100 + i);
    }
    for (unsigned i = 0; i < REFUSE_REASON_COUNT; i++) {
        char name[128];
        snprintf(name, sizeof(name), "ringrelay_refusals{reason=\"%s\"}", refuse_reason_label((enum refuse_reason)i));
        assert_line(name, 200 + i);
    }
}

static void test_stun(void **state) {
    (void)state;
    static const char *const dispositions[] = {"read_error", "not_stun", "write_error", "success"};
    expose(1);
    for (unsigned i = 0; i < array_count(dispositions); i++) {
        char name[128];
        snprintf(name, sizeof(name), "stun_requests{disposition=\"%s\"}", dispositions[i]);
        assert_line(name, 0);
        stat_add(&blocks[0].stun_requests[i], 7 + i);
        stat_add(&blocks[1].stun_requests[i], 100);
        expose(2);
        assert_line(name, 107 + i);
    }
    stat_add(&blocks[0].stun_families[STUN_IPV4], 3);
    stat_add(&blocks[0].stun_families[STUN_IPV6], 4);
    stat_add(&blocks[0].stun_no_local_addr, 5);
    stat_add(&blocks[0].stun_dropped, 6);
    expose(2);
    assert_line("stun_addrfamily{family=\"ipv4\"}", 3);
    assert_line("stun_addrfamily{family=\"ipv6\"}", 4);
    assert_line("stun_no_local_addr", 5);
    assert_line("ringrelay_stun_dropped", 6);
}

static void test_the_process(void **state) {
    (void)state;
    expose(1);
    assert_line("process_open_fds", 17);
    assert_line("process_max_fds", 4096);
    assert_line("process_start_unix_time", 1700000000);
    assert_line("uptime_sec", 61);
    assert_line("version{version=\"9.8.7\",binary=\"ringrelayd\"}", 1);
}

/* ---- values ---- */

/* Each field gets a value of its own in each block, so that a mixed-up row shows. */
static void test_each_field_is_the_sum_over_blocks(void **state) {
    (void)state;
    uint64_t n = 1;
#define SET_FIELD(field, name, type)         \
    stat_add(&blocks[0].field, n);           \
    stat_add(&blocks[1].field, n * 1000);    \
    stat_add(&blocks[2].field, n * 1000000); \
    n++;
    METRICS(SET_FIELD)
    expose(BLOCKS);
    n = 1;
#define CHECK_SUM(field, name, type) assert_line(name, n++ * 1001001);
    METRICS(CHECK_SUM)
    expose(2);
    n = 1;
#define CHECK_SUM_OF_TWO(field, name, type) assert_line(name, n++ * 1001);
    METRICS(CHECK_SUM_OF_TWO)
}

static void test_drops_are_counted_by_reason_and_kind(void **state) {
    (void)state;
    for (unsigned reason = 0; reason < DROP_REASON_COUNT; reason++) {
        for (unsigned i = 0; i <= reason; i++)
            metrics_drop(&blocks[i % BLOCKS], (enum drop_reason)reason, true, 1000 + i);
        metrics_drop(&blocks[2], (enum drop_reason)reason, false, 0);
    }
    expose(BLOCKS);
    for (unsigned reason = 0; reason < DROP_REASON_COUNT; reason++) {
        char name[128];
        const char *label = drop_reason_label((enum drop_reason)reason);
        snprintf(name, sizeof(name), "derp_packets_dropped{reason=\"%s\",kind=\"disco\"}", label);
        assert_line(name, reason + 1);
        snprintf(name, sizeof(name), "derp_bytes_dropped{reason=\"%s\",kind=\"disco\"}", label);
        assert_line(name, (reason + 1) * 1000 + reason * (reason + 1) / 2);
        snprintf(name, sizeof(name), "derp_packets_dropped{reason=\"%s\",kind=\"other\"}", label);
        assert_line(name, 1);  // a packet without data is a packet
        snprintf(name, sizeof(name), "derp_bytes_dropped{reason=\"%s\",kind=\"other\"}", label);
        assert_line(name, 0);
    }
}

static void test_received_kinds(void **state) {
    (void)state;
    stat_add(&blocks[0].packets_received_kind[KIND_DISCO], 3);
    stat_add(&blocks[2].packets_received_kind[KIND_DISCO], 4);
    stat_add(&blocks[1].packets_received_kind[KIND_OTHER], 5);
    expose(BLOCKS);
    assert_line("derp_packets_received_kind{kind=\"disco\"}", 7);
    assert_line("derp_packets_received_kind{kind=\"other\"}", 5);
}

static void test_gauges_go_down(void **state) {
    (void)state;
    stat_add(&blocks[0].connections, 5);
    stat_add(&blocks[1].connections, 2);
    stat_sub(&blocks[0].connections, 4);
    expose(BLOCKS);
    assert_line("derp_current_connections", 3);
    stat_sub(&blocks[0].connections, 1);
    stat_sub(&blocks[1].connections, 2);
    expose(BLOCKS);
    assert_line("derp_current_connections", 0);
    stat_set(&blocks[0].clients_local, 8);
    stat_set(&blocks[0].clients_local, 6);
    expose(BLOCKS);
    assert_line("derp_clients_local", 6);
}

static void test_large_values_are_written_whole(void **state) {
    (void)state;
    stat_add(&blocks[0].bytes_sent, UINT64_MAX - 5);
    expose(BLOCKS);
    assert_line("derp_bytes_sent", UINT64_MAX - 5);
}

/* Sends of 0 to 120 frames: each bucket holds what is at most its bound, and the last holds all. */
static void test_frames_per_send(void **state) {
    (void)state;
    static const uint64_t bounds[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50, 100};
    for (uint32_t frames = 0; frames <= 120; frames++) metrics_observe_frames(&blocks[frames % BLOCKS], frames);
    expose(BLOCKS);
    for (size_t i = 0; i < array_count(bounds); i++) {
        char name[128];
        snprintf(name, sizeof(name), "derp_buffered_write_frames_bucket{le=\"%llu\"}", (unsigned long long)bounds[i]);
        assert_line(name, bounds[i] + 1);
    }
    assert_line("derp_buffered_write_frames_bucket{le=\"+Inf\"}", 121);
    assert_line("derp_buffered_write_frames_count", 121);
    assert_line("derp_buffered_write_frames_sum", 120 * 121 / 2);
    assert_non_null(strstr(text, "# TYPE derp_buffered_write_frames histogram\n"));
    assert_line("derp_mesh_update_batch_size_count", 0);
    assert_line("derp_mesh_update_loop_count_count", 0);
}

/* The mean over those threads that have queues at all. */
static void test_queue_time_is_a_mean(void **state) {
    (void)state;
    expose(BLOCKS);
    assert_line("derp_average_queue_duration_ms", 0);
    stat_set(&blocks[1].queue_time_ns, 3000000);
    stat_set(&blocks[2].queue_time_ns, 5000000);
    expose(BLOCKS);
    assert_line("derp_average_queue_duration_ms", 4);
}

/* Bounds are the greatest of their bucket. */
static void test_round_trip_times(void **state) {
    (void)state;
    static const struct {
        int64_t rtt_us;
        const char *label;
    } rows[] = {{0, "10ms"},       {10000, "10ms"},   {10001, "20ms"},   {20000, "20ms"},
                {50000, "50ms"},   {100000, "100ms"}, {150000, "150ms"}, {250000, "250ms"},
                {500000, "500ms"}, {500001, "inf"},   {-1, "error"}};
    for (size_t i = 0; i < array_count(rows); i++) {
        char name[64];
        memset(blocks, 0, sizeof(blocks));
        metrics_observe_rtt(&blocks[1], rows[i].rtt_us);
        expose(BLOCKS);
        snprintf(name, sizeof(name), "derp_tcp_rtt{le=\"%s\"}", rows[i].label);
        assert_line(name, 1);
    }
}

/* ---- JSON ---- */

/* Brackets and quotes match, and nothing is there twice or behind the end. */
static void test_json_is_well_formed(void **state) {
    (void)state;
    struct writer w = writer_of(text, TEXT_SIZE);
    metrics_write_json(&w, pointers, BLOCKS, &process);
    assert_true(writer_ok(&w));
    json_error_t error;
    json_t *root = json_loadb(text, (size_t)((char *)w.at - text), JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) fail_msg("%s at %d", error.text, error.position);
    json_t *derp = json_object_get(root, "derp");
    assert_true(json_is_integer(json_object_get(derp, "accepts")));
    assert_true(json_is_object(json_object_get(derp, "counter_tcp_rtt")));
    assert_true(json_is_object(json_object_get(json_object_get(root, "stun"), "counter_requests")));
    assert_string_equal(json_string_value(json_object_get(root, "version")), "9.8.7");
    json_decref(root);
    struct writer small = writer_of(text, 100);
    metrics_write_json(&small, pointers, BLOCKS, &process);
    assert_false(writer_ok(&small));
}

/* ---- room ---- */

static void test_too_little_room_is_said(void **state) {
    (void)state;
    expose(BLOCKS);
    size_t size = strlen(text);
    const size_t rooms[] = {0, 1, 50, size / 2, size - 1};
    for (size_t i = 0; i < array_count(rooms); i++) {
        char *room = malloc(max_of(rooms[i], (size_t)1));  // exact: AddressSanitizer sees one byte too many
        assert_non_null(room);
        struct writer w = writer_of(room, rooms[i]);
        metrics_write(&w, pointers, BLOCKS, &process);
        assert_false(writer_ok(&w));
        free(room);
    }
    struct writer w = writer_of(text, size);
    metrics_write(&w, pointers, BLOCKS, &process);
    assert_true(writer_ok(&w));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_line_is_well_formed, set_up),
        cmocka_unit_test_setup(test_no_sample_is_there_twice, set_up),
        cmocka_unit_test_setup(test_every_metric_of_the_list_has_its_type_above_it, set_up),
        cmocka_unit_test_setup(test_every_family_has_its_type_above_it, set_up),
        cmocka_unit_test_setup(test_every_drop_pair_of_derper_is_there_at_zero, set_up),
        cmocka_unit_test_setup(test_every_reason_is_there, set_up),
        cmocka_unit_test_setup(test_stun, set_up),
        cmocka_unit_test_setup(test_the_process, set_up),
        cmocka_unit_test_setup(test_each_field_is_the_sum_over_blocks, set_up),
        cmocka_unit_test_setup(test_drops_are_counted_by_reason_and_kind, set_up),
        cmocka_unit_test_setup(test_received_kinds, set_up),
        cmocka_unit_test_setup(test_gauges_go_down, set_up),
        cmocka_unit_test_setup(test_large_values_are_written_whole, set_up),
        cmocka_unit_test_setup(test_frames_per_send, set_up),
        cmocka_unit_test_setup(test_queue_time_is_a_mean, set_up),
        cmocka_unit_test_setup(test_round_trip_times, set_up),
        cmocka_unit_test_setup(test_json_is_well_formed, set_up),
        cmocka_unit_test_setup(test_too_little_room_is_said, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
