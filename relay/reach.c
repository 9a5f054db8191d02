#include "relay/reach.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "core/check.h"
#include "core/log.h"
#include "relay/lookup.h"
#include "relay/reach_book.h"
#include "relay/reach_scan.h"

enum {
    SECOND_ROUND_S = 5,
    ROUND_LEAST_S = 20,
    ROUND_MOST_S = 26,
    TRIES = 3,
    TRY_EVERY_S = 1,
    NAMES_BUDGET_S = 5,
    FAMILIES = 2,  // 0: IPv4
    ASKS_MAX = REACH_SERVERS_MAX * FAMILIES,
};

_Static_assert((int)REACH_FIXED_MAX < (int)ALLOCATOR_ADDRESSES_MAX, "there is room for some that are found");
_Static_assert((int)ASKS_MAX <= (int)REACH_MAIL_ITEMS, "a round's questions find room");

/* One question of a round: a server, at its address of one family. */
struct ask {
    struct net_address server;  // as last looked up; port 0: it has none
    struct net_address seen;
    uint64_t due_ns;  // next try, or the end of waiting for the last one
    uint8_t sent;
    bool is_armed;  // its address is settled
    bool is_answered;
};

/* A server that has a name. */
struct name {
    struct reach *reach;
    uint32_t idx;
    bool is_asked;
};

struct reach {
    struct reach_options options;
    struct reach_links links;
    struct rng *rng;
    struct reach_stun stun;  // published
    struct reach_book book;
    struct net_address told[ALLOCATOR_ADDRESSES_MAX];
    size_t told_count;
    bool has_told;
    uint64_t now_ns;
    uint64_t round_ns;  // when the next one begins
    uint64_t rounds;
    /* the round under way */
    bool is_asking;
    bool has_news;  // since clients were last told
    uint32_t first_counter;
    struct ask asks[ASKS_MAX];  // of server i: 2 i for IPv4, 2 i + 1 for IPv6
    struct name names[REACH_SERVERS_MAX];
    uint32_t names_waiting;
    uint64_t names_end_ns;
    ares_channel channel;
    bool has_channel;
    /* what was said */
    bool is_silence_known;
    struct log_limit log_limit;
};

/* ---- telling ---- */

static void log_told(const struct reach *r) {
    char line[LOG_LINE_MAX], text[NET_ADDRESS_TEXT_MAX];
    size_t size = 0;
    for (size_t i = 0; i < r->told_count && size < sizeof(line); i++) {
        size += (size_t)snprintf(line + size, sizeof(line) - size, "%s%s", i ? ", " : "",
                                 net_address_text(&r->told[i], text));
    }
    if (r->told_count > 0) {
        log_line(LOG_INFO, "UDP relay: clients are told %s", line);
    } else {
        log_line(LOG_WARNING, "UDP relay: no address is known that clients could send to, so nobody gets an endpoint; "
                              "-relay-static-endpoints names one");
    }
}

static bool is_told(const struct reach *r, const struct net_address *list, size_t count) {
    return r->has_told && count == r->told_count && (count == 0 || memcmp(list, r->told, count * sizeof(*list)) == 0);
}

/* The operator's, then what was found. */
static void tell(struct reach *r, const struct reach_book *book) {
    struct net_address list[ALLOCATOR_ADDRESSES_MAX];
    size_t count = 0;
    reach_list_add_fixed(list, &count, ALLOCATOR_ADDRESSES_MAX, &r->options.fixed, &r->options.ports);
    reach_book_list(book, list, &count, ALLOCATOR_ADDRESSES_MAX);
    if (is_told(r, list, count)) return;
    memcpy(r->told, list, count * sizeof(*list));
    r->told_count = count;
    r->has_told = true;
    allocator_set_addresses(r->links.allocator, list, count);
    log_told(r);
}

/* ---- interfaces ---- */

static void warn(struct reach *r, const char *what, const char *why, const char *consequence) {
    uint32_t suppressed;
    if (!log_limit_allows(&r->log_limit, r->now_ns, &suppressed)) return;
    log_line(LOG_WARNING, "UDP relay: %s: %s; %s (and %u more such lines)", what, why, consequence, suppressed);
}

static void confirm_interface(struct reach *r, const struct net_address *address) {
    reach_book_confirm(&r->book, REACH_BY_INTERFACE, address);
}

static int scan(struct reach *r) {
    struct reach_link links[REACH_LINKS_MAX];
    struct net_address picked[REACH_PICK_MAX];
    size_t links_count;
    int rc = r->options.scan ? r->options.scan(links, &links_count) : reach_scan(links, &links_count);
    if (rc != 0) return rc;
    size_t count = reach_pick(links, links_count, &r->options.ports, picked);
    for (size_t i = 0; i < count; i++) confirm_interface(r, &picked[i]);
    return 0;
}

/* The one that the sockets are bound to. */
static int confirm_bound(struct reach *r) {
    struct net_address address = r->options.where.address;
    address.port = reach_port_for(&r->options.ports, &address);
    if (address.port != 0) confirm_interface(r, &address);
    return 0;
}

static void look_at_interfaces(struct reach *r) {
    int rc = r->options.where.is_wildcard ? scan(r) : confirm_bound(r);
    if (rc != 0) {
        warn(r, "cannot read the addresses of the interfaces", strerror(-rc),
             "-relay-static-endpoints names some, -relay-no-discovery stops this");
    }
    reach_book_end_round(&r->book, REACH_BY_INTERFACE, rc != 0);
}

/* ---- names ---- */

static uint16_t port_of_family(const struct reach *r, unsigned family) {
    return family ? r->options.ports.ipv6 : r->options.ports.ipv4;
}

static void arm(struct reach *r, uint32_t server_idx) {
    for (unsigned family = 0; family < FAMILIES; family++) {
        struct ask *ask = &r->asks[server_idx * FAMILIES + family];
        ask->is_armed = ask->server.port != 0 && port_of_family(r, family) != 0;
        ask->due_ns = r->now_ns;
    }
}

static void set_server(struct reach *r, uint32_t server_idx, const struct net_address *address) {
    unsigned family = !net_address_is_ipv4(address);
    struct ask *ask = &r->asks[server_idx * FAMILIES + family];
    ask->server = *address;
    ask->server.port = r->options.servers.servers[server_idx].port;
}

/* The first address of each family. */
static void set_found(struct reach *r, uint32_t server_idx, const struct ares_addrinfo *found) {
    bool has_family[FAMILIES] = {false};
    for (unsigned family = 0; family < FAMILIES; family++) r->asks[server_idx * FAMILIES + family].server.port = 0;
    for (const struct ares_addrinfo_node *node = found->nodes; node; node = node->ai_next) {
        struct net_address address = lookup_address(node->ai_addr);
        bool *has_it = &has_family[!net_address_is_ipv4(&address)];
        if (!*has_it) set_server(r, server_idx, &address);
        *has_it = true;
    }
}

/* Also when the channel ends, or was told to give up. */
static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *found) {
    struct name *name = arg;
    struct reach *r = name->reach;
    (void)timeouts;
    if (name->is_asked) {
        name->is_asked = false;
        r->names_waiting--;
        if (status == ARES_SUCCESS) {
            set_found(r, name->idx, found);
        } else {
            warn(r, r->options.servers.servers[name->idx].host, ares_strerror(status),
                 "this STUN server is asked where it was before, if anywhere");
        }
        arm(r, name->idx);
    }
    if (found) ares_freeaddrinfo(found);
}

/* Servers that are named by their address have it from the start. */
static void look_up_names(struct reach *r) {
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    for (uint32_t i = 0; i < r->options.servers.count; i++) {
        struct name *name = &r->names[i];
        if (name->reach == NULL || !r->has_channel) {
            arm(r, i);
            continue;
        }
        name->is_asked = true;
        r->names_waiting++;
        ares_getaddrinfo(r->channel, r->options.servers.servers[i].host, NULL, &hints, on_addresses, name);
    }
}

static void open_channel(struct reach *r) {
    if (!reach_servers_have_names(&r->options.servers)) return;
    int status = lookup_open(&r->channel, r->options.name_servers);
    r->has_channel = status == ARES_SUCCESS;
    if (!r->has_channel) warn(r, "cannot look up STUN servers", ares_strerror(status), "trying again next time");
}

static void close_channel(struct reach *r) {
    if (r->has_channel) ares_destroy(r->channel);
    r->has_channel = false;
}

static void go_on_with_names(struct reach *r) {
    if (r->names_waiting > 0) lookup_process(r->channel);
    if (r->names_waiting > 0 && r->now_ns >= r->names_end_ns) ares_cancel(r->channel);
    if (r->names_waiting == 0) close_channel(r);
}

/* ---- questions ---- */

static bool is_under_way(const struct ask *ask) { return ask->is_armed && !ask->is_answered; }

/* A full lane is as good as a lost datagram, but known at once. */
static void send_one(struct reach *r, uint32_t idx) {
    struct ask *ask = &r->asks[idx];
    struct mail mail = {.kind = MAIL_STUN_ASK, .reach.address = ask->server};
    reach_stun_transaction(&r->stun, r->first_counter + idx, &ask->server, mail.reach.transaction);
    bool is_mailed = lane_push(r->links.to_udp, &mail);
    ask->sent++;
    ask->due_ns = r->now_ns + TRY_EVERY_S * NS_PER_S / (is_mailed ? 1 : 10);
}

static void send_due(struct reach *r) {
    for (uint32_t i = 0; i < ASKS_MAX; i++) {
        struct ask *ask = &r->asks[i];
        if (!is_under_way(ask) || ask->due_ns > r->now_ns) continue;
        if (ask->sent < TRIES) {
            send_one(r, i);
        } else {
            ask->is_armed = false;
        }
    }
}

void reach_on_seen(struct reach *r, const struct reach_mail *mail) {
    uint32_t idx = reach_stun_counter(mail->transaction) - r->first_counter;
    if (!r->is_asking || idx >= ASKS_MAX) return;
    struct ask *ask = &r->asks[idx];
    bool is_same_family = net_address_is_ipv4(&mail->address) == net_address_is_ipv4(&ask->server);
    if (!is_under_way(ask) || !is_same_family || !reach_is_public_enough(&mail->address)) return;
    ask->seen = mail->address;
    ask->is_answered = true;
    r->has_news = true;
}

/* ---- answers ---- */

static unsigned seen_alike(const struct reach *r, const struct net_address *seen) {
    unsigned count = 0;
    for (uint32_t i = 0; i < ASKS_MAX; i++) count += r->asks[i].is_answered && reach_is_same(&r->asks[i].seen, seen);
    return count;
}

/* Returns how many servers have answered. */
static unsigned confirm_family(const struct reach *r, unsigned family, struct reach_book *book) {
    const struct net_address *first = NULL;
    unsigned answers = 0;
    bool varies = false;
    for (uint32_t i = family; i < ASKS_MAX; i += FAMILIES) {
        const struct ask *ask = &r->asks[i];
        if (!ask->is_answered) continue;
        answers++;
        if (first == NULL) first = &ask->seen;
        varies = varies || !reach_is_same(first, &ask->seen);
        if (first == &ask->seen || seen_alike(r, &ask->seen) > 1) reach_book_confirm(book, REACH_BY_STUN, &ask->seen);
    }
    if (varies && family == 0) {
        struct net_address forwarded = *first;
        forwarded.port = r->options.ports.ipv4;
        reach_book_confirm(book, REACH_BY_STUN, &forwarded);
    }
    return answers;
}

static unsigned confirm_answers(const struct reach *r, struct reach_book *book) {
    unsigned answers = 0;
    for (unsigned family = 0; family < FAMILIES; family++) answers += confirm_family(r, family, book);
    return answers;
}

static void log_silence(struct reach *r, bool is_silent) {
    if (is_silent == r->is_silence_known) return;
    r->is_silence_known = is_silent;
    if (is_silent) {
        log_line(LOG_WARNING, "UDP relay: no STUN server answers%s; are they right, and may UDP leave?",
                 reach_book_has(&r->book, REACH_BY_STUN) ? "; what they said before is kept" : "");
    } else {
        log_line(LOG_INFO, "UDP relay: STUN servers answer again");
    }
}

/* ---- rounds ---- */

static void begin_asking(struct reach *r) {
    if (r->options.servers.count == 0 || r->links.to_udp == NULL) return;
    r->is_asking = true;
    r->has_news = false;
    r->first_counter += ASKS_MAX;
    for (uint32_t i = 0; i < ASKS_MAX; i++) r->asks[i] = (struct ask){.server = r->asks[i].server};
    reach_stun_open(&r->stun, r->first_counter, r->first_counter + ASKS_MAX);
    r->names_end_ns = r->now_ns + NAMES_BUDGET_S * NS_PER_S;
    open_channel(r);
    look_up_names(r);
}

static void end_asking(struct reach *r) {
    reach_stun_open(&r->stun, 0, 0);
    r->is_asking = false;
    bool is_silent = confirm_answers(r, &r->book) == 0;
    reach_book_end_round(&r->book, REACH_BY_STUN, is_silent);
    log_silence(r, is_silent);
    tell(r, &r->book);
}

static bool has_questions(const struct reach *r) {
    for (uint32_t i = 0; i < ASKS_MAX; i++) {
        if (is_under_way(&r->asks[i])) return true;
    }
    return r->names_waiting > 0;
}

/* As long as no round is over, which may take seconds. Nothing of this stays: the order of arrival does not count. */
static void tell_first_answers(struct reach *r) {
    struct reach_book book = r->book;
    if (!r->has_news || reach_book_has(&r->book, REACH_BY_STUN)) return;
    r->has_news = false;
    (void)confirm_answers(r, &book);
    tell(r, &book);
}

static void go_on_asking(struct reach *r) {
    go_on_with_names(r);
    send_due(r);
    if (has_questions(r)) {
        tell_first_answers(r);
    } else {
        end_asking(r);
    }
}

static void begin_round(struct reach *r) {
    uint64_t random_ns = rng_below(r->rng, (ROUND_MOST_S - ROUND_LEAST_S) * NS_PER_S);
    r->round_ns = r->now_ns + (r->rounds == 0 ? SECOND_ROUND_S * NS_PER_S : ROUND_LEAST_S * NS_PER_S + random_ns);
    look_at_interfaces(r);
    begin_asking(r);
    if (r->book.count > 0 || !r->is_asking) tell(r, &r->book);
    r->rounds++;
}

static uint64_t next_ns(const struct reach *r) {
    if (!r->is_asking) return r->round_ns;
    uint64_t next_ns = r->names_waiting > 0 ? r->now_ns + LOOKUP_POLL_MS * NS_PER_MS : TIME_NEVER;
    for (uint32_t i = 0; i < ASKS_MAX; i++) {
        if (is_under_way(&r->asks[i])) next_ns = min_of(next_ns, r->asks[i].due_ns);
    }
    return next_ns;
}

uint64_t reach_step(struct reach *r, uint64_t now_ns) {
    r->now_ns = now_ns;
    if (r->options.has_no_discovery) return TIME_NEVER;
    if (!r->is_asking && now_ns >= r->round_ns) begin_round(r);
    if (r->is_asking) go_on_asking(r);
    return next_ns(r);
}

/* ---- life ---- */

size_t reach_footprint(void) { return arena_cost(sizeof(struct reach)); }

/* A server that is named by its address needs no look-up. */
static void prepare_server(struct reach *r, uint32_t idx) {
    struct net_address address;
    if (reach_server_address(&r->options.servers.servers[idx], &address)) {
        set_server(r, idx, &address);
    } else {
        r->names[idx] = (struct name){.reach = r, .idx = idx};
    }
}

struct reach *reach_make(struct arena *arena, const struct reach_options *options, const struct reach_links *links,
                         struct rng *rng, uint64_t now_ns) {
    struct reach *r = arena_take(arena, sizeof(*r));
    memset(r, 0, sizeof(*r));
    r->options = *options;
    r->links = *links;
    r->rng = rng;
    r->now_ns = r->round_ns = now_ns;
    r->log_limit = (struct log_limit)LOG_LIMIT(3, 2);
    reach_stun_init(&r->stun, rng);
    r->first_counter = (uint32_t)rng_u64(rng);
    for (uint32_t i = 0; i < r->options.servers.count; i++) prepare_server(r, i);
    CHECK(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
    if (r->options.fixed.count > 0 || r->options.has_no_discovery) tell(r, &r->book);
    return r;
}

void reach_fini(struct reach *r) {
    if (r == NULL) return;
    for (uint32_t i = 0; i < REACH_SERVERS_MAX; i++) r->names[i].is_asked = false;
    close_channel(r);
    ares_library_cleanup();
}

const struct reach_stun *reach_stun(const struct reach *r) { return &r->stun; }
