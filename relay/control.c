#include "relay/control.h"

#include "core/check.h"
#include "core/log.h"

/* The most mail one input causes in one lane: ADOPT and GO, or RELEASE and GONE. */
enum { MAIL_PER_INPUT_MAX = 2, LOAD_EVERY_NS = 1000 * 1000 * 1000 };

size_t control_footprint(const struct registrar_options *places) {
    return registrar_footprint(places->workers_count, places->places_count) + arena_cost(sizeof(struct presence));
}

void control_init(struct control *c, struct arena *arena, const struct registrar_options *places,
                  struct directory *directory, const struct control_links *links, struct ring *ring,
                  struct metrics *metrics) {
    memset(c, 0, sizeof(*c));
    c->links = *links;
    c->ring = ring;
    c->metrics = metrics;
    c->directory = directory;
    c->load_due_ns = TIME_NEVER;
    c->presence = arena_take(arena, sizeof(struct presence));
    registrar_init(&c->registrar, arena, directory, places);
}

static void mail_worker(struct control *c, uint32_t worker, const struct mail *mail) {
    CHECK(lane_push(c->links.to_workers[worker], mail));  // asked for room before the input was taken
}

static void mail_front(struct control *c, const struct mail *mail) { CHECK(lane_push(c->links.to_front, mail)); }

static void count_keys(struct control *c) {
    stat_set(&c->metrics->clients_local, c->registrar.keys_count);
    stat_set(&c->metrics->clients_total, c->registrar.keys_count);
    stat_set(&c->metrics->published_keys, c->directory->count);
    stat_set(&c->metrics->booked_connections, c->registrar.conns_count);
}

static void write_presence(struct control *c, const struct presence_event *event) {
    presence_write(c->presence, event);
    c->has_news = true;
}

/* Who begins to watch is told of a key by its newest connection. */
static void publish(struct control *c, const struct mail *login, route where, bool is_new_key) {
    if (is_new_key) {
        directory_publish(c->directory, &login->key, where, &login->present);
    } else {
        directory_describe(c->directory, &login->key, &login->present);
    }
}

/* ADOPT, publish, present, GO: a packet can be queued for the peer from ADOPT on, can find it from publish on, watchers
 * know before the client does, and the client is told last. */
static void on_login(struct control *c, const struct mail *login) {
    bool is_new_key;
    route where = registrar_join(&c->registrar, &login->key, &is_new_key);
    if (where == ROUTE_NONE) {
        mail_front(c, &(struct mail){.kind = MAIL_PARCEL_BACK, .parcel_idx = login->parcel_idx, .is_refused = true});
        return;
    }
    struct mail adopt = *login;
    adopt.kind = MAIL_ADOPT;
    adopt.where = where;
    mail_worker(c, route_worker(where), &adopt);
    /* Visible before the route is: whoever finds the route also finds the mail. GO, behind it, brings the wake-up. */
    (void)lane_flush(c->links.to_workers[route_worker(where)]);
    publish(c, login, where, is_new_key);
    write_presence(c, &(struct presence_event){
                          .kind = PRESENCE_PRESENT, .key = login->key, .where = where, .present = login->present});
    mail_worker(c, route_worker(where), &(struct mail){.kind = MAIL_GO, .where = where, .conn_id = login->conn_id});
    count_keys(c);
}

/* The connection that describes its key has left, and others remain: the active one of them does from now on. Without
 * a node for it the description is out of date, and nothing more. */
static void describe_anew(struct control *c, const struct node_key *key, const struct mail *left) {
    if (left->present.conn_id == 0 || directory_description(c->directory, key)->conn_id != left->conn_id) return;
    if (directory_has_room(c->directory)) directory_describe(c->directory, key, &left->present);
}

static void on_left(struct control *c, const struct mail *left) {
    struct node_key key;
    if (left->has_watched) c->watchers_count[route_worker(left->where)]--;
    if (!registrar_leave(&c->registrar, left->where, &key)) {
        describe_anew(c, &key, left);
        count_keys(c);
        return;
    }
    directory_unpublish(c->directory, &key);
    write_presence(c, &(struct presence_event){.kind = PRESENCE_GONE, .key = key, .where = left->where});
    mail_worker(c, route_worker(left->where), &(struct mail){.kind = MAIL_RELEASE, .where = left->where});
    for (uint32_t i = 0; i < c->links.workers_count; i++) {
        mail_worker(c, i, &(struct mail){.kind = MAIL_GONE, .key = key});
    }
    count_keys(c);
}

/* Its cursor may be older than this: what was written meanwhile is made known now. */
static void on_watch(struct control *c, const struct mail *mail) {
    c->watchers_count[route_worker(mail->where)]++;
    c->has_news = true;
}

static void on_worker(struct control *c, const struct mail *mail) {
    CHECK(mail->kind == MAIL_LEFT || mail->kind == MAIL_WATCH);
    if (mail->kind == MAIL_LEFT) {
        on_left(c, mail);
    } else {
        on_watch(c, mail);
    }
}

/* RATE and STOP are for everybody. */
static void on_main(struct control *c, const struct mail *mail) {
    c->is_stopped = mail->kind == MAIL_STOP;
    mail_front(c, mail);
    for (uint32_t i = 0; i < c->links.workers_count; i++) mail_worker(c, i, mail);
}

/* DUMP is for the worker whose turn it is. */
static void on_office(struct control *c, const struct mail *mail) {
    CHECK(mail->kind == MAIL_DUMP && mail->dump->worker < c->links.workers_count);
    mail_worker(c, mail->dump->worker, mail);
}

static bool has_room(struct control *c) {
    if (lane_room(c->links.to_front) < MAIL_PER_INPUT_MAX) return false;
    for (uint32_t i = 0; i < c->links.workers_count; i++) {
        if (lane_room(c->links.to_workers[i]) < MAIL_PER_INPUT_MAX) return false;
    }
    return true;
}

/* Departures first: they free what logins need. */
static bool take_departures(struct control *c) {
    struct mail mail;
    for (uint32_t i = 0; i < c->links.workers_count; i++) {
        while (has_room(c)) {
            if (!lane_pop(c->links.from_workers[i], &mail)) break;
            on_worker(c, &mail);
        }
    }
    return has_room(c);
}

/* False when there may be more, but it has to wait for room or for readers of the directory. */
static bool take_logins(struct control *c) {
    while (has_room(c) && directory_has_room(c->directory)) {
        struct mail login;
        if (!lane_pop(c->links.from_front, &login)) return true;
        CHECK(login.kind == MAIL_LOGIN);
        on_login(c, &login);
    }
    return false;
}

static void flush(struct control *c) {
    if (lane_flush(c->links.to_front)) ring_wake(c->ring, c->links.front_ring);
    for (uint32_t i = 0; i < c->links.workers_count; i++) {
        bool has_mail = lane_flush(c->links.to_workers[i]);
        bool has_news = c->has_news && c->watchers_count[i] > 0;
        if (has_mail || has_news) ring_wake(c->ring, c->links.worker_rings[i]);
    }
    c->has_news = false;
    if (log_flush()) ring_wake(c->ring, c->links.office_ring);
}

static uint32_t load_permille(uint64_t busy_ns, uint64_t span_ns) {
    return (uint32_t)min_of(busy_ns * REGISTRAR_PERMILLE_MAX / span_ns, (uint64_t)REGISTRAR_PERMILLE_MAX);
}

/* Looks at what the workers have had to do since the last look, and tells the books if `is_told`. */
static void look_at_load(struct control *c, uint64_t now_ns, bool is_told) {
    for (uint32_t i = 0; i < c->links.workers_count; i++) {
        uint64_t busy_ns = stat_get(&c->links.worker_metrics[i]->busy_ns);
        uint32_t permille = is_told ? load_permille(busy_ns - c->busy_seen_ns[i], now_ns - c->load_seen_ns) : 0;
        registrar_set_load(&c->registrar, i, permille);
        c->busy_seen_ns[i] = busy_ns;
    }
    c->load_seen_ns = now_ns;
    c->load_due_ns = now_ns + LOAD_EVERY_NS;
}

/* Placement goes by what workers have lately had to do. With one there is nothing to choose, and without connections
 * nothing to see: then control sleeps, and the first look after that only begins a new span. */
static void watch_load(struct control *c, uint64_t now_ns) {
    bool is_wanted = c->links.workers_count > 1 && c->registrar.conns_count > 0;
    if (!is_wanted) {
        c->load_due_ns = TIME_NEVER;
    } else if (c->load_due_ns == TIME_NEVER || now_ns >= c->load_due_ns) {
        look_at_load(c, now_ns, c->load_due_ns != TIME_NEVER);
    }
}

uint64_t control_step(struct control *c, uint64_t now_ns) {
    struct mail mail;
    struct ring_event none;
    CHECK(ring_reap(c->ring, &none, 1) == 0);  // no sockets here: a pass only swallows wake-ups
    bool is_drained = take_departures(c) && take_logins(c);
    watch_load(c, now_ns);
    c->is_waiting = !is_drained;
    if (!is_drained) stat_add(&c->metrics->lane_retries, 1);
    while (!c->is_stopped && has_room(c) && lane_pop(c->links.from_main, &mail)) on_main(c, &mail);
    while (has_room(c) && lane_pop(c->links.from_office, &mail)) on_office(c, &mail);
    flush(c);
    stat_add(&c->metrics->passes, 1);
    return is_drained ? c->load_due_ns : now_ns + NS_PER_MS;
}

bool control_may_sleep(struct control *c) {
    if (c->is_waiting) return true;  // it asked for a pass in a millisecond
    for (uint32_t i = 0; i < c->links.workers_count; i++) {
        if (lane_has_mail(c->links.from_workers[i])) return false;
    }
    return !lane_has_mail(c->links.from_front) && !lane_has_mail(c->links.from_office) &&
           !lane_has_mail(c->links.from_main);
}
