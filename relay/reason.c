#include "relay/reason.h"

#define LABEL(name, label, text) label,
#define TEXT(name, label, text) text,

static const char *const drop_labels[] = {DROP_REASONS(LABEL)};
static const char *const close_labels[] = {CLOSE_REASONS(LABEL)};
static const char *const close_texts[] = {CLOSE_REASONS(TEXT)};
static const char *const refuse_labels[] = {REFUSE_REASONS(LABEL)};
static const char *const refuse_texts[] = {REFUSE_REASONS(TEXT)};
static const char *const udp_drop_labels[] = {UDP_DROP_REASONS(LABEL)};
static const char *const udp_drop_texts[] = {UDP_DROP_REASONS(TEXT)};
static const char *const udp_refuse_labels[] = {UDP_REFUSE_REASONS(LABEL)};
static const char *const udp_refuse_texts[] = {UDP_REFUSE_REASONS(TEXT)};

const char *drop_reason_label(enum drop_reason reason) { return drop_labels[reason]; }
const char *close_reason_label(enum close_reason reason) { return close_labels[reason]; }
const char *close_reason_text(enum close_reason reason) { return close_texts[reason]; }
const char *refuse_reason_label(enum refuse_reason reason) { return refuse_labels[reason]; }
const char *refuse_reason_text(enum refuse_reason reason) { return refuse_texts[reason]; }
const char *udp_drop_reason_label(enum udp_drop_reason reason) { return udp_drop_labels[reason]; }
const char *udp_drop_reason_text(enum udp_drop_reason reason) { return udp_drop_texts[reason]; }
const char *udp_refuse_reason_label(enum udp_refuse_reason reason) { return udp_refuse_labels[reason]; }
const char *udp_refuse_reason_text(enum udp_refuse_reason reason) { return udp_refuse_texts[reason]; }
