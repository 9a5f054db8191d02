/* How fast is a packet's cipher? For every back-end and suite: ns to seal and to open one message, by size; then what
 * the relay does with a packet of 1400 bytes, a record opened and another one sealed, out of place; then a KeyUpdate.
 *
 * Each figure is the best and the median of many short runs, so that interruptions show as the difference of the two.
 *
 *     aead_bench [CPU]      pin to that CPU, default 0
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sodium.h>

#include "core/check.h"
#include "proto/record.h"

enum { RUNS = 101, RUN_NS = 1000 * 1000, SIZE_MAX_TRIED = 16000, PACKET_SIZE = 1400 };

static double now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figure {
    double best, median;
};

/* As many calls per run as make it last about a millisecond, judged by a hundred to warm up. */
static struct figure measure(void (*call)(void *), void *arg) {
    double runs[RUNS], begin = now_ns();
    for (int i = 0; i < 100; i++) call(arg);
    int calls = (int)((double)RUN_NS * 100.0 / (now_ns() - begin)) + 1;
    for (int i = 0; i < RUNS; i++) {
        begin = now_ns();
        for (int n = 0; n < calls; n++) call(arg);
        runs[i] = (now_ns() - begin) / calls;
    }
    qsort(runs, RUNS, sizeof(runs[0]), compare);
    return (struct figure){runs[0], runs[RUNS / 2]};
}

static void print_name(enum aead_suite suite) {
    printf("%-10s %-18s", aead_suite_backend_name(suite), aead_suite_name(suite));
}

static void print_figure(struct figure f) { printf(" %6.0f (%6.0f)", f.best, f.median); }

/* ---- one message ---- */

struct message {
    struct aead_key key;
    uint8_t nonce[16], aad[5];
    size_t size;
    uint8_t plain[SIZE_MAX_TRIED], sealed[SIZE_MAX_TRIED + AEAD_TAG_SIZE];
};

static void seal_message(void *arg) {
    struct message *m = arg;
    aead_seal(&m->key, m->nonce, m->aad, sizeof(m->aad), m->plain, m->size, m->sealed);
}

static void open_message(void *arg) {
    struct message *m = arg;
    CHECK(aead_open(&m->key, m->nonce, m->aad, sizeof(m->aad), m->sealed, m->size + AEAD_TAG_SIZE, m->plain));
}

static void bench_messages(enum aead_suite suite) {
    static struct message m;
    static const size_t sizes[] = {64, 256, PACKET_SIZE, SIZE_MAX_TRIED};
    const uint8_t key_bytes[AEAD_KEY_BYTES_MAX] = {1};
    CHECK(aead_key_init(&m.key, suite, key_bytes));
    print_name(suite);
    for (size_t i = 0; i < array_count(sizes); i++) {
        m.size = sizes[i];
        printf(" |");
        print_figure(measure(seal_message, &m));
        print_figure(measure(open_message, &m));
    }
    printf("\n");
    aead_key_fini(&m.key);
}

/* ---- one packet through the relay ---- */

enum { RECORD_STRIDE = PACKET_SIZE + RECORD_OVERHEAD, MANY = 4096 };

/* The sender's sealing is done beforehand, for MANY packets; when they are used up, the relay's counter goes back. */
struct passage {
    struct record sender, from, to;
    size_t at;
    uint8_t wire[(size_t)MANY * RECORD_STRIDE];
    uint8_t slot[RECORD_INNER_MAX + 1];
    uint8_t out[RECORD_STRIDE + RECORD_KEY_UPDATE_SIZE];
};

static void pass_packet(void *arg) {
    struct passage *s = arg;
    size_t record_size, size;
    enum record_alert alert;
    uint8_t *in = s->wire + s->at * RECORD_STRIDE;
    CHECK(record_next(in, RECORD_STRIDE, &record_size, &alert) == RECORD_WHOLE);
    CHECK(record_open(&s->from, in, record_size, s->slot, &size, &alert) == RECORD_DATA);
    struct writer w = writer_of(s->out, sizeof(s->out));
    CHECK(record_seal(&s->to, &w, s->slot, size));
    if (++s->at == MANY) s->at = s->from.in_sequence = 0;
}

static void bench_passage(enum aead_suite suite) {
    static struct passage s;
    const uint8_t up[HKDF_SECRET_MAX] = {1}, down[HKDF_SECRET_MAX] = {2};
    s.at = 0;
    CHECK(record_init(&s.sender, suite, true, down, up) && record_init(&s.from, suite, false, up, down));
    CHECK(record_init(&s.to, suite, false, down, up));
    struct writer w = writer_of(s.wire, sizeof(s.wire));
    for (int i = 0; i < MANY; i++) CHECK(record_seal(&s.sender, &w, s.slot, PACKET_SIZE));
    print_name(suite);
    print_figure(measure(pass_packet, &s));
    printf("\n");
    record_fini(&s.sender);
    record_fini(&s.from);
    record_fini(&s.to);
}

/* ---- key updates ---- */

struct updates {
    struct record r;
    uint8_t out[RECORD_KEY_UPDATE_SIZE];
};

static void seal_update(void *arg) {
    struct updates *u = arg;
    struct writer w = writer_of(u->out, sizeof(u->out));
    CHECK(record_seal_key_update(&u->r, &w, false));
}

static void bench_updates(enum aead_suite suite) {
    static struct updates u;
    const uint8_t secret[HKDF_SECRET_MAX] = {1};
    CHECK(record_init(&u.r, suite, false, secret, secret));
    print_name(suite);
    print_figure(measure(seal_update, &u));
    printf("\n");
    record_fini(&u.r);
}

static void for_all(const char *title, void (*bench)(enum aead_suite)) {
    static const char *const names[] = {"ipsec-mb", "libcrypto", "sodium"};
    char why[AEAD_WHY_MAX];
    printf("\n%s\n", title);
    for (size_t n = 0; n < array_count(names); n++) {
        if (!aead_init(names[n], why)) {
            printf("%s\n", why);
            continue;
        }
        for (enum aead_suite suite = 1; suite < AEAD_SUITE_END; suite++)
            if (aead_has_suite(suite)) bench(suite);
    }
}

int main(int argc, char **argv) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    unsigned long cpu = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (cpu >= CPU_SETSIZE) return 1;
    CPU_SET(cpu, &cpus);
    if (sodium_init() < 0 || sched_setaffinity(0, sizeof(cpus), &cpus) != 0) return 1;
    printf("ns, best (median)\n");
    for_all("messages: seal, open of 64 bytes | 256 | 1400 | 16000", bench_messages);
    for_all("packets of 1400 bytes: a record opened, another sealed", bench_passage);
    for_all("KeyUpdate: new keys made, sealed", bench_updates);
    return 0;
}
