/*
 * The first packet: everything that arrives on a listening port, and what strangers send to a
 * transfer port. Nothing but requests is ever answered on a listening port; an ERROR is never
 * answered anywhere.
 */
#ifndef SERVER_ADMIT_H
#define SERVER_ADMIT_H

#include "server/worker.h"

/* A datagram on a listening port that belongs to no running transfer. */
void admit_request(struct worker *w, const struct net_rx *rx);

/* A datagram on a transfer port whose sender has no transfer there (RFC 1350 section 4: ERROR 5
 * to that source, the transfer goes on undisturbed). */
void admit_stranger(struct worker *w, const struct net_rx *rx);

#endif
