/* crowd.h - many clients of one server on one ring.
 *
 * What it is: the memory, the ring and the callbacks that clients (client.h) share, and one turn of the loop:
 *
 *     crowd_open(&crowd, &options, why);
 *     crowd_start(&crowd, idx) ...                 // logins: as many at once as the owner likes
 *     while (!crowd.is_failed && !done) {
 *         crowd_turn(&crowd, wait_ns);             // sends what was asked for, waits, tells by callbacks
 *         ...what is due by crowd.now_ns...
 *     }
 *     crowd_close(&crowd);
 *
 * Model: the clock is read once per turn. Nothing is allocated after crowd_open but handshakes. Addresses are looked up
 * once.
 * Threads: one. Memory: per client 3.4 KB, and address space for a record, a frame and a write, which is touched
 * only when needed. Write buffers are taken from the top of a pile, so that few, warm ones are used.
 * Errors: crowd.is_failed and a sentence in crowd.why; everything stops then.
 */
#pragma once

#include "core/rng.h"
#include "perf/derpload/client.h"
#include "proto/tls_trust.h"
#include "relay/channel.h"

#define CROWD_WHY_MAX 512

/* on_packet is needed where packets come; the others may be NULL. */
struct crowd_callbacks {
    void (*on_ready)(void *owner, struct client *c);     // logged in
    void (*on_sendable)(void *owner, struct client *c);  // the write is done
    void (*on_packet)(void *owner, struct client *c, const struct derp_recv *packet);
    void (*on_failed)(void *owner, struct client *c);    // in the middle of its login; crowd.login_why says why
    void (*on_closed)(void *owner, struct client *c);    // after client_close; may be started again
};

struct crowd_options {
    struct channel_url url;
    struct tls_trust *trust;  // https
    uint32_t clients;
    uint32_t frame_size;      // of a SendPacket; 0: none is sent
    uint32_t records_per_write;
    uint32_t frames_per_record;
    bool is_bare;  // no login: clients are READY once connected, in the clear
    struct crowd_callbacks callbacks;
    void *owner;
};

struct crowd {
    struct crowd_options options;
    struct ring *ring;
    struct rng rng;
    struct client *clients;
    uint64_t now_ns;
    uint32_t ready_count;
    uint8_t suite;  // enum aead_suite of the last handshake; 0: in the clear
    struct sockaddr_storage address;
    socklen_t address_size;

    size_t out_room;  // bytes of a write buffer
    uint8_t **outs;   // the pile of free ones
    uint32_t outs_count;
    uint8_t *plain;   // of the record that is being read
    uint8_t *scratch; // frames for a record of several

    uint8_t *memory;
    size_t memory_size;
    bool is_failed;
    char why[CROWD_WHY_MAX];
    char login_why[CROWD_WHY_MAX];  // of the login that failed last
};

/* False: a sentence in crowd->why. crowd_close is to be called in either case. */
must_use bool crowd_open(struct crowd *crowd, const struct crowd_options *options);
void crowd_close(struct crowd *crowd);

/* Submits what was asked for, waits at most `wait_ns` for something to happen, reads the clock, handles all that has
 * happened. */
void crowd_turn(struct crowd *crowd, uint64_t wait_ns);

/* All clients log in, `at_once` at a time, each within ten seconds. */
must_use bool crowd_log_in(struct crowd *crowd, uint32_t at_once);

void crowd_fail(struct crowd *crowd, const char *format, ...) printf_like(2, 3);

/* A write buffer from the pile. Never NULL: there is one for each client. */
uint8_t *crowd_take_out(struct crowd *crowd);
void crowd_give_out(struct crowd *crowd, uint8_t *out);
