/* mail.h - every message that crosses threads. Read this to know the concurrency of the house.
 *
 *            LOGIN                    ADOPT, GO, RELEASE, GONE, RATE, STOP
 *   front ----------> control -------------------------------------> worker
 *     ^                 | ^                                           |  |
 *     |  PARCEL_BACK    | |  LEFT                                     |  |
 *     +-----------------+ +-------------------------------------------+  |
 *     |  PARCEL_BACK                                                     |
 *     +------------------------------------------------------------------+
 *   worker -- WATCH --> control ~~ log of presence (relay/presence.h), waking workers that have watchers ~~> worker
 *   main -- RATE, STOP --> control -- RATE, STOP --> front, workers;  main -- RATE, STOP --> office (STOP last)
 *   main -- ALLOWED, TOKENS --> front;  main -- STOP --> stun, UDP workers
 *   office ---- IDENTITY, BOOTSTRAP ----> front
 *   office --- DUMP ---> control --- DUMP ---> worker --- DUMP_BACK ---> office
 *   front ---- DUMP, DUMP_BACK ----> office ---- DUMP ----> front
 *   office ---- STUN_ASK ----> UDP worker 0;  UDP workers ---- STUN_SEEN ----> office
 *   every thread ---- log lines (core/log.h) ----> office
 *   worker <---- packets, and their memory on its way home (relay/crossing.h) ----> worker
 *
 * A login, in order: front sends LOGIN with the packed connection in a parcel. Control reserves the peer's place,
 * sends ADOPT (the worker unpacks, queues from now on, and sends the parcel back), publishes the route, tells watchers,
 * sends GO (the worker writes ServerInfo first and starts to read). Lanes are first in first out, so a worker sees
 * ADOPT before any packet that was routed by the published route on the same thread, and RELEASE before the next
 * ADOPT of a slot.
 *
 * A logout: the worker reports LEFT when the connection's memory is its own again. When it was the last one of the key,
 * control first un-publishes, then sends RELEASE to the peer's worker and GONE to all of them.
 *
 * A dump of all connections (relay/dump.h) is one piece of memory: the office asks one worker after the other, by way
 * of control, and has it back in between; the front asks the office for one, gets it whole and gives it back. There is
 * one, so lanes for it have room for one.
 *
 * Questions to STUN servers and their answers may be lost on the way, so a full lane loses them, too.
 *
 * No lane can be full that must not lose: LOGIN and PARCEL_BACK are bounded by the parcels there are, LEFT by the
 * connections there are, and so is WATCH, of which a connection sends one at most; control takes an input only while
 * each of its outputs has room for what it may cause.
 */
#pragma once

#include "core/base.h"
#include "proto/key.h"
#include "proto/tls_identity.h"
#include "relay/allowlist.h"
#include "relay/bootstrap.h"
#include "relay/directory.h"
#include "relay/dump.h"
#include "relay/rate.h"
#include "relay/reach_stun.h"
#include "relay/tokens.h"

enum mail_kind {
    MAIL_LOGIN = 1,  // front -> control: parcel_idx, key, conn_id, and what watchers are told: present
    MAIL_PARCEL_BACK,  // control or worker -> front: parcel_idx, is_refused
    MAIL_ADOPT,  // control -> worker: parcel_idx, where, key
    MAIL_GO,  // control -> worker: where, conn_id
    MAIL_RELEASE,  // control -> worker: where: the peer's place is free again
    MAIL_GONE,  // control -> worker: key has left the region
    MAIL_LEFT,  // worker -> control: where, conn_id, has_watched; present: of the key's active connection, if any
    MAIL_WATCH,  // worker -> control: a connection of yours (where says which worker) reads the log of presence
    MAIL_IDENTITY,  // office -> front: identity: for new connections; the reference goes along
    MAIL_BOOTSTRAP,  // office -> front: bootstrap: replaces the table of its list, which the front frees
    MAIL_RATE,  // main -> control -> front, workers; main -> office: rate: for all connections
    MAIL_TOKENS,  // main -> front: tokens: replaces the front's, which frees them
    MAIL_DUMP,  // office -> control -> worker: dump: for the worker that is named in it; front -> office: asks for one;
    // office -> front: dump: all rows are there
    MAIL_ALLOWED,  // main -> front: allowed: who may ask for endpoints over DERP; the front frees the last one
    MAIL_DUMP_BACK,  // worker, front -> office: dump
    MAIL_STUN_ASK,  // office -> UDP worker 0: reach: the server to ask, and as what
    MAIL_STUN_SEEN,  // UDP worker -> office: reach: what the server saw, and the answer's transaction
    MAIL_STOP,  // main -> control -> front, workers; main -> stun, UDP workers, office
};

struct mail {
    uint8_t kind;
    bool is_refused;
    uint16_t parcel_idx;
    bool has_watched;
    uint8_t reserved[3];
    route where;
    uint64_t conn_id;
    union {
        struct node_key key;
        struct tls_identity *identity;
        struct bootstrap_table *bootstrap;
        struct rate_limit rate;
        struct dump *dump;
        struct reach_mail reach;
        struct allowlist *allowed;
        struct tokens *tokens;
    };
    struct present present;  // conn_id 0: there is none
};
