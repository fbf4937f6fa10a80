#include "proto/receiver.h"

#include <string.h>

#include "base/util.h"
#include "proto/block.h"

/* Blocks this far from the expected one, either way, are told apart. */
#define HORIZON 32767

/* The time between two packets that follow each other is a mean of so many at least. */
#define SPACING_OF 8
/* A sender that goes on after a pause has heard nothing meanwhile: a pause is so many times that
 * long, and twice the longest of them, and no less than this. */
#define PAUSE_SPACINGS 4
#define PAUSE_MIN      (100 * NSEC_PER_USEC)
/* Or so many times the shortest wait for the answer to a whole window, which is no less than a
 * packet takes. */
#define ANSWERS 2
/* Of one gap, while none seems to be heard. */
#define REPORTS_MAX 4
/* After so many gaps that were filled once for each report there is one report only. One in so many
 * is chance: the sender's timer. */
#define MISHEARD_MAX   2
#define MISHEARD_SHARE 8

/* How soon the timer of a sender may come: the default of `rto_min`, whatever ours may be. */
#define TIMER_LEAST (100 * NSEC_PER_MSEC)

/* As for the sender: a process that was stopped has not listened and may not judge. */
#define TRIES_MIN 3

void tftp_receiver_init(struct tftp_receiver *x, nsec now)
{
    memset(x, 0, sizeof(*x));
    x->expected = 1;
    x->last = TFTP_BLOCK_NONE;
    x->repeat_from = TFTP_BLOCK_NONE;
    x->insisted_from = TFTP_BLOCK_NONE;
    x->rto_at = NSEC_NEVER;
    x->pause = NSEC_NEVER;
    x->answer = NSEC_NEVER;
    x->waiting_since = now;
}

static void want_ack(struct tftp_receiver *x)
{
    x->due = true;
    x->wanted = x->expected - 1;
}

/* Gaps that the peer filled once for each report, beyond those that chance explains. */
static uint32_t misheard(const struct tftp_receiver *x)
{
    return x->misheard - MIN(x->misheard, x->insists / MISHEARD_SHARE);
}

/* How soon after an ACK there is nothing more to say. To a sender that starts over for each report
 * not before the timer would: what comes again is one more answer of it. */
static nsec hold_of(const struct tftp_receiver *x, const struct tftp_flow *f)
{
    nsec hold = f->manners->resend_hold;

    return misheard(x) > 0 ? MAX(TIMER_LEAST, hold) : hold;
}

/*
 * A peer repeats when it has waited in vain. What comes again just after it came, or just after
 * an ACK that said all there is to say, was doubled on the way; to answer that would double
 * the packets of a peer that answers every ACK.
 */
static bool doubled_on_the_way(const struct tftp_receiver *x, const struct tftp_flow *f, nsec now)
{
    nsec said = x->acked == x->expected - 1 ? x->ack_at : 0;

    return now < MAX(said, x->waiting_since) + hold_of(x, f);
}

/* How far apart the packets of one train are, as the line and our own wake-ups have it: several may
 * come in one call, but if all do, that says nothing. What makes the least counts, because a sender
 * may pause as well. */
static void learn_pause(struct tftp_receiver *x, nsec now)
{
    nsec apart = now - x->came_at;

    if (x->expected == x->acked + 1)
        return;
    x->apart += apart;
    x->apart_most = MAX(x->apart_most, apart);
    if (++x->apart_count < SPACING_OF || x->apart == 0)
        return;
    apart = MAX(PAUSE_SPACINGS * x->apart / x->apart_count, 2 * x->apart_most);
    x->pause = nsec_min(x->pause, MAX(apart, PAUSE_MIN));
    x->apart = x->apart_most = x->apart_count = 0;
}

static void take(struct tftp_receiver *x, const struct tftp_flow *f, uint64_t len, nsec now)
{
    learn_pause(x, now);
    x->came_at = now;
    if (x->ack_fresh && x->expected == x->acked + 1) {
        /* The sender may have waited with its answer to the report of a gap. */
        if (x->gap == x->expected)
            tftp_rto_settle(f->rto, now - x->ack_at, 1);
        else
            tftp_rto_sample(f->rto, now - x->ack_at, 1);
        /* Nor need it be one: an overtaken block, or one before our timer's ACK, was on its way. */
        if (x->gap != x->expected && x->tries == 0)
            x->answer = nsec_min(x->answer, now - x->ack_at);
    }
    x->ack_fresh = false;
    x->repeat_from = TFTP_BLOCK_NONE;
    x->size += len;
    x->tries = 0;
    x->waiting_since = now;
    x->rto_at = nsec_add(now, f->rto->interval);
    /* RFC 1350 section 6: a block of less than full size is the last. */
    if (len < f->params->blksize)
        x->last = x->expected;
    x->expected++;
    if (x->last != TFTP_BLOCK_NONE || x->expected - 1 - x->acked >= f->params->windowsize)
        want_ack(x);
}

/* The peer sends `block` behind a gap, later than an answer to its report takes, and not because
 * the rest of a train is still to come, some of it lost. */
static bool is_unheard(const struct tftp_receiver *x, const struct tftp_flow *f, uint64_t block,
                       nsec now)
{
    nsec packets = block > x->beyond ? (nsec)(block - x->beyond) : 1;
    nsec pause = x->pause;

    if (x->answer != NSEC_NEVER)
        pause = nsec_min(pause, packets * MAX(ANSWERS * x->answer, PAUSE_MIN));
    if (pause == NSEC_NEVER || f->rto->srtt == 0)
        return false;
    return now >= x->came_at + pause && (f->rto->rough || now >= x->ack_at + 2 * f->rto->least);
}

/* The report of this gap is repeated, a few times; but not to a sender that is seen to start over
 * for each report: it has heard. */
static bool insist(struct tftp_receiver *x)
{
    if (x->insisted != x->expected) {
        if (misheard(x) >= MISHEARD_MAX)
            return false;
        x->insists++;
        x->insisted = x->expected;
        x->insisted_from = MIN(x->insisted_from, x->insisted);
        x->reports = 1;
    }
    if (x->reports >= REPORTS_MAX)
        return false;
    x->reports++;
    return true;
}

/* RFC 7440 section 4: the ACK of the last block in order tells the sender where to go on. Once,
 * however many blocks of a train follow the gap; and again when the sender has started over and the
 * block is missing again, or has not heard. */
static void on_gap(struct tftp_receiver *x, const struct tftp_flow *f, uint64_t block, nsec now)
{
    bool reported = x->gap == x->expected;
    bool starts_over = block <= x->beyond && now >= x->ack_at + hold_of(x, f);
    bool unheard = !x->due && is_unheard(x, f, block, now);

    f->counts->duplicates++;
    x->beyond = block;
    x->came_at = now;
    if (reported && !starts_over && !(unheard && insist(x)))
        return;
    x->gap = x->expected;
    want_ack(x);
}

/* The peer sends again what we have: it lacks our ACK, or the network repeats. Answered at the
 * first block of each repetition only. */
static void on_old(struct tftp_receiver *x, const struct tftp_flow *f, uint64_t block, nsec now)
{
    bool starts_over = block <= x->repeat_from;

    if (block >= x->insisted_from && block <= x->insisted) {
        x->misheard += now < x->waiting_since + TIMER_LEAST;
        x->insisted_from = TFTP_BLOCK_NONE;
    }
    f->counts->duplicates++;
    if (!starts_over) {
        x->repeat_from = block;
        return;
    }
    if (doubled_on_the_way(x, f, now))
        return;
    x->repeat_from = block;
    want_ack(x);
}

enum tftp_receiver_verdict tftp_receiver_on_data(struct tftp_receiver *x, const struct tftp_flow *f,
                                                 uint16_t wire, uint64_t len, nsec now)
{
    uint64_t from = x->expected > HORIZON ? x->expected - HORIZON : 0;
    uint64_t to = x->expected + HORIZON - 1;
    uint64_t block = tftp_block_resolve(wire, from, to, f->params->rollover);

    if (len > f->params->blksize)
        return TFTP_RECEIVER_TOO_LONG;
    if (block == TFTP_BLOCK_NONE) {
        f->counts->ignored++;
        return TFTP_RECEIVER_NONSENSE;
    }
    if (block < x->expected) {
        on_old(x, f, block, now);
        return TFTP_RECEIVER_GOES_ON;
    }
    if (x->last != TFTP_BLOCK_NONE) { /* beyond the end */
        f->counts->ignored++;
        return TFTP_RECEIVER_NONSENSE;
    }
    if (block > x->expected) {
        on_gap(x, f, block, now);
        return TFTP_RECEIVER_GOES_ON;
    }
    take(x, f, len, now);
    return TFTP_RECEIVER_TOOK;
}

void tftp_receiver_on_opening_repeated(struct tftp_receiver *x, const struct tftp_flow *f, nsec now)
{
    f->counts->duplicates++;
    if (x->expected == 1 && !doubled_on_the_way(x, f, now))
        want_ack(x);
}

enum tftp_receiver_verdict tftp_receiver_on_timer(struct tftp_receiver *x,
                                                  const struct tftp_flow *f, nsec now)
{
    if (now < tftp_receiver_deadline(x))
        return TFTP_RECEIVER_GOES_ON;
    if (now - x->waiting_since >= f->manners->patience && x->tries >= TRIES_MIN)
        return TFTP_RECEIVER_GIVES_UP;
    if (x->tries < UINT8_MAX)
        x->tries++;
    tftp_rto_back_off(f->rto);
    x->rto_at = nsec_add(now, f->rto->interval);
    x->ack_fresh = false;
    want_ack(x); /* of all that came, once it is stored: the window may end here */
    return TFTP_RECEIVER_GOES_ON;
}

nsec tftp_receiver_deadline(const struct tftp_receiver *x)
{
    /* While our own disk is awaited nobody is late. */
    return x->due && x->stored < x->wanted ? NSEC_NEVER : x->rto_at;
}

void tftp_receiver_stored(struct tftp_receiver *x, const struct tftp_flow *f, uint64_t offset)
{
    uint64_t blocks = offset / f->params->blksize;

    if (x->last != TFTP_BLOCK_NONE && offset >= x->size)
        blocks = x->last;
    x->stored = MAX(x->stored, MIN(blocks, x->expected - 1));
    f->counts->bytes_acked = MAX(f->counts->bytes_acked, MIN(offset, x->size));
}

bool tftp_receiver_take_ack(struct tftp_receiver *x, uint64_t *ret)
{
    if (!x->due || x->stored < x->wanted)
        return false;
    x->due = false;
    x->ack_fresh = x->wanted != x->acked;
    x->acked = x->wanted;
    *ret = x->wanted;
    return true;
}

void tftp_receiver_ack_sent(struct tftp_receiver *x, const struct tftp_flow *f, nsec now)
{
    if (x->ack_fresh)
        x->waiting_since = now; /* the time until now was our own */
    x->ack_at = now;
    x->rto_at = nsec_add(now, f->rto->interval);
}
