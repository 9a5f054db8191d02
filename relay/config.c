#include "relay/config.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/ring.h"
#include "relay/admin.h"
#include "relay/bootstrap.h"
#include "relay/vni.h"

enum { HOME_SIZE_MAX = 1024, HOSTNAME_SIZE_MAX = 253 };

enum flag_kind { FLAG_BOOL, FLAG_TEXT, FLAG_NUMBER, FLAG_DURATION, FLAG_FLOAT, FLAG_LATER, FLAG_NEVER };

/* `fallback` is the default as text. FLAG_LATER: a derper flag whose function is not built in yet; `harmless` holds
 * further values that mean "off", separated by '|'. FLAG_NEVER: likewise, but it will not be; `help` says what to do
 * instead. */
struct flag {
    const char *name;
    enum flag_kind kind;
    size_t offset;
    const char *fallback;
    const char *harmless;
    const char *help;
    bool is_bool;  // FLAG_LATER: takes no separate value
};

#define AT(field) offsetof(struct config, field)
#define LATER(name, fallback, harmless, help) {name, FLAG_LATER, 0, fallback, harmless, help, false}
#define NEVER(name, fallback, help) {name, FLAG_NEVER, 0, fallback, "", help, false}
#define LATER_BOOL(name, fallback, harmless, help) {name, FLAG_LATER, 0, fallback, harmless, help, true}

#define SETEC_INSTEAD "the mesh key comes from the file of -mesh-psk-file, which any tool may write"

/* A default that can be told from the same text on the command line, by its address. */
static const char not_given[] = "";

static const struct flag flags[] = {
    {"dev", FLAG_BOOL, AT(is_dev), "false", NULL,
     "run in localhost development mode: plain HTTP on :3340 unless -a says "
     "otherwise, and a key that is thrown away unless -c names a file",
     true},
    {"plain", FLAG_BOOL, AT(is_plain), "false", NULL, "serve plain HTTP, for use behind a TLS proxy; not on port 443",
     true},
    {"version", FLAG_BOOL, AT(wants_version), "false", NULL, "print version and exit", true},
    {"a", FLAG_TEXT, AT(listen), "", NULL,
     "where to listen: \":port\", \"ip:port\" or \"[ipv6]:port\" (default \":443\"; "
     "with -dev \":3340\")",
     false},
    {"c", FLAG_TEXT, AT(key_path), "", NULL, "file with the server's private key; made if it does not exist", false},
    {"tcp-keepalive-time", FLAG_DURATION, AT(tcp_keepalive_ns), "10m", NULL, "TCP keepalive time", false},
    {"tcp-user-timeout", FLAG_DURATION, AT(tcp_user_timeout_ns), "15s", NULL, "TCP user timeout", false},
    {"tcp-write-timeout", FLAG_DURATION, AT(tcp_write_timeout_ns), "2s", NULL,
     "close a client that takes no bytes for this long while some wait for it; 0 means never", false},
    {"max-connections", FLAG_NUMBER, AT(connections_max), "0", NULL,
     "most clients at one time; 0: what the limit of open files allows, at most 16384", false},
    {"packet-memory", FLAG_TEXT, AT(packet_memory), "64m", NULL, "memory for packets on their way, such as 256m",
     false},
    {"rate-config", FLAG_TEXT, AT(rate_config), "", NULL,
     "JSON file with the rate limit of each client; read again on SIGHUP", false},
    {"workers", FLAG_NUMBER, AT(workers), "0", NULL,
     "threads that relay packets, at most 64; 0: 1 for up to 2 CPUs, else one less than there are CPUs, at most 8",
     false},
    {"placement", FLAG_TEXT, AT(placement), "fill", NULL,
     "how clients are given to workers: fill (few workers, the next when they are busy) or spread (evenly)", false},
    {"duplicates", FLAG_TEXT, AT(duplicates), "last-writer", NULL,
     "who gets a key's packets when it has several connections: last-writer (the one that sent last) or "
     "disable-fighters (as soon as they take turns in sending, as those of a cloned key do, none until one is left or "
     "another comes)",
     false},
    {"pacing", FLAG_BOOL, AT(is_paced), "true", NULL,
     "let a busy worker rest for 0.1 ms between two passes while that saves processor time and costs no throughput",
     true},
    {"user", FLAG_TEXT, AT(user), "", NULL,
     "become this user once ports are bound and keys are read (default, when started as root: ringrelay if there is "
     "such a user, else root)",
     false},
    {"seccomp", FLAG_TEXT, AT(seccomp), "on", NULL,
     "refuse system calls that the relay does not need: on, off, or log (refuse none, write them to the audit log)",
     false},
    {"admin-socket", FLAG_TEXT, AT(admin_socket), "auto", NULL,
     "Unix socket for \"ringrelay status\" and \"ringrelay clients\"; auto: " ADMIN_SOCKET_PATH
     " if there is such a folder; off: none",
     false},
    {"budget", FLAG_BOOL, AT(wants_budget), "false", NULL, "print where all memory goes, and exit", true},
    {"log-level", FLAG_TEXT, AT(log_level), "info", NULL, "least level of log lines: debug, info, warning, error",
     false},
    {"ring-disable", FLAG_TEXT, AT(ring_disable), "", NULL,
     "io_uring features not to use, comma-separated (as the start line names them)", false},
    {"ring-kernel", FLAG_TEXT, AT(ring_kernel), "", NULL,
     "use only the io_uring features of this kernel version: 5.19, 6.0 or 6.1", false},
    {"certmode", FLAG_TEXT, AT(cert_mode), "letsencrypt", NULL,
     "where the TLS certificate comes from: manual (files in -certdir); letsencrypt and gcp are not supported yet",
     false},
    {"certdir", FLAG_TEXT, AT(cert_dir), "", NULL,
     "directory of <hostname>.crt and <hostname>.key (default ~/.cache/tailscale/derper-certs)", false},
    {"hostname", FLAG_TEXT, AT(hostname), "derp.tailscale.com", NULL,
     "name of the TLS certificate; for an IP address a self-signed one is made if there is none", false},
    {"aead", FLAG_TEXT, AT(aead), "", NULL,
     "library that seals TLS records: ipsec-mb, libcrypto or sodium (default: the fastest that works here)", false},
    {"tls-rekey-after", FLAG_NUMBER, AT(rekey_after), "0", NULL,
     "change a connection's key after this many records; 0: 8388608. For tests", false},
    {"http-port", FLAG_NUMBER, AT(http_port), "80", NULL,
     "port of the plain HTTP listener beside TLS, on the address of -a; -1: none", false},
    {"derp", FLAG_BOOL, AT(is_derp), "true", NULL, "run a DERP server; false: only the pages", true},
    {"home", FLAG_TEXT, AT(home), "", NULL,
     "what the home page shows: empty for the usual one, blank, or a URL to redirect to", false},
    {"bootstrap-dns-names", FLAG_TEXT, AT(bootstrap_names), "", NULL,
     "names whose addresses /bootstrap-dns tells, separated by commas", false},
    {"unpublished-bootstrap-dns-names", FLAG_TEXT, AT(bootstrap_hidden_names), "", NULL,
     "names that /bootstrap-dns tells on request only; name/txt-name: to the percentage of clients in that TXT record",
     false},
    {"accept-connection-limit", FLAG_FLOAT, AT(accept_per_s), "+Inf", NULL,
     "connections accepted per second with TLS; what comes faster is closed at once", false},
    {"accept-connection-burst", FLAG_NUMBER, AT(accept_burst), "9223372036854775807", NULL,
     "connections that may come at once under -accept-connection-limit", false},
    {"disallow-app-names", FLAG_TEXT, AT(disallowed_app_names), "", NULL,
     "names of applications to turn away, separated by commas", false},
    {"stun", FLAG_BOOL, AT(wants_stun), "true", NULL, "run a STUN server, on UDP and the host of -a", true},
    {"stun-port", FLAG_NUMBER, AT(stun_port), "3478", NULL, "port of the STUN server; 0: chosen by the kernel", false},
    {"relay-port", FLAG_NUMBER, AT(relay_port), "-1", NULL,
     "port of the UDP relay (Tailscale's peer relay), on the host of -a; 0: chosen by the kernel; -1: none", false},
    {"relay-workers", FLAG_NUMBER, AT(relay_workers), "0", NULL,
     "threads that relay datagrams, at most 64; 0: as many as -workers", false},
    {"relay-endpoints-max", FLAG_NUMBER, AT(relay_endpoints_max), "16384", NULL,
     "most endpoints (pairs of clients) of the UDP relay at one time, up to 1048576", false},
    {"relay-unbound-max", FLAG_NUMBER, AT(relay_unbound_max), "0", NULL,
     "of those, most whose clients have not both bound yet; 0: a quarter of -relay-endpoints-max", false},
    {"relay-static-endpoints", FLAG_TEXT, AT(relay_static_endpoints), "", NULL,
     "addresses of the UDP relay that clients are told first: \"ip:port,[ipv6]:port,...\"; port 0: that of the relay",
     false},
    {"relay-stun-servers", FLAG_TEXT, AT(relay_stun_servers), "", NULL,
     "STUN servers that say how the UDP relay is seen from outside: \"host:port,...\", at most 8", false},
    {"relay-no-discovery", FLAG_BOOL, AT(relay_has_no_discovery), "false", NULL,
     "tell clients of the UDP relay only the addresses of -relay-static-endpoints", true},
    {"relay-token-file", FLAG_TEXT, AT(relay_token_file), "", NULL,
     "file of bearer tokens, one to a line: who has one gets endpoints of the UDP relay by HTTPS", false},
    {"relay-rate", FLAG_FLOAT, AT(relay_rate), "20", NULL,
     "requests for endpoints per second and requester, five seconds' worth at once; 0: no limit", false},
    {"relay-requester-max", FLAG_NUMBER, AT(relay_requester_max), "1024", NULL,
     "most endpoints of the UDP relay that one requester may have; 0: no limit", false},
    {"relay-node-key-file", FLAG_TEXT, AT(relay_node_key_file), "", NULL,
     "file with the keys of the UDP relay's own node, to which clients send requests over DERP; made if it does not "
     "exist (default: relay-node.key beside the file of -c)",
     false},
    {"relay-allow-file", FLAG_TEXT, AT(relay_allow_file), "", NULL,
     "file with the node keys whose owners may ask the UDP relay for endpoints over DERP, one on a line; read again on "
     "SIGHUP; without it nobody may",
     false},
    LATER("acme-eab-kid", "", "", "ACME external account binding: key ID"),
    LATER("acme-eab-key", "", "", "ACME external account binding: HMAC key"),
    LATER("acme-email", "", "", "ACME account contact"),
    LATER_BOOL("acme-ip-certs", "false", "", "ACME certificates for IP addresses"),
    {"mesh-psk-file", FLAG_TEXT, AT(mesh_psk_path), not_given, NULL,
     "file with the key that the servers of a region share: 64 hex digits; empty: none. Without the flag: "
     "/home/derp/keys/derp-mesh.key or $HOME/keys/derp-mesh.key, if there is one; with -dev only "
     "$TAILSCALE_DERPER_MESH_KEY",
     false},
    LATER("mesh-with", "", "", "hosts to mesh with"),
    NEVER("secrets-url", "", "a setec server; " SETEC_INSTEAD),
    NEVER("secrets-path-prefix", "prod/derp", "prefix of setec's names; " SETEC_INSTEAD),
    NEVER("secrets-cache-dir", "", "setec's cache; " SETEC_INSTEAD),
    LATER_BOOL("verify-clients", "false", "", "admit only clients that the local tailscaled knows"),
    LATER("verify-client-url", "", "", "ask this URL whether to admit a client"),
    LATER_BOOL("verify-client-url-fail-open", "true", "", "admit when the URL does not answer"),
    LATER("socket", "", "", "tailscaled's socket"),
    LATER_BOOL("ace", "false", "", "CONNECT proxy for the control plane"),
};

static enum config_result wrong(char *why, const char *format, ...) printf_like(2, 3);

static enum config_result wrong(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, CONFIG_WHY_MAX, format, args);
    va_end(args);
    return CONFIG_WRONG;
}

/* ---- values ---- */

static bool parse_bool(const char *text, bool *ret) {
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < array_count(yes); i++) {
        *ret = strcmp(text, yes[i]) == 0;
        if (*ret || strcmp(text, no[i]) == 0) return true;
    }
    return false;
}

static bool parse_number(const char *text, int64_t *ret) {
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno || isspace((unsigned char)*text)) return false;
    *ret = n;
    return true;
}

/* Digits with a point and an exponent, or infinity in Go's spellings. */
static bool parse_float(const char *text, double *ret) {
    static const char *const endless[] = {"Inf",      "+Inf",      "inf",      "+inf",
                                          "Infinity", "+Infinity", "infinity", "+infinity"};
    char *end;
    for (size_t i = 0; i < array_count(endless); i++) {
        *ret = INFINITY;
        if (strcmp(text, endless[i]) == 0) return true;
    }
    if (*text == '\0' || text[strspn(text, "0123456789.eE+-")] != '\0') return false;
    *ret = strtod(text, &end);
    return *end == '\0' && isfinite(*ret);
}

static int64_t unit_ns(const char *unit, size_t size) {
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}};
    for (size_t i = 0; i < array_count(units); i++) {
        if (strlen(units[i].name) == size && memcmp(units[i].name, unit, size) == 0) return units[i].ns;
    }
    return 0;
}

/* One "digits[.digits]unit" of a duration; the text moves on. No signs, exponents or other things that strtod takes. */
static bool parse_duration_part(const char **text, double *sum_ns) {
    size_t number_size = strspn(*text, "0123456789.");
    size_t digits = 0;
    for (size_t i = 0; i < number_size; i++) digits += (*text)[i] != '.';
    const char *unit = *text + number_size;
    size_t unit_size = strcspn(unit, "0123456789.");
    int64_t ns = unit_ns(unit, unit_size);
    char number[64];
    if (digits == 0 || digits + 1 < number_size || number_size >= sizeof(number) || ns == 0) return false;
    snprintf(number, sizeof(number), "%.*s", (int)number_size, *text);
    *sum_ns += strtod(number, NULL) * (double)ns;
    *text = unit + unit_size;
    return true;
}

bool config_parse_duration(const char *text, int64_t *ret_ns) {
    double sum_ns = 0;
    bool is_negative = *text == '-';
    if (*text == '-' || *text == '+') text++;
    if (strcmp(text, "0") == 0) {
        *ret_ns = 0;
        return true;
    }
    do {
        if (!parse_duration_part(&text, &sum_ns)) return false;
    } while (*text);
    if (sum_ns > 9.2e18) return false;
    *ret_ns = (int64_t)(is_negative ? -sum_ns : sum_ns);
    return true;
}

/* ---- flags ---- */

static const struct flag *find_flag(const char *name, size_t size) {
    for (size_t i = 0; i < array_count(flags); i++) {
        if (strlen(flags[i].name) == size && memcmp(flags[i].name, name, size) == 0) return &flags[i];
    }
    return NULL;
}

static bool is_one_of(const char *value, const char *list) {
    size_t size = strlen(value);
    for (const char *at = list; at && *at;) {
        size_t item = strcspn(at, "|");
        if (item == size && memcmp(at, value, size) == 0) return true;
        at += item + (at[item] == '|');
    }
    return false;
}

/* The default, or another value that asks for nothing; booleans in any spelling. */
static bool asks_for_nothing(const struct flag *flag, const char *value) {
    bool given, other;
    if (strcmp(value, flag->fallback) == 0 || is_one_of(value, flag->harmless)) return true;
    if (!flag->is_bool || !parse_bool(value, &given)) return false;
    bool is_default = parse_bool(flag->fallback, &other) && given == other;
    return is_default || (parse_bool(flag->harmless, &other) && given == other);
}

static enum config_result set_later(const struct flag *flag, const char *value, char *why) {
    if (asks_for_nothing(flag, value)) return CONFIG_OK;
    if (flag->kind == FLAG_NEVER) {
        return wrong(why, "not supported, and not needed: -%s=%s (%s)", flag->name, value, flag->help);
    }
    return wrong(why, "not supported yet: -%s=%s (%s); leave it out", flag->name, value, flag->help);
}

static enum config_result set_flag(struct config *config, const struct flag *flag, const char *value, char *why) {
    void *field = (char *)config + flag->offset;
    bool is_fine = true;
    switch (flag->kind) {
        case FLAG_BOOL: is_fine = parse_bool(value, field); break;
        case FLAG_TEXT: *(const char **)field = value; break;
        case FLAG_NUMBER: is_fine = parse_number(value, field); break;
        case FLAG_DURATION: is_fine = config_parse_duration(value, field); break;
        case FLAG_FLOAT: is_fine = parse_float(value, field); break;
        case FLAG_LATER:
        case FLAG_NEVER: return set_later(flag, value, why);
    }
    if (is_fine) return CONFIG_OK;
    static const char *const wanted[] = {"true or false",
                                         "",
                                         "a number",
                                         "a duration such as 15s or 10m",
                                         "a number such as 10 or 0.5, or +Inf",
                                         "",
                                         ""};
    return wrong(why, "invalid value \"%s\" for flag -%s: it takes %s", value, flag->name, wanted[flag->kind]);
}

static bool takes_no_value(const struct flag *flag) { return flag->kind == FLAG_BOOL || flag->is_bool; }

/* Handles argv[*idx] and, for a separate value, the next word. */
static enum config_result parse_word(struct config *config, int argc, char **argv, int *idx, char *why) {
    const char *word = argv[*idx];
    const char *name = word + (word[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    size_t name_size = equals ? (size_t)(equals - name) : strlen(name);
    if (name_size == 0) return wrong(why, "bad flag syntax: %s", word);
    if ((name_size == 1 && *name == 'h') || (name_size == 4 && memcmp(name, "help", 4) == 0)) return CONFIG_HELP;
    const struct flag *flag = find_flag(name, name_size);
    if (flag == NULL) return wrong(why, "flag provided but not defined: -%.*s", (int)name_size, name);
    if (equals) return set_flag(config, flag, equals + 1, why);
    if (takes_no_value(flag)) return set_flag(config, flag, "true", why);
    if (*idx + 1 >= argc) return wrong(why, "flag needs an argument: -%s", flag->name);
    return set_flag(config, flag, argv[++*idx], why);
}

static enum config_result set_defaults(struct config *config, char *why) {
    *config = (struct config){0};
    for (size_t i = 0; i < array_count(flags); i++) {
        if (set_flag(config, &flags[i], flags[i].fallback, why) != CONFIG_OK) return CONFIG_WRONG;
    }
    return CONFIG_OK;
}

/* ---- what follows from the flags together ---- */

static enum config_result derive_ring_features(struct config *config, char *why) {
    config->ring_features = RING_FEATURES_ALL;
    if (*config->ring_kernel && !ring_features_of_kernel(config->ring_kernel, &config->ring_features)) {
        return wrong(why, "-ring-kernel=%s is not known: it takes 5.19, 6.0 or 6.1", config->ring_kernel);
    }
    for (const char *at = config->ring_disable; *at;) {
        size_t size = strcspn(at, ",");
        unsigned feature = ring_feature_by_name(at, size);
        char known[RING_FEATURES_TEXT_MAX];
        if (feature == 0) {
            return wrong(why, "-ring-disable: no feature \"%.*s\"; there are: %s", (int)size, at,
                         ring_features_text(RING_FEATURES_ALL, known));
        }
        config->ring_features &= ~feature;
        at += size + (at[size] == ',');
    }
    return CONFIG_OK;
}

static enum config_result derive_listen(struct config *config, char *why) {
    char detail[SYS_WHY_MAX];
    if (*config->listen == 0) config->listen = config->is_dev ? ":3340" : ":443";
    if (!listen_address_parse(config->listen, &config->where, detail)) return wrong(why, "-a: %s", detail);
    if (config->stun_port < 0 || config->stun_port > UINT16_MAX) {
        return wrong(why, "-stun-port takes a number from 0 to 65535; -stun=false runs no STUN server");
    }
    config->stun_where = config->where;
    config->stun_where.address.port = (uint16_t)config->stun_port;
    config->relay_where = config->where;
    config->relay_where.address.port = (uint16_t)config->relay_port;
    return CONFIG_OK;
}

static enum config_result check_reach(struct config *config, char *why) {
    char detail[SYS_WHY_MAX];
    if (!reach_fixed_parse(config->relay_static_endpoints, &config->relay_fixed, detail) ||
        !reach_servers_parse(config->relay_stun_servers, &config->relay_servers, detail)) {
        return wrong(why, "%s", detail);
    }
    if (!config->relay_has_no_discovery) return CONFIG_OK;
    if (config->relay_servers.count > 0) {
        return wrong(why, "-relay-no-discovery and -relay-stun-servers exclude each other: leave one of them out");
    }
    if (config->relay_fixed.count > 0 || config->relay_port < 0) return CONFIG_OK;
    return wrong(why, "-relay-no-discovery: then clients have to be told an address by -relay-static-endpoints");
}

/* Infinity is no limit, as 0 is; a rate below one in a quarter of an hour has no use and makes long spans. */
static enum config_result check_relay_requesters(struct config *config, char *why) {
    if (isinf(config->relay_rate)) config->relay_rate = 0;
    if (config->relay_rate != 0 && !(config->relay_rate >= 0.001 && config->relay_rate <= 1e6)) {
        return wrong(why, "-relay-rate takes a number from 0.001 to 1000000, or 0 for no limit");
    }
    if (config->relay_requester_max < 0 || config->relay_requester_max > UINT32_MAX) {
        return wrong(why, "-relay-requester-max takes a number from 0 to 4294967295");
    }
    return CONFIG_OK;
}

static enum config_result check_relay(struct config *config, char *why) {
    if (config->relay_port < -1 || config->relay_port > UINT16_MAX) {
        return wrong(why, "-relay-port takes a number from 0 to 65535; -1 runs no UDP relay");
    }
    if (config->relay_workers < 0 || config->relay_workers > LIMIT_WORKERS_MAX) {
        return wrong(why, "-relay-workers takes a number from 0 to %d", LIMIT_WORKERS_MAX);
    }
    if (config->relay_endpoints_max < 1 || config->relay_endpoints_max > 1 << 20) {
        return wrong(why, "-relay-endpoints-max takes a number from 1 to 1048576");
    }
    if (config->relay_unbound_max < 0 || config->relay_unbound_max > config->relay_endpoints_max) {
        return wrong(why, "-relay-unbound-max takes a number from 0 to that of -relay-endpoints-max");
    }
    enum config_result result = check_reach(config, why);
    return result == CONFIG_OK ? check_relay_requesters(config, why) : result;
}

static enum config_result check_relay_tokens(const struct config *config, char *why) {
    if (*config->relay_token_file == 0 || config->relay_port >= 0) return CONFIG_OK;
    return wrong(why, "-relay-token-file is for the UDP relay: give it a port with -relay-port");
}

static bool is_log_level(const char *text) { return is_one_of(text, "debug|info|warning|error"); }

static enum config_result check(struct config *config, char *why) {
    if (strcmp(config->admin_socket, "off") == 0) config->admin_socket = "";
    if (config->connections_max < 0 || config->connections_max > 1 << 20) {
        return wrong(why, "-max-connections takes a number from 0 to 1048576");
    }
    if (!limits_parse_size(config->packet_memory, &config->packet_memory_bytes)) {
        return wrong(why, "-packet-memory=%s: it takes a size such as 64m or 1g", config->packet_memory);
    }
    if (config->tcp_write_timeout_ns < 0 || config->tcp_user_timeout_ns < 0) {
        return wrong(why, "-tcp-write-timeout and -tcp-user-timeout take no negative durations");
    }
    if (!is_log_level(config->log_level)) {
        return wrong(why, "-log-level=%s: it takes debug, info, warning or error", config->log_level);
    }
    if (config->rekey_after < 0 || config->rekey_after > 1 << 23) {
        return wrong(why, "-tls-rekey-after takes a number from 0 to 8388608");
    }
    if (config->workers < 0 || config->workers > LIMIT_WORKERS_MAX) {
        return wrong(why, "-workers takes a number from 0 to %d", LIMIT_WORKERS_MAX);
    }
    return CONFIG_OK;
}

/* What may stand in a Location header as it is. */
static bool is_url(const char *text) {
    bool has_scheme = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
    for (const char *at = text; *at; at++) {
        if (*at <= 0x20 || *at >= 0x7f) return false;
    }
    return has_scheme && strlen(text) <= HOME_SIZE_MAX;
}

static enum config_result check_pages(struct config *config, char *why) {
    char detail[SYS_WHY_MAX];
    bool is_home = *config->home == '\0' || strcmp(config->home, "blank") == 0 || is_url(config->home);
    if (!is_home) {
        return wrong(
            why,
            "-home=%.100s is not known: it takes blank, or a URL of up to %d plain characters that begins with "
            "http:// or https://",
            config->home, HOME_SIZE_MAX);
    }
    if (strlen(config->hostname) > HOSTNAME_SIZE_MAX) {
        return wrong(why, "-hostname takes a name of at most %d characters", HOSTNAME_SIZE_MAX);
    }
    if (config->http_port < -1 || config->http_port > 65535) {
        return wrong(why, "-http-port takes a port from 0 to 65535, or -1 for none");
    }
    if (!(config->accept_per_s >= 0) || config->accept_burst < 1) {
        return wrong(why, "-accept-connection-limit takes no negative number, and -accept-connection-burst at least 1");
    }
    if (!bootstrap_list_check("bootstrap-dns-names", config->bootstrap_names, detail) ||
        !bootstrap_list_check("unpublished-bootstrap-dns-names", config->bootstrap_hidden_names, detail)) {
        return wrong(why, "%s", detail);
    }
    return CONFIG_OK;
}

/* derper's variables that are no secret and no rule of access (relay/debug_access.h has those). */
static enum config_result derive_environment(struct config *config, char *why) {
    const char *value = getenv("TS_DERP_DISABLE_RTT_STATS");
    if (value == NULL || *value == '\0' || parse_bool(value, &config->has_no_rtt)) return CONFIG_OK;
    return wrong(why, "TS_DERP_DISABLE_RTT_STATS=%s: it takes true or false", value);
}

/* A flag that takes one of two words: *is_second says which. */
static enum config_result choose(const char *flag, const char *value, const char *first, const char *second,
                                 bool *is_second, char *why) {
    *is_second = strcmp(value, second) == 0;
    if (*is_second || strcmp(value, first) == 0) return CONFIG_OK;
    return wrong(why, "-%s=%s is not known: it takes %s or %s", flag, value, first, second);
}

static enum config_result derive_seccomp(struct config *config, char *why) {
    static const char *const modes[] = {"off", "log", "on"};
    for (size_t i = 0; i < array_count(modes); i++) {
        config->seccomp_mode = (enum sandbox_filter)i;
        if (strcmp(config->seccomp, modes[i]) == 0) return CONFIG_OK;
    }
    return wrong(why, "-seccomp=%s is not known: it takes on, log or off", config->seccomp);
}

static enum config_result derive_choices(struct config *config, char *why) {
    enum config_result result = choose("placement", config->placement, "fill", "spread", &config->is_spread, why);
    if (result == CONFIG_OK) result = derive_seccomp(config, why);
    if (result != CONFIG_OK) return result;
    return choose("duplicates", config->duplicates, "last-writer", "disable-fighters", &config->disables_fighters, why);
}

static const char *default_cert_dir(void) {
    static char path[1024];  // why: boot only; lives as long as the configuration
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache) {
        snprintf(path, sizeof(path), "%s/tailscale/derper-certs", cache);
    } else if (home && *home) {
        snprintf(path, sizeof(path), "%s/.cache/tailscale/derper-certs", home);
    }
    return path;
}

enum { PORT_HTTPS = 443 };

static enum config_result check_plain(const struct config *config, char *why) {
    if (config->is_tls) return wrong(why, "-plain and -certmode manual exclude each other: leave one of them out");
    if (config->where.address.port != PORT_HTTPS) return CONFIG_OK;
    return wrong(why,
                 "-plain: on port %d clients expect TLS; name the port that the TLS proxy connects to, as in "
                 "-a 127.0.0.1:8080",
                 PORT_HTTPS);
}

/* derper serves plain HTTP on any port but 443 unless the mode is manual, and says nothing. Whoever has such a command
 * line may count on that, or believe in TLS: only he knows. */
static enum config_result refuse_mode(const struct config *config, char *why) {
    if (config->where.address.port != PORT_HTTPS) {
        return wrong(
            why,
            "-certmode=%s on port %u: derper would serve plain HTTP here. Say what is meant: -plain for that, "
            "behind a TLS proxy; or TLS, by -certmode manual with <hostname>.crt and .key in -certdir; or -dev",
            config->cert_mode, (unsigned)config->where.address.port);
    }
    return wrong(why,
                 "not supported yet: -certmode=%s; use -certmode manual with <hostname>.crt and .key in -certdir (made "
                 "by itself when -hostname is an IP address), -plain behind a TLS proxy, or -dev for plain HTTP",
                 config->cert_mode);
}

/* Clear text is served only where it was asked for, by -dev or -plain: never by surprise. */
static enum config_result derive_tls(struct config *config, char *why) {
    bool is_manual = strcmp(config->cert_mode, "manual") == 0;
    bool is_other = strcmp(config->cert_mode, "letsencrypt") == 0 || strcmp(config->cert_mode, "gcp") == 0;
    if (!is_manual && !is_other) return wrong(why, "-certmode=%s is not known: use manual", config->cert_mode);
    config->is_tls = is_manual;
    if (*config->cert_dir == 0) config->cert_dir = default_cert_dir();
    if (config->wants_version || config->wants_budget) return CONFIG_OK;
    if (config->is_plain) return check_plain(config, why);
    return is_manual || config->is_dev ? CONFIG_OK : refuse_mode(config, why);
}

enum config_result config_parse(struct config *config, int argc, char **argv, char *why) {
    enum config_result result = set_defaults(config, why);
    int idx = 1;
    for (; result == CONFIG_OK && idx < argc; idx++) {
        if (argv[idx][0] != '-' || argv[idx][1] == 0 || strcmp(argv[idx], "--") == 0) break;
        result = parse_word(config, argc, argv, &idx, why);
    }
    if (result == CONFIG_OK && idx < argc && strcmp(argv[idx], "--") == 0) idx++;
    if (result == CONFIG_OK && idx < argc) return wrong(why, "unexpected argument: %s", argv[idx]);
    if (config->mesh_psk_path == not_given) config->mesh_psk_path = NULL;
    if (result == CONFIG_OK) result = derive_ring_features(config, why);
    if (result == CONFIG_OK) result = derive_listen(config, why);
    if (result == CONFIG_OK) result = check(config, why);
    if (result == CONFIG_OK) result = check_relay(config, why);
    if (result == CONFIG_OK) result = check_relay_requesters(config, why);
    if (result == CONFIG_OK) result = check_relay_tokens(config, why);
    if (result == CONFIG_OK) result = check_pages(config, why);
    if (result == CONFIG_OK) result = derive_environment(config, why);
    if (result == CONFIG_OK) result = derive_choices(config, why);
    if (result == CONFIG_OK) result = derive_tls(config, why);
    return result;
}

void config_print_usage(void) {
    fprintf(stderr, "Usage of ringrelayd:\n");
    for (size_t i = 0; i < array_count(flags); i++) {
        const struct flag *flag = &flags[i];
        fprintf(stderr, "  -%s%s\n        %s%s", flag->name, takes_no_value(flag) ? "" : " value", flag->help,
                flag->kind == FLAG_LATER   ? " (not supported yet)"
                : flag->kind == FLAG_NEVER ? " (not supported)"
                                           : "");
        bool has_default = flag->is_bool ? strcmp(flag->fallback, "true") == 0 : *flag->fallback != 0;
        if (has_default) fprintf(stderr, " (default %s)", flag->fallback);
        fprintf(stderr, "\n");
    }
}
