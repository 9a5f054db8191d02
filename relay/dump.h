/* dump.h - a list of all connections, gathered from the workers a few at a time, for whoever asks for it.
 *
 * A dump is a piece of the office's memory that travels: office --DUMP--> control --DUMP--> worker, which writes a row
 * for each of its connections and hands it back, worker --DUMP_BACK--> office, which sends it on to the next worker.
 * Whoever has it owns all of it; the lanes order the accesses. There is one, so one dump is under way at a time and
 * others wait for it (relay/admin.h).
 *
 *     dump_begin -> [ worker 0: dump_step ... ] -> [ worker 1: dump_step ... ] -> all rows are there
 *
 * A worker writes at most DUMP_ROWS_PER_PASS rows in one pass and looks at most at DUMP_SLOTS_PER_PASS of its places:
 * its packets never wait for a dump by more than that. It allocates nothing.
 *
 * What a dump is not: a snapshot of one moment. Each row is true for the moment in which it was written. A connection
 * that is there from the beginning to the end is in it exactly once; one that comes or goes meanwhile may be missing,
 * and a client that comes back meanwhile may be in it with both connections.
 *
 * Sharing class: lane (it changes hands). Memory: the office's arena, a row for each connection there may be.
 * Errors: when rows are used up (only if clients come back during the dump) the rest is left out, and `is_cut` says so.
 */
#pragma once

#include "core/arena.h"
#include "proto/key.h"

struct worker;

enum {
    DUMP_ROWS_PER_PASS = 128,
    DUMP_SLOTS_PER_PASS = 4096,  // empty places cost a byte each
};

/* What a connection is at the moment. Ages instead of times: the moment is the row's own. */
enum dump_flag {
    DUMP_HOME = 1 << 0,       // this relay is the client's home
    DUMP_PROBER = 1 << 1,     // said so at its login
    DUMP_MESH = 1 << 2,       // showed the mesh key
    DUMP_NOT_IDEAL = 1 << 3,  // would rather be elsewhere
    DUMP_ACTIVE = 1 << 4,     // gets the packets of its key
    DUMP_DUPLICATE = 1 << 5,  // its key has other connections, too
    DUMP_DISABLED = 1 << 6,   // fights with another one of its key
};

struct dump_row {
    struct node_key key;
    uint8_t remote_ip[16];  // v4-mapped
    uint64_t conn_id;
    uint64_t age_ns;        // since it was accepted
    uint64_t idle_ns;       // since bytes came from it
    uint64_t queue_age_ns;  // of the packet that has waited longest for it; 0: none waits
    uint64_t packets_received, packets_sent;
    uint64_t bytes_received, bytes_sent;  // payload of relayed packets
    uint32_t queue_packets, queue_bytes;  // that wait for it; bytes of packet memory
    uint32_t unsent_bytes;                // sealed, and not yet taken by the kernel
    uint16_t remote_port;                 // host order
    uint8_t transport;                    // enum conn_transport
    uint8_t flags;                        // enum dump_flag
    uint8_t worker;
    uint32_t slot;  // its place there
};

struct dump {
    struct dump_row *rows;
    uint32_t rows_max;
    uint32_t rows_count;
    uint32_t worker;     // whose turn it is
    uint32_t next_slot;  // of that worker's places
    bool is_cut;
};

static inline size_t dump_footprint(uint32_t rows_max) { return arena_cost(rows_max * sizeof(struct dump_row)); }

void dump_init(struct dump *dump, struct arena *arena, uint32_t rows_max);

/* Empties it, for worker 0. */
void dump_begin(struct dump *dump);

/* By the worker that has it, once per pass. True when all of its connections are in. */
must_use bool dump_step(struct dump *dump, const struct worker *w);
