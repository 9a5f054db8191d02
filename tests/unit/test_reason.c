/* test_reason.c - the tables of reasons: every label is one of its kind, and fit for a metric and a log line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/reason.h"

typedef const char *(*text_of)(unsigned reason);

static const char *drop_label(unsigned reason) { return drop_reason_label((enum drop_reason)reason); }
static const char *close_label(unsigned reason) { return close_reason_label((enum close_reason)reason); }
static const char *close_text(unsigned reason) { return close_reason_text((enum close_reason)reason); }
static const char *refuse_label(unsigned reason) { return refuse_reason_label((enum refuse_reason)reason); }
static const char *refuse_text(unsigned reason) { return refuse_reason_text((enum refuse_reason)reason); }
static const char *udp_drop_label(unsigned reason) { return udp_drop_reason_label((enum udp_drop_reason)reason); }
static const char *udp_drop_text(unsigned reason) { return udp_drop_reason_text((enum udp_drop_reason)reason); }
static const char *udp_refuse_label(unsigned reason) { return udp_refuse_reason_label((enum udp_refuse_reason)reason); }
static const char *udp_refuse_text(unsigned reason) { return udp_refuse_reason_text((enum udp_refuse_reason)reason); }

static void assert_labels_are_fit(text_of label_of, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        const char *label = label_of(i);
        assert_non_null(label);
        assert_true(strlen(label) > 0);
        assert_int_equal(strspn(label, "abcdefghijklmnopqrstuvwxyz_"), strlen(label));
        for (unsigned k = 0; k < i; k++) assert_string_not_equal(label, label_of(k));
    }
}

static void assert_texts_are_fit(text_of text, text_of label_of, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        assert_non_null(text(i));
        assert_true(strlen(text(i)) > strlen("a word"));
        assert_null(strpbrk(text(i), "\n\r\"\\"));
        assert_string_not_equal(text(i), label_of(i));
        for (unsigned k = 0; k < i; k++) assert_string_not_equal(text(i), text(k));
    }
}

static void test_labels(void **state) {
    (void)state;
    assert_labels_are_fit(drop_label, DROP_REASON_COUNT);
    assert_labels_are_fit(close_label, CLOSE_REASON_COUNT);
    assert_labels_are_fit(refuse_label, REFUSE_REASON_COUNT);
    assert_labels_are_fit(udp_drop_label, UDP_DROP_REASON_COUNT);
    assert_labels_are_fit(udp_refuse_label, UDP_REFUSE_REASON_COUNT);
}

static void test_texts(void **state) {
    (void)state;
    assert_texts_are_fit(close_text, close_label, CLOSE_REASON_COUNT);
    assert_texts_are_fit(refuse_text, refuse_label, REFUSE_REASON_COUNT);
    assert_texts_are_fit(udp_drop_text, udp_drop_label, UDP_DROP_REASON_COUNT);
    assert_texts_are_fit(udp_refuse_text, udp_refuse_label, UDP_REFUSE_REASON_COUNT);
}

/* Dashboards for derper name these. */
static void test_the_first_drop_reasons_are_derpers(void **state) {
    (void)state;
    static const char *const labels[] = {"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected", "queue_head",
                                         "queue_tail",   "write_error",         "dup_client"};
    for (unsigned i = 0; i < array_count(labels); i++) assert_string_equal(drop_label(i), labels[i]);
    assert_string_equal(drop_reason_label(DROP_QUEUE_HEAD), "queue_head");
    assert_string_equal(close_reason_label(CLOSE_EOF), "eof");
    assert_string_equal(refuse_reason_label(REFUSE_RELAY_FULL), "relay_full");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_the_first_drop_reasons_are_derpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
