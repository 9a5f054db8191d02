/* rateconf.h - the file of flag -rate-config, derper's: how much each client may send (docs/config.md, "Rate limits").
 *
 *     {"PerClientRateLimitBytesPerSec": 1250000, "PerClientRateBurstBytes": 5000000}
 *
 * Read under the rules of proto/gojson.h: names in any case, unknown ones ignored, the last of several counts and every
 * one must be good, null is as if left out. Numbers are whole and not negative. Different from Go: 2^63 and above are
 * refused, because gojson has no such numbers, and -0 is 0.
 *
 * Threads: one at a time; never a worker (reads a file, allocates). Memory: a buffer of its own. Errors: a sentence in
 * `why` that names the file and says what to do.
 */
#pragma once

#include "relay/rate.h"

#define RATECONF_WHY_MAX 512
#define RATECONF_SIZE_MAX (64 * 1024)  // of the file; a real one has about 100 bytes

/* Reads `path`. On failure *limit is untouched, so that what was in force stays so. */
must_use bool rateconf_load(const char *path, struct rate_limit *limit, char *why);
