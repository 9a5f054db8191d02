#include "tests/sim/sched_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "core/asan.h"
#include "core/check.h"
#include "tests/sim/faults_sim.h"

#ifdef HAS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif
#ifdef HAS_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* why not larger: AddressSanitizer clears the shadow of the whole stack at every switch. */
enum {
    STACK_SIZE = 160 * 1024,
    TURN_NS_MAX = 1500,
    LONG_HOLD_ONE_IN = 100,
    FOCUS_ONE_IN = 4,
    FOCUS_HOLD_NS_MAX = 1000 * 1000
};

struct fiber {
    const char *name;
    ucontext_t context;
    uint8_t *stack;
    void (*main)(void *arg);
    void *arg;
    struct log_lane *log_lane;
    bool is_done;
    bool is_blocked;
    uint64_t until_ns;
    uint64_t held_until_ns;
    bool (*is_ready)(const void *arg);
    const void *ready_arg;
    void *fake_stack;  // AddressSanitizer's
    void *tsan_fiber;  // ThreadSanitizer's
};

struct sim sim;

static ucontext_t scheduler;
#ifdef HAS_ASAN
static const void *scheduler_stack;
static size_t scheduler_stack_size;
#endif
#ifdef HAS_TSAN
static void *scheduler_tsan_fiber;
#endif

/* ---- choices: splitmix64 ---- */

uint64_t sim_random(void) {
    uint64_t z = sim.random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t sim_below(uint64_t bound) {
    CHECK(bound > 0);
    return sim_random() % bound;
}

uint64_t sim_between(uint64_t low, uint64_t high) { return low + sim_below(high - low + 1); }

bool sim_one_in(uint64_t n) { return sim_below(n) == 0; }

/* ---- telling ---- */

static void hash_bytes(const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) sim.trace_hash = (sim.trace_hash ^ at[i]) * 0x100000001b3ull;
}

void sim_note(const char *what, uint64_t a, uint64_t b) {
    uint64_t numbers[3] = {sim.now_ns, a, b};
    hash_bytes(what, strlen(what));
    hash_bytes(numbers, sizeof(numbers));
    sim.notes++;
    if (!sim.is_verbose) return;
    printf("%14.6f %-8s %-24s %llu %llu\n", (double)sim.now_ns / 1e9, sim.current ? sim.current->name : "-", what,
           (unsigned long long)a, (unsigned long long)b);
}

void sim_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "sim: at %.6f s, turn %llu: ", (double)sim.now_ns / 1e9, (unsigned long long)sim.turns);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

/* ---- the world ---- */

void sim_init(uint64_t seed, bool is_verbose) {
    static const uint32_t point_choices[] = {0, 3, 8, 32};
    sim = (struct sim){.seed = seed, .random = seed, .is_verbose = is_verbose, .trace_hash = 0xcbf29ce484222325ull};
    sim.now_ns = 3600 * NS_PER_S;
    sim.point_one_in = point_choices[sim_below(array_count(point_choices))];
    sim.focus = (enum sim_point_kind)sim_below(POINT_COUNT + 3);
    sim.hold_ns_max = sim_one_in(2) ? 3 * NS_PER_MS : 20 * NS_PER_US;
}

static void fiber_free(struct fiber *fiber) {
    CHECK(fiber->is_done);
#ifdef HAS_TSAN
    __tsan_destroy_fiber(fiber->tsan_fiber);
#endif
    free(fiber->stack);
    free(fiber);
}

void sim_fini(void) {
    for (uint32_t i = 0; i < sim.fibers_count; i++) fiber_free(sim.fibers[i]);
    sim.fibers_count = 0;
}

/* ---- switching ---- */

static void to_scheduler(struct fiber *fiber) {
    sim.current = NULL;
#ifdef HAS_ASAN
    void **fake = fiber->is_done ? NULL : &fiber->fake_stack;
    __sanitizer_start_switch_fiber(fake, scheduler_stack, scheduler_stack_size);
#endif
#ifdef HAS_TSAN
    __tsan_switch_to_fiber(scheduler_tsan_fiber, 0);
#endif
    CHECK(swapcontext(&fiber->context, &scheduler) == 0);
#ifdef HAS_ASAN
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_stack, &scheduler_stack_size);
#endif
}

static void fiber_main(void) {
    struct fiber *fiber = sim.current;
#ifdef HAS_ASAN
    __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_size);
#endif
    fiber->main(fiber->arg);
    fiber->is_done = true;
    to_scheduler(fiber);
    sim_fail("a fiber that has ended runs");
}

struct fiber *sim_spawn(const char *name, void (*main)(void *arg), void *arg, struct log_lane *log_lane) {
    struct fiber *fiber = calloc(1, sizeof(*fiber));
    CHECK(fiber != NULL && sim.fibers_count < SIM_FIBERS_MAX);
    *fiber = (struct fiber){.name = name, .main = main, .arg = arg, .log_lane = log_lane};
    fiber->stack = malloc(STACK_SIZE);
    CHECK(fiber->stack != NULL && getcontext(&fiber->context) == 0);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_SIZE;
    makecontext(&fiber->context, fiber_main, 0);
#ifdef HAS_TSAN
    fiber->tsan_fiber = __tsan_create_fiber(0);
#endif
    sim.fibers[sim.fibers_count++] = fiber;
    return fiber;
}

bool sim_fiber_is_done(const struct fiber *fiber) { return fiber->is_done; }

void sim_fiber_run(struct fiber *fiber) {
    void *fake_stack = NULL;
    fiber->is_blocked = false;
    sim.current = fiber;
    log_use_lane(fiber->log_lane);
#ifdef HAS_ASAN
    __sanitizer_start_switch_fiber(&fake_stack, fiber->stack, STACK_SIZE);
#endif
#ifdef HAS_TSAN
    scheduler_tsan_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->tsan_fiber, 0);
#endif
    CHECK(swapcontext(&scheduler, &fiber->context) == 0);
#ifdef HAS_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
    (void)fake_stack;
    log_use_lane(NULL);
    sim.turns++;
    sim.now_ns += sim_below(TURN_NS_MAX);
}

/* ---- giving up the processor ---- */

void sim_yield(void) {
    CHECK(sim.current != NULL);
    to_scheduler(sim.current);
}

/* One at a time, and with time between two, so that no step of a part is held off twice. */
static bool hold_long(struct fiber *fiber) {
    uint64_t ns_max = faults.long_hold_ns_max;
    if (!faults.is_on || ns_max == 0 || sim.now_ns < sim.long_hold_next_ns || !sim_one_in(LONG_HOLD_ONE_IN))
        return false;
    fiber->held_until_ns = sim.now_ns + sim_between(ns_max / 20, ns_max);
    sim.long_hold_next_ns = fiber->held_until_ns + NS_PER_MS + sim_below(2 * ns_max);
    sim_note("held off", fiber->held_until_ns - sim.now_ns, 0);
    tally_add(TALLY_LONG_HOLDS, 1);
    return true;
}

void sim_point(enum sim_point_kind kind) {
    if (sim.current == NULL) return;
    if (hold_long(sim.current)) {
        sim_yield();
        return;
    }
    if (kind == sim.focus && sim_one_in(FOCUS_ONE_IN)) {
        sim.current->held_until_ns = sim.now_ns + sim_below(FOCUS_HOLD_NS_MAX);
        sim_yield();
        return;
    }
    if (sim.point_one_in == 0 || !sim_one_in(sim.point_one_in)) return;
    if (sim_one_in(3)) sim.current->held_until_ns = sim.now_ns + sim_below(sim.hold_ns_max);
    sim_yield();
}

void sim_block(uint64_t until_ns, bool (*is_ready)(const void *arg), const void *arg) {
    struct fiber *fiber = sim.current;
    CHECK(fiber != NULL);
    fiber->is_blocked = true;
    fiber->until_ns = until_ns;
    fiber->is_ready = is_ready;
    fiber->ready_arg = arg;
    (void)hold_long(fiber);
    to_scheduler(fiber);
}

static bool would_run(const struct fiber *fiber) {
    if (fiber->is_done) return false;
    return !fiber->is_blocked || sim.now_ns >= fiber->until_ns || fiber->is_ready(fiber->ready_arg);
}

bool sim_fiber_can_run(const struct fiber *fiber) { return sim.now_ns >= fiber->held_until_ns && would_run(fiber); }

bool sim_fiber_is_held(const struct fiber *fiber) { return sim.now_ns < fiber->held_until_ns && would_run(fiber); }

bool sim_fiber_is_asleep(const struct fiber *fiber) { return !fiber->is_done && !would_run(fiber); }

uint64_t sim_fiber_next_ns(const struct fiber *fiber) {
    if (fiber->is_done) return TIME_NEVER;
    bool is_waiting = fiber->is_blocked && !fiber->is_ready(fiber->ready_arg);
    return max_of(is_waiting ? fiber->until_ns : 0, fiber->held_until_ns);
}
