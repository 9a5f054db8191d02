#include "relay/rateconf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/sys.h"
#include "proto/gojson.h"

enum { RATE, BURST, MEMBERS_COUNT };

static const char *const members[MEMBERS_COUNT] = {"PerClientRateLimitBytesPerSec", "PerClientRateBurstBytes"};

static bool refuse(char *why, const char *format, ...) printf_like(2, 3);

static bool refuse(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, RATECONF_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* null leaves *number as it is, as in Go. */
static bool read_number(const json_t *value, uint64_t *number) {
    if (json_is_null(value)) return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

/* The result is NULL, or the name of the first member that is not good. */
static const char *read_members(const struct gojson *doc, uint64_t numbers[MEMBERS_COUNT]) {
    for (size_t i = 0; i < doc->count; i++) {
        for (size_t k = 0; k < MEMBERS_COUNT; k++) {
            if (!gojson_name_is(gojson_name(doc, i), members[k])) continue;
            if (!read_number(gojson_value(doc, i), &numbers[k])) return members[k];
        }
    }
    return NULL;
}

static bool parse(const char *path, char *text, size_t size, struct rate_limit *limit, char *why) {
    struct gojson doc;
    uint64_t numbers[MEMBERS_COUNT] = {0};
    if (!gojson_open(&doc, text, size)) {
        return refuse(why, "the rate file %s is not a JSON object: write {\"%s\": 1250000} or {}", path, members[RATE]);
    }
    const char *bad = read_members(&doc, numbers);
    gojson_close(&doc);
    if (bad) {
        return refuse(why, "the rate file %s: %s has to be a whole number of bytes from 0 to %lld", path, bad,
                      (long long)INT64_MAX);
    }
    *limit = rate_limit_of(numbers[RATE], numbers[BURST]);
    return true;
}

bool rateconf_load(const char *path, struct rate_limit *limit, char *why) {
    static char text[RATECONF_SIZE_MAX];  // why: too large for a small stack, and one thread at a time
    ssize_t size = sys_file_read(path, text, sizeof(text));
    if (size == -EFBIG) {
        return refuse(why, "the rate file %s has more than %d bytes: one with rate limits has about 100", path,
                      RATECONF_SIZE_MAX);
    }
    if (size < 0) {
        return refuse(why,
                      "cannot read the rate file %s: %s; make it readable for this user or name another with "
                      "-rate-config",
                      path, strerror((int)-size));
    }
    return parse(path, text, (size_t)size, limit, why);
}
