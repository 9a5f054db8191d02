/* TLS records (proto/record), for every AEAD back-end of the build. One operation is one record.
 *
 *   record/seal/BACKEND/SUITE/SIZE
 *   record/open/BACKEND/SUITE/SIZE   found by record_next first
 *
 * perf/micro/aead_bench.c times the ciphers below, without records. */
#include <stdlib.h>

#include "core/aead.h"
#include "core/check.h"
#include "perf/micro/bench.h"
#include "proto/record.h"

/* What is opened was sealed beforehand: so many records, then the counter goes back. */
enum { PLAIN_MAX = 16000, STORED_BYTES = 4 * 1024 * 1024 };

struct sealing {
    struct record sender, receiver;
    size_t size, stored, at;
    uint8_t plain[PLAIN_MAX + 1];
    uint8_t room[RECORD_INNER_MAX + RECORD_OVERHEAD];
    uint8_t wire[STORED_BYTES];
};

static bool make_keys(struct sealing *s, enum aead_suite suite) {
    const uint8_t up[HKDF_SECRET_MAX] = {1}, down[HKDF_SECRET_MAX] = {2};
    return record_init(&s->sender, suite, true, down, up) && record_init(&s->receiver, suite, false, up, down);
}

static void *make(const struct bench_case *self, char *why) {
    if (!aead_init(self->text, why)) return NULL;
    struct sealing *s = bench_alloc(sizeof(*s));
    CHECK(make_keys(s, (enum aead_suite)self->variant));
    s->size = self->param;
    s->stored = min_of(STORED_BYTES / (s->size + RECORD_OVERHEAD), (size_t)1024);
    struct writer w = writer_of(s->wire, sizeof(s->wire));
    for (size_t i = 0; i < s->stored; i++) CHECK(record_seal(&s->sender, &w, s->plain, s->size));
    return s;
}

static void end(void *state) {
    struct sealing *s = state;
    record_fini(&s->sender);
    record_fini(&s->receiver);
    free(s);
}

static void run_seal(void *state, uint64_t count) {
    struct sealing *s = state;
    for (; count > 0; count--) {
        struct writer w = writer_of(s->room, sizeof(s->room));
        CHECK(record_seal(&s->sender, &w, s->plain, s->size));
    }
}

static void run_open(void *state, uint64_t count) {
    struct sealing *s = state;
    for (; count > 0; count--) {
        size_t record_size, size;
        enum record_alert alert;
        const uint8_t *in = s->wire + s->at * (s->size + RECORD_OVERHEAD);
        CHECK(record_next(in, s->size + RECORD_OVERHEAD, &record_size, &alert) == RECORD_WHOLE);
        CHECK(record_open(&s->receiver, in, record_size, s->room, &size, &alert) == RECORD_DATA && size == s->size);
        if (++s->at == s->stored) s->at = s->receiver.in_sequence = 0;
    }
}

static void add_sizes(struct bench_list *list, struct bench_case *c, const char *suite) {
    static const uint32_t sizes[] = {64, 1400, PLAIN_MAX};
    for (size_t i = 0; i < array_count(sizes); i++) {
        c->param = sizes[i];
        c->run = run_seal;
        bench_add(list, c, "record/seal/%s/%s/%u", c->text, suite, c->param);
        c->run = run_open;
        bench_add(list, c, "record/open/%s/%s/%u", c->text, suite, c->param);
    }
}

void cases_record(struct bench_list *list) {
    static const char *const backends[] = {"ipsec-mb", "libcrypto", "sodium"};
    static const struct {
        enum aead_suite suite;
        const char *name;
    } suites[] = {{AEAD_AES_128_GCM, "aes128"}, {AEAD_CHACHA20_POLY1305, "chacha20"}};
    struct bench_case c = {.make = make, .end = end};
    char why[AEAD_WHY_MAX];
    for (size_t b = 0; b < array_count(backends); b++) {
        if (!aead_init(backends[b], why)) continue;  // not built in, or not for this processor
        for (size_t i = 0; i < array_count(suites); i++) {
            c.text = backends[b];
            c.variant = suites[i].suite;
            if (aead_has_suite(suites[i].suite)) add_sizes(list, &c, suites[i].name);
        }
    }
}
