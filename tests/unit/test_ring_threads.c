/* test_ring_threads.c - sleeping, waking and handing a socket over, with two threads, once for each feature mask.
 *
 * Threads meet in plain atomics, as lanes do: what the kernel orders between two rings is nothing a thread may rely on,
 * and nothing thread sanitizer could see. Lost wake-ups show as a hang, which the alarm ends.
 */
#include "test_ring_bed.h"

#include <pthread.h>

#include "core/ring_internal.h"

#define HANG_S 120

static unsigned mask;

/* ---- one thread, two rings: the rules ---- */

static void only_a_sleeper_is_woken(void **state) {
    (void)state;
    struct bed self, other;
    bed_open(&self, mask, 8, 16, 0, 0);
    bed_open(&other, mask, 8, 16, 0, 0);
    for (int i = 0; i < 10; i++) ring_wake(self.ring, other.ring);
    assert_int_equal(bed_figures(&self).wakes_spared, 10);
    assert_int_equal(bed_figures(&self).enters, 0);
    ring_doze(other.ring);
    for (int i = 0; i < 10; i++) ring_wake(self.ring, other.ring);
    assert_int_equal(bed_figures(&self).wakes_sent, 1);  // the first one lowered the flag
    assert_int_equal(bed_figures(&self).wakes_spared, 19);
    assert_int_equal(bed_figures(&self).enters, 1);  // and its message is out
    ring_wait(other.ring, TIME_NEVER);
    bed_expect_quiet(&other);  // a wake-up is no event
    bed_expect_quiet(&self);
    ring_wake(self.ring, other.ring);  // awake again
    assert_int_equal(bed_figures(&self).wakes_spared, 20);
    assert_int_equal(bed_figures(&self).wakes_failed, 0);
    ring_close(self.ring);
    ring_close(other.ring);
}

static void who_wakes_himself_does_not_sleep(void **state) {
    (void)state;
    struct bed bed;
    bed_open(&bed, mask, 8, 16, 0, 0);
    ring_doze(bed.ring);
    ring_wake(bed.ring, bed.ring);
    ring_wait(bed.ring, TIME_NEVER);
    assert_int_equal(bed_figures(&bed).wakes_sent, 0);
    ring_close(bed.ring);
}

static void a_refused_wake_is_counted(void **state) {
    (void)state;
    struct bed self;
    struct ring *disabled = bed_ring_open(mask, 8, 16, 0, 0);
    bed_open(&self, mask, 8, 16, 0, 0);
    ring_doze(disabled);
    ring_wake(self.ring, disabled);
    bed_expect_quiet(&self);
    assert_int_equal(bed_figures(&self).wakes_failed, 1);
    ring_close(disabled);
    ring_close(self.ring);
}

/* ---- two threads ---- */

/* A lane of one value: the count of items published so far. */
struct side {
    struct ring *ring;
    struct side *peer;
    _Atomic uint64_t published;
    uint64_t rounds;
    int failure;  // line, for assertions that only the main thread may make
};

#define SIDE_CHECK(side, cond)                                           \
    do {                                                                 \
        if (!(cond) && (side)->failure == 0) (side)->failure = __LINE__; \
    } while (0)

static uint64_t published_of(struct side *side) { return atomic_load_explicit(&side->published, memory_order_acquire); }

static void publish(struct side *side, uint64_t value) {
    atomic_store_explicit(&side->published, value, memory_order_release);
    ring_wake(side->ring, side->peer->ring);
}

/* Sleeps, without limit, until the peer has published `value`. */
static void sleep_until(struct side *side, uint64_t value) {
    struct ring_event event;
    while (published_of(side->peer) < value) {
        ring_doze(side->ring);
        if (published_of(side->peer) < value) ring_wait(side->ring, TIME_NEVER);
        else ring_wait(side->ring, 0);
        SIDE_CHECK(side, ring_reap(side->ring, &event, 1) == 0);
    }
}

static void *pong(void *arg) {
    struct side *side = arg;
    SIDE_CHECK(side, ring_enable(side->ring) == 0);
    publish(side, 1);  // says: enabled
    for (uint64_t i = 1; i <= side->rounds; i++) {
        sleep_until(side, i);
        publish(side, i + 1);
    }
    return NULL;
}

static void sides_open(struct side sides[2], uint64_t rounds) {
    for (int i = 0; i < 2; i++) {
        sides[i] = (struct side){.peer = &sides[1 - i], .rounds = rounds};
        sides[i].ring = bed_ring_open(mask, 16, 64, 8, 1024);
    }
    assert_int_equal(ring_enable(sides[0].ring), 0);
}

static void sides_close(struct side sides[2]) {
    for (int i = 0; i < 2; i++) {
        if (sides[i].failure != 0) fail_msg("side %d failed at line %d", i, sides[i].failure);
        ring_close(sides[i].ring);
    }
}

static void start(pthread_t *thread, void *(*body)(void *), struct side *sides) {
    assert_int_equal(pthread_create(thread, NULL, body, &sides[1]), 0);
    while (published_of(&sides[1]) < 1) sched_yield();  // rings are enabled before anybody is woken
}

/* Each waits for the other in turn: both fall asleep all the time, a lost wake-up would be the end. */
static void ping_pong_loses_no_wake(void **state) {
    (void)state;
    enum { ROUNDS = 2000 };
    struct side sides[2];
    pthread_t thread;
    struct ring_figures mine, theirs;
    sides_open(sides, ROUNDS);
    start(&thread, pong, sides);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        publish(&sides[0], i);
        sleep_until(&sides[0], i + 1);
        ring_figures_read(sides[1].ring, &theirs);  // from another thread, while it counts
    }
    pthread_join(thread, NULL);
    ring_figures_read(sides[0].ring, &mine);
    assert_int_equal(mine.wakes_sent + mine.wakes_spared, ROUNDS);
    assert_true(mine.wakes_sent > 0);
    assert_int_equal(mine.wakes_failed, 0);
    sides_close(sides);
}

static void *consume(void *arg) {
    struct side *side = arg;
    SIDE_CHECK(side, ring_enable(side->ring) == 0);
    publish(side, 1);
    for (uint64_t seen = 0; seen < side->rounds; seen = published_of(side->peer)) sleep_until(side, seen + 1);
    return NULL;
}

/* A producer that never waits: the consumer sleeps and wakes at any moment relative to it. */
static void one_way_loses_no_wake(void **state) {
    (void)state;
    enum { ROUNDS = 20000 };
    struct side sides[2];
    pthread_t thread;
    sides_open(sides, ROUNDS);
    start(&thread, consume, sides);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        publish(&sides[0], i);
        for (volatile uint64_t pause = i % 400; pause > 0; pause--) continue;
    }
    pthread_join(thread, NULL);
    sides_close(sides);
}

/* ---- handing over ---- */

#define HANDOVERS 40
#define FIRST_SIZE 100
#define REST_SIZE 5000

static int handed_fd;  // published with the count of sides[0]

/* Takes a socket over in the middle of its stream: receives the rest, answers, closes. */
static void relay_rest(struct side *side, int fd, uint64_t stream) {
    struct ring_socket socket;
    struct ring_event event;
    size_t at = FIRST_SIZE;
    bool is_closed = false;
    ring_socket_init(&socket, fd, stream);
    ring_receive(side->ring, &socket, RING_RECEIVE_MANY, 0);
    while (!is_closed) {
        if (ring_reap(side->ring, &event, 1) == 0) {
            ring_wait(side->ring, TIME_NEVER);
            continue;
        }
        if (event.op == RING_RECEIVED && event.result > 0) {
            for (int32_t i = 0; i < event.result; i++) SIDE_CHECK(side, event.bytes[i] == bed_byte(stream, at++));
            ring_give_back(side->ring, &event);
            if (at == FIRST_SIZE + REST_SIZE) ring_send(side->ring, &socket, "!", 1);
        } else if (event.op == RING_SENT) {
            SIDE_CHECK(side, event.result == 1);
            ring_close_socket(side->ring, &socket, false);
        }
        is_closed = event.op == RING_CLOSED;
    }
}

static void *take_over(void *arg) {
    struct side *side = arg;
    SIDE_CHECK(side, ring_enable(side->ring) == 0);
    publish(side, 1);
    for (uint64_t i = 1; i <= HANDOVERS; i++) {
        sleep_until(side, i);
        relay_rest(side, handed_fd, i);
        publish(side, i + 1);
    }
    return NULL;
}

static void a_socket_moves_to_another_ring(void **state) {
    (void)state;
    struct side sides[2];
    struct bed bed = {.events_max = 1};
    pthread_t thread;
    sides_open(sides, HANDOVERS);
    start(&thread, take_over, sides);
    bed.ring = sides[0].ring;
    for (uint64_t i = 1; i <= HANDOVERS; i++) {
        struct ring_socket socket;
        int far = bed_socket(&socket, i);
        bed_write(far, i, 0, FIRST_SIZE);
        ring_receive(bed.ring, &socket, RING_RECEIVE_ONCE, FIRST_SIZE);
        struct ring_event event = bed_expect(&bed, RING_RECEIVED, &socket);
        assert_int_equal(event.result, FIRST_SIZE);
        ring_give_back(bed.ring, &event);
        if (i % 2) bed_write(far, i, FIRST_SIZE, REST_SIZE);
        handed_fd = ring_socket_detach(&socket);
        publish(&sides[0], i);
        if (i % 2 == 0) bed_write(far, i, FIRST_SIZE, REST_SIZE);
        sleep_until(&sides[0], i + 1);
        char answer[2];
        assert_int_equal(recv(far, answer, 2, MSG_WAITALL), 1);  // the answer and the end of stream
        assert_int_equal(answer[0], '!');
        close(far);
    }
    pthread_join(thread, NULL);
    sides_close(sides);
}

static int run_round(const struct bed_mask *round) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_sleeper_is_woken),   cmocka_unit_test(who_wakes_himself_does_not_sleep),
        cmocka_unit_test(a_refused_wake_is_counted), cmocka_unit_test(ping_pong_loses_no_wake),
        cmocka_unit_test(one_way_loses_no_wake),     cmocka_unit_test(a_socket_moves_to_another_ring),
    };
    mask = round->features;
    return cmocka_run_group_tests_name(round->name, tests, NULL, NULL);
}

int main(void) {
    int failed = 0;
    for (size_t i = 0; i < array_count(bed_masks); i++) {
        alarm(HANG_S);
        failed += run_round(&bed_masks[i]);
    }
    return failed != 0;
}
