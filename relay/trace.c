#include "relay/trace.h"

void trace_refuse(int fd, uint32_t reason, const uint8_t *ip, uint16_t port) { USDT4(refuse, fd, reason, ip, port); }

void trace_close(uint64_t conn_id, uint32_t worker, uint32_t reason, uint64_t packets_received, uint64_t packets_sent,
                 size_t queue_bytes) {
    USDT6(close, conn_id, worker, reason, packets_received, packets_sent, queue_bytes);
}
