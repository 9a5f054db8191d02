#include "relay/duplicates.h"

#include "core/check.h"

/* How the reference's state is found in less of it.
 *
 * Its history lists who sent, and four things are done with it: ask whether a member is its end, ask whether a member
 * is in it, append a member, and take a member out. Whether the list keeps all of a member's entries or just the last,
 * and whether equal neighbours collapse when who was between them leaves, changes none of the answers: a member is
 * contained if it has a last entry, and the end of the list is the member whose last entry is greatest, before and
 * after others' entries are taken out. So the number of the last entry is all a member needs; set->places is the
 * greatest of them, and who has it is the end.
 *
 * The history begins when the second connection comes, with the first one alone; the second is in it when it has sent,
 * all later ones from the start. So at most one member is not in it, and where there are two or more it has an end.
 *
 * Its "last", who is active unless disabled, needs no field. It is set together with the active one, by a join and by
 * the last writer; and when it is disabled so are all: a disabled member sends without effect, and who joins afterwards
 * gets a place behind all disabled ones. So when none is active, that ends with a join or with the last but one
 * leaving, and not before; and else "last" is the active one. For the same reason its mark "is a duplicate", which a
 * connection that joins while none is active does not get before the next one joins, needs no bit: until then such a
 * connection is active and the end of the history, and its sending changes nothing. */

void duplicates_join(struct duplicates *set, struct duplicate *member) {
    *member = (struct duplicate){.next = set->members};
    if (set->count == 1) {
        set->members->place = set->places = 1;
    } else if (set->count > 1) {
        member->place = ++set->places;
    }
    set->members = member;
    set->active = member;
    set->count++;
}

static void unlink_member(struct duplicates *set, const struct duplicate *member) {
    struct duplicate **at = &set->members;
    while (*at != member) {
        CHECK(*at != NULL);  // it is in the set
        at = &(*at)->next;
    }
    *at = member->next;
    set->count--;
}

/* Who sent last; the first of all when nobody is in the history. */
static struct duplicate *last_sender(const struct duplicates *set) {
    struct duplicate *last = set->members;
    for (struct duplicate *member = set->members; member != NULL; member = member->next) {
        if (member->place > last->place) last = member;
    }
    return last;
}

/* What was between connections of one key ends with the last but one: its history, and its penalty. */
static void become_single(struct duplicates *set) {
    struct duplicate *member = set->members;
    *member = (struct duplicate){0};
    *set = (struct duplicates){.members = member, .active = member, .count = 1};
}

void duplicates_leave(struct duplicates *set, struct duplicate *member) {
    unlink_member(set, member);
    if (set->count == 0) {
        *set = (struct duplicates){0};
    } else if (set->count == 1) {
        become_single(set);
    } else {
        struct duplicate *last = last_sender(set);
        DCHECK(last->place > 0);
        set->places = last->place;
        if (set->active == member) set->active = last->is_disabled ? NULL : last;
    }
}

static void disable_all(struct duplicates *set) {
    for (struct duplicate *member = set->members; member != NULL; member = member->next) member->is_disabled = true;
    set->active = NULL;
}

void duplicates_note(struct duplicates *set, struct duplicate *member, enum duplicates_policy policy) {
    bool is_last = member->place == set->places;  // for the only one, too: neither has a place
    if (likely(is_last && set->active == member)) return;
    if (member->is_disabled) return;
    if (policy == DUPLICATES_LAST_WRITER) set->active = member;
    if (is_last) return;
    // it has sent before, and another one since: they take turns
    if (policy == DUPLICATES_DISABLE_FIGHTERS && member->place != 0) disable_all(set);
    member->place = ++set->places;
}
