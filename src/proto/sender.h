/*
 * The half of a session that sends DATA: which block goes out next, what an ACK means, when
 * something is sent again. Owned by the session; works on block indices (proto/block.h).
 *
 * Blocks before `base` are acknowledged; [base, next) are on their way; [next, high) were sent
 * before and will be sent again; the window ends before base + windowsize.
 *
 * An ACK by itself never sends a block again: that it hints at a gap only sets a date, a round
 * trip (at least `resend_hold`) after the block in question went out. If the ACK was an early
 * or repeated one, progress comes before the date and nothing is sent twice. One such repair
 * for each block; whatever else is lost, the timer repairs.
 */
#ifndef PROTO_SENDER_H
#define PROTO_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "proto/burst.h"
#include "proto/flow.h"

#define TFTP_RUNS 3

/* Blocks that went out at one instant. */
struct tftp_run {
    uint64_t first;
    uint32_t count; /* 0: no entry */
    bool fresh;     /* none of them had been sent before */
    nsec sent;
};

struct tftp_sender {
    uint64_t base, next, high;
    uint64_t last;     /* index of the last block, TFTP_BLOCK_NONE while the size is not known */
    uint64_t size;     /* in bytes, TFTP_SIZE_UNKNOWN likewise */
    uint64_t limit;    /* a run ends here: repeated blocks do not go out together with new ones */
    uint64_t gap_base; /* the value of `base` whose gap was reported, repaired or not */
    nsec rto_at;       /* dates, NSEC_NEVER when not set */
    nsec gap_at;
    nsec pace_at;        /* no block before this; 0: no pause */
    nsec gap_restarted;  /* for a gap, and no progress since; 0: not so */
    nsec resent_at;      /* when a block was sent again last */
    nsec waiting_since;  /* of the last progress, or the first block sent after it */
    uint16_t burst_left; /* blocks that may still go out before the next pause */
    /* Of a repetition that seemed to be in vain: the blocks that were left out, from `base` on. */
    uint16_t left_out, left_out_end;
    uint8_t tries;           /* timeouts since the last progress */
    uint8_t newest;          /* of runs */
    uint8_t doubts;          /* restarts that are waited for longer, as one was in vain */
    bool held : 1;           /* nothing goes out before gap_at or progress */
    bool probing : 1;        /* nothing beyond `limit` before an ACK or a timeout */
    bool spoiled : 1;        /* something of this window had to be sent again */
    bool was_spoiled : 1;    /* before the restart for a gap */
    bool unjudged : 1;       /* that restart: the last verdict was wrong */
    bool final_ack_moot : 1; /* we are the server: nobody repeats a lost final ACK */
    struct tftp_burst burst;
    struct tftp_burst_mark mark; /* of `burst` before that restart */
    struct tftp_run runs[TFTP_RUNS];
};

enum tftp_sender_verdict {
    TFTP_SENDER_GOES_ON,
    TFTP_SENDER_COMPLETE,    /* every block is acknowledged */
    TFTP_SENDER_UNCONFIRMED, /* only the ACK of the last block is missing, and will not come */
    TFTP_SENDER_GIVES_UP,    /* no progress for longer than our patience */
    TFTP_SENDER_NONSENSE,    /* (ACK) of no block that could be acknowledged */
};

/* `size` may be TFTP_SIZE_UNKNOWN. f->params must have been agreed on. */
void tftp_sender_init(struct tftp_sender *x, const struct tftp_flow *f, uint64_t size, bool server);

/* `size` must not be smaller than what was already sent. */
void tftp_sender_set_size(struct tftp_sender *x, const struct tftp_flow *f, uint64_t size);

/* An ACK of block `wire` (as on the wire). GOES_ON, COMPLETE or NONSENSE. */
enum tftp_sender_verdict tftp_sender_on_ack(struct tftp_sender *x, const struct tftp_flow *f,
                                            uint16_t wire, nsec now);

/* Everything whose date has come; at most one restart. GOES_ON, UNCONFIRMED or GIVES_UP. */
enum tftp_sender_verdict tftp_sender_on_timer(struct tftp_sender *x, const struct tftp_flow *f,
                                              nsec now);
nsec tftp_sender_deadline(const struct tftp_sender *x);

/* How many blocks from x->next on may go out now; 0 when none. */
uint32_t tftp_sender_next(const struct tftp_sender *x, nsec now);
/* The first `blocks` of them went out. */
void tftp_sender_sent(struct tftp_sender *x, const struct tftp_flow *f, uint32_t blocks, nsec now);

/* Offers everything unacknowledged again, without a word about loss (the peer asked anew). */
void tftp_sender_rewind(struct tftp_sender *x);

/* All blocks but the last are acknowledged, and that one has been sent. */
bool tftp_sender_only_last_missing(const struct tftp_sender *x);

#endif
