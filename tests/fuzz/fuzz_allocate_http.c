/* Fuzzes relay/allocate_http, relay/admin_http and relay/tokens: requests for endpoints of the UDP relay.
 *
 * Attack surface: heads come from anybody on the internet, bodies from who has a token; files from the operator.
 * Input: byte 0 chooses what the rest is:
 *   0  a whole request on the admin socket     1  the same at the front's door, where a token is asked for
 *   2  a body                                  3  a file of tokens
 * Beyond crashes: an answer is either an endpoint that reads back or a sentence with a status of its own; no sentence
 * has the token in it; what is taken of a request is there; a body is read the same way twice.
 */
#include <jansson.h>
#include <stdlib.h>

#include "core/check.h"
#include "proto/gojson.h"
#include "relay/admin_http.h"
#include "relay/admin_query.h"

static const char token[] = "fuzz-fuzz-fuzz-fuzz";
static const uint8_t secret[TOKENS_SECRET_SIZE] = {1};
static struct arena arena;
static struct rng rng;
static struct metrics metrics;
static struct tokens *tokens;
static struct admin_facts facts = {.metrics = &metrics};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Few endpoints: soon there is no curve to be multiplied any more. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const struct net_address address = {.ip = {[10] = 0xff, 0xff, 192, 0, 2, 1}, .port = 7};
    struct allocator_options options = {.endpoints_max = 4, .unbound_max = 4};
    char why[TOKENS_WHY_MAX];
    (void)argc;
    (void)argv;
    CHECK(sys_init() == 0);
    gojson_init();
    rng_init_seeded(&rng, 1);
    CHECK(arena_init(&arena, allocator_footprint(&options)) == 0);
    facts.allocator = allocator_make(&arena, &options, &rng, NS_PER_S);
    allocator_set_addresses(facts.allocator, &address, 1);
    tokens = tokens_parse(token, sizeof(token) - 1, "FILE", secret, why);
    CHECK(tokens != NULL);
    return 0;
}

static void check_endpoint(const struct allocate_reply *reply) {
    json_t *json = json_loadb(reply->body, reply->body_size, JSON_REJECT_DUPLICATES, NULL);
    json_int_t vni = json_integer_value(json_object_get(json, "VNI"));
    CHECK(vni > 0 && vni < 1 << 24);
    CHECK(json_object_size(json) == 7 && json_array_size(json_object_get(json, "ClientDisco")) == 2);
    json_decref(json);
}

static void check_reply(const struct allocate_reply *reply) {
    CHECK(reply->body_size > 0 && reply->body_size <= sizeof(reply->body));
    CHECK(memmem(reply->body, reply->body_size, token, sizeof(token) - 1) == NULL);
    CHECK(reply->fields_count <= ALLOCATE_FIELDS_MAX && reply->is_json == (reply->status == 200));
    switch (reply->status) {
        case 200: check_endpoint(reply); return;
        case 401: CHECK(reply->is_close && reply->fields_count == 1); return;
        case 503: CHECK(*reply->retry_after); return;
        case 400:
        case 403:
        case 405: return;
        default: BUG("another status");
    }
}

static void run_admin(char *bytes, size_t size) {
    static struct admin_http http;
    static char out[64 * 1024];
    struct writer w = writer_of(out, sizeof(out));
    const char *end = memchr(bytes, '\n', size);
    if (end == NULL || !admin_http_is(bytes, (size_t)(end - bytes))) return;
    bool is_full = size % 2;
    struct admin_http_step step = admin_http_serve(&http, &facts, bytes, size, is_full, &w, NS_PER_S);
    CHECK(writer_ok(&w) && step.taken <= size);
    CHECK((step.result == ADMIN_HTTP_MORE) == ((char *)w.at == out));
    CHECK(step.result != ADMIN_HTTP_MORE || !is_full);
    CHECK(step.result == ADMIN_HTTP_MORE || step.is_close || step.taken > 0);
}

static void run_door(char *bytes, size_t size) {
    static struct http_request request;
    static struct allocate_reply reply;
    const struct allocate_door door = {.allocator = facts.allocator,
                                       .metrics = &metrics,
                                       .tokens = tokens,
                                       .limits = {.requests_per_s = 1e6, .burst = 1e6}};
    const struct token_id *who;
    struct http_scan scan = {0};
    if (http_request_parse(&scan, bytes, size, &request) != HTTP_DONE) return;
    memset(&reply, 0x55, sizeof(reply));
    if (!allocate_http_judge(&door, &request, &who, &reply)) {
        CHECK(who == NULL && reply.status != 200);
        check_reply(&reply);
        return;
    }
    CHECK(who != NULL && request.content_length <= ALLOCATE_BODY_MAX);
    if (size - request.head_size < request.content_length) return;
    allocate_http_serve(&door, who, bytes + request.head_size, (size_t)request.content_length, NS_PER_S, &reply);
    check_reply(&reply);
}

static void run_body(char *bytes, size_t size) {
    static struct allocate_reply reply;
    struct disco_key clients[2], again[2];
    char *copy = malloc(size ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    bool is_fine = allocate_http_read(bytes, size, clients, &reply);
    if (!is_fine) check_reply(&reply);
    CHECK(allocate_http_read(copy, size, again, &reply) == is_fine);
    CHECK(!is_fine || memcmp(clients, again, sizeof(clients)) == 0);
    free(copy);
}

static void run_file(const char *bytes, size_t size) {
    char why[TOKENS_WHY_MAX] = "";
    struct tokens *parsed = tokens_parse(bytes, size, "FILE", secret, why);
    CHECK((parsed == NULL) == (*why != 0));
    CHECK(tokens_count(parsed) <= TOKENS_MAX);
    bool is_there = tokens_find(parsed, token, sizeof(token) - 1) != NULL;
    CHECK(!is_there || memmem(bytes, size, token, sizeof(token) - 1) != NULL);
    tokens_free(parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > ADMIN_REQUEST_MAX) return 0;
    char *bytes = malloc(size);  // a block of its own, so that ASan sees every byte too far
    CHECK(bytes != NULL);
    memcpy(bytes, data + 1, size - 1);
    switch (data[0] % 4) {
        case 0: run_admin(bytes, size - 1); break;
        case 1: run_door(bytes, size - 1); break;
        case 2: run_body(bytes, size - 1); break;
        default: run_file(bytes, size - 1); break;
    }
    free(bytes);
    return 0;
}
