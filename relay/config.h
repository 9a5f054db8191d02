/* config.h - the command line of ringrelayd: derper's flags in derper's syntax, and a few of our own.
 *
 * Syntax is Go's: -x v, -x=v, --x v, --x=v; booleans only -x or -x=true|false (also 1, 0, t, f, T, F, TRUE, ...);
 * parsing stops at "--" or the first word without a dash, and words that are left over are an error here.
 *
 * Every flag of derper is known. Those whose function is not built in yet are accepted with their default or "off"
 * value (so that a unit file's harmless flags do no harm) and refused with any other: nothing is silently ignored.
 * One table holds name, kind, default and help text; usage and docs/config.md follow it.
 *
 * Deviations from derper, on purpose: with -dev an explicit -a and -c are honoured (derper overrides -a and ignores
 * -c).
 * Threads: boot only. Memory: texts point into argv. Errors: a sentence that says what to do, for exit status 2.
 */
#pragma once

#include "core/base.h"
#include "core/limits.h"
#include "core/sandbox.h"
#include "core/sys.h"
#include "relay/reach_list.h"

#define CONFIG_WHY_MAX 512

struct config {
    const char *listen;       // -a; "" until the defaults are applied
    const char *key_path;     // -c; "": none
    const char *ring_disable;
    const char *ring_kernel;
    const char *log_level;
    const char *packet_memory;
    const char *cert_mode;
    const char *cert_dir;
    const char *hostname;
    const char *aead;         // "": the best
    const char *rate_config;  // "": none
    const char *placement;
    const char *duplicates;
    const char *home;
    const char *bootstrap_names;
    const char *bootstrap_hidden_names;
    const char *disallowed_app_names;
    const char *mesh_psk_path;  // NULL: not given, which is not the same as ""
    const char *user;         // "": sandbox.h says
    const char *seccomp;
    const char *admin_socket;  // "auto", a path, or "": none
    int64_t relay_port;       // -1: no UDP relay
    int64_t relay_workers;    // 0: as many as workers
    int64_t relay_endpoints_max;
    int64_t relay_unbound_max;  // 0: a quarter of those
    int64_t workers;          // 0: limits_workers_for() says
    int64_t rekey_after;      // 0: the record layer's own number
    int64_t http_port;        // -1: none
    int64_t accept_burst;
    double accept_per_s;      // infinite: no limit
    bool is_derp;
    bool has_no_rtt;          // $TS_DERP_DISABLE_RTT_STATS
    bool is_dev;
    bool is_plain;
    bool is_tls;              // derived: -certmode manual
    bool wants_stun;
    bool wants_version;
    bool is_paced;
    bool wants_budget;
    int64_t tcp_keepalive_ns;
    int64_t tcp_user_timeout_ns;
    int64_t tcp_write_timeout_ns;
    int64_t connections_max;
    int64_t stun_port;
    double relay_rate;            // requests per second and requester; 0: no limit
    int64_t relay_requester_max;  // endpoints; 0: no limit
    const char *relay_node_key_file;  // "": beside key_path
    const char *relay_allow_file;     // "": none
    const char *relay_static_endpoints;
    const char *relay_stun_servers;
    bool relay_has_no_discovery;
    const char *relay_token_file;  // "": none
    /* derived by config_parse */
    struct listen_address where;
    struct listen_address stun_where;  // the host of -a
    struct listen_address relay_where;  // the host of -a
    unsigned ring_features;
    uint64_t packet_memory_bytes;
    bool is_spread;          // -placement spread
    bool disables_fighters;  // -duplicates disable-fighters
    enum sandbox_filter seccomp_mode;
    struct reach_fixed relay_fixed;
    struct reach_servers relay_servers;
};

enum config_result {
    CONFIG_OK,
    CONFIG_HELP,   // -h was asked for: print usage, exit 0
    CONFIG_WRONG,  // `why` says what: print it, exit 2
};

/* `argv` as main's. On CONFIG_WRONG *config is unspecified and `why` (CONFIG_WHY_MAX bytes) filled. */
must_use enum config_result config_parse(struct config *config, int argc, char **argv, char *why);

/* All flags with defaults and help, for -h: to standard error. */
void config_print_usage(void);

/* "10m", "15s", "1h30m", "250ms", "0", as Go's time.ParseDuration without fractions of nanoseconds. */
must_use bool config_parse_duration(const char *text, int64_t *ret_ns);
