/* trace.h - the probes of ringrelayd: what can be watched of single connections and packets while it runs.
 *
 * Metrics count, the admin socket lists; these tell of each event, to perf and bpftrace, and cost a nop while nobody
 * watches (core/usdt.h). docs/probes.md is the operator's page: names, arguments and reason numbers there are an
 * interface; tests/system/usdt.sh holds this file, that page and the program together.
 *
 *     accept --fd--> login --connection--> enqueue, send ... --> close        drop
 *         `---fd---> refuse
 *
 * A socket's number joins the front's events to the login; from there on it is the connection's number (conn_id, never
 * used twice in the life of the process). Reasons are numbers, in the order of relay/reason.h.
 * Keys and addresses are pointers (32 and 16 bytes): good for the moment of the event.
 *
 * Each event has one function here and the probe is in it. Those that have several callers are not inline, because a
 * probe is to be in one place of the program (core/usdt.h); what happens per packet has one caller and costs no call.
 * Threads: any; who fires it is the thread the tool names (front, worker-0 ...).
 */
#pragma once

#include "core/usdt.h"

/* Front: a connection has come, while `at_door` others had not logged in yet. `door` is enum front_door. */
static inline void trace_accept(int fd, uint32_t door, uint32_t at_door) { USDT3(accept, fd, door, at_door); }

/* Front: it ends without a login. `reason` is enum refuse_reason. `ip` is NULL when nobody has asked for its address,
 * and zero when it was gone by then. */
void trace_refuse(int fd, uint32_t reason, const uint8_t *ip, uint16_t port);

/* Worker: it is a connection of `key` now. `transport` is enum conn_transport. */
static inline void trace_login(uint64_t conn_id, uint32_t worker, int fd, uint8_t transport, uint8_t is_websocket,
                               const uint8_t *key) {
    USDT6(login, conn_id, worker, fd, transport, is_websocket, key);
}

/* Worker: a packet waits for a connection: `size` bytes of frame, the newest of `queue_count` that take `queue_bytes`
 * of packet memory. */
static inline void trace_enqueue(uint64_t conn_id, uint32_t worker, uint32_t size, size_t queue_bytes,
                                 uint32_t queue_count) {
    USDT5(enqueue, conn_id, worker, size, queue_bytes, queue_count);
}

/* Worker: `count` packets with `bytes` bytes of data altogether are lost. `reason` is enum drop_reason. Only
 * metrics_drop_many calls it, so that what is counted is traced. */
static inline void trace_drop(uint32_t worker, uint32_t reason, uint8_t is_disco, uint32_t count, size_t bytes) {
    USDT5(drop, worker, reason, is_disco, count, bytes);
}

/* Worker: `bytes` bytes go to the kernel, with `count_other` + `count_disco` relayed packets in the chunk. `begun` of
 * the chunk's bytes it has taken before: then this is the rest of a send that was counted. */
static inline void trace_send(uint64_t conn_id, uint32_t worker, uint32_t bytes, uint32_t begun, uint32_t count_other,
                              uint32_t count_disco) {
    USDT6(send, conn_id, worker, bytes, begun, count_other, count_disco);
}

/* Worker: a connection ends. `reason` is enum close_reason; conn_id 0: one that found no memory at its login.
 * `queue_bytes` wait for its key. */
void trace_close(uint64_t conn_id, uint32_t worker, uint32_t reason, uint64_t packets_received, uint64_t packets_sent,
                 size_t queue_bytes);
