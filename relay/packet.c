#include "relay/packet.h"

#include "core/asan.h"
#include "core/check.h"

/* How many slots share a page, small ones first: 512 B for disco and control frames, 1.8 KB for a full network MTU,
 * 8 KB for a gathered send of a few, 22 KB for a gathered send or the greatest TLS record, and the whole page for the
 * greatest packet and the greatest send. */
static const uint32_t slots_per_page[PACKET_CLASSES] = {128, 36, 8, 3, 1};

struct packet_page {
    struct packet_page *next;  // in the free list or its class's partial list
    struct packet_page *prev;
    struct packet *free_slots;
    uint32_t taken;
    uint8_t class_idx;
    bool is_listed;  // in its class's partial list
};

static uint32_t slot_size_of(unsigned class_idx) {
    return (uint32_t)(PACKET_PAGE_SIZE / slots_per_page[class_idx] / CACHE_LINE_SIZE * CACHE_LINE_SIZE);
}

static uint32_t capacity_of(unsigned class_idx) {
    return slot_size_of(class_idx) - (uint32_t)sizeof(struct packet) - PACKET_HEADROOM - PACKET_TAILROOM;
}

static size_t pages_in(size_t memory_bytes) { return memory_bytes / PACKET_PAGE_SIZE; }

size_t packet_pool_footprint(size_t memory_bytes) {
    return arena_cost(pages_in(memory_bytes) * PACKET_PAGE_SIZE) +
           arena_cost(pages_in(memory_bytes) * sizeof(struct packet_page));
}

void packet_pool_init(struct packet_pool *pool, struct arena *arena, size_t memory_bytes, uint8_t owner) {
    *pool = (struct packet_pool){.owner = owner, .pages_count = (uint32_t)pages_in(memory_bytes)};
    CHECK(pool->pages_count > 0);
    CHECK(capacity_of(PACKET_CLASSES - 1) >= LIMIT_CHUNK_MAX);
    pool->memory = arena_take(arena, pool->pages_count * PACKET_PAGE_SIZE);
    pool->pages = arena_take(arena, pool->pages_count * sizeof(struct packet_page));
    for (uint32_t i = pool->pages_count; i-- > 0;) {
        pool->pages[i].next = pool->free_pages;
        pool->free_pages = &pool->pages[i];
    }
    pool->pages_free = pool->pages_count;
    asan_poison(pool->memory, pool->pages_count * PACKET_PAGE_SIZE);
}

static uint8_t *page_memory(const struct packet_pool *pool, const struct packet_page *page) {
    return pool->memory + (size_t)(page - pool->pages) * PACKET_PAGE_SIZE;
}

static struct packet_page *page_of(const struct packet_pool *pool, const struct packet *packet) {
    size_t offset = (size_t)((const uint8_t *)packet - pool->memory);
    DCHECK(offset < pool->pages_count * PACKET_PAGE_SIZE);
    return &pool->pages[offset / PACKET_PAGE_SIZE];
}

static void page_list(struct packet_pool *pool, struct packet_page *page) {
    struct packet_page **head = &pool->partial[page->class_idx];
    page->prev = NULL;
    page->next = *head;
    if (*head) (*head)->prev = page;
    *head = page;
    page->is_listed = true;
}

static void page_unlist(struct packet_pool *pool, struct packet_page *page) {
    if (page->prev) {
        page->prev->next = page->next;
    } else {
        pool->partial[page->class_idx] = page->next;
    }
    if (page->next) page->next->prev = page->prev;
    page->is_listed = false;
}

/* Cuts a page from the stock into slots of the class. The slots' heads are all that is touched. */
static struct packet_page *page_open(struct packet_pool *pool, unsigned class_idx) {
    struct packet_page *page = pool->free_pages;
    if (page == NULL) return NULL;
    pool->free_pages = page->next;
    pool->pages_free--;
    page->class_idx = (uint8_t)class_idx;
    page->taken = 0;
    page->free_slots = NULL;
    uint32_t slot_size = slot_size_of(class_idx);
    for (uint32_t i = slots_per_page[class_idx]; i-- > 0;) {
        struct packet *packet = (void *)(page_memory(pool, page) + (size_t)i * slot_size);
        asan_unpoison(packet, sizeof(*packet));
        *packet = (struct packet){.next = page->free_slots, .slot_size = slot_size, .class_idx = (uint8_t)class_idx};
        page->free_slots = packet;
    }
    page_list(pool, page);
    return page;
}

static void page_close(struct packet_pool *pool, struct packet_page *page) {
    if (page->is_listed) page_unlist(pool, page);
    page->next = pool->free_pages;
    pool->free_pages = page;
    pool->pages_free++;
    asan_poison(page_memory(pool, page), PACKET_PAGE_SIZE);
}

static unsigned class_for(size_t size) {
    unsigned class_idx = 0;
    while (capacity_of(class_idx) < size) class_idx++;
    return class_idx;
}

uint32_t packet_cost_of(size_t size) { return slot_size_of(class_for(size)); }

static struct packet *take_slot(struct packet_pool *pool, struct packet_page *page) {
    struct packet *packet = page->free_slots;
    page->free_slots = packet->next;
    page->taken++;
    if (page->free_slots == NULL) page_unlist(pool, page);
    asan_unpoison(packet, packet->slot_size);
    pool->bytes_taken += packet->slot_size;
    packet->next = NULL;
    packet->frame = (uint8_t *)packet + sizeof(struct packet) + PACKET_HEADROOM;
    packet->enqueued_ns = 0;
    packet->size = packet->sent = 0;
    memset(packet->relayed, 0, sizeof(packet->relayed));
    memset(packet->relayed_bytes, 0, sizeof(packet->relayed_bytes));
    packet->is_disco = packet->is_foreign = packet->is_forwarded = packet->is_close_peer = false;
    packet->flow = 0;
    packet->owner = pool->owner;
    packet->is_taken = true;
    return packet;
}

struct packet *packet_take_open(struct packet_pool *pool, size_t size) {
    CHECK(size <= LIMIT_CHUNK_MAX);
    struct packet_page *page = pool->partial[class_for(size)];
    return page ? take_slot(pool, page) : NULL;
}

struct packet *packet_take(struct packet_pool *pool, size_t size) {
    struct packet *packet = packet_take_open(pool, size);
    if (packet) return packet;
    struct packet_page *page = page_open(pool, class_for(size));
    return page ? take_slot(pool, page) : NULL;
}

void packet_give(struct packet_pool *pool, struct packet *packet) {
    CHECK(packet->is_taken && packet->owner == pool->owner);
    struct packet_page *page = page_of(pool, packet);
    packet->is_taken = false;
    pool->bytes_taken -= packet->slot_size;
    packet->next = page->free_slots;
    page->free_slots = packet;
    asan_poison((uint8_t *)packet + sizeof(*packet), packet->slot_size - sizeof(*packet));
    if (!page->is_listed) page_list(pool, page);
    if (--page->taken == 0) page_close(pool, page);
}
