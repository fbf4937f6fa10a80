#include "proto/session.h"

#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "proto/session_step.h"

/* While dallying: the final ACK goes out again this often at most. */
#define DALLY_ACKS_MAX 10
/* However long the timeout the peer asked for. */
#define DALLY_MAX (30 * NSEC_PER_SEC)
/* A peer that doubles its timeout waits twice as long for its next repetition as for this one, and
 * six times as long for the next but one. */
#define DALLY_BACK_OFF 8

const struct tftp_manners tftp_manners_default = {
    .rto_first = 200 * NSEC_PER_MSEC,
    .rto_min = 100 * NSEC_PER_MSEC,
    .rto_max = 10 * NSEC_PER_SEC,
    .patience = 60 * NSEC_PER_SEC,
    .dally = 3 * NSEC_PER_SEC,
    .resend_hold = 20 * NSEC_PER_MSEC,
    .timeout_exact = false,
    .unproven_retries = 0,
    .final_ack_tries = 5,
};

void tftp_session_fail(struct tftp_session *s, enum tftp_error code, const char *text, nsec now)
{
    bool answer = s->server || s->proven; /* else there is no TID to send it to */

    (void)now;
    if (tftp_session_ended(s))
        return;
    if (s->state == TFTP_STATE_DALLYING) { /* the transfer itself has succeeded */
        tftp_session_end(s, TFTP_STATE_DONE, TFTP_OUTCOME_OK);
        return;
    }
    tftp_session_end(s, TFTP_STATE_FAILED, TFTP_OUTCOME_ERROR);
    s->error = code;
    s->error_text = text;
    if (answer)
        tftp_session_ready(s, tftp_build_error(s->control, sizeof(s->control), code, text));
}

void tftp_session_time_out(struct tftp_session *s)
{
    tftp_session_end(s, TFTP_STATE_FAILED, TFTP_OUTCOME_TIMEOUT);
    if (s->proven)
        tftp_session_ready(
            s, tftp_build_error(s->control, sizeof(s->control), TFTP_ERR_UNDEFINED, "Timeout"));
}

void tftp_session_ready_ack(struct tftp_session *s)
{
    uint64_t block;

    if (s->state == TFTP_STATE_PUBLISHING || !tftp_receiver_take_ack(&s->receiver, &block))
        return;
    tftp_session_ready(s, tftp_build_ack(s->control, sizeof(s->control),
                                         tftp_block_wire(block, s->params.rollover)));
    if (!s->receiver.ack_fresh && block > 0)
        s->repeats = 1; /* it went out before */
}

static void ignore(struct tftp_session *s, const struct tftp_step *e)
{
    (void)e;
    s->counts.ignored++;
}

static void absorb(struct tftp_session *s, const struct tftp_step *e)
{
    (void)e;
    s->counts.duplicates++;
}

static void nothing(struct tftp_session *s, const struct tftp_step *e)
{
    (void)s;
    (void)e;
}

void tftp_flow_ack(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_flow f = tftp_session_flow(s);
    enum tftp_sender_verdict verdict;

    if (!s->sending) {
        ignore(s, e);
        return;
    }
    verdict = tftp_sender_on_ack(&s->sender, &f, tftp_packet_block(e->datagram), e->now);
    if (verdict == TFTP_SENDER_NONSENSE)
        return;
    tftp_session_heard(s, e->now);
    if (verdict == TFTP_SENDER_COMPLETE)
        tftp_session_end(s, TFTP_STATE_DONE, TFTP_OUTCOME_OK);
    else
        s->state = TFTP_STATE_SENDING;
}

static void sending_timer(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_flow f = tftp_session_flow(s);
    enum tftp_sender_verdict verdict = tftp_sender_on_timer(&s->sender, &f, e->now);

    if (verdict == TFTP_SENDER_UNCONFIRMED)
        tftp_session_end(s, TFTP_STATE_DONE, TFTP_OUTCOME_OK);
    else if (verdict == TFTP_SENDER_GIVES_UP)
        tftp_session_time_out(s);
}

void tftp_flow_data(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_receiver *x = &s->receiver;
    struct tftp_flow f = tftp_session_flow(s);
    uint64_t len = e->datagram.n - TFTP_HEADER_LEN;
    enum tftp_receiver_verdict verdict;

    verdict = tftp_receiver_on_data(x, &f, tftp_packet_block(e->datagram), len, e->now);
    if (verdict == TFTP_RECEIVER_NONSENSE)
        return;
    tftp_session_heard(s, e->now);
    if (verdict == TFTP_RECEIVER_TOO_LONG) {
        tftp_session_fail(s, TFTP_ERR_ILLEGAL, "Block longer than agreed", e->now);
        return;
    }
    if (verdict == TFTP_RECEIVER_TOOK) {
        e->ret->accepted = true;
        e->ret->data = view_of(e->datagram.p + TFTP_HEADER_LEN, len);
        e->ret->offset = x->size - len;
        e->ret->last = x->last != TFTP_BLOCK_NONE;
        if (e->ret->last)
            s->state = TFTP_STATE_PUBLISHING;
    }
    tftp_session_ready_ack(s);
    e->ret->flush = x->due;
}

static void receiving_oack(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_flow f = tftp_session_flow(s);

    if (s->server || !s->oack_used) {
        ignore(s, e);
        return;
    }
    tftp_receiver_on_opening_repeated(&s->receiver, &f, e->now);
    tftp_session_ready_ack(s);
}

static void receiving_timer(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_flow f = tftp_session_flow(s);

    if (tftp_receiver_on_timer(&s->receiver, &f, e->now) == TFTP_RECEIVER_GIVES_UP)
        tftp_session_time_out(s);
    else
        tftp_session_ready_ack(s);
    e->ret->flush = s->receiver.due;
}

/* RFC 1350 section 6: whoever sent the final ACK waits, to send it again if it was lost. */
static void dallying_data(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_flow f = tftp_session_flow(s);
    uint64_t len = e->datagram.n - TFTP_HEADER_LEN;

    if (s->repeats > DALLY_ACKS_MAX) {
        absorb(s, e);
        return;
    }
    if (tftp_receiver_on_data(&s->receiver, &f, tftp_packet_block(e->datagram), len, e->now) ==
            TFTP_RECEIVER_GOES_ON &&
        s->receiver.due) {
        s->receiver.due = false;
        s->control_ready = true; /* it is still there */
        /* The next repetition takes longer than this one did, and may be lost as well. */
        nsec waited = e->now - s->receiver.waiting_since;
        s->deadline = MAX(s->deadline, e->now + MIN(DALLY_BACK_OFF * waited, DALLY_MAX));
    }
}

static void dallying_timer(struct tftp_session *s, const struct tftp_step *e)
{
    if (e->now >= s->deadline)
        tftp_session_end(s, TFTP_STATE_DONE, TFTP_OUTCOME_OK);
}

/* An ERROR while DATA goes out; real clients end successful transfers with one, too. */
static enum tftp_outcome outcome_of_error(const struct tftp_session *s, uint16_t code)
{
    const struct tftp_sender *x = &s->sender;
    bool sending = s->sending && s->state != TFTP_STATE_REQUESTING;

    if (s->server && sending && code == 0 && tftp_sender_only_last_missing(x) &&
        x->size % s->params.blksize == 0)
        return TFTP_OUTCOME_OK; /* GRUB has all bytes and does not wait for the empty block */
    if (sending && s->server && s->oack_used && x->base == 1 &&
        (code == TFTP_ERR_UNDEFINED || code == TFTP_ERR_OPTION))
        return TFTP_OUTCOME_PROBE;
    return code == TFTP_ERR_UNDEFINED ? TFTP_OUTCOME_CLOSED : TFTP_OUTCOME_ABORTED;
}

/* RFC 1350 section 7: an ERROR ends the transfer and is neither acknowledged nor answered. */
static void peer_error(struct tftp_session *s, const struct tftp_step *e)
{
    struct view text;
    enum tftp_outcome outcome;

    s->peer_error = tftp_error_parse(e->datagram, &text);
    outcome = outcome_of_error(s, s->peer_error);
    tftp_session_heard(s, e->now);
    tftp_session_end(s, outcome == TFTP_OUTCOME_OK ? TFTP_STATE_DONE : TFTP_STATE_FAILED, outcome);
}

/* A download has all its bytes, and its file may stand already: only our disk can still fail it. A
 * client that takes its upload back may be heard in time. */
static void publishing_error(struct tftp_session *s, const struct tftp_step *e)
{
    if (s->server)
        peer_error(s, e);
}

static void dallying_ends(struct tftp_session *s, const struct tftp_step *e)
{
    (void)e;
    tftp_session_end(s, TFTP_STATE_DONE, TFTP_OUTCOME_OK);
}

/* The peer's port is closed. If only its last ACK is missing, it sent that before it went. */
static void peer_is_gone(struct tftp_session *s, const struct tftp_step *e)
{
    (void)e;
    if (s->server && s->sending && s->proven && tftp_sender_only_last_missing(&s->sender))
        tftp_session_end(s, TFTP_STATE_DONE, TFTP_OUTCOME_OK);
    else
        tftp_session_end(s, TFTP_STATE_FAILED, TFTP_OUTCOME_CLOSED);
}

enum event {
    EV_JUNK, /* too short, or of an unknown kind */
    EV_REQUEST,
    EV_DATA,
    EV_ACK,
    EV_ERROR,
    EV_OACK,
    EV_TIMER,
    EV_UNREACHABLE,
    EVENTS
};

typedef void step_fn(struct tftp_session *s, const struct tftp_step *e);

/* Every state meets every event somewhere in here; what cannot sensibly come is ignored and
 * counted, because the peer decides what comes. */
static step_fn *const steps[TFTP_STATES][EVENTS] = {
    [TFTP_STATE_REQUESTING] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = tftp_ask_data,
            [EV_ACK] = tftp_ask_ack,
            [EV_ERROR] = peer_error,
            [EV_OACK] = tftp_ask_oack,
            [EV_TIMER] = tftp_ask_timer,
            [EV_UNREACHABLE] = peer_is_gone,
        },
    [TFTP_STATE_OPENING] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = tftp_open_request,
            [EV_DATA] = tftp_open_data,
            [EV_ACK] = tftp_open_ack,
            [EV_ERROR] = peer_error,
            [EV_OACK] = ignore,
            [EV_TIMER] = tftp_open_timer,
            [EV_UNREACHABLE] = peer_is_gone,
        },
    [TFTP_STATE_SENDING] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = ignore,
            [EV_ACK] = tftp_flow_ack,
            [EV_ERROR] = peer_error,
            [EV_OACK] = ignore,
            [EV_TIMER] = sending_timer,
            [EV_UNREACHABLE] = peer_is_gone,
        },
    [TFTP_STATE_RECEIVING] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = tftp_flow_data,
            [EV_ACK] = ignore,
            [EV_ERROR] = peer_error,
            [EV_OACK] = receiving_oack,
            [EV_TIMER] = receiving_timer,
            [EV_UNREACHABLE] = peer_is_gone,
        },
    [TFTP_STATE_PUBLISHING] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = absorb,
            [EV_ACK] = ignore,
            [EV_ERROR] = publishing_error,
            [EV_OACK] = ignore,
            [EV_TIMER] = nothing,
            [EV_UNREACHABLE] = nothing, /* all its bytes are here */
        },
    [TFTP_STATE_DALLYING] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = dallying_data,
            [EV_ACK] = ignore,
            [EV_ERROR] = dallying_ends,
            [EV_OACK] = ignore,
            [EV_TIMER] = dallying_timer,
            [EV_UNREACHABLE] = dallying_ends,
        },
    [TFTP_STATE_DONE] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = ignore,
            [EV_ACK] = ignore,
            [EV_ERROR] = ignore,
            [EV_OACK] = ignore,
            [EV_TIMER] = nothing,
            [EV_UNREACHABLE] = nothing,
        },
    [TFTP_STATE_FAILED] =
        {
            [EV_JUNK] = ignore,
            [EV_REQUEST] = ignore,
            [EV_DATA] = ignore,
            [EV_ACK] = ignore,
            [EV_ERROR] = ignore,
            [EV_OACK] = ignore,
            [EV_TIMER] = nothing,
            [EV_UNREACHABLE] = nothing,
        },
};

static enum event event_of(struct view datagram)
{
    static const uint8_t events[] = {
        [TFTP_RRQ] = EV_REQUEST, [TFTP_WRQ] = EV_REQUEST, [TFTP_DATA] = EV_DATA,
        [TFTP_ACK] = EV_ACK,     [TFTP_ERROR] = EV_ERROR, [TFTP_OACK] = EV_OACK,
    };
    int opcode = tftp_packet_opcode(datagram);

    return opcode > 0 && (size_t)opcode < ARRAY_LEN(events) ? events[opcode] : EV_JUNK;
}

static void step(struct tftp_session *s, enum event event, const struct tftp_step *e)
{
    assert(s->state < TFTP_STATES && steps[s->state][event] != NULL);
    steps[s->state][event](s, e);
}

void tftp_session_on_packet(struct tftp_session *s, struct view datagram, nsec now,
                            struct tftp_in *ret)
{
    *ret = (struct tftp_in){0};
    step(s, event_of(datagram), &(struct tftp_step){datagram, now, ret});
}

void tftp_session_on_unreachable(struct tftp_session *s, nsec now)
{
    step(s, EV_UNREACHABLE, &(struct tftp_step){.now = now});
}

bool tftp_session_on_timer(struct tftp_session *s, nsec now)
{
    struct tftp_in in = {0};

    step(s, EV_TIMER, &(struct tftp_step){.now = now, .ret = &in});
    return in.flush;
}

nsec tftp_session_deadline(const struct tftp_session *s)
{
    switch (s->state) {
    case TFTP_STATE_SENDING:
        return tftp_sender_deadline(&s->sender);
    case TFTP_STATE_RECEIVING:
        return tftp_receiver_deadline(&s->receiver);
    case TFTP_STATE_OPENING:
        return tftp_open_deadline(s);
    case TFTP_STATE_REQUESTING:
    case TFTP_STATE_DALLYING:
        return s->deadline;
    case TFTP_STATE_PUBLISHING: /* the owner's disk moves it */
    case TFTP_STATE_DONE:
    case TFTP_STATE_FAILED:
    case TFTP_STATES:
        break;
    }
    return NSEC_NEVER;
}

bool tftp_session_next(struct tftp_session *s, nsec now, struct tftp_out *ret)
{
    const struct tftp_sender *x = &s->sender;
    uint64_t end;

    if (s->control_ready) {
        *ret = (struct tftp_out){
            .kind = TFTP_OUT_CONTROL,
            .control = view_of(s->control, s->control_len),
        };
        return true;
    }
    *ret = (struct tftp_out){.kind = TFTP_OUT_NOTHING};
    if (!s->sending ||
        !(s->state == TFTP_STATE_SENDING || (s->state == TFTP_STATE_OPENING && !s->oack_used)))
        return false;
    ret->count = tftp_sender_next(x, now);
    if (ret->count == 0)
        return false;
    ret->kind = TFTP_OUT_DATA;
    ret->block = x->next;
    ret->offset = (x->next - 1) * s->params.blksize;
    end = ret->offset + (uint64_t)ret->count * s->params.blksize;
    ret->bytes = MIN(end, x->size) - ret->offset;
    return true;
}

/* What the control packet that went out is waiting for. */
static void control_sent(struct tftp_session *s, nsec now)
{
    struct tftp_flow f = tftp_session_flow(s);

    s->control_ready = false;
    s->control_at = now;
    if (s->repeats > 0)
        s->counts.control_resent++;
    if (s->repeats < UINT8_MAX)
        s->repeats++;
    if (s->state == TFTP_STATE_OPENING)
        tftp_open_sent(s, now);
    else if (s->state == TFTP_STATE_REQUESTING)
        s->deadline = nsec_add(now, s->rto.interval);
    else if (s->state == TFTP_STATE_RECEIVING || s->state == TFTP_STATE_DALLYING)
        tftp_receiver_ack_sent(&s->receiver, &f, now);
}

void tftp_session_sent(struct tftp_session *s, uint32_t blocks, nsec now)
{
    struct tftp_flow f = tftp_session_flow(s);

    if (s->control_ready) {
        control_sent(s, now);
        return;
    }
    if (blocks == 0)
        return;
    tftp_sender_sent(&s->sender, &f, blocks, now);
    if (s->state == TFTP_STATE_OPENING)
        tftp_open_sent(s, now);
}

void tftp_session_set_size(struct tftp_session *s, uint64_t size)
{
    struct tftp_flow f = tftp_session_flow(s);

    assert(s->sending);
    tftp_sender_set_size(&s->sender, &f, size);
}

void tftp_session_stored(struct tftp_session *s, uint64_t offset, nsec now)
{
    struct tftp_flow f = tftp_session_flow(s);

    (void)now;
    if (s->state != TFTP_STATE_RECEIVING && s->state != TFTP_STATE_PUBLISHING)
        return;
    tftp_receiver_stored(&s->receiver, &f, offset);
    tftp_session_ready_ack(s);
}

void tftp_session_published(struct tftp_session *s, nsec now)
{
    nsec wait = MIN(2 * s->params.timeout_s * NSEC_PER_SEC, DALLY_MAX);

    if (s->state != TFTP_STATE_PUBLISHING)
        return;
    tftp_session_stored(s, s->receiver.size, now);
    s->state = TFTP_STATE_DALLYING;
    s->receiver.waiting_since = now; /* the time until now was our disk's */
    s->deadline = nsec_add(now, MAX(s->manners.dally, wait));
    tftp_session_ready_ack(s);
}

const char *tftp_state_name(enum tftp_session_state state)
{
    static const char *const names[] = {
        [TFTP_STATE_REQUESTING] = "requesting",
        [TFTP_STATE_OPENING] = "opening",
        [TFTP_STATE_SENDING] = "sending",
        [TFTP_STATE_RECEIVING] = "receiving",
        [TFTP_STATE_PUBLISHING] = "publishing",
        [TFTP_STATE_DALLYING] = "dallying",
        [TFTP_STATE_DONE] = "done",
        [TFTP_STATE_FAILED] = "failed",
    };

    return (size_t)state < ARRAY_LEN(names) ? names[state] : "?";
}

const char *tftp_outcome_name(enum tftp_outcome outcome)
{
    static const char *const names[] = {
        [TFTP_OUTCOME_NONE] = "running",    [TFTP_OUTCOME_OK] = "ok",
        [TFTP_OUTCOME_PROBE] = "probe",     [TFTP_OUTCOME_CLOSED] = "closed",
        [TFTP_OUTCOME_ABORTED] = "aborted", [TFTP_OUTCOME_TIMEOUT] = "timeout",
        [TFTP_OUTCOME_ERROR] = "error",
    };

    return (size_t)outcome < ARRAY_LEN(names) ? names[outcome] : "?";
}
