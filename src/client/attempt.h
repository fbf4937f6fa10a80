/*
 * Attempts of a transfer: what is asked for, and what to ask for when that did not go well.
 * Private to the client's transfer.
 */
#ifndef CLIENT_ATTEMPT_H
#define CLIENT_ATTEMPT_H

#include "client/transfer.h"

/* Begins with all we would like to have: opens the local side, then asks. */
void attempt_first(struct client_transfer *t);

/* The local side is open: socket, session, request. */
void attempt_request(struct client_transfer *t);

/* The session's timer is about to fire: perhaps it is time for something else than repeating. */
void attempt_overdue(struct client_transfer *t);

/* The attempt has ended. True: another one has begun. */
bool attempt_again(struct client_transfer *t);

/* transfer.c: opens the local file (again); attempt_request() follows. */
void transfer_open_local(struct client_transfer *t);

#endif
