/* packet.h - memory for packets on their way through one worker, in size classes.
 *
 * A packet is a slot that holds one frame, with room in front of it (a longer head grows into it) and behind it (a
 * cipher's tag). It is written once, travels between queues by reference, and is given back once. Output chunks, into
 * which frames are sealed for one gathered send, and frames that have arrived only in part are packets too.
 *
 *     struct packet | headroom 64 | frame: type, length, key, data ... | tailroom 32
 *                   ^ packet_memory             ^ packet->frame, packet->size
 *
 * The pool is cut into equal pages, each as large as the greatest packet. A page serves one class at a time and returns
 * to the common stock when its last slot is free, so that a burst of large packets and one of small ones can each use
 * all the memory, and nothing fragments for good.
 *
 * Threads: thread-local to a worker. Memory: one arena block at init. Errors: full is NULL, and the caller drops with a
 * reason. Accounting is in slot sizes (packet_cost), not in frame sizes: that is what memory really loses.
 */
#pragma once

#include "core/arena.h"
#include "core/base.h"
#include "core/limits.h"
#include "proto/key.h"

enum {
    PACKET_HEADROOM = 64,
    PACKET_TAILROOM = 32,
    PACKET_CLASSES = 5,
};

struct packet {
    struct packet *next;      // in a queue
    uint8_t *frame;           // first byte of the frame header
    uint64_t enqueued_ns;
    uint32_t size;            // bytes at `frame`, header included
    uint32_t sent;            // chunks: bytes the kernel has taken
    uint32_t relayed[2];  // chunks: relayed packets inside, by enum packet_kind, and their data bytes: they count
    uint32_t relayed_bytes[2];  // as sent when the kernel has taken all, as dropped when the send fails
    uint32_t slot_size;
    uint32_t arrival;  // in a backlog: its number there
    uint8_t class_idx;
    uint8_t owner;     // the worker whose pool it is of
    uint8_t flow;      // of its source: backlog_flow_of
    bool is_disco;
    bool is_foreign;   // of another worker's pool
    bool is_forwarded;   // came by a mesh peer
    bool is_close_peer;  // no packet, but a word to another worker (relay/forward.h)
    bool is_taken;
};

/* The greatest frame with its surroundings, rounded up so that pages start on cache lines. */
#define PACKET_PAGE_SIZE                                                                                   \
    ((sizeof(struct packet) + PACKET_HEADROOM + LIMIT_CHUNK_MAX + PACKET_TAILROOM + CACHE_LINE_SIZE - 1) / \
     CACHE_LINE_SIZE * CACHE_LINE_SIZE)

struct packet_page;

struct packet_pool {
    uint8_t owner;
    uint8_t *memory;
    struct packet_page *pages;
    uint32_t pages_count;
    uint32_t pages_free;
    struct packet_page *free_pages;
    struct packet_page *partial[PACKET_CLASSES];  // pages of the class with a free slot
    size_t bytes_taken;  // slots in use
};

size_t packet_pool_footprint(size_t memory_bytes);
/* `owner` is the number of the worker whose pool it is: written into each packet, which may travel to others. */
void packet_pool_init(struct packet_pool *pool, struct arena *arena, size_t memory_bytes, uint8_t owner);

/* A packet with room for a frame of `size` <= LIMIT_CHUNK_MAX bytes at ->frame; ->size is 0. NULL when full. */
must_use struct packet *packet_take(struct packet_pool *pool, size_t size);

/* As packet_take, but only from pages that are open already: costs the common stock nothing. */
must_use struct packet *packet_take_open(struct packet_pool *pool, size_t size);

/* The packet has to be of this pool (CHECK). */
void packet_give(struct packet_pool *pool, struct packet *packet);

/* Bytes of pool that a packet for `size` <= LIMIT_CHUNK_MAX bytes will occupy. */
uint32_t packet_cost_of(size_t size);

/* Bytes of pool the packet occupies. */
static inline uint32_t packet_cost(const struct packet *packet) { return packet->slot_size; }

/* Bytes a frame in this packet may have. */
static inline uint32_t packet_capacity(const struct packet *packet) {
    return packet->slot_size - (uint32_t)sizeof(struct packet) - PACKET_HEADROOM - PACKET_TAILROOM;
}

/* Bytes that can still be taken as whole pages. */
static inline size_t packet_pool_free_bytes(const struct packet_pool *pool) {
    return (size_t)pool->pages_free * PACKET_PAGE_SIZE;
}
