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

struct ctl_admin_arguments {
    const char *socket_path;
    bool wants_json;
    json_t *request;
};

/* What every command that asks a relay has: the request as yet without members, which the caller gives back. */
struct ctl_admin_arguments ctl_admin_arguments_for(const char *command);

/* True when argv[*idx] is --json or --socket PATH. */
bool ctl_take_common(struct ctl_admin_arguments *a, int argc, char **argv, int *idx);

/* What the relay has answered, or NULL after saying why not. */
json_t *ctl_ask_once(const struct ctl_admin_arguments *a);

/* As JSON, with a newline; the exit status. */
int ctl_print_json(const json_t *answer);

/* ---- ctl_endpoints.c: the UDP relay's ---- */

int ctl_endpoints(int argc, char **argv);
int ctl_allocate(int argc, char **argv);
int ctl_endpoint_close(int argc, char **argv);

/* ---- ctl_tables.c: answers as tables for people ---- */

/* `before` is an earlier answer of the same relay: how busy threads are shows between the two. */
void ctl_print_status(const json_t *status, const json_t *before);
void ctl_print_clients(const json_t *answer);
void ctl_print_endpoints(const json_t *answer, size_t matching);
