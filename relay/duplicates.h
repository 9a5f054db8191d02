/* duplicates.h - several connections of one key: which of them gets the packets. Pure rules, no connection in sight.
 *
 * A key may have several connections: a client that roams, or a cloned key. All stay open and are read; packets for the
 * key go to the active one. Two policies (docs/derp.md, "Duplicate connections"):
 *
 *   DUPLICATES_LAST_WRITER       the newest, and from then on whichever sent a frame last. derper's, and the default.
 *   DUPLICATES_DISABLE_FIGHTERS  the newest; when connections of one key take turns in sending (which only clones do)
 *                                all are disabled: none is active until one is left or a new one comes. derper has it
 *                                in its code, without a flag.
 *
 * The rules are those of the reference's dupClientSet with its send history; of the history only each member's last
 * place matters, so a member carries that number and nothing grows (duplicates.c says why that is enough). One detail
 * that surprises: the second connection of a key is not in the history until it sends, the first one is; so when the
 * third leaves and nobody has sent, the first takes over.
 *
 * Threads: thread-local to a worker. Memory: the members are embedded by the owner. Errors: none.
 */
#pragma once

#include "core/base.h"

enum duplicates_policy { DUPLICATES_LAST_WRITER, DUPLICATES_DISABLE_FIGHTERS };

struct duplicate {
    struct duplicate *next;  // in duplicates.members
    uint64_t place;          // in the history of who sent; 0: not in it
    bool is_disabled;
};

/* The connections of one key. All zero is none. */
struct duplicates {
    struct duplicate *members;  // newest first
    struct duplicate *active;   // who gets packets; NULL: no members, or all are disabled
    uint64_t places;            // the greatest place a member has: it sent last
    uint32_t count;
};

/* `member` (any content) joins as the newest and is active. */
void duplicates_join(struct duplicates *set, struct duplicate *member);

/* `member`, which is in the set (CHECK), leaves. If it was active, the one that sent last is; of one that is left alone
 * the past is forgotten: it is enabled and active. */
void duplicates_leave(struct duplicates *set, struct duplicate *member);

/* `member`, which is in the set, has sent a frame. Cheap when it is alone, or active and the last that sent. */
void duplicates_note(struct duplicates *set, struct duplicate *member, enum duplicates_policy policy);
