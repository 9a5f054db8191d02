/* test_conn_value.c - a connection as bytes: what is packed comes back field by field, anything damaged is refused.
 *
 * The random values, the comparison and the walk over field heads are made from the table itself, so a field added to
 * the table is tested without a change here; only the list of ids and sizes is literal, because ids are for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "core/rng.h"
#include "core/sys.h"
#include "relay/conn_value.h"

enum { HEAD_SIZE = 12, FIELD_HEAD_SIZE = 6 };

enum kind { NUMBER, BYTES, BLOB };

struct field {
    enum kind kind;
    unsigned id;
    size_t size;
};

static const struct field fields[] = {
#define FIELD_NUMBER(id, type, name) {NUMBER, id, sizeof(type)},
#define FIELD_BYTES(id, name, size) {BYTES, id, size},
#define FIELD_BLOB(id, name, size) {BLOB, id, size},
    CONN_FIELDS(FIELD_NUMBER, FIELD_BYTES, FIELD_BLOB)};

/* ---- values made from the table ---- */

/* Where the bytes of blobs lie: each as long as the largest, since sizes are random. */
static uint8_t blob_memory[array_count(fields)][LIMIT_URGENT_BYTES_MAX];

static struct conn_blob random_blob(struct rng *rng, size_t idx, size_t size_max) {
    struct conn_blob blob = {.bytes = blob_memory[idx], .size = (uint32_t)rng_below(rng, size_max + 1)};
    assert_true(size_max <= sizeof(blob_memory[idx]));
    if (rng_below(rng, 4) == 0) blob.size = 0;
    if (rng_below(rng, 8) == 0) blob.size = (uint32_t)size_max;
    rng_bytes(rng, blob_memory[idx], blob.size);
    return blob;
}

static void random_value(struct rng *rng, struct conn_value *value) {
    size_t idx = 0;
#define RANDOM_NUMBER(id, type, name) \
    value->name = (type)rng_u64(rng); \
    idx++;
#define RANDOM_BYTES(id, name, size)   \
    rng_bytes(rng, value->name, size); \
    idx++;
#define RANDOM_BLOB(id, name, size) value->name = random_blob(rng, idx++, size);
    CONN_FIELDS(RANDOM_NUMBER, RANDOM_BYTES, RANDOM_BLOB)
    assert_int_equal(idx, array_count(fields));
}

/* A value whose blobs are a few bytes, for tests that walk over every byte. */
static void small_value(struct rng *rng, struct conn_value *value) {
    random_value(rng, value);
#define SHORTEN_NOTHING(id, name, size)
#define SHORTEN_BLOB(id, name, size_max) value->name.size = (uint32_t)(3 + (id) % 5);
    CONN_FIELDS(SHORTEN_NOTHING, SHORTEN_NOTHING, SHORTEN_BLOB)
#define FILL_BLOB(id, name, size_max) rng_bytes(rng, (uint8_t *)(uintptr_t)value->name.bytes, value->name.size);
    CONN_FIELDS(SHORTEN_NOTHING, SHORTEN_NOTHING, FILL_BLOB)
}

static void assert_values_equal(const struct conn_value *a, const struct conn_value *b) {
#define EQUAL_NUMBER(id, type, name) assert_true(a->name == b->name);
#define EQUAL_BYTES(id, name, size) assert_memory_equal(a->name, b->name, size);
#define EQUAL_BLOB(id, name, size_max)            \
    assert_int_equal(a->name.size, b->name.size); \
    if (a->name.size) assert_memory_equal(a->name.bytes, b->name.bytes, a->name.size);
    CONN_FIELDS(EQUAL_NUMBER, EQUAL_BYTES, EQUAL_BLOB)
}

/* ---- packing with an exact buffer: AddressSanitizer sees one byte too many ---- */

struct packed {
    uint8_t *bytes;
    size_t size;
};

static struct packed pack(const struct conn_value *value) {
    struct packed packed = {.size = conn_value_packed_size(value)};
    packed.bytes = malloc(packed.size);
    assert_non_null(packed.bytes);
    struct writer w = writer_of(packed.bytes, packed.size);
    assert_true(conn_value_pack(value, &w));
    assert_int_equal(writer_left(&w), 0);
    return packed;
}

/* Unpacking must fail and leave no trace in its target. */
static void assert_refused(const void *bytes, size_t size) {
    struct conn_value value, before;
    memset(&value, 0x5a, sizeof(value));
    memset(&before, 0x5a, sizeof(before));
    assert_false(conn_value_unpack(&value, bytes, size));
    assert_memory_equal(&value, &before, sizeof(value));
}

/* ---- tests ---- */

static void test_what_is_packed_comes_back(void **state) {
    (void)state;
    struct rng rng;
    rng_init_seeded(&rng, 1);
    for (int round = 0; round < 200; round++) {
        struct conn_value value, back;
        random_value(&rng, &value);
        struct packed packed = pack(&value);
        memset(&back, 0x5a, sizeof(back));
        assert_true(conn_value_unpack(&back, packed.bytes, packed.size));
        assert_values_equal(&value, &back);
        free(packed.bytes);
    }
}

/* Values that random bytes hardly ever hit: the ends of each integer's range. */
static void test_extremes_come_back(void **state) {
    (void)state;
    const uint64_t extremes[] = {0, 1, 0x7f, 0x80, 0xff, INT32_MAX, (uint64_t)INT32_MIN, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < array_count(extremes); i++) {
        struct conn_value value = {0}, back;
#define EXTREME_NUMBER(id, type, name) value.name = (type)extremes[i];
#define EXTREME_NOTHING(id, name, size)
        CONN_FIELDS(EXTREME_NUMBER, EXTREME_NOTHING, EXTREME_NOTHING)
        struct packed packed = pack(&value);
        assert_true(conn_value_unpack(&back, packed.bytes, packed.size));
        assert_values_equal(&value, &back);
        free(packed.bytes);
    }
}

static void test_blobs_point_into_the_packed_bytes(void **state) {
    (void)state;
    struct rng rng;
    struct conn_value value, back;
    rng_init_seeded(&rng, 2);
    small_value(&rng, &value);
    struct packed packed = pack(&value);
    assert_true(conn_value_unpack(&back, packed.bytes, packed.size));
#define INSIDE_BLOB(id, name, size_max)           \
    assert_true(back.name.bytes >= packed.bytes); \
    assert_true(back.name.bytes + back.name.size <= packed.bytes + packed.size);
    CONN_FIELDS(EXTREME_NOTHING, EXTREME_NOTHING, INSIDE_BLOB)
    free(packed.bytes);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    struct rng rng;
    struct conn_value value;
    rng_init_seeded(&rng, 3);
    small_value(&rng, &value);
    struct packed packed = pack(&value);
    for (size_t size = 0; size < packed.size; size++) {
        uint8_t *cut = malloc(max_of(size, (size_t)1));
        assert_non_null(cut);
        memcpy(cut, packed.bytes, size);
        assert_refused(cut, size);
        // also when the head tells the truth about the shorter size
        if (size >= HEAD_SIZE) {
            for (unsigned i = 0; i < 4; i++) cut[8 + i] = (uint8_t)(size >> (8 * i));
            assert_refused(cut, size);
        }
        free(cut);
    }
    free(packed.bytes);
}

static void test_a_byte_too_many_is_refused(void **state) {
    (void)state;
    struct rng rng;
    struct conn_value value;
    rng_init_seeded(&rng, 4);
    small_value(&rng, &value);
    struct packed packed = pack(&value);
    uint8_t *longer = calloc(1, packed.size + 1);
    assert_non_null(longer);
    memcpy(longer, packed.bytes, packed.size);
    assert_refused(longer, packed.size + 1);
    for (unsigned i = 0; i < 4; i++) longer[8 + i] = (uint8_t)((packed.size + 1) >> (8 * i));
    assert_refused(longer, packed.size + 1);
    free(longer);
    free(packed.bytes);
}

static void assert_flips_are_refused(struct packed *packed, size_t at, size_t size) {
    for (size_t i = at; i < at + size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            packed->bytes[i] ^= (uint8_t)(1u << bit);
            assert_refused(packed->bytes, packed->size);
            packed->bytes[i] ^= (uint8_t)(1u << bit);
        }
    }
}

static uint32_t load_little(const uint8_t *bytes, size_t size) {
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint32_t)bytes[i] << (8 * i);
    return value;
}

static void test_every_flip_in_a_head_is_refused(void **state) {
    (void)state;
    struct rng rng;
    struct conn_value value, back;
    rng_init_seeded(&rng, 5);
    small_value(&rng, &value);
    struct packed packed = pack(&value);
    assert_memory_equal(packed.bytes, "RRcv", 4);
    assert_int_equal(load_little(packed.bytes + 4, 2), CONN_VALUE_VERSION);
    assert_int_equal(load_little(packed.bytes + 6, 2), array_count(fields));
    assert_int_equal(load_little(packed.bytes + 8, 4), packed.size);
    assert_flips_are_refused(&packed, 0, HEAD_SIZE);
    size_t at = HEAD_SIZE;
    for (size_t i = 0; i < array_count(fields); i++) {
        assert_int_equal(load_little(packed.bytes + at, 2), fields[i].id);
        size_t size = load_little(packed.bytes + at + 2, 4);
        if (fields[i].kind != BLOB) assert_int_equal(size, fields[i].size);
        assert_flips_are_refused(&packed, at, FIELD_HEAD_SIZE);
        at += FIELD_HEAD_SIZE + size;
    }
    assert_int_equal(at, packed.size);
    assert_true(conn_value_unpack(&back, packed.bytes, packed.size));  // every flip was taken back
    free(packed.bytes);
}

/* A number one byte short and a blob one byte long add up to the right total: sizes are checked field by field. */
static void test_bytes_cannot_move_between_fields(void **state) {
    (void)state;
    struct conn_value value = {0};
    struct packed packed = pack(&value);
    size_t first = HEAD_SIZE, second = first + FIELD_HEAD_SIZE + fields[0].size;
    assert_int_equal(fields[0].size, 8);
    memmove(packed.bytes + second - 1, packed.bytes + second, FIELD_HEAD_SIZE);
    packed.bytes[first + 2]--;
    packed.bytes[second - 1 + 2]++;
    assert_refused(packed.bytes, packed.size);
    free(packed.bytes);
}

static void assert_room_refused(const struct conn_value *value, size_t room) {
    uint8_t *bytes = malloc(max_of(room, (size_t)1));
    assert_non_null(bytes);
    struct writer w = writer_of(bytes, room);
    assert_false(conn_value_pack(value, &w));
    free(bytes);
}

static void test_too_little_room_is_refused(void **state) {
    (void)state;
    struct rng rng;
    struct conn_value value;
    rng_init_seeded(&rng, 6);
    small_value(&rng, &value);
    size_t size = conn_value_packed_size(&value);
    for (size_t room = 0; room < size; room++) assert_room_refused(&value, room);
}

/* Packs `value`, whose blob may be one byte above its bound. */
static void check_bound(const struct conn_value *value, bool fits) {
    size_t room = conn_value_packed_size(value);
    uint8_t *bytes = malloc(room);
    assert_non_null(bytes);
    struct writer w = writer_of(bytes, room);
    assert_int_equal(conn_value_pack(value, &w), fits);
    free(bytes);
}

static void test_a_blob_above_its_bound_is_not_packed(void **state) {
    (void)state;
    static const uint8_t bytes[LIMIT_URGENT_BYTES_MAX + 1];
    struct conn_value value = {0};
#define BOUND_BLOB(id, name, size_max)                                \
    value.name = (struct conn_blob){bytes, (uint32_t)(size_max)};     \
    check_bound(&value, true);                                        \
    value.name = (struct conn_blob){bytes, (uint32_t)(size_max) + 1}; \
    check_bound(&value, false);                                       \
    value.name = (struct conn_blob){NULL, 0};
    CONN_FIELDS(EXTREME_NOTHING, EXTREME_NOTHING, BOUND_BLOB)
}

/* The same at unpacking, where the size is the other side's word: all else about the bytes is right. */
static void test_a_blob_above_its_bound_is_not_unpacked(void **state) {
    (void)state;
    struct conn_value value = {0};
    struct packed packed = pack(&value);
    size_t at = HEAD_SIZE;
    for (size_t i = 0; i < array_count(fields); i++) {
        size_t head_end = at + FIELD_HEAD_SIZE, extra = fields[i].size + 1;
        at = head_end + (fields[i].kind == BLOB ? 0 : fields[i].size);
        if (fields[i].kind != BLOB) continue;
        uint8_t *bytes = calloc(1, packed.size + extra);
        assert_non_null(bytes);
        memcpy(bytes, packed.bytes, head_end);
        memcpy(bytes + head_end + extra, packed.bytes + head_end, packed.size - head_end);
        for (unsigned b = 0; b < 4; b++) {
            bytes[head_end - 4 + b] = (uint8_t)(extra >> (8 * b));
            bytes[8 + b] = (uint8_t)((packed.size + extra) >> (8 * b));
        }
        assert_refused(bytes, packed.size + extra);
        // and with exactly the bound it is accepted, so the refusal above was for the size
        struct conn_value back;
        memmove(bytes + head_end + extra - 1, bytes + head_end + extra, packed.size - head_end);
        for (unsigned b = 0; b < 4; b++) {
            bytes[head_end - 4 + b] = (uint8_t)((extra - 1) >> (8 * b));
            bytes[8 + b] = (uint8_t)((packed.size + extra - 1) >> (8 * b));
        }
        assert_true(conn_value_unpack(&back, bytes, packed.size + extra - 1));
        free(bytes);
    }
    free(packed.bytes);
}

/* why literal: an id or a size that changes breaks every hand-over between versions. A field may be added here, with a
 * new id; none may be changed. What it counts bytes in is 0 for blobs. */
static void test_ids_are_for_ever(void **state) {
    (void)state;
    static const struct {
        unsigned id;
        size_t size;
    } golden[] = {
        {1, 8},  {2, 4},  {3, 1},  {4, 32},  {5, 16},  {6, 2},    {7, 8},   {8, 1},  {9, 1},  {10, 1}, {11, 1},
        {12, 1}, {63, 1}, {64, 1}, {65, 32}, {13, 1},  {14, 8},   {52, 1},  {15, 8}, {16, 8}, {17, 8}, {18, 1},
        {19, 8}, {20, 4}, {21, 8}, {22, 1},  {23, 1},  {24, 1},   {25, 1},  {33, 5}, {34, 4}, {26, 0}, {36, 0},
        {27, 0}, {35, 0}, {28, 0}, {37, 8},  {38, 8},  {39, 4},   {40, 1},  {41, 1}, {42, 1}, {43, 1}, {44, 1},
        {45, 1}, {46, 1}, {47, 1}, {48, 4},  {49, 4},  {50, 48},  {51, 48}, {53, 1}, {54, 1}, {55, 1}, {56, 1},
        {57, 1}, {58, 1}, {59, 2}, {60, 8},  {61, 14}, {62, 125}, {29, 8},  {30, 8}, {31, 8}, {32, 8},
    };
    assert_int_equal(CONN_VALUE_VERSION, 1);
    assert_int_equal(array_count(fields), array_count(golden));
    for (size_t i = 0; i < array_count(fields); i++) {
        assert_int_equal(fields[i].id, golden[i].id);
        assert_int_equal(fields[i].kind == BLOB ? 0 : fields[i].size, golden[i].size);
        for (size_t k = 0; k < i; k++) assert_int_not_equal(fields[i].id, fields[k].id);
    }
}

/* The bytes of one value, counted by hand for its first two fields: little-endian, in the order of the table. */
static void test_the_first_bytes_are_known(void **state) {
    (void)state;
    // clang-format off
    static const uint8_t wanted[] = {
        'R', 'R', 'c', 'v', 1, 0, array_count(fields), 0, 0, 0, 0, 0,  // the total is checked elsewhere
        1, 0, 8, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,                      // conn_id
        2, 0, 4, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff,                      // fd
    };
    // clang-format on
    struct conn_value value = {.conn_id = 0x0102030405060708, .fd = -2};
    struct packed packed = pack(&value);
    memset(packed.bytes + 8, 0, 4);
    assert_memory_equal(packed.bytes, wanted, sizeof(wanted));
    free(packed.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_packed_comes_back),
        cmocka_unit_test(test_extremes_come_back),
        cmocka_unit_test(test_blobs_point_into_the_packed_bytes),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_a_byte_too_many_is_refused),
        cmocka_unit_test(test_every_flip_in_a_head_is_refused),
        cmocka_unit_test(test_bytes_cannot_move_between_fields),
        cmocka_unit_test(test_too_little_room_is_refused),
        cmocka_unit_test(test_a_blob_above_its_bound_is_not_packed),
        cmocka_unit_test(test_a_blob_above_its_bound_is_not_unpacked),
        cmocka_unit_test(test_ids_are_for_ever),
        cmocka_unit_test(test_the_first_bytes_are_known),
    };
    if (sys_init() != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
