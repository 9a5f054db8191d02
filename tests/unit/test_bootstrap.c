/* test_bootstrap.c - names for /bootstrap-dns: lists, percentages, JSON, distinct queries; and the accept limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "relay/accept_limit.h"
#include "relay/bootstrap.h"

static struct bootstrap_table table;

static struct net_address ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return (struct net_address){.ip = {[10] = 0xff, [11] = 0xff, [12] = a, [13] = b, [14] = c, [15] = d}};
}

/* The vector: 1.2.3.4 in Go's math/rand/v2. */
static void test_draws_are_gos(void **state) {
    (void)state;
    struct net_address address = ipv4(1, 2, 3, 4);
    assert_true(fabs(bootstrap_draw(&address) - 0.06865797708372512) < 1e-15);
    static const uint8_t yes[] = {4, 5, 7, 9, 10}, no[] = {6, 8};
    struct rng rng;
    rng_init_seeded(&rng, 1);
    for (size_t i = 0; i < array_count(yes); i++) {
        address = ipv4(1, 2, 3, yes[i]);
        assert_true(bootstrap_is_chosen(&address, 50, &rng));
        assert_true(bootstrap_is_chosen(&address, 100, &rng));
        assert_false(bootstrap_is_chosen(&address, 0, &rng));
    }
    for (size_t i = 0; i < array_count(no); i++) {
        address = ipv4(1, 2, 3, no[i]);
        assert_false(bootstrap_is_chosen(&address, 50, &rng));
        assert_true(bootstrap_is_chosen(&address, 100, &rng));
    }
}

static void test_loopback_is_chance(void **state) {
    (void)state;
    struct net_address address = ipv4(127, 0, 0, 1);
    struct rng rng;
    rng_init_seeded(&rng, 7);
    unsigned chosen = 0;
    for (int i = 0; i < 1000; i++) chosen += bootstrap_is_chosen(&address, 1, &rng);
    assert_in_range(chosen, 400, 600);
    assert_false(bootstrap_is_chosen(&address, 0, &rng));
}

static void test_percentages(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int percent;  // -1: none
    } rows[] = {{"0", 0},
                {"7", 7},
                {"100", 100},
                {"007", 7},
                {"+5", 5},
                {"101", -1},
                {"-1", -1},
                {"", -1},
                {"5%", -1},
                {" 5", -1},
                {"99999999999999999999", -1},
                {"+", -1},
                {"4294967296", -1}};
    for (size_t i = 0; i < array_count(rows); i++) {
        bool is_percent;
        uint8_t percent = bootstrap_percent_parse(rows[i].text, strlen(rows[i].text), &is_percent);
        if (is_percent != (rows[i].percent >= 0) || percent != max_of(rows[i].percent, 0))
            fail_msg("\"%s\"", rows[i].text);
    }
}

static void test_lists(void **state) {
    (void)state;
    const char *list = "a.example,b.example/t.example,,c";
    static const char *const wanted[][2] = {{"a.example", ""}, {"b.example", "t.example"}, {"c", ""}};
    struct bootstrap_item item;
    bool is_fine;
    for (size_t i = 0; i < array_count(wanted); i++) {
        assert_true(bootstrap_take_item(&list, &item, &is_fine));
        assert_true(is_fine);
        assert_string_equal(item.name, wanted[i][0]);
        assert_string_equal(item.percent_name, wanted[i][1]);
    }
    assert_false(bootstrap_take_item(&list, &item, &is_fine));
    char why[SYS_WHY_MAX], text[(BOOTSTRAP_NAMES_MAX + 1) * 2 + 1], name[BOOTSTRAP_NAME_SIZE_MAX + 2];
    for (size_t i = 0; i <= BOOTSTRAP_NAMES_MAX; i++) snprintf(text + 2 * i, 3, "a,");
    assert_false(bootstrap_list_check("f", text, why));
    text[2 * BOOTSTRAP_NAMES_MAX] = '\0';
    assert_true(bootstrap_list_check("f", text, why));
    memset(name, 'a', sizeof(name));
    name[BOOTSTRAP_NAME_SIZE_MAX + 1] = '\0';
    assert_false(bootstrap_list_check("f", name, why));
    name[BOOTSTRAP_NAME_SIZE_MAX] = '\0';
    assert_true(bootstrap_list_check("f", name, why));
    assert_false(bootstrap_list_check("f", "a\"b", why));
    assert_false(bootstrap_list_check("f", "/t", why));
}

static void add(const char *name, struct net_address first, uint32_t count) {
    struct bootstrap_name *to = &table.names[table.names_count++];
    snprintf(to->name, sizeof(to->name), "%s", name);
    to->addresses_count = count;
    for (uint32_t i = 0; i < count; i++) {
        to->addresses[i] = first;
        to->addresses[i].ip[15] = (uint8_t)(first.ip[15] + i);
    }
}

static const char *json(const struct bootstrap_name *only) {
    static char text[1024];
    struct writer w = writer_of(text, sizeof(text) - 1);
    bootstrap_write_json(&w, &table, only);
    assert_true(writer_ok(&w));
    *w.at = 0;
    return text;
}

static void test_json_is_gos(void **state) {
    (void)state;
    table = (struct bootstrap_table){0};
    assert_string_equal(json(NULL), "null");
    add("z.example", ipv4(192, 0, 2, 1), 2);
    assert_string_equal(json(NULL), "{\n\t\"z.example\": [\n\t\t\"192.0.2.1\",\n\t\t\"192.0.2.2\"\n\t]\n}");
    add("a.example", (struct net_address){.ip = {0x20, 1, 0xd, 0xb8, [15] = 1}}, 1);
    assert_string_equal(json(NULL), "{\n\t\"a.example\": [\n\t\t\"2001:db8::1\"\n\t],\n"
                                    "\t\"z.example\": [\n\t\t\"192.0.2.1\",\n\t\t\"192.0.2.2\"\n\t]\n}");
    assert_string_equal(json(bootstrap_find(&table, "a.example")),
                        "{\n\t\"a.example\": [\n\t\t\"2001:db8::1\"\n\t]\n}");
    assert_null(bootstrap_find(&table, "A.example"));
    assert_null(bootstrap_find(NULL, "a.example"));
}

static void test_the_shuffle_keeps_all_and_mixes(void **state) {
    (void)state;
    struct rng rng;
    unsigned firsts[BOOTSTRAP_ADDRESSES_MAX] = {0};
    rng_init_seeded(&rng, 3);
    for (int round = 0; round < 1600; round++) {
        unsigned seen = 0;
        table = (struct bootstrap_table){0};
        add("a", ipv4(192, 0, 2, 0), BOOTSTRAP_ADDRESSES_MAX);
        bootstrap_shuffle(&table, &rng);
        for (int i = 0; i < BOOTSTRAP_ADDRESSES_MAX; i++) seen |= 1u << table.names[0].addresses[i].ip[15];
        assert_int_equal(seen, (1u << BOOTSTRAP_ADDRESSES_MAX) - 1);
        firsts[table.names[0].addresses[0].ip[15]]++;
    }
    for (int i = 0; i < BOOTSTRAP_ADDRESSES_MAX; i++) assert_in_range(firsts[i], 50, 150);
}

static void test_distinct_queries(void **state) {
    (void)state;
    static struct bootstrap_queries queries;
    struct rng rng;
    char name[32];
    rng_init_seeded(&rng, 5);
    bootstrap_queries_init(&queries, &rng);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < BOOTSTRAP_QUERIES_MAX; i++) {
            snprintf(name, sizeof(name), "host-%u", i);
            bootstrap_queries_note(&queries, name);
            assert_int_equal(bootstrap_queries_count(&queries), round ? (unsigned)BOOTSTRAP_QUERIES_MAX : i + 1);
        }
    }
    bootstrap_queries_note(&queries, "one more");
    assert_int_equal(bootstrap_queries_count(&queries), 0);
    bootstrap_queries_note(&queries, "host-1");
    assert_int_equal(bootstrap_queries_count(&queries), 1);
}

static void test_accept_limit(void **state) {
    (void)state;
    struct accept_limit none = accept_limit_of(INFINITY, 1, 0), limit = accept_limit_of(2, 3, NS_PER_S);
    for (int i = 0; i < 1000; i++) assert_true(accept_limit_take(&none, 0));
    for (int i = 0; i < 3; i++) assert_true(accept_limit_take(&limit, NS_PER_S));
    assert_false(accept_limit_take(&limit, NS_PER_S));
    assert_false(accept_limit_take(&limit, NS_PER_S + 499 * NS_PER_MS));
    assert_true(accept_limit_take(&limit, NS_PER_S + 500 * NS_PER_MS));
    assert_false(accept_limit_take(&limit, 0));  // a clock that goes back brings nothing
    for (int i = 0; i < 3; i++) assert_true(accept_limit_take(&limit, 1000 * NS_PER_S));
    assert_false(accept_limit_take(&limit, 1000 * NS_PER_S));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_are_gos),    cmocka_unit_test(test_loopback_is_chance),
        cmocka_unit_test(test_percentages),      cmocka_unit_test(test_lists),
        cmocka_unit_test(test_json_is_gos),      cmocka_unit_test(test_the_shuffle_keeps_all_and_mixes),
        cmocka_unit_test(test_distinct_queries), cmocka_unit_test(test_accept_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
