/* ctl.c - ringrelay: the operator's command. Each subcommand is a function; `ringrelay help` lists them.
 *
 * Exit status: 0 done; 1 it did not work, with a sentence on standard error; 2 wrong usage.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/sys.h"
#include "proto/gojson.h"
#include "proto/key.h"
#include "relay/probe.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int usage_error(const char *text) {
    fprintf(stderr, "ringrelay: %s\nRun \"ringrelay help\".\n", text);
    return EXIT_USAGE;
}

static int run_genkey(int argc, char **argv) {
    (void)argv;
    struct rng rng;
    struct node_private key;
    uint8_t text[KEY_FILE_SIZE];
    if (argc != 0) return usage_error("genkey takes no arguments: it prints a key file; redirect it with umask 077");
    rng_init_system(&rng);
    key_generate(&rng, &key);
    struct writer w = writer_of(text, sizeof(text));
    key_file_write(&w, &key);
    bool is_written = fwrite(text, sizeof(text), 1, stdout) == 1 && putchar('\n') != EOF && fflush(stdout) == 0;
    key_private_wipe(&key);
    sodium_memzero(text, sizeof(text));
    return is_written ? EXIT_SUCCESS : EXIT_FAILED;
}

/* A key file, or the private key by itself. */
static enum key_error parse_private(const char *text, size_t size, struct node_private *key) {
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r' || text[size - 1] == ' ')) size--;
    enum key_error error = key_private_parse(text, size, key);
    return error == KEY_BAD_PREFIX ? key_file_parse(text, size, key) : error;
}

static int run_pubkey(int argc, char **argv) {
    char text[4096], public_text[KEY_PUBLIC_TEXT_SIZE];
    struct node_private private_key;
    struct node_key public_key;
    const char *path = argc == 1 ? argv[0] : "/dev/stdin";
    if (argc > 1) return usage_error("pubkey takes one key file, or reads standard input");
    ssize_t size = sys_file_read(path, text, sizeof(text));
    if (size < 0) {
        fprintf(stderr, "ringrelay: cannot read %s: %s\n", path, strerror((int)-size));
        return EXIT_FAILED;
    }
    enum key_error error = parse_private(text, (size_t)size, &private_key);
    sodium_memzero(text, sizeof(text));
    if (error != KEY_OK) {
        fprintf(stderr, "ringrelay: %s: %s\n", path, key_error_text(error));
        return EXIT_FAILED;
    }
    key_private_public(&private_key, &public_key);
    key_private_wipe(&private_key);
    key_format(&public_key, public_text);
    printf("%s\n", public_text);
    return EXIT_SUCCESS;
}

static double ms(uint64_t ns) { return (double)ns / (double)NS_PER_MS; }

static void print_report(const struct probe_report *report, const char *server) {
    printf("server       %s at %s\n", server, report->address);
    printf("login        %.2f ms with upgrade, %.2f ms with fast start\n", ms(report->login_normal_ns),
           ms(report->login_fast_ns));
    printf("ping         %.3f ms (median)\n", ms(report->ping_ns));
    printf("packet       %.3f ms from client to client (median)\n", ms(report->packet_ns));
    printf("compared     %u packets, %llu bytes\n", report->packets_count, (unsigned long long)report->bytes_count);
    printf("good: packets go through this relay unchanged\n");
}

static int print_json(const struct probe_report *report, const char *server, const char *error) {
    json_t *root = error ? json_pack("{s:b, s:s}", "good", 0, "error", error)
                         : json_pack("{s:b, s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:I}", "good", 1, "server", server,
                                     "address", report->address, "login_ms", ms(report->login_normal_ns),
                                     "login_fast_start_ms", ms(report->login_fast_ns), "ping_ms", ms(report->ping_ns),
                                     "packet_ms", ms(report->packet_ns), "packets", (json_int_t)report->packets_count,
                                     "bytes", (json_int_t)report->bytes_count);
    if (root == NULL) return EXIT_FAILED;
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    printf("\n");
    json_decref(root);
    return error ? EXIT_FAILED : EXIT_SUCCESS;
}

static int run_probe(int argc, char **argv) {
    struct probe_options options = {.timeout_ns = 5 * NS_PER_S};
    bool wants_json = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            wants_json = true;
        } else if (argv[i][0] == '-' || options.url) {
            return usage_error("probe takes one URL, such as http://127.0.0.1:3340/derp, and may be given --json");
        } else {
            options.url = argv[i];
        }
    }
    if (options.url == NULL) return usage_error("probe needs a URL, such as http://127.0.0.1:3340/derp");
    struct rng rng;
    struct probe_report report;
    char why[PROBE_WHY_MAX], server[KEY_PUBLIC_TEXT_SIZE];
    rng_init_system(&rng);
    bool is_good = probe_run(&options, &rng, &report, why);
    key_format(&report.server, server);
    if (wants_json) return print_json(&report, server, is_good ? NULL : why);
    if (is_good) {
        print_report(&report, server);
    } else {
        fprintf(stderr, "bad: %s\n", why);
    }
    return is_good ? EXIT_SUCCESS : EXIT_FAILED;
}

static int run_version(int argc, char **argv) {
    (void)argv;
    if (argc != 0) return usage_error("version takes no arguments");
    printf("%s\n", RINGRELAY_VERSION);
    return EXIT_SUCCESS;
}

static int run_help(int argc, char **argv);

static const struct command {
    const char *name;
    const char *arguments;
    const char *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"genkey", "", "print a new key file (use: umask 077; ringrelay genkey > derper.key)", run_genkey},
    {"pubkey", "[FILE]", "print the public key of a key file (or of standard input)", run_pubkey},
    {"probe", "[--json] URL", "log in twice, pass packets, compare them, time a ping", run_probe},
    {"version", "", "print the version", run_version},
    {"help", "", "print this", run_help},
};

static int run_help(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("usage: ringrelay COMMAND\n\n");
    for (size_t i = 0; i < array_count(commands); i++) {
        printf("  %-7s %-14s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    if (sys_init() != 0) {
        fprintf(stderr, "ringrelay: libsodium cannot be initialised\n");
        return EXIT_FAILED;
    }
    gojson_init();
    if (argc < 2) {
        run_help(0, NULL);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    for (size_t i = 0; i < array_count(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return commands[i].run(argc - 2, argv + 2);
    }
    fprintf(stderr, "ringrelay: no command \"%s\"\n", name);
    run_help(0, NULL);
    return EXIT_USAGE;
}
