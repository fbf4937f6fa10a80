/*
 * Shared by the files of bench/client. Nobody else includes this.
 */
#ifndef BENCH_CLIENT_IMPL_H
#define BENCH_CLIENT_IMPL_H

#include "bench/client.h"
#include "bench/profile.h"

#define CLIENT_NO_FAILURE BENCH_FAILURES

/* Sends the last control packet of the session, or one like it. */
void client_send(struct bench_client *c, struct view packet, nsec now);
/* Sends what the session wants to be sent. Ends the transfer when the session has ended. */
void client_pump(struct bench_client *c, nsec now);
/* Sets the timer to the next date, if that is earlier than what it is set to. */
void client_arm(struct bench_client *c);
/* The profile's own waiting begins anew. */
void client_wait(struct bench_client *c, nsec now);

/* Counts the transfer and gives the endpoint back. CLIENT_NO_FAILURE: it was a success. */
void client_finish(struct bench_client *c, enum bench_failure failure, nsec now);
/* What the session's end means. */
void client_finish_session(struct bench_client *c, nsec now);

/* After the answer to its probe: asks again, from another port and after a moment. */
void client_ask_again(struct bench_client *c, nsec now);

/* Acts as the profile does on a block that is not the next one; true when that was all. */
bool client_reacts(struct bench_client *c, struct view datagram, nsec now);
/* Goes its own way; true when the packet is not to be looked at. May end the transfer. */
bool client_misbehaves(struct bench_client *c, struct view datagram, nsec now);

/* The profile has its own times for this phase of a transfer. */
static inline const uint16_t *client_waits(const struct bench_client *c)
{
    if (c->session.sending)
        return NULL;
    return c->session.state == TFTP_STATE_REQUESTING ? c->kind->profile->request_waits_ms
                                                     : c->kind->profile->ack_waits_ms;
}

#endif
