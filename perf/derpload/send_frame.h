/* send_frame.h - packets of a load (perf/load/contents.h) as SendPacket frames, ready to be sealed from where they lie.
 *
 * Threads, memory and errors are those of contents.h.
 */
#pragma once

#include "perf/load/contents.h"
#include "perf/load/flow.h"
#include "proto/derp.h"

/* `size` bytes of data in each. False: no memory. */
must_use static inline bool send_frames_init(struct contents *c, uint32_t size, struct rng *rng) {
    uint8_t head[DERP_SEND_HEAD_SIZE] = {0};  // the key comes with each packet
    struct writer w = writer_of(head, DERP_HEADER_SIZE);
    derp_write_header(&w, DERP_SEND_PACKET, KEY_SIZE + size);
    return contents_init(c, size, head, sizeof(head), rng);
}

/* The next packet of a flow, c->frame_size bytes, good until the next call. Does not count it. */
must_use static inline uint8_t *send_frame(struct contents *c, const struct flow *f, uint64_t sent_ns) {
    uint8_t *frame = contents_frame(c, f->id, f->sent, sent_ns);
    memcpy(frame + DERP_HEADER_SIZE, f->to_key.bytes, KEY_SIZE);
    return frame;
}
