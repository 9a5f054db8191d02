/* Fuzzes proto/stun: requests and answers.
 *
 * Attack surface: any datagram that reaches the port of STUN, from anybody; any that reaches a client that has asked.
 * Input: the datagram; as answer it is read for the transaction that it carries itself, which is what an attacker who
 * sees the request would send.
 * Beyond crashes: a request that is taken is taken again when its fingerprint is made anew, and not when a byte before
 * it differs; the answer to it is read back as what was written; an address that was read is read again from an answer
 * that is made of it.
 */
#include <stdlib.h>

#include "core/bytes.h"
#include "core/check.h"
#include "proto/stun.h"

/* In a block of exactly that size, so that ASan sees every byte too far. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy != NULL);
    if (size) memcpy(copy, bytes, size);
    return copy;
}

static void check_answer(const uint8_t *transaction, const struct net_address *client) {
    uint8_t answer[STUN_ANSWER_SIZE_MAX];
    struct net_address again;
    size_t size = stun_answer_write(answer, transaction, client);
    CHECK(size == (net_address_is_ipv4(client) ? 32 : 44));
    CHECK(stun_answer_parse(answer, size, transaction, &again));
    CHECK(memcmp(again.ip, client->ip, sizeof(again.ip)) == 0 && again.port == client->port);
}

static void fuzz_request(const uint8_t *data, size_t size) {
    uint8_t transaction[STUN_TRANSACTION_SIZE], made[STUN_REQUEST_SIZE];
    uint8_t *bytes = copy_of(data, size);
    if (stun_request_parse(bytes, size, transaction)) {
        CHECK(size >= STUN_REQUEST_SIZE && size % 4 == 0);
        CHECK(memcmp(transaction, bytes + 8, sizeof(transaction)) == 0);
        check_answer(transaction, &(struct net_address){.ip = {[10] = 0xff, [11] = 0xff, 1, 2, 3, 4}, .port = 5});
        bytes[transaction[0] % (size - 8)] ^= 1;
        CHECK(!stun_request_parse(bytes, size, made));
    }
    free(bytes);
}

static void fuzz_answer(const uint8_t *data, size_t size) {
    struct net_address client;
    uint8_t transaction[STUN_TRANSACTION_SIZE] = {0};
    uint8_t *bytes = copy_of(data, size);
    if (size >= 20) memcpy(transaction, bytes + 8, sizeof(transaction));
    if (stun_answer_parse(bytes, size, transaction, &client)) {
        check_answer(transaction, &client);
        transaction[11] ^= 1;
        CHECK(!stun_answer_parse(bytes, size, transaction, &client));
    }
    free(bytes);
}

/* The bytes as transaction and address. */
static void fuzz_round_trip(const uint8_t *data, size_t size) {
    struct reader r = reader_of(data, size);
    uint8_t transaction[STUN_TRANSACTION_SIZE], request[STUN_REQUEST_SIZE], got[STUN_TRANSACTION_SIZE];
    struct net_address client;
    if (!reader_copy(&r, transaction, sizeof(transaction)) || !reader_copy(&r, client.ip, sizeof(client.ip))) return;
    client.port = reader_be16(&r);
    check_answer(transaction, &client);
    stun_request_write(request, transaction);
    CHECK(stun_request_parse(request, sizeof(request), got) && memcmp(got, transaction, sizeof(got)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_request(data, size);
    fuzz_answer(data, size);
    fuzz_round_trip(data, size);
    return 0;
}
