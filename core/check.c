#include "core/check.h"

#include <stdlib.h>
#include <unistd.h>

static void say(const char *text) {
    ssize_t unused_result = write(STDERR_FILENO, text, strlen(text));
    (void)unused_result;  // why: there is nobody left to tell
}

void check_failed(const char *expr, const char *file, int line) {
    char digits[12];
    char *at = digits + sizeof(digits) - 1;
    *at = 0;
    for (unsigned n = (unsigned)line; at > digits && (n != 0 || *at == 0); n /= 10) *--at = (char)('0' + n % 10);
    say("CHECK failed: ");
    say(expr);
    say(" at ");
    say(file);
    say(":");
    say(at);
    say("\n");
    abort();
}
