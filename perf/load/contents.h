/* contents.h - what is in the packets: made for next to nothing, compared byte for byte.
 *
 * The data of a packet is a stamp and a body:
 *
 *     sum u64 | sequence u64 | sent_ns u64 | flow u32 | size u32 | body, one of a few dozen random texts
 *
 * The sum binds the other fields of the stamp to this run: a packet of another run, or a stamp with one wrong bit, does
 * not fit. The body is chosen by flow and sequence. Sender and receiver are one process, so that the receiver compares
 * the body with the text that it has to be instead of computing a checksum: cheaper, and nothing can slip through.
 * Bodies lie ready behind room for what a protocol puts in front of them: a frame. To send one, the stamp is written
 * into it and it goes from where it lies: no copy. Neighbouring packets of a flow lie in different places,
 * so that they can be sent at once.
 *
 * The texts of neighbouring packets of a flow differ, and those of neighbouring flows: a relay that mixes up buffers is
 * noticed.
 *
 * Threads: thread-local. Memory: 128 KiB, or three frames if they are larger, allocated once. Errors: verdicts.
 */
#pragma once

#include "core/base.h"
#include "core/rng.h"

struct contents_stamp {
    uint64_t sum;
    uint64_t sequence;
    uint64_t sent_ns;
    uint32_t flow;
    uint32_t size;
};

enum { CONTENTS_SIZE_MIN = sizeof(struct contents_stamp), CONTENTS_SIZE_MAX = 64 * 1024, CONTENTS_HEAD_MAX = 64 };

struct contents {
    uint32_t size;        // of a packet's data
    uint32_t head_size;   // of what is in front of it
    uint32_t frame_size;  // of both
    uint32_t stride;
    uint32_t count;  // of bodies
    uint64_t secret;
    uint8_t *frames;
};

/* `size` from CONTENTS_SIZE_MIN to CONTENTS_SIZE_MAX (CHECK); each frame begins with a copy of `head`, at most
 * CONTENTS_HEAD_MAX bytes. False: no memory. */
must_use bool contents_init(struct contents *c, uint32_t size, const void *head, uint32_t head_size, struct rng *rng);
void contents_fini(struct contents *c);

/* So many packets in a row of one flow have frames of their own. */
static inline uint32_t contents_run_max(const struct contents *c) { return c->count; }

/* The frame of one packet, c->frame_size bytes. Its head and the byte behind it may be written (record_seal). Good
 * until a packet of another flow is asked for, or contents_run_max later ones of this. */
must_use uint8_t *contents_frame(struct contents *c, uint32_t flow, uint64_t sequence, uint64_t sent_ns);

enum contents_verdict {
    CONTENTS_GOOD,
    CONTENTS_WRONG_SIZE,
    CONTENTS_WRONG_STAMP,  // another run's, or damaged
    CONTENTS_WRONG_BODY,
};
const char *contents_verdict_text(enum contents_verdict verdict);

/* Is this the data of a packet that contents_frame made? Who got it from whom is for the caller to judge, by the
 * stamp, which is filled in when the size is right. */
must_use enum contents_verdict contents_check(const struct contents *c, const uint8_t *data, size_t size,
                                              struct contents_stamp *stamp);
