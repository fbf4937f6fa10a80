/*
 * The limits of the configuration, as far as they are about peers: what all workers count together
 * (policy/limiter.h) against what this worker's settings allow. Whatever is refused here is counted
 * in the worker's metrics, and once a second at most there is a line about it in the log.
 */
#ifndef SERVER_GATE_H
#define SERVER_GATE_H

#include "server/worker.h"

/* Whether one more request of this peer is answered; false: silence. */
MUST_CHECK bool gate_request(struct worker *w, const struct addr *peer);

/*
 * Whether so many bytes, beyond what it has sent, may go to a peer that has not proved its address.
 * What turns out not to be sent, or to be sent to a peer that has, is given back.
 */
MUST_CHECK bool gate_unproven(struct worker *w, const struct addr *peer, size_t bytes);
void gate_unproven_return(struct worker *w, const struct addr *peer, size_t bytes);

/* Whether a sender of packets to the wrong port is told so. */
MUST_CHECK bool gate_stranger(struct worker *w, const struct addr *peer);

/* A place for a transfer of this peer; false when all that it may have are taken. */
MUST_CHECK bool gate_enter(struct worker *w, const struct addr *peer, bool writing);
void gate_leave(struct worker *w, const struct addr *peer, bool writing);

/* Whether an upload of this size could be stored today. */
bool gate_upload_fits(struct worker *w, uint64_t bytes);
/* As store_config wants them; arg is the worker. */
bool gate_upload_take(void *arg, uint64_t bytes);
void gate_upload_return(void *arg, uint64_t bytes);

#endif
