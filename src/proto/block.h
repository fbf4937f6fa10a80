/*
 * Block numbers. Inside, a block is a 64-bit index: 1 is the first block of the file, 0 stands
 * for "before the first" (the ACK of an OACK or WRQ). On the wire it has 16 bits and rolls
 * over, after 65535, to 0 or (by configuration) to 1; no RFC says which (RFC 1350 ends there).
 * The 16-bit form exists only here and in packet headers.
 */
#ifndef PROTO_BLOCK_H
#define PROTO_BLOCK_H

#include <stdint.h>

enum tftp_rollover {
    TFTP_ROLLOVER_0, /* ... 65534 65535 0 1 2 ... */
    TFTP_ROLLOVER_1, /* ... 65534 65535 1 2 3 ... */
};

/* How index `block` looks on the wire. */
static inline uint16_t tftp_block_wire(uint64_t block, enum tftp_rollover rollover)
{
    if (rollover == TFTP_ROLLOVER_1 && block > 65535)
        return (uint16_t)((block - 1) % 65535 + 1);
    return (uint16_t)block;
}

#define TFTP_BLOCK_NONE UINT64_MAX

/*
 * The index in [from, to] that looks like `wire`, or TFTP_BLOCK_NONE. The range must be
 * shorter than 65535 blocks, so that the answer is unique.
 */
uint64_t tftp_block_resolve(uint16_t wire, uint64_t from, uint64_t to, enum tftp_rollover rollover);

#endif
