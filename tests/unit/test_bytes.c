/* test_bytes.c - cursors: what fits is taken, what does not changes nothing and sticks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/bytes.h"

static void test_reader_takes_in_order(void **state) {
    (void)state;
    const uint8_t bytes[] = {0x01, 0x02, 0x03, 0xff, 0xfe, 0xfd, 0xfc, 'a', 'b'};
    struct reader r = reader_of(bytes, sizeof(bytes));
    assert_int_equal(reader_u8(&r), 0x01);
    assert_int_equal(reader_be16(&r), 0x0203);
    assert_int_equal(reader_be32(&r), 0xfffefdfc);
    assert_false(reader_done(&r));
    assert_ptr_equal(reader_take(&r, 2), bytes + 7);
    assert_true(reader_ok(&r));
    assert_true(reader_done(&r));
}

static void test_reader_error_is_sticky(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3};
    struct reader r = reader_of(bytes, sizeof(bytes));
    assert_int_equal(reader_be32(&r), 0);
    assert_false(reader_ok(&r));
    assert_int_equal(reader_left(&r), 3);
    assert_int_equal(reader_u8(&r), 0);
    assert_null(reader_take(&r, 0));
    assert_false(reader_done(&r));
    assert_int_equal(reader_left(&r), 3);
}

static void test_reader_copy_zeroes_on_failure(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3};
    uint8_t to[4] = {9, 9, 9, 9};
    struct reader r = reader_of(bytes, sizeof(bytes));
    assert_true(reader_copy(&r, to, 2));
    assert_int_equal(to[1], 2);
    assert_false(reader_copy(&r, to, 2));
    assert_int_equal(to[0], 0);
    assert_int_equal(to[1], 0);
    assert_int_equal(to[2], 9);
}

static void test_reader_of_nothing(void **state) {
    (void)state;
    struct reader r = reader_of(NULL, 0);
    assert_true(reader_done(&r));
    (void)reader_take(&r, 0);
    assert_true(reader_ok(&r));
    assert_int_equal(reader_u8(&r), 0);
    assert_false(reader_ok(&r));
}

static void test_reader_huge_size_does_not_wrap(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3};
    struct reader r = reader_of(bytes, sizeof(bytes));
    assert_null(reader_take(&r, SIZE_MAX));
    assert_null(reader_take(&r, SIZE_MAX - 1));
}

static void test_writer_writes_network_order(void **state) {
    (void)state;
    uint8_t bytes[10];
    struct writer w = writer_of(bytes, sizeof(bytes));
    writer_u8(&w, 0x7f);
    writer_be16(&w, 0x0102);
    writer_be32(&w, 0xfffefdfc);
    writer_text(&w, "abc");
    assert_true(writer_ok(&w));
    assert_int_equal(writer_left(&w), 0);
    assert_memory_equal(bytes,
                        "\x7f\x01\x02\xff\xfe\xfd\xfc"
                        "abc",
                        10);
}

static void test_writer_writes_nothing_of_what_does_not_fit(void **state) {
    (void)state;
    uint8_t bytes[4] = {9, 9, 9, 9};
    struct writer w = writer_of(bytes, 3);
    writer_u8(&w, 1);
    writer_be32(&w, 0);
    assert_false(writer_ok(&w));
    writer_u8(&w, 2);  // would fit, but the cursor is bad
    writer_copy(&w, "xy", 2);
    assert_null(writer_room(&w, 0));
    assert_memory_equal(bytes, "\x01\x09\x09\x09", 4);
    assert_int_equal(writer_left(&w), 2);
}

static void test_writer_of_nothing(void **state) {
    (void)state;
    struct writer w = writer_of(NULL, 0);
    writer_copy(&w, NULL, 0);
    writer_text(&w, "");
    assert_true(writer_ok(&w));
    writer_u8(&w, 1);
    assert_false(writer_ok(&w));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_takes_in_order),
        cmocka_unit_test(test_reader_error_is_sticky),
        cmocka_unit_test(test_reader_copy_zeroes_on_failure),
        cmocka_unit_test(test_reader_of_nothing),
        cmocka_unit_test(test_reader_huge_size_does_not_wrap),
        cmocka_unit_test(test_writer_writes_network_order),
        cmocka_unit_test(test_writer_writes_nothing_of_what_does_not_fit),
        cmocka_unit_test(test_writer_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
