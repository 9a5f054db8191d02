#include "relay/reason.h"

#define LABEL(name, label, text) label,
#define TEXT(name, label, text) text,

static const char *const drop_labels[] = {DROP_REASONS(LABEL)};
static const char *const close_labels[] = {CLOSE_REASONS(LABEL)};
static const char *const close_texts[] = {CLOSE_REASONS(TEXT)};
static const char *const refuse_labels[] = {REFUSE_REASONS(LABEL)};
static const char *const refuse_texts[] = {REFUSE_REASONS(TEXT)};

const char *drop_reason_label(enum drop_reason reason) { return drop_labels[reason]; }
const char *close_reason_label(enum close_reason reason) { return close_labels[reason]; }
const char *close_reason_text(enum close_reason reason) { return close_texts[reason]; }
const char *refuse_reason_label(enum refuse_reason reason) { return refuse_labels[reason]; }
const char *refuse_reason_text(enum refuse_reason reason) { return refuse_texts[reason]; }
