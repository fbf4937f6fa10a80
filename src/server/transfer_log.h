/*
 * The one line in the log for each transfer.
 */
#ifndef SERVER_TRANSFER_LOG_H
#define SERVER_TRANSFER_LOG_H

#include "server/transfer.h"

/* Ended: line and counters by outcome. */
void transfer_log_end(struct transfer *t, nsec now);
/* Could not be opened. */
void transfer_log_refused(struct transfer *t, int err, enum tftp_error code);
/* Given up before its file was open: the peer asked for something else, or the server ends. */
void transfer_log_unopened(struct transfer *t);
/* Refused before there was a transfer. `path` may hold any bytes. */
void transfer_log_denied(struct worker *w, const struct net_rx *rx, bool writing, struct view path,
                         int err, enum tftp_error code);
/* About to be dropped because the peer asked for something else: marks the outcome. */
void transfer_log_replaced(struct transfer *t);

#endif
