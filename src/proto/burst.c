#include "proto/burst.h"

#include <assert.h>

#include "base/util.h"

#define RETRY_WINDOWS_FIRST 16
#define RETRY_WINDOWS_MAX   128

/* Where a pause is no longer than the first, bursts of one cost little time; where it is not, they
 * are of two, unless losses are closer than HEAVY_SPACING; and as long as the second for each block
 * would be too slow, whatever is lost. */
#define PAUSE_SHORT   (1 * NSEC_PER_MSEC)
#define PAUSE_BLOCK   (5 * NSEC_PER_MSEC)
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

static uint32_t least_size(const struct tftp_burst *b, nsec pause)
{
    uint32_t least = pause >= PAUSE_SHORT && b->spacing >= HEAVY_SPACING ? 2 : 1;

    least = MAX(least, (uint32_t)MIN(pause / PAUSE_BLOCK, UINT16_MAX));
    return MAX(MIN(least, b->window / 2u), 1u);
}

void tftp_burst_on_loss(struct tftp_burst *b, uint64_t depth, nsec pause)
{
    uint32_t size;

    uint32_t first = (uint32_t)b->window * RETRY_WINDOWS_FIRST;
    uint32_t most = (uint32_t)b->window * RETRY_WINDOWS_MAX;
    bool at_once = b->losses == 0 && b->clean < b->window;

    b->spacing = b->spacing == 0 ? b->clean : b->spacing - b->spacing / 4 + b->clean / 4;
    b->clean = 0;
    b->losses++;
    size = MIN(b->size / 2u, b->spacing / TFTP_BURST_SPACING);
    if (at_once && depth > 0 && depth <= b->size / 2u) { /* perhaps all the client can hold */
        size = b->buffers = (uint16_t)depth;
        b->retry = first;
    }
    size = MIN(MAX(size, least_size(b, pause)), b->window);
    if (depth > 0 && depth < b->size && same_depth_again(b, (uint16_t)depth)) {
        b->retry = b->buffers == depth ? MIN(2 * b->retry, most) : first;
        b->buffers = (uint16_t)depth;
        size = (uint32_t)depth;
    }
    b->size = (uint16_t)size;
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
