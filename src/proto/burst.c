#include "proto/burst.h"

#include <assert.h>

#include "base/util.h"

#define RETRY_WINDOWS_FIRST 16
#define RETRY_WINDOWS_MAX   128

/* With so many losses, and closer than this, bursts of two cost too much and blocks go out one
 * by one. */
#define HEAVY_LOSSES  4
#define HEAVY_SPACING 30

void tftp_burst_init(struct tftp_burst *b, uint16_t window)
{
    assert(window > 0);
    *b = (struct tftp_burst){.window = window, .size = window};
}

void tftp_burst_on_clean(struct tftp_burst *b)
{
    uint32_t want;

    if (!tftp_burst_lossy(b))
        return;
    want = MIN((uint32_t)b->size + MAX(b->size / 2u, 1u), b->window);
    if (b->buffers != 0 && want > b->buffers) {
        if (b->size < b->buffers)
            want = b->buffers;
        else if (b->clean < b->retry)
            return;
    }
    if (want <= MAX(b->spacing, b->clean) / TFTP_BURST_SPACING)
        b->size = (uint16_t)want;
}

/* True once losses repeat so often at one depth that chance is a poor explanation; in bursts of
 * two chance hits the same place half of the time. */
static bool same_depth_again(struct tftp_burst *b, uint16_t depth)
{
    if (depth != b->depth) {
        b->depth = depth;
        b->depth_seen = 0;
    }
    b->depth_seen = (uint16_t)MIN(b->depth_seen + 1, UINT16_MAX);
    return b->depth_seen >= (depth == 1 ? 5 : 2);
}

void tftp_burst_on_loss(struct tftp_burst *b, uint64_t depth)
{
    unsigned least;
    uint16_t size;

    b->spacing = b->spacing == 0 ? b->clean : b->spacing - b->spacing / 4 + b->clean / 4;
    b->clean = 0;
    least = ++b->losses >= HEAVY_LOSSES && b->spacing < HEAVY_SPACING ? 1 : 2;
    size = (uint16_t)MIN(MAX(b->size / 2u, least), b->window);
    if (depth > 0 && depth < b->size && same_depth_again(b, (uint16_t)depth)) {
        uint32_t first = (uint32_t)b->window * RETRY_WINDOWS_FIRST;
        uint32_t most = (uint32_t)b->window * RETRY_WINDOWS_MAX;

        b->retry = b->buffers == depth ? MIN(2 * b->retry, most) : first;
        b->buffers = (uint16_t)depth;
        size = (uint16_t)depth;
    }
    b->size = size;
}

struct tftp_burst_mark tftp_burst_mark(const struct tftp_burst *b)
{
    return (struct tftp_burst_mark){b->retry, b->clean, b->spacing, b->size, b->buffers};
}

void tftp_burst_undo(struct tftp_burst *b, const struct tftp_burst_mark *mark)
{
    b->retry = mark->retry;
    b->clean += mark->clean;
    b->spacing = mark->spacing;
    b->size = mark->size;
    b->buffers = mark->buffers;
    b->depth_seen = 0;
    b->losses--;
}
