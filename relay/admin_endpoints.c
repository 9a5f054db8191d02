#include "relay/admin_endpoints.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/check.h"

void admin_walk_begin(struct admin_walk *walk, const struct vni_table *table, enum admin_walk_form form) {
    *walk = (struct admin_walk){.table = table, .form = form};
}

/* "" while it is not bound. */
static const char *address_text(const struct vni_address *from, char text[NET_ADDRESS_TEXT_MAX + 12]) {
    struct net_address address = {.port = from->port};
    char ip[NET_ADDRESS_TEXT_MAX];
    memcpy(address.ip, from->ip, sizeof(address.ip));
    *text = 0;
    if (from->port == 0) return text;
    if (from->scope == 0) return net_address_text(&address, text);
    snprintf(text, NET_ADDRESS_TEXT_MAX + 12, "[%s%%%" PRIu32 "]:%u", net_ip_text(&address, ip), from->scope,
             from->port);
    return text;
}

/* No value has a character that JSON would want escaped. */
static void write_client(struct writer *w, const struct admin_walk *walk, const struct vni_info *info, int leg,
                         uint64_t now_ns) {
    char text[ADMIN_ENDPOINT_MAX / 3], address[NET_ADDRESS_TEXT_MAX + 12], key[DISCO_KEY_TEXT_SIZE],
        brief[DISCO_KEY_SHORT_TEXT_SIZE], idle[24] = "null";
    uint64_t seen_ns = info->clients[leg].last_seen_ns;
    address_text(&info->clients[leg].address, address);
    disco_key_format(&info->clients[leg].key, key);
    disco_key_format_short(&info->clients[leg].key, brief);
    if (seen_ns)
        snprintf(idle, sizeof(idle), "%" PRIu64, (uint64_t)(now_ns > seen_ns ? (now_ns - seen_ns) / NS_PER_MS : 0));
    int size;
    if (walk->form == ADMIN_WALK_SESSIONS) {
        size = snprintf(text, sizeof(text),
                        "\"Client%d\":{\"Endpoint\":\"%s\",\"ShortDisco\":\"%s\",\"PacketsTx\":%" PRIu64
                        ",\"BytesTx\":%" PRIu64 "}",
                        leg + 1, address, brief, info->clients[leg].packets, info->clients[leg].bytes);
    } else {
        size =
            snprintf(text, sizeof(text),
                     "{\"key\":\"%s\",\"address\":\"%s\",\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"idle_ms\":%s}",
                     key, address, info->clients[leg].packets, info->clients[leg].bytes, idle);
    }
    CHECK(size > 0 && (size_t)size < sizeof(text));
    writer_copy(w, text, (size_t)size);
}

static void write_endpoint(struct writer *w, const struct admin_walk *walk, const struct vni_info *info,
                           uint64_t now_ns) {
    char text[128];
    bool is_session = walk->form == ADMIN_WALK_SESSIONS;
    if (is_session) {
        snprintf(text, sizeof(text), "{\"VNI\":%" PRIu32 ",", info->vni);
    } else {
        snprintf(text, sizeof(text), "{\"vni\":%" PRIu32 ",\"state\":\"%s\",\"lamport\":%" PRIu64 ",\"clients\":[",
                 info->vni, info->is_open ? "open" : "connecting", info->lamport);
    }
    writer_text(w, text);
    write_client(w, walk, info, 0, now_ns);
    writer_text(w, ",");
    write_client(w, walk, info, 1, now_ns);
    writer_text(w, is_session ? "}" : "]}");
}

void admin_walk_write(struct admin_walk *walk, struct writer *w, uint64_t now_ns) {
    uint32_t slots = vni_slots(walk->table);
    uint32_t end = min_of(walk->next_slot + ADMIN_WALK_SLOTS, slots);
    struct vni_info info;
    while (!walk->is_done && writer_left(w) >= ADMIN_ENDPOINT_MAX) {
        if (vni_list_until(walk->table, &walk->next_slot, end, &info)) {
            if (walk->written++ > 0) writer_text(w, ",");
            write_endpoint(w, walk, &info, now_ns);
        } else if (end == slots) {
            writer_text(w, walk->form == ADMIN_WALK_SESSIONS ? "]}" : "]}\n");
            walk->is_done = true;
        } else {
            break;
        }
    }
    CHECK(writer_ok(w));
}
