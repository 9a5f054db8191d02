/* disco.h - the messages by which peers and UDP relays find each other: keys, envelope, bodies.
 *
 * What it is: the part of Tailscale's disco protocol that a UDP relay speaks (docs/udp-relay.md).
 *
 *     over UDP, in Geneve with O set             over DERP, as the data of a packet
 *     client  -- Bind      -->  relay            requester  -- AllocateRequest  -->  relay
 *     client  <-- Challenge --  relay            requester  <-- AllocateResponse --  relay
 *     client  -- Answer    -->  relay            requester  -- CallMeMaybeVia   -->  the other client
 *
 *     envelope  magic 6 | sender's key 32 | nonce 24 | tag 16 | ciphertext
 *     plaintext type u8 | version u8, 0 | body
 *
 * Why disco keys are a type of their own: a node has both kinds, of one shape, and a box for the wrong one opens for
 * nobody. Node keys are addresses and live for years; disco keys live as long as a process.
 *
 * Model: the shared key of a pair is derived once (two multiplications of the curve, 40 us each, when an endpoint is
 * allocated) and then handed in; nothing that a datagram causes derives one. Messages are read by one function into one
 * union and written by one function per body.
 * There is no time, counter or acknowledgement in the protocol: who seals a message can have it replayed. What makes a
 * binding trustworthy is the challenge, which names the address it was sent to.
 *
 * Threads: pure functions on the caller's values. sodium_init() has succeeded before (core/sys.h).
 * Memory: nothing is allocated or kept. Views (of the sender, of addresses) point into the message they were read from.
 * Secrets (struct disco_private, box_key) are wiped by the caller.
 * Errors: false, NULL or enum disco_error. Nobody is told: the relay is silent about everything it does not like.
 * Not here: header and demultiplexing (geneve.h), endpoints and their states, challenges, who may allocate.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "core/rng.h"
#include "core/sys.h"
#include "proto/box.h"
#include "proto/derp.h"
#include "proto/key.h"

/* ---- keys ---- */

struct disco_key {
    uint8_t bytes[KEY_SIZE];
};

struct disco_private {
    uint8_t bytes[KEY_SIZE];
};

/* The two clients of an endpoint, the smaller key first. The index of a key is the client's leg. */
struct disco_pair {
    struct disco_key keys[2];
};

#define DISCO_KEY_PREFIX "discokey:"
#define DISCO_KEY_TEXT_SIZE (9 + KEY_HEX_TEXT_SIZE)
#define DISCO_KEY_SHORT_TEXT_SIZE (2 + 16 + 1)

bool disco_key_is_zero(const struct disco_key *key);

/* Not constant-time: public keys are seen by everybody. */
static inline bool disco_key_equal(const struct disco_key *a, const struct disco_key *b) {
    return memcmp(a->bytes, b->bytes, KEY_SIZE) == 0;
}

/* "discokey:" + 64 hex digits, read in both cases. `size` is the length of `text`, without a NUL. The zero key and
 * those of low order are keys to this function; disco_key_share refuses them. On failure *key is zero. */
must_use enum key_error disco_key_parse(const char *text, size_t size, struct disco_key *key);

/* Writes the whole text with a NUL, in lower case. */
void disco_key_format(const struct disco_key *key, char text[DISCO_KEY_TEXT_SIZE]);

/* "d:" + 16 hex digits, for logs; the zero key gives "". */
void disco_key_format_short(const struct disco_key *key, char text[DISCO_KEY_SHORT_TEXT_SIZE]);

/* A new key from `rng`, clamped. */
void disco_private_generate(struct rng *rng, struct disco_private *key);

/* The public half. `ours` need not be clamped and must not be zero (CHECK). */
void disco_private_public(const struct disco_private *ours, struct disco_key *key);

void disco_private_wipe(struct disco_private *key);

/* The key of the boxes between the two, the same in both directions. False, and a zeroed key, when either is zero or
 * `theirs` is a point of low order: everybody would know the result. (Go takes low order and dies of zero.) 40 us. */
must_use bool disco_key_share(struct box_key *shared, const struct disco_key *theirs, const struct disco_private *ours);

/* Sorted. Equal keys make a pair, too, of which only leg 0 is ever found. */
struct disco_pair disco_pair_of(const struct disco_key *a, const struct disco_key *b);

static inline bool disco_pair_equal(const struct disco_pair *a, const struct disco_pair *b) {
    return disco_key_equal(&a->keys[0], &b->keys[0]) && disco_key_equal(&a->keys[1], &b->keys[1]);
}

/* 0 or 1; -1 when the key is neither. */
int disco_pair_leg(const struct disco_pair *pair, const struct disco_key *key);

/* ---- the envelope ---- */

/* derp.h has the magic, too, because DERP gives disco its own counters; the bytes are defined there, once. */
#define DISCO_MAGIC DERP_DISCO_MAGIC
#define DISCO_MAGIC_SIZE DERP_DISCO_MAGIC_SIZE
#define DISCO_HEAD_SIZE (DISCO_MAGIC_SIZE + KEY_SIZE)
/* What a sealed message is longer than its plaintext: 78. */
#define DISCO_OVERHEAD (DISCO_HEAD_SIZE + BOX_OVERHEAD)

/* Who says that he sent it: a claim until the envelope opens. NULL when it is no disco message: no magic, or less than
 * head and nonce, 62 bytes. The result points into `bytes`. */
const struct disco_key *disco_envelope_sender(const uint8_t *bytes, size_t size);

/* Opens a message that has a sender, in place. Returns the plaintext, which is bytes + DISCO_OVERHEAD, and its size; or
 * NULL, and then nothing was written, when `shared` is not the key or a bit is not as it was sealed. The head is not
 * covered by the tag; the sender is, because his key made `shared`. */
must_use const uint8_t *disco_envelope_open(const struct box_key *shared, uint8_t *bytes, size_t size,
                                            size_t *plain_size);

/* Writes DISCO_OVERHEAD + plain_size bytes, or makes `w` bad and writes nothing. `plain` does not overlap the room that
 * is written to. */
void disco_envelope_seal(struct writer *w, const struct disco_key *sender, const struct box_key *shared,
                         struct rng *rng, const void *plain, size_t plain_size);

/* The same with a nonce that the caller drew from a struct rng: several at once cost little more than one. A nonce is
 * used once. */
void disco_envelope_seal_with(struct writer *w, const struct disco_key *sender, const struct box_key *shared,
                              const uint8_t nonce[BOX_NONCE_SIZE], const void *plain, size_t plain_size);

/* ---- messages ---- */

enum disco_type {
    DISCO_NONE = 0x00,  // what a message is after a failure; no such type is sent
    DISCO_PING = 0x01,  // 01 to 03 are between peers: known, judged, not taken apart
    DISCO_PONG = 0x02,
    DISCO_CALL_ME_MAYBE = 0x03,
    DISCO_BIND = 0x04,  // client -> relay
    DISCO_CHALLENGE = 0x05,  // relay -> client
    DISCO_ANSWER = 0x06,  // client -> relay
    DISCO_CALL_ME_MAYBE_VIA = 0x07,  // client -> client
    DISCO_ALLOCATE_REQUEST = 0x08,  // requester -> relay
    DISCO_ALLOCATE_RESPONSE = 0x09,  // relay -> requester
};

#define DISCO_CHALLENGE_SIZE 32
#define DISCO_ADDRESS_SIZE 18
#define DISCO_MESSAGE_HEAD_SIZE 2
#define DISCO_ENDPOINT_SIZE (3 * KEY_SIZE + 8 + 4 + 8 + 8)  // 124, without its addresses

/* Whole plaintexts. */
#define DISCO_BIND_SIZE (DISCO_MESSAGE_HEAD_SIZE + 4 + 4 + KEY_SIZE + DISCO_CHALLENGE_SIZE)  // 74, and 05 and 06
#define DISCO_REQUEST_SIZE (DISCO_MESSAGE_HEAD_SIZE + 2 * KEY_SIZE + 4)  // 70
#define DISCO_VIA_SIZE(addresses) (DISCO_MESSAGE_HEAD_SIZE + DISCO_ENDPOINT_SIZE + DISCO_ADDRESS_SIZE * (addresses))
#define DISCO_RESPONSE_SIZE(addresses) (DISCO_VIA_SIZE(addresses) + 4)

/* The body of the three messages of a handshake. */
struct disco_bind {
    uint32_t vni;  // a whole u32: a greater one than Geneve's does not match the header's
    uint32_t generation;  // which attempt of the client; not 0
    struct disco_key remote;  // the other client's, in all three
    uint8_t challenge[DISCO_CHALLENGE_SIZE];  // Bind: meaningless, zero when we write it
};

struct disco_request {
    struct disco_key clients[2];  // in any order; nothing is said of them yet
    uint32_t generation;  // to be echoed
};

/* What a client has to know of an endpoint. */
struct disco_endpoint {
    struct disco_key server;
    struct disco_key clients[2];
    uint64_t lamport;  // the later of two allocations by one server has the higher one
    uint32_t vni;
    int64_t bind_lifetime_ns;  // until both clients must have bound
    int64_t steady_lifetime_ns;  // how long each may be silent afterwards
    const uint8_t *addresses;  // address_count times DISCO_ADDRESS_SIZE bytes, see disco_address_read
    size_t address_count;
};

struct disco_response {
    uint32_t generation;  // the request's
    struct disco_endpoint endpoint;
};

struct disco_message {
    enum disco_type type;
    uint8_t version;
    union {
        struct disco_bind bind;  // DISCO_BIND, DISCO_CHALLENGE, DISCO_ANSWER
        struct disco_request request;  // DISCO_ALLOCATE_REQUEST
        struct disco_response response;  // DISCO_ALLOCATE_RESPONSE
        struct disco_endpoint via;  // DISCO_CALL_ME_MAYBE_VIA
    };
};

enum disco_error {
    DISCO_OK = 0,
    DISCO_TOO_SHORT,  // no type and version, or less than the body needs
    DISCO_WRONG_LENGTH,  // an endpoint without addresses, or with a part of one
    DISCO_UNKNOWN_TYPE,
    DISCO_ERROR_COUNT
};

/* For tests and logs: "too short". Never NULL. */
const char *disco_error_name(enum disco_error error);

/* What is in a plaintext, by the rules of docs/udp-relay.md, "Messages": which types look at their version, which
 * lengths are least ones (what follows is ignored) and which are exact. A version other than 0 of types 07, 08 and 09
 * yields a body of zeros and no error, whatever follows it: zero keys, which nobody shares a box with.
 * On failure all of *message is zero. */
must_use enum disco_error disco_message_parse(const uint8_t *plain, size_t size, struct disco_message *message);

/* Each writes one plaintext, version 0, or makes `w` bad and writes nothing. */

/* `type` is DISCO_BIND, DISCO_CHALLENGE or DISCO_ANSWER (CHECK). */
void disco_bind_write(struct writer *w, enum disco_type type, const struct disco_bind *bind);
void disco_request_write(struct writer *w, const struct disco_request *request);

/* The endpoint is usable (CHECK): a stock client dies of a server key of zeros. */
void disco_response_write(struct writer *w, const struct disco_response *response);
void disco_via_write(struct writer *w, const struct disco_endpoint *endpoint);

/* Server's and clients' keys are not zero, the VNI is one of Geneve's, lifetimes are positive, there is an address. */
bool disco_endpoint_is_usable(const struct disco_endpoint *endpoint);

/* One entry of an endpoint's addresses: IP, IPv4 as ::ffff:a.b.c.d, and port. */
void disco_address_write(uint8_t to[DISCO_ADDRESS_SIZE], const struct net_address *address);
struct net_address disco_address_read(const uint8_t from[DISCO_ADDRESS_SIZE]);
