/*
 * How many blocks of a window go out back to back. At first the whole window does. Losses make
 * the bursts smaller, with a pause of about a round trip after each, so that a loss wastes
 * less of what follows it: a receiver of RFC 7440 keeps nothing that comes out of order.
 *
 * Two things are learned apart. Random loss: a burst may be one block long for every
 * TFTP_BURST_SPACING blocks that pass between two losses, so resending stays near two or three
 * blocks a loss. A client with few receive buffers loses always at the same depth of a burst:
 * then bursts are just that deep, and more is tried again only after a time that doubles with
 * every failure, up to a bound: what looks like few buffers may have been a storm.
 */
#ifndef PROTO_BURST_H
#define PROTO_BURST_H

#include <stdbool.h>
#include <stdint.h>

#define TFTP_BURST_SPACING 100

struct tftp_burst {
    uint16_t window;     /* as negotiated */
    uint16_t size;       /* blocks that go out back to back, 1 to window */
    uint16_t depth;      /* where in its burst the last loss was */
    uint16_t depth_seen; /* losses in a row at that depth */
    uint16_t buffers;    /* what the client seems to hold; 0: not known */
    uint32_t retry;      /* blocks without loss before more than `buffers` is tried */
    uint32_t clean;      /* blocks acknowledged since the last loss */
    uint32_t losses;     /* so far */
    uint32_t spacing;    /* mean of `clean` at the losses */
};

void tftp_burst_init(struct tftp_burst *b, uint16_t window);

/* Losses were seen and the bursts are not back at the whole window. */
static inline bool tftp_burst_lossy(const struct tftp_burst *b)
{
    return b->size < b->window;
}

/* `blocks` were acknowledged for the first time. */
static inline void tftp_burst_on_acked(struct tftp_burst *b, uint32_t blocks)
{
    b->clean = blocks > UINT32_MAX - b->clean ? UINT32_MAX : b->clean + blocks;
}

/* All that was sent is acknowledged, and none of it had to be sent again. */
void tftp_burst_on_clean(struct tftp_burst *b);

/* Something has to be sent again. `depth`: how many blocks of its burst came before the lost
 * one; 0 also when that is not known. */
void tftp_burst_on_loss(struct tftp_burst *b, uint64_t depth);

/* What a loss changes; to be taken back when it was none. */
struct tftp_burst_mark {
    uint32_t retry, clean, spacing;
    uint16_t size, buffers;
};

struct tftp_burst_mark tftp_burst_mark(const struct tftp_burst *b);
void tftp_burst_undo(struct tftp_burst *b, const struct tftp_burst_mark *mark);

#endif
