/* oracle_sim.h - what must be true of a relay, whatever the seed does: judges what clients sent and got.
 *
 * Each packet carries the number of its record; its bytes follow from the number. So a packet that arrives can be
 * judged: was it sent, by this key, to this key, with these bytes, for the first time, and after all packets of its
 * kind (disco or not) that the same connection sent to the same receiver before? Order between kinds and between
 * sources is the relay's to choose. Packets without data have no number and are only counted.
 *
 * A packet that does not arrive is judged at rest: its loss has to have a reason that the oracle can see. The
 * destination was not present all the time since; or one of the key's connections ended since; or more waited for the
 * key than a queue may hold, or for all than the packet memory of the run (oracle_judge_lost). And each reason of
 * dropping that the relay counts has to be possible in this run (oracle_check_counts).
 *
 * PeerGone(Disconnected) is right when packets of the key were received since it was last told, and missing when such a
 * key is not there any more at rest, unless the relay counts that it forgot. PeerGone(NotHere) is right when a disco
 * packet was sent to the key before. Present is written before the client sees ServerInfo; gone once, after it.
 *
 * Threads: one. Memory: one allocation. Errors: sim_fail.
 */
#pragma once

#include "proto/derp.h"
#include "tests/sim/house_sim.h"

enum { ORACLE_KEYS = 14, ORACLE_CLIENTS = 64, ORACLE_RECORDS = 32768, ORACLE_HEAD = 16 };

/* The last keys never log in. */
enum { ORACLE_KEYS_NOWHERE = 2, ORACLE_KEY_AFAR = ORACLE_KEYS - 1 };  // mesh peers forward packets of the last

struct oracle_record {
    uint64_t sent_ns;
    uint32_t client;
    uint32_t dst;
    uint32_t size;
    bool is_disco;
    bool is_forwarded;
    bool is_delivered;
};

struct oracle_client {
    uint32_t key;
    bool is_steady;  // at rest: connected, and everything it has sent was written
    bool is_closed;  // the relay has closed its connection,
    uint64_t closed_ns;  // at that time
    uint32_t newest_from[ORACLE_CLIENTS][4];  // record number + 1 of the last packet of each sender, by kind and source
    bool has_heard[ORACLE_KEYS];  // packets of the key, since the last PeerGone
    uint32_t disco_to[ORACLE_KEYS];
    uint32_t not_here_from[ORACLE_KEYS];
};

struct oracle_key {
    uint64_t infos;  // ServerInfos seen
    uint64_t presents;  // ever
    uint64_t presents_now;  // since the last gone
    uint64_t since_ns;  // present since; TIME_NEVER: it is not
    route where;  // when it was last present
    uint64_t waiting_bytes;  // at most, in slots: sent to it and not delivered, since the last rest
    bool is_overfull;  // more waited than a queue may hold
    uint32_t close_peers;  // a mesh peer wants it closed: so often
};

struct oracle {
    struct house *house;
    struct node_private private_keys[ORACLE_KEYS];
    struct node_key public_keys[ORACLE_KEYS];
    struct oracle_key keys[ORACLE_KEYS];
    struct oracle_client clients[ORACLE_CLIENTS];
    uint32_t clients_count;
    struct oracle_record records[ORACLE_RECORDS];
    uint32_t records_count;
    uint32_t records_judged;  // those before were sent before the last rest
    uint32_t empty_sent[ORACLE_KEYS][ORACLE_KEYS];
    uint32_t empty_delivered[ORACLE_KEYS][ORACLE_KEYS];
    uint64_t sent;  // by clients: whole frames given to the network
    uint64_t forwarded;  // of those: by mesh peers
    uint64_t delivered;
    uint64_t delivered_bytes;
    uint64_t crossed;  // of those delivered: from a key on another worker
    uint64_t presents_all;
    uint64_t waiting_bytes;
    bool is_overfull;  // the run's memory may have run out, since the last rest,
    bool was_overfull;  // or ever
    bool was_key_overfull;
    uint32_t conns_most;  // connections at one time, as control's books have it
    bool has_somebody_left;
    bool has_slow;  // readers that are slow or stop for a while, or floods: packets may wait for long
    uint32_t misbehaved;  // frames of wrong length,
    uint32_t mesh_frames;  // frames without permission,
    uint32_t lingered;  // and clients that did not log in
};

void oracle_init(struct oracle *oracle, struct house *house);

/* A key's number; fails for a key that nobody has. */
uint32_t oracle_key_idx(const struct oracle *oracle, const struct node_key *key);

/* A new packet of `size` bytes (0 or >= ORACLE_HEAD; disco: >= DERP_DISCO_SIZE_MIN): writes its data. */
void oracle_make(struct oracle *oracle, uint32_t client, uint32_t dst, size_t size, bool is_disco, uint8_t *data);

/* The same, from ORACLE_KEY_AFAR; `size` is not 0. */
void oracle_make_forward(struct oracle *oracle, uint32_t client, uint32_t dst, size_t size, bool is_disco,
                         uint8_t *data);

/* The key is here: at rest, what watchers must believe. */
bool oracle_is_published(const struct oracle *oracle, uint32_t key);

void oracle_on_recv(struct oracle *oracle, uint32_t client, const struct derp_recv *recv);
void oracle_on_peer_gone(struct oracle *oracle, uint32_t client, const struct derp_peer_gone *gone);
void oracle_on_server_info(struct oracle *oracle, uint32_t client);

/* Reads what control has written since. After every turn. */
void oracle_read_presence(struct oracle *oracle);

/* At rest: what a connected client has to have been told, whether the losses since the last rest can be explained (the
 * is_steady and closed_ns of the clients are set before), and the counts of the relay. */
void oracle_check_client(const struct oracle *oracle, uint32_t client);
void oracle_judge_lost(struct oracle *oracle);
void oracle_check_counts(const struct oracle *oracle);
void oracle_check_all_gone(const struct oracle *oracle);
