#include "proto/sender.h"

#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "proto/block.h"

#define PACE_MIN        (100 * NSEC_PER_USEC)
#define PACE_MAX        (10 * NSEC_PER_MSEC)
#define PACE_UNMEASURED (1 * NSEC_PER_MSEC)
/* How long the repetitions of the last block go on at least, however short the timeouts. */
#define FINAL_SPAN (3 * NSEC_PER_SEC)
/* Timeouts that must have passed before patience can run out: a process that was stopped for
 * longer than its patience has not listened, so it may not judge. */
#define TRIES_MIN 3
/* Timeouts in a row after which the whole window goes out again, in ever smaller bursts: a client
 * that holds 4 blocks of a window of 16, and is silent until it has them all, gets them by then. */
#define TRIES_WHOLE 3
/* A peer that acknowledges each repeated block says much in one breath; what looks like a gap
 * at its first word is none after the last. */
#define HEAR_OUT (1 * NSEC_PER_MSEC)
/* Answers of machines side by side differ by as much, with no network in between. */
#define JITTER (50 * NSEC_PER_USEC)
/* While no round trip has been measured; what follows meanwhile lets it be. */
#define GAP_UNMEASURED (100 * NSEC_PER_MSEC)
/* Restarts for which it is heard out a round trip longer, after one that was in vain. */
#define DOUBTS 16
/* Of a window whose receiver has been silent for several timeouts. */
#define PROBE_BLOCKS 2

void tftp_sender_init(struct tftp_sender *x, const struct tftp_flow *f, uint64_t size, bool server)
{
    memset(x, 0, sizeof(*x));
    x->base = x->next = x->high = 1;
    x->last = TFTP_BLOCK_NONE;
    x->size = TFTP_SIZE_UNKNOWN;
    x->limit = TFTP_BLOCK_NONE;
    x->rto_at = x->gap_at = NSEC_NEVER;
    x->final_ack_moot = server;
    tftp_burst_init(&x->burst, f->params->windowsize);
    x->burst_left = x->burst.size;
    if (size != TFTP_SIZE_UNKNOWN)
        tftp_sender_set_size(x, f, size);
}

void tftp_sender_set_size(struct tftp_sender *x, const struct tftp_flow *f, uint64_t size)
{
    /* RFC 1350 section 6: a block shorter than the others ends the transfer, so a size that is
     * a multiple needs an empty one. */
    uint64_t last = size / f->params->blksize + 1;

    assert(size != TFTP_SIZE_UNKNOWN && last + 1 >= x->high);
    x->size = size;
    x->last = last;
}

bool tftp_sender_only_last_missing(const struct tftp_sender *x)
{
    return x->base == x->last && x->high > x->last;
}

/* One past the last block that may be on its way. */
static uint64_t window_end(const struct tftp_sender *x)
{
    uint64_t end = x->base + x->burst.window;

    return x->last < end ? x->last + 1 : end;
}

static nsec pace_gap(const struct tftp_sender *x, const struct tftp_rto *rto)
{
    nsec gap = PACE_UNMEASURED;

    /* A little more than a round trip: what the burst lost should be known before the next. The
     * mean may be far from the truth yet, where a client was busy at the start. */
    if (rto->srtt != 0) {
        gap = nsec_min(rto->srtt + MAX(rto->rttvar, rto->srtt / 8), 4 * rto->least);
        gap = MAX(gap, PACE_MIN);
    }
    /* Longer while nothing gets through: a client may need more time for a block than for the
     * packets that the round trip was measured with. */
    return MIN(gap << MIN(x->tries, (uint8_t)TRIES_WHOLE), PACE_MAX);
}

/* The newest run that holds `block`, or NULL when it is too long ago. */
static const struct tftp_run *run_of(const struct tftp_sender *x, uint64_t block)
{
    for (unsigned i = 0; i < TFTP_RUNS; i++) {
        const struct tftp_run *run = &x->runs[(x->newest + TFTP_RUNS - i) % TFTP_RUNS];

        if (block - run->first < run->count)
            return run;
    }
    return NULL;
}

/* When `block` went out last; if that is forgotten, some time after it. */
static nsec sent_at(const struct tftp_sender *x, uint64_t block)
{
    const struct tftp_run *run = run_of(x, block);

    return run != NULL ? run->sent : x->runs[(x->newest + 1) % TFTP_RUNS].sent;
}

/* So many packets of the run went out up to `block`, as far as we know. */
static uint32_t place_in(const struct tftp_run *run, uint64_t block)
{
    return run != NULL ? (uint32_t)(block - run->first) + 1 : 1;
}

/* Blocks [first, end) went out. */
static void remember_run(struct tftp_sender *x, uint64_t first, uint64_t end, bool fresh, nsec now)
{
    struct tftp_run *run = &x->runs[x->newest];
    uint32_t count = (uint32_t)(end - first);

    if (run->sent == now && run->fresh == fresh && run->first + run->count == first) {
        run->count += count;
        return;
    }
    x->newest = (uint8_t)((x->newest + 1) % TFTP_RUNS);
    x->runs[x->newest] = (struct tftp_run){first, count, fresh, now};
}

static void forget_runs(struct tftp_sender *x)
{
    memset(x->runs, 0, sizeof(x->runs));
}

static void new_burst(struct tftp_sender *x)
{
    x->pace_at = 0;
    x->burst_left = x->burst.size;
}

void tftp_sender_rewind(struct tftp_sender *x)
{
    x->next = x->base;
    x->limit = x->high > x->base ? x->high : TFTP_BLOCK_NONE;
    x->rto_at = x->gap_at = NSEC_NEVER;
    x->held = x->probing = false;
    x->spoiled = true;
    x->gap_restarted = 0;
    x->left_out = x->left_out_end = 0;
    forget_runs(x);
    new_burst(x);
}

/* Everything from the first missing block on is to be sent again (RFC 7440 section 4). */
static void restart(struct tftp_sender *x, uint64_t depth)
{
    tftp_burst_on_loss(&x->burst, depth);
    tftp_sender_rewind(x);
}

static void restart_for_gap(struct tftp_sender *x, const struct tftp_flow *f, nsec now)
{
    const struct tftp_run *run = run_of(x, x->base);
    bool proved_wrong = x->left_out == 0 && x->left_out_end > 0;

    f->counts->resent_gap++;
    x->mark = tftp_burst_mark(&x->burst);
    x->was_spoiled = x->spoiled;
    restart(x, run != NULL ? x->base - run->first : 0);
    x->gap_restarted = now;
    /* What the last verdict left out is missing all the same. So it was wrong, and answers are
     * quicker than any before: neither this restart nor reports can be judged by their time. */
    x->unjudged = proved_wrong;
    x->doubts = x->doubts > 0 && !proved_wrong ? x->doubts - 1 : 0;
}

/* Progress to `block` sooner than an answer can come to that block sent again, which a peer that
 * keeps nothing behind a gap would need: there was no gap, and what was sent before is on its way
 * still. The same network, or client, will give that impression again. */
static void judge_restart(struct tftp_sender *x, const struct tftp_flow *f, uint64_t block,
                          nsec now)
{
    const struct tftp_run *run = run_of(x, block);
    nsec sent = run != NULL ? run->sent : x->gap_restarted;

    if (x->gap_restarted != 0 && !x->unjudged &&
        (block >= x->next ||
         now + JITTER < sent + tftp_rto_shortest(f->rto, place_in(run, block)))) {
        x->doubts = DOUBTS;
        tftp_burst_undo(&x->burst, &x->mark);
        x->spoiled = x->was_spoiled;
        new_burst(x);
        if (x->next < x->high)
            remember_run(x, x->next, x->high, false, now);
        x->left_out = (uint16_t)(x->next - x->base);
        x->left_out_end = (uint16_t)(x->high - x->base);
        x->next = x->high;
    } else if (x->gap_restarted != 0 && run != NULL) {
        /* Where nearly all goes out twice nothing else would end a backoff. */
        tftp_rto_end_back_off(f->rto, now - sent);
    }
    x->gap_restarted = 0;
}

/* How long the peer is heard out. */
static nsec patience_for_gap(const struct tftp_sender *x, const struct tftp_rto *rto)
{
    nsec more = x->doubts > 0 ? tftp_rto_round_trip(rto) : 0;

    if (rto->srtt == 0)
        return GAP_UNMEASURED;
    return more + MAX(rto->srtt / 4, HEAR_OUT);
}

/*
 * An ACK may mean that block `base` is lost: a block behind it has come in its place. It cannot
 * if it was sent before such a block could have reached the peer; and once per block is enough.
 * A client that acknowledges every unexpected block says the same many times, and one that
 * counts repeated blocks acknowledges early: both would start an endless repetition if believed
 * at once.
 */
static void on_gap_hint(struct tftp_sender *x, const struct tftp_flow *f, nsec now)
{
    if (x->next <= x->base + 1)
        return;
    /* The OACK was repeated, so this may be one more answer to it. */
    if (x->base == 1 && f->rto->srtt == 0)
        return;
    nsec least = tftp_rto_shortest(f->rto, place_in(run_of(x, x->base + 1), x->base + 1));
    if (now < sent_at(x, x->base + 1) + least)
        return;
    /* Nor if it may answer a block sent again, when the peer is known to answer those it has. */
    if (x->doubts > 0 && now < x->resent_at + patience_for_gap(x, f->rto))
        return;
    /* Whoever holds his tongue is not told how long a round trip is. */
    bool may_hold = tftp_burst_lossy(&x->burst) && f->rto->srtt != 0;

    if (x->gap_base == x->base) {
        /* Lost again: what follows it would be lost labour until the timer repairs it. After two
         * timeouts it may be a peer that repeats its last ACK, whatever it has. A report that was
         * on its way when the block went out again says nothing of it. */
        x->held = x->held || (x->tries <= 1 && may_hold &&
                              now >= sent_at(x, x->base) + nsec_min(f->rto->least, f->rto->srtt));
        return;
    }
    x->gap_base = x->base;
    x->gap_at = sent_at(x, x->base) + MAX(tftp_rto_round_trip(f->rto), f->manners->resend_hold);
    x->gap_at = MAX(x->gap_at, nsec_add(now, patience_for_gap(x, f->rto)));
    x->held = may_hold;
}

static uint16_t less(uint16_t offset, uint64_t blocks)
{
    return (uint16_t)(offset - MIN(offset, blocks));
}

static void on_progress(struct tftp_sender *x, const struct tftp_flow *f, uint64_t block, nsec now)
{
    bool window_done = block == x->base - 1 + f->params->windowsize || block == x->last;
    const struct tftp_run *run = run_of(x, block);

    /* Karn: only blocks sent once. A gap is reported when the block after it comes, so that
     * ACK says less about the time since its own block went out. */
    if (run != NULL && run->fresh) {
        if (window_done)
            tftp_rto_sample(f->rto, now - run->sent, place_in(run, block));
        else
            tftp_rto_settle(f->rto, now - run->sent, place_in(run, block));
    }
    judge_restart(x, f, block, now);
    x->left_out = less(x->left_out, block + 1 - x->base);
    x->left_out_end = less(x->left_out_end, block + 1 - x->base);
    tftp_burst_on_acked(&x->burst, (uint32_t)(block + 1 - x->base));
    x->base = block + 1;
    if (x->next < x->base)
        x->next = x->base;
    f->counts->bytes_acked = block >= x->last ? x->size : block * f->params->blksize;
    x->tries = 0;
    x->waiting_since = now;
    x->gap_at = NSEC_NEVER;
    if (x->probing)
        x->limit = x->high;
    if (x->limit <= x->next)
        x->limit = TFTP_BLOCK_NONE;
    x->held = x->probing = false;
    if (x->next == x->base) { /* nothing is on its way any more */
        x->rto_at = NSEC_NEVER;
        if (!x->spoiled)
            tftp_burst_on_clean(&x->burst);
        x->spoiled = false;
        new_burst(x);
        return;
    }
    x->rto_at = nsec_add(now, f->rto->interval); /* RFC 6298 section 5.3 */
    /* RFC 7440 section 4: an ACK from inside the window tells of a gap behind it. */
    if (!window_done)
        on_gap_hint(x, f, now);
}

enum tftp_sender_verdict tftp_sender_on_ack(struct tftp_sender *x, const struct tftp_flow *f,
                                            uint16_t wire, nsec now)
{
    uint64_t block = tftp_block_resolve(wire, x->base - 1, x->high - 1, f->params->rollover);

    if (block == TFTP_BLOCK_NONE) {
        f->counts->ignored++;
        return TFTP_SENDER_NONSENSE;
    }
    if (block >= x->base) {
        on_progress(x, f, block, now);
        return block == x->last ? TFTP_SENDER_COMPLETE : TFTP_SENDER_GOES_ON;
    }
    f->counts->duplicates++;
    /* RFC 1123 section 4.2.3.1: a duplicate ACK MUST NOT cause DATA to be sent again; RFC 7440
     * section 4: but in a window it may report that the first block is missing. */
    if (f->params->windowsize > 1)
        on_gap_hint(x, f, now);
    return TFTP_SENDER_GOES_ON;
}

/*
 * Nobody seems to listen: a few blocks are enough to ask, and all that a forged ACK, which may have
 * set this off, should be worth. Ever more seldom - the 7th time, the 15th, the 31st - the whole
 * window all the same, for a receiver that only speaks when it has one.
 */
static bool is_probe(unsigned tries)
{
    return tries > TRIES_WHOLE && (tries == UINT8_MAX || (tries & (tries + 1)) != 0);
}

static enum tftp_sender_verdict on_timeout(struct tftp_sender *x, const struct tftp_flow *f,
                                           nsec now)
{
    nsec waited = now - x->waiting_since;

    if (x->final_ack_moot && tftp_sender_only_last_missing(x) &&
        x->tries >= f->manners->final_ack_tries && waited >= FINAL_SPAN)
        return TFTP_SENDER_UNCONFIRMED;
    if (waited >= f->manners->patience && x->tries >= TRIES_MIN)
        return TFTP_SENDER_GIVES_UP;
    if (x->tries < UINT8_MAX)
        x->tries++;
    f->counts->resent_timeout++;
    tftp_rto_back_off(f->rto);
    restart(x, 0);
    if (is_probe(x->tries)) {
        x->probing = true;
        x->limit = MIN(x->limit, x->base + MIN(x->burst.size, PROBE_BLOCKS));
    }
    return TFTP_SENDER_GOES_ON;
}

/* Blocks that may go out, but for a pause between bursts. */
static uint64_t offered(const struct tftp_sender *x)
{
    uint64_t end = MIN(window_end(x), x->limit);

    return x->held || x->next >= end ? 0 : end - x->next;
}

/* The owner has been offered blocks and has no bytes for them. A peer that acknowledges whole
 * windows has nothing to say before they come. */
static bool owner_is_late(const struct tftp_sender *x)
{
    return x->pace_at == 0 && offered(x) > 0;
}

enum tftp_sender_verdict tftp_sender_on_timer(struct tftp_sender *x, const struct tftp_flow *f,
                                              nsec now)
{
    bool excused = owner_is_late(x);

    if (now >= x->pace_at)
        x->pace_at = 0;
    if (now >= x->gap_at) {
        restart_for_gap(x, f, now);
        return TFTP_SENDER_GOES_ON;
    }
    if (now >= x->rto_at && !excused)
        return on_timeout(x, f, now);
    return TFTP_SENDER_GOES_ON;
}

nsec tftp_sender_deadline(const struct tftp_sender *x)
{
    nsec at = nsec_min(owner_is_late(x) ? NSEC_NEVER : x->rto_at, x->gap_at);

    if (x->pace_at != 0 && offered(x) > 0)
        at = nsec_min(at, x->pace_at);
    return at;
}

uint32_t tftp_sender_next(const struct tftp_sender *x, nsec now)
{
    if (now < x->pace_at)
        return 0;
    return (uint32_t)MIN(offered(x), x->burst_left);
}

/* A pause after each burst that is not the rest of the window. */
static void pace(struct tftp_sender *x, const struct tftp_flow *f, uint32_t blocks, nsec now)
{
    bool pause = false;

    if (tftp_burst_lossy(&x->burst)) {
        x->burst_left = (uint16_t)(x->burst_left - blocks);
        if (x->burst_left == 0) {
            x->burst_left = x->burst.size;
            pause = true;
        }
    }
    if (x->next == x->limit && !x->probing) {
        x->limit = TFTP_BLOCK_NONE;
        x->burst_left = x->burst.size;
        pause = true;
    }
    x->pace_at = pause && x->next < window_end(x) ? now + pace_gap(x, f->rto) : 0;
}

void tftp_sender_sent(struct tftp_sender *x, const struct tftp_flow *f, uint32_t blocks, nsec now)
{
    uint64_t end = x->next + blocks;
    bool fresh = x->next >= x->high;

    assert(blocks > 0 && blocks <= tftp_sender_next(x, now));
    if (fresh) {
        x->waiting_since = now; /* the time until now was our own */
    } else {
        f->counts->blocks_resent += MIN(end, x->high) - x->next;
        x->resent_at = now;
    }
    f->counts->blocks_sent += blocks;
    remember_run(x, x->next, end, fresh, now);
    x->next = end;
    if (x->high < end)
        x->high = end;
    x->rto_at = nsec_add(now, f->rto->interval);
    pace(x, f, blocks, now);
}
