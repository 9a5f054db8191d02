/* ctl_admin.c - "ringrelay status" and "ringrelay clients": a request to the admin socket, an answer (docs/admin.md).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/unix.h"
#include "relay/admin.h"
#include "relay/ctl_commands.h"

#define ANSWER_TIMEOUT_NS (70 * NS_PER_S) /* a list may have to wait for others: ADMIN_WAIT_TIMEOUT_S */

enum { ANSWER_SIZE_MAX = 1 << 30, SAMPLE_NS = 500 * 1000 * 1000 };

/* ---- asking ---- */

static int say_connect_failed(const char *path, int error) {
    if (error == ENOENT || error == ECONNREFUSED) {
        fprintf(stderr,
                "ringrelay: no relay answers at %s: is it running, and with this -admin-socket? Another path is given "
                "by --socket PATH\n",
                path);
    } else if (error == EACCES || error == EPERM) {
        fprintf(stderr, "ringrelay: %s: %s: only root and the user of the relay may ask: try sudo\n", path,
                strerror(error));
    } else {
        fprintf(stderr, "ringrelay: cannot connect to %s: %s\n", path, strerror(error));
    }
    return -1;
}

static int connect_to(const char *path) {
    int fd = unix_connect(path, ANSWER_TIMEOUT_NS);
    return fd >= 0 ? fd : say_connect_failed(path, -fd);
}

static bool send_line(int fd, const json_t *request) {
    char line[ADMIN_REQUEST_MAX];
    size_t size = json_dumpb(request, line, sizeof(line) - 1, JSON_COMPACT);
    if (size == 0 || size >= sizeof(line)) return false;
    line[size++] = '\n';
    return send(fd, line, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* The answer up to its newline, for the caller to free; NULL when it does not come. Grows by doubling. */
static char *receive_line(int fd, size_t *size) {
    size_t room = 64 * 1024;
    char *text = malloc(room);
    *size = 0;
    while (text) {
        ssize_t got = recv(fd, text + *size, room - *size, 0);
        if (got <= 0 && !(got < 0 && errno == EINTR)) break;
        *size += got > 0 ? (size_t)got : 0;
        if (*size > 0 && text[*size - 1] == '\n') return text;
        if (*size < room) continue;
        char *larger = room < ANSWER_SIZE_MAX ? realloc(text, room *= 2) : NULL;
        if (larger == NULL) break;
        text = larger;
    }
    free(text);
    return NULL;
}

/* What the relay has answered, or NULL after saying why not. */
static json_t *ask(int fd, const struct ctl_admin_arguments *a) {
    size_t size = 0;
    char *text = send_line(fd, a->request) ? receive_line(fd, &size) : NULL;
    json_t *answer = text ? json_loadb(text, size, 0, NULL) : NULL;
    free(text);
    if (answer && json_is_true(json_object_get(answer, "ok"))) return answer;
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (error) {
        fprintf(stderr, "ringrelay: the relay at %s says: %s\n", a->socket_path, error);
    } else {
        fprintf(stderr,
                "ringrelay: the relay at %s does not answer as it should: it may be busy or ending; try again\n",
                a->socket_path);
    }
    json_decref(answer);
    return NULL;
}

json_t *ctl_ask_once(const struct ctl_admin_arguments *a) {
    int fd = connect_to(a->socket_path);
    json_t *answer = fd >= 0 ? ask(fd, a) : NULL;
    if (fd >= 0) close(fd);
    return answer;
}

int ctl_print_json(const json_t *answer) {
    bool is_fine = json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0 && putchar('\n') != EOF;
    return is_fine && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILED;
}

/* ---- words ---- */

bool ctl_take_common(struct ctl_admin_arguments *a, int argc, char **argv, int *idx) {
    bool is_json = strcmp(argv[*idx], "--json") == 0;
    a->wants_json |= is_json;
    return is_json || ctl_take_option("--socket", argc, argv, idx, &a->socket_path);
}

struct ctl_admin_arguments ctl_admin_arguments_for(const char *command) {
    return (struct ctl_admin_arguments){.socket_path = ADMIN_SOCKET_PATH,
                                        .request = json_pack("{s:i, s:s}", "v", ADMIN_VERSION, "cmd", command)};
}

/* ---- status ---- */

/* How busy a thread is shows between two moments. */
static json_t *ask_again(int fd, const struct ctl_admin_arguments *a) {
    static const struct timespec pause = {.tv_nsec = SAMPLE_NS};
    (void)nanosleep(&pause, NULL);  // why: a tool that measures a span; nothing else waits for it
    return ask(fd, a);
}

static int run_status(const struct ctl_admin_arguments *a) {
    int fd = connect_to(a->socket_path), status = EXIT_FAILED;
    if (fd < 0) return EXIT_FAILED;
    json_t *answer = ask(fd, a);
    json_t *later = answer && !a->wants_json ? ask_again(fd, a) : NULL;
    if (answer && a->wants_json) status = ctl_print_json(answer);
    if (later) {
        ctl_print_status(later, answer);
        status = EXIT_SUCCESS;
    }
    json_decref(answer);
    json_decref(later);
    close(fd);
    return status;
}

int ctl_status(int argc, char **argv) {
    struct ctl_admin_arguments a = ctl_admin_arguments_for("status");
    int status = EXIT_SUCCESS;
    for (int i = 0; i < argc && status == EXIT_SUCCESS; i++) {
        if (!ctl_take_common(&a, argc, argv, &i)) status = ctl_usage_error("status takes --json and --socket PATH");
    }
    if (status == EXIT_SUCCESS) status = run_status(&a);
    json_decref(a.request);
    return status;
}

/* ---- clients ---- */

static bool take_number(json_t *request, const char *name, const char *text) {
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || number > UINT32_MAX) return false;
    return json_object_set_new(request, name, json_integer((json_int_t)number)) == 0;
}

/* The relay judges the values; here only what is not even a request is turned away. */
static bool take_filter(struct ctl_admin_arguments *a, int argc, char **argv, int *idx) {
    static const char *const names[] = {"--key", "--address", "--sort"};
    const char *value = "";
    if (ctl_take_option("--limit", argc, argv, idx, &value)) return take_number(a->request, "limit", value);
    for (size_t i = 0; i < array_count(names); i++) {
        if (!ctl_take_option(names[i], argc, argv, idx, &value)) continue;
        return json_object_set_new(a->request, names[i] + 2, json_string(value)) == 0;
    }
    return false;
}

static int run_clients(const struct ctl_admin_arguments *a) {
    int status = EXIT_SUCCESS;
    json_t *answer = ctl_ask_once(a);
    if (answer == NULL) return EXIT_FAILED;
    if (a->wants_json) {
        status = ctl_print_json(answer);
    } else {
        ctl_print_clients(answer);
    }
    json_decref(answer);
    return status;
}

int ctl_clients(int argc, char **argv) {
    struct ctl_admin_arguments a = ctl_admin_arguments_for("clients");
    int status = EXIT_SUCCESS;
    for (int i = 0; i < argc && status == EXIT_SUCCESS; i++) {
        if (ctl_take_common(&a, argc, argv, &i) || take_filter(&a, argc, argv, &i)) continue;
        status = ctl_usage_error("clients takes --key PREFIX, --address ADDRESS, --sort WORD, --limit N, --json and "
                                 "--socket PATH; see ringrelay clients --help");
    }
    if (status == EXIT_SUCCESS) status = run_clients(&a);
    json_decref(a.request);
    return status;
}
