/* The token's header, 32 bytes little-endian: version, flags, operation, epoch, handle, sequence, issued_at. */
#ifndef ZTS_WIRE_H
#define ZTS_WIRE_H

#include "zts_bytes.h"
#include "zts_limits.h"

typedef struct {
    uint8_t version, flags;
    uint16_t operation;
    uint32_t epoch;
    uint64_t handle, sequence, issued_at_us;
} zts_header;

_Static_assert(sizeof(zts_header) == ZTS_TOKEN_HEADERBYTES, "the struct is the wire form on a little-endian machine");

/* 1 when the form is right. All six unused flag bits must be clear, so that a later version may give them meaning. */
ZTS_MUST_USE ZTS_INLINE int zts_header_parse(const uint8_t *bytes, uint32_t direction, zts_header *header) {
    memcpy(header, bytes, sizeof *header);
    return header->version == ZTS_PROTOCOL_VERSION && header->flags == direction &&
           header->sequence - 1 < ZTS_SEQUENCE_MAX;
}

#endif
