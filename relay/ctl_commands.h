/* ctl_commands.h - the parts of the operator's command that have a file of their own. For relay/ctl*.c alone.
 *
 * Each command takes the words behind its name and returns the exit status: 0 done; 1 it did not work, with a sentence
 * on standard error; 2 wrong usage. Threads: one. Memory: the heap, until the end of the process.
 */
#pragma once

#include <jansson.h>

#include "core/base.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* ---- ctl.c ---- */

/* Says what is wrong and where to read on; returns EXIT_USAGE. */
int ctl_usage_error(const char *text);

/* Is argv[*idx] the option, with its value there or in the next word? Then *ret is the value and *idx its word's. */
must_use bool ctl_take_option(const char *name, int argc, char **argv, int *idx, const char **ret);

/* ---- ctl_admin.c: what a running relay answers ---- */

int ctl_status(int argc, char **argv);
int ctl_clients(int argc, char **argv);

/* ---- ctl_tables.c: answers as tables for people ---- */

/* `before` is an earlier answer of the same relay: how busy threads are shows between the two. */
void ctl_print_status(const json_t *status, const json_t *before);
void ctl_print_clients(const json_t *answer);
