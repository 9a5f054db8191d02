#include "relay/resolver.h"

#include <arpa/nameser.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/log.h"
#include "relay/lookup.h"

enum {
    ROUND_EVERY_S = 600,
    LIST_BUDGET_S = 60,
};

enum state { RESTING, NEXT_NAME, WAITING, NEXT_PERCENT };

struct resolver {
    struct resolver_options options;
    struct rng *rng;
    ares_channel channel;
    bool has_channel;
    enum state state;
    uint64_t round_ns;      // when the next round begins
    uint64_t list_end_ns;   // this list's minute
    unsigned list_idx;      // 0: published, 1: hidden
    const char *at;         // what is left of the list
    struct bootstrap_item item;
    struct bootstrap_table *table;  // in the making
};

static const char *list_of(const struct resolver *r) {
    const char *list = r->list_idx == 0 ? r->options.published : r->options.hidden;
    return list ? list : "";
}

struct resolver *resolver_new(const struct resolver_options *options, struct rng *rng, uint64_t now_ns) {
    bool has_any = (options->published && *options->published) || (options->hidden && *options->hidden);
    if (!has_any || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) return NULL;
    struct resolver *r = calloc(1, sizeof(*r));
    if (r == NULL) return NULL;
    r->options = *options;
    r->rng = rng;
    r->round_ns = now_ns;
    return r;
}

static void end_channel(struct resolver *r) {
    if (r->has_channel) ares_destroy(r->channel);
    r->has_channel = false;
}

void resolver_free(struct resolver *r) {
    if (r == NULL) return;
    end_channel(r);
    free(r->table);
    free(r);
    ares_library_cleanup();
}

/* ---- answers ---- */

static struct bootstrap_name *current(struct resolver *r) { return &r->table->names[r->table->names_count]; }

static void add_address(struct bootstrap_name *name, const struct sockaddr *from) {
    if (name->addresses_count == BOOTSTRAP_ADDRESSES_MAX) return;
    name->addresses[name->addresses_count++] = lookup_address(from);
}

/* Answers that come because the channel ends find the state changed, and are nobody's. */
static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *found) {
    struct resolver *r = arg;
    (void)timeouts;
    if (status == ARES_SUCCESS && r->state == WAITING) {
        struct bootstrap_name *name = current(r);
        *name = (struct bootstrap_name){.percent = 100};
        memcpy(name->name, r->item.name, sizeof(name->name));
        for (const struct ares_addrinfo_node *node = found->nodes; node; node = node->ai_next) {
            add_address(name, node->ai_addr);
        }
    }
    if (found) ares_freeaddrinfo(found);
    if (r->state != WAITING) return;
    if (status != ARES_SUCCESS) {
        log_line(LOG_WARNING, "bootstrap DNS: %s: %s", r->item.name, ares_strerror(status));
        r->state = NEXT_NAME;
    } else {
        r->state = NEXT_PERCENT;
    }
}

/* The last number from 0 to 100 counts. */
static uint8_t percent_of(const struct ares_txt_reply *replies) {
    uint8_t percent = 0;
    for (; replies; replies = replies->next) {
        bool is_percent;
        uint8_t value = bootstrap_percent_parse((const char *)replies->txt, replies->length, &is_percent);
        if (is_percent) percent = value;
    }
    return percent;
}

static void keep_name(struct resolver *r) {
    if (current(r)->addresses_count > 0) r->table->names_count++;
    r->state = NEXT_NAME;
}

static void on_percent(void *arg, int status, int timeouts, unsigned char *answer, int size) {
    struct resolver *r = arg;
    struct ares_txt_reply *replies = NULL;
    (void)timeouts;
    if (r->state != WAITING) return;
    if (status == ARES_SUCCESS) status = ares_parse_txt_reply(answer, size, &replies);
    if (status != ARES_SUCCESS) {
        log_line(LOG_WARNING, "bootstrap DNS: %s: %s; %s is told to nobody", r->item.percent_name,
                 ares_strerror(status), r->item.name);
    }
    current(r)->percent = percent_of(replies);
    if (replies) ares_free_data(replies);
    keep_name(r);
}

/* ---- questions ---- */

/* May be answered before it returns: from /etc/hosts. */
static void ask_addresses(struct resolver *r) {
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    r->state = WAITING;
    ares_getaddrinfo(r->channel, r->item.name, NULL, &hints, on_addresses, r);
}

static void ask_percent(struct resolver *r) {
    if (r->item.percent_name[0] == '\0') {
        keep_name(r);
        return;
    }
    r->state = WAITING;
    current(r)->percent = 0;
    ares_query(r->channel, r->item.percent_name, ns_c_in, ns_t_txt, on_percent, r);
}

static bool begin_channel(struct resolver *r) {
    int status = lookup_open(&r->channel, r->options.servers);
    r->has_channel = status == ARES_SUCCESS;
    if (r->has_channel) return true;
    log_line(LOG_ERROR, "bootstrap DNS: cannot begin: %s; trying again in %d s", ares_strerror(status), ROUND_EVERY_S);
    return false;
}

/* ---- rounds ---- */

static bool begin_list(struct resolver *r, unsigned idx, uint64_t now_ns) {
    r->list_idx = idx;
    r->at = list_of(r);
    if (*r->at == '\0') return false;
    r->table = calloc(1, sizeof(*r->table));
    if (r->table == NULL) return false;
    r->table->is_published = idx == 0;
    r->list_end_ns = now_ns + LIST_BUDGET_S * NS_PER_S;
    r->state = NEXT_NAME;
    return true;
}

static void begin_next_list(struct resolver *r, unsigned idx, uint64_t now_ns) {
    while (idx < BOOTSTRAP_LISTS_MAX && !begin_list(r, idx, now_ns)) idx++;
    if (idx < BOOTSTRAP_LISTS_MAX) return;
    end_channel(r);
    r->state = RESTING;
    r->round_ns = now_ns + ROUND_EVERY_S * NS_PER_S;
}

static void begin_round(struct resolver *r, uint64_t now_ns) {
    if (begin_channel(r)) {
        begin_next_list(r, 0, now_ns);
    } else {
        r->round_ns = now_ns + ROUND_EVERY_S * NS_PER_S;
    }
}

/* The list is done: its table is handed out. */
static struct bootstrap_table *end_list(struct resolver *r, uint64_t now_ns) {
    struct bootstrap_table *table = r->table;
    r->table = NULL;
    if (table->is_published) bootstrap_shuffle(table, r->rng);
    begin_next_list(r, r->list_idx + 1, now_ns);
    return table;
}

static void next_name(struct resolver *r, struct bootstrap_table **ret, uint64_t now_ns) {
    bool is_fine;
    bool has_time = now_ns < r->list_end_ns && r->table->names_count < BOOTSTRAP_NAMES_MAX;
    if (!has_time || !bootstrap_take_item(&r->at, &r->item, &is_fine)) {
        *ret = end_list(r, now_ns);
    } else if (is_fine) {
        ask_addresses(r);
    }
}

static void wait_for_answer(struct resolver *r, uint64_t now_ns) {
    lookup_process(r->channel);
    if (r->state == WAITING && now_ns >= r->list_end_ns) ares_cancel(r->channel);
}

uint64_t resolver_step(struct resolver *r, uint64_t now_ns, struct bootstrap_table **ret) {
    *ret = NULL;
    if (r->state == RESTING && now_ns < r->round_ns) return r->round_ns;
    switch (r->state) {
        case RESTING: begin_round(r, now_ns); break;
        case NEXT_NAME: next_name(r, ret, now_ns); break;
        case NEXT_PERCENT: ask_percent(r); break;
        case WAITING: wait_for_answer(r, now_ns); break;
    }
    if (r->state == RESTING) return r->round_ns;
    return r->state == WAITING ? now_ns + LOOKUP_POLL_MS * NS_PER_MS : now_ns;
}
