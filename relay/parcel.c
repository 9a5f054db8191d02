#include "relay/parcel.h"

#include <sodium.h>

#include "core/check.h"
#include "relay/conn_value.h"

int parcel_discard(struct ring *ring, struct parcel *parcel) {
    struct conn_value value;
    CHECK(conn_value_unpack(&value, parcel->bytes, parcel->size));  // the front has packed it
    int fd = value.fd;
    ring_close_fd(ring, fd);
    sodium_memzero(&value, sizeof(value));
    sodium_memzero(parcel->bytes, parcel->size);
    return fd;
}
