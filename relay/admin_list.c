#include "relay/admin_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/sys.h"
#include "relay/conn_value.h"

/* ---- which ---- */

static bool ip_matches(const struct dump_row *row, const struct admin_query *query) {
    uint32_t bytes = query->ip_bits / 8, bits = query->ip_bits % 8;
    if (query->port && query->port != row->remote_port) return false;
    if (memcmp(row->remote_ip, query->ip, bytes) != 0) return false;
    return bits == 0 || ((row->remote_ip[bytes] ^ query->ip[bytes]) >> (8 - bits)) == 0;
}

static bool key_matches(const struct dump_row *row, const struct admin_query *query) {
    char hex[KEY_HEX_TEXT_SIZE], brief[KEY_SHORT_TEXT_SIZE];
    if (*query->key_prefix) {
        key_format_hex(&row->key, hex);
        if (strncmp(hex, query->key_prefix, strlen(query->key_prefix)) != 0) return false;
    }
    if (*query->key_short == 0) return true;
    key_format_short(&row->key, brief);
    return strcmp(brief, query->key_short) == 0;
}

bool admin_list_matches(const struct dump_row *row, const struct admin_query *query) {
    return (!query->has_address || ip_matches(row, query)) && key_matches(row, query);
}

/* ---- in which order ---- */

struct sorting {
    const struct dump_row *rows;
    enum admin_sort sort;
};

static uint64_t number_of(const struct dump_row *row, enum admin_sort sort) {
    switch (sort) {
        case ADMIN_SORT_BYTES: return row->bytes_received + row->bytes_sent;
        case ADMIN_SORT_RECEIVED: return row->bytes_received;
        case ADMIN_SORT_SENT: return row->bytes_sent;
        case ADMIN_SORT_QUEUE: return row->queue_bytes;
        case ADMIN_SORT_SINCE: return row->age_ns;
        case ADMIN_SORT_IDLE: return row->idle_ns;
        case ADMIN_SORT_KEY:
        case ADMIN_SORT_ADDRESS:
        case ADMIN_SORT_COUNT: break;
    }
    return 0;
}

static int compare_texts(const struct dump_row *a, const struct dump_row *b, enum admin_sort sort) {
    if (sort == ADMIN_SORT_KEY) return memcmp(&a->key, &b->key, sizeof(a->key));
    if (sort != ADMIN_SORT_ADDRESS) return 0;
    int order = memcmp(a->remote_ip, b->remote_ip, sizeof(a->remote_ip));
    return order ? order : (a->remote_port > b->remote_port) - (a->remote_port < b->remote_port);
}

/* The most first; who came first, among equals. */
static int compare(const void *left, const void *right, void *arg) {
    const struct sorting *s = arg;
    const struct dump_row *a = &s->rows[*(const uint32_t *)left], *b = &s->rows[*(const uint32_t *)right];
    int order = compare_texts(a, b, s->sort);
    if (order) return order;
    uint64_t x = number_of(a, s->sort), y = number_of(b, s->sort);
    if (x != y) return x > y ? -1 : 1;
    return (a->conn_id > b->conn_id) - (a->conn_id < b->conn_id);
}

uint32_t admin_list_sort(const struct dump *dump, const struct admin_query *query, uint32_t *order) {
    struct sorting sorting = {.rows = dump->rows, .sort = query->sort};
    uint32_t count = 0;
    for (uint32_t i = 0; i < dump->rows_count; i++) {
        if (admin_list_matches(&dump->rows[i], query)) order[count++] = i;
    }
    qsort_r(order, count, sizeof(*order), compare, &sorting);
    return count;
}

/* ---- as JSON ---- */

static void write_format(struct writer *w, const char *format, ...) printf_like(2, 3);

static void write_format(struct writer *w, const char *format, ...) {
    char text[ADMIN_ROW_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    writer_copy(w, text, min_of((size_t)size, sizeof(text) - 1));
}

typedef unsigned long long number;

static number ms(uint64_t ns) { return ns / NS_PER_MS; }

static void write_flags(struct writer *w, uint8_t flags) {
    static const struct {
        const char *name;
        enum dump_flag flag;
    } names[] = {{"home", DUMP_HOME},           {"prober", DUMP_PROBER}, {"mesh", DUMP_MESH},
                 {"not_ideal", DUMP_NOT_IDEAL}, {"active", DUMP_ACTIVE}, {"duplicate", DUMP_DUPLICATE},
                 {"disabled", DUMP_DISABLED}};
    for (size_t i = 0; i < array_count(names); i++) {
        write_format(w, ",\"%s\":%s", names[i].name, flags & names[i].flag ? "true" : "false");
    }
}

/* No value has a character that JSON would want escaped. */
void admin_list_write(struct writer *w, const struct dump_row *row, uint64_t wall_s) {
    struct net_address remote = {.port = row->remote_port};
    char key[KEY_PUBLIC_TEXT_SIZE], address[NET_ADDRESS_TEXT_MAX];
    memcpy(remote.ip, row->remote_ip, sizeof(remote.ip));
    key_format(&row->key, key);
    write_format(w, "{\"key\":\"%s\",\"address\":\"%s\",\"transport\":\"%s\",\"worker\":%u,\"conn_id\":%llu", key,
                 net_address_text(&remote, address), row->transport == TRANSPORT_TLS ? "tls" : "plain", row->worker,
                 (number)row->conn_id);
    write_format(w, ",\"since\":%llu,\"idle_ms\":%llu", (number)(wall_s - row->age_ns / NS_PER_S), ms(row->idle_ns));
    write_format(w, ",\"packets_received\":%llu,\"bytes_received\":%llu,\"packets_sent\":%llu,\"bytes_sent\":%llu",
                 (number)row->packets_received, (number)row->bytes_received, (number)row->packets_sent,
                 (number)row->bytes_sent);
    write_format(w, ",\"queue_packets\":%u,\"queue_bytes\":%u,\"queue_age_ms\":%llu,\"unsent_bytes\":%u",
                 row->queue_packets, row->queue_bytes, ms(row->queue_age_ns), row->unsent_bytes);
    write_flags(w, row->flags);
    writer_text(w, "}");
}
