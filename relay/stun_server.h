/* stun_server.h - the thread that answers STUN: "from which address do you see me?" (proto/stun.h).
 *
 * why a thread of its own, the fifth kind. An answer is a measurement: clients choose their relay by how long it takes.
 * So it must wait neither behind logins (the front: handshakes, at nice 10) nor behind relayed packets (a worker's
 * pass). And anybody may send anything to this port: as a part of front or worker, a flood would take the time of
 * people who are logged in. Here a flood takes the share of one thread, at nice 5: while there is nothing to do it
 * gets the processor at once, as any thread that mostly sleeps; when it always has something to do, a worker on the
 * same processor gets three quarters. It asks for the shortest slices, as a worker does.
 *
 * One pass handles at most LIMIT_STUN_EVENTS events, and answers are sent straight from a fixed number of objects
 * (LIMIT_STUN_ANSWERS). When all of them wait for the kernel, requests are dropped and counted, not queued: a late
 * answer is a wrong measurement. Answers leave from the address that was asked, also on a host with several.
 *
 * What is not answered: whatever is not Tailscale's own request, and what was longer than LIMIT_STUN_DATAGRAM bytes.
 * An answer is never longer than its request by more than 4 bytes, so the relay is no amplifier; and it is no request,
 * so two relays that a forger sets on each other do not talk for ever. There is no limit per asker: addresses of UDP
 * can be forged, and a limit would be a means to silence others.
 *
 * Life: listening from the first step on; STOP from main closes the socket, and the part has stopped when the ring has
 * given it back. Without STUN (-stun=false) the part has stopped before it began: its thread ends at once.
 *
 * Threads: one; stun_server_init on the boot thread before. Memory: the answers, in the part's arena. Errors: a failed
 * receive is counted and tried again after a second, as by derper; a failed send is counted.
 */
#pragma once

#include "core/arena.h"
#include "core/lane.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/ring.h"
#include "proto/stun.h"
#include "relay/mail.h"
#include "relay/metrics.h"

_Static_assert((int)LIMIT_STUN_DATAGRAM < (int)LIMIT_STUN_BUFFER_SIZE - (int)RING_DATAGRAM_OVERHEAD, "none is cut");

struct stun_options {
    bool is_on;
    int fd;  // bound (sys_listen_udp); taken over
};

struct stun_links {
    struct lane *from_main;
    struct ring *office_ring;
};

/* An answer, under way or free. */
struct stun_answer {
    struct ring_datagram datagram;
    struct stun_answer *next_free;
    uint8_t bytes[STUN_ANSWER_SIZE_MAX];
};

struct stun_server {
    struct ring *ring;
    struct metrics *metrics;
    struct stun_links links;
    struct ring_datagram_socket socket;
    struct stun_answer *answers;
    struct stun_answer *first_free;
    uint64_t receive_due_ns;  // when to ask for requests, if that was refused; else TIME_NEVER
    struct log_limit error_log;
    bool is_stopped;
    struct ring_event events[LIMIT_STUN_EVENTS];
};

size_t stun_server_footprint(void);

void stun_server_init(struct stun_server *s, struct arena *arena, const struct stun_options *options,
                      const struct stun_links *links, struct ring *ring, struct metrics *metrics, uint64_t now_ns);

/* One pass; as worker_step. */
must_use uint64_t stun_server_step(struct stun_server *s, uint64_t now_ns);
must_use bool stun_server_may_sleep(struct stun_server *s);
