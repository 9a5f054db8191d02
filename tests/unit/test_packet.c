/* test_packet.c - packet memory: size classes, pages that change class, exhaustion, and what is given back is
 * poisoned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/asan.h"
#include "core/rng.h"
#include "core/sys.h"
#include "relay/packet.h"

enum { PAGES = 8, PACKETS_MAX = PAGES * 128, SHARE = 3 };  // SHARE: packets of 16000 bytes in a page

/* Slots in a page and the frame they hold, smallest class first: what the comment in packet.c promises. */
static const uint32_t slots_per_page[PACKET_CLASSES] = {128, 36, 8, 3, 1};

struct fixture {
    struct arena arena;
    struct packet_pool pool;
};

static int set_up(void **state) {
    static struct fixture fixture;
    size_t memory_bytes = PAGES * PACKET_PAGE_SIZE;
    if (arena_init(&fixture.arena, packet_pool_footprint(memory_bytes)) != 0) return -1;
    packet_pool_init(&fixture.pool, &fixture.arena, memory_bytes, 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    arena_fini(&fixture->arena);
    return 0;
}

static struct packet_pool *pool_of(void **state) { return &((struct fixture *)*state)->pool; }

/* The frame sizes at which a class ends; the last is a little more than the greatest send. */
static void find_capacities(struct packet_pool *pool, uint32_t capacities[PACKET_CLASSES]) {
    size_t size = 0;
    for (unsigned i = 0; i < PACKET_CLASSES; i++) {
        struct packet *packet = packet_take(pool, size);
        assert_non_null(packet);
        capacities[i] = packet_capacity(packet);
        size = (size_t)capacities[i] + 1;
        packet_give(pool, packet);
    }
    assert_true(size > LIMIT_CHUNK_MAX);
}

static void test_footprint_is_what_init_takes(void **state) {
    struct fixture *fixture = *state;
    assert_int_equal(fixture->arena.used, packet_pool_footprint(PAGES * PACKET_PAGE_SIZE));
    assert_int_equal(packet_pool_free_bytes(&fixture->pool), PAGES * PACKET_PAGE_SIZE);
    assert_int_equal(fixture->pool.bytes_taken, 0);
}

static void test_a_part_of_a_page_is_not_used(void **state) {
    (void)state;
    struct arena arena;
    struct packet_pool pool;
    size_t memory_bytes = 3 * PACKET_PAGE_SIZE - 1;
    assert_int_equal(arena_init(&arena, packet_pool_footprint(memory_bytes)), 0);
    packet_pool_init(&pool, &arena, memory_bytes, 0);
    assert_int_equal(pool.pages_count, 2);
    assert_int_equal(arena.used, packet_pool_footprint(memory_bytes));
    arena_fini(&arena);
}

static void test_classes(void **state) {
    struct packet_pool *pool = pool_of(state);
    uint32_t capacities[PACKET_CLASSES];
    find_capacities(pool, capacities);
    assert_in_range(capacities[0], 256, 512);
    assert_in_range(capacities[1], 1500, 2048);  // a full network MTU with its frame head
    // one gathered send and the greatest TLS record: above the class each of them would take a whole page
    assert_in_range(capacities[2], 5 * 1500, 8 * 1024);  // a gathered send of a few
    assert_in_range(capacities[3], max_of(LIMIT_CHUNK_SMALL, LIMIT_RECORD_SIZE_MAX), 23 * 1024);
    assert_in_range(capacities[4], LIMIT_CHUNK_MAX, LIMIT_CHUNK_MAX + CACHE_LINE_SIZE);
    for (unsigned i = 0; i < PACKET_CLASSES; i++) {
        // the exact size stays in the class: the smallest that fits is taken
        struct packet *packet = packet_take(pool, min_of(capacities[i], (uint32_t)LIMIT_CHUNK_MAX));
        assert_int_equal(packet->class_idx, i);
        assert_int_equal(packet_capacity(packet), capacities[i]);
        packet_give(pool, packet);
    }
}

static void test_a_packet_begins_empty(void **state) {
    struct packet_pool *pool = pool_of(state);
    struct packet *keeps_the_page = packet_take(pool, 100);
    struct packet *packet = packet_take(pool, 100);
    // what the last owner wrote must not show: the slot is reused at once
    packet->enqueued_ns = 1;
    packet->size = packet->sent = 2;
    packet->relayed[0] = packet->relayed[1] = packet->relayed_bytes[0] = packet->relayed_bytes[1] = 3;
    packet->is_disco = true;
    packet->next = packet;
    packet->frame += 5;
    packet_give(pool, packet);
    struct packet *again = packet_take(pool, 100);
    assert_ptr_equal(again, packet);
    assert_null(again->next);
    assert_true(again->enqueued_ns == 0 && again->size == 0 && again->sent == 0 && !again->is_disco);
    for (unsigned kind = 0; kind < 2; kind++) {
        assert_int_equal(again->relayed[kind], 0);
        assert_int_equal(again->relayed_bytes[kind], 0);
    }
    assert_ptr_equal(again->frame, (uint8_t *)again + sizeof(*again) + PACKET_HEADROOM);
    packet_give(pool, again);
    packet_give(pool, keeps_the_page);
}

/* All that an owner may write, with a byte of its own. */
static void scribble(struct packet *packet, uint8_t mark) {
    memset(packet->frame - PACKET_HEADROOM, mark, PACKET_HEADROOM + packet_capacity(packet) + PACKET_TAILROOM);
}

static void assert_scribbled(const struct packet *packet, uint8_t mark) {
    const uint8_t *bytes = packet->frame - PACKET_HEADROOM;
    size_t size = PACKET_HEADROOM + packet_capacity(packet) + PACKET_TAILROOM;
    assert_int_equal(bytes[0], mark);
    assert_memory_equal(bytes, bytes + 1, size - 1);
}

static void test_one_class_can_use_all_memory(void **state) {
    struct packet_pool *pool = pool_of(state);
    static struct packet *packets[PACKETS_MAX];
    uint32_t capacities[PACKET_CLASSES];
    find_capacities(pool, capacities);
    for (unsigned class_idx = 0; class_idx < PACKET_CLASSES; class_idx++) {
        size_t count = PAGES * slots_per_page[class_idx], bytes = 0;
        for (size_t i = 0; i < count; i++) {
            packets[i] = packet_take(pool, min_of(capacities[class_idx], (uint32_t)LIMIT_CHUNK_MAX));
            assert_non_null(packets[i]);
            assert_int_equal((uintptr_t)packets[i] % CACHE_LINE_SIZE, 0);
            scribble(packets[i], (uint8_t)(i * 7 + class_idx));
            bytes += packet_cost(packets[i]);
            assert_int_equal(pool->bytes_taken, bytes);
        }
        assert_int_equal(pool->pages_free, 0);
        assert_true(bytes <= PAGES * PACKET_PAGE_SIZE);
        // full for every class, without a change to anything
        for (unsigned other = 0; other < PACKET_CLASSES; other++) {
            assert_null(packet_take(pool, min_of(capacities[other], (uint32_t)LIMIT_CHUNK_MAX)));
        }
        assert_int_equal(pool->bytes_taken, bytes);
        for (size_t i = 0; i < count; i++) {
            assert_scribbled(packets[i], (uint8_t)(i * 7 + class_idx));
            packet_give(pool, packets[i]);
        }
        // every page is common stock again, for the next class
        assert_int_equal(pool->bytes_taken, 0);
        assert_int_equal(packet_pool_free_bytes(pool), PAGES * PACKET_PAGE_SIZE);
    }
}

static void test_a_page_serves_its_class_until_its_last_slot_is_free(void **state) {
    struct packet_pool *pool = pool_of(state);
    struct packet *packets[SHARE];
    for (size_t i = 0; i < SHARE; i++) packets[i] = packet_take(pool, 16000);
    assert_int_equal(pool->pages_free, PAGES - 1);  // they share one page
    for (size_t i = 0; i + 1 < SHARE; i++) {
        packet_give(pool, packets[i]);
        assert_int_equal(pool->pages_free, PAGES - 1);
    }
    struct packet *small = packet_take(pool, 10);  // free slots of another class are of no use to it
    assert_int_equal(pool->pages_free, PAGES - 2);
    struct packet *again = packet_take(pool, 16000);  // but they are to their own
    assert_int_equal(pool->pages_free, PAGES - 2);
    packet_give(pool, packets[SHARE - 1]);
    packet_give(pool, again);
    assert_int_equal(pool->pages_free, PAGES - 1);
    packet_give(pool, small);
    assert_int_equal(pool->pages_free, PAGES);
}

/* A full page is in no list; a slot that comes back has to make it findable again, whatever the order. */
static void test_slots_of_full_pages_are_found_again(void **state) {
    struct packet_pool *pool = pool_of(state);
    struct packet *packets[PAGES * SHARE];
    for (size_t i = 0; i < array_count(packets); i++) packets[i] = packet_take(pool, 16000);
    assert_null(packet_take(pool, 16000));
    for (size_t page = 0; page < PAGES; page++) packet_give(pool, packets[page * SHARE + page % SHARE]);
    for (size_t page = 0; page < PAGES; page++) {
        packets[page * SHARE + page % SHARE] = packet_take(pool, 16000);
        assert_non_null(packets[page * SHARE + page % SHARE]);
    }
    assert_null(packet_take(pool, 16000));
    for (size_t i = 0; i < array_count(packets); i++) packet_give(pool, packets[i]);
    assert_int_equal(pool->pages_free, PAGES);
}

/* ---- random takes and gives against a list ---- */

struct model {
    struct packet *packets[PACKETS_MAX];
    uint8_t marks[PACKETS_MAX];
    size_t count;
    size_t bytes;
    size_t taken[PACKET_CLASSES];  // slots
};

static size_t random_size(struct rng *rng) {
    static const size_t most[] = {300, 1700, 16000, LIMIT_FRAME_SIZE_MAX};
    static const uint64_t weights[] = {60, 25, 10, 5};
    uint64_t drawn = rng_below(rng, 100);
    size_t i = 0;
    while (drawn >= weights[i]) drawn -= weights[i++];
    return (size_t)rng_below(rng, most[i] + 1);
}

static void take_one(struct packet_pool *pool, struct rng *rng, struct model *model) {
    size_t size = random_size(rng);
    struct packet *packet = packet_take(pool, size);
    if (packet == NULL) {
        assert_int_equal(pool->pages_free, 0);  // the only reason there is
        return;
    }
    assert_true(packet_capacity(packet) >= size);
    model->marks[model->count] = (uint8_t)rng_u64(rng);
    scribble(packet, model->marks[model->count]);
    model->packets[model->count++] = packet;
    model->bytes += packet_cost(packet);
    model->taken[packet->class_idx]++;
}

static void give_one(struct packet_pool *pool, struct rng *rng, struct model *model) {
    size_t i = (size_t)rng_below(rng, model->count);
    struct packet *packet = model->packets[i];
    assert_scribbled(packet, model->marks[i]);
    model->bytes -= packet_cost(packet);
    model->taken[packet->class_idx]--;
    packet_give(pool, packet);
    model->packets[i] = model->packets[--model->count];
    model->marks[i] = model->marks[model->count];
}

static void assert_like(const struct packet_pool *pool, const struct model *model) {
    size_t pages_needed = 0;
    assert_int_equal(pool->bytes_taken, model->bytes);
    for (unsigned i = 0; i < PACKET_CLASSES; i++) {
        pages_needed += (model->taken[i] + slots_per_page[i] - 1) / slots_per_page[i];
    }
    assert_true(pool->pages_free + pages_needed <= PAGES);
    if (model->count == 0) assert_int_equal(pool->pages_free, PAGES);
}

static void test_random_takes_and_gives(void **state) {
    struct packet_pool *pool = pool_of(state);
    static struct model model;
    struct rng rng;
    rng_init_seeded(&rng, 7);
    for (int i = 0; i < 20000; i++) {
        // phases of growth and of decline, so that the pool is often full and often empty
        bool is_growing = i / 1000 % 2 == 0;
        bool takes = model.count == 0 || rng_below(&rng, 100) < (is_growing ? 70 : 30);
        if (takes) {
            take_one(pool, &rng, &model);
        } else {
            give_one(pool, &rng, &model);
        }
        assert_like(pool, &model);
    }
    while (model.count > 0) give_one(pool, &rng, &model);
    assert_like(pool, &model);
}

/* ---- misuse ---- */

/* Runs `body` in a child process: true when a CHECK ended it. */
static bool dies(void (*body)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        (void)close(STDERR_FILENO);
        body(argument);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void give_twice(void *argument) {
    struct packet_pool *pool = argument;
    struct packet *keeps_the_page = packet_take(pool, 10);
    struct packet *packet = packet_take(pool, 10);
    packet_give(pool, packet);
    packet_give(pool, packet);
    packet_give(pool, keeps_the_page);
}

static void take_too_much(void *argument) {
    if (packet_take(argument, LIMIT_CHUNK_MAX + 1) != NULL) _exit(1);
}

static void init_without_a_page(void *argument) {
    (void)argument;
    struct arena arena;
    struct packet_pool pool;
    if (arena_init(&arena, 2 * PACKET_PAGE_SIZE) == 0) packet_pool_init(&pool, &arena, PACKET_PAGE_SIZE - 1, 0);
}

static void test_misuse_is_a_crash(void **state) {
    assert_true(dies(give_twice, pool_of(state)));
    assert_true(dies(take_too_much, pool_of(state)));
    assert_true(dies(init_without_a_page, NULL));
}

static void test_what_is_given_back_is_out_of_bounds(void **state) {
#ifdef HAS_ASAN
    struct packet_pool *pool = pool_of(state);
    assert_true(__asan_address_is_poisoned(pool->memory));
    struct packet *keeps_the_page = packet_take(pool, 10);
    struct packet *packet = packet_take(pool, 10);
    uint8_t *frame = packet->frame;
    size_t room = packet_capacity(packet) + PACKET_TAILROOM;
    assert_null(__asan_region_is_poisoned(frame - PACKET_HEADROOM, PACKET_HEADROOM + room));
    packet_give(pool, packet);  // its page stays open: the slot itself has to be poisoned
    for (size_t i = 0; i < room; i++) assert_true(__asan_address_is_poisoned(frame + i));
    assert_null(__asan_region_is_poisoned(keeps_the_page, packet_cost(keeps_the_page)));
    packet_give(pool, keeps_the_page);  // and with the last one all of the page
    assert_true(__asan_address_is_poisoned(packet));
    assert_true(__asan_address_is_poisoned(keeps_the_page));
#else
    (void)state;
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_footprint_is_what_init_takes, set_up, tear_down),
        cmocka_unit_test(test_a_part_of_a_page_is_not_used),
        cmocka_unit_test_setup_teardown(test_classes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_packet_begins_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_class_can_use_all_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_page_serves_its_class_until_its_last_slot_is_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slots_of_full_pages_are_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_takes_and_gives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse_is_a_crash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_given_back_is_out_of_bounds, set_up, tear_down),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
