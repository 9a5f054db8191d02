#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"

#define STAMP_MAX 32
#define LEVEL_WORD_MAX 16
#define RENDERED_MAX (STAMP_MAX + LEVEL_WORD_MAX + LOG_LINE_MAX + 1)
#define BATCH_SIZE 16384 // a write of log_drain: 30 lines of the longest, or 150 of the usual length

#define ELLIPSIS "\xe2\x80\xa6"
#define ELLIPSIS_SIZE 3

_Static_assert(sizeof(struct log_item) == 512, "an item is eight cache lines");

static enum log_level level_min = LOG_INFO; // frozen
static _Thread_local struct log_lane *own_lane;

/* ---- text that is safe to show ---- */

/* Size of the UTF-8 sequence at `at` and its value, or 0 when there is no valid one. */
static size_t rune_take(const uint8_t *at, size_t left, uint32_t *ret_rune) {
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (size == 0 || size > left) return 0;
    uint32_t rune = size == 1 ? at[0] : at[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        rune = rune << 6 | (at[i] & 0x3f);
    }
    bool is_overlong = (size == 3 && rune < 0x800) || (size == 4 && rune < 0x10000);
    if (is_overlong || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) return 0;
    *ret_rune = rune;
    return size;
}

/* Whatever a terminal or a viewer obeys instead of showing: C0, DEL, C1, line separators, direction marks. A stranger's
 * header must not be able to forge a line, or to make one read as another. */
static bool rune_is_deceptive(uint32_t rune) {
    if (rune < 0x20 || (rune >= 0x7f && rune < 0xa0)) return true;
    return rune == 0x200e || rune == 0x200f || (rune >= 0x2028 && rune <= 0x202e) ||
           (rune >= 0x2066 && rune <= 0x2069) || rune == 0xfeff;
}

/* Writes the next piece of `from` as it may be shown; returns the size written, *ret_taken the size read. */
static size_t piece_show(const uint8_t *from, size_t left, char *to, size_t *ret_taken) {
    uint32_t rune;
    size_t size = rune_take(from, left, &rune);
    if (size > 0 && !rune_is_deceptive(rune)) {
        memcpy(to, from, size);
        *ret_taken = size;
        return size;
    }
    static const char digits[] = "0123456789abcdef";
    to[0] = '\\';
    to[1] = 'x';
    to[2] = digits[from[0] >> 4];
    to[3] = digits[from[0] & 15];
    *ret_taken = 1;  // the continuation bytes of a deceptive rune are invalid alone, and shown like this in their turn
    return 4;
}

/* Shows `from` in at most LOG_LINE_MAX bytes, cut with an ellipsis between two pieces. Returns the size. */
static size_t text_show(const char *from, size_t size, char *to) {
    size_t used = 0, cut_at = 0;
    for (size_t at = 0, taken; at < size; at += taken) {
        char piece[4];
        size_t piece_size = piece_show((const uint8_t *)from + at, size - at, piece, &taken);
        if (used + piece_size > LOG_LINE_MAX) {
            memcpy(to + cut_at, ELLIPSIS, ELLIPSIS_SIZE);
            return cut_at + ELLIPSIS_SIZE;
        }
        memcpy(to + used, piece, piece_size);
        used += piece_size;
        if (used <= LOG_LINE_MAX - ELLIPSIS_SIZE) cut_at = used;
    }
    return used;
}

/* ---- making a line ---- */

static uint64_t wall_clock_ns(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void item_make(struct log_item *item, enum log_level level, const char *format, va_list args) {
    // why 8 more: a text cut here is cut again by text_show, which never looks at the broken end
    char raw[LOG_LINE_MAX + 8];
    int size = vsnprintf(raw, sizeof(raw), format, args);
    size_t raw_size = size < 0 ? 0 : min_of((size_t)size, sizeof(raw) - 1);
    item->wall_ns = wall_clock_ns();
    item->level = (uint8_t)level;
    item->thread_idx = own_lane != NULL ? own_lane->thread_idx : 0;
    item->size = (uint16_t)text_show(raw, raw_size, item->text);
}

static void item_printf(struct log_item *item, enum log_level level, const char *format, ...) printf_like(3, 4);

static void item_printf(struct log_item *item, enum log_level level, const char *format, ...) {
    va_list args;
    va_start(args, format);
    item_make(item, level, format, args);
    va_end(args);
}

/* ---- writing lines ---- */

static const char *level_word(uint8_t level) {
    return level == LOG_WARNING ? "warning: " : level == LOG_ERROR ? "error: " : "";
}

/* `to` has room for RENDERED_MAX bytes. Returns the size, line feed included. */
static size_t item_render(const struct log_item *item, char *to) {
    time_t wall_s = (time_t)(item->wall_ns / NS_PER_S);
    struct tm local;
    size_t used = localtime_r(&wall_s, &local) == NULL ? 0 : strftime(to, STAMP_MAX, "%Y/%m/%d %H:%M:%S ", &local);
    const char *word = level_word(item->level);
    memcpy(to + used, word, strlen(word));
    used += strlen(word);
    memcpy(to + used, item->text, item->size);
    used += item->size;
    to[used++] = '\n';
    return used;
}

/* Where standard error does not take the bytes there is nobody left to tell, and the rest is dropped. */
static void write_out(const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t done = write(STDERR_FILENO, bytes, size);
        if (done > 0) {
            bytes += done;
            size -= (size_t)done;
        } else if (done < 0 && errno == EAGAIN) {
            // why: standard error may be a pipe that somebody else made non-blocking
            (void)poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, -1);
        } else if (done == 0 || errno != EINTR) {
            return;
        }
    }
}

static void item_write(const struct log_item *item) {
    char line[RENDERED_MAX];
    write_out(line, item_render(item, line));
}

/* Losses are told before the next line. False when there is no room even for that. */
static bool losses_push(struct log_lane *lane) {
    uint64_t lost = stat_get(&lane->lost);
    if (lost == lane->lost_reported) return true;
    struct log_item item;
    item_printf(&item, LOG_WARNING, "%llu log lines lost here: they came faster than they could be written",
                (unsigned long long)(lost - lane->lost_reported));
    if (!lane_push(&lane->lane, &item)) return false;
    lane->lost_reported = lost;
    return true;
}

size_t log_lane_storage_size(void) { return lane_storage_size(LOG_LANE_LINES, sizeof(struct log_item)); }

void log_lane_init(struct log_lane *lane, void *storage, uint8_t thread_idx) {
    memset(lane, 0, sizeof(*lane));
    lane_init(&lane->lane, storage, LOG_LANE_LINES, sizeof(struct log_item));
    lane->thread_idx = thread_idx;
}

void log_set_level(enum log_level level) { level_min = level; }

bool log_is_on(enum log_level level) { return level >= level_min; }

void log_use_lane(struct log_lane *lane) { own_lane = lane; }

void log_line(enum log_level level, const char *format, ...) {
    if (!log_is_on(level)) return;
    int errno_before = errno;  // why: lines are made between a failure and the look at its cause
    struct log_item item;
    va_list args;
    va_start(args, format);
    item_make(&item, level, format, args);
    va_end(args);
    if (own_lane == NULL) {
        item_write(&item);
    } else if (!losses_push(own_lane) || !lane_push(&own_lane->lane, &item)) {
        stat_add(&own_lane->lost, 1);
    }
    errno = errno_before;
}

bool log_flush(void) { return own_lane != NULL && lane_flush(&own_lane->lane); }

size_t log_drain(struct log_lane *lane, size_t lines_max) {
    char batch[BATCH_SIZE];
    size_t used = 0, lines = 0;
    struct log_item item;
    while (lines < lines_max && lane_pop(&lane->lane, &item)) {
        if (sizeof(batch) - used < RENDERED_MAX) {
            write_out(batch, used);
            used = 0;
        }
        used += item_render(&item, batch + used);
        lines++;
    }
    write_out(batch, used);
    return lines;
}

/* ---- limiting ---- */

static void limit_refill(struct log_limit *limit, uint64_t now_ns) {
    if (!limit->is_started) {
        limit->is_started = true;
        limit->tokens = limit->burst;
        limit->refilled_ns = now_ns;
    }
    if (limit->per_minute == 0 || now_ns <= limit->refilled_ns) return;
    uint64_t token_ns = max_of(60 * NS_PER_S / limit->per_minute, UINT64_C(1));
    uint64_t gained = (now_ns - limit->refilled_ns) / token_ns;
    if (gained >= limit->burst - limit->tokens) {
        limit->tokens = limit->burst;
        limit->refilled_ns = now_ns;
    } else {
        limit->tokens += (uint32_t)gained;
        limit->refilled_ns += gained * token_ns;  // what is not yet a whole token goes on counting
    }
}

bool log_limit_allows(struct log_limit *limit, uint64_t now_ns, uint32_t *suppressed) {
    limit_refill(limit, now_ns);
    if (limit->tokens == 0) {
        if (limit->suppressed < UINT32_MAX) limit->suppressed++;
        *suppressed = limit->suppressed;
        return false;
    }
    limit->tokens--;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
