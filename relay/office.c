#include "relay/office.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/sys.h"
#include "relay/mail.h"

void office_init(struct office *o, struct ring *ring, const struct office_links *links, uint64_t now_ns) {
    CHECK(links->log_lanes_count <= OFFICE_LANES_MAX);
    *o = (struct office){.ring = ring,
                         .from_main = links->from_main,
                         .to_front = links->to_front,
                         .from_front = links->from_front,
                         .front_ring = links->front_ring,
                         .workers_count = links->workers_count,
                         .admin = links->admin,
                         .certs = links->certs,
                         .resolver = links->resolver,
                         .reach = links->reach,
                         .to_udp = links->to_udp,
                         .udp_ring = links->udp_ring,
                         .udp_workers_count = links->udp_workers_count,
                         .certs_due_ns = links->certs ? now_ns + CERTS_CHECK_EVERY_S * NS_PER_S : TIME_NEVER,
                         .log_lanes_count = links->log_lanes_count};
    memcpy(o->from_workers, links->from_workers, links->workers_count * sizeof(*links->from_workers));
    for (uint32_t i = 0; i < links->udp_workers_count; i++) o->from_udp[i] = links->from_udp[i];
    memcpy(o->log_lanes, links->log_lanes, links->log_lanes_count * sizeof(*links->log_lanes));
}

/* The front takes its mail at once, so that a lane that is full means it has not run for a long time: try again
 * later. */
static void check_certs(struct office *o, uint64_t now_ns) {
    if (now_ns < o->certs_due_ns) return;
    o->certs_due_ns = now_ns + CERTS_CHECK_EVERY_S * NS_PER_S;
    if (lane_room(o->to_front) <= 1) return;  // the last place is for a dump
    struct mail mail = {.kind = MAIL_IDENTITY, .identity = certs_check(o->certs, sys_wall_clock_s())};
    if (mail.identity == NULL) return;
    o->admin->facts.tls = *tls_identity_facts(mail.identity);
    CHECK(lane_push(o->to_front, &mail));
    if (lane_flush(o->to_front)) ring_wake(o->ring, o->front_ring);
}

void office_fini(struct office *o) { free(o->table); }

/* Goes on with the names, and mails what is done; when to come again. */
static uint64_t resolve(struct office *o, uint64_t now_ns) {
    if (o->resolver == NULL) return TIME_NEVER;
    if (o->table && lane_room(o->to_front) <= 1) return now_ns + NS_PER_S;
    uint64_t next_ns = o->table ? now_ns : resolver_step(o->resolver, now_ns, &o->table);
    if (o->table == NULL) return next_ns;
    if (lane_room(o->to_front) <= 1) return now_ns + NS_PER_S;
    CHECK(lane_push(o->to_front, &(struct mail){.kind = MAIL_BOOTSTRAP, .bootstrap = o->table}));
    o->table = NULL;
    if (lane_flush(o->to_front)) ring_wake(o->ring, o->front_ring);
    return now_ns;
}

/* Where the UDP relay can be reached; when to come again. */
static uint64_t reach(struct office *o, uint64_t now_ns) {
    if (o->reach == NULL) return TIME_NEVER;
    uint64_t next_ns = reach_step(o->reach, now_ns);
    if (o->to_udp && lane_flush(o->to_udp)) ring_wake(o->ring, o->udp_ring);
    return next_ns;
}

/* A bounded number of lines per lane and pass, so that one talkative thread does not keep the others' lines waiting. */
static bool write_lines(struct office *o) {
    bool has_more = false;
    for (uint32_t i = 0; i < o->log_lanes_count; i++) {
        has_more |= log_drain(o->log_lanes[i], LIMIT_LOG_LINES_PER_DRAIN) == LIMIT_LOG_LINES_PER_DRAIN;
    }
    return has_more;
}

static void take_mail(struct office *o, uint64_t now_ns) {
    struct mail mail;
    while (lane_pop(o->from_main, &mail)) {
        if (mail.kind == MAIL_RATE) {
            o->admin->facts.rate = mail.rate;
        } else {
            CHECK(mail.kind == MAIL_STOP);
            o->is_stopped = true;
        }
    }
    while (lane_pop(o->from_front, &mail)) {
        if (mail.kind == MAIL_DUMP) {
            admin_on_front_asks(o->admin);
        } else {
            CHECK(mail.kind == MAIL_DUMP_BACK);
            admin_on_front_dump(o->admin, now_ns);
        }
    }
    for (uint32_t i = 0; i < o->workers_count; i++) {
        if (!lane_pop(o->from_workers[i], &mail)) continue;
        CHECK(mail.kind == MAIL_DUMP_BACK);
        admin_on_dump(o->admin, now_ns);
    }
}

/* A bounded number per pass: answers of STUN servers. */
static void take_udp_mail(struct office *o) {
    struct mail mail;
    for (uint32_t i = 0; i < o->udp_workers_count; i++) {
        for (uint32_t n = 0; n < REACH_MAIL_ITEMS && lane_pop(o->from_udp[i], &mail); n++) {
            CHECK(mail.kind == MAIL_STUN_SEEN);
            reach_on_seen(o->reach, &mail.reach);
        }
    }
}

static void take_events(struct office *o, uint64_t now_ns) {
    struct ring_event events[ADMIN_EVENTS_PER_PASS];
    size_t count = ring_reap(o->ring, events, array_count(events));
    for (size_t i = 0; i < count; i++) admin_on_event(o->admin, &events[i], now_ns);
}

uint64_t office_step(struct office *o, uint64_t now_ns) {
    take_events(o, now_ns);
    take_mail(o, now_ns);
    take_udp_mail(o);
    bool has_more = write_lines(o);
    while (o->is_stopped && has_more) has_more = write_lines(o);
    check_certs(o, now_ns);
    uint64_t names_due_ns = o->is_stopped ? TIME_NEVER : resolve(o, now_ns);
    uint64_t reach_due_ns = o->is_stopped ? TIME_NEVER : reach(o, now_ns);
    uint64_t admin_due_ns = admin_step(o->admin, now_ns);
    if (log_flush()) has_more = true;
    return has_more ? now_ns : min_of(min_of(admin_due_ns, reach_due_ns), min_of(o->certs_due_ns, names_due_ns));
}

bool office_may_sleep(struct office *o) {
    for (uint32_t i = 0; i < o->log_lanes_count; i++) {
        if (lane_has_mail(&o->log_lanes[i]->lane)) return false;
    }
    for (uint32_t i = 0; i < o->workers_count; i++) {
        if (lane_has_mail(o->from_workers[i])) return false;
    }
    for (uint32_t i = 0; i < o->udp_workers_count; i++) {
        if (lane_has_mail(o->from_udp[i])) return false;
    }
    return !lane_has_mail(o->from_main) && !lane_has_mail(o->from_front);
}
