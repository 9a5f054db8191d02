/* udp_forward.c - from arrivals to sends: where each stretch goes, and what goes together. */
#include <errno.h>

#include "core/check.h"
#include "relay/udp_internal.h"

enum {
    SENDS_FOR_A_STRETCH = RING_SEGMENTS_MAX,  // at worst: each datagram by itself
    NO_BUFFER = UINT16_MAX,
};

#define REFUSED_FOR_NS (10 * NS_PER_S)

_Static_assert((int)LIMIT_UDP_BUFFERS < (int)NO_BUFFER, "a number that no buffer has");
_Static_assert((UDP_GROUPS & (UDP_GROUPS - 1)) == 0, "a mask");

/* Whole datagrams in a row, all of `segment_size` bytes but the last. */
struct stretch {
    uint8_t *bytes;
    size_t size;
    size_t segment_size;
    uint16_t buffer;
};

/* ---- sends ---- */

static bool is_refused(const struct udp *u, const struct vni_address *to) {
    if (likely(u->refusals_until_ns <= u->now_ns)) return false;
    for (size_t i = 0; i < UDP_REFUSALS; i++) {
        if (u->refusals[i].until_ns > u->now_ns && vni_address_equal(&u->refusals[i].to, to)) return true;
    }
    return false;
}

static uint16_t segments_max_for(const struct udp *u, const struct udp_socket *socket, const struct vni_address *to) {
    if (!socket->has_runs || is_refused(u, to)) return 1;
    return u->has_tails ? RING_SEGMENTS_MAX - 1 : RING_SEGMENTS_MAX;
}

/* The caller has seen to it that there is one. */
static struct udp_send *open_send(struct udp *u, struct udp_socket *socket, const struct vni_address *to,
                                  size_t segment_size, uint16_t segments_max) {
    struct udp_send *send = u->sends_free;
    CHECK(send != NULL);
    u->sends_free = send->next;
    u->sends_free_count--;
    send->next = NULL;
    *u->outgoing_last = send;
    u->outgoing_last = &send->next;
    send->socket = socket;
    send->to = *to;
    send->size = 0;
    send->segment_size = (uint16_t)segment_size;
    send->segments = 0;
    send->segments_max = segments_max;
    send->is_ended = false;
    send->datagram.parts_count = 0;
    return send;
}

static void free_send(struct udp *u, struct udp_send *send) {
    for (uint32_t i = 0; i < send->datagram.parts_count; i++) {
        if (send->buffers[i] != NO_BUFFER) udp_release(u, send->buffers[i]);
    }
    send->next = u->sends_free;
    u->sends_free = send;
    u->sends_free_count++;
}

static size_t size_max_of(const struct udp_send *send) {
    return send->socket->place == UDP_PLACE_IPV4 ? RING_RUN_SIZE_MAX_IPV4 : RING_RUN_SIZE_MAX;
}

/* How many bytes of the stretch, whole datagrams, the send can take; 0: it is full. An empty send takes one at least,
 * however large it is. */
static size_t room_for(const struct udp_send *send, const struct stretch *s) {
    size_t first = min_of(s->segment_size, s->size);
    if (send->segments == 0 && send->segments_max == 1) return first;
    if (send->is_ended || first > send->segment_size || send->segments >= send->segments_max) return 0;
    if (send->datagram.parts_count == RING_SEGMENTS_MAX) return 0;
    size_t segments = min_of((size_t)(send->segments_max - send->segments),
                             (size_max_of(send) - min_of(size_max_of(send), (size_t)send->size)) / first);
    if (first < send->segment_size) segments = min_of(segments, (size_t)1);
    if (send->segments == 0) segments = max_of(segments, (size_t)1);
    return min_of(segments * first, s->size);
}

static void add_part(struct udp *u, struct udp_send *send, uint8_t *bytes, size_t size, uint16_t buffer) {
    uint32_t count = send->datagram.parts_count;
    send->size += (uint32_t)size;
    if (count > 0) {
        struct iovec *last = &send->parts[count - 1];
        if ((uint8_t *)last->iov_base + last->iov_len == bytes && send->buffers[count - 1] == buffer) {
            last->iov_len += size;
            return;
        }
    }
    if (buffer != NO_BUFFER) u->references[buffer]++;
    send->parts[count] = (struct iovec){.iov_base = bytes, .iov_len = size};
    send->buffers[count] = buffer;
    send->datagram.parts_count = count + 1;
}

/* Moves the beginning of the stretch, which has room, into the send. */
static void fill(struct udp *u, struct udp_send *send, struct stretch *s, size_t size) {
    size_t first = min_of(s->segment_size, s->size);
    add_part(u, send, s->bytes, size, s->buffer);
    send->segments = (uint16_t)(send->segments + (size + first - 1) / first);
    send->is_ended = first < send->segment_size || size % first != 0;
    s->bytes += size;
    s->size -= size;
}

/* ---- what goes together ---- */

static uint64_t hash_of(const struct udp *u, const struct vni_address *to) {
    uint64_t words[sizeof(*to) / sizeof(uint64_t)], hash = u->group_secret;
    memcpy(words, to, sizeof(*to));
    for (size_t i = 0; i < array_count(words); i++) {
        hash = (hash ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* The send that is being made for this destination, or where to put it. There are at most half as many as places. */
static struct udp_group *group_of(struct udp *u, const struct vni_address *to) {
    uint64_t at = hash_of(u, to);
    for (;; at++) {
        struct udp_group *group = &u->groups[at & (UDP_GROUPS - 1)];
        if (group->round != u->round) {
            group->round = u->round;
            group->send = NULL;
            return group;
        }
        if (memcmp(&group->send->to, to, sizeof(*to)) == 0) return group;
    }
}

static void append(struct udp *u, struct udp_socket *socket, const struct vni_address *to, struct stretch *s) {
    struct udp_group *group = group_of(u, to);
    while (s->size > 0) {
        size_t size = group->send ? room_for(group->send, s) : 0;
        if (size == 0) {
            group->send = open_send(u, socket, to, min_of(s->segment_size, s->size), segments_max_for(u, socket, to));
            size = room_for(group->send, s);
        }
        fill(u, group->send, s, size);
    }
}

/* ---- where it goes ---- */

static struct udp_socket *socket_to(struct udp *u, const struct vni_address *to) {
    static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
    bool is_ipv4 = memcmp(to->ip, mapped_prefix, sizeof(mapped_prefix)) == 0;
    struct udp_socket *socket = &u->sockets[is_ipv4 ? UDP_PLACE_IPV4 : UDP_PLACE_IPV6];
    return socket->is_open ? socket : NULL;
}

static void forward(struct udp *u, const struct udp_arrival *arrival, uint32_t vni, struct stretch *s) {
    size_t packets = (s->size + s->segment_size - 1) / s->segment_size, size = s->size;
    struct vni_hop hop;
    if (!vni_far_end(u->links.vni, vni, &arrival->source, &hop)) {
        udp_drop(u, hop.reason, packets);
        return;
    }
    struct udp_socket *socket = socket_to(u, &hop.to);
    if (unlikely(socket == NULL)) {
        udp_drop(u, UDP_DROP_NO_SOCKET, packets);
        return;
    }
    append(u, socket, &hop.to, s);
    vni_count(&hop, packets, size, u->now_ns);
    stat_add(&u->metrics->udp_forwarded_packets[arrival->socket->place][socket->place], packets);
    stat_add(&u->metrics->udp_forwarded_bytes[arrival->socket->place][socket->place], size);
}

/* ---- arrivals ---- */

/* Where the stretch of data with one VNI ends that begins at arrival->at. why at most so many datagrams: there are that
 * many sends, and senders on this host make longer runs than the kernel's receiving side does (128 since Linux 6.9). */
static uint32_t stretch_end(const struct udp_arrival *arrival) {
    const uint64_t mask = UINT64_C(0x00800000ffffff00);  // O and VNI
    uint64_t wanted = load_be64(arrival->bytes + arrival->at) & mask;
    uint32_t at = arrival->at + arrival->segment_size;
    uint32_t size = min_of(arrival->size, arrival->at + SENDS_FOR_A_STRETCH * arrival->segment_size);
    while (at + GENEVE_HEADER_SIZE <= size) {
        const uint8_t *bytes = arrival->bytes + at;
        if ((load_be64(bytes) & mask) != wanted) break;
        if (unlikely(geneve_is_stun(bytes, min_of(arrival->segment_size, size - at)))) break;
        at += arrival->segment_size;
    }
    return min_of(at, size);
}

/* The next datagram, or stretch of datagrams. */
static void take(struct udp *u, struct udp_arrival *arrival) {
    uint8_t *bytes = arrival->bytes + arrival->at;
    size_t size = min_of(arrival->segment_size, arrival->size - arrival->at);
    struct geneve_header header;
    uint32_t end = arrival->at + (uint32_t)size;
    if (unlikely(arrival->socket->place == UDP_PLACE_STUN || geneve_is_stun(bytes, size))) {
        udp_on_stun(u, arrival, bytes, size);
        arrival->at = end;
        return;
    }
    switch (geneve_header_read(bytes, size, &header)) {
        case GENEVE_TOO_SHORT: udp_drop(u, UDP_DROP_TOO_SHORT, 1); break;
        case GENEVE_BAD_CONTROL: udp_drop(u, UDP_DROP_PROTOCOL, 1); break;
        case GENEVE_CONTROL: udp_on_control(u, arrival, header.vni, bytes, size); break;
        case GENEVE_DATA:
            end = stretch_end(arrival);
            forward(u, arrival, header.vni,
                    &(struct stretch){bytes, end - arrival->at, arrival->segment_size, arrival->buffer});
            break;
    }
    arrival->at = end;
}

/* True when it is done with. */
static bool take_arrival(struct udp *u, struct udp_arrival *arrival) {
    if (unlikely(arrival->ring->is_cut || arrival->size > UINT16_MAX)) {  // a jumbogram is none of ours
        udp_drop(u, UDP_DROP_CUT, 1);
        return true;
    }
    while (arrival->at < arrival->size) {
        if (unlikely(u->sends_free_count < SENDS_FOR_A_STRETCH || u->boxes_left == 0)) return false;
        take(u, arrival);
    }
    return true;
}

void udp_forward_arrivals(struct udp *u) {
    while (u->arrivals_count > 0) {
        struct udp_arrival *arrival = &u->arrivals[u->arrivals_first % LIMIT_UDP_BUFFERS];
        if (!take_arrival(u, arrival)) break;
        udp_release(u, arrival->buffer);
        u->arrivals_first++;
        u->arrivals_count--;
    }
}

/* ---- sending ---- */

static struct ring_path path_to(const struct udp *u, const struct vni_address *to) {
    struct ring_path path = {.remote.port = to->port, .interface = to->scope, .has_local = to->local != 0};
    memcpy(path.remote.ip, to->ip, sizeof(to->ip));
    if (path.has_local) udp_locals_ip(u->links.locals, to->local, path.local_ip);
    return path;
}

/* A last datagram of one byte, which means nothing to clients, makes the sizes differ. */
static void add_tail(struct udp *u, struct udp_send *send) {
    static uint8_t tail[] = {0x07};
    if (send->is_ended || send->segments < 2 || send->datagram.parts_count == RING_SEGMENTS_MAX) return;
    if (send->size + sizeof(tail) > size_max_of(send)) return;
    add_part(u, send, tail, sizeof(tail), NO_BUFFER);
    send->is_ended = true;
}

void udp_ask_sends(struct udp *u) {
    struct udp_send *send = u->outgoing_first;
    u->outgoing_first = NULL;
    u->outgoing_last = &u->outgoing_first;
    u->round++;
    for (; send != NULL; send = send->next) {
        if (unlikely(u->has_tails)) add_tail(u, send);
        struct ring_datagram *datagram = &send->datagram;
        datagram->parts = send->parts;
        datagram->is_immediate = true;
        datagram->segment_size = send->size > send->segment_size ? send->segment_size : 0;
        datagram->path = path_to(u, &send->to);
        ring_send_datagram(u->ring, &send->socket->ring, datagram);
        stat_add(&u->metrics->udp_sends, 1);
    }
}

/* ---- what the kernel refuses ---- */

static void log_refusal(struct udp *u, int32_t result) {
    uint32_t suppressed;
    if (!log_limit_allows(&u->log_limit, u->now_ns, &suppressed)) return;
    log_line(LOG_INFO, "UDP relay: the kernel cannot send runs of datagrams (%s): from here on they go singly",
             strerror(-result));
}

/* The oldest gives way. */
static void note_refusal(struct udp *u, const struct vni_address *to) {
    size_t at = 0;
    if (is_refused(u, to)) return;
    for (size_t i = 1; i < UDP_REFUSALS; i++) {
        if (u->refusals[i].until_ns < u->refusals[at].until_ns) at = i;
    }
    u->refusals_until_ns = u->now_ns + REFUSED_FOR_NS;
    u->refusals[at].to = *to;
    u->refusals[at].until_ns = u->refusals_until_ns;
}

/* Each datagram by itself; those that find no send are dropped. Runs behind this one that the kernel did take have
 * overtaken it: once, since the next ones go singly from the start. */
static void send_singly(struct udp *u, const struct udp_send *run, int32_t result) {
    uint32_t left = run->segments;
    for (uint32_t i = 0; i < run->datagram.parts_count; i++) {
        struct stretch s = {run->parts[i].iov_base, run->parts[i].iov_len, run->segment_size, run->buffers[i]};
        while (s.size > 0 && s.buffer != NO_BUFFER && u->sends_free != NULL) {
            size_t size = min_of(s.size, s.segment_size);
            fill(u, open_send(u, run->socket, &run->to, size, 1), &s, size);
            left--;
        }
    }
    udp_drop(u, udp_send_failure(result), left);
}

static bool is_refusal_of_run(const struct udp_send *send, int32_t result) {
    return send->datagram.segment_size != 0 && (result == -EIO || result == -EINVAL || result == -EMSGSIZE);
}

void udp_on_sent(struct udp *u, struct udp_send *send, int32_t result) {
    if (unlikely(result < 0)) {
        if (is_refusal_of_run(send, result)) {
            stat_add(&u->metrics->udp_runs_refused, 1);
            if (result == -EIO && send->socket->has_runs) {
                send->socket->has_runs = false;
                log_refusal(u, result);
            }
            if (result != -EIO) note_refusal(u, &send->to);
            send_singly(u, send, result);
        } else {
            udp_drop(u, udp_send_failure(result), send->segments);
        }
    }
    free_send(u, send);
}
