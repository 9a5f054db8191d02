/* log.h - lines for the operator, without ever making a loop thread wait for a disk or a terminal.
 *
 * Each thread has a `struct log_lane`: log_line formats into it and returns; the office thread collects the lines of
 * all lanes and writes them to standard error (log_drain). When a lane is full the line is dropped and counted, and the
 * next line that fits says how many were lost. Before threads exist, and in tools, log_line on a NULL lane writes
 * directly.
 *
 * Only relay and mesh log, and nothing logs per packet. Events that a stranger can cause as often as he likes go
 * through a `struct log_limit` (token bucket): the line that passes says how many were suppressed before it.
 * Secrets are never logged; keys appear in their short form.
 *
 * A line looks like derper's: "2026/11/20 22:42:07 text" in local time. Level is a word in front of the text for
 * warnings and errors. Control characters, invalid UTF-8 and marks that change the direction of text are shown as
 * \xHH, so that what a stranger sent can neither forge a line nor act on a terminal.
 * Threads: a log_lane has one producer (its thread) and one consumer (office). Sharing class: lane.
 */
#pragma once

#include "core/base.h"
#include "core/lane.h"
#include "core/stat.h"

#define LOG_LINE_MAX 500 // bytes of text, cut with "…" beyond; makes an item 512 bytes
#define LOG_LANE_LINES 256 // lines a thread may have waiting

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_item {
    uint64_t wall_ns; // CLOCK_REALTIME when the line was made
    uint8_t level;
    uint8_t thread_idx;
    uint16_t size;
    char text[LOG_LINE_MAX];
};

struct log_lane {
    struct lane lane;
    struct stat_counter lost; // written by the producer
    uint64_t lost_reported;   // producer's
    uint8_t thread_idx;
};

size_t log_lane_storage_size(void);
void log_lane_init(struct log_lane *lane, void *storage, uint8_t thread_idx);

/* Lines below this level are not made. Set at boot (frozen). */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);

/* Makes the calling thread's log_line go to `lane` (NULL: to standard error). Once per thread, at its start. */
void log_use_lane(struct log_lane *lane);

void log_line(enum log_level level, const char *format, ...) printf_like(2, 3);

/* Publishes the lines made since; true when there were any (then wake the office). Once per loop pass. */
bool log_flush(void);

/* Office: writes the waiting lines of a lane, at most `lines_max`; returns how many. */
size_t log_drain(struct log_lane *lane, size_t lines_max);

/* ---- limiting ---- */

struct log_limit {
    uint64_t refilled_ns;
    uint32_t tokens;
    uint32_t suppressed;
    uint32_t burst;
    uint32_t per_minute;
    bool is_started;
};

#define LOG_LIMIT(burst_lines, lines_per_minute) {.burst = (burst_lines), .per_minute = (lines_per_minute)}

/* May a line be made now? *suppressed gets the number of refusals since the last true (this one included). */
bool log_limit_allows(struct log_limit *limit, uint64_t now_ns, uint32_t *suppressed);
