/* ring_datagram.c - between paths and the kernel's messages: socket addresses and control data, both ways.
 *
 * A dual-stack socket speaks IPv6 throughout, also of IPv4 peers: the kernel writes and takes v4-mapped addresses in
 * IPV6_PKTINFO. Only a socket of IPv4 alone has IP_PKTINFO.
 */
#include <netinet/udp.h>

#include "core/check.h"
#include "core/ring_internal.h"

const struct msghdr ring_message_template = {.msg_namelen = RING_NAME_SIZE, .msg_controllen = RING_CONTROL_SIZE};

_Static_assert(RING_NAME_SIZE >= sizeof(struct sockaddr_in6), "a name fits");
_Static_assert(RING_CONTROL_SIZE >= CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)), "both fit");
_Static_assert(RING_DATAGRAM_OVERHEAD % 8 == 0 && sizeof(struct io_uring_recvmsg_out) == 16, "control data is aligned");

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* ---- from the kernel ---- */

void ring_message_reset(struct ring_message *message) {
    message->header = (struct msghdr){.msg_name = message->name,
                                      .msg_namelen = sizeof(message->name),
                                      .msg_control = message->control,
                                      .msg_controllen = sizeof(message->control)};
}

static void remote_read(const struct msghdr *header, struct ring_path *path) {
    struct sockaddr_storage name = {0};
    memcpy(&name, header->msg_name, min_of((size_t)header->msg_namelen, (size_t)RING_NAME_SIZE));
    CHECK(net_address_from_kernel(&name, &path->remote) == 0);
}

/* The kernel names the size of a run's datagrams, also of a run of one. */
static void segment_read(const struct cmsghdr *item, struct ring_arrival *arrival) {
    int size;
    if (item->cmsg_level != SOL_UDP || item->cmsg_type != UDP_GRO) return;
    memcpy(&size, CMSG_DATA(item), sizeof(size));
    if (size > 0 && size <= UINT16_MAX) arrival->segment_size = (uint16_t)size;
}

static void local_read(const struct cmsghdr *item, struct ring_path *path) {
    if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(item), sizeof(info));
        memcpy(path->local_ip, &info.ipi6_addr, sizeof(path->local_ip));
        path->interface = info.ipi6_ifindex;
        path->has_local = true;
    } else if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(item), sizeof(info));
        memcpy(path->local_ip, mapped_prefix, sizeof(mapped_prefix));
        memcpy(path->local_ip + sizeof(mapped_prefix), &info.ipi_spec_dst, 4);
        path->interface = (uint32_t)info.ipi_ifindex;
        path->has_local = true;
    }
}

void ring_message_read(const struct msghdr *header, struct ring_arrival *arrival) {
    struct msghdr copy = *header;  // the macros want it without const
    *arrival = (struct ring_arrival){.is_cut = (header->msg_flags & MSG_TRUNC) != 0};
    remote_read(header, &arrival->path);
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&copy); item != NULL; item = CMSG_NXTHDR(&copy, item)) {
        local_read(item, &arrival->path);
        segment_read(item, arrival);
    }
}

/* ---- to the kernel ---- */

static void remote_write(struct ring_message *message, const struct ring_path *path, bool is_ipv4) {
    struct sockaddr_storage name;
    socklen_t size = net_address_to_kernel(&path->remote, is_ipv4 ? AF_INET : AF_INET6, &name);
    if (!is_ipv4 && net_ip_is_link_local(path->remote.ip)) {
        ((struct sockaddr_in6 *)(void *)&name)->sin6_scope_id = path->interface;
    }
    memcpy(message->name, &name, size);
    message->header.msg_name = message->name;
    message->header.msg_namelen = size;
}

/* One more item of control data. */
static void control_write(struct ring_message *message, int level, int type, const void *info, size_t size) {
    struct cmsghdr item = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(size)};
    size_t used = message->header.msg_controllen;
    CHECK(used + CMSG_SPACE(size) <= sizeof(message->control));
    memset(message->control + used, 0, CMSG_SPACE(size));
    memcpy(message->control + used, &item, sizeof(item));
    memcpy(message->control + used + CMSG_LEN(0), info, size);
    message->header.msg_control = message->control;
    message->header.msg_controllen = used + CMSG_SPACE(size);
}

/* The interface is left to routing: which one answers leave by is not the asker's choice. */
static void local_write(struct ring_message *message, const struct ring_path *path, bool is_ipv4) {
    if (is_ipv4) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, path->local_ip + sizeof(mapped_prefix), 4);
        control_write(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
        return;
    }
    struct in6_pktinfo info = {.ipi6_ifindex = net_ip_is_link_local(path->local_ip) ? path->interface : 0};
    memcpy(&info.ipi6_addr, path->local_ip, sizeof(path->local_ip));
    control_write(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
}

void ring_message_write(struct ring_datagram *datagram, bool is_ipv4) {
    struct ring_message *message = &datagram->message;
    message->bytes = (struct iovec){.iov_base = (void *)(uintptr_t)datagram->bytes, .iov_len = datagram->size};
    message->header = (struct msghdr){.msg_iov = &message->bytes, .msg_iovlen = 1};
    if (datagram->parts != NULL) {
        message->header.msg_iov = datagram->parts;
        message->header.msg_iovlen = datagram->parts_count;
    }
    remote_write(message, &datagram->path, is_ipv4);
    if (datagram->path.has_local) local_write(message, &datagram->path, is_ipv4);
    if (datagram->segment_size != 0) {
        control_write(message, SOL_UDP, UDP_SEGMENT, &datagram->segment_size, sizeof(datagram->segment_size));
    }
}
