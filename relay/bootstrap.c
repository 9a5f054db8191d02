#include "relay/bootstrap.h"

#include <sodium.h>
#include <stdio.h>

/* ---- lists ---- */

static bool copy_part(char *to, const char *from, size_t size) {
    if (size > BOOTSTRAP_NAME_SIZE_MAX) size = BOOTSTRAP_NAME_SIZE_MAX + 1;
    snprintf(to, BOOTSTRAP_NAME_SIZE_MAX + 1, "%.*s", (int)size, from);
    return size <= BOOTSTRAP_NAME_SIZE_MAX;
}

bool bootstrap_take_item(const char **list, struct bootstrap_item *item, bool *is_fine) {
    while (**list == ',') (*list)++;
    if (**list == '\0') return false;
    size_t size = strcspn(*list, ","), name = strcspn(*list, ",/"), skip = min_of(name + 1, size);
    *is_fine = copy_part(item->name, *list, name) && name > 0;
    *is_fine = copy_part(item->percent_name, *list + skip, size - skip) && *is_fine;
    *list += size;
    return true;
}

/* Letters, digits and what else is in use; nothing that JSON would have to escape. */
static bool is_name(const char *name) {
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == '\0';
}

bool bootstrap_list_check(const char *flag, const char *list, char *why) {
    struct bootstrap_item item;
    bool is_fine;
    unsigned count = 0;
    while (bootstrap_take_item(&list, &item, &is_fine)) {
        if (!is_fine || !is_name(item.name) || !is_name(item.percent_name)) {
            snprintf(why, SYS_WHY_MAX, "-%s: \"%.60s\" is no host name; separate names with commas and nothing else",
                     flag, item.name);
            return false;
        }
        if (++count > BOOTSTRAP_NAMES_MAX) {
            snprintf(why, SYS_WHY_MAX, "-%s takes at most %d names", flag, BOOTSTRAP_NAMES_MAX);
            return false;
        }
    }
    return true;
}

uint8_t bootstrap_percent_parse(const char *text, size_t size, bool *is_percent) {
    unsigned value = 0;
    *is_percent = false;
    if (size > 0 && *text == '+') text++, size--;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        value = min_of(value * 10 + (unsigned)(text[i] - '0'), 1000u);
    }
    *is_percent = size > 0 && value <= 100;
    return *is_percent ? (uint8_t)value : 0;
}

/* ---- tables ---- */

void bootstrap_shuffle(struct bootstrap_table *table, struct rng *rng) {
    for (uint32_t n = 0; n < table->names_count; n++) {
        struct bootstrap_name *name = &table->names[n];
        for (uint32_t i = name->addresses_count; i > 1; i--) {
            uint64_t other = rng_below(rng, i);
            struct net_address address = name->addresses[i - 1];
            name->addresses[i - 1] = name->addresses[other];
            name->addresses[other] = address;
        }
    }
}

const struct bootstrap_name *bootstrap_find(const struct bootstrap_table *table, const char *name) {
    for (uint32_t i = 0; table && i < table->names_count; i++) {
        if (strcmp(table->names[i].name, name) == 0) return &table->names[i];
    }
    return NULL;
}

/* The name after `last` in order, NULL at the end. */
static const struct bootstrap_name *next_name(const struct bootstrap_table *table, const struct bootstrap_name *last) {
    const struct bootstrap_name *next = NULL;
    for (uint32_t i = 0; i < table->names_count; i++) {
        const struct bootstrap_name *name = &table->names[i];
        if (last && strcmp(name->name, last->name) <= 0) continue;
        if (next == NULL || strcmp(name->name, next->name) < 0) next = name;
    }
    return next;
}

static void write_name(struct writer *w, const struct bootstrap_name *name) {
    char text[NET_ADDRESS_TEXT_MAX];
    writer_text(w, "\n\t\"");
    writer_text(w, name->name);
    writer_text(w, "\": [");
    for (uint32_t i = 0; i < name->addresses_count; i++) {
        writer_text(w, i ? ",\n\t\t\"" : "\n\t\t\"");
        writer_text(w, net_ip_text(&name->addresses[i], text));
        writer_text(w, "\"");
    }
    writer_text(w, "\n\t]");
}

void bootstrap_write_json(struct writer *w, const struct bootstrap_table *table, const struct bootstrap_name *only) {
    if (only == NULL && table->names_count == 0) {
        writer_text(w, "null");  // a nil map
        return;
    }
    writer_text(w, "{");
    if (only) write_name(w, only);
    const struct bootstrap_name *name = only ? NULL : next_name(table, NULL);
    for (bool is_first = true; name; name = next_name(table, name), is_first = false) {
        if (!is_first) writer_text(w, ",");
        write_name(w, name);
    }
    writer_text(w, "\n}");
}

/* ---- percentages ---- */

__extension__ typedef unsigned __int128 uint128;

/* PCG with the DXSM output function, 128 bits of state and the "cheap" multiplier, as published by its author; Go's
 * math/rand/v2 steps first and outputs the new state. */
static uint64_t pcg_first(uint64_t high, uint64_t low) {
    const uint128 multiplier = (uint128)0x2360ed051fc65da4ull << 64 | 0x4385df649fccf645ull;
    const uint128 increment = (uint128)0x5851f42d4c957f2dull << 64 | 0x14057b7ef767814full;
    const uint64_t cheap = 0xda942042e4dd58b5ull;
    uint128 state = ((uint128)high << 64 | low) * multiplier + increment;
    uint64_t out = (uint64_t)(state >> 64);
    out ^= out >> 32;
    out *= cheap;
    out ^= out >> 48;
    return out * ((uint64_t)state | 1);
}

static uint64_t load_le64(const uint8_t *p) {
    uint64_t value = 0;
    for (int i = 8; i-- > 0;) value = value << 8 | p[i];
    return value;
}

/* The lower 53 bits, as Go makes a float of a random number. */
static double fraction_of(uint64_t bits) { return (double)(bits << 11 >> 11) / (double)(1ull << 53); }

double bootstrap_draw(const struct net_address *remote) {
    return fraction_of(pcg_first(load_le64(remote->ip), load_le64(remote->ip + 8)));
}

bool bootstrap_is_chosen(const struct net_address *remote, uint8_t percent, struct rng *rng) {
    if (percent == 0 || percent >= 100) return percent > 0;
    if (net_address_is_loopback(remote)) return rng_below(rng, 2) == 0;
    return (double)percent / 100 > bootstrap_draw(remote);
}

/* ---- queries ---- */

void bootstrap_queries_init(struct bootstrap_queries *queries, struct rng *rng) {
    memset(queries, 0, sizeof(*queries));
    rng_bytes(rng, queries->secret, sizeof(queries->secret));
}

void bootstrap_queries_note(struct bootstrap_queries *queries, const char *name) {
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)name, strlen(name), queries->secret);
    hash |= 1;  // not 0
    size_t slots = array_count(queries->hashes), slot = (size_t)(hash >> 1) % slots;
    while (queries->hashes[slot] && queries->hashes[slot] != hash) slot = (slot + 1) % slots;
    if (queries->hashes[slot] == hash) return;
    queries->hashes[slot] = hash;
    queries->count++;
    if (queries->count <= BOOTSTRAP_QUERIES_MAX) return;
    queries->count = 0;
    memset(queries->hashes, 0, sizeof(queries->hashes));
}
