#include "relay/office.h"

#include "core/check.h"
#include "core/sys.h"
#include "relay/mail.h"

void office_init(struct office *o, struct ring *ring, const struct office_links *links, uint64_t now_ns) {
    CHECK(links->log_lanes_count <= OFFICE_LANES_MAX);
    *o = (struct office){.ring = ring,
                         .from_main = links->from_main,
                         .to_front = links->to_front,
                         .front_ring = links->front_ring,
                         .certs = links->certs,
                         .certs_due_ns = links->certs ? now_ns + CERTS_CHECK_EVERY_S * NS_PER_S : TIME_NEVER,
                         .log_lanes_count = links->log_lanes_count};
    memcpy(o->log_lanes, links->log_lanes, links->log_lanes_count * sizeof(*links->log_lanes));
}

/* The front takes its mail at once, so that a lane that is full means it has not run for a long time: try again
 * later. */
static void check_certs(struct office *o, uint64_t now_ns) {
    if (now_ns < o->certs_due_ns) return;
    o->certs_due_ns = now_ns + CERTS_CHECK_EVERY_S * NS_PER_S;
    if (lane_room(o->to_front) == 0) return;
    struct mail mail = {.kind = MAIL_IDENTITY, .identity = certs_check(o->certs, sys_wall_clock_s())};
    if (mail.identity == NULL) return;
    CHECK(lane_push(o->to_front, &mail));
    if (lane_flush(o->to_front)) ring_wake(o->ring, o->front_ring);
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
    check_certs(o, now_ns);
    if (log_flush()) has_more = true;
    return has_more ? now_ns : o->certs_due_ns;
}

bool office_may_sleep(struct office *o) {
    for (uint32_t i = 0; i < o->log_lanes_count; i++) {
        if (lane_has_mail(&o->log_lanes[i]->lane)) return false;
    }
    return !lane_has_mail(o->from_main);
}
