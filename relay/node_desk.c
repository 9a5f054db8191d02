#include "relay/node_desk.h"

#include <sodium.h>

#include "core/check.h"

/* A year: more than anybody waits, and far from where sums overflow. */
#define SPAN_MAX_NS (365 * 24 * 3600 * NS_PER_S)

static uint64_t span_ns(double seconds) {
    double ns = seconds * (double)NS_PER_S;
    return ns < (double)SPAN_MAX_NS ? (uint64_t)ns : SPAN_MAX_NS;
}

void node_desk_init(struct node_desk *d, const struct node_desk_options *options, struct allocator *allocator,
                    struct metrics *metrics, struct rng *rng) {
    memset(d, 0, sizeof(*d));
    d->options = *options;
    d->allocator = allocator;
    d->metrics = metrics;
    d->rng = rng;
    d->refusal_log = (struct log_limit)LOG_LIMIT(3, 6);
    double per_s = options->limits.requests_per_s;
    if (per_s > 0) {
        d->interval_ns = max_of(span_ns(1 / per_s), 1ull);
        d->slack_ns = span_ns((options->limits.burst - 1) / per_s);
    }
}

static void forget_keys(struct node_desk *d) { sodium_memzero(d->shared_keys, sizeof(d->shared_keys)); }

void node_desk_fini(struct node_desk *d) {
    forget_keys(d);
    nodekeys_wipe(&d->options.keys);
    allowlist_free(d->options.allowed);
    d->options.allowed = NULL;
}

void node_desk_set_allowed(struct node_desk *d, struct allowlist *allowed) {
    forget_keys(d);  // places are those of entries
    allowlist_free(d->options.allowed);
    d->options.allowed = allowed;
}

/* ---- refusing ---- */

static size_t refuse(struct node_desk *d, const struct node_key *from, enum udp_refuse_reason reason, uint64_t now_ns) {
    uint32_t suppressed;
    char text[KEY_SHORT_TEXT_SIZE];
    if (log_limit_allows(&d->refusal_log, now_ns, &suppressed)) {
        key_format_short(from, text);
        log_line(LOG_INFO, "UDP relay: refused a request of %s over DERP: %s (and %u others)", text,
                 udp_refuse_reason_text(reason), suppressed);
    }
    return 0;
}

static size_t count_and_refuse(struct node_desk *d, const struct node_key *from, enum udp_refuse_reason reason,
                               uint64_t now_ns) {
    allocator_count_refusal(d->metrics, reason);
    return refuse(d, from, reason, now_ns);
}

static size_t ignore(struct node_desk *d) {
    stat_add(&d->metrics->udp_node_ignored, 1);
    return 0;
}

/* ---- before the curve ---- */

/* A bucket without a fill level: until when the requester has spent what he gets in the long run. */
static bool spend(const struct node_desk *d, struct allowed *requester, uint64_t now_ns) {
    uint64_t from_ns = max_of(requester->spent_until_ns, now_ns);
    if (d->interval_ns == 0) return true;
    if (from_ns - now_ns > d->slack_ns) return false;
    requester->spent_until_ns = from_ns + d->interval_ns;
    return true;
}

static bool may_be_request(const uint8_t *data, size_t size) {
    bool has_size = size >= DISCO_OVERHEAD + DISCO_REQUEST_SIZE && size <= NODE_DESK_REQUEST_MAX;
    return has_size && disco_envelope_sender(data, size) != NULL;
}

/* ---- the box ---- */

/* NULL: theirs is a key that nobody has. A requester who takes turns with keys, or with another at his place, pays with
 * his rate. */
static const struct box_key *shared_key_of(struct node_desk *d, const struct allowed *requester,
                                           const struct disco_key *theirs) {
    size_t idx = (size_t)(requester - d->options.allowed->all);
    struct node_desk_key *place = &d->shared_keys[idx % NODE_DESK_KEYS];
    if (place->is_set && disco_key_equal(&place->theirs, theirs)) return &place->shared;
    place->is_set = disco_key_share(&place->shared, theirs, &d->options.keys.disco_private);
    place->theirs = *theirs;
    return place->is_set ? &place->shared : NULL;
}

/* `bytes` is the caller's copy, opened in place. DISCO_NONE: no message for us. */
static enum disco_type open_message(const struct box_key *shared, uint8_t *bytes, size_t size,
                                    struct disco_message *message) {
    size_t plain_size;
    const uint8_t *plain = shared ? disco_envelope_open(shared, bytes, size, &plain_size) : NULL;
    if (plain == NULL || disco_message_parse(plain, plain_size, message) != DISCO_OK) return DISCO_NONE;
    return message->type;
}

/* ---- the answer ---- */

static void write_plain(struct writer *w, const struct disco_request *request, const struct allocator_answer *a) {
    uint8_t addresses[ALLOCATOR_ADDRESSES_MAX * DISCO_ADDRESS_SIZE];
    for (size_t i = 0; i < a->addresses_count; i++) {
        disco_address_write(addresses + i * DISCO_ADDRESS_SIZE, &a->addresses[i]);
    }
    const struct disco_response response = {.generation = request->generation,
                                            .endpoint = {.server = a->server,
                                                         .clients = {a->offer.clients[0], a->offer.clients[1]},
                                                         .lamport = a->offer.lamport,
                                                         .vni = a->offer.vni,
                                                         .bind_lifetime_ns = (int64_t)a->offer.bind_lifetime_ns,
                                                         .steady_lifetime_ns = (int64_t)a->offer.steady_lifetime_ns,
                                                         .addresses = addresses,
                                                         .address_count = a->addresses_count}};
    disco_response_write(w, &response);
    CHECK(writer_ok(w));
}

static size_t seal_answer(struct node_desk *d, const struct box_key *shared, const struct disco_request *request,
                          const struct allocator_answer *a, uint8_t *answer) {
    uint8_t plain[DISCO_RESPONSE_SIZE(ALLOCATOR_ADDRESSES_MAX)];
    struct writer inner = writer_of(plain, sizeof(plain)), w = writer_of(answer, NODE_DESK_ANSWER_MAX);
    write_plain(&inner, request, a);
    disco_envelope_seal(&w, &d->options.keys.disco, shared, d->rng, plain, (size_t)(inner.at - plain));
    CHECK(writer_ok(&w));
    return (size_t)(w.at - answer);
}

static size_t grant(struct node_desk *d, const struct node_key *from, const struct box_key *shared,
                    const struct disco_request *request, uint64_t now_ns, uint8_t *answer) {
    struct allocator_answer given;
    const struct allocator_request wanted = {.requester = from->bytes,
                                             .requester_size = sizeof(from->bytes),
                                             .limits = d->options.limits,
                                             .clients = {request->clients[0], request->clients[1]}};
    if (!allocator_allocate(d->allocator, &wanted, d->metrics, now_ns, &given)) {
        return refuse(d, from, given.reason, now_ns);  // the allocator has counted it
    }
    return seal_answer(d, shared, request, &given, answer);
}

static bool is_client(const struct disco_request *request, const struct disco_key *sender) {
    return disco_key_equal(&request->clients[0], sender) || disco_key_equal(&request->clients[1], sender);
}

size_t node_desk_answer(struct node_desk *d, const struct node_key *from, const uint8_t *data, size_t size,
                        uint64_t now_ns, uint8_t answer[NODE_DESK_ANSWER_MAX]) {
    uint8_t copy[NODE_DESK_REQUEST_MAX];
    struct disco_message message;
    if (!may_be_request(data, size)) return ignore(d);
    struct allowed *requester = allowlist_find(d->options.allowed, from);
    if (requester == NULL) {  // no line in the log: anybody can have this as often as he likes
        allocator_count_refusal(d->metrics, UDP_REFUSE_NOT_ALLOWED);
        return 0;
    }
    if (!spend(d, requester, now_ns)) return count_and_refuse(d, from, UDP_REFUSE_RATE, now_ns);
    memcpy(copy, data, size);
    const struct disco_key sender = *disco_envelope_sender(copy, size);
    const struct box_key *shared = shared_key_of(d, requester, &sender);
    enum disco_type type = open_message(shared, copy, size, &message);
    bool is_request = type == DISCO_ALLOCATE_REQUEST;
    if (type != DISCO_NONE && !is_request) return ignore(d);
    if (!is_request || message.version != 0) return count_and_refuse(d, from, UDP_REFUSE_BAD_REQUEST, now_ns);
    if (!is_client(&message.request, &sender)) return count_and_refuse(d, from, UDP_REFUSE_NOT_A_CLIENT, now_ns);
    return grant(d, from, shared, &message.request, now_ns, answer);
}
