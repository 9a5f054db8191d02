/* main.c - ringrelayd: from the command line to running threads, and back down. A list, no logic.
 *
 * Exit status: 0 after SIGTERM or SIGINT, or when only asked for something; 1 when the relay cannot run here; 2 when
 * the command line is wrong.
 */
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/log.h"
#include "core/pacer.h"
#include "core/sys.h"
#include "core/aead.h"
#include "core/unix.h"
#include "proto/gojson.h"
#include "mesh/psk.h"
#include "proto/handshake.h"
#include "relay/certs.h"
#include "relay/config.h"
#include "relay/keyfile.h"
#include "relay/node_start.h"
#include "relay/privileges.h"
#include "relay/rateconf.h"
#include "relay/relay.h"

enum { FRONT_NICE = 10, STUN_NICE = 5 };  // relay/front.h, relay/stun_server.h

/* Who shares a processor with the front has not to wait for the end of its slice. The least that the kernel takes. */
#define PROMPT_SLICE_NS (100 * NS_PER_US)

enum { EXIT_CANNOT_RUN = 1, EXIT_USAGE = 2 };

/* ---- one thread ---- */

struct thread {
    struct relay_part part;
    int nice_value;
    bool is_prompt;  // somebody waits for it: packets, measurements
    pthread_barrier_t *all_enabled;
    pthread_t id;
};

static uint64_t time_until(uint64_t until_ns, uint64_t now_ns) {
    if (until_ns == TIME_NEVER) return TIME_NEVER;
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

/* Every few milliseconds: how busy the thread is, and whether it should rest between passes. */
static void take_stock(const struct relay_part *part, struct pacer *pacer, uint64_t now_ns) {
    if (!pacer_is_due(pacer, now_ns)) return;
    uint64_t cpu_ns = sys_thread_cpu_ns();
    stat_set(part->busy_ns, cpu_ns);
    pacer_look(pacer, now_ns, cpu_ns, part->packets ? stat_get(part->packets) : 0);
}

/* Until rest_ns after the begin of the pass. */
static void rest(const struct relay_part *part, uint64_t begun_ns) {
    uint64_t until_ns = begun_ns + part->rest_ns, now_ns = sys_clock_ns();
    if (now_ns >= until_ns) return;
    stat_add(part->rests, 1);
    ring_rest(part->ring, until_ns - now_ns);
}

static void *thread_main(void *arg) {
    struct thread *t = arg;
    const struct relay_part *part = &t->part;
    struct pacer pacer = {.busy_permille = part->rest_busy_permille};
    sys_thread_describe(part->name, t->nice_value);
    if (t->is_prompt) sys_thread_set_slice(PROMPT_SLICE_NS);
    log_use_lane(part->log_lane);
    CHECK(ring_enable(part->ring) == 0);
    pthread_barrier_wait(t->all_enabled);  // a ring can be woken from here on
    for (uint64_t now_ns = sys_clock_ns();; now_ns = sys_clock_ns()) {
        uint64_t until_ns = part->step(part->state, now_ns);
        if (*part->is_stopped) break;
        take_stock(part, &pacer, now_ns);
        if (part->packets && pacer_rests(&pacer)) rest(part, now_ns);
        ring_doze(part->ring);
        ring_wait(part->ring, part->may_sleep(part->state) ? time_until(until_ns, sys_clock_ns()) : 0);
    }
    handshake_thread_fini();
    return NULL;
}

struct threads {
    struct thread all[RELAY_THREADS_MAX];
    uint32_t count;
    pthread_barrier_t all_enabled;
};

static int nice_of(uint32_t thread_idx) {
    return thread_idx == THREAD_FRONT ? FRONT_NICE : (thread_idx == THREAD_STUN ? STUN_NICE : 0);
}

static void threads_start(struct threads *threads, struct relay *relay) {
    threads->count = relay->threads_count;
    CHECK(pthread_barrier_init(&threads->all_enabled, NULL, threads->count + 1) == 0);
    for (uint32_t i = 0; i < threads->count; i++) {
        struct thread *t = &threads->all[i];
        *t = (struct thread){.part = relay_part_at(relay, i),
                             .nice_value = nice_of(i),
                             .is_prompt = i == THREAD_STUN || i >= THREAD_WORKERS,
                             .all_enabled = &threads->all_enabled};
        CHECK(pthread_create(&t->id, NULL, thread_main, t) == 0);
    }
    CHECK(ring_enable(relay->main_ring) == 0);
    pthread_barrier_wait(&threads->all_enabled);
}

static void threads_stop(struct threads *threads, struct relay *relay) {
    relay_stop(relay);
    for (uint32_t i = 0; i < threads->count; i++) {
        if (i != THREAD_OFFICE) CHECK(pthread_join(threads->all[i].id, NULL) == 0);
    }
    relay_stop_office(relay);
    CHECK(pthread_join(threads->all[THREAD_OFFICE].id, NULL) == 0);
    pthread_barrier_destroy(&threads->all_enabled);
}

/* ---- before the threads ---- */

static bool make_key(const struct config *config, struct front_options *front, char *why) {
    struct rng rng;
    bool is_new = true;
    rng_init_system(&rng);
    if (*config->key_path) {
        if (!keyfile_load_or_make(config->key_path, &rng, &front->private_key, &is_new, why)) return false;
        if (is_new) log_line(LOG_INFO, "made a new private key in %s", config->key_path);
    } else {
        key_generate(&rng, &front->private_key);
        log_line(LOG_INFO,
                 "using a throw-away key: clients have to learn a new one after each start; -c FILE keeps it");
    }
    char text[KEY_PUBLIC_TEXT_SIZE];
    key_private_public(&front->private_key, &front->public_key);
    key_format(&front->public_key, text);
    log_line(LOG_INFO, "public key %s", text);
    return true;
}

/* Whoever shows this key is another server of the region, and may forward packets and watch who is here. */
static bool load_mesh_key(const struct config *config, struct front_options *front, char *why) {
    struct psk psk;
    bool is_fine = psk_load(config->mesh_psk_path, config->is_dev, &psk, why);
    front->mesh_key = psk.key;
    if (is_fine && !key_mesh_is_zero(&psk.key)) {
        log_line(LOG_INFO, "mesh key from %s", psk.place);
    } else if (is_fine && *psk.place) {
        log_line(LOG_WARNING, "no mesh key in %s: it is empty, or zero", psk.place);
    }
    psk_wipe(&psk);
    return is_fine;
}

static int seconds(int64_t ns) { return (int)((ns + (int64_t)NS_PER_S - 1) / (int64_t)NS_PER_S); }

/* Beside TLS, on the same host. */
static bool listen_port80(const struct config *config, const struct tcp_options *options, struct front_options *front,
                          struct net_address *bound, char *why) {
    char text[NET_ADDRESS_TEXT_MAX], detail[SYS_WHY_MAX];
    if (!config->is_tls || config->http_port < 0) return true;
    struct listen_address where = config->where;
    where.address.port = (uint16_t)config->http_port;
    unsigned idx = front->listeners_count;
    if (sys_listen_tcp(&where, options, &front->listen_fds[idx], bound, detail) != 0) {
        snprintf(why, CERTS_WHY_MAX, "-http-port %d: %s; -http-port -1 does without it", (int)config->http_port,
                 detail);
        return false;
    }
    front->doors[idx] = DOOR_PORT80;
    front->listeners_count++;
    log_line(LOG_INFO, "plain HTTP on %s: redirects to HTTPS", net_address_text(bound, text));
    return true;
}

/* `bound` has a place for each. */
static bool listen_all(const struct config *config, struct front_options *front, struct net_address *bound, char *why) {
    struct tcp_options options = {
        .keepalive_idle_s =
            config->tcp_keepalive_ns > 0 ? seconds(config->tcp_keepalive_ns) : (config->tcp_keepalive_ns < 0 ? 0 : 15),
        .keepalive_interval_s = 15,
        .keepalive_count = 9,
        .user_timeout_ms = (unsigned)(config->tcp_user_timeout_ns / (int64_t)NS_PER_MS),
        .notsent_lowat = LIMIT_NOTSENT_LOWAT,
    };
    if (sys_listen_tcp(&config->where, &options, &front->listen_fds[0], &bound[0], why) != 0) return false;
    front->listeners_count = 1;
    return listen_port80(config, &options, front, &bound[1], why);
}

/* What the pages show, and to whom. */
static bool prepare_pages(const struct config *config, struct front_options *front, char *why) {
    static char machine[256];  // why: the front's, for as long as the process lives
    if (gethostname(machine, sizeof(machine) - 1) != 0) snprintf(machine, sizeof(machine), "unknown");
    front->machine = machine;
    front->home = config->home;
    front->hostname = config->hostname;
    front->disallowed_app_names = config->disallowed_app_names;
    front->accept_per_s = config->accept_per_s;
    front->accept_burst = (double)config->accept_burst;
    front->is_derp_off = !config->is_derp;
    front->is_dev = config->is_dev;
    return debug_access_from_env(&front->debug_access, why);
}

/* The last thing made before the relay, which frees it. */
static struct resolver *make_resolver(const struct config *config) {
    static struct rng rng;  // why: the office's, for as long as the process lives
    struct resolver_options options = {.published = config->bootstrap_names, .hidden = config->bootstrap_hidden_names};
    rng_init_system(&rng);
    return resolver_new(&options, &rng, sys_clock_ns());
}

/* why: derper goes on without a word when it cannot have the port; its clients then wonder why this relay is slow. */
static bool listen_stun(const struct config *config, struct stun_options *stun, struct net_address *bound, char *why) {
    char detail[SYS_WHY_MAX];
    if (!config->wants_stun) return true;
    stun->is_on = sys_listen_udp(&config->stun_where, LIMIT_STUN_KERNEL_BYTES, &stun->fd, bound, detail) == 0;
    if (!stun->is_on) {
        snprintf(why, CERTS_WHY_MAX, "STUN %s; choose another port with -stun-port, or run without STUN: -stun=false",
                 detail);
    }
    return stun->is_on;
}

/* The relay's port, and with it STUN's: both are the UDP workers' then. */
static bool listen_udp(const struct config *config, struct relay_options *options, struct net_address *stun,
                       char *why) {
    static struct udp_sockets sockets;  // why: read by relay_init, in `options`
    struct udp_listen_options listen = {.workers_count = options->limits.udp_workers_count,
                                        .relay = config->relay_where,
                                        .stun = config->stun_where,
                                        .has_stun = config->wants_stun};
    char text[2][NET_ADDRESS_TEXT_MAX];
    if (listen.workers_count == 0) return listen_stun(config, &options->stun, stun, why);
    if (!udp_listen_all(&listen, &sockets, why)) return false;
    const struct net_address *bound = sockets.bound;
    bool has_both = bound[UDP_PLACE_IPV4].port && bound[UDP_PLACE_IPV6].port;
    log_line(LOG_INFO, "UDP relay on %s%s%s",
             net_address_text(&bound[bound[UDP_PLACE_IPV4].port ? UDP_PLACE_IPV4 : UDP_PLACE_IPV6], text[0]),
             has_both ? " and " : "", has_both ? net_address_text(&bound[UDP_PLACE_IPV6], text[1]) : "");
    *stun = bound[UDP_PLACE_STUN];
    options->udp = &sockets;
    options->reach.ports = (struct reach_ports){bound[UDP_PLACE_IPV4].port, bound[UDP_PLACE_IPV6].port};
    return true;
}

static const char *admin_path_of(const struct config *config) {
    if (strcmp(config->admin_socket, "auto") != 0) return config->admin_socket;
    return access(ADMIN_SOCKET_FOLDER, W_OK) == 0 ? ADMIN_SOCKET_PATH : "";
}

/* Without one that was asked for the relay does not start; without the usual one it does. */
static bool listen_admin(const struct config *config, struct admin_options *options, struct unix_listener *admin,
                         char *why) {
    const char *path = admin_path_of(config);
    char detail[SYS_WHY_MAX];
    if (*path == 0) return true;
    if (unix_listen(admin, path, 0600, detail) == 0) {
        *options = (struct admin_options){.listen_fd = admin->fd, .is_on = true};
        return true;
    }
    if (path == config->admin_socket) {
        snprintf(why, CERTS_WHY_MAX, "-admin-socket: %s", detail);
        return false;
    }
    log_line(LOG_WARNING, "no admin socket: %s", detail);
    return true;
}

/* The certificate; its keeper outlives the relay. */
static bool prepare_tls(const struct config *config, struct relay_options *options, struct certs *certs, char *why) {
    static struct rng rng;  // why: the office's, for as long as the process lives
    char detail[TLS_WHY_MAX];
    rng_init_system(&rng);
    if (!aead_init(*config->aead ? config->aead : NULL, why)) return false;
    if (!handshake_init(detail)) {
        snprintf(why, CERTS_WHY_MAX, "%s", detail);
        return false;
    }
    if (!certs_init(certs, config->hostname, config->cert_dir, &options->front.public_key, &rng, why)) return false;
    options->front.identity = certs_load(certs, sys_wall_clock_s(), why);
    options->front.rekey_after = (uint32_t)config->rekey_after;
    options->certs = certs;
    return options->front.identity != NULL;
}

static uint32_t workers_of(const struct config *config) {
    return config->workers > 0 ? (uint32_t)config->workers : limits_workers_for(sys_cpu_count());
}

static uint32_t udp_workers_of(const struct config *config) {
    if (config->relay_port < 0) return 0;
    return config->relay_workers > 0 ? (uint32_t)config->relay_workers : workers_of(config);
}

static struct limits limits_of(const struct config *config) {
    struct limits limits = {.connections_max = (uint32_t)config->connections_max,
                            .workers_count = workers_of(config),
                            .packet_memory_bytes = config->packet_memory_bytes,
                            .udp_workers_count = udp_workers_of(config),
                            .has_node = node_start_is_wanted(config)};
    if (config->relay_port >= 0) {
        limits.endpoints_max = (uint32_t)config->relay_endpoints_max;
        limits.unbound_max =
            (uint32_t)(config->relay_unbound_max ? config->relay_unbound_max : (config->relay_endpoints_max + 3) / 4);
    }
    return limits;
}

/* The ports come when they are bound. */
static struct reach_options reach_of(const struct config *config) {
    return (struct reach_options){.fixed = config->relay_fixed,
                                  .servers = config->relay_servers,
                                  .where = config->relay_where,
                                  .has_no_discovery = config->relay_has_no_discovery};
}

/* The same secret each time, so that a token that stays keeps its quota. */
static struct tokens *load_tokens(const struct config *config, char *why) {
    static uint8_t secret[TOKENS_SECRET_SIZE];  // why: for as long as the process lives
    struct rng rng;
    if (sodium_is_zero(secret, sizeof(secret))) {
        rng_init_system(&rng);
        rng_bytes(&rng, secret, sizeof(secret));
    }
    return tokens_load(config->relay_token_file, secret, why);
}

static bool prepare_tokens(const struct config *config, struct front_options *front, char *why) {
    front->relay_limits = allocator_limits_of(config->relay_rate, (uint32_t)config->relay_requester_max);
    if (*config->relay_token_file == 0) return true;
    front->tokens = load_tokens(config, why);
    return front->tokens != NULL;
}

static bool load_rate(const struct config *config, struct relay_options *options, char *why) {
    if (*config->rate_config == 0) return true;
    if (!rateconf_load(config->rate_config, &options->rate, why)) return false;
    options->front.rate = options->rate;
    return true;
}

/* Where it listens: for the log, and for operators. */
struct bound {
    struct net_address tcp[ADMIN_LISTENERS_MAX], stun;
    struct unix_listener admin;  // fd -1: none
};

static struct admin_addresses addresses_of(const struct config *config, const struct front_options *front,
                                           const struct bound *bound) {
    struct admin_addresses addresses = {
        .listening_count = front->listeners_count, .stun = bound->stun, .relay_port = (int32_t)config->relay_port};
    memcpy(addresses.listening, bound->tcp, sizeof(addresses.listening));
    return addresses;
}

static bool prepare(const struct config *config, struct relay *relay, struct bound *bound, char *why) {
    struct relay_options options = {
        .limits = limits_of(config),
        .ring_features = config->ring_features,
        .write_timeout_ns = (uint64_t)config->tcp_write_timeout_ns,
        .placement = config->is_spread ? PLACEMENT_SPREAD : PLACEMENT_FILL,
        .is_paced = config->is_paced,
        .reach = reach_of(config),
        .duplicates_policy = config->disables_fighters ? DUPLICATES_DISABLE_FIGHTERS : DUPLICATES_LAST_WRITER,
        .has_no_rtt = config->has_no_rtt,
        .front = {.start_wall_s = sys_wall_clock_s(), .has_rate_config = *config->rate_config != 0},
    };
    static struct certs certs;  // why: one per process, and the office's from here on
    bool is_fine = limits_init(&options.limits, sys_fd_limit(), why) && load_rate(config, &options, why) &&
                   make_key(config, &options.front, why) && load_mesh_key(config, &options.front, why) &&
                   prepare_pages(config, &options.front, why) && prepare_tokens(config, &options.front, why) &&
                   (!config->is_tls || prepare_tls(config, &options, &certs, why)) &&
                   listen_all(config, &options.front, bound->tcp, why) &&
                   listen_udp(config, &options, &bound->stun, why) &&
                   node_start_prepare(config, &options.front.node, why) &&
                   listen_admin(config, &options.admin, &bound->admin, why);
    if (is_fine) {
        options.addresses = addresses_of(config, &options.front, bound);
        options.addresses.relay_bound = max_of(options.reach.ports.ipv4, options.reach.ports.ipv6);
        options.resolver = make_resolver(config);
        is_fine = relay_init(relay, &options, sys_clock_ns(), why);
    }
    key_private_wipe(&options.front.private_key);
    key_mesh_wipe(&options.front.mesh_key);
    debug_access_wipe(&options.front.debug_access);
    nodekeys_wipe(&options.front.node.desk.keys);
    if (!is_fine) {  // else they are the front's
        tls_identity_give(options.front.identity);
        allowlist_free(options.front.node.desk.allowed);
        tokens_free(options.front.tokens);
    }
    return is_fine;
}

/* ---- running ---- */

/* A file that is wrong changes nothing. */
static void reload_rate(const struct config *config, struct relay *relay) {
    struct rate_limit rate;
    char why[RATECONF_WHY_MAX];
    if (!rateconf_load(config->rate_config, &rate, why)) {
        log_line(LOG_ERROR, "SIGHUP: %s; the limit stays as it is", why);
    } else if (!relay_set_rate(relay, &rate)) {
        log_line(LOG_WARNING, "SIGHUP: the relay is busy with the last ones; send it again");
    } else {
        log_line(LOG_INFO, "SIGHUP: each client may send %llu bytes/s, and %llu at once (0: no limit)",
                 (unsigned long long)rate.bytes_per_s, (unsigned long long)rate.burst_bytes);
    }
}

static void reload_allowed(const struct config *config, struct relay *relay) {
    struct allowlist *allowed;
    char why[ALLOWLIST_WHY_MAX];
    if (!node_start_load_allowed(config, &allowed, why)) {
        log_line(LOG_ERROR, "SIGHUP: %s; the list stays as it is", why);
    } else if (!relay_set_allowed(relay, allowed)) {
        allowlist_free(allowed);
        log_line(LOG_WARNING, "SIGHUP: the relay is busy with the last ones; send it again");
    }
}

static void reload_tokens(const struct config *config, struct relay *relay) {
    char why[TOKENS_WHY_MAX];
    struct tokens *tokens = load_tokens(config, why);
    uint32_t count = tokens_count(tokens);
    if (tokens == NULL) {
        log_line(LOG_ERROR, "SIGHUP: %s; the tokens stay as they are", why);
    } else if (!relay_set_tokens(relay, tokens)) {
        tokens_free(tokens);
        log_line(LOG_WARNING, "SIGHUP: the relay is busy with the last tokens; send it again");
    } else {
        log_line(LOG_INFO, "SIGHUP: %u token%s for the UDP relay", count, count == 1 ? "" : "s");
    }
}

static void on_hangup(const struct config *config, struct relay *relay) {
    bool has_allow_file = node_start_is_wanted(config) && *config->relay_allow_file;
    if (*config->rate_config) reload_rate(config, relay);
    if (has_allow_file) reload_allowed(config, relay);
    if (*config->relay_token_file) reload_tokens(config, relay);
    if (*config->rate_config || has_allow_file || *config->relay_token_file) return;
    log_line(LOG_INFO, "SIGHUP: nothing to do; certificates are reloaded by themselves when their files change");
}

static void wait_for_end(const sigset_t *signals, const struct config *config, struct relay *relay) {
    int number;
    for (;;) {
        CHECK(sigwait(signals, &number) == 0);
        if (number != SIGHUP) break;
        on_hangup(config, relay);
    }
    log_line(LOG_INFO, "%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
}

static int run(const struct config *config) {
    static struct relay relay;      // why: too large for a stack, one per process
    static struct threads threads;  // why: as above
    char why[CERTS_WHY_MAX];
    char text[RING_FEATURES_TEXT_MAX];
    struct bound bound = {.admin.fd = -1};
    sigset_t signals;
    log_line(LOG_INFO, "ringrelayd %s", RINGRELAY_VERSION);
    if (!prepare(config, &relay, &bound, why) ||
        !privileges_give_up(config, relay.options.certs, relay.options.admin.is_on, why)) {
        log_line(LOG_ERROR, "%s", why);
        if (bound.admin.fd >= 0) unix_listener_remove(&bound.admin);
        relay_fini(&relay);
        return EXIT_CANNOT_RUN;
    }
    if (config->is_tls) {  // before the office has it
        relay.options.certs->port = bound.tcp[0].port;
        relay.options.certs->stun_port = config->wants_stun ? bound.stun.port : -1;
    }
    log_line(LOG_INFO, "io_uring: %s", ring_features_text(ring_features(relay.rings[THREAD_WORKERS]), text));
    if (config->is_tls) log_line(LOG_INFO, "TLS records by %s", aead_backend_name());
    if (bound.admin.fd >= 0) log_line(LOG_INFO, "admin socket %s", bound.admin.path);
    if (config->is_tls) certs_log(relay.options.certs, relay.options.front.identity);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);  // before the threads, which inherit it
    threads_start(&threads, &relay);
    if (config->wants_stun) log_line(LOG_INFO, "STUN on %s", net_address_text(&bound.stun, text));
    log_line(LOG_INFO, "listening on %s (%s)", net_address_text(&bound.tcp[0], text),
             config->is_tls     ? "TLS 1.3"
             : config->is_plain ? "plain HTTP: for use behind a TLS proxy"
                                : "plain HTTP: for development and tests");
    wait_for_end(&signals, config, &relay);
    threads_stop(&threads, &relay);
    if (bound.admin.fd >= 0) unix_listener_remove(&bound.admin);
    relay_fini(&relay);
    if (config->is_tls) handshake_fini();
    return EXIT_SUCCESS;
}

static int print_budget(const struct config *config) {
    char why[CONFIG_WHY_MAX];
    struct limits limits = limits_of(config);
    if (!limits_init(&limits, sys_fd_limit(), why)) {
        fprintf(stderr, "ringrelayd: %s\n", why);
        return EXIT_CANNOT_RUN;
    }
    relay_budget_print(&limits);
    return EXIT_SUCCESS;
}

static enum log_level level_of(const char *name) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    unsigned level = 0;
    while (strcmp(names[level], name) != 0) level++;  // config_parse has checked it
    return (enum log_level)level;
}

int main(int argc, char **argv) {
    struct config config;
    char why[CONFIG_WHY_MAX];
    switch (config_parse(&config, argc, argv, why)) {
        case CONFIG_OK: break;
        case CONFIG_HELP: config_print_usage(); return EXIT_SUCCESS;
        case CONFIG_WRONG:
            fprintf(stderr, "ringrelayd: %s\nRun \"ringrelayd -h\" for the list of flags.\n", why);
            return EXIT_USAGE;
    }
    if (config.wants_version) {
        printf("%s\n", RINGRELAY_VERSION);
        return EXIT_SUCCESS;
    }
    log_set_level(level_of(config.log_level));
    int rc = sys_init();
    gojson_init();
    if (rc != 0) {
        fprintf(stderr, "ringrelayd: cannot start: %s\n", strerror(-rc));
        return EXIT_CANNOT_RUN;
    }
    return config.wants_budget ? print_budget(&config) : run(&config);
}
