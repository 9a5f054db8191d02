/* test_chain.c - chains between threads: order, batches, and items that go round and round between many producers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "core/chain.h"
#include "core/rng.h"

struct item {
    uint32_t producer;
    uint32_t number;
    struct chain_link link;
    uint32_t filler[5];
};

static void item_set(struct item *item, uint32_t producer, uint32_t number) {
    item->producer = producer;
    item->number = number;
    for (uint32_t i = 0; i < array_count(item->filler); i++) item->filler[i] = number * 31 + producer + i;
}

/* The whole item, its words beyond the number included. */
static bool item_is(const struct item *item, uint32_t producer, uint32_t number) {
    bool is_right = item->producer == producer && item->number == number;
    for (uint32_t i = 0; i < array_count(item->filler); i++) {
        is_right = is_right && item->filler[i] == number * 31 + producer + i;
    }
    return is_right;
}

static struct item *item_of(struct chain_link *link) { return container_of(link, struct item, link); }

/* ---- one thread ---- */

enum { ITEMS = 16 };

/* The items from number `first` on, `count` of them, are what the chain has. */
static void assert_takes(struct chain *chain, uint32_t first, uint32_t count) {
    struct chain_link *link = chain_take(chain);
    for (uint32_t i = 0; i < count; i++, link = link->next) {
        assert_non_null(link);
        assert_true(item_is(item_of(link), 0, first + i));
    }
    assert_null(link);
}

static void test_nothing_comes_of_nothing(void **state) {
    (void)state;
    struct chain chain = {.newest = NULL};
    struct chain_batch batch = {0};
    assert_false(chain_has_mail(&chain));
    assert_null(chain_take(&chain));
    assert_false(chain_push(&chain, &batch));
    assert_false(chain_has_mail(&chain));
}

static void test_a_batch_is_private_until_pushed(void **state) {
    (void)state;
    struct chain chain = {.newest = NULL};
    struct chain_batch batch = {0};
    struct item items[ITEMS];
    for (uint32_t i = 0; i < ITEMS; i++) {
        item_set(&items[i], 0, i);
        chain_batch_add(&batch, &items[i].link);
        assert_false(chain_has_mail(&chain));
    }
    assert_true(chain_push(&chain, &batch));
    assert_true(batch.newest == NULL && batch.oldest == NULL);
    assert_false(chain_push(&chain, &batch));
    assert_true(chain_has_mail(&chain));
    assert_takes(&chain, 0, ITEMS);
    assert_false(chain_has_mail(&chain));
    assert_null(chain_take(&chain));
}

/* Batches of all sizes, several between two takes; the links hold what they held last time. */
static void test_batches_come_in_order(void **state) {
    (void)state;
    struct chain chain = {.newest = NULL};
    struct item items[ITEMS] = {0};
    for (uint32_t cuts = 0; cuts < 1u << (ITEMS - 1); cuts += 7) {
        struct chain_batch batch = {0};
        for (uint32_t i = 0; i < ITEMS; i++) {
            item_set(&items[i], 0, cuts + i);
            chain_batch_add(&batch, &items[i].link);
            if (cuts >> i & 1) assert_true(chain_push(&chain, &batch));
        }
        assert_true(chain_push(&chain, &batch));
        assert_takes(&chain, cuts, ITEMS);
    }
}

/* A batch that was gathered before goes behind what others have pushed meanwhile, and only what was pushed is taken. */
static void test_two_batches_at_a_time(void **state) {
    (void)state;
    struct chain chain = {.newest = NULL};
    struct chain_batch early = {0}, late = {0};
    struct item items[4];
    for (uint32_t i = 0; i < array_count(items); i++) {
        item_set(&items[i], 0, i);
        chain_batch_add(i < 2 ? &late : &early, &items[i].link);
    }
    assert_true(chain_push(&chain, &early));
    assert_takes(&chain, 2, 2);
    assert_true(chain_push(&chain, &late));
    assert_takes(&chain, 0, 2);
}

/* ---- several producers, one consumer, and the way back: what ThreadSanitizer is for ----
 *
 * Few items, each written anew at every use and given to any of the producers next, so that one that looks at the head
 * of the chain often finds the same item there again, pushed by another meanwhile.
 */

enum { PRODUCERS = 4, ITEMS_EACH = 6, USES = 100000, BATCH_MAX = 5 };

struct producer {
    uint32_t idx;
    pthread_t id;
    struct chain home;  // items for its use
    uint32_t given;  // the consumer's: items it was given; as many uses as there will be, and no more
    uint32_t next;  // the consumer's: the number that has to come
};

static struct chain to_consumer;
static struct producer producers[PRODUCERS];
static struct item stress_items[PRODUCERS][ITEMS_EACH];

/* Uses all items of a list, in batches. */
static uint32_t use(const struct producer *p, struct chain_link *link, uint32_t number, struct rng *rng) {
    struct chain_batch batch = {0};
    uint64_t batch_left = 1 + rng_below(rng, BATCH_MAX);
    while (link) {
        struct chain_link *next = link->next;
        item_set(item_of(link), p->idx, number++);
        chain_batch_add(&batch, link);
        if (--batch_left == 0) {
            (void)chain_push(&to_consumer, &batch);
            batch_left = 1 + rng_below(rng, BATCH_MAX);
        }
        link = next;
    }
    (void)chain_push(&to_consumer, &batch);
    return number;
}

static void *produce(void *argument) {
    struct producer *p = argument;
    struct rng rng;
    rng_init_seeded(&rng, 100 + p->idx);
    for (uint32_t number = 0; number < USES;) {
        struct chain_link *link = chain_take(&p->home);
        if (link == NULL) sched_yield();
        number = use(p, link, number, &rng);
    }
    return NULL;
}

/* Who gets the next item: any of those that have not been given all they use; NULL when there is none. */
static struct producer *choose(struct rng *rng) {
    uint64_t first = rng_below(rng, PRODUCERS);
    for (uint64_t i = 0; i < PRODUCERS; i++) {
        struct producer *p = &producers[(first + i) % PRODUCERS];
        if (p->given < USES) return p;
    }
    return NULL;
}

/* Takes what has come and sends it back, how many items that were. An item is not touched once it is in a batch. */
static uint32_t consume(struct rng *rng, uint32_t *wrong, uint32_t *kept) {
    struct chain_batch batches[PRODUCERS] = {0};
    uint32_t count = 0;
    for (struct chain_link *next, *link = chain_take(&to_consumer); link != NULL; link = next, count++) {
        struct item *item = item_of(link);
        next = link->next;
        if (item->producer >= PRODUCERS || !item_is(item, item->producer, producers[item->producer].next++)) ++*wrong;
        struct producer *p = choose(rng);
        *kept += p == NULL;
        if (p == NULL) continue;
        p->given++;
        chain_batch_add(&batches[p->idx], link);
    }
    for (uint32_t i = 0; i < PRODUCERS; i++) (void)chain_push(&producers[i].home, &batches[i]);
    return count;
}

static void start_producer(struct producer *p, uint32_t idx) {
    struct chain_batch batch = {0};
    *p = (struct producer){.idx = idx, .given = ITEMS_EACH};
    for (uint32_t i = 0; i < ITEMS_EACH; i++) chain_batch_add(&batch, &stress_items[idx][i].link);
    assert_true(chain_push(&p->home, &batch));
    assert_int_equal(pthread_create(&p->id, NULL, produce, p), 0);
}

static void test_items_go_round(void **state) {
    (void)state;
    struct rng rng;
    uint32_t count = 0, wrong = 0, kept = 0;
    rng_init_seeded(&rng, 1);
    for (uint32_t i = 0; i < PRODUCERS; i++) start_producer(&producers[i], i);
    while (count < PRODUCERS * USES && wrong == 0) {
        if (!chain_has_mail(&to_consumer)) sched_yield();
        count += consume(&rng, &wrong, &kept);
    }
    assert_int_equal(wrong, 0);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(producers[i].id, NULL), 0);
        assert_int_equal(producers[i].next, USES);
        assert_null(chain_take(&producers[i].home));
    }
    assert_int_equal(count, PRODUCERS * USES);
    assert_int_equal(kept, PRODUCERS * ITEMS_EACH);  // every item has come home once, and none twice
    assert_false(chain_has_mail(&to_consumer));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_comes_of_nothing), cmocka_unit_test(test_a_batch_is_private_until_pushed),
        cmocka_unit_test(test_batches_come_in_order),    cmocka_unit_test(test_two_batches_at_a_time),
        cmocka_unit_test(test_items_go_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
