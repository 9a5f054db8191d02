/* test_config.c - the command line: Go's flag syntax, derper's flags, and a sentence for every mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/ring.h"
#include "relay/config.h"

enum { WORDS_MAX = 16 };

static struct config config;
static char why[CONFIG_WHY_MAX];

/* Parses "ringrelayd" and the words up to NULL. */
static enum config_result parse(const char *const *words) {
    char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t)"ringrelayd"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        assert_true(argc <= WORDS_MAX);
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    memset(why, 0, sizeof(why));
    return config_parse(&config, argc, argv, why);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

#define assert_fine(...)                                                       \
    do {                                                                       \
        if (PARSE(__VA_ARGS__) != CONFIG_OK) fail_msg("refused: \"%s\"", why); \
    } while (0)

#define assert_wrong(text, ...)                                                            \
    do {                                                                                   \
        assert_int_equal(PARSE(__VA_ARGS__), CONFIG_WRONG);                                \
        if (strstr(why, text) == NULL) fail_msg("\"%s\" is missing in \"%s\"", text, why); \
    } while (0)

/* ---- syntax ---- */

static void test_defaults(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_true(config.is_dev && !config.wants_version && !config.wants_budget);
    assert_string_equal(config.listen, ":3340");
    assert_int_equal(config.where.address.port, 3340);
    assert_true(config.where.is_wildcard);
    assert_string_equal(config.key_path, "");
    assert_string_equal(config.admin_socket, "auto");
    assert_string_equal(config.log_level, "info");
    assert_int_equal(config.tcp_keepalive_ns, 600 * (int64_t)NS_PER_S);
    assert_int_equal(config.tcp_user_timeout_ns, 15 * (int64_t)NS_PER_S);
    assert_int_equal(config.tcp_write_timeout_ns, 2 * (int64_t)NS_PER_S);
    assert_int_equal(config.connections_max, 0);
    assert_int_equal(config.packet_memory_bytes, 64 << 20);
    assert_int_equal(config.ring_features, RING_FEATURES_ALL);
    assert_string_equal(config.rate_config, "");
    assert_int_equal(config.workers, 0);
    assert_false(config.is_spread);
    assert_false(config.disables_fighters);
}

static void test_the_four_forms_of_a_value(void **state) {
    (void)state;
    static const char *const forms[][3] = {{"-c", "/k", NULL}, {"-c=/k", NULL}, {"--c", "/k", NULL}, {"--c=/k", NULL}};
    for (size_t i = 0; i < array_count(forms); i++) {
        const char *words[4] = {"-dev"};
        for (size_t k = 0; k < 3; k++) words[k + 1] = forms[i][k];
        assert_int_equal(parse(words), CONFIG_OK);
        assert_string_equal(config.key_path, "/k");
    }
    assert_fine("-dev", "-c=a=b");  // only the first sign separates
    assert_string_equal(config.key_path, "a=b");
    assert_fine("-dev", "-c=");
    assert_string_equal(config.key_path, "");
    assert_fine("-dev", "-c", "");
    assert_string_equal(config.key_path, "");
    assert_fine("-dev", "-c", "-a");  // a value may look like a flag
    assert_string_equal(config.key_path, "-a");
    assert_string_equal(config.listen, ":3340");
    assert_fine("-dev", "-c", "first", "-c", "second");  // the last one counts
    assert_string_equal(config.key_path, "second");
}

static void test_booleans_take_no_separate_value(void **state) {
    (void)state;
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    char word[32];
    for (size_t i = 0; i < 6; i++) {
        snprintf(word, sizeof(word), "-version=%s", yes[i]);
        assert_fine(word);
        assert_true(config.wants_version);
        snprintf(word, sizeof(word), "--version=%s", no[i]);
        assert_fine("-dev", "-version", word);
        assert_false(config.wants_version);
    }
    assert_fine("--dev");
    assert_true(config.is_dev);
    assert_wrong("unexpected argument: true", "-dev", "true");
    assert_wrong("unexpected argument: false", "-dev", "-stun", "false");
    assert_wrong("invalid value \"yes\" for flag -dev", "-dev=yes");
    assert_wrong("true or false", "-dev=");
    assert_wrong("-version", "-dev", "-version=tRUE");
}

static void test_where_flags_end(void **state) {
    (void)state;
    assert_fine("-dev", "--");
    assert_wrong("unexpected argument: x", "-dev", "x");
    assert_wrong("unexpected argument: x", "-dev", "x", "-c=y");
    assert_wrong("unexpected argument: -c=y", "-dev", "--", "-c=y");
    assert_wrong("unexpected argument: -", "-dev", "-");
    assert_wrong("unexpected argument: ", "-dev", "");
}

static void test_wrong_words(void **state) {
    (void)state;
    assert_wrong("not defined: -nothing", "-dev", "-nothing");
    assert_wrong("not defined: -nothing", "-dev", "--nothing=5");
    assert_wrong("not defined: -de", "-de");      // no abbreviations
    assert_wrong("not defined: -devv", "-devv");
    assert_wrong("not defined: -DEV", "-DEV");
    assert_wrong("needs an argument: -c", "-dev", "-c");
    assert_wrong("needs an argument: -stun-port", "-dev", "--stun-port");
    assert_wrong("bad flag syntax: -=x", "-dev", "-=x");
    assert_wrong("bad flag syntax: --=x", "-dev", "--=x");
    assert_int_equal(PARSE("-dev", "---c=x"), CONFIG_WRONG);
    assert_true(strlen(why) > 0);
}

static void test_a_long_word_does_not_overflow_the_sentence(void **state) {
    (void)state;
    static char word[4 * CONFIG_WHY_MAX];
    memset(word, 'x', sizeof(word) - 1);
    word[0] = '-';
    assert_int_equal(PARSE(word), CONFIG_WRONG);
    assert_true(strlen(why) < CONFIG_WHY_MAX);
    assert_int_equal(PARSE("-dev", "-a", word), CONFIG_WRONG);
    assert_true(strlen(why) < CONFIG_WHY_MAX);
    assert_int_equal(PARSE("-dev", "-ring-disable", word), CONFIG_WRONG);
    assert_true(strlen(why) < CONFIG_WHY_MAX);
}

static void test_help(void **state) {
    (void)state;
    assert_int_equal(PARSE("-h"), CONFIG_HELP);
    assert_int_equal(PARSE("-help"), CONFIG_HELP);
    assert_int_equal(PARSE("--help"), CONFIG_HELP);
    assert_int_equal(PARSE("-dev", "--h"), CONFIG_HELP);
    assert_wrong("not defined", "-dev", "-helpme");
    assert_wrong("not defined", "-nothing", "-h");  // the first mistake counts
}

/* ---- values of our own flags ---- */

static void test_durations(void **state) {
    (void)state;
    const struct {
        const char *text;
        int64_t ns;
    } rows[] = {{"0", 0},
                {"-0", 0},
                {"+0", 0},
                {"0s", 0},
                {"1ns", 1},
                {"1us", 1000},
                {"250ms", 250000000},
                {"15s", 15000000000},
                {"10m", 600000000000},
                {"1h30m", 5400000000000},
                {"1h2m3s4ms5us6ns", 3723004005006},
                {"1.5s", 1500000000},
                {".5s", 500000000},
                {"1.s", 1000000000},
                {"-1.5h", -5400000000000},
                {"+3s", 3000000000},
                {"3s2s", 5000000000},
                {"2540400h", 9145440000000000000}};
    for (size_t i = 0; i < array_count(rows); i++) {
        int64_t ns = 12345;
        if (!config_parse_duration(rows[i].text, &ns)) fail_msg("%s is refused", rows[i].text);
        assert_true(ns == rows[i].ns);
    }
}

static void test_what_is_no_duration(void **state) {
    (void)state;
    const char *const texts[] = {"",    "s",    "15",    "-",      "+",    ".",        ".s",
                                 "1",   "00",   "1d",    "1S",     "1 s",  " 1s",      "1s ",
                                 "1s2", "--1s", "1h-1s", "1.2.3s", "s1",   "1mss",     "ms",
                                 "1e",  "inf",  "nan",   "infs",   "1,5s", "2562048h", "99999999999999999999h"};
    for (size_t i = 0; i < array_count(texts); i++) {
        int64_t ns = 12345;
        if (config_parse_duration(texts[i], &ns)) fail_msg("\"%s\" is accepted", texts[i]);
        assert_int_equal(ns, 12345);
    }
}

/* strtod reads more than Go does: exponents and hexadecimal numbers. */
static void test_durations_are_decimal(void **state) {
    (void)state;
    const char *const texts[] = {"1e3s", "1E3s", "0x10s", "0x1p4s", "0X1s"};
    for (size_t i = 0; i < array_count(texts); i++) {
        int64_t ns = 12345;
        if (config_parse_duration(texts[i], &ns)) fail_msg("\"%s\" is accepted", texts[i]);
    }
}

static void test_timeouts(void **state) {
    (void)state;
    assert_fine("-dev", "-tcp-write-timeout=0", "-tcp-keepalive-time", "-1s", "-tcp-user-timeout=1h");
    assert_int_equal(config.tcp_write_timeout_ns, 0);
    assert_int_equal(config.tcp_keepalive_ns, -(int64_t)NS_PER_S);
    assert_int_equal(config.tcp_user_timeout_ns, 3600 * (int64_t)NS_PER_S);
    assert_wrong("invalid value \"2\" for flag -tcp-write-timeout: it takes a duration", "-dev",
                 "-tcp-write-timeout=2");
    assert_wrong("no negative", "-dev", "-tcp-write-timeout=-2s");
    assert_wrong("no negative", "-dev", "-tcp-user-timeout=-2s");
}

static void test_numbers_and_sizes(void **state) {
    (void)state;
    assert_fine("-dev", "-max-connections=1048576", "-packet-memory", "256m");
    assert_int_equal(config.connections_max, 1048576);
    assert_int_equal(config.packet_memory_bytes, 256 << 20);
    assert_wrong("it takes a number", "-dev", "-max-connections=many");
    assert_wrong("it takes a number", "-dev", "-max-connections=");
    assert_wrong("it takes a number", "-dev", "-max-connections=5x");
    assert_wrong("it takes a number", "-dev", "-max-connections= 5");
    assert_wrong("it takes a number", "-dev", "-max-connections=99999999999999999999");
    assert_wrong("from 0 to 1048576", "-dev", "-max-connections=-1");
    assert_wrong("from 0 to 1048576", "-dev", "-max-connections=1048577");
    assert_wrong("-packet-memory=lots", "-dev", "-packet-memory=lots");
    assert_wrong("such as 64m", "-dev", "-packet-memory=");
}

static void test_workers(void **state) {
    (void)state;
    assert_fine("-dev", "-workers=0");
    assert_int_equal(config.workers, 0);
    assert_fine("-dev", "-workers", "1");
    assert_int_equal(config.workers, 1);
    assert_fine("-dev", "-workers=64");
    assert_int_equal(config.workers, 64);
    assert_wrong("-workers takes a number from 0 to 64", "-dev", "-workers=65");
    assert_wrong("-workers takes a number from 0 to 64", "-dev", "-workers=-1");
    assert_wrong("-workers takes a number from 0 to 64", "-dev", "-workers=4294967297");
    assert_wrong("invalid value \"all\" for flag -workers: it takes a number", "-dev", "-workers=all");
    assert_wrong("needs an argument: -workers", "-dev", "-workers");
}

static void test_placement(void **state) {
    (void)state;
    assert_fine("-dev", "-placement=spread");
    assert_true(config.is_spread);
    assert_fine("-dev", "-placement", "spread", "-placement", "fill");
    assert_false(config.is_spread);
    assert_wrong("-placement=even is not known: it takes fill or spread", "-dev", "-placement=even");
    assert_wrong("fill or spread", "-dev", "-placement=");
    assert_wrong("fill or spread", "-dev", "-placement=Spread");
    assert_wrong("fill or spread", "-dev", "-placement=fill|spread");
}

static void test_duplicates(void **state) {
    (void)state;
    assert_fine("-dev", "-duplicates=disable-fighters");
    assert_true(config.disables_fighters);
    assert_fine("-dev", "-duplicates", "disable-fighters", "-duplicates", "last-writer");
    assert_false(config.disables_fighters);
    assert_wrong("-duplicates=none is not known: it takes last-writer or disable-fighters", "-dev", "-duplicates=none");
    assert_wrong("last-writer or disable-fighters", "-dev", "-duplicates=");
    assert_wrong("last-writer or disable-fighters", "-dev", "-duplicates=disable-fighter");
    assert_wrong("-placement", "-dev", "-placement=x", "-duplicates=disable-fighters");
}

static void test_rate_config(void **state) {
    (void)state;
    assert_fine("-dev", "-rate-config", "/etc/rate.json");
    assert_string_equal(config.rate_config, "/etc/rate.json");
    assert_fine("-dev", "-rate-config=/etc/rate.json", "-rate-config=");
    assert_string_equal(config.rate_config, "");
}

static void test_log_levels(void **state) {
    (void)state;
    assert_fine("-dev", "-log-level=debug");
    assert_fine("-dev", "-log-level=info");
    assert_fine("-dev", "-log-level=warning");
    assert_fine("-dev", "-log-level=error");
    assert_string_equal(config.log_level, "error");
    assert_wrong("debug, info, warning or error", "-dev", "-log-level=loud");
    assert_wrong("debug, info, warning or error", "-dev", "-log-level=inf");
    assert_wrong("debug, info, warning or error", "-dev", "-log-level=debug|info");
    assert_wrong("debug, info, warning or error", "-dev", "-log-level=");
}

/* ---- derper's flags ---- */

/* Every flag of derper 1.104 with its default. */
static const struct derper_flag {
    const char *name;
    const char *fallback;
    const char *other;  // a value that asks for something
    bool is_bool;
    bool is_built_in;
} derper_flags[] = {
    {"dev", "false", "true", true, true},
    {"version", "false", "true", true, true},
    {"a", ":443", ":1234", false, true},
    {"c", "", "/etc/derper.key", false, true},
    {"tcp-keepalive-time", "10m", "1m", false, true},
    {"tcp-user-timeout", "15s", "1s", false, true},
    {"tcp-write-timeout", "2s", "1s", false, true},
    {"http-port", "80", "8080", false, true},
    {"stun-port", "3478", "3479", false, true},
    {"certmode", "letsencrypt", "manual", false, true},
    {"certdir", "", "/etc/certs", false, true},
    {"hostname", "derp.tailscale.com", "derp.example.com", false, true},
    {"acme-eab-kid", "", "kid", false, false},
    {"acme-eab-key", "", "key", false, false},
    {"acme-email", "", "a@example.com", false, false},
    {"acme-ip-certs", "false", "true", true, false},
    {"stun", "true", "false", true, true},
    {"derp", "true", "false", true, true},
    {"home", "", "blank", false, true},
    {"mesh-psk-file", "", "/etc/mesh.key", false, true},
    {"mesh-with", "", "derp2.example.com", false, false},
    {"secrets-url", "", "https://setec.example.com", false, false},
    {"secrets-path-prefix", "prod/derp", "dev/derp", false, false},
    {"secrets-cache-dir", "", "/var/cache", false, false},
    {"bootstrap-dns-names", "", "example.com", false, true},
    {"unpublished-bootstrap-dns-names", "", "example.com", false, true},
    {"verify-clients", "false", "true", true, false},
    {"verify-client-url", "", "http://localhost/verify", false, false},
    {"verify-client-url-fail-open", "true", "false", true, false},
    {"socket", "", "/run/tailscaled.sock", false, false},
    {"accept-connection-limit", "+Inf", "10", false, true},
    {"accept-connection-burst", "9223372036854775807", "10", false, true},
    {"rate-config", "", "/etc/rate.json", false, true},
    {"ace", "false", "true", true, false},
    {"disallow-app-names", "", "app", false, true},
};

static void test_every_flag_of_derper_is_known_at_its_default(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(derper_flags); i++) {
        const struct derper_flag *flag = &derper_flags[i];
        char word[128];
        snprintf(word, sizeof(word), "-%s=%s", flag->name, flag->fallback);
        if (PARSE("-dev", word, "-dev") != CONFIG_OK) fail_msg("%s is refused: %s", word, why);
        if (flag->is_bool) continue;
        snprintf(word, sizeof(word), "--%s", flag->name);
        if (PARSE("-dev", word, flag->fallback) != CONFIG_OK) fail_msg("%s is refused: %s", word, why);
    }
}

static void test_what_is_not_built_in_is_refused_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < array_count(derper_flags); i++) {
        const struct derper_flag *flag = &derper_flags[i];
        char word[128], named[128];
        if (flag->other == NULL) continue;
        snprintf(word, sizeof(word), "-%s=%s", flag->name, flag->other);
        bool is_setec = strncmp(flag->name, "secrets-", 8) == 0;
        snprintf(named, sizeof(named), "not supported%s: -%s=%s (", is_setec ? ", and not needed" : " yet", flag->name,
                 flag->other);
        enum config_result result = PARSE("-dev", word);
        assert_int_equal(result, flag->is_built_in ? CONFIG_OK : CONFIG_WRONG);
        if (result == CONFIG_WRONG && strstr(why, named) == NULL) fail_msg("\"%s\" is missing in \"%s\"", named, why);
    }
}

static void test_what_is_not_built_in_may_be_off(void **state) {
    (void)state;
    assert_fine("-dev", "-verify-clients=F", "-ace=0", "-acme-ip-certs=FALSE");
    assert_wrong("-verify-clients=true", "-dev", "-verify-clients");  // a boolean alone means true
    assert_wrong("-ace=t", "-dev", "-ace=t");
}

static void test_stun(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_true(config.wants_stun && config.stun_where.is_wildcard);
    assert_int_equal(config.stun_where.address.port, 3478);
    assert_int_equal(config.where.address.port, 3340);
    assert_fine("-dev", "-a", "192.0.2.1:80", "-stun-port", "0", "-stun=0", "-stun=T");
    assert_true(config.wants_stun && !config.stun_where.is_wildcard);  // on the host of -a
    assert_memory_equal(config.stun_where.address.ip, config.where.address.ip, 16);
    assert_int_equal(config.stun_where.address.port, 0);
    assert_int_equal(config.where.address.port, 80);
    assert_fine("-dev", "-stun=false", "-stun-port=65535");
    assert_false(config.wants_stun);
    assert_wrong("invalid value \"maybe\" for flag -stun", "-dev", "-stun=maybe");
    assert_wrong("-stun-port", "-dev", "-stun-port=");
    assert_wrong("0 to 65535; -stun=false", "-dev", "-stun-port=-1");
    assert_wrong("0 to 65535", "-dev", "-stun-port=65536");
}

static void test_relay(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_int_equal(config.relay_port, -1);
    assert_int_equal(config.relay_endpoints_max, 16384);
    assert_fine("-dev", "-a", "192.0.2.1:80", "-relay-port", "41641", "-relay-workers=3", "-relay-endpoints-max=100");
    assert_memory_equal(config.relay_where.address.ip, config.where.address.ip, 16);  // on the host of -a
    assert_int_equal(config.relay_where.address.port, 41641);
    assert_int_equal(config.relay_workers, 3);
    assert_int_equal(config.relay_endpoints_max, 100);
    assert_fine("-dev", "-relay-port", "0");
    assert_true(config.relay_port == 0 && config.relay_where.is_wildcard);
    assert_wrong("0 to 65535; -1", "-dev", "-relay-port=65536");
    assert_wrong("0 to 65535; -1", "-dev", "-relay-port=-2");
    assert_wrong("0 to 64", "-dev", "-relay-workers=65");
    assert_wrong("0 to 64", "-dev", "-relay-workers=-1");
    assert_wrong("1 to 1048576", "-dev", "-relay-endpoints-max=0");
    assert_wrong("1 to 1048576", "-dev", "-relay-endpoints-max=1048577");
}

/* Who may ask the UDP relay for how much. */
static void test_relay_requesters(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_true(config.relay_rate >= 20 && config.relay_rate <= 20);
    assert_int_equal(config.relay_requester_max, 1024);
    assert_true(*config.relay_allow_file == 0 && *config.relay_node_key_file == 0);
    assert_fine("-dev", "-relay-rate=+Inf", "-relay-requester-max=0", "-relay-allow-file=a", "-relay-node-key-file=b");
    assert_true(config.relay_rate <= 0);
    assert_string_equal(config.relay_allow_file, "a");
    assert_string_equal(config.relay_node_key_file, "b");
    assert_fine("-dev", "-relay-rate=0.001");
    assert_wrong("-relay-rate takes", "-dev", "-relay-rate=0.0009");
    assert_wrong("-relay-rate takes", "-dev", "-relay-rate=-20");
    assert_wrong("-relay-rate takes", "-dev", "-relay-rate=1000001");
    assert_wrong("-relay-requester-max takes", "-dev", "-relay-requester-max=-1");
    assert_wrong("-relay-requester-max takes", "-dev", "-relay-requester-max=4294967296");
}

/* ---- pages ---- */

static void test_pages(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_true(config.is_derp && config.http_port == 80 && config.accept_burst == INT64_MAX);
    assert_true(isinf(config.accept_per_s) && config.accept_per_s > 0 && *config.home == 0);
    assert_fine("-dev", "-derp=false", "-home=blank", "-http-port=-1");
    assert_true(!config.is_derp && config.http_port == -1);
    assert_fine("-dev", "-home=https://example.com/a?b#c");
    assert_wrong("-home=off", "-dev", "-home=off");
    assert_wrong("-home", "-dev", "-home=https://example.com/\r\nX: y");
    assert_wrong("-home", "-dev", "-home=//example.com");
    assert_wrong("-http-port takes", "-dev", "-http-port=65536");
    assert_wrong("-http-port takes", "-dev", "-http-port=-2");
    assert_wrong("-http-port", "-dev", "-http-port=http");
}

static void test_accept_limits(void **state) {
    (void)state;
    static const char *const endless[] = {"Inf", "inf", "+Inf", "+inf", "Infinity"};
    for (size_t i = 0; i < array_count(endless); i++) {
        assert_fine("-dev", "-accept-connection-limit", endless[i]);
        assert_true(isinf(config.accept_per_s));
    }
    assert_fine("-dev", "-accept-connection-limit=0.5", "-accept-connection-burst=3");
    assert_true(config.accept_per_s == 0.5 && config.accept_burst == 3);
    assert_fine("-dev", "-accept-connection-limit=1e3");
    assert_true(config.accept_per_s == 1000);
    assert_wrong("takes no negative", "-dev", "-accept-connection-limit=-1");
    assert_wrong("at least 1", "-dev", "-accept-connection-limit=1", "-accept-connection-burst=0");
    static const char *const wrong[] = {"", "many", "NaN", "-Inf", "0x10", "1e999", "1 ", "1,5"};
    for (size_t i = 0; i < array_count(wrong); i++) {
        assert_wrong("-accept-connection-limit", "-dev", "-accept-connection-limit", wrong[i]);
    }
}

static void test_bootstrap_names(void **state) {
    (void)state;
    assert_fine("-dev", "-bootstrap-dns-names=a.example,b.example",
                "-unpublished-bootstrap-dns-names=c.example/t.example");
    assert_wrong("-bootstrap-dns-names: \"a b\" is no host name", "-dev", "-bootstrap-dns-names=c,a b");
    assert_wrong("-unpublished-bootstrap-dns-names", "-dev", "-unpublished-bootstrap-dns-names=/t.example");
}

/* ---- what follows from several flags ---- */

/* Clear text is served only where -dev asks for it. */
static void test_tls_unless_dev(void **state) {
    (void)state;
    assert_int_equal(parse((const char *const[]){NULL}), CONFIG_WRONG);
    assert_non_null(strstr(why, "-certmode"));
    assert_non_null(strstr(why, "-dev"));
    assert_wrong("-dev", "-a", "127.0.0.1:3340");
    assert_wrong("-dev", "-dev=false");
    assert_wrong("not supported yet: -certmode=gcp;", "-certmode=gcp");
    assert_wrong("-certmode=own is not known", "-dev", "-certmode=own");
    assert_fine("-certmode=manual", "-certdir=/certs", "-hostname=derp.example.com");
    assert_true(config.is_tls && !config.is_dev);
    assert_string_equal(config.listen, ":443");
    assert_string_equal(config.cert_dir, "/certs");
    assert_string_equal(config.hostname, "derp.example.com");
    assert_fine("-dev", "-certmode=manual");
    assert_true(config.is_tls);
    assert_fine("-dev");
    assert_false(config.is_tls);
    assert_fine("-version");
    assert_fine("-budget");
    assert_string_equal(config.listen, ":443");
    assert_string_equal(config.hostname, "derp.tailscale.com");
}

/* derper's silent plain HTTP on other ports is a choice here, and never a surprise. */
static void test_plain_http_is_asked_for(void **state) {
    (void)state;
    assert_wrong("-certmode=letsencrypt on port 8080: derper would serve plain HTTP here", "-a", ":8080");
    assert_wrong("-certmode=gcp on port 80: derper would", "-a", ":http", "-certmode=gcp");
    assert_wrong("-plain", "-a", ":8080");
    assert_wrong("not supported yet: -certmode=letsencrypt;", "-a", ":https");
    assert_fine("-a", ":8080", "-plain");
    assert_true(config.is_plain && !config.is_tls && !config.is_dev);
    assert_fine("-plain", "-a", "127.0.0.1:8080", "-certmode=letsencrypt");
    assert_wrong("clients expect TLS", "-plain");
    assert_wrong("clients expect TLS", "-plain", "-a", "127.0.0.1:443");
    assert_wrong("exclude each other", "-plain", "-a", ":8080", "-certmode=manual");
    assert_wrong("exclude each other", "-plain", "-dev", "-certmode=manual");
    assert_fine("-plain", "-dev");
    assert_int_equal(config.where.address.port, 3340);
    assert_fine("-plain=false", "-certmode=manual");
}

static void test_privileges(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_string_equal(config.user, "");
    assert_int_equal(config.seccomp_mode, SANDBOX_FILTER_ON);
    assert_fine("-dev", "-user", "nobody", "-seccomp=log");
    assert_string_equal(config.user, "nobody");
    assert_int_equal(config.seccomp_mode, SANDBOX_FILTER_LOG);
    assert_fine("-dev", "-seccomp=off");
    assert_int_equal(config.seccomp_mode, SANDBOX_FILTER_OFF);
    assert_wrong("it takes on, log or off", "-dev", "-seccomp=yes");
    assert_wrong("it takes on, log or off", "-dev", "-seccomp=");
}

static void test_the_default_of_certdir(void **state) {
    (void)state;
    assert_int_equal(setenv("XDG_CACHE_HOME", "/x", 1), 0);
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    assert_fine("-certmode=manual");
    assert_string_equal(config.cert_dir, "/x/tailscale/derper-certs");
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    assert_fine("-certmode=manual");
    assert_string_equal(config.cert_dir, "/h/.cache/tailscale/derper-certs");
}

static void test_rekeying(void **state) {
    (void)state;
    assert_fine("-dev", "-tls-rekey-after=8388608");
    assert_int_equal(config.rekey_after, 8388608);
    assert_wrong("from 0 to 8388608", "-dev", "-tls-rekey-after=8388609");
    assert_wrong("from 0 to 8388608", "-dev", "-tls-rekey-after=-1");
}

static void test_dev_honours_what_is_given(void **state) {
    (void)state;
    assert_fine("-dev", "-a", "127.0.0.1:1", "-c", "/k");
    assert_int_equal(config.where.address.port, 1);
    assert_string_equal(config.key_path, "/k");
    assert_fine("-a", "127.0.0.1:1", "-dev");  // in either order
    assert_int_equal(config.where.address.port, 1);
}

static void assert_listens(const char *text, const char *shown, bool is_wildcard) {
    char address[NET_ADDRESS_TEXT_MAX];
    if (PARSE("-dev", "-a", text) != CONFIG_OK) fail_msg("%s is refused: %s", text, why);
    assert_string_equal(net_address_text(&config.where.address, address), shown);
    assert_int_equal(config.where.is_wildcard, is_wildcard);
}

static void test_listen_addresses(void **state) {
    (void)state;
    assert_listens("127.0.0.1:3340", "127.0.0.1:3340", false);
    assert_listens("[::1]:3340", "[::1]:3340", false);
    assert_listens("127.0.0.1:0", "127.0.0.1:0", false);
    assert_listens("127.0.0.1:http", "127.0.0.1:80", false);
    assert_listens("[2001:db8::1]:https", "[2001:db8::1]:443", false);
    assert_listens(":65535", "[::]:65535", true);
    assert_listens("0.0.0.0:1", "[::]:1", true);
    assert_listens("[::]:1", "[::]:1", true);
    const char *const refused[] = {"127.0.0.1", "3340",          ":65536", ":-1",    ":x",         "localhost:3340",
                                   "::1:3340",  "[::1:3340",     "[::1]",  ":3340 ", "1.2.3:3340", "example.com:3340",
                                   ":",         "127.0.0.1:33 0"};
    for (size_t i = 0; i < array_count(refused); i++) {
        if (PARSE("-dev", "-a", refused[i]) != CONFIG_WRONG) fail_msg("%s is accepted", refused[i]);
        if (strncmp(why, "-a: ", 4) != 0) fail_msg("-a is not named in \"%s\"", why);
    }
}

static void test_ring_kernels(void **state) {
    (void)state;
    assert_fine("-dev", "-ring-kernel=5.19");
    assert_int_equal(config.ring_features, RING_MULTISHOT_ACCEPT | RING_COOP_TASKRUN | RING_RESTRICTIONS);
    assert_fine("-dev", "-ring-kernel=6.0");
    assert_int_equal(config.ring_features, RING_FEATURES_ALL & ~(unsigned)RING_DEFER_TASKRUN);
    assert_fine("-dev", "-ring-kernel=6.1");
    assert_int_equal(config.ring_features, RING_FEATURES_ALL);
    assert_fine("-dev", "-ring-kernel=");
    assert_int_equal(config.ring_features, RING_FEATURES_ALL);
    assert_wrong("-ring-kernel=5.18 is not known: it takes 5.19, 6.0 or 6.1", "-dev", "-ring-kernel=5.18");
    assert_wrong("-ring-kernel=6.1.0", "-dev", "-ring-kernel=6.1.0");
}

static void test_ring_features_can_be_disabled(void **state) {
    (void)state;
    static const char *const names[] = {"multishot-accept",  "coop-taskrun",  "single-issuer",
                                        "multishot-receive", "defer-taskrun", "restrictions"};
    char word[64];
    for (unsigned i = 0; i < array_count(names); i++) {
        snprintf(word, sizeof(word), "-ring-disable=%s", names[i]);
        assert_fine("-dev", word);
        assert_int_equal(config.ring_features, RING_FEATURES_ALL & ~(1u << i));
        assert_wrong(names[i], "-dev", "-ring-disable=nothing");  // the error lists all there are
    }
    assert_fine("-dev", "-ring-disable=defer-taskrun,multishot-receive");
    assert_int_equal(config.ring_features,
                     RING_FEATURES_ALL & ~(unsigned)(RING_DEFER_TASKRUN | RING_MULTISHOT_RECEIVE));
    assert_fine("-dev", "-ring-kernel=6.0", "-ring-disable=restrictions");
    assert_int_equal(config.ring_features, RING_FEATURES_ALL & ~(unsigned)(RING_DEFER_TASKRUN | RING_RESTRICTIONS));
    assert_wrong("no feature \"nothing\"", "-dev", "-ring-disable=defer-taskrun,nothing");
    assert_wrong("no feature \"defer-taskru\"", "-dev", "-ring-disable=defer-taskru");
    assert_wrong("no feature \"\"", "-dev", "-ring-disable=,defer-taskrun");
    assert_wrong("no feature \" defer-taskrun\"", "-dev", "-ring-disable=coop-taskrun, defer-taskrun");
}

static void test_admin_socket(void **state) {
    (void)state;
    assert_fine("-dev", "-admin-socket", "/tmp/x");
    assert_string_equal(config.admin_socket, "/tmp/x");
    assert_fine("-dev", "-admin-socket=off");
    assert_string_equal(config.admin_socket, "");
    assert_fine("-dev", "-admin-socket=");
    assert_string_equal(config.admin_socket, "");
}

/* ---- the UDP relay ---- */

static void test_addresses_of_the_udp_relay(void **state) {
    (void)state;
    assert_fine("-dev", "-relay-port", "7777", "-relay-static-endpoints", "192.0.2.1:7777,[2001:db8::1]:0",
                "-relay-stun-servers", "stun.example.com:3478");
    assert_int_equal(config.relay_fixed.count, 2);
    assert_int_equal(config.relay_servers.count, 1);
    assert_false(config.relay_has_no_discovery);
    assert_wrong("-relay-static-endpoints: \"192.0.2.1\"", "-dev", "-relay-static-endpoints", "192.0.2.1");
    assert_wrong("-relay-stun-servers: \"stun\"", "-dev", "-relay-stun-servers", "stun");
    assert_fine("-dev", "-relay-port", "7777", "-relay-no-discovery", "-relay-static-endpoints", "192.0.2.1:7777");
    assert_wrong("exclude each other", "-dev", "-relay-no-discovery", "-relay-stun-servers", "a:1");
    assert_wrong("-relay-static-endpoints", "-dev", "-relay-port", "7777", "-relay-no-discovery");
}

static void test_relay_tokens(void **state) {
    (void)state;
    assert_fine("-dev");
    assert_string_equal(config.relay_token_file, "");
    assert_fine("-dev", "-relay-port=0", "-relay-token-file=t");
    assert_string_equal(config.relay_token_file, "t");
    assert_wrong("give it a port with -relay-port", "-dev", "-relay-token-file=t");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_tokens),
        cmocka_unit_test(test_admin_socket),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_the_four_forms_of_a_value),
        cmocka_unit_test(test_booleans_take_no_separate_value),
        cmocka_unit_test(test_where_flags_end),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_a_long_word_does_not_overflow_the_sentence),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_what_is_no_duration),
        cmocka_unit_test(test_durations_are_decimal),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_numbers_and_sizes),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_rate_config),
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_every_flag_of_derper_is_known_at_its_default),
        cmocka_unit_test(test_what_is_not_built_in_is_refused_by_name),
        cmocka_unit_test(test_what_is_not_built_in_may_be_off),
        cmocka_unit_test(test_stun),
        cmocka_unit_test(test_relay),
        cmocka_unit_test(test_relay_requesters),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_accept_limits),
        cmocka_unit_test(test_bootstrap_names),
        cmocka_unit_test(test_tls_unless_dev),
        cmocka_unit_test(test_plain_http_is_asked_for),
        cmocka_unit_test(test_privileges),
        cmocka_unit_test(test_the_default_of_certdir),
        cmocka_unit_test(test_rekeying),
        cmocka_unit_test(test_dev_honours_what_is_given),
        cmocka_unit_test(test_listen_addresses),
        cmocka_unit_test(test_ring_kernels),
        cmocka_unit_test(test_ring_features_can_be_disabled),
        cmocka_unit_test(test_addresses_of_the_udp_relay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
