#include "relay/presence.h"

void presence_write(struct presence *presence, const struct presence_event *event) {
    presence->events[presence->written++ % PRESENCE_EVENTS] = *event;
}

enum presence_result presence_read(const struct presence *presence, uint64_t *cursor, struct presence_event *ret) {
    if (*cursor == presence->written) return PRESENCE_NONE;
    if (presence->written - *cursor > PRESENCE_EVENTS) return PRESENCE_LOST;
    *ret = presence->events[(*cursor)++ % PRESENCE_EVENTS];
    return PRESENCE_EVENT;
}
