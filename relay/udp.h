/* udp.h - a UDP worker: the thread that forwards the datagrams of the UDP relay, and answers handshakes and STUN.
 *
 * Why threads of their own, and not the DERP workers. Their receive buffers are 64 KiB, because the kernel hands over
 * whole runs of datagrams (UDP_GRO); a flood of datagrams, which nobody can keep away from an open port, takes the
 * share of a thread and not the passes of somebody's DERP worker; and a datagram never leaves the thread it came in on.
 *
 * Sockets: one of IPv4 and one of IPv6 on the relay's port, each shared (SO_REUSEPORT) with those of the other UDP
 * workers, and one on the STUN port, shared likewise. The kernel gives one 5-tuple to one socket, so each worker is
 * the only one that sees a client's datagrams, and sees them in order. What goes to the other address family leaves by
 * this worker's socket of that family.
 *
 * One pass: collect what there is, up to all receive buffers; look at the header of every datagram, also of those in a
 * run; answer STUN and handshakes at once; forward the rest. Forwarding takes maximal stretches of one VNI out of each
 * arrival (relay/udp_forward.c), looks up where they go and appends them to the sends that are being made for that
 * destination. A send gathers up to 64 datagrams from wherever they lie, unchanged, and the kernel gets it as one run
 * (UDP_SEGMENT). So datagrams that come singly leave in runs, whenever there is a backlog. Order is kept for each
 * destination, and with it for each 5-tuple.
 *
 * Sends are immediate: the kernel takes one at once or not at all. Nothing is queued: what it does not take is dropped
 * and counted, as a router does. Where it refuses a run as such, the datagrams are sent singly: from then on, when it
 * says that it never can (-EIO), else to that destination for ten seconds (a path with a small MTU).
 * Receive buffers are counted references: the arrival itself and each piece of a send. Runs come by few of them, so
 * that they stay in the cache; datagrams that come singly use all, so that a pass sees a large backlog.
 *
 * Hostile input is the normal case. A datagram costs a header check and a look at one cache line; a control message
 * with a right VNI and the public key of one of its clients one failed box; nothing a stranger sends is answered but
 * STUN requests, and no answer is longer than what caused it (STUN: by 4 bytes). Work per pass is bounded by the
 * receive buffers, sends by LIMIT_UDP_SENDS, answers by LIMIT_UDP_ANSWERS, boxes by the answers that are there for
 * handshakes alone, so that one client's flood of them costs no other his. What finds no send, or is one box too many,
 * waits for the next pass with all that is behind it; STUN that finds no answer is dropped. Nothing is logged but
 * refusals of the kernel, at a limited rate.
 *
 * Life: as the STUN server's: listening from the first step on; STOP from main closes the sockets, and the part has
 * stopped when the ring has given them back.
 * Threads: one; udp_init on the boot thread before. Endpoints are read and bound through relay/vni.h, which is
 * published. Memory: udp_footprint, and the ring's. Errors: counted by reason (relay/reason.h); a failed receive is
 * tried again after a second.
 * Not here: who gets an endpoint, addresses of the relay. Its questions to STUN servers leave from here, and their
 * answers arrive (relay/udp_reach.c).
 */
#pragma once

#include "core/arena.h"
#include "core/lane.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/rng.h"
#include "proto/disco.h"
#include "proto/geneve.h"
#include "proto/stun.h"
#include "relay/mail.h"
#include "relay/metrics.h"
#include "relay/reach_stun.h"
#include "relay/udp_locals.h"
#include "relay/vni.h"

enum udp_place { UDP_PLACE_IPV4, UDP_PLACE_IPV6, UDP_PLACE_STUN, UDP_PLACE_COUNT };

struct udp_options {
    int fds[UDP_PLACE_COUNT];  // bound (sys_listen_datagrams); taken over; -1: none
    struct disco_key server;   // the relay's disco key
    bool has_no_runs;          // send datagrams singly
    bool has_tails;  // let no run consist of equal sizes: some kernels corrupt those (docs/udp-relay.md)
};

struct udp_links {
    struct lane *from_main;
    struct ring *office_ring;
    struct vni_table *vni;      // published
    struct udp_locals *locals;  // published
    const struct reach_stun *stun;  // published; what is an answer to a question of ours. NULL: nothing
    struct lane *from_office;   // NULL but for worker 0: STUN servers to ask
    struct lane *to_office;     // what they see; with `stun`
};

struct udp_socket {
    struct ring_datagram_socket ring;
    enum udp_place place;
    bool is_open;
    bool has_runs;  // the kernel sends them
    uint32_t overflows;  // as last read
    uint64_t receive_due_ns;  // when to ask for datagrams; TIME_NEVER: they are asked for
};

/* An answer, under way or free. */
struct udp_answer {
    struct ring_datagram datagram;
    struct udp_answer *next_free;
    bool is_stun;
    uint8_t bytes[GENEVE_HEADER_SIZE + DISCO_OVERHEAD + DISCO_BIND_SIZE];
};

_Static_assert(sizeof(((struct udp_answer *)0)->bytes) >= STUN_ANSWER_SIZE_MAX, "both fit");

/* Datagrams to one destination: free, being made, or under way. */
struct udp_send {
    struct ring_datagram datagram;
    struct udp_send *next;  // free or about to be sent
    struct udp_socket *socket;
    struct vni_address to;
    uint32_t size;
    uint16_t segment_size;  // of all but the last
    uint16_t segments;
    uint16_t segments_max;
    bool is_ended;  // the last one is shorter: no more fit
    struct iovec parts[RING_SEGMENTS_MAX];
    uint16_t buffers[RING_SEGMENTS_MAX];  // in which they lie
};

/* Received and not done with. */
struct udp_arrival {
    uint8_t *bytes;
    uint32_t size;
    uint32_t at;  // what is in front of it is done
    uint32_t segment_size;
    uint16_t buffer;
    struct udp_socket *socket;
    const struct ring_arrival *ring;
    struct vni_address source;
};

/* The send that is being made for a destination, found by its hash; good in its round alone. */
struct udp_group {
    uint64_t round;
    struct udp_send *send;
};

enum {
    UDP_GROUPS = 2 * LIMIT_UDP_SENDS,
    UDP_REFUSALS = 64,
    UDP_NONCES = 16,
};

struct udp {
    struct ring *ring;
    struct rng *rng;
    struct metrics *metrics;
    struct udp_links links;
    struct disco_key server;
    bool has_tails;
    bool is_closing;
    bool is_stopped;
    uint64_t now_ns;
    struct udp_socket sockets[UDP_PLACE_COUNT];

    struct udp_arrival *arrivals;  // a circle, LIMIT_UDP_BUFFERS long
    uint32_t arrivals_first;
    uint32_t arrivals_count;
    uint16_t *references;  // of each receive buffer
    uint32_t buffers_offered;
    uint32_t arrivals_seen;  // since the last look at what comes
    uint32_t runs_seen;

    struct udp_send *sends;
    struct udp_send *sends_free;
    uint32_t sends_free_count;
    struct udp_send *outgoing_first;
    struct udp_send **outgoing_last;
    struct udp_group *groups;
    uint64_t round;
    uint64_t group_secret;
    struct {
        struct vni_address to;
        uint64_t until_ns;
    } refusals[UDP_REFUSALS];  // destinations that get no runs
    uint64_t refusals_until_ns;

    struct udp_answer *answers;
    struct udp_answer *answers_free;
    uint32_t answers_free_count;
    uint32_t boxes_left;  // to be opened in this pass
    uint8_t nonces[UDP_NONCES][BOX_NONCE_SIZE];
    uint32_t nonces_left;

    uint64_t overflows_due_ns;
    struct log_limit log_limit;
    struct ring_event events[LIMIT_UDP_EVENTS];
};

size_t udp_footprint(void);

/* What its ring has to be. */
struct ring_options udp_ring_options(unsigned features_allowed);

void udp_init(struct udp *u, struct arena *arena, const struct udp_options *options, const struct udp_links *links,
              struct ring *ring, struct metrics *metrics, struct rng *rng, uint64_t now_ns);

/* One pass; as worker_step. */
must_use uint64_t udp_step(struct udp *u, uint64_t now_ns);
must_use bool udp_may_sleep(struct udp *u);
