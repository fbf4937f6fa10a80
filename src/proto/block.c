#include "proto/block.h"

#include <assert.h>

/* Blocks from one number to the same number again, when 65535 is followed by 1. */
#define PERIOD_1 65535u

uint64_t tftp_block_resolve(uint16_t wire, uint64_t from, uint64_t to, enum tftp_rollover rollover)
{
    uint64_t steps;

    assert(from <= to && to - from < 65535);
    if (rollover == TFTP_ROLLOVER_0) {
        steps = (uint16_t)(wire - (uint16_t)from);
    } else if (wire == 0) {
        /* Only the index before the first block looks like 0. */
        return from == 0 ? 0 : TFTP_BLOCK_NONE;
    } else {
        uint64_t first = from == 0 ? 1 : from;
        uint32_t have = (uint32_t)((first - 1) % PERIOD_1);

        steps = (wire - 1u + PERIOD_1 - have) % PERIOD_1 + (first - from);
    }
    return steps <= to - from ? from + steps : TFTP_BLOCK_NONE;
}
