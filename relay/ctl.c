/* ctl.c - ringrelay: the operator's command. Each subcommand is a function; `ringrelay help` lists them, and
 * `ringrelay COMMAND --help` says more about one.
 *
 * Exit status: 0 done; 1 it did not work, with a sentence on standard error; 2 wrong usage.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/gojson.h"
#include "proto/key.h"
#include "relay/admin.h"
#include "relay/ctl_commands.h"
#include "relay/derpmap.h"
#include "relay/probe.h"
#include "relay/trust.h"

int ctl_usage_error(const char *text) {
    fprintf(stderr, "ringrelay: %s\nRun \"ringrelay help\".\n", text);
    return EXIT_USAGE;
}

static int run_genkey(int argc, char **argv) {
    (void)argv;
    struct rng rng;
    struct node_private key;
    uint8_t text[KEY_FILE_SIZE];
    if (argc != 0)
        return ctl_usage_error("genkey takes no arguments: it prints a key file; redirect it with umask 077");
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
    if (argc > 1) return ctl_usage_error("pubkey takes one key file, or reads standard input");
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

static bool has_stun(const struct probe_report *report) { return report->stun.answer_ns != 0; }

static void print_report(const struct probe_report *report, const char *server) {
    char seen[NET_ADDRESS_TEXT_MAX];
    printf("server       %s at %s\n", server, report->address);
    printf("login        %.2f ms with upgrade, %.2f ms with fast start\n", ms(report->login_normal_ns),
           ms(report->login_fast_ns));
    if (report->has_metacert) printf("fast start   the certificate chain names the server's key\n");
    printf("ping         %.3f ms (median)\n", ms(report->ping_ns));
    printf("packet       %.3f ms from client to client (median)\n", ms(report->packet_ns));
    printf("compared     %u packets, %llu bytes\n", report->packets_count, (unsigned long long)report->bytes_count);
    if (has_stun(report)) {
        printf("STUN         %.3f ms (median); we are seen as %s\n", ms(report->stun.answer_ns),
               net_address_text(&report->stun.seen, seen));
    }
    printf("good: packets go through this relay unchanged\n");
}

static int print_json(const struct probe_report *report, const char *server, const char *error) {
    json_t *root =
        error ? json_pack("{s:b, s:s}", "good", 0, "error", error)
              : json_pack("{s:b, s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:I}", "good", 1, "server", server, "address",
                          report->address, "login_ms", ms(report->login_normal_ns), "login_fast_start_ms",
                          ms(report->login_fast_ns), "ping_ms", ms(report->ping_ns), "packet_ms", ms(report->packet_ns),
                          "packets", (json_int_t)report->packets_count, "bytes", (json_int_t)report->bytes_count);
    if (root == NULL) return EXIT_FAILED;
    if (!error && has_stun(report)) {
        char seen[NET_ADDRESS_TEXT_MAX];
        json_object_set_new(root, "stun_ms", json_real(ms(report->stun.answer_ns)));
        json_object_set_new(root, "stun_address", json_string(net_address_text(&report->stun.seen, seen)));
    }
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    printf("\n");
    json_decref(root);
    return error ? EXIT_FAILED : EXIT_SUCCESS;
}

/* ---- pins ---- */

bool ctl_take_option(const char *name, int argc, char **argv, int *idx, const char **ret) {
    const char *word = argv[*idx];
    size_t size = strlen(name);
    bool is_it = strncmp(word, name, size) == 0;
    bool has_value = is_it && word[size] == '=';
    if (has_value) *ret = word + size + 1;
    if (has_value || !is_it || word[size] != 0 || *idx + 1 >= argc) return has_value;
    *ret = argv[++*idx];
    return true;
}

/* ---- derpmap ---- */

static bool parse_stun_port(const char *text, int *ret) {
    char *end;
    long port = strtol(text, &end, 10);
    if (end == text || *end != 0 || port < -1 || port == 0 || port > UINT16_MAX) return false;
    *ret = (int)port;
    return true;
}

static int run_derpmap(int argc, char **argv) {
    struct derpmap_node node = {.port = 443, .stun_port = 3478, .region_id = 900};
    bool is_stun_port = true;
    for (int i = 0; i < argc; i++) {
        const char *value = "";
        if (ctl_take_option("--pin", argc, argv, &i, &value)) {
            node.has_pin = trust_parse_pin(value, node.pin);
            if (!node.has_pin) return ctl_usage_error("--pin takes 64 hex digits or a certificate file");
        } else if (ctl_take_option("--port", argc, argv, &i, &value)) {
            unsigned long port = strtoul(value, NULL, 10);
            node.port = port <= UINT16_MAX ? (uint16_t)port : 0;
        } else if (ctl_take_option("--stun-port", argc, argv, &i, &value)) {
            is_stun_port = parse_stun_port(value, &node.stun_port);
        } else if (ctl_take_option("--region", argc, argv, &i, &value)) {
            node.region_id = (int)strtol(value, NULL, 10);
        } else if (argv[i][0] == '-' || node.hostname) {
            return ctl_usage_error(
                "derpmap takes one host name or IP address, and --port N, --stun-port N, --pin HEX|FILE, --region ID");
        } else {
            node.hostname = argv[i];
        }
    }
    if (node.hostname == NULL || node.port == 0 || node.region_id <= 0) {
        return ctl_usage_error(
            "derpmap needs a host name or IP address; port (at most 65535) and region are numbers above 0");
    }
    if (!is_stun_port)
        return ctl_usage_error("--stun-port takes a number from 1 to 65535, or -1 for a relay without STUN");
    char *text = derpmap_text(&node);
    if (text) printf("%s\n", text);
    free(text);
    return text ? EXIT_SUCCESS : EXIT_FAILED;
}

/* ---- probe ---- */

struct probe_arguments {
    const char *url;
    struct trust_words trust;
    bool wants_json;
    int stun_port;  // 0: not asked
};

static bool parse_probe(struct probe_arguments *a, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        const char *value = "";
        if (strcmp(argv[i], "--json") == 0) {
            a->wants_json = true;
        } else if (strcmp(argv[i], "--stun") == 0) {
            a->stun_port = 3478;
        } else if (ctl_take_option("--stun-port", argc, argv, &i, &value)) {
            if (!parse_stun_port(value, &a->stun_port) || a->stun_port < 0) return false;
        } else if (strcmp(argv[i], "--insecure") == 0) {
            a->trust.is_insecure = true;
        } else if (ctl_take_option("--pin", argc, argv, &i, &value)) {
            a->trust.pin = value;
        } else if (ctl_take_option("--ca", argc, argv, &i, &value)) {
            a->trust.ca_path = value;
        } else if (argv[i][0] == '-' || a->url) {
            return false;
        } else {
            a->url = argv[i];
        }
    }
    return a->url != NULL;
}

static bool probe(const struct probe_arguments *a, struct probe_report *report, char *why) {
    struct probe_options options = {.url = a->url, .timeout_ns = 5 * NS_PER_S, .stun_port = (uint16_t)a->stun_port};
    struct rng rng;
    rng_init_system(&rng);
    memset(report, 0, sizeof(*report));
    bool is_tls = strncmp(a->url, "https://", 8) == 0;
    if (is_tls && (options.trust = trust_make(&a->trust, why)) == NULL) return false;
    bool is_good = probe_run(&options, &rng, report, why);
    tls_trust_give(options.trust);
    return is_good;
}

static int run_probe(int argc, char **argv) {
    struct probe_arguments arguments = {0};
    struct probe_report report;
    char why[PROBE_WHY_MAX], server[KEY_PUBLIC_TEXT_SIZE];
    if (!parse_probe(&arguments, argc, argv)) {
        return ctl_usage_error(
            "probe takes one URL, such as https://derp.example/derp or http://127.0.0.1:3340/derp, and "
            "--json, --stun, --stun-port N, --pin HEX|FILE, --ca FILE or --insecure");
    }
    bool is_good = probe(&arguments, &report, why);
    key_format(&report.server, server);
    if (arguments.wants_json) return print_json(&report, server, is_good ? NULL : why);
    if (is_good) {
        print_report(&report, server);
    } else {
        fprintf(stderr, "bad: %s\n", why);
    }
    return is_good ? EXIT_SUCCESS : EXIT_FAILED;
}

static int run_version(int argc, char **argv) {
    (void)argv;
    if (argc != 0) return ctl_usage_error("version takes no arguments");
    printf("%s\n", RINGRELAY_VERSION);
    return EXIT_SUCCESS;
}

static int run_help(int argc, char **argv);

#define SOCKET_HELP                                                                    \
    "  --socket PATH   the relay's admin socket; " ADMIN_SOCKET_PATH " unless given\n" \
    "  --json          the answer as JSON (docs/admin.md)\n"

static const struct command {
    const char *name;
    const char *arguments;
    const char *help;
    int (*run)(int argc, char **argv);
    const char *more;
} commands[] = {
    {"status", "", "how a running relay is doing", ctl_status,
     "Asks the relay twice, half a second apart, and shows what it is, how busy its\n"
     "threads were in between, and what it has counted since its start. With --json it\n"
     "asks once.\n\n" SOCKET_HELP},
    {"clients", "", "who is connected to a running relay", ctl_clients,
     "  --key PREFIX    only keys that begin so: hex digits, with or without nodekey:, or [abcde]\n"
     "  --address A     only from this IP address, address and port, or network (192.0.2.0/24)\n"
     "  --sort WORD     bytes (both ways, the default), received, sent, queue, since, idle, key, address\n"
     "  --limit N       only the first N\n" SOCKET_HELP
     "\nColumns: key, its first 12 digits; w, worker; since when; how long silent; bytes\n"
     "from and to the client; bytes waiting for it; flags; address.\n"
     "Flags: h home, p prober, m mesh, n not ideal, d its key has other connections\n"
     "(D: and this one gets the packets), x disabled, c in the clear.\n"},
    {"endpoints", "", "whom the UDP relay of a running relay joins", ctl_endpoints,
     "  --sort WORD     bytes (of both clients, the default), packets, idle, vni\n"
     "  --limit N       only the first N\n" SOCKET_HELP
     "\nTwo lines for each endpoint, one for each client: VNI; open, or conn while it is not\n"
     "bound by both; the client's disco key; packets and bytes from it; how long it is\n"
     "silent; the address it is bound to.\n"},
    {"allocate", "KEY KEY", "get an endpoint of the UDP relay for two disco keys", ctl_allocate,
     "Prints it as JSON; allocated already or not, it will live for 30 s at least.\n"
     "\n  --socket PATH   the relay's admin socket; " ADMIN_SOCKET_PATH " unless given\n"},
    {"endpoint-close", "VNI", "end an endpoint of the UDP relay", ctl_endpoint_close,
     "Its clients are told nothing; they go other ways.\n\n" SOCKET_HELP},
    {"probe", "URL", "log in twice, pass packets, compare them, time a ping", run_probe,
     "  --json          the result as JSON\n"
     "  --stun          asks the STUN server of the same host as well, on port 3478\n"
     "  --stun-port N   the same on another port\n"
     "for https:\n"
     "  --pin HEX|FILE  the certificate is the one with this SHA-256, or the first of this PEM file\n"
     "  --ca FILE       it leads to one of these root certificates\n"
     "  --insecure      it is not judged\n"},
    {"genkey", "", "print a new key file (use: umask 077; ringrelay genkey > derper.key)", run_genkey, ""},
    {"pubkey", "[FILE]", "print the public key of a key file (or of standard input)", run_pubkey, ""},
    {"derpmap", "HOST", "print a DERP map with this relay", run_derpmap,
     "  --port N        443 unless given\n"
     "  --stun-port N   3478 unless given; -1: the relay has no STUN\n"
     "  --pin HEX|FILE  clients are to accept this certificate only\n"
     "  --region ID     900 unless given\n"},
    {"version", "", "print the version", run_version, ""},
    {"help", "", "print this", run_help, ""},
};

static int run_help(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("usage: ringrelay COMMAND\n\n");
    for (size_t i = 0; i < array_count(commands); i++) {
        printf("  %-14s %-7s  %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    }
    printf("\nringrelay COMMAND --help: its options. Exit status: 0 done, 1 it did not work, 2 wrong usage.\n");
    return EXIT_SUCCESS;
}

static int print_command_help(const struct command *command) {
    printf("usage: ringrelay %s%s%s%s\n\n%s.\n%s%s", command->name, *command->more ? " [OPTIONS]" : "",
           *command->arguments ? " " : "", command->arguments, command->help, *command->more ? "\n" : "",
           command->more);
    return EXIT_SUCCESS;
}

static bool is_help(const char *word) { return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

static int run_command(const struct command *command, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (is_help(argv[i])) return print_command_help(command);
    }
    return command->run(argc, argv);
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
    if (is_help(name)) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    for (size_t i = 0; i < array_count(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return run_command(&commands[i], argc - 2, argv + 2);
    }
    fprintf(stderr, "ringrelay: no command \"%s\"\n", name);
    run_help(0, NULL);
    return EXIT_USAGE;
}
