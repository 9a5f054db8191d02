/* test_senders.c - the memory of who received from whom: against a matrix, through exhaustion, and behind its
 * shortcut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sys.h"
#include "relay/senders.h"

enum { LINKS = 400, HOLDERS = 40, SOURCES = 30 };

struct fixture {
    struct arena arena;
    struct senders senders;
    struct rng rng;
    struct sender_holder holders[HOLDERS];
    bool has[HOLDERS][SOURCES];  // the model
    size_t pairs;
    uint64_t forgotten;
};

static struct fixture *make(uint32_t links_max, uint64_t seed) {
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    rng_init_seeded(&fixture.rng, seed);
    assert_int_equal(arena_init(&fixture.arena, senders_footprint(links_max)), 0);
    senders_init(&fixture.senders, &fixture.arena, links_max, &fixture.rng);
    assert_int_equal(fixture.arena.used, senders_footprint(links_max));
    for (size_t i = 0; i < HOLDERS; i++) sender_holder_init(&fixture.senders, &fixture.holders[i]);
    return &fixture;
}

static struct node_key key_of(size_t n) {
    struct node_key key = {{0}};
    key.bytes[0] = (uint8_t)n;
    key.bytes[31] = 0xaa;
    return key;
}

static bool note(struct fixture *f, size_t holder, size_t source) {
    struct node_key key = key_of(source);
    return senders_note(&f->senders, &f->holders[holder], &key);
}

static void forget(struct fixture *f, size_t holder, size_t source) {
    struct node_key key = key_of(source);
    senders_forget(&f->senders, &f->holders[holder], &key);
}

static struct sender_holder *take_holder(struct fixture *f, size_t source) {
    struct node_key key = key_of(source);
    return senders_take_holder(&f->senders, &key);
}

static size_t count_free_links(const struct fixture *f) {
    size_t count = 0;
    for (const struct sender_link *link = f->senders.free_links; link; link = link->hash_next) count++;
    return count;
}

static size_t count_free_sources(const struct fixture *f) {
    size_t count = 0;
    for (const struct sender_source *source = f->senders.free_sources; source; source = source->hash_next) count++;
    return count;
}

/* ---- one rule each ---- */

static void test_a_pair_is_new_once(void **state) {
    (void)state;
    struct fixture *f = make(LINKS, 1);
    assert_true(note(f, 0, 1));
    assert_false(note(f, 0, 1));  // by the shortcut
    assert_true(note(f, 0, 2));
    assert_false(note(f, 0, 1));  // by the table
    assert_false(note(f, 0, 2));
    assert_true(note(f, 1, 1));  // another holder, another pair
    assert_int_equal(f->senders.forgotten, 0);
    arena_fini(&f->arena);
}

static void test_telling_forgets(void **state) {
    (void)state;
    struct fixture *f = make(LINKS, 2);
    assert_null(take_holder(f, 1));
    assert_true(note(f, 0, 1) && note(f, 1, 1) && note(f, 1, 2));
    struct sender_holder *first = take_holder(f, 1), *second = take_holder(f, 1);
    assert_true((first == &f->holders[0] && second == &f->holders[1]) ||
                (first == &f->holders[1] && second == &f->holders[0]));
    assert_null(take_holder(f, 1));
    assert_false(note(f, 1, 2));  // the other pair of that holder is untouched
    assert_ptr_equal(take_holder(f, 2), &f->holders[1]);
    arena_fini(&f->arena);
}

/* The source leaves and comes back: its next packet makes a new pair, although it was the last one seen. */
static void test_the_shortcut_does_not_hide_a_pair_that_was_told(void **state) {
    (void)state;
    struct fixture *f = make(LINKS, 3);
    assert_true(note(f, 0, 1));
    assert_ptr_equal(take_holder(f, 1), &f->holders[0]);
    assert_true(note(f, 0, 1));
    assert_ptr_equal(take_holder(f, 1), &f->holders[0]);
    assert_null(take_holder(f, 1));
    // the same by forgetting
    assert_true(note(f, 0, 2));
    forget(f, 0, 2);
    assert_null(take_holder(f, 2));
    assert_true(note(f, 0, 2));
    // and with another source in between: the shortcut holds 3 while 2 is told
    assert_true(note(f, 0, 3));
    assert_ptr_equal(take_holder(f, 2), &f->holders[0]);
    assert_false(note(f, 0, 3));
    assert_true(note(f, 0, 2));
    arena_fini(&f->arena);
}

static void test_forgetting_what_is_not_there_is_fine(void **state) {
    (void)state;
    struct fixture *f = make(LINKS, 4);
    forget(f, 0, 1);
    assert_true(note(f, 0, 1));
    forget(f, 1, 1);
    forget(f, 0, 2);
    assert_ptr_equal(take_holder(f, 1), &f->holders[0]);
    arena_fini(&f->arena);
}

static void test_a_holder_that_closes_leaves_nothing(void **state) {
    (void)state;
    struct fixture *f = make(LINKS, 5);
    for (size_t source = 0; source < SOURCES; source++) assert_true(note(f, 0, source) && note(f, 1, source));
    sender_holder_fini(&f->senders, &f->holders[0]);
    sender_holder_fini(&f->senders, &f->holders[0]);  // once more changes nothing
    for (size_t source = 0; source < SOURCES; source++) {
        assert_ptr_equal(take_holder(f, source), &f->holders[1]);
        assert_null(take_holder(f, source));
    }
    assert_int_equal(count_free_links(f), LINKS);
    assert_int_equal(count_free_sources(f), LINKS);
    // the object may serve the next connection
    sender_holder_init(&f->senders, &f->holders[0]);
    assert_true(note(f, 0, SOURCES - 1));
    arena_fini(&f->arena);
}

static void test_exhaustion_is_counted_and_passes(void **state) {
    (void)state;
    struct fixture *f = make(2, 6);
    assert_true(note(f, 0, 1) && note(f, 1, 1));
    assert_false(note(f, 1, 2));  // nobody has more than it
    assert_int_equal(f->senders.forgotten, 1);
    assert_false(note(f, 1, 2));  // not kept, so it is tried, and counted, again
    assert_int_equal(f->senders.forgotten, 2);
    assert_false(note(f, 0, 1));  // what is there needs no room
    assert_false(note(f, 1, 1));
    assert_int_equal(f->senders.forgotten, 2);
    assert_null(take_holder(f, 2));  // holder 1 will not hear of it
    assert_ptr_equal(take_holder(f, 1), &f->holders[1]);
    assert_true(note(f, 1, 2));  // there is room again
    assert_int_equal(f->senders.forgotten, 2);
    assert_ptr_equal(take_holder(f, 2), &f->holders[1]);
    arena_fini(&f->arena);
}

/* One who has taken all pairs cannot keep others from theirs. */
static void test_who_has_most_gives_way(void **state) {
    (void)state;
    struct fixture *f = make(SOURCES, 7);
    for (size_t source = 0; source < SOURCES; source++) assert_true(note(f, 0, source));
    for (size_t holder = 1; holder <= 5; holder++) assert_true(note(f, holder, 3));
    assert_int_equal(f->senders.forgotten, 5);
    assert_int_equal(f->holders[0].links_count, SOURCES - 5);
    for (size_t holder = 1; holder <= 5; holder++) {
        assert_int_equal(f->holders[holder].links_count, 1);
        assert_false(note(f, holder, 3));  // it is there
    }
    arena_fini(&f->arena);
}

static void test_salts_spread_holders(void **state) {
    (void)state;
    struct fixture *f = make(LINKS, 7);
    size_t longest = 0;
    for (size_t i = 0; i < HOLDERS; i++) {
        for (size_t k = 0; k < i; k++) assert_int_not_equal(f->holders[i].salt, f->holders[k].salt);
        assert_true(note(f, i, 1));
    }
    for (size_t i = 0; i <= f->senders.bucket_mask; i++) {
        size_t length = 0;
        for (const struct sender_link *link = f->senders.link_buckets[i]; link; link = link->hash_next) length++;
        longest = max_of(longest, length);
    }
    assert_in_range(longest, 1, 4);  // 40 pairs of one source in 512 buckets
    arena_fini(&f->arena);
}

/* ---- against the matrix ---- */

static bool is_linked(const struct fixture *f, size_t holder, size_t source) {
    struct node_key key = key_of(source);
    for (const struct sender_link *link = f->holders[holder].links; link; link = link->holder_next) {
        if (key_equal(&link->source->key, &key)) return true;
    }
    return false;
}

/* Without room either a pair of somebody who has more went, one, or the new one was not kept. */
static void model_note_full(struct fixture *f, size_t holder, size_t source) {
    uint32_t had = f->holders[holder].links_count;
    bool is_kept = note(f, holder, source);
    size_t gone = 0;
    f->forgotten++;
    f->has[holder][source] = is_kept;
    for (size_t i = 0; i < HOLDERS; i++) {
        for (size_t k = 0; k < SOURCES; k++) {
            if (is_linked(f, i, k) == f->has[i][k]) continue;
            assert_true(f->has[i][k]);
            assert_true(f->holders[i].links_count >= had);  // it had one more
            f->has[i][k] = false;
            gone++;
        }
    }
    assert_int_equal(gone, is_kept);
}

static void model_note(struct fixture *f, size_t links_max, size_t holder, size_t source) {
    bool is_known = f->has[holder][source];
    if (!is_known && f->pairs == links_max) {
        model_note_full(f, holder, source);
        return;
    }
    assert_int_equal(note(f, holder, source), !is_known);
    f->has[holder][source] = true;
    f->pairs += !is_known;
}

static void model_forget(struct fixture *f, size_t holder, size_t source) {
    forget(f, holder, source);
    f->pairs -= f->has[holder][source];
    f->has[holder][source] = false;
}

/* The source goes: everyone who has it is told, each once, nobody else. */
static void model_gone(struct fixture *f, size_t source) {
    struct sender_holder *holder;
    while ((holder = take_holder(f, source)) != NULL) {
        size_t idx = (size_t)(holder - f->holders);
        assert_true(idx < HOLDERS);
        assert_true(f->has[idx][source]);
        f->has[idx][source] = false;
        f->pairs--;
    }
    for (size_t i = 0; i < HOLDERS; i++) assert_false(f->has[i][source]);
}

static void model_close(struct fixture *f, size_t holder) {
    sender_holder_fini(&f->senders, &f->holders[holder]);
    memset(&f->holders[holder], 0xee, sizeof(f->holders[holder]));  // its memory is somebody else's now
    for (size_t i = 0; i < SOURCES; i++) {
        f->pairs -= f->has[holder][i];
        f->has[holder][i] = false;
    }
    sender_holder_init(&f->senders, &f->holders[holder]);
}

static void assert_like(const struct fixture *f, size_t links_max) {
    size_t sources = 0;
    for (size_t source = 0; source < SOURCES; source++) {
        bool is_used = false;
        for (size_t holder = 0; holder < HOLDERS; holder++) is_used = is_used || f->has[holder][source];
        sources += is_used;
    }
    assert_int_equal(f->senders.forgotten, f->forgotten);
    assert_int_equal(count_free_links(f), links_max - f->pairs);
    assert_int_equal(count_free_sources(f), links_max - sources);
}

static void run_model(uint32_t links_max, uint64_t seed) {
    struct fixture *f = make(links_max, seed);
    for (int i = 0; i < 30000; i++) {
        size_t holder = (size_t)rng_below(&f->rng, HOLDERS), source = (size_t)rng_below(&f->rng, SOURCES);
        uint64_t action = rng_below(&f->rng, 100);
        if (action < 80) {
            model_note(f, links_max, holder, source);
            if (action < 20) model_note(f, links_max, holder, source);  // repeats are the common case
        } else if (action < 90) {
            model_forget(f, holder, source);
        } else if (action < 97) {
            model_gone(f, source);
        } else {
            model_close(f, holder);
        }
        if (i % 16 == 0) assert_like(f, links_max);
    }
    for (size_t i = 0; i < HOLDERS; i++) model_close(f, i);
    assert_like(f, links_max);
    assert_int_equal(count_free_links(f), links_max);
    arena_fini(&f->arena);
}

static void test_like_a_matrix(void **state) {
    (void)state;
    run_model(HOLDERS * SOURCES, 8);  // room for all pairs
    run_model(150, 9);  // often full
    run_model(1, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pair_is_new_once),
        cmocka_unit_test(test_telling_forgets),
        cmocka_unit_test(test_the_shortcut_does_not_hide_a_pair_that_was_told),
        cmocka_unit_test(test_forgetting_what_is_not_there_is_fine),
        cmocka_unit_test(test_a_holder_that_closes_leaves_nothing),
        cmocka_unit_test(test_exhaustion_is_counted_and_passes),
        cmocka_unit_test(test_who_has_most_gives_way),
        cmocka_unit_test(test_salts_spread_holders),
        cmocka_unit_test(test_like_a_matrix),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
