/* derp_stream.h - bytes to frames: a pull parser that owns no buffer.
 *
 * What it is: the place a DERP connection has reached in its incoming bytes. The owner opens a record, wraps the
 * plaintext in a `struct reader` and asks for events until the input is used up:
 *
 *     struct reader in = reader_of(bytes, size);
 *     for (;;) {
 *         switch (derp_stream_next(&stream, &in, &frame)) {
 *         case DERP_STREAM_NEED_INPUT: return;                      // `in` is empty
 *         case DERP_STREAM_FRAME:      on_frame(conn, &frame); break;
 *         case DERP_STREAM_NEED_SPACE:
 *             space = ...room for frame.length bytes...;
 *             if (space) derp_stream_give_space(&stream, space); else derp_stream_discard(&stream);
 *             break;
 *         case DERP_STREAM_SKIPPED:    count(unknown); break;
 *         case DERP_STREAM_DISCARDED:  count(dropped); break;
 *         case DERP_STREAM_BAD:        close(conn, frame.verdict); return;
 *         }
 *     }
 *
 * Why so: a frame that lies in one piece in the input is reported where it lies and copied never; that is nearly
 * every frame. Only a frame that straddles the end of the input is collected, in memory whose place and kind the
 * owner chooses (a packet slot, for a packet), and only when its first payload bytes are there. No memory to be had
 * costs the frame, not the connection: frames carry no order that a loss would break, TCP underneath is intact.
 *
 * Model, states of `phase`:
 *
 *     HEADER --5 bytes--> check --accepted--> PAYLOAD --all in the input or length 0--> FRAME --> HEADER
 *        |                  |                    `--some in the input--> NEED_SPACE --given--> FILLING --> FRAME
 *        |                  |                                                `------discard--> SKIPPING
 *        |                  |--unknown--> SKIPPING --length bytes--> SKIPPED or DISCARDED --> HEADER
 *        |                  `--refused--> BAD, for ever
 *
 * Invariants: have <= length; header_have <= 5 and is 5 in every phase but HEADER; `space` is set exactly in FILLING.
 * Events do not depend on how the bytes are cut into inputs, except for NEED_SPACE, for where the payload lies, and
 * for DISCARDED in place of FRAME when the owner refuses space.
 * A refusal is reported as soon as the fifth header byte is there, before any payload, as Go closes.
 *
 * A plain value: between two calls everything is in DERP_STREAM_FIELDS, so that a table elsewhere can pack a
 * connection; with it go, in phase FILLING, the first `have` bytes of the space. After unpacking call
 * derp_stream_rehome().
 *
 * Threads: thread-local, like its connection. Memory: none of its own; given space stays the caller's throughout:
 * whoever closes a connection in phase FILLING frees the space (derp_stream_space tells it).
 * Errors: DERP_STREAM_BAD with a verdict; sticky; the input is not consumed further.
 * Not here: what frames mean (derp.h), rate limits (the owner sees lengths in every event), time.
 */
#pragma once

#include "core/base.h"
#include "core/bytes.h"
#include "proto/derp.h"

enum derp_stream_phase {
    DERP_STREAM_HEADER,
    DERP_STREAM_PAYLOAD,
    DERP_STREAM_FILLING,
    DERP_STREAM_SKIPPING,
    DERP_STREAM_DEAD,
};

/* F(type, name, array suffix) for each field that travels with a packed connection:
 *   side         enum derp_side
 *   phase        enum derp_stream_phase
 *   verdict      enum derp_verdict of the current frame
 *   header_have  how many bytes of the header are there
 *   header       as received; derp_stream_type() and derp_stream_length() read it
 *   have         payload bytes behind us: filled or skipped */
#define DERP_STREAM_FIELDS(F)              \
    F(uint8_t, side, )                     \
    F(uint8_t, phase, )                    \
    F(uint8_t, verdict, )                  \
    F(uint8_t, header_have, )              \
    F(uint8_t, header, [DERP_HEADER_SIZE]) \
    F(uint32_t, have, )

struct derp_stream {
#define DERP_STREAM_DECLARE(type, name, array) type name array;
    DERP_STREAM_FIELDS(DERP_STREAM_DECLARE)
#undef DERP_STREAM_DECLARE
    uint8_t *space;  // room for the payload, in phase FILLING; the caller's
};

enum derp_stream_event {
    DERP_STREAM_NEED_INPUT,  // the input is used up; nothing to report
    DERP_STREAM_FRAME,       // an accepted frame is complete
    DERP_STREAM_NEED_SPACE,  // an accepted frame straddles the end of the input: give space or discard
    DERP_STREAM_SKIPPED,     // the end of a frame whose verdict was DERP_SKIP
    DERP_STREAM_DISCARDED,   // the end of a frame that the owner discarded
    DERP_STREAM_BAD,         // refused; see `verdict`
};

/* What an event is about; not written for NEED_INPUT. */
struct derp_frame_view {
    uint8_t type;
    uint8_t verdict;   // enum derp_verdict
    bool is_whole;     // FRAME: the five header bytes lie directly before the payload, in the input
    uint32_t length;   // of the payload, as the header says
    uint8_t *payload;  // FRAME: `length` bytes, in the input or in the given space, never NULL; else NULL
};

void derp_stream_init(struct derp_stream *s, enum derp_side side);

/* The rules change between two frames: after a login. In phase HEADER only (CHECK); a partly received header is
 * judged by the new rules. */
void derp_stream_set_side(struct derp_stream *s, enum derp_side side);

/* The next event; consumes from `in` what belongs to it. `in` must wrap memory that its owner may write: payloads are
 * handed out for rewriting in place. A FRAME's payload in the input is good as long as the input is; one in given
 * space is in the space, which the stream has forgotten by then. */
must_use enum derp_stream_event derp_stream_next(struct derp_stream *s, struct reader *in, struct derp_frame_view *out);

/* After NEED_SPACE: room for `length` payload bytes. It stays with the stream until FRAME, or until the connection
 * ends, and stays the caller's property. */
void derp_stream_give_space(struct derp_stream *s, uint8_t *space);

/* Instead of giving space, or at any time later until the frame is complete: the rest of the current frame is thrown
 * away. Given space is forgotten: take it back first (derp_stream_space). */
void derp_stream_discard(struct derp_stream *s);

/* The given space has moved, together with its first `have` bytes. In phase FILLING only. */
void derp_stream_rehome(struct derp_stream *s, uint8_t *space);

/* The given space, or NULL when none is held. */
static inline uint8_t *derp_stream_space(const struct derp_stream *s) { return s->space; }

static inline uint8_t derp_stream_type(const struct derp_stream *s) { return s->header[0]; }

/* Of the current frame; good in every phase but HEADER. */
static inline uint32_t derp_stream_length(const struct derp_stream *s) { return load_be32(s->header + 1); }

/* An end of input here is clean: between two frames or inside a header, which Go does not log either. */
static inline bool derp_stream_may_end(const struct derp_stream *s) { return s->phase == DERP_STREAM_HEADER; }

/* Do the fields of an unpacked value, which may come from a newer or broken program, make sense together? */
must_use bool derp_stream_is_valid(const struct derp_stream *s);
