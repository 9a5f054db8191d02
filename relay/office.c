#include "relay/office.h"

#include "core/check.h"
#include "relay/mail.h"

void office_init(struct office *o, struct ring *ring, struct lane *from_main, struct log_lane *const *log_lanes,
                 uint32_t log_lanes_count) {
    CHECK(log_lanes_count <= OFFICE_LANES_MAX);
    *o = (struct office){.ring = ring, .from_main = from_main, .log_lanes_count = log_lanes_count};
    memcpy(o->log_lanes, log_lanes, log_lanes_count * sizeof(*log_lanes));
}

/* A bounded number of lines per lane and pass, so that one talkative thread does not keep the others' lines waiting. */
static bool write_lines(struct office *o) {
    bool has_more = false;
    for (uint32_t i = 0; i < o->log_lanes_count; i++) {
        has_more |= log_drain(o->log_lanes[i], LIMIT_LOG_LINES_PER_DRAIN) == LIMIT_LOG_LINES_PER_DRAIN;
    }
    return has_more;
}

uint64_t office_step(struct office *o, uint64_t now_ns) {
    struct ring_event none;
    struct mail mail;
    CHECK(ring_reap(o->ring, &none, 1) == 0);
    bool is_last = lane_pop(o->from_main, &mail);
    bool has_more = write_lines(o);
    while (is_last && has_more) has_more = write_lines(o);
    o->is_stopped = is_last;
    return has_more ? now_ns : TIME_NEVER;
}

bool office_may_sleep(struct office *o) {
    for (uint32_t i = 0; i < o->log_lanes_count; i++) {
        if (lane_has_mail(&o->log_lanes[i]->lane)) return false;
    }
    return !lane_has_mail(o->from_main);
}
