/* ring_sim.c - core/ring.h a second time, on the virtual network and on virtual time.
 *
 * Requests are kept in a list. Whenever the owner reaps, the seed decides which of those that can end do end now, in
 * what order, and with how much; the others wait for a later reap. A fiber in ring_wait goes on when a request can end,
 * when it was woken, or when its time has come, and for no other reason: so a wake-up that somebody forgets is a fiber
 * that sleeps for ever, and the run ends with a finding.
 *
 * The contract is checked from the other side, too: memory of a send must not change while it is under way, buffers
 * come back once, nothing is asked of a closing socket, verbs are used by the thread that enabled the ring.
 */
#include "tests/sim/ring_sim.h"

#include <errno.h>
#include <stdlib.h>

#include "core/asan.h"
#include "core/check.h"
#include "tests/sim/faults_sim.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/sched_sim.h"

enum request_kind { REQUEST_ACCEPT, REQUEST_RECEIVE, REQUEST_SEND, REQUEST_PAUSE, REQUEST_CLOSE };

/* ring_socket.receive_state */
enum { RECEIVE_NONE, RECEIVE_ARMED };

struct request {
    struct ring_socket *socket;  // NULL: ended, to be removed
    enum request_kind kind;
    const uint8_t *bytes;  // send
    size_t size;
    uint8_t *copy;  // send: of `bytes`, which must not change meanwhile
    uint64_t parked;  // receive: place in the order of those that found no buffer; 0: not parked
    bool is_cancelled;
    bool is_reset;
};

struct ring {
    unsigned features;
    bool is_enabled;
    struct fiber *owner;
    unsigned buffers;
    unsigned buffers_free;
    size_t buffer_size;
    uint8_t *buffer_bytes;
    bool *buffer_is_out;
    struct request *requests;
    size_t requests_count;
    size_t requests_room;
    uint64_t parked_last;
    bool is_dozing;
    bool is_sleeping;  // the flag of core/ring.h
    bool is_woken;     // the message
    struct ring_figures figures;
};

static unsigned scarce_buffers = 32768;
static unsigned scarce_size = UINT32_MAX;

void ring_sim_scarcity(unsigned buffers_max, unsigned buffer_size_max) {
    scarce_buffers = buffers_max;
    scarce_size = buffer_size_max;
}

/* ---- names ---- */

static const struct {
    unsigned feature;
    const char *name;
} names[] = {
    {RING_MULTISHOT_ACCEPT, "multishot-accept"}, {RING_COOP_TASKRUN, "coop-taskrun"},
    {RING_SINGLE_ISSUER, "single-issuer"},       {RING_MULTISHOT_RECEIVE, "multishot-receive"},
    {RING_DEFER_TASKRUN, "defer-taskrun"},       {RING_RESTRICTIONS, "restrictions"},
};

bool ring_features_of_kernel(const char *version, unsigned *features) {
    (void)version;
    *features = RING_FEATURES_ALL;
    return true;
}

unsigned ring_feature_by_name(const char *name, size_t size) {
    for (size_t i = 0; i < array_count(names); i++) {
        if (strlen(names[i].name) == size && memcmp(names[i].name, name, size) == 0) return names[i].feature;
    }
    return 0;
}

const char *ring_features_text(unsigned features, char *text) {
    size_t used = 0;
    for (size_t i = 0; i < array_count(names); i++) {
        size_t size = strlen(names[i].name);
        if (!(features & names[i].feature)) continue;
        if (used) text[used++] = ' ';
        memcpy(text + used, names[i].name, size);
        used += size;
    }
    text[used] = 0;
    return text;
}

/* ---- opening ---- */

int ring_open(struct ring **ret, const struct ring_options *options, char *why) {
    (void)why;
    CHECK(is_power_of_two(options->submissions_max) && is_power_of_two(options->completions_max));
    struct ring *ring = calloc(1, sizeof(*ring));
    CHECK(ring != NULL);
    ring->features = options->features_allowed;
    ring->buffers = ring->buffers_free = min_of(options->receive_buffers, scarce_buffers);
    ring->buffer_size = min_of(options->receive_buffer_size, scarce_size);
    ring->buffer_bytes = malloc(ring->buffers * ring->buffer_size + 1);
    ring->buffer_is_out = calloc(ring->buffers + 1, sizeof(bool));
    CHECK(ring->buffer_bytes != NULL && ring->buffer_is_out != NULL);
    asan_poison(ring->buffer_bytes, ring->buffers * ring->buffer_size);
    *ret = ring;
    return 0;
}

void ring_close(struct ring *ring) {
    if (ring == NULL) return;
    asan_unpoison(ring->buffer_bytes, ring->buffers * ring->buffer_size);
    free(ring->buffer_bytes);
    free(ring->buffer_is_out);
    for (size_t i = 0; i < ring->requests_count; i++) free(ring->requests[i].copy);
    free(ring->requests);
    free(ring);
}

int ring_enable(struct ring *ring) {
    CHECK(!ring->is_enabled);
    ring->is_enabled = true;
    ring->owner = sim.current;
    return 0;
}

size_t ring_footprint(const struct ring_options *options) {
    return (size_t)options->receive_buffers * options->receive_buffer_size;
}

unsigned ring_features(const struct ring *ring) { return ring->features; }

bool ring_sim_is_clean(const struct ring *ring, size_t requests) {
    return ring->requests_count == requests && ring->buffers_free == ring->buffers;
}

static void check_owner(const struct ring *ring) { CHECK(ring->is_enabled && ring->owner == sim.current); }

/* ---- sockets ---- */

void ring_socket_init(struct ring_socket *socket, int fd, uint64_t handle) {
    CHECK(fd >= NET_FD_FIRST);
    *socket = (struct ring_socket){.handle = handle, .fd = fd};
}

int ring_socket_detach(struct ring_socket *socket) {
    CHECK(ring_socket_is_idle(socket) && socket->fd >= 0);
    int fd = socket->fd;
    socket->fd = -1;
    return fd;
}

int ring_peer_address(int fd, struct net_address *ret) { return net_peer_address(fd, ret); }

/* Virtual connections have no clock of their own: a millisecond each. */
int ring_tcp_rtt(int fd, uint32_t *ret_us) {
    CHECK(fd >= NET_FD_FIRST);
    *ret_us = 1000;
    return 0;
}

void ring_close_fd(struct ring *ring, int fd) {
    check_owner(ring);
    net_close_fd(fd, false);
}

/* ---- asking ---- */

static struct request *request_add(struct ring *ring, struct ring_socket *socket, enum request_kind kind) {
    check_owner(ring);
    if (ring->requests_count == ring->requests_room) {
        ring->requests_room = ring->requests_room ? 2 * ring->requests_room : 16;
        ring->requests = realloc(ring->requests, ring->requests_room * sizeof(*ring->requests));
        CHECK(ring->requests != NULL);
    }
    struct request *request = &ring->requests[ring->requests_count++];
    *request = (struct request){.socket = socket, .kind = kind};
    socket->in_flight++;
    ring->figures.submissions++;
    return request;
}

static void request_end(struct request *request) {
    request->socket->in_flight--;
    request->socket = NULL;
    free(request->copy);
    request->copy = NULL;
}

static struct request *request_find(struct ring *ring, const struct ring_socket *socket, enum request_kind kind) {
    for (size_t i = 0; i < ring->requests_count; i++) {
        struct request *request = &ring->requests[i];
        if (request->socket == socket && request->kind == kind) return request;
    }
    return NULL;
}

static void arm(struct ring *ring, struct ring_socket *socket, enum request_kind kind) {
    CHECK(socket->fd >= 0 && socket->close_state == 0 && socket->receive_state == RECEIVE_NONE && !socket->pausing);
    socket->receive_state = RECEIVE_ARMED;
    (void)request_add(ring, socket, kind);
}

void ring_accept(struct ring *ring, struct ring_socket *socket) { arm(ring, socket, REQUEST_ACCEPT); }

void ring_receive(struct ring *ring, struct ring_socket *socket, enum ring_receive_mode mode, uint32_t size_max) {
    CHECK(ring->buffers > 0);
    socket->receive_mode = (uint8_t)mode;
    socket->receive_size_max = size_max;
    arm(ring, socket, REQUEST_RECEIVE);
}

static void pause(struct ring *ring, struct ring_socket *socket) {
    if (socket->close_state != 0 || socket->pausing) return;
    socket->pausing = true;
    (void)request_add(ring, socket, REQUEST_PAUSE);
}

void ring_accept_pause(struct ring *ring, struct ring_socket *socket) {
    if (socket->receive_state != RECEIVE_NONE) pause(ring, socket);
}

void ring_receive_pause(struct ring *ring, struct ring_socket *socket) { pause(ring, socket); }

void ring_send(struct ring *ring, struct ring_socket *socket, const void *bytes, size_t size) {
    CHECK(socket->fd >= 0 && socket->close_state == 0 && !socket->sending && size > 0);
    socket->sending = true;
    struct request *request = request_add(ring, socket, REQUEST_SEND);
    request->bytes = bytes;
    request->size = size;
    request->copy = malloc(size);
    CHECK(request->copy != NULL);
    memcpy(request->copy, bytes, size);
}

void ring_close_socket(struct ring *ring, struct ring_socket *socket, bool reset) {
    if (socket->close_state != 0) return;
    CHECK(socket->fd >= 0);
    if (reset) net_judge_timeout(socket->fd);
    socket->close_state = 1;
    for (size_t i = 0; i < ring->requests_count; i++) {
        if (ring->requests[i].socket == socket) ring->requests[i].is_cancelled = true;
    }
    request_add(ring, socket, REQUEST_CLOSE)->is_reset = reset;
}

/* ---- collecting: each handler ends one request, or leaves it, and fills at most one event ---- */

static bool event_fill(struct ring_event *event, struct ring_socket *socket, enum ring_op op, int32_t result) {
    *event = (struct ring_event){.handle = socket->handle, .socket = socket, .result = result, .op = (uint8_t)op};
    event->more = socket->receive_state == RECEIVE_ARMED && (op == RING_ACCEPTED || op == RING_RECEIVED);
    return true;
}

static void receive_end(struct request *request) {
    request->socket->receive_state = RECEIVE_NONE;
    request_end(request);
}

static bool on_accept(struct request *request, struct ring_event *event) {
    struct ring_socket *socket = request->socket;
    if (request->is_cancelled) {
        receive_end(request);
        return false;
    }
    if (!net_can_accept(socket->fd)) return false;
    if (faults.is_on && faults.accept_error_one_in && sim_one_in(faults.accept_error_one_in)) {
        sim_note("ring: no descriptor", 0, 0);
        tally_add(TALLY_ACCEPT_ERRORS, 1);
        return event_fill(event, socket, RING_ACCEPTED, -EMFILE);
    }
    int fd = net_accept(socket->fd);
    sim_note("ring: accepted", (uint64_t)fd, 0);
    return event_fill(event, socket, RING_ACCEPTED, fd);
}

static unsigned buffer_take(struct ring *ring) {
    unsigned idx = (unsigned)sim_below(ring->buffers);
    while (ring->buffer_is_out[idx]) idx = (idx + 1) % ring->buffers;
    ring->buffer_is_out[idx] = true;
    ring->buffers_free--;
    return idx;
}

static void buffer_return(struct ring *ring, unsigned idx) {
    CHECK(idx < ring->buffers && ring->buffer_is_out[idx]);
    uint8_t *bytes = ring->buffer_bytes + idx * ring->buffer_size;
    ring->buffer_is_out[idx] = false;
    ring->buffers_free++;
    asan_unpoison(bytes, ring->buffer_size);
    memset(bytes, 0xdd, ring->buffer_size);  // who reads it now reads nonsense, also without a sanitizer
    asan_poison(bytes, ring->buffer_size);
}

void ring_give_back(struct ring *ring, const struct ring_event *event) {
    check_owner(ring);
    buffer_return(ring, event->buffer_idx);
}

static bool receive_into(struct ring *ring, struct request *request, struct ring_event *event) {
    struct ring_socket *socket = request->socket;
    bool is_once = socket->receive_mode == RING_RECEIVE_ONCE;
    size_t size_max = ring->buffer_size;
    if (is_once && socket->receive_size_max) size_max = min_of(size_max, socket->receive_size_max);
    unsigned idx = buffer_take(ring);
    uint8_t *bytes = ring->buffer_bytes + idx * ring->buffer_size;
    asan_unpoison(bytes, ring->buffer_size);
    ssize_t result = net_read(net_end_of(socket->fd), bytes, size_max);
    CHECK(result != -EAGAIN);
    if (result <= 0) buffer_return(ring, idx);
    if (result <= 0 || is_once) receive_end(request);
    sim_note("ring: received", (uint64_t)socket->fd, (uint64_t)result);
    event_fill(event, socket, RING_RECEIVED, (int32_t)result);
    if (result <= 0) return true;
    asan_poison(bytes, ring->buffer_size);
    asan_unpoison(bytes, (size_t)result);
    event->bytes = bytes;
    event->buffer_idx = (uint16_t)idx;
    return true;
}

static bool on_receive(struct ring *ring, struct request *request, struct ring_event *event) {
    if (request->is_cancelled) {
        receive_end(request);
        return false;
    }
    if (request->parked || !net_can_read(net_end_of(request->socket->fd))) return false;
    if (ring->buffers_free > 0) return receive_into(ring, request, event);
    request->parked = ++ring->parked_last;
    ring->figures.receive_parked++;
    return false;
}

/* A send that is cancelled may have done its work, or some of it, before. */
static bool on_send(struct request *request, struct ring_event *event) {
    struct ring_socket *socket = request->socket;
    struct net_end *end = net_end_of(socket->fd);
    bool is_cancelled = request->is_cancelled;
    if (!is_cancelled && !net_can_write(end)) return false;
    CHECK(memcmp(request->bytes, request->copy, request->size) == 0);  // the owner must leave the memory alone
    ssize_t result = -ECANCELED;
    if (!is_cancelled || sim_one_in(2)) result = net_can_write(end) ? net_write(end, request->bytes, request->size) : 0;
    if (result == 0 && !is_cancelled) return false;
    sim_note("ring: sent", (uint64_t)socket->fd, (uint64_t)result);
    socket->sending = false;
    request_end(request);
    return is_cancelled ? false : event_fill(event, socket, RING_SENT, (int32_t)result);
}

static bool on_pause(struct ring *ring, struct request *request, struct ring_event *event) {
    struct ring_socket *socket = request->socket;
    struct request *receive = request_find(ring, socket, REQUEST_RECEIVE);
    struct request *accept = request_find(ring, socket, REQUEST_ACCEPT);
    bool is_cancelled = request->is_cancelled;
    request_end(request);
    socket->pausing = false;
    if (is_cancelled) return false;
    if (receive) receive_end(receive);
    if (accept) receive_end(accept);
    return accept ? false : event_fill(event, socket, RING_RECEIVE_PAUSED, 0);
}

static bool on_close(struct request *request, struct ring_event *event) {
    struct ring_socket *socket = request->socket;
    if (socket->in_flight > 1) return false;  // what was cancelled ends first
    sim_note("ring: closed", (uint64_t)socket->fd, request->is_reset);
    net_close_fd(socket->fd, request->is_reset);
    request_end(request);
    socket->fd = -1;
    socket->close_state = 0;
    return event_fill(event, socket, RING_CLOSED, 0);
}

static bool on_request(struct ring *ring, struct request *request, struct ring_event *event) {
    switch (request->kind) {
        case REQUEST_ACCEPT: return on_accept(request, event);
        case REQUEST_RECEIVE: return on_receive(ring, request, event);
        case REQUEST_SEND: return on_send(request, event);
        case REQUEST_PAUSE: return on_pause(ring, request, event);
        case REQUEST_CLOSE: return on_close(request, event);
    }
    return false;
}

/* In the order of parking, and no more than there are buffers. */
static void resume_parked(struct ring *ring) {
    for (unsigned n = ring->buffers_free; n > 0; n--) {
        struct request *first = NULL;
        for (size_t i = 0; i < ring->requests_count; i++) {
            struct request *request = &ring->requests[i];
            if (request->parked && (first == NULL || request->parked < first->parked)) first = request;
        }
        if (first == NULL) return;
        first->parked = 0;
    }
}

static void remove_ended(struct ring *ring) {
    size_t kept = 0;
    for (size_t i = 0; i < ring->requests_count; i++) {
        if (ring->requests[i].socket) ring->requests[kept++] = ring->requests[i];
    }
    ring->requests_count = kept;
}

size_t ring_reap(struct ring *ring, struct ring_event *events, size_t count_max) {
    check_owner(ring);
    sim_point(POINT_REAP);
    ring->is_woken = false;
    resume_parked(ring);
    size_t count = 0, total = ring->requests_count;
    size_t first = total ? (size_t)sim_below(total) : 0;
    for (size_t i = 0; i < total; i++) {
        struct request *request = &ring->requests[(first + i) % total];
        /* One that may end once may end several times in a pass, if it goes on; or only in the next pass. */
        while (request->socket && count < count_max && !sim_one_in(6)) {
            if (!on_request(ring, request, &events[count])) break;
            count++;
        }
    }
    remove_ended(ring);
    ring->figures.completions += count;
    return count;
}

/* ---- sleeping and waking ---- */

static bool can_end(const struct ring *ring, const struct request *request) {
    if (request->is_cancelled) return true;
    switch (request->kind) {
        case REQUEST_ACCEPT: return net_can_accept(request->socket->fd);
        case REQUEST_RECEIVE: return ring->buffers_free > 0 && net_can_read(net_end_of(request->socket->fd));
        case REQUEST_SEND: return net_can_write(net_end_of(request->socket->fd));
        case REQUEST_PAUSE:
        case REQUEST_CLOSE: return true;
    }
    return false;
}

static bool has_something(const void *arg) {
    const struct ring *ring = arg;
    if (ring->is_woken) return true;
    for (size_t i = 0; i < ring->requests_count; i++) {
        if (can_end(ring, &ring->requests[i])) return true;
    }
    return false;
}

void ring_doze(struct ring *ring) {
    check_owner(ring);
    ring->is_dozing = ring->is_sleeping = true;
    sim_point(POINT_SLEEP);
}

void ring_wait(struct ring *ring, uint64_t timeout_ns) {
    check_owner(ring);
    bool was_woken = ring->is_dozing && !ring->is_sleeping;
    if (timeout_ns == 0 || was_woken) {
        sim_yield();
    } else {
        uint64_t until_ns = timeout_ns >= TIME_NEVER - sim.now_ns ? TIME_NEVER : sim.now_ns + timeout_ns;
        sim_block(until_ns, has_something, ring);
    }
    ring->figures.enters++;
    ring->is_dozing = ring->is_sleeping = false;
}

void ring_wake(struct ring *self, struct ring *other) {
    check_owner(self);
    sim_point(POINT_WAKE);
    if (!other->is_sleeping) {
        self->figures.wakes_spared++;
        return;
    }
    other->is_sleeping = false;
    if (self == other) return;
    other->is_woken = true;
    self->figures.wakes_sent++;
}

void ring_figures_read(const struct ring *ring, struct ring_figures *figures) { *figures = ring->figures; }
