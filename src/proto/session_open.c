/*
 * How a session begins: the server's first answer to a peer that has not proved its address,
 * and the client's request.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "proto/session_step.h"

/* Up to this an ACK is told from all others in flight, whatever the rollover. */
#define WINDOW_MAX 32768

/* An address that never proved itself is forgotten after this; its next repeat starts anew. */
#define UNPROVEN_PATIENCE (30 * NSEC_PER_SEC)
/* Answers to the first request and its repeats in that time. */
#define FIRST_REPLIES_MAX 3
/* A reply may be this many times as long as the request it answers. */
#define AMPLIFICATION_MAX 3
/* How far ahead a client may be whose DATA 1 was lost behind an OACK: atftp goes on by a block each
 * time it has waited in vain. */
#define OPEN_AHEAD 4
/*
 * Before an OACK or ACK 0 is repeated by the timer, at least. A client that lost it repeats its
 * request, and that is answered at once; but GRUB never repeats an ACK 0 that was lost. atftp does,
 * every 5 s, and gives up when a second OACK comes first. Boot loaders ask for the size, atftp on
 * its own does not.
 */
#define OPEN_WAIT       (1 * NSEC_PER_SEC)
#define OPEN_WAIT_ATFTP (11 * NSEC_PER_SEC)

#define ASK_TRIES_MIN 3 /* as for the sender's patience */

static void start(struct tftp_session *s, const struct tftp_manners *manners,
                  enum tftp_rollover rollover, nsec now)
{
    memset(s, 0, offsetof(struct tftp_session, control));
    s->started = s->last_heard = now;
    s->deadline = NSEC_NEVER;
    s->manners = *manners;
    s->params = (struct tftp_params){
        .blksize = TFTP_BLKSIZE_DEFAULT,
        .windowsize = 1,
        .rollover = rollover,
    };
    tftp_rto_init(&s->rto, manners->rto_first, manners->rto_min, manners->rto_max);
}

/* The parameters are agreed on. */
static void agreed(struct tftp_session *s, uint64_t size, nsec now)
{
    nsec timeout = s->params.timeout_s * NSEC_PER_SEC;
    struct tftp_flow f = tftp_session_flow(s);

    if (timeout != 0 && s->manners.timeout_exact)
        tftp_rto_fix(&s->rto, timeout);
    else if (timeout != 0)
        tftp_rto_cap(&s->rto, timeout);
    if (s->sending)
        tftp_sender_init(&s->sender, &f, size, s->server);
    else
        tftp_receiver_init(&s->receiver, now);
}

/* The control packet was answered: a round trip, if it went out once (Karn). */
static void sample_control(struct tftp_session *s, nsec now)
{
    if (s->repeats == 1)
        tftp_rto_sample_opening(&s->rto, now - s->control_at);
}

static nsec unproven_end(const struct tftp_session *s)
{
    return nsec_add(s->started, nsec_min(s->manners.patience, UNPROVEN_PATIENCE));
}

static bool asks_for_size(const struct tftp_request *request)
{
    for (unsigned i = 0; i < request->option_count; i++)
        if (tftp_is_word(request->options[i].name, "tsize"))
            return true;
    return false;
}

size_t tftp_session_allowance(size_t request_len, size_t first_reply)
{
    return MAX(AMPLIFICATION_MAX * request_len, first_reply);
}

int tftp_session_serve(struct tftp_session *s, const struct tftp_request *request,
                       size_t request_len, const struct tftp_limits *limits,
                       const struct tftp_manners *manners, uint64_t size, nsec now)
{
    struct tftp_limits bounded = *limits;
    size_t len = 0;
    int err;

    start(s, manners, limits->rollover, now);
    s->server = true;
    s->sending = request->op == TFTP_RRQ;
    s->state = TFTP_STATE_OPENING;
    bounded.windowsize_max = MIN(bounded.windowsize_max, WINDOW_MAX);
    err = tftp_negotiate(&s->params, request, &bounded, size, s->control, sizeof(s->control), &len);
    if (err < 0) {
        if (err == -EFBIG)
            tftp_session_fail(s, TFTP_ERR_DISK_FULL, "File too large", now);
        else
            tftp_session_fail(s, TFTP_ERR_OPTION, "Invalid options", now);
        return err;
    }
    agreed(s, size, now);
    s->oack_used = len > 0;
    s->tsize_asked = asks_for_size(request);
    if (!s->oack_used && !s->sending)
        len = tftp_build_ack(s->control, sizeof(s->control), 0);
    if (len > 0) {
        tftp_session_ready(s, len);
        s->first_reply_bytes = (uint32_t)len;
    } else {
        s->first_reply_bytes = (uint32_t)(TFTP_HEADER_LEN + MIN(size, s->params.blksize));
    }
    s->budget = (uint32_t)tftp_session_allowance(request_len, s->first_reply_bytes);
    s->first_replies = 1;
    s->deadline = unproven_end(s);
    return 0;
}

/* As if no option had been asked for: then ACK 0 says as much as the OACK. */
static bool params_are_plain(const struct tftp_session *s)
{
    return s->params.blksize == TFTP_BLKSIZE_DEFAULT && s->params.windowsize == 1;
}

/* The retransmission of a control packet waits its turn, if it is paid for. */
static void arm_open_timer(struct tftp_session *s, nsec now)
{
    nsec wait = s->sending && !s->tsize_asked ? OPEN_WAIT_ATFTP : OPEN_WAIT;

    s->deadline = unproven_end(s);
    if (s->control_len > 0 && s->budget >= s->control_len)
        s->deadline = nsec_min(s->deadline, nsec_add(now, MAX(s->rto.interval, wait)));
}

/*
 * The OACK of a write is not repeated by the timer: while DATA 1 is lost, curl and atftp take it
 * for the ACK of DATA 1, and the transfer is lost. They take an ACK 0 for what it is, and send DATA
 * 1 again; but a client that has not seen the OACK would go on without options. So this goes out
 * only where that is the same; else it is the client who repeats, its request or DATA 1.
 */
void tftp_open_sent(struct tftp_session *s, nsec now)
{
    s->control_at = now;
    /* Every reply before the proof is as long as the first. */
    s->budget -= MIN(s->budget, s->first_reply_bytes);
    if (!s->sending && s->oack_used && !params_are_plain(s))
        s->deadline = unproven_end(s);
    else
        arm_open_timer(s, now);
}

void tftp_session_on_repeat(struct tftp_session *s, size_t request_len, nsec now)
{
    uint64_t budget = (uint64_t)s->budget;

    s->counts.duplicates++;
    if (s->state != TFTP_STATE_OPENING)
        return;
    budget += tftp_session_allowance(request_len, s->first_reply_bytes);
    s->budget = (uint32_t)MIN(budget, UINT32_MAX);
    /* Doubled on the way: it has just been answered. */
    if (s->control_at != 0 && now < s->control_at + s->manners.resend_hold)
        return;
    if (s->first_replies >= FIRST_REPLIES_MAX) {
        if (!s->control_ready && s->deadline == unproven_end(s))
            arm_open_timer(s, now);
        return;
    }
    s->first_replies++;
    if (s->control_len > 0)
        s->control_ready = true;
    else
        tftp_sender_rewind(&s->sender);
}

/* The request itself, sent to the transfer's own port (GRUB without an OACK does this). */
void tftp_open_request(struct tftp_session *s, const struct tftp_step *e)
{
    tftp_session_on_repeat(s, e->datagram.n, e->now);
}

static bool may_resend_first_data(const struct tftp_session *s)
{
    return s->sending && !s->oack_used && s->sender.tries < s->manners.unproven_retries;
}

nsec tftp_open_deadline(const struct tftp_session *s)
{
    return may_resend_first_data(s) ? nsec_min(s->deadline, s->sender.rto_at) : s->deadline;
}

void tftp_open_timer(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_flow f = tftp_session_flow(s);

    if (e->now >= unproven_end(s)) {
        tftp_session_time_out(s);
        return;
    }
    if (may_resend_first_data(s) && e->now >= s->sender.rto_at) {
        tftp_sender_on_timer(&s->sender, &f, e->now);
        return;
    }
    if (e->now < s->deadline)
        return;
    if (s->control_len > 0 && s->budget >= s->control_len) {
        tftp_rto_back_off(&s->rto);
        if (!s->sending && s->oack_used && params_are_plain(s))
            s->control_len = (uint16_t)tftp_build_ack(s->control, sizeof(s->control), 0);
        s->control_ready = true;
    }
    s->deadline = unproven_end(s);
}

void tftp_open_ack(struct tftp_session *s, const struct tftp_step *e)
{
    if (!s->sending) {
        s->counts.ignored++;
        return;
    }
    if (!s->oack_used) {
        tftp_flow_ack(s, e);
        return;
    }
    if (tftp_packet_block(e->datagram) != 0) { /* RFC 2347: an OACK is acknowledged as block 0 */
        s->counts.ignored++;
        return;
    }
    s->control_ready = false;
    sample_control(s, e->now);
    tftp_session_heard(s, e->now);
    s->state = TFTP_STATE_SENDING;
}

void tftp_open_data(struct tftp_session *s, const struct tftp_step *e)
{
    uint16_t block = tftp_packet_block(e->datagram);
    uint32_t ahead = s->oack_used ? OPEN_AHEAD : 0;

    /* RFC 2347: DATA 1 confirms the OACK of a write; with a window, it may be lost. */
    if (s->sending || block == 0 || block > s->params.windowsize + ahead) {
        s->counts.ignored++;
        return;
    }
    s->control_ready = false;
    if (block == 1)
        sample_control(s, e->now);
    s->receiver.ack_at = s->control_at;
    s->state = TFTP_STATE_RECEIVING;
    tftp_flow_data(s, e);
}

int tftp_session_request(struct tftp_session *s, const struct tftp_request *request,
                         const struct tftp_limits *limits, const struct tftp_manners *manners,
                         uint64_t size, nsec now)
{
    size_t len;

    start(s, manners, limits->rollover, now);
    s->sending = request->op == TFTP_WRQ;
    s->state = TFTP_STATE_REQUESTING;
    len = tftp_build_request(s->control, TFTP_REQUEST_MAX, request);
    if (len == 0)
        return -EMSGSIZE;
    agreed(s, size, now); /* RFC 1350, unless the answer is an OACK */
    tftp_session_ready(s, len);
    return 0;
}

void tftp_ask_timer(struct tftp_session *s, const struct tftp_step *e)
{
    if (e->now < s->deadline)
        return;
    if (e->now - s->started >= s->manners.patience && s->repeats >= ASK_TRIES_MIN) {
        tftp_session_time_out(s);
        return;
    }
    tftp_rto_back_off(&s->rto);
    s->control_ready = true;
    s->deadline = NSEC_NEVER; /* until it is sent */
}

/* The server answers a kind of request we did not make: nothing may be given or taken. */
static void wrong_answer(struct tftp_session *s, const struct tftp_step *e)
{
    tftp_session_heard(s, e->now);
    tftp_session_fail(s, TFTP_ERR_ILLEGAL, "Answer to another request", e->now);
}

static void answered(struct tftp_session *s, nsec now)
{
    s->control_ready = false;
    sample_control(s, now);
    tftp_session_heard(s, now);
    s->deadline = NSEC_NEVER;
    s->state = s->sending ? TFTP_STATE_SENDING : TFTP_STATE_RECEIVING;
    if (!s->sending) {
        s->receiver.waiting_since = now;
        s->receiver.rto_at = nsec_add(now, s->rto.interval);
    }
}

void tftp_ask_ack(struct tftp_session *s, const struct tftp_step *e)
{
    if (!s->sending)
        wrong_answer(s, e);
    else if (tftp_packet_block(e->datagram) != 0)
        s->counts.ignored++;
    else
        answered(s, e->now); /* RFC 1350 section 4: ACK 0 grants a write */
}

void tftp_ask_data(struct tftp_session *s, const struct tftp_step *e)
{
    if (s->sending) {
        wrong_answer(s, e);
        return;
    }
    if (tftp_packet_block(e->datagram) != 1) {
        s->counts.ignored++;
        return;
    }
    answered(s, e->now);
    tftp_flow_data(s, e);
}

void tftp_ask_oack(struct tftp_session *s, const struct tftp_step *e)
{
    struct tftp_request request;
    struct tftp_params params;
    uint64_t size = s->sending ? s->sender.size : TFTP_SIZE_UNKNOWN;
    int err = tftp_request_parse(&request, view_of(s->control, s->control_len));

    assert(err == 0); /* our own words */
    if (err == 0)
        err = tftp_accept_oack(&params, &request, s->params.rollover, e->datagram);
    if (err < 0 || params.windowsize > WINDOW_MAX) {
        /* RFC 2347: an option that was not asked for, or not so, MUST end the transfer. */
        tftp_session_heard(s, e->now);
        tftp_session_fail(s, TFTP_ERR_OPTION, "Unacceptable options", e->now);
        return;
    }
    s->params = params;
    s->oack_used = true;
    agreed(s, size, e->now);
    answered(s, e->now);
    if (!s->sending) { /* RFC 2347: the OACK of a read is acknowledged as block 0 */
        s->receiver.due = true;
        tftp_session_ready_ack(s);
    }
}
