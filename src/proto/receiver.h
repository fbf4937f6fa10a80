/*
 * The half of a session that takes DATA: what is new, and when an ACK is due. Owned by the
 * session; works on block indices (proto/block.h). Blocks are taken in order only, and only
 * what the owner has stored is acknowledged.
 *
 * ACKs go out at the end of a window (counted from the last ACK), after the last block, once for
 * each gap and a few times more while the peer does not seem to have heard, once for each time the
 * peer starts to repeat what we have, and by the timer.
 */
#ifndef PROTO_RECEIVER_H
#define PROTO_RECEIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "proto/flow.h"

struct tftp_receiver {
    uint64_t expected;      /* the next block in order */
    uint64_t acked;         /* of the newest ACK made; windows are counted from here */
    uint64_t wanted;        /* while `due`: the block to acknowledge, once it is stored */
    uint64_t stored;        /* all blocks up to this one are stored */
    uint64_t last;          /* index of the last block, TFTP_BLOCK_NONE before it has come */
    uint64_t size;          /* bytes received in order */
    uint64_t gap;           /* value of `expected` whose absence was reported */
    uint64_t beyond;        /* the block beyond the gap that came last; going back: as below */
    uint64_t repeat_from;   /* the old block that came last; going back means: it starts over */
    uint64_t insisted;      /* the gap whose report was repeated last, as the peer went on */
    uint64_t insisted_from; /* such gaps from here on have not been filled twice yet */
    nsec rto_at;            /* NSEC_NEVER when not set */
    nsec ack_at;            /* when the last ACK went out */
    nsec came_at;           /* the last block that was not old */
    nsec pause;             /* longer than packets of a train are apart; NSEC_NEVER: not known */
    nsec answer;            /* the shortest time from the ACK of a window to the next */
    nsec apart;             /* sum of times between packets that are not in it yet */
    nsec apart_most;        /* the longest of them */
    nsec waiting_since;     /* of the last progress, the peer's or our disk's */
    uint32_t insists;       /* gaps whose report was repeated */
    uint32_t misheard;      /* ... and the peer had heard the first: it filled the gap twice */
    uint16_t apart_count;   /* so many times are in `apart` */
    uint8_t reports;        /* of the gap insisted on */
    uint8_t tries;          /* timeouts since the last progress */
    bool due;               /* an ACK is to be made */
    bool ack_fresh;         /* the last ACK went out once and nothing has answered it yet */
};

enum tftp_receiver_verdict {
    TFTP_RECEIVER_GOES_ON,
    TFTP_RECEIVER_TOOK,     /* the block is new and in order */
    TFTP_RECEIVER_NONSENSE, /* a block that can be neither new nor old */
    TFTP_RECEIVER_TOO_LONG, /* more payload than blksize */
    TFTP_RECEIVER_GIVES_UP, /* no progress for longer than our patience */
};

void tftp_receiver_init(struct tftp_receiver *x, nsec now);

/* DATA of block `wire` (as on the wire) with `len` bytes. Anything but GIVES_UP. */
enum tftp_receiver_verdict tftp_receiver_on_data(struct tftp_receiver *x, const struct tftp_flow *f,
                                                 uint16_t wire, uint64_t len, nsec now);

/* The peer repeats what the ACK of block 0 answers (its OACK). */
void tftp_receiver_on_opening_repeated(struct tftp_receiver *x, const struct tftp_flow *f,
                                       nsec now);

/* GOES_ON or GIVES_UP. */
enum tftp_receiver_verdict tftp_receiver_on_timer(struct tftp_receiver *x,
                                                  const struct tftp_flow *f, nsec now);
nsec tftp_receiver_deadline(const struct tftp_receiver *x);

/* All bytes before `offset` are stored. */
void tftp_receiver_stored(struct tftp_receiver *x, const struct tftp_flow *f, uint64_t offset);

/* True when an ACK of block *ret is to be made now; it then counts as made. */
bool tftp_receiver_take_ack(struct tftp_receiver *x, uint64_t *ret);
/* The ACK went out. */
void tftp_receiver_ack_sent(struct tftp_receiver *x, const struct tftp_flow *f, nsec now);

#endif
