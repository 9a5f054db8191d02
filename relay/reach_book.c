#include "relay/reach_book.h"

static struct reach_entry *find(struct reach_book *book, enum reach_source source, const struct net_address *address) {
    for (uint32_t i = 0; i < book->count; i++) {
        struct reach_entry *entry = &book->entries[i];
        if (entry->source == source && reach_is_same(&entry->address, address)) return entry;
    }
    return NULL;
}

void reach_book_confirm(struct reach_book *book, enum reach_source source, const struct net_address *address) {
    struct reach_entry *entry = find(book, source, address);
    if (entry == NULL) {
        if (book->count == REACH_BOOK_SIZE) return;
        entry = &book->entries[book->count++];
        *entry = (struct reach_entry){.address = *address, .source = (uint8_t)source};
    }
    entry->is_confirmed = true;
}

/* True when it stays. */
static bool age(struct reach_entry *entry, bool has_failed) {
    if (entry->is_confirmed) entry->missed = 0;
    else if (!has_failed) entry->missed++;
    entry->is_confirmed = false;
    return entry->missed < REACH_BOOK_MISSES;
}

void reach_book_end_round(struct reach_book *book, enum reach_source source, bool has_failed) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < book->count; i++) {
        struct reach_entry entry = book->entries[i];
        if (entry.source != source || age(&entry, has_failed)) book->entries[kept++] = entry;
    }
    book->count = kept;
}

bool reach_book_has(const struct reach_book *book, enum reach_source source) {
    for (uint32_t i = 0; i < book->count; i++) {
        if (book->entries[i].source == source) return true;
    }
    return false;
}

void reach_book_list(const struct reach_book *book, struct net_address *list, size_t *count, size_t max) {
    for (unsigned source = 0; source < REACH_SOURCE_COUNT; source++) {
        for (uint32_t i = 0; i < book->count; i++) {
            const struct reach_entry *entry = &book->entries[i];
            if (entry->source == source) reach_list_add(list, count, max, &entry->address);
        }
    }
}
