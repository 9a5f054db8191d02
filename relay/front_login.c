/* front_login.c - the front's way from a request for /derp to a packed connection (relay/session.h). */
#include "core/check.h"
#include "core/log.h"
#include "relay/conn_value.h"
#include "relay/front.h"
#include "relay/page.h"
#include "relay/session.h"

enum {
    HANDOVER_TIMEOUT_S = 10,
    KEEPALIVE_S = 60,
    KEEPALIVE_JITTER_S = 5,
};

void session_begin_login(struct front *f, struct session *s, const struct http_request *request,
                         const struct writer *out) {
    CHECK(writer_ok(out));
    s->out_size = (uint32_t)(out->at - s->own_out);
    stat_add(&f->metrics->accepts, 1);
    session_consume(s, request->head_size);
    session_enter(f, s, SESSION_LOGIN, SESSION_LOGIN_TIMEOUT_S * NS_PER_S);
    session_send(f, s);
}

void session_upgrade(struct front *f, struct session *s, const struct http_request *request) {
    enum http_upgrade upgrade = http_derp_upgrade(request);
    if (upgrade == HTTP_UPGRADE_WEBSOCKET) {
        session_upgrade_websocket(f, s, request);
        return;
    }
    if (upgrade == HTTP_UPGRADE_NONE) {
        page_text(s, request, 426, "DERP requires connection upgrade");
        session_consume(s, request->head_size);
        session_enter(f, s, SESSION_RESPONDING, SESSION_LOGIN_TIMEOUT_S * NS_PER_S);
        session_send(f, s);
        return;
    }
    struct writer w = writer_of(s->own_out, SESSION_OUT_SIZE);
    const struct http_view *ideal_node = http_header_find(&request->headers, "Ideal-Node");
    s->is_not_ideal = ideal_node && ideal_node->size > 0;
    if (!http_wants_fast_start(request)) http_write_derp_switch(&w, &f->options.public_key);
    derp_write_server_key(&w, &f->options.public_key);
    session_begin_login(f, s, request, &w);
}

static enum refuse_reason reason_of(enum login_error error) {
    bool is_box = error == LOGIN_BAD_BOX || error == LOGIN_BAD_KEY || error == LOGIN_BAD_LENGTH;
    return is_box ? REFUSE_BOX : REFUSE_CLIENT_INFO;
}

/* A frame that does not fit the session's own buffer moves to a large one. In the clear exactly the frame is read
 * then; with TLS its last record may hold more. */
static bool make_room(struct front *f, struct session *s, uint32_t frame_size) {
    bool is_tls = s->transport == TRANSPORT_TLS;
    uint32_t room = frame_size + (is_tls ? RECORD_INNER_MAX : 0);
    if (room <= s->in_room) return true;
    if (!session_take_large(f, s)) return false;
    memcpy(s->large, s->in, s->in_size);
    s->in = s->large;
    s->in_room = room;
    return true;
}

/* As Go splits at commas: an empty item is the name of those who give none. */
static bool is_listed(const char *list, const char *name) {
    size_t size = strlen(name);
    if (list == NULL || *list == '\0') return false;
    for (;;) {
        size_t item = strcspn(list, ",");
        if (item == size && memcmp(list, name, size) == 0) return true;
        if (list[item] == '\0') return false;
        list += item + 1;
    }
}

/* A wrong key is no error: who shows one is a regular client, as with derper. */
static bool is_mesh_key(const struct mesh_key *ours, const struct client_info *info) {
    return info->has_mesh_key && !key_mesh_is_zero(ours) && key_mesh_equal(ours, &info->mesh_key);
}

static bool open_client_info(struct front *f, struct session *s, uint32_t length) {
    struct client_info info;
    struct box_key shared;
    enum login_error error = login_open_client_info(&f->options.private_key, s->in + DERP_HEADER_SIZE, length,
                                                    &s->login.key, &info, &shared);
    if (error != LOGIN_OK) {
        session_refuse(f, s, reason_of(error));
        return false;
    }
    if (info.has_bad_app_name) {  // as derper since 1.104
        box_key_wipe(&shared);
        login_client_info_wipe(&info);
        session_refuse(f, s, REFUSE_CLIENT_INFO);
        return false;
    }
    bool is_mesh_peer = is_mesh_key(&f->options.mesh_key, &info);
    if (!is_mesh_peer && !s->is_node && is_listed(f->options.disallowed_app_names, info.app_name)) {
        box_key_wipe(&shared);
        login_client_info_wipe(&info);
        session_refuse(f, s, REFUSE_APP_NAME);
        return false;
    }
    s->login.can_ack_pings = info.can_ack_pings;
    s->login.is_prober = info.is_prober;
    s->login.is_mesh_peer = is_mesh_peer;
    memcpy(s->login.app_name, info.app_name, sizeof(s->login.app_name));
    struct writer w = writer_of(s->login.server_info, sizeof(s->login.server_info));
    login_write_server_info(&w, &shared, f->rng);
    CHECK(writer_ok(&w) && writer_left(&w) == 0);
    box_key_wipe(&shared);
    login_client_info_wipe(&info);
    return true;
}

bool session_login_step(struct front *f, struct session *s) {
    if (s->is_websocket && !session_unwrap(f, s)) return false;
    if (s->in_size < DERP_HEADER_SIZE) return false;
    uint32_t length = load_be32(s->in + 1);
    if (derp_is_refusal(derp_frame_check(DERP_SERVER_GREETING, s->in[0], length))) {
        session_refuse(f, s, REFUSE_NOT_CLIENT_INFO);
        return false;
    }
    uint32_t frame_size = DERP_HEADER_SIZE + length;
    if (!make_room(f, s, frame_size)) {
        session_refuse(f, s, REFUSE_BUFFERS_FULL);
        return false;
    }
    if (s->in_size < frame_size || !open_client_info(f, s, length)) return false;
    session_consume(s, frame_size);
    s->unwrapped = s->in_size;
    session_enter(f, s, SESSION_HANDOVER, HANDOVER_TIMEOUT_S * NS_PER_S);
    return true;
}

/* The first keep-alive comes after one period; the period is this connection's own, so that many clients that came at
 * once do not get theirs at once for ever. */
static void value_times(struct front *f, struct conn_value *value) {
    value->keepalive_period_ns = KEEPALIVE_S * NS_PER_S + rng_below(f->rng, KEEPALIVE_JITTER_S * NS_PER_S);
    value->keepalive_due_ns = f->now_ns + value->keepalive_period_ns;
    value->not_here_tokens = LIMIT_NOT_HERE_BURST;
    value->not_here_refilled_ns = f->now_ns;
}

void session_value(struct front *f, const struct session *s, uint64_t conn_id, struct conn_value *value) {
    *value = (struct conn_value){
        .conn_id = conn_id,
        .transport = (uint8_t)s->transport,
        .remote_port = s->remote.port,
        .connected_ns = s->accepted_ns,
        .can_ack_pings = s->login.can_ack_pings,
        .is_prober = s->login.is_prober,
        .is_mesh_peer = s->login.is_mesh_peer,
        .is_not_ideal = s->is_not_ideal,
        .app_name_size = (uint8_t)strlen(s->login.app_name),
        .stream_side = s->login.is_mesh_peer ? DERP_SERVER_MESH : DERP_SERVER,
        .stream_phase = DERP_STREAM_HEADER,
        .opened = {.bytes = s->in, .size = s->in_size},
        .unopened = {.bytes = s->raw, .size = s->raw_size},
        .urgent = {.bytes = s->login.server_info, .size = sizeof(s->login.server_info)},
    };
    memcpy(value->key, s->login.key.bytes, KEY_SIZE);
    memcpy(value->app_name, s->login.app_name, value->app_name_size);
    memcpy(value->remote_ip, s->remote.ip, sizeof(value->remote_ip));
    if (s->transport == TRANSPORT_TLS) conn_value_from_record(value, &s->record);
    value->is_websocket = s->is_websocket;
    if (s->is_websocket) conn_value_from_websocket(value, &s->websocket);
    value_times(f, value);
}
