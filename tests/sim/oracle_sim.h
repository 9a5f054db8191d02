/* oracle_sim.h - what must be true of a relay, whatever the seed does: judges what clients sent and got.
 *
 * Each packet carries the number of its record; its bytes follow from the number. So a packet that arrives can be
 * judged: was it sent, by this key, to this key, with these bytes, for the first time, and after all that the same
 * connection sent to it before? Packets without data have no number and are only counted.
 * PeerGone(Disconnected) is right when packets of the key were received since it was last told, and missing when such a
 * key is not there any more at rest. PeerGone(NotHere) is right when a disco packet was sent to the key before.
 * Present is written before the client sees ServerInfo; gone once, after it.
 *
 * Threads: one. Memory: one allocation. Errors: sim_fail.
 */
#pragma once

#include "proto/derp.h"
#include "tests/sim/house_sim.h"

enum { ORACLE_KEYS = 12, ORACLE_CLIENTS = 24, ORACLE_RECORDS = 8192, ORACLE_HEAD = 16 };

/* Should be 1: nothing is told twice. But a source that left with several packets queued for a receiver is told once
 * for each of them today (note_sender in relay/), so a telling per packet is allowed until that is mended. */
enum { ORACLE_TOLD_ONCE = 1 };

/* The last keys never log in. */
enum { ORACLE_KEYS_NOWHERE = 2 };

struct oracle_record {
    uint32_t client;
    uint32_t dst;
    uint32_t size;
    bool is_disco;
    bool is_delivered;
};

struct oracle_client {
    uint32_t key;
    uint32_t newest_from[ORACLE_CLIENTS][2];  // record number + 1 of the last packet of each sender
    uint32_t heard_all[ORACLE_KEYS];  // packets of the key, ever, and PeerGones
    uint32_t told_all[ORACLE_KEYS];
    bool has_heard[ORACLE_KEYS];  // packets of the key, since the last PeerGone
    uint32_t disco_to[ORACLE_KEYS];
    uint32_t not_here_from[ORACLE_KEYS];
};

struct oracle {
    struct house *house;
    struct node_private private_keys[ORACLE_KEYS];
    struct node_key keys[ORACLE_KEYS];
    struct oracle_client clients[ORACLE_CLIENTS];
    struct oracle_record records[ORACLE_RECORDS];
    uint32_t records_count;
    uint32_t empty_sent[ORACLE_KEYS][ORACLE_KEYS];
    uint32_t empty_delivered[ORACLE_KEYS][ORACLE_KEYS];
    uint64_t sent;  // by clients: whole frames given to the network
    uint64_t delivered;
    uint64_t delivered_bytes;
    uint64_t infos[ORACLE_KEYS];  // ServerInfos seen
    uint64_t presents[ORACLE_KEYS];  // ever
    uint64_t presents_now[ORACLE_KEYS];  // since the last gone
    uint64_t presents_all;
};

void oracle_init(struct oracle *oracle, struct house *house);

/* A key's number; fails for a key that nobody has. */
uint32_t oracle_key_idx(const struct oracle *oracle, const struct node_key *key);

/* A new packet of `size` bytes (0 or >= ORACLE_HEAD; disco: >= DERP_DISCO_SIZE_MIN): writes its data. */
void oracle_make(struct oracle *oracle, uint32_t client, uint32_t dst, size_t size, bool is_disco, uint8_t *data);

void oracle_on_recv(struct oracle *oracle, uint32_t client, const struct derp_recv *recv);
void oracle_on_peer_gone(struct oracle *oracle, uint32_t client, const struct derp_peer_gone *gone);
void oracle_on_server_info(struct oracle *oracle, uint32_t client);

/* Reads what control has written since. After every turn. */
void oracle_read_presence(struct oracle *oracle);

/* At rest: what a connected client has to have been told, and the counts of the relay. `is_gentle`: nobody left, so
 * that nothing may be lost but what went to keys that were not there. */
void oracle_check_client(const struct oracle *oracle, uint32_t client);
void oracle_check_counts(const struct oracle *oracle, bool is_gentle);
void oracle_check_all_gone(const struct oracle *oracle);
