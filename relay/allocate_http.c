#include "relay/allocate_http.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/check.h"
#include "proto/gojson.h"

/* ---- replies ---- */

static bool refuse(struct allocate_reply *reply, uint16_t status, const char *format, ...) printf_like(3, 4);

static bool refuse(struct allocate_reply *reply, uint16_t status, const char *format, ...) {
    va_list args;
    *reply = (struct allocate_reply){.status = status};
    va_start(args, format);
    int size = vsnprintf(reply->body, sizeof(reply->body) - 1, format, args);
    va_end(args);
    CHECK(size > 0 && (size_t)size < sizeof(reply->body) - 1);
    reply->body[size] = '\n';
    reply->body_size = (size_t)size + 1;
    return false;
}

static void add_field(struct allocate_reply *reply, const char *name, const char *value) {
    CHECK(reply->fields_count < ALLOCATE_FIELDS_MAX);
    reply->fields[reply->fields_count++] = (struct http_field){name, value};
}

struct http_response allocate_http_response(const struct allocate_reply *reply) {
    return (struct http_response){.status = reply->status,
                                  .content_type = reply->is_json ? "application/json" : "text/plain; charset=utf-8",
                                  .fields = reply->fields,
                                  .field_count = reply->fields_count,
                                  .body = reply->body,
                                  .body_size = reply->body_size,
                                  .is_close = reply->is_close};
}

/* ---- the head ---- */

static void count(const struct allocate_door *door, enum udp_refuse_reason reason) {
    if (door->allocator) allocator_count_refusal(door->metrics, reason);
}

/* The token behind "Bearer", in any case; empty: there is none. */
static struct http_view bearer_of(const struct http_request *request) {
    static const char scheme[] = "Bearer ";
    const struct http_view *value = http_header_find(&request->headers, "Authorization");
    struct http_view none = {.at = "", .size = 0};
    if (value == NULL || value->size < sizeof(scheme)) return none;
    struct http_view start = {.at = value->at, .size = sizeof(scheme) - 1};
    if (!http_view_is_nocase(start, scheme)) return none;
    struct http_view token = {.at = value->at + start.size, .size = value->size - start.size};
    while (token.size > 0 && *token.at == ' ') token.at++, token.size--;
    return token;
}

static bool refuse_stranger(const struct allocate_door *door, struct allocate_reply *reply, uint16_t status,
                            const char *text) {
    count(door, UDP_REFUSE_NOT_ALLOWED);
    (void)refuse(reply, status, "%s", text);
    reply->is_close = true;
    if (status == 401) add_field(reply, "WWW-Authenticate", "Bearer realm=\"ringrelay\"");
    return false;
}

static bool judge_token(const struct allocate_door *door, const struct http_request *request,
                        const struct token_id **who, struct allocate_reply *reply) {
    *who = NULL;
    if (door->is_trusted) return true;
    if (door->tokens == NULL) {
        return refuse_stranger(door, reply, 403,
                               "this relay gives no endpoints by HTTP: it runs without -relay-token-file");
    }
    struct http_view token = bearer_of(request);
    if (token.size == 0) {
        return refuse_stranger(door, reply, 401, "a token is needed: send \"Authorization: Bearer TOKEN\"");
    }
    *who = tokens_find(door->tokens, token.at, token.size);
    if (*who) return true;
    return refuse_stranger(door, reply, 403, "this token is not in the relay's -relay-token-file");
}

static bool judge_length(const struct allocate_door *door, const struct http_request *request,
                         struct allocate_reply *reply) {
    bool is_chunked = request->has_body && request->content_length == 0;
    if (!is_chunked && request->content_length <= ALLOCATE_BODY_MAX) return true;
    count(door, UDP_REFUSE_BAD_REQUEST);
    return refuse(reply, 400, "the body has to be of at most %d bytes, with a Content-Length", ALLOCATE_BODY_MAX);
}

bool allocate_http_judge(const struct allocate_door *door, const struct http_request *request,
                         const struct token_id **who, struct allocate_reply *reply) {
    *who = NULL;
    if (door->allocator == NULL) return refuse(reply, 404, "this relay has no UDP relay: it runs without -relay-port");
    if (request->method != HTTP_POST) {
        (void)refuse(reply, 405, "POST {\"DiscoKeys\":[\"discokey:..\",\"discokey:..\"]}");
        add_field(reply, "Allow", "POST");
        return false;
    }
    if (judge_token(door, request, who, reply) && judge_length(door, request, reply)) return true;
    *who = NULL;
    return false;
}

/* ---- the body ---- */

/* As Go: null leaves a key zero. */
static bool read_key(const json_t *value, struct disco_key *key) {
    *key = (struct disco_key){{0}};
    if (json_is_null(value)) return true;
    const char *text = json_string_value(value);
    return text && disco_key_parse(text, json_string_length(value), key) == KEY_OK;
}

/* One "DiscoKeys": of several the last counts, and all have to be good. */
static bool read_keys(const json_t *value, struct disco_key clients[2], size_t *keys_count) {
    size_t i;
    const json_t *item;
    struct disco_key surplus;
    *keys_count = json_array_size(value);
    json_array_foreach(value, i, item) {
        if (!read_key(item, i < 2 ? &clients[i] : &surplus)) return false;
    }
    return json_is_array(value) || json_is_null(value);
}

bool allocate_http_read(char *body, size_t size, struct disco_key clients[2], struct allocate_reply *reply) {
    struct gojson doc;
    size_t keys_count = 0;
    bool is_fine = true;
    if (!gojson_open(&doc, body, size)) {
        return refuse(reply, 400, "the body is no JSON object: send {\"DiscoKeys\":[\"discokey:..\",\"discokey:..\"]}");
    }
    for (size_t i = 0; i < doc.count && is_fine; i++) {
        if (!gojson_name_is(gojson_name(&doc, i), "DiscoKeys")) continue;
        is_fine = read_keys(gojson_value(&doc, i), clients, &keys_count);
    }
    gojson_close(&doc);
    if (!is_fine) return refuse(reply, 400, "DiscoKeys takes texts of \"discokey:\" and 64 hex digits");
    if (keys_count != 2) return refuse(reply, 400, "DiscoKeys has to name exactly two keys");
    return true;
}

/* ---- the answer ---- */

/* "1.5" of 1500 with three digits behind the point; without a fraction no point. */
static int fraction_text(uint64_t n, uint64_t unit, int digits, char *text, size_t room) {
    char rest[16];
    snprintf(rest, sizeof(rest), "%0*" PRIu64, digits, n % unit);
    size_t size = (size_t)digits;
    while (size > 0 && rest[size - 1] == '0') size--;
    return snprintf(text, room, "%" PRIu64 "%s%.*s", n / unit, size ? "." : "", (int)size, rest);
}

const char *go_duration_text(uint64_t ns, char text[GO_DURATION_TEXT_MAX]) {
    static const struct {
        uint64_t unit;
        int digits;
        const char *name;
    } units[] = {{NS_PER_S, 9, "s"}, {NS_PER_MS, 6, "ms"}, {NS_PER_US, 3, "\u00b5s"}, {1, 0, "ns"}};
    uint64_t minutes = ns / (60 * NS_PER_S), hours = minutes / 60;
    size_t unit = 0;
    char *at = text, *end = text + GO_DURATION_TEXT_MAX;
    while (ns > 0 && unit + 1 < array_count(units) && ns < units[unit].unit) unit++;
    if (hours) at += snprintf(at, (size_t)(end - at), "%" PRIu64 "h", hours);
    if (minutes) at += snprintf(at, (size_t)(end - at), "%" PRIu64 "m", minutes % 60);
    uint64_t rest = ns % (60 * NS_PER_S);
    at += fraction_text(rest, units[unit].unit, units[unit].digits, at, (size_t)(end - at));
    snprintf(at, (size_t)(end - at), "%s", units[unit].name);
    return text;
}

static void write_key(struct writer *w, const struct disco_key *key, const char *end) {
    char text[DISCO_KEY_TEXT_SIZE];
    disco_key_format(key, text);
    writer_text(w, "\"");
    writer_text(w, text);
    writer_text(w, end);
}

static void write_addresses(struct writer *w, const struct allocator_answer *answer) {
    for (size_t i = 0; i < answer->addresses_count; i++) {
        char text[NET_ADDRESS_TEXT_MAX];
        writer_text(w, i ? ",\"" : "\"");
        writer_text(w, net_address_text(&answer->addresses[i], text));
        writer_text(w, "\"");
    }
}

/* By hand, in Go's order: a Lamport id may be larger than jansson's numbers, and no value has to be escaped. */
void allocate_http_write(struct writer *w, const struct allocator_answer *answer) {
    const struct vni_offer *offer = &answer->offer;
    char bind[GO_DURATION_TEXT_MAX], steady[GO_DURATION_TEXT_MAX], text[256];
    writer_text(w, "{\"ServerDisco\":");
    write_key(w, &answer->server, "\",\"ClientDisco\":[");
    write_key(w, &offer->clients[0], "\",");
    write_key(w, &offer->clients[1], "\"],");
    snprintf(text, sizeof(text), "\"LamportID\":%" PRIu64 ",\"AddrPorts\":[", offer->lamport);
    writer_text(w, text);
    write_addresses(w, answer);
    snprintf(text, sizeof(text), "],\"VNI\":%" PRIu32 ",\"BindLifetime\":\"%s\",\"SteadyStateLifetime\":\"%s\"}",
             offer->vni, go_duration_text(offer->bind_lifetime_ns, bind),
             go_duration_text(offer->steady_lifetime_ns, steady));
    writer_text(w, text);
}

/* What can be mended by asking for something else is the asker's fault, what passes is 503, the rest is ours. */
static uint16_t status_of(const struct allocator_answer *answer) {
    if (answer->retry_after_s) return 503;
    switch (answer->reason) {
        case UDP_REFUSE_ZERO_KEY:
        case UDP_REFUSE_WEAK_KEY:
        case UDP_REFUSE_EQUAL_KEYS:
        case UDP_REFUSE_SERVER_KEY: return 400;
        default: return 500;
    }
}

static const char *advice_for(uint16_t status) {
    return status == 503 ? "; ask again later" : (status == 400 ? "; send the keys of two clients" : "");
}

void allocate_http_tell(bool is_granted, const struct allocator_answer *answer, struct allocate_reply *reply) {
    if (!is_granted) {
        uint16_t status = status_of(answer);
        (void)refuse(reply, status, "%s%s", udp_refuse_reason_text(answer->reason), advice_for(status));
        if (status != 503) return;
        snprintf(reply->retry_after, sizeof(reply->retry_after), "%" PRIu32, answer->retry_after_s);
        add_field(reply, "Retry-After", reply->retry_after);
        return;
    }
    *reply = (struct allocate_reply){.status = 200, .is_json = true};
    struct writer w = writer_of(reply->body, sizeof(reply->body));
    allocate_http_write(&w, answer);
    writer_text(&w, "\n");
    CHECK(writer_ok(&w));
    reply->body_size = (size_t)((char *)w.at - reply->body);
}

void allocate_http_serve(const struct allocate_door *door, const struct token_id *who, char *body, size_t size,
                         uint64_t now_ns, struct allocate_reply *reply) {
    struct allocator_request request = {
        .requester = who ? who->bytes : NULL, .requester_size = who ? sizeof(who->bytes) : 0, .limits = door->limits};
    struct allocator_answer answer;
    if (!allocate_http_read(body, size, request.clients, reply)) {
        count(door, UDP_REFUSE_BAD_REQUEST);
        return;
    }
    bool is_granted = allocator_allocate(door->allocator, &request, door->metrics, now_ns, &answer);
    allocate_http_tell(is_granted, &answer, reply);
}
