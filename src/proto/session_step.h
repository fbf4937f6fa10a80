/*
 * What the files of the session share: the handlers of its transition table and the few moves
 * they are made of. Private to session.c and session_open.c.
 */
#ifndef PROTO_SESSION_STEP_H
#define PROTO_SESSION_STEP_H

#include "proto/session.h"

/* An event: a datagram, a timer, a word from the network. */
struct tftp_step {
    struct view datagram;
    nsec now;
    struct tftp_in *ret;
};

static inline struct tftp_flow tftp_session_flow(struct tftp_session *s)
{
    return (struct tftp_flow){&s->params, &s->manners, &s->rto, &s->counts};
}

/* Nothing more happens; what `control` holds is not sent. */
static inline void tftp_session_end(struct tftp_session *s, enum tftp_session_state state,
                                    enum tftp_outcome outcome)
{
    s->state = state;
    s->outcome = outcome;
    s->control_ready = false;
    s->deadline = NSEC_NEVER;
}

/* `control` holds a new packet of `len` bytes. */
static inline void tftp_session_ready(struct tftp_session *s, size_t len)
{
    s->control_len = (uint16_t)len;
    s->control_ready = true;
    s->repeats = 0;
}

/* A valid packet came from the peer's TID to ours. */
static inline void tftp_session_heard(struct tftp_session *s, nsec now)
{
    s->proven = true;
    s->last_heard = now;
}

/* Readies the ACK that the receiver wants, if it is due. */
void tftp_session_ready_ack(struct tftp_session *s);
/* Ends a silence: TIMEOUT, with an ERROR for a peer that has proved itself. */
void tftp_session_time_out(struct tftp_session *s);

/* Handlers of OPENING and REQUESTING (session_open.c). */
void tftp_open_ack(struct tftp_session *s, const struct tftp_step *e);
void tftp_open_data(struct tftp_session *s, const struct tftp_step *e);
void tftp_open_request(struct tftp_session *s, const struct tftp_step *e);
void tftp_open_timer(struct tftp_session *s, const struct tftp_step *e);
nsec tftp_open_deadline(const struct tftp_session *s);
/* A packet went out while OPENING. */
void tftp_open_sent(struct tftp_session *s, nsec now);
void tftp_ask_ack(struct tftp_session *s, const struct tftp_step *e);
void tftp_ask_data(struct tftp_session *s, const struct tftp_step *e);
void tftp_ask_oack(struct tftp_session *s, const struct tftp_step *e);
void tftp_ask_timer(struct tftp_session *s, const struct tftp_step *e);

/* Handlers of SENDING and RECEIVING that the opening ends in (session.c). */
void tftp_flow_ack(struct tftp_session *s, const struct tftp_step *e);
void tftp_flow_data(struct tftp_session *s, const struct tftp_step *e);

#endif
