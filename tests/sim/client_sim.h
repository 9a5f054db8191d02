/* client_sim.h - a DERP client at the outside of the virtual network: real bytes, as a state machine.
 *
 *   WAITING --start_ns--> HEAD (101) --> GREETING (ServerKey) --> LOGIN (ServerInfo) --> LIVE --fate--> DONE
 *                    fast start: no HEAD        `--> VANISHED --end--> DONE
 *
 * It reads and writes in pieces of the seed's choosing, follows a plan, and hands everything it gets to the oracle.
 * Frames are taken apart by its own few lines, so that a mistake in proto/derp_stream.c is not made twice.
 *
 * Threads: one. Memory: two buffers by malloc. Errors: sim_fail for what no server may do.
 */
#pragma once

#include "proto/box.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/oracle_sim.h"

enum client_fate {
    FATE_STAYS,      // until client_end
    FATE_FIN,        // everything written, then FIN, and reads to the end
    FATE_CLOSES,     // everything written, then closes without reading
    FATE_MID_FRAME,  // closes in the middle of a frame
    FATE_RESETS,     // resets, with bytes under way
    FATE_MISBEHAVES, // sends a frame of a wrong length
    FATE_MESH,       // sends a frame that only another server may send
    FATE_COUNT,      // of those that the relay hears of
    FATE_VANISHES = FATE_COUNT,  // without a word; resets when it is ended again
};

enum client_talk {
    TALK_MIXED,  // everything, to anybody
    TALK_SMALL,  // floods of packets
    TALK_LARGE,
    TALK_PINGS,
};

struct client_plan {
    uint32_t key;
    uint64_t start_ns;
    const struct client *after;  // starts when this one is over
    bool is_fast_start;
    bool is_pipelined;      // everything up to the first packets at once, before the server has said anything
    bool lingers;           // connects, and says nothing
    bool is_mesh;  // shows the mesh key, forwards packets, and closes others if it
    bool is_closer;
    bool is_watcher;  // and asks who is here
    enum client_talk talk;
    uint32_t sends;
    uint32_t dst_first;     // packets go to so many keys from this number on
    uint32_t dst_count;
    uint64_t pace_ns_max;   // between actions
    uint64_t read_ns_max;   // between reads
    uint64_t write_ns_max;  // between writes
    size_t read_size_max;   // 0: all there is
    struct net_hints hints;
    uint64_t stall_after_ns;  // after the login it reads for so long,
    uint64_t stall_ns;        // and then not at all for so long; TIME_NEVER: until it ends
    uint64_t hold_ns;         // its last packet is begun, and finished so much later; TIME_NEVER: when it ends
    enum client_fate fate;
    bool is_hasty;          // pipelined: the fate comes right behind the first packets, during the login
    uint64_t gives_up_ns;   // closes then, if it is not logged in; 0: never
};

enum client_state {
    CLIENT_WAITING,
    CLIENT_HEAD,
    CLIENT_GREETING,
    CLIENT_LOGIN,
    CLIENT_LIVE,
    CLIENT_VANISHED,
    CLIENT_DONE
};

enum { CLIENT_BUFFER_SIZE = 512 * 1024 };

struct client {
    uint32_t idx;
    enum client_state state;
    struct client_plan plan;
    struct oracle *oracle;
    struct net_end *end;
    struct box_key shared;
    uint8_t *in;
    size_t in_size;
    uint8_t *out;
    size_t out_size;  // 0 when all is written
    size_t out_sent;
    size_t held_size;  // the last bytes of `out` that are held back,
    uint64_t held_until_ns;
    uint32_t link;     // its number in the network, once it has connected
    uint64_t stall_from_ns, stall_until_ns;
    uint64_t act_ns, read_ns, write_ns;  // not before
    uint64_t live_ns;
    uint64_t keep_alive_ns;  // of the first
    uint32_t keep_alives;
    uint32_t pings_sent;
    uint32_t pongs_number;   // the last ping that was answered, + 1
    bool views[ORACLE_KEYS];  // a watcher: who is here, by what it was told
    bool is_watching;        // has asked
    bool is_connected;       // or was
    bool is_ending;          // the fate comes when the output is written
};

void client_init(struct client *client, uint32_t idx, const struct client_plan *plan, struct oracle *oracle);
void client_fini(struct client *client);

/* It has something to do now, or at that time by the clock alone (TIME_NEVER: only an event helps). */
bool client_can_run(const struct client *client);
uint64_t client_next_ns(const struct client *client);
void client_run(struct client *client);

/* One packet to a key, now. LIVE or pipelining. */
void client_send(struct client *client, uint32_t dst, size_t size, bool is_disco);

/* Nothing more is to be heard of it. */
bool client_is_over(const struct client *client);

/* It goes when what it has to say is written. It stops stalling and holding back. */
void client_end(struct client *client, enum client_fate fate);
