/* arguments.h - the command line of a load generator: one table of options, of which each command takes its own.
 *
 * A program has commands, numbered from 0, and a struct of its own for what the options say: the table tells where each
 * value goes, what it may be, and which commands take it. An option is "--name value" or "--name=value".
 *
 * Threads: one. Memory: none; texts point into argv. Errors: false and a sentence in `why` (ARGUMENTS_WHY_MAX bytes).
 */
#pragma once

#include "core/base.h"

#define ARGUMENTS_WHY_MAX 512

enum argument_kind {
    ARGUMENT_COUNT,    // uint64_t, from min to max
    ARGUMENT_INT,      // int, from min to max
    ARGUMENT_SECONDS,  // double, up to a day
    ARGUMENT_FLAG,     // bool, without a value
    ARGUMENT_TEXT,     // const char *
    ARGUMENT_WORD,     // an enum (int): which of the words in `argument`
    ARGUMENT_TRUST,    // struct trust_words
};

struct argument {
    const char *name;
    uint8_t commands;  // a bit for each that takes it
    enum argument_kind kind;
    size_t at;  // of the value in the program's struct
    int64_t min, max;
    const char *argument;  // in the help: "N"; of a word: "one|two|three"
    const char *help;
};

struct arguments {
    const struct argument *table;
    size_t count;
    unsigned command;
    const char *command_name;
    void *to;  // the program's struct
};

/* Takes argv[*idx], and the next one if that is its value. False: it is no option, none of this command, or its value
 * is wrong. */
must_use bool arguments_take(const struct arguments *a, int argc, char **argv, int *idx, char *why);

/* The options of a command, a line each. */
void arguments_print(const struct arguments *a);

/* Writes the sentence. Always false. */
bool arguments_fail(char *why, const char *format, ...) printf_like(2, 3);

/* `value` unless it is 0: then the standard one. */
static inline uint64_t arguments_or_else(uint64_t value, uint64_t standard) { return value ? value : standard; }
