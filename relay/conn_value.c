#include "relay/conn_value.h"

#include <sodium.h>

#include "core/check.h"

enum { HEAD_SIZE = 4 + 2 + 2 + 4, FIELD_HEAD_SIZE = 2 + 4 };

static const char magic[4] = {'R', 'R', 'c', 'v'};

#define COUNT_ONE(...) +1
enum { FIELDS_COUNT = CONN_FIELDS(COUNT_ONE, COUNT_ONE, COUNT_ONE) };

static void put_little(struct writer *w, uint64_t value, size_t size) {
    uint8_t *room = writer_room(w, size);
    for (size_t i = 0; room && i < size; i++) room[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_little(struct reader *r, size_t size) {
    const uint8_t *bytes = reader_take(r, size);
    uint64_t value = 0;
    for (size_t i = 0; bytes && i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void put_field_head(struct writer *w, unsigned id, size_t size) {
    put_little(w, id, 2);
    put_little(w, size, 4);
}

static void put_blob(struct writer *w, unsigned id, const struct conn_blob *blob, size_t size_max) {
    if (blob->size > size_max) w->bad = true;
    put_field_head(w, id, blob->size);
    writer_copy(w, blob->bytes, blob->size);
}

size_t conn_value_packed_size(const struct conn_value *value) {
    size_t size = HEAD_SIZE;
#define SIZE_NUMBER(id, type, name) size += FIELD_HEAD_SIZE + sizeof(type);
#define SIZE_BYTES(id, name, length) size += FIELD_HEAD_SIZE + (length);
#define SIZE_BLOB(id, name, length_max) size += FIELD_HEAD_SIZE + value->name.size;
    CONN_FIELDS(SIZE_NUMBER, SIZE_BYTES, SIZE_BLOB)
    return size;
}

bool conn_value_pack(const struct conn_value *value, struct writer *w) {
    writer_copy(w, magic, sizeof(magic));
    put_little(w, CONN_VALUE_VERSION, 2);
    put_little(w, FIELDS_COUNT, 2);
    put_little(w, conn_value_packed_size(value), 4);
#define PACK_NUMBER(id, type, name)      \
    put_field_head(w, id, sizeof(type)); \
    put_little(w, (uint64_t)value->name, sizeof(type));
#define PACK_BYTES(id, name, length) \
    put_field_head(w, id, length);   \
    writer_copy(w, value->name, length);
#define PACK_BLOB(id, name, length_max) put_blob(w, id, &value->name, length_max);
    CONN_FIELDS(PACK_NUMBER, PACK_BYTES, PACK_BLOB)
    return writer_ok(w);
}

/* The head of the next field has to be this id; its size comes back. */
static size_t get_field_head(struct reader *r, unsigned id) {
    if (get_little(r, 2) != id) r->bad = true;
    return (size_t)get_little(r, 4);
}

static uint64_t get_number(struct reader *r, unsigned id, size_t size) {
    if (get_field_head(r, id) != size) r->bad = true;
    return get_little(r, size);
}

static void get_bytes(struct reader *r, unsigned id, uint8_t *to, size_t size) {
    if (get_field_head(r, id) != size) r->bad = true;
    (void)reader_copy(r, to, size);  // why: a failure is sticky in r, asked once at the end
}

static struct conn_blob get_blob(struct reader *r, unsigned id, size_t size_max) {
    size_t size = get_field_head(r, id);
    if (size > size_max) r->bad = true;
    const uint8_t *bytes = reader_take(r, size);
    return (struct conn_blob){.bytes = bytes, .size = bytes ? (uint32_t)size : 0};
}

static bool get_head(struct reader *r, size_t size) {
    const uint8_t *seen = reader_take(r, sizeof(magic));
    bool is_ours = seen != NULL && memcmp(seen, magic, sizeof(magic)) == 0;
    bool is_version = get_little(r, 2) == CONN_VALUE_VERSION;
    bool is_count = get_little(r, 2) == FIELDS_COUNT;
    bool is_size = get_little(r, 4) == size;
    return reader_ok(r) && is_ours && is_version && is_count && is_size;
}

bool conn_value_unpack(struct conn_value *value, const void *bytes, size_t size) {
    struct reader r = reader_of(bytes, size);
    struct conn_value fresh;
    memset(&fresh, 0, sizeof(fresh));
    if (!get_head(&r, size)) return false;
#define UNPACK_NUMBER(id, type, name) fresh.name = (type)get_number(&r, id, sizeof(type));
#define UNPACK_BYTES(id, name, length) get_bytes(&r, id, fresh.name, length);
#define UNPACK_BLOB(id, name, length_max) fresh.name = get_blob(&r, id, length_max);
    CONN_FIELDS(UNPACK_NUMBER, UNPACK_BYTES, UNPACK_BLOB)
    bool is_fine = reader_done(&r);
    if (is_fine) *value = fresh;
    sodium_memzero(&fresh, sizeof(fresh));  // it holds the connection's secrets
    return is_fine;
}

/* Every field of RECORD_FIELDS and WEBSOCKET_FIELDS has its namesake in CONN_FIELDS: one that is added there and not
 * here does not compile. */
void conn_value_from_record(struct conn_value *value, const struct record *record) {
#define FROM_RECORD(type, name, array)                                           \
    _Static_assert(sizeof(value->record_##name) == sizeof(record->name), #name); \
    memcpy(&value->record_##name, &record->name, sizeof(record->name));
    RECORD_FIELDS(FROM_RECORD)
}

void conn_value_to_record(const struct conn_value *value, struct record *record) {
#define TO_RECORD(type, name, array) memcpy(&record->name, &value->record_##name, sizeof(record->name));
    RECORD_FIELDS(TO_RECORD)
}

void conn_value_from_websocket(struct conn_value *value, const struct websocket *websocket) {
#define FROM_WEBSOCKET(type, name, array)                                              \
    _Static_assert(sizeof(value->websocket_##name) == sizeof(websocket->name), #name); \
    memcpy(&value->websocket_##name, &websocket->name, sizeof(websocket->name));
    WEBSOCKET_FIELDS(FROM_WEBSOCKET)
}

void conn_value_to_websocket(const struct conn_value *value, struct websocket *websocket) {
#define TO_WEBSOCKET(type, name, array) memcpy(&websocket->name, &value->websocket_##name, sizeof(websocket->name));
    WEBSOCKET_FIELDS(TO_WEBSOCKET)
}

void conn_value_present(const struct conn_value *value, struct present *present) {
    bool is_mesh_peer = value->is_mesh_peer, is_prober = value->is_prober, is_not_ideal = value->is_not_ideal;
    *present = (struct present){
        .conn_id = value->conn_id,
        .port = value->remote_port,
        .flags = derp_present_flags(is_mesh_peer, is_prober, is_not_ideal),
        .app_name_size = (uint8_t)min_of((size_t)value->app_name_size, sizeof(present->app_name)),
    };
    memcpy(present->ip, value->remote_ip, sizeof(present->ip));
    memcpy(present->app_name, value->app_name, present->app_name_size);
}
