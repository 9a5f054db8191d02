/* limits.h - every number that bounds the relay, with where it comes from.
 *
 * Law: all memory has a number, and the number has a derivation. Fixed numbers are enum constants here; those an
 * operator may choose are the fields of `struct limits`, filled once at boot (limits_init) and frozen. Sums over them,
 * with the sizes of the real structs, are made in relay/budget.h and printed by `ringrelayd -budget`; the arenas of the
 * threads are sized by the same rows, so the print cannot drift from the truth.
 */
#pragma once

#include "core/base.h"

enum {
    /* ---- DERP on the wire (docs/derp.md, "Constants") ---- */
    LIMIT_DATA_SIZE_MAX = 65536,                                // payload of one packet, without keys and header
    LIMIT_FRAME_SIZE_MAX = 5 + 2 * 32 + LIMIT_DATA_SIZE_MAX,    // ForwardPacket with its header, the greatest of all
    LIMIT_CLIENT_INFO_SIZE_MAX = 256 * 1024,                    // frame payload, as the reference accepts it

    /* ---- the door (front) ---- */
    LIMIT_HTTP_HEAD_SIZE_MAX = 16 * 1024,   // clients send ~200 bytes; proxies add a few hundred
    LIMIT_SESSIONS = 512,  // sockets between accept and hand-over: each may hold 140 KiB while it shakes hands
    LIMIT_SESSIONS_CLOSING = 256,  // and those that were closed for newer ones in the same pass
    LIMIT_SESSIONS_ALL = LIMIT_SESSIONS + LIMIT_SESSIONS_CLOSING,
    LIMIT_ACCEPTS_WAITING = 1024,  // accepted sockets that wait for one of those to be closed: descriptors only
    LIMIT_LARGE_BUFFERS = 8,  // ClientInfo above the session's buffer, pages above 4 KiB: rare
    LIMIT_PARCELS = 128,  // logins between front and worker at one time: < 1 ms each
    LIMIT_RECORD_SIZE_MAX = 16406,  // a TLS record: content 16384, header, type and tag
    LIMIT_LOGIN_REST_MAX = LIMIT_HTTP_HEAD_SIZE_MAX + LIMIT_RECORD_SIZE_MAX,  // opened bytes behind a login
    LIMIT_EVENTS_PER_PASS = 256,  // completions handled before queues are flushed

    /* ---- one connection (worker) ---- */
    LIMIT_QUEUE_BYTES_MAX = 2 * 1024 * 1024 + 256 * 1024,  // 30 probes of 64 KiB in flight, in slots, and some more
    LIMIT_FAIR_BYTES = 16 * 1024,  // from here on a queue is shared fairly between sources, below it is one FIFO
    /* A queue of one packet is below its share for any number of destinations, so large packets for many of them could
     * take all memory all the same: each has to find so many times its size free. What is left is for small ones. */
    LIMIT_LONE_SHARE = 16,
    LIMIT_LONE_SIZE = 2048,  // but for those that are small: they may take the rest
    LIMIT_QUEUE_AGE_S = 10,  // what has waited longer is of no use to anybody: the transport inside has sent it again
    LIMIT_URGENT_BYTES_MAX = 128 * 1024,  // PeerGone frames waiting for one connection: 256 small slots
    /* The greatest frame in 5 records; as 3 WebSocket messages, each with a head and, at worst, a KeyUpdate. */
    LIMIT_CHUNK_MAX = LIMIT_FRAME_SIZE_MAX + 5 * 22 + 3 * (4 + 27),
    LIMIT_CHUNK_SMALL = 16 * 1024,  // one gathered send; past 16 KiB gathering gains little
    LIMIT_READ_HEAVY = 8 * 1024,  // received in one pass: above it a connection is one of those who send much
    LIMIT_NOTSENT_LOWAT = 128 * 1024,  // bytes the kernel may hoard unsent per socket
    LIMIT_CONNECTIONS_PER_KEY = 256,  // a client has one, a roaming one a few for a minute; clones share
    LIMIT_MESH_WRITE_TIMEOUT_S = 30,  // derper's: those who watch over the internet may need it for the first news
    LIMIT_WATCHERS = 64,  // per worker: a region has a few servers and a few that monitor it
    LIMIT_NOT_HERE_BURST = 3,  // PeerGone(NotHere) per sender: bucket 3, one more each second

    /* ---- rings ---- */
    LIMIT_RECEIVE_BUFFERS = 32,  // small and hot beats many: 32 x 32 KiB lie in L2
    LIMIT_RECEIVE_BUFFER_SIZE = 32 * 1024,  // the greatest TLS record fits
    LIMIT_SUBMISSIONS = 1024,

    /* ---- STUN ---- */
    LIMIT_STUN_DATAGRAM = 1500,  // a request has 40 bytes; what is longer than a packet of Ethernet is none
    LIMIT_STUN_BUFFERS = 64,  // of 2 KiB
    LIMIT_STUN_BUFFER_SIZE = 2048,
    LIMIT_STUN_EVENTS = 64,  // per pass: a buffer each
    LIMIT_STUN_ANSWERS = 256,  // waiting for the kernel, which normally takes them at once
    LIMIT_STUN_KERNEL_BYTES = 1024 * 1024,  // requests waiting for us: some 1300, or what net.core.rmem_max allows

    /* ---- the UDP relay, each of its workers ---- */
    LIMIT_UDP_BUFFERS = 512,  // of the size below; single datagrams touch a page or two of theirs
    LIMIT_UDP_BUFFERS_OF_RUNS = 16,  // with the kernel while runs come: 16 x 64 KiB lie in L2
    LIMIT_UDP_BUFFER_SIZE = 65536 + 112,  // a run of any length, and what the ring needs for itself
    LIMIT_UDP_EVENTS = 256,  // collected at once
    LIMIT_UDP_SENDS = 512,  // made in a pass; what needs more goes on in the next
    LIMIT_UDP_ANSWERS = 256,  // of STUN and handshakes, made in a pass
    LIMIT_UDP_ANSWERS_RESERVED = 64,  // of these, for handshakes alone
    LIMIT_UDP_REAPS = 24,  // in a pass, for more than 32 datagrams: the kernel shows no more at a time
    LIMIT_UDP_KERNEL_BYTES = 7 * 1024 * 1024,  // each direction of a socket, as the reference
    LIMIT_UDP_LOCALS = 255,  // addresses of this host that clients have bound by
    LIMIT_UDP_ENDPOINTS = 16384,  // unless -relay-endpoints-max says otherwise

    /* ---- threads ---- */
    LIMIT_WORKERS_MAX = 64,
    LIMIT_THREADS_MAX = 4 + 2 * LIMIT_WORKERS_MAX,  // front, control, office, STUN, workers, UDP workers
    LIMIT_WORKER_BUSY_PERMILLE = 700,  // of a worker's time; who is busier gets no new keys: the rest is for bursts
    LIMIT_WORKER_STEP = 512,  // connections ahead of the least filled worker: a crowd that comes before its load shows
    LIMIT_LOG_LINES_PER_DRAIN = 64,
};

/* Chosen at boot, then frozen. */
struct limits {
    uint32_t connections_max;  // logged-in connections, all workers together
    uint32_t workers_count;
    size_t packet_memory_bytes;  // per worker: queues, partial frames and output chunks live in it
    uint32_t udp_workers_count;  // 0: no UDP relay
    bool has_node;  // the UDP relay is asked over DERP, too
    uint32_t endpoints_max;  // of the UDP relay; 0: there is none
    uint32_t unbound_max;  // of those, whose clients have not both bound; 0: as many
};

#define LIMITS_WHY_MAX 256

/* Workers for a machine where nobody has said how many: all CPUs but one, which is left for the other threads and the
 * kernel; at least 1, and at most 8, because each has packet memory of its own and few are enough for any link. */
uint32_t limits_workers_for(uint32_t cpus);

/* Connections one worker has places for: with several workers not all of them, but enough that placement is free to
 * choose (relay/registrar.h). */
uint32_t limits_connections_per_worker(const struct limits *limits);

/* Fills in what is 0 (connections from `fd_limit`, less what the rest of the process needs) and checks the rest.
 * False with a sentence for the operator in `why` when the numbers cannot hold together. */
must_use bool limits_init(struct limits *limits, size_t fd_limit, char *why);

/* "65536", "64k", "64m", "2g": binary units. False when it is no such number. */
must_use bool limits_parse_size(const char *text, uint64_t *ret);
