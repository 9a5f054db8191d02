/* front_traffic.h - derper's /debug/traffic: who sends and receives now, as an endless page (docs/derp.md, "HTTP").
 *
 * Every two seconds a line of JSON for each connection whose counters have grown since the last round, the first time
 * for each that has any, and a blank line behind the round. One reader at a time: it costs a dump of all connections
 * (relay/dump.h) every round. The front asks the office for one, looks through it at once, and gives it back before it
 * writes, so that a slow reader keeps nobody waiting.
 *
 * Threads: the front. Memory: the front's arena: what each place of each worker had counted, and the lines of a round.
 * Errors: a second reader gets status 503. Not here: who may read it (relay/front_debug.c).
 */
#pragma once

#include "core/arena.h"
#include "core/limits.h"
#include "core/wheel.h"
#include "proto/http.h"
#include "proto/key.h"

struct dump;
struct front;
struct session;

enum { TRAFFIC_EVERY_S = 2, TRAFFIC_WAIT_TIMEOUT_S = 120, TRAFFIC_SEND_TIMEOUT_S = 30 };

/* The last connection that was seen in a place of a worker. */
struct traffic_seen {
    uint64_t conn_id;
    uint64_t sent, received;
};

struct traffic_line {
    struct node_key key;
    uint64_t sent, received;
};

struct traffic {
    struct session *reader;  // or NULL
    struct wheel_timer timer;  // the next round
    uint64_t round_ns;       // when the last one began
    bool is_asked;           // a dump is on its way to us
    bool is_writing;         // a round
    uint32_t places;         // per worker
    uint32_t seen_count, lines_max;
    struct traffic_seen *seen;  // by worker and place
    struct traffic_line *lines;
    uint32_t lines_count, lines_next;
};

size_t traffic_footprint(const struct limits *limits);
void traffic_init(struct traffic *traffic, struct arena *arena, const struct limits *limits);

/* Answers the request: its session becomes the reader. */
void traffic_answer(struct front *f, struct session *s, const struct http_request *request);

/* All that was to be sent to the reader is. */
void traffic_on_sent(struct front *f);

/* It is time for a round. */
void traffic_on_timer(struct front *f);

/* All connections, from the office. Given back before this returns. */
void traffic_on_dump(struct front *f, struct dump *dump);

/* A session ends; maybe it was the reader. */
void traffic_on_end(struct front *f, const struct session *s);
