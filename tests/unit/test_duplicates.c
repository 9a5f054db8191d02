/* test_duplicates.c - which of several connections of a key is active: cases by hand, and random histories beside a
 * model that keeps the reference's state in full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "core/sys.h"
#include "relay/duplicates.h"

enum { MEMBERS = 6, NOBODY = -1 };

/* ---- cases by hand ---- */

/* Steps are three characters: +1 joins, -1 leaves, !1 sends; then who is active, - for none. After the last one:
 * who is in the set, oldest first, and who is disabled. */
struct story {
    enum duplicates_policy policy;
    const char *steps;
    const char *members;
    const char *disabled;
};

static const struct story stories[] = {
    // one alone
    {DUPLICATES_LAST_WRITER, "+11 !11", "1", ""},
    {DUPLICATES_LAST_WRITER, "+11 -1- +22 -2-", "", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 !11 !11", "1", ""},
    // one roams: the new connection takes over, the old one dies
    {DUPLICATES_LAST_WRITER, "+11 +22", "12", ""},
    {DUPLICATES_LAST_WRITER, "+11 +22 -12", "2", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 -12", "2", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !22 !22", "12", ""},
    // the last writer
    {DUPLICATES_LAST_WRITER, "+11 +22 !11 !22 -21", "1", ""},
    {DUPLICATES_LAST_WRITER, "+11 +22 +33 !22 !11 !33 !11 -13 -32", "2", ""},
    {DUPLICATES_LAST_WRITER, "+11 +22 +33 +44 !22 !11 -21 -14", "34", ""},
    // the second has no place until it sends, so the first comes before it
    {DUPLICATES_LAST_WRITER, "+11 +22 +33 -31", "12", ""},
    {DUPLICATES_LAST_WRITER, "+11 +22 +33 !22 !33 -32", "12", ""},
    {DUPLICATES_LAST_WRITER, "+11 +22 +33 -13", "23", ""},
    // two that take turns are disabled, with all others; what they send afterwards does not count
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- !2- !1-", "12", "12"},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- +33 -3- -21", "1", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 !1-", "123", "123"},
    // the first of two is in the history, and its end: it may send until the other one has
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !12 !12 !22 !1-", "12", "12"},
    // who has not sent before does not fight; it takes over only when the active one leaves
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 !23", "123", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 !23 -32", "12", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 !23 !3-", "123", "123"},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 +44 !24 -14", "234", ""},
    // who sent last is so again when a later one has left
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 -31 !11 !21 !1-", "12", "12"},
    // a new one is active beside the disabled ones, and stays so whatever they send
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- +33 !13 !23 !33 !33", "123", "12"},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- +33 -13", "23", "2"},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- +33 +44 !44 -43", "123", "12"},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- +33 +44 !3-", "1234", "1234"},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 +33 !1- -3- -21", "1", ""},
    // one that was left alone begins anew, without a past
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 !1- -21 +33 !33", "13", ""},
    {DUPLICATES_DISABLE_FIGHTERS, "+11 +22 !22 -12 +33 !33 !2-", "23", "23"},
};

static struct duplicate members[MEMBERS];

static void step(struct duplicates *set, char action, struct duplicate *member, enum duplicates_policy policy) {
    if (action == '+') {
        memset(member, 0xff, offsetof(struct duplicate, is_disabled));  // what it was before must not matter
        member->is_disabled = true;
        duplicates_join(set, member);
    } else if (action == '-') {
        duplicates_leave(set, member);
    } else {
        assert_int_equal(action, '!');
        duplicates_note(set, member, policy);
    }
}

static char name_of(const struct duplicate *member) { return (char)(member ? '1' + (member - members) : '-'); }

/* Names of those in the set, or of the disabled ones, oldest first. */
static void write_names(const struct duplicates *set, bool only_disabled, char text[MEMBERS + 1]) {
    char *end = text;
    for (const struct duplicate *member = set->members; member != NULL; member = member->next) {
        if (only_disabled && !member->is_disabled) continue;
        memmove(text + 1, text, (size_t)(end++ - text));
        text[0] = name_of(member);
    }
    *end = 0;
}

static void tell(const struct story *story) {
    struct duplicates set = {0};
    char names[MEMBERS + 1];
    for (const char *at = story->steps; *at != 0; at += at[3] == ' ' ? 4 : 3) {
        step(&set, at[0], &members[at[1] - '1'], story->policy);
        if (name_of(set.active) != at[2]) fail_msg("%s: %c is active at %s", story->steps, name_of(set.active), at);
    }
    write_names(&set, false, names);
    assert_string_equal(names, story->members);
    assert_int_equal(set.count, strlen(story->members));
    write_names(&set, true, names);
    assert_string_equal(names, story->disabled);
}

static void test_stories(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(stories); i++) tell(&stories[i]);
}

/* ---- the reference, in full ---- */

enum { HISTORY_MAX = 40000 };

/* One key of the reference: a single connection, or a set with a history. Connections are numbers. */
struct model {
    bool keeps_all;  // the history keeps earlier entries of who sends again, as older releases did
    bool is_set;
    bool is_here[MEMBERS], is_disabled[MEMBERS], is_marked[MEMBERS];
    int active, last;
    int history[HISTORY_MAX];
    size_t history_size;
};

static int here_count(const struct model *model) {
    int count = 0;
    for (int i = 0; i < MEMBERS; i++) count += model->is_here[i];
    return count;
}

static bool is_in_history(const struct model *model, int who) {
    for (size_t i = 0; i < model->history_size; i++) {
        if (model->history[i] == who) return true;
    }
    return false;
}

static int history_end(const struct model *model) {
    return model->history_size > 0 ? model->history[model->history_size - 1] : NOBODY;
}

/* Takes out a connection's entries, and of neighbours that are then equal all but one. */
static void history_without(struct model *model, int who) {
    size_t kept = 0;
    for (size_t i = 0; i < model->history_size; i++) {
        if (model->history[i] == who) continue;
        if (kept == 0 || model->history[kept - 1] != model->history[i]) model->history[kept++] = model->history[i];
    }
    model->history_size = kept;
}

static void history_add(struct model *model, int who) {
    assert_true(model->history_size < HISTORY_MAX);
    model->history[model->history_size++] = who;
}

static void model_join(struct model *model, int who) {
    int before = model->active;
    model->is_here[who] = true;
    model->is_disabled[who] = false;
    model->is_marked[who] = before != NOBODY;
    if (before != NOBODY) model->is_marked[before] = true;
    model->active = who;
    if (model->is_set) {
        model->last = who;
        history_add(model, who);
    } else if (before != NOBODY) {
        model->is_set = true;
        model->last = who;
        model->history_size = 0;
        history_add(model, before);
    }
}

static void model_become_single(struct model *model) {
    model->is_set = false;
    for (int i = 0; i < MEMBERS; i++) {
        model->is_disabled[i] = model->is_marked[i] = false;
        if (model->is_here[i]) model->active = i;
    }
}

static void model_leave(struct model *model, int who) {
    model->is_here[who] = false;
    if (!model->is_set) {
        model->active = NOBODY;
        return;
    }
    history_without(model, who);
    if (model->last == who) model->last = history_end(model);
    if (here_count(model) == 1) {
        model_become_single(model);
    } else {
        bool is_fit = model->last != NOBODY && !model->is_disabled[model->last];
        model->active = is_fit ? model->last : NOBODY;
    }
}

static void model_disable_all(struct model *model) {
    for (int i = 0; i < MEMBERS; i++) model->is_disabled[i] = model->is_here[i];
    model->active = NOBODY;
}

static void model_note(struct model *model, int who, enum duplicates_policy policy) {
    if (!model->is_marked[who] || model->is_disabled[who]) return;
    if (policy == DUPLICATES_LAST_WRITER || model->last == NOBODY) model->active = model->last = who;
    if (history_end(model) == who) return;
    if (policy == DUPLICATES_DISABLE_FIGHTERS && is_in_history(model, who)) model_disable_all(model);
    if (!model->keeps_all) history_without(model, who);
    history_add(model, who);
}

static void model_step(struct model *model, char action, int who, enum duplicates_policy policy) {
    if (action == '+') {
        model_join(model, who);
    } else if (action == '-') {
        model_leave(model, who);
    } else {
        model_note(model, who, policy);
    }
}

static void assert_like(const struct duplicates *set, const struct model *model) {
    assert_int_equal(set->count, here_count(model));
    assert_ptr_equal(set->active, model->active == NOBODY ? NULL : &members[model->active]);
    uint32_t count = 0;
    for (const struct duplicate *member = set->members; member != NULL; member = member->next, count++) {
        assert_true(model->is_here[member - members]);
        assert_int_equal(member->is_disabled, model->is_disabled[member - members]);
    }
    assert_int_equal(set->count, count);
}

/* Sets of one to MEMBERS: it grows for a while and shrinks for a while, and mostly somebody sends. */
static char choose_action(struct rng *rng, const struct model *model, int who, int round) {
    if (!model->is_here[who]) return rng_below(rng, 100) < (round / 64 % 2 == 0 ? 60 : 15) ? '+' : 0;
    return rng_below(rng, 100) < (round / 64 % 2 == 0 ? 10 : 30) ? '-' : '!';
}

static const enum duplicates_policy both_policies[] = {DUPLICATES_LAST_WRITER, DUPLICATES_DISABLE_FIGHTERS};

/* `policy` 2: either, by chance; no server does so, but then the state must be the same one all the more. */
static void compare(unsigned policy, bool keeps_all, uint64_t seed) {
    static struct model model;
    struct duplicates set = {0};
    struct rng rng;
    uint32_t times_none = 0;
    model = (struct model){.keeps_all = keeps_all, .active = NOBODY, .last = NOBODY};
    rng_init_seeded(&rng, seed);
    for (int round = 0; round < HISTORY_MAX - 1; round++) {
        int who = (int)rng_below(&rng, MEMBERS);
        char action = choose_action(&rng, &model, who, round);
        enum duplicates_policy now = both_policies[policy < 2 ? policy : rng_below(&rng, 2)];
        if (action == 0) continue;
        step(&set, action, &members[who], now);
        model_step(&model, action, who, now);
        assert_like(&set, &model);
        if (set.count > 0 && set.active == NULL) times_none++;
    }
    assert_int_equal(times_none > 0, policy != 0);
}

static void test_random_histories(void **state) {
    (void)state;
    for (unsigned policy = 0; policy < 3; policy++) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            compare(policy, false, seed);
            compare(policy, true, seed);
        }
    }
}

/* ---- bounds and misuse ---- */

/* Who keeps sending alone changes nothing, not even a number. */
static void test_sending_on_writes_nothing(void **state) {
    (void)state;
    struct duplicates set = {0};
    step(&set, '+', &members[0], DUPLICATES_LAST_WRITER);
    for (int i = 0; i < 100; i++) duplicates_note(&set, &members[0], DUPLICATES_LAST_WRITER);
    assert_int_equal(set.places, 0);
    step(&set, '+', &members[1], DUPLICATES_LAST_WRITER);
    for (int i = 0; i < 100; i++) duplicates_note(&set, &members[1], DUPLICATES_LAST_WRITER);
    assert_int_equal(set.places, 2);
}

static void leave_what_is_not_there(void) {
    struct duplicates set = {0};
    duplicates_join(&set, &members[0]);
    duplicates_leave(&set, &members[1]);
}

static void test_misuse_is_a_crash(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        (void)close(STDERR_FILENO);
        leave_what_is_not_there();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_random_histories),
        cmocka_unit_test(test_sending_on_writes_nothing),
        cmocka_unit_test(test_misuse_is_a_crash),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
